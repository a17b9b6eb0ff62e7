"""Refuse splits that share items, pixels or duplicates, and models that were trained on the items of an evaluation."""

import numpy as np
import polars as pl

from hangtag.errors import LeakError
from hangtag.inference.classifier import Classifier
from hangtag.labels.dataset import LabeledItems
from hangtag.labels.duplicates import hash_items

# The code and description of each kind of leak, by the column that it is found in.
KEYS = {
    "item_id": ("leak-item", "the same item"),
    "pixel_hash": ("leak-pixels", "photographs with the same pixels"),
    "group_id": ("leak-group", "duplicates of one photograph"),
}
SHOWN = 5


def check_splits(table: pl.DataFrame) -> None:
    """Check that no item, pixels or group of duplicates is in two splits.

    All splits are checked, also those that are not evaluated.

    Args:
        table: `item_id`, `pixel_hash`, `group_id` and `split`; rows without a split do not count.

    Raises:
        LeakError: An item, its pixels or its group of duplicates is in two splits.
    """
    used = table.filter(pl.col("split").is_not_null())
    for key, (code, what) in KEYS.items():
        sides = used.group_by(key).agg(pl.col("split").n_unique().alias("sides"))
        leaking = sides.filter(pl.col("sides") > 1)[key].sort()
        if len(leaking):
            raise LeakError(
                f"The splits leak ({code}): {what} in two splits, in {len(leaking):,} "
                f"{'case' if len(leaking) == 1 else 'cases'}, so the metrics would be too optimistic.",
                received={key: leaking.head(SHOWN).to_list()},
                hint="Run `hangtag clean` again, which keeps duplicates in one split, then `hangtag train`.",
            )


def check_unseen(classifier: Classifier, labelled: LabeledItems, items: pl.DataFrame, max_distance: int | None) -> None:
    """Check by the hashes of all their photographs that a model was not trained on the items that it is evaluated on.

    Items of the model's declared training splits do not count: their metrics are reported as training metrics.
    Nothing is checked if the model does not record its training photographs.

    Args:
        classifier: The model.
        labelled: The catalogue.
        items: Rows of its table: `item_id`, `image_index` and `split`.
        max_distance: The largest distance between perceptual hashes of duplicates; see `read_hash_distance`.

    Raises:
        LeakError: The model was trained on one of the items.
    """
    train_splits = classifier.description.get("train_splits", ["train"])
    evaluated = items.filter(pl.col("split").is_not_null() & ~pl.col("split").is_in(train_splits))
    if classifier.seen is None or evaluated.is_empty():
        return
    hashes, items_of_hashes = hash_items(labelled, evaluated)
    is_leaking = classifier.seen.trained_on.find(hashes, max_distance)
    if is_leaking.any():
        leaking = evaluated["item_id"].gather(np.unique(items_of_hashes[is_leaking])).sort()
        raise LeakError(
            f"The model leaks (leak-seen): it, or the weights that it began from, trained_on from photographs of "
            f"{len(leaking):,} of the {len(evaluated):,} items that it is to be evaluated on, so no figure of it could "
            "be trusted.",
            received={"item_id": leaking.head(SHOWN).to_list()},
            hint="Train it again, without --weights that were trained on them.",
        )
