"""Classify any number of photograph files in order, in constant memory, decoding and predicting in parallel."""

import os
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from hangtag.catalog.files import FileError, read_regular
from hangtag.catalog.images import Photograph, PhotographError, decode_photograph
from hangtag.errors import StalledError
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import Prediction

CHUNK = 64
# The time limit of a chunk; 64 photographs of the largest allowed size take less than a minute.
STALLED_SECONDS = 600
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


def classify_photographs(
    classifier: Classifier,
    photographs: Iterable[Photo],
    *,
    precision: float = 0.95,
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
    explain: bool = False,
) -> Iterator[Outcome]:
    """Yield the prediction or the failure of each photograph, in the order of the input.

    Each worker decodes and classifies one chunk of photographs at a time. So all processors are used, and only a few
    chunks are in memory.

    Args:
        classifier: The model.
        photographs: Paths or contents of files, consumed as they are needed. A `Failure` is returned unchanged.
        precision: The target precision of sure predictions.
        workers: The number of threads; by default two for each processor, so that the network never waits for decoding.
        max_pixels: Larger photographs are rejected before they are decoded.
        explain: Whether to add a heatmap to each prediction; see `Prediction.heatmap`.

    Raises:
        ModelError: The model does not support heatmaps.
        StalledError: No chunk was finished for `STALLED_SECONDS`.
    """
    count = workers or 2 * (os.cpu_count() or 1)
    chunks = iter(photographs)

    def classify_next(chunk: Sequence[Photo]) -> list[Outcome]:
        explained = range(len(chunk)) if explain else ()
        return classify_chunk(classifier, chunk, precision, max_pixels, explained)

    pool, waiting, is_stalled = ThreadPoolExecutor(count), deque[Future[list[Outcome]]](), False
    try:
        while True:
            while len(waiting) < 2 * count and (chunk := list(islice(chunks, CHUNK))):
                waiting.append(pool.submit(classify_next, chunk))
            if not waiting:
                return
            yield from _wait_for_chunk(waiting.popleft())
    except StalledError:
        is_stalled = True
        raise
    finally:
        pool.shutdown(wait=not is_stalled, cancel_futures=True)


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
    photographs: Sequence[Photo],
    precision: float,
    max_pixels: int = MAX_PIXELS,
    explained: Collection[int] = (),
) -> list[Outcome]:
    """Return the prediction or the failure of each photograph of one chunk; see `classify_photographs`.

    Args:
        classifier: The model.
        photographs: Paths, contents, decoded photographs or failures.
        precision: The target precision of sure predictions.
        max_pixels: Larger photographs are rejected before they are decoded.
        explained: The indices of the photographs to add heatmaps to.
    """
    photos = [_read_photograph(photo, classifier.image_size, max_pixels) for photo in photographs]
    good = {index: found for index, found in enumerate(photos) if isinstance(found, Photograph)}
    outcomes: dict[int, Outcome] = {index: found for index, found in enumerate(photos) if isinstance(found, Failure)}
    if good:
        pixels = np.stack([found.pixels for found in good.values()])
        predictions = dict(zip(good, classifier.classify(pixels, precision=precision), strict=True))
        outcomes |= predictions | _add_heatmaps(
            classifier, good, {index: predictions[index] for index in explained if index in good}
        )
    return [outcomes[index] for index in range(len(photos))]


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
