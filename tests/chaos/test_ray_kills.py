"""Workers, nodes and commands killed while a Ray cluster works: all shards are done, once, with the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray_cluster import NODE, list_processes

from hangtag.demo_catalog.catalog import write_demo_catalog

ray = pytest.importorskip("ray")
TIMES = 20
# So many shards that there is time to kill something: several for each command.
SETUP = """
import sys
from hangtag.catalog import image_files
from hangtag.serving import predicted_files
from hangtag.cli import main
image_files.CHUNK, predicted_files.PART = 8, 32
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_catalog(tmp_path_factory.mktemp("catalog") / "c", items_per_kind=108)


def list_arguments(command: str, catalog: Path, place: Path) -> list[str]:
    if command == "prepare":
        return ["prepare", str(catalog), "--workspace", str(place / "w")]
    return ["classify", str(catalog), "--output", str(place / "out.jsonl")]


def start(command: str, catalog: Path, place: Path, address: str = "") -> subprocess.Popen[str]:
    place.mkdir(exist_ok=True)
    more = ["--runner", "ray", "--ray-address", address] if address else []
    arguments = [sys.executable, "-c", SETUP, *list_arguments(command, catalog, place), *more]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def read_results(place: Path) -> dict[str, bytes]:
    files = [*place.glob("w/prepared/*"), *place.glob("out*")]
    return {path.name: path.read_bytes() for path in files if path.is_file() and path.name != "manifest.json"}


def count_shards(place: Path) -> int:
    return len([*place.glob("w/prepared/.decoded/*.json"), *place.glob("out.jsonl.parts/*-*.json")])


def kill_worker(cluster: Any, _node: Any, choose: random.Random) -> None:
    """Kill a process that is busy with a task."""
    nodes = (cluster.head_node, *cluster.worker_nodes)
    raylets = {each.process.pid for node in nodes for each in node.all_processes["raylet"]}
    busy = [
        process
        for process, parent, title in list_processes()
        if parent in raylets and title.startswith(("ray::prepare", "ray::classify", "ray::run_task"))
    ]
    if busy:
        os.kill(choose.choice(busy), signal.SIGKILL)


def kill_node(cluster: Any, node: Any, _choose: random.Random) -> None:
    cluster.remove_node(node, allow_graceful=False)


ATTACKS: dict[str, Callable[[Any, Any, random.Random], None] | None] = {
    "worker": kill_worker,
    "node": kill_node,
    "command": None,
}


@pytest.mark.chaos
@pytest.mark.parametrize("command", ["prepare", "classify"])
@pytest.mark.parametrize("victim", ATTACKS)
def test_a_kill_changes_no_byte(victim: str, command: str, catalog: Path, cluster: Any, tmp_path: Path) -> None:
    whole = start(command, catalog, tmp_path / "whole")
    whole.communicate(timeout=120)
    assert whole.returncode == 0
    expected, choose = read_results(tmp_path / "whole"), random.Random(victim + command)
    assert expected
    unfinished = 0
    for number in range(TIMES):
        place, attack = tmp_path / str(number), ATTACKS[victim]
        node = cluster.add_node(**NODE) if victim == "node" else None
        driver = start(command, catalog, place, cluster.address)
        wanted = choose.randrange(1, 12)
        while driver.poll() is None and count_shards(place) < wanted:
            time.sleep(0.01)
        unfinished += driver.poll() is None
        if attack is not None:
            attack(cluster, node, choose)
        else:
            driver.kill()
            driver.communicate()
            driver = start(command, catalog, place, cluster.address)
        output, _ = driver.communicate(timeout=120)
        assert driver.returncode == 0, output
        assert read_results(place) == expected, number
        assert not [path for path in place.rglob(".*") if path.suffix == ".part" or path.name == ".new"]
    print(f"{command}, {victim}: {unfinished} of {TIMES} kills came while it worked")
    assert unfinished >= TIMES // 2
