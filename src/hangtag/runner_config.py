"""Declare the settings of the runner, which does the shards of a stage or its trainings here or on a Ray cluster."""

import re
from dataclasses import dataclass
from functools import partial
from typing import Literal

from hangtag.settings import Settings, require, setting

RAY_ADDRESS = re.compile(r"auto|(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_runner = partial(setting, group="Runner")


@dataclass(frozen=True)
class RunnerConfig(Settings):
    """Where the work of a stage is done. The result is the same everywhere, so no stage records these settings."""

    runner: Literal["local", "ray"] = _runner(
        "local", "Do the work in this process and its own, or as tasks of Ray: docs/scaling.md."
    )
    ray_address: str = _runner(
        "",
        "Ray cluster: auto for the one that this machine belongs to, or its head node; empty starts Ray on this "
        "machine alone.",
        is_valid=lambda address: not address or RAY_ADDRESS.fullmatch(address) is not None,
        must_be="auto, or HOST:PORT of the cluster's head node, as in 10.0.0.5:6379",
        metavar="auto|HOST:PORT",
    )
    cpus_per_task: int = _runner(
        0,
        "Processors that each task of Ray uses; 0 takes one for photographs, and for a training or predictions as many "
        "as this machine has, if a node has them.",
        low=0,
    )
    gpus_per_task: int = _runner(
        0,
        "Graphics cards that each task of Ray uses; with 0 it computes on processors, on any node.",
        low=0,
        high=1,
    )

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        for name in ("ray_address", "cpus_per_task", "gpus_per_task"):
            value = getattr(self, name)
            require(self.runner == "ray" or not value, f"{{{name}}} is for {{runner}} ray.", value, [name, "runner"])
