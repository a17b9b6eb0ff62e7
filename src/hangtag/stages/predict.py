"""Stage `predict`: labels of the Unknown items, or of all, from every trained model."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import polars as pl
import polars.selectors as cs
from PIL import Image

from hangtag.config import PredictConfig
from hangtag.console import show_progress
from hangtag.errors import WorkspaceError
from hangtag.figures.counts import draw_contact_sheet, save_figure
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import HeadProbs, format_prediction
from hangtag.inference.runs import adjust, can_read_names, load_classifier, name_other_values, select_runs
from hangtag.io import hash_json, write_csv, write_parquet, write_whole
from hangtag.labels.dataset import UNKNOWN, LabeledItems, read_labeled_items
from hangtag.lock import hold, sweep
from hangtag.manifest import StageRecord, read_version
from hangtag.models.checkpoint import hash_run
from hangtag.models.label_space import Probs
from hangtag.ray_tasks import TaskPlan
from hangtag.results import PredictResult, StageResult
from hangtag.runner_config import RunnerConfig
from hangtag.shards import ShardWork, Slot, local_field, run_shards
from hangtag.training.targets import LABEL
from hangtag.workspace import PARTS, Workspace

SHEET_ITEMS = 100
# Photographs of a part, which is predicted as a whole or not at all.
PART = 4096
DIFFERENCES = {
    "item_id": pl.String,
    "predicted_label": pl.String,
    "confidence": pl.Float64,
    "other_run_id": pl.String,
    "other_predicted_label": pl.String,
    "other_confidence": pl.Float64,
}


@dataclass(frozen=True)
class Predicted:
    """The predictions of one run.

    Attributes:
        table: A row an item; see `describe_predictions`, with `is_sure` and `predicted_<column>` behind.
        target: The level or attribute that `predicted_label` is of.
    """

    table: pl.DataFrame
    target: str


def predict(
    workspace: str | Path | Workspace,
    config: PredictConfig = PredictConfig(),  # noqa: B008  (frozen)
    *,
    run_ids: Sequence[str] | None = None,
    runner: RunnerConfig = RunnerConfig(),  # noqa: B008
) -> list[PredictResult]:
    """Predict items with each trained model, and list where the models differ.

    Items that are `unknown` are those without a label, and those with a label that lack a level: what the models say of
    it stands in the level's own column.

    Writes `predictions.csv`, `predictions.parquet` (all probabilities), `differences.csv` and
    `contact_sheet.png` to `runs/<run_id>/predictions/`. A model that reads names is given them.

    An item with several photographs is predicted by all of them: its probabilities are the means of theirs.

    An answer is sure where its confidence is at or above the threshold that the model has for the wanted precision;
    without such a threshold none is. The thresholds were chosen on val without a logit adjustment: with one,
    confidences are other than those, and `is_sure` promises nothing.

    Args:
        workspace: A workspace with finished runs.
        config: Settings.
        run_ids: The runs; all finished ones by default.
        runner: Where items are predicted; see docs/scaling.md.

    Raises:
        WorkspaceError: There is no such run, or it was trained on other labels.
        ModelError: A model cannot be loaded, gives no numbers, or cannot be adjusted.
        RunnerError: The Ray cluster cannot be used.
    """
    workspace = Workspace.at(workspace)
    sweep(workspace)
    chosen = select_runs(workspace, run_ids)
    reads = [workspace.prepared, workspace.labels, *map(workspace.run, chosen)]
    with hold("predict", workspace, reads=reads, writes=[workspace.predictions(run_id) for run_id in chosen]):
        return [PredictResult.of(result) for result in _predict_runs(workspace, config, chosen, runner)]


def _predict_runs(
    workspace: Workspace, config: PredictConfig, chosen: Sequence[str], runner: RunnerConfig
) -> list[StageResult]:
    labelled = read_labeled_items(workspace)
    # All of them, because each run's differences tell of the others.
    models = {f"runs/{run_id}": hash_run(workspace, run_id) for run_id in chosen}
    records = {
        run_id: StageRecord("predict", workspace.predictions(run_id), {"labels": labelled.digest, **models}, config)
        for run_id in chosen
    }
    current = [record.load_if_unchanged() for record in records.values()]
    if all(current):
        return [result for result in current if result]
    items = _choose_items(labelled, config)
    work = _Predicting(workspace, config, models, labelled)
    with _predict_parts(work, items, labelled, chosen, runner) as predicted:
        found = {
            run_id: _describe_run(work.load(run_id), labelled, items, probs, config) for run_id, probs in predicted
        }
    return [_write_predictions(records[run_id], run_id, labelled, items, found) for run_id in chosen]


def _choose_items(labelled: LabeledItems, config: PredictConfig) -> pl.DataFrame:
    """Return all items, or those without a label or without a value on one of the levels."""
    if config.items == "all":
        return labelled.table
    levels = [level for level in labelled.schema.levels if level in labelled.table.columns]
    lacks = [pl.col(level).is_null() for level in levels]
    return labelled.table.filter(pl.any_horizontal(pl.col("label") == UNKNOWN, *lacks))


class _Part(NamedTuple):
    """Photographs that a run predicts: from a start to a stop, of the first ones of the items or of the others."""

    run_id: str
    is_other: bool
    start: int
    stop: int


@dataclass
class _Predicting(ShardWork[_Part, Path]):
    """Predict a part of the photographs with a run, and write the probabilities to a file.

    Attributes:
        workspace: The workspace.
        config: Settings.
        models: The hash of every run, by `runs/RUN`.
        labelled: The catalogue, where it is loaded.
        items: The items to predict, where they are chosen.
        loaded: The name of the run that was loaded last, and its model.
    """

    workspace: Workspace
    config: PredictConfig
    models: Mapping[str, str]
    labelled: LabeledItems | None = local_field()
    items: pl.DataFrame | None = local_field()
    loaded: tuple[str, Classifier] | None = local_field()

    def find(self, shard: _Part) -> Path | None:
        """Return the file of a finished part."""
        path = self._find_file(shard)
        return path if _read_probs(path) is not None else None

    def weigh(self, shard: _Part) -> int:
        """Return the number of photographs."""
        return shard.stop - shard.start

    def run(self, shard: _Part, slot: Slot) -> Path:
        """Predict a part; return its file."""
        classifier, labelled = self.load(shard.run_id), self._read()
        items = self.items = _choose_items(labelled, self.config) if self.items is None else self.items
        images, rows = labelled.images, items["image_index"].to_numpy().astype(np.int64)
        if shard.is_other:
            images = labelled.others.images
            rows, owners = labelled.others.find(items["item_id"])
            items = items[owners]
        chosen = slice(shard.start, shard.stop)
        names = items[str(labelled.schema.name)][chosen].to_list() if can_read_names(classifier, labelled) else None
        probs = classifier.predict_rows(images, rows[chosen], None, names)
        _write_probs(self._find_file(shard), probs)
        slot.advance(self.weigh(shard))
        return self._find_file(shard)

    def load(self, run_id: str) -> Classifier:
        """Load a run's model, if it is not the last one."""
        if self.loaded is None or self.loaded[0] != run_id:
            self.loaded = run_id, load_classifier(self.workspace, run_id, self._read())
        return self.loaded[1]

    def _read(self) -> LabeledItems:
        self.labelled = self.labelled or read_labeled_items(self.workspace)
        return self.labelled

    def _find_file(self, part: _Part) -> Path:
        # By what the probabilities depend on; settings such as thresholds come after them.
        model = self.models[f"runs/{part.run_id}"]
        key = hash_json([model, self._read().digest, self.config.items, read_version("hangtag"), *part])
        return self.workspace.predictions(part.run_id) / PARTS / f"{key[:32]}.npz"


@contextmanager
def _predict_parts(
    work: _Predicting, items: pl.DataFrame, labelled: LabeledItems, chosen: Sequence[str], runner: RunnerConfig
) -> Iterator[Iterator[tuple[str, HeadProbs]]]:
    """Predict items with every run, part by part; the block iterates over the runs and their probabilities."""
    rows, owners = labelled.others.find(items["item_id"])
    parts = {run_id: [*_cut(run_id, len(items), False), *_cut(run_id, len(rows), True)] for run_id in chosen}
    shards = [part for each in parts.values() for part in each]
    workspace, total = work.workspace, len(chosen) * (len(items) + len(rows))
    plan = TaskPlan("predict", len(shards), workspace.predictions(chosen[0]), (workspace.root,), cpus=0)
    title = f"Predicting with {chosen[0] if len(chosen) == 1 else f'{len(chosen)} runs'}"
    with (
        show_progress(title, total, "photographs") as bar,
        run_shards(work, shards, plan, runner, advance=bar.advance) as results,
    ):

        def join(run_id: str) -> HeadProbs:
            files = list(islice(results, len(parts[run_id])))
            probs = _join_probs(work.load(run_id), files)
            return probs.average(np.concatenate([np.arange(len(items)), owners])) if len(rows) else probs

        yield ((run_id, join(run_id)) for run_id in chosen)


def _cut(run_id: str, count: int, is_other: bool) -> list[_Part]:
    return [_Part(run_id, is_other, start, min(start + PART, count)) for start in range(0, count, PART)]


def _write_probs(path: Path, probs: HeadProbs) -> None:
    arrays = {f"head_{number}": each for number, each in enumerate(probs.by_head.values())}
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # (no name is that of a flag)
    with write_whole(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _read_probs(path: Path) -> list[Probs] | None:
    """Return the probabilities of each head; None where the file is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return [arrays[name] for name in arrays.files]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _join_probs(classifier: Classifier, files: Sequence[Path]) -> HeadProbs:
    """Return the probabilities of all parts.

    Raises:
        WorkspaceError: A file has gone since it was written.
    """
    heads = classifier.label_space.heads
    empty = [np.empty((0, size), np.float32) for size in heads.values()]
    parts = [empty, *(_read_probs(path) for path in files)]
    if None in parts:
        raise WorkspaceError("Files of this stage have gone while it ran.", hint="Run the command again.")
    by_head = {head: np.concatenate([part[number] for part in parts if part]) for number, head in enumerate(heads)}
    return HeadProbs(classifier.label_space, by_head)


def _describe_run(
    classifier: Classifier, labelled: LabeledItems, items: pl.DataFrame, probs: HeadProbs, config: PredictConfig
) -> Predicted:
    """Return the table of a run's predictions."""
    predictions = adjust(probs, classifier, config.logit_adjustment)
    table = describe_predictions(items["item_id"], predictions.probs, classifier.class_names)
    threshold = classifier.find_threshold(config.target_precision, with_names=can_read_names(classifier, labelled))
    is_sure = table["confidence"] >= (np.inf if threshold is None else threshold)
    others = name_other_values(predictions)
    return Predicted(table.with_columns(is_sure=is_sure).hstack(others), classifier.label_space.primary)


def describe_predictions(item_ids: pl.Series, probs: Probs, class_names: Sequence[str]) -> pl.DataFrame:
    """Return each item's two likeliest labels with their probabilities, and all probabilities.

    Args:
        item_ids: Text (n,).
        probs: float32 (n, num_classes).
        class_names: What the columns stand for.
    """
    order = np.argsort(-probs, axis=1, kind="stable")[:, :2]
    sorted_probs = np.take_along_axis(probs, order, axis=1)
    names = np.asarray(class_names, dtype=object)

    def column(values: Any, kind: Any) -> pl.Series:
        return pl.Series(values=list(values), dtype=kind)

    return pl.DataFrame(
        {
            "item_id": item_ids,
            "predicted_label": column(names[order[:, 0]], pl.String),
            "confidence": column(sorted_probs[:, 0], pl.Float64),
            "second_label": column(names[order[:, 1]], pl.String),
            "second_confidence": column(sorted_probs[:, 1], pl.Float64),
            "pred_probs": pl.Series(probs, dtype=pl.Array(pl.Float32, probs.shape[1])).cast(pl.List(pl.Float32)),
        }
    )


def find_differences(run_id: str, found: Mapping[str, Predicted]) -> pl.DataFrame:
    """List the items that another run with the same target labels otherwise, a line for each such run.

    Args:
        run_id: The run to hold against the others.
        found: What each run says, all of the same items in the same order.
    """
    own = found[run_id].table.select("item_id", "predicted_label", "confidence")
    parts = [pl.DataFrame(schema=DIFFERENCES)]
    for other_run_id, predicted in found.items():
        if predicted.target != found[run_id].target:
            continue
        other = predicted.table.select(
            pl.lit(other_run_id).alias("other_run_id"),
            pl.col("predicted_label").alias("other_predicted_label"),
            pl.col("confidence").alias("other_confidence"),
        )
        both = own.hstack(other)
        parts.append(both.filter(pl.col("predicted_label") != pl.col("other_predicted_label")))
    return pl.concat(parts)


def _write_predictions(
    record: StageRecord, run_id: str, labelled: LabeledItems, items: pl.DataFrame, found: Mapping[str, Predicted]
) -> StageResult:
    schema, folder = labelled.schema, record.begin()
    table, target = found[run_id].table, found[run_id].target
    names = ("predictions.csv", "predictions.parquet", "differences.csv", "contact_sheet.png")
    paths = [folder / name for name in names]
    given = {schema.name: items[schema.name]} if schema.name else {}
    given["given_label"] = items[schema.levels[-1] if target == LABEL else target]
    readable = table.drop("pred_probs").with_columns(**given)
    differences = find_differences(run_id, found)
    write_csv(paths[0], _round_confidences(readable.select("item_id", *given, pl.exclude("item_id", *given))))
    write_parquet(paths[1], table.select("item_id", "predicted_label", "confidence", "pred_probs"))
    write_csv(paths[2], _round_confidences(differences))
    save_figure(_draw_sheet(run_id, labelled, items, table), paths[3])
    sure, differing = int(table["is_sure"].sum()), differences["item_id"].n_unique()
    counts = {"items": len(items), "sure": sure, "differing": differing}
    return record.finish(counts, paths, stale=[PARTS])


def _round_confidences(table: pl.DataFrame) -> pl.DataFrame:
    """Round the confidences for the CSV file; the Parquet file keeps all digits."""
    return table.with_columns(cs.float().round(4))


def _draw_sheet(run_id: str, labelled: LabeledItems, items: pl.DataFrame, table: pl.DataFrame) -> Image.Image:
    """Show the first items with their predicted labels."""
    shown = table.head(SHEET_ITEMS).select("predicted_label", "confidence", "is_sure", "item_id")
    captions = [
        f"{label}\n{format_prediction(confidence, is_sure)}\n{item_id}"
        for label, confidence, is_sure, item_id in shown.iter_rows()
    ]
    pictures = [labelled.images[row] for row in items["image_index"].head(SHEET_ITEMS)]
    title = f"{len(table):,} items as {run_id} labels them"
    if not len(table):
        title = f"There is no {UNKNOWN} item for {run_id} to label"
    elif len(table) > SHEET_ITEMS:
        title += f", the first {SHEET_ITEMS}"
    return draw_contact_sheet(pictures, captions, columns=6, title=title)
