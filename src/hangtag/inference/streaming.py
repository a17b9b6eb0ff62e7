"""Classify any number of photograph files in order, in constant memory, decoding and predicting in parallel."""

import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.catalog.files import FileError, escape_name, read_regular
from hangtag.catalog.images import Photograph, PhotographError, decode_photograph
from hangtag.errors import StalledError
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import Prediction
from hangtag.processors import count_processors

CHUNK = 64
# The time limit of a chunk; 64 photographs of the largest allowed size take less than a minute.
STALLED_SECONDS = 600
# Photographs that take less than this, in seconds, are read and decoded by one thread at a time.
QUICK_SECONDS = 0.001
MAX_PIXELS = 50_000_000
MAX_BYTES = 50_000_000


@dataclass(frozen=True)
class Failure:
    """A photograph that cannot be classified; `code` is stable, `reason` is for people."""

    code: str
    reason: str


Outcome = Prediction | Failure
# The path of a file, its content, a decoded photograph, or an earlier failure.
Photo = Path | str | bytes | Photograph | Failure
# The photographs of a product (each a `Photo`), which have one answer.
Product = list[Any] | tuple[Any, ...]
# All photographs of a product are in memory at once; no product has so many.
MAX_PHOTOGRAPHS = 1000


def classify_photographs(
    classifier: Classifier,
    photographs: Iterable[Photo | Product],
    *,
    precision: float = 0.95,
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
    explain: bool = False,
) -> Iterator[Outcome]:
    """Yield the prediction or the failure of each photograph, or of each product, in the order of the input.

    Each worker decodes and classifies one chunk of photographs at a time. So all processors are used, and only a few
    chunks are in memory. While photographs are small, one worker decodes and the others wait for the network.

    Args:
        classifier: The model.
        photographs: Paths or contents of files, consumed as they are needed. A `Failure` is returned unchanged. A list
            or tuple of them is a product with several photographs: its prediction is the mean of theirs, by
            `HeadProbs.average`, without those that cannot be read (`Prediction.failures`).
        precision: The target precision of sure predictions.
        workers: The number of threads; by default two for each processor, so that the network never waits for decoding.
        max_pixels: Larger photographs are rejected before they are decoded.
        explain: Whether to add a heatmap to each prediction of one photograph; see `Prediction.heatmap`.

    Raises:
        ModelError: The model does not support heatmaps.
        StalledError: No chunk was finished for `STALLED_SECONDS`.
    """
    count = workers or 2 * count_processors()
    chunks, turns = iter(photographs), _Turns()

    def classify_next(chunk: Sequence[Photo | Product]) -> list[Outcome]:
        explained = range(len(chunk)) if explain else ()
        return classify_chunk(classifier, chunk, precision, max_pixels, explained, turns)

    pool, waiting, is_stalled = ThreadPoolExecutor(count), deque[Future[list[Outcome]]](), False
    try:
        while True:
            while len(waiting) < 2 * count and (chunk := _take_chunk(chunks)):
                waiting.append(pool.submit(classify_next, chunk))
            if not waiting:
                return
            yield from _wait_for_chunk(waiting.popleft())
    except StalledError:
        is_stalled = True
        raise
    finally:
        pool.shutdown(wait=not is_stalled, cancel_futures=True)


class _Turns:
    """Let one thread at a time run Python code, and read photographs while that is quick.

    Python runs one thread at a time anyway. Threads that decode small photographs at once hand over to each other at
    every file and every picture, which takes longer than the decoding.
    """

    def __init__(self) -> None:
        self._lock, self._is_quick = threading.Lock(), True

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @contextmanager
    def reading(self, photographs: int) -> Iterator[None]:
        """Take a turn to read photographs, and give it back at once if the last ones were large or their disk slow."""
        with ExitStack() as turn:
            turn.enter_context(self._lock)
            if not self._is_quick:
                turn.close()
            start = time.perf_counter()
            yield
            self._is_quick = time.perf_counter() - start < QUICK_SECONDS * photographs


def _take_chunk(entries: Iterator[Photo | Product]) -> list[Photo | Product]:
    """Return the next photographs and products, about `CHUNK` photographs in all; none at the end."""
    chunk: list[Photo | Product] = []
    count = 0
    while count < CHUNK and (entry := next(entries, None)) is not None:
        chunk.append(entry)
        count += len(entry) if isinstance(entry, list | tuple) else 1
    return chunk


def _wait_for_chunk(future: "Future[list[Outcome]]") -> list[Outcome]:
    """Return a chunk's outcomes.

    Raises:
        StalledError: The chunk is not finished after `STALLED_SECONDS`.
    """
    # Wait in steps of a second, so that the time of a suspended process (Ctrl-Z) does not count.
    for _ in range(STALLED_SECONDS):
        if wait([future], timeout=1).done:
            return future.result()
    raise StalledError(
        f"No photograph was classified for {STALLED_SECONDS // 60} minutes: a file or the inference engine hangs.",
        hint="Try again. If the photographs are on a network drive, copy them to this machine first.",
    )


def classify_chunk(
    classifier: Classifier,
    photographs: Sequence[Photo | Product],
    precision: float,
    max_pixels: int = MAX_PIXELS,
    explained: Collection[int] = (),
    turns: _Turns | None = None,
) -> list[Outcome]:
    """Return the prediction or the failure of each photograph or product of one chunk; see `classify_photographs`.

    Args:
        classifier: The model.
        photographs: Paths, contents, decoded photographs or failures, and products of several.
        precision: The target precision of sure predictions.
        max_pixels: Larger photographs are rejected before they are decoded.
        explained: The indices of the photographs to add heatmaps to; products have none.
        turns: What the threads that classify other chunks at the same time share.
    """
    turns = turns or _Turns()
    entries = [
        (index, photo)
        for index, entry in enumerate(photographs)
        for photo in (_list_photos(entry) if isinstance(entry, list | tuple) else [entry])
    ]
    with turns.reading(len(entries)):
        photos = [
            (index, photo, _read_photograph(photo, classifier.image_size, max_pixels)) for index, photo in entries
        ]
    good = [(index, found) for index, _, found in photos if isinstance(found, Photograph)]
    # Of a product without a photograph that can be read, the first failure is the answer.
    outcomes: dict[int, Outcome] = {index: found for index, _, found in reversed(photos) if isinstance(found, Failure)}
    if good:
        pixels = np.stack([found.pixels for _, found in good])
        owners = [index for index, _ in good]
        # The mean over one photograph each takes time and changes nothing.
        products = owners if len(set(owners)) < len(owners) else None
        computed = classifier.compute_heads(pixels, np.arange(len(pixels)))
        with turns:
            found = classifier.classify(pixels, precision=precision, products=products, computed=computed)
        predictions = dict(zip(dict.fromkeys(owners), found, strict=True))
        single = {index: found for index, found in good if not isinstance(photographs[index], list | tuple)}
        outcomes |= predictions | _add_heatmaps(
            classifier, single, {index: predictions[index] for index in explained if index in single}
        )
    for index, entry in enumerate(photographs):
        outcome = outcomes[index]
        if isinstance(entry, list | tuple) and isinstance(outcome, Prediction):
            failures = [
                _describe_failure(photo, found)
                for owner, photo, found in photos
                if owner == index and isinstance(found, Failure)
            ]
            count = sum(owner == index for owner, _ in good)
            outcomes[index] = replace(outcome, photographs=count, failures=tuple(failures))
    return [outcomes[index] for index in range(len(photographs))]


def _list_photos(product: Product) -> Sequence[Photo]:
    if not product:
        return [Failure("missing_photograph", "the product has no photograph")]
    if len(product) > MAX_PHOTOGRAPHS:
        reason = f"the product has {len(product):,} photographs, {MAX_PHOTOGRAPHS:,} are allowed"
        return [Failure("too_many_photographs", reason)]
    return product


def _describe_failure(photo: Photo, failure: Failure) -> str:
    name = f"{escape_name(Path(photo).name)}: " if isinstance(photo, Path | str) else ""
    return f"{name}{failure.code}: {failure.reason}"


def _add_heatmaps(
    classifier: Classifier, photographs: Mapping[int, Photograph], predictions: Mapping[int, Prediction]
) -> dict[int, Prediction]:
    if not predictions:
        return {}
    pixels = np.stack([photographs[index].pixels for index in predictions])
    maps = classifier.explain(pixels, [prediction.label for prediction in predictions.values()])
    return {
        index: replace(prediction, heatmap=whole[photographs[index].area])
        for (index, prediction), whole in zip(predictions.items(), maps, strict=True)
    }


def _read_photograph(photo: Photo, image_size: tuple[int, int], max_pixels: int) -> Photograph | Failure:
    if isinstance(photo, Photograph | Failure):
        return photo
    try:
        data = photo if isinstance(photo, bytes) else read_regular(photo, MAX_BYTES)
        return decode_photograph(data, image_size, max_pixels)
    except (PhotographError, FileError) as error:
        return Failure(error.code, error.reason)
    except OSError as error:
        return Failure("unreadable", error.strerror or "the file cannot be read")
    except ValueError:
        return Failure("unreadable", "the path is not a valid file name")
