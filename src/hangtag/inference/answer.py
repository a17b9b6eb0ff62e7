"""What is told of one photograph: its values on every level, how sure that is, and what else it could be."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hangtag.inference.heat import color_map, encode_png
from hangtag.inference.predictions import Predictions
from hangtag.models.activation_map import Maps
from hangtag.models.outputs import NO_VALUE

ALTERNATIVES = 5
DIGITS = 4


@dataclass(frozen=True)
class Answer:
    """A classified photograph.

    Attributes:
        label: The predicted class of the primary level.
        confidence: Its calibrated probability, 0 to 1.
        is_sure: Whether the confidence is enough, and the photograph of the kind that was learnt.
        is_familiar: Whether it looks like the catalogue's photographs at all.
        levels: The value of every level, coarse to fine; they never contradict each other. None where the
            predicted product has none.
        attributes: The value of every attribute, and its probability.
        alternatives: The likeliest classes of the primary level with their probabilities, the label first.
        looked: Where in the photograph it found what speaks for the label, float32 (rows, columns) from 0 to 1, of the
            photograph's proportions; None unless it was asked for.
    """

    label: str
    confidence: float
    is_sure: bool
    is_familiar: bool
    levels: Mapping[str, str | None]
    attributes: Mapping[str, tuple[str, float]]
    alternatives: tuple[tuple[str, float], ...]
    looked: Maps | None = field(default=None, repr=False, compare=False)

    @property
    def doubt(self) -> str:
        """Why it is not sure, in a few words; empty where it is."""
        if not self.is_familiar:
            return "unlike the photographs it learnt from"
        return "" if self.is_sure else "not sure"

    def to_json(self) -> dict[str, Any]:
        """Give what the service and `--json` say; where the model looked as a picture to lay over the photograph."""
        told = {
            "label": self.label,
            "confidence": self.confidence,
            "is_sure": self.is_sure,
            "is_familiar": self.is_familiar,
            "levels": dict(self.levels),
            "attributes": {
                column: {"value": value, "confidence": confidence}
                for column, (value, confidence) in self.attributes.items()
            },
            "alternatives": [{"label": label, "confidence": confidence} for label, confidence in self.alternatives],
        }
        if self.looked is not None:
            picture = base64.b64encode(encode_png(color_map(self.looked))).decode("ascii")
            told["looked"] = {"label": self.label, "png": picture}
        return told


def describe_answers(predictions: Predictions, threshold: float | None, is_familiar: Any) -> list[Answer]:
    """Give an answer for each photograph.

    Args:
        predictions: Calibrated probabilities.
        threshold: The confidence from which on an answer is sure; None: never.
        is_familiar: Whether each photograph looks like those that were learnt, bool (n,).
    """
    outputs, probs = predictions.outputs, predictions.probs
    order = np.argsort(-probs, axis=1, kind="stable")[:, :ALTERNATIVES]
    best = np.take_along_axis(probs, order, axis=1).astype(np.float64).round(DIGITS).tolist()
    is_sure = (probs.max(axis=1, initial=0) >= (np.inf if threshold is None else threshold)) & is_familiar
    chosen = predictions.choose_classes()
    levels = {level: chosen[level].tolist() for level in outputs.levels}
    attributes = {}
    for column in outputs.attributes:
        own = predictions.read_probs(column).max(axis=1, initial=0).astype(np.float64).round(DIGITS)
        attributes[column] = (chosen[column].tolist(), own.tolist())
    answers = []
    for row, (places, confidences) in enumerate(zip(order.tolist(), best, strict=True)):
        alternatives = tuple(
            (outputs.class_names[place], confidence) for place, confidence in zip(places, confidences, strict=True)
        )
        answers.append(
            Answer(
                label=alternatives[0][0],
                confidence=alternatives[0][1],
                is_sure=bool(is_sure[row]),
                is_familiar=bool(is_familiar[row]),
                levels={level: _name(outputs.levels[level], found[row]) for level, found in levels.items()},
                attributes={
                    column: (outputs.attributes[column][found[row]], own[row])
                    for column, (found, own) in attributes.items()
                },
                alternatives=alternatives,
            )
        )
    return answers


def _name(names: tuple[str, ...], place: int) -> str | None:
    return None if place == NO_VALUE else names[place]
