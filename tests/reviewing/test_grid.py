"""Test the grid of the review: kinds of issues, their order, and decisions made together, over HTTP."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from test_review_app import give_next, open_client

from hangtag.reviewing.grid import list_kinds
from hangtag.reviewing.queue import Filter, Queue
from hangtag.reviewing.store import Store, find_standing
from hangtag.workspace import Workspace

SHIRTS = ["label_error", "articleType", "Shirts", "Tshirts"]
SANDALS = ["duplicate_label_conflict", "articleType", "Sandals", "Casual Shoes"]


@pytest.fixture
def client(queue: Queue, store: Store, workspace: Workspace) -> TestClient:
    return open_client(queue, store, workspace)


def show(client: TestClient, **values: Any) -> Any:
    answer = client.get("/api/kinds", params=values)
    assert answer.status_code == 200, answer.text
    return answer.json()


def decide(client: TestClient, issues: list[Any], actions: list[str], reviewer: str = "Ann") -> Any:
    body = {
        "actions": {each["position"]: action for each, action in zip(issues, actions, strict=True)},
        "versions": {each["item"]["item_id"]: each["version"] for each in issues},
        "reviewer": reviewer,
    }
    return client.post("/api/grid", json=body)


def test_issues_that_suggest_the_same_are_one_kind(client: TestClient) -> None:
    found = show(client)
    # Six shirts, three duplicates, one that is unlikely, one sandal; the blank picture suggests nothing.
    assert [(each["key"], each["open"]) for each in found["kinds"][:2]] == [(SHIRTS, 6), (SANDALS, 3)]
    assert (found["open"], len(found["kinds"]), found["shown"]) == (11, 4, 0)
    # The highest score first, as in the queue.
    assert [each["position"] for each in found["issues"]] == [0, 1, 2, 3, 4, 5]
    assert {each["evidence"] for each in found["issues"]} == {"image"}
    found = show(client, kind=SANDALS)
    assert (found["shown"], len(found["issues"])) == (1, 3)
    assert next(each["key"] for each in show(client, label="Sandals")["kinds"]) == SANDALS
    # A kind that has no open issue any more: the first one is shown.
    assert show(client, kind=["gone", "a", "b", "c"])["shown"] == 0
    assert client.get("/api/kinds", params={"kind": ["one"]}).status_code == 422


def test_some_are_accepted_some_kept_and_undone_together(client: TestClient, store: Store) -> None:
    issues = show(client)["issues"]
    answer = decide(client, issues[:4], ["accept", "accept", "keep", "accept"])
    assert answer.json() == {"items": 4}
    # The first shirt has a second issue that suggests the same change: it is decided too.
    assert [each.action for each in store.read()] == ["accept", "accept", "accept", "keep", "accept"]
    [first, *_] = show(client)["kinds"]
    assert (first["key"], first["open"], first["right"], first["wrong"]) == (SHIRTS, 2, 3, 1)
    assert give_next(client)["progress"]["open"] == 7
    assert client.post("/api/undo", json={"reviewer": "Ann"}).status_code == 200
    assert find_standing(store.read()) == []
    assert show(client)["open"] == 11


def test_decisions_move_the_issues_of_their_kind(client: TestClient, queue: Queue) -> None:
    [before, *_] = list_kinds(queue, Filter())
    issues = show(client)["issues"]
    decide(client, issues[:3], ["keep"] * 3)
    kinds = list_kinds(queue, Filter())
    shirts = next(each for each in kinds if list(each.key) == SHIRTS)
    assert shirts.share < 0.5 < before.share
    assert list(kinds[0].key) == SANDALS


def test_another_reviewers_decision_stops_the_whole_grid(client: TestClient, store: Store) -> None:
    issues = show(client)["issues"]
    assert decide(client, issues[1:2], ["keep"], "Bob").status_code == 200
    answer = decide(client, issues, ["accept"] * 6)
    assert answer.status_code == 409
    assert [each["reviewer"] for each in answer.json()["decisions"]] == ["Bob"]
    assert [each.reviewer for each in store.read()] == ["Bob"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"actions": {}}, 422),
        ({"actions": {"0": "choose"}}, 422),
        ({"actions": {"99": "accept"}}, 422),
        ({"actions": {"-1": "accept"}}, 422),
        ({"versions": {}}, 422),
        ({"reviewer": " "}, 422),
    ],
)
def test_a_wrong_request_stores_nothing(client: TestClient, store: Store, change: dict[str, Any], status: int) -> None:
    [issue, *_] = show(client)["issues"]
    body = {"actions": {"0": "accept"}, "versions": {issue["item"]["item_id"]: 0}, "reviewer": "Ann"}
    assert client.post("/api/grid", json=body | change).status_code == status
    assert store.read() == []


def test_an_issue_without_a_suggestion_and_two_of_one_item_are_refused(client: TestClient, store: Store) -> None:
    issues = [client.get(f"/api/issues/{position}").json()["issue"] for position in range(12)]
    blank = next(each for each in issues if not each["changes"])
    body = {"actions": {blank["position"]: "accept"}, "versions": blank["versions"], "reviewer": "Ann"}
    answer = client.post("/api/grid", json=body)
    assert "Only issues that suggest a change" in answer.json()["error"]["message"]
    first = [each for each in issues if each["item"]["item_id"] == issues[0]["item"]["item_id"]]
    assert len(first) == 2
    actions = {each["position"]: "accept" for each in first}
    answer = client.post("/api/grid", json={"actions": actions, "versions": first[0]["versions"], "reviewer": "Ann"})
    assert "about the same item" in answer.json()["error"]["message"]
    assert store.read() == []
