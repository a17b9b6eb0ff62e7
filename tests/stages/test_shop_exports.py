"""Shops' exports go from the file to the audit without a flag, and come back with only the decided cells changed."""

import json
from pathlib import Path

import polars as pl
import pytest
from shop_exports import EXPORTS, PATHS, Product, make_products

from hangtag.catalog.prepared_items import read_prepared
from hangtag.config import AuditConfig
from hangtag.io import read_csv
from hangtag.reviewing.decisions import DecisionRequest, LabelOptions, build_decisions
from hangtag.reviewing.items import read_items
from hangtag.reviewing.queue import Queue, read_issues
from hangtag.reviewing.store import Store
from hangtag.stages.apply import apply
from hangtag.stages.audit import audit
from hangtag.stages.clean import clean
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

PRODUCTS = make_products()
WRONG = [product for product in PRODUCTS if product.given != product.true]


def find_id(shop: str, product: Product) -> str:
    if shop == "shopify":
        return product.handle
    return str(product.number + (10 if shop == "woocommerce" else 1000))


def accept(workspace: Workspace, item_id: str) -> None:
    """Accept the first suggestion for an item."""
    store = Store(workspace.review / "review.sqlite")
    queue = Queue(read_issues(workspace.issues), read_items(workspace), store)
    issue = next(issue for issue in queue.issues if issue.item_id == item_id and issue.changes)
    versions = {item_id: queue.read_version(item_id)}
    request = DecisionRequest(issue.position, "accept", versions)
    store.add(build_decisions(request, queue, LabelOptions(queue.items)), "Ann")
    store.close()


@pytest.mark.parametrize("shop", EXPORTS)
def test_an_export_goes_to_the_audit_without_a_flag_and_comes_back(shop: str, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    path = EXPORTS[shop](tmp_path / "shop", PRODUCTS)
    result = prepare(path, tmp_path / "w")
    assert (result.metrics["items"], result.metrics["layout"]) == (len(PRODUCTS), shop.removesuffix("-xml"))
    # WooCommerce's cells name two photographs each.
    assert result.metrics.get("other_photographs", 0) == (len(PRODUCTS) if shop == "woocommerce" else 0)
    workspace = Workspace.at(tmp_path / "w")
    prepared = read_prepared(workspace)
    assert prepared.schema.layout == shop.removesuffix("-xml")
    assert prepared.items["item_id"].to_list() == [find_id(shop, product) for product in PRODUCTS]
    if shop != "shopify":
        given = prepared.items.select(pl.concat_list(prepared.schema.levels)).to_series().to_list()
        assert given == [[*PATHS[product.given], product.given][:3] for product in PRODUCTS]
    clean(workspace)
    labels = pl.read_parquet(workspace.labels / "labels.parquet")
    assert labels["label"].to_list() == [product.given for product in PRODUCTS]
    if shop.startswith("google-merchant"):
        sides = labels.group_by("item_group_id").agg(pl.col("split").n_unique())
        assert sides["split"].max() == 1
    audit(workspace, AuditConfig())
    issues = read_csv(workspace.issues, infer_schema=False)
    for product in WRONG:
        changes = issues.filter(pl.col("item_id") == find_id(shop, product))["changes"].to_list()
        assert any(product.true in json.loads(values).values() for values in changes)
        accept(workspace, find_id(shop, product))
    apply(workspace)
    corrected = [Product(each.number, each.name, each.true, each.true) for each in PRODUCTS]
    (tmp_path / "right").mkdir()
    wanted = EXPORTS[shop](tmp_path / "right", corrected)
    assert (workspace.review / "corrected" / path.name).read_bytes() == wanted.read_bytes()
