"""Test a run with a KerasHub preset: trained, loaded without the preset and exported, with the same predictions."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hub_presets import write_preset
from safetensors.numpy import load_file
from test_train import make_workspace

from hangtag.config import ExportConfig
from hangtag.inference.classifier import Classifier
from hangtag.models.keras_hub import read_preset
from hangtag.presets import PRESETS
from hangtag.settings import resolve
from hangtag.stages.export import export
from hangtag.stages.train import train
from hangtag.train_config import TrainConfig

# What h5py does with NumPy's arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning", "ignore::DeprecationWarning")
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 16, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("recipe", "kind"),
    [
        ("frozen", "CLIPBackbone"),
        ("frozen", "SigLIPBackbone"),
        ("finetune", "ViTBackbone"),
        ("finetune", "ResNetBackbone"),
    ],
)
def test_a_run_goes_on_without_its_preset(recipe: str, kind: str, tmp_path: Path) -> None:
    preset = write_preset(tmp_path / "p", kind)
    described = read_preset(preset)
    settings = {"architecture": "hub", "weights": preset, "target": "label", "epochs": 2, "batch_size": 8}
    workspace = make_workspace(tmp_path / "w")
    train(workspace, resolve(TrainConfig, PRESETS[recipe], settings), run_id="run")
    shutil.rmtree(preset)
    loaded = Classifier.load(workspace.run("run"))
    assert loaded.description["hub"] == described
    assert loaded.description["pretrained"]["file"] == "p"
    assert all(np.isfinite(each).all() for each in load_file(workspace.run("run") / "model.safetensors").values())
    export(workspace, "run", tmp_path / "model", ExportConfig())
    probs = [each.predict_heads(PIXELS).probs for each in (loaded, Classifier.load(tmp_path / "model"))]
    # The engine computes in bfloat16 where the processor does, which changes probabilities by some thousandths.
    np.testing.assert_allclose(probs[0], probs[1], atol=1e-2)
    assert np.ptp(probs[0], axis=0).max() > 0
