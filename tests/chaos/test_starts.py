"""No start hangs: threads that use a native library for the first time do so after one thread has."""

import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import COLORS, draw, encode
from service_process import COMMAND, post_form, start_service

from hangtag.inference.classifier import Classifier
from hangtag.models.openvino import ExportedNetwork
from hangtag.models.shipped import SHIPPED

STARTS = int(os.environ.get("CHAOS_STARTS", "300"))
PHOTOGRAPHS = 330
# A start takes one to two seconds; on however busy a machine, not so many.
SECONDS = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(PHOTOGRAPHS):
        kind = list(COLORS)[number % len(COLORS)]
        (folder / f"{number:03}.jpg").write_bytes(encode(draw(kind, number), "JPEG"))
    return folder


def classify(folder: Path) -> int:
    """Return how many photographs a new process answers."""
    told = subprocess.run(
        [*COMMAND, "classify", str(folder), "--csv"], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    return len(told.stdout.splitlines()) - 1


def serve_two(contents: list[bytes]) -> int:
    """Start the service, send two large requests at once, and return how many photographs are answered."""
    with start_service() as service, ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(post_form, service, *contents) for _ in range(2)]
        return sum(len(answer.result(SECONDS)[1]["results"]) for answer in answers)


def test_the_network_is_run_once_before_any_thread_can(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    predict = ExportedNetwork.predict_on_batch

    def note(self: ExportedNetwork, inputs: Any) -> Any:
        threads.append(threading.current_thread())
        return predict(self, inputs)

    monkeypatch.setattr(ExportedNetwork, "predict_on_batch", note)
    classifier = Classifier.load(SHIPPED, streams=2)
    assert threads == [threading.current_thread()]
    assert classifier.classify(np.zeros((1, *classifier.image_size, 3), np.uint8))


def test_a_few_starts(folder: Path) -> None:
    assert classify(folder) == PHOTOGRAPHS
    contents = [path.read_bytes() for path in sorted(folder.iterdir())[:64]]
    assert serve_two(contents) == 128


@pytest.mark.chaos
def test_no_start_of_classify_hangs(folder: Path) -> None:
    hung = 0
    for _ in range(STARTS):
        try:
            assert classify(folder) == PHOTOGRAPHS
        except subprocess.TimeoutExpired:
            hung += 1
    assert hung == 0


@pytest.mark.chaos
def test_no_start_of_serve_hangs(folder: Path) -> None:
    contents = [path.read_bytes() for path in sorted(folder.iterdir())[:64]]
    hung = 0
    for _ in range(STARTS):
        try:
            assert serve_two(contents) == 128
        except OSError:
            hung += 1
    assert hung == 0
