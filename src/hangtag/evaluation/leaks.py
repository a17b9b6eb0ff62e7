"""Refuse splits that share items, pixels or duplicates, and models that learnt from what they are judged on."""

import numpy as np
import polars as pl

from hangtag.errors import LeakError
from hangtag.inference.classifier import Classifier
from hangtag.labels.duplicates import hash_photographs
from hangtag.labels.labelled import Labelled

# From the column to the leak's code and what it is.
KEYS = {
    "item_id": ("leak-item", "the same item"),
    "pixel_hash": ("leak-pixels", "photographs with the same pixels"),
    "group_id": ("leak-group", "duplicates of one photograph"),
}
SHOWN = 5


def check_splits(table: pl.DataFrame) -> None:
    """Make sure that what a model is judged on was not learnt.

    All splits are looked at, those that are not judged too.

    Args:
        table: `item_id`, `pixel_hash`, `group_id` and `split`; rows without a split do not count.

    Raises:
        LeakError: An item, its pixels or its group of duplicates is on two sides.
    """
    used = table.filter(pl.col("split").is_not_null())
    for key, (code, what) in KEYS.items():
        sides = used.group_by(key).agg(pl.col("split").n_unique().alias("sides"))
        leaking = sides.filter(pl.col("sides") > 1)[key].sort()
        if len(leaking):
            raise LeakError(
                f"The splits leak ({code}): {what} on two sides of them, in {len(leaking):,} "
                f"{'case' if len(leaking) == 1 else 'cases'}, so no figure of this evaluation could be trusted.",
                received={key: leaking.head(SHOWN).to_list()},
                hint="Run `hangtag clean` again, which keeps duplicates on one side, then `hangtag train`.",
            )


def check_unseen(classifier: Classifier, labelled: Labelled, items: pl.DataFrame, max_distance: int | None) -> None:
    """Check by their photographs that a model did not learn from the items that it is judged on.

    Items of the splits that it learnt from by name do not count: their figures are told as such. Nothing is checked
    where the model does not say what it has seen.

    Args:
        classifier: The model.
        labelled: The catalogue.
        items: Rows of its table: `item_id`, `image_index` and `split`.
        max_distance: How far apart perceptual hashes of one photograph may be; see `read_hash_distance`.

    Raises:
        LeakError: It learnt from one of them.
    """
    learn_from = classifier.description.get("learn_from", ["train"])
    judged = items.filter(pl.col("split").is_not_null() & ~pl.col("split").is_in(learn_from))
    if classifier.seen is None or judged.is_empty():
        return
    hashes = hash_photographs(labelled.images, judged["image_index"].to_numpy().astype(np.int64))
    learnt = classifier.seen.learnt.find(hashes, max_distance)
    if learnt.any():
        leaking = judged.filter(pl.Series(learnt))["item_id"].sort()
        raise LeakError(
            f"The model leaks (leak-seen): it, or the weights that it began from, learnt from {len(leaking):,} of the "
            f"{len(judged):,} photographs that it is to be judged on, so no figure of it could be trusted.",
            received={"item_id": leaking.head(SHOWN).to_list()},
            hint="Train it again, without --weights that have seen them.",
        )
