"""Stage `serve`: run the HTTP service and its page, in one process or several, until a signal stops it."""

import faulthandler
import os
import tempfile
from pathlib import Path

from hangtag.config import ServeConfig
from hangtag.errors import ModelError, SettingsError
from hangtag.inference.classifier import Classifier
from hangtag.processors import count_processors
from hangtag.serving.middleware import LOOPBACK
from hangtag.serving.server import make_server
from hangtag.serving.supervisor import Service, Supervisor

KEY_VARIABLE = "HANGTAG_API_KEY"
SHORTEST_KEY = 16


def load_served(model: str | Path | None, config: ServeConfig) -> Classifier | str | Path | None:
    """Load an exported model for `serve`; several processes each load it themselves, and need its folder.

    Raises:
        ModelError: See `Classifier.load`.
    """
    if config.processes > 1:
        return model
    return Classifier.load(model, streams=config.workers or count_processors())


def serve(model: Classifier | str | Path | None = None, config: ServeConfig = ServeConfig()) -> None:  # noqa: B008
    """Serve requests until a signal comes; then accept nothing more, answer waiting requests, and return.

    With several processes, a script that calls this must do so below `if __name__ == "__main__":`, since they import
    the script again.

    Args:
        model: A loaded model, or the folder of an exported one; None for the one that hangtag comes with. Several
            processes need the folder.
        config: Settings. The API key comes from the environment variable HANGTAG_API_KEY.

    Raises:
        SettingsError: The key is too short, the service cannot listen on the address, or several processes are asked
            for with a loaded model.
        ModelError: The model cannot be loaded.
        KeyboardInterrupt: Ctrl-C stopped the service.
    """
    served = model if isinstance(model, Classifier) else load_served(model, config)
    if isinstance(served, Classifier):
        _serve_alone(served, config)
    else:
        _serve_together(served, config)


def _serve_alone(classifier: Classifier, config: ServeConfig) -> None:
    if config.processes > 1:
        raise SettingsError(
            "{processes} must be 1 for a model that is loaded already.",
            received=config.processes,
            hint="Give the model's folder instead.",
            settings=["processes"],
        )
    server = make_server(classifier, config, api_key=read_api_key(), drain_seconds=config.drain_seconds)
    try:
        server.run()
    except SystemExit:
        raise _refuse_address(config) from None
    finally:
        faulthandler.cancel_dump_traceback_later()


def _serve_together(model: str | Path | None, config: ServeConfig) -> None:
    with tempfile.TemporaryDirectory(prefix="hangtag-serve-") as folder:
        service = Service(model, config, read_api_key(), Path(folder))
        try:
            supervisor = Supervisor(service)
        except (SystemExit, OSError):
            raise _refuse_address(config) from None
        supervisor.run()
    if supervisor.failure:
        raise ModelError(supervisor.failure)
    if supervisor.is_interrupted:
        raise KeyboardInterrupt


def _refuse_address(config: ServeConfig) -> SettingsError:
    """Build the error for an address; uvicorn has written the reason to stderr."""
    return SettingsError(
        "The service cannot listen on this address.",
        allowed="Allowed: an address of this machine, and a free port.",
        received=f"{config.host}:{config.port}",
    )


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
