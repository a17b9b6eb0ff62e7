"""Discriminative learning rates: what lies near the pixels is general already, and moves in smaller steps."""

from collections.abc import Mapping
from typing import Any

from hangtag.models.backbone import list_blocks
from hangtag.models.backend import import_keras


def compute_rates(model: Any, layer_decay: float) -> dict[str, float]:
    """Give what the steps of each trainable weight are multiplied with, by its path.

    The heads and the last block have 1, each block before it `layer_decay` times as much as the one after it.
    Source: Howard and Ruder, *Universal Language Model Fine-tuning for Text Classification*, 2018.

    Args:
        model: A network of `build_model`.
        layer_decay: Above 0, up to 1.
    """
    rates = {weight.path: 1.0 for weight in model.trainable_weights}
    for height, block in enumerate(reversed(list_blocks(model))):
        rates |= {weight.path: layer_decay**height for layer in block for weight in layer.trainable_weights}
    return rates


def find_scaled(kind: type, rates: Mapping[str, float]) -> Any:
    """Give a Keras optimizer class whose steps, and whose decay of weights, are scaled for each weight."""
    ops = import_keras().ops

    class Scaled(kind):  # type: ignore[misc]
        def build(self, variables: Any) -> None:
            super().build(variables)
            # The backend hands its own variables to a step, which have no path.
            self.rates = [rates[variable.path] for variable in variables]

        def _read_rate(self, variable: Any) -> float:
            return float(self.rates[self._get_variable_index(variable)])

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            super().update_step(gradient, variable, learning_rate * self._read_rate(variable))

        def _apply_weight_decay(self, variables: Any) -> None:
            for variable in variables if self.weight_decay else ():
                if self._use_weight_decay(variable):
                    share = self.weight_decay * self._read_rate(variable)
                    variable.assign(variable - variable * (share * ops.cast(self.learning_rate, variable.dtype)))

    Scaled.__name__ = kind.__name__
    return Scaled
