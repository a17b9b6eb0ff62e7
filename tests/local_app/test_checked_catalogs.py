"""Test what the local application shows and writes of a catalogue that was checked, reviewed and exported again."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drawn_shop import write_drawn_shop
from local_application import COOKIE, TOKEN, App, crash, read_message

from hangtag.errors import CatalogError
from hangtag.local_app.app import build_app
from hangtag.local_app.catalogs import Shelf
from hangtag.local_app.desk import Desk, Stages
from hangtag.reviewing.decisions import DecisionRequest, LabelOptions, build_decisions
from hangtag.reviewing.items import read_items
from hangtag.reviewing.queue import Queue, read_issues
from hangtag.reviewing.store import Store
from hangtag.stages.app import apply_decisions
from hangtag.stages.check import check
from hangtag.stages.review import open_review
from hangtag.workspace import Workspace


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export in `shop` and the folder of an application in `app` that has checked it."""
    folder = tmp_path_factory.mktemp("checked")
    path = write_drawn_shop(folder / "shop")[0]
    shelf = Shelf(folder / "app")
    check(path, shelf.get_workspace(shelf.add(path)))
    return folder


class Checked(App):
    """The application with a catalogue that was checked; its stages are real, but checks are not processes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.desk.close()
        self.desk = Desk(self.shelf, Stages(crash, apply_decisions, open_review))
        self.app = build_app(self.shelf, self.desk, self.uploads, token=TOKEN, cookie=COOKIE)
        self.client = self.open(TOKEN)
        [self.chosen] = self.shelf.list()
        self.found = self.chosen.catalog_id
        self.workspace = self.shelf.get_workspace(self.chosen)

    def show(self) -> Any:
        return self.client.get(f"/api/catalogues/{self.found}").json()

    def check(self) -> None:
        chosen = self.shelf.read(self.found)
        check(chosen.path, self.workspace)
        self.shelf.mark_checked(chosen, "")

    def apply(self) -> Any:
        return self.client.post(f"/api/catalogues/{self.found}/apply")

    def download(self, name: str = "corrected") -> Any:
        return self.client.get(f"/catalogues/{self.found}/{name}")

    def open_page(self) -> dict[str, str]:
        """Return the headers that the page of the review sends."""
        page = self.client.get(f"/reviews/{self.found}/").text
        found = re.search(r'name="review-token" content="([^"]+)"', page)
        assert found
        return {"X-Review-Token": found[1]}


@pytest.fixture
def app(checked: Path, tmp_path: Path) -> Iterator[Checked]:
    shutil.copytree(checked, tmp_path / "copy")
    app = Checked(tmp_path / "copy" / "app")
    yield app
    app.desk.close()


def decide(workspace: Workspace, action: str = "accept") -> None:
    """Decide the first suspicion that a category is wrong."""
    store = Store(workspace.review / "review.sqlite")
    queue = Queue(read_issues(workspace.issues), read_items(workspace), store)
    issue = next(each for each in queue.issues if each.code == "label_error")
    request = DecisionRequest(issue.position, action, {issue.item_id: 0})
    store.add(build_decisions(request, queue, LabelOptions(queue.items)), "Ann")
    store.close()


def test_results_leave_out_what_is_decided_since_the_check(app: Checked) -> None:
    before = app.show()["results"]
    assert before["wrong_categories"] > 0
    decide(app.workspace)
    shown = app.show()
    wrong = before["wrong_categories"] - 1
    assert (shown["results"]["wrong_categories"], shown["wrong"], shown["decided"]) == (wrong, wrong, 1)
    assert shown["results"]["headline"] != before["headline"]
    assert sum(each["wrong"] for each in shown["results"]["by_category"]["values"]) == wrong
    assert len(shown["results"]["examples"]) <= wrong
    [listed] = app.client.get("/api/catalogues").json()["catalogues"]
    assert listed["wrong"] == wrong
    # They are what a check finds again.
    app.check()
    assert app.show()["results"]["wrong_categories"] == wrong


def test_a_newer_export_without_the_corrections_says_so(app: Checked, tmp_path: Path) -> None:
    decide(app.workspace)
    assert app.show()["results"]["to_correct"] == ""
    app.choose(write_drawn_shop(tmp_path / "later", more=12)[0], replaces=app.found)
    app.check()
    assert app.show()["results"]["to_correct"].startswith(
        "1 product of this file still has a value that you corrected."
    )


def test_nothing_is_written_of_a_newer_export_before_it_is_checked(app: Checked, tmp_path: Path) -> None:
    decide(app.workspace)
    assert app.apply().json()["products"] == 1
    former = app.download()
    assert former.status_code == 200
    later = write_drawn_shop(tmp_path / "later", more=12)[0]
    app.choose(later, replaces=app.found)
    assert app.show()["is_newer"] is True
    for answer in (app.apply(), app.download(), app.download("changes")):
        assert answer.status_code == 409
        assert "has not been checked yet" in answer.text
        assert "Check it first" in answer.text
    # A check that does not go through, and a start of the application, change nothing about it.
    app.shelf.mark_checked(app.shelf.read(app.found), "It cannot be read.")
    assert Shelf(tmp_path / "copy" / "app").read(app.found).newer
    assert app.apply().status_code == 409
    app.check()
    assert app.show()["is_newer"] is False
    assert app.download().status_code == 404
    assert app.apply().json()["products"] == 1
    assert app.download().content.count(b"\n") > former.content.count(b"\n")


def test_a_failed_apply_leaves_no_corrected_file_to_download(app: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(app.workspace)
    assert app.apply().status_code == 200
    assert app.download().status_code == 200

    def fail(*_: object) -> None:
        raise CatalogError("The table cannot be read.")

    monkeypatch.setattr(app.desk, "_stages", Stages(crash, fail, open_review))  # type: ignore[arg-type]
    assert app.apply().status_code == 422
    for answer in (app.download(), app.download("changes")):
        assert answer.status_code == 404
        assert "under Results" in answer.text


def test_a_page_of_the_review_says_that_the_catalogue_was_checked_again(app: Checked, tmp_path: Path) -> None:
    headers, address = app.open_page(), f"/reviews/{app.found}/api/next"
    assert app.client.get(address, headers=headers, params={"reviewer": "Ann"}).status_code == 200
    app.choose(write_drawn_shop(tmp_path / "later", more=12)[0], replaces=app.found)
    app.check()
    for _ in range(2):
        answer = app.client.get(address, headers=headers, params={"reviewer": "Ann"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (410, "checked_again")
        assert "was checked again" in read_message(answer)
        assert "Load this page again" in read_message(answer)
        # The same once another page has opened the review of the later check.
        again = app.open_page()
    assert app.client.get(address, headers=again, params={"reviewer": "Ann"}).status_code == 200
    unknown = app.client.get(address, headers={"X-Review-Token": "of-another-time"})
    assert (unknown.status_code, "started again" in read_message(unknown)) == (403, True)
