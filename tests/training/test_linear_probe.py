"""Test the linear probe: a frozen backbone, cached features and resumption."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_train import make_workspace, read_history

from hangtag.catalog.images import shrink
from hangtag.errors import SettingsError
from hangtag.io import hash_file, read_json
from hangtag.models.checkpoint import load_saved, read_weights
from hangtag.models.layers import cut_backbone, import_keras
from hangtag.models.registry import build_model
from hangtag.presets import PRESETS
from hangtag.settings import resolve
from hangtag.stages.train import train
from hangtag.train_config import TrainConfig
from hangtag.training import linear_probe as stage
from hangtag.training.linear_probe import FEATURES, PROGRESS
from hangtag.workspace import Workspace

ARCHITECTURE = "residual-small"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import_keras().utils.set_random_seed(5)
    model = build_model(ARCHITECTURE, image_size=(16, 12), heads={"category_path": 2}, color_mode="color")
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file(read_weights(cut_backbone(model)), path)
    return path


@pytest.fixture
def config(weights: Path) -> TrainConfig:
    return resolve(
        TrainConfig,
        PRESETS["frozen"],
        {"architecture": ARCHITECTURE, "weights": str(weights), "target": "label", "epochs": 3, "batch_size": 8},
        {"final_scale": 2.0},
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "w")


def test_the_backbone_is_unchanged_and_the_heads_are_trained(
    workspace: Workspace, config: TrainConfig, weights: Path
) -> None:
    train(workspace, config, run_id="run")
    found, begun = load_file(workspace.run("run") / "model.safetensors"), load_file(weights)
    for name, value in begun.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert {name.partition("/")[0] for name in found.keys() - begun.keys()} == {
        "category_path_member1",
        "category_path_member2",
    }
    history = read_history(workspace, "run")
    assert history["loss"].is_sorted(descending=True)
    assert set(history["image_size"]) == {"32x24"}
    saved = load_saved(workspace.run("run"))
    assert saved.description["pretrained"] == {"file": weights.name, "sha256": hash_file(weights)}
    assert (saved.image_size, saved.network_size) == ((16, 12), (32, 24))
    assert not (workspace.run("run") / "checkpoint").exists()


def test_only_later_blocks_are_trained(workspace: Workspace, weights: Path) -> None:
    settings = {"architecture": ARCHITECTURE, "weights": str(weights), "target": "label", "epochs": 1, "batch_size": 8}
    config = resolve(TrainConfig, settings, {"frozen_blocks": 2, "ema_decay": 0.0, "final_scale": 1.0})
    train(workspace, config, run_id="run")
    found, begun = load_file(workspace.run("run") / "model.safetensors"), load_file(weights)
    changed = {name.partition("/")[0] for name, value in begun.items() if not np.array_equal(found[name], value)}
    frozen = {name.partition("/")[0] for name in begun if name.startswith(("stem_", "stage1_"))}
    assert changed == {name.partition("/")[0] for name in begun} - frozen
    assert frozen
    with pytest.raises(SettingsError, match=r"too few blocks.*--frozen-blocks 0 to 4.*Received: 8"):
        train(workspace, resolve(TrainConfig, settings, {"frozen_blocks": 8}), run_id="other")
    # Random weights are not worth keeping: with a preset that freezes some, every block is trained.
    train(workspace, resolve(TrainConfig, settings, {"frozen_blocks": 8, "weights": "none"}), run_id="random")


def test_an_interrupted_computation_is_resumed_with_the_same_result(
    workspace: Workspace, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(workspace, config, run_id="whole")
    monkeypatch.setattr(stage, "BATCH", 4)
    monkeypatch.setattr(stage, "STRIDE", 1)
    asked: list[int] = []

    def count(images: Any, size: Any, last: int = 100) -> Any:
        if len(asked) == last:
            raise KeyboardInterrupt
        asked.append(len(images))
        return shrink(images, size)

    monkeypatch.setattr(stage, "shrink", lambda images, size: count(images, size, 3))
    with pytest.raises(KeyboardInterrupt):
        train(workspace, config, run_id="run")
    folder = workspace.run("run") / "checkpoint"
    assert read_json(folder / PROGRESS)["done"] == 12
    rows = len(np.load(folder / FEATURES, mmap_mode="r"))
    asked.clear()
    monkeypatch.setattr(stage, "shrink", count)
    train(workspace, config, run_id="run")
    assert sum(asked) == rows - 12
    whole, resumed = (load_file(workspace.run(name) / "model.safetensors") for name in ("whole", "run"))
    for name, value in whole.items():
        np.testing.assert_allclose(resumed[name], value, atol=1e-5, err_msg=name)


def test_features_of_other_weights_are_not_reused(tmp_path: Path) -> None:
    model = build_model(ARCHITECTURE, image_size=(16, 12), heads={"category_path": 2}, color_mode="color")
    backbone = cut_backbone(model)
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 12, 3), dtype=np.uint8)
    rows, is_mirrored = np.array([5, 0, 2]), np.array([False, True, False])

    def compute() -> Any:
        found = stage.compute_features(tmp_path, backbone, images, rows, is_mirrored, image_size=(16, 12), title="")
        return np.array(found)

    def ask() -> Any:
        pixels = np.stack([images[5], images[0][:, ::-1], images[2]])
        found = backbone({"pixels": pixels}, training=False)
        return np.concatenate([found["features1"], found["features2"]], axis=1)

    np.testing.assert_allclose(compute(), ask(), atol=1e-5)
    before = ask()
    for weight in backbone.weights:
        weight.assign(weight * 1.1)
    np.testing.assert_allclose(compute(), ask(), atol=1e-4)
    assert np.abs(before - ask()).max() > 0.01


def test_only_the_heads_cannot_be_trained_without_weights() -> None:
    with pytest.raises(SettingsError, match=r"freeze needs pretrained weights"):
        resolve(TrainConfig, PRESETS["frozen"], {"architecture": "residual"})
