"""A catalogue's columns keep a name of their own in hangtag's tables, whatever they are called."""

from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from hangtag.catalog.schema import RESERVED, CatalogSchema, rename_columns
from hangtag.config import CleanConfig, PrepareConfig
from hangtag.errors import CatalogError
from hangtag.io import read_json
from hangtag.labels.taxonomy import load_taxonomy
from hangtag.reviewing.decisions import DecisionRequest, LabelOptions, build_decisions
from hangtag.reviewing.items import read_items
from hangtag.reviewing.queue import Queue, read_issues
from hangtag.reviewing.store import Store
from hangtag.stages.apply import apply
from hangtag.stages.audit import audit
from hangtag.stages.clean import clean
from hangtag.stages.explore import explore
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

SMALL = PrepareConfig(image_size=(8, 8), workers=1)


def draw(path: Path, number: int) -> None:
    Image.effect_noise((8, 8), 20 + number).convert("RGB").save(path)


def test_no_two_columns_have_one_name() -> None:
    columns = ["label", "catalog_label", "catalog_label_2", "split", "catalog_catalog_label", "kind", "predicted_kind"]
    names = rename_columns(columns)
    assert names["kind"] == "kind"
    assert names["catalog_label"] == "catalog_label"
    assert names["label"] == "catalog_label_3"
    assert names["split"] == "catalog_split"
    assert names["predicted_kind"] == "catalog_predicted_kind"
    assert list(names) == columns
    assert len(set(names.values())) == len(columns)
    assert not RESERVED & set(names.values())


@pytest.mark.parametrize("column", sorted(RESERVED))
def test_every_reserved_name_gives_way_to_the_columns_that_are_there(column: str) -> None:
    taken = [column, f"catalog_{column}", f"catalog_{column}_2"]
    assert len(set(rename_columns(taken).values()) - RESERVED) == 3


def test_every_part_of_a_description_follows() -> None:
    schema = CatalogSchema(id="count", levels=("split", "label"), attributes=("value",), image="{count}/{label}.jpg")
    named = schema.with_columns(["count", "split", "label", "value", "catalog_label"])
    assert named.levels == ("catalog_split", "catalog_label_2")
    assert (named.id, named.attributes) == ("catalog_count", ("catalog_value",))
    assert named.image == "{catalog_count}/{catalog_label_2}.jpg"
    assert named.by_heading["label"] == "catalog_label_2"
    # A heading goes before the name of another column in hangtag's tables.
    assert named.by_heading["catalog_label"] == "catalog_label"


def test_label_rules_name_a_level_as_the_table_heads_it() -> None:
    text = '[[rules]]\nrule = "start"\nlevel = "label"\n'
    schema = CatalogSchema(levels=("dept", "label")).with_columns(["id", "dept", "label"])
    for name in ("label", "catalog_label"):
        taxonomy = load_taxonomy("mine", text.replace("label", name), schema.levels, schema.by_heading)
        assert taxonomy.rules[0]["level"] == "catalog_label"
    with pytest.raises(CatalogError, match="Allowed: dept, label, coarsest"):
        load_taxonomy("mine", text.replace("label", "kind"), schema.levels, schema.by_heading)


def test_a_table_full_of_hangtags_own_names_goes_through(tmp_path: Path) -> None:
    levels = ["top", "label", "row", "items", "value", "total", "now", "category_path"]
    others = [
        name for name in [*sorted(RESERVED), "catalog_label", "order", "path"] if name not in ("item_id", *levels)
    ]
    lines = [",".join(["item_id", *levels, *others])]
    for number in range(24):
        draw(tmp_path / f"{number}.png", number)
        kinds = [f"{'shoe' if number % 2 else 'bag'} {level}" for level in levels]
        lines.append(",".join([str(number), *kinds, *(f"x{number % 3}" for _ in others)]))
    (tmp_path / "t.csv").write_text("\n".join(lines))
    flags = {"id": "item_id", "levels": ",".join(levels), "attributes": "max_score,share", "image": "{item_id}.png"}
    workspace = tmp_path / "w"
    prepare(tmp_path / "t.csv", workspace, SMALL, overrides=flags)
    clean(workspace, CleanConfig(taxonomy="finest"))
    table = pl.read_csv(workspace / "labels" / "styles_cleaned.csv", infer_schema=False)
    assert table.columns == ["item_id", *levels, *others, "Class"]
    assert table[levels[-1]].to_list() == table["Class"].to_list()
    explore(workspace)
    audit(workspace)


def test_headings_stand_in_everything_that_people_read(tmp_path: Path) -> None:
    lines = ["id,title,split,label,catalog_label"]
    for number in range(26):
        draw(tmp_path / f"{number}.png", number)
        kind = ("Shoes", "Shoes ", "Bags")[number % 3] if number < 24 else ("Rare", "")[number - 24]
        lines.append(f"{number},t{number},{'Bag' if kind == 'Bags' else 'Foot'},{kind},x")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    flags = {"name": "title", "levels": "split,label", "image": "{id}.png"}
    workspace = tmp_path / "w"
    counts = prepare(tmp_path / "t.csv", workspace, SMALL, overrides=flags).metrics
    assert counts["missing"] == {"label": 1}
    clean(workspace)
    changes = pl.read_csv(workspace / "labels" / "label_changes.csv", infer_schema=False)
    assert set(changes.select("column", "rule").iter_rows()) == {
        ("label", "white_space"),
        ("split", "drop_rare"),
        ("Class", "missing"),
    }
    balance = read_json(workspace / "labels" / "balance.json")
    assert list(balance["cleaned"]["columns"]) == ["split", "label", "Class"]
    audit(workspace)
    issues = pl.read_csv(workspace / "audit" / "issues.csv", infer_schema=False)
    spelling = issues.filter(pl.col("code") == "spelling_variant").row(0, named=True)
    assert (spelling["column"], spelling["changes"]) == ("label", '{"label": "Shoes"}')
    assert spelling["reason"].startswith('label "Shoes " (8)')
    assert not any("catalog_" in text for text in issues["reason"])
    # No model fits, so nobody judged a label.
    assert read_json(workspace / "audit" / "summary.json")["judged"] == 0
    assert pl.read_csv(workspace / "audit" / "catalog_scores.csv", infer_schema=False).is_empty()

    # A reviewer sees and decides them by these names, `apply` writes them, and `clean` takes them in.
    items = read_items(Workspace.at(workspace))
    assert items.read_values("1") == {"split": "Foot", "label": "Shoes "}
    queue = Queue(read_issues(Workspace.at(workspace).issues), items, Store(workspace / "review" / "review.sqlite"))
    position = next(issue.position for issue in queue.issues if issue.identity == ("1", "spelling_variant", "label"))
    request = DecisionRequest(position, "accept", dict.fromkeys(items.ids, 0))
    queue._store.add(build_decisions(request, queue, LabelOptions(items)), "Ann")
    apply(workspace)
    corrected = (workspace / "review" / "corrected" / "t.csv").read_text().splitlines()
    assert corrected[2] == "1,t1,Foot,Shoes,x"
    assert sum(one != other for one, other in zip(lines, corrected, strict=True)) == 1
    counts = clean(workspace).metrics
    assert (counts["reviewed_cells"], counts["white_space_cells"]) == (1, 7)


def test_a_cell_may_list_photographs() -> None:
    plain, split = CatalogSchema(), CatalogSchema(image_separator=";")
    assert plain.list_images('["a.jpg", "b, c.jpg"]') == ["a.jpg", "b, c.jpg"]
    assert plain.list_images("a, b.jpg") == ["a, b.jpg"]
    assert plain.list_images("https://x.org/a.jpg?s=1,2, https://x.org/b.jpg") == [
        "https://x.org/a.jpg?s=1,2",
        "https://x.org/b.jpg",
    ]
    assert split.list_images("a.jpg; ;NA;b.jpg") == ["a.jpg", "b.jpg"]
    # These are names of files, however odd.
    assert [plain.list_images(cell) for cell in ("[1]", "[a].jpg", "[[]]")] == [["[1]"], ["[a].jpg"], ["[[]]"]]
