"""The capstone's own figures, and the question whether a catalogue is the one they were measured on."""

import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from hangtag.catalog.schema import CatalogSchema

UNLEARNT = ("Unknown", "Free Items")


def read_capstone() -> dict[str, Any]:
    """Read the capstone's figures as they are shipped."""
    text = (resources.files("hangtag.reporting") / "capstone_figures.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def list_capstone_classes(figures: dict[str, Any]) -> list[str]:
    """Give the names of the thirty classes that the capstone learnt, in alphabetical order."""
    return sorted(label for label in figures["class_counts"] if label not in UNLEARNT)


def find_capstone(schema: CatalogSchema, class_names: Sequence[str]) -> dict[str, Any] | None:
    """Give the capstone's figures where they may stand beside a catalogue's, else None.

    The catalogue has to have the capstone's columns and levels, and its labels have to be the capstone's
    thirty classes: figures of other classes are not comparable.
    """
    figures = read_capstone()
    same_table = set(figures["columns"]) <= set(schema.columns) and schema.levels == tuple(figures["levels"])
    return figures if same_table and list(class_names) == list_capstone_classes(figures) else None
