"""Stage `cross-validate`: predict every labelled item with a network that was not trained on it."""

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.catalog.prepared_items import OtherPhotographs
from hangtag.config import EvaluateConfig
from hangtag.console import track
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.inference.prediction import HeadProbs
from hangtag.inference.runs import EvaluatedItems
from hangtag.io import JsonObject, read_csv, read_json, write_csv, write_json, write_parquet, write_text
from hangtag.labels.dataset import LabeledItems, read_hash_distance, read_labeled_items
from hangtag.labels.duplicates import hash_items
from hangtag.labels.splits import assign_folds, take_share
from hangtag.lock import hold, hold_folder
from hangtag.manifest import StageRecord, read_manifest
from hangtag.metrics.confusion import OUT_OF_FOLD
from hangtag.metrics.markdown import list_fold_blocks, write_summary
from hangtag.metrics.report import build_class_tables, build_folds_report
from hangtag.models.batch_predict import ProbsByHead
from hangtag.models.checkpoint import assign_weights
from hangtag.models.label_space import CATEGORY_PATH, NO_VALUE, LabelSpace
from hangtag.models.pretrained import find_file, hash_source
from hangtag.ray_tasks import TaskPlan
from hangtag.results import CrossValidateResult, StageResult
from hangtag.runner_config import RunnerConfig
from hangtag.shards import ShardWork, Slot, local_field, run_shards
from hangtag.stages.earlier_runs import refuse_other_settings
from hangtag.stages.train import build_dataset, learn_vocabulary, name_run
from hangtag.train_config import TrainConfig
from hangtag.training.checkpoint import TrainingState, has_checkpoint
from hangtag.training.data import check_pretrained_unseen, read_pretrained_seen
from hangtag.training.epochs import estimate_training
from hangtag.training.linear_probe import LinearProbeTrainer
from hangtag.training.name_head import NAME_WEIGHT
from hangtag.training.targets import Targets, build_targets
from hangtag.training.trainer import Trainer
from hangtag.workspace import CHECKPOINT, Workspace, recover

# `hangtag cross-validate` prints the blocks.
__all__ = ["cross_validate", "list_fold_blocks", "read_report"]
MOST_FOLDS = 20
REPORT = "report.json"
# The column of `out_of_fold.parquet` with the probabilities of the category paths.
CATEGORY_PATH_PROBS = "category_path_probs"


def cross_validate(
    workspace: str | Path | Workspace,
    config: TrainConfig = TrainConfig(),  # noqa: B008  (frozen)
    *,
    folds: int = 5,
    run_id: str | None = None,
    replace: bool = False,
    runner: RunnerConfig = RunnerConfig(),  # noqa: B008
) -> CrossValidateResult:
    """Train one network for each fold, on all items but those of the fold, and predict the fold's items.

    All labelled items of the catalogue are predicted, also those of `val` and `test`. The probabilities are evidence
    for wrong labels, and the metrics cover every item of a rare class, where a hold-out has a tenth of them. Each
    training keeps the weights of its last epoch, whatever `config.checkpoint` is, so that they are not chosen by the
    items of the fold. The probabilities of an item with several photographs are the means over the photographs.
    Duplicates are in one fold. After an interruption, finished folds and epochs are not trained again.

    Writes to `folds/<run_id>/`:

    - `out_of_fold.parquet`: item_id, fold, label (the true value on the primary level), predicted_label, confidence,
      pred_probs (over the classes of the primary level), category_path_probs (over all category paths), and
      attribute_0, attribute_1, … (over the values of each attribute);
    - `label_space.json`: the classes of these probabilities;
    - `report.json`, `report.md`, and the tables of `build_class_tables`: the metrics, as `evaluate` writes them, of all
      items as one split `out_of_fold`, with 95 % intervals. The probabilities are not calibrated;
    - `history.csv`: the metrics of every epoch of every fold.

    Args:
        workspace: A workspace that has been cleaned.
        config: The settings of every training.
        folds: The number of folds.
        run_id: The name of the results; by default the one that a run with these settings would have.
        replace: Whether to replace results of this name from other settings; otherwise they are refused.
        runner: Where folds are trained; see docs/scaling.md.

    Raises:
        WorkspaceError: The catalogue is not cleaned, or a fold would be empty.
        SettingsError: The number of folds or a setting of the training is not allowed.
        ModelError: The architecture does not exist or cannot be built for this catalogue.
        LeakError: The pretrained weights were trained on these photographs.
        RunnerError: The Ray cluster cannot be used.
    """
    if not 2 <= folds <= MOST_FOLDS:
        raise SettingsError(f"{{folds}} must be 2 to {MOST_FOLDS}.", received=folds, settings=["folds"])
    if config.image_run:
        raise SettingsError(
            "Folds cannot use the network of another run: it was trained on items that they leave out.",
            hint="Go without --image-run.",
            received=config.image_run,
        )
    if config.teacher:
        raise SettingsError(
            "Folds have no teacher: it was trained on the items that they exclude.",
            hint="Cross-validate without --teacher.",
            received=config.teacher,
        )
    if config.minutes:
        raise SettingsError(
            "Cross-validation has no time budget: every fold must be trained for as long as the others.",
            hint="Choose a number of --epochs instead.",
            received=config.minutes,
        )
    workspace = Workspace.at(workspace)
    config = dataclasses.replace(config, checkpoint="last")
    folder = workspace.folds(run_id or name_run(config))
    with hold("cross-validate", workspace, reads=[workspace.prepared, workspace.labels], writes=[folder]):
        return CrossValidateResult.of(_cross_validate(workspace, config, folds, folder, runner, replace=replace))


def _cross_validate(
    workspace: Workspace, config: TrainConfig, folds: int, folder: Path, runner: RunnerConfig, *, replace: bool
) -> StageResult:
    labelled = read_labeled_items(workspace)
    settings = {**dataclasses.asdict(config), "folds": folds}
    inputs = {"labels": labelled.digest, **hash_source(config.pretrained, config.architecture)}
    record = StageRecord("cross-validate", folder, inputs, settings)
    # The metrics of an earlier version are computed from its finished folds, without another training.
    if (current := record.load_if_unchanged()) and (folder / REPORT).is_file():
        return current
    if not replace:
        refuse_other_settings(record)
    targets = build_targets(labelled, config.target)
    item_folds = _assign_folds(labelled, targets, folds, config.seed)
    _check_weights(config.pretrained, labelled, item_folds, read_hash_distance(workspace))
    weights = find_file(config.pretrained) if runner.runner == "ray" else None
    work = _Folds(workspace, config, folds, folder, record.inputs, str(weights or ""), (labelled, targets, item_folds))
    plan = TaskPlan("cross-validate", folds, folder, (workspace.root, *([weights] if weights else [])), cpus=0)
    with run_shards(work, range(folds), plan, runner) as results:
        # Where they are trained one after another, each shows its epochs.
        parts = list(track(results, "Training folds", folds, "folds") if runner.runner == "ray" else results)
    return _join_folds(record, parts, labelled, targets.label_space)


def estimate_seconds(workspace: Workspace, config: TrainConfig, folds: int = 5) -> float | None:
    """Estimate how long `cross_validate` will take on this machine, from a few steps of a network that is not used.

    Returns:
        Seconds, of which an interrupted cross-validation needs fewer; None if it is finished, or if only the heads are
        trained, whose time is that of computing the features.

    Raises:
        HangtagError: See `cross_validate`.
    """
    config, labelled = dataclasses.replace(config, checkpoint="last"), read_labeled_items(workspace)
    earlier = read_manifest(workspace.folds(name_run(config)))
    if config.freeze or (earlier and earlier["inputs"].get("labels") == labelled.digest):
        return None
    targets = build_targets(labelled, config.target)
    item_folds = _assign_folds(labelled, targets, folds, config.seed)
    trainer = _build_trainer(_Fold(labelled, targets, config, item_folds, 0), workspace.root, {}, folds)
    return folds * estimate_training(trainer)


@dataclass(frozen=True)
class _Fold:
    """The catalogue, the settings and the items of one training.

    Attributes:
        labelled: The cleaned catalogue.
        targets: The classes of its items.
        config: The settings of the training.
        item_folds: The fold of every row of the table, int64 (n,); see `_assign_folds`.
        fold: The fold that the training leaves out.
    """

    labelled: LabeledItems
    targets: Targets
    config: TrainConfig
    item_folds: npt.NDArray[np.int64]
    fold: int


@dataclass
class _Folds(ShardWork[int, Path]):
    """Train the network of a fold, and predict the items of the fold.

    Attributes:
        workspace: The workspace.
        config: The settings of every training.
        folds: The number of folds.
        folder: The folder of the results.
        inputs: The hashes of the inputs.
        weights: The absolute path of pretrained weights, for processes with another working directory; else empty.
        data: The catalogue, its classes and the fold of each item, where they are loaded.
    """

    workspace: Workspace
    config: TrainConfig
    folds: int
    folder: Path
    inputs: dict[str, str]
    weights: str
    data: tuple[LabeledItems, Targets, npt.NDArray[np.int64]] | None = local_field()

    def find(self, shard: int) -> Path | None:
        """Return the folder of a fold that is finished."""
        record = self._record(shard)
        if not record.folder.is_dir():
            return None
        with self._lock(record.folder):
            recover(record.folder)
            return record.folder if record.load_if_unchanged() else None

    def run(self, shard: int, slot: Slot) -> Path:  # noqa: ARG002  (the process has as many threads as it may use)
        """Train and predict; return the folder of the fold.

        Raises:
            WorkspaceError: The labels or the pretrained weights are not those that the command began with.
        """
        record = self._record(shard)
        labelled, targets, item_folds = self.data or self._load()
        config = dataclasses.replace(self.config, weights=self.weights) if self.weights else self.config
        with self._lock(record.folder):
            return _run_fold(record, _Fold(labelled, targets, config, item_folds, shard))

    def _record(self, fold: int) -> StageRecord:
        settings = {**dataclasses.asdict(self.config), "folds": self.folds, "fold": fold}
        return StageRecord("fold", self.folder / f"fold_{fold}", self.inputs, settings)

    def _lock(self, folder: Path) -> AbstractContextManager[None]:
        # After a kill of the command, a task of it may live on for a moment. The command that continues waits for it.
        return hold_folder("cross-validate", folder)

    def _load(self) -> tuple[LabeledItems, Targets, npt.NDArray[np.int64]]:
        labelled = read_labeled_items(self.workspace)
        if labelled.digest != self.inputs["labels"]:
            raise WorkspaceError("The labels have changed since the command began.", hint="Run it again.")
        found = hash_source(self.weights or self.config.pretrained, self.config.architecture)
        if found.get("weights") != self.inputs.get("weights"):
            raise WorkspaceError(
                "A node has other pretrained weights than the command, or they have changed.",
                hint="Put the same file at the same path on every node, and run it again.",
                received=self.weights or self.config.pretrained,
            )
        targets = build_targets(labelled, self.config.target)
        item_folds = _assign_folds(labelled, targets, self.folds, self.config.seed)
        self.data = labelled, targets, item_folds
        return self.data


def _assign_folds(labelled: LabeledItems, targets: Targets, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the fold of every row of the table, -1 for items in none: those without a split or a class."""
    table = labelled.table
    usable = table["split"].is_not_null().to_numpy() & (targets.classes[CATEGORY_PATH] != NO_VALUE)
    chosen = table.filter(pl.Series(values=usable.tolist(), dtype=pl.Boolean))
    item_folds = np.full(len(table), -1, np.int64)
    item_folds[usable] = assign_folds(chosen["label"].to_list(), chosen["group_id"].to_list(), folds, seed)
    counts = np.bincount(item_folds[usable], minlength=folds)
    if not counts.all():
        hint = "Use fewer folds, or clean a larger catalogue."
        raise WorkspaceError("There are too few groups of items for these folds.", hint=hint, received=folds)
    return item_folds


def _check_weights(
    weights: str, labelled: LabeledItems, item_folds: npt.NDArray[np.int64], max_distance: int | None
) -> None:
    """Check that no fold's items are known already to the weights that every fold begins from.

    Raises:
        LeakError: Some are: nothing of theirs would be out-of-fold.
    """
    pretrained_seen = read_pretrained_seen(weights)
    if len(pretrained_seen.trained_on.perceptual):
        hashes, _ = hash_items(labelled, labelled.table.filter(pl.Series(item_folds >= 0)))
        check_pretrained_unseen(pretrained_seen, hashes, max_distance, "the folds, which are to be unseen")


def _run_fold(record: StageRecord, fold: _Fold) -> Path:
    """Train on the other folds and predict the items of this one, unless that is done already; return its folder."""
    folder = record.folder
    recover(folder)
    if record.load_if_unchanged():
        return folder
    labelled, label_space, checkpoint = fold.labelled, fold.targets.label_space, folder / CHECKPOINT
    identity = {**record.settings, "labels": labelled.digest}
    trainer = _build_trainer(fold, checkpoint, identity, record.settings["folds"])
    state = TrainingState()
    if has_checkpoint(checkpoint):
        # The checkpoint of other settings or labels is refused; the training then starts from the beginning.
        with suppress(WorkspaceError):
            state = trainer.resume()
    trainer.fit(state)
    assign_weights(trainer.model, state.kept_weights)
    # The weight of the names must not be fitted on the items of the fold.
    trainer.predict_names(state, dict.fromkeys(label_space.heads, NAME_WEIGHT))
    work = record.begin()
    paths = [work / "out_of_fold.parquet", work / "history.csv"]
    left_out = labelled.table[np.flatnonzero(fold.item_folds == fold.fold)]
    write_parquet(paths[0], _tabulate_fold(left_out, trainer, fold.fold, labelled.others))
    write_csv(paths[1], pl.DataFrame(state.history).select(pl.lit(fold.fold).alias("fold"), pl.all()))
    record.finish({"items": len(left_out)}, paths, stale=[CHECKPOINT])
    return folder


def _build_trainer(fold: _Fold, checkpoint: Path, identity: JsonObject, folds: int) -> Trainer:
    """Build the trainer of a fold, whose data `val` are the items that it leaves out."""
    is_left_out = fold.item_folds == fold.fold
    is_trained_on = (fold.item_folds >= 0) & ~is_left_out
    is_trained_on = take_share(fold.labelled.table, is_trained_on, fold.config.train_fraction, fold.config.seed)
    if not is_trained_on.any():
        hint = "Choose a larger --train-fraction."
        raise WorkspaceError("A fold has no items to train on.", hint=hint, received=fold.config.train_fraction)
    vocabulary = learn_vocabulary(fold.labelled, fold.config, is_trained_on)
    data = {
        name: build_dataset(fold.labelled, fold.targets, vocabulary, chosen)
        for name, chosen in (("train", is_trained_on), ("val", is_left_out))
    }
    title = f"Fold {fold.fold + 1}/{folds} · "
    kind = LinearProbeTrainer if fold.config.freeze else Trainer
    return kind(data, fold.targets.label_space, fold.config, checkpoint, identity, vocabulary=vocabulary, title=title)


def _predict_items(item_ids: pl.Series, trainer: Trainer, others: OtherPhotographs) -> ProbsByHead:
    """Return the probabilities of the items of the fold, the means over their photographs; see `HeadProbs.average`.

    The network was trained on the first photograph of each item of the other folds.
    """
    left_out, title = trainer.data["val"], f"{trainer.title}predicting"
    first = trainer.predict_heads(left_out, title)
    rows, owners = others.find(item_ids)
    if not len(rows):
        return first
    data = dataclasses.replace(left_out.take(owners), images=others.images, rows=rows)
    others_probs = HeadProbs(trainer.label_space, trainer.predict_heads(data, title))
    photographs = HeadProbs(trainer.label_space, first).join(others_probs)
    return photographs.average(np.concatenate([np.arange(len(left_out)), owners])).by_head


def _tabulate_fold(items: pl.DataFrame, trainer: Trainer, fold: int, others: OtherPhotographs) -> pl.DataFrame:
    """Return the items of the fold with their labels and probabilities, as rows of `out_of_fold.parquet`."""
    label_space, left_out = trainer.label_space, trainer.data["val"]
    by_head = _predict_items(items["item_id"], trainer, others)
    products = by_head.pop(CATEGORY_PATH)
    probs = label_space.sum_level(products, label_space.primary)

    def name(indices: npt.NDArray[np.integer]) -> pl.Series:
        return pl.Series(values=[label_space.class_names[index] for index in indices.tolist()], dtype=pl.String)

    def store(values: npt.NDArray[np.float32]) -> pl.Series:
        return pl.Series(values, dtype=pl.Array(pl.Float32, values.shape[1])).cast(pl.List(pl.Float32))

    return items.select("item_id").with_columns(
        fold=pl.lit(fold),
        label=name(trainer.find_primary_classes(left_out)),
        predicted_label=name(probs.argmax(axis=1)),
        confidence=pl.Series(probs.max(axis=1)).cast(pl.Float64),
        pred_probs=store(probs),
        **{CATEGORY_PATH_PROBS: store(products)},
        **{head: store(values) for head, values in by_head.items()},
    )


def _join_folds(
    record: StageRecord, parts: Sequence[Path], labelled: LabeledItems, label_space: LabelSpace
) -> StageResult:
    """Join the probabilities of all folds, compute the metrics, and write the results."""
    table = pl.concat([pl.read_parquet(part / "out_of_fold.parquet") for part in parts])
    history = pl.concat([read_csv(part / "history.csv") for part in parts])
    predicted = _match_items(table, labelled, label_space)
    with_names = bool(record.settings["with_names"])
    report = build_folds_report(
        record.folder.name, labelled, predicted, EvaluateConfig(), folds=len(parts), with_names=with_names
    )
    tables = build_class_tables(report, predicted.tabulate())
    work = record.begin()
    write_parquet(work / "out_of_fold.parquet", table)
    write_json(work / "label_space.json", label_space.to_json())
    write_json(work / REPORT, report)
    write_text(work / "report.md", write_summary(report, tables["most_confused.csv"]))
    tables["history.csv"] = history
    for name, each in tables.items():
        write_csv(work / name, each)
    names = ["out_of_fold.parquet", "label_space.json", REPORT, "report.md", *tables]
    figures = report["splits"][OUT_OF_FOLD]
    counts = {"items": len(table), "folds": len(parts)}
    counts |= {key: round(figures[key], 4) for key in ("accuracy", "macro_f1")}
    earlier = {path.name for path in record.folder.glob("fold_*")}
    stale = sorted(earlier - {part.name for part in parts})
    return record.finish(counts, [work / name for name in names], stale=stale)


def read_report(folder: Path) -> JsonObject:
    """Read the metrics of a cross-validation from its folder."""
    report: JsonObject = read_json(folder / REPORT)
    return report


def _match_items(table: pl.DataFrame, labelled: LabeledItems, label_space: LabelSpace) -> EvaluatedItems:
    """Return the rows of `out_of_fold.parquet` with their items, as one split."""
    items = table.select("item_id").join(labelled.table, on="item_id", how="left", maintain_order="left")
    columns = {head: CATEGORY_PATH_PROBS if head == CATEGORY_PATH else head for head in label_space.heads}
    by_head = {
        head: table[columns[head]].list.to_array(size).to_numpy().astype(np.float32)
        for head, size in label_space.heads.items()
    }
    return EvaluatedItems(items.with_columns(split=pl.lit(OUT_OF_FOLD)), HeadProbs(label_space, by_head))
