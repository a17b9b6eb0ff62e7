"""The health of a catalogue: numbers that add up, lists that say how much they leave out, links that lead somewhere."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from audited_report import HEADED, write_audit
from fake_workspace import HOSTILE, FakeWorkspace, build_workspace
from page_reader import Page

from hangtag.auditing.catalog_summary import KINDS, explain, sort_into_kinds
from hangtag.auditing.issues import COLUMNS
from hangtag.catalog.prepared_items import Prepared
from hangtag.catalog.schema import CatalogSchema
from hangtag.manifest import StageRecord
from hangtag.reporting import catalog_health
from hangtag.reporting.audited_catalog import AuditedCatalog
from hangtag.reporting.catalog_health import Health, HealthBars, build_health
from hangtag.stages.report import report
from hangtag.workspace import Workspace

COLUMNS_OF_SHOP = ("id", "kind", "type", "color", "title", "brand")
SHOP = CatalogSchema(
    "shop.csv", "id", "title", ("kind", "type"), ("color",), columns=COLUMNS_OF_SHOP, headings=COLUMNS_OF_SHOP
)
AUDITED: dict[str, Any] = {"judged": 300, "expected_right": {}, "sources": {}, "not_applicable": {}}


def make_issue(number: int, code: str = "label_error", **more: Any) -> dict[str, Any]:
    line = dict.fromkeys(COLUMNS, "") | {"item_id": f"p{number}", "code": code, "severity": "warning", "changes": "{}"}
    line |= {"column": "type", "given_label": "Shirts", "suggested_label": "Belts", "evidence": "name", "score": "0.9"}
    return line | more


def make_catalog(tmp_path: Path, lines: list[dict[str, Any]], rejected: list[str] | None = None) -> AuditedCatalog:
    """A catalogue of 400 products in 20 types and 9 brands; every tenth has no brand."""
    items = pl.DataFrame(
        [
            {
                "item_id": f"p{number}",
                "kind": "All",
                "type": f"Type {number % 20}",
                "color": "Red",
                "title": f"Product {number}",
                "brand": f"Brand {number % 10}" if number % 10 else None,
            }
            for number in range(400)
        ],
        schema_overrides={"brand": pl.String},
    )
    issues = pl.DataFrame(
        [{"state": "open", **line} for line in lines], schema={**dict.fromkeys(COLUMNS, pl.String), "state": pl.String}
    )
    workspace = Workspace.at(tmp_path)
    table = {
        name: [f"{name} {n}" for n, _ in enumerate(rejected or [])] for name in ("item_id", "image_path", "reason")
    }
    images = np.zeros((400, 8, 6, 3), np.uint8)
    return AuditedCatalog(
        workspace,
        Prepared(items, images, SHOP, "", ""),
        SHOP,
        items,
        sort_into_kinds(issues, SHOP.levels),
        AUDITED,
        {"counts": {"items": 400, "rejected": 3}},
        pl.DataFrame(table | {"code": rejected or []}, schema_overrides={"code": pl.String}),
    )


def make_health(tmp_path: Path, lines: list[dict[str, Any]], rejected: list[str] | None = None) -> Health:
    return build_health(make_catalog(tmp_path, lines, rejected))


def test_bars_add_up_and_each_leads_to_its_surest_products(tmp_path: Path) -> None:
    # Of the types, 0 and 1 have fifteen wrong ones each, the last of all; the others have two to four.
    numbers = [n for n in range(160) if n % 20 > 1][:70] + [n for n in range(400) if n % 20 in (0, 1)][:30]
    health = make_health(tmp_path, [make_issue(number) for number in numbers])
    assert health.summary["wrong_categories"] == health.suspected.total == 100
    assert health.by_brand is not None
    shown = {product.item_id for product in health.suspected.products}
    assert len(shown) == len(health.suspected.products) == 100 - health.suspected.left < 100
    for bars, read in ((health.by_category, "category"), (health.by_brand, "brand")):
        assert sum(bar.wrong for bar in bars.bars) + bars.other_wrong == 100
        for bar in bars.bars:
            own = [product for product in health.suspected.products if getattr(product, read) == bar.value]
            assert len(own) >= min(bar.wrong, catalog_health.MOST_OF_BAR)
    assert (len(health.by_category.bars), health.by_category.other_values) == (12, 8)
    # Those without a brand have a bar too; the summary names brands only.
    assert "" in [bar.value for bar in health.by_brand.bars]
    named = health.summary["by_brand"]
    assert "" not in [each["value"] for each in named["values"]]
    assert sum(each["wrong"] for each in named["values"]) + named["others"]["wrong"] == 100


def test_a_product_with_several_questions_counts_once_under_the_most_serious(tmp_path: Path) -> None:
    lines = [
        make_issue(1),
        make_issue(1, "spelling_variant"),
        make_issue(1, "bad_picture"),
        make_issue(2, severity="info"),
        make_issue(2, "exact_duplicate", group_id="g"),
        make_issue(3, column="color"),
        make_issue(4, "duplicate_label_conflict", column="color", group_id="h"),
        make_issue(5, "duplicate_label_conflict", group_id="k"),
        make_issue(6, "unlikely_combination"),
        make_issue(7, "same_product", group_id="m"),
        make_issue(8, "bad_picture", state="decided"),
    ]
    health = make_health(tmp_path, lines)
    found = health.summary["to_look_at"]
    counts = {each["kind"]: (each["products"], each["all"]) for each in found["kinds"]}
    assert list(counts) == list(KINDS)
    assert list(counts.values()) == [(1, 1), (1, 1), (2, 2), (1, 1), (1, 1), (0, 1), (0, 1), (1, 2)]
    assert (found["products"], found["questions"]) == (7, 10)
    # One photograph with two colours is no conflict of categories.
    assert health.summary["duplicates"] == {"groups": 1, "products": 1}
    assert [product.item_id for product in health.values.products] == ["p3", "p4"]


def test_a_group_shows_all_its_products_and_only_groups_in_question_are_shown(tmp_path: Path) -> None:
    pair = {"code": "duplicate_label_conflict", "group_id": "a", "suggested_label": "Type 2"}
    lines = [
        make_issue(1, **pair),
        # The product whose category the others are told has no question but that of the photograph.
        *(make_issue(number, "exact_duplicate", group_id="a") for number in (1, 2)),
        make_issue(3, **{**pair, "group_id": "b"}, state="decided"),
        *(make_issue(number, "exact_duplicate", group_id="b", state="decided") for number in (3, 4)),
        *(make_issue(number, "near_duplicate", group_id="c") for number in range(10, 30)),
    ]
    health = make_health(tmp_path, lines)
    [group] = health.conflicts.groups
    assert [(each.item_id, each.suggested) for each in group.products] == [("p1", "Type 2"), ("p2", "")]
    assert (health.repeated.total, health.repeated.left) == (1, 0)
    [group] = health.repeated.groups
    assert (len(group.products), group.total, group.left) == (8, 20, 12)


def test_long_lists_say_how_many_more_there_are(tmp_path: Path) -> None:
    lines = [make_issue(number, severity="info") for number in range(50)]
    lines += [make_issue(number, "duplicate_label_conflict", group_id=f"g{number}") for number in range(100, 140)]
    lines += [make_issue(200 + n, "spelling_variant", given_label=f"x{n % 30}") for n in range(60)]
    health = make_health(tmp_path, lines, ["empty_file"] * 20 + ["bad_row", "new_code"])
    assert (len(health.less_sure.products), health.less_sure.left) == (24, 26)
    assert (len(health.conflicts.groups), health.conflicts.left) == (24, 16)
    assert (len(health.spellings), health.more_spellings) == (24, 6)
    assert [each.found.total for each in health.spellings] == [2] * 24
    assert [(each.meaning, len(each.lines), each.left) for each in health.rejected] == [
        ("photographs without content", 8, 12),
        ("lines of the table that cannot be read without doubt", 1, 0),
        ("new code", 1, 0),
    ]


def test_a_reason_is_one_plain_sentence_and_doubts_where_the_evidence_is_weak() -> None:
    assert explain(make_issue(1)) == "Its name reads more like those of Belts than like those of Shirts."
    assert explain(make_issue(1, severity="info")) == "Its name may be one of Belts rather than of Shirts."
    told = explain(make_issue(1, evidence="image", given_label=""))
    assert told == "Its photograph looks like Belts, and not like its present value."
    assert explain(make_issue(1, "bad_picture", reason="Blank.")) == "Blank."


def test_the_page_begins_with_the_chapter_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    fake = build_workspace(tmp_path, (), schema=HEADED)
    write_audit(fake)
    report(fake.workspace)
    page = Page(fake.workspace.report)
    assert [each["id"] for each in page.find("section")][:3] == ["health", "overview", "sources"]
    ids = {attributes.get("id") for _, attributes in page.tags}
    targets = [str(each["href"]) for each in page.find("a")]
    assert {target for target in targets if target[1:] not in ids} == set()
    assert {"#health-products", "#health-suspected", "#health"} <= set(targets)
    assert "6 products look as if they are in a wrong category, of 41 that could be checked." in page.text
    assert len([each for each in page.find("li") if each.get("class") == "product"]) == 6
    # A page without interactive figures is small.
    assert fake.workspace.report.stat().st_size < 200_000
    assert [each for each in page.find("img") if not str(each["src"]).startswith("data:image/webp;base64,")] == []


def write_audit_manifest(fake: FakeWorkspace, inputs: dict[str, str]) -> None:
    """Write the manifest of an audit again, with other files or inputs."""
    folder = fake.workspace.audit
    inputs = json.loads((folder / "manifest.json").read_text())["inputs"] | inputs
    StageRecord("audit", folder, inputs, {}).finish({"issues": 6}, [fake.workspace.issues, folder / "summary.json"])


def test_names_and_values_with_markup_are_text(tmp_path: Path) -> None:
    fake = build_workspace(tmp_path, (), schema=HEADED)
    write_audit(fake)
    path = fake.workspace.issues
    path.write_text(path.read_text().replace("Bags", HOSTILE.replace(",", "")))
    write_audit_manifest(fake, {})
    report(fake.workspace)
    page = Page(fake.workspace.report)
    assert HOSTILE in page.text.partition("Labels and models at a glance")[0]
    assert len(page.scripts) == 1


@pytest.mark.parametrize("is_outdated", [False, True])
def test_without_an_audit_of_the_catalogue_the_page_says_what_to_run(is_outdated: bool, tmp_path: Path) -> None:
    fake = build_workspace(tmp_path, (), schema=HEADED)
    if is_outdated:
        write_audit(fake)
        write_audit_manifest(fake, {"labels": "0"})
    report(fake.workspace)
    page = Page(fake.workspace.report)
    assert "Health of the catalogue" not in page.text.partition("its first chapter")[0]
    assert next(each["id"] for each in page.find("section")) == "overview"
    assert f"is not known {'any more: it has changed since its audit' if is_outdated else 'yet'}." in page.text
    assert "hangtag audit --workspace" in page.text


def test_bars_of_nothing_are_no_bars(tmp_path: Path) -> None:
    health = make_health(tmp_path, [])
    assert health.by_category == HealthBars("type", (), 0, 0)
    assert health.summary["to_look_at"]["products"] == health.suspected.total == 0
