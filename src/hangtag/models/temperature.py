"""Make probabilities less sure or surer, as a temperature found on val asks."""

import numpy as np

from hangtag.models.outputs import Probs


def sharpen(probs: Probs, temperature: float) -> Probs:
    """Give the probabilities at a temperature, float32 (n, classes): above 1 less sure, below 1 surer."""
    if temperature == 1:
        return probs
    logs = np.log(probs.astype(np.float64).clip(1e-30, 1)) / temperature
    raised = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)
