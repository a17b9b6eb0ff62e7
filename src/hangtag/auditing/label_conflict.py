"""Find duplicates whose labels disagree: one photograph cannot be two things."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from hangtag.auditing.issues import ERROR, LABEL_CONFLICT, WARNING, build_issues
from hangtag.auditing.same_product import list_groups, say_items
from hangtag.auditing.subject import Subject
from hangtag.labels.duplicates import Indices
from hangtag.models.outputs import NO_VALUE

# Values, coarse to fine where they are levels; None where one is missing.
Values = tuple[str | None, ...]
DEFENDED = ", as its name says too, so the photograph may be the wrong one"


def find_label_conflicts(subject: Subject) -> pl.DataFrame:
    """Give the issues of the code `duplicate_label_conflict`.

    All levels are one matter, so that they never contradict each other; each attribute is another. Every item of a
    group has a voice, and so has each witness that was asked about it; the value with most voices is suggested to
    the others. Where none has more than another, all items are told without a suggestion. The score is the share
    of voices against the item's own value. A missing value contradicts nothing, is not suggested, and is not filled in
    along with another level. Where an item's own name holds with
    its label, the photograph is the likelier mistake, and nothing is suggested.
    """
    values = {column: subject.read(column).to_list() for column in (*subject.levels, *subject.attributes)}
    voices = _Voices(subject)
    matters = [subject.levels, *((column,) for column in subject.attributes)]
    lines: list[dict[str, Any]] = []
    for members in list_groups(subject.duplicates.groups):
        for columns in matters:
            own = {row: tuple(values[column][row] for column in columns) for row in members}
            if _disagree(list(own.values())):
                lines += _describe(subject, columns, own, voices)
    return build_issues(lines, LABEL_CONFLICT, WARNING)


def _disagree(found: Sequence[Values]) -> bool:
    return any(len(set(column) - {None}) > 1 for column in zip(*found, strict=True))


def _describe(
    subject: Subject, columns: tuple[str, ...], own: Mapping[int, Values], voices: "_Voices"
) -> Iterator[dict[str, Any]]:
    counts = voices.count(columns, own)
    total = sum(counts.values())
    ranked = sorted(counts, key=lambda each: (-counts[each], [part or "" for part in each]))
    winner = ranked[0] if counts[ranked[0]] - counts[ranked[1]] > 1e-9 else None
    pixels = subject.duplicates.pixels
    for row, found in own.items():
        if found == winner or not any(_disagree([found, other]) for other in own.values()):
            continue
        if winner is not None and not _disagree([found, winner]):
            continue
        changes = _list_changes(columns, found, winner)
        is_defended = voices.defends(columns, row, found)
        changes = {} if is_defended else changes
        column = list(changes)[-1] if changes else _find_difference(columns, own.values(), found)
        contrary = [subject.item_ids[each] for each, value in own.items() if _disagree([value, found])]
        is_same = len({int(pixels[each]) for each in own}) == 1
        how = "The same photograph as" if is_same else "Nearly the same photograph as"
        theirs = _list_theirs(columns, column, own, found)
        yield {
            "item_id": subject.item_ids[row],
            "severity": ERROR if columns == subject.levels else WARNING,
            "given_label": found[columns.index(column)] or "",
            "suggested_label": changes.get(column, ""),
            "score": 1 - counts[found] / total,
            "reason": f"{how} {say_items(contrary)}, where {column} is {theirs}; "
            f"given {found[columns.index(column)] or 'nothing'}{DEFENDED if is_defended else ''}.",
            "column": column,
            "changes": changes,
            "group_id": subject.group_ids[row],
        }


def _list_changes(columns: Sequence[str], found: Values, winner: Values | None) -> dict[str, str]:
    if winner is None:
        return {}
    pairs = [pair for pair in zip(columns, found, winner, strict=True) if pair[1] is not None]
    if any(new is None for _, _, new in pairs):
        # Some values of another category beside the item's own would contradict each other.
        return {}
    return {column: new for column, old, new in pairs if new is not None and new != old}


def _find_difference(columns: Sequence[str], others: Any, found: Values) -> str:
    """Give the finest column in which an item contradicts another."""
    for place in reversed(range(len(columns))):
        if any(_disagree([(found[place],), (other[place],)]) for other in others):
            return columns[place]
    return columns[-1]


def _list_theirs(columns: Sequence[str], column: str, own: Mapping[int, Values], found: Values) -> str:
    place = columns.index(column)
    others = {value[place] for value in own.values() if _disagree([value, found])} - {None, found[place]}
    return " or ".join(sorted(str(each) for each in others)) or "missing"


class _Voices:
    """Counts the voices for the values of a group."""

    def __init__(self, subject: Subject) -> None:
        self._names = subject.names
        self._witnesses = [each for each in (subject.photographs, subject.names) if each is not None]
        self._places = []
        for witness in self._witnesses:
            places = np.full(len(subject.items), NO_VALUE, np.int64)
            places[witness.rows] = np.arange(len(witness.rows))
            self._places.append(places)

    def count(self, columns: tuple[str, ...], own: Mapping[int, Values]) -> dict[Values, float]:
        """Give each value's voices: one for each item that has it, and of each witness as much as it gives it."""
        counts: dict[Values, float] = defaultdict(float, Counter(own.values()))
        for witness, places in zip(self._witnesses, self._places, strict=True):
            rows = places[list(own)]
            heard = rows[rows != NO_VALUE]
            if len(heard):
                for value in list(counts):
                    counts[value] += self._hear(witness, columns, value, heard)
        return counts

    def defends(self, columns: tuple[str, ...], row: int, found: Values) -> bool:
        """Say whether an item's own name finds its own value likelier than not."""
        if self._names is None or columns[0] in self._names.outputs.attributes:
            return False
        place = self._places[-1][row]
        return bool(place != NO_VALUE) and self._hear(self._names, columns, found, np.array([place])) > 0.5

    def _hear(self, witness: Any, columns: tuple[str, ...], value: Values, heard: Indices) -> float:
        """Give the mean probability of a value, by one witness of all items of the group."""
        outputs = witness.outputs
        if columns[0] in outputs.attributes:
            names, probs = outputs.attributes[columns[0]], witness.attributes.get(columns[0])
            if probs is None or value[0] not in names:
                return 0.0
            return float(probs[heard, names.index(value[0])].mean())
        fits = np.ones(len(outputs.products), bool)
        for column, wanted in zip(columns, value, strict=True):
            if column not in outputs.levels:
                return 0.0
            names = (*outputs.levels[column], None)
            fits &= outputs.list_classes(column) == (
                NO_VALUE if wanted is None else names.index(wanted) if wanted in names else -2
            )
        return float(witness.products[heard][:, fits].sum(axis=1).mean())
