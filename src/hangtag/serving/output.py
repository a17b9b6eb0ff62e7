"""Predictions as table rows, lines of text, or columns of a Parquet file, and the files to predict."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hangtag.catalog.files import is_inside, walk
from hangtag.errors import CatalogError
from hangtag.inference.prediction import Prediction, describe_confidence
from hangtag.inference.streaming import Failure, Outcome
from hangtag.io import format_csv_row
from hangtag.models.label_space import LabelSpace

if TYPE_CHECKING:
    from arro3.core import RecordBatch


# Find the photograph files that a person means by files and folders.

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
OUTSIDE = Failure("outside_folder", "the link leads out of the folder; name what it leads to by itself")


class Listed(NamedTuple):
    """A photograph's file, or what a folder has that is not read.

    Attributes:
        path: Where it is.
        failure: Why it is not read; None for what is.
    """

    path: Path
    failure: Failure | None = None


def list_photographs(indices: Sequence[Path]) -> Iterator[Path]:
    """Return the files of `list_entries` that are to be read."""
    entries = list_entries(indices)
    return (entry.path for entry in entries if entry.failure is None)


def list_entries(indices: Sequence[Path]) -> Iterator[Listed]:
    """Yield files as they are named, and of folders all files below that are called like photographs.

    A folder's files come in the order of their names, its subfolders after them; hidden ones are passed over. Links
    that are named are followed. Of those in a folder, what leads out of it is not read and comes with the reason, and
    links to its own subfolders are passed over, since their photographs are listed there.

    Raises:
        CatalogError: A path does not exist, or a folder cannot be read; raised before the first file is yielded.
    """
    for index in indices:
        # Unlike Path.exists, it raises nothing, whatever the name.
        if not os.path.exists(index):  # noqa: PTH110
            raise CatalogError("There is no such file or folder.", received=str(index))
        if index.is_dir() and not os.access(index, os.R_OK | os.X_OK):
            raise CatalogError("The folder cannot be read.", received=str(index))
    return _list_entries(indices)


def _list_entries(indices: Iterable[Path]) -> Iterator[Listed]:
    for index in indices:
        if index.is_dir():
            yield from _list_folder(index)
        else:
            yield Listed(index)


def _list_folder(index: Path) -> Iterator[Listed]:
    for found in walk(index):
        path = index / found.name
        if found.error is not None and not found.is_link:
            yield Listed(path, Failure(found.error.code, f"the folder cannot be read ({found.error.reason})"))
        elif found.error is not None or found.name.lower().endswith(SUFFIXES):
            if found.is_link and not is_inside(path, index):
                yield Listed(path, OUTSIDE)
            elif found.error is None:
                yield Listed(path)


Row = dict[str, Any]
Pair = tuple[str, Outcome]
FILE_WIDTH, LABEL_WIDTH, CONFIDENCE_WIDTH = 28, 26, 10
BOOLEANS, NUMBERS = ("is_sure", "in_distribution"), ("confidence", "second_confidence")
EMPTY = "–"
HIDDEN = "\ufffd"


def list_columns(outputs: LabelSpace) -> list[str]:
    """Return the columns of a table of answers, the same for every photograph."""
    others = [column for column in (*outputs.levels, *outputs.attributes) if column != outputs.primary]
    return [
        "file",
        "predicted_label",
        "confidence",
        "is_sure",
        "in_distribution",
        "second_label",
        "second_confidence",
        *(f"predicted_{column}" for column in others),
        "error",
    ]


def make_row(file: str, outcome: Outcome, outputs: LabelSpace) -> Row:
    """Return a photograph's values in `list_columns`; None where there is none."""
    row: Row = dict.fromkeys(list_columns(outputs))
    row["file"] = file
    if not isinstance(outcome, Prediction):
        return row | {"error": f"{outcome.code}: {outcome.reason}"}
    second = outcome.alternatives[1] if len(outcome.alternatives) > 1 else (None, None)
    values = {**outcome.levels, **{column: value for column, (value, _) in outcome.attributes.items()}}
    return row | {
        "predicted_label": outcome.label,
        "confidence": outcome.confidence,
        "is_sure": outcome.is_sure,
        "in_distribution": outcome.in_distribution,
        "second_label": second[0],
        "second_confidence": second[1],
        **{f"predicted_{column}": value for column, value in values.items() if column != outputs.primary},
    }


def write_csv_lines(pairs: Iterable[Pair], outputs: LabelSpace, *, header: bool = True) -> Iterator[str]:
    """Return CSV, a line at a time; texts and headings are guarded against being formulas."""
    columns = list_columns(outputs)
    if header:
        yield format_csv_row(columns)
    for file, outcome in pairs:
        row = make_row(file, outcome, outputs)
        yield format_csv_row(row[column] for column in columns)


def write_json_lines(pairs: Iterable[Pair]) -> Iterator[str]:
    """Return a JSON object a line."""
    for file, outcome in pairs:
        yield json.dumps({"file": file, **describe_outcome(outcome)}, ensure_ascii=False) + "\n"


def describe_outcome(outcome: Outcome) -> Row:
    """Return an answer, or the error in its place, as JSON has it."""
    if isinstance(outcome, Prediction):
        return outcome.to_json()
    return {"error": {"code": outcome.code, "reason": outcome.reason}}


def write_table_lines(pairs: Iterable[Pair], outputs: LabelSpace) -> Iterator[str]:
    """Return a table for a terminal, a line at a time."""
    levels = [level for level in outputs.levels if level != outputs.primary]
    heading = " > ".join(levels) or "second"
    yield _format_line("file", "label", "confidence", heading)
    for file, outcome in pairs:
        if not isinstance(outcome, Prediction):
            yield _format_line(_shorten_text(file), EMPTY, "", f"not classified: {outcome.reason}")
            continue
        confidence = describe_confidence(outcome.confidence)
        values = [outcome.levels[level] or EMPTY for level in levels]
        detail = " > ".join(values) or " ".join(map(str, outcome.alternatives[1] if outcome.alternatives[1:] else ()))
        label = outcome.label if outcome.is_sure else f"not sure ({outcome.label}?)"
        yield _format_line(_shorten_text(file), label, confidence, detail if outcome.in_distribution else outcome.doubt)


def _format_line(file: str, label: str, confidence: str, detail: str) -> str:
    line = f"{file:<{FILE_WIDTH}}  {label:<{LABEL_WIDTH}}  {confidence:>{CONFIDENCE_WIDTH}}  {detail}"
    # A name or label may hold line breaks, commands to the terminal, and bytes that are no text.
    return "".join(letter if letter.isprintable() else HIDDEN for letter in line) + "\n"


def _shorten_text(file: str) -> str:
    return file if len(file) <= FILE_WIDTH else "…" + file[1 - FILE_WIDTH :]


def make_batch(pairs: Sequence[Pair], outputs: LabelSpace) -> "RecordBatch":
    """Return rows as an Arrow batch, of the same types whatever they hold."""
    from arro3.core import Array, DataType, RecordBatch  # noqa: PLC0415  (needed for Parquet alone)

    rows = [make_row(file, outcome, outputs) for file, outcome in pairs]
    kinds = dict.fromkeys(BOOLEANS, DataType.bool()) | dict.fromkeys(NUMBERS, DataType.float64())
    return RecordBatch.from_pydict(
        {
            column: Array([row[column] for row in rows], type=kinds.get(column, DataType.string()))
            for column in list_columns(outputs)
        }
    )


def write_parquet_file(path: Path, batches: Iterable["RecordBatch"], schema: Any) -> None:
    """Write batches one behind the other as one Parquet file."""
    from arro3.core import RecordBatchReader  # noqa: PLC0415
    from arro3.io import write_parquet  # noqa: PLC0415

    write_parquet(RecordBatchReader.from_batches(schema, batches), path, compression="zstd(3)")
