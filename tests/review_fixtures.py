"""The drawn catalogue, prepared, with a queue of issues of every kind."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hangtag.catalog.demo import write_demo_catalog
from hangtag.catalog.prepare import prepare
from hangtag.reviewing.issues import read_issues
from hangtag.reviewing.items import read_items
from hangtag.reviewing.queue import Queue
from hangtag.reviewing.store import Store
from hangtag.workspace import Workspace
from issue_queue import make_queue, write_issues


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the drawn catalogue and a workspace; tests read it only."""
    folder = tmp_path_factory.mktemp("drawn")
    prepare(write_demo_catalog(folder / "catalog", items_per_kind=12), folder / "workspace")
    place = Workspace.at(folder / "workspace")
    write_issues(place, make_queue(place))
    return folder


@pytest.fixture
def place(drawn: Path, tmp_path: Path) -> Workspace:
    """A copy of the workspace for one test; the catalogue stays where it is."""
    shutil.copytree(drawn / "workspace", tmp_path / "workspace")
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture
def store(place: Workspace) -> Iterator[Store]:
    store = Store(place.review / "review.sqlite")
    yield store
    store.close()


@pytest.fixture
def queue(place: Workspace, store: Store) -> Queue:
    return Queue(read_issues(place.issues), read_items(place), store)
