"""Test that separate processes decode photographs with equal results and are killed if they take too long."""

import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest
from drawn import draw, encode
from hostile_pictures import write_flat, write_scans

from hangtag.catalog.image_headers import read_header
from hangtag.catalog.images import Photograph, decode_photograph
from hangtag.config import ServeConfig
from hangtag.inference.streaming import Failure
from hangtag.serving import decoders as module
from hangtag.serving.decoders import Decoders
from hangtag.serving.fair_queue import plan_decoding
from hangtag.serving.middleware import ProblemError

SIZE = (80, 60)
HAT = encode(draw("Hat", 1))


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    decoders = Decoders(SIZE, count=1, max_pixels=10**7, max_waiting=10)
    yield decoders
    decoders.stop()


def test_a_process_decodes_as_a_thread_does(decoders: Decoders) -> None:
    for content in (HAT, write_scans(100, 90, 12), write_flat("TIFF", (90, 40))):
        found = decoders.submit(content, read_header(content), "a").result(60)
        wanted = decode_photograph(content, SIZE, 10**7)
        assert isinstance(found, Photograph)
        assert np.array_equal(found.pixels, wanted.pixels)
        assert (found.width, found.height, found.mode, found.area) == (
            wanted.width,
            wanted.height,
            wanted.mode,
            wanted.area,
        )
    assert decoders.submit(HAT[:-40], read_header(HAT), "a").result(60) == Failure(
        "truncated", "the picture's data is damaged or ends early"
    )


def test_a_photograph_larger_than_its_header_states_is_rejected(decoders: Decoders) -> None:
    large, small = write_flat("PNG", (3000, 2000)), read_header(HAT)
    found = decoders.submit(large, small, "a").result(60)
    assert isinstance(found, Failure)
    assert found.code == "too_many_pixels"


def test_a_slow_process_is_killed_and_the_next_photograph_is_decoded(
    decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(decoders.submit(HAT, read_header(HAT), "a").result(60), Photograph)
    [process] = decoders._processes
    assert process._running
    os.kill(process._running.pid, signal.SIGSTOP)
    monkeypatch.setattr(decoders, "_seconds", 0.2)
    found = decoders.submit(HAT, read_header(HAT), "a").result(60)
    assert isinstance(found, Failure)
    assert found.code == "too_slow"
    monkeypatch.setattr(decoders, "_seconds", 60)
    assert isinstance(decoders.submit(HAT, read_header(HAT), "a").result(60), Photograph)


def test_photographs_share_the_memory(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY", 50_000)
    header = read_header(HAT)
    assert header
    found = [decoders.submit(HAT, header, "a") for _ in range(4)]
    assert all(isinstance(each.result(60), Photograph) for each in found)
    assert decoders._used == 0


def test_the_process_ends_when_its_input_is_closed(decoders: Decoders) -> None:
    decoders.submit(HAT, read_header(HAT), "a").result(60)
    running = decoders._processes[0]._running
    assert running
    assert running.stdin
    running.stdin.close()
    assert running.wait(60) == 0


def test_only_costly_photographs_are_decoded_in_a_process() -> None:
    plan = plan_decoding([HAT, write_flat("PNG", (3000, 2000)), b"text", write_flat("TIFF", (9, 9))], ServeConfig())
    assert plan.costly == (1, 3)
    assert plan.milliseconds < 5
    # Many cheap photographs together are costly too.
    photograph = encode(np.zeros((800, 600, 3), np.uint8), "JPEG")
    assert 0 < len(plan_decoding([photograph] * 60, ServeConfig()).costly) < 60


def test_the_pixels_of_a_request_are_limited() -> None:
    with pytest.raises(ProblemError, match="96,000,000 pixels together"):
        plan_decoding([write_flat("WEBP")] * 4, ServeConfig(max_request_pixels=90_000_000))


def test_planning_is_fast_even_for_malicious_files() -> None:
    dense = b"\xff\xd8" + b"\xff\xda\x00\x02" + b"\xff\xda\x00" * 3_000_000
    started = time.process_time()
    plan_decoding([dense, b"\xff\xd8" + b"\xff\xfe\x00\x02" * 2_500_000], ServeConfig())
    assert time.process_time() - started < 1
