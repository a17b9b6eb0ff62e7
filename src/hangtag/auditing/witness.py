"""What a witness says of the items: probabilities of every product, of labels that it did not learn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.catalog.missing_cells import hide_values
from hangtag.models.outputs import NO_VALUE, Indices, Outputs, Probs

# A class that fewer items have was hardly in any fold's training: nobody can say what does not look like it.
MIN_CLASS_ITEMS = 10


@dataclass(frozen=True)
class Witness:
    """Probabilities for some of a catalogue's items.

    Attributes:
        rows: Which items, as rows of the table of items, int64 (n,).
        outputs: What the columns of the probabilities stand for, in the catalogue's own words.
        given: The product that each item's given labels make, int64 (n,); `NO_VALUE` where it is none of them.
        products: float32 (n, products).
        attributes: Probabilities of each attribute's classes, float32 (n, classes).
        source: Where they come from, for people.
        reads_names: Whether names were read too, not photographs alone.
        novelty: How strange the photograph of every item of the catalogue is, as a share of what is still familiar,
            float32 (items,), or None.
        min_class_items: Given classes that fewer items have are not judged.
        told: More that the summary is to hold, JSON values.
        tables: Tables to be written beside the issues, by the names of their files.
    """

    rows: Indices
    outputs: Outputs
    given: Indices
    products: Probs
    attributes: Mapping[str, Probs] = field(default_factory=dict)
    source: str = ""
    reads_names: bool = False
    novelty: npt.NDArray[np.float32] | None = None
    min_class_items: int = MIN_CLASS_ITEMS
    told: Mapping[str, object] = field(default_factory=dict)
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def list_given(self, level: str) -> Indices:
        """Give each item's given class on a level, int64 (n,), `NO_VALUE` where it has none."""
        classes = np.append(self.outputs.list_classes(level), NO_VALUE)
        return np.asarray(classes[self.given], np.int64)

    def read_level(self, level: str) -> Probs:
        """Give the probabilities of a level's classes, float32 (n, classes)."""
        return self.outputs.sum_level(self.products, level)


def find_products(items: pl.DataFrame, outputs: Outputs, missing: Sequence[str]) -> Indices:
    """Give the product that each item's labels make, int64 (n,); `NO_VALUE` where they make none.

    Args:
        items: The table of items, with a column for every level.
        outputs: The products.
        missing: The spellings of a missing value.
    """
    levels = list(outputs.levels)
    names = {level: [*outputs.levels[level], None] for level in levels}
    known = pl.DataFrame(
        {level: [names[level][each[place]] for each in outputs.products] for place, level in enumerate(levels)},
        schema=dict.fromkeys(levels, pl.String),
    ).with_row_index("product")
    own = items.select(read_values(level, missing) for level in levels)
    found = own.join(known, on=levels, how="left", nulls_equal=True, maintain_order="left")
    return np.array(found["product"].cast(pl.Int64).fill_null(NO_VALUE))


def read_values(column: str, missing: Sequence[str]) -> pl.Expr:
    """Give a column as text, with null for every spelling of a missing value."""
    spellings = tuple(missing)
    return pl.col(column).cast(pl.String).map_batches(lambda values: hide_values(values, spellings), pl.String)
