"""Write the cleaned catalogue as an image folder of Hugging Face, which hangtag reads as a catalogue too.

Each split is a folder of photographs with a `metadata.parquet`. The label and the levels are numbers of classes, whose
names stand in the file's metadata as the library `datasets` writes them. Source of the format: "Create an image
dataset" in the documentation of `datasets`, and its `folder_based_builder`.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from hangtag.catalog.prepared_items import read_prepared
from hangtag.catalog.schema import CatalogSchema
from hangtag.errors import CatalogError, WorkspaceError
from hangtag.exchanging.photographs import ORIGINAL, Photographs
from hangtag.io import JsonObject, hash_json, write_json, write_text, write_whole
from hangtag.labels.dataset import CLEAN_FIRST, UNKNOWN, LabeledItems, read_labeled_items, read_reviewed
from hangtag.manifest import StageRecord, read_manifest, require_manifest
from hangtag.results import StageResult
from hangtag.reviewing.decision_store import read_decisions
from hangtag.reviewing.items import read_items
from hangtag.reviewing.store import digest_decisions
from hangtag.settings import format_toml_value
from hangtag.workspace import Workspace

if TYPE_CHECKING:
    from arro3.core import Array, Field

METADATA, DESCRIPTION, CARD, LEFT_OUT = "metadata.parquet", "catalog.toml", "README.md", "left_out.json"
# The folder of each split, as Hugging Face calls them.
FOLDERS = {"train": "train", "val": "validation", "test": "test"}
FILE_NAME, LABEL, SPLIT, PHOTOGRAPH = OWN = ("file_name", "label", "split", "photograph")
# Headings that mean something else to readers of image folders: paths of further pictures, and hangtag's own columns.
TAKEN = frozenset({*OWN, "file_names", "image", "images", "split_name", "split_path"})
TAKEN_ENDINGS = ("_file_name", "_file_names")
HUGGING_FACE = "huggingface"


def write_image_folder(workspace: Workspace, target: Path) -> StageResult:
    """Write the labelled items of each split with their photographs.

    Writes a folder for each split, `catalog.toml`, by which hangtag reads the folder with the same columns, `README.md`
    (the card of the data set), and `left_out.json`, a list of the items without a split, with the reason.

    Raises:
        WorkspaceError: Nothing is cleaned, or decisions of the review are not in the labels yet.
        CatalogError: No item has a split.
    """
    labelled = read_labeled_items(workspace)
    _check_reviewed(workspace)
    record = StageRecord("exchange", target, {"labels": labelled.digest}, {"tool": "hugging-face"})
    if current := record.load_if_unchanged():
        return current
    table = labelled.table.filter(pl.col("split").is_not_null())
    if table.is_empty():
        raise CatalogError("No item has a split, so that there is none to write.", hint="Run `hangtag clean` again.")
    work = record.begin()
    prepared = read_prepared(workspace)
    columns = _Columns(labelled, prepared.schema)
    photographs = Photographs(read_items(workspace), workspace)
    counts: Counter[str] = Counter()
    paths: list[Path] = []
    digits = len(str(len(table)))
    for split, folder in FOLDERS.items():
        rows = table.with_row_index("row").filter(pl.col("split") == split)
        if rows.is_empty():
            continue
        files, kinds = [], []
        for number, item_id in rows.select("row", "item_id").iter_rows():
            path, kind = photographs.copy(item_id, work / folder, f"{number:0{digits}}")
            files.append(path)
            kinds.append(kind)
        counts[split] = len(rows)
        counts.update(f"photographs_{kind}" for kind in kinds)
        _write_metadata(work / folder / METADATA, columns, rows, [path.name for path in files], kinds)
        paths += [*files, work / folder / METADATA]
    left_out = _list_left_out(prepared.items["item_id"].to_list(), labelled)
    paths += _write_descriptions(work, columns, prepared.taxonomy_text, counts, left_out)
    result: JsonObject = {"items": len(table), **counts, "left_out": len(left_out)}
    if others := len(prepared.others):
        result["other_photographs_left_out"] = others
    if columns.left_out:
        result["columns_left_out"] = columns.left_out
    if columns.renamed:
        result["columns_renamed"] = [f"{old} to {new}" for old, new in columns.renamed.items()]
    return record.finish(result, paths)


def _check_reviewed(workspace: Workspace) -> None:
    """Check that the labels contain all decisions of the review.

    Raises:
        WorkspaceError: There are decisions that `apply` or `clean` has not seen.
    """
    decisions = read_decisions(workspace)
    applied = (read_manifest(workspace.review) or {"inputs": {}})["inputs"].get("decisions")
    if decisions and applied != digest_decisions(decisions):
        raise WorkspaceError(
            "There are decisions of the review that the labels do not contain.",
            hint="Run `hangtag apply` and `hangtag clean` with this workspace first.",
        )
    review = read_reviewed(workspace)
    if require_manifest(workspace.labels, CLEAN_FIRST)["inputs"].get("review") != (
        hash_json(review) if review else None
    ):
        raise WorkspaceError(
            "There are changes of the review that the labels do not contain.",
            hint="Run `hangtag clean` with this workspace first.",
        )


class _Columns:
    """The columns of the metadata: the catalogue's own, by the headings that they have there.

    Attributes:
        schema: The meaning of the catalogue's columns.
        names: The heading of each written column, by its name in hangtag's tables.
        classes: The names of the classes of each column that has some, in alphabetical order, by its heading.
        left_out: Headings of columns that mean nothing in the folder: paths of photographs, splits, category paths.
        renamed: Headings that are written otherwise, since they mean something else there.
    """

    def __init__(self, labelled: LabeledItems, schema: CatalogSchema) -> None:
        self.schema = schema
        dropped = {*schema.image_columns, *filter(None, (schema.split, schema.path_column))}
        self.left_out = [schema.find_heading(column) for column in schema.columns if column in dropped]
        self.names: dict[str, str] = {}
        for column in schema.columns:
            if column not in dropped:
                self.names[column] = self._find_free(schema.find_heading(column))
        self.renamed = {
            schema.find_heading(column): name
            for column, name in self.names.items()
            if name != schema.find_heading(column)
        }
        table = labelled.table.filter(pl.col("split").is_not_null())
        self.classes = {LABEL: [*labelled.class_names]}
        for level in schema.levels:
            self.classes[self.names[level]] = table[level].drop_nulls().unique().sort().to_list()

    def _find_free(self, heading: str) -> str:
        """Return a heading that no other column has, and that readers of image folders take for nothing else."""
        taken = {*self.schema.headings, *self.names.values()} - {heading}
        name = heading
        while name in TAKEN or name in taken or name.endswith(TAKEN_ENDINGS):
            name = f"catalog_{name.removesuffix('_file_name').removesuffix('_file_names')}"
        return name

    def describe_features(self) -> JsonObject:
        """Return the types of the columns as `datasets` notes them."""
        names = [FILE_NAME, LABEL, *self.names.values(), SPLIT, PHOTOGRAPH]
        return {
            name: {"names": self.classes[name], "_type": "ClassLabel"}
            if name in self.classes
            else {"dtype": "string", "_type": "Value"}
            for name in names
        }


def _write_metadata(
    path: Path, columns: _Columns, rows: pl.DataFrame, files: Sequence[str], kinds: Sequence[str]
) -> None:
    from arro3.core import Schema, Table  # noqa: PLC0415  (slow to import)
    from arro3.io import write_parquet  # noqa: PLC0415

    values: dict[str, list[str | None]] = {FILE_NAME: [*files], LABEL: rows["label"].to_list()}
    for column, name in columns.names.items():
        # The table's own cell of an id may have white space around it.
        source = "item_id" if column == columns.schema.id else column
        values[name] = rows[source].cast(pl.String).to_list()
    values |= {SPLIT: rows["split"].to_list(), PHOTOGRAPH: [*kinds]}
    built = [_build_column(name, each, columns.classes.get(name)) for name, each in values.items()]
    note = json.dumps({"info": {"features": columns.describe_features()}}, ensure_ascii=False)
    schema = Schema([field for field, _ in built], metadata={HUGGING_FACE: note})
    with write_whole(path) as temporary:
        # Without the second note, only readers of Arrow's schema would find the classes.
        write_parquet(
            Table.from_arrays([array for _, array in built], schema=schema),
            temporary,
            compression="snappy",
            key_value_metadata={HUGGING_FACE: note},
        )


def _build_column(name: str, values: Sequence[str | None], classes: Sequence[str] | None) -> "tuple[Field, Array]":
    from arro3.core import Array, DataType, Field  # noqa: PLC0415

    if classes is None:
        return Field(name, DataType.string()), Array(values, DataType.string())
    numbers = {value: number for number, value in enumerate(classes)}
    return Field(name, DataType.int64()), Array(
        [None if value is None else numbers[value] for value in values], DataType.int64()
    )


def _list_left_out(item_ids: Sequence[str], labelled: LabeledItems) -> list[JsonObject]:
    """List the prepared items that are in no split, with the reason."""
    splits = dict(zip(labelled.table["item_id"], labelled.table["split"], strict=True))
    labels = dict(zip(labelled.table["item_id"], labelled.table["label"], strict=True))
    lines = []
    for item_id in item_ids:
        if splits.get(item_id):
            continue
        reason = "`hangtag clean` left it out; labels/label_changes.csv says which rule"
        if item_id in labels:
            reason = "its label is Unknown" if labels[item_id] == UNKNOWN else "a duplicate of it is in another split"
        lines.append({"item_id": item_id, "reason": reason})
    return lines


def _write_descriptions(
    work: Path, columns: _Columns, taxonomy: str, counts: Counter[str], left_out: Sequence[JsonObject]
) -> list[Path]:
    """Write what describes the folder, and return the files."""
    written = [split for split in FOLDERS if counts[split]]
    entries = _describe_catalog(columns, bool(taxonomy), is_single=len(written) == 1)
    lines = ["# What the columns mean to hangtag; written by `hangtag exchange hugging-face`."]
    lines += [f"{key} = {format_toml_value(value)}" for key, value in entries.items()]
    write_text(work / DESCRIPTION, "\n".join(lines) + "\n")
    write_text(work / CARD, _write_card(columns, counts, written))
    write_json(work / LEFT_OUT, list(left_out))
    paths = [work / DESCRIPTION, work / CARD, work / LEFT_OUT]
    if taxonomy:
        write_text(work / "taxonomy.toml", taxonomy)
        paths.append(work / "taxonomy.toml")
    return paths


def _describe_catalog(columns: _Columns, has_taxonomy: bool, *, is_single: bool) -> dict[str, object]:
    schema = columns.schema
    entries: dict[str, object] = {"id": columns.names[schema.id]}
    if schema.name:
        entries["name"] = columns.names[schema.name]
    entries["levels"] = tuple(columns.names[level] for level in schema.levels)
    if schema.attributes:
        entries["attributes"] = tuple(columns.names[name] for name in schema.attributes)
    if schema.group:
        entries["group"] = columns.names[schema.group]
    entries["split"] = SPLIT
    if is_single:
        # With several splits, hangtag makes the paths of the names of files and of their folders.
        entries["image_column"] = FILE_NAME
    if schema.missing != CatalogSchema.missing:
        entries["missing"] = schema.missing
    taxonomy = "taxonomy.toml" if has_taxonomy else "" if schema.taxonomy.endswith(".toml") else schema.taxonomy
    return entries | ({"taxonomy": taxonomy} if taxonomy else {})


def _write_card(columns: _Columns, counts: Counter[str], written: Sequence[str]) -> str:
    names = columns.names
    levels = ", ".join(f"`{names[level]}`" for level in columns.schema.levels)
    splits = "\n".join(f"| `{FOLDERS[split]}` | {counts[split]:,} |" for split in written)
    originals, prepared = (counts[f"photographs_{kind}"] for kind in (ORIGINAL, "prepared"))
    return f"""\
# A catalogue, cleaned by hangtag

    from datasets import load_dataset
    data = load_dataset("imagefolder", data_dir="this folder")

| split | products |
| --- | --- |
{splits}

`label` is the cleaned category, one of {len(columns.classes[LABEL])}. The levels, from coarse to fine: {levels}.
All of these are numbers of classes, with their names. `{names[columns.schema.id]}` is the product's id. The other
columns are those of the catalogue.

The column `{PHOTOGRAPH}` says which file is there: `original` is the catalogue's own file ({originals:,} products),
`prepared` the pixels that hangtag prepared, as lossless PNG ({prepared:,} products). Of a product with several
photographs the first is here. Duplicates are in one split. `{LEFT_OUT}` lists the products without a split.
"""
