"""Test the review over HTTP: the queue, decisions, conflicts between reviewers, and access control."""

import io
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import draw
from fastapi.testclient import TestClient
from issue_queue import make_line, write_issues
from PIL import Image
from shop_exports import draw_photographs

from hangtag.auditing.nearest_neighbors import LookAlikes, open_look_alikes
from hangtag.errors import WorkspaceError
from hangtag.io import write_json
from hangtag.reviewing.app import build_app
from hangtag.reviewing.items import read_items
from hangtag.reviewing.queue import COLUMNS, HELD_SECONDS, Queue, compute_throughput, read_issues
from hangtag.reviewing.store import Store
from hangtag.stages.prepare import prepare
from hangtag.stages.review import open_look_alike_search, read_expected
from hangtag.workspace import Workspace

TOKEN, BASE = "a-token-of-the-page", "http://127.0.0.1:8001"


def open_client(queue: Queue, store: Store, workspace: Workspace, host: str = "127.0.0.1") -> TestClient:
    pictures = open_look_alike_search(workspace, queue.items)
    app = build_app(queue, store, pictures, token=TOKEN, host=host, reviewer='A "B" <C>')
    headers = {"X-Review-Token": TOKEN}
    return TestClient(app, base_url=BASE, headers=headers, raise_server_exceptions=False)


@pytest.fixture
def client(queue: Queue, store: Store, workspace: Workspace) -> TestClient:
    return open_client(queue, store, workspace)


def give_next(client: TestClient, **values: Any) -> Any:
    answer = client.get("/api/next", params={"reviewer": "Ann", **values})
    assert answer.status_code == 200, answer.text
    return answer.json()


def decide(client: TestClient, issue: Any, action: str, reviewer: str = "Ann", **more: Any) -> Any:
    body = {"position": issue["position"], "action": action, "versions": issue["versions"], "reviewer": reviewer}
    return client.post("/api/decisions", json=body | more)


def test_the_issue_with_the_highest_score_comes_first_with_its_details(client: TestClient) -> None:
    answer = give_next(client)
    issue = answer["issue"]
    assert (issue["position"], issue["given_label"], issue["suggested_label"]) == (0, "Shirts", "Tshirts")
    assert issue["item"]["levels"] == {"masterCategory": "Apparel", "subCategory": "Topwear", "articleType": "Shirts"}
    assert issue["item"]["name"]
    assert issue["same"] == ["unlikely_combination"]
    assert (issue["state"], issue["decision"], issue["history"]) == ("open", None, [])
    assert answer["progress"] == {"total": 12, "open": 12, "skipped": 0, "decided": 0, "an_hour": None}


def test_the_page_says_how_many_are_expected_to_be_right(queue: Queue, store: Store, workspace: Workspace) -> None:
    assert read_expected(workspace) == ""
    first = [
        {"issues": 20, "expected": 6.9, "low": 1, "high": 15},
        {"issues": 30, "expected": 8.0, "low": 2, "high": 16},
    ]
    summary: dict[str, Any] = {"expected_right": {"agreement": 0.71, "first": first}, "sources": {}}
    path = workspace.audit / "summary.json"
    write_json(path, summary)
    weak = read_expected(workspace)
    assert weak.startswith("Weak evidence: the predictions agree with 71% of the labels")
    assert weak.endswith(
        "Of the first 20 label errors about 7 (1 to 15), of the first 30 about 8 (2 to 16) are expected to be right."
    )
    first[1]["expected"] = 15.0
    write_json(path, summary)
    assert read_expected(workspace).startswith("Of the first 20 label errors")
    # An audit without label errors, and one of an earlier version.
    for content in (summary | {"expected_right": {}}, {}):
        write_json(path, content)
        assert read_expected(workspace) == ""
    pictures = open_look_alike_search(workspace, queue.items)
    app = build_app(queue, store, pictures, token=TOKEN, host="127.0.0.1", expected=f"{weak} <b>")
    page = TestClient(app, base_url=BASE).get("/").text
    assert f">{weak} &lt;b&gt;</aside>" in page


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"expected_right": 3}', '{"expected_right": {"first": [{"issues": 1}]}}']
)
def test_a_damaged_summary_is_an_error_that_says_what_to_run(workspace: Workspace, content: str) -> None:
    (workspace.audit / "summary.json").write_text(content)
    with pytest.raises(WorkspaceError, match="hangtag audit"):
        read_expected(workspace)


def test_the_page_calls_the_score_a_rank(client: TestClient) -> None:
    texts = [client.get(path).text for path in ("/", "/static/page.js")]
    shown = re.sub(r"<[^>]*>", " ", texts[0])
    assert not re.search(r"(?i)\bscore\b|%", shown)
    assert "Rank from" in shown
    assert "rank ${issue.score.toFixed(2)} of 1`" in texts[1]


def test_a_decision_also_decides_issues_that_suggest_the_same_change(client: TestClient, store: Store) -> None:
    issue = give_next(client)["issue"]
    answer = decide(client, issue, "accept")
    assert answer.status_code == 200
    assert [made["code"] for made in answer.json()["made"]] == ["label_error", "unlikely_combination"]
    assert [(each.old, each.new) for each in store.read()] == [
        ({"articleType": "Shirts"}, {"articleType": "Tshirts"}),
        ({"articleType": "Tshirts"}, {"articleType": "Tshirts"}),
    ]
    following = give_next(client, after=0)
    assert following["issue"]["position"] == 1
    assert following["progress"]["open"] == 10
    again = client.get("/api/issues/0").json()["issue"]
    assert again["decision"]["to"] == {"articleType": "Tshirts"}
    assert again["item"]["label"] == "Tshirts"


def test_a_conflict_with_another_reviewer_returns_409_and_their_decision(
    client: TestClient, workspace: Workspace
) -> None:
    """Simulate another reviewer, Bob, in another process with a separate store."""
    shown = give_next(client)["issue"]
    store = Store(workspace.review / "review.sqlite")
    other = open_client(Queue(read_issues(workspace.issues), read_items(workspace), store), store, workspace)
    assert decide(other, other.get("/api/issues/0").json()["issue"], "keep", "Bob").status_code == 200
    refused = decide(client, shown, "accept")
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "conflict"
    assert {each["reviewer"] for each in refused.json()["decisions"]} == {"Bob"}
    assert len(store.read()) == 2
    seen = client.get("/api/issues/0").json()["issue"]
    assert seen["decision"]["action"] == "keep"
    assert decide(client, seen, "accept").status_code == 200
    store.close()


def test_an_open_issue_is_not_shown_to_two_reviewers_at_once(queue: Queue, store: Store) -> None:
    from hangtag.reviewing.filters import Filter

    now = 0.0
    store._clock = lambda: now
    first = queue.find_next(Filter(), None, "Ann")
    second = queue.find_next(Filter(), None, "Bob")
    assert first is not None
    assert second is not None
    assert (first.position, second.position) == (0, 1)
    again = queue.find_next(Filter(), None, "Ann")
    assert again is not None
    assert again.position == 0
    now = HELD_SECONDS + 1
    later = queue.find_next(Filter(), None, "Bob")
    assert later is not None
    assert later.position == 0


def test_issues_are_filtered_and_ordered(client: TestClient) -> None:
    assert give_next(client, code="bad_picture")["issue"]["code"] == "bad_picture"
    assert give_next(client, code="bad_picture")["progress"]["total"] == 1
    assert give_next(client, label="Casual Shoes")["progress"]["total"] == 4
    assert give_next(client, low=0.45, high=0.55)["progress"]["total"] == 4
    assert give_next(client, code="same_product")["issue"] is None
    assert give_next(client, evidence="image")["progress"]["total"] == 7
    assert give_next(client, evidence="name")["issue"] is None
    assert client.get("/api/next", params={"reviewer": "Ann", "low": 7}).status_code == 422
    found = client.get("/api/filters").json()
    assert {each["value"]: each["count"] for each in found["codes"]}["label_error"] == 7
    assert found["evidence"] == [{"value": "image", "count": 7}]
    order = []
    after = None
    for _ in range(12):
        issue = give_next(client, order="random", **({} if after is None else {"after": after}))["issue"]
        after = issue["position"]
        order.append(after)
    assert sorted(order) == list(range(12))
    assert order != list(range(12))
    assert give_next(client, after=3, backwards=True)["issue"]["position"] == 2


def test_a_group_is_decided_and_undone_as_a_whole(client: TestClient, store: Store) -> None:
    issue = give_next(client, code="duplicate_label_conflict")["issue"]
    assert (issue["group"]["size"], len(issue["group"]["members"])) == (3, 2)
    values = {"masterCategory": "Apparel", "subCategory": "Dress", "articleType": "Dresses"}
    answer = decide(client, issue, "choose", values=values, whole_group=True)
    assert len(answer.json()["made"]) == 3
    assert give_next(client, code="duplicate_label_conflict")["issue"] is None
    undone = client.post("/api/undo", json={"reviewer": "Ann"}).json()
    assert len(undone["positions"]) == 3
    assert give_next(client, code="duplicate_label_conflict")["issue"]["item"]["label"] == "Sandals"
    assert len(store.read()) == 6
    assert client.post("/api/undo", json={"reviewer": "Ann"}).status_code == 404


def test_only_values_of_the_catalogue_can_be_chosen(client: TestClient, store: Store) -> None:
    answer = client.get("/api/choices", params={"column": "articleType"}).json()
    assert answer["columns"] == ["masterCategory", "subCategory", "articleType"]
    assert answer["choices"][0]["values"]["articleType"] == "Tshirts"
    assert client.get("/api/choices", params={"column": "gender"}).json()["columns"] == ["gender"]
    assert client.get("/api/choices", params={"column": "nothing"}).status_code == 404
    issue = give_next(client)["issue"]
    # These levels contradict each other.
    mixed = {"masterCategory": "Footwear", "subCategory": "Topwear", "articleType": "Tshirts"}
    for values in (mixed, {"articleType": "Dresses"}, {}, {"productDisplayName": "x"}):
        assert decide(client, issue, "choose", values=values).json()["error"]["code"] == "refused"
    assert store.read() == []


def test_a_skipped_issue_can_be_found_by_its_state(client: TestClient) -> None:
    issue = give_next(client)["issue"]
    decide(client, issue, "skip")
    assert give_next(client)["issue"]["position"] == 1
    progress = give_next(client, state="skipped")
    assert (progress["issue"]["position"], progress["progress"]["skipped"]) == (0, 1)
    assert decide(client, progress["issue"], "keep").status_code == 200
    assert give_next(client, state="skipped")["issue"] is None
    assert give_next(client, state="decided")["issue"]["position"] == 0


def test_photographs_and_look_alikes_are_returned(client: TestClient, workspace: Workspace, drawn: Path) -> None:
    items = read_items(workspace)
    item_id = items.ids[5]
    original = client.get("/api/photograph", params={"item_id": item_id})
    assert original.headers["content-type"] == "image/jpeg"
    assert original.content == (drawn / "catalog" / "images" / f"{item_id}.jpg").read_bytes()
    small = client.get("/api/photograph", params={"item_id": item_id, "small": True})
    assert small.content.startswith(b"\x89PNG")
    near = client.get("/api/look-alikes", params={"item_id": item_id, "column": "articleType"}).json()["items"]
    assert len(near) == 8
    assert item_id not in [each["item_id"] for each in near]
    assert client.get("/api/look-alikes", params={"item_id": "../../etc"}).status_code == 404
    assert client.get("/api/photograph", params={"item_id": "../../etc"}).json()["error"]["code"] == "not_found"


def test_the_nearest_photographs_are_found(tmp_path: Path) -> None:
    products = [draw(kind, number) for number, kind in enumerate(["Hat", "Shirt", "Shoe"] * 10)]
    darker = [np.where(product > 8, product - 8, product) for product in products]
    # Use images of twice the size, since enlarging them to the size of the descriptors would blur them.
    images = np.stack(products + darker).repeat(2, axis=1).repeat(2, axis=2)
    found = open_look_alikes(tmp_path / "a.npy", images)
    for index in range(30):
        assert found.find(index, 1) == [index + 30]
        near = found.find(index, 5)
        assert index not in near
        assert not set(near) & set(found.find(index, 5, frozenset(near)))
    # The file is reused, and a catalogue of one item has no look-alikes.
    assert open_look_alikes(tmp_path / "a.npy", np.zeros_like(images)).find(0, 3) == found.find(0, 3)
    assert LookAlikes(np.zeros((1, 4), np.float32)).find(0, 3) == []


# Access control


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 200),
        ("/static/page.js", {}, 200),
        ("/api/filters", {"X-Review-Token": ""}, 403),
        ("/api/filters", {"X-Review-Token": "guess"}, 403),
        ("/", {"Host": "evil.example"}, 421),
        ("/api/filters", {"Host": "evil.example:8001"}, 421),
        ("/api/filters", {"Host": "localhost:8001"}, 200),
        ("/api/filters", {"Host": "[::1]:8001"}, 200),
        ("/docs", {}, 404),
        ("/openapi.json", {}, 404),
    ],
)
def test_only_known_hosts_and_tokens_are_allowed(
    client: TestClient, path: str, headers: dict[str, str], status: int
) -> None:
    answer = client.get(path, headers=headers)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    if status != 200:
        assert set(answer.json()) == {"error"}


def test_a_post_from_another_page_changes_nothing(client: TestClient, store: Store) -> None:
    issue = give_next(client)["issue"]
    body = {"position": 0, "action": "accept", "versions": issue["versions"], "reviewer": "Eve"}
    for headers in ({"X-Review-Token": ""}, {"Host": "evil.example"}):
        for path in ("/api/decisions", "/api/undo"):
            assert client.post(path, json=body, headers=headers).status_code in (403, 421)
    # A form on another page cannot send JSON.
    plain = client.post("/api/decisions", content=str(body), headers={"Content-Type": "text/plain"})
    assert plain.status_code == 422
    assert store.read() == []


def test_the_page_requires_the_token_on_a_public_address(queue: Queue, store: Store, workspace: Workspace) -> None:
    client = open_client(queue, store, workspace, host="0.0.0.0")
    assert client.get("/", headers={"X-Review-Token": ""}).status_code == 403
    assert client.get("/", params={"token": TOKEN}, headers={"X-Review-Token": ""}).status_code == 200
    assert client.get("/", headers={"Host": "192.168.1.7:8001"}).status_code == 200


def test_the_key_of_the_address_is_not_the_token_of_the_page(queue: Queue, store: Store, workspace: Workspace) -> None:
    pictures = open_look_alike_search(workspace, queue.items)
    app = build_app(queue, store, pictures, token=f"{TOKEN}.issues", key=TOKEN, host="0.0.0.0")
    client = TestClient(app, base_url=BASE)
    assert client.get("/", params={"token": TOKEN}).status_code == 200
    assert client.get("/", params={"token": "another"}).status_code == 403
    # A page of other issues has another token.
    for token, status in ((TOKEN, 403), (f"{TOKEN}.others", 403), (f"{TOKEN}.issues", 200)):
        assert client.get("/api/issues/0", headers={"X-Review-Token": token}).status_code == status


def test_names_are_escaped_in_the_page(client: TestClient) -> None:
    page = client.get("/").text
    assert 'content="A &quot;B&quot; &lt;C&gt;"' in page
    assert "{{" not in page


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"position": 0, "action": "delete", "versions": {}, "reviewer": "Ann"},
        {"position": -1, "action": "keep", "versions": {}, "reviewer": "Ann"},
        {"position": 0, "action": "keep", "versions": {}, "reviewer": "   "},
        {"position": 0, "action": "keep", "versions": {}, "reviewer": "A\0nn"},
        {"position": 0, "action": "keep", "versions": {}, "reviewer": "Ann"},
        {"position": 999, "action": "keep", "versions": {}, "reviewer": "Ann"},
    ],
)
def test_invalid_decisions_are_rejected(client: TestClient, store: Store, body: dict[str, Any]) -> None:
    answer = client.post("/api/decisions", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].endswith(".")
    assert store.read() == []


def test_a_bug_reveals_no_internals(client: TestClient, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError("/secret/path")

    monkeypatch.setattr(queue, "refresh", fail)
    answer = client.get("/api/next", params={"reviewer": "Ann"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in answer.text


# Reading issues


def test_unreadable_issues_are_reported(workspace: Workspace) -> None:
    good = make_line("1", "A", "B", 0.5)
    header = ",".join(COLUMNS)
    for text, message in (
        ("item_id,code\n", "lacks columns"),
        (f"{header}\n1,c,error,kind,A,B,image,2,why,{{}},\n", "not between 0 and 1"),
        (f"{header}\n1,c,error,kind,A,B,image,0.5,why,[1],\n", "not texts"),
        (f"{header}\n1,c,error,kind,A,B,image,0.5,why\n", "does not have the cells"),
        (f"{header}\n1,c,error,kind,A,B,image,high,why,{{}},\n", "could not convert"),
    ):
        workspace.issues.write_text(text)
        with pytest.raises(WorkspaceError, match=message):
            read_issues(workspace.issues)
    write_issues(workspace, [good])
    assert read_issues(workspace.issues)[0].changes == {"articleType": "B"}
    workspace.issues.unlink()
    with pytest.raises(WorkspaceError, match="hangtag audit"):
        read_issues(workspace.issues)


def test_issues_of_another_catalogue_are_reported(workspace: Workspace, store: Store) -> None:
    write_issues(workspace, [make_line("no such item", "A", "B", 0.5)])
    with pytest.raises(WorkspaceError, match="not in the prepared catalogue"):
        Queue(read_issues(workspace.issues), read_items(workspace), store)


def test_long_breaks_do_not_reduce_the_throughput() -> None:
    def at(minute: int, second: int = 0) -> str:
        return f"2026-01-01T10:{minute:02}:{second:02}.000+00:00"

    assert compute_throughput([]) is None
    assert compute_throughput([(at(0), 1)]) is None
    assert compute_throughput([(at(0), 1), (at(0, 30), 1), (at(1), 1)]) == 120
    # A break of half an hour counts as two minutes.
    assert compute_throughput([(at(0), 1), (at(30), 1)]) == 30
    assert compute_throughput([(at(0), 50), (at(1), 10)]) == 600


def test_every_photograph_of_an_item_is_there(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    draw_photographs(tmp_path / "shop", ["0a.png", "0b.png", "1a.png"])
    (tmp_path / "shop" / "products.csv").write_text("sku,kind,images\np0,Hats,0a.png|0b.png\np1,Hats,1a.png")
    described = {"id": "sku", "levels": "kind", "image_column": "images", "image_separator": "|"}
    workspace = Workspace.at(tmp_path / "w")
    prepare(tmp_path / "shop" / "products.csv", workspace, overrides=described)
    write_issues(workspace, [make_line("p0", "Hats", "", 0.4, code="bad_picture", column="kind")])
    with closing(Store(workspace.review / "review.sqlite")) as store:
        client = open_client(Queue(read_issues(workspace.issues), read_items(workspace), store), store, workspace)
        assert give_next(client)["issue"]["item"]["photographs"] == ["0a.png", "0b.png"]
        for number, name in enumerate(("0a.png", "0b.png")):
            values: dict[str, Any] = {"item_id": "p0", "number": number}
            original = client.get("/api/photograph", params=values)
            assert original.content == (tmp_path / "shop" / name).read_bytes()
            small = client.get("/api/photograph", params=values | {"small": True})
            shown, wanted = (Image.open(each) for each in (io.BytesIO(small.content), tmp_path / "shop" / name))
            np.testing.assert_array_equal(np.asarray(shown), np.asarray(wanted))
        for item_id, number in (("p0", 2), ("p1", 1)):
            assert client.get("/api/photograph", params={"item_id": item_id, "number": number}).status_code == 404
