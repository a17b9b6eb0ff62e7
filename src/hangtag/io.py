"""Read and write files atomically, and escape texts for spreadsheets and Markdown."""

import csv
import errno
import hashlib
import html
import io
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hangtag.errors import REFUSALS

if TYPE_CHECKING:
    import polars as pl


# Text that a spreadsheet runs as a formula: it starts with a sign (also full-width, for East Asian locales), a tab or a
# line break, possibly after blanks or apostrophes. The pattern has the same meaning in Python and in polars.
FORMULA = "('*[ \\x0b\\x0c\u00a0\ufeff]*[\\t\\r\\n=+\\-@\uff1d\uff0b\uff0d\uff20])"
_FORMULA = re.compile(FORMULA)
# Characters that are special in Markdown anywhere in a line, and those special at its start: headings, lists, rules.
_MARKUP = re.compile(r"([\\`*_\[\]~|])")
_MARKUP_AT_START = re.compile(r"^([#+=-]|\d+(?=[.)]))")
# A JSON object, as a manifest, a report or a description of a model.
JsonObject = dict[str, Any]


def expand_home(path: str | Path) -> Path:
    """Return a path that a user typed, with the home folder in place of `~`.

    Unlike `Path.expanduser`, it leaves `~name` as it is where there is no such user, and the path is not found then.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Write a file atomically: yield a temporary path, and rename it to `path` if the block ends without an error.

    The temporary file is in the same folder and is flushed to the disk before it is renamed, so a kill at any moment
    leaves either the old file or the new one. After an error it is removed, and `path` is unchanged.

    Raises:
        OSError: The file cannot be written; the error names `path`, or its folder if that cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:
        # A missing file is a bug of ours, unlike a place where no folder can be made.
        raise OSError(errno.ENXIO, f"this folder cannot be made ({error.strerror})", str(path.parent)) from error
    # The process id in the name lets other processes check whether the file is still being written.
    prefix = f".{path.stem[:100]}-{os.getpid()}-"
    with name_refusals(path, path.parent / prefix):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=f".part{path.suffix}")
    os.close(handle)
    temporary = Path(name)
    try:
        with name_refusals(path, temporary):
            yield temporary
            flush(temporary)
            temporary.chmod(0o644)
            put_in_place(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
    flush(path.parent)


def put_in_place(source: Path, path: Path) -> None:
    """Rename a file to `path`, replacing a file or an empty folder of that name.

    Raises:
        OSError: The path is a folder that is not empty.
    """
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    source.replace(path)


@contextmanager
def name_refusals(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Convert any library's error about a full or read-only disk to an OSError with the file's path.

    Args:
        path: The file that is being written.
        temporary: The temporary file that is written first, or the beginning of its path.

    Raises:
        OSError: The disk is full or cannot be written; the error has the error number and `path`.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            # The error of a failed write has no file name, and the user does not know the temporary file.
            if error.filename is None or (temporary and str(error.filename).startswith(str(temporary))):
                error.filename = str(path)
            raise
        # polars, safetensors and others wrap the system's error in their own, which contains its text.
        text = str(error)
        for number in REFUSALS:
            if f"os error {number})" in text or os.strerror(number) in text:
                raise OSError(number, os.strerror(number), str(path)) from error
        if "iostream error" in text:
            # OpenVINO raises only this text, and removes the incomplete file.
            raise OSError(errno.EIO, "The disk is full, or cannot be written to", str(path)) from error
        raise


def find_part_owner(path: Path) -> int:
    """Return the id of the process that writes a temporary file of `write_whole`, or 0 if the name has none."""
    match = re.search(r"-(\d+)-[^-]*\.part", path.name)
    return int(match[1]) if match else 0


def is_alive(process_id: int) -> bool:
    """Return whether a process exists on this machine, even if it belongs to another user."""
    if process_id <= 0:
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError) as error:
        return isinstance(error, PermissionError)
    return True


def flush(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk, if the system allows opening it."""
    with suppress(PermissionError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file with line feeds."""
    with write_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Write JSON with an indent of two spaces, keys in the given order, and no ASCII escapes; NaN raises ValueError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file written by `write_json`.

    Raises:
        OSError: The file cannot be read, or is not a regular file (reading a pipe might never end).
        ValueError: The file is damaged.
    """
    require_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deep") from error


def require_file(path: Path) -> None:
    """Check that a path is a regular file, or a link to one.

    Raises:
        OSError: The file is missing, or is something else, such as a pipe, which might never end.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.ENXIO, "It is not a file", str(path))


def guard_cell(text: str) -> str:
    """Return a text as a CSV cell that is safe in a spreadsheet, with an apostrophe before a formula.

    A formula after apostrophes gets another one, so that `unguard_cell` restores every text.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unguard_cell(text: str) -> str:
    """Return the original text of a cell escaped by `guard_cell`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def format_csv_row(cells: Iterable[object]) -> str:
    """Format a line of CSV with guarded texts; None becomes an empty cell."""
    buffer = io.StringIO()
    # The writer quotes only the characters of its own line end, but a single carriage return must be quoted too.
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([guard_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def write_csv(path: Path, table: "pl.DataFrame") -> None:
    """Write a table as UTF-8 CSV with a header; missing values are empty, texts and headings are guarded.

    Numbers are not guarded. `read_csv` restores the values.
    """
    import polars.selectors as cs  # noqa: PLC0415  (classify and review work without polars)

    guarded = table.with_columns(cs.string().str.replace(f"^{FORMULA}", "'${1}"))
    with write_whole(path) as temporary:
        guarded.rename(guard_cell).write_csv(temporary)


def read_csv(path: Path, **options: Any) -> "pl.DataFrame":
    """Read a table written by `write_csv`, with options of `polars.read_csv`.

    Types are inferred from the guarded cells; options name columns by their guarded headings.
    """
    import polars as pl  # noqa: PLC0415
    import polars.selectors as cs  # noqa: PLC0415

    table = pl.read_csv(path, **options)
    with path.open(encoding="utf-8", newline="") as file:
        # polars does not undouble the quotes inside a heading.
        table.columns = [unguard_cell(heading) for heading in next(csv.reader(file))]
    return table.with_columns(cs.string().str.replace(f"^'{FORMULA}", "${1}"))


def write_parquet(path: Path, table: "pl.DataFrame") -> None:
    """Write a table as Parquet."""
    with write_whole(path) as temporary:
        table.write_parquet(temporary)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        OSError: The file cannot be read, or is not a regular file.
    """
    require_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def escape_markdown(text: str) -> str:
    """Return a text of the catalogue on one line, with all markup of Markdown and HTML escaped."""
    line = html.escape(" ".join(text.split()), quote=False)
    escaped = _MARKUP.sub(r"\\\1", line)
    return _MARKUP_AT_START.sub(lambda match: f"{match[1]}\\" if match[1].isdecimal() else f"\\{match[1]}", escaped)
