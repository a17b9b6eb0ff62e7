"""Test the report page in a real browser: it loads without a network, at every width, in light and dark mode."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_workspace import HOSTILE, build_workspace
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from hangtag.stages.report import report

pytestmark = pytest.mark.browser
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
INK = "getComputedStyle(document.body).color"
FIGURE_INK = "getComputedStyle(document.querySelector('#confusion-1 .xtick text')).fill"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fake = build_workspace(tmp_path_factory.mktemp("report"), is_capstone=True)
    report(fake.workspace)
    return fake.workspace.report


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    browser.set_page_load_timeout(120)
    yield browser
    browser.quit()


def open_page(driver: webdriver.Chrome, page: Path, width: int = 1400, scheme: str = "light") -> None:
    """Load the page and wait until its first figure is drawn."""
    for kind in ("browser", "performance"):
        read_log(driver, kind)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    emulate_color_scheme(driver, scheme)
    driver.get(page.as_uri())
    WebDriverWait(driver, 60).until(lambda found: found.find_elements(By.CSS_SELECTOR, ".sunburst path.surface"))


def read_log(driver: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    """Return the entries of a log since the last call."""
    return list(driver.get_log(kind))  # type: ignore[no-untyped-call]  # selenium's types end here


def find_errors(driver: webdriver.Chrome) -> list[dict[str, Any]]:
    return [entry for entry in read_log(driver, "browser") if entry["level"] != "INFO"]


def emulate_color_scheme(driver: webdriver.Chrome, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def evaluate_script(driver: webdriver.Chrome, script: str) -> Any:
    return driver.execute_script(f"return {script}")


def test_page_loads_without_a_network_and_without_an_error(driver: webdriver.Chrome, page: Path) -> None:
    open_page(driver, page)
    assert find_errors(driver) == []
    messages = [json.loads(entry["message"])["message"] for entry in read_log(driver, "performance")]
    sent = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in sent
    assert [url[:60] for url in sent if url != page.as_uri() and not url.startswith("data:")] == []


def test_figures_are_drawn(driver: webdriver.Chrome, page: Path) -> None:
    open_page(driver, page)
    assert len(driver.find_elements(By.CSS_SELECTOR, ".sunburst svg.main-svg")) >= 2
    # The middle, the one coarse value, and 30 classes and Unknown in each of two rings.
    assert len(driver.find_elements(By.CSS_SELECTOR, "#sunburst-1 path.surface")) == 1 + 1 + 1 + 31
    assert driver.find_elements(By.CSS_SELECTOR, "#confusion-1 .heatmaplayer image")
    assert len(driver.find_elements(By.CSS_SELECTOR, ".chart polyline")) == 2 * (3 + 2)
    assert evaluate_script(driver, "[...document.images].every((each) => each.complete && each.naturalWidth > 0)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_telephone_sheets_fit_and_wide_tables_scroll_in_their_box(
    driver: webdriver.Chrome, page: Path, scheme: str
) -> None:
    open_page(driver, page, 390, scheme)
    driver.execute_script("document.querySelectorAll('details').forEach((each) => each.open = true)")
    driver.execute_script("document.querySelectorAll('.panel').forEach((each) => each.hidden = false)")
    sheets = "[...document.querySelectorAll('.sheet img')].map((each) => each.getBoundingClientRect().width)"
    assert max(evaluate_script(driver, sheets)) <= 390
    # What is wider than the page can be scrolled to: it is inside a box of the page's width.
    boxes = "[...document.querySelectorAll('main table')].map((each) => each.closest('.scroll, .bars, figure'))"
    assert evaluate_script(driver, f"{boxes}.every((each) => each && each.getBoundingClientRect().right <= innerWidth)")
    wide = "[...document.querySelectorAll('.scroll')].filter((each) => each.scrollWidth > each.clientWidth + 1)"
    assert evaluate_script(driver, f"{wide}.every((each) => getComputedStyle(each).overflowX === 'auto')")
    # The columns and classes of most tables fit after folding.
    assert evaluate_script(driver, f"{wide}.length / document.querySelectorAll('.scroll').length") < 0.5


def test_a_sheet_can_be_enlarged_on_a_telephone(driver: webdriver.Chrome, page: Path) -> None:
    open_page(driver, page, 390)
    button = driver.find_element(By.CSS_SELECTOR, ".panel:not([hidden]) .zoom")
    image = button.find_element(By.XPATH, "preceding-sibling::div/img")
    before = image.size["width"]
    driver.execute_script("arguments[0].click()", button)
    assert (image.size["width"] > 2 * before, button.get_attribute("aria-pressed")) == (True, "true")
    assert evaluate_script(driver, "document.documentElement.scrollWidth") <= 390
    driver.execute_script("arguments[0].click()", button)
    assert (image.size["width"], button.get_attribute("aria-pressed")) == (before, "false")
    open_page(driver, page, 1400)
    assert not driver.find_element(By.CSS_SELECTOR, ".panel:not([hidden]) .zoom").is_displayed()


@pytest.mark.parametrize("width", [360, 768, 1400])
def test_page_never_scrolls_sideways(driver: webdriver.Chrome, page: Path, width: int) -> None:
    open_page(driver, page, width)
    assert evaluate_script(driver, "innerWidth") == width
    assert evaluate_script(driver, "document.documentElement.scrollWidth") <= width
    for details in driver.find_elements(By.TAG_NAME, "details"):
        driver.execute_script("arguments[0].open = true", details)
    assert evaluate_script(driver, "document.documentElement.scrollWidth") <= width


def test_dark_mode_changes_page_and_figures(driver: webdriver.Chrome, page: Path) -> None:
    colors = {}
    open_page(driver, page)
    for scheme in ("light", "dark"):
        emulate_color_scheme(driver, scheme)
        # The figures' own text follows the page's.
        WebDriverWait(driver, 30).until(lambda found: evaluate_script(found, f"{FIGURE_INK} === {INK}"))
        colors[scheme] = (
            evaluate_script(driver, "getComputedStyle(document.body).backgroundColor"),
            evaluate_script(driver, INK),
        )
    assert sum(map(int, colors["light"][0][4:-1].split(","))) > 600
    assert sum(map(int, colors["dark"][0][4:-1].split(","))) < 150
    assert colors["light"][1] != colors["dark"][1]


def test_pickers_work_from_the_keyboard(driver: webdriver.Chrome, page: Path) -> None:
    open_page(driver, page)
    select = driver.find_element(By.NAME, "sheets")
    select.send_keys("Watches")
    shown = [panel.get_attribute("data-index") for panel in visible_panels(driver, "sheets")]
    assert len(shown) == 1
    assert "Watches" in visible_panels(driver, "sheets")[0].text
    first = driver.find_element(By.CSS_SELECTOR, "input[name=run-confusion]")
    first.send_keys(Keys.ARROW_RIGHT)
    # One choice of a run switches curves, confusion matrix and photographs; a figure is drawn when it is shown.
    assert [panel.get_attribute("data-index") for panel in visible_panels(driver, "run")] == ["1", "1", "1"]
    assert driver.find_element(By.CSS_SELECTOR, "input[name=run-curves][value='1']").is_selected()
    assert driver.find_elements(By.CSS_SELECTOR, "#confusion-2 .heatmaplayer image")


def visible_panels(driver: webdriver.Chrome, group: str) -> list[Any]:
    return driver.find_elements(By.CSS_SELECTOR, f".panel[data-group='{group}']:not([hidden])")


def test_a_label_with_markup_is_drawn_as_text(driver: webdriver.Chrome, tmp_path: Path) -> None:
    fake = build_workspace(tmp_path)
    report(fake.workspace)
    open_page(driver, fake.workspace.report)
    assert find_errors(driver) == []
    labels = [text.get_attribute("textContent") for text in driver.find_elements(By.CSS_SELECTOR, ".xtick text")]
    assert HOSTILE in labels
    assert HOSTILE in driver.find_element(By.TAG_NAME, "body").text
