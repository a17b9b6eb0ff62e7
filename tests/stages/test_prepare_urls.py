"""Photographs that a table names by URL are taken from the catalogue's files, or downloaded once."""

import io
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest
from PIL import Image
from shop_exports import draw_photographs

from hangtag.config import PrepareConfig
from hangtag.errors import CatalogError
from hangtag.stages.prepare import prepare

LOCAL = PrepareConfig(allow_private_addresses=True)


class Shop(ThreadingHTTPServer):
    """A server of photographs by their number; it counts what it is asked for, and lacks some."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.missing: set[str] = set()

    def get_url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/img/{name}?v=3"


class _Handler(BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:
        name = self.path.split("?")[0].rpartition("/")[2]
        self.server.asked[name] += 1
        buffer = io.BytesIO()
        Image.effect_noise((60, 80), 40 + len(self.server.asked)).save(buffer, "JPEG")
        self.send_response(404 if name in self.server.missing else 200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(buffer.getvalue())))
        self.end_headers()
        self.wfile.write(buffer.getvalue())

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def write_feed(folder: Path, shop: Shop, count: int = 6) -> Path:
    rows = [f"{n},Shirt {n},{'Tops' if n % 2 else 'Shoes'},{shop.get_url(f'{n}.jpg')}" for n in range(count)]
    path = folder / "feed.csv"
    path.write_text("\n".join(["id,title,product_type,image_link", *rows]))
    return path


def read_rejected(workspace: Path) -> dict[str, str]:
    table = pl.read_csv(workspace / "prepared" / "rejected.csv", infer_schema=False)
    return dict(table.select("item_id", "code").iter_rows())


def test_what_is_not_among_the_files_is_downloaded_once(shop: Shop, tmp_path: Path) -> None:
    feed, workspace = write_feed(tmp_path, shop), tmp_path / "w"
    draw_photographs(tmp_path / "photos", ["0.jpg", "1.jpg"])
    shop.missing = {"3.jpg"}
    result = prepare(feed, workspace, LOCAL)
    assert (result.metrics["items"], result.metrics["failed_downloads"]) == (5, 1)
    assert read_rejected(workspace) == {"3": "download_failed"}
    assert set(shop.asked) == {"2.jpg", "3.jpg", "4.jpg", "5.jpg"}
    shop.missing = set()
    again = prepare(feed, workspace, LOCAL)
    assert (again.metrics["items"], again.skipped) == (6, False)
    assert [shop.asked[f"{number}.jpg"] for number in (2, 4, 5)] == [1, 1, 1]
    assert prepare(feed, workspace, LOCAL).skipped


def test_nothing_is_downloaded_without_leave(shop: Shop, tmp_path: Path) -> None:
    feed = write_feed(tmp_path, shop)
    draw_photographs(tmp_path / "photos", ["0.jpg"])
    prepare(feed, tmp_path / "w", PrepareConfig(download=False))
    assert set(read_rejected(tmp_path / "w").values()) == {"missing_photograph"}
    prepare(feed, tmp_path / "v")
    # This server's address is not public.
    assert set(read_rejected(tmp_path / "v").values()) == {"url_not_allowed"}
    (tmp_path / "photos" / "0.jpg").unlink()
    with pytest.raises(CatalogError, match="--allow-private-addresses downloads from all addresses"):
        prepare(feed, tmp_path / "u")
    assert not shop.asked


def test_paths_and_urls_that_lead_nowhere_have_a_line_each(tmp_path: Path) -> None:
    draw_photographs(tmp_path / "photos" / "a", ["main.jpg"])
    draw_photographs(tmp_path / "photos" / "b", ["main.jpg", "only.jpg"])
    images = ["/../../secret.jpg", "http://[1/a.jpg", "%00.jpg", "https://x.org/a/main.jpg", "https://x.org/c/only.jpg"]
    rows = [f"{number},Shirt {number},Tops,{image}" for number, image in enumerate([*images, "/photos/b/main.jpg"])]
    (tmp_path / "feed.csv").write_text("\n".join(["id,title,product_type,image_link", *rows]))
    result = prepare(tmp_path / "feed.csv", tmp_path / "w", PrepareConfig(download=False))
    # Two files are called main.jpg: the folder in the URL says which.
    assert result.metrics["items"] == 3
    assert set(read_rejected(tmp_path / "w")) == {"0", "1", "2"}


def test_all_photographs_of_a_product_are_downloaded_once(shop: Shop, tmp_path: Path) -> None:
    others = [f'"{shop.get_url("a.jpg")},{shop.get_url("gone.jpg")}"', shop.get_url("b.jpg"), ""]
    rows = [f"{n},Shirt {n},Tops,{shop.get_url(f'{n}.jpg')},{cell}" for n, cell in enumerate(others)]
    feed, workspace = tmp_path / "feed.csv", tmp_path / "w"
    feed.write_text("\n".join(["id,title,product_type,image_link,additional_image_link", *rows]))
    shop.missing = {"gone.jpg", "1.jpg"}
    result = prepare(feed, workspace, LOCAL)
    wanted = {"items": 3, "other_photographs": 1, "rejected": 0, "rejected_photographs": 2, "failed_downloads": 2}
    assert {name: result.metrics[name] for name in wanted} == wanted
    items = pl.read_parquet(workspace / "prepared" / "items.parquet")
    # The second product has its other photograph as its own.
    assert items["image_path"].to_list() == [shop.get_url(name) for name in ("0.jpg", "b.jpg", "2.jpg")]
    lines = pl.read_csv(workspace / "prepared" / "rejected.csv", infer_schema=False)
    assert lines.select("item_id", "image_path", "code").rows() == [
        ("0", shop.get_url("gone.jpg"), "download_failed"),
        ("1", shop.get_url("1.jpg"), "download_failed"),
    ]
    shop.missing = set()
    again = prepare(feed, workspace, LOCAL)
    assert (again.metrics["other_photographs"], again.skipped) == (3, False)
    assert [shop.asked[name] for name in ("0.jpg", "a.jpg", "b.jpg", "2.jpg")] == [1, 1, 1, 1]
    assert prepare(feed, workspace, LOCAL).skipped
