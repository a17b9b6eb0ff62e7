"""Test the local application in a real browser: from the empty page to the corrected file, and on the next day."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from drawn_shop import correct, write_drawn_shop
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from serving_fixtures import run_in_thread
from shop_exports import Product

from hangtag.local_app.app import build_app
from hangtag.local_app.browsing import Uploads
from hangtag.local_app.catalogs import Shelf
from hangtag.local_app.desk import Desk, Stages
from hangtag.stages.app import apply_decisions, run_check
from hangtag.stages.review import open_review

pytestmark = pytest.mark.browser
Browser = webdriver.Chrome
TOKEN = "a-token-of-the-page"
# A folder for screenshots of the pages, for visual inspection.
SHOTS = os.environ.get("APP_SHOTS", "")


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    shelf = Shelf(tmp_path / "app")
    desk = Desk(shelf, Stages(run_check, apply_decisions, open_review))
    app = build_app(shelf, desk, Uploads(tmp_path / "app" / "uploads"), token=TOKEN, cookie="hangtag-test")
    try:
        yield from run_in_thread(app)
    finally:
        desk.close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path / "downloads")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options)
    yield driver
    driver.quit()


def wait_for(browser: Browser, element_id: str, text: str = "", seconds: float = 60) -> str:
    """Wait until an element is shown and has a text; return the whole text."""

    def look(_: object) -> bool:
        found = browser.find_elements(By.ID, element_id)
        return bool(found) and found[0].is_displayed() and text in found[0].text

    WebDriverWait(browser, seconds, ignored_exceptions=[Exception]).until(look)
    return str(browser.find_element(By.ID, element_id).text)


def click(browser: Browser, element_id: str) -> None:
    wait_for(browser, element_id)
    WebDriverWait(browser, 60).until(lambda _: browser.find_element(By.ID, element_id).is_enabled())
    browser.find_element(By.ID, element_id).click()


def wait_for_pictures(browser: Browser) -> None:
    script = "return [...document.images].every((each) => each.naturalWidth > 0)"
    WebDriverWait(browser, 60).until(lambda _: browser.execute_script(script))


def shoot(browser: Browser, name: str) -> None:
    """Take the whole page, wide and narrow, light and dark, if somebody wants to look at it."""
    if not SHOTS:
        return
    for look, width, scheme in (("light", 1280, "light"), ("dark", 1280, "dark"), ("narrow", 390, "light")):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        height = min(browser.execute_script("return document.documentElement.scrollHeight"), 2600)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**size, "height": max(height, 800)})
        time.sleep(0.3)
        browser.save_screenshot(str(Path(SHOTS) / f"app-{name}-{look}.png"))
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def list_errors(browser: Browser) -> list[str]:
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in log if entry["level"] == "SEVERE"]


def wait_for_next(browser: Browser, before: str) -> None:
    """Wait until another progress than `before` is shown, or the end of the queue."""

    def look(_: object) -> bool:
        is_end = browser.find_element(By.ID, "end").is_displayed()
        return is_end or browser.find_element(By.ID, "progress-text").text != before

    WebDriverWait(browser, 60).until(look)


def decide_all(browser: Browser, wrong: list[Product]) -> list[Product]:
    """Decide about every issue, by keyboard, as somebody who knows the products; return those that were corrected."""
    true = {product.name: product for product in wrong}
    corrected: list[Product] = []
    for _ in range(60):
        WebDriverWait(browser, 60).until(
            lambda _: any(browser.find_element(By.ID, each).is_displayed() for each in ("issue", "end"))
        )
        if browser.find_element(By.ID, "end").is_displayed():
            return corrected
        name, code = browser.find_element(By.ID, "name").text, browser.find_element(By.ID, "tag-code").text
        suggested = browser.find_element(By.ID, "suggested").text
        product = true.get(name)
        is_right = product is not None and code.startswith("label error") and suggested == product.true
        if is_right and product is not None:
            corrected.append(product)
        before = browser.find_element(By.ID, "progress-text").text
        ActionChains(browser).send_keys("a" if is_right else "k").perform()
        wait_for_next(browser, before)
    raise AssertionError("the queue does not end")


def choose_columns(browser: Browser) -> None:
    """Look at the first rows, take a column for nothing, and undo that."""
    assert "54 products" in wait_for(browser, "columns-about", "All of the first 10 can be read.")
    wait_for_pictures(browser)
    assert len(browser.find_elements(By.CSS_SELECTOR, ".pictures img")) == 10
    # At 1280 pixels the columns that are used need no scrolling.
    assert browser.execute_script("const it = find('rows'); return it.scrollWidth <= it.clientWidth")
    shoot(browser, "2-columns")
    browser.find_element(By.CSS_SELECTOR, 'select[data-column="Type"]').send_keys("not")
    wait_for(browser, "columns-about", "Which column has the category?")
    assert not browser.find_element(By.ID, "start").is_enabled()
    shoot(browser, "3-columns-lacking")
    click(browser, "columns-reset")
    wait_for(browser, "columns-about", "All of the first 10 can be read.")


def check_and_come_back(browser: Browser) -> None:
    """Start the check, close the page, and find the same when it is opened again."""
    click(browser, "start")
    wait_for(browser, "checking")
    catalogue = browser.current_url
    browser.get("about:blank")
    browser.get(catalogue)
    wait_for(browser, "checking-steps", "Put the categories in order", 240)
    shoot(browser, "4-checking")
    wait_for(browser, "headline", "that could be checked", 240)
    wait_for_pictures(browser)
    assert not browser.find_element(By.ID, "corrected").is_enabled()
    assert "nothing is decided" in browser.find_element(By.ID, "take-about").text
    assert int(browser.find_element(By.ID, "number").text) > 0
    shoot(browser, "5-results")


def download(browser: Browser, element_id: str, path: Path) -> bytes:
    click(browser, element_id)
    WebDriverWait(browser, 60).until(lambda _: path.exists())
    return path.read_bytes()


def test_from_the_empty_page_to_the_corrected_file_and_on_to_tomorrow(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    table, wrong = write_drawn_shop(tmp_path / "shop")
    original = table.read_bytes()

    # The empty page; what is dropped or picked is copied.
    browser.get(f"{address}?token={TOKEN}")
    wait_for(browser, "drop")
    assert TOKEN not in browser.current_url
    assert not browser.find_element(By.ID, "recent").is_displayed()
    shoot(browser, "1-first")
    archive = shutil.make_archive(str(tmp_path / "export"), "zip", tmp_path / "shop")
    browser.find_element(By.ID, "files").send_keys(archive)
    choose_columns(browser)
    check_and_come_back(browser)

    # The review, by keyboard, and back to the catalogue.
    click(browser, "decide-one")
    WebDriverWait(browser, 60).until(lambda _: browser.find_element(By.ID, "reviewer-name").is_displayed())
    ActionChains(browser).send_keys("Ann", Keys.ENTER).perform()
    wait_for(browser, "progress-text", "open")
    shoot(browser, "6-review")
    corrected = decide_all(browser, wrong)
    assert len(corrected) >= 3
    assert "corrected file" in browser.find_element(By.ID, "end-text").text
    browser.find_element(By.ID, "back").click()
    wait_for(browser, "decided", "nothing left to decide")
    wait_for(browser, "number", "0")
    assert not browser.find_element(By.ID, "by-category").is_displayed()

    # The person's own file comes back, with the decided cells changed and no other byte.
    found = download(browser, "corrected", tmp_path / "downloads" / "products_export-corrected.csv")
    assert found == correct(original, corrected)
    assert found != original
    wait_for(browser, "taken", f"{len(corrected)} products corrected")
    shoot(browser, "7-corrected")
    changes = download(browser, "changes-link", tmp_path / "downloads" / "export-changes.csv")
    assert changes.count(b"\n") == 1 + len(corrected)

    # Tomorrow's export, by its path.
    later, _ = write_drawn_shop(tmp_path / "later", more=12)
    click(browser, "newer")
    wait_for(browser, "heading", "The newer export of export.zip")
    browser.find_element(By.ID, "path").send_keys(str(later), Keys.ENTER)
    wait_for(browser, "where", str(later))
    wait_for(browser, "columns-about", "66 products")
    click(browser, "step-results")
    wait_for(browser, "newer-waits", "has not been checked yet")
    assert not browser.find_element(By.ID, "corrected").is_enabled()
    assert "the newer export has not been checked" in browser.find_element(By.ID, "take-about").text
    click(browser, "check-newer")
    click(browser, "start")
    assert "12 new products" in wait_for(browser, "since", "Since the last check", 240)
    wait_for(browser, "to-correct", f"{len(corrected)} products of this file still have a value that you corrected")
    wait_for_pictures(browser)
    shoot(browser, "8-tomorrow")
    browser.get(address)
    assert "66 products" in wait_for(browser, "catalogues", "products_export.csv")
    shoot(browser, "9-recent")
    assert list_errors(browser) == []
