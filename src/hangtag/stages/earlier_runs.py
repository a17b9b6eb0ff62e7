"""What a training takes from earlier runs: settings, a network, a calibration; and the one that it must not replace."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hangtag.errors import SettingsError, WorkspaceError
from hangtag.io import JsonObject, read_csv
from hangtag.manifest import NAME as MANIFEST
from hangtag.manifest import StageRecord
from hangtag.models.checkpoint import hash_run, load_weights
from hangtag.models.description import read_description
from hangtag.models.pretrained import hash_source
from hangtag.settings import read_settings, resolve
from hangtag.train_config import TrainConfig
from hangtag.training.checkpoint import TrainingState
from hangtag.training.trainer import Trainer
from hangtag.workspace import Workspace

# Settings whose value `auto` or 0 lets the training choose.
CHOSEN = ("precision", "epochs", "initial_scale", "final_scale")


def refuse_other_settings(record: StageRecord, unfinished: Mapping[str, Any] | None = None) -> None:
    """Check that no training of the same name has other settings.

    Args:
        record: The record of the new training.
        unfinished: The settings of an interrupted training, if there is one.

    Raises:
        SettingsError: There is a training with other settings.
    """
    differing = record.find_other_settings()
    if record.settings.get("image_run") and "image_run" not in differing:
        # The settings are those of the image run, which was trained again.
        return
    if not differing and unfinished is not None:
        both = {name: (unfinished.get(name), value) for name, value in record.settings.items()}
        # The unfinished training recorded what was chosen where a setting leaves it open: `auto`, 0, or a budget.
        chosen = {name for name in CHOSEN if record.settings[name] in (0, "auto")}
        chosen |= {"epochs"} if record.settings["minutes"] else set()
        known = {name: values for name, values in both.items() if name in unfinished and name not in chosen}
        differing = {name: values for name, values in known.items() if values[0] != values[1]}
    if differing:
        changes = "; ".join(f"{name}: {earlier!r} there, {now!r} now" for name, (earlier, now) in differing.items())
        raise SettingsError(
            f"There is {'an unfinished' if unfinished else 'a'} training of the name {record.folder.name} with other "
            f"settings ({changes}).",
            hint="Choose another name with --run-id, or replace that training with --replace.",
        )


def take_settings(workspace: Workspace, run_id: str) -> TrainConfig:
    """Return the settings of the image run, for a training that adds the classifier of names to its network.

    Raises:
        WorkspaceError: There is no such run, or it already reads names.
    """
    folder = workspace.run(run_id)
    if not os.path.lexists(folder / MANIFEST):
        raise WorkspaceError("There is no such finished run for --image-run.", received=run_id)
    hash_run(workspace, run_id)
    config = resolve(TrainConfig, read_settings(folder / "config.toml"))
    if config.with_names:
        raise WorkspaceError(
            "The run of --image-run already reads names.", hint="Choose a run without --with-names.", received=run_id
        )
    return dataclasses.replace(config, with_names=True, image_run=run_id)


def hash_network(workspace: Workspace, config: TrainConfig) -> dict[str, str]:
    """Return the hashes of the weights and runs that the training starts from or learns from, as its inputs."""
    if not config.image_run:
        teachers = {f"runs/{run_id}": hash_run(workspace, run_id) for run_id in config.teacher}
        return hash_source(config.pretrained, config.architecture) | teachers
    described = read_description(workspace.run(config.image_run))
    return {"image_run": described.read("weights", "sha256")}


def read_calibration(workspace: Workspace, config: TrainConfig, trainer: Trainer) -> JsonObject:
    """Return the temperatures and thresholds of another run.

    Raises:
        WorkspaceError: There is no such run, or it predicts other labels.
    """
    folder = workspace.run(config.calibration_run)
    if not os.path.lexists(folder / MANIFEST):
        raise WorkspaceError("There is no such finished run for --calibration-run.", received=folder.name)
    hash_run(workspace, folder.name)
    described = read_description(folder)
    if described.label_space != trainer.label_space or (described.vocabulary is None) != (trainer.vocabulary is None):
        raise WorkspaceError(
            "The run of --calibration-run was trained on other labels.",
            hint="Choose a run with the same target and catalogue.",
            received=folder.name,
        )
    return dict(described.read("calibration"))


def take_photographs(folder: Path, labels_digest: str) -> TrainingState:
    """Return the finished training state of the image run in a folder.

    Raises:
        WorkspaceError: It was trained on other labels.
        ModelError: Its weights are damaged.
    """
    described = read_description(folder)
    if described.content.get("labels_digest") != labels_digest:
        hint = "Train it again, or run `hangtag clean` on the catalogue that it was trained on."
        raise WorkspaceError("The run of --image-run was trained on other labels.", hint=hint, received=folder.name)
    history = read_csv(folder / "history.csv").to_dicts()
    weights = load_weights(folder, described.read("weights", "sha256"))
    return TrainingState(history, weights, described.read("metrics", "epoch"))
