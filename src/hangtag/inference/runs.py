"""Load trained runs, predict catalogue items with them, and pair the predictions with the true labels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.catalog.images import Pixels
from hangtag.errors import ModelError, WorkspaceError
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import HeadProbs
from hangtag.labels.dataset import LabeledItems
from hangtag.labels.image_hashes import Keys
from hangtag.models.label_space import CATEGORY_PATH, NO_VALUE, Indices, LabelSpace, Probs
from hangtag.workspace import NO_WORKSPACE, WORKSPACE_HINT, Workspace

HINT = "Run `hangtag train` with this workspace first."


def select_runs(workspace: Workspace, run_ids: Sequence[str] | None) -> list[str]:
    """Return the named runs without repeats, or all finished runs if none is named.

    Raises:
        WorkspaceError: There is no finished run, or no finished run of a given name.
    """
    finished = workspace.run_ids()
    if not workspace.root.is_dir():
        raise WorkspaceError(NO_WORKSPACE, received=str(workspace.root), hint=WORKSPACE_HINT)
    if not finished:
        received = ", ".join(run_ids or ()) or None
        raise WorkspaceError("There is no finished training run in this workspace.", hint=HINT, received=received)
    if not run_ids:
        return finished
    for run_id in run_ids:
        if run_id not in finished:
            allowed = f"Finished runs: {', '.join(finished)}."
            raise WorkspaceError("There is no such finished run.", allowed=allowed, received=run_id)
    return list(dict.fromkeys(run_ids))


def load_classifier(workspace: Workspace, run_id: str, labelled: LabeledItems) -> Classifier:
    """Load a run's model, if it was trained on the workspace's current labels.

    Raises:
        WorkspaceError: The labels have changed since the run was trained.
        ModelError: The model cannot be loaded.
    """
    classifier = Classifier.load(workspace.run(run_id))
    if classifier.description.get("labels_digest") != labelled.digest:
        raise WorkspaceError(
            "The run was trained on other labels than the workspace has now.",
            hint=f"Run `hangtag train` again, or remove {workspace.run(run_id)}.",
            received=run_id,
        )
    return classifier


def can_read_names(classifier: Classifier, labelled: LabeledItems) -> bool:
    """Return whether the classifier reads product names and the catalogue has a name column."""
    return classifier.reads_names and labelled.schema.name is not None


def predict_items(
    classifier: Classifier, labelled: LabeledItems, items: pl.DataFrame, title: str, *, with_names: bool
) -> HeadProbs:
    """Predict rows of the catalogue's table from their first photographs, and from their names too if `with_names`.

    Raises:
        ModelError: The pixels do not fit the model, or it returns values that are not finite.
    """
    rows = items["image_index"].to_numpy().astype(np.int64)
    names = items[str(labelled.schema.name)].to_list() if with_names else None
    return classifier.predict_rows(labelled.images, rows, title, names)


def predict_photographs(
    classifier: Classifier, labelled: LabeledItems, items: pl.DataFrame, title: str, *, with_names: bool
) -> tuple[HeadProbs, HeadProbs]:
    """Predict items from all their photographs.

    Temperatures and thresholds were fitted on first photographs, and `evaluate` measures the answers for these.

    Args:
        classifier: The model.
        labelled: The catalogue.
        items: n rows of its table: `item_id`, `image_index`, and the name.
        title: The text of the progress bar.
        with_names: Whether to predict from the names too.

    Returns:
        The mean probabilities of the items over their photographs (see `HeadProbs.average`), and the probabilities of
        all photographs: of the first one of each item, then of the others in the order of `labelled.others.find`.

    Raises:
        ModelError: The pixels do not fit the model, or it returns values that are not finite.
    """
    first = predict_items(classifier, labelled, items, title, with_names=with_names)
    rows, owners = labelled.others.find(items["item_id"])
    if not len(rows):
        return first, first
    names = items[str(labelled.schema.name)].gather(owners).to_list() if with_names else None
    others = classifier.predict_rows(labelled.others.images, rows, f"{title}, other photographs", names)
    photographs = first.join(others)
    return photographs.average(np.concatenate([np.arange(len(items)), owners])), photographs


@dataclass(frozen=True)
class KnownProbs:
    """What was predicted of n photographs or names, to use it again for the same ones.

    Attributes:
        keys: Hashes of what was predicted, such as the first 64 bits of a pixel hash, uint64 (n,).
        probs: The probabilities of the category paths, float32 (n, paths).
        scores: A number of each, float32 (n,), such as the out-of-distribution score; empty if there is none.
        paths: The names of the category paths, text (paths,), where these can be others the next time; else empty.
    """

    keys: Keys
    probs: Probs
    scores: npt.NDArray[np.float32]
    paths: npt.NDArray[np.str_] = field(default_factory=lambda: np.empty(0, np.str_))

    @classmethod
    def of(cls, keys: Keys, predicted: HeadProbs) -> Self:
        """Return the predictions of photographs with these keys, and their out-of-distribution scores."""
        scores = np.empty(0, np.float32) if predicted.ood_scores is None else predicted.ood_scores
        return cls(keys, predicted.by_head[CATEGORY_PATH], scores)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read the predictions of `write`; return None if the file is missing or damaged."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return cls(arrays["keys"], arrays["probs"], arrays["scores"], arrays["paths"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None

    def write(self, path: Path) -> None:
        """Write the arrays to a .npz file."""
        with path.open("wb") as file:
            np.savez(file, keys=self.keys, probs=self.probs, scores=self.scores, paths=self.paths)

    def find(self, keys: Keys) -> Indices:
        """Return the place of each key among these, int64 (m,); -1 where it is none of them."""
        if not len(self.keys):
            return np.full(len(keys), -1, np.int64)
        order = np.argsort(self.keys, kind="stable")
        places = np.searchsorted(self.keys[order], keys).clip(max=len(order) - 1)
        return np.asarray(np.where(self.keys[order][places] == keys, order[places], -1), np.int64)


def predict_new_photographs(
    classifier: Classifier,
    images: Pixels,
    rows: Indices,
    pixels: Keys,
    known: KnownProbs | None,
    title: str,
) -> HeadProbs:
    """Predict the category paths of photographs, each of which is predicted only if it is not known.

    Args:
        classifier: A model that reads no names.
        images: uint8 (N, H, W, 3).
        rows: The rows of the photographs, int64 (n,).
        pixels: Their pixel hashes, uint64 (n,).
        known: What this model predicted earlier.
        title: The text of the progress bar.

    Raises:
        ModelError: The pixels do not fit the model, or it returns values that are not finite.
    """
    if known is None or known.probs.shape[1:] != (len(classifier.label_space.category_paths),):
        return classifier.predict_rows(images, rows, title)
    places = known.find(pixels)
    probs = known.probs[places]
    scores = known.scores[places] if len(known.scores) else None
    new = np.flatnonzero(places == -1)
    if len(new):
        predicted = classifier.predict_rows(images, rows[new], title)
        probs[new] = predicted.by_head[CATEGORY_PATH]
        if scores is not None and predicted.ood_scores is not None:
            scores[new] = predicted.ood_scores
    return HeadProbs(classifier.label_space, {CATEGORY_PATH: probs}, scores)


def adjust(predictions: HeadProbs, classifier: Classifier, strength: float) -> HeadProbs:
    """Apply logit adjustment; see `HeadProbs.adjust`. A strength of 0 changes nothing.

    Raises:
        ModelError: `model.json` has no training counts of the classes.
    """
    if not strength:
        return predictions
    train_counts = classifier.description.get("train_counts")
    if not train_counts:
        raise ModelError(
            "model.json has no training counts of the classes (train_counts), which --logit-adjustment needs.",
            hint="Leave out --logit-adjustment, or train the model again.",
        )
    return predictions.adjust(train_counts, strength)


def name_other_values(predictions: HeadProbs) -> pl.DataFrame:
    """Return the predicted values of every level and attribute but the primary level, as `predicted_<column>`.

    Levels are consistent. A value is null if the predicted category path has none on that level.
    """
    chosen = predictions.choose_labels()
    chosen.pop(predictions.label_space.primary)
    return pl.DataFrame(
        {f"predicted_{column}": pl.Series(values, dtype=pl.String) for column, values in chosen.items()}
    )


@dataclass(frozen=True)
class EvaluatedItems:
    """Items with a known true value on the run's primary level, and the run's predictions for them.

    Attributes:
        items: n rows of the catalogue's table, of one or several splits.
        predictions: The probabilities that the run predicts for them.
    """

    items: pl.DataFrame
    predictions: HeadProbs

    @property
    def label_space(self) -> LabelSpace:
        """The label space of the run."""
        return self.predictions.label_space

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of the primary level."""
        return self.label_space.class_names

    @cached_property
    def classes(self) -> Indices:
        """The true class indices on the primary level, int64 (n,)."""
        return find_classes(self.items[self.label_space.primary], self.class_names)

    @cached_property
    def probs(self) -> Probs:
        """The probabilities on the primary level, float32 (n, classes)."""
        return self.predictions.probs

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """The probability of the predicted class on the primary level, float64 (n,)."""
        return np.asarray(self.probs.max(axis=1), np.float64)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the predicted class on the primary level is the true one, (n,)."""
        return np.asarray(self.probs.argmax(axis=1) == self.classes)

    def by_split(self) -> "dict[str, EvaluatedItems]":
        """Return the items of each split, the splits in order of their first item."""
        splits = self.items["split"]
        parts = {}
        for split in splits.unique(maintain_order=True).to_list():
            rows = np.flatnonzero((splits == split).to_numpy())
            by_head = {head: probs[rows] for head, probs in self.predictions.by_head.items()}
            parts[split] = EvaluatedItems(self.items[rows], HeadProbs(self.label_space, by_head))
        return parts

    def tabulate(self) -> pl.DataFrame:
        """Return a table with a row for each item, for the saved files and figures.

        Returns:
            item_id, image_index, split, group_id, label (the true value on the primary level), predicted_label,
            confidence, pred_probs, and predicted_<column> of every other level and attribute.
        """
        names = np.asarray(self.class_names, dtype=object)
        table = self.items.select(
            "item_id",
            "image_index",
            "split",
            "group_id",
            pl.col(self.label_space.primary).cast(pl.String).alias("label"),
        ).with_columns(
            predicted_label=pl.Series(names[self.probs.argmax(axis=1)].tolist(), dtype=pl.String),
            confidence=pl.Series(self.confidence),
            pred_probs=pl.Series(self.probs, dtype=pl.Array(pl.Float32, len(names))),
        )
        return table.hstack(name_other_values(self.predictions))


def evaluate_val(classifier: Classifier, labelled: LabeledItems, title: str) -> EvaluatedItems:
    """Predict the items of val as `evaluate` does, with their names if the model reads them.

    Args:
        classifier: The model.
        labelled: The cleaned catalogue.
        title: The title of the progress bar.
    """
    items = select_items(labelled, classifier.label_space, ["val"])
    with_names = can_read_names(classifier, labelled)
    return EvaluatedItems(items, predict_items(classifier, labelled, items, title, with_names=with_names))


def find_classes(values: pl.Series, class_names: Sequence[str]) -> Indices:
    """Return the class index of each value, int64 (n,); `NO_VALUE` if it is missing or not a class."""
    indices = {name: index for index, name in enumerate(class_names)}
    return np.array([indices.get(value, NO_VALUE) for value in values.cast(pl.String)], np.int64)


def select_items(labelled: LabeledItems, label_space: LabelSpace, splits: Sequence[str]) -> pl.DataFrame:
    """Return the items of the given splits, in that order, that have a known value on the primary level."""
    items = pl.concat([labelled.of_split(split) for split in splits])
    return items.filter(pl.Series(find_classes(items[label_space.primary], label_space.class_names) != NO_VALUE))
