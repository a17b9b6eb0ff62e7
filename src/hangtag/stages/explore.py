"""Stage `explore`: counts, sunbursts, balance, contact sheets and image statistics, each with its table."""

from pathlib import Path
from typing import Any

import polars as pl

from hangtag.catalog.prepared_items import Prepared, read_prepared
from hangtag.config import ExploreConfig
from hangtag.console import track
from hangtag.errors import WorkspaceError
from hangtag.figures.contact_sheet import draw_items
from hangtag.figures.counts import (
    count_items,
    count_paths,
    count_sizes,
    count_splits,
    count_values,
    describe_pictures,
    draw_contact_sheet,
    fill_missing,
    find_rows,
    plot_channels,
    plot_counts,
    plot_splits,
    plot_sunburst,
    save_figure,
    slug,
)
from hangtag.io import hash_file, read_json, write_csv
from hangtag.labels.dataset import CLEAN_FIRST, LabeledItems, read_labeled_items
from hangtag.lock import hold
from hangtag.manifest import StageRecord
from hangtag.results import StageResult
from hangtag.workspace import Workspace

SHEET_PICTURE_HEIGHT = 160
BALANCE = {
    "rows": pl.String,
    "column": pl.String,
    "num_values": pl.Int64,
    "n": pl.Int64,
    "balance": pl.Float64,
}


def explore(
    workspace: str | Path | Workspace,
    config: ExploreConfig = ExploreConfig(),  # noqa: B008  (frozen)
) -> StageResult:
    """Plot counts, balance and samples of a catalogue.

    Writes into `exploration/`, each figure (.png or .html) beside the table it is drawn from (.csv):
    `counts_*`, `sunburst_*`, `balance`, `counts_split`, `contact_sheets`, `mean_pictures` and
    `image_statistics`, `image_sizes`. Missing values are counted as `(missing)`.

    Raises:
        WorkspaceError: The workspace is not prepared and cleaned.
    """
    workspace = Workspace.at(workspace)
    with hold("explore", workspace, reads=[workspace.prepared, workspace.labels], writes=[workspace.exploration]):
        return _explore_catalog(workspace, config)


def _explore_catalog(workspace: Workspace, config: ExploreConfig) -> StageResult:
    prepared, labelled = read_prepared(workspace), read_labeled_items(workspace)
    balance = _find_balance(workspace)
    inputs = {"prepared": prepared.digest, "labels": labelled.digest, "balance": hash_file(balance)}
    record = StageRecord("explore", workspace.exploration, inputs, config)
    if current := record.load_if_unchanged():
        return current
    folder = record.begin()
    outputs = [
        *_write_given(folder, prepared),
        *_write_cleaned(folder, labelled),
        *_write_balance(folder, balance),
        *_write_pictures(folder, labelled),
        *_write_sheets(folder, labelled, config),
    ]
    return record.finish(_count_outputs(prepared, labelled, outputs), sorted(set(outputs)))


def _write_given(folder: Path, prepared: Prepared) -> list[Path]:
    """Write the figures of the labels and photographs as they were delivered."""
    levels, find_heading = prepared.schema.levels, prepared.schema.find_heading
    items = fill_missing(prepared.items, levels, prepared.schema.missing)
    outputs = []
    for level in levels:
        counts = count_values(items, level)
        figure = plot_counts(counts, "value", f"Items in each {find_heading(level)}, as delivered")
        outputs += _write_both(folder / f"counts_{slug(level)}.png", counts, figure)
    paths = count_paths(items, levels)
    figure = plot_sunburst(paths, levels, "Labels as delivered: " + " › ".join(map(find_heading, levels)))
    outputs += _write_both(folder / "sunburst_given.html", paths, figure)
    sizes = count_sizes(prepared.items)
    named = sizes.with_columns(value=pl.format("{} × {} {}", *sizes.columns[:3]))
    figure = plot_counts(named, "value", "Photographs of each width × height and mode, as delivered")
    return outputs + _write_both(folder / "image_sizes.png", sizes, figure)


def _write_cleaned(folder: Path, labelled: LabeledItems) -> list[Path]:
    """Write the figures of the cleaned label and its splits."""
    name, level = labelled.schema.label_name, labelled.schema.levels[-1]
    items = fill_missing(labelled.table, [level], labelled.schema.missing).with_columns(pl.col("label").alias(name))
    counts = count_values(items, name)
    figure = plot_counts(counts, "value", f"Items in each {name}, cleaned")
    outputs = _write_both(folder / f"counts_{slug(name)}.png", counts, figure)
    paths = count_paths(items, [name, level])
    figure = plot_sunburst(paths, [name, level], f"Cleaned labels: {name} › {labelled.schema.find_heading(level)}")
    outputs += _write_both(folder / f"sunburst_{slug(name)}.html", paths, figure)
    splits = count_splits(labelled.table)
    figure = plot_splits(splits, f"Items of each {name} in train, val and test")
    return outputs + _write_both(folder / "counts_split.png", splits, figure)


def _find_balance(workspace: Workspace) -> Path:
    path = workspace.labels / "balance.json"
    if not path.is_file():
        raise WorkspaceError("labels/balance.json of this workspace is missing.", hint=CLEAN_FIRST)
    return path


def _write_balance(folder: Path, balance: Path) -> list[Path]:
    """Write the balance of every column, before and after cleaning, as one table."""
    described = read_json(balance)
    lines = [
        (rows, column, figures["num_values"], described[rows]["n"], figures["balance"])
        for rows in described
        for column, figures in described[rows]["columns"].items()
    ]
    path = folder / "balance.csv"
    write_csv(path, pl.DataFrame(lines, schema=BALANCE, orient="row"))
    return [path]


def _write_pictures(folder: Path, labelled: LabeledItems) -> list[Path]:
    """Write the mean picture, colour and contrast of every class."""
    table, pictures = describe_pictures(labelled.images, find_rows(labelled.table))
    captions = [f"{label}\n{count_items(n)}" for label, n in table.select("label", "n").iter_rows()]
    name = labelled.schema.label_name
    sheet = draw_contact_sheet(
        [*pictures.values()], captions, 6, _pick_scale(labelled), f"The mean picture of each {name}"
    )
    figure = plot_channels(table, f"Mean colour of the photographs of each {name}")
    return [
        *save_figure(sheet, folder / "mean_pictures.png"),
        *_write_both(folder / "image_statistics.png", table, figure),
    ]


def _write_sheets(folder: Path, labelled: LabeledItems, config: ExploreConfig) -> list[Path]:
    """Write a page of photographs for every class, and the list of what is on them."""
    drawn = draw_items(labelled.table, config.sheet_items, config.sheet_seed)
    totals = dict(labelled.table["label"].value_counts().iter_rows())
    groups = drawn.partition_by("label", maintain_order=True)
    outputs = [folder / "contact_sheets.csv"]
    write_csv(outputs[0], drawn.select("label", "position", "item_id"))
    for items in track(groups, "Drawing contact sheets", len(groups), "sheets"):
        label = items["label"][0]
        path = folder / "contact_sheets" / f"{slug(label)}.png"
        outputs += save_figure(
            _draw_sheet(items, labelled, f"{label} · {_format_count(len(items), totals[label])}"), path
        )
    return outputs


def _draw_sheet(items: pl.DataFrame, labelled: LabeledItems, title: str) -> Any:
    name = labelled.schema.name
    names = items[name].fill_null("").to_list() if name else [""] * len(items)
    captions = [
        f"{text}\n{item_id}" if text else item_id for text, item_id in zip(names, items["item_id"], strict=True)
    ]
    images = [labelled.images[row] for row in items["image_index"]]
    return draw_contact_sheet(images, captions, 5, _pick_scale(labelled), title)


def _format_count(shown: int, total: int) -> str:
    return count_items(total) if shown == total else f"{shown:,} of {count_items(total)}"


def _pick_scale(labelled: LabeledItems) -> int:
    height: int = labelled.images.shape[1]
    return max(1, round(SHEET_PICTURE_HEIGHT / height))


def _write_both(path: Path, table: pl.DataFrame, figure: Any) -> list[Path]:
    """Write a figure and, as CSV of the same stem, the table it is drawn from."""
    write_csv(path.with_suffix(".csv"), table)
    return [path.with_suffix(".csv"), *save_figure(figure, path)]


def _count_outputs(prepared: Prepared, labelled: LabeledItems, outputs: list[Path]) -> dict[str, int]:
    return {
        "items": len(prepared.items),
        "labelled": len(labelled.table),
        "labels": labelled.table["label"].n_unique(),
        "figures": sum(path.suffix in (".png", ".html") for path in outputs),
    }
