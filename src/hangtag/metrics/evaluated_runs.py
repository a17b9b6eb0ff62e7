"""Read evaluated runs, evaluate them on the most specific level, and average the seeds of each recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
import polars as pl

from hangtag.errors import WorkspaceError
from hangtag.io import JsonObject, hash_file, hash_json, read_csv, read_json
from hangtag.labels.dataset import LabeledItems, read_labeled_items
from hangtag.manifest import compute_digest, read_manifest, require_manifest
from hangtag.metrics.bootstrap import BootstrapEstimate, estimate_metrics
from hangtag.metrics.classification import FREQUENT_ITEMS
from hangtag.models.checkpoint import make_hint
from hangtag.models.description import read_entries
from hangtag.training.targets import LABEL
from hangtag.workspace import Workspace

COLUMNS = ("item_id", "group_id", "label", "predicted_label")
PREFIX = "predicted_"
PHOTOGRAPH = "photograph"
# Settings and inputs that differ between the seeds of one recipe: the seed, and the image run of a text model.
SEEDED = ("seed", "image_run")
# Columns that are equal for all seeds of a recipe.
SAME = ("split", "items", "column", "input", "level", "parameters", "flops", "passes")
# Columns that are averaged over the seeds of a recipe.
COSTS = ("training_minutes", "images_per_second", "epochs", "bytes", "predict_images_per_second")
FIGURES = ("accuracy", "macro_f1", "level_accuracy", "level_macro_f1")
SCHEMA = {
    **dict.fromkeys(("flops",), pl.Int64),
    **dict.fromkeys(("level",), pl.String),
    **dict.fromkeys((f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")), pl.Float64),
    **dict.fromkeys(COSTS, pl.Float64),
}
# A shorter common prefix of run names is not used as the recipe's name.
SHORTEST_NAME = 3


@dataclass(frozen=True)
class EvaluatedRun:
    """A finished run with its evaluation on one split.

    Attributes:
        run_id: The name of the run.
        manifest: The manifest of the training.
        model: The content of `model.json`.
        history: The table of `history.csv`, one row per epoch.
        target: The column of `predictions`: `label`, a level or an attribute.
        predictions: `COLUMNS` of the split's items.
        reads: The inputs of the evaluation: `photograph`, or `photograph and name`.
        others: `item_id`, and the predicted value of every other level and attribute in the column of that name.
        labels_digest: The digest of the labels that it was evaluated on.
    """

    run_id: str
    manifest: JsonObject
    model: JsonObject
    history: pl.DataFrame
    target: str
    predictions: pl.DataFrame
    reads: str
    others: pl.DataFrame
    labels_digest: str | None

    @property
    def kind(self) -> str:
        """A digest of the training settings and inputs without SEEDED: runs of one kind differ only by chance."""
        parts = (self.manifest["settings"], self.manifest["inputs"])
        return hash_json([{key: value for key, value in part.items() if key not in SEEDED} for part in parts])

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return int(self.manifest["settings"].get("seed", 0))

    def find_predicted(self, column: str) -> pl.DataFrame | None:
        """Return `item_id` and `predicted_label` (empty for no value) of a column, or None if it is not predicted."""
        if column == self.target:
            return self.predictions.select("item_id", "predicted_label")
        if column not in self.others.columns:
            return None
        return self.others.select("item_id", pl.col(column).fill_null("").alias("predicted_label"))


def find_evaluated(workspace: Workspace, split: str) -> list[str]:
    """Return the finished runs with an up-to-date evaluation on a split, in alphabetical order."""
    return [
        run_id
        for run_id in workspace.run_ids()
        if is_evaluated(workspace, run_id) and _has_items(workspace, run_id, split)
    ]


def _has_items(workspace: Workspace, run_id: str, split: str) -> bool:
    require_evaluation(workspace, run_id)
    splits = pl.read_parquet(workspace.evaluation(run_id) / "predictions.parquet", columns=["split"])["split"]
    return split in splits


def require_evaluation(workspace: Workspace, run_id: str) -> JsonObject:
    """Read the manifest of a run's evaluation.

    Raises:
        WorkspaceError: The run is not evaluated, or the files of the evaluation were changed or damaged.
    """
    return require_manifest(workspace.evaluation(run_id), f"Run `hangtag evaluate {run_id}` again.")


def is_evaluated(workspace: Workspace, run_id: str) -> bool:
    """Return whether a run is evaluated and was not retrained since."""
    manifest = read_manifest(workspace.evaluation(run_id))
    return manifest is not None and manifest["inputs"].get("model") == _hash_model(workspace, run_id)


def is_predicted(workspace: Workspace, run_id: str) -> bool:
    """Return whether a run has predicted the unlabelled items and was not retrained since."""
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
            allowed=f"Evaluated: {', '.join(whole['split'].unique(maintain_order=True))}.",
            hint=f"Run `hangtag evaluate {run_id}` first, with {split} among its --splits.",
        )
    model, report = read_entries(folder), read_json(evaluation / "report.json")
    others = [each for each in found.columns if each.startswith(PREFIX) and each not in COLUMNS]
    return EvaluatedRun(
        run_id=run_id,
        manifest=require_manifest(folder, make_hint(run_id)),
        model=model,
        history=read_csv(folder / "history.csv"),
        # Older reports lack the target: theirs is the model's primary level.
        target=report.get("target") or model.get("label_space", {}).get("primary", LABEL),
        # A predicted category path without a value on a level counts as a prediction.
        predictions=found.select(COLUMNS).with_columns(pl.col("predicted_label").fill_null("")),
        reads=report.get("input", PHOTOGRAPH),
        others=found.select("item_id", *(pl.col(each).alias(each.removeprefix(PREFIX)) for each in others)),
        labels_digest=require_evaluation(workspace, run_id)["inputs"].get("labels"),
    )


def read_truth(workspace: Workspace, runs: Sequence[EvaluatedRun]) -> LabeledItems | None:
    """Return the labels that the runs were evaluated on, or None if the workspace's labels have changed."""
    try:
        labelled = read_labeled_items(workspace)
    except WorkspaceError:
        return None
    return labelled if all(run.labels_digest == labelled.digest for run in runs) else None


def align_targets(runs: Sequence[EvaluatedRun], baseline: int, truth: LabeledItems | None) -> list[EvaluatedRun]:
    """Return the runs with predictions of one column: their common target, or else a column that all runs predict.

    The candidates are the baseline's target, the other targets, then the levels from the most specific upwards.

    Raises:
        WorkspaceError: They were evaluated on different targets, and there is no column that all of them predict.
    """
    targets = {run.run_id: run.target for run in runs}
    if len(set(targets.values())) == 1:
        return list(runs)
    wanted = [runs[baseline].target, *targets.values(), *(reversed(truth.schema.levels) if truth else ())]
    for column in dict.fromkeys(wanted):
        predicted_columns = [run.find_predicted(column) for run in runs]
        if truth is not None and column in truth.table.columns and all(each is not None for each in predicted_columns):
            return [
                _select_column(run, column, each, truth)
                for run, each in zip(runs, predicted_columns, strict=True)
                if each is not None
            ]
    raise WorkspaceError("The runs were evaluated on different targets.", received=targets)


def _select_column(run: EvaluatedRun, column: str, predicted: pl.DataFrame, truth: LabeledItems) -> EvaluatedRun:
    if column == run.target:
        return run
    true = truth.table.select("item_id", pl.col(column).cast(pl.String).alias("label")).drop_nulls()
    items = run.predictions.select("item_id", "group_id")
    joined = items.join(true, on="item_id", maintain_order="left").join(predicted, on="item_id", maintain_order="left")
    return replace(run, target=column, predictions=joined.select(COLUMNS))


@dataclass(frozen=True)
class LeafLevel:
    """The metrics of several runs on the catalogue's most specific level.

    Attributes:
        column: The name of the level.
        columns: The index in `figures` of each run that predicts the level, by the run's index among all runs.
        figures: `level_accuracy` (of the items of frequent classes) and `level_macro_f1` (the mean F1 of these classes,
            among all items), of the runs that predict it.
    """

    column: str
    columns: dict[int, int]
    figures: dict[str, BootstrapEstimate]


def evaluate_leaf_level(
    runs: Sequence[EvaluatedRun], items: pl.DataFrame, truth: LabeledItems | None, *, samples: int, seed: int
) -> LeafLevel | None:
    """Evaluate the runs on the catalogue's most specific level, over its frequent classes.

    Return None without labels, a level, a run that predicts it, or an item of a frequent class.

    Args:
        runs: The runs.
        items: `item_id` and `group_id` of the items that all runs were evaluated on.
        truth: The catalogue that they were evaluated on, if its labels are unchanged.
        samples: The number of bootstrap samples.
        seed: The seed of the bootstrap.
    """
    if truth is None or not truth.schema.levels:
        return None
    column = truth.schema.levels[-1]
    predicted_columns = {
        position: found for position, run in enumerate(runs) if (found := run.find_predicted(column)) is not None
    }
    known = truth.table.filter(pl.col("split").is_not_null()).select("item_id", pl.col(column).cast(pl.String))
    table = items.select("item_id", "group_id").join(known.drop_nulls(), on="item_id", maintain_order="left")
    table = table.drop_nulls(column)
    for position, each in predicted_columns.items():
        table = table.join(each.rename({"predicted_label": str(position)}), on="item_id", maintain_order="left")
    counts = dict(known.drop_nulls().group_by(column).len().iter_rows())
    names = sorted({value for name in (column, *map(str, predicted_columns)) for value in table[name].unique()})
    is_frequent = np.array([counts.get(name, 0) >= FREQUENT_ITEMS for name in names], bool)
    index = dict(zip(names, range(len(names)), strict=True))
    columns = [
        table[name].replace_strict(index, return_dtype=pl.Int64).to_numpy()
        for name in (column, *map(str, predicted_columns))
    ]
    classes = columns[0]
    if not predicted_columns or not len(table) or not is_frequent[classes].any():
        return None
    estimates = estimate_metrics(
        classes,
        np.array(columns[1:]),
        table["group_id"].to_list(),
        len(names),
        is_frequent,
        samples=samples,
        seed=seed,
    )
    figures = {f"level_{name}": estimate for name, estimate in estimates.items()}
    return LeafLevel(column, {position: number for number, position in enumerate(predicted_columns)}, figures)


def group_seeds(runs: Sequence[EvaluatedRun]) -> list[list[int]]:
    """Return the indices of the runs of each recipe; of runs with the same seed only the first counts."""
    kinds: dict[str, dict[int, int]] = {}
    for index, run in enumerate(runs):
        kinds.setdefault(run.kind, {}).setdefault(run.seed, index)
    return [list(members.values()) for members in kinds.values()]


def tabulate_recipes(
    runs: pl.DataFrame,
    groups: Sequence[Sequence[int]],
    figures: Mapping[str, BootstrapEstimate],
    leaf_level: LeafLevel | None,
) -> pl.DataFrame:
    """Return a table with one row per recipe.

    Args:
        runs: One row per run; see `Comparison.runs`.
        groups: The indices of the runs of each recipe.
        figures: `accuracy` and `macro_f1` of all runs.
        leaf_level: The metrics on the most specific level.

    Returns:
        `recipe` (the common prefix of its run names), `run_ids` separated by spaces, `seeds`, `split`, `items`,
        `column`, `input`, `level`, the mean of each of FIGURES with `_low` and `_high` of its 95 % interval over other
        items (see `BootstrapEstimate.average`), `parameters`, `flops`, `passes`, and the means of COSTS.
    """
    names = name_recipes([[runs["run_id"][index] for index in indices] for indices in groups])
    rows = []
    for name, indices in zip(names, groups, strict=True):
        members = runs[list(indices)]
        row = {"recipe": name, "run_ids": " ".join(members["run_id"]), "seeds": len(indices)}
        row |= {key: members[key][0] for key in SAME}
        row |= dict.fromkeys(f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high"))
        row |= _average_figures(figures, indices)
        if leaf_level is not None and indices[0] in leaf_level.columns:
            row |= _average_figures(leaf_level.figures, [leaf_level.columns[index] for index in indices])
        rows.append(row | {key: members[key].mean() for key in COSTS})
    return pl.DataFrame(rows, schema_overrides=SCHEMA, infer_schema_length=None)


def _average_figures(figures: Mapping[str, BootstrapEstimate], indices: Sequence[int]) -> JsonObject:
    row: JsonObject = {}
    for name, figure in figures.items():
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), figure.average(indices), strict=True))
    return row


def name_recipes(groups: Sequence[Sequence[str]]) -> list[str]:
    """Return the common prefix of each group of run names, or its first name if the prefix is short or not unique."""
    starts = [_find_common_prefix(group) for group in groups]
    return [
        start if len(start) >= SHORTEST_NAME and starts.count(start) == 1 else group[0]
        for start, group in zip(starts, groups, strict=True)
    ]


def _find_common_prefix(names: Sequence[str]) -> str:
    """Return the common prefix of the names without a trailing separator; for a single name, all of it."""
    if len(names) == 1:
        return names[0]
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same).rstrip("-_.")
