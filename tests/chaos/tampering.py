"""Descriptions of models that somebody changed: every entry removed, of another type, size or value, by a seed."""

import copy
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]
DEPTH = 10_000
# Stands in the JSON until the text is made: no Python object that deep could be written by `json`.
NESTED = "<nested>"
MISSING = object()
# What is put in the place of an entry, whatever it was.
ANYTHING: dict[str, Any] = {
    "removed": MISSING,
    "null": None,
    "true": True,
    "zero": 0,
    "negative": -1,
    "huge": 10**30,
    "longer-than-a-float": 10**400,
    "fraction": 0.5,
    "huge-fraction": 1e300,
    "nan": float("nan"),
    "infinity": float("inf"),
    "empty-text": "",
    "text": "os.system",
    "half-a-character": "\ud800",
    "empty-list": [],
    "list": [[], {}],
    "empty-table": {},
    "table": {"sha256": 1, "photograph": []},
    "nested": NESTED,
}


@dataclass(frozen=True)
class Tampered:
    """A changed description.

    Attributes:
        name: Where and how it was changed.
        text: What `model.json` holds.
    """

    name: str
    text: str


def tamper(description: dict[str, Any], count: int, seed: int) -> list[Tampered]:
    """Return some of all changes of a description, chosen by a seed, each with the description around it."""
    changes = list(list_changes(description))
    chosen = random.Random(seed).sample(changes, min(count, len(changes)))
    return [Tampered(name, _write(description, path, value)) for name, path, value in chosen]


def list_changes(description: dict[str, Any]) -> Iterator[tuple[str, Path, Any]]:
    """List all changes of a description: a name, the place, and what is put there."""
    for path in _list_paths(description, ()):
        place = ".".join(map(str, path))
        value = _read(description, path)
        for kind, other in (ANYTHING | _vary(value)).items():
            yield f"{place}-{kind}", path, other


def _list_paths(value: Any, path: Path) -> Iterator[Path]:
    """List the places of all entries; of a list the first, the second and the last stand for the others."""
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = sorted({0, 1, len(value) - 1} & set(range(len(value))))
    for key in keys:
        yield (*path, key)
        yield from _list_paths(value[key], (*path, key))


def _vary(value: Any) -> dict[str, Any]:
    """Return what looks like an entry and is another: longer, shorter, turned round, written as text."""
    found: dict[str, Any] = {"as-text": json.dumps(value)}
    if isinstance(value, list):
        found |= {
            "turned-round": value[::-1],
            "shorter": value[:-1],
            "longer": [*value, *value[-1:]],
            "long": value[:1] * 200_000,
            "of-lists": [[each] for each in value],
        }
    elif isinstance(value, dict):
        found |= {
            "other-keys": {f"{key}_": each for key, each in value.items()},
            "more-keys": value | {"more": 1, "": None},
            "of-lists": {key: [each] for key, each in value.items()},
        }
    elif isinstance(value, str):
        found |= {"longer": value + "x", "very-long": "x" * 1_000_000, "control": f"\x1b[31m{value}\n"}
    elif isinstance(value, int | float):
        found |= {"one-more": value + 1, "minus": -value, "as-fraction": float(value)}
    return found


def _read(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def _write(description: dict[str, Any], path: Path, value: Any) -> str:
    changed = copy.deepcopy(description)
    parent = _read(changed, path[:-1])
    if value is MISSING:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return json.dumps(changed).replace(json.dumps(NESTED), "[" * DEPTH + "]" * DEPTH)
