"""Stage `train`: train a classifier on the labelled photographs, and save its history and settings."""

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hangtag.config import TrainConfig
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.io import read_csv, write_csv, write_text
from hangtag.labels.dataset import LabeledItems, read_hash_distance, read_labeled_items
from hangtag.lock import hold
from hangtag.manifest import NAME as MANIFEST
from hangtag.manifest import StageRecord, read_versions
from hangtag.models.batch_predict import apply_temperature
from hangtag.models.checkpoint import assign_weights, hash_run, load_weights, save_model
from hangtag.models.description import read_description
from hangtag.models.label_space import CATEGORY_PATH, NO_VALUE
from hangtag.models.pretrained import hash_source
from hangtag.models.seen_images import ENTRY, SeenPhotographs, write_seen
from hangtag.models.text import Vocabulary
from hangtag.results import StageResult, TrainResult
from hangtag.settings import read_settings, resolve, to_toml
from hangtag.training.calibration import find_thresholds, fit_temperatures
from hangtag.training.checkpoint import TrainingState, read_settings_of_checkpoint
from hangtag.training.data import ItemDataset, collect_seen
from hangtag.training.linear_probe import LinearProbeTrainer
from hangtag.training.targets import ALL, LABEL, Targets, build_targets
from hangtag.training.trainer import Trainer
from hangtag.workspace import CHECKPOINT, Workspace


def train(
    workspace: str | Path | Workspace,
    config: TrainConfig = TrainConfig(),  # noqa: B008  (frozen)
    *,
    run_id: str | None = None,
    resume: bool = False,
    replace: bool = False,
) -> TrainResult:
    """Train a classifier on the `train` split, validate on `val` after every epoch, and keep the epoch of `checkpoint`.

    Writes `runs/<run_id>/model.safetensors`, `model.json`, `seen.safetensors` (hashes of the photographs that it
    learnt from, and of those that it was chosen on), `history.csv` and `config.toml`. After every epoch the whole
    state is saved, so a kill loses one epoch at most.

    Args:
        workspace: A workspace that has been cleaned.
        config: Settings.
        run_id: The run's name; by default made of the settings, see `name_run`.
        resume: Go on with an unfinished training, with the same data in the same order.
        replace: Replace a training of the same name that has other settings; else it is refused. One that learnt
            other labels with the same settings is replaced in any case.

    Raises:
        WorkspaceError: Nothing is cleaned, a split is empty, or there is no fitting training to resume or to take
            the network from.
        SettingsError: The catalogue lacks the target or the names, the training diverges, or there is one of the same
            name with other settings.
        ModelError: The architecture does not exist or cannot be built for this catalogue, or the weights to begin
            from cannot be had or do not fit it.
        LeakError: The weights to begin from learnt from photographs of `val`.
        MissingExtraError: Keras is not installed.
    """
    workspace = Workspace.at(workspace)
    if config.image_run:
        config = _take_settings(workspace, config.image_run)
    run_id = run_id or name_run(config)
    others = [workspace.run(each) for each in (config.image_run, config.calibration_run) if each]
    with hold(
        "train", workspace, reads=[workspace.prepared, workspace.labels, *others], writes=[workspace.run(run_id)]
    ):
        return TrainResult.of(_train_run(workspace, config, run_id, resume=resume, replace=replace))


def _train_run(workspace: Workspace, config: TrainConfig, run_id: str, *, resume: bool, replace: bool) -> StageResult:
    labelled = read_labeled_items(workspace)
    folder = workspace.run(run_id)
    record = StageRecord("train", folder, {"labels": labelled.digest, **_hash_network(workspace, config)}, config)
    if current := record.load_if_unchanged():
        return current
    checkpoint = folder / CHECKPOINT
    if not replace:
        refuse_other_settings(record, None if resume else read_settings_of_checkpoint(checkpoint))
    trainer = build_trainer(labelled, config, checkpoint)
    calibration = _read_calibration(workspace, config, trainer) if config.calibration_run else None
    seen = collect_seen(workspace, config, trainer.data, read_hash_distance(workspace))
    if config.image_run:
        state = _take_photographs(workspace.run(config.image_run), labelled.digest)
    else:
        state = trainer.resume() if resume else TrainingState()
        trainer.fit(state)
    paths = _save_run(trainer, state, record.begin(), labelled, run_id, calibration, seen)
    return record.finish(_build_metrics(trainer, state), paths, stale=[CHECKPOINT], precision=trainer.precision)


def refuse_other_settings(record: StageRecord, unfinished: Mapping[str, Any] | None = None) -> None:
    """Refuse to replace a training of the same name that was made with other settings.

    Args:
        record: Of the training to be made.
        unfinished: The settings of one that was interrupted, if there is one.

    Raises:
        SettingsError: There is one.
    """
    differing = record.find_other_settings()
    if record.settings.get("image_run") and "image_run" not in differing:
        # Its settings are those of the run that it takes the network from, which was trained again.
        return
    if not differing and unfinished is not None:
        both = {name: (unfinished.get(name), value) for name, value in record.settings.items()}
        # Its precision is the one that was used, not the one that was asked for.
        known = {name: values for name, values in both.items() if name in unfinished and name != "precision"}
        differing = {name: values for name, values in known.items() if values[0] != values[1]}
    if differing:
        told = "; ".join(f"{name}: {earlier!r} there, {now!r} now" for name, (earlier, now) in differing.items())
        raise SettingsError(
            f"There is {'an unfinished' if unfinished else 'a'} training of the name {record.folder.name} with other "
            f"settings ({told}).",
            hint="Name this one with --run-id, or replace that one with --replace.",
        )


def name_run(config: TrainConfig) -> str:
    """Return the name that a run has unless the user names it: architecture, what is unusual, colour mode, seed."""
    usual = LABEL if config.architecture == "capstone" else ALL
    parts = [config.architecture]
    parts += ["frozen"] if config.freeze else ["finetuned"] if config.weights else []
    # A column may be called otherwise than a run may.
    parts += [] if config.target == usual else [re.sub(r"[^A-Za-z0-9._-]+", "_", config.target)[:50]]
    parts += ["names"] if config.with_names else []
    return "-".join([*parts, config.color_mode, str(config.seed)])


def build_trainer(labelled: LabeledItems, config: TrainConfig, checkpoint: Path) -> Trainer:
    """Build the trainer of a new network, with its training data and `val`.

    Raises:
        WorkspaceError: One of the two has no items.
        SettingsError: The catalogue lacks the target or the names.
    """
    targets = build_targets(labelled, config.target)
    is_learnt = labelled.table["split"].is_in(config.train_splits).fill_null(False).to_numpy()
    vocabulary = learn_vocabulary(labelled, config, is_learnt)
    data = {}
    for split in ("train", "val"):
        is_chosen = is_learnt if split == "train" else labelled.table["split"].eq_missing(split).to_numpy()
        data[split] = build_dataset(labelled, targets, vocabulary, is_chosen)
        if not len(data[split]):
            hint = "Clean a larger catalogue, or with other split fractions."
            raise WorkspaceError(f"There are no items in the split {split}.", hint=hint)
    identity = {"labels": labelled.digest}
    trainer = LinearProbeTrainer if config.freeze else Trainer
    return trainer(data, targets.outputs, config, checkpoint, identity, vocabulary=vocabulary)


def learn_vocabulary(labelled: LabeledItems, config: TrainConfig, is_chosen: Any) -> Vocabulary | None:
    """Return the words of the chosen items' names where the network is to read names.

    Raises:
        SettingsError: The catalogue has no names, or none that share a word.
    """
    if not config.with_names:
        return None
    name = labelled.schema.name
    if name is None:
        hint = "Train without --with-names, or prepare the catalogue with --name-column."
        raise SettingsError("The catalogue has no column with names.", hint=hint)
    vocabulary = Vocabulary.learn(labelled.table.filter(pl.Series(is_chosen))[name].fill_null(""))
    if not vocabulary.words:
        raise SettingsError("No word is in the names of two items to learn from.", hint="Train without --with-names.")
    return vocabulary


def build_dataset(
    labelled: LabeledItems, targets: Targets, vocabulary: Vocabulary | None, is_chosen: Any
) -> ItemDataset:
    """Return the chosen items that have something to learn."""
    rows = np.flatnonzero(is_chosen & (targets.classes[CATEGORY_PATH] != NO_VALUE))
    table = labelled.table[rows]
    classes = {head: indices[rows] for head, indices in targets.classes.items()}
    words = vocabulary.encode(table[str(labelled.schema.name)].to_list()) if vocabulary else None
    return ItemDataset(labelled.images, table["image_index"].to_numpy().astype(np.int64), classes, words)


def _read_calibration(workspace: Workspace, config: TrainConfig, trainer: Trainer) -> dict[str, Any]:
    """Return the temperatures and thresholds of another run, known before the training begins.

    Raises:
        WorkspaceError: There is no such run, or it learnt something else.
    """
    folder = workspace.run(config.calibration_run)
    if not os.path.lexists(folder / MANIFEST):
        raise WorkspaceError("There is no such finished run to take the calibration from.", received=folder.name)
    hash_run(workspace, folder.name)
    described = read_description(folder)
    if described.outputs != trainer.outputs or (described.vocabulary is None) != (trainer.vocabulary is None):
        hint = "Train one with the same target and catalogue."
        raise WorkspaceError(
            "The run to take the calibration from learnt other labels.", hint=hint, received=folder.name
        )
    return dict(described.read("calibration"))


def _take_settings(workspace: Workspace, run_id: str) -> TrainConfig:
    """Return the settings of a run whose network is to read the photographs, for one that learns names beside it.

    Raises:
        WorkspaceError: There is no such run, or it reads names already.
    """
    folder = workspace.run(run_id)
    if not os.path.lexists(folder / MANIFEST):
        raise WorkspaceError("There is no such finished run to take the network from.", received=run_id)
    hash_run(workspace, run_id)
    config = resolve(TrainConfig, read_settings(folder / "config.toml"))
    if config.with_names:
        raise WorkspaceError("This run reads names already.", hint="Name one of photographs alone.", received=run_id)
    return dataclasses.replace(config, with_names=True, image_run=run_id)


def _hash_network(workspace: Workspace, config: TrainConfig) -> dict[str, str]:
    """Return the hash of the weights that a training begins from, or takes over, as one of its inputs."""
    if not config.image_run:
        return hash_source(config.weights)
    described = read_description(workspace.run(config.image_run))
    return {"image_run": described.read("weights", "sha256")}


def _take_photographs(folder: Path, labels_digest: str) -> TrainingState:
    """Return the finished training of the run in a folder.

    Raises:
        WorkspaceError: It learnt other labels.
        ModelError: Its weights are damaged.
    """
    described = read_description(folder)
    if described.content.get("labels_digest") != labels_digest:
        hint = "Train it again, or clean the catalogue as it was when it was trained."
        raise WorkspaceError("The run to take the network from learnt other labels.", hint=hint, received=folder.name)
    history = read_csv(folder / "history.csv").to_dicts()
    weights = load_weights(folder, described.read("weights", "sha256"))
    return TrainingState(history, weights, described.read("metrics", "epoch"))


def _save_run(
    trainer: Trainer,
    state: TrainingState,
    folder: Path,
    labelled: LabeledItems,
    run_id: str,
    calibration: dict[str, Any] | None,
    seen: SeenPhotographs,
) -> list[Path]:
    config, outputs = trainer.config, trainer.outputs
    assign_weights(trainer.model, state.kept_weights)
    name_weight = trainer.predict_names(state, calibration and calibration.get("name_weight"))
    if calibration is None:
        calibration = _calibrate_model(trainer, labelled) | ({"name_weight": name_weight} if name_weight else {})
    kept = state.history[state.kept_epoch - 1]
    history, settings = folder / "history.csv", folder / "config.toml"
    write_csv(history, pl.DataFrame(state.history))
    write_text(settings, to_toml(config))
    list_of_seen, entry = write_seen(folder, seen)
    paths = save_model(
        folder,
        trainer.build_model(trainer.network_size, len(trainer.vocabulary.words) if trainer.vocabulary else 0),
        state.kept_weights,
        architecture=config.architecture,
        image_size=trainer.image_size,
        network_size=trainer.network_size,
        color_mode=config.color_mode,
        outputs=outputs,
        vocabulary=trainer.vocabulary,
        run_id=run_id,
        label_name=labelled.schema.label_name if outputs.primary == LABEL else outputs.primary,
        tta_flip=config.tta_flip,
        calibration=calibration,
        train_splits=list(config.train_splits),
        **{ENTRY: entry},
        train_counts=_count_classes(trainer),
        pretrained=trainer.pretrained or None,
        metrics={key: kept[key] for key in ("epoch", "val_accuracy", "val_loss")},
        labels_digest=labelled.digest,
        versions=read_versions(),
        **({"hub": trainer.hub} if trainer.hub else {}),
    )
    return [*paths, list_of_seen, history, settings]


def _calibrate_model(trainer: Trainer, labelled: LabeledItems) -> dict[str, Any]:
    """Fit temperatures and thresholds on val, photographs alone, and with their names where these are read."""
    val, outputs = trainer.data["val"], trainer.outputs
    group_ids = dict(labelled.table.select("image_index", "group_id").iter_rows())
    groups = np.array([group_ids[row] for row in val.rows.tolist()])
    classes = trainer.find_primary_classes(val)
    calibration = {}
    for key, words in (("photograph", False), ("photograph_and_name", True)):
        if words and trainer.vocabulary is None:
            continue
        answers = trainer.answer(val, f"{trainer.title}Calibrating", words=words)
        temperatures = fit_temperatures(answers, val.classes, outputs)
        probs = outputs.sum_level(
            apply_temperature(answers[CATEGORY_PATH], temperatures[CATEGORY_PATH]), outputs.primary
        )
        known = classes != NO_VALUE
        thresholds = find_thresholds(probs[known], classes[known], groups=groups[known])
        calibration[key] = {"temperatures": temperatures, "thresholds": thresholds}
    return calibration


def _count_classes(trainer: Trainer) -> dict[str, list[int]]:
    """Return how often each class of each head was there to learn from."""
    data = trainer.data["train"]
    return {
        head: np.bincount(data.classes[head][data.classes[head] != NO_VALUE], minlength=size).tolist()
        for head, size in trainer.outputs.heads.items()
    }


def _build_metrics(trainer: Trainer, state: TrainingState) -> dict[str, Any]:
    speeds = [line["images_per_second"] for line in state.history]
    kept = state.history[state.kept_epoch - 1]
    return {
        "train": len(trainer.data["train"]),
        "val": len(trainer.data["val"]),
        "classes": len(trainer.outputs.class_names),
        "parameters": trainer.model.count_params(),
        "epochs": state.epoch,
        "kept_epoch": state.kept_epoch,
        "val_accuracy": round(kept["val_accuracy"], 4),
        "images_per_second": round(sum(speeds) / len(speeds), 1),
    }
