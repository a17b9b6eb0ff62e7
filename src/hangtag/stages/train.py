"""Stage `train`: train a classifier on the labelled photographs, and save its history and settings."""

import re
from collections.abc import Mapping, Sequence
from contextlib import chdir, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.console import print_line, show_progress
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.inference.classifier import Classifier
from hangtag.inference.runs import evaluate_val, select_runs
from hangtag.io import JsonObject, write_csv, write_text
from hangtag.labels.dataset import LabeledItems, read_hash_distance, read_labeled_items
from hangtag.labels.duplicates import hash_photographs
from hangtag.labels.splits import take_share
from hangtag.lock import hold, hold_folder
from hangtag.manifest import StageRecord, read_versions
from hangtag.models.checkpoint import assign_weights, save_model
from hangtag.models.label_space import CATEGORY_PATH, NO_VALUE
from hangtag.models.pretrained import find_file
from hangtag.models.seen_images import ENTRY, SeenPhotographs, write_seen
from hangtag.models.text import Vocabulary
from hangtag.ray_tasks import TaskPlan
from hangtag.results import StageResult, TrainResult
from hangtag.runner_config import RunnerConfig
from hangtag.settings import to_toml
from hangtag.shards import ShardWork, Slot, run_shards
from hangtag.stages.earlier_runs import (
    hash_network,
    read_calibration,
    refuse_other_settings,
    take_photographs,
    take_settings,
)
from hangtag.train_config import START, TrainConfig
from hangtag.training.calibration import calibrate_model
from hangtag.training.checkpoint import TrainingState, has_checkpoint, read_progress, read_settings_of_checkpoint
from hangtag.training.data import ItemDataset, collect_seen
from hangtag.training.epoch_lines import EpochLines
from hangtag.training.epochs import fit_time
from hangtag.training.linear_probe import LinearProbeTrainer
from hangtag.training.targets import ALL, LABEL, Targets, build_targets
from hangtag.training.teacher import load_teacher
from hangtag.training.trainer import Trainer
from hangtag.workspace import CHECKPOINT, Workspace, recover


def train(
    workspace: str | Path | Workspace,
    config: TrainConfig = TrainConfig(),  # noqa: B008  (frozen)
    *,
    run_id: str | None = None,
    resume: bool = False,
    replace: bool = False,
    runner: RunnerConfig = RunnerConfig(),  # noqa: B008
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
        runner: Where the network is trained; on a cluster, from its last epoch if its process or node dies.

    Raises:
        WorkspaceError: Nothing is cleaned, a split is empty, or there is no matching training to resume or to reuse
            the network of.
        SettingsError: The catalogue has no such target or no names, the training diverges, or there is a training of
            the same name with other settings.
        ModelError: The architecture does not exist or does not support this image size, or the pretrained weights
            cannot be loaded or do not fit it.
        LeakError: The pretrained weights were trained on photographs of `val`.
        MissingExtraError: Keras is not installed.
        RunnerError: The Ray cluster cannot be used.
    """
    workspace = Workspace.at(workspace)
    if config.image_run:
        config = take_settings(workspace, config.image_run)
    if config.teacher:
        select_runs(workspace, config.teacher)
    run_id = run_id or name_run(config)
    with hold("train", workspace, reads=list_inputs(workspace, config), writes=[workspace.run(run_id)]):
        if runner.runner == "local":
            return TrainResult.of(train_run(workspace, config, run_id, resume=resume, replace=replace))
        left = [] if resume else read_progress(workspace.run(run_id) / CHECKPOINT)[0]
        [result] = _train_on_cluster(workspace, [Training(run_id, config, resume, left)], runner, replace=replace)
        return TrainResult.of(result)


def train_or_resume(
    workspace: Workspace, config: TrainConfig, *, run_id: str | None = None, replace: bool = False
) -> StageResult:
    """Train, or resume an interrupted training that has the same settings and labels."""
    if has_checkpoint(workspace.run(run_id or name_run(config)) / CHECKPOINT):
        # A checkpoint of other settings or labels cannot be resumed: start again below.
        with suppress(WorkspaceError):
            return train(workspace, config, run_id=run_id, resume=True, replace=replace)
    return train(workspace, config, run_id=run_id, replace=replace)


def run_trainings(
    workspace: Workspace, configs: Mapping[str, TrainConfig], runner: RunnerConfig, *, replace: bool = False
) -> list[StageResult]:
    """Train several networks, each of which is a run: one after another, or side by side as tasks of a Ray cluster.

    Finished runs are not trained again, and unfinished ones are resumed if they have the same settings and labels.

    Args:
        workspace: A workspace that has been cleaned.
        configs: The settings of each training, without an `image_run`, by the name of its run.
        runner: Where they are trained.
        replace: Replace runs of the same name with other settings, which are an error otherwise.

    Returns:
        The results in the order of the settings.

    Raises:
        HangtagError: A training fails; see `train`.
    """
    if runner.runner == "local":
        results = []
        for number, (run_id, config) in enumerate(configs.items(), 1):
            print_line(f"Training {number}/{len(configs)}: {run_id}")
            results.append(train_or_resume(workspace, config, run_id=run_id, replace=replace))
        return results
    reads = [path for config in configs.values() for path in list_inputs(workspace, config)]
    with hold("train", workspace, reads=reads, writes=[workspace.run(run_id) for run_id in configs]):
        plan = [Training(run_id, config) for run_id, config in configs.items()]
        return _train_on_cluster(workspace, plan, runner, replace=replace)


def list_inputs(workspace: Workspace, config: TrainConfig) -> list[Path]:
    """Return the folders that a training reads."""
    others = [workspace.run(each) for each in (config.image_run, config.calibration_run, *config.teacher) if each]
    return [workspace.prepared, workspace.labels, *others]


@dataclass(frozen=True)
class Training:
    """One of the trainings of a command on a cluster.

    Attributes:
        run_id: The name of its run.
        config: Its settings.
        must_resume: Whether there must be an unfinished training to resume.
        left: The history of an unfinished training that is not resumed; empty to resume any that fits.
    """

    run_id: str
    config: TrainConfig
    must_resume: bool = False
    left: list[JsonObject] = field(default_factory=list)

    def is_begun(self, checkpoint: Path) -> bool:
        """Return whether a checkpoint may be resumed, since this command, or any if that is allowed, has written it."""
        history, _ = read_progress(checkpoint)
        return history not in ([], self.left)


@dataclass
class Trainings(ShardWork[Training, StageResult]):
    """Train the network of a run, from the last epoch that an earlier try of the same command has finished.

    Attributes:
        workspace: The workspace, whose folders the command has locked.
        replace: See `train`.
        started_in: The folder that a relative path of pretrained weights begins at.
        labels: The digest of the labels.
    """

    workspace: Workspace
    replace: bool
    started_in: Path
    labels: str

    def find(self, shard: Training) -> StageResult | None:
        """Return the result of a run that is finished.

        Raises:
            SettingsError: There is a training of the same name with other settings.
        """
        record = _open_record(self.workspace, self.labels, shard.config, shard.run_id)
        current = record.load_if_unchanged()
        if current is None and not self.replace:
            unfinished = None if shard.must_resume else read_settings_of_checkpoint(record.folder / CHECKPOINT)
            refuse_other_settings(record, unfinished)
        return current

    def run(self, shard: Training, slot: Slot) -> StageResult:  # noqa: ARG002  (the process has its threads already)
        """Train the network, and write the run."""
        folder, is_there = self.workspace.run(shard.run_id), self.started_in.is_dir()
        train_here = partial(train_run, self.workspace, shard.config, shard.run_id, replace=self.replace)
        # After a kill of the command, a task of it may live on for a moment.
        with chdir(self.started_in) if is_there else nullcontext(), hold_folder("train", folder):
            recover(folder)
            if shard.must_resume:
                return train_here(resume=True)
            if shard.is_begun(folder / CHECKPOINT):
                with suppress(WorkspaceError):
                    return train_here(resume=True)
            return train_here(resume=False)


def _train_on_cluster(
    workspace: Workspace, plan: Sequence[Training], runner: RunnerConfig, *, replace: bool
) -> list[StageResult]:
    """Train as tasks of a Ray cluster, with a line for every epoch, and return the results in order."""
    work = Trainings(workspace, replace, Path.cwd(), read_labeled_items(workspace).digest)
    for training in plan:
        # What cannot be trained is said before any is.
        work.find(training)
    files = {find_file(training.config.pretrained) for training in plan} - {None}
    shared = (workspace.root, *(file for file in files if file))
    titles = {each.run_id: f"{each.run_id} · " if len(plan) > 1 else "" for each in plan}
    lines = EpochLines({titles[each.run_id]: workspace.run(each.run_id) for each in plan})
    again = f"Every finished epoch is kept; the same command{' with --resume' if len(plan) == 1 else ''} continues."
    tasks, results = TaskPlan("train", len(plan), workspace.runs, shared, cpus=0, again=again), []
    with (
        show_progress("Training", len(plan), "runs") as bar,
        run_shards(work, plan, tasks, runner, advance=bar.advance, look=lines.update) as found,
    ):
        for training, result in zip(plan, found, strict=True):
            results.append(result)
            if not result.skipped:
                lines.finish(titles[training.run_id])
    return results


def _open_record(workspace: Workspace, labels: str, config: TrainConfig, run_id: str) -> StageRecord:
    return StageRecord("train", workspace.run(run_id), {"labels": labels, **hash_network(workspace, config)}, config)


def train_run(workspace: Workspace, config: TrainConfig, run_id: str, *, resume: bool, replace: bool) -> StageResult:
    """Do a training in this process, in folders that are locked; see `train`."""
    labelled = read_labeled_items(workspace)
    record = _open_record(workspace, labelled.digest, config, run_id)
    if current := record.load_if_unchanged():
        return current
    checkpoint = record.folder / CHECKPOINT
    if not replace:
        refuse_other_settings(record, None if resume else read_settings_of_checkpoint(checkpoint))
    build = partial(build_trainer, workspace, labelled, checkpoint)
    trainer = build(fit_time(build, config, checkpoint if resume else None))
    calibration = read_calibration(workspace, config, trainer) if config.calibration_run else None
    others = None
    if len(labelled.others):
        rows, _ = labelled.others.find(labelled.of_split("val")["item_id"])
        others = hash_photographs(labelled.others.images, rows)
    seen = collect_seen(workspace, config, trainer.data, read_hash_distance(workspace), others)
    if config.image_run:
        state = take_photographs(workspace.run(config.image_run), labelled.digest)
    else:
        state = trainer.resume() if resume else TrainingState()
        trainer.fit(state)
    paths = _save_run(trainer, state, record.begin(), labelled, run_id, calibration, seen)
    # The accuracy in `history.csv` differs: it is measured after each epoch in the precision of the training, on the
    # photographs alone, without their mirror images.
    measured = evaluate_val(Classifier.load(record.work), labelled, f"{trainer.title}Measuring")
    metrics = _build_metrics(trainer, state, float(measured.correct.mean()))
    return record.finish(metrics, paths, stale=[CHECKPOINT], precision=trainer.precision)


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
        calibration = calibrate_model(trainer, labelled) | ({"name_weight": name_weight} if name_weight else {})
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


def _count_classes(trainer: Trainer) -> dict[str, list[int]]:
    """Return the number of training items of each class by head."""
    data = trainer.data["train"]
    return {
        head: np.bincount(data.classes[head][data.classes[head] != NO_VALUE], minlength=size).tolist()
        for head, size in trainer.label_space.heads.items()
    }


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
