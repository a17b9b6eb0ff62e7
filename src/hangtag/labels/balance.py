"""Measure how evenly items spread over the values of a column."""

import math
from collections.abc import Mapping, Sequence

import polars as pl


def compute_balance(counts: Sequence[int]) -> float:
    """Give the entropy of the shares over the entropy of equal shares, H / ln C.

    Args:
        counts: Items a value, each above 0.

    Returns:
        0 (all items have one value) to 1 (as many items a value). One value alone counts as 0.
        Source: section 2.5 of the capstone report.
    """
    total = sum(counts)
    if len(counts) < 2:
        return 0.0
    entropy = -sum(count / total * math.log(count / total) for count in counts)
    return entropy / math.log(len(counts))


def describe_balance(columns: Mapping[str, pl.Series]) -> dict[str, dict[str, float | int]]:
    """Give the number of values and the balance of each column, nulls left out."""
    described: dict[str, dict[str, float | int]] = {}
    for name, values in columns.items():
        counts = values.drop_nulls().value_counts()["count"].to_list()
        described[name] = {"num_values": len(counts), "balance": round(compute_balance(counts), 6)}
    return described
