"""Run the HTTP server of `serve` in a process: limits on connections, a watchdog, and draining on SIGTERM."""

import faulthandler
import signal
import socket
import time
from contextlib import suppress
from functools import partial
from types import FrameType

import uvicorn

from hangtag.config import ServeConfig
from hangtag.inference.classifier import Classifier
from hangtag.serving.app import STOP_SECONDS, build_app
from hangtag.serving.metrics import Metrics
from hangtag.serving.middleware import ServiceState
from hangtag.serving.protocol import BoundedProtocol, ConnectionLimits

# Watchdog: the process exits where its event loop hangs for the first, or stopping takes longer than the second.
FROZEN_SECONDS, STOPPED_SECONDS = 120.0, STOP_SECONDS + 10
# The watchdog is reset every so many ticks of uvicorn's loop, of which there are ten a second.
TICKS = 50
# Seconds from the end of listening until idle connections are closed. A request that a client sends meanwhile is still
# answered, and its connection closed; one that it sends just when an idle connection is closed would be lost.
LINGER_SECONDS = 1.0
# Connections that wait to be accepted, and open files beyond those of connections.
BACKLOG, MORE_FILES = 2048, 256


class Server(uvicorn.Server):
    """A server that drains on SIGTERM, with a watchdog that ends the process where it hangs.

    On SIGTERM `/readyz` answers 503 and each response closes its connection. After `drain_seconds` the server listens
    no more; once its connections are closed, or after `LINGER_SECONDS`, uvicorn closes those that are idle, waits for
    the responses of the others, and returns. A second SIGTERM ends the drain seconds. Ctrl-C omits all waiting but
    that for responses.

    `faulthandler` waits in a thread that does not need Python's global interpreter lock, so it works even where
    another thread never releases the lock. It writes the traceback of every thread to stderr and exits with code 1.

    Args:
        config: Uvicorn's settings.
        state: The state that is shared with the application.
        drain_seconds: The seconds from SIGTERM until the server stops listening.
    """

    def __init__(self, config: uvicorn.Config, state: ServiceState, drain_seconds: float = 0.0) -> None:
        super().__init__(config)
        self._state, self._drain_seconds = state, drain_seconds
        # When to stop listening, and when to close idle connections; None before SIGTERM, and while it listens.
        self._closes_at: float | None = None
        self._ends_at: float | None = None

    def start_draining(self) -> None:
        """Stop being ready; listening goes on until SIGTERM."""
        self._state.is_draining = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and listen."""
        await super().startup(sockets)
        for each in sockets or []:
            # Asyncio accepts up to `backlog` connections at once, so that the first process would get all of a burst.
            # That is why its backlog is low, and the system's is set here.
            each.listen(BACKLOG)

    async def on_tick(self, counter: int) -> bool:
        """Reset the watchdog while the loop runs, and go on with draining."""
        if self._closes_at is None:
            if counter % TICKS == 0:
                set_watchdog(FROZEN_SECONDS)
        elif time.monotonic() >= self._closes_at:
            self._stop_listening()
        return await super().on_tick(counter)

    def _stop_listening(self) -> None:
        if self._ends_at is None:
            for each in self.servers:
                each.close()
            self._ends_at = time.monotonic() + LINGER_SECONDS
        elif time.monotonic() >= self._ends_at or not self.server_state.connections:
            self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain and stop, within `STOPPED_SECONDS` after the drain seconds."""
        self._state.is_draining = True
        if sig == signal.SIGINT:
            set_watchdog(STOPPED_SECONDS)
            super().handle_exit(sig, frame)
            return
        # Uvicorn would send itself the signal again at the end, and so not exit with code 0.
        seconds = self._drain_seconds if self._closes_at is None else 0.0
        self._closes_at = time.monotonic() + seconds
        set_watchdog(seconds + LINGER_SECONDS + STOPPED_SECONDS)


def make_server(
    classifier: Classifier,
    config: ServeConfig,
    *,
    api_key: str | None,
    drain_seconds: float = 0.0,
    metrics: Metrics | None = None,
) -> Server:
    """Build the server of one process.

    Args:
        classifier: An exported model, loaded for as many streams as the process has workers.
        config: The settings of the service, for all of its processes together.
        api_key: The key that requests must send; None for no key.
        drain_seconds: See `Server`.
        metrics: Metrics that are shared with other processes; by default those of this process alone.
    """
    state, most = ServiceState(), config.share(config.max_connections)
    raise_file_limit(most + MORE_FILES)
    limits = ConnectionLimits(
        most=most,
        # Not divided: the connections of a client may all be to one process.
        most_a_client=max(min(config.max_connections // 4, most), 1),
        request_seconds=config.timeout,
        proxies=config.trusted_proxies,
    )
    settings = uvicorn.Config(
        build_app(classifier, config, api_key=api_key, metrics=metrics, state=state),
        host=config.host,
        port=config.port,
        workers=config.processes,
        backlog=BACKLOG if config.processes == 1 else 1,
        log_level="info",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(STOP_SECONDS),
        http=partial(BoundedProtocol, limits=limits),  # type: ignore[arg-type]
        ws="none",
        # Without a trusted proxy, `X-Forwarded-For` is ignored, from clients on this machine too.
        proxy_headers=bool(config.trusted_proxies),
        forwarded_allow_ips=list(config.trusted_proxies),
        h11_max_incomplete_event_size=64_000,
    )
    return Server(settings, state, drain_seconds)


def set_watchdog(seconds: float) -> None:
    """Let the process end with code 1 after so many seconds, unless this is called again."""
    # Where stderr is not a file, the traceback cannot be written, and there is no watchdog.
    with suppress(AttributeError, OSError, ValueError, RuntimeError):
        faulthandler.dump_traceback_later(seconds, exit=True)


def raise_file_limit(wanted: int) -> None:
    """Raise the limit of open files to the number wanted, as far as the system allows."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415  (not on every system)

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
