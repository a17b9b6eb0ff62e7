"""Write a table, figure or JSON file whole or not at all."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


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


def write_csv(path: Path, table: "pl.DataFrame") -> None:
    """Write a table as UTF-8 CSV with a header; missing values are empty."""
    with write_whole(path) as temporary:
        table.write_csv(temporary)


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
