"""A reviewer's filter and order of issues, and the values to filter by with their numbers of issues."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hangtag.reviewing.queue import Issue

State = Literal["open", "skipped", "decided", "all"]


@dataclass(frozen=True)
class Filter:
    """A reviewer's filter and order of issues; all that is asked for must hold.

    Attributes:
        code: The issue code; empty for all.
        label: A given or suggested value; empty for all.
        low, high: The bounds of the score, both inclusive.
        state: `open`, `skipped`, `decided` or `all`.
        order: `score` for descending scores; `random` for a random but reproducible order.
        evidence: The evidence; empty for all.
        brand: The product's brand; empty for all.
        named: Words that the product's name has, in any order, with any capitals and accents; empty for all.
    """

    code: str = ""
    label: str = ""
    low: float = 0.0
    high: float = 1.0
    state: State = "open"
    order: Literal["score", "random"] = "score"
    evidence: str = ""
    brand: str = ""
    named: str = ""

    def matches(self, issue: "Issue", brand: str, name: str) -> bool:
        """Return whether an issue of a product of a brand and a name matches; its state is not checked."""
        return (
            self.code in ("", issue.code)
            and self.evidence in ("", issue.evidence)
            and self.label in ("", issue.given_label, issue.suggested_label)
            and self.low <= issue.score <= self.high
            and self.brand in ("", brand)
            and (not self.named or _has_words(name, self.named))
        )

    def sort(self, issues: "list[Issue]") -> "list[Issue]":
        """Return issues in the order of the filter; the input is in descending order of score."""
        return sorted(issues, key=lambda issue: issue.random_key) if self.order == "random" else issues


def _has_words(name: str, words: str) -> bool:
    folded = _fold(name)
    return all(word in folded for word in _fold(words).split())


def _fold(text: str) -> str:
    """Return a text without capitals and accents."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part))


def count_values(described: "Iterable[tuple[Issue, str, str]]", wanted: Filter) -> dict[str, list[dict[str, object]]]:
    """Return the codes, evidence, labels and brands to filter by, with their numbers of issues in descending order.

    The numbers are of issues that match the rest of the filter, so that a choice never promises what it does not show.

    Args:
        described: The issues, each with its product's brand and name.
        wanted: The filter; its state has no effect.
    """
    names = {"codes": "code", "evidence": "evidence", "labels": "label", "brands": "brand"}
    others = {
        "code": replace(wanted, code=""),
        "evidence": replace(wanted, evidence=""),
        "label": replace(wanted, label=""),
        "brand": replace(wanted, brand=""),
    }
    counts: dict[str, Counter[str]] = {field: Counter() for field in others}
    for issue, brand, name in described:
        values = {
            "code": {issue.code},
            "evidence": {issue.evidence},
            "label": {issue.given_label, issue.suggested_label},
            "brand": {brand},
        }
        for field, other in others.items():
            if any(values[field]) and other.matches(issue, brand, name):
                counts[field].update(filter(None, values[field]))
    return {
        plural: [{"value": value, "count": count} for value, count in counts[field].most_common()]
        for plural, field in names.items()
    }
