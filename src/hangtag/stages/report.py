"""Stage `report`: write one HTML page about the workspace, which loads nothing from the network."""

import base64
import hashlib
import shlex
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from hangtag.io import JsonObject, write_text
from hangtag.lock import hold
from hangtag.manifest import StageRecord
from hangtag.reporting.audit_chapter import build_audit
from hangtag.reporting.data_chapters import build_exploration, build_labels, build_sources, build_splits
from hangtag.reporting.evaluation_chapter import build_evaluation
from hangtag.reporting.format import FILTERS
from hangtag.reporting.health_chapter import build_health_chapter
from hangtag.reporting.inputs import Inputs, compute_input_digests, read_inputs
from hangtag.reporting.model_chapters import build_architecture, build_comparison, build_overview, build_predictions
from hangtag.results import StageResult
from hangtag.reviewing.decision_store import read_decisions
from hangtag.reviewing.decisions import find_states
from hangtag.reviewing.items import read_items
from hangtag.reviewing.queue import read_issues
from hangtag.reviewing.store import Decision, digest_decisions, find_standing
from hangtag.workspace import MANIFEST, Workspace, remove_dead_parts, unlink

CHAPTERS = {
    "health": build_health_chapter,
    "overview": build_overview,
    "sources": build_sources,
    "labels": build_labels,
    "exploration": build_exploration,
    "splits": build_splits,
    "architecture": build_architecture,
    "evaluation": build_evaluation,
    "predictions": build_predictions,
    "audit": build_audit,
    "comparison": build_comparison,
}
HEADINGS = {
    "health": "Health of the catalogue",
    "sources": "Data sources",
    "labels": "Labels",
    "exploration": "Exploration",
    "splits": "Pre-processing and splits",
    "architecture": "Networks and training",
    "evaluation": "Evaluation",
    "predictions": "Predictions for Unknown items",
    "audit": "Suspected errors and corrections",
}


def report(workspace: str | Path | Workspace) -> StageResult:
    """Write `report.html`: the catalogue, its labels, the results of every run, and the suspected errors, in chapters.

    The page contains its figures, styles and scripts. For stages that have not run it names the command.

    Args:
        workspace: A workspace that is at least prepared and cleaned.

    Raises:
        WorkspaceError: Nothing is prepared or cleaned.
    """
    workspace = Workspace.at(workspace)
    folder = workspace.root / "report"
    reads = [each for each in workspace.stage_folders() if each != folder]
    with hold("report", workspace, reads=reads, writes=[folder]):
        return _write_report(workspace)


def _write_report(workspace: Workspace) -> StageResult:
    remove_dead_parts(workspace.root)
    decisions = read_decisions(workspace)
    digests = compute_input_digests(workspace)
    if decisions:
        digests["decisions"] = digest_decisions(decisions)
    record = StageRecord("report", workspace.root / "report", digests, {})
    if current := record.load_if_unchanged():
        return current
    inputs = read_inputs(workspace, count_decisions(workspace, decisions) if decisions else None)
    # The page is no staged file: without this, a kill before `finish` would leave an old manifest beside a new page.
    unlink(record.folder / MANIFEST)
    write_text(workspace.report, render_page(inputs))
    # The page is beside the folder of the manifest, where people look for it; outputs are relative to that folder.
    outputs = [record.folder / ".." / workspace.report.name]
    counts = {
        "runs": len(inputs.runs),
        "evaluated": len(inputs.evaluated_runs),
        "bytes": workspace.report.stat().st_size,
    }
    return record.finish(counts, outputs)


def count_decisions(workspace: Workspace, decisions: Sequence[Decision]) -> JsonObject:
    """Count the decisions of a review, and the issues that are open.

    Args:
        workspace: A workspace that is prepared.
        decisions: All stored decisions, at least one.

    Returns:
        `decided`, of these `accept`, `keep` and `choose`; `skip`; `open`, the issues of the latest audit without
        a decision; `reviewers`, the number of people; `digest`, as the manifest of `apply` has it.

    Raises:
        WorkspaceError: The issues of the audit cannot be read.
    """
    standing = find_standing(decisions)
    actions = Counter({decision.identity: decision.action for decision in standing}.values())
    issues = read_issues(workspace.issues) if workspace.issues.is_file() else []
    states = Counter(find_states(issues, standing, read_items(workspace)))
    counts = {action: actions[action] for action in ("accept", "keep", "choose", "skip")}
    return {
        **counts,
        "decided": sum(counts.values()) - counts["skip"],
        "open": states["open"],
        "reviewers": len({decision.reviewer for decision in standing}),
        "digest": digest_decisions(decisions),
    }


def render_page(inputs: Inputs) -> str:
    """Return the HTML of the page, in which every text of the catalogue is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hangtag.reporting", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    chapters: JsonObject = {name: build(inputs) for name, build in CHAPTERS.items()}
    closing = "Beside the capstone" if inputs.capstone else "Limits of the results"
    headings = [*HEADINGS.items(), ("comparison", closing)]
    if chapters["health"] is None:
        del headings[0]
    # Plotly is a hundred times the rest of a page without interactive figures, and is not needed to check a catalogue.
    has_figures = inputs.is_explored or bool(inputs.evaluated_runs) or bool(inputs.folds)
    scripts = [*([_read_plotly()] if has_figures else []), _read_template("page.js")]
    return environment.get_template("page.html.jinja").render(
        **chapters,
        chapters=headings,
        numbers={name: number for number, (name, _) in enumerate(headings, 1)},
        has_table=bool(inputs.labelled.schema.table),
        has_runs=bool(inputs.runs),
        heading=_choose_title(inputs),
        is_outdated=inputs.audit is not None,
        title=inputs.labelled.schema.table or "catalogue",
        workspace=shlex.quote(inputs.workspace.root.name),
        is_capstone=inputs.capstone is not None,
        css=Markup(_read_template("page.css")),
        scripts=[Markup(script) for script in scripts],
        script_hashes=[_hash_script(script) for script in scripts],
    )


def _choose_title(inputs: Inputs) -> str:
    """Return the heading of the page: what it is about."""
    parts = ["labels", *(["accuracy"] if inputs.runs else [])]
    if inputs.health is not None:
        parts.insert(0, "catalogue health")
    return f"{', '.join(parts[:-1])}{' and ' if parts[1:] else ''}{parts[-1]}".capitalize()


def _read_template(name: str) -> str:
    return (resources.files("hangtag.reporting") / "templates" / name).read_text(encoding="utf-8")


def _read_plotly() -> str:
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - slow to import

    return str(get_plotlyjs())


def _hash_script(script: str) -> str:
    """Return the hash of a script for the Content-Security-Policy, which allows no other script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
