"""Photographs by URL, from a server that is slow, broken, huge, redirecting or wrong."""

import gzip
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.catalog import downloads, public_connections
from hangtag.catalog.downloads import DownloadSettings, download_photographs, find_in_cache, remove_from_cache
from hangtag.catalog.photograph_table import Rejected
from hangtag.errors import MissingExtraError

PICTURE = b"\xff\xd8\xff" + bytes(range(256)) * 8
QUICK = DownloadSettings(
    retries=2,
    backoff_seconds=0.01,
    connect_seconds=5,
    read_seconds=5,
    photograph_seconds=10,
    max_bytes=10_000,
    allow_private_addresses=True,
)
Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers each path as the test says, or with a picture."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.requests.append(self.path)
            server.times.append(time.monotonic())
            server.headers.append(dict(self.headers))
            server.active += 1
            server.most_active = max(server.most_active, server.active)
        try:
            server.answers.get(self.path.partition("?")[0], send_picture)(self)
        finally:
            server.active -= 1

    def log_message(self, *_: object) -> None:
        pass

    def send(self, status: int, body: bytes = b"", **headers: object) -> None:
        """Send a whole answer, whose headers can be wrong."""
        self.send_response(status)
        for name, value in ({"Content_Length": len(body)} | headers).items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock, self.closing = threading.Lock(), threading.Event()
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        self.times: list[float] = []
        self.headers: list[dict[str, str]] = []
        self.connections = self.active = self.most_active = 0

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that have gone."""

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}{path}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


def send_picture(handler: Handler) -> None:
    handler.send(200, PICTURE + handler.path.encode(), Content_Type="image/jpeg")


def send_nothing(handler: Handler) -> None:
    handler.server.closing.wait(5)


def drip_body(handler: Handler) -> None:
    handler.send(200, b"", Content_Length=5_000)
    drip(handler)


def drip_body_of_unknown_length(handler: Handler) -> None:
    handler.send(200, b"", Content_Length=None, Connection="close")
    drip(handler)


def drip_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    drip(handler)


def drip(handler: Handler) -> None:
    while not handler.server.closing.wait(0.05):
        handler.wfile.write(b"x")


def break_off(handler: Handler) -> None:
    handler.send(200, PICTURE, Content_Length=len(PICTURE) + 50)
    handler.close_connection = True


def hang_up(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def answer_nonsense(handler: Handler) -> None:
    handler.wfile.write(b"\x00\x01 what?\r\n\r\n")
    handler.close_connection = True


def send_endlessly(handler: Handler) -> None:
    handler.send(200, b"", Content_Length=None, Connection="close")
    while not handler.server.closing.is_set():
        handler.wfile.write(bytes(4096))


def send_chunks_endlessly(handler: Handler) -> None:
    handler.send(200, b"", Content_Length=None, Transfer_Encoding="chunked")
    while not handler.server.closing.is_set():
        handler.wfile.write(b"400\r\n" + bytes(1024) + b"\r\n")


def send_bomb(handler: Handler) -> None:
    handler.send(200, gzip.compress(bytes(5_000_000)), Content_Encoding="gzip")


def send_page(handler: Handler) -> None:
    handler.send(200, b"<html>Please log in</html>", Content_Type="Text/HTML; charset=utf-8")


def send_status(status: int, **headers: object) -> Answer:
    return lambda handler: handler.send(status, b"no", **headers)


def redirect_to(location: str, status: int = 302) -> Answer:
    return send_status(status, Location=location)


def in_turn(*answers: Answer) -> Answer:
    """Answer the first requests of a path one way, and all later ones as the last says."""
    counts: Counter[str] = Counter()

    def answer(handler: Handler) -> None:
        counts[handler.path] += 1
        answers[min(counts[handler.path], len(answers)) - 1](handler)

    return answer


def download(urls: Sequence[str], cache: Path, **changes: Any) -> list[Path | Rejected]:
    return download_photographs(urls, cache, replace(QUICK, **changes))


def reject(url: str, cache: Path, **changes: Any) -> Rejected:
    """Download one photograph, which must fail and leave nothing behind."""
    (outcome,) = download([url], cache, **changes)
    assert isinstance(outcome, Rejected), outcome
    assert list_files(cache) == []
    return outcome


def list_files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def resolve_as(monkeypatch: pytest.MonkeyPatch, names: dict[str, Sequence[str]]) -> list[str]:
    """Give names addresses of the test's; return the list of the names that are asked for."""
    real, asked = socket.getaddrinfo, []

    def find(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        asked.append(host)
        return [found for each in names.get(host, [host]) for found in real(each, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", find)
    return asked


def test_each_url_has_its_photograph_in_order_and_is_asked_for_once(server: Server, tmp_path: Path) -> None:
    a, b, missing = (server.url(path) for path in ("/a.jpg?size=2", "/b.jpg", "/missing.jpg"))
    server.answers["/missing.jpg"] = send_status(404)
    outcomes = download([a, b, missing, a, f" {a}#top ", missing], tmp_path)
    assert outcomes[0] == outcomes[3] == outcomes[4] == find_in_cache(a, tmp_path)
    assert outcomes[1] == find_in_cache(b, tmp_path)
    assert outcomes[2] == outcomes[5] == Rejected("download_failed", "the server answered 404 Not Found")
    assert find_in_cache(a, tmp_path).read_bytes() == PICTURE + b"/a.jpg?size=2"
    assert find_in_cache(b, tmp_path).read_bytes() == PICTURE + b"/b.jpg"
    assert sorted(server.requests) == ["/a.jpg?size=2", "/b.jpg", "/missing.jpg"]
    assert all(each["User-Agent"].startswith("hangtag/") for each in server.headers)


def test_the_next_run_asks_only_for_what_has_failed(server: Server, tmp_path: Path) -> None:
    urls = [server.url(f"/{number}.jpg") for number in range(4)]
    server.answers["/2.jpg"] = in_turn(send_status(404), send_picture)
    assert isinstance(download(urls, tmp_path)[2], Rejected)
    server.requests.clear()
    assert download(urls, tmp_path) == [find_in_cache(url, tmp_path) for url in urls]
    assert server.requests == ["/2.jpg"]
    remove_from_cache(urls[1], tmp_path)
    download(urls, tmp_path)
    assert server.requests == ["/2.jpg", "/1.jpg"]
    assert download([], tmp_path) == []


def test_connections_are_used_again(server: Server, tmp_path: Path) -> None:
    download([server.url(f"/{number}.jpg") for number in range(30)], tmp_path, host_connections=2)
    assert len(server.requests) == 30
    assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "code", "reason", "requests"),
    [
        (send_status(404), "download_failed", "the server answered 404 Not Found", 1),
        (send_status(403), "download_failed", "the server answered 403 Forbidden", 1),
        (send_status(204, Content_Length=None), "download_failed", "the server answered 204 No Content", 1),
        (send_status(799), "download_failed", r"the server answered 799 \(an unknown status\)", 1),
        (send_status(500), "download_failed", "the server answered 500 Internal Server Error", 3),
        (send_status(503), "download_failed", "the server answered 503 Service Unavailable", 3),
        (send_status(503, Retry_After="soon"), "download_failed", "the server answered 503 Service Unavailable", 3),
        (send_status(301), "download_failed", "the server answered 301 Moved Permanently", 1),
        (lambda handler: handler.send(200), "download_failed", "the file is empty", 1),
        (send_page, "not_an_image", "the server sent text/html", 1),
        (break_off, "download_failed", "the connection broke off: .*50 more expected", 3),
        (hang_up, "download_failed", "the connection broke off: Connection aborted", 3),
        (answer_nonsense, "download_failed", "the connection broke off: ", 3),
        (send_nothing, "download_timeout", "no bytes within 0.2 seconds", 3),
    ],
)
def test_a_wrong_answer_has_a_code(
    server: Server, tmp_path: Path, answer: Answer, code: str, reason: str, requests: int
) -> None:
    server.answers["/a.jpg"] = answer
    rejected = reject(server.url("/a.jpg"), tmp_path, read_seconds=0.2 if answer is send_nothing else 5)
    assert rejected.code == code
    assert re.match(reason, rejected.reason), rejected.reason
    assert len(server.requests) == requests


@pytest.mark.parametrize("first", [send_status(500), send_status(429), send_nothing, break_off, hang_up])
def test_a_temporary_failure_is_tried_again(server: Server, tmp_path: Path, first: Answer) -> None:
    server.answers["/a.jpg"] = in_turn(first, send_picture)
    (path,) = download([server.url("/a.jpg")], tmp_path, read_seconds=0.3 if first is send_nothing else 5)
    assert isinstance(path, Path)
    assert path.read_bytes() == PICTURE + b"/a.jpg"
    assert len(server.requests) == 2


def test_pauses_between_tries_grow(server: Server, tmp_path: Path) -> None:
    server.answers["/a.jpg"] = send_status(500)
    reject(server.url("/a.jpg"), tmp_path, backoff_seconds=0.1)
    assert server.times[1] - server.times[0] >= 0.1
    assert server.times[2] - server.times[1] >= 0.2


def test_a_host_that_asks_for_a_pause_gets_it_for_all_photographs(server: Server, tmp_path: Path) -> None:
    urls = [server.url(f"/{number}.jpg") for number in range(4)]
    server.answers["/0.jpg"] = in_turn(send_status(429, Retry_After=1), send_picture)
    assert download(urls, tmp_path, host_connections=1) == [find_in_cache(url, tmp_path) for url in urls]
    assert server.requests[:2] == ["/0.jpg", "/0.jpg"]
    assert server.times[1] - server.times[0] >= 1


def test_a_pause_that_a_host_asks_for_is_not_counted(server: Server, tmp_path: Path) -> None:
    server.answers["/a.jpg"] = in_turn(send_status(503, Retry_After=1), send_picture)
    assert isinstance(download([server.url("/a.jpg")], tmp_path, photograph_seconds=0.8)[0], Path)


def test_a_host_that_asks_for_too_long_a_pause_is_left_alone(server: Server, tmp_path: Path) -> None:
    server.answers["/0.jpg"] = send_status(429, Retry_After=3600)
    first, *others = download([server.url(f"/{number}.jpg") for number in range(5)], tmp_path, host_connections=1)
    reason = "the server answered 429 Too Many Requests and asks to wait 3,600 seconds"
    assert first == Rejected("download_failed", reason)
    assert others == [Rejected("download_failed", "127.0.0.1 asks to wait 3,600 seconds")] * 4
    assert server.requests == ["/0.jpg"]


@pytest.mark.parametrize("answer", [drip_body, drip_body_of_unknown_length, drip_headers])
def test_a_slow_answer_is_cut_at_the_limit(server: Server, tmp_path: Path, answer: Answer) -> None:
    server.answers["/a.jpg"] = answer
    started = time.monotonic()
    rejected = reject(server.url("/a.jpg"), tmp_path, photograph_seconds=0.4)
    assert rejected == Rejected("download_timeout", "not complete within 0.4 seconds")
    assert time.monotonic() - started < 4
    assert len(server.requests) == 1


def test_a_host_that_is_down_is_not_asked_for_every_photograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "GIVE_UP_AFTER", 3)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    asked = resolve_as(monkeypatch, {})
    outcomes = download([f"http://127.0.0.1:{port}/{n}.jpg" for n in range(9)], tmp_path, host_connections=1)
    reason = "no connection to 127.0.0.1: Connection refused"
    assert outcomes[:3] == [Rejected("download_failed", reason)] * 3
    later = f"not asked for, since 3 photographs of 127.0.0.1 in a row have failed: {reason}"
    assert outcomes[3:] == [Rejected("download_failed", later)] * 6
    assert len(asked) == 9


def test_photographs_that_are_missing_say_nothing_of_the_host(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "GIVE_UP_AFTER", 2)
    for number in range(6):
        server.answers[f"/{number}.jpg"] = send_status(404 if number % 2 else 500)
    urls = [server.url(f"/{number}.jpg") for number in range(7)]
    assert isinstance(download(urls, tmp_path, host_connections=1)[6], Path)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (send_status(200, Content_Length=10_001), "10001 bytes, 10000 are allowed"),
        (send_endlessly, "more than 10000 bytes, which are allowed"),
        (send_chunks_endlessly, "more than 10000 bytes, which are allowed"),
        (send_bomb, "more than 10000 bytes, which are allowed"),
    ],
)
def test_a_file_that_is_too_large_is_not_read_to_its_end(
    server: Server, tmp_path: Path, answer: Answer, reason: str
) -> None:
    server.answers["/a.jpg"] = answer
    assert reject(server.url("/a.jpg"), tmp_path) == Rejected("too_many_bytes", reason)
    assert len(server.requests) == 1


def test_a_file_of_the_largest_size_is_taken(server: Server, tmp_path: Path) -> None:
    server.answers["/a.jpg"] = lambda handler: handler.send(200, bytes(10_000))
    (path,) = download([server.url("/a.jpg")], tmp_path)
    assert isinstance(path, Path)
    assert path.stat().st_size == 10_000


def test_more_bytes_than_stated_spoil_no_other_photograph(server: Server, tmp_path: Path) -> None:
    server.answers["/0.jpg"] = lambda handler: handler.send(200, PICTURE + b"HTTP/1.1 200 OK", Content_Length=100)
    urls = [server.url(f"/{number}.jpg") for number in range(3)]
    download(urls, tmp_path, host_connections=1)
    assert find_in_cache(urls[0], tmp_path).read_bytes() == PICTURE[:100]
    assert find_in_cache(urls[1], tmp_path).read_bytes() == PICTURE + b"/1.jpg"
    assert find_in_cache(urls[2], tmp_path).read_bytes() == PICTURE + b"/2.jpg"


def test_letters_that_a_url_may_not_have_are_encoded(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolve_as(monkeypatch, {"xn--mller-kva.example": ["127.0.0.1"]})
    url = server.url("/é 1%20.jpg?q=ü", "MÜLLER.example")
    assert download([url], tmp_path) == [find_in_cache(url, tmp_path)]
    assert server.requests == ["/%C3%A9%201%20.jpg?q=%C3%BC"]
    assert asked == ["xn--mller-kva.example"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(server: Server, tmp_path: Path, status: int) -> None:
    server.answers["/a.jpg"] = redirect_to("../b.jpg?x=é", status)
    (path,) = download([server.url("/a.jpg")], tmp_path)
    assert path == find_in_cache(server.url("/a.jpg"), tmp_path)
    assert server.requests[0] == "/a.jpg"
    assert server.requests[1].startswith("/b.jpg?x=%")


def test_a_loop_of_redirects_ends(server: Server, tmp_path: Path) -> None:
    server.answers["/a.jpg"] = redirect_to("/a.jpg")
    assert reject(server.url("/a.jpg"), tmp_path) == Rejected("download_failed", "more than 5 redirects")
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc/passwd", "file:// is not allowed, only http://, https://"),
        ("s3://bucket/a.jpg", "s3:// is not allowed, only http://, https://"),
        ("http://user:secret@127.0.0.1/", "a URL with a user name or a password is not allowed"),
        ("http://127.0.0.2:{port}/", "127.0.0.2 has the address 127.0.0.2, which is not public"),
        ("//inside.example:{port}/", "inside.example has the address 127.0.0.2, which is not public"),
    ],
)
def test_each_redirect_is_checked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str, reason: str
) -> None:
    resolve_as(monkeypatch, {"shop.example": ["127.0.0.1"], "inside.example": ["127.0.0.1", "127.0.0.2"]})
    monkeypatch.setattr(public_connections, "_is_public", lambda address: str(address) == "127.0.0.1")
    server.answers["/a.jpg"] = redirect_to(location.format(port=server.server_port))
    url = server.url("/a.jpg", "shop.example")
    assert reject(url, tmp_path, allow_private_addresses=False) == Rejected("url_not_allowed", reason)
    assert server.requests == ["/a.jpg"]


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "2130706433", "0x7f.1", "127.1"),
        *("[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[ff02::1]", "[::ffff:127.0.0.1]", "[::127.0.0.1]"),
        *("[64:ff9b::a00:1]", "[2002:7f00:1::]"),
    ],
)
def test_an_address_that_is_not_public_is_not_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    def fail(*_: object) -> None:
        pytest.fail("connected")

    monkeypatch.setattr(socket.socket, "connect", fail)
    rejected = reject(f"http://{host}/a.jpg", tmp_path, allow_private_addresses=False)
    assert rejected.code == "url_not_allowed"
    assert "which is not public" in rejected.reason


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert public_connections._is_public(ip_address(address))


def test_the_address_that_was_checked_is_connected_to(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that has another address when it is asked for again does not lead there."""
    asked = resolve_as(monkeypatch, {"shop.example": ["127.0.0.1"]})
    url = server.url("/a.jpg", "shop.example")
    assert download([url], tmp_path) == [find_in_cache(url, tmp_path)]
    assert asked == ["shop.example"]
    assert server.headers[0]["Host"] == f"shop.example:{server.server_port}"


def test_an_address_that_does_not_answer_is_passed_over(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_as(monkeypatch, {"shop.example": ["127.0.0.3", "127.0.0.1"]})
    assert isinstance(download([server.url("/a.jpg", "shop.example")], tmp_path)[0], Path)


@pytest.mark.parametrize(
    ("errno", "tries"), [(socket.EAI_NONAME, 1), (socket.EAI_AGAIN, 3)], ids=["unknown", "no answer"]
)
def test_a_name_without_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errno: int, tries: int) -> None:
    asked = []

    def find(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(errno, "Name not known")

    monkeypatch.setattr(socket, "getaddrinfo", find)
    rejected = reject("http://nowhere.example/a.jpg", tmp_path)
    assert rejected == Rejected("download_failed", "the name nowhere.example is not found: Name not known")
    assert len(asked) == tries


@pytest.mark.parametrize(
    "url",
    [
        *("", "images/1.jpg", "file:///etc/passwd", "ftp://127.0.0.1/a.jpg", "data:image/png;base64,aaaa", r"C:\a.jpg"),
        *(
            "http://",
            "http:a.jpg",
            "http://[::1",
            "http://[]/c.jpg",
            "http://host:port/",
            "http://host:99999/",
            "//a/b",
        ),
        *(
            "http://user:secret@127.0.0.1/a.jpg",
            "http://user@127.0.0.1/",
            f"http://{'a' * 300}.example/",
            "gopher://h/",
        ),
        *("s3://", "s3://bucket/a.jpg::file:///etc/passwd"),
    ],
)
def test_a_url_that_is_not_allowed(tmp_path: Path, url: str) -> None:
    rejected = reject(url, tmp_path)
    assert rejected.code == "url_not_allowed"
    assert "secret" not in rejected.reason


@given(st.text(max_size=30))
def test_no_text_stops_the_others(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
        urls = [text, f"http://{text}", f"http://shop.example/{text}", f"https://shop.example:1{text}"]
        outcomes = download(urls, tmp_path_factory.getbasetemp() / "empty", retries=0)
    assert all(isinstance(each, Rejected) for each in outcomes)


def test_limits_hold_for_a_host_and_in_all(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{letter}.example" for letter in "abcd"]
    resolve_as(monkeypatch, {name: ["127.0.0.1"] for name in names})
    active: dict[str, int] = defaultdict(int)
    most: dict[str, int] = defaultdict(int)

    def answer(handler: Handler) -> None:
        name = handler.headers["Host"].partition(":")[0]
        active[name] += 1
        most[name] = max(most[name], active[name])
        time.sleep(0.02)
        active[name] -= 1
        send_picture(handler)

    server.answers = {f"/{number}.jpg": answer for number in range(8)}
    urls = [server.url(f"/{number}.jpg", name) for name in names for number in range(8)]
    assert all(isinstance(each, Path) for each in download(urls, tmp_path, connections=5, host_connections=2))
    assert max(most.values()) == 2
    assert server.most_active == 5


def test_redirects_do_not_exceed_the_limit_of_a_host(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{letter}.example" for letter in "abcd"]
    resolve_as(monkeypatch, {name: ["127.0.0.1"] for name in [*names, "cdn.example"]})
    lock, active, most = threading.Lock(), [0], [0]

    def answer(handler: Handler) -> None:
        with lock:
            active[0] += 1
            most[0] = max(most[0], active[0])
        time.sleep(0.02)
        active[0] -= 1
        send_picture(handler)

    server.answers = {"/a.jpg": redirect_to(server.url("/b.jpg", "cdn.example")), "/b.jpg": answer}
    urls = [server.url(f"/a.jpg?{number}", name) for name in names for number in range(4)]
    assert all(isinstance(each, Path) for each in download(urls, tmp_path, host_connections=2))
    assert most[0] <= 2


def test_tls_is_checked_against_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x -keyout {key} -out {certificate}".split()
    try:
        subprocess.run([*command, "-addext", "subjectAltName=DNS:shop.example"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    resolve_as(monkeypatch, {"shop.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]})
    asked_for: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _, name, __: asked_for.append(name)
    with Server() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        cache = tmp_path / "cache"
        urls = [f"https://{name}.example:{server.server_port}/a.jpg" for name in ("shop", "other")]
        good, bad = download(urls, cache, connections=1)
        server.answers["/slow.jpg"] = drip_body
        slow = download([f"https://shop.example:{server.server_port}/slow.jpg"], cache, photograph_seconds=0.5)
        server.closing.set()
        server.shutdown()
    assert good == find_in_cache(urls[0], cache)
    assert isinstance(bad, Rejected)
    assert bad.code == "download_failed"
    assert bad.reason.startswith("no secure connection: ")
    assert asked_for[:2] == ["shop.example", "other.example"]
    assert server.requests == ["/a.jpg", "/slow.jpg"]
    assert slow == [Rejected("download_timeout", "not complete within 0.5 seconds")]


SCRIPT = """
import sys
from pathlib import Path
from hangtag.catalog.downloads import DownloadSettings, download_photographs
settings = DownloadSettings(allow_private_addresses=True)
if __name__ == "__main__":
    download_photographs(sys.argv[2:], Path(sys.argv[1]), settings)
"""


def start_process(urls: Sequence[str], cache: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SCRIPT, str(cache), *urls]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def send_part_then_wait(handler: Handler) -> None:
    handler.send(200, PICTURE[:100], Content_Length=len(PICTURE))
    handler.server.closing.wait(20)


def test_a_killed_process_spoils_nothing(server: Server, tmp_path: Path) -> None:
    urls = [server.url(f"/{number}.jpg") for number in range(12)]
    server.answers = {f"/{number}.jpg": in_turn(send_part_then_wait, send_picture) for number in (5, 9)}
    with start_process(urls, tmp_path) as process:
        wait_until(lambda: len(list_files(tmp_path)) >= 8)
        process.kill()
    kept = [path for path in list_files(tmp_path) if not path.name.startswith(".")]
    # What a process leaves that is killed while it writes.
    (kept[0].parent / f".{kept[0].stem}-{process.pid}-abc.part").write_bytes(PICTURE[:50])
    server.requests.clear()
    assert download(urls, tmp_path) == [find_in_cache(url, tmp_path) for url in urls]
    assert len(server.requests) == 12 - len(kept)
    assert len(list_files(tmp_path)) == 12
    for number, url in enumerate(urls):
        assert find_in_cache(url, tmp_path).read_bytes() == PICTURE + f"/{number}.jpg".encode()


def test_an_interrupted_process_ends_at_once(server: Server, tmp_path: Path) -> None:
    urls = [server.url(f"/{number}.jpg") for number in range(9)]
    server.answers = {f"/{number}.jpg": answer for number, answer in enumerate((send_part_then_wait, send_nothing))}
    server.answers |= {"/2.jpg": send_status(503, Retry_After=60)}
    with start_process(urls, tmp_path) as process:
        wait_until(lambda: {"/0.jpg", "/1.jpg", "/2.jpg"} <= set(server.requests))
        process.send_signal(signal.SIGINT)
        # Far below the minute of `Retry-After`, and long enough for a busy machine.
        _, errors = process.communicate(timeout=10)
    assert b"KeyboardInterrupt" in errors
    assert all(path.read_bytes().startswith(PICTURE) for path in list_files(tmp_path))
    assert not list(tmp_path.rglob(".*.part"))


def test_a_cache_that_cannot_be_written_is_the_systems_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        download([server.url(f"/{number}.jpg") for number in range(9)], tmp_path / "cache")


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put fsspec's storage in memory in the place of s3://."""
    pytest.importorskip("fsspec")
    from fsspec.implementations.memory import MemoryFileSystem

    class Bucket(MemoryFileSystem):  # type: ignore[misc]
        protocol = "s3"
        cachable = False

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return "/" + path.removeprefix("s3://").strip("/")

    monkeypatch.setitem(import_module("fsspec.registry")._registry, "s3", Bucket)
    monkeypatch.setattr(Bucket, "store", {})
    monkeypatch.setattr(Bucket, "pseudo_dirs", [""])
    return Bucket()


def test_photographs_in_cloud_storage(cloud: Any, server: Server, tmp_path: Path) -> None:
    cloud.pipe({"s3://bucket/a #1.jpg": PICTURE, "s3://bucket/large.jpg": bytes(10_001), "s3://bucket/empty.jpg": b""})
    names = ("a #1.jpg", "large.jpg", "empty.jpg", "missing.jpg")
    urls = [*(f"s3://bucket/{name}" for name in names), server.url("/b.jpg")]
    outcomes = download(urls, tmp_path)
    assert outcomes == [
        find_in_cache(urls[0], tmp_path),
        Rejected("too_many_bytes", "more than 10000 bytes, which are allowed"),
        Rejected("download_failed", "the file is empty"),
        Rejected("download_failed", "there is no such object"),
        find_in_cache(urls[4], tmp_path),
    ]
    assert find_in_cache(urls[0], tmp_path).read_bytes() == PICTURE
    cloud.rm("s3://bucket/a #1.jpg")
    assert download(urls[:1], tmp_path) == outcomes[:1]


def test_an_error_of_the_cloud_is_a_line(cloud: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Forbidden\nRequest 1")

    monkeypatch.setattr(type(cloud), "cat_file", refuse)
    assert reject("s3://bucket/a.jpg", tmp_path) == Rejected("download_failed", "PermissionError: Forbidden")


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("az", "adlfs")])
def test_cloud_storage_without_its_package(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=f"need the package {package}.*") as raised:
        download([server.url("/a.jpg"), f"{scheme}://bucket/a.jpg"], tmp_path)
    assert 'pip install "hangtag[cloud]"' in str(raised.value)
    assert server.requests == []


def test_a_proxy_that_is_not_used_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    settings = DownloadSettings(retries=0, allow_private_addresses=True)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    (found,) = download_photographs([f"http://127.0.0.1:{port}/a.jpg"], tmp_path, settings)
    assert isinstance(found, Rejected)
    assert "a proxy is set (HTTPS_PROXY), which downloads do not use" in found.reason
