"""Average a network's weights over its last steps, so that what is judged does not jump with a single step."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hangtag.models.storage import Weights, assign_weights, read_weights

# Reading all weights takes as long as some layers; an average over every fourth step is as smooth.
STRIDE = 4


class WeightAverage:
    """An exponential moving average of all weights, the moving figures of normalisation among them.

    Source: Polyak and Juditsky, *Acceleration of Stochastic Approximation by Averaging*, 1992.

    Args:
        decay: The share that the average keeps at each step, 0 to below 1; 0 follows the weights.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.weights: Weights = {}
        self.steps = 0

    def note(self, model: Any) -> None:
        """Take a step of the training into the average."""
        self.steps += 1
        if not self.decay or self.steps % STRIDE:
            return
        current = read_weights(model)
        if not self.weights:
            self.weights = current
        # A short training's average must not be made of its first steps.
        kept = min(self.decay**STRIDE, self.steps / (self.steps + 10 * STRIDE))
        for path, weight in current.items():
            self.weights[path] += (1 - kept) * (weight - self.weights[path])

    def read(self, model: Any) -> Weights:
        """Give the averaged weights, or the model's own where nothing is averaged."""
        return self.weights or read_weights(model)

    @contextmanager
    def put_in(self, model: Any) -> Iterator[None]:
        """Let the model have the averaged weights for as long as the block lasts."""
        if not self.weights:
            yield
            return
        own = read_weights(model)
        assign_weights(model, self.weights)
        try:
            yield
        finally:
            assign_weights(model, own)
