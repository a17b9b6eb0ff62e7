"""Time what once grew with the square of a catalogue, at four sizes, and fail where it still does.

Usage: python benchmarks/time_scaling.py [--items 4000] [--only NAME]

Each row is a catalogue of one awkward kind: a placeholder photograph that all items share, one label for all, values
that are all distinct. `growth` is the time at ten times the items, held against ten times the time; 1 is linear, and
above 2 the script ends with 1. The best of three runs counts.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from hangtag.auditing.context import AuditContext
from hangtag.auditing.duplicate_issues import find_duplicates, find_label_conflicts, find_same_products
from hangtag.auditing.value_issues import find_spelling_variants, find_unlikely_combinations
from hangtag.catalog.csv_parser import parse_table
from hangtag.catalog.schema import CatalogSchema
from hangtag.config import AuditConfig
from hangtag.labels.duplicates import group_duplicates
from hangtag.labels.splits import assign_folds, assign_splits

SCHEMA = CatalogSchema(
    table="styles.csv",
    id="id",
    name="title",
    levels=("kind", "type"),
    attributes=("colour",),
    columns=("id", "kind", "type", "colour", "title"),
    headings=("id", "kind", "type", "colour", "title"),
)
SIZES = (1, 2, 4, 10)
MOST = 2.0
# Below this a clock tells nothing.
SHORTEST = 0.002


def make_context(count: int, *, distinct: bool = False, one_name: bool = False) -> AuditContext:
    """Make a catalogue whose items share one photograph."""
    rows = range(count)
    columns = {
        "item_id": [f"i{row}" for row in rows],
        "id": [f"i{row}" for row in rows],
        "image_path": [f"{row}.jpg" for row in rows],
        "kind": [f"kind {row % 7}" for row in rows],
        "type": [
            f"value number {row * 7919 % 1_000_003}" if distinct and row % 2 else f"type {row % 40}" for row in rows
        ],
        "colour": [f"colour {row % 12}" for row in rows],
        "title": ["A shirt" if one_name else f"Shirt {row}" for row in rows],
        "label": [f"type {row % 40}" for row in rows],
        "split": ["train"] * count,
        "group_id": ["i0"] * count,
    }
    images = np.broadcast_to(np.uint8(200), (count, 16, 12, 3))
    config = AuditConfig()
    return AuditContext(pl.DataFrame(columns), images, SCHEMA, config, image_probs=None, name_probs=None)


def prepare_check(check: Callable[[AuditContext], Any], **more: bool) -> Callable[[int], Callable[[], Any]]:
    """Return what prepares a check of the audit on a catalogue of some size."""

    def prepare(count: int) -> Callable[[], Any]:
        context = make_context(count, **more)
        # The groups are looked for once for all checks.
        _ = context.duplicates
        return lambda: check(context)

    return prepare


def prepare_splits(count: int) -> Callable[[], Any]:
    """Prepare splits of one label."""
    labels, groups = ["Shirts"] * count, [f"g{row}" for row in range(count)]
    return lambda: assign_splits(labels, groups, (0.72, 0.18, 0.1), 0)


def prepare_folds(count: int) -> Callable[[], Any]:
    """Prepare folds of one label."""
    labels, groups = ["Shirts"] * count, [f"g{row}" for row in range(count)]
    return lambda: assign_folds(labels, groups, 5, 0)


def prepare_groups(count: int) -> Callable[[], Any]:
    """Prepare the grouping of one photograph."""
    hashes = np.full(count, 12345, np.uint64)
    return lambda: group_duplicates(["same"] * count, hashes, 2)


def prepare_table(count: int) -> Callable[[], Any]:
    """Prepare a table in which every other row has a quote that never closes."""
    lines = [f'{row},"open {row},Shirts' if row % 2 else f"{row},fine,Shirts" for row in range(count)]
    data = "\n".join(["id,title,type", *lines]).encode()
    return lambda: parse_table(data, "styles.csv")


def prepare_surplus(count: int) -> Callable[[], Any]:
    """Prepare a table in which every other row has separators that nobody quoted."""
    kinds = [f"kind {row % 40}" for row in range(count)]
    lines = [f"A{row},name, {row}, long,{kind}" if row % 2 else f"A{row},name,{kind}" for row, kind in enumerate(kinds)]
    data = "\n".join(["id,title,type", *lines]).encode()
    return lambda: parse_table(data, "styles.csv")


CASES: dict[str, Callable[[int], Callable[[], Any]]] = {
    "label conflicts of one photograph": prepare_check(find_label_conflicts),
    "label conflicts, distinct values": prepare_check(find_label_conflicts, distinct=True),
    "duplicates of one photograph": prepare_check(find_duplicates),
    "one product under all ids": prepare_check(find_same_products, one_name=True),
    "spellings of distinct values": prepare_check(find_spelling_variants, distinct=True),
    "combinations of distinct values": prepare_check(find_unlikely_combinations, distinct=True),
    "splits of one label": prepare_splits,
    "folds of one label": prepare_folds,
    "groups of one photograph": prepare_groups,
    "a table with open quotes": prepare_table,
    "a table with surplus cells": prepare_surplus,
}


def measure(prepare: Callable[[int], Callable[[], Any]], count: int) -> float:
    """Return the seconds of the best of three runs."""
    best = float("inf")
    for _ in range(3):
        run = prepare(count)
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Print a row for each case, and end with 1 where one grows too fast."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=4000)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    sizes = [arguments.items * size for size in SIZES]
    print(f"{platform.machine()}, Python {platform.python_version()}; seconds at so many items\n")
    print(f"{'case':36}" + "".join(f"{size:>10,}" for size in sizes) + f"{'growth':>10}")
    failed = False
    for name, prepare in CASES.items():
        if arguments.only not in name:
            continue
        seconds = [measure(prepare, size) for size in sizes]
        growth = seconds[-1] / (SIZES[-1] * max(seconds[0], SHORTEST))
        failed |= growth > MOST
        print(f"{name:36}" + "".join(f"{each:10.3f}" for each in seconds) + f"{growth:10.2f}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
