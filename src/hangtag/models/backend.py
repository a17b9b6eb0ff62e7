"""Bring Keras in, on the TensorFlow backend unless the environment names another."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hangtag.errors import MissingExtraError


def import_keras() -> Any:
    """Import Keras, quietly; the one place that does.

    Raises:
        MissingExtraError: The `train` extra is not installed.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A new shape compiles the network anew, which TensorFlow takes for a mistake and warns of.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        with _quiet():
            import keras  # noqa: PLC0415  (takes seconds; only stages that train or predict pay for it)
    except ImportError as error:
        raise MissingExtraError(
            f"This needs Keras, which cannot be imported: {error}.",
            hint='Install it with `pip install "hangtag[train]"`.',
        ) from error
    return keras


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep TensorFlow's greeting off stderr; it comes from C++ before any setting of its log is read."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
