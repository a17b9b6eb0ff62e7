"""Stage `serve`: run the HTTP service and its page until a signal stops it."""

import faulthandler
import os
from contextlib import suppress
from functools import partial
from types import FrameType

import uvicorn

from hangtag.config import ServeConfig
from hangtag.errors import SettingsError
from hangtag.inference.classifier import Classifier
from hangtag.serving.app import STOP_SECONDS, build_app
from hangtag.serving.middleware import LOOPBACK
from hangtag.serving.protocol import BoundedProtocol, ConnectionLimits

KEY_VARIABLE = "HANGTAG_API_KEY"
SHORTEST_KEY = 16
# Watchdog: the process exits where its event loop hangs for the first, or stopping takes longer than the second.
FROZEN_SECONDS, STOPPED_SECONDS = 120, STOP_SECONDS + 10
# The watchdog is reset every so many ticks of uvicorn's loop, of which there are ten a second.
TICKS = 50
# Open files beyond those of connections.
MORE_FILES = 256


def serve(classifier: Classifier, config: ServeConfig = ServeConfig()) -> None:  # noqa: B008  (frozen)
    """Serve requests until a signal comes; then accept nothing more, answer waiting requests, and return.

    Args:
        classifier: An exported model, loaded for as many streams as there are workers.
        config: Settings. The API key comes from the environment variable HANGTAG_API_KEY.

    Raises:
        SettingsError: The key is too short, or the service cannot listen on the address.
    """
    api_key = read_api_key()
    _raise_file_limit(config.max_connections + MORE_FILES)
    limits = ConnectionLimits(
        most=config.max_connections,
        most_a_client=max(config.max_connections // 4, 1),
        request_seconds=config.timeout,
        proxies=config.trusted_proxies,
    )
    server = _Server(
        uvicorn.Config(
            build_app(classifier, config, api_key=api_key),
            host=config.host,
            port=config.port,
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
    )
    try:
        server.run()
    except SystemExit:
        # Uvicorn has written the reason to stderr.
        raise SettingsError(
            "The service cannot listen on this address.",
            allowed="Allowed: an address of this machine, and a free port.",
            received=f"{config.host}:{config.port}",
        ) from None
    finally:
        faulthandler.cancel_dump_traceback_later()


class _Server(uvicorn.Server):
    """A server with a watchdog, which ends the process where it hangs.

    `faulthandler` waits in a thread that does not need Python's global interpreter lock, so it works even where
    another thread never releases the lock. It writes the traceback of every thread to stderr and exits with code 1.
    """

    async def on_tick(self, counter: int) -> bool:
        """Reset the watchdog while the loop runs."""
        if counter % TICKS == 0 and not self.should_exit:
            _set_watchdog(FROZEN_SECONDS)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop the server, within `STOPPED_SECONDS`."""
        _set_watchdog(STOPPED_SECONDS)
        super().handle_exit(sig, frame)


def _set_watchdog(seconds: float) -> None:
    # Where stderr is not a file, the traceback cannot be written, and there is no watchdog.
    with suppress(AttributeError, OSError, ValueError, RuntimeError):
        faulthandler.dump_traceback_later(seconds, exit=True)


def _raise_file_limit(wanted: int) -> None:
    """Raise the limit of open files to the number wanted, as far as the system allows."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415  (not on every system)

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def read_api_key() -> str | None:
    """Return the API key from the environment, or None where there is none.

    Raises:
        SettingsError: It is too short.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        return None
    if len(key) < SHORTEST_KEY:
        raise SettingsError(
            f"The key in {KEY_VARIABLE} is too short.",
            allowed=f"Allowed: {SHORTEST_KEY} characters or more.",
            hint="`openssl rand -hex 24` makes one.",
        )
    return key


def is_open_to_all(config: ServeConfig) -> bool:
    """Return whether the service listens beyond this machine and demands no key."""
    return config.host not in LOOPBACK and read_api_key() is None
