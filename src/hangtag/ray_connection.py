"""Connect to a Ray cluster, or start Ray on this machine, with errors for people."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hangtag.errors import MissingExtraError, RunnerError
from hangtag.runner_config import RunnerConfig

# Results are small: what a task makes is in its files.
OBJECT_STORE_BYTES = 128 * 1024 * 1024
CONNECT_SECONDS = 10
START = "Start one with `ray start --head`, or leave out --ray-address to use this machine alone."


def import_ray() -> Any:
    """Return the package Ray.

    Raises:
        MissingExtraError: It is not installed.
    """
    # Ray sends usage data unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Without this each worker warns of a change of how graphics cards are hidden; `run_task` hides them itself.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray  # noqa: PLC0415  (optional)
    except ImportError as error:
        raise MissingExtraError(
            "--runner ray needs Ray, which is not installed.",
            hint='Install it with `pip install "hangtag[cluster]"`.',
        ) from error
    return ray


@contextmanager
def connect(ray: Any, runner: RunnerConfig) -> Iterator[None]:
    """Connect to the cluster, or start Ray on this machine, and disconnect at the end; keep an existing connection.

    Raises:
        RunnerError: There is no cluster at the address, or it has another version of Ray or Python.
    """
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if runner.ray_address:
        _check_address(runner.ray_address)
        options["address"] = runner.ray_address
    else:
        options |= {"address": "local", "num_cpus": os.cpu_count(), "include_dashboard": False}
        options["object_store_memory"] = OBJECT_STORE_BYTES
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
    except SystemExit:
        # SIGTERM, which Ray has taken over.
        if callable(handler):
            handler(signal.SIGTERM, None)
        raise
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        ray.shutdown()
        raise _explain_connection(error, runner.ray_address) from error
    finally:
        if in_main_thread and handler is not None:
            # Ray replaces it by its own, which would end this process without its messages.
            signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Check that something answers at an address, since Ray itself would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise RunnerError(
            f"No Ray cluster answers at --ray-address {address} ({error}).",
            hint=START,
        ) from error


def _explain_connection(error: Exception, address: str) -> RunnerError:
    if "Version mismatch" in str(error):
        return RunnerError(
            "The Ray cluster runs other versions of Ray or Python than this process.",
            received=" ".join(str(error).split()),
            hint="Install the same versions on every node.",
        )
    if address == "auto":
        return RunnerError("This machine belongs to no running Ray cluster (--ray-address auto).", hint=START)
    what = f"The Ray cluster at --ray-address {address} cannot be used." if address else "Ray cannot be started."
    return RunnerError(what, received=shorten(error))


def shorten(error: Exception) -> str:
    """Return the first line of an error of Ray, whose messages have many."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
