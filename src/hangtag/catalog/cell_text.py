"""Write values of typed tables as texts, the way people write them into a CSV, and read lists back."""

import datetime
import json
from decimal import Decimal

# Far beyond any price or id: of 1e999999 the digits would fill the memory.
MAX_DIGITS = 40


def format_value(value: object) -> str:
    """Return a value as text: digits without exponent, dates in ISO 8601, TRUE and FALSE; nothing for None."""
    text = "" if value is None else str(value)
    if isinstance(value, bool):
        text = text.upper()
    elif isinstance(value, float | Decimal):
        text = format_decimal(Decimal(text))
    elif isinstance(value, datetime.datetime):
        is_date = value.time() == datetime.time() and value.tzinfo is None
        text = value.date().isoformat() if is_date else value.isoformat()
    elif isinstance(value, datetime.timedelta):
        seconds = round(value.total_seconds())
        minutes, rest = divmod(abs(seconds), 60)
        text = f"{'-' * (seconds < 0)}{minutes // 60}:{minutes % 60:02}:{rest:02}"
    return text


def format_decimal(value: Decimal) -> str:
    """Return a number's digits without exponent, whole ones without a point; very large and small ones as they are."""
    if not value.is_finite() or abs(value.adjusted()) > MAX_DIGITS:
        return str(value)
    return str(int(value)) if value == value.to_integral_value() else format(value, "f")


def read_list(cell: str) -> list[str] | None:
    """Return the texts of a JSON list, as which tables of JSON hold several values; None of any other cell."""
    if not cell.startswith("["):
        return None
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(part, str) for part in found) else None
