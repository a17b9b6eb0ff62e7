"""Muon for convolutions and attention: steps whose directions are made equally strong, on Keras's optimizer."""

import math
import re
from functools import cache
from typing import Any

from hangtag.models.backend import import_keras

# The matrices inside a transformer's blocks. A residual network's projections, matrices too, stay with Adam.
BLOCK_MATRIX = re.compile(r"(?:^|/)block\d+_\w+/kernel$")


@cache
def find_muon() -> Any:
    """Give the class of Muon for kernels of convolutions and of a transformer's blocks, and AdamW for all else.

    Source: Jordan et al., *Muon: An Optimizer for Hidden Layers in Neural Networks*, 2024; sizes of steps as in Liu
    et al., *Muon is Scalable for LLM Training*, 2025.
    """
    keras = import_keras()
    ops = keras.ops

    class ConvolutionMuon(keras.optimizers.Muon):  # type: ignore[name-defined, misc]
        """Keras's Muon, which leaves convolutions to Adam, taking them as matrices of one column a filter.

        Of dense layers it takes those inside a transformer's blocks alone.
        """

        def _should_use_adamw(self, variable: Any) -> bool:
            # The stem's few input channels, dense heads and vectors stay with Adam, as Muon's author has it.
            if len(variable.shape) == 2:
                return BLOCK_MATRIX.search(variable.path) is None
            return len(variable.shape) != 4 or variable.shape[2] <= 3

        def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
            """Give the nearest matrix whose directions all have about the same strength, in the shape of `x`."""
            shape = tuple(x.shape)
            is_tall = math.prod(shape[:-1]) > shape[-1]
            matrix = ops.reshape(x, (-1, shape[-1]))
            matrix = ops.transpose(matrix) if is_tall else matrix
            # bfloat16 is enough for a direction, and a quarter of the time.
            matrix = ops.cast(matrix / (ops.norm(matrix) + 1e-7), "bfloat16")
            for _ in range(steps):
                square = ops.matmul(matrix, ops.transpose(matrix))
                change = self.muon_b * square + self.muon_c * ops.matmul(square, square)
                matrix = self.muon_a * matrix + ops.matmul(change, matrix)
            matrix = ops.transpose(matrix) if is_tall else matrix
            return ops.cast(ops.reshape(matrix, shape), x.dtype)

        def lr_adjust(self, x: Any) -> Any:
            """Give the step the size that Adam's steps have."""
            return x * (math.sqrt(max(math.prod(x.shape[:-1]), x.shape[-1])) * self.rms_rate)

    return ConvolutionMuon
