"""Stage `cross-validate`: predict every labelled item with a network that has not seen it."""

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.catalog.prepared_items import OtherPhotographs
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.inference.prediction import HeadProbs
from hangtag.io import read_csv, write_csv, write_json, write_parquet
from hangtag.labels.dataset import LabeledItems, read_hash_distance, read_labeled_items
from hangtag.labels.duplicates import hash_items
from hangtag.labels.splits import assign_folds
from hangtag.lock import hold
from hangtag.manifest import StageRecord
from hangtag.models.batch_predict import ProbsByHead
from hangtag.models.checkpoint import assign_weights
from hangtag.models.label_space import CATEGORY_PATH, NO_VALUE, LabelSpace
from hangtag.models.pretrained import hash_source
from hangtag.results import CrossValidateResult, StageResult
from hangtag.stages.train import build_dataset, learn_vocabulary, name_run, refuse_other_settings
from hangtag.train_config import TrainConfig
from hangtag.training.checkpoint import TrainingState, has_checkpoint
from hangtag.training.data import check_pretrained_unseen, read_pretrained_seen
from hangtag.training.linear_probe import LinearProbeTrainer
from hangtag.training.name_head import NAME_WEIGHT
from hangtag.training.targets import Targets, build_targets
from hangtag.training.trainer import Trainer
from hangtag.workspace import CHECKPOINT, Workspace, recover

MOST_FOLDS = 20


def cross_validate(
    workspace: str | Path | Workspace,
    config: TrainConfig = TrainConfig(),  # noqa: B008  (frozen)
    *,
    folds: int = 5,
    run_id: str | None = None,
    replace: bool = False,
) -> CrossValidateResult:
    """Train as often as there are folds, each time without one of them, and predict that one.

    All labelled items take part, those of `val` and `test` too: what comes of it is for finding wrong labels, not
    for judging a model. The last epoch of each training is kept, whatever the settings say, so that no fold's
    own items choose its network. An item with several photographs is predicted by all of them: its probabilities are
    the means of theirs. Finished folds and epochs are not trained again after a stop.

    Writes to `folds/<run_id>/`: `out_of_fold.parquet` (item_id, fold, and the true class's column `label`,
    `predicted_label`, `confidence`, `pred_probs` over the classes, `category_path_probs` over all category paths,
    and for each attribute `attribute_0`, `attribute_1`, … over its values), `label_space.json` (their classes) and
    `history.csv`.

    Args:
        workspace: A workspace that has been cleaned.
        config: Settings of every training.
        folds: How many.
        run_id: The name; by default the one a run of these settings would have.
        replace: Replace folds of the same name that were trained with other settings; else they are refused.

    Raises:
        WorkspaceError: Nothing is cleaned, or a fold would be empty.
        SettingsError: The number of folds cannot be used, or a training cannot.
        ModelError: The architecture does not exist or cannot be built for this catalogue.
        LeakError: The pretrained weights were trained on these photographs.
    """
    if not 2 <= folds <= MOST_FOLDS:
        raise SettingsError(f"{{folds}} must be 2 to {MOST_FOLDS}.", received=folds, settings=["folds"])
    if config.image_run:
        raise SettingsError(
            "Folds take no other run's network: it has seen the items that they leave out.",
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
        return CrossValidateResult.of(_cross_validate(workspace, config, folds, folder, replace=replace))


def _cross_validate(
    workspace: Workspace, config: TrainConfig, folds: int, folder: Path, *, replace: bool
) -> StageResult:
    labelled = read_labeled_items(workspace)
    settings = {**dataclasses.asdict(config), "folds": folds}
    record = StageRecord(
        "cross-validate",
        folder,
        {"labels": labelled.digest, **hash_source(config.pretrained, config.architecture)},
        settings,
    )
    if current := record.load_if_unchanged():
        return current
    if not replace:
        refuse_other_settings(record)
    targets = build_targets(labelled, config.target)
    item_folds = _assign_folds(labelled, targets, folds, config.seed)
    _check_weights(config.pretrained, labelled, item_folds, read_hash_distance(workspace))
    parts = []
    for fold in range(folds):
        part = StageRecord("fold", folder / f"fold_{fold}", record.inputs, {**settings, "fold": fold})
        parts.append(_run_fold(part, _Fold(labelled, targets, config, item_folds, fold)))
    return _join_folds(record, parts, targets.label_space)


@dataclass(frozen=True)
class _Fold:
    """What one of the trainings needs to know."""

    labelled: LabeledItems
    targets: Targets
    config: TrainConfig
    item_folds: npt.NDArray[np.int64]
    fold: int


def _assign_folds(labelled: LabeledItems, targets: Targets, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the fold of every row of the table, -1 for those in none: Unknown items, and items without a class."""
    table = labelled.table
    usable = table["split"].is_not_null().to_numpy() & (targets.classes[CATEGORY_PATH] != NO_VALUE)
    chosen = table.filter(pl.Series(values=usable.tolist(), dtype=pl.Boolean))
    item_folds = np.full(len(table), -1, np.int64)
    item_folds[usable] = assign_folds(chosen["label"].to_list(), chosen["group_id"].to_list(), folds, seed)
    counts = np.bincount(item_folds[usable], minlength=folds)
    if not counts.all():
        hint = "Take fewer folds, or clean a larger catalogue."
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
    """Train without a fold and predict it, unless that is done already."""
    folder = record.folder
    recover(folder)
    if record.load_if_unchanged():
        return folder
    labelled, config = fold.labelled, fold.config
    is_left_out = fold.item_folds == fold.fold
    is_trained_on = (fold.item_folds >= 0) & ~is_left_out
    vocabulary = learn_vocabulary(labelled, config, is_trained_on)
    data = {
        name: build_dataset(labelled, fold.targets, vocabulary, chosen)
        for name, chosen in (("train", is_trained_on), ("val", is_left_out))
    }
    identity = {**record.settings, "labels": labelled.digest}
    title = f"Fold {fold.fold + 1}/{record.settings['folds']} · "
    label_space, checkpoint = fold.targets.label_space, folder / CHECKPOINT
    kind = LinearProbeTrainer if config.freeze else Trainer
    trainer = kind(data, label_space, config, checkpoint, identity, vocabulary=vocabulary, title=title)
    state = TrainingState()
    if has_checkpoint(checkpoint):
        # A training that was begun with other settings or labels is of no use here: it is started anew.
        with suppress(WorkspaceError):
            state = trainer.resume()
    trainer.fit(state)
    assign_weights(trainer.model, state.kept_weights)
    # A fold's own items may not say how far its names are to be trusted.
    trainer.predict_names(state, dict.fromkeys(label_space.heads, NAME_WEIGHT))
    work = record.begin()
    paths = [work / "out_of_fold.parquet", work / "history.csv"]
    left_out = labelled.table[np.flatnonzero(is_left_out)]
    write_parquet(paths[0], _tabulate_fold(left_out, trainer, fold.fold, labelled.others))
    write_csv(paths[1], pl.DataFrame(state.history).select(pl.lit(fold.fold).alias("fold"), pl.all()))
    record.finish({"items": int(is_left_out.sum())}, paths, stale=[CHECKPOINT])
    return folder


def _predict_items(item_ids: pl.Series, trainer: Trainer, others: OtherPhotographs) -> ProbsByHead:
    """Return the probabilities of the left-out items, the means over the photographs of each; see `HeadProbs.average`.

    The network learnt from the first photographs of the other items.
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
    """Return the left-out items with their labels and their probabilities."""
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
        category_path_probs=store(products),
        **{head: store(values) for head, values in by_head.items()},
    )


def _join_folds(record: StageRecord, parts: Sequence[Path], label_space: LabelSpace) -> StageResult:
    table = pl.concat([pl.read_parquet(part / "out_of_fold.parquet") for part in parts])
    names = ("out_of_fold.parquet", "history.csv", "label_space.json")
    work = record.begin()
    paths = [work / name for name in names]
    write_parquet(paths[0], table)
    write_csv(paths[1], pl.concat([read_csv(part / "history.csv") for part in parts]))
    write_json(paths[2], label_space.to_json())
    correct = table.select((pl.col("label") == pl.col("predicted_label")).mean()).item()
    counts = {"items": len(table), "folds": len(parts), "accuracy": round(float(correct), 4)}
    earlier = {path.name for path in record.folder.glob("fold_*")}
    return record.finish(counts, paths, stale=sorted(earlier - {part.name for part in parts}))
