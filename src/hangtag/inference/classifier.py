"""Load a trained model and predict class probabilities from pixels and, if it has a text input, product names."""

import threading
from collections.abc import Hashable, Iterator, Sequence
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
from hangtag.explain.heatmap import FeatureReader, compute_heatmaps, open_feature_reader
from hangtag.inference.prediction import HeadProbs, Prediction, build_predictions
from hangtag.io import JsonObject
from hangtag.models.batch_predict import ProbsByHead, apply_temperature, iterate_head_probs, join_head_probs
from hangtag.models.checkpoint import load_saved
from hangtag.models.label_space import CATEGORY_PATH, LabelSpace, Probs
from hangtag.models.network_file import NETWORK
from hangtag.models.openvino import load_exported
from hangtag.models.out_of_distribution import (
    LEAST_LIMIT,
    OOD_SCORE,
    OUT_OF_DISTRIBUTION,
    PIXEL_STATISTICS,
    PixelStatistics,
    compute_pixel_statistics,
)
from hangtag.models.seen_images import SeenPhotographs
from hangtag.models.shipped import SHIPPED
from hangtag.models.text import Vocabulary

# The keys of `calibration` in model.json, by the model's inputs.
PHOTOGRAPH, PHOTOGRAPH_AND_NAME = "photograph", "photograph_and_name"
_OPEN_LOCK = threading.Lock()


@dataclass(frozen=True)
class Classifier:
    """A trained model.

    Attributes:
        model: The `keras.Model`, or the exported network.
        label_space: The classes of its heads.
        image_size: (height, width) of the input pixels.
        network_size: (height, width) that the pixels are resized to before the network; None keeps their size.
        description: The content of its `model.json`.
        vocabulary: The words of product names that it can encode, or None if it reads pixels alone.
        seen: Hashes of its training photographs, or None if they are not recorded.
        folder: The folder that it was loaded from, or None if it was built in memory.
    """

    model: Any
    label_space: LabelSpace
    image_size: tuple[int, int]
    description: JsonObject = field(default_factory=dict)
    vocabulary: Vocabulary | None = None
    network_size: tuple[int, int] | None = None
    seen: SeenPhotographs | None = None
    folder: Path | None = None

    @classmethod
    def load(cls, folder: str | Path | None = None, *, streams: int = 1, threads: int = 0) -> "Classifier":
        """Load a model from the folder of a training run or of `hangtag export`.

        Args:
            folder: The folder with `model.json`; None loads the model that is included in hangtag.
            streams: For an exported model, the number of threads that will call it in parallel.
            threads: For an exported model, the number of threads that compute it; 0 uses all processors.

        Raises:
            ModelError: A file is missing, damaged, changed, or inconsistent with `model.json`.
            MissingExtraError: The folder is that of a training run, and Keras is not installed.
        """
        path = SHIPPED if folder is None else Path(folder)
        is_exported = (path / NETWORK).is_file()
        saved = load_exported(path, streams=streams, threads=threads) if is_exported else load_saved(path)
        return cls(
            saved.model,
            saved.label_space,
            saved.image_size,
            saved.description,
            saved.vocabulary,
            saved.network_size,
            saved.seen,
            path,
        )

    @property
    def name(self) -> str:
        """The name of the run that it was trained in."""
        return str(self.description.get("run_id", ""))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names of the columns of `predict_proba`."""
        return self.label_space.class_names

    @property
    def reads_names(self) -> bool:
        """Whether it reads product names as well as photographs."""
        return self.vocabulary is not None

    def find_threshold(self, precision: float, *, with_names: bool = False) -> float | None:
        """Return the confidence threshold for a target precision, as chosen on val.

        None if no threshold reaches the target precision, or none was computed for it.
        """
        thresholds = self._read_calibration(with_names).get("thresholds", {})
        threshold = thresholds.get(f"{precision:g}")
        return None if threshold is None else float(threshold)

    def predict_heads(
        self,
        images: Pixels,
        names: Sequence[str | None] | None = None,
        products: Sequence[Hashable] | None = None,
        title: str | None = "Predicting",
    ) -> HeadProbs:
        """Return the probabilities of all heads for each photograph, or for each product.

        Args:
            images: uint8 (n, H, W, 3), of `image_size`; any n.
            names: n product names, for a model with a text input; None leaves that input empty.
            products: The product of each photograph, n values of any kind, such as ids. Photographs with the same value
                get one answer, the mean of theirs (`HeadProbs.average`), in the order in which the values come first.
                None answers each photograph for itself.
            title: The text of the progress bar; None shows no bar.

        Raises:
            ModelError: The pixels have a wrong shape or type, the number of names is wrong, or the model returns values
                that are not finite.
        """
        return self._average(self.predict_rows(images, np.arange(len(images)), title, names), products)

    def _average(self, predictions: HeadProbs, products: Sequence[Hashable] | None) -> HeadProbs:
        if products is None:
            return predictions
        if len(products) != len(predictions):
            raise ModelError("There is not a product for every photograph.", received=len(products))
        numbers = {product: number for number, product in enumerate(dict.fromkeys(products))}
        items = np.array([numbers[product] for product in products], np.int64)
        return predictions.average(items)

    def classify(
        self,
        images: Pixels,
        *,
        precision: float = 0.95,
        products: Sequence[Hashable] | None = None,
        computed: ProbsByHead | None = None,
    ) -> list[Prediction]:
        """Return the prediction for each photograph: label, levels, attributes, alternatives, and whether it is sure.

        Args:
            images: See `predict`.
            precision: The target precision of sure predictions. The thresholds were chosen on single photographs.
            products: See `predict`.
            computed: What `compute_heads` returned for all these photographs; None computes it.

        Raises:
            ModelError: See `predict`.
        """
        probs = self._average(self._predict(images, np.arange(len(images)), None, None, computed), products)
        return build_predictions(probs, self.find_threshold(precision), self._is_in_distribution(probs))

    @property
    def can_explain(self) -> bool:
        """Whether heatmaps can be computed for the category path head."""
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
            labels: The class to explain, one for all photographs or one for each; None takes the predicted class.
            level: The level or attribute of the class; the primary level by default.
            names: See `predict`.

        Returns:
            Heatmaps, float32 (n, H, W) from 0 to 1, each with a maximum of 1. A map is 0 everywhere if there is no
            evidence for the class, or no such class.

        Raises:
            ModelError: There is no such level, the network's architecture does not support heatmaps, or see `predict`.
        """
        return enlarge(self.compute_heatmaps(images, labels, level=level, names=names), self.image_size)

    def compute_heatmaps(
        self,
        images: Pixels,
        labels: Sequence[str | None] | str | None = None,
        *,
        level: str | None = None,
        names: Sequence[str | None] | None = None,
    ) -> Maps:
        """Compute the heatmaps of `explain` at the resolution of the network's feature maps, a few rows and columns.

        Raises:
            ModelError: See `explain`.
        """
        self._check_pixels(images)
        column = level or self.label_space.primary
        head = self._find_explainable_head(column)
        if labels is None:
            labels = self.predict_heads(images, names).choose_labels()[column]
        given = [labels] * len(images) if isinstance(labels, str) else list(labels)
        if len(given) != len(images):
            allowed = f"Allowed: one class, or {len(images)} classes."
            raise ModelError("The numbers of classes and photographs differ.", allowed=allowed, received=len(given))
        return compute_heatmaps(
            self.model,
            self._feature_reader,
            shrink(images, self.network_size or self.image_size),
            head,
            self.label_space.find_members(column, given),
            words=self.vocabulary.encode(names) if self.vocabulary and names is not None else None,
            tta_flip=bool(self.description.get("tta_flip", False)),
        )

    def _find_explainable_head(self, column: str) -> str:
        """Return the head that predicts a level or an attribute.

        Raises:
            ModelError: There is no such level or attribute, or heatmaps cannot be computed for it.
        """
        if column not in (*self.label_space.levels, *self.label_space.attributes):
            allowed = f"Allowed: {', '.join((*self.label_space.levels, *self.label_space.attributes))}."
            raise ModelError("The model has no such level or attribute.", allowed=allowed, received=column)
        head = self.label_space.find_head(column)
        if head not in self._feature_reader.heads:
            raise ModelError(
                "Heatmaps cannot be computed for this model: it has no pooled feature maps before its heads.",
                allowed="Allowed: networks with global average pooling, such as residual; or the exported run.",
                received=self.name or self.description.get("architecture"),
            )
        return head

    @property
    def _feature_reader(self) -> FeatureReader:
        # `cached_property` alone is not thread-safe: two threads could both open a reader.
        with _OPEN_LOCK:
            return self._opened_feature_reader

    @cached_property
    def _opened_feature_reader(self) -> FeatureReader:
        return open_feature_reader(self.model)

    def _is_in_distribution(self, predictions: HeadProbs) -> npt.NDArray[np.bool_]:
        if OUT_OF_DISTRIBUTION not in self.description or predictions.ood_scores is None:
            return np.ones(len(predictions), bool)
        return np.asarray(predictions.ood_scores <= 1)

    def predict(
        self,
        images: Pixels,
        names: Sequence[str | None] | None = None,
        products: Sequence[Hashable] | None = None,
    ) -> list[str]:
        """Return the most likely class of the primary level for each photograph or product; see `predict_heads`."""
        probs = self.predict_proba(images, names, products)
        return [self.class_names[index] for index in probs.argmax(axis=1).tolist()]

    def predict_proba(
        self,
        images: Pixels,
        names: Sequence[str | None] | None = None,
        products: Sequence[Hashable] | None = None,
    ) -> Probs:
        """Return the probability of every class of the primary level, float32 (n, classes); see `predict_heads`."""
        return self.predict_heads(images, names, products).probs

    def predict_rows(
        self,
        images: Pixels,
        rows: npt.NDArray[np.int64],
        title: str | None = "Predicting",
        names: Sequence[str | None] | None = None,
    ) -> HeadProbs:
        """Return the probabilities for chosen rows of a memory map, read in batches, with a progress bar.

        Args:
            images: uint8 (N, H, W, 3).
            rows: The indices of the rows to predict, int64 (n,).
            title: The text of the progress bar; None shows no bar.
            names: The product names of these rows; see `predict_heads`.

        Raises:
            ModelError: The pixels have a wrong shape or type, the number of names is wrong, or the model returns values
                that are not finite.
        """
        return self._predict(images, rows, title, names)

    def compute_heads(
        self,
        images: Pixels,
        rows: npt.NDArray[np.int64],
        title: str | None = None,
        names: Sequence[str | None] | None = None,
    ) -> ProbsByHead:
        """Compute what the network alone says of chosen rows, before temperatures and limits; see `predict_rows`.

        Nearly all of the time is the inference engine's, in which other threads can run.

        Raises:
            ModelError: See `predict_rows`.
        """
        self._check_pixels(images)
        if names is not None and len(names) != len(rows):
            allowed = f"Allowed: {len(rows)} names; None for a photograph without a name."
            raise ModelError("The numbers of names and photographs differ.", allowed=allowed, received=len(names))
        words = self.vocabulary.encode(names) if self.vocabulary and names is not None else None
        is_flipped = bool(self.description.get("tta_flip", False))
        iterator = iterate_head_probs(
            self.model, images, rows, words=words, tta_flip=is_flipped, image_size=self.network_size
        )
        batches = list(iterator) if title is None else _collect_with_progress(iterator, title, len(rows))
        return join_head_probs(batches, self.label_space.heads)

    def _predict(
        self,
        images: Pixels,
        rows: npt.NDArray[np.int64],
        title: str | None,
        names: Sequence[str | None] | None,
        computed: ProbsByHead | None = None,
    ) -> HeadProbs:
        head_probs = self.compute_heads(images, rows, title, names) if computed is None else computed
        with_names = self.vocabulary is not None and names is not None
        temperatures = self._read_calibration(with_names).get("temperatures", {})
        calibrated = {
            head: apply_temperature(head_probs[head], temperatures.get(head, 1.0)) for head in self.label_space.heads
        }
        return HeadProbs(self.label_space, calibrated, self._scale_ood_scores(head_probs.get(OOD_SCORE), images, rows))

    def _scale_ood_scores(
        self, distances: npt.NDArray[np.float32] | None, images: Pixels, rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32] | None:
        """Return the larger of both distances of each photograph, each relative to its limit.

        A network that is being exported has no limit yet; then the distances are returned as they are.
        """
        described = self.description.get(OUT_OF_DISTRIBUTION)
        if distances is None or described is None:
            return distances
        scores = distances / max(float(described["limit"]), LEAST_LIMIT)
        if self._pixel_statistics:
            measured = self._pixel_statistics.measure(compute_pixel_statistics(images, rows))
            scores = np.maximum(scores, measured / max(self._pixel_statistics.limit, LEAST_LIMIT))
        return np.asarray(scores, np.float32)

    @cached_property
    def _pixel_statistics(self) -> PixelStatistics | None:
        content = self.description.get(OUT_OF_DISTRIBUTION, {}).get(PIXEL_STATISTICS)
        return PixelStatistics.from_json(content) if content else None

    def _check_pixels(self, images: Pixels) -> None:
        if images.ndim != 4 or images.shape[1:] != (*self.image_size, 3) or images.dtype != np.uint8:
            raise ModelError(
                "The pixels do not have the shape and type of the model's input.",
                allowed=f"Allowed: uint8 (n, {self.image_size[0]}, {self.image_size[1]}, 3).",
                received=f"{images.dtype} {images.shape}",
            )

    def _read_calibration(self, with_names: bool) -> JsonObject:
        key = PHOTOGRAPH_AND_NAME if with_names else PHOTOGRAPH
        return dict(self.description.get("calibration", {}).get(key, {}))


def _collect_with_progress(batches: Iterator[ProbsByHead], title: str, total: int) -> list[ProbsByHead]:
    """Collect the batches while a progress bar counts their photographs."""
    collected = []
    with show_progress(title, total, "photographs") as bar:
        for batch in batches:
            collected.append(batch)
            bar.advance(len(batch[CATEGORY_PATH]))
    return collected
