"""Test the local application over HTTP: choosing, columns, uploads, what waits for what, and access control."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from drawn_shop import write_drawn_shop
from fastapi.testclient import TestClient
from local_application import BASE, TOKEN, App, read_message, stall, wait
from shop_exports import make_products, write_google

from hangtag.io import write_json
from hangtag.local_app import catalogs
from hangtag.local_app.preview import leave_out_flags
from hangtag.stages import app as stage


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = App(tmp_path / "app")
    yield app
    app.desk.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawn_shop(tmp_path_factory.mktemp("shop"))[0]


def test_the_address_with_the_token_opens_the_page_and_hides_it(app: App) -> None:
    client = TestClient(app.app, base_url=BASE)
    assert client.get("/").status_code == 403
    assert "hangtag app" in client.get("/").text
    assert client.get("/?token=wrong").status_code == 403
    opened = client.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    assert "HttpOnly" in opened.headers["set-cookie"]
    assert "SameSite=strict" in opened.headers["set-cookie"]
    page = client.get("/")
    assert page.status_code == 200
    assert TOKEN in page.text
    assert page.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_every_request_needs_the_token_and_one_that_changes_something_in_a_header_too(app: App, shop: Path) -> None:
    found = app.choose(shop)
    paths = ["/api/catalogues", "/api/browse", f"/api/catalogues/{found}", f"/catalogues/{found}", f"/reviews/{found}/"]
    for path in [*paths, f"/catalogues/{found}/corrected", f"/api/catalogues/{found}/preview"]:
        assert app.open("wrong").get(path).status_code == 403, path
        # A token in the address opens the first page only.
        assert TestClient(app.app, base_url=BASE).get(path, params={"token": TOKEN}).status_code == 403, path
    forged = app.open(TOKEN)
    del forged.headers["X-App-Token"]
    assert forged.get("/api/catalogues").status_code == 200
    assert forged.post("/api/catalogues", json={"path": str(shop)}).status_code == 403
    assert forged.post(f"/api/catalogues/{found}/check").status_code == 403
    assert forged.delete(f"/api/catalogues/{found}/columns").status_code == 403


def test_another_host_name_is_refused_whatever_the_token(app: App) -> None:
    answer = app.open(TOKEN, "http://shop.example:8002").get("/api/catalogues")
    assert (answer.status_code, answer.json()["error"]["code"]) == (421, "wrong_host")
    assert app.open(TOKEN, "http://localhost:8002").get("/api/catalogues").status_code == 200


def test_a_catalogue_is_chosen_once_and_shows_what_its_columns_are(app: App, shop: Path) -> None:
    found = app.choose(shop)
    assert app.choose(shop) == found
    [listed] = app.client.get("/api/catalogues").json()["catalogues"]
    assert (listed["name"], listed["checked"], listed["is_there"]) == ("products_export.csv", None, True)
    preview = app.client.get(f"/api/catalogues/{found}/preview").json()
    roles = {each["name"]: each["role"] for each in preview["columns"] if each["role"] != "not used"}
    assert roles == {
        "Handle": "id",
        "Title": "name",
        "Vendor": "brand",
        "Type": "category path",
        "Image Src": "photograph",
    }
    assert (preview["layout"], preview["readable"], len(preview["rows"])) == ("shopify", 10, 10)
    assert preview["rows"][0]["category"] == ["Watches"]
    picture = app.client.get(f"/api/catalogues/{found}/picture", params={"row": 0, "number": 0})
    assert picture.content.startswith(b"\x89PNG")
    assert app.client.get(f"/api/catalogues/{found}/picture", params={"row": 99, "number": 0}).status_code == 404


def test_a_menu_changes_what_is_read_and_is_kept_outside_of_the_persons_folder(app: App, shop: Path) -> None:
    before = sorted(path for path in shop.parent.rglob("*"))
    found = app.choose(shop)
    preview = app.client.get(f"/api/catalogues/{found}/preview").json()
    roles = {each["name"]: each["role"] for each in preview["columns"]} | {"Type": "not used", "Vendor": "category 1"}
    changed = app.client.post(f"/api/catalogues/{found}/columns", json={"roles": roles}).json()
    assert (changed["message"], changed["can_start"], changed["readable"]) == ("", True, 10)
    assert [(each["level"], each["count"]) for each in changed["categories"]] == [("Vendor", 1)]
    # Variants still belong to their product, as in a shop's export.
    assert changed["products"] == preview["products"]
    description = app.client.get(f"/catalogues/{found}/description")
    assert 'levels = ["Vendor"]' in description.text
    assert "filename*=UTF-8''catalog.toml" in description.headers["content-disposition"]
    roles["Vendor"] = "not used"
    lacking = app.client.post(f"/api/catalogues/{found}/columns", json={"roles": roles}).json()
    assert (lacking["can_start"], lacking["message"]) == (
        False,
        "Which column has the category? Choose it in the menu above the column; of several, the coarsest first.",
    )
    assert lacking["rows"][0]["cells"][0] == preview["rows"][0]["cells"][0]
    twice = app.client.post(f"/api/catalogues/{found}/columns", json={"roles": roles | {"Title": "id"}})
    assert twice.status_code == 422
    assert "Only one column can be the id: Handle and Title" in read_message(twice)
    reset = app.client.delete(f"/api/catalogues/{found}/columns").json()
    assert reset["columns"] == preview["columns"]
    assert sorted(path for path in shop.parent.rglob("*")) == before


def test_a_long_heading_is_taken_and_too_many_columns_are_refused_with_the_limit(app: App, tmp_path: Path) -> None:
    heading = "Warengruppe " * 400
    lines = [f"Nummer;{heading};Bild", *(f"A{n};{'Hemden' if n % 2 else 'Hosen'};{n}_1.jpg" for n in range(12))]
    table = write_drawn_shop(tmp_path / "shop")[0].with_name("artikel.csv")
    table.write_text("\n".join([*lines, ""]), encoding="utf-8")
    found = app.choose(table)
    preview = app.client.get(f"/api/catalogues/{found}/preview").json()
    roles = {each["name"]: each["role"] for each in preview["columns"]}
    assert max(map(len, roles)) > 4096
    changed = app.client.post(f"/api/catalogues/{found}/columns", json={"roles": roles})
    assert (changed.status_code, changed.json()["can_start"]) == (200, True)
    many = {f"{number} {'x' * 300}": "not used" for number in range(5001)}
    answer = app.client.post(f"/api/catalogues/{found}/columns", json={"roles": many})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "too_many_columns")
    assert "Allowed: up to 5,000 columns. Received: 5,001." in read_message(answer)


def test_of_changes_at_the_same_time_none_is_lost(app: App, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing = threading.Barrier(2)

    def write_slowly(path: Path, value: object) -> None:
        # Where another thread can be here too, both have read before either has written.
        with suppress(threading.BrokenBarrierError):
            writing.wait(0.3)
        write_json(path, value)

    monkeypatch.setattr(catalogs, "write_json", write_slowly)

    def run(*calls: Callable[[], object]) -> None:
        threads = [threading.Thread(target=call) for call in calls]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        writing.reset()

    run(lambda: app.shelf.add(shop), lambda: app.shelf.add(shop))
    [chosen] = app.shelf.list()
    run(lambda: app.shelf.update(chosen, layout="shopify"), lambda: app.shelf.mark_checked(chosen, "It is odd."))
    changed = app.shelf.read(chosen.catalog_id)
    assert (changed.layout, changed.failed) == ("shopify", "It is odd.")


def test_a_second_application_says_that_one_runs_and_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(stage, "_open_page", lambda address, opens: opened.append(f"{address} {opens}"))
    started: list[str] = []
    with stage._hold_folder(tmp_path):
        stage._write_private(tmp_path / stage.RUNNING, '{"address": "http://127.0.0.1:8002/?token=abc"}')
        stage.app(tmp_path, opens=False, on_start=started.append)
    told = capsys.readouterr().err
    assert "runs with this folder already, and nothing was started. Its page: http://127.0.0.1:8002/?token=abc" in told
    assert (started, opened) == ([], ["http://127.0.0.1:8002/?token=abc False"])


def test_a_table_that_nobody_described_is_described_by_its_values(app: App, tmp_path: Path) -> None:
    table = write_drawn_shop(tmp_path / "shop")[0]
    lines = ["Nummer;Bezeichnung;Warengruppe;Bild"]
    lines += [f"A{n};Rotes Hemd {n};{'Hemden' if n % 2 else 'Hosen'};{n}_1.jpg" for n in range(12)]
    table.unlink()
    own = tmp_path / "shop" / "artikel.csv"
    own.write_text("\n".join([*lines, ""]), encoding="utf-8")
    (tmp_path / "shop" / "photos" / "3_1.jpg").write_bytes(b"<html>404</html>")
    (tmp_path / "shop" / "photos" / "4_1.jpg").unlink()
    found = app.choose(own)
    preview = app.client.get(f"/api/catalogues/{found}/preview").json()
    assert {each["name"]: each["role"] for each in preview["columns"]} == {
        "Nummer": "id",
        "Bezeichnung": "name",
        "Warengruppe": "category 1",
        "Bild": "not used",
    }
    assert preview["pattern"] == "photos/{Bild}"
    assert (preview["readable"], preview["is_own"]) == (8, True)
    assert sorted(each["text"] for each in preview["reasons"]) == [
        "files that are no photographs",
        "photographs that are not there",
    ]
    assert not (tmp_path / "shop" / "catalog.toml").exists()


def test_the_newer_export_keeps_the_catalogue_and_its_columns(app: App, shop: Path, tmp_path: Path) -> None:
    found = app.choose(shop)
    later = write_drawn_shop(tmp_path / "later", more=12)[0]
    assert app.choose(later, replaces=found) == found
    listed = app.client.get(f"/api/catalogues/{found}").json()
    assert listed["path"] == str(later)
    assert app.client.get(f"/api/catalogues/{found}/preview").json()["products"] == 54 + 12
    assert len(app.client.get("/api/catalogues").json()["catalogues"]) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.csv", "There is nothing at this path"),
        ("notes.odt", "which is no catalogue"),
        ("~", "has everything of this computer"),
        ("relative.csv", "Type the whole path"),
    ],
)
def test_what_is_no_catalogue_is_refused_with_the_reason(app: App, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "notes.odt").write_bytes(b"PK\x03\x04 no archive")
    path = name if name in ("~", "relative.csv") else str(tmp_path / name)
    answer = app.client.post("/api/catalogues", json={"path": path})
    assert answer.status_code in (404, 422)
    assert message in read_message(answer)


def test_a_damaged_table_says_what_the_matter_is(app: App, tmp_path: Path) -> None:
    (tmp_path / "export.xlsx").write_bytes(b"PK\x03\x04 this is no workbook")
    answer = app.client.get(f"/api/catalogues/{app.choose(tmp_path / 'export.xlsx')}/preview")
    assert answer.status_code == 422
    assert "Traceback" not in answer.text
    assert "export.xlsx" in read_message(answer)


def test_a_mistake_is_told_without_flags_of_the_command_line(app: App, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    for name in ("a.csv", "b.csv"):
        shutil.copy(shop, tmp_path / "two" / name)
    answer = app.client.get(f"/api/catalogues/{app.choose(tmp_path / 'two')}/preview")
    assert answer.status_code == 422
    assert read_message(answer).endswith("Choose one of the tables instead of the folder.")
    told = "It is odd. Allowed: a b. Received: '--x y'. Try --image '{id}.jpg'. Run `hangtag init`. Or unpack it."
    assert leave_out_flags(told) == "It is odd. Allowed: a b. Received: '--x y'. Or unpack it."
    # What is wrong is said even where a command is named in it.
    lacking = "The table lacks a column that `hangtag prepare` read. Received: ['Type']. Run `hangtag prepare`."
    assert leave_out_flags(lacking) == "The table lacks a column that `hangtag prepare` read. Received: ['Type']."


def test_a_catalogue_whose_path_the_system_refuses_hides_no_other(app: App, shop: Path) -> None:
    found, lost = app.choose(shop), app.choose(shop.parent)
    # A name that is too long is refused for everybody, as a folder without permission is for most.
    app.shelf.update(app.shelf.read(lost), path="/" + "x" * 300)
    listed = app.client.get("/api/catalogues").json()["catalogues"]
    assert {each["id"]: each["is_there"] for each in listed} == {found: True, lost: False}
    assert app.client.get(f"/api/catalogues/{lost}").json()["is_there"] is False


def test_a_folder_whose_name_is_no_text_can_be_chosen(app: App, shop: Path, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        shutil.copytree(shop.parent, folder)
    except OSError:
        pytest.skip("This file system has names of UTF-8 only.")
    listed = app.client.get("/api/browse", params={"path": str(tmp_path)}).json()["folders"]
    [path] = [each["path"] for each in listed if "caf" in each["name"]]
    found = app.choose(Path(path))
    assert app.shelf.read(found).path == str(folder)
    assert app.choose(Path(path)) == found
    assert app.client.get(f"/api/catalogues/{found}").json()["is_there"] is True
    assert app.client.get(f"/api/catalogues/{found}/preview").json()["rows"]


@pytest.mark.parametrize("path", ["~nobody-of-this-name/x.csv", "shop/x.csv", "/a\0.csv"])
def test_a_path_that_does_not_begin_at_the_top_is_refused(app: App, path: str) -> None:
    for answer in (
        app.client.post("/api/catalogues", json={"path": path}),
        app.client.get("/api/browse", params={"path": path}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "no_path")


def test_the_home_folder_is_refused_however_it_is_written(app: App, shop: Path) -> None:
    for path in ("/", str(Path.home()), f"{shop.parent}{'/..' * len(shop.parts)}", f"{Path.home()}/x/.."):
        answer = app.client.post("/api/catalogues", json={"path": path})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "too_much"), path
    assert app.choose(Path(f"{shop.parent}/x/../{shop.name}")) == app.choose(shop)


def test_folders_are_listed_without_what_is_hidden(app: App, tmp_path: Path) -> None:
    (tmp_path / ".secret").mkdir()
    (tmp_path / "exports").mkdir()
    for name in ("a.csv", "b.zip", "c.pdf", "d.jpg"):
        (tmp_path / name).write_bytes(b"1234")
    listed = app.client.get("/api/browse", params={"path": str(tmp_path)}).json()
    assert "exports" in [each["name"] for each in listed["folders"]]
    assert ".secret" not in [each["name"] for each in listed["folders"]]
    assert [(each["name"], each["bytes"]) for each in listed["files"]] == [("a.csv", 4), ("b.zip", 4)]
    assert (listed["photographs"], listed["parent"]) == (1, str(tmp_path.parent))
    assert app.client.get("/api/browse", params={"path": "exports"}).status_code == 422
    assert app.client.get("/api/browse", params={"path": str(tmp_path / "none")}).status_code == 404


# Checks


def test_a_crash_of_a_check_is_told_and_the_application_goes_on(app: App, shop: Path) -> None:
    found = app.choose(shop)
    started = app.client.post(f"/api/catalogues/{found}/check").json()
    assert started["checking"]["state"] in ("waiting", "running")
    assert app.client.post(f"/api/catalogues/{found}/check").status_code == 409
    assert app.client.post(f"/api/catalogues/{found}/apply").status_code == 409
    assert app.client.post(f"/api/catalogues/{found}/columns", json={"roles": {}}).status_code == 409
    wait(lambda: not app.client.get(f"/api/catalogues/{found}").json()["checking"])
    ended = app.client.get(f"/api/catalogues/{found}").json()
    assert "(exit code 137)" in ended["failed"]
    assert ended["results"] is None
    # There is no review, and its address leads back.
    assert app.client.get(f"/reviews/{found}/", follow_redirects=False).headers["location"] == f"/catalogues/{found}"
    assert app.client.get(f"/reviews/{found}/api/next").status_code == 403


def read_stalled(app: App, found: str) -> int:
    """Return the process that a stalled check has started, once it has."""
    wait(lambda: (app.desk.describe_fully(app.shelf.read(found))["checking"] or {}).get("bar"))
    return int(app.desk.describe_fully(app.shelf.read(found))["checking"]["bar"]["description"])


def is_running(process_id: int) -> bool:
    status = Path(f"/proc/{process_id}/stat")
    return status.exists() and " Z " not in status.read_text()


def test_a_check_waits_for_another_and_both_can_be_stopped_at_once(shop: Path, tmp_path: Path) -> None:
    app = App(tmp_path / "app", stall)
    try:
        first, second = app.choose(shop), app.choose(shop.parent)
        app.client.post(f"/api/catalogues/{first}/check")
        child = read_stalled(app, first)
        waiting = app.client.post(f"/api/catalogues/{second}/check").json()["checking"]
        assert (waiting["state"], waiting["waits_for"]) == ("waiting", "products_export.csv")
        assert app.client.delete(f"/api/catalogues/{second}/check").json()["checking"] is None
        app.client.post(f"/api/catalogues/{second}/check")
        stopped = app.client.delete(f"/api/catalogues/{first}/check").json()
        assert stopped["checking"]["state"] == "stopping"
        wait(lambda: not is_running(child))
        wait(lambda: not app.client.get(f"/api/catalogues/{first}").json()["checking"])
        # What a person stops is no failure, and the next one has begun.
        assert app.client.get(f"/api/catalogues/{first}").json()["failed"] == ""
        other = read_stalled(app, second)
        assert is_running(other)
    finally:
        app.desk.close()
    # Nothing of it outlives the application.
    wait(lambda: not is_running(other))


def test_mistakes_of_a_stage_are_told_in_its_own_words(app: App, shop: Path) -> None:
    answer = app.client.post(f"/api/catalogues/{app.choose(shop)}/apply")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "mistake")
    assert read_message(answer).startswith("Nothing is decided yet.")


@pytest.mark.parametrize("path", ["..", "%2e%2e", "..%2f..%2fetc", "a/../../b", "A", "none-000000"])
def test_no_name_of_a_catalogue_leads_elsewhere(app: App, path: str) -> None:
    for address in (f"/api/catalogues/{path}", f"/catalogues/{path}/corrected", f"/reviews/{path}/api/next"):
        assert app.client.get(address).status_code in (404, 422), address


def test_category_paths_of_a_feed_are_one_column(app: App, tmp_path: Path) -> None:
    found = app.choose(write_google(tmp_path / "feed", make_products(12)))
    preview = app.client.get(f"/api/catalogues/{found}/preview").json()
    roles = {each["name"]: each["role"] for each in preview["columns"]}
    assert (roles["product_type"], roles["item_group_id"], roles["brand"]) == ("category path", "group", "brand")
    assert [each["count"] for each in preview["categories"]] == [3, 5, 6]
    assert "level_1" not in roles
    # The same again by menus, and its brand in another column.
    roles |= {"brand": "not used", "condition": "brand"}
    changed = app.client.post(f"/api/catalogues/{found}/columns", json={"roles": roles}).json()
    assert changed["categories"] == preview["categories"]
    assert {each["name"]: each["role"] for each in changed["columns"]} == roles
