"""Find spelling variants of one value: other capitals, signs, plurals, or a letter mistyped."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from hangtag.auditing.issues import SPELLING_VARIANT, WARNING, build_issues
from hangtag.auditing.subject import Subject
from hangtag.labels.names import split_words

SIGN = re.compile(r"[\W_]+")
# One letter apart: only where the word is long and the commoner spelling is much commoner, as with Shirts and Skirts.
MIN_LENGTH = 6
MIN_RATIO = 50
SAME_SCORE, TYPO_SCORE = 0.9, 0.6


def find_spelling_variants(subject: Subject) -> pl.DataFrame:
    """Give the issues of the code `spelling_variant`, one for every item with the rarer spelling of a value.

    Two values of a column are one where they differ in capitals, signs, spaces or grammatical endings alone, or in
    one letter where one of them is rare. All items with a spelling can be decided together.
    """
    lines = []
    for column in (*subject.levels, *subject.attributes):
        values = subject.read(column)
        rows: dict[str, list[int]] = defaultdict(list)
        for row, value in enumerate(values):
            if value is not None:
                rows[value].append(row)
        for rare, usual, score in _find_pairs({value: len(found) for value, found in rows.items()}):
            sizes = (len(rows[rare]), len(rows[usual]))
            lines += [_describe(subject.item_ids[row], column, (rare, usual), sizes, score) for row in rows[rare]]
    return build_issues(lines, SPELLING_VARIANT, WARNING)


def _describe(
    item_id: str, column: str, spellings: tuple[str, str], sizes: tuple[int, int], score: float
) -> dict[str, Any]:
    rare, usual = spellings
    told = (f"{_show(value)} ({size:,})" for value, size in zip(spellings, sizes, strict=True))
    return {
        "item_id": item_id,
        "given_label": rare,
        "suggested_label": usual,
        "score": score,
        "reason": f"{column} {' looks like another spelling of '.join(told)}.",
        "column": column,
        "changes": {column: usual},
        "group_id": f"spelling-{column}-{rare}",
    }


def _show(value: str) -> str:
    """Put a value into quotes where only its spaces tell it from another."""
    return value if value == " ".join(value.split()) else f'"{value}"'


def _find_pairs(counts: dict[str, int]) -> Iterator[tuple[str, str, float]]:
    """Give each rarer spelling with the usual one, and how sure it is that they are one."""
    by_key: dict[str, list[str]] = defaultdict(list)
    for value in counts:
        by_key[fold(value)].append(value)
    usual = {key: max(values, key=lambda each: (counts[each], each)) for key, values in by_key.items()}
    for key, values in by_key.items():
        for value in values:
            if value != usual[key]:
                yield value, usual[key], SAME_SCORE
    totals = {key: sum(counts[value] for value in values) for key, values in by_key.items()}
    common = _CommonKeys([key for key, total in totals.items() if total >= MIN_RATIO and len(key) >= MIN_LENGTH])
    for rare, values in by_key.items():
        near = [
            key for key in common.find_near(rare) if totals[key] >= MIN_RATIO * totals[rare] and _is_typo(key, rare)
        ]
        if near:
            best = max(near, key=lambda key: totals[key])
            yield from ((value, usual[best], TYPO_SCORE) for value in values)


class _CommonKeys:
    """Find the common keys that may be one letter from another without comparing each with each.

    Two texts that are one letter apart, or two swapped ones, are the same once a letter is left out of one of them or
    of both. Source: W. Garbe, *1000x Faster Spelling Correction* (symmetric delete), 2012.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys, self._places = keys, defaultdict[int, list[int]](list)
        for place, key in enumerate(keys):
            for shortened in _leave_out(key):
                self._places[shortened].append(place)

    def find_near(self, rare: str) -> list[str]:
        """Return the keys that may be one letter from `rare`, in the order in which they were given."""
        if not self._keys or len(rare) < MIN_LENGTH:
            return []
        places = {place for shortened in _leave_out(rare) for place in self._places.get(shortened, ())}
        return [self._keys[place] for place in sorted(places)]


def _leave_out(key: str) -> set[int]:
    """Return hashes of a text and of all texts that are left where one letter of it is left out."""
    return {hash(key), *(hash(key[:place] + key[place + 1 :]) for place in range(len(key)))}


def _is_typo(key: str, rare: str) -> bool:
    # The first letter is hardly ever the mistyped one: a Wallet is no Ballet.
    return min(len(key), len(rare)) >= MIN_LENGTH and key[0] == rare[0] and is_one_letter_apart(key, rare)


def fold(value: str) -> str:
    """Give what is left of a value without capitals, signs, spaces and grammatical endings."""
    joined = SIGN.sub("", value).casefold()
    # Of one word's value without letters nothing would be left.
    return "".join(split_words(joined)) or value


def is_one_letter_apart(one: str, other: str) -> bool:
    """Say whether one letter is put in, left out, changed, or swapped with the next between two texts."""
    if len(one) > len(other):
        one, other = other, one
    if len(other) - len(one) > 1 or one == other:
        return False
    start = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))
    if len(one) < len(other):
        return one[start:] == other[start + 1 :]
    swapped = one[start + 1 : start + 2] + one[start : start + 1] + one[start + 2 :]
    return one[start + 1 :] == other[start + 1 :] or swapped == other[start:]
