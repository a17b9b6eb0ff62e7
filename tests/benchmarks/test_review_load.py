"""The benchmark of many reviewers: which faults it finds in the stored decisions."""

import sys
from pathlib import Path
from typing import Any

import pytest

from hangtag.reviewing.store import Decision


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import review_load

    yield review_load
    sys.modules.pop("review_load")


def store(number: int, item_id: str, version: int, **more: Any) -> Decision:
    values: dict[str, Any] = {"batch": number, "reviewer": "Ann", "time": "", "undoes": None} | more
    action = "undo" if values["undoes"] else "keep"
    return Decision(item_id, "c", "k", action, {}, {}, {}, 1.0, version, id=number, **values)


def test_every_kind_of_fault_is_found(benchmark: Any) -> None:
    decisions = [store(1, "a", 0), store(2, "a", 1, reviewer="Bob"), store(3, "a", 2, undoes=2, reviewer="Bob")]
    told = benchmark.Answers()
    told.stored.update([("Ann", "a", "c", "k", 0), ("Bob", "a", "c", "k", 1)])
    told.undone["Bob"] = 1
    assert benchmark._find_faults([told], decisions) == []
    for changed, fault in (
        (decisions[:1] + decisions[2:], "ids have gaps"),
        (decisions[:1], "acknowledged and not stored: ('Bob'"),
        ([*decisions, store(4, "a", 0)], "decision 4 saw 0, the last one was 3"),
        ([*decisions, store(4, "b", 0)], "stored though refused: ('Ann', 'b'"),
        (decisions[:2], "Bob undid 1, stored are 0"),
    ):
        assert any(each.startswith(fault) for each in benchmark._find_faults([told], changed)), fault
