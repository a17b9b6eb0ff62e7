"""The state of an unfinished training on disk, one file written whole after every epoch."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hangtag.errors import ModelError, WorkspaceError
from hangtag.io import write_whole
from hangtag.models.checkpoint import Weights, assign_weights, read_weights
from hangtag.training.losses import WeightEMA

# What reading a damaged file raises; its metadata are JSON.
DAMAGED = (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError)
FILE = "state.safetensors"


@dataclass
class TrainingState:
    """How far a training has come.

    Attributes:
        history: A line an epoch, as `history.csv` has it.
        kept_weights: The weights to keep: of the epoch with the best validation accuracy, the earliest on a tie,
            or of the last one, as the settings say.
        kept_epoch: That epoch, from 1; 0 before the first.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    kept_weights: Weights = field(default_factory=dict)
    kept_epoch: int = 0

    @property
    def epoch(self) -> int:
        """The number of epochs done."""
        return len(self.history)


def write_checkpoint(
    folder: Path, model: Any, average: WeightEMA, state: TrainingState, identity: dict[str, Any]
) -> None:
    """Write the weights, their average, the optimizer's variables and the state.

    Args:
        folder: Where to.
        model: A compiled `keras.Model`.
        average: The average of its weights.
        state: How far it has come.
        identity: What must be the same when the training goes on: settings and digests.
    """
    tensors = {f"now/{path}": value for path, value in read_weights(model).items()}
    tensors |= {f"average/{path}": value for path, value in average.weights.items()}
    tensors |= {f"kept/{path}": value for path, value in state.kept_weights.items()}
    # The optimizer's variables keep their order; their names repeat.
    tensors |= {
        f"optimizer/{position}": np.array(variable.numpy())
        for position, variable in enumerate(model.optimizer.variables)
    }
    described = {"identity": identity, "history": state.history, "kept_epoch": state.kept_epoch, "steps": average.steps}
    with write_whole(folder / FILE) as temporary:
        save_file(tensors, temporary, metadata={"state": json.dumps(described)})


def has_checkpoint(folder: Path) -> bool:
    """Return whether a training was left unfinished here."""
    return (folder / FILE).is_file()


def read_settings_of_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Read the settings, among others, of the training left unfinished here; None where there is none to go on with."""
    if not has_checkpoint(folder):
        return None
    try:
        with safe_open(folder / FILE, framework="numpy") as file:
            return dict(json.loads(file.metadata()["state"])["identity"])
    except DAMAGED:
        return None


def read_checkpoint(folder: Path, model: Any, average: WeightEMA, identity: dict[str, Any]) -> TrainingState:
    """Put a training's state back into a compiled model and its average.

    Raises:
        WorkspaceError: There is no checkpoint, it is damaged, or it is of other settings or labels.
    """
    hint = "Train without --resume to start anew."
    if not has_checkpoint(folder):
        raise WorkspaceError("There is no unfinished training to resume.", hint=hint, received=folder.parent.name)
    try:
        with safe_open(folder / FILE, framework="numpy") as file:
            described = json.loads(file.metadata()["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        known, steps = dict(described["identity"]), int(described["steps"])
        state = TrainingState(
            list(described["history"]), _select_tensors(tensors, "kept/"), int(described["kept_epoch"])
        )
    except DAMAGED as error:
        raise WorkspaceError(f"The checkpoint cannot be read: {error}.", received=str(folder), hint=hint) from error
    changed = sorted(key for key in identity if known.get(key) != identity[key])
    if changed:
        raise WorkspaceError(
            "The unfinished training was begun with other settings or labels; these differ.",
            hint=hint,
            received=changed,
        )
    try:
        assign_weights(model, _select_tensors(tensors, "now/"))
        model.optimizer.build(model.trainable_variables)
        for position, variable in enumerate(model.optimizer.variables):
            variable.assign(tensors[f"optimizer/{position}"])
    except (ModelError, KeyError, ValueError) as error:
        what = f"The checkpoint is not that of this network: {error}"
        raise WorkspaceError(what, received=str(folder), hint=hint) from error
    average.weights, average.steps = _select_tensors(tensors, "average/"), steps
    return state


def _select_tensors(tensors: dict[str, Any], prefix: str) -> Weights:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
