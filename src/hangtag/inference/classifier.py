"""A trained model that turns pixels, and names where it reads them, into probabilities."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels, shrink
from hangtag.console import show_progress
from hangtag.errors import ModelError
from hangtag.explain.grad_cam import Maps, enlarge
from hangtag.explain.heatmap import FeatureReader, look, open_feature_reader
from hangtag.inference.prediction import HeadProbs, Prediction, build_predictions
from hangtag.models.batch_predict import Answers, apply_temperature, iterate_head_probs, join_head_probs
from hangtag.models.checkpoint import load_saved
from hangtag.models.label_space import CATEGORY_PATH, LabelSpace, Probs
from hangtag.models.network_file import NETWORK
from hangtag.models.openvino import load_exported
from hangtag.models.out_of_distribution import OOD_SCORE
from hangtag.models.seen_images import SeenPhotographs
from hangtag.models.shipped import SHIPPED
from hangtag.models.text import Vocabulary

# What a calibration is called that was made from these inputs.
PHOTOGRAPH, PHOTOGRAPH_AND_NAME = "photograph", "photograph_and_name"
_OPENING = threading.Lock()


@dataclass(frozen=True)
class Classifier:
    """A trained model.

    Attributes:
        model: The `keras.Model`, or the exported network.
        outputs: What its heads stand for.
        image_size: (height, width) of the pixels it takes.
        network_size: (height, width) that it shrinks them to; None leaves them as they are.
        description: All of its `model.json`.
        vocabulary: The words of names that it knows, or None where it reads pixels alone.
        seen: The photographs that it learnt from, as hashes, or None where it does not say.
    """

    model: Any
    outputs: LabelSpace
    image_size: tuple[int, int]
    description: dict[str, Any] = field(default_factory=dict)
    vocabulary: Vocabulary | None = None
    network_size: tuple[int, int] | None = None
    seen: SeenPhotographs | None = None

    @classmethod
    def load(cls, folder: str | Path | None = None, *, streams: int = 1) -> "Classifier":
        """Load a model from its folder: a training run's, or one that `hangtag export` wrote.

        Args:
            folder: Where `model.json` is; None takes the model that hangtag comes with.
            streams: For an exported model, how many threads will ask it at once.

        Raises:
            ModelError: A file is missing, damaged, changed, or does not fit its description.
            MissingExtraError: It is a training run's, and Keras is not installed.
        """
        index = SHIPPED if folder is None else Path(folder)
        is_exported = (index / NETWORK).is_file()
        saved = load_exported(index, streams=streams) if is_exported else load_saved(index)
        return cls(
            saved.model,
            saved.outputs,
            saved.image_size,
            saved.description,
            saved.vocabulary,
            saved.network_size,
            saved.seen,
        )

    @property
    def name(self) -> str:
        """The name of the run that it was trained in."""
        return str(self.description.get("run_id", ""))

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the columns of `predict_proba` stand for."""
        return self.outputs.class_names

    @property
    def reads_names(self) -> bool:
        """Whether it reads names beside photographs."""
        return self.vocabulary is not None

    def find_threshold(self, precision: float, *, with_names: bool = False) -> float | None:
        """Return the confidence from which on at least this share of labels is right, as chosen on val.

        None where no threshold keeps that promise, or none was looked for.
        """
        thresholds = self._read_calibration(with_names).get("thresholds", {})
        found = thresholds.get(f"{precision:g}")
        return None if found is None else float(found)

    def predict_heads(self, images: Pixels, names: Sequence[str | None] | None = None) -> HeadProbs:
        """Return the probabilities of all levels and attributes for every photograph.

        Args:
            images: uint8 (n, H, W, 3), of `image_size`; any n.
            names: The products' names, n of them, for a model that reads names; None hides them.

        Raises:
            ModelError: The pixels are of another shape or type, the names of another number, or the model gives no
                numbers for them.
        """
        return self.predict_rows(images, np.arange(len(images)), names=names)

    def classify(self, images: Pixels, *, precision: float = 0.95) -> list[Prediction]:
        """Return an answer for every photograph, with its levels, alternatives, and whether it is sure.

        Args:
            images: See `predict`.
            precision: The share of sure answers that is to be right.

        Raises:
            ModelError: See `predict`.
        """
        predictions = self.predict_rows(images, np.arange(len(images)), title=None)
        return build_predictions(predictions, self.find_threshold(precision), self._is_in_distribution(predictions))

    @property
    def can_explain(self) -> bool:
        """Whether it can show where in a photograph it looked."""
        return CATEGORY_PATH in self._feature_reader.heads

    def explain(
        self,
        images: Pixels,
        labels: Sequence[str | None] | str | None = None,
        *,
        level: str | None = None,
        names: Sequence[str | None] | None = None,
    ) -> Maps:
        """Compute a heatmap of the evidence for a class, and against all others, in each photograph.

        Args:
            images: See `predict`.
            labels: The class to explain, one for all photographs or one for each; None takes what is predicted.
            level: The level or attribute that it is of; the primary level by default.
            names: See `predict`.

        Returns:
            A map for each photograph, float32 (n, H, W), 0 to 1, its maximum 1. It is 0 everywhere where
            there is no evidence for the class, or no such class.

        Raises:
            ModelError: There is no such class or level, the network is of a kind that cannot show it, or see
                `predict`.
        """
        return enlarge(self.look(images, labels, level=level, names=names), self.image_size)

    def look(
        self,
        images: Pixels,
        labels: Sequence[str | None] | str | None = None,
        *,
        level: str | None = None,
        names: Sequence[str | None] | None = None,
    ) -> Maps:
        """Return the heatmaps of `explain` at the network's own resolution, a few rows and columns.

        Raises:
            ModelError: See `explain`.
        """
        self._check_pixels(images)
        column = level or self.outputs.primary
        head = self._find_explained(column)
        if labels is None:
            labels = self.predict_heads(images, names).choose_labels()[column]
        given = [labels] * len(images) if isinstance(labels, str) else list(labels)
        if len(given) != len(images):
            raise ModelError("There is not a class for every photograph.", received=len(given))
        return look(
            self.model,
            self._feature_reader,
            shrink(images, self.network_size or self.image_size),
            head,
            self.outputs.find_members(column, given),
            words=self.vocabulary.encode(names) if self.vocabulary and names is not None else None,
            tta_flip=bool(self.description.get("tta_flip", False)),
        )

    def _find_explained(self, column: str) -> str:
        """Return the head that predicts a level or an attribute.

        Raises:
            ModelError: There is no such one, or no map can be made of it.
        """
        if column not in (*self.outputs.levels, *self.outputs.attributes):
            allowed = f"Allowed: {', '.join((*self.outputs.levels, *self.outputs.attributes))}."
            raise ModelError("The model knows no such level or attribute.", allowed=allowed, received=column)
        head = self.outputs.find_head(column)
        if head not in self._feature_reader.heads:
            raise ModelError(
                "This model cannot show where it looked: its network keeps no map of a photograph to the end.",
                allowed="Allowed: networks whose last maps are averaged, as the residual ones; before an export all.",
                received=self.name or self.description.get("architecture"),
            )
        return head

    @property
    def _feature_reader(self) -> FeatureReader:
        # `cached_property` alone would open it twice where two threads ask at once.
        with _OPENING:
            return self._opened_feature_reader

    @cached_property
    def _opened_feature_reader(self) -> FeatureReader:
        return open_feature_reader(self.model)

    def _is_in_distribution(self, predictions: HeadProbs) -> npt.NDArray[np.bool_]:
        limit = self.description.get("out_of_distribution", {}).get("limit")
        if limit is None or predictions.ood_scores is None:
            return np.ones(len(predictions), bool)
        return np.asarray(predictions.ood_scores <= limit)

    def predict(self, images: Pixels, names: Sequence[str | None] | None = None) -> list[str]:
        """Return the most likely class of the primary level for each photograph; see `predict_heads`."""
        return [self.class_names[index] for index in self.predict_proba(images, names).argmax(axis=1).tolist()]

    def predict_proba(self, images: Pixels, names: Sequence[str | None] | None = None) -> Probs:
        """Return the probability of every class of the primary level, float32 (n, classes); see `predict_heads`."""
        return self.predict_heads(images, names).probs

    def predict_rows(
        self,
        images: Pixels,
        rows: npt.NDArray[np.int64],
        title: str | None = "Predicting",
        names: Sequence[str | None] | None = None,
    ) -> HeadProbs:
        """Return the answers for chosen rows of a memory map, read in batches, with a bar.

        Args:
            images: uint8 (N, H, W, 3).
            rows: Which of them, int64 (n,).
            title: The bar's text; None shows no bar.
            names: The names of these rows' products; see `predict_heads`.

        Raises:
            ModelError: The pixels are of another shape or type, the names of another number, or the model gives no
                numbers for them.
        """
        self._check_pixels(images)
        if names is not None and len(names) != len(rows):
            allowed = f"Allowed: {len(rows)} names, None where there is none."
            raise ModelError("There is not a name for every photograph.", allowed=allowed, received=len(names))
        words = self.vocabulary.encode(names) if self.vocabulary and names is not None else None
        is_flipped = bool(self.description.get("tta_flip", False))
        found = iterate_head_probs(
            self.model, images, rows, words=words, tta_flip=is_flipped, image_size=self.network_size
        )
        batches = list(found) if title is None else _watch_for_stall(found, title, len(rows))
        answers = join_head_probs(batches, self.outputs.heads)
        temperatures = self._read_calibration(words is not None).get("temperatures", {})
        sharpened = {head: apply_temperature(answers[head], temperatures.get(head, 1.0)) for head in self.outputs.heads}
        ood_scores = answers.get(OOD_SCORE)
        return HeadProbs(self.outputs, sharpened, ood_scores)

    def _check_pixels(self, images: Pixels) -> None:
        if images.ndim != 4 or images.shape[1:] != (*self.image_size, 3) or images.dtype != np.uint8:
            raise ModelError(
                "The model cannot take these pixels.",
                allowed=f"Allowed: uint8 (n, {self.image_size[0]}, {self.image_size[1]}, 3).",
                received=f"{images.dtype} {images.shape}",
            )

    def _read_calibration(self, with_names: bool) -> dict[str, Any]:
        key = PHOTOGRAPH_AND_NAME if with_names else PHOTOGRAPH
        return dict(self.description.get("calibration", {}).get(key, {}))


def _watch_for_stall(batches: Iterator[Answers], title: str, total: int) -> list[Answers]:
    """Collect batches while a bar counts their photographs."""
    found = []
    with show_progress(title, total, "photographs") as bar:
        for batch in batches:
            found.append(batch)
            bar.advance(len(batch[CATEGORY_PATH]))
    return found
