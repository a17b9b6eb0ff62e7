"""An exported folder answers as the run does, needs no training code, and says what it is."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from drawn import COLORS, draw

from hangtag.config import ExportConfig
from hangtag.errors import TRAIN_PACKAGES, MissingExtraError, ModelError, WorkspaceError
from hangtag.inference.classifier import Classifier
from hangtag.io import read_json, write_json
from hangtag.models.description import read_description
from hangtag.models.description_schema import DescriptionSchema
from hangtag.models.label_space import CATEGORY_PATH
from hangtag.models.openvino import ExportedNetwork
from hangtag.stages import export as stage
from hangtag.stages.export import export
from hangtag.workspace import Workspace

PIXELS = np.stack([draw(kind, 500 + number) for number in range(7) for kind in COLORS])


def test_the_folder_holds_a_model_and_its_card(model: Path) -> None:
    assert {path.name for path in model.iterdir()} == {
        "network.xml",
        "network.bin",
        "model.json",
        "seen.safetensors",
        "README.md",
        "manifest.json",
    }
    description = read_json(model / "model.json")
    assert description["check"]["items"] == 48
    assert description["check"]["difference"] <= stage.TOLERANCES["float32"]
    assert description["check"]["accuracy"] == description["figures"]["val"]["accuracy"]
    card = (model / "README.md").read_text(encoding="utf-8")
    for wanted in (
        "kind (2), type (3), label (3)",
        "season (2)",
        "| hold-out | 48 |",
        f"On {description['label_name']}, from photographs alone, with 95 % intervals.",
        description["network"]["sha256"],
    ):
        assert wanted in card


def test_figures_say_what_they_are_measured_from(tmp_path: Path) -> None:
    with_names = {"n": 9, "accuracy": 0.99, "macro_f1": 0.98, "ece": 0.01, "loss": 0.1}
    alone = with_names | {"accuracy": 0.94}
    report = {"input": "photograph and name", "splits": {"test": with_names}}
    write_json(tmp_path / "both.json", report | {"photograph_alone": {"splits": {"test": alone}}})
    write_json(tmp_path / "alone.json", {"input": "photograph", "splits": {"test": alone}})
    both, one = (stage._read_figures(tmp_path / f"{name}.json") for name in ("both", "alone"))
    assert one == {
        "figures": {"test": {"input": "photograph", "n": 9, "accuracy": 0.94, "macro_f1": 0.98, "ece": 0.01}}
    }
    assert both["figures"] == one["figures"]
    assert both["figures_with_names"]["test"]["input"] == "photograph and name"
    assert both["figures_with_names"]["test"]["accuracy"] == 0.99
    assert stage._read_figures(None) == {"figures": {}}


def test_the_schema_knows_every_entry_that_a_training_and_an_export_write(
    trained_workspace: Workspace, model: Path
) -> None:
    for folder in (trained_workspace.run("small"), model):
        # For people alone: nothing is read from these.
        free = {"pretrained", "versions", "check", "layers", "train_fraction"}
        assert read_description(folder).content.keys() <= DescriptionSchema.model_fields.keys() | free


def test_it_answers_as_the_run_does(trained_workspace: Workspace, model: Path) -> None:
    run, exported = Classifier.load(trained_workspace.run("small")), Classifier.load(model)
    wanted, found = run.predict_heads(PIXELS), exported.predict_heads(PIXELS)
    assert wanted.ood_scores is None
    assert found.ood_scores is not None
    assert found.ood_scores.shape == (len(PIXELS),)
    assert exported.find_threshold(0.9) == run.find_threshold(0.9)
    # As the engine computes by itself; in float32 `export` has held them together.
    for head, probs in wanted.by_head.items():
        np.testing.assert_allclose(found.by_head[head], probs, atol=0.03, err_msg=head)
    assert found.choose_labels()["label"] == wanted.choose_labels()["label"]


@pytest.mark.parametrize(("weights", "share", "operation"), [("float16", 0.5, "f16"), ("int8", 0.4, "FakeQuantize")])
def test_weights_can_be_kept_smaller(
    weights: Literal["float16", "int8"],
    share: float,
    operation: str,
    trained_workspace: Workspace,
    model: Path,
    tmp_path: Path,
) -> None:
    export(trained_workspace, "small", tmp_path / "m", ExportConfig(weights=weights))
    sizes = [(folder / "network.bin").stat().st_size for folder in (tmp_path / "m", model)]
    assert sizes[0] < share * sizes[1] + 1000
    assert operation in (tmp_path / "m" / "network.xml").read_text()
    assert operation not in (model / "network.xml").read_text()
    found, wanted = (Classifier.load(folder).predict_heads(PIXELS) for folder in (tmp_path / "m", model))
    assert found.choose_labels()["label"] == wanted.choose_labels()["label"]
    description = read_json(tmp_path / "m" / "model.json")
    assert description["network"]["stored_as"] == weights
    assert ("8-bit integers" in (tmp_path / "m" / "README.md").read_text()) is (weights == "int8")


def test_quantising_without_its_package_says_what_to_install(
    trained_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hangtag.models.openvino.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="pip install nncf"):
        export(trained_workspace, "small", tmp_path / "m", ExportConfig(weights="int8"))
    assert not (tmp_path / "m" / "model.json").exists()


def test_noise_is_far_from_all_that_was_learnt(classifier: Classifier) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, *PIXELS.shape[1:]), dtype=np.uint8)
    assert [answer.in_distribution for answer in classifier.classify(noise)] == [False] * 20
    assert not any(answer.is_sure for answer in classifier.classify(noise))
    assert np.mean([answer.in_distribution for answer in classifier.classify(PIXELS)]) > 0.4


def test_classifying_needs_nothing_that_training_needs(model: Path, photographs: Path) -> None:
    names = [*TRAIN_PACKAGES, "tensorflow", "openvino_telemetry"]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({names!r}))\n"
        "from hangtag.cli import main\n"
        f"main(['classify', {str(photographs / 'Hat.png')!r}, '--model', {str(model)!r}, '--json'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["label"] == "Hat"


@pytest.mark.parametrize("name", ["network.xml", "network.bin"])
@pytest.mark.parametrize("damage", ["missing", "changed", "truncated"])
def test_a_damaged_network_is_refused(name: str, damage: str, model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    content = (folder / name).read_bytes()
    if damage == "missing":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content[:-100] if damage == "truncated" else content[:-1] + b"x")
    with pytest.raises(ModelError, match="no network" if damage == "missing" else "changed, or written half"):
        Classifier.load(folder)


def test_a_graph_that_is_none_is_refused_though_its_hash_fits(model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    (folder / "network.xml").write_text("<net>nonsense</net>")
    with pytest.raises(ModelError, match="cannot be read"):
        ExportedNetwork(folder / "network.xml")


@pytest.mark.parametrize("change", [{"network": {}}, {"network": {"sha256": 1, "weights_sha256": 2}}, {"format": 99}])
def test_a_damaged_description_is_refused(change: dict[str, object], model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    write_json(folder / "model.json", read_json(folder / "model.json") | change)
    with pytest.raises(ModelError):
        Classifier.load(folder)


def test_the_same_export_is_skipped_and_another_replaces_it(trained_workspace: Workspace, tmp_path: Path) -> None:
    assert not export(trained_workspace, "small", tmp_path / "m").skipped
    assert export(trained_workspace, "small", tmp_path / "m").skipped
    (tmp_path / "m" / "network.bin").write_bytes(b"")
    assert not export(trained_workspace, "small", tmp_path / "m").skipped
    assert len(Classifier.load(tmp_path / "m").predict_heads(PIXELS).by_head[CATEGORY_PATH]) == len(PIXELS)


def test_a_folder_with_something_else_is_left_alone(trained_workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(WorkspaceError, match="not an export of hangtag"):
        export(trained_workspace, "small", tmp_path)
    with pytest.raises(WorkspaceError, match="no such finished run"):
        export(trained_workspace, "other", tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_loss_of_accuracy_that_may_be_chance_is_allowed() -> None:
    def lose(lost: int, gained: int, items: int) -> bool:
        baseline, correct = np.ones(items, bool), np.ones(items, bool)
        correct[:lost] = False
        baseline[lost : lost + gained] = False
        return stage.is_less_accurate(correct, baseline)

    # One item of 60 is a loss of 0.017; no validation split of fewer than 500 items could lose an item otherwise.
    assert not lose(1, 0, 60)
    assert not lose(4, 0, 60)
    assert lose(5, 0, 60)
    assert not lose(9, 6, 400)
    # Of many items a small loss is no chance either, and allowed.
    assert not lose(16, 0, 8_000)
    assert lose(17, 0, 8_000)


def test_a_network_that_answers_otherwise_is_no_export(
    trained_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(stage.TOLERANCES, "float32", -1.0)
    with pytest.raises(ModelError, match="differ from those of the run"):
        export(trained_workspace, "small", tmp_path / "m", ExportConfig())
    assert not (tmp_path / "m" / "manifest.json").exists()
