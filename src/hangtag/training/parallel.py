"""Train one network in several processes or on several machines: each computes its share of every batch.

TensorFlow's `MultiWorkerMirroredStrategy` adds up the gradients of all workers in every step, so all of them keep the
same weights, which are those of one process with the whole batch (synchronous data parallelism). Batch normalization
has the statistics of the whole batch too. Only dropout masks differ: each worker draws its own.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hangtag.errors import SettingsError
from hangtag.models.layers import import_keras

if TYPE_CHECKING:
    from keras import Model


@dataclass(frozen=True)
class Cluster:
    """The workers of a training, as one of them sees them.

    Attributes:
        index: The index of this worker; the first is the chief, which alone writes files.
        size: The number of workers.
        strategy: The `tf.distribute.Strategy`, None with a single worker.
    """

    index: int = 0
    size: int = 1
    strategy: Any = None

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the checkpoints and the run."""
        return self.index == 0

    def scope(self) -> AbstractContextManager[Any]:
        """Return the context in which all variables of the network and the optimizer must be created."""
        return self.strategy.scope() if self.strategy else nullcontext()

    def find_share(self, items: int) -> slice:
        """Return the positions of this worker's items in a batch.

        All workers have equally many, since their mean losses have equal weights: up to `size` - 1 items of the last
        batch of an epoch are in no share.
        """
        each = items // self.size
        return slice(self.index * each, (self.index + 1) * each)

    def distribute(self, model: "Model") -> None:
        """Let `train_on_batch` train on the shares of all workers, and `predict_on_batch` predict for this one alone.

        Batch normalization is synchronized: otherwise each worker keeps moving statistics of its own shares, and they
        predict differently with the same weights. Keras 3.15 cannot train on several workers by itself: it averages
        the metrics, which are scalars, over an axis that they do not have (`ValueError: Invalid reduction dimension 0
        for input with 0 dimensions`).

        Args:
            model: A compiled model that was built in `scope`.
        """
        if self.strategy is None:
            return
        import tensorflow as tf  # noqa: PLC0415  (Keras has loaded it)

        strategy = self.strategy
        for layer in model.layers:
            if hasattr(layer, "synchronized"):
                layer.synchronized = True

        def train_step(data: Any) -> Mapping[str, Any]:
            metrics = strategy.run(model.train_step, args=(data,))
            return {name: strategy.reduce("MEAN", value, axis=None) for name, value in metrics.items()}

        def predict_step(inputs: Any) -> Any:
            return model(inputs, training=False)

        train, predict = (tf.function(step, reduce_retracing=True) for step in (train_step, predict_step))
        model.train_function = lambda batches: train(next(batches))
        model.predict_function = lambda batches: predict(batches[0][0])

    def wait(self) -> None:
        """Wait until all workers have called this; a worker that ended earlier would count as crashed."""
        if self.strategy is None:
            return
        import tensorflow as tf  # noqa: PLC0415  (Keras has loaded it)

        self.strategy.reduce("SUM", self.strategy.run(lambda: tf.constant(1)), axis=None)


_joined = [Cluster()]


def get_cluster() -> Cluster:
    """Return the cluster that this process has joined; by default one of this process alone."""
    return _joined[-1]


def join_cluster(index: int, addresses: Sequence[str]) -> Cluster:
    """Connect this process to the other workers of a training, and wait for them.

    Call it before anything else uses TensorFlow, once a process. It sets `TF_CONFIG`.

    Args:
        index: The index of this worker among the addresses.
        addresses: The `host:port` of every worker, in the same order for all of them.

    Raises:
        SettingsError: The index is none of an address, an address is repeated, or Keras has another backend than
            TensorFlow.
    """
    if not 0 <= index < len(addresses) or len(set(addresses)) < len(addresses):
        raise SettingsError(
            "A worker needs the index of one of the different addresses.", received=[index, list(addresses)]
        )
    if len(addresses) > 1:
        task = {"type": "worker", "index": index}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": list(addresses)}, "task": task})
        if (backend := import_keras().backend.backend()) != "tensorflow":
            raise SettingsError("Several workers need Keras's backend tensorflow.", received=backend)
        import tensorflow as tf  # noqa: PLC0415  (slow to import)

        _joined.append(Cluster(index, len(addresses), tf.distribute.MultiWorkerMirroredStrategy()))
    return get_cluster()
