"""Test the columns of photographs, of their outcomes, and of those that an earlier `prepare` decoded."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from hangtag.catalog import photograph_table
from hangtag.catalog.decoded_store import DecodedStore
from hangtag.catalog.photograph_table import Chunk, Decoded, Outcome, Outcomes, Photographs, Rejected, collect_texts
from hangtag.catalog.reader import RawCatalog
from hangtag.catalog.rejections import Candidate, check_rows, find_unused
from hangtag.catalog.schema import CatalogSchema
from hangtag.catalog.table import Rows
from hangtag.config import PrepareConfig
from hangtag.io import read_csv
from hangtag.stages.prepare import prepare

BAD, SHARED = Rejected("not_an_image", "it is a text"), Rejected("shared_photograph", "six have it")


def test_outcomes_are_those_that_were_added() -> None:
    added: list[Outcome] = [
        Decoded(60, 80, "RGB"),
        BAD,
        Decoded(2**31 - 1, 1, "L"),
        Rejected(BAD.code, BAD.reason),
        SHARED,
    ]
    outcomes = Outcomes()
    for each in added:
        outcomes.append(each)
    assert list(outcomes) == added
    assert outcomes[-3:] == added[-3:]
    assert outcomes.find_decoded().tolist() == [True, False, True, False, False]
    assert outcomes.describe(np.array([2, 0])).rows() == [(2**31 - 1, 1, "L"), (60, 80, "RGB")]
    outcomes.reject(2, SHARED)
    assert outcomes[2] == SHARED
    assert outcomes.find_decoded().sum() == 1
    assert not len(Outcomes().find_decoded())
    assert Outcomes().describe(np.array([], np.intp)).is_empty()


def test_texts_are_collected_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photograph_table, "PART", 3)
    texts = ["a", None, "", "ü" * 100, "b", "c", "d"]
    assert collect_texts(iter(texts)).to_list() == texts
    assert collect_texts([]).dtype == pl.String


def test_a_chunk_has_files_elsewhere_as_paths() -> None:
    paths, stamps = pl.Series(["a.jpg", "/w/b", "c.jpg"]), pl.Series(["1", "", "3"])
    photographs = Photographs(paths, np.array([False, True, False]), stamps, np.array([0, 0, 1], np.int32))
    assert photographs.take(np.array([1, 2])) == Chunk([Path("/w/b"), "c.jpg"], ["/w/b", "c.jpg"], ["", "3"])


def make_catalog(rows: list[tuple[str, str]], files: list[str]) -> RawCatalog:
    values = {"id": "id", "levels": ["id"], "image_column": "image", "image_separator": "|", "table": "t.csv"}
    schema = CatalogSchema.from_values(values | {"columns": ["id", "image"]})
    source: Any = SimpleNamespace(names=lambda: iter(files), has=lambda name: name in files)
    cells = list(map(list, zip(*rows, strict=True)))
    return RawCatalog(source, "", schema, Rows(("id", "image"), cells), lines=[10 + row for row in range(len(rows))])


def test_rows_are_checked_and_what_they_do_not_name_is_found() -> None:
    rows = [("1", "a.jpg|b.jpg"), ('="2"', ""), ("", "c.jpg"), (" 1 ", "d.jpg"), ("3", "./e.jpg|E.JPG"), ("1", "")]
    raw = make_catalog(rows, ["E.jpg", "a.jpg", "b.jpg", "c.jpg", "d.jpg", "f.PNG", "notes.txt"])
    candidates, rejected = check_rows(raw)
    assert list(candidates) == [
        Candidate(0, "1", "a.jpg", 1),
        Candidate(0, "1", "b.jpg", 2),
        Candidate(1, "2", "", 1),
        Candidate(4, "3", "./e.jpg", 1),
        Candidate(4, "3", "E.JPG", 2),
    ]
    assert [(line.item_id, line.image_path, line.code) for line in rejected] == [
        ("line 12", "c.jpg", "missing_id"),
        ("1", "d.jpg", "duplicate_id"),
        ("1", "", "duplicate_id"),
    ]
    assert rejected[2].reason == "line 15: an earlier row has the same id, line 10"
    assert find_unused(raw, candidates, rejected) == ["f.PNG"]
    assert len(check_rows(raw, 1)[0]) == 2


def test_what_was_decoded_last_is_kept(tmp_path: Path) -> None:
    source: Any = SimpleNamespace(path=tmp_path)
    config = PrepareConfig(image_size=(8, 8))
    shards = DecodedStore(tmp_path, source, config).shards
    for number, (names, stamps) in enumerate(((["a", "b"], ["1", "1"]), (["a", "c"], ["2", ""]))):
        pixels = np.full((2, 8, 8, 3), number, np.uint8) + np.arange(2, dtype=np.uint8)[:, None, None, None] * 10
        shards.save(Chunk(names, names, stamps), [Decoded(number, 8, "RGB")] * 2, pixels)
    store = DecodedStore(tmp_path, source, config)
    asked = [("b", "1"), ("c", ""), ("d", "1"), ("b", "2"), ("b", "1")]
    positions = store.find(*(pl.Series(column) for column in zip(*asked, strict=True)))
    assert [position >= 0 for position in positions] == [True, False, False, False, True]
    read = list(store.read(positions[positions >= 0]))
    assert [outcome for outcome, _ in read] == [Decoded(0, 8, "RGB")] * 2
    assert all((pixels == 10).all() for _, pixels in read)
    # One of the two files was read last; the photograph is kept once, as that one has it.
    both = store.find(pl.Series(["a", "a"]), pl.Series(["1", "2"]))
    assert sorted((both >= 0).tolist()) == [False, True]


def draw(path: Path, shade: int) -> None:
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(path)


def test_an_item_without_other_photographs_is_not_changed_by_those_of_others(tmp_path: Path) -> None:
    for number in range(3):
        for letter in "ab":
            draw(tmp_path / f"{number}{letter}.png", 40 * number + ord(letter))
    described = {"levels": "kind", "image_column": "images", "image_separator": "|"}
    (tmp_path / "items.csv").write_text("id,kind,images,note\n0,Hats,0a.png,\n1,Hats,1a.png,\n2,Hats,2a.png,x\n")
    config = PrepareConfig(image_size=(8, 8), workers=1)
    prepare(tmp_path / "items.csv", tmp_path / "w", config, overrides=described)
    (tmp_path / "items.csv").write_text("id,kind,images,note\n2,Hats,2a.png,\n1,Hats,1a.png|1b.png,\n0,Hats,0a.png,\n")
    folder = prepare(tmp_path / "items.csv", tmp_path / "w", config, overrides=described).folder
    assert read_csv(folder / "changes.csv", infer_schema=False).rows() == [("2", "changed"), ("1", "changed")]
