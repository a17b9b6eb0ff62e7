"""Say in a few lines of at most 80 columns what a stage did, what went wrong, or how to go on."""

import io
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hangtag.manifest import StageResult

if TYPE_CHECKING:
    from hangtag.metrics.markdown import Block

WIDTH, WIDE = 80, 200
# Stands for the spaces at which no line may break.
KEPT_SPACE = "\0"


def describe_result(result: StageResult) -> str:
    """Give a heading (stage, run, seconds), then what the stage counted and the folder it wrote to."""
    outcome = "unchanged, skipped" if result.skipped else f"done in {describe_seconds(result.seconds)}"
    pieces = [*_list_counts(result.metrics), f"in {_shorten(result.folder)}"]
    # A name stays with its number: a line breaks between pieces only.
    kept = [piece.replace(" ", KEPT_SPACE) for piece in pieces]
    body = textwrap.fill(
        " · ".join(kept),
        WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return f"{_name(result)}: {outcome}\n{body.replace(KEPT_SPACE, ' ')}"


def _name(result: StageResult) -> str:
    """Give the stage's name, with the run's where there is one for each run."""
    if result.stage in ("train", "cross-validate"):
        return f"{result.stage} {result.folder.name}"
    if result.stage in ("evaluate", "predict"):
        return f"{result.stage} {result.folder.parent.name}"
    return result.stage


def _list_counts(counts: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in counts.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _list_counts(value, f"{name} ")
        else:
            yield f"{name} {describe_value(value)}"


def describe_tally(tally: Mapping[str, int]) -> str:
    """Give counts as `12,345 sure · 678 not sure`."""
    return " · ".join(f"{count:,} {key.replace('_', ' ')}" for key, count in tally.items())


def describe_value(value: object) -> str:
    """Give a count as people read it: 44,441 or 0.9132, yes or no, a list between commas."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4f}".rstrip("0").rstrip(".")
        case list() | tuple():
            return ", ".join(describe_value(each) for each in value) or "none"
    return str(value)


def describe_seconds(seconds: float) -> str:
    """Give a duration as `3.2 s`, `4 min 05 s` or `2 h 06 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min"


def _shorten(folder: Path) -> str:
    """Give a path from the current folder where it lies below it."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def describe_blocks(blocks: Iterable["Block"], *, is_wide: bool = False) -> str:
    """Give tables, each below its title, in 80 columns or in more."""
    width = WIDE if is_wide else WIDTH
    return "\n\n".join(
        f"{textwrap.fill(block.title, WIDTH)}\n{_tabulate(block.headings, block.rows, width=width)}" for block in blocks
    )


def describe_architectures(rows: Sequence[Mapping[str, Any]], image_size: tuple[int, int], color_mode: str) -> str:
    """Give the table of the networks that can be trained, as `hangtag.models.flops` describes them."""
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
    hub = "Beside them hub: the image backbone of a KerasHub preset, named by --weights."
    return f"{title}\n{_tabulate(headings, cells, last_is_text=True)}\n{hub}"


def _tabulate(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, last_is_text: bool = False, width: int = WIDTH
) -> str:
    """Lay cells out in columns: names to the left, folded where they are long, figures to the right and whole."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for place, heading in enumerate(headings):
        if place == 0 or (last_is_text and place == len(headings) - 1):
            table.add_column(Text(heading), overflow="fold")
        else:
            table.add_column(Text(heading), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    # Plain text whatever the terminal is: what is printed can be piped and compared.
    paper = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with paper.capture() as captured:
        paper.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
