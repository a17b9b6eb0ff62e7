"""Measure how many decisions a minute a person makes in the grid of the review, against the view one by one.

Usage: python benchmarks/review_rate.py [--errors 200] [--kinds 20] [--false 0.1] [--look 1.2] [--card 0.35]
           [--click 0.5] [--seed 0]

Draws a catalogue in which so many categories are wrong, of so many kinds (given and true category; the commonest has
half as many again as the next one), with a share of further suggestions that are wrong, and decides about all of them
in a real Chromium through Selenium, once in each view, as somebody who knows the answers and has this pace:

- one by one, `--look` seconds to look at a question and press a key;
- in the grid, `--card` seconds to look at each card, and `--click` seconds for a click that takes one out, and for the
  key that decides about a kind.

The time that the page and the service take comes on top, in both. The decisions are compared with the answers; a wrong
one ends the measurement.
"""

import argparse
import csv
import json
import math
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from hangtag.demo_catalog.catalog import write_demo_catalog
from hangtag.reviewing.decision_store import read_decisions
from hangtag.reviewing.queue import COLUMNS
from hangtag.reviewing.store import find_standing
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

Browser = webdriver.Chrome
# The action that is right for each issue, by its position in the queue.
Answers = dict[int, str]


def main() -> None:
    """Decide about the same issues in both views and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, default in (("errors", 200), ("kinds", 20), ("seed", 0)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    for flag, seconds in (("false", 0.1), ("look", 1.2), ("card", 0.35), ("click", 0.5)):
        parser.add_argument(f"--{flag}", type=float, default=seconds)
    pace = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        answers = make_workspace(Path(folder), pace.errors, pace.kinds, pace.false, pace.seed)
        kinds = len({(line["given_label"], line["suggested_label"]) for line in read_queue(Path(folder) / "grid")})
        print(f"{len(answers)} suggestions in {kinds} kinds, {Counter(answers.values())['keep']} of them wrong.\n")
        print("| view | decisions | seconds | decisions a minute |")
        print("| --- | --- | --- | --- |")
        rates = {}
        for view, decide in (("one by one", decide_singly), ("grid", decide_in_grid)):
            workspace = Path(folder) / view.replace(" ", "-")
            with open_page(workspace, "grid" if view == "grid" else "") as browser:
                start = time.perf_counter()
                decide(browser, answers, pace)
                seconds = time.perf_counter() - start
            check_decisions(workspace, answers)
            rates[view] = len(answers) / seconds * 60
            print(f"| {view} | {len(answers)} | {seconds:.1f} | {rates[view]:.1f} |", flush=True)
        print(f"\nThe grid is {rates['grid'] / rates['one by one']:.2f} times as fast.")


def make_workspace(folder: Path, errors: int, kinds: int, false: float, seed: int) -> Answers:
    """Prepare a drawn catalogue with wrong categories in a workspace for each view, and return the right answers."""
    draw = random.Random(seed)
    wrong = math.ceil(errors * false)
    write_demo_catalog(folder / "drawn", items_per_kind=20)
    prepare(folder / "drawn", folder / "first")
    items = pl.read_parquet(folder / "first" / "prepared" / "items.parquet")
    by_type: dict[str, list[tuple[str, str, str]]] = {}
    for kind, name, path in items.select("articleType", "productDisplayName", "image_path").drop_nulls().iter_rows():
        by_type.setdefault(kind, []).append((kind, name, path))
    pairs = [(given, true) for given in sorted(by_type) for true in sorted(by_type) if given != true]
    pairs = draw.sample(pairs, min(kinds, len(pairs)))
    weights = [1.5**-rank for rank in range(len(pairs))]
    lines = []
    (folder / "shop").mkdir()
    for number in range(errors + wrong):
        # Every kind has one at least.
        given, true = pairs[number] if number < len(pairs) else draw.choices(pairs, weights)[0]
        is_right = number < errors
        _, name, path = draw.choice(by_type[true if is_right else given])
        photograph = f"{number}{Path(path).suffix}"
        shutil.copy(folder / "drawn" / path, folder / "shop" / photograph)
        score = round(draw.uniform(0.6, 1) if is_right else draw.uniform(0.5, 0.9), 4)
        lines.append((score, str(number), f"{name} {number}", given, true, photograph, is_right))
    lines.sort(reverse=True)
    with (folder / "shop" / "products.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "name", "kind", "image"])
        writer.writerows([number, name, given, photograph] for _, number, name, given, _, photograph, _ in lines)
    prepare(
        folder / "shop",
        folder / "grid",
        overrides={"id": "id", "name": "name", "levels": ["kind"], "image_column": "image"},
    )
    write_queue(Workspace.at(folder / "grid"), lines)
    shutil.copytree(folder / "grid", folder / "one-by-one")
    return {position: "accept" if line[-1] else "keep" for position, line in enumerate(lines)}


def write_queue(workspace: Workspace, lines: list[tuple[Any, ...]]) -> None:
    """Write the issues as an audit does."""
    workspace.audit.mkdir()
    with workspace.issues.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for score, number, _, given, suggested, _, _ in lines:
            reason = f"The photograph looks like {suggested} ({score:.2f}); given {given}."
            issue = {"item_id": number, "code": "label_error", "severity": "warning", "column": "kind"}
            labels = {"given_label": given, "suggested_label": suggested, "changes": json.dumps({"kind": suggested})}
            writer.writerow({**issue, **labels, "evidence": "image", "score": score, "reason": reason})


def read_queue(folder: Path) -> list[dict[str, str]]:
    """Return the rows of the issues."""
    with Workspace.at(folder).issues.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@contextmanager
def open_page(workspace: Path, page: str) -> Iterator[Browser]:
    """Run the review of a workspace, open a page of it in Chromium, and wait for its first question."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "hangtag", "review", "-w", str(workspace), "--port", port, "--reviewer", "Ann"]
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options)
    service = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}/{page}"
        wait_for(browser, lambda: browser.get(address) or browser.find_elements(By.ID, "filters"))  # type: ignore[func-returns-value]
        wait_for(browser, lambda: browser.execute_script(READY))
        yield browser
    finally:
        browser.quit()
        service.terminate()
        service.wait(30)


# Whether a question, or the end of the queue, is shown and no request is under way.
READY = """
if (busy || !reviewer) return false;
if (!find("end").hidden) return true;
// Before the first answer nothing is shown; a photograph without an address counts as complete.
if (typeof issue === "undefined" ? !kind : !issue) return false;
return [...document.querySelectorAll("#photograph, .card img")].some((each) => each.complete);
"""


def wait_for(browser: Browser, condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""

    def holds(_: Any) -> bool:
        try:
            return bool(condition())
        except Exception:
            return False

    WebDriverWait(browser, 60, poll_frequency=0.02).until(holds)


def decide_singly(browser: Browser, answers: Answers, pace: argparse.Namespace) -> None:
    """Decide about one question after the other."""
    keys = {"accept": "a", "keep": "k"}
    while (position := browser.execute_script("return issue && issue.position")) is not None:
        time.sleep(pace.look)
        ActionChains(browser).send_keys(keys[answers[position]]).perform()
        changed = f"return (!issue || issue.position !== {position}) && (() => {{ {READY} }})()"
        wait_for(browser, lambda script=changed: browser.execute_script(script))  # type: ignore[misc]


def decide_in_grid(browser: Browser, answers: Answers, pace: argparse.Namespace) -> None:
    """Decide about one kind after the other: take out what is wrong, then one key."""
    while positions := browser.execute_script("return kind ? issues.map((each) => each.position) : []"):
        wrong = [position for position in positions if answers[position] == "keep"]
        time.sleep(pace.card * len(positions))
        keys = ActionChains(browser)
        if len(wrong) == len(positions):
            keys.send_keys("k")
        elif wrong:
            for position in wrong:
                time.sleep(pace.click)
                card = browser.find_element(By.CSS_SELECTOR, f'.card[data-position="{position}"]')
                browser.execute_script("arguments[0].scrollIntoView({ block: 'center' })", card)
                card.click()
            keys.key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT)
        else:
            keys.send_keys(Keys.ENTER)
        time.sleep(pace.click)
        keys.perform()
        changed = f"return !issues.some((each) => each.position === {positions[0]}) && (() => {{ {READY} }})()"
        wait_for(browser, lambda script=changed: browser.execute_script(script))  # type: ignore[misc]


def check_decisions(workspace: Path, answers: Answers) -> None:
    """End the measurement if a decision is not the answer."""
    queue = read_queue(workspace)
    made = {each.item_id: each.action for each in find_standing(read_decisions(Workspace.at(workspace)))}
    wanted = {queue[position]["item_id"]: action for position, action in answers.items()}
    if made != wanted:
        raise SystemExit(f"Decisions differ from the answers: {dict(set(made.items()) ^ set(wanted.items()))}")


if __name__ == "__main__":
    main()
