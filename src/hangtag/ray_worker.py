"""Run a call as a task of Ray on a node of the cluster, after checking that the node can do the work."""

import os
import pickle
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hangtag.errors import HangtagError, RunnerError
from hangtag.manifest import read_versions

# The call of the command that this process works for, by the text of its probe.
_calls: dict[str, Callable[[Any, int], Any]] = {}


@dataclass(frozen=True)
class Order:
    """What every task is sent: the call, and what its process must agree with.

    Attributes:
        call: The pickled call, of an argument and a number of processors.
        cpus: The number of processors of a task.
        gpus: The number of graphics cards of a task.
        probe: A file in the shared folder, and its text.
        shared: Further files and folders that every node must see.
        versions: The versions of this process.
        environment: Environment variables of this process.
    """

    call: bytes
    cpus: int
    gpus: int
    probe: tuple[Path, str]
    shared: tuple[Path, ...]
    versions: dict[str, str]
    environment: dict[str, str]


@dataclass(frozen=True)
class Failed:
    """An error that a user or the system caused, as the result of a task."""

    error: Exception


def run_task(order: Order, argument: bytes) -> Any:
    """Return the result of a task, or `Failed` with an error that a user or the system caused."""
    try:
        return _load_call(order)(pickle.loads(argument), order.cpus)
    except (HangtagError, OSError) as error:
        return Failed(error)


def find_address() -> str:
    """Return a free `host:port` of this node."""
    from ray.util import get_node_ip_address  # noqa: PLC0415  (optional)

    with socket.create_server(("", 0)) as server:
        return f"{get_node_ip_address()}:{server.getsockname()[1]}"  # type: ignore[no-untyped-call]


def _load_call(order: Order) -> Callable[[Any, int], Any]:
    """Return the call, with what it has loaded for earlier tasks; check first that this process can do the work.

    Raises:
        RunnerError: This node has other versions, or does not see the folders.
    """
    key = order.probe[1]
    if key not in _calls:
        _check_node(order)
        os.environ.update(order.environment)
        # TensorFlow reads these when it computes for the first time, and would take all processors of the node.
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ[name] = str(order.cpus)
        if not order.gpus:
            # Ray names the cards of a task in this variable, but hides none from a task without a card, which would
            # take the memory of all cards of its node.
            os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        _calls.clear()
        _calls[key] = pickle.loads(order.call)
    return _calls[key]


def _check_node(order: Order) -> None:
    here, wanted = f"The node {socket.gethostname()} of the Ray cluster", _join_tensorflow(order.versions)
    versions = _join_tensorflow(read_versions())
    differing = [name for name in {**wanted, **versions} if wanted.get(name) != versions.get(name)]
    if differing:
        told = [f"{name} {versions.get(name) or 'missing'}, not {wanted.get(name)}" for name in differing]
        raise RunnerError(
            f"{here} has other versions than this process, so results could differ ({'; '.join(told)}).",
            hint="Install the same versions on every node, such as those of constraints.txt.",
        )
    path, text = order.probe
    with suppress(OSError):
        if path.read_text(encoding="ascii") == text:
            missing = next((each for each in order.shared if not each.exists()), None)
            if missing is None:
                return
            path = missing
    raise RunnerError(
        f"{here} does not see a folder that this process sees.",
        allowed="Allowed: a workspace, a catalogue and models on a file system that all nodes have at the same path.",
        received=str(path.parent if path == order.probe[0] else path),
    )


def _join_tensorflow(versions: dict[str, str]) -> dict[str, str]:
    """Return versions with `tensorflow-cpu` under the name `tensorflow`, which nodes with graphics cards install."""
    return {"tensorflow" if name == "tensorflow-cpu" else name: version for name, version in versions.items()}
