"""Training checkpoints: one file, replaced atomically after every epoch, from which a training can be resumed."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hangtag.errors import ModelError, WorkspaceError
from hangtag.io import JsonObject, write_whole
from hangtag.models.checkpoint import Weights, assign_weights, read_weights
from hangtag.train_config import AS_BEFORE
from hangtag.training.losses import WeightEMA

if TYPE_CHECKING:
    from keras import Model

# The exceptions that reading a damaged file can raise.
DAMAGED = (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError)
FILE = "state.safetensors"


@dataclass
class TrainingState:
    """The progress of a training.

    Attributes:
        history: The metrics of each epoch, the rows of `history.csv`.
        kept_weights: The weights that the training will save. Depending on the settings, they are those of the epoch
            with the best validation accuracy (on a tie the earliest) or of the last epoch.
        kept_epoch: The epoch of these weights, from 1; 0 before the first epoch ends.
    """

    history: list[JsonObject] = field(default_factory=list)
    kept_weights: Weights = field(default_factory=dict)
    kept_epoch: int = 0

    @property
    def epoch(self) -> int:
        """The number of completed epochs."""
        return len(self.history)


def write_checkpoint(
    folder: Path, model: "Model", average: WeightEMA, state: TrainingState, identity: JsonObject
) -> None:
    """Write a checkpoint: the weights, their EMA, the optimizer's variables and the training state.

    Args:
        folder: The folder to write to.
        model: A compiled `keras.Model`.
        average: The EMA of its weights.
        state: The progress of the training.
        identity: The settings and digests that must be the same when the training is resumed.
    """
    tensors = {f"now/{path}": value for path, value in read_weights(model).items()}
    tensors |= {f"average/{path}": value for path, value in average.weights.items()}
    tensors |= {f"kept/{path}": value for path, value in state.kept_weights.items()}
    # Numbered, because the names of the optimizer's variables are not unique, but their order is fixed.
    tensors |= {
        f"optimizer/{position}": np.array(variable.numpy())
        for position, variable in enumerate(model.optimizer.variables)
    }
    described = {"identity": identity, "history": state.history, "kept_epoch": state.kept_epoch, "steps": average.steps}
    with write_whole(folder / FILE) as temporary:
        save_file(tensors, temporary, metadata={"state": json.dumps(described)})


def has_checkpoint(folder: Path) -> bool:
    """Return whether a folder has the checkpoint of an unfinished training."""
    return (folder / FILE).is_file()


def read_settings_of_checkpoint(folder: Path) -> JsonObject | None:
    """Read the settings and digests (`identity`) in a checkpoint; return None if there is none or it is damaged."""
    state = _read_state(folder)
    return None if state is None else dict(state["identity"])


def read_progress(folder: Path) -> tuple[list[JsonObject], int]:
    """Read the history in a checkpoint, and the number of epochs of the training; both empty if there is none."""
    state = _read_state(folder)
    return ([], 0) if state is None else (list(state["history"]), int(state["identity"]["epochs"]))


def _read_state(folder: Path) -> JsonObject | None:
    """Read what a checkpoint says besides its tensors; return None if there is none or it is damaged."""
    if not has_checkpoint(folder):
        return None
    try:
        with safe_open(folder / FILE, framework="numpy") as file:
            state: JsonObject = json.loads(file.metadata()["state"])
    except DAMAGED:
        return None
    is_whole = isinstance(state, dict) and isinstance(state.get("identity"), dict) and "epochs" in state["identity"]
    return state if is_whole and isinstance(state.get("history"), list) else None


def read_checkpoint(folder: Path, model: "Model", average: WeightEMA, identity: JsonObject) -> TrainingState:
    """Restore a model, its optimizer and the EMA of its weights from a checkpoint.

    A setting that the checkpoint does not have, because an earlier version wrote it, counts as the value of
    `AS_BEFORE`.

    Args:
        folder: The folder of the checkpoint.
        model: A compiled `keras.Model`, which is changed.
        average: The EMA of its weights, which is changed.
        identity: The settings and digests of this training.

    Returns:
        The progress of the training.

    Raises:
        WorkspaceError: There is no checkpoint, it is damaged, or its settings or labels differ.
    """
    hint = "Train without --resume to start from the beginning."
    if not has_checkpoint(folder):
        raise WorkspaceError("There is no unfinished training to resume.", hint=hint, received=folder.parent.name)
    try:
        with safe_open(folder / FILE, framework="numpy") as file:
            described = json.loads(file.metadata()["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        saved_identity, steps = dict(described["identity"]), int(described["steps"])
        state = TrainingState(
            list(described["history"]), _select_tensors(tensors, "kept/"), int(described["kept_epoch"])
        )
    except DAMAGED as error:
        raise WorkspaceError(f"The checkpoint cannot be read: {error}.", received=str(folder), hint=hint) from error
    known = AS_BEFORE | saved_identity
    changed = sorted(key for key in identity if key not in known or known[key] != identity[key])
    if changed:
        raise WorkspaceError(
            "The unfinished training was started with other settings or labels; these differ.",
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


def _select_tensors(tensors: Weights, prefix: str) -> Weights:
    """Return the tensors whose names have a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
