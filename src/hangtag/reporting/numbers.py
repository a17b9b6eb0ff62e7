"""Write numbers for people: counts with commas, scores with three decimals, shares in percent."""

import math
from collections.abc import Callable, Sequence
from typing import Any

NOTHING = "–"


def format_count(value: float | None) -> str:
    """Write 12345 as 12,345; an en dash for nothing."""
    return NOTHING if value is None else f"{value:,.0f}"


def format_score(value: float | None, decimals: int = 3) -> str:
    """Write 0.91324 as 0.913; an en dash for nothing or for no number."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"


def format_share(value: float | None, decimals: int = 1) -> str:
    """Write 0.72 as 72.0 %."""
    return NOTHING if value is None else f"{100 * value:.{decimals}f} %"


def format_interval(ends: Sequence[float] | None) -> str:
    """Write (0.9071, 0.9193) as 0.907 to 0.919."""
    return NOTHING if ends is None else " to ".join(format_score(end) for end in ends)


def format_shape(sides: Sequence[int | None]) -> str:
    """Write [80, 60, 32] as 80 × 60 × 32."""
    return " × ".join(format_count(side) for side in sides)


def format_confidence(value: float) -> str:
    """Write 0.954 as 95 %, and what would be rounded to certainty as > 99 %."""
    return "> 99 %" if value > 0.99 else format_share(value, 0)


def format_difference(value: float | None) -> str:
    """Write 0.0123 as +0.012 and -0.0123 as −0.012."""
    if value is None:
        return NOTHING
    return f"{value:+.3f}".replace("-", "−")


def format_operations(value: float | None) -> str:
    """Write 306470912 as 306 million, and 1234567890 as 1.23 billion."""
    if value is None:
        return NOTHING
    scale, word = (1e9, "billion") if value >= 999.5e6 else (1e6, "million")
    return f"{value / scale:.3g} {word}"


FILTERS: dict[str, Callable[..., Any]] = {
    "count": format_count,
    "score": format_score,
    "share": format_share,
    "confidence": format_confidence,
    "interval": format_interval,
    "shape": format_shape,
    "difference": format_difference,
    "operations": format_operations,
}
