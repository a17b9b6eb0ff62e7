"""Test the local application over HTTP: choosing, columns, uploads, what waits for what, and access control."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from drawn_shop import write_drawn_shop
from fastapi.testclient import TestClient
from shop_exports import make_products, write_google

from hangtag.errors import WorkspaceError
from hangtag.local_app import browsing
from hangtag.local_app.app import build_app
from hangtag.local_app.browsing import Uploads
from hangtag.local_app.catalogs import Shelf
from hangtag.local_app.checks import CheckJob, CheckTarget
from hangtag.local_app.desk import Desk, Stages
from hangtag.local_app.preview import leave_out_flags
from hangtag.results import StageResult
from hangtag.reviewing.app import OpenReview
from hangtag.workspace import Workspace

TOKEN, COOKIE, BASE = "a-token-of-the-page", "hangtag-8002", "http://127.0.0.1:8002"


def crash(events: Connection, job: CheckJob, parent: int) -> None:
    """Report a step of a check, then end as a process without memory does."""
    assert job.catalog
    assert parent
    events.send({"steps": ["Read", "Compare"], "outcomes": ["12 products"]})
    os._exit(137)


def stall(events: Connection, job: CheckJob, parent: int) -> None:
    """Start another process, say so, and do not end when asked to."""
    del parent
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    other = subprocess.Popen(["sleep", "300"])
    events.send({"steps": [job.name], "outcomes": [], "bar": None})
    events.send({"bar": {"description": str(other.pid), "done": 0, "total": 10, "unit": "rows"}})
    other.wait()


def apply(workspace: Workspace, catalog: Path) -> StageResult:
    raise WorkspaceError("Nothing is decided yet.", received=f"{workspace.root.name} {catalog.name}")


def open_review(workspace: Workspace, back: str) -> OpenReview:
    raise WorkspaceError("Nothing is audited.", received=f"{workspace.root.name} {back}")


class App:
    """The application with a folder of its own, and a client that has opened its page."""

    def __init__(self, folder: Path, check: CheckTarget = crash) -> None:
        self.shelf = Shelf(folder)
        self.desk = Desk(self.shelf, Stages(check, apply, open_review))
        self.uploads = Uploads(folder / "uploads")
        self.app = build_app(self.shelf, self.desk, self.uploads, token=TOKEN, cookie=COOKIE)
        self.client = self.open(TOKEN)

    def open(self, token: str, host: str = "") -> TestClient:
        client = TestClient(self.app, base_url=host or BASE, raise_server_exceptions=False)
        client.cookies.set(COOKIE, token)
        client.headers["X-App-Token"] = token
        return client

    def choose(self, path: Path, **more: str) -> str:
        answer = self.client.post("/api/catalogues", json={"path": str(path), **more})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = App(tmp_path / "app")
    yield app
    app.desk.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawn_shop(tmp_path_factory.mktemp("shop"))[0]


def read_message(answer: Any) -> str:
    return str(answer.json()["error"]["message"])


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


# Uploads


def upload(app: App, files: dict[str, bytes], piece: int = 7) -> Any:
    listed = [{"path": path, "size": len(content)} for path, content in files.items()]
    begun = app.client.post("/api/uploads", json={"files": listed})
    assert begun.status_code == 200, begun.text
    name, whole = begun.json()["id"], b"".join(files.values())
    for offset in range(0, len(whole), piece):
        sent = app.client.post(
            f"/api/uploads/{name}/pieces", params={"offset": offset}, content=whole[offset : offset + piece]
        )
        assert sent.json()["received"] == min(offset + piece, len(whole))
    return app.client.post(f"/api/uploads/{name}/finish")


def test_a_dropped_folder_arrives_in_pieces_and_is_chosen(app: App, tmp_path: Path) -> None:
    files = {"shop/a.csv": b"id,name\n1,Shirt\n", "shop/empty.txt": b"", "shop/photos/1.jpg": bytes(range(50))}
    finished = upload(app, files | {"shop/last.txt": b""})
    chosen = app.shelf.read(finished.json()["id"])
    assert chosen.name == "shop"
    for path, content in files.items():
        assert (Path(chosen.path).parent / path).read_bytes() == content
    assert (Path(chosen.path) / "last.txt").read_bytes() == b""
    together = app.shelf.read(upload(app, {"a.csv": b"id\n1\n", "photos/1.jpg": b"123"}).json()["id"])
    assert sorted(path.name for path in Path(together.path).iterdir()) == ["a.csv", "photos"]
    single = app.shelf.read(upload(app, {"export.csv": b"id\n1\n"}).json()["id"])
    assert single.name == "export.csv"
    assert not list((tmp_path / "app" / "uploads").glob(".incoming-*"))


@pytest.mark.parametrize(
    "path",
    [
        "../a.csv",
        "/etc/a.csv",
        "a/../../b.csv",
        "a//b.csv",
        ".hidden/a.csv",
        "a\\..\\b.csv",
        "C:a.csv",
        "a\0.csv",
        "",
        "\ud800.csv",
    ],
)
def test_an_upload_stays_in_its_folder(app: App, path: str) -> None:
    with pytest.raises(Exception, match="cannot be stored") as raised:
        app.uploads.begin([(path, 3)])
    assert getattr(raised.value, "status", None) == 422


def test_an_upload_has_limits_and_leaves_nothing_behind(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "app" / "uploads"
    refuse = {"a.csv": 3, "A.CSV": 3}
    answer = app.client.post("/api/uploads", json={"files": [{"path": p, "size": n} for p, n in refuse.items()]})
    assert answer.status_code == 422
    monkeypatch.setattr(browsing, "MAX_BYTES", 100)
    answer = app.client.post("/api/uploads", json={"files": [{"path": "a.csv", "size": 101}]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert app.client.post("/api/uploads", json={"files": [{"path": "a.csv", "size": -1}]}).status_code == 422
    name = app.client.post("/api/uploads", json={"files": [{"path": "a.csv", "size": 10}]}).json()["id"]
    pieces = f"/api/uploads/{name}/pieces"
    assert app.client.post(pieces, params={"offset": 0}, content=b"x" * 11).status_code == 409
    assert app.client.post(pieces, params={"offset": 5}, content=b"x").status_code == 409
    assert app.client.post(pieces, params={"offset": 0}, content=b"x" * 8_000_001).status_code == 413
    assert app.client.post(f"/api/uploads/{name}/finish").status_code == 409
    assert app.client.post(pieces, params={"offset": 0}, content=b"x" * 4).json() == {"received": 4}
    assert app.client.delete(f"/api/uploads/{name}").status_code == 200
    assert app.client.post(pieces, params={"offset": 4}, content=b"x").status_code == 404
    assert list(folder.iterdir()) == []
    app.uploads.begin([("a.csv", 10)])
    # A killed process leaves a part, which the next one removes.
    Uploads(folder)
    assert list(folder.iterdir()) == []


def test_a_body_beyond_the_limit_is_not_read(app: App) -> None:
    answer = app.client.post("/api/catalogues", json={"path": "x" * 1_000_001})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")

    def stream() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    assert app.client.post("/api/catalogues", content=stream()).status_code in (400, 413)


# Checks


def wait(condition: Any, seconds: float = 60.0) -> None:
    ended = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        ended.wait(0.05)
    raise AssertionError("it does not happen")


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
