"""Run tasks of Ray that work together: all start or none does, and when one dies, all are started again."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from hangtag.console import print_line
from hangtag.errors import RunnerError
from hangtag.ray_connection import shorten
from hangtag.ray_tasks import (
    LOOK_SECONDS,
    TaskPlan,
    cancel_tasks,
    count_slots,
    explain_waiting,
    read_result,
    write_order,
)
from hangtag.ray_worker import Order, find_address, run_task
from hangtag.runner_config import RunnerConfig

Argument = TypeVar("Argument")
Result = TypeVar("Result")
# How often all tasks are started because one of them died.
MAX_TRIES = 5


@dataclass(frozen=True)
class Member:
    """A task of a group.

    Attributes:
        index: Its index.
        addresses: A free `host:port` for each task, in the order of their indices.
    """

    index: int
    addresses: tuple[str, ...]


def run_group(
    call: Callable[[tuple[Member, Argument], int], Result],
    begin: Callable[[], Argument],
    plan: TaskPlan,
    runner: RunnerConfig,
    look: Callable[[], object] = lambda: None,
) -> list[Result]:
    """Run a call as `plan.total` tasks at the same time, on different nodes if they have room.

    Args:
        call: A function or method that can be pickled, of a member with what `begin` returned, and a number of
            processors. Its result is small.
        begin: Called before each try; it returns what all tasks are told.
        plan: The names, the shared folder and the processors of the tasks.
        runner: The cluster.
        look: Called every few seconds while the tasks run.

    Returns:
        The results in the order of the indices.

    Raises:
        HangtagError: A task raised it.
        RunnerError: The cluster cannot be used, or tasks died again and again.
        MissingExtraError: Ray is not installed.
    """
    with write_order(call, plan, runner) as (ray, order, can_grow):
        for number in range(1, MAX_TRIES + 1):
            try:
                return _Group(ray, order, plan, can_grow=can_grow).run(begin(), look)
            except ray.exceptions.RayTaskError:
                raise
            except ray.exceptions.RayError as error:
                if number == MAX_TRIES:
                    raise RunnerError(
                        f"Tasks of the Ray cluster died, in {MAX_TRIES} tries of all of them.",
                        hint="Is the memory of their nodes too small? The same command with --resume continues.",
                        received=shorten(error),
                    ) from error
                print_line(f"A task of {plan.command} died ({shorten(error)}). All are started again.")
    raise AssertionError


class _Group:
    """The tasks of a try.

    Args:
        ray: The package.
        order: What every task is sent.
        plan: The names and the number of the tasks.
        can_grow: Whether nodes may join.
    """

    def __init__(self, ray: Any, order: Order, plan: TaskPlan, *, can_grow: bool) -> None:
        self._ray, self._plan, self._can_grow = ray, plan, can_grow
        self._needs, self._order = (order.cpus, order.gpus), ray.put(order)

    def run(self, told: Any, look: Callable[[], object]) -> list[Any]:
        """Wait for a place for all tasks, start them, and return their results.

        Raises:
            RayError: A task died; the others are stopped.
        """
        from ray.util.placement_group import placement_group, remove_placement_group  # noqa: PLC0415  (optional)

        cpus, gpus = self._needs
        bundle = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
        place = placement_group([bundle] * self._plan.total, strategy="SPREAD")
        references: list[Any] = []
        try:
            self._wait_for(place)
            found = [self._submit(find_address, place, index) for index in range(self._plan.total)]
            addresses = tuple(read_result(self._ray, reference) for reference in found)
            for index in range(self._plan.total):
                argument = pickle.dumps((Member(index, addresses), told))
                references.append(self._submit(run_task, place, index, self._order, argument))
            return self._collect(references, look)
        finally:
            cancel_tasks(self._ray, references)
            remove_placement_group(place)

    def _wait_for(self, place: Any) -> None:
        is_told = False
        while not place.wait(LOOK_SECONDS):
            if not is_told and count_slots(self._ray, *self._needs) < self._plan.total:
                explain_waiting(*self._needs, self._plan.total, can_grow=self._can_grow)
                is_told = True

    def _submit(self, function: Callable[..., Any], place: Any, index: int, *arguments: Any) -> Any:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy  # noqa: PLC0415

        cpus, gpus = self._needs
        # A process that has joined other workers cannot join others again, so it does one task.
        remote = self._ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0, max_calls=1)(function)
        strategy = PlacementGroupSchedulingStrategy(place, placement_group_bundle_index=index)
        name = f"{self._plan.command} {index + 1}/{self._plan.total}"
        return remote.options(name=name, scheduling_strategy=strategy).remote(*arguments)

    def _collect(self, references: list[Any], look: Callable[[], object]) -> list[Any]:
        results: dict[Any, Any] = {}
        running = list(references)
        while running:
            ended, running = self._ray.wait(running, num_returns=1, timeout=LOOK_SECONDS)
            results |= {reference: read_result(self._ray, reference) for reference in ended}
            look()
        return [results[reference] for reference in references]
