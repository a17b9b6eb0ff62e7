"""List the input files of `hangtag classify`, and write its predictions as a table, CSV, JSON, Parquet or pictures."""

import hashlib
import json
import os
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count, starmap, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hangtag.catalog.files import escape_name, is_inside, read_regular, walk
from hangtag.catalog.images import PICTURE_SUFFIXES, PhotographError, decode_photograph
from hangtag.errors import CatalogError, SettingsError
from hangtag.explain.grad_cam import Maps
from hangtag.explain.heatmap import encode_png, lay_over
from hangtag.inference.prediction import Prediction, describe_confidence
from hangtag.inference.streaming import MAX_BYTES, MAX_PIXELS, Failure, Outcome
from hangtag.io import JsonObject, format_csv_row, write_whole
from hangtag.models.label_space import LabelSpace

if TYPE_CHECKING:
    from arro3.core import RecordBatch


Row = JsonObject
Pair = tuple[str, Outcome]
OUTSIDE = Failure("outside_folder", "the link leads out of the folder; name its target instead")
# The columns of the printed table, two spaces between them: 80 in all. What does not fit goes on in the next line.
FILE_WIDTH, LABEL_WIDTH, CONFIDENCE_WIDTH, DETAIL_WIDTH = 16, 22, 5, 31
BOOLEANS, NUMBERS = ("is_sure", "in_distribution"), ("confidence", "second_confidence")
EMPTY = "–"
# Replaces characters that must not be printed to a terminal.
HIDDEN = "\ufffd"
# The longer side of a picture, in pixels.
SIDE = 640
# Systems allow a name 255 bytes; a suffix, a number and the mark of a file in the making need some of them.
MAX_STEM_BYTES = 180


class Listed(NamedTuple):
    """A photograph file to read, or a file or folder that is not read.

    Attributes:
        path: Its path.
        failure: The reason for not reading it; None for a photograph to read.
    """

    path: Path
    failure: Failure | None = None


class Group(NamedTuple):
    """The photographs of a product.

    Attributes:
        name: The product's name.
        entries: Its files.
    """

    name: str
    entries: list[Listed]


def group_entries(entries: Iterable[Listed], rule: str) -> list[Group]:
    """Group the files of each product, in the order of its first file.

    Args:
        entries: The files, all of which are listed before the first group.
        rule: `folder`: the files of a folder are a product. Else a regular expression, which is searched in the name of
            each file, or in its path if the expression has a slash. What its group `product` matches names the product;
            else what its first group does, else the whole match. A file that does not match is a product of its own.

    Raises:
        SettingsError: The rule is no regular expression, or matches no file.
    """
    try:
        pattern = None if rule == "folder" else re.compile(rule)
    except (re.error, RecursionError, OverflowError) as error:
        raise SettingsError(
            f"The rule for grouping files is no regular expression: {error}.",
            allowed=r"Allowed: folder, or an expression such as '(?P<product>\d+)_\d+'.",
            received=rule,
        ) from error
    groups: dict[str, Group] = {}
    is_matched, entry = False, None
    for entry in entries:
        name = str(entry.path.parent) if pattern is None else _find_product(pattern, entry.path)
        is_matched |= name is not None
        own = str(entry.path) if name is None else name
        groups.setdefault(own, Group(own, [])).entries.append(entry)
    if entry is not None and not is_matched:
        raise SettingsError(
            "The rule for grouping files matches none of them.",
            allowed="Allowed: folder, or an expression that the files' names match; with a slash, their paths.",
            received=f"{rule}, for files such as {entry.path.name}",
        )
    return list(groups.values())


def _find_product(pattern: "re.Pattern[str]", path: Path) -> str | None:
    """Return the product that a file's name, or its path, says; None where it does not match."""
    found = pattern.search(path.as_posix() if "/" in pattern.pattern else path.name)
    if found is None:
        return None
    return str(found["product" if "product" in pattern.groupindex else min(pattern.groups, 1)] or "") or None


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


def list_columns(label_space: LabelSpace, *, by_product: bool = False) -> list[str]:
    """Return the columns of a table of predictions of files, or of products."""
    others = [column for column in (*label_space.levels, *label_space.attributes) if column != label_space.primary]
    return [
        *(("product", "photographs") if by_product else ("file",)),
        "predicted_label",
        "confidence",
        "is_sure",
        "in_distribution",
        "second_label",
        "second_confidence",
        *(f"predicted_{column}" for column in others),
        "error",
    ]


def make_row(file: str, outcome: Outcome, label_space: LabelSpace, *, by_product: bool = False) -> Row:
    """Return the row of a photograph or product with the columns of `list_columns`; values that it lacks are None.

    Of a product, `error` says which photographs could not be read.
    """
    row: Row = dict.fromkeys(list_columns(label_space, by_product=by_product))
    row["product" if by_product else "file"] = file
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
        **({"photographs": outcome.photographs, "error": "; ".join(outcome.failures) or None} if by_product else {}),
    }


def write_csv_lines(
    pairs: Iterable[Pair], label_space: LabelSpace, *, header: bool = True, by_product: bool = False
) -> Iterator[str]:
    """Yield the lines of a CSV file, escaped so that spreadsheets do not run texts as formulas."""
    columns = list_columns(label_space, by_product=by_product)
    if header:
        yield format_csv_row(columns)
    for file, outcome in pairs:
        row = make_row(file, outcome, label_space, by_product=by_product)
        yield format_csv_row(row[column] for column in columns)


def write_json_lines(pairs: Iterable[Pair], *, by_product: bool = False) -> Iterator[str]:
    """Yield the lines of a JSON Lines file, one object per line."""
    key = "product" if by_product else "file"
    for file, outcome in pairs:
        yield json.dumps({key: file, **describe_outcome(outcome)}, ensure_ascii=False) + "\n"


def describe_outcome(outcome: Outcome) -> Row:
    """Return a prediction or a failure as a dict for JSON."""
    if isinstance(outcome, Prediction):
        return outcome.to_json()
    return {"error": {"code": outcome.code, "reason": outcome.reason}}


def write_table_lines(pairs: Iterable[Pair], label_space: LabelSpace, *, by_product: bool = False) -> Iterator[str]:
    """Yield the rows of a table for the terminal, of one line or more, at most 80 columns wide."""
    levels = [level for level in label_space.levels if level != label_space.primary]
    heading = " > ".join(levels) or "second"
    yield _format_table_line("product" if by_product else "file", "label", "conf.", heading)
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
        if outcome.photographs is not None:
            failed = f", {len(outcome.failures)} not read" if outcome.failures else ""
            detail += f" ({outcome.photographs} photograph{'s' if outcome.photographs > 1 else ''}{failed})"
        yield _format_table_line(_shorten_name(file), label, confidence, detail)


def _format_table_line(file: str, label: str, confidence: str, detail: str) -> str:
    widths = (FILE_WIDTH, LABEL_WIDTH, CONFIDENCE_WIDTH, DETAIL_WIDTH)
    cells = zip((file, label, confidence, detail), widths, strict=True)
    lines = (
        f"{file:<{FILE_WIDTH}}  {label:<{LABEL_WIDTH}}  {confidence:>{CONFIDENCE_WIDTH}}  {detail}".rstrip()
        for file, label, confidence, detail in zip_longest(*starmap(_fold_cell, cells), fillvalue="")
    )
    return "\n".join(lines) + "\n"


def _fold_cell(text: str, width: int) -> list[str]:
    # A name or label may contain line breaks, terminal escape sequences, and bytes that are not text.
    printable = "".join(letter if letter.isprintable() else HIDDEN for letter in text)
    return textwrap.wrap(printable, width, break_on_hyphens=False)


def _shorten_name(file: str) -> str:
    return file if len(file) <= FILE_WIDTH else "…" + file[1 - FILE_WIDTH :]


def make_batch(pairs: Sequence[Pair], label_space: LabelSpace, *, by_product: bool = False) -> "RecordBatch":
    """Return rows as an Arrow record batch; the column types do not depend on the values."""
    from arro3.core import Array, DataType, RecordBatch  # noqa: PLC0415  (needed for Parquet alone)

    rows = [make_row(file, outcome, label_space, by_product=by_product) for file, outcome in pairs]
    kinds = dict.fromkeys(BOOLEANS, DataType.bool()) | dict.fromkeys(NUMBERS, DataType.float64())
    kinds["photographs"] = DataType.int64()
    return RecordBatch.from_pydict(
        {
            column: Array([row[column] for row in rows], type=kinds.get(column, DataType.string()))
            for column in list_columns(label_space, by_product=by_product)
        }
    )


def write_parquet_file(path: Path, batches: Iterable["RecordBatch"], schema: Any) -> None:
    """Write record batches in order to one Parquet file."""
    from arro3.core import RecordBatchReader  # noqa: PLC0415
    from arro3.io import write_parquet  # noqa: PLC0415

    write_parquet(RecordBatchReader.from_batches(schema, batches), path, compression="zstd(3)")


def write_explained(pairs: Iterable[Pair], folder: Path) -> Iterator[Pair]:
    """Write a PNG with the heatmap of each prediction, and yield the predictions without it."""
    for file, outcome in pairs:
        if isinstance(outcome, Prediction) and outcome.heatmap is not None:
            try:
                picture = draw_explained(read_regular(file, MAX_BYTES), outcome.heatmap)
            except (OSError, PhotographError):
                yield file, Failure("unreadable", "it has changed while it was being classified")
                continue
            with write_whole(_find_name(folder, _shorten_stem(escape_name(Path(file).stem)))) as temporary:
                temporary.write_bytes(picture)
            yield file, replace(outcome, heatmap=None)
        else:
            yield file, outcome


def draw_explained(content: bytes, heatmap: Maps) -> bytes:
    """Return a PNG of a photograph with a map of its proportions over it.

    Args:
        content: What the photograph's file holds.
        heatmap: Where the model looked, (rows, columns).

    Raises:
        PhotographError: The file is none.
    """
    height, width = (max(1, round(SIDE * side / max(heatmap.shape))) for side in heatmap.shape)
    photograph = decode_photograph(content, (height, width), MAX_PIXELS)
    return encode_png(lay_over(photograph.pixels, heatmap))


def _shorten_stem(stem: str) -> str:
    """Return a file's name as it is, or the beginning of a long one and some letters that stand for all of it."""
    data = stem.encode()
    if len(data) <= MAX_STEM_BYTES:
        return stem
    return f"{data[: MAX_STEM_BYTES - 9].decode(errors='ignore')}-{hashlib.sha256(data).hexdigest()[:8]}"


def _find_name(folder: Path, stem: str) -> Path:
    """Return a path that is free: the name, or else the name with a number."""
    names = (f"{stem}.png" if number == 1 else f"{stem}-{number}.png" for number in count(1))
    return next(path for name in names if not (path := folder / name).exists())
