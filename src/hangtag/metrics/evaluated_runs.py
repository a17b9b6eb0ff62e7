"""Read evaluated runs: their settings, costs and predictions of one split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.errors import WorkspaceError
from hangtag.io import hash_file, hash_json, read_csv, read_json
from hangtag.labels.dataset import LabeledItems, read_labeled_items
from hangtag.manifest import compute_digest, read_manifest, require_manifest
from hangtag.metrics.bootstrap import Figure, draw_weights
from hangtag.metrics.classification import average_f1, count_outcomes
from hangtag.metrics.levels import FREQUENT_ITEMS
from hangtag.models.checkpoint import make_hint
from hangtag.models.description import read_entries
from hangtag.training.targets import LABEL
from hangtag.workspace import Workspace

COLUMNS = ("item_id", "group_id", "label", "predicted_label")
PREFIX = "predicted_"
PHOTOGRAPH = "photograph"
# Settings and inputs that differ between the seeds of one recipe: the seed, and the run that names were learnt beside.
SEEDED = ("seed", "image_run")


@dataclass(frozen=True)
class EvaluatedRun:
    """A finished run with its evaluation on one split.

    Attributes:
        run_id: Its name.
        manifest: What `train` noted.
        model: Its `model.json`.
        history: Its `history.csv`, a row an epoch.
        target: What `predictions` is of: `label`, or a level's or an attribute's column.
        predictions: `COLUMNS` of the split's items.
        reads: What it was evaluated from: `photograph`, or `photograph and name`.
        others: `item_id`, and what it said on every other level and attribute, in the column of that name.
        labels_digest: Of the labels that it was evaluated on.
    """

    run_id: str
    manifest: dict[str, Any]
    model: dict[str, Any]
    history: pl.DataFrame
    target: str
    predictions: pl.DataFrame
    reads: str
    others: pl.DataFrame
    labels_digest: str | None

    @property
    def kind(self) -> str:
        """A digest of all that it was trained with but what is seeded: runs of one kind differ by chance alone."""
        parts = (self.manifest["settings"], self.manifest["inputs"])
        return hash_json([{key: value for key, value in part.items() if key not in SEEDED} for part in parts])

    @property
    def seed(self) -> int:
        """The seed that it was trained with."""
        return int(self.manifest["settings"].get("seed", 0))

    def find_said(self, column: str) -> pl.DataFrame | None:
        """Return `item_id` and `predicted_label` (empty for no value) of a column; None if it is not predicted."""
        if column == self.target:
            return self.predictions.select("item_id", "predicted_label")
        if column not in self.others.columns:
            return None
        return self.others.select("item_id", pl.col(column).fill_null("").alias("predicted_label"))


def find_evaluated(workspace: Workspace, split: str) -> list[str]:
    """Return the finished runs that are evaluated on a split as they are now, in alphabetical order."""
    return [
        run_id
        for run_id in workspace.run_ids()
        if is_evaluated(workspace, run_id) and _has_items(workspace, run_id, split)
    ]


def _has_items(workspace: Workspace, run_id: str, split: str) -> bool:
    require_evaluation(workspace, run_id)
    splits = pl.read_parquet(workspace.evaluation(run_id) / "predictions.parquet", columns=["split"])["split"]
    return split in splits


def require_evaluation(workspace: Workspace, run_id: str) -> dict[str, Any]:
    """Read the manifest of a run's evaluation.

    Raises:
        WorkspaceError: It is not evaluated, or the evaluation's files were changed or damaged since.
    """
    return require_manifest(workspace.evaluation(run_id), f"Run `hangtag evaluate {run_id}` again.")


def is_evaluated(workspace: Workspace, run_id: str) -> bool:
    """Return whether a run is evaluated, and was not trained again since."""
    manifest = read_manifest(workspace.evaluation(run_id))
    return manifest is not None and manifest["inputs"].get("model") == _hash_model(workspace, run_id)


def is_predicted(workspace: Workspace, run_id: str) -> bool:
    """Return whether a run has labelled the unknown items, and was not trained again since."""
    manifest = read_manifest(workspace.predictions(run_id))
    return manifest is not None and manifest["inputs"].get(f"runs/{run_id}") == _hash_model(workspace, run_id)


def _hash_model(workspace: Workspace, run_id: str) -> str:
    path = workspace.run(run_id) / "model.json"
    return hash_file(path) if path.is_file() else ""


def digest_run(workspace: Workspace, run_id: str) -> str:
    """Return a digest of a run's files, settings and evaluation."""
    trained = require_manifest(workspace.run(run_id), make_hint(run_id))
    evaluated = require_evaluation(workspace, run_id)
    return hash_json([compute_digest(trained), trained["settings"], trained["inputs"], compute_digest(evaluated)])


def read_run(workspace: Workspace, run_id: str, split: str) -> EvaluatedRun:
    """Read a run that is evaluated on a split.

    Raises:
        WorkspaceError: It was not evaluated on that split.
    """
    folder, evaluation = workspace.run(run_id), workspace.evaluation(run_id)
    whole = pl.read_parquet(evaluation / "predictions.parquet")
    found = whole.filter(pl.col("split") == split).drop_nulls("label")
    if found.is_empty():
        raise WorkspaceError(
            f"The run {run_id} was not evaluated on {split}.",
            allowed=f"DecidedIssue: {', '.join(whole['split'].unique(maintain_order=True))}.",
            hint=f"Run `hangtag evaluate {run_id}` first, with {split} among its --splits.",
        )
    model, report = read_entries(folder), read_json(evaluation / "report.json")
    others = [each for each in found.columns if each.startswith(PREFIX) and each not in COLUMNS]
    return EvaluatedRun(
        run_id=run_id,
        manifest=require_manifest(folder, make_hint(run_id)),
        model=model,
        history=read_csv(folder / "history.csv"),
        # Older reports do not name it: they are of the model's primary level.
        target=report.get("target") or model.get("label_space", {}).get("primary", LABEL),
        # That a product has no value on a level is an answer too.
        predictions=found.select(COLUMNS).with_columns(pl.col("predicted_label").fill_null("")),
        reads=report.get("input", PHOTOGRAPH),
        others=found.select("item_id", *(pl.col(each).alias(each.removeprefix(PREFIX)) for each in others)),
        labels_digest=require_evaluation(workspace, run_id)["inputs"].get("labels"),
    )


def read_truth(workspace: Workspace, runs: Sequence[EvaluatedRun]) -> LabeledItems | None:
    """Return the labels that the runs were evaluated on, or None if the workspace has others by now."""
    try:
        labelled = read_labeled_items(workspace)
    except WorkspaceError:
        return None
    return labelled if all(run.labels_digest == labelled.digest for run in runs) else None


def answer_alike(runs: Sequence[EvaluatedRun], baseline: int, truth: LabeledItems | None) -> list[EvaluatedRun]:
    """Return the runs with their predictions of one column: their target or, if targets differ, one that all predict.

    That is the baseline's target, else another run's, else the finest level.

    Raises:
        WorkspaceError: They were evaluated on different targets, and there is no column that all of them learnt.
    """
    targets = {run.run_id: run.target for run in runs}
    if len(set(targets.values())) == 1:
        return list(runs)
    wanted = [runs[baseline].target, *targets.values(), *(reversed(truth.schema.levels) if truth else ())]
    for column in dict.fromkeys(wanted):
        said = [run.find_said(column) for run in runs]
        if truth is not None and column in truth.table.columns and all(each is not None for each in said):
            return [
                _select_column(run, column, each, truth)
                for run, each in zip(runs, said, strict=True)
                if each is not None
            ]
    raise WorkspaceError("The runs were evaluated on different targets.", received=targets)


def _select_column(run: EvaluatedRun, column: str, said: pl.DataFrame, truth: LabeledItems) -> EvaluatedRun:
    if column == run.target:
        return run
    true = truth.table.select("item_id", pl.col(column).cast(pl.String).alias("label")).drop_nulls()
    items = run.predictions.select("item_id", "group_id")
    joined = items.join(true, on="item_id", maintain_order="left").join(said, on="item_id", maintain_order="left")
    return replace(run, target=column, predictions=joined.select(COLUMNS))


# Judge several runs on the catalogue's finest level, over the classes that have items enough to be evaluated on.


@dataclass(frozen=True)
class LeafLevel:
    """How runs did on the finest level.

    Attributes:
        column: Its name.
        columns: The column in the figures of each run that predicts the level, by the run's index among all runs.
        figures: `level_accuracy` (of the items of frequent classes) and `level_macro_f1` (the mean F1 of these classes,
            among all items), of the runs that learnt it.
    """

    column: str
    columns: dict[int, int]
    figures: dict[str, Figure]


def evaluate_leaf_level(
    runs: Sequence[EvaluatedRun], items: pl.DataFrame, truth: LabeledItems | None, *, samples: int, seed: int
) -> LeafLevel | None:
    """Evaluate the runs on the catalogue's leaf level, or return None where that is impossible.

    Args:
        runs: The runs.
        items: `item_id` and `group_id` of the items that all runs were evaluated on.
        truth: The catalogue that they were evaluated on, if it is still there.
        samples: Draws behind each interval.
        seed: Of the draws.
    """
    if truth is None or not truth.schema.levels:
        return None
    column = truth.schema.levels[-1]
    said = {position: found for position, run in enumerate(runs) if (found := run.find_said(column)) is not None}
    known = truth.table.filter(pl.col("split").is_not_null()).select("item_id", pl.col(column).cast(pl.String))
    table = items.select("item_id", "group_id").join(known.drop_nulls(), on="item_id", maintain_order="left")
    table = table.drop_nulls(column)
    for position, each in said.items():
        table = table.join(each.rename({"predicted_label": str(position)}), on="item_id", maintain_order="left")
    counts = dict(known.drop_nulls().group_by(column).len().iter_rows())
    names = sorted({value for name in (column, *map(str, said)) for value in table[name].unique()})
    is_frequent = np.array([counts.get(name, 0) >= FREQUENT_ITEMS for name in names], bool)
    index = dict(zip(names, range(len(names)), strict=True))
    columns = [
        table[name].replace_strict(index, return_dtype=pl.Int64).to_numpy() for name in (column, *map(str, said))
    ]
    classes = columns[0]
    if not said or not len(table) or not is_frequent[classes].any():
        return None
    figures = _draw_figures(classes, columns[1:], table["group_id"].to_list(), is_frequent, samples=samples, seed=seed)
    return LeafLevel(column, {position: number for number, position in enumerate(said)}, figures)


def _draw_figures(
    classes: npt.NDArray[np.int64],
    predicted: Sequence[npt.NDArray[np.int64]],
    group_ids: Sequence[str],
    is_frequent: npt.NDArray[np.bool_],
    *,
    samples: int,
    seed: int,
) -> dict[str, Figure]:
    def measure(weights: npt.NDArray[np.int64]) -> tuple[list[float], list[float]]:
        accuracy, macro_f1 = [], []
        for each in predicted:
            outcomes = count_outcomes(classes, each, len(is_frequent), weights)
            hits, support, _ = (counts[is_frequent].sum() for counts in outcomes)
            # A draw may miss every item of these classes, in a catalogue of a few.
            accuracy.append(float(hits / support) if support else 0.0)
            macro_f1.append(float(average_f1(outcomes, is_frequent)))
        return accuracy, macro_f1

    values = measure(np.ones_like(classes))
    draws = [measure(weights) for weights in draw_weights(group_ids, samples, seed)]
    return {
        name: Figure(np.array(value), np.array([draw[index] for draw in draws]))
        for index, (name, value) in enumerate(zip(("level_accuracy", "level_macro_f1"), values, strict=True))
    }


# Put runs that differ by their seed alone into one row: a recipe's mean figures, and what it costs.

SAME = ("split", "items", "column", "input", "level", "parameters", "flops", "passes")
# Of several seeds the mean counts.
COSTS = ("training_minutes", "images_per_second", "epochs", "bytes", "predict_images_per_second")
FIGURES = ("accuracy", "macro_f1", "level_accuracy", "level_macro_f1")
SCHEMA = {
    **dict.fromkeys(("flops",), pl.Int64),
    **dict.fromkeys(("level",), pl.String),
    **dict.fromkeys((f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")), pl.Float64),
    **dict.fromkeys(COSTS, pl.Float64),
}
# A shorter beginning of names says nothing.
SHORTEST_NAME = 3


def group_seeds(runs: Sequence[EvaluatedRun]) -> list[list[int]]:
    """Return the indices of the runs of each recipe; of two with the same seed the first one counts."""
    kinds: dict[str, dict[int, int]] = {}
    for index, run in enumerate(runs):
        kinds.setdefault(run.kind, {}).setdefault(run.seed, index)
    return [list(members.values()) for members in kinds.values()]


def tabulate_recipes(
    runs: pl.DataFrame, groups: Sequence[Sequence[int]], figures: Mapping[str, Figure], finest: LeafLevel | None
) -> pl.DataFrame:
    """Return a row a recipe.

    Args:
        runs: A row a run, as `Comparison` has it.
        groups: The indices of the runs of each recipe.
        figures: `accuracy` and `macro_f1` of all runs.
        finest: How runs did on the finest level.

    Returns:
        `recipe` (what the names of its runs begin with), `run_ids` between spaces, `seeds`, `split`, `items`, `column`,
        `input`, `level`, the mean of each of FIGURES with `_low` and `_high` of its 95 % interval over other items (see
        `Figure.average`), `parameters`, `flops`, `passes`, and the means of COSTS.
    """
    names = name_recipes([[runs["run_id"][index] for index in indices] for indices in groups])
    rows = []
    for name, indices in zip(names, groups, strict=True):
        members = runs[list(indices)]
        row = {"recipe": name, "run_ids": " ".join(members["run_id"]), "seeds": len(indices)}
        row |= {key: members[key][0] for key in SAME}
        row |= dict.fromkeys(f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high"))
        row |= _average_figures(figures, indices)
        if finest is not None and indices[0] in finest.columns:
            row |= _average_figures(finest.figures, [finest.columns[index] for index in indices])
        rows.append(row | {key: members[key].mean() for key in COSTS})
    return pl.DataFrame(rows, schema_overrides=SCHEMA, infer_schema_length=None)


def _average_figures(figures: Mapping[str, Figure], indices: Sequence[int]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, figure in figures.items():
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), figure.average(indices), strict=True))
    return row


def name_recipes(groups: Sequence[Sequence[str]]) -> list[str]:
    """Return each group of run names what they begin with, or the first of them where that is short or not its own."""
    starts = [_find_beginning(group) for group in groups]
    return [
        start if len(start) >= SHORTEST_NAME and starts.count(start) == 1 else group[0]
        for start, group in zip(starts, groups, strict=True)
    ]


def _find_beginning(names: Sequence[str]) -> str:
    """Return what all names begin with, without the sign before their numbers; the whole of a single one."""
    if len(names) == 1:
        return names[0]
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same).rstrip("-_.")
