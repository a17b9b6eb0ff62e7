"""The loop of shards on this machine: in order, finished ones left out, other processes sent only what they need."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from shard_work import Squares, count_tries

from hangtag.errors import CatalogError, SettingsError
from hangtag.ray_tasks import TaskPlan
from hangtag.runner_config import RunnerConfig
from hangtag.shards import run_shards

LOCAL = RunnerConfig()


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_order_and_finished_shards_are_not_done_again(processes: int, tmp_path: Path) -> None:
    (tmp_path / "2.txt").write_text("4")
    plan = TaskPlan("square", 6, tmp_path)
    with run_shards(Squares(tmp_path), range(6), plan, LOCAL, processes=processes) as results:
        assert list(results) == [0, 1, 4, 9, 16, 25]
    assert [count_tries(tmp_path, shard) for shard in range(6)] == [1, 1, 0, 1, 1, 1]


def test_every_shard_counts_for_the_progress_once(tmp_path: Path) -> None:
    (tmp_path / "2.txt").write_text("4")
    steps: list[int] = []
    plan = TaskPlan("square", 4, tmp_path)
    with run_shards(Squares(tmp_path), range(4), plan, LOCAL, advance=steps.append) as results:
        assert list(results) == [0, 1, 4, 9]
    assert steps == [1] * 4


def test_shards_are_read_as_they_are_needed_and_an_error_stops_them(tmp_path: Path) -> None:
    read: list[int] = []

    def give() -> Iterator[int]:
        for shard in range(100):
            read.append(shard)
            yield shard

    work = Squares(tmp_path, fault="mistake")
    with (
        pytest.raises(CatalogError, match="third is wrong"),
        run_shards(work, give(), TaskPlan("square", 100, tmp_path), LOCAL) as results,
    ):
        list(results)
    assert read == [0, 1, 2, 3]


def test_what_is_loaded_is_not_sent(tmp_path: Path) -> None:
    work = Squares(tmp_path, "bug", loaded=lambda: None)
    sent = pickle.loads(pickle.dumps(work))
    assert (sent.folder, sent.fault, sent.loaded) == (tmp_path, "bug", None)
    assert work.loaded is not None


@pytest.mark.parametrize(
    "settings",
    [
        {"ray_address": "auto"},
        {"cpus_per_task": 2},
        {"runner": "ray", "ray_address": "ray://head:10001"},
        {"runner": "ray", "ray_address": "head"},
        {"runner": "ray", "cpus_per_task": -1},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="Received"):
        RunnerConfig(**settings)  # type: ignore[arg-type]
