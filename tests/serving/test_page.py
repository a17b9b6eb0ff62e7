"""Test the page in a real browser: by keyboard, on a phone, in dark mode, with sure and unsure predictions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from drawn import KEY
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = pytest.mark.browser
Browser = webdriver.Chrome


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1100,900"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options)
    yield driver
    driver.quit()


def choose(browser: Browser, photographs: Path, *names: str) -> None:
    field = browser.find_element(By.ID, "files")
    field.send_keys("\n".join(str(photographs / name) for name in names))


def wait_for(browser: Browser, text: str) -> None:
    WebDriverWait(browser, 20).until(lambda _: text in browser.find_element(By.ID, "progress").text)


def read_cards(browser: Browser) -> list[str]:
    return [card.text for card in browser.find_elements(By.CSS_SELECTOR, ".card")]


def test_photographs_are_classified_and_downloaded(
    browser: Browser, address: str, photographs: Path, tmp_path: Path
) -> None:
    browser.get(address)
    WebDriverWait(browser, 20).until(lambda _: "3 classes" in browser.find_element(By.ID, "model").text)
    choose(browser, photographs, "Hat.png", "noise.png", "broken.jpg", "more/Shoe.jpg")
    wait_for(browser, "4 of 4 done · 1 not sure · 1 not classified")
    hat, noise, broken, shoe = read_cards(browser)
    assert "Hat · " in hat
    assert "Wear" in hat
    assert "not sure: unlike" in noise
    assert "Send the whole file" in broken
    assert "Shoe · " in shoe
    browser.find_element(By.ID, "download").click()
    WebDriverWait(browser, 20).until(lambda _: (tmp_path / "classified.csv").is_file())
    lines = (tmp_path / "classified.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "file,label,confidence,is_sure,in_distribution,kind,type,label,season,error"
    assert lines[1].startswith("Hat.png,Hat,")
    assert len(lines) == 5
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]
    severe = [entry for entry in log if entry["level"] == "SEVERE"]
    # The browser cannot show the damaged photograph, which is not a fault of the page.
    assert [entry["message"] for entry in severe if "blob:" not in entry["message"]] == []
    browser.find_element(By.ID, "clear").click()
    assert read_cards(browser) == []


def test_the_page_works_by_keyboard_alone(browser: Browser, address: str, photographs: Path) -> None:
    browser.get(address)
    reached = []
    for _ in range(3):
        press(browser, Keys.TAB)
        reached.append(browser.switch_to.active_element.get_attribute("id"))
    assert "files" in reached
    choose(browser, photographs, "Shirt.png")
    wait_for(browser, "1 of 1 done")
    while browser.switch_to.active_element.get_attribute("id") != "download":
        press(browser, Keys.TAB)
        reached.append("")
        assert len(reached) < 20
    press(browser, Keys.TAB)
    press(browser, Keys.ENTER)
    assert read_cards(browser) == []


def test_the_heat_map_is_laid_over_the_photograph_and_removed(
    browser: Browser, address: str, photographs: Path
) -> None:
    browser.get(address)
    choose(browser, photographs, "Hat.png", "broken.jpg")
    wait_for(browser, "2 of 2 done")
    hat, broken = browser.find_elements(By.CSS_SELECTOR, ".explain")
    WebDriverWait(browser, 20).until(lambda _: hat.is_displayed())
    assert not broken.is_displayed()
    browser.execute_script("arguments[0].focus()", hat)
    press(browser, Keys.SPACE)
    WebDriverWait(browser, 20).until(lambda _: hat.get_attribute("aria-pressed") == "true")
    (map_,) = browser.find_elements(By.CSS_SELECTOR, ".map")
    assert map_.get_attribute("alt") == "Heat map for Hat"
    photograph = browser.find_element(By.CSS_SELECTOR, ".photo img")
    assert map_.rect == photograph.rect
    assert "evidence for Hat" in read_cards(browser)[0]
    press(browser, Keys.ENTER)
    assert not map_.is_displayed()
    assert hat.get_attribute("aria-pressed") == "false"


def press(browser: Browser, key: str) -> None:
    ActionChains(browser).send_keys(key).perform()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_on_a_phone(browser: Browser, address: str, photographs: Path, scheme: str) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(address)
    choose(browser, photographs, "Hat.png", "noise.png")
    wait_for(browser, "2 of 2 done")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    shade = sum(int(part) for part in background[4:-1].split(",")) / 3
    assert (shade > 128) == (scheme == "light")


def test_the_page_asks_for_an_api_key_and_sends_it(browser: Browser, guarded: str, photographs: Path) -> None:
    browser.get(guarded)
    field = browser.find_element(By.ID, "key-field")
    WebDriverWait(browser, 20).until(lambda _: field.is_displayed())
    choose(browser, photographs, "Hat.png")
    field.send_keys(KEY, Keys.ENTER)
    wait_for(browser, "1 of 1 done")
    assert "Hat · " in read_cards(browser)[0]
    assert not field.is_displayed()


def test_the_description_of_the_api_is_shown(browser: Browser, address: str) -> None:
    browser.get(f"{address}docs")
    WebDriverWait(browser, 20).until(lambda _: len(browser.find_elements(By.CSS_SELECTOR, ".route")) == 5)
    text = browser.find_element(By.ID, "routes").text
    assert "POST /v1/classify" in text
    assert "curl" in text
