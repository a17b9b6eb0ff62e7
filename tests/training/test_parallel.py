"""Two workers train the network of one process with the whole batch, and only the first writes."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from test_train import make_workspace

from hangtag.errors import SettingsError
from hangtag.io import read_json
from hangtag.stages.train_worker import train_worker
from hangtag.train_config import TrainConfig
from hangtag.training.data import Augmentation, ItemDataset
from hangtag.training.parallel import Cluster, get_cluster, join_cluster

WORKER = Path(__file__).parent.parent / "fixtures" / "train_worker.py"
SETTINGS: dict[str, Any] = {
    "architecture": "residual-tiny",
    "weights": "none",
    "epochs": 2,
    # 20 training items: the last batch of an epoch has four, two for each worker.
    "batch_size": 8,
    "initial_scale": 1.0,
    "final_scale": 1.0,
    "max_shift": 2,
    "class_balance": 0.0,
    "optimizer": "adamw",
    "tta_flip": False,
}


def find_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    addresses = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


def start(index: int, addresses: list[str], workspace: Path, output: Path) -> "subprocess.Popen[str]":
    arguments = [str(index), ",".join(addresses), str(workspace), json.dumps(SETTINGS), str(output)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.Popen(
        [sys.executable, str(WORKER), *arguments], stderr=subprocess.PIPE, text=True, env=environment
    )


def test_two_workers_have_the_losses_and_weights_of_one(tmp_path: Path) -> None:
    one, two = make_workspace(tmp_path / "one").root, tmp_path / "two"
    shutil.copytree(one, two)
    addresses = find_addresses(2)
    outputs = [tmp_path / f"{number}.json" for number in range(3)]
    workers = [start(index, addresses, two, outputs[index]) for index in range(2)]
    workers.append(start(0, ["localhost:1"], one, outputs[2]))
    try:
        ends = [worker.communicate(timeout=500)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0, 0], "\n".join(ends)
    first, second, single = map(read_json, outputs)
    for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
        losses = [[line[name] for line in each["history"]] for each in (first, second, single)]
        np.testing.assert_allclose(losses[0], losses[2], rtol=1e-5)
        assert losses[0] == losses[1]
    weights, wanted = (load_file(each / "runs" / "run" / "model.safetensors") for each in (two, one))
    assert weights.keys() == wanted.keys()
    for path, value in wanted.items():
        np.testing.assert_allclose(weights[path], value, rtol=1e-3, atol=1e-4, err_msg=path)
    assert sorted(path.name for path in (two / "runs").iterdir()) == ["run"]


def test_workers_have_equal_shares_that_are_varied_as_in_the_whole_batch() -> None:
    images = np.random.default_rng(0).integers(0, 255, (11, 8, 6, 3), np.uint8)
    data = ItemDataset(images, np.arange(11), {"category_path": np.arange(11)})
    settings: dict[str, Any] = {
        "seed": 1,
        "epoch": 1,
        "augmentation": Augmentation(shift=2, zoom=0.2, brightness=0.3),
        "copies": np.ones(11),
    }
    whole = list(data.iterate_shuffled(4, **settings))
    shares = [list(data.iterate_shuffled(4, **settings, cluster=Cluster(index, 2))) for index in range(2)]
    assert [len(batch) for batch in whole] == [4, 4, 3]
    assert [[len(batch) for batch in share] for share in shares] == [[2, 2, 1], [2, 2, 1]]
    for batch, first, second in zip(whole, *shares, strict=True):
        together = np.concatenate([first.images, second.images])
        np.testing.assert_array_equal(together, batch.images[: len(together)])
        classes = np.concatenate([first.classes["category_path"], second.classes["category_path"]])
        np.testing.assert_array_equal(classes, batch.classes["category_path"][: len(classes)])


def test_a_last_batch_of_fewer_items_than_workers_is_left_out() -> None:
    images = np.zeros((9, 8, 6, 3), np.uint8)
    data = ItemDataset(images, np.arange(9), {"category_path": np.arange(9)})
    settings: dict[str, Any] = {"seed": 1, "epoch": 1, "augmentation": Augmentation(), "copies": np.ones(9)}
    assert len(list(data.iterate_shuffled(4, **settings, cluster=Cluster(1, 2)))) == 2


def test_a_single_worker_needs_no_cluster() -> None:
    assert join_cluster(0, ["localhost:1"]) == get_cluster() == Cluster()
    assert get_cluster().is_chief


@pytest.mark.parametrize(
    ("index", "addresses", "changes", "message"),
    [
        (2, ["a:1", "b:1"], {}, "index"),
        (0, ["a:1", "a:1"], {}, "different addresses"),
        (0, ["a:1", "b:1"], {"minutes": 1.0}, "--minutes"),
        (0, ["a:1", "b:1"], {"freeze": True}, "--freeze"),
        (0, ["a:1", "b:1"], {"batch_size": 1}, "--batch-size 2 or more"),
    ],
)
def test_what_workers_cannot_do_is_refused_before_they_meet(
    tmp_path: Path, index: int, addresses: list[str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        train_worker(index, addresses, tmp_path, TrainConfig(**changes))
    assert message in str(refused.value)
