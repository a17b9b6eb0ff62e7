"""Measure the photographs of each class: the mean picture, the mean colour, the contrast."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.catalog.images import limit_part
from hangtag.progress import show_progress

# ITU-R BT.601, as Pillow's own conversion to gray.
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
CHUNK = 512
STATISTICS = {
    "label": pl.String,
    "n": pl.Int64,
    "mean_red": pl.Float64,
    "mean_green": pl.Float64,
    "mean_blue": pl.Float64,
    "contrast": pl.Float64,
}


def find_rows(table: pl.DataFrame) -> dict[str, npt.NDArray[np.int64]]:
    """Give for each label, in alphabetical order, the rows of its items among the packed photographs."""
    grouped = table.group_by("label").agg(pl.col("image_index").cast(pl.Int64).sort()).sort("label")
    return {label: np.array(rows, dtype=np.int64) for label, rows in grouped.iter_rows()}


def describe_pictures(
    images: npt.NDArray[np.uint8], rows: Mapping[str, npt.NDArray[np.int64]]
) -> tuple[pl.DataFrame, dict[str, npt.NDArray[np.uint8]]]:
    """Measure the photographs of each label.

    Args:
        images: Pixels, uint8 (n, height, width, 3); a memory map is read a part at a time.
        rows: The rows of `images` for each label, at least one.

    Returns:
        A table of label, n, mean_red, mean_green, mean_blue (0 to 255) and contrast (the standard deviation
        of the luminance inside a photograph, averaged over the photographs, 0 to 127.5), and for each label
        its mean picture, uint8 (height, width, 3).
    """
    lines, pictures = [], {}
    size = limit_part(images.shape[1:], CHUNK)
    with show_progress("Measuring photographs", sum(map(len, rows.values())), "photographs") as bar:
        for label, own in rows.items():
            total = np.zeros(images.shape[1:], dtype=np.float64)
            contrast = 0.0
            for start in range(0, len(own), size):
                part = images[own[start : start + size]]
                total += part.sum(axis=0, dtype=np.uint32)
                contrast += float((part @ LUMINANCE).std(axis=(1, 2)).sum())
                bar.advance(len(part))
            mean = total / len(own)
            lines.append((label, len(own), *mean.mean(axis=(0, 1)).tolist(), contrast / len(own)))
            pictures[label] = np.rint(mean).astype(np.uint8)
    table = pl.DataFrame(lines, schema=STATISTICS, orient="row")
    return table.with_columns(pl.col(pl.Float64).round(3)), pictures
