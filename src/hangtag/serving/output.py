"""List the input files of `hangtag classify`, and write its predictions as a table, CSV, JSON or Parquet."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hangtag.catalog.files import is_inside, walk
from hangtag.catalog.images import PICTURE_SUFFIXES
from hangtag.errors import CatalogError
from hangtag.inference.prediction import Prediction, describe_confidence
from hangtag.inference.streaming import Failure, Outcome
from hangtag.io import JsonObject, format_csv_row
from hangtag.models.label_space import LabelSpace

if TYPE_CHECKING:
    from arro3.core import RecordBatch


Row = JsonObject
Pair = tuple[str, Outcome]
OUTSIDE = Failure("outside_folder", "the link leads out of the folder; name its target instead")
FILE_WIDTH, LABEL_WIDTH, CONFIDENCE_WIDTH = 28, 26, 10
BOOLEANS, NUMBERS = ("is_sure", "in_distribution"), ("confidence", "second_confidence")
EMPTY = "–"
# Replaces characters that must not be printed to a terminal.
HIDDEN = "\ufffd"


class Listed(NamedTuple):
    """A photograph file to read, or a file or folder that is not read.

    Attributes:
        path: Its path.
        failure: The reason for not reading it; None for a photograph to read.
    """

    path: Path
    failure: Failure | None = None


def list_photographs(paths: Sequence[Path]) -> Iterator[Path]:
    """Return the files of `list_entries` that can be read.

    Raises:
        CatalogError: A path does not exist, or a folder cannot be read.
    """
    entries = list_entries(paths)
    return (entry.path for entry in entries if entry.failure is None)


def list_entries(paths: Sequence[Path]) -> Iterator[Listed]:
    """List photographs: the given files, and all files below the given folders that have a photograph's suffix.

    A folder's files come in alphabetical order, followed by its subfolders; hidden entries are skipped. A link given
    as a path is followed. In a folder, a link that leads out of it is listed with a failure, and a link to one of
    its own subfolders is skipped, since the photographs there are listed anyway.

    Raises:
        CatalogError: A path does not exist, or a folder cannot be read; raised before the first entry.
    """
    for path in paths:
        # Unlike Path.exists, this never raises, whatever the name.
        if not os.path.exists(path):  # noqa: PTH110
            raise CatalogError("There is no such file or folder.", received=str(path))
        if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
            raise CatalogError("The folder cannot be read.", received=str(path))
    return _list_files_and_folders(paths)


def _list_files_and_folders(paths: Iterable[Path]) -> Iterator[Listed]:
    for path in paths:
        if path.is_dir():
            yield from _list_folder(path)
        else:
            yield Listed(path)


def _list_folder(folder: Path) -> Iterator[Listed]:
    for entry in walk(folder):
        path = folder / entry.name
        if entry.error is not None and not entry.is_link:
            yield Listed(path, Failure(entry.error.code, f"the folder cannot be read ({entry.error.reason})"))
        elif entry.error is not None or entry.name.lower().endswith(PICTURE_SUFFIXES):
            if entry.is_link and not is_inside(path, folder):
                yield Listed(path, OUTSIDE)
            elif entry.error is None:
                yield Listed(path)


def list_columns(label_space: LabelSpace) -> list[str]:
    """Return the columns of a table of predictions."""
    others = [column for column in (*label_space.levels, *label_space.attributes) if column != label_space.primary]
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


def make_row(file: str, outcome: Outcome, label_space: LabelSpace) -> Row:
    """Return the row of a photograph with the columns of `list_columns`; values that it does not have are None."""
    row: Row = dict.fromkeys(list_columns(label_space))
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
        **{f"predicted_{column}": value for column, value in values.items() if column != label_space.primary},
    }


def write_csv_lines(pairs: Iterable[Pair], label_space: LabelSpace, *, header: bool = True) -> Iterator[str]:
    """Yield the lines of a CSV file, escaped so that spreadsheets do not run texts as formulas."""
    columns = list_columns(label_space)
    if header:
        yield format_csv_row(columns)
    for file, outcome in pairs:
        row = make_row(file, outcome, label_space)
        yield format_csv_row(row[column] for column in columns)


def write_json_lines(pairs: Iterable[Pair]) -> Iterator[str]:
    """Yield the lines of a JSON Lines file, one object per line."""
    for file, outcome in pairs:
        yield json.dumps({"file": file, **describe_outcome(outcome)}, ensure_ascii=False) + "\n"


def describe_outcome(outcome: Outcome) -> Row:
    """Return a prediction or a failure as a dict for JSON."""
    if isinstance(outcome, Prediction):
        return outcome.to_json()
    return {"error": {"code": outcome.code, "reason": outcome.reason}}


def write_table_lines(pairs: Iterable[Pair], label_space: LabelSpace) -> Iterator[str]:
    """Yield the lines of a table for the terminal."""
    levels = [level for level in label_space.levels if level != label_space.primary]
    heading = " > ".join(levels) or "second"
    yield _format_table_line("file", "label", "confidence", heading)
    for file, outcome in pairs:
        if not isinstance(outcome, Prediction):
            yield _format_table_line(_shorten_name(file), EMPTY, "", f"not classified: {outcome.reason}")
            continue
        confidence = describe_confidence(outcome.confidence)
        values = [outcome.levels[level] or EMPTY for level in levels]
        detail = " > ".join(values) or " ".join(map(str, outcome.alternatives[1] if outcome.alternatives[1:] else ()))
        label = outcome.label if outcome.is_sure else f"not sure ({outcome.label}?)"
        if not outcome.in_distribution:
            detail = outcome.doubt
        yield _format_table_line(_shorten_name(file), label, confidence, detail)


def _format_table_line(file: str, label: str, confidence: str, detail: str) -> str:
    line = f"{file:<{FILE_WIDTH}}  {label:<{LABEL_WIDTH}}  {confidence:>{CONFIDENCE_WIDTH}}  {detail}"
    # A name or label may contain line breaks, terminal escape sequences, and bytes that are not text.
    return "".join(letter if letter.isprintable() else HIDDEN for letter in line) + "\n"


def _shorten_name(file: str) -> str:
    return file if len(file) <= FILE_WIDTH else "…" + file[1 - FILE_WIDTH :]


def make_batch(pairs: Sequence[Pair], label_space: LabelSpace) -> "RecordBatch":
    """Return rows as an Arrow record batch; the column types do not depend on the values."""
    from arro3.core import Array, DataType, RecordBatch  # noqa: PLC0415  (needed for Parquet alone)

    rows = [make_row(file, outcome, label_space) for file, outcome in pairs]
    kinds = dict.fromkeys(BOOLEANS, DataType.bool()) | dict.fromkeys(NUMBERS, DataType.float64())
    return RecordBatch.from_pydict(
        {
            column: Array([row[column] for row in rows], type=kinds.get(column, DataType.string()))
            for column in list_columns(label_space)
        }
    )


def write_parquet_file(path: Path, batches: Iterable["RecordBatch"], schema: Any) -> None:
    """Write record batches in order to one Parquet file."""
    from arro3.core import RecordBatchReader  # noqa: PLC0415
    from arro3.io import write_parquet  # noqa: PLC0415

    write_parquet(RecordBatchReader.from_batches(schema, batches), path, compression="zstd(3)")
