"""Test that the service classifies photographs, rejects bad requests with a reason, and reveals no internals."""

import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from drawn import KEY, draw, encode
from fastapi.testclient import TestClient

from hangtag.config import ServeConfig
from hangtag.errors import SettingsError
from hangtag.inference.classifier import Classifier
from hangtag.inference.streaming import classify_chunk
from hangtag.serving import batcher
from hangtag.serving.app import PAGES, build_app
from hangtag.serving.batcher import Batcher
from hangtag.serving.fair_queue import QueueFullError
from hangtag.stages.serve import KEY_VARIABLE, is_open_to_all, read_api_key

CONFIG = ServeConfig(
    target_precision=0.9, max_bytes=20_000, max_request_bytes=60_000, max_pixels=10_000, max_photos=4, max_waiting=8
)
HAT, SHOE = encode(draw("Hat", 4000)), encode(draw("Shoe", 4001), "JPEG")


def write_bomb() -> bytes:
    """Return a PNG whose header states 60,000 x 60,000 pixels, which would fill the memory."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000)))


@pytest.fixture
def client(classifier: Classifier) -> Iterator[TestClient]:
    with TestClient(
        build_app(classifier, CONFIG), base_url="http://localhost", raise_server_exceptions=False
    ) as client:
        yield client


def post(client: TestClient, content: bytes, kind: str = "image/png", **headers: str) -> Any:
    return client.post("/v1/classify", content=content, headers={"Content-Type": kind, **headers})


def post_files(client: TestClient, *contents: bytes) -> Any:
    return client.post("/v1/classify", files=[("file", (f"{n}.png", each)) for n, each in enumerate(contents)])


def test_a_photograph_is_classified_from_the_body(client: TestClient) -> None:
    answer = post(client, HAT).json()
    assert answer["model"] == "small"
    (result,) = answer["results"]
    assert (result["name"], result["label"], result["is_sure"], result["levels"]["kind"]) == (None, "Hat", True, "Wear")
    assert post(client, SHOE, "application/octet-stream").json()["results"][0]["label"] == "Shoe"


def test_each_file_of_a_form_has_a_result(client: TestClient) -> None:
    answer = post_files(client, HAT, b"text", SHOE)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["name"] for result in results] == ["0.png", "1.png", "2.png"]
    assert [result.get("label") for result in results] == ["Hat", None, "Shoe"]
    assert results[1]["error"]["code"] == "not_an_image"


REFUSED: dict[str, tuple[bytes, str, int, str]] = {
    "empty": (b"", "image/png", 422, "empty_file"),
    "text": (b"hello", "image/png", 415, "not_an_image"),
    "truncated": (SHOE[:-200], "image/jpeg", 422, "truncated"),
    "bomb": (write_bomb(), "image/png", 413, "too_many_pixels"),
    "too many bytes": (b"\xff\xd8\xff" + bytes(20_000), "image/jpeg", 413, "too_large"),
    "another type": (HAT, "text/html", 415, "unsupported_media_type"),
    "a damaged form": (b"--x", "multipart/form-data; boundary=y", 422, "damaged_form"),
    "a form without a boundary": (b"--x", "multipart/form-data", 422, "damaged_form"),
}


@pytest.mark.parametrize(("content", "kind", "status", "code"), REFUSED.values(), ids=REFUSED)
def test_an_unusable_request_is_rejected_with_a_reason(
    content: bytes, kind: str, status: int, code: str, client: TestClient
) -> None:
    answer = post(client, content, kind)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()) == {"error"}
    assert answer.json()["error"]["message"].endswith(".")
    assert post(client, HAT).status_code == 200


def test_a_body_without_a_length_is_limited(client: TestClient) -> None:
    def stream() -> Iterator[bytes]:
        for _ in range(1000):
            yield bytes(1000)

    answer = client.post("/v1/classify", content=stream(), headers={"Content-Type": "image/png"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_form_has_limits(client: TestClient) -> None:
    assert post_files(client, *[HAT] * 4).status_code == 200
    for contents, code in (([HAT] * 5, "too_many_photographs"), ([HAT, bytes(20_001)], "too_large")):
        answer = post_files(client, *contents)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, code)
    answer = client.post("/v1/classify", files=[("file", ("a.png", bytes(90_000)))])
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    answer = client.post("/v1/classify", data={"file": "text"}, files={"other": ("", b"")})
    assert answer.status_code == 422


def test_an_overloaded_service_refuses_with_retry_after(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise QueueFullError

    monkeypatch.setattr(Batcher, "submit", refuse)
    answer = post(client, HAT)
    assert (answer.status_code, answer.json()["error"]["code"], answer.headers["Retry-After"]) == (
        503,
        "overloaded",
        "1",
    )


def test_requests_at_once_are_limited_per_client(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go = threading.Event(), threading.Event()

    def wait(*given: Any) -> Any:
        asked.set()
        assert go.wait(20)
        return classify_chunk(*given)

    monkeypatch.setattr(batcher, "classify_chunk", wait)
    with (
        TestClient(build_app(classifier, ServeConfig(max_requests_a_client=1)), base_url="http://localhost") as client,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(post, client, HAT)
        assert asked.wait(20)
        second = post(client, HAT)
        go.set()
        assert (second.status_code, second.json()["error"]["code"]) == (429, "too_many_requests")
        assert first.result(20).status_code == 200
        assert post(client, HAT).status_code == 200


def test_a_bug_reveals_no_internals(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("/secret/path")

    monkeypatch.setattr(batcher, "classify_chunk", fail)
    answer = post(client, HAT)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_a_slow_request_times_out(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    def classify_slowly(*_: Any, **__: Any) -> Any:
        time.sleep(0.6)
        return []

    monkeypatch.setattr(batcher, "classify_chunk", classify_slowly)
    with TestClient(build_app(classifier, ServeConfig(timeout=0.2)), base_url="http://localhost") as client:
        answer = post(client, HAT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "timeout")


def test_the_model_is_described(client: TestClient) -> None:
    model = client.get("/v1/model").json()
    assert model["classes"] == ["Hat", "Shirt", "Shoe"]
    assert model["levels"]["kind"] == ["Footwear", "Wear"]
    assert model["figures"]["test"]["n"] == 48
    assert {figures["input"] for figures in model["figures"].values()} == {"photograph"}
    assert "figures_with_names" not in model
    assert 0 < model["threshold"] <= 1
    assert model["limits"]["photographs"] == 4
    assert "/" not in json.dumps(model["network"])


def test_figures_with_names_are_described_as_such(classifier: Classifier) -> None:
    measured = {"n": 9, "accuracy": 0.99}
    old = classifier.description | {"figures": {"test": measured}, "words": ["hat"]}
    new = old | {"figures": {"test": measured | {"input": "photograph"}}}
    new |= {"figures_with_names": {"test": measured | {"input": "photograph and name"}}}
    for description, sources in ((old, ["photograph and name", None]), (new, ["photograph", "photograph and name"])):
        service = build_app(replace(classifier, description=description), ServeConfig())
        with TestClient(service, base_url="http://localhost") as client:
            model = client.get("/v1/model").json()
        found = [model.get(name, {}).get("test", {}).get("input") for name in ("figures", "figures_with_names")]
        assert found == sources


def test_health_readiness_and_metrics_are_served(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    post(client, HAT)
    post(client, b"text")
    client.get("/no/such/place")
    metrics = client.get("/metrics").text
    assert 'hangtag_photographs_total{outcome="sure"} 1.0' in metrics
    assert 'hangtag_photographs_total{outcome="not_an_image"} 1.0' in metrics
    assert 'hangtag_requests_total{path="/v1/classify",status="415"} 1.0' in metrics
    assert "no/such/place" not in metrics
    assert "hangtag_waiting 0.0" in metrics


def test_a_stopped_service_is_not_ready(classifier: Classifier) -> None:
    app = build_app(classifier, CONFIG)
    client = TestClient(app, base_url="http://localhost")
    assert client.get("/readyz").status_code == 503
    with client:
        assert client.get("/readyz").status_code == 200
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("/v1/classify", 405)])
def test_unknown_paths_and_methods_are_refused_as_json(path: str, status: int, client: TestClient) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert "GET /docs" in answer.json()["error"]["message"]


def test_pages_load_nothing_from_outside(client: TestClient) -> None:
    for path in PAGES:
        answer = client.get(path)
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "://" not in answer.text
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/v1/classify", "/v1/model", "/healthz", "/readyz", "/metrics"}
    assert {"200", "413", "415", "422", "429", "503"} <= set(described["paths"]["/v1/classify"]["post"]["responses"])


def test_a_key_is_required_if_one_is_set(classifier: Classifier) -> None:
    with TestClient(build_app(classifier, CONFIG, api_key=KEY), base_url="http://localhost") as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-API-Key": ""}, {"Authorization": f"Basic {KEY}"}):
            answer = post(client, HAT, **headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "no_key")
        assert client.get("/v1/model").status_code == 401
        assert client.get("/metrics").status_code == 401
        assert client.get("/healthz").status_code == client.get("/").status_code == 200
        assert post(client, HAT, Authorization=f"Bearer {KEY}").status_code == 200
        assert post(client, HAT, **{"X-API-Key": KEY}).status_code == 200


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_api_key() is None
    assert is_open_to_all(ServeConfig(host="0.0.0.0"))
    assert not is_open_to_all(ServeConfig())
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    assert read_api_key() == KEY
    assert not is_open_to_all(ServeConfig(host="0.0.0.0"))
    monkeypatch.setenv(KEY_VARIABLE, "short")
    with pytest.raises(SettingsError, match="too short"):
        read_api_key()
