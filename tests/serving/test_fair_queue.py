"""Test that clients take turns and that none exceeds its share."""

import pytest

from hangtag.serving.fair_queue import FairQueue, QueueFullError, ShareError, Shares


def test_clients_take_turns_and_cheap_items_come_first() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(100):
        queue.put("greedy", 1.0, f"greedy {number}")
    queue.put("greedy", 0.5, "greedy cheap")
    queue.put("modest", 9.0, "modest")
    assert [queue.get() for _ in range(3)] == ["greedy cheap", "modest", "greedy 0"]
    queue.close()
    assert [queue.get() for _ in range(100)][-2:] == ["greedy 99", None]
    assert queue.get_nowait() is None


def test_a_client_may_use_half_or_a_single_request() -> None:
    shares = Shares(10)
    shares.take("greedy", 4)
    with pytest.raises(ShareError):
        shares.take("greedy", 2)
    shares.take("large", 6)
    with pytest.raises(QueueFullError):
        shares.take("modest", 1)
    shares.give_back("large", 6)
    shares.take("greedy", 1)
    shares.take("modest", 5)
    assert shares.used == 10
    shares.give_back("greedy", 5)
    shares.give_back("modest", 5)
    assert shares.used == 0
