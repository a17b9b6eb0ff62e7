"""Batch normalisation, by the backend's own fused kernel where it has one."""

from functools import cache
from typing import Any

from hangtag.models.backend import import_keras


@cache
def _find_class() -> Any:
    """Give Keras's layer, on TensorFlow with its training step through one kernel in the place of some twenty.

    In bfloat16 on a CPU forward and backward then take a fifth of the time (docs/experiments.md).
    """
    keras = import_keras()
    if keras.backend.backend() != "tensorflow":
        return keras.layers.BatchNormalization
    import tensorflow as tf  # noqa: PLC0415  (it is loaded already)

    class BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[name-defined, misc]
        """Keras's layer with the same weights and the same figures."""

        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            if not (training and self.trainable) or len(inputs.shape) != 4 or mask is not None:
                return super().call(inputs, training=training, mask=mask)
            outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=inputs,
                # The kernel takes these in float32 whatever the pixels are in.
                scale=tf.cast(self.gamma, "float32"),
                offset=tf.cast(self.beta, "float32"),
                mean=tf.zeros([0]),
                variance=tf.zeros([0]),
                epsilon=self.epsilon,
                is_training=True,
            )
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch * (1 - self.momentum))
            return outputs

    return BatchNormalization


def normalize(inputs: Any, *, name: str, dtype: Any = None, momentum: float = 0.99, epsilon: float = 1e-3) -> Any:
    """Normalise each channel over the batch, then scale and shift it.

    Args:
        inputs: A Keras tensor (n, ..., channels).
        name: Of the layer.
        dtype: The policy of the layer.
        momentum: The share that the moving figures, which stand in for the batch's at prediction, keep a step.
        epsilon: What is added to the variance; weights from elsewhere want the one that they were learnt with.
    """
    return _find_class()(name=name, dtype=dtype, momentum=momentum, epsilon=epsilon)(inputs)
