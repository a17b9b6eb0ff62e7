"""Read the results that the report shows from a workspace, hash them, and read the capstone's own results."""

import hashlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import polars as pl

from hangtag.catalog.prepared_items import Prepared, read_prepared
from hangtag.catalog.schema import CatalogSchema
from hangtag.io import JsonObject, hash_json, read_csv, read_json
from hangtag.labels.dataset import LabeledItems, read_labeled_items
from hangtag.manifest import compute_digest, find_manifest, read_manifest, require_manifest
from hangtag.metrics.comparison import Comparison, read_comparison
from hangtag.metrics.evaluated_runs import SEEDED, digest_run, is_evaluated, is_predicted
from hangtag.models.checkpoint import make_hint
from hangtag.models.description import read_entries
from hangtag.reporting.audited_catalog import read_audited
from hangtag.reporting.catalog_health import Health, build_health
from hangtag.training.targets import LABEL
from hangtag.workspace import Workspace

# Labels of the capstone that are not classes of its networks.
NO_CLASSES = ("Unknown", "Free Items")
# The suffixes of the files in this package that determine the page.
PAGE_FILES = (".jinja", ".css", ".js", ".toml", ".py")
# What an audit has counted, if its page shows the health of the catalogue.
COUNTED = {"judged", "expected_right", "sources", "not_applicable"}
AUDIT_AGAIN = "Run `hangtag audit` again."
FOLDS_AGAIN = "Run `hangtag cross-validate --run-id {}` again, or move its folder away."
PHOTOGRAPH, PHOTOGRAPH_ALONE = "photograph", "photograph alone"


def read_capstone() -> JsonObject:
    """Read the capstone's figures from `capstone_figures.toml`."""
    text = (resources.files("hangtag.reporting") / "capstone_figures.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def list_capstone_classes(figures: JsonObject) -> list[str]:
    """Return the names of the capstone's thirty classes, in alphabetical order."""
    return sorted(label for label in figures["class_counts"] if label not in NO_CLASSES)


def find_capstone(schema: CatalogSchema, class_names: Sequence[str]) -> JsonObject | None:
    """Return the capstone's figures if they are comparable with those of a catalogue, else None.

    The catalogue must have the capstone's columns and levels, and its labels must be the capstone's thirty classes.
    """
    figures = read_capstone()
    same_table = set(figures["columns"]) <= set(schema.columns) and schema.levels == tuple(figures["levels"])
    return figures if same_table and list(class_names) == list_capstone_classes(figures) else None


@dataclass(frozen=True)
class EvaluationResult:
    """The metrics of a run, evaluated on one kind of input.

    Attributes:
        source: The input: `photograph`, `photograph and name`, or `photograph alone` if the same run reads names too.
        splits: The metrics of each split, as in `evaluation/report.json`.
    """

    source: str
    splits: dict[str, JsonObject]


@dataclass(frozen=True)
class Run:
    """One training run, with its evaluation and predictions.

    Attributes:
        run_id: The run's name.
        folder: The run's folder in the workspace.
        manifest: The manifest of the training.
        model: The content of `model.json`.
        report: The content of `evaluation/report.json`, or None if the run is not evaluated or was retrained since.
        is_predicted: Whether the run has predictions and was not retrained since.
    """

    run_id: str
    folder: Path
    manifest: JsonObject
    model: JsonObject
    report: JsonObject | None
    is_predicted: bool

    @property
    def settings(self) -> JsonObject:
        """Return its resolved settings of `train`."""
        return dict(self.manifest["settings"])

    @property
    def color_mode(self) -> str:
        """Return the colour mode, `color` or `gray`."""
        return str(self.model["preprocessing"]["color_mode"])

    @property
    def kind(self) -> tuple[tuple[str, str], ...]:
        """Return all settings but the seed: runs of one kind differ only by chance."""
        return tuple(sorted((key, str(value)) for key, value in self.settings.items() if key not in SEEDED))

    @property
    def target(self) -> str:
        """Return the column whose classes it predicts; `label` in runs of earlier versions."""
        described = self.report or {}
        return str(described.get("target") or self.model.get("label_space", {}).get("primary") or LABEL)

    @property
    def reads_names(self) -> bool:
        """Return whether its network reads names as well as photographs."""
        return self.model.get("words") is not None

    @property
    def keeps_best(self) -> bool:
        """Return whether the best epoch on val was kept (always in earlier versions) rather than the last one."""
        return bool(self.settings.get("checkpoint", "best") == "best")

    @property
    def evaluations(self) -> tuple[EvaluationResult, ...]:
        """Return its metrics by input, those with names first; none if it is not evaluated yet."""
        if self.report is None:
            return ()
        first = EvaluationResult(self.report.get("input", PHOTOGRAPH), self.report["splits"])
        alone = self.report.get("photograph_alone")
        return (first, EvaluationResult(PHOTOGRAPH_ALONE, alone["splits"])) if alone else (first,)

    @property
    def is_capstone_network(self) -> bool:
        """Return whether it is the capstone's network with the capstone's target: the label, from photographs."""
        return self.model["architecture"] == "capstone" and self.target == LABEL and not self.reads_names

    @cached_property
    def history(self) -> pl.DataFrame:
        """Return its `history.csv`, one row per epoch."""
        return read_csv(self.folder / "history.csv")


@dataclass(frozen=True)
class Inputs:
    """The results that the chapters of the report are built from.

    Attributes:
        workspace: The workspace.
        prepared: The prepared catalogue.
        labelled: The cleaned labels.
        prepare_manifest: The manifest of `prepare`.
        clean_manifest: The manifest of `clean`.
        is_explored: Whether `explore` has run on the current labels.
        runs: The finished runs, in alphabetical order.
        capstone: The capstone's own figures if the catalogue is the capstone's, else None.
        comparison: The result of `compare`, or None if there is none or a run has changed since.
        audit: The content of `audit/summary.json`, or None if `audit` has not run.
        is_audit_current: Whether the audit is of these labels and photographs.
        review: The decisions of the review in numbers (see `stages.report`), or None if there are none.
        applied: The manifest of `apply`, or None if it has not run.
        health: What looks wrong in the catalogue, or None if there is no audit of these labels and photographs.
        folds: The content of the `report.json` of each cross-validation of these labels, in the order of their names;
            those of earlier versions of hangtag have none.
    """

    workspace: Workspace
    prepared: Prepared
    labelled: LabeledItems
    prepare_manifest: JsonObject
    clean_manifest: JsonObject
    is_explored: bool
    runs: tuple[Run, ...]
    capstone: JsonObject | None
    comparison: Comparison | None = None
    audit: JsonObject | None = None
    is_audit_current: bool = True
    review: JsonObject | None = None
    applied: JsonObject | None = None
    folds: tuple[JsonObject, ...] = ()
    health: Health | None = None

    @property
    def evaluated_runs(self) -> tuple[Run, ...]:
        """Return the runs that are evaluated."""
        return tuple(run for run in self.runs if run.report)

    def find_capstone_network(self, run: Run, part: str) -> Any:
        """Return the capstone's `parameters` or `epochs` for the run's colour mode, or None for other networks."""
        return self.capstone[part].get(run.color_mode) if self.capstone and run.is_capstone_network else None

    def find_capstone_validation(self, run: Run) -> JsonObject | None:
        """Return the capstone's classification report, or None if the run predicts other classes or reads names."""
        return self._find_capstone_part(run, run.evaluations[0], "validation")

    def find_capstone_results(self, run: Run, evaluation: EvaluationResult) -> JsonObject:
        """Return the capstone's loss and accuracy by split, as far as they are comparable with those of a run.

        All splits for the capstone's own network; only val, as a reference, for other networks; none for other classes
        or with names.
        """
        results = self._find_capstone_part(run, evaluation, "results") or {}
        return {split: metrics for split, metrics in results.items() if split == "val" or run.is_capstone_network}

    def _find_capstone_part(self, run: Run, evaluation: EvaluationResult, part: str) -> JsonObject | None:
        """Return `part` of the capstone's figures for the run's colour mode, or None for other classes or inputs."""
        class_names = (run.report or {})["class_names"]
        is_same = run.target == LABEL and list(class_names) == list(self.labelled.class_names)
        if not (self.capstone and is_same and evaluation.source in (PHOTOGRAPH, PHOTOGRAPH_ALONE)):
            return None
        entry: JsonObject | None = self.capstone[part].get(run.color_mode)
        return entry

    def name_column(self, column: str) -> str:
        """Return the heading of a column; the label has the catalogue's own heading."""
        return self.labelled.schema.label_name if column == LABEL else column


def compute_input_digests(workspace: Workspace) -> dict[str, str]:
    """Return a hash of each part of the workspace that exists, and of the templates.

    A part that is written later adds a hash, so that the page is written again.

    Raises:
        WorkspaceError: `prepare` or `clean` has not run in this workspace.
    """
    # The folders that the page reads, and the hint if their manifest is damaged.
    folders = {
        "exploration": (workspace.exploration, "Run `hangtag explore` again."),
        "comparison": (workspace.comparison, "Run `hangtag compare` again."),
    }
    for run_id in workspace.run_ids():
        folders[f"runs/{run_id}"] = (workspace.run(run_id), make_hint(run_id))
        folders[f"runs/{run_id}/evaluation"] = (workspace.evaluation(run_id), f"Run `hangtag evaluate {run_id}` again.")
        folders[f"runs/{run_id}/predictions"] = (
            workspace.predictions(run_id),
            f"Run `hangtag predict {run_id}` again.",
        )
    for fold_id in workspace.fold_ids():
        folders[f"folds/{fold_id}"] = (workspace.folds(fold_id), FOLDS_AGAIN.format(fold_id))
    digests = {
        "prepared": _digest_manifest(require_manifest(workspace.prepared, "Run `hangtag prepare CATALOG` first.")),
        "labels": _digest_manifest(require_manifest(workspace.labels, "Run `hangtag clean` first.")),
        "page": _hash_page(),
    }
    for name, (folder, hint) in folders.items():
        if manifest := find_manifest(folder, hint):
            digests[name] = _digest_manifest(manifest)
    # The page says whether these two are of the current labels and decisions, so that their inputs count too. The
    # corrected table is its owner's and may be moved away: the files of `apply` are not checked.
    made = {"audit": find_manifest(workspace.audit, AUDIT_AGAIN), "review": read_manifest(workspace.review)}
    recorded = {name: hash_json([_digest_manifest(each), each["inputs"]]) for name, each in made.items() if each}
    return digests | recorded


def _digest_manifest(manifest: Mapping[str, Any]) -> str:
    """Return a hash of the outputs of a stage and of the parts of its manifest that the page shows."""
    shown = [manifest.get(key) for key in ("settings", "counts", "taxonomy", "names_matcher", "precision")]
    return hashlib.sha256(repr((compute_digest(manifest), *shown)).encode()).hexdigest()


def _hash_page() -> str:
    """Return a hash of the files of this package, so that a changed template writes a new page."""
    digest = hashlib.sha256()

    def add(folder: Traversable) -> None:
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if entry.is_dir():
                add(entry)
            elif entry.name.endswith(PAGE_FILES):
                digest.update(entry.name.encode() + entry.read_bytes())

    add(resources.files("hangtag.reporting"))
    return digest.hexdigest()


def read_inputs(workspace: Workspace, review: JsonObject | None = None) -> Inputs:
    """Read the results that the report shows; all parts after `clean` may be missing.

    Args:
        workspace: The workspace.
        review: The decisions of the review in numbers, or None if there are none.

    Raises:
        WorkspaceError: `prepare` or `clean` has not run, or the labels are older than the prepared catalogue.
    """
    labelled, prepared = read_labeled_items(workspace), read_prepared(workspace)
    audited = find_manifest(workspace.audit, AUDIT_AGAIN)
    is_current = audited is None or _is_audit_of(audited, labelled, prepared)
    audit = read_json(workspace.audit / "summary.json") if audited else None
    return Inputs(
        workspace=workspace,
        prepared=prepared,
        labelled=labelled,
        prepare_manifest=require_manifest(workspace.prepared, "Run `hangtag prepare CATALOG` first."),
        clean_manifest=require_manifest(workspace.labels, "Run `hangtag clean` first."),
        is_explored=_is_explored(workspace, labelled),
        runs=tuple(_read_run(workspace, run_id) for run_id in workspace.run_ids()),
        capstone=find_capstone(labelled.schema, labelled.class_names),
        comparison=_read_comparison(workspace),
        audit=audit,
        is_audit_current=is_current,
        review=review,
        applied=read_manifest(workspace.review),
        folds=tuple(_read_folds(workspace, labelled)),
        # Audits by earlier versions count less.
        health=build_health(read_audited(workspace)) if is_current and set(audit or {}) >= COUNTED else None,
    )


def _is_audit_of(manifest: Mapping[str, Any], labelled: LabeledItems, prepared: Prepared) -> bool:
    inputs = manifest["inputs"]
    return (inputs.get("labels"), inputs.get("prepared")) == (labelled.digest, prepared.digest)


def _is_explored(workspace: Workspace, labelled: LabeledItems) -> bool:
    """Return whether `explore` has run on the current labels."""
    manifest = read_manifest(workspace.exploration)
    return manifest is not None and manifest["inputs"].get("labels") == labelled.digest


def _read_comparison(workspace: Workspace) -> Comparison | None:
    """Read the result of `compare`, or return None if there is none or a run was trained or evaluated since."""
    manifest = read_manifest(workspace.comparison)
    if manifest is None or "comparison.json" not in manifest["outputs"]:
        return None
    for run_id, digest in manifest["inputs"].items():
        if not is_evaluated(workspace, run_id) or digest_run(workspace, run_id) != digest:
            return None
    return read_comparison(workspace.comparison)


def _read_folds(workspace: Workspace, labelled: LabeledItems) -> Iterator[JsonObject]:
    """Yield the metrics of each cross-validation of the current labels that has some."""
    for fold_id in workspace.fold_ids():
        folder = workspace.folds(fold_id)
        manifest = require_manifest(folder, FOLDS_AGAIN.format(fold_id))
        if manifest["inputs"].get("labels") == labelled.digest and "report.json" in manifest["outputs"]:
            yield read_json(folder / "report.json")


def _read_run(workspace: Workspace, run_id: str) -> Run:
    folder = workspace.run(run_id)
    evaluation = workspace.evaluation(run_id)
    return Run(
        run_id=run_id,
        folder=folder,
        manifest=require_manifest(folder, make_hint(run_id)),
        model=read_entries(folder),
        report=read_json(evaluation / "report.json") if is_evaluated(workspace, run_id) else None,
        is_predicted=is_predicted(workspace, run_id),
    )
