"""The queue that an audit leaves: its issues, the surest first."""

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from hangtag.artifacts import require_file, unguard_cell
from hangtag.errors import WorkspaceError

COLUMNS = (
    "item_id",
    "code",
    "severity",
    "given_label",
    "suggested_label",
    "score",
    "reason",
    "column",
    "changes",
    "group_id",
)
HINT = "Run `hangtag audit` with this workspace first."


@dataclass(frozen=True)
class Issue:
    """A suspected mistake.

    Attributes:
        position: Its place in the queue, from 0.
        item_id, code, column: What it is about; no two issues agree in all three.
        severity: `error`, `warning` or `info`.
        given_label, suggested_label: Values of the column, or empty.
        score: How sure it is, 0 to 1.
        reason: Why, for people.
        changes: New values by column, if the suggestion is accepted; empty where there is only something to look at.
        group_id: The same for issues that can be decided together, or empty.
    """

    position: int
    item_id: str
    code: str
    column: str
    severity: str
    given_label: str
    suggested_label: str
    score: float
    reason: str
    changes: dict[str, str]
    group_id: str

    @property
    def identity(self) -> tuple[str, str, str]:
        """What it is about."""
        return self.item_id, self.code, self.column

    @property
    def lot(self) -> bytes:
        """A number drawn for the issue, the same every time, to put issues into a random order."""
        return hashlib.blake2b("\0".join(self.identity).encode(), digest_size=8).digest()


def read_issues(path: Path) -> list[Issue]:
    """Read `audit/issues.csv`.

    Raises:
        WorkspaceError: There is none, or it is not what `hangtag audit` writes.
    """
    try:
        require_file(path)
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file)
            if not set(COLUMNS) <= set(lines.fieldnames or ()):
                raise ValueError(f"it lacks columns of {', '.join(COLUMNS)}")
            return [_read_line(position, line) for position, line in enumerate(lines)]
    except FileNotFoundError:
        raise WorkspaceError("There are no issues to review.", hint=HINT) from None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise WorkspaceError(f"The issues cannot be read: {error}.", received=path.name, hint=HINT) from error


def _read_line(position: int, line: dict[str, str]) -> Issue:
    if None in line or None in line.values():
        raise ValueError(f"the line of issue {position + 1} has not the cells of the header")
    line = {name: unguard_cell(cell) for name, cell in line.items()}
    changes = json.loads(line["changes"] or "{}")
    if not isinstance(changes, dict) or not all(isinstance(value, str) for value in changes.values()):
        raise ValueError(f"changes of issue {position + 1} are no texts")
    score = float(line["score"])
    if not 0 <= score <= 1:
        raise ValueError(f"the score of issue {position + 1} is not between 0 and 1")
    texts = {name: line[name] for name in COLUMNS if name not in ("score", "changes")}
    return Issue(position=position, score=score, changes=changes, **texts)
