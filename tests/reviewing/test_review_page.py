"""Test the review page in a real browser: by keyboard, with two reviewers, on a tablet and in dark mode."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from issue_queue import make_line, write_issues
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from serving_fixtures import run_in_thread
from shop_exports import draw_photographs

from hangtag.reviewing.app import build_app
from hangtag.reviewing.items import read_items
from hangtag.reviewing.queue import Queue, read_issues
from hangtag.reviewing.store import Store, find_standing
from hangtag.stages.prepare import prepare
from hangtag.stages.review import open_look_alike_search
from hangtag.workspace import Workspace

pytestmark = pytest.mark.browser
Browser = webdriver.Chrome
# A folder for screenshots of the page, for visual inspection.
SHOTS = os.environ.get("REVIEW_SHOTS", "")


@pytest.fixture
def address(queue: Queue, store: Store, workspace: Workspace) -> Iterator[str]:
    app = build_app(queue, store, open_look_alike_search(workspace, queue.items), token="page-token", host="127.0.0.1")
    yield from run_in_thread(app)


def open_browser() -> Browser:
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options)


@pytest.fixture
def browser() -> Iterator[Browser]:
    driver = open_browser()
    yield driver
    driver.quit()


@pytest.fixture
def second() -> Iterator[Browser]:
    driver = open_browser()
    yield driver
    driver.quit()


def press(browser: Browser, *keys: str) -> None:
    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def read(browser: Browser, element_id: str) -> str:
    return browser.find_element(By.ID, element_id).text


def wait_for(browser: Browser, element_id: str, text: str) -> None:
    WebDriverWait(browser, 20).until(lambda _: text in read(browser, element_id))


def wait_until_loaded(browser: Browser) -> None:
    """Wait until every visible photograph, including the look-alikes, is drawn."""
    script = "return [...document.images].length > 6 && [...document.images].every((each) => each.naturalWidth > 0)"
    WebDriverWait(browser, 20).until(lambda _: browser.execute_script(script))


def begin(browser: Browser, address: str, name: str = "Ann") -> None:
    """Open the page and enter the reviewer's name, without a mouse."""
    browser.get(address)
    WebDriverWait(browser, 20).until(lambda _: browser.find_element(By.ID, "reviewer-name").is_displayed())
    press(browser, name, Keys.ENTER)
    wait_for(browser, "progress-text", "open")


def shoot(browser: Browser, name: str) -> None:
    if SHOTS:
        browser.save_screenshot(str(Path(SHOTS) / f"{name}.png"))


def list_errors(browser: Browser) -> list[str]:
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in log if entry["level"] == "SEVERE"]


def test_a_queue_can_be_decided_by_keyboard(browser: Browser, address: str, store: Store) -> None:
    begin(browser, address)
    wait_for(browser, "progress-text", "12 of 12 open")
    assert read(browser, "given").startswith("Shirts")
    assert read(browser, "suggested") == "Tshirts"
    wait_until_loaded(browser)
    shoot(browser, "desktop-light")
    press(browser, "a")
    wait_for(browser, "done", "accepted Tshirts · 2 issues")
    wait_for(browser, "progress-text", "10 of 12 open")
    press(browser, "k")
    wait_for(browser, "progress-text", "9 of 12 open")
    press(browser, "s")
    wait_for(browser, "progress-text", "1 skipped")
    # Another class, by a part of its name.
    press(browser, "c")
    WebDriverWait(browser, 20).until(lambda _: browser.switch_to.active_element.get_attribute("id") == "search")
    press(browser, "d", "r", "e", "s")
    wait_for(browser, "choices", "Dresses")
    shoot(browser, "chooser")
    press(browser, Keys.ENTER)
    wait_for(browser, "done", "chose Dresses")
    press(browser, "u")
    wait_for(browser, "done", "Undone")
    assert [(each.action, each.new) for each in find_standing(store.read())] == [
        ("accept", {"articleType": "Tshirts"}),
        ("accept", {"articleType": "Tshirts"}),
        ("keep", {"articleType": "Shirts"}),
        ("skip", {}),
    ]
    assert {each.reviewer for each in store.read()} == {"Ann"}
    # Moving to another issue makes no decision.
    before = len(store.read())
    name = read(browser, "name")
    press(browser, Keys.ARROW_RIGHT)
    WebDriverWait(browser, 20).until(lambda _: read(browser, "name") != name)
    press(browser, Keys.ARROW_LEFT)
    wait_for(browser, "name", name)
    press(browser, "?")
    WebDriverWait(browser, 20).until(lambda _: browser.find_element(By.ID, "help").is_displayed())
    # While a dialog is open, it receives the keys.
    press(browser, "a", Keys.ESCAPE)
    assert len(store.read()) == before
    assert list_errors(browser) == []


def test_a_group_can_be_decided_by_keyboard_up_to_the_end_of_the_queue(
    browser: Browser, address: str, store: Store
) -> None:
    begin(browser, address)
    wait_for(browser, "progress-text", "12 of 12 open")
    # The second filter is the kind of issue.
    press(browser, "f")
    assert browser.switch_to.active_element.get_attribute("id") == "state"
    press(browser, Keys.TAB, "duplicates")
    wait_for(browser, "progress-text", "3 of 3 open")
    press(browser, Keys.ESCAPE)
    assert "A group of 3 issues" in read(browser, "group-text")
    wait_until_loaded(browser)
    shoot(browser, "group")
    ActionChains(browser).key_down(Keys.SHIFT).send_keys("a").key_up(Keys.SHIFT).perform()
    wait_for(browser, "end-title", "No open issues match these filters.")
    assert [each.new["articleType"] for each in store.read()] == ["Casual Shoes"] * 3
    shoot(browser, "end")
    press(browser, "u")
    wait_for(browser, "suggested", "Casual Shoes")
    wait_for(browser, "progress-text", "3 of 3 open")
    assert find_standing(store.read()) == []
    assert list_errors(browser) == []


def test_duplicates_are_compared_side_by_side(browser: Browser, address: str) -> None:
    browser.get(f"{address}?code=duplicate_label_conflict")
    WebDriverWait(browser, 20).until(lambda _: browser.find_element(By.ID, "reviewer-name").is_displayed())
    press(browser, "Ann", Keys.ENTER)
    wait_for(browser, "progress-text", "3 of 3 open")
    wait_until_loaded(browser)
    assert read(browser, "caption") == "This one: Sandals"
    own, *others = (
        each.rect for each in browser.find_elements(By.CSS_SELECTOR, "#photograph, #members img") if each.is_displayed()
    )
    assert len(others) == 2
    # In one row, and the question below.
    assert all(abs(each["y"] - own["y"]) < 30 and each["x"] > own["x"] for each in others)
    assert browser.find_element(By.ID, "name").rect["y"] > max(each["y"] + each["height"] for each in (own, *others))
    members = [each.text for each in browser.find_elements(By.CSS_SELECTOR, "#members li")]
    assert all("baseColour: " in text or "usage: " in text for text in members), members


def test_filters_combine_by_keyboard_and_can_be_sent_as_an_address(
    browser: Browser, address: str, queue: Queue
) -> None:
    open_grid(browser, address)
    word = queue.items.read_name(queue.issues[0].item_id).split()[-2]
    having = [each for each in queue.issues if each.changes and word in queue.items.read_name(each.item_id)]
    assert 0 < len(having) < 11
    press(browser, "/", word.lower(), Keys.ENTER)
    wait_for(browser, "progress-text", f"{len(having)} open suggestion")
    press(browser, "f", "label")
    wanted = [each for each in having if each.code == "label_error"]
    wait_for(browser, "progress-text", f"{len(wanted)} open suggestion")
    # Another tab shows the same, and so does the other page.
    sent = browser.current_url
    assert f"code=label_error&named={word.lower()}" in sent
    browser.get(sent)
    wait_for(browser, "progress-text", f"{len(wanted)} open suggestion")
    press(browser, "g")
    wait_for(browser, "progress-text", f"of {len(wanted)} open")
    assert browser.find_element(By.ID, "named").get_attribute("value") == word.lower()
    options = [each.text for each in browser.find_elements(By.CSS_SELECTOR, "#code option")]
    assert f"label error ({len(wanted)})" in options
    browser.find_element(By.ID, "clear").click()
    wait_for(browser, "progress-text", "12 of 12 open")
    assert browser.current_url == address
    # A range that the grid has no field for stays on the way there and back, and filters nothing there.
    browser.get(f"{address}grid?low=0.9")
    wait_for(browser, "progress-text", "11 open suggestions")
    assert "low=0.9" in str(browser.find_element(By.ID, "other-page").get_attribute("href"))
    assert list_errors(browser) == []


def test_another_reviewers_decision_is_shown_before_it_is_changed(
    browser: Browser, second: Browser, address: str, store: Store
) -> None:
    begin(browser, address)
    wait_for(browser, "suggested", "Tshirts")
    name = read(browser, "name")
    begin(second, address, "Bob")
    # The first issue is shown to Ann, so Bob is shown the next one; he goes back to the first.
    wait_for(second, "progress-text", "open")
    assert read(second, "name") != name
    second.execute_script("return reload(0)")
    wait_for(second, "name", name)
    press(second, "k")
    wait_for(second, "done", "kept")
    press(browser, "a")
    wait_for(browser, "notice", "Not saved.")
    wait_for(browser, "notice", "Bob kept the value")
    wait_for(browser, "tag-state", "Bob kept the value")
    shoot(browser, "conflict")
    assert {each.reviewer for each in store.read()} == {"Bob"}
    # After Ann has seen Bob's decision, she may decide differently.
    press(browser, "a")
    wait_for(browser, "done", "accepted")
    assert find_standing(store.read())[-1].reviewer == "Ann"
    assert [message for message in list_errors(browser) if "409" not in message] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(820, 1180), (1180, 820), (390, 844)])
def test_nothing_overflows_on_a_tablet_and_the_buttons_are_large_enough(
    browser: Browser, address: str, width: int, height: int, scheme: str
) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    begin(browser, address)
    wait_for(browser, "suggested", "Tshirts")
    wait_until_loaded(browser)
    shoot(browser, f"{width}x{height}-{scheme}")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    for name in ("accept", "keep", "choose", "skip", "undo"):
        box = browser.find_element(By.ID, name).rect
        assert box["height"] >= 44
    bottom = browser.execute_script("return document.getElementById('accept').getBoundingClientRect().bottom")
    assert bottom <= height
    # The suggestion is visible without scrolling, above the buttons that stay in view.
    ends = "return ['suggestion', 'actions'].map((each) => document.getElementById(each).getBoundingClientRect())"
    suggestion, actions = browser.execute_script(ends)
    assert suggestion["bottom"] <= actions["top"]
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    shade = sum(int(part) for part in background[4:-1].split(",")) / 3
    assert (shade > 128) == (scheme == "light")
    browser.find_element(By.ID, "keep").click()
    wait_for(browser, "progress-text", "10 of 12 open")


def test_dark_mode_has_enough_contrast_on_a_desktop(browser: Browser, address: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    begin(browser, address)
    wait_until_loaded(browser)
    shoot(browser, "desktop-dark")
    # The contrast of text to its background is at least 4.5 to 1 (WCAG 2, AA).
    contrasts = browser.execute_script(CONTRASTS)
    assert {name: value for name, value in contrasts.items() if value < 4.5} == {}


def open_grid(browser: Browser, address: str) -> None:
    browser.get(f"{address}grid")
    WebDriverWait(browser, 20).until(lambda _: browser.find_element(By.ID, "reviewer-name").is_displayed())
    press(browser, "Ann", Keys.ENTER)
    wait_for(browser, "title", "Shirts →")
    script = "return [...document.querySelectorAll('.card img')].every((each) => each.naturalWidth > 0)"
    WebDriverWait(browser, 20).until(lambda _: browser.execute_script(script))


def test_like_issues_are_decided_together_by_keyboard(browser: Browser, address: str, store: Store) -> None:
    open_grid(browser, address)
    wait_for(browser, "progress-text", "11 open suggestions in 3 kinds")
    assert read(browser, "accept").startswith("Accept all 6")
    # The second card is taken out by its key, the first by a click.
    press(browser, Keys.ARROW_RIGHT, " ")
    browser.find_elements(By.CSS_SELECTOR, ".card")[0].click()
    wait_for(browser, "both", "Accept 4, keep 2")
    shoot(browser, "grid-light")
    press(browser, "z")
    WebDriverWait(browser, 20).until(lambda _: browser.find_element(By.ID, "zoomed").is_displayed())
    shoot(browser, "zoom")
    press(browser, Keys.ESCAPE)
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT).perform()
    wait_for(browser, "done", "4 accepted, 2 kept")
    assert sorted(each.action for each in find_standing(store.read())) == ["accept"] * 4 + ["keep"] * 3
    wait_for(browser, "title", "Sandals →")
    press(browser, "u")
    wait_for(browser, "title", "Shirts →")
    assert find_standing(store.read()) == []
    press(browser, "k")
    wait_for(browser, "done", "Tshirts: 6 kept")
    press(browser, "u")
    wait_for(browser, "title", "Shirts →")
    assert find_standing(store.read()) == []
    # Those taken out stay open.
    press(browser, Keys.ARROW_RIGHT, " ", Keys.ENTER)
    wait_for(browser, "done", "5 accepted")
    wait_for(browser, "progress-text", "in 2 kinds")
    # What is alone in its kind is shown together, each with its own suggestion; what was passed over comes again last.
    wait_for(browser, "title", "Sandals →")
    press(browser, "n")
    wait_for(browser, "title", "Single suggestions")
    marks = {each.text for each in browser.find_elements(By.CSS_SELECTOR, ".card .mark")}
    assert len(marks) == 2
    assert all("→" in each for each in marks)
    shoot(browser, "grid-single")
    press(browser, Keys.ENTER)
    wait_for(browser, "done", "Single suggestions: 2 accepted")
    wait_for(browser, "title", "Sandals →")
    press(browser, "u")
    wait_for(browser, "title", "Single suggestions")
    press(browser, "g")
    wait_for(browser, "progress-text", "of 12 open")
    assert list_errors(browser) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_grid_fits_every_screen_and_has_enough_contrast(
    browser: Browser, address: str, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    open_grid(browser, address)
    browser.find_elements(By.CSS_SELECTOR, ".card")[1].click()
    shoot(browser, f"grid-{width}-{scheme}")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    names = ["title", "about", "accept", "both", "progress-text"]
    contrasts = browser.execute_script(CONTRASTS.replace(CONTRAST_IDS, str(names)))
    assert {name: value for name, value in contrasts.items() if value < 4.5} == {}


CONTRASTS = """
const light = (color) => {
  const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const background = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const color = getComputedStyle(each).backgroundColor;
    if (color !== "rgba(0, 0, 0, 0)") return color;
  }
};
const found = {};
for (const id of [IDS]) {
  const element = document.getElementById(id);
  const [a, b] = [light(getComputedStyle(element).color), light(background(element))];
  found[id] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}
return found;
"""
CONTRAST_IDS = '["name", "identity", "given", "suggested", "reason", "accept", "keep", "skip", "progress-text"]'
CONTRASTS = CONTRASTS.replace("[IDS]", CONTRAST_IDS)


@pytest.fixture
def several(tmp_path: Path) -> Iterator[str]:
    """The address of a review of a product with four photographs, of which the third has an issue."""
    rows = [f"p{number},Shirts,{'|'.join(f'{number}{letter}.png' for letter in 'abcd')}" for number in range(8)]
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "products.csv").write_text("\n".join(["sku,kind,images", *rows]))
    draw_photographs(tmp_path / "shop", [f"{number}{letter}.png" for number in range(8) for letter in "abcd"])
    described = {"id": "sku", "levels": "kind", "image_column": "images", "image_separator": "|"}
    workspace = Workspace.at(tmp_path / "w")
    prepare(tmp_path / "shop" / "products.csv", workspace, overrides=described)
    reason = "The picture 0c.png has nearly one colour: 0.8% of it differs."
    line = make_line("p0", "Shirts", "", 0.4, code="bad_picture", reason=reason, column="kind")
    write_issues(workspace, [line])
    with closing(Store(workspace.review / "review.sqlite")) as store:
        queue = Queue(read_issues(workspace.issues), read_items(workspace), store)
        look_alikes = open_look_alike_search(workspace, queue.items)
        yield from run_in_thread(build_app(queue, store, look_alikes, token="page-token", host="127.0.0.1"))


@pytest.mark.parametrize("width", [1280, 390])
def test_the_photographs_of_a_product_are_shown_one_by_one(browser: Browser, several: str, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    begin(browser, several)
    wait_for(browser, "reason", "0c.png")
    wait_until_loaded(browser)
    buttons = browser.find_elements(By.CSS_SELECTOR, "#photographs button")
    assert [button.get_attribute("title") for button in buttons] == ["0a.png", "0b.png", "0c.png", "0d.png"]
    # The one that the issue is about is shown first.
    assert [button.get_attribute("aria-pressed") for button in buttons] == ["false", "false", "true", "false"]
    shown = str(browser.find_element(By.ID, "photograph").get_attribute("src"))
    assert shown.endswith("&number=2")
    buttons[0].click()
    assert [button.get_attribute("aria-pressed") for button in buttons] == ["true", "false", "false", "false"]
    assert browser.find_element(By.ID, "photograph").get_attribute("src") == shown.removesuffix("&number=2")
    wait_until_loaded(browser)
    shoot(browser, f"several-{width}")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    picture, strip = (browser.find_element(By.ID, name).rect for name in ("picture", "photographs"))
    assert strip["y"] >= picture["y"]
    assert strip["y"] + strip["height"] <= picture["y"] + picture["height"] + 1
    press(browser, "z")
    wait_for(browser, "zoomed-text", "Photograph 1 of 4")
    press(browser, Keys.ARROW_LEFT)
    wait_for(browser, "zoomed-text", "Photograph 4 of 4")
    press(browser, Keys.ESCAPE)
    # The arrows belong to the photographs: no other issue is shown.
    wait_for(browser, "reason", "0c.png")
    assert list_errors(browser) == []
