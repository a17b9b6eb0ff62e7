"""A catalogue's columns keep a name of their own in hangtag's tables, whatever they are called."""

from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from hangtag.catalog.schema import RESERVED, CatalogSchema, rename_columns
from hangtag.config import CleanConfig, PrepareConfig
from hangtag.errors import CatalogError
from hangtag.labels.taxonomy import load_taxonomy
from hangtag.stages.audit import audit
from hangtag.stages.clean import clean
from hangtag.stages.explore import explore
from hangtag.stages.prepare import prepare

NASTY = sorted(RESERVED - {"item_id", "label"})


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


@pytest.mark.parametrize("level", ["label", "row", "items", "value", "total", "now", "category_path"])
def test_a_table_full_of_hangtags_own_names_goes_through(level: str, tmp_path: Path) -> None:
    others = [name for name in [*NASTY, "label", "catalog_label", "order", "path"] if name != level]
    lines = [",".join(["item_id", "top", level, *others])]
    for number in range(24):
        Image.effect_noise((8, 8), 20 + number).convert("RGB").save(tmp_path / f"{number}.png")
        kind = "shoe" if number % 2 else "bag"
        lines.append(",".join([str(number), f"{kind}s", kind, *(f"x{number % 3}" for _ in others)]))
    (tmp_path / "t.csv").write_text("\n".join(lines))
    flags = {"id": "item_id", "levels": f"top,{level}", "attributes": "max_score,share", "image": "{item_id}.png"}
    workspace = tmp_path / "w"
    prepare(tmp_path / "t.csv", workspace, PrepareConfig(image_size=(8, 8), workers=1), overrides=flags)
    clean(workspace, CleanConfig(taxonomy="finest"))
    table = pl.read_csv(workspace / "labels" / "styles_cleaned.csv", infer_schema=False)
    assert table.columns == ["item_id", "top", level, *others, "Class"]
    assert table[level].to_list() == table["Class"].to_list()
    explore(workspace)
    audit(workspace)
