"""Run calls as tasks of a Ray cluster: named, retried after a crash, a few ahead at a time, with errors for people."""

import math
import os
import pickle
import re
import secrets
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hangtag.console import print_line
from hangtag.errors import RunnerError
from hangtag.manifest import read_versions
from hangtag.ray_connection import connect, import_ray, shorten
from hangtag.ray_worker import Failed, Order, run_task
from hangtag.results import count_of
from hangtag.runner_config import RunnerConfig

Argument = TypeVar("Argument")
Result = TypeVar("Result")
# How often a task is started again whose process or node dies; an error of the task itself is not retried.
MAX_RETRIES = 10
# Tasks that wait for each that runs, so that no processor is idle, and results that wait for an earlier one.
WAITING, AHEAD = 1, 1000
CANCEL_SECONDS, LOOK_SECONDS = 10, 5
# Settings of libraries that results depend on; TF_CONFIG would make a task a worker of another training.
ENVIRONMENT = re.compile(r"(KERAS|TF)_(?!CONFIG$)\w+")


@dataclass(frozen=True)
class TaskPlan:
    """How the tasks of a command are run.

    Attributes:
        command: The command, by which tasks are named: `prepare 3/89`.
        total: The number of tasks, finished ones too.
        folder: A folder that every node of the cluster must see, since tasks write there.
        shared: Further files and folders that every node must see.
        cpus: The processors that a task uses unless the user sets them; 0 takes as many as this machine has, or the
            largest node if that has fewer.
        again: How to continue after tasks are lost.
    """

    command: str
    total: int
    folder: Path
    shared: tuple[Path, ...] = ()
    cpus: int = 1
    again: str = "Finished tasks are kept; the same command continues."


def run_tasks(
    call: Callable[[Argument, int], Result],
    arguments: Iterable[Argument],
    plan: TaskPlan,
    runner: RunnerConfig,
    find: Callable[[Argument], Result | None],
    on_done: Callable[[Argument], object],
    look: Callable[[], object] = lambda: None,
) -> Generator[Result, None, None]:
    """Run a call for each argument as a task of Ray, and yield the results in order.

    A connection to Ray that exists is used and kept; without one, it is made when the first task is needed, and closed
    at the end. If the generator is closed, tasks are cancelled.

    Args:
        call: A function or method that can be pickled, of an argument and a number of processors. Its result is small.
        arguments: The arguments, read as they are needed.
        plan: The names, the shared folder and the processors of tasks.
        runner: The cluster.
        find: Returns the result of a task that was finished earlier, else None; called in this process.
        on_done: Called with the argument of every task that is finished.
        look: Called every few seconds while tasks run.

    Raises:
        HangtagError: The call raised it.
        RunnerError: The cluster cannot be used, or a task's process died again and again.
        MissingExtraError: Ray is not installed.
    """
    numbered, is_read = enumerate(arguments), False
    finished: dict[int, Result] = {}
    following, cluster = 0, None
    with ExitStack() as stack:
        while True:
            if cluster is not None and cluster.running:
                for number, argument, result in cluster.wait(0 if following in finished else LOOK_SECONDS):
                    finished[number] = result
                    on_done(argument)
                look()
            while not is_read and len(finished) < AHEAD and (cluster is None or cluster.has_room()):
                entry = next(numbered, None)
                if entry is None:
                    is_read = True
                    break
                number, argument = entry
                if (found := find(argument)) is not None:
                    finished[number] = found
                    on_done(argument)
                else:
                    # Where all are finished, no cluster is needed.
                    cluster = cluster or stack.enter_context(_open_cluster(call, plan, runner))
                    cluster.submit(number, argument)
            if following in finished:
                yield finished.pop(following)
                following += 1
            elif is_read and not (cluster and cluster.running):
                return


class _Cluster:
    """The tasks of a command that run on a cluster, or wait there.

    Args:
        ray: The package.
        order: What every task is sent.
        plan: The names of the tasks.
        can_grow: Whether nodes may join.

    Attributes:
        running: The number and the argument of each task, by the reference to its result.
    """

    def __init__(self, ray: Any, order: Order, plan: TaskPlan, *, can_grow: bool) -> None:
        self._ray, self._plan, self._needs, self._can_grow = ray, plan, (order.cpus, order.gpus), can_grow
        self._order = ray.put(order)
        needs = {"num_cpus": order.cpus, "num_gpus": order.gpus}
        # Errors of the task itself are not retried.
        self._call = ray.remote(**needs, max_retries=MAX_RETRIES, retry_exceptions=False)(run_task)
        self.running: dict[Any, tuple[int, Any]] = {}
        self._slots, self._counted = 0, 0.0

    def has_room(self) -> bool:
        """Return whether another task may be sent; nodes come and go, so they are counted again now and then.

        Raises:
            RunnerError: No node has what a task needs, and none can join.
        """
        if time.monotonic() - self._counted > LOOK_SECONDS or not self._counted:
            self._slots = count_slots(self._ray, *self._needs)
            if not self._slots and not self._counted:
                explain_waiting(*self._needs, can_grow=self._can_grow)
            self._counted = time.monotonic()
        return len(self.running) < (1 + WAITING) * max(1, self._slots)

    def submit(self, number: int, argument: Any) -> None:
        """Send a task."""
        name = f"{self._plan.command} {number + 1}/{self._plan.total}"
        # Pickled here, so that a worker checks what it needs before it imports the code of a stage.
        reference = self._call.options(name=name).remote(self._order, pickle.dumps(argument))
        self.running[reference] = number, argument

    def wait(self, seconds: float) -> list[tuple[int, Any, Any]]:
        """Wait until a task is finished or the seconds are over; return the numbers, arguments and results of tasks."""
        tasks = list(self.running)
        references, _ = self._ray.wait(tasks, num_returns=1 if seconds else len(tasks), timeout=seconds)
        return [
            (*self.running.pop(reference), _read_last_try(self._ray, reference, self._plan.again))
            for reference in references
        ]


def read_result(ray: Any, reference: Any) -> Any:
    """Return the result of a task that has ended.

    Raises:
        HangtagError: The task raised it.
        RunnerError: A node cannot import hangtag.
        RayError: The process or the node of the task died.
    """
    try:
        result = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if "failed to import on the worker" in str(error):
            raise RunnerError(
                "A node of the Ray cluster cannot import hangtag.",
                hint="Install the same version on every node, in the Python that Ray runs in.",
            ) from error
        # A bug of ours keeps its traceback.
        raise
    if isinstance(result, Failed):
        raise result.error
    return result


def _read_last_try(ray: Any, reference: Any, again: str) -> Any:
    """Return the result of a task whose retries have ended too."""
    try:
        return read_result(ray, reference)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        raise RunnerError(
            f"A task of the Ray cluster is lost: its process or node died, in up to {MAX_RETRIES} retries too.",
            hint=f"Is the memory of its node too small? {again}",
            received=shorten(error),
        ) from error


def cancel_tasks(ray: Any, references: Sequence[Any]) -> None:
    """Stop tasks, and wait until they have stopped: nothing is to be written after the locks are released."""
    for reference in references:
        with suppress(Exception):
            ray.cancel(reference, force=True)
    if references:
        with suppress(Exception):
            ray.wait(list(references), num_returns=len(references), timeout=CANCEL_SECONDS)


@contextmanager
def write_order(call: Callable[..., Any], plan: TaskPlan, runner: RunnerConfig) -> Iterator[tuple[Any, Order, bool]]:
    """Connect to Ray, and yield the package, what every task is sent, and whether nodes may join the cluster."""
    ray = import_ray()
    can_grow = bool(runner.ray_address) or ray.is_initialized()
    with connect(ray, runner), _write_probe(plan.folder) as probe:
        cpus = runner.cpus_per_task or plan.cpus or _choose_cpus(ray, runner.gpus_per_task)
        environment = {name: value for name, value in os.environ.items() if ENVIRONMENT.fullmatch(name)}
        versions = read_versions()
        yield (
            ray,
            Order(pickle.dumps(call), cpus, runner.gpus_per_task, probe, plan.shared, versions, environment),
            can_grow,
        )


@contextmanager
def _open_cluster(call: Callable[..., Any], plan: TaskPlan, runner: RunnerConfig) -> Iterator[_Cluster]:
    """Connect to Ray, and cancel the tasks at the end."""
    with write_order(call, plan, runner) as (ray, order, can_grow):
        cluster = _Cluster(ray, order, plan, can_grow=can_grow)
        try:
            yield cluster
        finally:
            cancel_tasks(ray, list(cluster.running))


@contextmanager
def _write_probe(folder: Path) -> Iterator[tuple[Path, str]]:
    """Write a file that every worker must find in the folder; its name is that of a temporary file of this process."""
    text = secrets.token_hex(8)
    path = folder / f".probe-{os.getpid()}-{text}.part"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")
    try:
        yield path, text
    finally:
        path.unlink(missing_ok=True)


def _list_nodes(ray: Any) -> list[tuple[float, float]]:
    """Return the numbers of processors and of graphics cards of each node that is alive."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(float(has.get("CPU", 0)), float(has.get("GPU", 0))) for has in alive]


def count_slots(ray: Any, cpus: int, gpus: int) -> int:
    """Return how many tasks that need so much the nodes can run at a time."""
    return sum(int(min(node[0] // cpus, node[1] // gpus if gpus else math.inf)) for node in _list_nodes(ray))


def explain_waiting(cpus: int, gpus: int, tasks: int = 1, *, can_grow: bool) -> None:
    """Report that the cluster has no place for a task, or for several at once.

    Raises:
        RunnerError: No node can join.
    """
    needs = count_of(cpus, "processor") + (f" and {count_of(gpus, 'graphics card')}" if gpus else "")
    if not can_grow:
        raise RunnerError(
            f"This machine does not have what {'the task asks' if tasks == 1 else f'{tasks} tasks ask'} for: {needs}"
            f"{' each' if tasks > 1 else ''}.",
            hint="Ask for less with --cpus-per-task and --gpus-per-task, or name a cluster with --ray-address.",
        )
    what = f"No node of the Ray cluster has {needs}; waiting for one that has."
    if tasks > 1:
        what = f"The Ray cluster has no place for {tasks} tasks with {needs} each at the same time; waiting for it."
    print_line(f"{what} Ctrl-C stops waiting.")


def _choose_cpus(ray: Any, gpus: int) -> int:
    """Return as many processors as this machine has, or those of the largest node if it has fewer.

    A task with graphics cards has the share of its node's processors that these are of the node's cards, on the node
    where that is least: so all cards of all nodes can be used.
    """
    here, nodes = os.cpu_count() or 1, _list_nodes(ray)
    if gpus:
        most = min((cpus * gpus / cards for cpus, cards in nodes if cards >= gpus), default=here)
    else:
        most = min(here, max((cpus for cpus, _ in nodes), default=1))
    return max(1, int(most))
