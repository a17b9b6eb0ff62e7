"""Format the results of stages, and tables, as plain text that is at most 80 columns wide by default."""

import io
import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hangtag.auditing.expected_right import describe_expected, describe_weakness
from hangtag.results import (
    NO_BREAK_SPACE,
    WIDTH,
    StageResult,
    count_of,
    flatten_metrics,
    fold,
    format_seconds,
    format_value,
    make_relative,
)
from hangtag.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from hangtag.metrics.markdown import Block

WIDE = 200


def describe_results(results: Iterable[StageResult]) -> str:
    """Format results below each other, and the tables of a cross-validation, a learning curve or a search."""
    shown = []
    for result in results:
        shown.append(describe_result(result))
        if result.stage == "cross-validate":
            shown.append(f"\n{_describe_folds(result)}")
        if result.stage == "learning-curve":
            shown.append(f"\n{_describe_curve(result)}")
        if result.stage == "parameter-search":
            shown.append(f"\n{_describe_trials(result)}")
    return "\n".join(shown)


def _describe_folds(result: StageResult) -> str:
    # Both are slow to import; the stage that has just run has imported them.
    from hangtag.lock import read_result  # noqa: PLC0415
    from hangtag.stages.cross_validate import list_fold_blocks, read_report  # noqa: PLC0415

    workspace = result.folder.parent.parent
    return describe_blocks(list_fold_blocks(read_result(workspace, result, read_report)))


def _describe_curve(result: StageResult) -> str:
    from hangtag.lock import read_result  # noqa: PLC0415  (as above)
    from hangtag.stages.learning_curve import describe_curve, read_curve, tabulate_curve  # noqa: PLC0415

    points, summary = read_result(result.folder.parent, result, read_curve)
    return "\n".join([describe_blocks([tabulate_curve(points)]), *map(fold, describe_curve(summary))])


def _describe_trials(result: StageResult) -> str:
    from hangtag.lock import read_result  # noqa: PLC0415  (as above)
    from hangtag.stages.parameter_search import FIGURES, read_trials  # noqa: PLC0415

    workspace = result.folder.parent
    table, summary = read_result(workspace, result, read_trials)
    names = [name for name in table.columns if name not in ("rank", "run_id", *FIGURES)]
    rows = [
        (
            row["run_id"],
            *(f"{row[name]:.3f}" for name in FIGURES[:2]),
            f"{row['training_minutes']:.1f}",
            " ".join(f"{name}={row[name] or 'none'}" for name in names),
        )
        for row in table.iter_rows(named=True)
    ]
    best, others = summary["best"], count_of(summary["as_good"], "other trial")
    certain = (
        f"Of {others} it is not certain that they are worse (95 % interval of the difference in accuracy)."
        if summary["as_good"]
        else "All others are worse (95 % interval of the difference in accuracy)."
    )
    lines = [
        f"The best is {best}. {certain}",
        f"val chose it among {summary['trials']} trials, so its figures there are optimistic; test was not looked at.",
        f"Next, to evaluate it: hangtag evaluate {best} --workspace {shlex.quote(make_relative(workspace))}",
    ]
    headings = ("run", "accuracy", "macro-F1", "minutes", "settings")
    shown = _format_table(headings, rows, last_is_text=True)
    return "\n".join(["The trials, by their accuracy on val.", shown, *map(fold, lines)])


def describe_result(result: StageResult) -> str:
    """Format a heading with the stage, run and seconds, followed by the metrics and the folder of the results."""
    outcome = "unchanged, skipped" if result.skipped else f"done in {format_seconds(result.seconds)}"
    metrics = [f"{name} {format_value(value)}" for name, value in flatten_metrics(result.metrics)]
    if result.stage == "predict" and not result.metrics.get("items", 1):
        metrics = ["nothing to predict: no item lacks a label or a level"]
    pieces = [*metrics, f"in {make_relative(result.folder)}"]
    # Break lines only between pieces, so that a name stays with its number.
    kept = [piece.replace(" ", NO_BREAK_SPACE) for piece in pieces]
    body = textwrap.fill(
        " · ".join(kept),
        WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return f"{_format_heading(result)}: {outcome}\n{body.replace(NO_BREAK_SPACE, ' ')}"


def _format_heading(result: StageResult) -> str:
    """Return the stage's name, followed by the run's name if the stage has a result for each run."""
    if result.stage in ("train", "cross-validate"):
        return f"{result.stage} {result.folder.name}"
    if result.stage in ("evaluate", "predict"):
        return f"{result.stage} {result.folder.parent.name}"
    return result.stage


def describe_audit(summary: Mapping[str, Any], workspace: Path | None = None) -> str:
    """Format how far to trust it, the counts of every code, the sources of evidence, and the checks that did not apply.

    Args:
        summary: The content of `summary.json`.
        workspace: The workspace as the user typed it, to say what to do next; None leaves this out.
    """
    # Slow to import, and a light install lacks its libraries.
    from hangtag.auditing.issues import LABEL_ERROR  # noqa: PLC0415

    by_evidence = {f"{LABEL_ERROR} ({evidence})": count for evidence, count in summary["evidence"].items()}
    counts = by_evidence | {code: count for code, count in summary["issues"].items() if code != LABEL_ERROR}
    lines = [f"{count:>8,}  {code.replace('_', ' ')}" for code, count in counts.items() if count]
    sources = [f"Judged: the labels of {summary['judged']:,} of {summary['items']:,} items."]
    sources += [_describe_source(each) for each in summary["sources"].values()]
    reasons: dict[str, list[str]] = {}
    for check, reason in summary["not_applicable"].items():
        reasons.setdefault(reason, []).append(check.replace("_", " "))
    missing = [f"Not checked: {', '.join(checks)}. {reason}" for reason, checks in reasons.items()]
    if workspace is not None and lines:
        missing.append(
            f"Next, to decide on them in a browser: hangtag review --workspace {shlex.quote(str(workspace))}"
        )
    weak, expected = describe_weakness(summary), describe_expected(summary)
    return "\n".join(
        [
            *map(fold, filter(None, [weak])),
            *(lines or ["No issue was found."]),
            *map(fold, filter(None, [expected, *sources, *missing])),
        ]
    )


def _describe_source(found: Mapping[str, Any]) -> str:
    """Describe a source of probabilities, for how many items, and whether all of these are out-of-sample."""
    from hangtag.auditing.evidence import PHOTOGRAPHS_IN_PART, UNKNOWN  # noqa: PLC0415  (as above)

    parts = [f"Compared with: {found['source']}, {found['items']:,} items."]
    if count := found.get("items_trained_on"):
        parts.append(f"Left out: {count:,} items whose photographs it was trained on.")
    known_by = found.get("training_items_known_by")
    if count := found.get("items_not_mapped"):
        parts.append(
            f"Not judged: {count:,} items whose categories the model does not have (category_mapping.csv; "
            "match more of them by hand with --category-mapping)."
        )
    if known_by == UNKNOWN:
        parts.append(
            "It does not say what it was trained on: items of this catalogue among them are not out-of-sample."
        )
    if known_by == PHOTOGRAPHS_IN_PART:
        parts.append("What its pretrained weights were trained on is not known.")
    return " ".join(parts)


def describe_report(path: Path) -> str:
    """Format the address of a workspace's report, and what to do next if the catalogue is not audited.

    Args:
        path: The workspace as the user typed it.
    """
    workspace = Workspace.at(path)
    lines = [f"The report: {workspace.report.as_uri()}"]
    if not workspace.issues.is_file():
        lines.append(f"Next, to find wrong labels: hangtag audit --workspace {shlex.quote(str(path))}")
    return "\n".join(lines)


def describe_tally(tally: Mapping[str, int]) -> str:
    """Format counts as `12,345 sure · 678 not sure`."""
    return " · ".join(f"{count:,} {key.replace('_', ' ')}" for key, count in tally.items())


def describe_blocks(blocks: Iterable["Block"], *, is_wide: bool = False) -> str:
    """Format tables, each below its title, in 80 columns, or in 200 if `is_wide`."""
    width = WIDE if is_wide else WIDTH
    return "\n\n".join(
        f"{textwrap.fill(block.title, WIDTH)}\n{_format_table(block.headings, block.rows, width=width)}"
        for block in blocks
    )


def describe_architectures(rows: Sequence[Mapping[str, Any]], image_size: tuple[int, int], color_mode: str) -> str:
    """Format the table of the network architectures, with the rows of `hangtag.models.flops`."""
    title = f"Networks for photographs of {image_size[0]} x {image_size[1]} in {color_mode}, with 30 classes."
    cells = [
        (
            row["name"],
            f"{row['parameters']:,}",
            f"{row['flops'] / 1e6:,.1f}",
            f"{row['bytes'] / 1e6:,.1f}",
            row["purpose"],
        )
        for row in rows
    ]
    headings = ("name", "parameters", "MFLOPs", "MB", "for")
    hub = "There is also hub: the image backbone of a KerasHub preset, named by --weights."
    return f"{title}\n{_format_table(headings, cells, last_is_text=True)}\n{hub}"


def describe_found(found: "pl.DataFrame", searched: int) -> str:
    """Format the products that a search found, in 80 columns; names that do not fit are cut.

    Args:
        found: The table of `hangtag.stages.search.SearchResult`.
        searched: The number of products that were compared.
    """
    if found.is_empty():
        return f"No product to show: {searched:,} {'was' if searched == 1 else 'were'} searched."
    has_words = found["named"].null_count() < len(found)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for heading in ("rank", "id", "name", "label", "score", *(["in name"] if has_words else [])):
        is_number = heading in ("rank", "score")
        # The name takes the rest of the line.
        table.add_column(
            Text(heading),
            justify="right" if is_number else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if heading == "name" else None,
            max_width=None if heading == "name" else 18,
        )
    for row in found.iter_rows(named=True):
        cells = [str(row["rank"]), row["item_id"], row["name"], row["label"] or "", f"{row['score']:.3f}"]
        named = {True: "yes", False: "no", None: ""}[row["named"]]
        table.add_row(*(Text(" ".join(cell.split())) for cell in [*cells, *([named] if has_words else [])]))
    table.expand = True
    return f"{_print_table(table, WIDTH)}\nThe best {len(found):,} of {count_of(searched, 'product')}."


def _format_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, last_is_text: bool = False, width: int = WIDTH
) -> str:
    """Format cells in columns: names left-aligned and folded, numbers right-aligned and never folded."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for position, heading in enumerate(headings):
        if position == 0 or (last_is_text and position == len(headings) - 1):
            table.add_column(Text(heading), overflow="fold")
        else:
            table.add_column(Text(heading), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return _print_table(table, width)


def _print_table(table: Table, width: int) -> str:
    # Always format plain text, so that output can be piped and compared.
    text_console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with text_console.capture() as captured:
        text_console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
