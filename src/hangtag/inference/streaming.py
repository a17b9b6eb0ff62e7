"""Classify any number of photograph files, decoding beside the network, in order and in constant memory."""

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
# Seconds for a chunk; 64 photographs of the largest size take less than a minute.
STALLED_SECONDS = 600
MAX_PIXELS = 50_000_000
MAX_BYTES = 50_000_000


@dataclass(frozen=True)
class Failure:
    """A photograph that cannot be classified; `code` is stable, `reason` is for people."""

    code: str
    reason: str


Outcome = Prediction | Failure
# A file's path, what it holds, or what has become of it already.
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
    """Return an answer for each photograph, or why there is none, in their order.

    Every worker decodes some photographs and asks the network about them, while the others do the same: so all
    processors are busy, and only a few photographs a worker are in memory at once.

    Args:
        classifier: The model.
        photographs: Paths of files, or what files hold; read as they are needed. A `Failure` is given back in its
            place.
        precision: The share of sure answers that is to be right.
        workers: Threads; by default two a processor, so that the network never waits for a photograph.
        max_pixels: Larger photographs are refused before they are decoded.
        explain: Say of each answer where it looked, too; see `Prediction.heatmap`.

    Raises:
        ModelError: The model cannot show where it looked.
        StalledError: Nothing was answered for `STALLED_SECONDS`.
    """
    count = workers or 2 * (os.cpu_count() or 1)
    chunks = iter(photographs)

    def work(chunk: Sequence[Photo]) -> list[Outcome]:
        explained = range(len(chunk)) if explain else ()
        return classify_chunk(classifier, chunk, precision, max_pixels, explained)

    pool, waiting, is_stalled = ThreadPoolExecutor(count), deque[Future[list[Outcome]]](), False
    try:
        while True:
            while len(waiting) < 2 * count and (chunk := list(islice(chunks, CHUNK))):
                waiting.append(pool.submit(work, chunk))
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
        StalledError: It takes longer than any chunk does.
    """
    # Second by second, so that a command that was stopped (Ctrl-Z) is not taken for one that hangs.
    for _ in range(STALLED_SECONDS):
        if wait([future], timeout=1).done:
            return future.result()
    raise StalledError(
        f"No photograph was answered for {STALLED_SECONDS // 60} minutes: a file or the engine hangs.",
        hint="Try again; where it happens on a network drive, copy the photographs first.",
    )


def classify_chunk(
    classifier: Classifier,
    photographs: Sequence[Photo],
    precision: float,
    max_pixels: int = MAX_PIXELS,
    explained: Collection[int] = (),
) -> list[Outcome]:
    """Return an answer for each of a few photographs, or why there is none; see `classify_photographs`.

    Args:
        classifier: See there.
        photographs: See there.
        precision: See there.
        max_pixels: See there.
        explained: The indices of the photographs that get a heatmap.
    """
    read = [_read_photograph(photo, classifier.image_size, max_pixels) for photo in photographs]
    good = {index: found for index, found in enumerate(read) if isinstance(found, Photograph)}
    outcomes: dict[int, Outcome] = {index: found for index, found in enumerate(read) if isinstance(found, Failure)}
    if good:
        pixels = np.stack([found.pixels for found in good.values()])
        answers = dict(zip(good, classifier.classify(pixels, precision=precision), strict=True))
        outcomes |= answers | _add_heatmaps(classifier, good, {at: answers[at] for at in explained if at in good})
    return [outcomes[index] for index in range(len(read))]


def _add_heatmaps(
    classifier: Classifier, photographs: Mapping[int, Photograph], answers: Mapping[int, Prediction]
) -> dict[int, Prediction]:
    if not answers:
        return {}
    pixels = np.stack([photographs[index].pixels for index in answers])
    maps = classifier.explain(pixels, [answer.label for answer in answers.values()])
    return {
        index: replace(answer, heatmap=whole[photographs[index].area])
        for (index, answer), whole in zip(answers.items(), maps, strict=True)
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
        return Failure("unreadable", error.strerror or "the system cannot read it")
    except ValueError:
        return Failure("unreadable", "no file can be called so")
