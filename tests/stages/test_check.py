"""The command `check`: what it says to people, what it says of a second catalogue, and what it leaves to them."""

import inspect
import json
import shutil
import socket
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from page_reader import Page
from PIL import Image
from shop_exports import EXPORTS, Product, make_products

from hangtag import cli_options
from hangtag.auditing import catalog_words, model_evidence
from hangtag.check_summary import describe_check
from hangtag.cli import main
from hangtag.config import AuditConfig, CleanConfig, ReviewConfig
from hangtag.errors import CatalogError
from hangtag.inference.classifier import Classifier
from hangtag.io import read_csv
from hangtag.reporting import audited_catalog
from hangtag.reviewing.decisions import DecisionRequest, LabelOptions, build_decisions
from hangtag.reviewing.filters import Filter
from hangtag.reviewing.items import read_items
from hangtag.reviewing.queue import Queue, read_issues
from hangtag.reviewing.store import Store
from hangtag.stages import check as check_module
from hangtag.stages import cross_validate as cross_validate_module
from hangtag.stages.apply import apply
from hangtag.stages.check import check
from hangtag.workspace import Workspace

WRONG = 3
PRODUCTS = make_products(102, (WRONG,))


def write_shop(folder: Path, products: list[Product] = PRODUCTS, *, noisy: bool = True) -> Path:
    """Write a Shopify export, in place of an earlier one.

    Photographs of noise are no product for the model that hangtag comes with, so only names are compared. Others are of
    one colour, and some of them it knows.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = EXPORTS["shopify"](folder, products)
    for product in products:
        draw = np.random.default_rng(product.number)
        pixels = draw.integers(0, 256, (80, 60, 3), np.uint8)
        if not noisy:
            pixels[:] = 255
            pixels[10:70, 12:48] = draw.integers(0, 256, 3)
        Image.fromarray(pixels).save(folder / "photos" / f"{product.number}_1.jpg", quality=95)
    return path


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Shopify export in `shop`, two photographs of which cannot be read, and its check in `w`."""
    folder = tmp_path_factory.mktemp("checked")
    path = write_shop(folder / "shop")
    (folder / "shop" / "photos" / "7_1.jpg").write_bytes(b"")
    (folder / "shop" / "photos" / "8_1.jpg").write_bytes(b"<html>404</html>")
    check(path, folder / "w")
    return folder


@pytest.fixture
def shop(checked: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(checked, tmp_path / "copy")
    return tmp_path / "copy"


def run(shop: Path, *flags: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main(["check", str(shop / "shop" / "products_export.csv"), "--workspace", str(shop / "w"), *flags])
    return int(leaving.value.code or 0)


def test_the_summary_says_what_is_wrong_where_and_what_to_do(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop)
    with pytest.raises(SystemExit) as leaving:
        main(["check", "shop/products_export.csv", "--workspace", "w"])
    assert leaving.value.code == 0
    told = capsys.readouterr()
    assert told.out == GOLDEN
    assert [line.partition(":")[0] for line in told.err.splitlines()] == [
        "Read the products and their photographs",
        "Put the categories in order",
        "Compare every category with photograph and name",
        "Write the page with what was found",
    ]


def test_json_is_all_that_stands_on_stdout_and_an_exit_code_is_asked_for(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(shop, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["products"], summary["wrong_categories"], summary["less_sure"]) == (100, 2, 1)
    assert summary["not_read"]["reasons"] == [{"code": "empty_file", "count": 1}, {"code": "not_an_image", "count": 1}]
    assert summary["by_brand"] == {
        "column": "Vendor",
        "values": [{"value": "Acme", "wrong": 2, "products": 100}],
        "others": {"values": 0, "wrong": 0},
    }
    assert json.loads((shop / "w" / "check.json").read_text())["issues"] == summary["issues"]
    # Nothing is new since the check of the fixture.
    assert run(shop, "--json", "--fail-on", "new") == 0
    assert run(shop, "--fail-on", "any") == 1


def test_a_second_catalogue_is_told_by_what_is_new_changed_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, predicted = tmp_path, list[int]()
    check(write_shop(shop / "shop", noisy=False), shop / "w")
    predict = Classifier.predict_rows

    def count(self: Classifier, images: Any, rows: Any, *more: Any, **named: Any) -> Any:
        predicted.append(len(rows))
        return predict(self, images, rows, *more, **named)

    monkeypatch.setattr(Classifier, "predict_rows", count)
    later = make_products(110, (WRONG, 105))
    later[30] = replace(later[30], name="Soft Slim Oxford Shirt")
    write_shop(shop / "shop", [product for product in later if product.number not in (50, 51)], noisy=False)
    assert run(shop, "--fail-on", "new") == 1
    shown = " ".join(capsys.readouterr().out.split())
    # The product with the other name has another handle, and so is a new one.
    summary = json.loads((shop / "w" / "check.json").read_text())
    new = summary["changes"]["new"]["look_wrong"]
    assert f"Since the last check: 9 new products, {new} look" in shown
    assert "; 0 changed, 0 look wrong; 3 removed." in shown
    assert sum(predicted) == 8
    marks = read_csv(shop / "w" / "audit" / "issues.csv").filter(pl.col("item_change") == "new")
    assert later[105].handle in marks["item_id"].to_list()
    assert run(shop) == 0
    assert "Since the last check: nothing new, changed or removed." in capsys.readouterr().out


def test_a_changed_product_is_told(shop: Path) -> None:
    table = shop / "shop" / "products_export.csv"
    before, handle, after = table.read_text().partition(f"\n{PRODUCTS[30].handle},")
    table.write_text(before + handle + after.replace(",Shirts,", ",Sandals,", 1))
    summary = check(table, shop / "w")
    marks = read_csv(shop / "w" / "audit" / "issues.csv").filter(pl.col("item_change") == "changed")
    assert marks["item_id"].to_list()[:1] == [PRODUCTS[30].handle]
    assert summary["changes"] == {
        "new": {"products": 0, "look_wrong": 0},
        "changed": {"products": 1, "look_wrong": 1},
        "removed": {"products": 0},
    }


def test_what_is_decided_is_told_no_more_and_all_numbers_agree(shop: Path) -> None:
    workspace = Workspace.at(shop / "w")
    item_id = PRODUCTS[WRONG].handle
    with closing(Store(workspace.review / "review.sqlite")) as store:
        queue = Queue(read_issues(workspace.issues), read_items(workspace), store)
        first = next(issue for issue in queue.issues if issue.item_id == item_id)
        other = next(issue for issue in queue.issues if issue.severity == "info")
        for issue, action in ((first, "keep"), (other, "skip")):
            request = DecisionRequest(issue.position, action, {issue.item_id: queue.read_version(issue.item_id)})
            store.add(build_decisions(request, queue, LabelOptions(queue.items)), "Ann")
        queue.refresh()
        counts = queue.count(Filter())
    summary = check(shop / "shop" / "products_export.csv", workspace)
    assert (summary["wrong_categories"], summary["decided"], summary["skipped"]) == (1, 1, 1)
    assert item_id not in [example["item_id"] for example in summary["examples"]]
    # As the review's page has them, and `issues.csv`.
    looked_at = summary["to_look_at"]
    assert {"open": looked_at["questions"], "decided": 1, "skipped": 1, "total": looked_at["questions"] + 2} == counts
    assert len(read_csv(workspace.issues)) == counts["total"]
    assert sum(kind["products"] for kind in looked_at["kinds"]) == looked_at["products"] == 1
    assert summary["judged"] + sum(summary["not_judged"].values()) == summary["products"]
    # As the page has them.
    text = Page(workspace.report).text
    assert "Products 100 Photographs 100 Could be checked 100 Look wrong 1 To look at 1 Could not be used 2" in text
    assert "The review asks 1 question about 1 product" in text
    assert "1 is decided already and left out here. 1 is skipped for later and left out too." in text
    assert "with nothing to look at 99" in text
    assert item_id not in text.partition("2 Data sources")[0]


def test_a_check_goes_through_without_what_the_page_needs(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def report(_workspace: Workspace) -> None:
        raise ModuleNotFoundError("No module named 'jinja2'", name="jinja2")

    monkeypatch.setattr(check_module, "report", report)
    summary = check(shop / "shop" / "products_export.csv", shop / "w")
    assert summary["report"]["file"] is None
    told = " ".join(describe_check(summary, Path("w"), "shop").split())
    assert "The page with all of it could not be written: This command needs jinja2, which is not installed." in told


def test_a_check_by_hand_leaves_what_is_new_to_the_next_check_that_fails_on_it(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shop(shop / "shop", make_products(106, (WRONG, 105)))
    assert run(shop, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    waiting = found["since_fail_on"]
    # Two photographs can be read now, and four products are new.
    assert (waiting["products"], waiting["reported"], len(waiting["item_ids"])) == (6, False, 6)
    assert waiting["look_wrong"] >= 1
    # What a further catalogue adds is added.
    write_shop(shop / "shop", make_products(107, (WRONG, 105)))
    assert run(shop) == 0
    assert "with --fail-on new" not in capsys.readouterr().out
    assert run(shop, "--fail-on", "new") == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "Since the last check: nothing new, changed or removed." in shown
    assert f"with --fail-on new: 7 new or changed products, {waiting['look_wrong']} look" in shown
    # It has been told.
    assert run(shop, "--fail-on", "new") == 0
    assert "with --fail-on new" not in capsys.readouterr().out


def test_accepted_corrections_that_the_file_lacks_are_told_until_it_has_them(shop: Path) -> None:
    workspace, table = Workspace.at(shop / "w"), shop / "shop" / "products_export.csv"
    item_id = PRODUCTS[WRONG].handle
    store = Store(workspace.review / "review.sqlite")
    queue = Queue(read_issues(workspace.issues), read_items(workspace), store)
    issue = next(issue for issue in queue.issues if issue.item_id == item_id)
    request = DecisionRequest(issue.position, "accept", {item_id: 0})
    store.add(build_decisions(request, queue, LabelOptions(queue.items)), "Ann")
    store.close()
    summary = check(table, workspace)
    assert summary["not_in_file"] == 1
    shown = " ".join(describe_check(summary, Path("w"), "shop").split())
    assert "1 product of this file still has a value that you corrected. Run hangtag apply, as below" in shown
    apply(workspace)
    shutil.copy(workspace.review / "corrected" / table.name, table)
    summary = check(table, workspace)
    assert summary["not_in_file"] == 0
    assert "that you corrected" not in describe_check(summary, Path("w"), "shop")


def test_categories_that_the_model_does_not_know_are_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.at(tmp_path / "w")
    workspace.audit.mkdir(parents=True)
    unknown = [f"Home,Candle {number},{20 - number},," for number in range(7)]
    rows = ["kind,sort,items,model_level,model_class", "Apparel,Shirts,40,articleType,Shirts", *unknown]
    (workspace.audit / "category_mapping.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    audited: dict[str, Any] = {"not_applicable": {}, "sources": {"photographs": {"items_not_mapped": 119}}}
    gaps = audited_catalog._describe_gaps(audited, workspace)
    assert gaps["unknown_categories"][1] == {"category": "Home > Candle 1", "products": 19}
    named = (
        "Home > Candle 0 (20), Home > Candle 1 (19), Home > Candle 2 (18), Home > Candle 3 (17), Home > Candle 4 (16)"
    )
    [first, second] = catalog_words.describe_gaps({"not_compared": gaps, "products": 159, "not_judged": {}})
    assert first.endswith(f"hangtag's own model does not know their categories: {named} and 2 more.")
    assert "copy w/audit/category_mapping.csv to w/category_mapping.csv, write that name beside it" in second
    # It is known by the words of the audit.
    assert catalog_words.NONE_KNOWN in inspect.getsource(model_evidence)
    reason = f"The model {catalog_words.NONE_KNOWN} by their names."
    audited = {"not_applicable": {"label_error (image)": reason}, "sources": {}}
    gaps = audited_catalog._describe_gaps(audited, workspace)
    [first, second] = catalog_words.describe_gaps({"not_compared": gaps, "products": 159, "not_judged": {}})
    assert first.startswith("The photographs were not compared: hangtag's own model knows none of your categories")


def test_a_mapping_in_the_workspace_is_used(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def audit(_workspace: Workspace, config: AuditConfig, **_: Any) -> Any:
        used.append(config.category_mapping)
        raise CatalogError("Enough.")

    monkeypatch.setattr(check_module, "audit", audit)
    own = shop / "w" / "category_mapping.csv"
    for content in (None, "any"):
        if content:
            own.write_text(content)
        with pytest.raises(CatalogError, match="Enough"):
            check(shop / "shop" / "products_export.csv", shop / "w")
    assert used == ["", str(own)]


def test_products_without_a_category_get_a_suggestion_where_it_is_sure(tmp_path: Path) -> None:
    products = make_products(150, ())
    lacking = [replace(product, given="") for product in products[100:104]]
    # Nobody else's name has these words.
    lacking[3] = replace(lacking[3], name="Zzz Yyy Xxx")
    path = write_shop(tmp_path / "shop", [*products[:100], *lacking, *products[104:]])
    summary = check(path, tmp_path / "w")
    assert summary["without_category"] is not None
    assert {key: summary["without_category"][key] for key in ("products", "suggested", "not_sure")} == {
        "products": 4,
        "suggested": 3,
        "not_sure": 1,
    }
    table = read_csv(Path(summary["without_category"]["file"]))
    assert table["suggested_category"].to_list() == [*(product.true for product in lacking[:3]), None]
    assert table["is_sure"].to_list() == ["yes", "yes", "yes", "no"]
    # The delivered table is as it was, and no product without a category is suspected.
    assert not set(table["item_id"]) & set(read_csv(tmp_path / "w" / "audit" / "issues.csv")["item_id"])


@pytest.mark.parametrize("count", [13, 40])
def test_a_catalogue_whose_categories_are_all_small_is_checked(count: int, tmp_path: Path) -> None:
    summary = check(write_shop(tmp_path / "shop", make_products(count, ())), tmp_path / "w")
    assert summary["products"] == count
    assert summary["wrong_share"] == {"unknown": "no category could be compared with a photograph or a name"}
    assert "No category could be checked." in describe_check(summary, Path("w"), "shop")


def write_own_table(folder: Path, name: str, headings: str) -> Path:
    """Write a table that no shop writes, with the photographs of a Shopify export."""
    write_shop(folder)
    rows = [
        f'{product.number},"{product.name.replace(chr(34), chr(34) * 2)}",{product.given},{product.number}_1.jpg'
        for product in PRODUCTS
    ]
    (folder / "products_export.csv").unlink()
    path = folder / name
    path.write_text("\n".join([headings, *rows, ""]), encoding="utf-8")
    return path


def test_a_table_whose_columns_leave_no_doubt_is_described_once(tmp_path: Path) -> None:
    path = write_own_table(tmp_path / "shop", "monday.csv", "artno,title,category,picture")
    summary = check(path, tmp_path / "w")
    columns = {"id": "artno", "name": "title", "categories": ["category"], "photographs": "photos/{picture}"}
    described = tmp_path / "w" / "catalog.toml"
    assert summary["columns"] == {**columns, "file": str(described)}
    assert "ids in artno, names in title, categories in category" in " ".join(
        describe_check(summary, Path("w"), "shop").split()
    )
    assert not (tmp_path / "shop" / "catalog.toml").exists()
    # What a person wrote there holds from then on, for a table of another name too.
    described.write_text(described.read_text().replace('name = "title"', 'name = "picture"'))
    path = path.rename(path.with_name("tuesday.csv"))
    assert check(path, tmp_path / "w")["columns"]["name"] == "picture"


@pytest.mark.parametrize("headings", ["artno,title,category,mark", "a,b,c,picture"])
def test_a_table_that_leaves_doubt_is_refused_with_what_to_do(headings: str, tmp_path: Path) -> None:
    path = write_own_table(tmp_path / "shop", "own.csv", headings)
    if "mark" in headings:
        shutil.rmtree(tmp_path / "shop" / "photos")
    with pytest.raises(CatalogError, match="hangtag init"):
        check(path, tmp_path / "w")
    assert not (tmp_path / "w" / "catalog.toml").exists()


def test_the_page_is_opened_where_a_person_is(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def review(workspace: Path, config: ReviewConfig, on_start: Any) -> None:
        assert workspace == shop / "w"
        on_start(f"http://127.0.0.1:{config.port}/")
        raise KeyboardInterrupt

    class Timer:
        def __init__(self, _seconds: float, function: Any, given: list[str]) -> None:
            self.start = lambda: function(*given)

    monkeypatch.setattr("hangtag.stages.review.review", review)
    monkeypatch.setattr("threading.Timer", Timer)
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert run(shop) == 0
    monkeypatch.setattr(cli_options, "has_person", lambda: True)
    assert run(shop, "--no-open") == run(shop, "--json") == 0
    assert opened == []
    # The check went through, however the page is stopped, and another review does not keep it from the page.
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr("hangtag.stages.review.ReviewConfig", partial(ReviewConfig, port=other.getsockname()[1]))
        assert run(shop) == 0
        used = other.getsockname()[1]
    assert [address.startswith("http://127.0.0.1:") for address in opened] == [True]
    assert opened != [f"http://127.0.0.1:{used}/"]


def test_a_training_says_before_how_long_it_takes(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    monkeypatch.setattr(check_module, "print_line", said.append)
    monkeypatch.setattr(cross_validate_module, "estimate_seconds", lambda _workspace, config: 60.0 * config.min_epochs)

    def train(workspace: Workspace, _config: Any, *, replace: bool) -> Any:
        assert replace
        assert said == ["Learning from your own products takes about 1 min 00 s. Ctrl-C stops it."]
        raise CatalogError("Trained.", received=workspace.root.name)

    monkeypatch.setattr(cross_validate_module, "cross_validate", train)
    assert run(shop, "--train") == 2
    assert "Trained. Received: 'w'." in capsys.readouterr().err


def test_labels_that_something_was_trained_on_stay_as_they_are(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def clean(_workspace: Workspace, config: CleanConfig) -> Any:
        used.append(config.taxonomy)
        raise CatalogError("Enough.")

    monkeypatch.setattr(check_module, "clean", clean)
    path = shop / "shop" / "products_export.csv"
    for settings in ({}, {"clean": {"taxonomy": "finest"}}):
        with pytest.raises(CatalogError, match="Enough"):
            check(path, shop / "w", settings=settings)
    (shop / "w" / "folds" / "trained").mkdir(parents=True)
    (shop / "w" / "folds" / "trained" / "manifest.json").write_text("{}")
    with pytest.raises(CatalogError, match="Enough"):
        check(path, shop / "w")
    with pytest.raises(CatalogError, match="Enough"):
        check(path, shop / "other", train=True)
    assert used == ["every", "finest", "", ""]


GOLDEN = """
Read: 100 products with 100 photographs.
Not used, each with its reason in w/prepared/rejected.csv:
        1  photographs without content
        1  files that are no photographs

2 products look as if they are in a wrong category, of 100 that could be
checked.
1 more is less sure; the review shows it too.
Since the last check: nothing new, changed or removed.
How many mistakes there are beside these suspicions cannot be estimated: the
comparison contradicts too many categories that are probably right.
Not every suspicion is right: about 1 of them is a real mistake by estimate
(between 0 and 2).
The photographs were not compared. All photographs of categories that the model
has are unlike those that it was trained on.

Brands with most: Acme (2 of 100)
Categories with most: Watches (1 of 16), Shirts (1 of 18)

The review asks 3 questions about 3 products, each counted once here:
        2  in a category that looks wrong
        1  in a category that may be wrong: less sure

To verify by a look:
  The "Best" Steel Watch C (the-"best"-steel-watch-c-15)
    Watches -> Shirts
    Its name reads more like those of Shirts than like those of Watches.
  The "Best" Steel Watch C (the-"best"-steel-watch-c-3)
    Shirts -> Watches
    Its name reads more like those of Watches than like those of Shirts.

See it all on one page:         w/report.html
Decide in the browser:          hangtag review --workspace w
Then write your corrected file: hangtag apply --workspace w
"""
