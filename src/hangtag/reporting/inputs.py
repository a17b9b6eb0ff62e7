"""Everything in a workspace that the report shows, read once, with a digest of each part."""

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import polars as pl

from hangtag.catalog.prepared_items import Prepared, read_prepared
from hangtag.catalog.schema import CatalogSchema
from hangtag.io import read_csv, read_json
from hangtag.labels.dataset import LabeledItems, read_labeled_items
from hangtag.manifest import compute_digest, find_manifest, read_manifest, require_manifest
from hangtag.metrics.comparison import Comparison, read_comparison
from hangtag.metrics.evaluated_runs import SEEDED, digest_run, is_evaluated, is_predicted
from hangtag.models.checkpoint import make_hint
from hangtag.models.description import read_entries
from hangtag.training.targets import LABEL
from hangtag.workspace import Workspace

# The capstone's own figures, and the question whether a catalogue is the one they were measured on.

UNLEARNT = ("Unknown", "Free Items")


def read_capstone() -> dict[str, Any]:
    """Read the capstone's figures as they are shipped."""
    text = (resources.files("hangtag.reporting") / "capstone_figures.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def list_capstone_classes(figures: dict[str, Any]) -> list[str]:
    """Return the names of the thirty classes of the capstone, in alphabetical order."""
    return sorted(label for label in figures["class_counts"] if label not in UNLEARNT)


def find_capstone(schema: CatalogSchema, class_names: Sequence[str]) -> dict[str, Any] | None:
    """Return the capstone's figures where they may stand beside a catalogue's, else None.

    The catalogue has to have the capstone's columns and levels, and its labels have to be the capstone's
    thirty classes: figures of other classes are not comparable.
    """
    figures = read_capstone()
    same_table = set(figures["columns"]) <= set(schema.columns) and schema.levels == tuple(figures["levels"])
    return figures if same_table and list(class_names) == list_capstone_classes(figures) else None


PAGE_FILES = (".jinja", ".css", ".js", ".toml", ".py")
PHOTOGRAPH, PHOTOGRAPH_ALONE = "photograph", "photograph alone"


@dataclass(frozen=True)
class EvaluationResult:
    """The metrics of a run, evaluated on one kind of input.

    Attributes:
        source: The input: `photograph`, `photograph and name`, or `photograph alone` if the same run reads names too.
        splits: The figures of each split, as `evaluation/report.json` has them.
    """

    source: str
    splits: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """One training run, with what was written about it since.

    Attributes:
        run_id: Its name.
        folder: Where it lies.
        manifest: Its manifest.
        model: Its `model.json`.
        report: Its `evaluation/report.json`, or None where it is not evaluated yet, or was trained again since.
        is_predicted: Whether its predictions are there, and it was not trained again since.
    """

    run_id: str
    folder: Path
    manifest: dict[str, Any]
    model: dict[str, Any]
    report: dict[str, Any] | None
    is_predicted: bool

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved settings it was trained with."""
        return dict(self.manifest["settings"])

    @property
    def color_mode(self) -> str:
        """`color` or `gray`."""
        return str(self.model["preprocessing"]["color_mode"])

    @property
    def kind(self) -> tuple[tuple[str, str], ...]:
        """All settings but the seed: runs of one kind differ by chance alone."""
        return tuple(sorted((key, str(value)) for key, value in self.settings.items() if key not in SEEDED))

    @property
    def target(self) -> str:
        """The column whose classes it predicts; `label` in runs of earlier versions."""
        described = self.report or {}
        return str(described.get("target") or self.model.get("label_space", {}).get("primary") or LABEL)

    @property
    def reads_names(self) -> bool:
        """Whether its network reads the products' names beside their photographs."""
        return self.model.get("words") is not None

    @property
    def keeps_best(self) -> bool:
        """Whether the epoch that did best on val was kept, as every run of an earlier hangtag did; else the last."""
        return bool(self.settings.get("checkpoint", "best") == "best")

    @property
    def evaluations(self) -> tuple[EvaluationResult, ...]:
        """Its metrics by input, those with names first; none if it is not evaluated yet."""
        if self.report is None:
            return ()
        first = EvaluationResult(self.report.get("input", PHOTOGRAPH), self.report["splits"])
        alone = self.report.get("photograph_alone")
        return (first, EvaluationResult(PHOTOGRAPH_ALONE, alone["splits"])) if alone else (first,)

    @property
    def is_capstone_network(self) -> bool:
        """Whether it is the capstone's network with the capstone's target: the label, from photographs."""
        return self.model["architecture"] == "capstone" and self.target == LABEL and not self.reads_names

    @cached_property
    def history(self) -> pl.DataFrame:
        """Its `history.csv`: a row an epoch."""
        return read_csv(self.folder / "history.csv")


@dataclass(frozen=True)
class Inputs:
    """What the chapters are made from.

    Attributes:
        workspace: Where it all lies.
        prepared: The prepared catalogue.
        labelled: The cleaned labels.
        prepare_manifest: The manifest of `prepare`.
        clean_manifest: The manifest of `clean`.
        is_explored: Whether the figures of `explore` are there, of the labels as they are now.
        runs: The finished runs, in alphabetical order.
        capstone: The capstone's own figures where the catalogue is the capstone's, else None.
        comparison: What `compare` found of runs that are still the same, else None.
    """

    workspace: Workspace
    prepared: Prepared
    labelled: LabeledItems
    prepare_manifest: dict[str, Any]
    clean_manifest: dict[str, Any]
    is_explored: bool
    runs: tuple[Run, ...]
    capstone: dict[str, Any] | None
    comparison: Comparison | None = None

    @property
    def evaluated_runs(self) -> tuple[Run, ...]:
        """The runs that are evaluated."""
        return tuple(run for run in self.runs if run.report)

    def find_capstone_network(self, run: Run, part: str) -> Any:
        """Return the capstone's `parameters` or `epochs` in the run's colour mode, or None for any other network."""
        return self.capstone[part].get(run.color_mode) if self.capstone and run.is_capstone_network else None

    def find_capstone_validation(self, run: Run) -> dict[str, Any] | None:
        """Return the capstone's classification report, or None where the run's own answers another question."""
        return self._find_capstone_answers(run, run.evaluations[0], "validation")

    def find_capstone_results(self, run: Run, evaluation: EvaluationResult) -> dict[str, Any]:
        """Return the capstone's loss and accuracy by split, as far as they may stand beside a run's.

        Beside the capstone's own network all of them do, beside another one those on val alone, as a reference; beside
        figures of other classes or with names, none.
        """
        results = self._find_capstone_answers(run, evaluation, "results") or {}
        return {split: each for split, each in results.items() if split == "val" or run.is_capstone_network}

    def _find_capstone_answers(self, run: Run, evaluation: EvaluationResult, part: str) -> dict[str, Any] | None:
        """Return the capstone's entry of `part` in the run's colour mode where it is of the same classes and input."""
        class_names = (run.report or {})["class_names"]
        is_same = run.target == LABEL and list(class_names) == list(self.labelled.class_names)
        if not (self.capstone and is_same and evaluation.source in (PHOTOGRAPH, PHOTOGRAPH_ALONE)):
            return None
        entry: dict[str, Any] | None = self.capstone[part].get(run.color_mode)
        return entry

    def name_column(self, column: str) -> str:
        """Return the heading of a column; the label has the catalogue's own heading."""
        return self.labelled.schema.label_name if column == LABEL else column


def compute_input_digests(workspace: Workspace) -> dict[str, str]:
    """Return a digest for every part of the workspace, and for the page's own templates.

    Parts that are not made yet are left out, so that the page is made again once they are.

    Raises:
        WorkspaceError: Nothing is prepared or nothing is cleaned.
    """
    # What the page reads, and what helps where it is damaged.
    folders = {
        "exploration": (workspace.exploration, "Run `hangtag explore` again."),
        "comparison": (workspace.comparison, "Run `hangtag compare` again."),
    }
    for run_id in workspace.run_ids():
        of_run = f"{run_id}` again."
        folders[f"runs/{run_id}"] = (workspace.run(run_id), make_hint(run_id))
        folders[f"runs/{run_id}/evaluation"] = (workspace.evaluation(run_id), f"Run `hangtag evaluate {of_run}")
        folders[f"runs/{run_id}/predictions"] = (workspace.predictions(run_id), f"Run `hangtag predict {of_run}")
    digests = {
        "prepared": _compute_digest(require_manifest(workspace.prepared, "Run `hangtag prepare CATALOG` first.")),
        "labels": _compute_digest(require_manifest(workspace.labels, "Run `hangtag clean` first.")),
        "page": _hash_page(),
    }
    for name, (folder, hint) in folders.items():
        if manifest := find_manifest(folder, hint):
            digests[name] = _compute_digest(manifest)
    return digests


def _compute_digest(manifest: Mapping[str, Any]) -> str:
    """Return a digest of what a stage wrote and of what the page quotes from its manifest."""
    quoted = [manifest.get(key) for key in ("settings", "counts", "taxonomy", "names_matcher", "precision")]
    return hashlib.sha256(repr((compute_digest(manifest), *quoted)).encode()).hexdigest()


def _hash_page() -> str:
    """Return a digest of the files in this package, so that a new template makes a new page."""
    found = hashlib.sha256()

    def add(folder: Traversable) -> None:
        for entry in sorted(folder.iterdir(), key=lambda each: each.name):
            if entry.is_dir():
                add(entry)
            elif entry.name.endswith(PAGE_FILES):
                found.update(entry.name.encode() + entry.read_bytes())

    add(resources.files("hangtag.reporting"))
    return found.hexdigest()


def read_inputs(workspace: Workspace) -> Inputs:
    """Read what the report shows; the parts after `clean` may be missing.

    Raises:
        WorkspaceError: Nothing is prepared or cleaned, or the labels are older than the prepared catalogue.
    """
    labelled = read_labeled_items(workspace)
    return Inputs(
        workspace=workspace,
        prepared=read_prepared(workspace),
        labelled=labelled,
        prepare_manifest=require_manifest(workspace.prepared, "Run `hangtag prepare CATALOG` first."),
        clean_manifest=require_manifest(workspace.labels, "Run `hangtag clean` first."),
        is_explored=_is_explored(workspace, labelled),
        runs=tuple(_read_run(workspace, run_id) for run_id in workspace.run_ids()),
        capstone=find_capstone(labelled.schema, labelled.class_names),
        comparison=_read_comparison(workspace),
    )


def _is_explored(workspace: Workspace, labelled: LabeledItems) -> bool:
    """Return whether the figures of `explore` are there, and are of the labels that the workspace has now."""
    manifest = read_manifest(workspace.exploration)
    return manifest is not None and manifest["inputs"].get("labels") == labelled.digest


def _read_comparison(workspace: Workspace) -> Comparison | None:
    """Read the comparison, unless a run was trained or evaluated again since."""
    manifest = read_manifest(workspace.comparison)
    if manifest is None or "comparison.json" not in manifest["outputs"]:
        return None
    for run_id, digest in manifest["inputs"].items():
        if not is_evaluated(workspace, run_id) or digest_run(workspace, run_id) != digest:
            return None
    return read_comparison(workspace.comparison)


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
