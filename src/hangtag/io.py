"""Write a table, figure or JSON file whole or not at all."""

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

if TYPE_CHECKING:
    import polars as pl


# What a spreadsheet takes for a formula: a sign (full-width signs too, for East Asian locales), also behind blanks or
# apostrophes that it drops, or a tab or line break at the start. Python and polars read the pattern alike.
FORMULA = "('*[ \\x0b\\x0c\u00a0\ufeff]*[\\t\\r\\n=+\\-@\uff1d\uff0b\uff0d\uff20])"
_FORMULA = re.compile(FORMULA)
# What the system refuses is no bug: a folder that may not be written to, a disk that is full or broken, a file where a
# folder has to be, too many open files.
REFUSALS = tuple(
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "EIO", "ESTALE", "EBUSY", "ETXTBSY"),
        *("EISDIR", "ENOTDIR", "EEXIST", "ENOTEMPTY", "ELOOP", "ENAMETOOLONG", "EMFILE", "ENFILE", "ENXIO"),
    )
    if hasattr(errno, name)
)


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and put it in the place of `path` once the block has ended well.

    A kill at any moment leaves either the old file or the new one: the temporary file lies in the same
    folder, is flushed to the disk, then renamed. On an error it is removed and `path` stays as it was.

    Raises:
        OSError: The disk refuses it; the error names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process's id is in the name, so that others can see whether the file is still being written.
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
    """Rename a file over whatever is at `path`, an empty folder too.

    Raises:
        OSError: There is a folder that holds something: it is somebody's.
    """
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    source.replace(path)


@contextmanager
def name_refusals(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Turn whatever a library raises because the disk is full or cannot be written to into an OSError that says so.

    Args:
        path: What is being written.
        temporary: Where it is written to at first, or how the name of that begins.

    Raises:
        OSError: With its number and the path.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            # A write that fails names no file, and nobody knows the temporary one.
            if error.filename is None or (temporary and str(error.filename).startswith(str(temporary))):
                error.filename = str(path)
            raise
        # polars, safetensors and others wrap the system's error in one of their own, with its text.
        told = str(error)
        for number in REFUSALS:
            if f"os error {number})" in told or os.strerror(number) in told:
                raise OSError(number, os.strerror(number), str(path)) from error
        if "iostream error" in told:
            # OpenVINO says no more, and takes what it has written away.
            raise OSError(errno.EIO, "The disk is full, or cannot be written to", str(path)) from error
        raise


def find_part_owner(path: Path) -> int:
    """Return the id of the process that writes a temporary file of `write_whole`; 0 where the name has none."""
    found = re.search(r"-(\d+)-[^-]*\.part", path.name)
    return int(found[1]) if found else 0


def is_alive(process_id: int) -> bool:
    """Return whether there is such a process on this machine, another user's among them."""
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
    """Read a JSON file written by `write_json`.

    Raises:
        OSError: It cannot be read, or is no file: a pipe would be waited for without end.
        ValueError: It is damaged.
    """
    require_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deep") from error


def require_file(path: Path) -> None:
    """Check that a path is a file, or a link to one.

    Raises:
        OSError: It is something else, as a pipe, which would be waited for without end; or is not there.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.ENXIO, "It is not a file", str(path))


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
    require_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: object) -> str:
    """Give the SHA-256 of a value's canonical JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


# Write texts of a catalogue into Markdown so that they are read and never rendered.

# What begins markup anywhere in a line, and what does so at its start: headings, lists, rules.
_ANYWHERE = re.compile(r"([\\`*_\[\]~|])")
_AT_START = re.compile(r"^([#+=-]|\d+(?=[.)]))")


def escape_markdown(text: str) -> str:
    """Return a label, column or other name on one line, without markup: neither Markdown's nor HTML's."""
    line = html.escape(" ".join(text.split()), quote=False)
    escaped = _ANYWHERE.sub(r"\\\1", line)
    return _AT_START.sub(lambda found: f"{found[1]}\\" if found[1].isdecimal() else f"\\{found[1]}", escaped)
