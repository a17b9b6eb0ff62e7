"""Test the grid of the review: kinds of issues, their order, and decisions made together, over HTTP."""

import dataclasses
from typing import Any

import pytest
from fastapi.testclient import TestClient
from test_review_app import give_next, open_client

from hangtag.reviewing.filters import Filter
from hangtag.reviewing.grid import MIXED, list_kinds
from hangtag.reviewing.queue import Queue
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
    # Six shirts, three duplicates, and one that is unlikely and one sandal, which are alone in their kinds. The blank
    # picture suggests nothing.
    assert [each["open"] for each in found["kinds"]] == [6, 3, 2]
    assert [each["key"] for each in found["kinds"]] == [SHIRTS, SANDALS, list(MIXED)]
    assert [each["share"] for each in found["kinds"]] == pytest.approx([0.845, 0.49, 0.575])
    assert (found["open"], len(found["kinds"]), found["shown"]) == (11, 3, 0)
    # The highest score first, as in the queue.
    assert [each["position"] for each in found["issues"]] == [0, 1, 2, 3, 4, 5]
    assert {each["evidence"] for each in found["issues"]} == {"image"}
    assert [each["score"] for each in found["issues"]] == pytest.approx([0.97, 0.92, 0.87, 0.82, 0.77, 0.72])
    found = show(client, kind=SANDALS)
    assert (found["shown"], len(found["issues"])) == (1, 3)
    # One that is alone stays what it is: there is nothing to join it with.
    assert [each["open"] for each in show(client, label="Sandals")["kinds"]] == [1, 3]
    # A kind that has no open issue any more: the first one is shown.
    assert show(client, kind=["gone", "a", "b", "c"])["shown"] == 0
    assert client.get("/api/kinds", params={"kind": ["one"]}).status_code == 422


def test_issues_that_are_alone_are_decided_together_each_by_its_own_suggestion(
    client: TestClient, store: Store
) -> None:
    found = show(client, kind=list(MIXED))
    assert (found["shown"], len(found["issues"])) == (2, 2)
    assert len({(each["given_label"], each["suggested_label"]) for each in found["issues"]}) == 2
    # A kind of one issue is found where that issue is shown.
    only = next(each for each in found["issues"] if each["evidence"])
    assert show(client, kind=["label_error", "articleType", only["given_label"], only["suggested_label"]])["shown"] == 2
    assert decide(client, found["issues"], ["accept", "keep"]).json() == {"items": 2}
    stored = {each.item_id: each for each in store.read()}
    for each in found["issues"]:
        assert stored[each["item"]["item_id"]].suggested
    assert [each["key"] for each in show(client)["kinds"]] == [SHIRTS, SANDALS]


def test_some_are_accepted_some_kept_and_undone_together(client: TestClient, store: Store) -> None:
    issues = show(client)["issues"]
    answer = decide(client, issues[:4], ["accept", "accept", "keep", "accept"])
    assert answer.json() == {"items": 4}
    # The first shirt has a second issue that suggests the same change: it is decided too.
    assert [each.action for each in store.read()] == ["accept", "accept", "accept", "keep", "accept"]
    [first, *_] = show(client)["kinds"]
    assert (first["key"], first["open"], first["right"], first["wrong"]) == (SHIRTS, 2, 3, 1)
    assert give_next(client)["progress"]["open"] == 7
    undone = client.post("/api/undo", json={"reviewer": "Ann"})
    assert (undone.status_code, undone.json()["kind"]) == (200, SHIRTS)
    assert find_standing(store.read()) == []
    assert show(client)["open"] == 11


def test_decisions_move_the_issues_of_their_kind(client: TestClient, queue: Queue) -> None:
    [before, *_] = list_kinds(queue, Filter())
    issues = show(client)["issues"]
    decide(client, issues[:3], ["keep"] * 3)
    kinds = list_kinds(queue, Filter())
    shirts = next(each for each in kinds if list(each.key) == SHIRTS)
    assert shirts.share < 0.5 < before.share
    assert [(each.key[0], each.key[2]) for each in kinds] == [
        ("label_error", "Sandals"),
        ("duplicate_label_conflict", "Sandals"),
        ("label_error", "Shirts"),
    ]


def test_filters_combine_and_count_what_the_rest_of_them_leaves(
    queue: Queue, store: Store, workspace: Workspace
) -> None:
    items = queue.items
    ids = [issue.item_id for issue in queue.issues]
    columns = items.columns | {"Vendor": ["Acme" if item_id in ids[:3] else "Zoë" for item_id in items.ids]}
    schema = dataclasses.replace(items.schema, columns=(*items.schema.columns, "Vendor"))
    queue = Queue(queue.issues, dataclasses.replace(items, columns=columns, schema=schema), store)
    client = open_client(queue, store, workspace)
    names = [items.read_name(item_id).split() for item_id in ids]
    # Any order, capitals and accents.
    words = f"{names[0][1].upper()} {names[0][0][:3].lower()}"
    wanted = {"brand": "Acme", "named": words}
    matching = [
        issue.position
        for issue, name in zip(queue.issues, names, strict=True)
        if issue.item_id in ids[:3] and all(word in " ".join(name).lower() for word in words.lower().split())
    ]
    assert 0 in matching
    assert give_next(client, **wanted)["progress"]["total"] == len(matching)
    shown = show(client, **wanted)
    assert shown["open"] == len(matching)
    assert show(client, brand="Nobody")["kinds"] == []
    found = client.get("/api/filters", params={"brand": "Acme"}).json()
    of_acme = sum(item_id in ids[:3] for item_id in ids)
    # Its own menu counts the other brands too.
    assert {each["value"]: each["count"] for each in found["brands"]} == {"Acme": of_acme, "Zoë": len(ids) - of_acme}
    assert sum(each["count"] for each in found["codes"]) == of_acme
    found = client.get("/api/filters", params={"brand": "Acme", "code": "bad_picture"}).json()
    assert (found["labels"], found["brands"]) == ([], [{"value": "Zoë", "count": 1}])
    assert client.get("/api/filters").json()["codes"][0] == {"value": "label_error", "count": 7}
    assert client.get("/api/next", params={"reviewer": "Ann", "named": "x" * 201}).status_code == 422


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
