"""Labels that mean the same are proposed to be merged, and `clean` takes the proposal as its rules."""

import re
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from hangtag.auditing.label_merges import LabelItems, Merge, find_merges, write_rules
from hangtag.config import CleanConfig, SuggestMergesConfig
from hangtag.errors import CatalogError
from hangtag.stages.clean import clean
from hangtag.stages.prepare import prepare
from hangtag.stages.suggest_merges import suggest_merges


def find(similarity: float = 0.9, **labels: tuple[int, list[str]]) -> dict[str, tuple[str, str]]:
    items = {label.replace("_", " "): LabelItems(count, "All", names) for label, (count, names) in labels.items()}
    return {merge.label: (merge.into, merge.reason) for merge in find_merges(items, similarity)}


def test_spellings_and_synonyms_are_merged_into_the_commonest() -> None:
    found = find(Tshirts=(90, []), T_Shirt=(5, []), Tee=(3, []), TEES=(1, []), Skirts=(40, []), Shirts=(60, []))
    assert {label: into for label, (into, _) in found.items()} == {
        "T Shirt": "Tshirts",
        "Tee": "Tshirts",
        "TEES": "Tee",
    }
    assert "synonym" in found["Tee"][1]
    assert "differs only in" in found["T Shirt"][1]


def test_labels_whose_products_have_the_same_words_are_near() -> None:
    names = ["light cotton summer dress", "cotton summer dress long", "summer dress in cotton"] * 3
    other = ["steel watch", "watch of steel", "leather watch"] * 3
    found = find(Sundress=(9, names), Dresses=(20, names), Watches=(9, other), Few=(2, names[:2]))
    assert list(found) == ["Sundress"]
    assert found["Sundress"][0] == "Dresses"
    assert "cosine 1.00" in found["Sundress"][1]


def test_other_parents_are_not_compared_by_words() -> None:
    names = ["red cotton socks"] * 6
    items = {"Socks": LabelItems(9, "Women", names), "Baby": LabelItems(6, "Children", names)}
    assert find_merges(items, 0.9) == []


def test_rules_merge_what_is_sure_and_comment_the_rest() -> None:
    labels = {name: LabelItems(1, "", []) for name in ('A "b"', "C", "D", "E")}
    merges = [Merge('A "b"', "C", 0.9, "one"), Merge("C", "D", 0.8, "two"), Merge("E", "D", 0.6, "three")]
    rules = [{"rule": "start", "level": "finest", "or_coarser": True}, {"rule": "drop_rare", "max_count": 5}]
    text = write_rules("x", rules, merges, labels)
    written = tomllib.loads(text)["rules"]
    # The label that is merged itself is not what another is merged into.
    assert written == [rules[0], {"rule": "merge", "labels": ['A "b"', "C"], "into": "D"}, rules[1]]
    uncommented = re.sub(r"(?m)^# (?=\[|rule|labels|into)", "", text)
    assert {"rule": "merge", "labels": ["E"], "into": "D"} in tomllib.loads(uncommented)["rules"]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    random, rows = np.random.default_rng(0), ["id,kind,merged"]
    (tmp_path / "shop" / "images").mkdir(parents=True)
    for kind, count in {"Tshirts": 12, "Tee": 4, "T-Shirt": 3, "Boots": 9, "": 2}.items():
        for _ in range(count):
            rows.append(f"{len(rows)},{kind},own")
            pixels = random.integers(0, 256, (80, 60, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "shop" / "images" / f"{len(rows) - 1}.png")
    (tmp_path / "shop" / "t.csv").write_text("\n".join(rows))
    described = {"id": "id", "levels": ["kind"], "attributes": ["merged"], "image": "images/{id}.png"}
    prepare(tmp_path / "shop", tmp_path / "w", overrides=described)
    return tmp_path / "w"


def test_clean_takes_the_proposal_and_lists_every_merged_label(workspace: Path) -> None:
    result = suggest_merges(workspace)
    assert result.metrics == {"labels": 4, "merges": 2, "items": 7, "less_sure": 0}
    assert result.read_table("merges.csv")["label"].to_list() == ["T-Shirt", "Tee"]
    before = clean(workspace)
    assert before.metrics["dropped"] == 7
    merged = clean(workspace, CleanConfig(taxonomy=str(result.folder / "merges.toml")))
    assert (merged.metrics["dropped"], merged.metrics["merged"]) == (0, 7)
    changes = merged.read_table("label_changes.csv").filter(pl.col("rule") == "merge")
    assert changes.select("old", "new").unique().sort("old").rows() == [("T-Shirt", "Tshirts"), ("Tee", "Tshirts")]
    assert len(changes) == 7
    labels = pl.read_parquet(workspace / "labels" / "labels.parquet")
    assert dict(labels["label"].value_counts().iter_rows()) == {"Tshirts": 19, "Boots": 9, "Unknown": 2}
    assert labels["merged"].unique().to_list() == ["own"]
    assert suggest_merges(workspace).skipped


def test_merged_labels_are_found_again_among_the_rest(workspace: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[rules]]\nrule = "start"\nlevel = "kind"\n'
        '[[rules]]\nrule = "merge"\nlabels = ["Tee", "Unknown"]\ninto = "Boots"\n'
    )
    result = suggest_merges(workspace, SuggestMergesConfig(taxonomy=str(rules)))
    assert result.metrics["labels"] == 3
    written = tomllib.loads((result.folder / "merges.toml").read_text(encoding="utf-8"))["rules"]
    assert [rule.get("into") for rule in written] == [None, "Boots", "Tshirts"]
    merged = clean(workspace, CleanConfig(taxonomy=str(rules)))
    # What has no label is not a label called Unknown.
    assert merged.metrics["unknown"] == 2
    rules.write_text('[[rules]]\nrule = "start"\nlevel = "kind"\n[[rules]]\nrule = "merge"\nlabels = ["Tee"]\n')
    with pytest.raises(CatalogError, match="A merge rule of the taxonomy lacks an entry"):
        clean(workspace, CleanConfig(taxonomy=str(rules)))
