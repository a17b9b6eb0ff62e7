"""Issues as an audit writes them, and a queue of every kind about the drawn catalogue."""

import csv
import json
from typing import Any

import polars as pl

from hangtag.reviewing.issues import COLUMNS
from hangtag.workspace import Workspace

CLASSES = {
    "Tshirts": ("Apparel", "Topwear", "Tshirts"),
    "Shirts": ("Apparel", "Topwear", "Shirts"),
    "Casual Shoes": ("Footwear", "Shoes", "Casual Shoes"),
}
LEVELS = ("masterCategory", "subCategory", "articleType")


def make_line(item_id: str, given: str, suggested: str, score: float, **more: Any) -> dict[str, Any]:
    """Make a line of `audit/issues.csv`; levels change together."""
    changes = {"articleType": suggested} if suggested else {}
    line = {
        "item_id": item_id,
        "code": "wrong_label",
        "severity": "warning",
        "given_label": given,
        "suggested_label": suggested,
        "score": score,
        "reason": f"the photograph looks like {suggested}, not like {given}",
        "column": "articleType",
        "changes": changes,
        "group_id": "",
    }
    return line | more


def write_issues(place: Workspace, lines: list[dict[str, Any]]) -> None:
    place.issues.parent.mkdir(parents=True, exist_ok=True)
    with place.issues.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for line in sorted(lines, key=lambda line: -line["score"]):
            writer.writerow({**line, "changes": json.dumps(line["changes"])})


def make_queue(place: Workspace) -> list[dict[str, Any]]:
    """Make a queue of the drawn catalogue: six Shirts, one asked about twice, Sandals, duplicates, a blank picture."""
    items = pl.read_parquet(place.prepared / "items.parquet")
    of_type = {kind: items.filter(pl.col("articleType") == kind)["item_id"].to_list() for kind in ("Shirts", "Sandals")}
    shirts = of_type["Shirts"][:6]
    lines = [make_line(item_id, "Shirts", "Tshirts", 0.97 - 0.05 * n) for n, item_id in enumerate(shirts)]
    lines.append(
        make_line(shirts[0], "Shirts", "Tshirts", 0.6, code="name_against_label", reason="the name says T-shirt")
    )
    both = {"subCategory": "Shoes", "articleType": "Casual Shoes"}
    lines.append(make_line(of_type["Sandals"][0], "Sandals", "Casual Shoes", 0.55, changes=both))
    pair = {"code": "duplicate_label_conflict", "severity": "error", "group_id": "g1"}
    for number, item_id in enumerate(of_type["Sandals"][1:4]):
        lines.append(make_line(item_id, "Sandals", "Casual Shoes", 0.5 - 0.01 * number, changes=both, **pair))
    blank = {"code": "bad_picture", "severity": "info", "column": "", "reason": "the picture is nearly one colour"}
    lines.append(make_line(of_type["Sandals"][4], "", "", 0.4, **blank))
    return lines
