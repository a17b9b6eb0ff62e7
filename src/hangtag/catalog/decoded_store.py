"""Keep decoded photographs, so that `prepare` decodes only what is new after a kill or in a changed catalogue."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.catalog.files import escape_name
from hangtag.catalog.image_files import Shards
from hangtag.catalog.images import Pixels
from hangtag.catalog.photograph_table import Chunk, Decoded, Indices, Outcome, Outcomes, Photographs, collect_texts
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
# Where the pixels of a photograph are: the number of the file, and the row in it.
PLACE = {"file": pl.Int32, "row": pl.Int32}
# Photographs whose entries are read at once.
READ = 4096


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
        # The files of pixels, and the photographs in them: of `COLUMNS`, the number of the file and the row there.
        self._files: list[Path] = []
        self._kept = self._read_kept()

    @property
    def key(self) -> str:
        """Return the hash of the catalogue's path and the settings that the pixels depend on."""
        return self._key

    def find(self, paths: pl.Series, stamps: pl.Series) -> Indices:
        """Return the position of each photograph among those that are kept, (n,); -1 where it must be decoded."""
        if self._kept.is_empty():
            return np.full(len(paths), -1)
        asked = pl.DataFrame({"path": paths, "stamp": stamps})
        kept = self._kept.select("path", "stamp").with_row_index("position").filter(pl.col("stamp") != "")
        found = asked.join(kept, on=["path", "stamp"], how="left", maintain_order="left")["position"]
        return found.cast(pl.Int64).fill_null(-1).to_numpy()

    def read(self, positions: Indices) -> Iterator[tuple[Decoded, Pixels]]:
        """Yield the outcome and the pixels, uint8 (H, W, 3), of kept photographs."""
        table = self._kept.select("width", "height", "mode", "file", "row")
        for start in range(0, len(positions), READ):
            # Opened again for each part: what a memory map has read counts as memory while it is open.
            open_once = lru_cache(maxsize=4)(_open_pixels)
            for *outcome, file, row in table[positions[start : start + READ]].iter_rows():
                yield Decoded(*outcome), open_once(self._files[file])[row]

    def write(self, file: Path, photographs: Photographs, outcomes: Outcomes, indices: tuple[Indices, Indices]) -> None:
        """Write the list of decoded photographs.

        Args:
            file: The file.
            photographs: The photographs that were packed.
            outcomes: The outcome of each candidate.
            indices: Which ones to list, in the order of `images.npy`, then of `other_images.npy`: their indices among
                the photographs, and among the candidates.
        """
        names = {"path": photographs.paths.gather(indices[0]), "stamp": photographs.stamps.gather(indices[0])}
        with write_whole(file) as temporary:
            pl.DataFrame(names).hstack(outcomes.describe(indices[1])).write_parquet(temporary)

    def clear(self) -> None:
        """Remove what an interrupted `prepare` left."""
        shutil.rmtree(self.shards.folder, ignore_errors=True)

    def _read_kept(self) -> pl.DataFrame:
        """Return the photographs that are kept, each path once: as it was decoded last."""
        parts = [pl.DataFrame(schema={**COLUMNS, **PLACE}), *self._read_earlier(), *self._read_shards()]
        return pl.concat(parts, rechunk=True).unique("path", keep="last", maintain_order=True)

    def _read_earlier(self) -> list[pl.DataFrame]:
        parts = []
        try:
            manifest = require_manifest(self._folder, "", ["images.npy", FILE])
            if manifest.get("decoded_key") != self._key:
                return []
            others = [name for name in (OTHER_IMAGES,) if name in manifest["outputs"]]
            require_manifest(self._folder, "", others)
            table = pl.read_parquet(self._folder / FILE, columns=list(COLUMNS))
            for name in ["images.npy", *others]:
                count = len(_open_pixels(self._folder / name))
                parts.append(self._place(table.head(count), self._folder / name))
                table = table.slice(count)
        except (WorkspaceError, OSError, ValueError, pl.exceptions.PolarsError):
            pass
        return parts

    def _read_shards(self) -> Iterator[pl.DataFrame]:
        for path in sorted(self.shards.folder.glob("*.json")):
            try:
                content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                if content["key"] != self._key:
                    continue
                pixels = path.with_suffix(".npy")
                _open_pixels(pixels)
                entries = pl.DataFrame(content["entries"], schema=COLUMNS, orient="row")
            except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError):
                continue
            yield self._place(entries, pixels)

    def _place(self, entries: pl.DataFrame, pixels: Path) -> pl.DataFrame:
        """Return the photographs of a file of pixels with the columns of `PLACE`."""
        self._files.append(pixels)
        places = {"file": np.full(len(entries), len(self._files) - 1), "row": np.arange(len(entries))}
        return entries.hstack(pl.DataFrame(places, schema=PLACE))


def _open_pixels(path: Path) -> Pixels:
    pixels: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    return pixels


def stamp_photographs(source: Source, paths: pl.Series, is_elsewhere: npt.NDArray[np.bool_]) -> pl.Series:
    """Return a text for each photograph that changes when its file does; empty where there is no such file."""
    both = zip(paths, is_elsewhere, strict=True)
    return collect_texts(_stamp_file(Path(path)) if is_file else source.stamp(path) for path, is_file in both)


def _stamp_file(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ""
    return format_stamp(status)
