"""Find bad pictures: blank, tiny, nearly of one colour, or out of distribution for the model."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.auditing.context import AuditContext
from hangtag.auditing.issues import BAD_PICTURE, ERROR, INFO, WARNING, build_issues
from hangtag.catalog.images import Pixels, limit_part, release_pages

CHUNK = 1024
# A pixel is content if a colour of it differs by more than this from the picture's median.
CONTRAST = 12
# The shares of pixels that are content, below which a picture is blank or bare.
BLANK_SHARE, BARE_SHARE = 0.001, 0.01
# Bare pictures often rightly show a thin product, such as a necklace.
BLANK_SCORE, TINY_SCORE, BARE_SCORE = 0.98, 0.9, 0.4
# The score of an issue at the out-of-distribution limit, and its bound far beyond the limit.
OOD_SCORE, MAX_OOD_SCORE = 0.3, 0.9


def find_bad_pictures(context: AuditContext) -> pl.DataFrame:
    """Return the issues of the code `bad_picture`, one an item: the first of these that applies to a photograph of it.

    - blank: fewer than 0.1 % of the pixels differ from the picture's own median colour;
    - tiny: the file's shorter side is below `min_side`;
    - nearly one colour: fewer than 1 % of the pixels differ; for information, since a thin product may be there;
    - not a product: the photograph is out of distribution for an exported model; for information, since about one in a
      hundred photographs of a catalogue of the same kind is, and most of these show products. Where more than half of
      all photographs are, the catalogue is unlike the model (`AuditContext.unlike_model`), and none is reported.

    Of an item with several photographs, the reason names the one.
    """
    shares = measure_content(context.images)
    if len(context.others):
        shares = np.concatenate([shares, measure_content(context.others.images)])
    lines: dict[str, dict[str, Any]] = {}
    for line in (
        *_find_blank(context, shares),
        *_find_tiny(context),
        *_find_bare(context, shares),
        *_find_out_of_distribution(context),
    ):
        lines.setdefault(line["item_id"], line)
    return build_issues(list(lines.values()), BAD_PICTURE, WARNING)


def measure_content(images: Pixels) -> npt.NDArray[np.float64]:
    """Return the share of each picture's pixels that differ from its median colour, float64 (n,), 0 to 1.

    Args:
        images: uint8 (n, H, W, 3), a memory map that is read once.
    """
    shares = np.empty(len(images))
    size = limit_part(images.shape[1:], CHUNK)
    for start in range(0, len(images), size):
        chunk = images[start : start + size].reshape(len(images[start : start + size]), -1, 3)
        # The median of some hundred pixels finds the background as well, in a fraction of the time.
        step = max(chunk.shape[1] // 256, 1)
        middle = np.median(chunk[:, ::step], axis=1).astype(np.int16)
        apart = np.zeros(chunk.shape[:2], bool)
        for color in range(3):
            apart |= np.abs(chunk[:, :, color].astype(np.int16) - middle[:, None, color]) > CONTRAST
        shares[start : start + size] = apart.mean(axis=1)
        release_pages(images)
    return shares


def _find_blank(context: AuditContext, shares: npt.NDArray[np.float64]) -> Iterator[dict[str, Any]]:
    for row in np.flatnonzero(shares < BLANK_SHARE).tolist():
        reason = f"The picture{_name_path(context, row)} is blank: all of it has one colour."
        yield {"item_id": _find_item(context, row), "score": BLANK_SCORE, "severity": ERROR, "reason": reason}


def _find_bare(context: AuditContext, shares: npt.NDArray[np.float64]) -> Iterator[dict[str, Any]]:
    for row in np.flatnonzero(shares < BARE_SHARE).tolist():
        reason = f"The picture{_name_path(context, row)} has nearly one colour: {shares[row]:.1%} of it differs."
        yield {"item_id": _find_item(context, row), "score": BARE_SCORE, "severity": INFO, "reason": reason}


def _find_tiny(context: AuditContext) -> Iterator[dict[str, Any]]:
    if not {"image_width", "image_height"} <= set(context.items.columns):
        return
    first = context.items.select(
        width=pl.col("image_width").cast(pl.Int64), height=pl.col("image_height").cast(pl.Int64)
    )
    sides = pl.concat([first, context.others.table.select("width", "height")]).with_row_index("row")
    small = sides.filter(pl.min_horizontal("width", "height") < context.config.min_side)
    for row, width, height in small.iter_rows():
        path, wanted = _name_path(context, row), context.config.min_side
        reason = f"The photograph{path} has {width} x {height} pixels; {wanted} a side are wanted."
        yield {"item_id": _find_item(context, row), "score": TINY_SCORE, "reason": reason}


def _find_out_of_distribution(context: AuditContext) -> Iterator[dict[str, Any]]:
    out_of_sample = context.image_probs
    if out_of_sample is None or out_of_sample.ood_scores is None or context.unlike_model:
        return
    for row in np.flatnonzero(out_of_sample.ood_scores > 1).tolist():
        times = float(out_of_sample.ood_scores[row])
        score = MAX_OOD_SCORE - (MAX_OOD_SCORE - OOD_SCORE) / times
        what = f"The photograph{_name_path(context, row)}" if context.paths[row] else "It"
        reason = f"{what} looks like no product that the model knows."
        yield {"item_id": _find_item(context, row), "score": score, "severity": INFO, "reason": reason}


def _find_item(context: AuditContext, photograph: int) -> str:
    """Return the id of a photograph's item."""
    return context.item_ids[int(context.owners[photograph])]


def _name_path(context: AuditContext, photograph: int) -> str:
    """Return a photograph's path behind a blank, or nothing where its item has no other photograph."""
    return f" {context.paths[photograph]}" if context.paths[photograph] else ""
