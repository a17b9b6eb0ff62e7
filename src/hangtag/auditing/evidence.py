"""What a witness says of the items: probabilities of every product, of labels that it did not learn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier

from hangtag.auditing.issues import NotApplicableError
from hangtag.catalog.missing_values import hide_values
from hangtag.console import show_progress
from hangtag.inference.classifier import Classifier
from hangtag.labels.dataset import LabeledItems
from hangtag.labels.image_hashes import Mask, PhotographHashes
from hangtag.labels.splits import assign_folds
from hangtag.models.label_space import NO_VALUE, Indices, LabelSpace, Probs

# A class that fewer items have was hardly in any fold's training: nobody can say what does not look like it.
MIN_CLASS_ITEMS = 10


@dataclass(frozen=True)
class OutOfSampleProbs:
    """Probabilities for some of a catalogue's items.

    Attributes:
        rows: Which items, as rows of the table of items, int64 (n,).
        outputs: What the columns of the probabilities stand for, in the catalogue's own words.
        given: The product that each item's given labels make, int64 (n,); `NO_VALUE` where it is none of them.
        products: float32 (n, products).
        attributes: Probabilities of each attribute's classes, float32 (n, classes).
        source: Where they come from, for people.
        reads_names: Whether names were read too, not photographs alone.
        ood_scores: How strange the photograph of every item of the catalogue is, as a share of what is still familiar,
            float32 (items,), or None.
        min_class_items: Given classes that fewer items have are not judged.
        told: More that the summary is to hold, JSON values.
        tables: Tables to be written beside the issues, by the names of their files.
    """

    rows: Indices
    outputs: LabelSpace
    given: Indices
    products: Probs
    attributes: Mapping[str, Probs] = field(default_factory=dict)
    source: str = ""
    reads_names: bool = False
    ood_scores: npt.NDArray[np.float32] | None = None
    min_class_items: int = MIN_CLASS_ITEMS
    told: Mapping[str, object] = field(default_factory=dict)
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def list_given(self, level: str) -> Indices:
        """Return each item's given class on a level, int64 (n,), `NO_VALUE` where it has none."""
        classes = np.append(self.outputs.list_classes(level), NO_VALUE)
        return np.asarray(classes[self.given], np.int64)

    def read_level(self, level: str) -> Probs:
        """Return the probabilities of a level's classes, float32 (n, classes)."""
        return self.outputs.sum_level(self.products, level)


def find_products(items: pl.DataFrame, outputs: LabelSpace, missing: Sequence[str]) -> Indices:
    """Return the product that each item's labels make, int64 (n,); `NO_VALUE` where they make none.

    Args:
        items: The table of items, with a column for every level.
        outputs: The products.
        missing: The spellings of a missing value.
    """
    levels = list(outputs.levels)
    names = {level: [*outputs.levels[level], None] for level in levels}
    known = pl.DataFrame(
        {level: [names[level][each[place]] for each in outputs.category_paths] for place, level in enumerate(levels)},
        schema=dict.fromkeys(levels, pl.String),
    ).with_row_index("category_path")
    own = items.select(read_values(level, missing) for level in levels)
    found = own.join(known, on=levels, how="left", nulls_equal=True, maintain_order="left")
    return np.array(found["category_path"].cast(pl.Int64).fill_null(NO_VALUE))


def read_values(column: str, missing: Sequence[str]) -> pl.Expr:
    """Return a column as text, with null for every spelling of a missing value."""
    spellings = tuple(missing)
    return pl.col(column).cast(pl.String).map_batches(lambda values: hide_values(values, spellings), pl.String)


# Find the items of a catalogue that a model learnt from: its probabilities for all others are out-of-sample.

# How it is known what a model learnt from.
PHOTOGRAPHS, PHOTOGRAPHS_IN_PART, SPLITS, UNKNOWN = "photographs", "photographs, not all", "splits", "unknown"


@dataclass(frozen=True)
class TrainingItems:
    """What a model has seen of a catalogue.

    Attributes:
        mask: Which items it learnt from, bool (items,).
        known_by: How that is known: by the hashes of all photographs that it learnt from, by those of some (it began
            from weights that do not say what they learnt from), by the splits of the labels that it learnt, or not.
    """

    mask: Mask
    known_by: str

    def describe(self, usable: Mask) -> dict[str, Any]:
        """Return what the audit's summary says of it: how many items were left out that could be judged otherwise."""
        return {"items_learnt": int((self.mask & usable).sum()), "learnt_items_known_by": self.known_by}


def find_training_items(
    classifier: Classifier, labelled: LabeledItems, items: pl.DataFrame, hashes: PhotographHashes
) -> TrainingItems:
    """Find what a model learnt from: by the photographs' hashes where it carries them, whatever the labels are now.

    The splits count too where the labels are those that it learnt.

    Args:
        classifier: The model.
        labelled: The catalogue.
        items: The table of all its items, with `split`.
        hashes: Of their photographs.
    """
    mask, known_by = np.zeros(len(items), np.bool_), UNKNOWN
    if classifier.description.get("labels_digest") == labelled.digest:
        train_splits = classifier.description.get("train_splits", ["train"])
        mask, known_by = items["split"].is_in(train_splits).fill_null(value=False).to_numpy(), SPLITS
    if classifier.seen is not None:
        known_by = PHOTOGRAPHS if classifier.seen.is_complete else PHOTOGRAPHS_IN_PART
        mask = mask | classifier.seen.learnt.find(hashes)
    return TrainingItems(mask, known_by)


# Ask the words of a product's name what it is, by classifiers that learnt from the names of other items.

FOLDS = 5
MIN_ITEMS = 50
# Passes over the names: four tell products apart as well as two dozen (.990 of labels right against .992).
PASSES = 4
# More words tell little more.
MOST_WORDS = 50_000


def predict_from_names(
    names: pl.Series, given: Indices, outputs: LabelSpace, labels: Sequence[str], group_ids: Sequence[str]
) -> OutOfSampleProbs:
    """Return the products that each item's name speaks for, by cross-validation with duplicates in one fold.

    A logistic regression for every product on TF-IDF weights of the words. A name without a single word that other
    items have is no modality_probs, and neither is one that is missing.

    Args:
        names: The names of all items, null where there is none.
        given: The product of each item's given labels, `NO_VALUE` where there is none; those are not asked.
        outputs: The products.
        labels: What the folds are stratified by.
        group_ids: The group of duplicates of each item.

    Raises:
        NotApplicableError: There are too few names to learn from.
    """
    usable = (given != NO_VALUE) & names.is_not_null().to_numpy()
    rows = np.flatnonzero(usable)
    if len(rows) < MIN_ITEMS or len(np.unique(given[rows])) < 2:
        raise NotApplicableError(f"Too few items have a name and a label: {len(rows)}, {MIN_ITEMS} are wanted.")
    texts, classes = names.gather(rows).to_list(), given[rows]
    by_label, by_group = ([values[row] for row in rows.tolist()] for values in (labels, group_ids))
    folds = np.asarray(assign_folds(by_label, by_group, FOLDS, 0), np.int64)
    probs = np.zeros((len(rows), len(outputs.category_paths)), np.float32)
    with show_progress("Reading names", FOLDS, "folds") as bar:
        for fold in range(FOLDS):
            probs[folds == fold] = _predict(texts, classes, folds == fold, len(outputs.category_paths))
            bar.advance()
    heard = probs.sum(axis=1) > 0
    return OutOfSampleProbs(
        rows[heard], outputs, classes[heard], probs[heard], source="names of other items", reads_names=True
    )


def _predict(texts: list[str], classes: Indices, left_out: npt.NDArray[np.bool_], num_products: int) -> Probs:
    """Return the probabilities of the left-out names, float32 (n, products); zeros where no word is known."""
    learnt = [text for text, is_out in zip(texts, left_out, strict=True) if not is_out]
    asked = [text for text, is_out in zip(texts, left_out, strict=True) if is_out]
    probs = np.zeros((len(asked), num_products), np.float32)
    present = np.unique(classes[~left_out])
    if not asked or len(present) < 2:
        return probs
    reader = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", sublinear_tf=True, dtype=np.float32, max_features=MOST_WORDS)
    model = SGDClassifier(loss="log_loss", alpha=1e-6, max_iter=PASSES, tol=None, random_state=0, n_jobs=-1)
    model.fit(reader.fit_transform(learnt), classes[~left_out])
    words = reader.transform(asked)
    answers = model.predict_proba(words).astype(np.float32)
    answers[np.diff(words.indptr) == 0] = 0
    probs[:, model.classes_] = answers
    return probs
