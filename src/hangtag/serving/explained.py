"""Write photographs with a map over each of where the model looked."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

from hangtag.artifacts import write_whole
from hangtag.catalog.files import escape_name, read_regular
from hangtag.catalog.images import PhotographError, decode_photograph
from hangtag.inference.answer import Answer
from hangtag.inference.heat import encode_png, lay_over
from hangtag.inference.stream import MAX_BYTES, MAX_PIXELS, Failure
from hangtag.models.activation_map import Maps
from hangtag.serving.rows import Pair

# The longer side of a picture, in pixels.
SIDE = 640
# Systems allow a name 255 bytes; a suffix, a number and the mark of a file in the making need some of them.
MAX_STEM_BYTES = 180


def write_explained(pairs: Iterable[Pair], folder: Path) -> Iterator[Pair]:
    """Write a PNG for each answer that says where the model looked, and give it on without its map."""
    for file, outcome in pairs:
        if isinstance(outcome, Answer) and outcome.looked is not None:
            try:
                picture = draw_explained(read_regular(file, MAX_BYTES), outcome.looked)
            except (OSError, PhotographError):
                yield file, Failure("unreadable", "it has changed while it was being classified")
                continue
            with write_whole(_find_name(folder, _shorten(escape_name(Path(file).stem)))) as temporary:
                temporary.write_bytes(picture)
            yield file, replace(outcome, looked=None)
        else:
            yield file, outcome


def draw_explained(content: bytes, looked: Maps) -> bytes:
    """Give a PNG of a photograph with a map of its proportions over it.

    Args:
        content: What the photograph's file holds.
        looked: Where the model looked, (rows, columns).

    Raises:
        PhotographError: The file is none.
    """
    height, width = (max(1, round(SIDE * side / max(looked.shape))) for side in looked.shape)
    photograph = decode_photograph(content, (height, width), MAX_PIXELS)
    return encode_png(lay_over(photograph.pixels, looked))


def _shorten(stem: str) -> str:
    """Return a file's name as it is, or the beginning of a long one and some letters that stand for all of it."""
    data = stem.encode()
    if len(data) <= MAX_STEM_BYTES:
        return stem
    return f"{data[: MAX_STEM_BYTES - 9].decode(errors='ignore')}-{hashlib.sha256(data).hexdigest()[:8]}"


def _find_name(folder: Path, stem: str) -> Path:
    """Give a path that is free: the name, or else the name with a number."""
    names = (f"{stem}.png" if number == 1 else f"{stem}-{number}.png" for number in count(1))
    return next(path for name in names if not (path := folder / name).exists())
