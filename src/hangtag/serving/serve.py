"""Stage `serve`: the HTTP service and its page, until it is stopped."""

import os

import uvicorn

from hangtag.config import ServeConfig
from hangtag.errors import SettingsError
from hangtag.inference.classifier import Classifier
from hangtag.serving.api import build_app

KEY_VARIABLE = "HANGTAG_API_KEY"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
SHORTEST_KEY = 16
# How long answers on their way may take once the service is told to stop.
STOP_SECONDS = 15


def serve(classifier: Classifier, config: ServeConfig = ServeConfig()) -> None:  # noqa: B008  (frozen)
    """Answer requests until a signal comes; then take nothing more, answer what waits, and return.

    Args:
        classifier: An exported model, loaded for as many streams as there are workers.
        config: Settings. The key that requests have to bring along is in the environment: HANGTAG_API_KEY.

    Raises:
        SettingsError: The key is too short, or the address cannot be taken.
    """
    api_key = read_api_key()
    server = uvicorn.Server(
        uvicorn.Config(
            build_app(classifier, config, api_key=api_key),
            host=config.host,
            port=config.port,
            log_level="info",
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=STOP_SECONDS,
            limit_concurrency=config.max_connections,
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


def read_api_key() -> str | None:
    """Give the key from the environment, or None where there is none.

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
    """Say whether anybody who reaches this machine may ask."""
    return config.host not in LOOPBACK and read_api_key() is None
