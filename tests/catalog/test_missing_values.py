"""Test which cells count as missing, and that the delivered cells are unchanged."""

from pathlib import Path

import polars as pl
import pytest
from drawn import draw, encode
from hypothesis import given
from hypothesis import strategies as st

from hangtag.catalog.missing_values import BLANK, SPELLINGS, is_missing, strip_blank
from hangtag.catalog.prepared_items import count_missing, find_missing, hide_missing, read_prepared
from hangtag.catalog.schema import CatalogSchema
from hangtag.config import PrepareConfig
from hangtag.io import read_json
from hangtag.labels.dataset import UNKNOWN
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

CELLS = ("", " ", "\t", "\u00a0", "\ufeff", "NA", "na ", "N/A", "n/a", "#N/A", "NaN", "NULL", "Unknown", " unknown")


@pytest.mark.parametrize("cell", [None, *CELLS])
def test_empty_unknown_and_usual_spellings_are_missing(cell: str | None) -> None:
    assert is_missing(cell)
    assert CatalogSchema().is_missing(cell)


@pytest.mark.parametrize("cell", ["None", "Other", "-", "?", "0", "Nap", "NA NA", "N / A", "Unknown brand", "Nan's"])
def test_ambiguous_words_and_signs_are_values(cell: str) -> None:
    assert not is_missing(cell)


def test_a_description_replaces_the_usual_spellings_but_not_empty_cells() -> None:
    schema = CatalogSchema(missing=("-", "None"))
    assert [schema.is_missing(each) for each in ("-", " none ", "", "unknown", "NA")] == [True, True, True, True, False]


@given(st.text(BLANK, max_size=3), st.sampled_from([*SPELLINGS, UNKNOWN]), st.text(BLANK, max_size=3), st.booleans())
def test_white_space_and_case_are_ignored(before: str, spelling: str, after: str, is_upper: bool) -> None:
    assert is_missing(before + (spelling.upper() if is_upper else spelling.lower()) + after)


@given(st.lists(st.none() | st.sampled_from(CELLS) | st.text(max_size=4)))
def test_a_column_is_treated_like_its_single_cells(cells: list[str | None]) -> None:
    values = pl.Series("kind", cells, dtype=pl.String)
    missing = [is_missing(cell) for cell in cells]
    assert find_missing(values, SPELLINGS).to_list() == missing
    hidden = hide_missing(pl.DataFrame([values]), CatalogSchema(levels=("kind",)))["kind"].to_list()
    assert hidden == [None if gone else cell and strip_blank(cell) for cell, gone in zip(cells, missing, strict=True)]


def test_only_descriptive_columns_are_hidden_and_counted() -> None:
    items = pl.DataFrame({"item_id": ["NA", "2"], "kind": ["Hat", "n/a"], "title": ["", "Unknown"], "more": ["", "x"]})
    schema = CatalogSchema(levels=("kind",), attributes=("colour",), name="title")
    assert hide_missing(items, schema).rows() == [("NA", "Hat", None, ""), ("2", None, None, "x")]
    assert count_missing(items, schema) == {"kind": 1, "title": 2}


def test_delivered_cells_are_unchanged_and_missing_ones_are_counted(tmp_path: Path) -> None:
    rows = ["id;group;kind;title"]
    for number, kind in enumerate(("Hat", *CELLS)):
        (tmp_path / "c" / "images").mkdir(parents=True, exist_ok=True)
        (tmp_path / "c" / "images" / f"{number}.png").write_bytes(encode(draw("Hat", number)))
        rows.append(f"{number};Wear;{kind};thing {number}")
    (tmp_path / "c" / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    description = {"levels": "group,kind", "name": "title", "image": "images/{id}.png"}
    result = prepare(tmp_path / "c", tmp_path / "w", PrepareConfig(image_size=(16, 12)), overrides=description)
    prepared = read_prepared(Workspace.at(tmp_path / "w"))
    assert prepared.items["kind"].to_list() == ["Hat", *CELLS]
    assert prepared.known["kind"].to_list() == ["Hat", *[None] * len(CELLS)]
    assert result.metrics["missing"] == {"kind": len(CELLS)}
    assert read_json(tmp_path / "w" / "prepared" / "manifest.json")["missing_cells"] == {"kind": len(CELLS)}
