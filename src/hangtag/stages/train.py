"""Stage `train`: train a classifier on the labelled photographs, and save its history and settings."""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.errors import SettingsError, WorkspaceError
from hangtag.inference.classifier import Classifier
from hangtag.inference.runs import EvaluatedItems, can_read_names, predict_items, select_items, select_runs
from hangtag.io import JsonObject, read_csv, write_csv, write_text
from hangtag.labels.dataset import LabeledItems, read_hash_distance, read_labeled_items
from hangtag.labels.duplicates import hash_photographs
from hangtag.labels.splits import take_share
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
from hangtag.train_config import START, TrainConfig
from hangtag.training.calibration import find_thresholds, fit_temperatures
from hangtag.training.checkpoint import TrainingState, read_settings_of_checkpoint
from hangtag.training.data import ItemDataset, collect_seen
from hangtag.training.epochs import fit_epochs
from hangtag.training.linear_probe import LinearProbeTrainer
from hangtag.training.targets import ALL, LABEL, Targets, build_targets
from hangtag.training.teacher import load_teacher
from hangtag.training.trainer import Trainer
from hangtag.workspace import CHECKPOINT, Workspace

# Settings whose value `auto` or 0 lets the training choose.
CHOSEN = ("precision", "epochs", "initial_scale", "final_scale")


def train(
    workspace: str | Path | Workspace,
    config: TrainConfig = TrainConfig(),  # noqa: B008  (frozen)
    *,
    run_id: str | None = None,
    resume: bool = False,
    replace: bool = False,
) -> TrainResult:
    """Train a classifier on the `train` split, validate on `val` after every epoch, and keep the epoch of `checkpoint`.

    Writes `runs/<run_id>/model.safetensors`, `model.json`, `seen.safetensors` (hashes of the photographs that the
    model was trained on, and of those that its epoch and thresholds were chosen on), `history.csv` and `config.toml`.
    A checkpoint is written after every epoch, so an interruption loses at most one epoch.

    Args:
        workspace: A workspace that has been cleaned.
        config: The settings of the training.
        run_id: The run's name; by default built from the settings, see `name_run`.
        resume: Continue an interrupted training, with the same data in the same order.
        replace: Replace a training of the same name that has other settings, which is an error otherwise. A training
            with the same settings on other labels is always replaced.

    Raises:
        WorkspaceError: Nothing is cleaned, a split is empty, or there is no matching training to resume or to reuse
            the network of.
        SettingsError: The catalogue has no such target or no names, the training diverges, or there is a training of
            the same name with other settings.
        ModelError: The architecture does not exist or does not support this image size, or the pretrained weights
            cannot be loaded or do not fit it.
        LeakError: The pretrained weights were trained on photographs of `val`.
        MissingExtraError: Keras is not installed.
    """
    workspace = Workspace.at(workspace)
    if config.image_run:
        config = _take_settings(workspace, config.image_run)
    if config.teacher:
        select_runs(workspace, config.teacher)
    run_id = run_id or name_run(config)
    others = [workspace.run(each) for each in (config.image_run, config.calibration_run, *config.teacher) if each]
    with hold(
        "train", workspace, reads=[workspace.prepared, workspace.labels, *others], writes=[workspace.run(run_id)]
    ):
        return TrainResult.of(_train_run(workspace, config, run_id, resume=resume, replace=replace))


def _train_run(workspace: Workspace, config: TrainConfig, run_id: str, *, resume: bool, replace: bool) -> StageResult:
    labelled = read_labeled_items(workspace)
    folder = workspace.run(run_id)
    record = StageRecord("train", folder, {"labels": labelled.digest, **hash_network(workspace, config)}, config)
    if current := record.load_if_unchanged():
        return current
    checkpoint = folder / CHECKPOINT
    if not replace:
        refuse_other_settings(record, None if resume else read_settings_of_checkpoint(checkpoint))
    build = partial(build_trainer, workspace, labelled, checkpoint)
    trainer = build(_fit_time(build, config, checkpoint, resume=resume))
    calibration = _read_calibration(workspace, config, trainer) if config.calibration_run else None
    others = None
    if len(labelled.others):
        rows, _ = labelled.others.find(labelled.of_split("val")["item_id"])
        others = hash_photographs(labelled.others.images, rows)
    seen = collect_seen(workspace, config, trainer.data, read_hash_distance(workspace), others)
    if config.image_run:
        state = _take_photographs(workspace.run(config.image_run), labelled.digest)
    else:
        state = trainer.resume() if resume else TrainingState()
        trainer.fit(state)
    paths = _save_run(trainer, state, record.begin(), labelled, run_id, calibration, seen)
    metrics = _build_metrics(trainer, state, _measure_val(record.work, labelled, f"{trainer.title}Measuring"))
    return record.finish(metrics, paths, stale=[CHECKPOINT], precision=trainer.precision)


def _fit_time(
    build: Callable[[TrainConfig], Trainer], config: TrainConfig, checkpoint: Path, *, resume: bool
) -> TrainConfig:
    """Return settings with a number of epochs that fits into `minutes`; a resumed training keeps its number."""
    if not config.minutes:
        return config
    unfinished = read_settings_of_checkpoint(checkpoint) if resume else None
    if unfinished is not None:
        return dataclasses.replace(config, epochs=unfinished["epochs"])
    return fit_epochs(build, config)


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


def name_run(config: TrainConfig) -> str:
    """Return the default name of a run: architecture, unusual settings, colour mode and seed."""
    usual = LABEL if config.architecture == "capstone" else ALL
    parts = [config.architecture]
    parts += ["frozen"] if config.freeze else ["finetuned"] if config.pretrained not in ("", START) else []
    parts += ["distilled"] if config.teacher else []
    # Column names may have characters that run names must not have.
    parts += [] if config.target == usual else [re.sub(r"[^A-Za-z0-9._-]+", "_", config.target)[:50]]
    parts += ["names"] if config.with_names else []
    parts += [f"share{config.train_fraction:g}"] if config.train_fraction < 1 else []
    return "-".join([*parts, config.color_mode, str(config.seed)])


def build_trainer(workspace: Workspace, labelled: LabeledItems, checkpoint: Path, config: TrainConfig) -> Trainer:
    """Build the trainer of a new network with its training and validation data.

    Raises:
        WorkspaceError: The training or validation data has no items, or a run of the teacher cannot be used.
        SettingsError: The catalogue has no such target or no names.
    """
    targets = build_targets(labelled, config.target)
    is_trained_on = labelled.table["split"].is_in(config.train_splits).fill_null(False).to_numpy()
    is_trained_on = take_share(labelled.table, is_trained_on, config.train_fraction, config.seed)
    vocabulary = learn_vocabulary(labelled, config, is_trained_on)
    data = {}
    for split in ("train", "val"):
        is_chosen = is_trained_on if split == "train" else labelled.table["split"].eq_missing(split).to_numpy()
        data[split] = build_dataset(labelled, targets, vocabulary, is_chosen)
        if not len(data[split]):
            hint = "Clean a larger catalogue, or choose other --split-fractions or a larger --train-fraction."
            raise WorkspaceError(f"There are no items in the split {split}.", hint=hint)
    space, identity = targets.label_space, {"labels": labelled.digest}
    teacher = load_teacher(workspace, config.teacher, labelled.digest, space) if config.teacher else None
    trainer = LinearProbeTrainer if config.freeze else Trainer
    return trainer(data, space, config, checkpoint, identity, vocabulary=vocabulary, teacher=teacher)


def learn_vocabulary(
    labelled: LabeledItems, config: TrainConfig, is_chosen: npt.NDArray[np.bool_]
) -> Vocabulary | None:
    """Build the vocabulary of the chosen items' names; return None if they are neither read nor targets.

    Raises:
        SettingsError: The catalogue has no names, or no word occurs in two names.
    """
    name = labelled.schema.name
    if not config.with_names and (name is None or not config.word_weight):
        return None
    if name is None:
        hint = "Train without --with-names, or prepare the catalogue with --name-column."
        raise SettingsError("The catalogue has no column with names.", hint=hint)
    vocabulary = Vocabulary.learn(labelled.table.filter(pl.Series(is_chosen))[name].fill_null(""))
    if not vocabulary.words and config.with_names:
        raise SettingsError("No word occurs in the names of two training items.", hint="Train without --with-names.")
    return vocabulary


def build_dataset(
    labelled: LabeledItems, targets: Targets, vocabulary: Vocabulary | None, is_chosen: npt.NDArray[np.bool_]
) -> ItemDataset:
    """Return the chosen items that have a category path."""
    rows = np.flatnonzero(is_chosen & (targets.classes[CATEGORY_PATH] != NO_VALUE))
    table = labelled.table[rows]
    classes = {head: indices[rows] for head, indices in targets.classes.items()}
    words = vocabulary.encode(table[str(labelled.schema.name)].to_list()) if vocabulary else None
    return ItemDataset(labelled.images, table["image_index"].to_numpy().astype(np.int64), classes, words)


def _read_calibration(workspace: Workspace, config: TrainConfig, trainer: Trainer) -> JsonObject:
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


def _take_settings(workspace: Workspace, run_id: str) -> TrainConfig:
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


def _take_photographs(folder: Path, labels_digest: str) -> TrainingState:
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


def _save_run(
    trainer: Trainer,
    state: TrainingState,
    folder: Path,
    labelled: LabeledItems,
    run_id: str,
    calibration: JsonObject | None,
    seen: SeenPhotographs,
) -> list[Path]:
    config, label_space = trainer.config, trainer.label_space
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
        label_space=label_space,
        vocabulary=trainer.vocabulary,
        run_id=run_id,
        label_name=labelled.schema.label_name if label_space.primary == LABEL else label_space.primary,
        tta_flip=config.tta_flip,
        calibration=calibration,
        train_splits=list(config.train_splits),
        train_fraction=config.train_fraction,
        **{ENTRY: entry},
        train_counts=_count_classes(trainer),
        pretrained=trainer.pretrained or None,
        metrics={key: kept[key] for key in ("epoch", "val_accuracy", "val_loss")},
        labels_digest=labelled.digest,
        versions=read_versions(),
        **({"hub": trainer.hub} if trainer.hub else {}),
    )
    return [*paths, list_of_seen, history, settings]


def _calibrate_model(trainer: Trainer, labelled: LabeledItems) -> JsonObject:
    """Fit temperatures and thresholds on val: for photographs alone, and with product names if the model reads them."""
    val, label_space = trainer.data["val"], trainer.label_space
    group_ids = dict(labelled.table.select("image_index", "group_id").iter_rows())
    groups = np.array([group_ids[row] for row in val.rows.tolist()])
    classes = trainer.find_primary_classes(val)
    calibration = {}
    for key, words in (("photograph", False), ("photograph_and_name", True)):
        if words and trainer.vocabulary is None:
            continue
        by_head = trainer.predict_heads(val, f"{trainer.title}Calibrating", words=words)
        temperatures = fit_temperatures(by_head, val.classes, label_space)
        probs = label_space.sum_level(
            apply_temperature(by_head[CATEGORY_PATH], temperatures[CATEGORY_PATH]), label_space.primary
        )
        known = classes != NO_VALUE
        thresholds = find_thresholds(probs[known], classes[known], groups=groups[known])
        calibration[key] = {"temperatures": temperatures, "thresholds": thresholds}
    return calibration


def _count_classes(trainer: Trainer) -> dict[str, list[int]]:
    """Return the number of training items of each class by head."""
    data = trainer.data["train"]
    return {
        head: np.bincount(data.classes[head][data.classes[head] != NO_VALUE], minlength=size).tolist()
        for head, size in trainer.label_space.heads.items()
    }


def _measure_val(folder: Path, labelled: LabeledItems, title: str) -> float:
    """Return the accuracy of the saved model on val, 0 to 1, computed as `evaluate` does.

    The accuracy in `history.csv` differs: it is measured after each epoch in the precision of the training, on the
    photographs alone, without their mirror images.

    Args:
        folder: The folder of the saved model.
        labelled: The cleaned catalogue.
        title: The title of the progress bar.
    """
    classifier = Classifier.load(folder)
    items = select_items(labelled, classifier.label_space, ["val"])
    with_names = can_read_names(classifier, labelled)
    return float(
        EvaluatedItems(items, predict_items(classifier, labelled, items, title, with_names=with_names)).correct.mean()
    )


def _build_metrics(trainer: Trainer, state: TrainingState, val_accuracy: float) -> JsonObject:
    speeds = [line["images_per_second"] for line in state.history]
    return {
        "train": len(trainer.data["train"]),
        "val": len(trainer.data["val"]),
        "classes": len(trainer.label_space.class_names),
        "parameters": trainer.model.count_params(),
        "epochs": state.epoch,
        "kept_epoch": state.kept_epoch,
        "val_accuracy": round(val_accuracy, 4),
        "images_per_second": round(sum(speeds) / len(speeds), 1),
    }
