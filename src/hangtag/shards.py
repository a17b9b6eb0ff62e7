"""Do the shards of a stage's work: one after another, in processes of this machine, or as tasks of a Ray cluster.

A shard is a part of the work that can be done again with the same result. It writes its files whole, and what was
finished before an interruption is found and not done again, whichever runner did it.
"""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from hangtag.processors import count_processors
from hangtag.ray_tasks import TaskPlan, run_tasks
from hangtag.runner_config import RunnerConfig
from hangtag.workspace import find_parts, remove_dead_parts

Shard = TypeVar("Shard")
Result = TypeVar("Result")
# How often a worker process checks that its parent process is still running.
PARENT_CHECK_SECONDS = 0.5
# Seconds to wait for processes that are being stopped, and between two looks.
STOP_SECONDS, PAUSE_SECONDS = 5, 0.05


def ignore_steps(_steps: int = 1) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Slot:
    """The place where a shard is done.

    Attributes:
        cpus: The number of processors to use.
        advance: Called with the number of steps that are done, while the shard is.
    """

    cpus: int = field(default_factory=count_processors)
    advance: Callable[[int], object] = ignore_steps


def local_field() -> Any:
    """Declare a field of a `ShardWork` that is not sent to other processes, where it is None."""
    return field(default=None, repr=False, compare=False, metadata={"is_local": True})


@dataclass
class ShardWork(Generic[Shard, Result]):
    """What a stage does with each shard: a dataclass whose fields say all that another process needs for it.

    What is loaded once for all shards of a process, such as a model, is a `local_field`.
    """

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields that are sent to other processes."""
        return {each.name: None if each.metadata.get("is_local") else getattr(self, each.name) for each in fields(self)}

    def find(self, shard: Shard) -> Result | None:  # noqa: ARG002  (for subclasses)
        """Return the result of a finished shard; None if it must be done."""
        return None

    def weigh(self, shard: Shard) -> int:  # noqa: ARG002
        """Return the number of steps of the progress bar that a shard is."""
        return 1

    def run(self, shard: Shard, slot: Slot) -> Result:
        """Do a shard: write its files whole, and return a small result."""
        raise NotImplementedError

    def run_as_task(self, shard: Shard, cpus: int) -> Result:
        """Do a shard as a task of a cluster."""
        return self.run(shard, Slot(cpus))

    def run_if_new(self, shard: Shard) -> Result:
        """Do a shard in a process of its own, unless it is finished."""
        found = self.find(shard)
        return self.run(shard, Slot(cpus=1)) if found is None else found


@contextmanager
def run_shards(
    work: ShardWork[Shard, Result],
    shards: Iterable[Shard],
    plan: TaskPlan,
    runner: RunnerConfig,
    *,
    advance: Callable[[int], object] = ignore_steps,
    look: Callable[[], object] = lambda: None,
    processes: int = 1,
) -> Iterator[Iterator[Result]]:
    """Do the shards that are not finished, and yield the results of all in order, each as soon as it is known.

    When the block ends before the results do, what is being done is stopped.

    Args:
        work: What is done.
        shards: The shards, read as they are needed.
        plan: The names, the shared folder and the processors of tasks.
        runner: Where they are done.
        advance: Called with the steps that are done; not for several `processes`.
        look: Called every few seconds while tasks of a cluster run.
        processes: Processes of the local runner; 1 does all shards in this process.

    Raises:
        HangtagError: A shard fails because of a user's mistake.
        RunnerError: The Ray cluster cannot be used.
        MissingExtraError: Ray is not installed.
    """
    if runner.runner == "ray":
        results = run_tasks(
            work.run_as_task, shards, plan, runner, work.find, lambda each: advance(work.weigh(each)), look
        )
    elif processes > 1:
        results = _run_in_processes(work, shards, plan.folder, processes)
    else:
        results = _run_here(work, shards, advance)
    with closing(results):
        yield results


def _run_here(
    work: ShardWork[Shard, Result], shards: Iterable[Shard], advance: Callable[[int], object]
) -> Generator[Result, None, None]:
    slot = Slot(advance=advance)
    for shard in shards:
        found = work.find(shard)
        if found is None:
            found = work.run(shard, slot)
        else:
            advance(work.weigh(shard))
        yield found


def _run_in_processes(
    work: ShardWork[Shard, Result], shards: Iterable[Shard], folder: Path, processes: int
) -> Generator[Result, None, None]:
    # joblib's worker processes need no `if __name__ == "__main__"` in a user's script, and do not fork a process
    # in which polars has started threads.
    from joblib import Parallel, delayed  # noqa: PLC0415  (classifying needs none)

    parallel = Parallel(
        n_jobs=processes,
        return_as="generator",
        pre_dispatch=2 * processes,
        initializer=exit_with_parent,
        initargs=(os.getpid(),),
    )
    try:
        yield from parallel(delayed(work.run_if_new)(shard) for shard in shards)
    finally:
        _remove_parts(folder)


def _remove_parts(folder: Path) -> None:
    """Remove the temporary files of processes that are being stopped, which end a moment later."""
    end = time.monotonic() + STOP_SECONDS
    while find_parts(folder) and time.monotonic() < end:
        remove_dead_parts(folder)
        time.sleep(PAUSE_SECONDS)


def exit_with_parent(parent: int) -> None:
    """Make this worker process exit when its parent process exits, even if the parent is killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
