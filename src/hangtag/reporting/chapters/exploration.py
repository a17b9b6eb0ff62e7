"""Chapter 3, exploratory analysis: counts a level, the sunbursts, and the contact sheet of every class."""

from typing import Any

import polars as pl

from hangtag.artifacts import read_csv
from hangtag.exploration.plots import slug
from hangtag.reporting.charts import Bar, build_bars
from hangtag.reporting.figures import build_sunburst
from hangtag.reporting.inputs import Inputs
from hangtag.reporting.pictures import embed_picture


def build_exploration(inputs: Inputs) -> dict[str, Any] | None:
    """Give the count charts, two sunbursts and the sheets; None where `explore` has not run."""
    if not inputs.is_explored:
        return None
    schema, folder = inputs.labelled.schema, inputs.workspace.exploration
    columns = (*schema.levels, schema.label_name)
    return {
        "levels": schema.levels,
        "label_name": schema.label_name,
        "charts": [{"column": column, "bars": _read_bars(inputs, column)} for column in columns],
        "sunbursts": _build_sunbursts(inputs),
        "sheets": _embed_sheets(inputs),
        "mean_pictures": embed_picture(
            folder / "mean_pictures.png", "The mean photograph of every class, in a grid, each under its label."
        ),
        "statistics": _read_statistics(inputs),
    }


def _read_bars(inputs: Inputs, column: str) -> list[Bar]:
    table = _read(inputs, f"counts_{slug(column)}.csv")
    if table is None:
        return []
    return build_bars(table["value"].fill_null("").to_list(), table["count"].cast(pl.Int64).to_list())


def _read(inputs: Inputs, name: str) -> pl.DataFrame | None:
    """Read a table of `explore` as text; None where it was not made, as for a catalogue of one level."""
    path = inputs.workspace.exploration / name
    return read_csv(path, infer_schema=False) if path.is_file() else None


def _build_sunbursts(inputs: Inputs) -> list[dict[str, Any]]:
    schema = inputs.labelled.schema
    wanted = (
        ("sunburst_given.csv", schema.levels),
        (f"sunburst_{slug(schema.label_name)}.csv", (schema.label_name, schema.levels[-1])),
    )
    found = []
    for name, path_columns in wanted:
        table = _read(inputs, name)
        if table is not None and not table.is_empty():
            counted = table.with_columns(pl.col("count").cast(pl.Int64))
            ordered = counted.sort("count", descending=True, maintain_order=True)
            found.append(
                {
                    "columns": path_columns,
                    "trace": build_sunburst(counted, path_columns),
                    "rows": ordered.select(*path_columns, "count").rows(),
                }
            )
    return found


def _embed_sheets(inputs: Inputs) -> list[dict[str, Any]]:
    sheets = inputs.workspace.exploration / "contact_sheets"
    listed = _read(inputs, "contact_sheets.csv")
    labels = [] if listed is None else listed["label"].unique().sort().to_list()
    embedded = (
        (label, embed_picture(sheets / f"{slug(label)}.png", f"A contact sheet of items labelled {label}."))
        for label in labels
    )
    return [{"label": label, "picture": picture} for label, picture in embedded if picture]


def _read_statistics(inputs: Inputs) -> list[dict[str, Any]]:
    table = _read(inputs, "image_statistics.csv")
    if table is None:
        return []
    numbers = [column for column in table.columns if column != "label"]
    return table.with_columns(pl.col(numbers).cast(pl.Float64)).to_dicts()
