"""Several networks in one: the layer that makes one answer of their answers."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from hangtag.models.backend import import_keras

# Far below what a softmax in float32 gives a class in earnest: its logarithm stays a number.
LEAST = 1e-30


@cache
def _find_class() -> Any:
    keras = import_keras()
    ops = keras.ops

    class Mean(keras.layers.Layer):  # type: ignore[name-defined, misc]
        """The mean of probabilities; in training the geometric one, so that every member learns as if alone.

        The cross-entropy of a geometric mean that is not made to add up to 1 is the mean of the members' own. That
        of their arithmetic mean would let them lean on each other, and they would make the same mistakes.
        """

        def call(self, probs: Any, training: bool = False) -> Any:
            stacked = ops.stack(probs, axis=1)
            if not training:
                return ops.mean(stacked, axis=1)
            return ops.exp(ops.mean(ops.log(ops.maximum(stacked, LEAST)), axis=1))

        def compute_output_shape(self, shapes: Any) -> Any:
            return shapes[0]

    return Mean


def average_members(probs: Sequence[Any], name: str) -> Any:
    """Give the mean of the members' probabilities, (n, classes) each, as a deep ensemble has it.

    Source: Lakshminarayanan et al., *Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles*,
    2017.
    """
    return _find_class()(name=name, dtype="float32")(list(probs)) if len(probs) > 1 else probs[0]
