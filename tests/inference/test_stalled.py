"""Test the error of a stalled classification, and that parallel threads open the feature reader once."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from hangtag.errors import StalledError
from hangtag.explain.feature_maps import OpenvinoFeatures
from hangtag.explain.heatmap import open_feature_reader
from hangtag.inference import streaming
from hangtag.inference.classifier import Classifier
from hangtag.inference.streaming import classify_photographs

# `classify` with threads that never come back; and with a limit of two seconds.
STALLED = """
import sys, time
from hangtag import cli
from hangtag.inference import streaming
streaming.classify_chunk = lambda *_: time.sleep(1000)
streaming.STALLED_SECONDS = 2
cli.main(["classify", sys.argv[1]])
"""


def test_a_stalled_command_ends_with_a_message(tmp_path: Any) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    told = subprocess.run(
        [sys.executable, "-c", STALLED, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert told.returncode == 2
    assert "Error: No photograph was classified" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_stalled_call_raises_stalled_error(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(streaming, "classify_chunk", lambda *_: go.wait(60))
    monkeypatch.setattr(streaming, "STALLED_SECONDS", 1)
    with pytest.raises(StalledError, match="hangs"):
        list(classify_photographs(None, [b"a"]))  # type: ignore[arg-type]
    go.set()


def test_the_feature_reader_is_opened_once_by_parallel_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, inside, most = 0, 0, 0
    compile_first = OpenvinoFeatures._compiled.func  # type: ignore[attr-defined]

    def count(self: OpenvinoFeatures) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        found = compile_first(self)
        inside -= 1
        return found

    def note(model: Any) -> Any:
        nonlocal opened
        opened += 1
        return open_feature_reader(model)

    watched = type(OpenvinoFeatures.__dict__["_compiled"])(count)
    watched.__set_name__(OpenvinoFeatures, "_compiled")
    monkeypatch.setattr(OpenvinoFeatures, "_compiled", watched)
    monkeypatch.setattr("hangtag.inference.classifier.open_feature_reader", note)
    classifier = Classifier.load(streams=4)
    images = np.zeros((2, *classifier.image_size, 3), np.uint8)
    with ThreadPoolExecutor(4) as pool:
        maps = [each.result(60) for each in [pool.submit(classifier.explain, images) for _ in range(4)]]
    assert all(np.array_equal(each, maps[0]) for each in maps)
    assert (opened, most) == (1, 1)
