"""Bring Keras in, on the TensorFlow backend unless the environment names another."""

import logging
import os
from typing import Any

from hangtag.errors import MissingExtraError


def import_keras() -> Any:
    """Import Keras, quietly; the one place that does.

    Raises:
        MissingExtraError: The `train` extra is not installed.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # On is what TensorFlow does by itself; said aloud, it does not print a line about it.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # A new shape compiles the network anew, which TensorFlow takes for a mistake and warns of.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        import keras  # noqa: PLC0415  (takes seconds; only stages that train or predict pay for it)
    except ImportError as error:
        raise MissingExtraError(
            f"This needs Keras, which cannot be imported: {error}.",
            hint='Install it with `pip install "hangtag[train]"`.',
        ) from error
    return keras
