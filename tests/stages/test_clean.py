"""Cleaning: the rules, the matches and the splits, on small tables; twice gives what once gave."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from hangtag.config import CleanConfig
from hangtag.errors import CatalogError, SettingsError, WorkspaceError
from hangtag.io import read_json
from hangtag.labels.dataset import read_labeled_items
from hangtag.stages.clean import clean
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

KINDS = {"Tee": 40, "Boot": 30, "Sock": 20, "Rare": 2, "Odd": 8}
TAXONOMY = """
name = "test"
[[rules]]
rule = "start"
level = "kind"
[[rules]]
rule = "drop_rare"
max_count = 3
[[rules]]
rule = "relabel"
labels = ["Odd"]
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A catalogue of noise pictures; two Tees and one Odd item share their pixels."""
    folder, random, rows = tmp_path / "catalog", np.random.default_rng(0), ["id,kind,name"]
    (folder / "images").mkdir(parents=True)
    number, shared = 0, random.integers(0, 256, (80, 60, 3), dtype=np.uint8)
    for kind, count in KINDS.items():
        for position in range(count):
            number += 1
            same = (kind == "Tee" and position < 2) or (kind == "Odd" and position == 0)
            pixels = shared if same else random.integers(0, 256, (80, 60, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
            words = {"Odd": ["mystery", "red tee", "two tees", "boots"][position % 4]}.get(kind, f"red {kind.lower()}")
            rows.append(f"{number},{kind},{words}")
    (folder / "t.csv").write_text("\n".join(rows))
    (folder / "rules.toml").write_text(TAXONOMY)
    (folder / "catalog.toml").write_text(
        'table = "t.csv"\nname = "name"\nlevels = ["kind"]\nimage = "images/{id}.png"\ntaxonomy = "rules.toml"\n'
    )
    prepare(folder, tmp_path / "w")
    return tmp_path / "w"


def test_class_words_match_by_stem(workspace: Path) -> None:
    result = clean(workspace, CleanConfig(matcher="class-words"))
    assert result.metrics["items"] == 98
    assert result.metrics["dropped"] == 2
    assert (result.metrics["relabelled"], result.metrics["unknown"]) == (6, 2)
    changes = pl.read_csv(workspace / "labels" / "label_changes.csv", infer_schema=False)
    assert len(changes) == 10
    odd = changes.filter(pl.col("rule") == "relabel")["new"].to_list()
    assert odd == ["Unknown", "Tee", "Tee", "Boot"] * 2


def test_witnesses_decide_and_say_how_sure(workspace: Path) -> None:
    clean(workspace, CleanConfig())
    changes = pl.read_csv(workspace / "labels" / "label_changes.csv").filter(pl.col("rule") == "relabel")
    first, second = changes.row(0, named=True), changes.row(1, named=True)
    assert (first["new"], first["matched_by"], first["score"]) == ("Tee", "photograph", 1.0)
    assert (second["new"], second["matched_by"]) == ("Tee", "name")
    assert second["score"] >= 0.9
    # "mystery" is no word of any labelled name, and this item's pixels are its own.
    assert changes.row(4, named=True)["new"] == "Unknown"


def test_unknown_items_are_in_no_split_and_every_label_is_in_each(workspace: Path) -> None:
    clean(workspace, CleanConfig(matcher="class-words"))
    labelled = read_labeled_items(Workspace.at(workspace))
    assert labelled.class_names == ("Boot", "Sock", "Tee")
    assert labelled.table.filter(pl.col("label") == "Unknown")["split"].null_count() == 2
    known = labelled.table.filter(pl.col("label") != "Unknown")
    assert known.group_by("label").agg(pl.col("split").n_unique())["split"].to_list() == [3, 3, 3]
    assert known.group_by("group_id").agg(pl.col("split").n_unique())["split"].max() == 1
    assert known.filter(pl.col("item_id").is_in(["1", "2"]))["group_id"].n_unique() == 1


def test_twice_gives_what_once_gave(workspace: Path) -> None:
    clean(workspace, CleanConfig())
    files = {path.name: path.read_bytes() for path in (workspace / "labels").iterdir() if path.name != "manifest.json"}
    (workspace / "labels" / "manifest.json").unlink()
    assert not clean(workspace, CleanConfig()).skipped
    for name, content in files.items():
        assert (workspace / "labels" / name).read_bytes() == content
    assert clean(workspace, CleanConfig()).skipped
    assert not clean(workspace, CleanConfig(split_seed=1)).skipped


def test_the_cleaned_table_has_the_own_columns_and_the_label(workspace: Path) -> None:
    clean(workspace, CleanConfig(matcher="class-words"))
    table = pl.read_csv(workspace / "labels" / "styles_cleaned.csv")
    assert table.columns == ["id", "kind", "name", "Class"]
    assert len(table) == 98
    balance = read_json(workspace / "labels" / "balance.json")
    assert balance["raw"]["n"] == 100
    assert balance["cleaned"]["columns"]["Class"]["num_values"] == 3


def test_a_sample_keeps_every_label_and_all_unknown(workspace: Path) -> None:
    result = clean(workspace, CleanConfig(matcher="class-words", sample=30))
    labelled = read_labeled_items(Workspace.at(workspace))
    assert 25 <= len(labelled.table) <= 40
    assert labelled.class_names == ("Boot", "Sock", "Tee")
    assert (labelled.table["label"] == "Unknown").sum() == 2
    assert result.metrics["items"] == 98


def test_mistakes_are_told(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="hangtag prepare"):
        clean(tmp_path / "empty")
    with pytest.raises(CatalogError, match="no such taxonomy"):
        clean(workspace, CleanConfig(taxonomy="nonsense"))
    bad = tmp_path / "bad.toml"
    bad.write_text('[[rules]]\nrule = "start"\nlevel = "nothing"\n')
    with pytest.raises(CatalogError, match="level that the catalogue lacks"):
        clean(workspace, CleanConfig(taxonomy=str(bad)))
    with pytest.raises(WorkspaceError, match="hangtag clean"):
        read_labeled_items(Workspace.at(workspace))


def test_duplicates_across_given_splits_are_taken_out_with_a_line(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shared = random.integers(0, 256, (80, 60, 3), dtype=np.uint8)
    for split in ("train", "test"):
        for kind in ("bags", "shoes"):
            folder = tmp_path / "tree" / split / kind
            folder.mkdir(parents=True)
            for number in range(6):
                same = kind == "bags" and number == 0
                pixels = shared if same else random.integers(0, 256, (80, 60, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    prepare(tmp_path / "tree", tmp_path / "w")
    with pytest.raises(SettingsError, match="exclude each other"):
        clean(tmp_path / "w", CleanConfig(test_where="category=bags"))
    result = clean(tmp_path / "w")
    assert (result.metrics["train"], result.metrics["test"], result.metrics["taken_out_of_splits"]) == (11, 12, 1)
    [change] = pl.read_csv(tmp_path / "w" / "labels" / "label_changes.csv").rows(named=True)
    assert (change["item_id"], change["old"], change["new"]) == ("train/bags/0", "train", None)


@pytest.fixture
def dated(tmp_path: Path) -> Path:
    """A catalogue of 48 items of 2011 to 2014, one without a year, and one of 2011 with its copies of 2012 and 2013.

    Its columns are called as clean might call its own.
    """
    folder, random, rows = tmp_path / "catalog", np.random.default_rng(0), ["id,group,order,len"]
    (folder / "images").mkdir(parents=True)
    shared = random.integers(0, 256, (80, 60, 3), dtype=np.uint8)
    for number in range(48):
        pixels = shared if number in (0, 1, 2) else random.integers(0, 256, (80, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        year = "" if number == 7 else 2011 + number % 4
        rows.append(f"{number},{year},{number},{'tee' if number < 24 else 'boot'}")
    (folder / "t.csv").write_text("\n".join(rows))
    (folder / "rules.toml").write_text(
        '[[rules]]\nrule = "start"\nlevel = "len"\n[[rules]]\nrule = "promote"\nlevel = "len"\nmin_count = 1\n'
    )
    (folder / "catalog.toml").write_text(
        'table = "t.csv"\nlevels = ["len"]\nimage = "images/{id}.png"\ntaxonomy = "rules.toml"\n'
    )
    prepare(folder, tmp_path / "w")
    return tmp_path / "w"


def test_a_rule_makes_the_test_split_and_takes_out_what_is_also_in_it(dated: Path) -> None:
    result = clean(dated, CleanConfig(test_where="group=odd"))
    labelled = read_labeled_items(Workspace.at(dated))
    splits = {row["item_id"]: row["split"] for row in labelled.table.rows(named=True)}
    odd = {str(number) for number in range(48) if number % 2 == 0}
    assert {item_id for item_id, split in splits.items() if split == "test"} == odd
    # Item 1 is of 2012 and a copy of items 0 and 2; item 7 has no year.
    assert splits["1"] is None
    assert splits["7"] in ("train", "val")
    counted = {name: result.metrics[name] for name in ("train", "val", "test", "taken_out_of_splits")}
    assert counted == {"train": 18, "val": 5, "test": 24, "taken_out_of_splits": 1}
    assert "labels_not_in_train" not in result.metrics
    [change] = pl.read_csv(dated / "labels" / "label_changes.csv", infer_schema=False).rows(named=True)
    assert (change["item_id"], change["column"], change["rule"]) == ("1", "split", "duplicate_across_splits")
    assert (change["old"], change["new"]) == (None, None)


def test_a_rule_and_a_sample_go_together(dated: Path) -> None:
    clean(dated, CleanConfig(test_where="group=odd"))
    whole = read_labeled_items(Workspace.at(dated)).table
    result = clean(dated, CleanConfig(test_where="group=odd", sample=24))
    sample = read_labeled_items(Workspace.at(dated)).table
    assert [result.metrics[split] for split in ("train", "val", "test")] == [8, 4, 12]
    assert len(sample.join(whole, on=["item_id", "split", "group_id"], nulls_equal=True)) == len(sample)
    assert sample.columns[2:6] == ["id", "group", "order", "len"]


def test_labels_that_cannot_be_learnt_are_counted_and_splits_without_items_refused(dated: Path) -> None:
    assert clean(dated, CleanConfig(test_where="order>=24")).metrics["labels_not_in_train"] == 1
    with pytest.raises(SettingsError, match="leaves no item for train and val"):
        # All but the copies of item 1.
        clean(dated, CleanConfig(test_where="order!=0|2"))


def test_the_manifest_tells_the_rules_that_were_applied(workspace: Path) -> None:
    clean(workspace, CleanConfig())
    assert read_json(workspace / "labels" / "manifest.json")["taxonomy"] == {
        "name": "test",
        "rules": [
            {"rule": "start", "level": "kind"},
            {"rule": "drop_rare", "max_count": 3},
            {"rule": "relabel", "labels": ["Odd"]},
        ],
    }
