"""Build chapters of the report: data sources, labels, exploration and splits.

Each `build_*` function returns the values that the template of its chapter shows.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import polars as pl

from hangtag.catalog.missing_values import BLANK
from hangtag.catalog.prepared_items import find_missing
from hangtag.figures.counts import slug
from hangtag.io import read_csv, read_json
from hangtag.labels.dataset import UNKNOWN
from hangtag.reporting.charts import Bar, build_bars, build_sunburst
from hangtag.reporting.format import Context, embed_picture
from hangtag.reporting.inputs import Inputs
from hangtag.train_config import SPLITS

# The maximum number of rejected rows, and of changed labels, that the page lists.
MAX_REJECTED_ROWS, MAX_CHANGE_ROWS = 100, 200


def build_sources(inputs: Inputs) -> Context:
    """Return the columns of the catalogue with their roles, the counts, the image sizes and the rejected rows."""
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
        "num_levels": len(schema.levels),
        "columns": [_describe_column(inputs, column) for column in schema.columns],
        "counts": inputs.prepare_manifest["counts"],
        "height": height,
        "width": width,
        "sizes": sizes.head(12).to_dicts(),
        "more_sizes": max(0, len(sizes) - 12),
        "rejected": rejected.head(MAX_REJECTED_ROWS).to_dicts(),
        "num_rejected": len(rejected),
        "capstone": inputs.capstone["catalog"] if inputs.capstone else None,
    }


def _describe_column(inputs: Inputs, column: str) -> Context:
    schema = inputs.prepared.schema
    values = inputs.prepared.items[column].cast(pl.String)
    if column in (*schema.levels, *schema.attributes):
        values = values.str.strip_chars(BLANK)
    is_missing = find_missing(values, schema.missing)
    return {
        "name": schema.find_heading(column),
        "role": _name_role(inputs, column),
        "values": values.filter(~is_missing).n_unique(),
        "missing": int(is_missing.sum()),
        "capstone": inputs.capstone["catalog"]["values"].get(column) if inputs.capstone else None,
    }


def _name_role(inputs: Inputs, column: str) -> str:
    schema = inputs.prepared.schema
    if column in schema.levels:
        several = f" level {schema.levels.index(column) + 1} of {len(schema.levels)}" if len(schema.levels) > 1 else ""
        return f"label{several}{'' if schema.table else ', the folder'}"
    roles = {schema.id: "id", schema.name: "name", schema.split: "given split"}
    roles |= dict.fromkeys(schema.image_columns, "photograph")
    return roles.get(column) or ("attribute" if column in schema.attributes else "")


def build_labels(inputs: Inputs) -> Context:
    """Return the label rules, a row for every relabelled or Unknown item, the class counts and the balance."""
    folder = inputs.workspace.labels
    changes = _read_changes(inputs)
    relabelled = changes.filter((pl.col("rule") == "relabel") & (pl.col("new") != UNKNOWN))
    unknown = changes.filter((pl.col("rule") == "relabel") & (pl.col("new") == UNKNOWN))
    dropped = changes.filter(pl.col("rule") == "drop_rare")
    find_heading = inputs.labelled.schema.find_heading
    rules = [_head_levels(rule, find_heading) for rule in inputs.clean_manifest.get("taxonomy", {}).get("rules", [])]
    return {
        "label_name": inputs.labelled.schema.label_name,
        # Earlier versions did not record the rules.
        "rules": rules,
        "settings": inputs.clean_manifest["settings"],
        "names_matcher": inputs.clean_manifest.get("names_matcher") or {},
        "has_names": inputs.labelled.schema.name is not None,
        "num_levels": len(inputs.labelled.schema.levels),
        "leaf": find_heading(inputs.labelled.schema.levels[-1]),
        "relabelled": relabelled.head(MAX_CHANGE_ROWS).to_dicts(),
        "num_relabelled": len(relabelled),
        "unknown": unknown.head(MAX_CHANGE_ROWS).to_dicts(),
        "num_unknown": len(unknown),
        "num_missing": int((changes["rule"] == "missing").sum()),
        "missing_level": rules[0]["level"] if rules else find_heading(inputs.labelled.schema.levels[-1]),
        "dropped": dropped.head(MAX_CHANGE_ROWS).to_dicts(),
        "num_dropped": len(dropped),
        "class_counts": _read_class_counts(inputs),
        "balance": _list_balance_rows(inputs, read_json(folder / "balance.json")),
        "capstone": inputs.capstone,
    }


def _head_levels(rule: Mapping[str, Any], find_heading: Callable[[str], str]) -> Context:
    """Return a label rule with its levels as the table heads them."""
    return {key: find_heading(value) if key in ("level", "within") else value for key, value in rule.items()}


def _read_changes(inputs: Inputs) -> pl.DataFrame:
    """Read the change table, with each item's name and leaf level as delivered."""
    changes = read_csv(inputs.workspace.labels / "label_changes.csv", infer_schema=False)
    schema, items = inputs.prepared.schema, inputs.prepared.items
    name = pl.col(schema.name) if schema.name else pl.lit("")
    given = items.select("item_id", name.alias("name"), pl.col(schema.levels[-1]).alias("given_label"))
    scores = changes.with_columns(pl.col("score").cast(pl.Float64, strict=False))
    return scores.join(given, on="item_id", how="left", maintain_order="left")


def _read_class_counts(inputs: Inputs) -> list[Context]:
    counts = read_csv(inputs.workspace.labels / "class_counts.csv", schema_overrides={"label": pl.String}).sort(
        ["after_relabeling", "label"], descending=[True, False]
    )
    capstone = inputs.capstone["class_counts"] if inputs.capstone else {}
    return [row | {"capstone": capstone.get(row["label"])} for row in counts.to_dicts()]


def _list_balance_rows(inputs: Inputs, balance: Context) -> list[Context]:
    capstone = inputs.capstone["balance"] if inputs.capstone else {}
    return [
        {"rows": rows, "n": part["n"], "column": column, "capstone": capstone.get(rows, {}).get(column), **values}
        for rows, part in balance.items()
        for column, values in part["columns"].items()
    ]


def build_exploration(inputs: Inputs) -> Context | None:
    """Return the count charts, two sunbursts and the contact sheets, or None if `explore` has not run."""
    if not inputs.is_explored:
        return None
    schema, folder = inputs.labelled.schema, inputs.workspace.exploration
    columns = (*schema.levels, schema.label_name)
    return {
        "levels": [*map(schema.find_heading, schema.levels)],
        "label_name": schema.label_name,
        "charts": [{"column": schema.find_heading(column), "bars": _read_bars(inputs, column)} for column in columns],
        "sunbursts": _build_sunbursts(inputs),
        "sheets": _embed_sheets(inputs),
        "mean_pictures": embed_picture(
            folder / "mean_pictures.png", "The mean photograph of each class, with its label."
        ),
        "statistics": _read_statistics(inputs),
    }


def _read_bars(inputs: Inputs, column: str) -> list[Bar]:
    table = _read_exploration_table(inputs, f"counts_{slug(column)}.csv")
    if table is None:
        return []
    return build_bars(table["value"].fill_null("").to_list(), table["count"].cast(pl.Int64).to_list())


def _read_exploration_table(inputs: Inputs, name: str) -> pl.DataFrame | None:
    """Read a table of `explore` as text, or return None if there is none, as in a catalogue of one level."""
    path = inputs.workspace.exploration / name
    return read_csv(path, infer_schema=False) if path.is_file() else None


def _build_sunbursts(inputs: Inputs) -> list[Context]:
    """Return the sunbursts that have a hierarchy to show: several levels, or a label that is not simply the level."""
    schema = inputs.labelled.schema
    files = (
        ("sunburst_given.csv", schema.levels),
        (f"sunburst_{slug(schema.label_name)}.csv", (schema.label_name, schema.levels[-1])),
    )
    sunbursts = []
    for name, path_columns in files:
        table = _read_exploration_table(inputs, name)
        if table is not None and not table.is_empty() and _has_hierarchy(table, path_columns):
            counted = table.with_columns(pl.col("count").cast(pl.Int64))
            ordered = counted.sort("count", descending=True, maintain_order=True)
            sunbursts.append(
                {
                    "columns": [*map(schema.find_heading, path_columns)],
                    "is_given": path_columns == schema.levels,
                    "trace": build_sunburst(counted, path_columns),
                    "rows": ordered.select(*path_columns, "count").rows(),
                }
            )
    return sunbursts


def _has_hierarchy(table: pl.DataFrame, path_columns: Sequence[str]) -> bool:
    """Return whether some value on a ring is divided, or differs from the one inside it."""
    return any(table[inner].ne_missing(table[outer]).any() for inner, outer in pairwise(path_columns))


def _embed_sheets(inputs: Inputs) -> list[Context]:
    sheets = inputs.workspace.exploration / "contact_sheets"
    listed = _read_exploration_table(inputs, "contact_sheets.csv")
    labels = [] if listed is None else listed["label"].unique().sort().to_list()
    embedded = (
        (label, embed_picture(sheets / f"{slug(label)}.png", f"Photographs of items with the label {label}."))
        for label in labels
    )
    return [{"label": label, "picture": picture} for label, picture in embedded if picture]


def _read_statistics(inputs: Inputs) -> list[Context]:
    table = _read_exploration_table(inputs, "image_statistics.csv")
    if table is None:
        return []
    numbers = [column for column in table.columns if column != "label"]
    return table.with_columns(pl.col(numbers).cast(pl.Float64)).to_dicts()


def build_splits(inputs: Inputs) -> Context:
    """Return the size of each split, the items of each class in it, and the counts of duplicates."""
    table = inputs.labelled.table
    known = table.filter(pl.col("split").is_not_null())
    sizes = dict(known["split"].value_counts().iter_rows())
    settings, counts = inputs.clean_manifest["settings"], inputs.clean_manifest["counts"]
    return {
        "sizes": [
            {"split": split, "n": sizes.get(split, 0), "share": sizes.get(split, 0) / max(1, len(known))}
            for split in SPLITS
        ],
        "n": len(known),
        "num_outside": len(table) - len(known),
        "seed": settings.get("split_seed"),
        "test_where": settings.get("test_where", ""),
        "num_taken_out": counts.get("taken_out_of_splits", 0),
        "num_untrained": counts.get("labels_not_in_train", 0),
        "fractions": settings.get("split_fractions"),
        "max_hash_distance": settings.get("max_hash_distance"),
        "is_given": bool(inputs.prepared.items["given_split"].is_not_null().any()),
        "sample": settings.get("sample", 0),
        "classes": _count_classes(inputs, known),
        "duplicates": _count_duplicates(table, known),
        "color_modes": sorted({run.color_mode for run in inputs.runs}),
        "flips": sorted({bool(run.settings.get("flip")) for run in inputs.runs}),
        "is_varied": any(run.settings.get(key) for run in inputs.runs for key in ("max_shift", "zoom", "brightness")),
        "flip_averages": sorted({bool(run.settings.get("tta_flip")) for run in inputs.runs}),
        "keeps_best": sorted({run.keeps_best for run in inputs.runs}),
        "capstone": inputs.capstone["splits"] if inputs.capstone else None,
    }


def _count_classes(inputs: Inputs, known: pl.DataFrame) -> list[Context]:
    counts = {(label, split): n for label, split, n in known.group_by("label", "split").len().iter_rows()}
    return [
        {"label": label, "counts": [counts.get((label, split), 0) for split in SPLITS]}
        for label in inputs.labelled.class_names
    ]


def _count_duplicates(table: pl.DataFrame, known: pl.DataFrame) -> dict[str, int]:
    groups = table.group_by("group_id").agg(n=pl.len(), labels=pl.col("label").n_unique())
    several = groups.filter(pl.col("n") > 1)
    same_pixels = table.group_by("pixel_hash").len().filter(pl.col("len") > 1)
    sides = known.group_by("group_id").agg(sides=pl.col("split").n_unique())
    return {
        "groups": len(several),
        "items": int(several["n"].sum()),
        "largest": int(several["n"].max() or 0),  # type: ignore[arg-type]  # a count
        "disagreeing": int((several["labels"] > 1).sum()),
        "same_pixel_groups": len(same_pixels),
        "same_pixel_items": int(same_pixels["len"].sum()),
        "on_two_sides": int((sides["sides"] > 1).sum()),
    }
