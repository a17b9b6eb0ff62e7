"""Test what is dropped on the page of the local application: in pieces, all or nothing, within limits."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from local_application import App, read_message

from hangtag.local_app import browsing
from hangtag.local_app.browsing import Uploads
from hangtag.serving.middleware import ProblemError


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = App(tmp_path / "app")
    yield app
    app.desk.close()


def upload(app: App, files: dict[str, bytes], piece: int = 7, replaces: str = "") -> Any:
    listed = [{"path": path, "size": len(content)} for path, content in files.items()]
    begun = app.client.post("/api/uploads", json={"files": listed})
    assert begun.status_code == 200, begun.text
    name, whole = begun.json()["id"], b"".join(files.values())
    for offset in range(0, len(whole), piece):
        sent = app.client.post(
            f"/api/uploads/{name}/pieces", params={"offset": offset}, content=whole[offset : offset + piece]
        )
        assert sent.json()["received"] == min(offset + piece, len(whole))
    return app.client.post(f"/api/uploads/{name}/finish", params={"replaces": replaces})


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


@pytest.mark.parametrize(("files", "replaces"), [({"notes.doc": b"no table"}, ""), ({"a.csv": b"id\n1\n"}, "unknown")])
def test_an_upload_that_is_refused_at_its_end_is_removed(
    app: App, tmp_path: Path, files: dict[str, bytes], replaces: str
) -> None:
    assert upload(app, files, replaces=replaces).status_code in (404, 422)
    assert list((tmp_path / "app" / "uploads").iterdir()) == []


def test_a_body_beyond_the_limit_is_not_read(app: App) -> None:
    answer = app.client.post("/api/catalogues", json={"path": "x" * 1_000_001})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")

    def stream() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    answer = app.client.post("/api/catalogues", content=stream())
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert "Allowed: up to 1,000,000 bytes. Received: more." in read_message(answer)


def test_an_upload_that_is_cancelled_while_a_piece_is_written_leaves_nothing(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [(f"shop/{number}/a.csv", 1) for number in range(3)]
    name = app.uploads.begin(files)
    cancelling = threading.Thread(target=app.uploads.cancel, args=(name,))

    def open_slowly(path: Path, *, is_new: bool) -> BinaryIO:
        if path.parent.name == "1":
            cancelling.start()
            # Enough for a removal that does not wait for the piece.
            cancelling.join(0.5)
        return open_new(path, is_new=is_new)

    open_new = browsing._open_new
    monkeypatch.setattr(browsing, "_open_new", open_slowly)
    app.uploads.add(name, 0, b"123")
    cancelling.join(10)
    assert not list((tmp_path / "app" / "uploads").iterdir())
    with pytest.raises(ProblemError, match="This upload has ended"):
        app.uploads.finish(name)
