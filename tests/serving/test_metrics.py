"""Test that the metrics of several processes add up, also over processes that have ended."""

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import values

from hangtag.serving.metrics import Metrics, forget_process, join_processes

SCOPE: dict[str, Any] = {"path": "/v1/classify", "route": None}


def read(metrics: Metrics, name: str, waiting: int = 0) -> float:
    [found] = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", metrics.render(waiting).decode(), re.MULTILINE)
    return float(found)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # `join_processes` changes both for good.
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    return tmp_path


def test_counts_add_up_and_outlive_their_process(folder: Path) -> None:
    processes = []
    for number in range(2):
        join_processes(folder, number)
        processes.append(Metrics(folder))
    first, second = processes
    for metrics, count in ((first, 3), (second, 2)):
        for _ in range(count):
            metrics.count_request(SCOPE, 200, 0.1)
    second.render(waiting=4)
    for metrics in processes:
        assert read(metrics, "hangtag_requests_total", 4 * (metrics is second)) == 5
        assert read(metrics, "hangtag_request_seconds_count", 4 * (metrics is second)) == 5
    assert read(first, "hangtag_waiting", waiting=1) == 5
    forget_process(folder, 1)
    assert read(first, "hangtag_requests_total") == 5
    assert read(first, "hangtag_waiting", waiting=1) == 1
    # Its successor takes the number, and counts on.
    files = sorted(folder.glob("counter*"))
    join_processes(folder, 1)
    third = Metrics(folder)
    third.count_request(SCOPE, 200, 0.1)
    assert read(first, "hangtag_requests_total") == 6
    assert sorted(folder.glob("counter*")) == files
