"""Typed values as people write them into a CSV."""

import datetime
from decimal import Decimal

import pytest

from hangtag.catalog.cell_text import format_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (5, "5"),
        (10001.0, "10001"),
        (1e20, "100000000000000000000"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-7, "0.0000001"),
        (1e300, "1E+300"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (True, "TRUE"),
        (Decimal("12.50"), "12.50"),
        (Decimal("12.00"), "12"),
        (Decimal("1e999999"), "1E+999999"),
        (datetime.datetime(2024, 1, 31), "2024-01-31"),
        (datetime.datetime(2024, 1, 31, tzinfo=datetime.UTC), "2024-01-31T00:00:00+00:00"),
        (datetime.datetime(2024, 1, 31, 8, 5, 9), "2024-01-31T08:05:09"),
        (datetime.date(2024, 1, 31), "2024-01-31"),
        (datetime.time(8, 5), "08:05:00"),
        (datetime.timedelta(hours=30, seconds=5), "30:00:05"),
        (datetime.timedelta(hours=-1), "-1:00:00"),
        (" as it is ", " as it is "),
    ],
)
def test_values_as_text(value: object, text: str) -> None:
    assert format_value(value) == text
