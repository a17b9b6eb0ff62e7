"""Test that only commands in the main thread show progress bars."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from rich.console import Console

from hangtag import console
from hangtag.inference.classifier import Classifier


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return the output of a terminal."""
    output = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=output, force_terminal=True))
    return output


def work() -> None:
    for _ in console.track(range(3), "Working", 3, "steps"):
        pass
    with console.show_progress("Working", 3, "steps") as bar:
        bar.advance(2)
        bar.describe("Still working")


def test_the_main_thread_shows_a_bar(terminal: io.StringIO) -> None:
    work()
    assert "Working" in terminal.getvalue()


def test_other_threads_show_no_bar(terminal: io.StringIO) -> None:
    with console.show_progress("Outer", 1, "steps"), ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(work) for _ in range(20)]:
            each.result(20)
    assert "Working" not in terminal.getvalue()


def test_classify_shows_no_bar_even_in_the_main_thread(terminal: io.StringIO) -> None:
    classifier = Classifier.load()
    assert classifier.classify(np.zeros((2, *classifier.image_size, 3), np.uint8))
    assert terminal.getvalue() == ""
    classifier.predict_heads(np.zeros((2, *classifier.image_size, 3), np.uint8))
    assert "Predicting" in terminal.getvalue()


def test_a_list_of_stages_shows_what_is_done_what_runs_and_what_comes(terminal: io.StringIO) -> None:
    with console.StageList(["Reading", "Sorting", "Comparing"]) as stages:
        stages.finish("12 products")
        work()
        assert "done  Reading: 12 products (0.0 s)" in terminal.getvalue()
        assert "now   Sorting" in terminal.getvalue()
        assert "next  Comparing" in terminal.getvalue()
        stages.finish("3 categories")
        stages.finish("1 looks wrong")
    last = terminal.getvalue().rpartition("done  Reading")[2]
    assert "done  Comparing: 1 looks wrong" in last
    # The bar of a stage is gone at its end, and the next command shows its own.
    assert "Working" not in last
    work()
    assert "Working" in terminal.getvalue().rpartition("done  Reading")[2]


def test_without_a_terminal_each_stage_has_a_line_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=output))
    with console.StageList(["Reading", "Sorting"]) as stages:
        stages.finish("12 [products]")
        work()
    assert output.getvalue() == "Reading: 12 [products] (0.0 s)\n"
