"""Write a table, figure or JSON file whole or not at all."""

import csv
import hashlib
import html
import io
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

# What a spreadsheet takes for a formula: a sign (full-width signs too, for East Asian locales), also behind blanks or
# apostrophes that it drops, or a tab or line break at the start. Python and polars read the pattern alike.
FORMULA = "('*[ \\x0b\\x0c\u00a0\ufeff]*[\\t\\r\\n=+\\-@\uff1d\uff0b\uff0d\uff20])"
_FORMULA = re.compile(FORMULA)
# What begins markup in Markdown anywhere in a line, and what does so at its start: headings, lists, rules.
_MARKS = re.compile(r"([\\`*_\[\]~|])")
_MARKS_AT_START = re.compile(r"^([#+=-]|\d+(?=[.)]))")


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and put it in the place of `path` once the block has ended well.

    A kill at any moment leaves either the old file or the new one: the temporary file lies in the same
    folder, is flushed to the disk, then renamed. On an error it is removed and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=f".part{path.suffix}")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    _flush(path.parent)


def _flush(path: Path) -> None:
    """Ask the system to put a file or a folder's entries on the disk; folders cannot be opened everywhere."""
    with suppress(PermissionError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8 with line feeds."""
    with write_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Write JSON that people read: two spaces, keys in the order given, no ASCII escapes, no NaN."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file written by `write_json`."""
    return json.loads(path.read_text(encoding="utf-8"))


def escape_markdown(text: str) -> str:
    """Return a label, column or other name on one line, without markup: neither Markdown's nor HTML's."""
    line = html.escape(" ".join(text.split()), quote=False)
    escaped = _MARKS.sub(r"\\\1", line)
    return _MARKS_AT_START.sub(lambda found: f"{found[1]}\\" if found[1].isdecimal() else f"\\{found[1]}", escaped)


def guard_cell(text: str) -> str:
    """Return a text as a cell of a CSV that people open: with an apostrophe before what would be a formula.

    A text that begins with apostrophes and a formula gets one more, so that `unguard_cell` gives each text back.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unguard_cell(text: str) -> str:
    """Return the text that `guard_cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def format_csv_row(cells: Iterable[object]) -> str:
    """Return a line of CSV whose texts are guarded; None is an empty cell."""
    buffer = io.StringIO()
    # The writer quotes the characters of its own line end alone, and a lone carriage return has to be quoted too.
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([guard_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def write_csv(path: Path, table: "pl.DataFrame") -> None:
    """Write a table as UTF-8 CSV with a header; missing values are empty, texts and headings are guarded.

    Numbers stay as they are. `read_csv` reads the values that were written.
    """
    import polars.selectors as cs  # noqa: PLC0415  (classify and review do without polars)

    guarded = table.with_columns(cs.string().str.replace(f"^{FORMULA}", "'${1}"))
    with write_whole(path) as temporary:
        guarded.rename(guard_cell).write_csv(temporary)


def read_csv(path: Path, **options: Any) -> "pl.DataFrame":
    """Read a table that `write_csv` wrote, with options of `polars.read_csv`.

    Types are inferred from the guarded cells; columns are named in the options by their guarded headings.
    """
    import polars as pl  # noqa: PLC0415
    import polars.selectors as cs  # noqa: PLC0415

    table = pl.read_csv(path, **options)
    with path.open(encoding="utf-8", newline="") as file:
        # polars leaves the quotes inside a heading doubled.
        table.columns = [unguard_cell(heading) for heading in next(csv.reader(file))]
    return table.with_columns(cs.string().str.replace(f"^'{FORMULA}", "${1}"))


def write_parquet(path: Path, table: "pl.DataFrame") -> None:
    """Write a table as Parquet."""
    with write_whole(path) as temporary:
        table.write_parquet(temporary)


def hash_file(path: Path) -> str:
    """Give the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: object) -> str:
    """Give the SHA-256 of a value's canonical JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
