"""Chapter 1, data sources: the table, its columns, its photographs, and what could not be read."""

from typing import Any

import polars as pl

from hangtag.artifacts import read_csv
from hangtag.catalog.missing_cells import find_missing
from hangtag.reporting.inputs import Inputs

MAX_ROWS = 100


def build_sources(inputs: Inputs) -> dict[str, Any]:
    """Give the catalogue's columns with their roles, its counts, the photographs' sizes and the rejects."""
    items, schema = inputs.prepared.items, inputs.prepared.schema
    rejected = read_csv(inputs.workspace.prepared / "rejected.csv", infer_schema=False)
    sizes = (
        items.group_by("image_width", "image_height", "image_mode")
        .len("count")
        .sort(["count", "image_width", "image_height", "image_mode"], descending=[True, False, False, False])
    )
    height, width = inputs.prepared.images.shape[1:3]
    return {
        "table": schema.table,
        "columns": [_describe_column(inputs, column) for column in schema.columns],
        "counts": inputs.prepare_manifest["counts"],
        "height": height,
        "width": width,
        "sizes": sizes.head(12).to_dicts(),
        "more_sizes": max(0, len(sizes) - 12),
        "rejected": rejected.head(MAX_ROWS).to_dicts(),
        "num_rejected": len(rejected),
        "beside": inputs.capstone["catalog"] if inputs.capstone else None,
    }


def _describe_column(inputs: Inputs, column: str) -> dict[str, Any]:
    schema = inputs.prepared.schema
    values = inputs.prepared.items[column].cast(pl.String)
    is_missing = find_missing(values, schema.missing)
    return {
        "name": column,
        "role": _name_role(inputs, column),
        "values": values.filter(~is_missing).n_unique(),
        "missing": int(is_missing.sum()),
        "beside": inputs.capstone["catalog"]["values"].get(column) if inputs.capstone else None,
    }


def _name_role(inputs: Inputs, column: str) -> str:
    schema = inputs.prepared.schema
    if column in schema.levels:
        return f"label level {schema.levels.index(column) + 1} of {len(schema.levels)}"
    roles = {schema.id: "id", schema.name: "name", schema.image_column: "photograph", schema.split: "given split"}
    return roles.get(column) or ("attribute" if column in schema.attributes else "")
