"""Keep the fingerprints of a catalogue's photographs in a file: `clean` computes them once for the same pixels."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from hangtag.catalog.images import Pixels
from hangtag.catalog.prepared_items import OtherPhotographs, Prepared
from hangtag.errors import WorkspaceError
from hangtag.io import write_parquet
from hangtag.labels.duplicates import Hashes, compute_fingerprints
from hangtag.manifest import read_version, require_manifest

FILE = "fingerprints.parquet"


@dataclass(frozen=True)
class Fingerprints:
    """The fingerprints of the first photographs of n items, followed by those of m others.

    Attributes:
        pixels: The pixel hashes, n + m; see `compute_fingerprints`.
        perceptual: The perceptual hashes, uint64 (n + m,).
    """

    pixels: list[str]
    perceptual: Hashes

    def write(self, path: Path) -> None:
        """Write them to a file."""
        write_parquet(path, pl.DataFrame({"pixel_hash": self.pixels, "perceptual_hash": self.perceptual}))


def compute_all(images: Pixels, others: OtherPhotographs, labels: Path | None = None) -> Fingerprints:
    """Compute the fingerprints of a prepared catalogue.

    Args:
        images: The first photographs, uint8 (n, H, W, 3).
        others: The others, m of them.
        labels: The folder with what `clean` wrote the last time, of this catalogue or an earlier state of it; the
            perceptual hashes of pixels that were there are kept.
    """
    earlier = _read(labels) if labels else None
    known = dict(zip(earlier.pixels, earlier.perceptual.tolist(), strict=True)) if earlier else {}
    pixels, perceptual = compute_fingerprints(images, known=known)
    if len(others):
        more = compute_fingerprints(others.images, known=known)
        pixels, perceptual = [*pixels, *more[0]], np.concatenate([perceptual, more[1]])
    return Fingerprints(pixels, perceptual)


def read_fingerprints(labels: Path, prepared: Prepared) -> Fingerprints | None:
    """Return what `clean` computed of the same prepared catalogue; None where an earlier version did."""
    return _read(labels, prepared.digest)


def _read(labels: Path, digest: str = "") -> Fingerprints | None:
    with suppress(WorkspaceError, OSError, pl.exceptions.PolarsError):
        manifest = require_manifest(labels, "", [FILE])
        is_of_version = manifest["versions"].get("hangtag") == read_version("hangtag")
        if is_of_version and digest in ("", manifest["inputs"].get("prepared")):
            table = pl.read_parquet(labels / FILE)
            return Fingerprints(table["pixel_hash"].to_list(), table["perceptual_hash"].to_numpy())
    return None
