"""Which issues a reviewer wants to see, and in which order."""

from dataclasses import dataclass
from typing import Literal

from hangtag.reviewing.issues import Issue

State = Literal["open", "skipped", "decided", "all"]


@dataclass(frozen=True)
class Filter:
    """What issues have to be.

    Attributes:
        code: The kind of issue; empty for all.
        label: A value that is given or suggested; empty for all.
        low, high: Bounds of the score, both included.
        state: `open`, `skipped`, `decided` or `all`.
        order: `score` is the surest first; `random` is a sample that stands for all of them, the same every time.
    """

    code: str = ""
    label: str = ""
    low: float = 0.0
    high: float = 1.0
    state: State = "open"
    order: Literal["score", "random"] = "score"

    def holds(self, issue: Issue) -> bool:
        """Say whether an issue is of the wanted kind, whatever its state."""
        return (
            self.code in ("", issue.code)
            and self.label in ("", issue.given_label, issue.suggested_label)
            and self.low <= issue.score <= self.high
        )

    def sort(self, issues: list[Issue]) -> list[Issue]:
        """Put issues into the wanted order."""
        return sorted(issues, key=lambda issue: issue.lot) if self.order == "random" else issues
