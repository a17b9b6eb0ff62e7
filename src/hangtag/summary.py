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
from hangtag.results import StageResult, flatten_metrics, format_seconds, format_value
from hangtag.workspace import Workspace

if TYPE_CHECKING:
    from hangtag.metrics.markdown import Block

WIDTH, WIDE = 80, 200
# Replaces spaces at which a line must not break.
NO_BREAK_SPACE = "\0"


def describe_results(results: Iterable[StageResult]) -> str:
    """Format results below each other, and the metrics of a cross-validation as tables after it."""
    shown = []
    for result in results:
        shown.append(describe_result(result))
        if result.stage == "cross-validate":
            shown.append(f"\n{_describe_folds(result)}")
    return "\n".join(shown)


def _describe_folds(result: StageResult) -> str:
    # Both are slow to import; the stage that has just run has imported them.
    from hangtag.lock import read_result  # noqa: PLC0415
    from hangtag.stages.cross_validate import list_fold_blocks, read_report  # noqa: PLC0415

    workspace = result.folder.parent.parent
    return describe_blocks(list_fold_blocks(read_result(workspace, result, read_report)))


def describe_result(result: StageResult) -> str:
    """Format a heading with the stage, run and seconds, followed by the metrics and the folder of the results."""
    outcome = "unchanged, skipped" if result.skipped else f"done in {format_seconds(result.seconds)}"
    metrics = [f"{name} {format_value(value)}" for name, value in flatten_metrics(result.metrics)]
    if result.stage == "predict" and not result.metrics.get("items", 1):
        metrics = ["nothing to predict: no item lacks a label or a level"]
    pieces = [*metrics, f"in {_make_relative(result.folder)}"]
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
            *map(_fold, filter(None, [weak])),
            *(lines or ["No issue was found."]),
            *map(_fold, filter(None, [expected, *sources, *missing])),
        ]
    )


def _fold(text: str, indent: str = "") -> str:
    folded = textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return folded.replace(NO_BREAK_SPACE, " ")


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


def _make_relative(folder: Path) -> str:
    """Return a path relative to the current folder if it is below it, else unchanged."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


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
    # Always format plain text, so that output can be piped and compared.
    text_console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with text_console.capture() as captured:
        text_console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


# What the codes of rejected.csv mean, for the summary of a check; other codes are shown as they are.
REJECTED = {
    "bad_row": "lines of the table that cannot be read without doubt",
    "skipped_row": "rows that are no products",
    "missing_id": "rows without an id",
    "duplicate_id": "rows with the id of an earlier row",
    "shared_photograph": "photographs that many products share, such as a size chart",
    "missing_photograph": "photographs that are not there",
    "url_not_allowed": "photographs at an address that is not downloaded from",
    "download_failed": "photographs that could not be downloaded",
    "download_timeout": "photographs whose download took too long",
    "unused_photograph": "photographs that no row names",
    "unreadable_file": "files that cannot be read",
    "empty_file": "photographs without content",
    "too_many_bytes": "photographs with too many bytes",
    "too_many_pixels": "photographs with too many pixels",
    "not_an_image": "files that are no photographs",
    "truncated": "damaged photographs",
}
MOST_REASONS = 5


def describe_check(summary: Mapping[str, Any], workspace: Path, catalog: str) -> str:
    """Format the summary of a check as plain text.

    Args:
        summary: What `hangtag.check` returns.
        workspace: The workspace as the user typed it.
        catalog: The catalogue as the user typed it.
    """
    parts = [
        _describe_reading(summary),
        _describe_wrong(summary),
        _describe_places(summary),
        _describe_examples(summary),
        _describe_next(summary, workspace, catalog),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _describe_reading(summary: Mapping[str, Any]) -> list[str]:
    lines = [f"Read: {_count(summary['products'], 'product')} with {_count(summary['photographs'], 'photograph')}."]
    not_read = summary["not_read"]
    if not_read["reasons"]:
        lines.append(_fold(f"Not used, each with its reason in {_make_relative(Path(not_read['file']))}:"))
        lines += [
            f"  {each['count']:>7,}  {REJECTED.get(each['code'], each['code'].replace('_', ' '))}"
            for each in not_read["reasons"][:MOST_REASONS]
        ]
        if more := sum(each["count"] for each in not_read["reasons"][MOST_REASONS:]):
            lines.append(f"  {more:>7,}  others")
    columns = summary["columns"]
    if columns["file"]:
        name = f", names in {columns['name']}" if columns["name"] else ""
        lines.append(
            _fold(
                f"The columns were taken for this: ids in {columns['id']}{name}, categories in "
                f"{' > '.join(columns['categories'])}, photographs in {columns['photographs']}. If that is wrong, "
                f"change {_make_relative(Path(columns['file']))} and check again."
            )
        )
    return lines


def _describe_wrong(summary: Mapping[str, Any]) -> list[str]:
    wrong, judged = summary["wrong_categories"], summary["judged"]
    if not judged:
        lines = ["No category could be checked."]
    elif not wrong:
        lines = [f"No category looks wrong, of {_count(judged, 'product')} that could be checked."]
    else:
        verb = "product looks" if wrong == 1 else "products look"
        lines = [_fold(f"{wrong:,} {verb} as if in a wrong category, of {judged:,} that could be checked.")]
    changes = summary["changes"]
    if changes:
        lines.append(_fold(_describe_changes(changes)))
    if judged and wrong:
        lines += [_fold(text) for text in (_describe_share(summary["wrong_share"]), _describe_first(summary)) if text]
    lines += map(_fold, _describe_gaps(summary))
    return lines


def _describe_changes(changes: Mapping[str, Any]) -> str:
    new, changed, removed = (changes[key] for key in ("new", "changed", "removed"))
    if not (new["products"] or changed["products"] or removed["products"]):
        return "Since the last check: nothing new, changed or removed."

    def look(each: Mapping[str, int]) -> str:
        return f", {each['look_wrong']:,} {'looks' if each['look_wrong'] == 1 else 'look'} wrong"

    return (
        f"Since the last check: {_count(new['products'], 'new product')}{look(new)}; "
        f"{changed['products']:,} changed{look(changed)}; {removed['products']:,} removed."
    )


def _describe_share(share: Mapping[str, Any]) -> str:
    if "unknown" in share:
        return f"How many are wrong in all cannot be estimated honestly: {share['unknown']}."
    if share["expected"] is None:
        return f"Estimate for all products: {share['low']:.1%} or more of the categories are wrong."
    return (
        f"Estimate for all products: about {share['expected']:.1%} of the categories are wrong (between "
        f"{share['low']:.1%} and {share['high']:.1%})."
    )


def _describe_first(summary: Mapping[str, Any]) -> str:
    right, wrong = summary["expected_right"], summary["wrong_categories"]
    if not right or not 0 < right["issues"] <= wrong:
        return ""
    which = "them" if right["issues"] == wrong else f"the first {right['issues']:,}"
    return (
        f"Not every suspicion is right: about {right['expected']:.0f} of {which} are real mistakes by estimate (between "
        f"{right['low']:,} and {right['high']:,})."
    )


def _describe_gaps(summary: Mapping[str, Any]) -> list[str]:
    gaps = summary["not_compared"]
    lines = []
    if count := gaps["products_of_other_categories"]:
        lines.append(
            f"{_count(count, 'product')} could not be compared with a photograph: the built-in model does not know "
            "their categories."
        )
    if gaps["unlike_model"]:
        lines.append(
            "Most photographs are unlike those that the built-in model knows, and were not compared. --train learns "
            "from your own photographs."
        )
    lines += [
        f"The {what} were not compared. {gaps[what]}".replace("`", "")
        for what in ("photographs", "names")
        if gaps[what]
    ]
    return lines


def _describe_places(summary: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, found in (("Brands", summary["by_brand"]), ("Categories", summary["by_category"])):
        if found and found["values"]:
            values = ", ".join(
                f"{each['value']} ({each['wrong']:,} of {each['products']:,})".replace(" ", NO_BREAK_SPACE)
                for each in found["values"]
            )
            lines.append(_fold(f"{name} with most: {values}", indent="  "))
    if count := summary["duplicates"]["groups"]:
        groups = "1 photograph is that of" if count == 1 else f"{count:,} photographs are those of"
        lines.append(_fold(f"{groups} several products with different categories."))
    if spellings := summary["spellings"]:
        shown = ", ".join(f'"{each["given"]}" for "{each["suggested"]}"' for each in spellings[:MOST_REASONS])
        more = f" and {len(spellings) - MOST_REASONS:,} more" if len(spellings) > MOST_REASONS else ""
        lines.append(_fold(f"Spelled in two ways: {shown}{more}."))
    if found := summary["without_category"]:
        lines.append(
            _fold(
                f"{_count(found['products'], 'product')} without a category: {found['suggested']:,} with a suggestion, "
                f"{found['not_sure']:,} not sure; all in {_make_relative(Path(found['file']))}."
            )
        )
    return lines


def _describe_examples(summary: Mapping[str, Any]) -> list[str]:
    lines = ["To verify by a look:"] if summary["examples"] else []
    for each in summary["examples"]:
        name = f"{each['name']} ({each['item_id']})" if each["name"] else each["item_id"]
        lines.append(textwrap.shorten(name, WIDTH - 2, placeholder=" ..."))
        lines[-1] = f"  {lines[-1]}"
        lines.append(_indent(f"{each['given']} -> {each['suggested']}"))
        lines.append(_indent(each["reason"]))
    return lines


def _indent(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="    ")


def _describe_next(summary: Mapping[str, Any], workspace: Path, catalog: str) -> list[str]:
    lines = []
    named = shlex.quote(str(workspace))
    if summary["decided"]:
        lines.append(f"{_count(summary['decided'], 'suspicion')} are decided already.")
    lines.append(f"Decide in the browser:          hangtag review --workspace {named}")
    lines.append(f"Then write your corrected file: hangtag apply --workspace {named}")
    if summary["judged"] and "unknown" in summary["wrong_share"]:
        lines.append(
            f"To find more, with time:        hangtag check {shlex.quote(catalog)} --workspace {named} --train"
        )
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
