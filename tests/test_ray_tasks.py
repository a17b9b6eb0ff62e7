"""Shards as tasks of Ray: killed processes, nodes and commands change nothing, and errors are for people."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_cluster import FIXTURES, NODE
from shard_work import Devices, Squares, count_tries

from hangtag import ray_tasks, ray_worker
from hangtag.cli import main
from hangtag.errors import CatalogError, MissingExtraError, RunnerError
from hangtag.ray_tasks import ENVIRONMENT, TaskPlan
from hangtag.runner_config import RunnerConfig
from hangtag.shards import run_shards

ray = pytest.importorskip("ray")
COUNT = 12
SQUARES = [shard**2 for shard in range(COUNT)]


def square(work: Squares, cluster: Any, *, shared: tuple[Path, ...] = ()) -> list[int]:
    runner = RunnerConfig("ray", cluster.address)
    with run_shards(work, range(COUNT), TaskPlan("square", COUNT, work.folder, shared), runner) as results:
        return list(results)


def test_results_are_those_of_the_local_runner_and_the_connection_is_closed(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "2.txt").write_text("4")
    assert square(Squares(tmp_path), cluster) == SQUARES
    assert not ray.is_initialized()
    assert [count_tries(tmp_path, shard) for shard in range(4)] == [1, 1, 0, 1]
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_a_connection_of_the_caller_is_kept(cluster: Any, tmp_path: Path) -> None:
    ray.init(cluster.address, log_to_driver=False)
    try:
        assert square(Squares(tmp_path), cluster) == SQUARES
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_finished_shards_need_no_cluster(tmp_path: Path) -> None:
    for shard in range(3):
        (tmp_path / f"{shard}.txt").write_text(str(shard**2))
    runner = RunnerConfig("ray", "127.0.0.1:1")
    with run_shards(Squares(tmp_path), range(3), TaskPlan("square", 3, tmp_path), runner) as results:
        assert list(results) == [0, 1, 4]


def test_a_killed_worker_is_replaced(cluster: Any, tmp_path: Path) -> None:
    assert square(Squares(tmp_path, "kill"), cluster) == SQUARES
    assert count_tries(tmp_path, 3) == 2


def test_a_lost_node_is_made_up_for(cluster: Any, tmp_path: Path) -> None:
    node, runner = cluster.add_node(**NODE), RunnerConfig("ray", cluster.address)
    work = Squares(tmp_path, seconds=0.3)
    with run_shards(work, range(COUNT), TaskPlan("square", COUNT, tmp_path), runner) as results:
        first = [next(results)]
        cluster.remove_node(node, allow_graceful=False)
        assert first + list(results) == SQUARES


DRIVER = """
import sys
from pathlib import Path
from shard_work import Squares
from hangtag.runner_config import RunnerConfig
from hangtag.ray_tasks import TaskPlan
from hangtag.shards import run_shards

folder = Path(sys.argv[1])
work, plan, runner = Squares(folder, seconds=0.3), TaskPlan("square", 12, folder), RunnerConfig("ray", sys.argv[2])
with run_shards(work, range(12), plan, runner) as results:
    print(*results)
"""


def test_a_killed_command_goes_on(cluster: Any, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", DRIVER, str(tmp_path), cluster.address]
    environment = {**os.environ, "PYTHONPATH": f"{FIXTURES}{os.pathsep}{FIXTURES.parents[1] / 'src'}"}
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        while len(list(tmp_path.glob("[0-9]*.txt"))) < 3:
            time.sleep(0.05)
        driver.send_signal(signal.SIGKILL)
    done = {path.stem for path in tmp_path.glob("[0-9]*.txt")}
    assert len(done) < COUNT
    assert square(Squares(tmp_path), cluster) == SQUARES
    assert all(count_tries(tmp_path, int(shard)) == 1 for shard in done)


def test_an_interrupted_command_leaves_no_task_behind(cluster: Any, tmp_path: Path) -> None:
    runner, work = RunnerConfig("ray", cluster.address), Squares(tmp_path, seconds=0.2)
    with run_shards(work, range(100), TaskPlan("square", 100, tmp_path), runner) as results:
        next(results)
    assert not ray.is_initialized()
    begun = len(list(tmp_path.glob("begun-*")))
    time.sleep(0.5)
    assert len(list(tmp_path.glob("begun-*"))) == begun < 100


def test_an_error_of_the_work_comes_back_as_itself(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(CatalogError) as error:
        square(Squares(tmp_path, "mistake"), cluster)
    assert str(error.value) == "The third is wrong. Received: 3. Leave it out."
    assert count_tries(tmp_path, 3) == 1
    # A bug keeps the traceback of the worker.
    with pytest.raises(ZeroDivisionError, match=r"shard_work\.py"):
        square(Squares(tmp_path, "bug"), cluster)


def test_few_tasks_are_sent_ahead(cluster: Any, tmp_path: Path) -> None:
    read: list[int] = []

    def give() -> Iterator[int]:
        for shard in range(1000):
            read.append(shard)
            yield shard

    runner = RunnerConfig("ray", cluster.address)
    work = Squares(tmp_path, seconds=0.2)
    with run_shards(work, give(), TaskPlan("square", 1000, tmp_path), runner) as results:
        next(results)
        # Two nodes of a processor each, and as many tasks that wait.
        assert len(read) <= 2 * 2 + len(list(tmp_path.glob("[0-9]*.txt")))


def test_a_node_with_other_versions_is_named(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_tasks, "read_versions", lambda: {"hangtag": "9.9"})
    with pytest.raises(RunnerError, match=r"has other versions .*hangtag [\d.]+, not 9.9"):
        square(Squares(tmp_path), cluster)


def test_a_node_that_does_not_see_a_folder_is_named(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match=rf"does not see a folder .*Received: '{tmp_path / 'elsewhere'}'"):
        square(Squares(tmp_path), cluster, shared=(tmp_path, tmp_path / "elsewhere"))


def test_a_graphics_card_is_seen_by_the_tasks_that_ask_for_it_alone(cluster: Any, tmp_path: Path) -> None:
    plan, node = TaskPlan("devices", 2, tmp_path), cluster.add_node(**NODE, num_gpus=1)
    try:
        for cards, seen in ((0, "-1"), (1, "0")):
            runner = RunnerConfig("ray", cluster.address, gpus_per_task=cards)
            with run_shards(Devices(), range(2), plan, runner) as results:
                assert list(results) == [seen, seen]
    finally:
        cluster.remove_node(node)


def test_what_no_node_has_is_told(cluster: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plan = TaskPlan("devices", 1, tmp_path)

    def look() -> None:
        raise KeyboardInterrupt

    for runner in (RunnerConfig("ray", cluster.address, 3), RunnerConfig("ray", cluster.address, gpus_per_task=1)):
        with pytest.raises(KeyboardInterrupt), run_shards(Devices(), range(1), plan, runner, look=look) as results:
            list(results)
    told = [line for line in capfd.readouterr().err.splitlines() if "No node" in line]
    assert [line.partition(";")[0] for line in told] == [
        "No node of the Ray cluster has 3 processors",
        "No node of the Ray cluster has 1 processor and 1 graphics card",
    ]


def test_this_machine_alone_is_not_waited_for(tmp_path: Path) -> None:
    runner = RunnerConfig("ray", cpus_per_task=4096)
    with (
        pytest.raises(RunnerError, match=r"This machine does not have .*: 4,096 processors"),
        run_shards(Devices(), range(1), TaskPlan("devices", 1, tmp_path), runner) as results,
    ):
        list(results)


@pytest.mark.parametrize(
    ("nodes", "cards", "cpus"),
    [
        ([(2.0, 0.0), (1.0, 0.0)], 0, 2),
        ([(2.0, 0.0), (2.0, 2.0)], 1, 1),
        ([(1.0, 2.0)], 1, 1),
        ([(16.0, 4.0), (16.0, 1.0)], 1, 4),
        ([(96.0, 8.0)], 1, 12),
        # A node with cards may still join.
        ([(9.0, 0.0)], 1, 8),
    ],
)
def test_a_task_has_the_share_of_processors_that_it_has_of_graphics_cards(
    nodes: list[tuple[float, float]], cards: int, cpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_tasks, "_list_nodes", lambda _: nodes)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert ray_tasks._choose_cpus(None, cards) == cpus


def test_a_node_may_have_tensorflow_for_graphics_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "probe").write_text("text")

    def check(version: str) -> None:
        monkeypatch.setattr(ray_worker, "read_versions", lambda: {"hangtag": "1", "tensorflow": version})
        versions = {"hangtag": "1", "tensorflow-cpu": "2.18"}
        order = ray_worker.Order(b"", 1, 0, (tmp_path / "probe", "text"), (), versions, {})
        ray_worker._check_node(order)

    check("2.18")
    with pytest.raises(RunnerError, match=r"tensorflow 2\.19, not 2\.18"):
        check("2.19")


def test_an_address_without_a_cluster_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog = tmp_path / "c"
    (catalog / "hats").mkdir(parents=True)
    (catalog / "hats" / "1.png").write_bytes(b"")
    arguments = ["prepare", str(catalog), "-w", str(tmp_path / "w"), "--runner", "ray", "--ray-address", "127.0.0.1:1"]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "No Ray cluster answers at --ray-address 127.0.0.1:1" in capsys.readouterr().err


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    plan = TaskPlan("square", 3, tmp_path)
    with (
        pytest.raises(MissingExtraError, match=r"hangtag\[cluster\]"),
        run_shards(Squares(tmp_path), range(3), plan, RunnerConfig("ray")) as results,
    ):
        list(results)


def test_no_secret_is_sent_to_other_machines() -> None:
    secrets = ("HANGTAG_API_KEY", "HANGTAG_REVIEW_TOKEN", "HANGTAG_DECISIONS", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY")
    assert not [name for name in (*secrets, "TF_CONFIG") if ENVIRONMENT.fullmatch(name)]
    assert ENVIRONMENT.fullmatch("TF_ENABLE_ONEDNN_OPTS")
    assert ENVIRONMENT.fullmatch("KERAS_BACKEND")
