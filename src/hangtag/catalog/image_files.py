"""Decode a catalogue's photographs on all CPU cores and pack their pixels into one .npy file."""

import hashlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from joblib import Parallel, delayed

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
from hangtag.catalog.source import Identity, Source, make_changed_error, open_source
from hangtag.config import PrepareConfig
from hangtag.console import show_progress
from hangtag.io import write_whole

CHUNK = 256
# How often a worker process checks that its parent process is still running.
PARENT_CHECK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Rejected:
    """The reason for leaving a photograph out: a stable code and a text for the user."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """The size and mode of a packed photograph's file, before resizing."""

    width: int
    height: int
    mode: str


Outcome = Decoded | Rejected


class Store(Protocol):
    """Decoded photographs that are kept between runs; see `decoded_store.DecodedStore`."""

    def find(self, path: str, stamp: str) -> tuple[Decoded, Pixels] | None:
        """Return a photograph's outcome and its pixels; None if it must be decoded."""

    def save(self, paths: Sequence[str], stamps: Sequence[str], outcomes: Sequence[Outcome], pixels: Pixels) -> None:
        """Save what was decoded."""


def pack_photographs(
    source: Source,
    paths: Sequence[str | Path],
    config: PrepareConfig,
    targets: tuple[Path, Path],
    store: Store,
    stamps: Sequence[str],
    items: Sequence[int],
) -> list[Outcome]:
    """Decode photographs in order and write the usable ones to two .npy files, uint8 (n, H, W, 3).

    The first usable photograph of each item goes to the first file, every other one to the second.

    Photographs are decoded and written in chunks, so memory use does not grow with the catalogue. What the store has is
    not decoded again.

    Args:
        source: The catalogue's files.
        paths: The photographs: paths inside the source, or files elsewhere.
        config: The size, and limits.
        targets: The two files to write.
        store: What was decoded before.
        stamps: A text for each photograph that changes when its file does.
        items: The item of each photograph.

    Returns:
        One outcome for each path, in the order of `paths`.
    """
    outcomes: list[Outcome] = []
    height, width = config.image_size
    names = [str(path) for path in paths]
    new = [index for index in range(len(paths)) if store.find(names[index], stamps[index]) is None]
    decoded = _decode_new(source, [(paths[index], names[index], stamps[index]) for index in new], config, store)
    is_new, done, counts = set(new), set[int](), [0, 0]
    with (
        targets[0].open("wb") as first,
        targets[1].open("wb") as other,
        show_progress("Decoding photographs", len(paths), "photographs") as bar,
    ):
        files = (first, other)
        for file in files:
            _write_header(file, (len(paths), height, width, 3))
        for index, item in enumerate(items):
            found = None if index in is_new else store.find(names[index], stamps[index])
            outcome, pixels = found or next(decoded)
            if pixels is not None:
                files[item in done].write(pixels.tobytes())
                counts[item in done] += 1
                done.add(item)
            outcomes.append(outcome)
            if len(outcomes) % CHUNK == 0 or len(outcomes) == len(paths):
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


def _decode_new(
    source: Source, photographs: Sequence[tuple[str | Path, str, str]], config: PrepareConfig, store: Store
) -> Iterator[tuple[Outcome, Pixels | None]]:
    """Yield the outcome and the pixels of each photograph, given as path, name and stamp, and save them in chunks."""
    done = 0
    for outcomes, pixels in _decode_chunks(source, [path for path, _, _ in photographs], config):
        chunk = photographs[done : done + len(outcomes)]
        done += len(outcomes)
        store.save([name for _, name, _ in chunk], [stamp for _, _, stamp in chunk], outcomes, pixels)
        rows = iter(pixels)
        yield from ((outcome, next(rows) if isinstance(outcome, Decoded) else None) for outcome in outcomes)


def _write_header(file: object, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(
        file,  # type: ignore[arg-type]
        {"descr": "|u1", "fortran_order": False, "shape": shape},
    )


def _decode_chunks(
    source: Source, paths: Sequence[str | Path], config: PrepareConfig
) -> Iterator[tuple[list[Decoded | Rejected], Pixels]]:
    # joblib's worker processes need no `if __name__ == "__main__"` in a user's script, and do not fork a process
    # in which polars has started threads.
    size = limit_part(config.image_size, CHUNK)
    chunks = [paths[start : start + size] for start in range(0, len(paths), size)]
    workers = min(config.workers or os.cpu_count() or 1, len(chunks))
    if workers <= 1:
        yield from (_decode_chunk(source.path, source.identity, chunk, config) for chunk in chunks)
        return
    parallel = Parallel(
        n_jobs=workers,
        return_as="generator",
        pre_dispatch=2 * workers,
        initializer=exit_with_parent,
        initargs=(os.getpid(),),
    )
    yield from parallel(delayed(_decode_chunk)(source.path, source.identity, chunk, config) for chunk in chunks)


def exit_with_parent(parent: int) -> None:
    """Make this worker process exit when its parent process exits, even if the parent is killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


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
) -> tuple[list[Decoded | Rejected], Pixels]:
    source = _open_once(source_path, identity)
    outcomes: list[Decoded | Rejected] = []
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
