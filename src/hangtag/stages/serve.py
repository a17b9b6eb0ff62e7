"""Stage `serve`: the HTTP service and its page, until it is stopped."""

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
# The process is ended where its loop has not turned for so long, or where it has not stopped so long after it should.
FROZEN_SECONDS, STOPPED_SECONDS = 120, STOP_SECONDS + 10
# Turns of uvicorn's loop, ten a second, after which the first of both is put off.
TURNS = 50
# Files that are open beside connections.
MORE_FILES = 256


def serve(classifier: Classifier, config: ServeConfig = ServeConfig()) -> None:  # noqa: B008  (frozen)
    """Answer requests until a signal comes; then take nothing more, answer what waits, and return.

    Args:
        classifier: An exported model, loaded for as many streams as there are workers.
        config: Settings. The key that requests have to bring along is in the environment: HANGTAG_API_KEY.

    Raises:
        SettingsError: The key is too short, or the address cannot be taken.
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
            # Without a named proxy nobody is believed, a client on this machine neither.
            proxy_headers=bool(config.trusted_proxies),
            forwarded_allow_ips=list(config.trusted_proxies),
            h11_max_incomplete_event_size=64_000,
        )
    )
    try:
        server.run()
    except SystemExit:
        # Uvicorn has said on stderr why it cannot listen.
        raise SettingsError(
            "The service cannot listen there.",
            allowed="Allowed: an address of this machine, and a port that is free.",
            received=f"{config.host}:{config.port}",
        ) from None
    finally:
        faulthandler.cancel_dump_traceback_later()


class _Server(uvicorn.Server):
    """A server that ends where it hangs.

    `faulthandler` waits in a thread of its own that needs no lock of Python's, so that it works where every other
    thread waits for that lock; it writes where each of them is to stderr, and ends the process with code 1.
    """

    async def on_tick(self, counter: int) -> bool:
        """Put the end off while the loop turns."""
        if counter % TURNS == 0 and not self.should_exit:
            _end_later(FROZEN_SECONDS)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, within a time."""
        _end_later(STOPPED_SECONDS)
        super().handle_exit(sig, frame)


def _end_later(seconds: float) -> None:
    # Where stderr is no file there is nowhere to write to, and no watch.
    with suppress(AttributeError, OSError, ValueError, RuntimeError):
        faulthandler.dump_traceback_later(seconds, exit=True)


def _raise_file_limit(wanted: int) -> None:
    """Raise the limit of open files to the limit of connections, as far as the system allows."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415  (not on every system)

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def read_api_key() -> str | None:
    """Return the key from the environment, or None where there is none.

    Raises:
        SettingsError: It is too short to protect anything.
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
    """Return whether everybody on the network may use the service."""
    return config.host not in LOOPBACK and read_api_key() is None
