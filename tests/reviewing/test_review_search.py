"""Test the search of the review page: over HTTP, and in a real browser."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from serving_fixtures import run_in_thread
from test_review_page import CONTRASTS, Browser, begin, list_errors, open_browser, press, read, shoot, wait_for

from hangtag.auditing.nearest_neighbors import compute_features
from hangtag.catalog.images import shrink
from hangtag.inference.search import SearchIndex, find_index, write_index
from hangtag.manifest import StageRecord
from hangtag.models.text import split_words
from hangtag.reviewing.app import NO_INDEX, build_app
from hangtag.reviewing.queue import Queue
from hangtag.reviewing.store import Store
from hangtag.stages.review import open_look_alike_search
from hangtag.training.word_map import learn_word_map
from hangtag.workspace import Workspace

TOKEN = "page-token"


def write_pixel_index(workspace: Workspace, queue: Queue) -> None:
    """Write a search index of the drawn catalogue, whose features are small photographs instead of a network's."""
    items = queue.items
    features = compute_features(shrink(items.images, (20, 15))).astype(np.float16)
    names = [items.read_name(item_id) for item_id in items.ids]
    folder = workspace.search_index("run")
    paths = write_index(folder, items.ids, features, learn_word_map(features, np.arange(len(names)), names))
    StageRecord("search", folder, {"prepared": items.digest}, {}).finish({}, paths)
    run = workspace.run("run")
    (run / "model.json").write_text("{}")
    StageRecord("train", run, {}, {}).finish({}, [run / "model.json"])


def open_app(workspace: Workspace, queue: Queue, store: Store) -> FastAPI:
    look_alikes = open_look_alike_search(workspace, queue.items)

    def find() -> SearchIndex | None:
        return find_index(workspace, queue.items.digest)

    return build_app(queue, store, look_alikes, token=TOKEN, host="127.0.0.1", find_index=find)


def test_products_are_found_by_words_with_their_questions(workspace: Workspace, queue: Queue, store: Store) -> None:
    headers = {"X-Review-Token": TOKEN}
    client = TestClient(open_app(workspace, queue, store), base_url="http://127.0.0.1:8001", headers=headers)

    def ask(words: str) -> dict[str, Any]:
        answer = client.get("/api/search", params={"words": words})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    assert ask("shoes") == {"items": [], "message": NO_INDEX}
    # The index is found once there is one, without another start.
    write_pixel_index(workspace, queue)
    found = ask("Shoes sparkling")
    assert found["message"] == "No product name of the training split has: 'sparkling'."
    items = found["items"]
    assert len(items) == 60
    for item in items:
        assert item["named"] == ("shoes" in split_words(str(item["name"])))
        expected = [issue.position for issue in queue.issues if issue.item_id == item["item_id"]]
        assert item["position"] == (min(expected) if expected else None)
    assert sum(item["named"] for item in items[:10]) >= 8
    assert any(item["position"] is not None for item in items)
    unknown = ask("sparkling")
    assert unknown["items"] == []
    assert str(unknown["message"]).startswith("No product name of the training split has: 'sparkling'.")
    assert client.get("/api/search", params={"words": "a" * 201}).status_code == 422
    assert TestClient(client.app, base_url="http://127.0.0.1:8001").get("/api/search?words=shoes").status_code == 403


@pytest.fixture
def browser() -> Iterator[Browser]:
    driver = open_browser()
    yield driver
    driver.quit()


@pytest.fixture
def address(workspace: Workspace, queue: Queue, store: Store) -> Iterator[str]:
    yield from run_in_thread(open_app(workspace, queue, store))


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_finds_products_and_leads_to_their_questions(
    browser: Browser, address: str, workspace: Workspace, queue: Queue, store: Store, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 850, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    begin(browser, address)
    press(browser, "/", "shoes", Keys.ENTER)
    wait_for(browser, "found-text", "Products cannot be searched for yet.")
    shoot(browser, f"search-none-{width}")
    write_pixel_index(workspace, queue)
    press(browser, "/", "shoes sparkling", Keys.ENTER)
    wait_for(browser, "found-title", "shoes sparkling")
    assert "No product name of the training split has: 'sparkling'." in read(browser, "found-text")
    assert not browser.find_element(By.ID, "issue").is_displayed()
    assert len(browser.find_elements(By.CSS_SELECTOR, "#found-items img")) == 60
    shoot(browser, f"search-{width}-{scheme}")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    contrasts = browser.execute_script(
        CONTRASTS.replace('["name", "identity"', '["found-title", "found-text", "identity"')
    )
    assert {name: contrasts[name] for name in ("found-title", "found-text") if contrasts[name] < 4.5} == {}
    # A key does not decide about the issue behind the products.
    press(browser, "a", "k")
    assert store.read() == []
    press(browser, Keys.ESCAPE)
    wait_for(browser, "suggested", "Tshirts")
    press(browser, "/", Keys.ENTER)
    wait_for(browser, "found-title", "shoes sparkling")
    question = browser.find_element(By.CSS_SELECTOR, "#found-items button")
    name = question.find_element(By.XPATH, "..").find_element(By.TAG_NAME, "span").text
    question.click()
    wait_for(browser, "name", name)
    assert not browser.find_element(By.ID, "found").is_displayed()
    assert list_errors(browser) == []
