"""Ask the words of a product's name what it is, by classifiers that learnt from the names of other items."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier

from hangtag.auditing.issues import NotApplicableError
from hangtag.auditing.witness import Witness
from hangtag.labels.folds import assign_folds
from hangtag.models.outputs import NO_VALUE, Indices, Outputs, Probs
from hangtag.progress import show_progress

FOLDS = 5
MIN_ITEMS = 50
# Passes over the names: four tell products apart as well as two dozen (.990 of labels right against .992).
PASSES = 4
# More words tell little more.
MOST_WORDS = 50_000


def ask_names(
    names: pl.Series, given: Indices, outputs: Outputs, labels: Sequence[str], group_ids: Sequence[str]
) -> Witness:
    """Give the products that each item's name speaks for, by cross-validation with duplicates in one fold.

    A logistic regression for every product on TF-IDF weights of the words. A name without a single word that other
    items have is no testimony, and neither is one that is missing.

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
    probs = np.zeros((len(rows), len(outputs.products)), np.float32)
    with show_progress("Reading names", FOLDS, "folds") as bar:
        for fold in range(FOLDS):
            probs[folds == fold] = _predict(texts, classes, folds == fold, len(outputs.products))
            bar.advance()
    heard = probs.sum(axis=1) > 0
    return Witness(rows[heard], outputs, classes[heard], probs[heard], source="names of other items", reads_names=True)


def _predict(texts: list[str], classes: Indices, left_out: npt.NDArray[np.bool_], num_products: int) -> Probs:
    """Give the probabilities of the left-out names, float32 (n, products); zeros where no word is known."""
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
