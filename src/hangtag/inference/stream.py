"""Classify any number of photograph files, decoding beside the network, in order and in constant memory."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from hangtag.catalog.images import Photograph, PhotographError, decode_photograph
from hangtag.inference.answer import Answer
from hangtag.inference.classifier import Classifier

CHUNK = 64
MAX_PIXELS = 50_000_000
MAX_BYTES = 50_000_000
Photo = Path | str | bytes


@dataclass(frozen=True)
class Failure:
    """A photograph that cannot be classified; `code` is stable, `reason` is for people."""

    code: str
    reason: str


Outcome = Answer | Failure


def classify_photographs(
    classifier: Classifier,
    photographs: Iterable[Photo],
    *,
    precision: float = 0.95,
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Outcome]:
    """Give an answer for each photograph, or why there is none, in their order.

    Every worker decodes some photographs and asks the network about them, while the others do the same: so all
    processors are busy, and only a few photographs a worker are in memory at once.

    Args:
        classifier: The model.
        photographs: Paths of files, or what files hold; read as they are needed.
        precision: The share of sure answers that is to be right.
        workers: Threads; by default two a processor, so that the network never waits for a photograph.
        max_pixels: Larger photographs are refused before they are decoded.
    """
    count = workers or 2 * (os.cpu_count() or 1)
    chunks = iter(photographs)

    def work(chunk: Sequence[Photo]) -> list[Outcome]:
        return classify_chunk(classifier, chunk, precision, max_pixels)

    with ThreadPoolExecutor(count) as pool:
        waiting: deque[Future[list[Outcome]]] = deque()
        while True:
            while len(waiting) < 2 * count and (chunk := list(islice(chunks, CHUNK))):
                waiting.append(pool.submit(work, chunk))
            if not waiting:
                return
            yield from waiting.popleft().result()


def classify_chunk(
    classifier: Classifier, photographs: Sequence[Photo], precision: float, max_pixels: int = MAX_PIXELS
) -> list[Outcome]:
    """Give an answer for each of a few photographs, or why there is none; see `classify_photographs`."""
    read = [_read(photo, classifier.image_size, max_pixels) for photo in photographs]
    good = [place for place, found in enumerate(read) if isinstance(found, Photograph)]
    outcomes: list[Outcome | None] = [found if isinstance(found, Failure) else None for found in read]
    if good:
        pixels = np.stack([found.pixels for found in read if isinstance(found, Photograph)])
        for place, answer in zip(good, classifier.classify(pixels, precision=precision), strict=True):
            outcomes[place] = answer
    return [outcome for outcome in outcomes if outcome is not None]


def _read(photo: Photo, image_size: tuple[int, int], max_pixels: int) -> Photograph | Failure:
    try:
        return decode_photograph(_read_bytes(photo), image_size, max_pixels)
    except PhotographError as error:
        return Failure(error.code, error.reason)
    except OSError as error:
        return Failure("unreadable", error.strerror or "the system cannot read it")


def _read_bytes(photo: Photo) -> bytes:
    if isinstance(photo, bytes):
        return photo
    with Path(photo).open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise PhotographError("too_many_bytes", f"more than {MAX_BYTES // 10**6} MB")
    return data
