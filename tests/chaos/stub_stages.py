"""Stages without a network: what `train`, `evaluate`, `predict`, `audit` and `export` write, in a second each.

Everything that they read and write stays real; the network, its training and its figures are not.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from hangtag.errors import ModelError
from hangtag.models.outputs import Outputs
from hangtag.models.shipped import SHIPPED
from hangtag.models.storage import SavedModel, load_weights

WEIGHTS = {"dense/kernel": np.ones((4, 4), np.float32)}
DESCRIBED = {
    "parameters": {"total": 16, "trainable": 16, "non_trainable": 0},
    "flops": 1000,
    "layers": [{"name": "pixels", "type": "InputLayer", "output_shape": [80, 60, 3], "parameters": 0}],
}
FILES = ("network.xml", "network.bin")


class StubModel:
    """Answers every head from the first pixel."""

    input = ("pixels",)
    weights: tuple[Any, ...] = ()

    def __init__(self, outputs: Outputs) -> None:
        self.heads = outputs.heads

    def count_params(self) -> int:
        return 16

    def predict_on_batch(self, inputs: dict[str, npt.NDArray[np.uint8]]) -> dict[str, npt.NDArray[np.float32]]:
        first = inputs["pixels"].reshape(len(inputs["pixels"]), -1)[:, :8].sum(axis=1).astype(int)
        return {
            head: np.eye(size, dtype=np.float32)[first % size] * 0.5 + 0.5 / size for head, size in self.heads.items()
        }


class StubLearner:
    """Has learnt at once; what is asked of a learner beside is there, see `make_learner`."""

    def __init__(self, data: Any, outputs: Outputs, config: Any, checkpoint: Path, identity: Any, **more: Any) -> None:
        self.data, self.outputs, self.config, self.checkpoint, self.identity = (
            data,
            outputs,
            config,
            checkpoint,
            identity,
        )
        self.vocabulary, self.title = more.get("vocabulary"), more.get("title", "")
        self.precision, self.hub = "float32", None
        self.pretrained: dict[str, Any] = {}
        self.model = StubModel(outputs)
        self.trained, self.average = self.model, None

    def build_model(self, *_: Any, **__: Any) -> Any:
        return self.model

    def hear_names(self, *_: Any, **__: Any) -> dict[str, float]:
        return {}

    def fit(self, state: Any) -> None:
        line = {"epoch": 1, "image_size": "80x60", "loss": 0.5, "accuracy": 0.5, "val_loss": 0.5, "val_accuracy": 0.5}
        state.history.append(line | {"learning_rate": 0.001, "seconds": 1.0, "images_per_second": 100.0})
        state.kept_epoch, state.kept_weights = 1, WEIGHTS


def make_learner() -> type:
    """Return a learner that needs no Keras."""
    from hangtag.training.learner import Learner

    return type("StubbedLearner", (StubLearner, Learner), {})


def load_stub(folder: Path) -> SavedModel:
    """Read and check a run's files as `load_saved` does, and build no network of them."""
    from hangtag.models.description import read_description

    described = read_description(folder)
    if "weights" not in described.content:
        raise ModelError("The model has no network.", hint="Export or copy the model again.", received=str(folder))
    load_weights(folder, described.content["weights"]["sha256"])
    model = StubModel(described.outputs)
    sizes = described.image_size, described.network_size
    return SavedModel(model, described.outputs, described.vocabulary, *sizes, described.content)


def save_stub(folder: Path, *_: Any, **__: Any) -> dict[str, str]:
    """Write the network of the model that hangtag comes with."""
    from hangtag.artifacts import hash_file, write_whole

    for name in FILES:
        with write_whole(folder / name) as temporary:
            temporary.write_bytes((SHIPPED / name).read_bytes())
    return {"sha256": hash_file(folder / FILES[0]), "weights_sha256": hash_file(folder / FILES[1])}


def replace_networks(*, is_small: bool = False) -> None:
    """Put all of this in the place of the networks, in this process; without those of training where `is_small`."""
    from hangtag.reviewing import review

    _replace_service(review)
    if is_small:
        return
    from hangtag.evaluation import evaluate
    from hangtag.exploration import explore
    from hangtag.inference import classifier
    from hangtag.models import storage
    from hangtag.serving import export, serve
    from hangtag.training import folds, train

    _replace_service(serve)
    stubs: dict[Any, dict[str, Any]] = {
        classifier: {"load_saved": load_stub},
        storage: {"describe_model": lambda _: DESCRIBED},
        evaluate: dict.fromkeys(("_draw", "_show_looked", "save_attention"), _draw_nothing),
        explore: dict.fromkeys(("_write_pictures", "_write_sheets"), _draw_nothing),
        export: {
            "add_novelty": lambda model, *_: model,
            "_take_examples": _draw_nothing,
            "save_network": save_stub,
            "_check": _check,
        },
    }
    stubs |= {module: {"Learner": make_learner(), "assign_weights": lambda *_: None} for module in (train, folds)}
    for module, names in stubs.items():
        for name, stub in names.items():
            setattr(module, name, stub)


def _draw_nothing(*_: Any, **__: Any) -> list[Any]:
    return []


def _replace_service(module: Any) -> None:
    """Let a service start and be told to stop at once."""
    module.uvicorn = SimpleNamespace(Config=lambda *_, **__: None, Server=lambda *_: SimpleNamespace(run=lambda: None))


def _check(_classifier: Any, _folder: Path, _labelled: Any, val: Any, tolerance: float) -> tuple[Any, Any]:
    from hangtag.serving.export import Check

    return Check(len(val), 0.0, 0.5, 0.5, tolerance), np.ones(len(val), np.float32)
