"""Decode a catalogue's photographs on all CPU cores and pack their pixels into one .npy file."""

import hashlib
from collections import defaultdict
from collections.abc import Generator, Hashable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
import polars as pl

from hangtag.catalog.files import FileError, read_regular
from hangtag.catalog.images import (
    TIFF_SIGNATURES,
    UNREAD_SUFFIXES_OF_CAMERAS,
    Photograph,
    PhotographError,
    Pixels,
    decode_photograph,
    limit_part,
)
from hangtag.catalog.photograph_table import Chunk, Decoded, Indices, Outcome, Outcomes, Photographs, Rejected
from hangtag.catalog.source import Identity, Source, make_changed_error, open_source
from hangtag.config import PrepareConfig
from hangtag.console import show_progress
from hangtag.io import write_whole
from hangtag.processors import count_processors
from hangtag.ray_tasks import TaskPlan
from hangtag.runner_config import RunnerConfig
from hangtag.shards import ShardWork, Slot, run_shards

CHUNK = 256


class Shards(Protocol):
    """Decoded chunks on the disk; see `decoded_store.DecodedShards`."""

    @property
    def folder(self) -> Path:
        """Return the folder of the files."""

    def save(self, chunk: Chunk, outcomes: Sequence[Outcome], pixels: Pixels) -> str:
        """Save what was decoded, and return the name of the file of pixels."""

    def read(self, name: str) -> Pixels:
        """Read a file of pixels."""


class Store(Protocol):
    """Decoded photographs that are kept between runs; see `decoded_store.DecodedStore`."""

    shards: Shards

    def find(self, paths: pl.Series, stamps: pl.Series) -> Indices:
        """Return the position of each photograph among those that are kept, (n,); -1 where it must be decoded."""

    def read(self, positions: Indices) -> Iterator[tuple[Decoded, Pixels]]:
        """Yield the outcome and the pixels of kept photographs."""


def pack_photographs(
    source: Source,
    photographs: Photographs,
    config: PrepareConfig,
    targets: tuple[Path, Path],
    store: Store,
    runner: RunnerConfig = RunnerConfig(),  # noqa: B008  (frozen)
) -> Outcomes:
    """Decode photographs in order and write the usable ones to two .npy files, uint8 (n, H, W, 3).

    The first usable photograph of each item goes to the first file, every other one to the second.

    Photographs are decoded and written in chunks: pixels take no more memory in a larger catalogue. What the store has
    is not decoded again.

    Args:
        source: The catalogue's files.
        photographs: Where each is, its stamp and its item.
        config: The size, and limits.
        targets: The two files to write.
        store: What was decoded before.
        runner: Where photographs are decoded.

    Returns:
        The outcome of each photograph, in order.
    """
    outcomes, total = Outcomes(), len(photographs)
    height, width = config.image_size
    kept = store.find(photographs.paths, photographs.stamps)
    earlier, counts, packed = store.read(kept[kept >= 0]), [0, 0], -1
    with (
        closing(_decode_new(source, photographs, np.flatnonzero(kept < 0), config, store.shards, runner)) as decoded,
        targets[0].open("wb") as first,
        targets[1].open("wb") as other,
        show_progress("Decoding photographs", total, "photographs") as bar,
    ):
        files = (first, other)
        for file in files:
            _write_header(file, (total, height, width, 3))
        for item, position in zip(photographs.items, kept, strict=True):
            outcome, pixels = next(decoded) if position < 0 else next(earlier)
            if pixels is not None:
                is_other = bool(item == packed)
                files[is_other].write(pixels.tobytes())
                counts[is_other] += 1
                packed = item
            outcomes.append(outcome)
            if len(outcomes) % CHUNK == 0 or len(outcomes) == total:
                bar.advance((len(outcomes) - 1) % CHUNK + 1)
        for file, count in zip(files, counts, strict=True):
            file.seek(0)
            # NumPy pads the header, so a smaller first dimension can be written over it.
            _write_header(file, (count, height, width, 3))
    return outcomes


def count_holders(
    images: Pixels, others: Pixels, owners: Sequence[int], products: Sequence[Hashable | None]
) -> list[int]:
    """Return how many products have each other photograph, pixel for pixel.

    Items with the same first photograph are one product, as the sizes of a shirt are.

    Args:
        images: The first photographs of n items, uint8 (n, H, W, 3).
        others: The other photographs, uint8 (m, H, W, 3).
        owners: The row in `images` of each one's item.
        products: A value that items of one product share; None where it is not known.
    """
    own, digests = ([hashlib.blake2b(image, digest_size=16).digest() for image in each] for each in (images, others))
    keys = [digest if product is None else product for digest, product in zip(own, products, strict=True)]
    holders: dict[bytes, set[Hashable]] = defaultdict(set)
    for digest, owner in zip(digests, owners, strict=True):
        holders[digest].add(keys[owner])
    for digest, key in zip(own, keys, strict=True):
        if digest in holders:
            holders[digest].add(key)
    return [len(holders[digest]) for digest in digests]


def keep_rows(path: Path, rows: Sequence[int]) -> None:
    """Write a file of pixels again with some of its rows, in their order."""
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    with write_whole(path) as temporary, temporary.open("wb") as file:
        _write_header(file, (len(rows), *images.shape[1:]))
        for row in rows:
            file.write(images[row].tobytes())


@dataclass
class _Decoding(ShardWork[Chunk, tuple[list[Outcome], str]]):
    """Decode the photographs of a chunk, and save their pixels."""

    path: Path
    identity: Identity
    config: PrepareConfig
    shards: Shards

    def run(self, shard: Chunk, slot: Slot) -> tuple[list[Outcome], str]:  # noqa: ARG002  (one thread decodes)
        """Return the outcome of each photograph, and the name of the file of pixels."""
        outcomes, pixels = _decode_chunk(self.path, self.identity, shard.paths, self.config)
        return outcomes, self.shards.save(shard, outcomes, pixels)


def _decode_new(
    source: Source,
    photographs: Photographs,
    new: Indices,
    config: PrepareConfig,
    shards: Shards,
    runner: RunnerConfig,
) -> Generator[tuple[Outcome, Pixels | None], None, None]:
    """Decode and save some of the photographs, by their indices; yield the outcome and the pixels of each."""
    size = limit_part(config.image_size, CHUNK)
    starts = range(0, len(new), size)
    chunks = (photographs.take(new[start : start + size]) for start in starts)
    elsewhere = np.flatnonzero(photographs.is_elsewhere)
    downloads = [Path(photographs.paths[int(index)]).parent for index in elsewhere[:1]]
    plan = TaskPlan("prepare", len(starts), shards.folder, (source.path, *downloads))
    work = _Decoding(source.path, source.identity, config, shards)
    processes = min(config.workers or count_processors(), len(starts))
    with run_shards(work, chunks, plan, runner, processes=processes) as results:
        for outcomes, name in results:
            pixels = iter(shards.read(name))
            yield from ((outcome, next(pixels) if isinstance(outcome, Decoded) else None) for outcome in outcomes)


def _write_header(file: object, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(
        file,  # type: ignore[arg-type]
        {"descr": "|u1", "fortran_order": False, "shape": shape},
    )


_sources: dict[Path, Source] = {}


def _open_once(path: Path, identity: Identity) -> Source:
    """Open a catalogue once per process: reading a .zip's directory takes longer than decoding a chunk.

    Raises:
        CatalogError: The file was replaced after its rows were read.
    """
    source = _sources.get(path)
    if source is None or source.identity != identity:
        source = _sources[path] = open_source(path)
    if source.identity != identity:
        raise make_changed_error(path)
    return source


def _decode_chunk(
    source_path: Path, identity: Identity, paths: Sequence[str | Path], config: PrepareConfig
) -> tuple[list[Outcome], Pixels]:
    source = _open_once(source_path, identity)
    outcomes: list[Outcome] = []
    pixels: list[Pixels] = []
    for path in paths:
        try:
            photograph = read_photograph(source, path, config)
        except PhotographError as error:
            outcomes.append(Rejected(error.code, error.reason))
        else:
            pixels.append(photograph.pixels)
            outcomes.append(Decoded(photograph.width, photograph.height, photograph.mode))
    return outcomes, np.stack(pixels) if pixels else np.empty(0, np.uint8)


def read_photograph(source: Source, path: str | Path, config: PrepareConfig) -> Photograph:
    """Read and decode one photograph: a path inside the source, or a file elsewhere.

    Raises:
        PhotographError: It is missing, cannot be read, or is no photograph within the limits.
    """
    if not path:
        raise PhotographError("missing_photograph", "the row names no photograph")
    try:
        data = read_regular(path, config.max_bytes) if isinstance(path, Path) else source.read(path, config.max_bytes)
    except FileError as error:
        if error.code == "missing_file":
            raise PhotographError("missing_photograph", "there is no such photograph") from error
        raise PhotographError(error.code, error.reason) from error
    except OSError as error:
        raise PhotographError("unreadable_file", f"the downloaded file cannot be read ({error.strerror})") from error
    ending = PurePosixPath(path).suffix.lower()
    if ending in UNREAD_SUFFIXES_OF_CAMERAS and data.startswith(TIFF_SIGNATURES):
        # Such a file is a TIFF whose first picture is a small preview.
        raise PhotographError("not_an_image", f"a camera's raw file ({ending}) is not read; save it as JPEG")
    return decode_photograph(data, config.image_size, config.max_pixels, fit=config.fit)
