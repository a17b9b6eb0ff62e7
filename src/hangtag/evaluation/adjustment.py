"""Try how favouring rare classes trades accuracy for macro-F1, before anyone chooses."""

from collections.abc import Mapping, Sequence

import polars as pl

from hangtag.evaluation.answered import Answered
from hangtag.evaluation.metrics import average_f1, count_outcomes

STRENGTHS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
# Not train: a network knows its own items too well to choose by them.
SPLITS = ("val", "test")


def try_adjustments(parts: Mapping[str, Answered], train_counts: Mapping[str, Sequence[int]]) -> pl.DataFrame:
    """Give accuracy and macro-F1 on the primary level at each strength, for val and test where they are judged.

    A strength is to be chosen by val. Source: see `Predictions.adjust`.

    Args:
        parts: The answered items by split, as the model gave them, without an adjustment.
        train_counts: How often each class of each head was in training.

    Returns:
        split, strength, accuracy, macro_f1.
    """
    rows = [
        {"split": split, "strength": strength, **_measure(parts[split], dict(train_counts), strength)}
        for split in SPLITS
        if split in parts
        for strength in STRENGTHS
    ]
    return pl.DataFrame(
        rows, schema={"split": pl.String} | dict.fromkeys(("strength", "accuracy", "macro_f1"), pl.Float64)
    )


def _measure(part: Answered, train_counts: dict[str, Sequence[int]], strength: float) -> dict[str, float]:
    predicted = part.predictions.adjust(train_counts, strength).probs.argmax(axis=1)
    outcomes = count_outcomes(part.classes, predicted, len(part.class_names))
    return {"accuracy": float((predicted == part.classes).mean()), "macro_f1": float(average_f1(outcomes))}
