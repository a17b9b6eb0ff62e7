"""Read evaluated runs: what they are, what they took, and what they said of the items of one split."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from hangtag.artifacts import hash_file, hash_json, read_csv, read_json
from hangtag.errors import WorkspaceError
from hangtag.labels.labelled import Labelled, read_labelled
from hangtag.manifest import compute_digest, read_manifest, require_manifest
from hangtag.models.description import read_entries
from hangtag.models.run_files import make_hint
from hangtag.training.targets import LABEL
from hangtag.workspace import Workspace

COLUMNS = ("item_id", "group_id", "label", "predicted_label")
PREFIX = "predicted_"
PHOTOGRAPH = "photograph"
# Settings and inputs that differ between the seeds of one recipe: the seed, and the run that names were learnt beside.
SEEDED = ("seed", "photographs_by")


@dataclass(frozen=True)
class JudgedRun:
    """A finished run with its evaluation on one split.

    Attributes:
        run_id: Its name.
        manifest: What `train` noted.
        model: Its `model.json`.
        history: Its `history.csv`, a row an epoch.
        target: What `predictions` is of: `label`, or a level's or an attribute's column.
        predictions: `COLUMNS` of the split's items.
        reads: What it was judged from: `photograph`, or `photograph and name`.
        others: `item_id`, and what it said on every other level and attribute, in the column of that name.
        labels_digest: Of the labels that it was judged on.
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
        """Give `item_id` and `predicted_label` on a column, an empty text for no value; None where it learnt none."""
        if column == self.target:
            return self.predictions.select("item_id", "predicted_label")
        if column not in self.others.columns:
            return None
        return self.others.select("item_id", pl.col(column).fill_null("").alias("predicted_label"))


def find_evaluated(place: Workspace, split: str) -> list[str]:
    """Give the finished runs that are evaluated on a split as they are now, in alphabetical order."""
    return [run_id for run_id in place.run_ids() if is_evaluated(place, run_id) and _has_items(place, run_id, split)]


def _has_items(place: Workspace, run_id: str, split: str) -> bool:
    require_evaluation(place, run_id)
    splits = pl.read_parquet(place.evaluation(run_id) / "predictions.parquet", columns=["split"])["split"]
    return split in splits


def require_evaluation(place: Workspace, run_id: str) -> dict[str, Any]:
    """Read the manifest of a run's evaluation.

    Raises:
        WorkspaceError: It is not evaluated, or the evaluation's files were changed or damaged since.
    """
    return require_manifest(place.evaluation(run_id), f"Run `hangtag evaluate --run {run_id}` again.")


def is_evaluated(place: Workspace, run_id: str) -> bool:
    """Say whether a run is evaluated, and was not trained again since."""
    manifest = read_manifest(place.evaluation(run_id))
    return manifest is not None and manifest["inputs"].get("model") == _hash_model(place, run_id)


def is_predicted(place: Workspace, run_id: str) -> bool:
    """Return whether a run has labelled the unknown items, and was not trained again since."""
    manifest = read_manifest(place.predictions(run_id))
    return manifest is not None and manifest["inputs"].get(f"runs/{run_id}") == _hash_model(place, run_id)


def _hash_model(place: Workspace, run_id: str) -> str:
    path = place.run(run_id) / "model.json"
    return hash_file(path) if path.is_file() else ""


def digest_run(place: Workspace, run_id: str) -> str:
    """Give a digest of what is told of a run: its files, its settings and its evaluation."""
    trained = require_manifest(place.run(run_id), make_hint(run_id))
    judged = require_evaluation(place, run_id)
    return hash_json([compute_digest(trained), trained["settings"], trained["inputs"], compute_digest(judged)])


def read_run(place: Workspace, run_id: str, split: str) -> JudgedRun:
    """Read a run that is evaluated on a split.

    Raises:
        WorkspaceError: It was not judged on that split.
    """
    folder, evaluation = place.run(run_id), place.evaluation(run_id)
    whole = pl.read_parquet(evaluation / "predictions.parquet")
    found = whole.filter(pl.col("split") == split).drop_nulls("label")
    if found.is_empty():
        raise WorkspaceError(
            f"The run {run_id} was not judged on {split}.",
            allowed=f"Judged: {', '.join(whole['split'].unique(maintain_order=True))}.",
            hint=f"Run `hangtag evaluate --run {run_id}` first, with {split} among its --splits.",
        )
    model, report = read_entries(folder), read_json(evaluation / "report.json")
    others = [each for each in found.columns if each.startswith(PREFIX) and each not in COLUMNS]
    return JudgedRun(
        run_id=run_id,
        manifest=require_manifest(folder, make_hint(run_id)),
        model=model,
        history=read_csv(folder / "history.csv"),
        # Older reports do not name it: they are of the model's primary level.
        target=report.get("target") or model.get("outputs", {}).get("primary", LABEL),
        # That a product has no value on a level is an answer too.
        predictions=found.select(COLUMNS).with_columns(pl.col("predicted_label").fill_null("")),
        reads=report.get("input", PHOTOGRAPH),
        others=found.select("item_id", *(pl.col(each).alias(each.removeprefix(PREFIX)) for each in others)),
        labels_digest=require_evaluation(place, run_id)["inputs"].get("labels"),
    )


def read_truth(place: Workspace, runs: Sequence[JudgedRun]) -> Labelled | None:
    """Give the catalogue whose labels the runs were judged on, or None where the workspace has it no more."""
    try:
        labelled = read_labelled(place)
    except WorkspaceError:
        return None
    return labelled if all(run.labels_digest == labelled.digest for run in runs) else None


def answer_alike(runs: Sequence[JudgedRun], baseline: int, truth: Labelled | None) -> list[JudgedRun]:
    """Give the runs with their answers on one column: their target or, where these differ, one that all learnt.

    That is the baseline's target, else another run's, else the finest level.

    Raises:
        WorkspaceError: They were judged on different targets, and there is no column that all of them learnt.
    """
    targets = {run.run_id: run.target for run in runs}
    if len(set(targets.values())) == 1:
        return list(runs)
    wanted = [runs[baseline].target, *targets.values(), *(reversed(truth.schema.levels) if truth else ())]
    for column in dict.fromkeys(wanted):
        said = [run.find_said(column) for run in runs]
        if truth is not None and column in truth.table.columns and all(each is not None for each in said):
            return [_answer(run, column, each, truth) for run, each in zip(runs, said, strict=True) if each is not None]
    raise WorkspaceError("The runs were judged on different targets.", received=targets)


def _answer(run: JudgedRun, column: str, said: pl.DataFrame, truth: Labelled) -> JudgedRun:
    if column == run.target:
        return run
    true = truth.table.select("item_id", pl.col(column).cast(pl.String).alias("label")).drop_nulls()
    items = run.predictions.select("item_id", "group_id")
    joined = items.join(true, on="item_id", maintain_order="left").join(said, on="item_id", maintain_order="left")
    return replace(run, target=column, predictions=joined.select(COLUMNS))
