"""Keep decoded photographs, so that `prepare` decodes only what is new after a kill or in a changed catalogue."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from hangtag.catalog.files import escape_name
from hangtag.catalog.image_files import Chunk, Decoded, Outcome, Shards
from hangtag.catalog.images import Pixels
from hangtag.catalog.source import Source, format_stamp
from hangtag.config import PrepareConfig
from hangtag.errors import WorkspaceError
from hangtag.io import hash_json, write_whole
from hangtag.manifest import read_version, require_manifest
from hangtag.workspace import OTHER_IMAGES, SHARDS

# The list of an earlier `prepare`.
FILE = "photographs.parquet"
COLUMNS = {
    "path": pl.String,
    "stamp": pl.String,
    "width": pl.Int64,
    "height": pl.Int64,
    "mode": pl.String,
}


class Kept(NamedTuple):
    """A decoded photograph: its stamp, the outcome, and the file and row of its pixels."""

    stamp: str
    outcome: Decoded
    file: Path
    row: int


@dataclass(frozen=True)
class DecodedShards:
    """The chunks that a `prepare` has decoded so far, each a file of pixels and a list of the photographs.

    A chunk's files are named by what it is made from, so that processes that decode the same one write the same files,
    and those of another catalogue or state of it write others.

    Attributes:
        folder: The folder of the files.
        key: The hash of the catalogue's path and the settings that the pixels depend on.
    """

    folder: Path
    key: str

    def save(self, chunk: Chunk, outcomes: Sequence[Outcome], pixels: Pixels) -> str:
        """Save what was decoded, for the next `prepare` if this one is interrupted; return the file's name."""
        digest = hash_json([[ascii(name) for name in chunk.names], chunk.stamps])
        path = self.folder / f"{self.key[:16]}-{digest[:16]}.npy"
        # Into memory first: NumPy writes to a file in a way of its own, whose errors do not say that a disk is full.
        buffer = BytesIO()
        np.save(buffer, pixels)
        with write_whole(path) as temporary:
            temporary.write_bytes(buffer.getvalue())
        # What could not be used is tried again: a repaired archive may state the same checksum.
        entries = [
            (name, stamp, *asdict(outcome).values())
            for name, stamp, outcome in zip(chunk.names, chunk.stamps, outcomes, strict=True)
            if isinstance(outcome, Decoded)
        ]
        # Written last: without it, the pixels are not used.
        with write_whole(path.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps({"key": self.key, "entries": entries}), encoding="utf-8")
        return path.name

    def read(self, name: str) -> Pixels:
        """Read the pixels of a chunk's usable photographs, uint8 (n, H, W, 3)."""
        pixels: Pixels = np.load(self.folder / name, allow_pickle=False)
        return pixels


class DecodedStore:
    """The photographs that an earlier `prepare` with the same settings decoded, or one that was interrupted.

    A photograph is the same while its path, its size and its times of change are, or its checksum in an archive.

    Args:
        folder: The folder `prepared/` of the workspace.
        source: The catalogue; photographs of another one are not taken, however alike their files are.
        config: The settings of `prepare`.
    """

    def __init__(self, folder: Path, source: Source, config: PrepareConfig) -> None:
        self._folder = folder
        settings = [escape_name(str(source.path)), config.image_size, config.fit, config.max_pixels, config.max_bytes]
        self._key = hash_json([*settings, list(COLUMNS), read_version("hangtag")])
        self.shards: Shards = DecodedShards(folder / SHARDS, self._key)
        self._kept: dict[str, Kept] = {}
        self._open = lru_cache(maxsize=4)(_open_pixels)
        self._read_earlier()
        self._read_shards()

    @property
    def key(self) -> str:
        """Return the hash of the catalogue's path and the settings that the pixels depend on."""
        return self._key

    def find(self, path: str, stamp: str) -> tuple[Decoded, Pixels] | None:
        """Return a photograph's outcome and its pixels, (H, W, 3); None if it must be decoded."""
        kept = self._kept.get(path)
        if kept is None or not stamp or kept.stamp != stamp:
            return None
        return kept.outcome, self._open(kept.file)[kept.row]

    def write(self, file: Path, paths: Sequence[str], stamps: Sequence[str], outcomes: Sequence[Outcome]) -> None:
        """Write the list of decoded photographs, in the order of `images.npy`, then of `other_images.npy`."""
        # By columns, since a catalogue may have millions.
        kept = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, Decoded)]
        decoded = [outcome for outcome in outcomes if isinstance(outcome, Decoded)]
        columns = {
            "path": [paths[index] for index in kept],
            "stamp": [stamps[index] for index in kept],
            **{name: [getattr(each, name) for each in decoded] for name in ("width", "height", "mode")},
        }
        with write_whole(file) as temporary:
            pl.DataFrame(columns, schema=COLUMNS).write_parquet(temporary)

    def clear(self) -> None:
        """Remove what an interrupted `prepare` left."""
        shutil.rmtree(self.shards.folder, ignore_errors=True)

    def _read_earlier(self) -> None:
        try:
            manifest = require_manifest(self._folder, "", ["images.npy", FILE])
            if manifest.get("decoded_key") != self._key:
                return
            others = [name for name in (OTHER_IMAGES,) if name in manifest["outputs"]]
            require_manifest(self._folder, "", others)
            table = pl.read_parquet(self._folder / FILE, columns=list(COLUMNS))
            for name in ["images.npy", *others]:
                count = len(self._open(self._folder / name))
                self._add(table.head(count).iter_rows(), self._folder / name)
                table = table.slice(count)
        except (WorkspaceError, OSError, ValueError, pl.exceptions.PolarsError):
            return

    def _read_shards(self) -> None:
        for path in sorted(self.shards.folder.glob("*.json")):
            try:
                content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                if content["key"] != self._key:
                    continue
                pixels = path.with_suffix(".npy")
                self._open(pixels)
                self._add(content["entries"], pixels)
            except (OSError, ValueError, KeyError, TypeError):
                continue

    def _add(self, entries: Any, pixels: Path) -> None:
        for row, (path, stamp, width, height, mode) in enumerate(entries):
            self._kept[path] = Kept(stamp, Decoded(width, height, mode), pixels, row)


def _open_pixels(path: Path) -> Pixels:
    pixels: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    return pixels


def stamp_photographs(source: Source, paths: Sequence[str | Path]) -> list[str]:
    """Return a text for each photograph that changes when its file does; empty where there is no such file."""
    return [_stamp_file(path) if isinstance(path, Path) else source.stamp(path) for path in paths]


def _stamp_file(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ""
    return format_stamp(status)
