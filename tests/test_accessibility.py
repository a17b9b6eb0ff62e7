"""Check every page with axe-core: no violation of its rules, in light and dark mode, on wide and narrow screens."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from audited_report import HEADED, write_audit
from drawn_shop import write_drawn_shop
from fake_workspace import build_workspace
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from serving_fixtures import run_in_thread

from hangtag.local_app.app import build_app as build_local_app
from hangtag.local_app.browsing import Uploads
from hangtag.local_app.catalogs import Shelf
from hangtag.local_app.desk import Desk, Stages
from hangtag.reviewing.app import build_app
from hangtag.reviewing.queue import Queue
from hangtag.reviewing.store import Store
from hangtag.stages.app import apply_decisions, run_check
from hangtag.stages.report import report
from hangtag.stages.review import open_look_alike_search, open_review
from hangtag.workspace import Workspace

pytestmark = [pytest.mark.browser, pytest.mark.axe]
Browser = webdriver.Chrome
MODES = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
# Colours on their way from one mode to the other are nobody's to read.
RUN = """
const done = arguments[0];
requestAnimationFrame(() => requestAnimationFrame(() => {
  document.getAnimations().forEach((each) => each.finish());
  axe.run(document, { resultTypes: ["violations"] }).then((found) => done(found.violations));
}));
"""
FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    for argument in FLAGS:
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options)
    driver.set_script_timeout(120)
    yield driver
    driver.quit()


@pytest.fixture
def review_address(queue: Queue, store: Store, workspace: Workspace) -> Iterator[str]:
    search = open_look_alike_search(workspace, queue.items)
    expected = "Of the first 20 label errors about 17 (12 to 20) are expected to be right."
    app = build_app(queue, store, search, token="page-token", host="127.0.0.1", expected=expected)
    yield from run_in_thread(app)


@pytest.fixture
def app_address(tmp_path: Path) -> Iterator[str]:
    shelf = Shelf(tmp_path / "app")
    desk = Desk(shelf, Stages(run_check, apply_decisions, open_review))
    app = build_local_app(shelf, desk, Uploads(tmp_path / "app" / "uploads"), token="a-token", cookie="hangtag-axe")
    try:
        yield from run_in_thread(app)
    finally:
        desk.close()


@pytest.fixture
def check(browser: Browser, axe: str) -> Callable[[], list[str]]:
    """Return a function that returns the violations of the page as it is shown, in every mode."""

    def find() -> list[str]:
        found: list[str] = []
        for width, scheme in MODES:
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            if not browser.execute_script("return Boolean(window.axe)"):
                browser.execute_script(axe)
            violations: list[dict[str, Any]] = browser.execute_async_script(RUN)
            found += [f"{width} {scheme}: {describe(each)}" for each in violations]
        return found

    return find


def describe(violation: dict[str, Any]) -> str:
    """Return a violation with the first elements that it is about."""
    nodes = [
        f"{node['target']} {node['html'][:150]} {node.get('failureSummary', '')[:250]}" for node in violation["nodes"]
    ]
    return "\n  ".join([f"{violation['id']}: {violation['help']} ({len(nodes)})", *nodes[:3]])


def test_a_violation_is_found(browser: Browser, check: Callable[[], list[str]], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><html><head><title>x</title></head><body><main><h1>x</h1><img src='data:,'></main>")
    browser.get(page.as_uri())
    assert {each.split()[2] for each in check()} == {"html-has-lang:", "image-alt:"}


def test_the_review(browser: Browser, review_address: str, check: Callable[[], list[str]]) -> None:
    found: list[str] = []
    browser.get(review_address)
    wait_until_shown(browser, "#reviewer-name")
    found += check()
    press(browser, "Ann", Keys.ENTER)
    wait_until_shown(browser, "#issue")
    found += check()
    for key, dialog in (("?", "#help"), ("c", "#chooser"), ("z", "#zoom")):
        press(browser, key)
        wait_until_shown(browser, dialog)
        found += check()
        press(browser, Keys.ESCAPE)
        wait_until_hidden(browser, dialog)
    # A group of duplicates, then the end with a filter that nothing matches.
    choose(browser, "#code", "duplicate_label_conflict")
    wait_until_shown(browser, "#group-actions")
    browser.execute_script("document.getElementById('item-details').open = true")
    found += check()
    press(browser, "k")
    wait_until_shown(browser, "#issue")
    choose(browser, "#state", "skipped")
    wait_until_shown(browser, "#end")
    found += check()
    browser.find_element(By.ID, "words").send_keys("red shirt", Keys.ENTER)
    wait_until_shown(browser, "#found")
    found += check()
    assert "\n".join(found) == ""


def test_the_grid_of_the_review(browser: Browser, review_address: str, check: Callable[[], list[str]]) -> None:
    found: list[str] = []
    browser.get(f"{review_address}grid")
    wait_until_shown(browser, "#reviewer-name")
    found += check()
    press(browser, "Ann", Keys.ENTER)
    wait_until_shown(browser, ".card")
    press(browser, " ")
    found += check()
    for key, dialog in (("?", "#help"), ("z", "#zoom")):
        press(browser, key)
        wait_until_shown(browser, dialog)
        found += check()
        press(browser, Keys.ESCAPE)
        wait_until_hidden(browser, dialog)
    assert "\n".join(found) == ""


def test_the_pages_of_the_service(
    browser: Browser, address: str, photographs: Path, check: Callable[[], list[str]]
) -> None:
    found: list[str] = []
    browser.get(address)
    found += check()
    names = ("Hat.png", "noise.png", "broken.jpg")
    browser.find_element(By.ID, "files").send_keys("\n".join(str(photographs / name) for name in names))
    WebDriverWait(browser, 60).until(lambda _: "3 of 3 done" in browser.find_element(By.ID, "progress").text)
    WebDriverWait(browser, 60).until(lambda _: browser.find_element(By.CSS_SELECTOR, ".explain").is_displayed())
    browser.execute_script("document.querySelector('.explain').click()")
    WebDriverWait(browser, 60).until(lambda _: browser.find_elements(By.CSS_SELECTOR, ".map"))
    found += check()
    browser.get(f"{address}docs")
    WebDriverWait(browser, 60).until(lambda _: len(browser.find_elements(By.CSS_SELECTOR, ".route")) == 5)
    found += check()
    assert "\n".join(found) == ""


def test_the_page_of_the_service_that_asks_for_a_key(
    browser: Browser, guarded: str, check: Callable[[], list[str]]
) -> None:
    browser.get(guarded)
    wait_until_shown(browser, "#key")
    assert check() == []


def test_the_local_application(
    browser: Browser, app_address: str, tmp_path: Path, check: Callable[[], list[str]]
) -> None:
    found: list[str] = []
    table, _ = write_drawn_shop(tmp_path / "shop")
    browser.get(f"{app_address}?token=a-token")
    wait_until_shown(browser, "#drop")
    found += check()
    browser.find_element(By.ID, "path").send_keys(str(table), Keys.ENTER)
    wait_until_shown(browser, ".pictures img")
    found += check()
    WebDriverWait(browser, 60).until(lambda _: browser.find_element(By.ID, "start").is_enabled())
    browser.execute_script("document.getElementById('start').click()")
    wait_until_shown(browser, "#checking")
    found += check()
    WebDriverWait(browser, 240).until(lambda _: browser.find_element(By.ID, "headline").is_displayed())
    found += check()
    browser.get(app_address)
    wait_until_shown(browser, "#catalogues")
    found += check()
    assert "\n".join(found) == ""


def test_the_report(browser: Browser, tmp_path: Path, check: Callable[[], list[str]]) -> None:
    fake = build_workspace(tmp_path, schema=HEADED)
    write_audit(fake)
    report(fake.workspace)
    browser.get(fake.workspace.report.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    # A bar shows its products only, and leads there.
    browser.execute_script("document.querySelector('.clickable a').click()")
    assert "of its products look wrong" in browser.find_element(By.ID, "health-products").text
    assert check() == []


def test_the_report_of_a_catalogue_without_a_model(
    browser: Browser, tmp_path: Path, check: Callable[[], list[str]]
) -> None:
    fake = build_workspace(tmp_path, ())
    report(fake.workspace)
    browser.get(fake.workspace.report.as_uri())
    assert check() == []


def press(browser: Browser, *keys: str) -> None:
    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def choose(browser: Browser, selector: str, value: str) -> None:
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change', { bubbles: true }))"
    browser.execute_script(script, browser.find_element(By.CSS_SELECTOR, selector), value)


def wait_until_shown(browser: Browser, selector: str) -> None:
    def is_shown(_: Any) -> bool:
        return any(each.is_displayed() for each in browser.find_elements(By.CSS_SELECTOR, selector))

    WebDriverWait(browser, 30).until(is_shown)


def wait_until_hidden(browser: Browser, selector: str) -> None:
    WebDriverWait(browser, 30).until_not(lambda _: browser.find_element(By.CSS_SELECTOR, selector).is_displayed())
