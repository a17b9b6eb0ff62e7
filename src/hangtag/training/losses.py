"""What a training makes small, and what it shows of it."""

from typing import Any

import numpy as np

from hangtag.config import TrainConfig
from hangtag.models.backend import import_keras
from hangtag.models.ensemble import LEAST
from hangtag.models.outputs import PRODUCT, Outputs

LEAST_PROBABILITY = 1e-7


def build_losses(outputs: Outputs, config: TrainConfig) -> tuple[dict[str, Any], dict[str, float]]:
    """Give each head's loss, the cross-entropy in nats, and its weight in their sum.

    A row of wanted probabilities that are all zero, of an item without a value, costs nothing and teaches nothing.
    Keras's own loss would not do: it makes probabilities add up to 1 first, which those of an ensemble in training
    must not (see `hangtag.models.ensemble`), and TensorFlow's kernel for it takes for granted that the wanted ones do.
    """
    ops = import_keras().ops

    def cross_entropy(wanted: Any, probs: Any) -> Any:
        return -ops.sum(wanted * ops.log(ops.maximum(probs, LEAST)), axis=-1)

    losses = dict.fromkeys(outputs.heads, cross_entropy)
    weights = {head: 1.0 if head == PRODUCT else config.attribute_weight for head in outputs.heads}
    return losses, weights


def build_metrics(outputs: Outputs) -> list[Any]:
    """Give accuracy and cross-entropy on the primary level, from what the head `product` is to say and says."""
    keras = import_keras()
    classes = outputs.list_classes(outputs.primary)
    members = np.zeros((len(classes), len(outputs.class_names)), np.float32)
    has_value = classes >= 0
    members[has_value, classes[has_value]] = 1

    def accuracy(wanted: Any, probs: Any) -> Any:
        return keras.metrics.categorical_accuracy(keras.ops.matmul(wanted, members), keras.ops.matmul(probs, members))

    def cross_entropy(wanted: Any, probs: Any) -> Any:
        summed = keras.ops.matmul(probs, members)
        return keras.losses.categorical_crossentropy(keras.ops.matmul(wanted, members), summed)

    return [
        keras.metrics.MeanMetricWrapper(accuracy, name="accuracy"),
        keras.metrics.MeanMetricWrapper(cross_entropy, name="cross_entropy"),
    ]
