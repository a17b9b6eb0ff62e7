"""The results of a model: class probabilities of many photographs by head, and the prediction for one photograph."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from hangtag.explain.grad_cam import Maps
from hangtag.explain.heatmap import color_heatmap, encode_png
from hangtag.io import JsonObject
from hangtag.models.batch_predict import ProbsByHead
from hangtag.models.label_space import CATEGORY_PATH, NO_VALUE, Indices, LabelSpace, Probs

ALTERNATIVES = 5
DIGITS = 4


def describe_confidence(confidence: float) -> str:
    """Format a probability as `87%`; only 1 is `100%`, so 0.998 becomes `>99%`."""
    return ">99%" if 0.995 <= confidence < 1 else f"{confidence:.0%}"


def format_prediction(confidence: float, is_sure: bool) -> str:
    """Format a probability, with `, not sure` after it if it is below the threshold, as `87%, not sure`."""
    return describe_confidence(confidence) + ("" if is_sure else ", not sure")


@dataclass(frozen=True)
class HeadProbs:
    """The probabilities of n photographs, one array for each head.

    Attributes:
        label_space: The classes of the heads.
        by_head: Each head's probabilities, float32 (n, classes).
        ood_scores: The out-of-distribution score of each photograph, float32 (n,), if the model has one; above 1 it is
            out of distribution.
    """

    label_space: LabelSpace
    by_head: ProbsByHead
    ood_scores: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self.by_head[CATEGORY_PATH])

    @property
    def probs(self) -> Probs:
        """The probabilities on the primary level, float32 (n, classes)."""
        return self.label_space.sum_level(self.by_head[CATEGORY_PATH], self.label_space.primary)

    def read_probs(self, column: str) -> Probs:
        """Return the probabilities of a level's or an attribute's classes, float32 (n, classes)."""
        if column in self.label_space.levels:
            return self.label_space.sum_level(self.by_head[CATEGORY_PATH], column)
        return self.by_head[self.label_space.find_head(column)]

    def choose_classes(self) -> dict[str, Indices]:
        """Return the predicted class index of every level and attribute, int64 (n,); levels are consistent.

        A category path may have no value on a level: then the index is `NO_VALUE`.
        """
        paths = self.label_space.choose_category_paths(self.by_head[CATEGORY_PATH])
        chosen = {level: self.label_space.list_classes(level)[paths] for level in self.label_space.levels}
        for attribute in self.label_space.attributes:
            chosen[attribute] = self.read_probs(attribute).argmax(axis=1)
        return chosen

    def choose_labels(self) -> dict[str, list[str | None]]:
        """Return the predicted value of every level and attribute by name."""
        names = {**self.label_space.levels, **self.label_space.attributes}
        return {
            column: [None if index == NO_VALUE else names[column][index] for index in indices.tolist()]
            for column, indices in self.choose_classes().items()
        }

    def join(self, others: "HeadProbs") -> "HeadProbs":
        """Return these photographs' probabilities, followed by those of others by the same model."""
        by_head = {head: np.concatenate([probs, others.by_head[head]]) for head, probs in self.by_head.items()}
        if self.ood_scores is None or others.ood_scores is None:
            return HeadProbs(self.label_space, by_head)
        return HeadProbs(self.label_space, by_head, np.concatenate([self.ood_scores, others.ood_scores]))

    def average(self, items: Indices) -> "HeadProbs":
        """Return the mean probabilities of k items over their photographs; each item has one photograph at least.

        All photographs of a product have the same category, so one that misleads (a whole outfit, a detail) is outvoted
        by the others. The confidence of a mean is never above the mean of the photographs' confidences. The
        out-of-distribution score of an item is the median of its photographs, the lower one of two: an item is in
        distribution if at least half of its photographs are.

        Args:
            items: The item of each photograph, int64 (n,), 0 to k - 1.
        """
        counts = np.bincount(items)
        by_head = {}
        for head, probs in self.by_head.items():
            sums = np.zeros((len(counts), probs.shape[1]))
            np.add.at(sums, items, probs)
            by_head[head] = (sums / counts[:, None]).astype(np.float32)
        if self.ood_scores is None:
            return HeadProbs(self.label_space, by_head)
        ordered = self.ood_scores[np.lexsort((self.ood_scores, items))]
        return HeadProbs(self.label_space, by_head, ordered[np.cumsum(counts) - counts + (counts - 1) // 2])

    def adjust(self, train_counts: dict[str, Sequence[int]], strength: float) -> "HeadProbs":
        """Apply logit adjustment: favour classes that were rare in training, without training again.

        Each probability is divided by the class's share in training to the power of `strength`: 0 changes
        nothing and is best for accuracy, 1 is best for balanced accuracy. A category path has the share of its
        class on the primary level. Source: Menon et al., *Long-Tail Learning via Logit
        Adjustment*, 2021.

        Args:
            train_counts: How often each class of each head was in training, as `model.json` has it.
            strength: Usually 0 to 1.
        """
        if not strength:
            return self
        by_head = {}
        for head, probs in self.by_head.items():
            counts = np.asarray(train_counts[head], np.float64)
            if head == CATEGORY_PATH:
                counts = self._count_primary(counts)
            weights = np.maximum(counts, 1.0) ** -strength
            weighted = probs * weights
            by_head[head] = (weighted / weighted.sum(axis=1, keepdims=True)).astype(np.float32)
        return replace(self, by_head=by_head)

    def _count_primary(self, counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return for each category path the training count of its class on the primary level."""
        classes = self.label_space.list_classes(self.label_space.primary)
        has_value = classes != NO_VALUE
        sums = np.bincount(classes[has_value], weights=counts[has_value], minlength=len(self.label_space.class_names))
        return np.where(has_value, sums[classes], counts)


@dataclass(frozen=True)
class Prediction:
    """A classified photograph.

    Attributes:
        label: The predicted class of the primary level.
        confidence: Its calibrated probability, 0 to 1.
        is_sure: Whether the confidence reaches the threshold and the photograph is in distribution.
        in_distribution: Whether the photograph is like those of the training catalogue.
        levels: The value of every level, coarse to fine and always consistent. None where the
            predicted category path has none.
        attributes: The value of every attribute, and its probability.
        alternatives: The most likely classes of the primary level with their probabilities, the label first.
        heatmap: The evidence for the label by region, float32 (rows, columns) from 0 to 1, with the photograph's
            aspect ratio; None unless it was requested.
        photographs: The number of photographs that it is the mean of, where it is of a product; else None.
        failures: The photographs of the product that could not be read, with the reasons.
    """

    label: str
    confidence: float
    is_sure: bool
    in_distribution: bool
    levels: Mapping[str, str | None]
    attributes: Mapping[str, tuple[str, float]]
    alternatives: tuple[tuple[str, float], ...]
    heatmap: Maps | None = field(default=None, repr=False, compare=False)
    photographs: int | None = None
    failures: tuple[str, ...] = ()

    @property
    def doubt(self) -> str:
        """The reason why it is not sure; empty if it is."""
        if not self.in_distribution:
            return "unlike the training photographs"
        return "" if self.is_sure else "not sure"

    def to_json(self) -> JsonObject:
        """Return the JSON object of the service and of `--json`; the heatmap is a PNG to lay over the photograph."""
        fields: JsonObject = {
            "label": self.label,
            "confidence": self.confidence,
            "is_sure": self.is_sure,
            "in_distribution": self.in_distribution,
            "levels": dict(self.levels),
            "attributes": {
                column: {"value": value, "confidence": confidence}
                for column, (value, confidence) in self.attributes.items()
            },
            "alternatives": [{"label": label, "confidence": confidence} for label, confidence in self.alternatives],
        }
        if self.photographs is not None:
            fields |= {"photographs": self.photographs, "failures": list(self.failures)}
        if self.heatmap is not None:
            picture = base64.b64encode(encode_png(color_heatmap(self.heatmap))).decode("ascii")
            fields["heatmap"] = {"label": self.label, "png": picture}
        return fields


def build_predictions(
    predictions: HeadProbs, threshold: float | None, in_distribution: npt.NDArray[np.bool_]
) -> list[Prediction]:
    """Build the prediction of each photograph.

    Args:
        predictions: Calibrated probabilities.
        threshold: The lowest confidence of a sure prediction; with None no prediction is sure.
        in_distribution: Whether each photograph is in distribution, bool (n,).
    """
    label_space, probs = predictions.label_space, predictions.probs
    order = np.argsort(-probs, axis=1, kind="stable")[:, :ALTERNATIVES]
    best = np.take_along_axis(probs, order, axis=1).astype(np.float64).round(DIGITS).tolist()
    is_sure = (probs.max(axis=1, initial=0) >= (np.inf if threshold is None else threshold)) & in_distribution
    chosen = predictions.choose_classes()
    levels = {level: chosen[level].tolist() for level in label_space.levels}
    attributes = {}
    for column in label_space.attributes:
        own = predictions.read_probs(column).max(axis=1, initial=0).astype(np.float64).round(DIGITS)
        attributes[column] = (chosen[column].tolist(), own.tolist())
    built = []
    for row, (indices, confidences) in enumerate(zip(order.tolist(), best, strict=True)):
        alternatives = tuple(
            (label_space.class_names[index], confidence) for index, confidence in zip(indices, confidences, strict=True)
        )
        built.append(
            Prediction(
                label=alternatives[0][0],
                confidence=alternatives[0][1],
                is_sure=bool(is_sure[row]),
                in_distribution=bool(in_distribution[row]),
                levels={level: _get_name(label_space.levels[level], found[row]) for level, found in levels.items()},
                attributes={
                    column: (label_space.attributes[column][found[row]], own[row])
                    for column, (found, own) in attributes.items()
                },
                alternatives=alternatives,
            )
        )
    return built


def _get_name(names: tuple[str, ...], index: int) -> str | None:
    return None if index == NO_VALUE else names[index]
