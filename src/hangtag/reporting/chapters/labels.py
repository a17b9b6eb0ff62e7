"""Chapter 2, data wrangling: the label rules, the relabelled items, those left Unknown, and the balance."""

from typing import Any

import polars as pl

from hangtag.artifacts import read_csv, read_json
from hangtag.labels.labelled import UNKNOWN
from hangtag.reporting.inputs import Inputs

MAX_ROWS = 200


def build_labels(inputs: Inputs) -> dict[str, Any]:
    """Give the rules, a line for every relabelled or Unknown item, class counts and the balance table."""
    folder = inputs.workspace.labels
    changes = _read_changes(inputs)
    relabelled = changes.filter((pl.col("rule") == "relabel") & (pl.col("new") != UNKNOWN))
    unknown = changes.filter((pl.col("rule") == "relabel") & (pl.col("new") == UNKNOWN))
    dropped = changes.filter(pl.col("rule") == "drop_rare")
    rules = inputs.clean_manifest.get("taxonomy", {}).get("rules", [])
    return {
        "label_name": inputs.labelled.schema.label_name,
        # Labels that an earlier hangtag cleaned do not tell their rules.
        "rules": rules,
        "settings": inputs.clean_manifest["settings"],
        "names_matcher": inputs.clean_manifest.get("names_matcher") or {},
        "has_names": inputs.labelled.schema.name is not None,
        "relabelled": relabelled.head(MAX_ROWS).to_dicts(),
        "num_relabelled": len(relabelled),
        "unknown": unknown.head(MAX_ROWS).to_dicts(),
        "num_unknown": len(unknown),
        "num_missing": int((changes["rule"] == "missing").sum()),
        "missing_level": rules[0]["level"] if rules else inputs.labelled.schema.levels[-1],
        "dropped": dropped.head(MAX_ROWS).to_dicts(),
        "num_dropped": len(dropped),
        "class_counts": _read_class_counts(inputs),
        "balance": _list_balance(inputs, read_json(folder / "balance.json")),
        "beside": inputs.capstone,
    }


def _read_changes(inputs: Inputs) -> pl.DataFrame:
    """Read the change table with each item's name and finest level as delivered."""
    changes = read_csv(inputs.workspace.labels / "label_changes.csv", infer_schema=False)
    schema, items = inputs.prepared.schema, inputs.prepared.items
    name = pl.col(schema.name) if schema.name else pl.lit("")
    given = items.select("item_id", name.alias("name"), pl.col(schema.levels[-1]).alias("given_label"))
    scores = changes.with_columns(pl.col("score").cast(pl.Float64, strict=False))
    return scores.join(given, on="item_id", how="left", maintain_order="left")


def _read_class_counts(inputs: Inputs) -> list[dict[str, Any]]:
    counts = read_csv(inputs.workspace.labels / "class_counts.csv", schema_overrides={"label": pl.String}).sort(
        ["after_relabeling", "label"], descending=[True, False]
    )
    beside = inputs.capstone["class_counts"] if inputs.capstone else {}
    return [row | {"beside": beside.get(row["label"])} for row in counts.to_dicts()]


def _list_balance(inputs: Inputs, balance: dict[str, Any]) -> list[dict[str, Any]]:
    beside = inputs.capstone["balance"] if inputs.capstone else {}
    return [
        {"rows": rows, "n": part["n"], "column": column, "beside": beside.get(rows, {}).get(column), **values}
        for rows, part in balance.items()
        for column, values in part["columns"].items()
    ]
