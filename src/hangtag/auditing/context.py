"""The catalogue under audit: items, pixels, duplicates and out-of-sample probabilities, computed once."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.auditing.evidence import FEW_PRODUCTS, NO_CATEGORY, NOT_COMPARED, OutOfSampleProbs, read_values
from hangtag.auditing.nearest_neighbors import shrink_photographs
from hangtag.catalog.images import Pixels
from hangtag.catalog.prepared_items import OtherPhotographs, hide_values
from hangtag.catalog.schema import CatalogSchema
from hangtag.config import AuditConfig
from hangtag.labels.duplicates import Duplicates, group_photographs
from hangtag.labels.fingerprints import Fingerprints, compute_all
from hangtag.labels.image_hashes import PhotographHashes
from hangtag.models.label_space import NO_VALUE, Indices
from hangtag.models.out_of_distribution import MOST_OUT_OF_DISTRIBUTION


@dataclass(frozen=True)
class AuditContext:
    """A catalogue under audit.

    Attributes:
        items: All prepared items in their order, the row of `images` being the row of the table: `item_id`, the
            catalogue's own columns, and of the cleaned labels `label`, `split` and `group_id`, null for items that
            the label rules dropped.
        images: Pixels of the first photograph of each, uint8 (n, height, width, 3).
        schema: What the columns mean.
        config: Settings.
        image_probs: Out-of-sample probabilities by the photographs, or None.
        name_probs: Out-of-sample probabilities by the names, or None.
        delivered: The items with their cells as they were delivered; None where `items` has them so.
        others: The other photographs of items, m of them.
        known_fingerprints: Those of all n + m photographs, where `clean` has computed them.
    """

    items: pl.DataFrame
    images: Pixels
    schema: CatalogSchema
    config: AuditConfig
    image_probs: OutOfSampleProbs | None = None
    name_probs: OutOfSampleProbs | None = None
    delivered: pl.DataFrame | None = None
    others: OtherPhotographs = field(default_factory=OtherPhotographs)
    known_fingerprints: Fingerprints | None = None

    @property
    def levels(self) -> tuple[str, ...]:
        """The label columns, coarse to fine."""
        return self.schema.levels

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """The attributes with two values or more that are not all numbers, as years are."""
        found = []
        for column in self.schema.attributes:
            values = self.read(column).drop_nulls().unique()
            if len(values) > 1 and not values.str.contains(r"^[0-9.]+$").all():
                found.append(column)
        return tuple(found)

    @cached_property
    def lacking(self) -> Indices:
        """The rows of the items without a value on any level, int64 (n,)."""
        is_lacking = np.ones(len(self.items), bool)
        for level in self.levels:
            is_lacking &= self.read(level).is_null().to_numpy()
        return np.flatnonzero(is_lacking)

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """The fingerprints of all n + m photographs."""
        return self.known_fingerprints or compute_all(self.images, self.others)

    @property
    def hashes(self) -> PhotographHashes:
        """The hashes of all n + m photographs, to look them up among those that a model was trained on."""
        return PhotographHashes.of(self.fingerprints.pixels, self.fingerprints.perceptual)

    @cached_property
    def owners(self) -> Indices:
        """The row of the item of each photograph, of the first ones and then of the others, int64 (n + m,)."""
        _, owners = self.others.find(self.items["item_id"])
        return np.concatenate([np.arange(len(self.items)), owners])

    @cached_property
    def paths(self) -> list[str]:
        """The path of each of the n + m photographs where its item has several; empty where it has one."""
        if not len(self.others):
            return [""] * len(self.items)
        paths = [*self.items["image_path"].to_list(), *self.others.table["image_path"].to_list()]
        counts = np.bincount(self.owners)[self.owners]
        return [path if count > 1 else "" for path, count in zip(paths, counts.tolist(), strict=True)]

    @cached_property
    def judged(self) -> npt.NDArray[np.bool_]:
        """Whether a label check could judge each item, bool (n,).

        That is an item with out-of-sample probabilities, and with a given class that has enough items on some level.
        """
        judged = np.zeros(len(self.items), np.bool_)
        sources = [source for source in (self.image_probs, self.name_probs) if source is not None]
        for source in sources:
            for level in source.label_space.levels:
                given = source.list_given(level)
                known = given != NO_VALUE
                counts = np.bincount(given[known], minlength=len(source.label_space.levels[level]))
                # The first source's number holds for both, as in `find_label_issues`.
                judged[source.rows[known & (counts[given] >= sources[0].min_class_items)]] = True
        return judged

    def count_not_judged(self) -> dict[str, int]:
        """Count the items that no label check could judge, each under the first of `NOT_JUDGED` that holds for it."""
        lacking, compared = np.zeros(len(self.items), bool), np.zeros(len(self.items), bool)
        lacking[self.lacking] = True
        for source in (self.image_probs, self.name_probs):
            if source is not None:
                compared[source.rows] = True
        reasons = {NO_CATEGORY: lacking, **(self.image_probs.left_out if self.image_probs else {})}
        reasons |= {FEW_PRODUCTS: compared, NOT_COMPARED: ~compared}
        left, counts = ~self.judged, {}
        for reason, mask in reasons.items():
            counts[reason] = int((left & mask).sum())
            left &= ~mask
        return {reason: count for reason, count in counts.items() if count}

    @property
    def unlike_model(self) -> str:
        """The sentence that the catalogue is unlike the model; empty where most of it is in distribution."""
        scores = None if self.image_probs is None else self.image_probs.ood_scores
        if scores is None or not len(scores) or (scores > 1).mean() <= MOST_OUT_OF_DISTRIBUTION:
            return ""
        return (
            f"{int((scores > 1).sum()):,} of {len(scores):,} photographs are unlike all that the model was trained on: "
            "this catalogue is another one than the model's, and no single photograph is reported for it. "
            "Train a model on this catalogue: `hangtag cross-validate`."
        )

    @cached_property
    def small(self) -> Pixels:
        """Small copies of the photographs; see `shrink_photographs`."""
        return shrink_photographs(self.images)

    @cached_property
    def duplicates(self) -> Duplicates:
        """The groups of identical and of nearly identical photographs."""
        count, found = len(self.items), self.fingerprints
        return group_photographs(
            found.pixels[:count],
            found.perceptual[:count],
            self.small,
            self.config.max_hash_distance,
            self.config.pixel_difference,
        )

    @cached_property
    def group_ids(self) -> list[str]:
        """The name of each item's group of duplicates, after its first item in alphabetical order."""
        table = pl.DataFrame({"item_id": self.items["item_id"], "group": self.duplicates.groups})
        return table.select("duplicates-" + pl.col("item_id").min().over("group")).to_series().to_list()

    @cached_property
    def item_ids(self) -> list[str]:
        """The ids of all items."""
        return self.items["item_id"].to_list()

    def read(self, column: str) -> pl.Series:
        """Return a column as text without white space at the ends, with null where a value is missing."""
        return self.items.select(read_values(column, self.schema.missing)).to_series()

    def read_delivered(self, column: str) -> pl.Series:
        """Return a column as text as it was delivered, with null where a value is missing."""
        items = self.items if self.delivered is None else self.delivered
        return hide_values(items[column].cast(pl.String), self.schema.missing)

    def read_names(self) -> pl.Series | None:
        """Return the products' names, null where there is none; None where the catalogue has no such column."""
        return None if self.schema.name is None else self.read(self.schema.name)

    def with_probs(self, **found: OutOfSampleProbs) -> "AuditContext":
        """Return the context with more probabilities; hashes that are already computed are kept."""
        context = replace(self, **found)  # type: ignore[arg-type]
        if "fingerprints" in vars(self):
            vars(context)["fingerprints"] = self.fingerprints
        return context

    def find_rows(self, item_ids: pl.Series) -> Indices:
        """Return the rows of items, int64 (n,)."""
        rows = {item_id: row for row, item_id in enumerate(self.item_ids)}
        return np.array([rows[item_id] for item_id in item_ids], np.int64)
