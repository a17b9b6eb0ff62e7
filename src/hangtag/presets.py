"""Define the presets, and build a stage's settings from a preset, a settings file and flags."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hangtag.config import KINDS, MORE_KINDS
from hangtag.errors import SettingsError
from hangtag.settings import (
    Config,
    check_settings,
    lay_over,
    locate_key,
    name_flag,
    name_key,
    name_stage,
    read_settings,
    resolve,
    select_settings,
)

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "capstone": {
        "clean": {"matcher": "class-words"},
        "train": {
            "architecture": "capstone",
            "target": "label",
            "epochs": 8,
            "batch_size": 32,
            "optimizer": "sgd",
            "learning_rate": 0.01,
            "lr_schedule": "inverse-time",
            "momentum": 0.9,
            "weight_decay": 0.0,
            "label_smoothing": 0.0,
            "class_balance": 0.0,
            "flip": True,
            "max_shift": 0,
            "brightness": 0.0,
            "layer_decay": 1.0,
            "initial_scale": 1.0,
            "final_scale": 1.0,
            "precision": "auto",
            "ema_decay": 0.0,
            "tau_norm": 0.0,
            "checkpoint": "best",
            "tta_flip": False,
        },
    },
    "default": {},
    # The recipe of `default`, by the name for it.
    "finetune": {},
    "frozen": {
        "train": {
            "freeze": True,
            "epochs": 20,
            "batch_size": 256,
            "learning_rate": 0.003,
            "ema_decay": 0.99,
            "tau_norm": 0.0,
        },
    },
    "quick": {
        "train": {
            "min_epochs": 1,
            "min_steps": 300,
            "learning_rate": 0.004,
            # In so short a training the first blocks gain little, and without their gradients it takes less time.
            "frozen_blocks": 10,
            "initial_scale": 1.0,
            "final_scale": 1.0,
        }
    },
    "scratch": {
        "train": {
            "architecture": "residual",
            "weights": "none",
            "min_steps": 2000,
            "optimizer": "muon",
            "learning_rate": 0.005,
            "layer_decay": 1.0,
            "tau_norm": 0.0,
            "initial_scale": 0.5,
            "final_scale": 1.0,
            "precision": "auto",
        },
    },
}
# Settings of `hangtag demo` that override the preset capstone. The demo catalogue is small, and smaller batches let the
# moving averages of batch normalization converge.
DEMO_SETTINGS: dict[str, Any] = {"train": {"epochs": 6, "batch_size": 8}}


def read_preset(name: str) -> dict[str, Any]:
    """Return a preset's settings by name, in a table for each stage.

    Raises:
        SettingsError: There is no preset of that name.
    """
    if name not in PRESETS:
        allowed = f"Allowed: {', '.join(PRESETS)}."
        raise SettingsError("There is no such preset.", allowed=allowed, received=name)
    return PRESETS[name]


def check_names(
    values: Mapping[str, Any],
    kinds: Sequence[type] = KINDS,
    locate: Callable[[str, str], str] = lambda _table, _key: "",
) -> None:
    """Check that settings have known names, are in the right tables and have the right types.

    Args:
        values: Keys for every stage that has them, and tables named like stages.
        kinds: The stages' dataclasses.
        locate: Returns the file and line of a table's key; by default the values are not from a file.

    Raises:
        SettingsError: A name is unknown or in another stage's table, or a value has the wrong type.
    """
    check_settings(values, kinds, locate)


def read_settings_file(file: Path | None) -> dict[str, Any]:
    """Read a settings file with settings of any stages, and check names and types; return {} if there is no file.

    Raises:
        SettingsError: The file cannot be read, or has an unknown name or a value of the wrong type.
    """
    if file is None:
        return {}
    values = read_settings(file)
    check_names(values, (*KINDS, *MORE_KINDS), lambda table, key: locate_key(file, table, key))
    return values


def resolve_settings(
    kind: type[Config], flags: Mapping[str, Any], preset: str = "default", file: Path | None = None
) -> Config:
    """Build a stage's settings from the preset, which the file overrides, which the flags override.

    Raises:
        SettingsError: A value is not allowed; the message names the flag, or the file and line.
    """
    below, values = read_preset(preset), read_settings_file(file)
    try:
        return resolve(kind, below, values, flags)
    except SettingsError as error:
        raise error.name_settings(lambda name: _describe_source(name, kind, flags, values, file)) from error


def _describe_source(
    name: str, kind: type, flags: Mapping[str, Any], values: Mapping[str, Any], file: Path | None
) -> str:
    """Return the place where the user set a value: the key of the file, or else the flag."""
    if file is None or flags.get(name) is not None or name not in select_settings(kind, values):
        return name_flag(name)
    stage = name_stage(kind)
    table = stage if name in values.get(stage, {}) else ""
    return name_key(table, name, locate_key(file, table, name))


def merge_chain_settings(flags: Mapping[str, Any], preset: str, file: Path | None) -> dict[str, Any]:
    """Return the settings file's values for the stages of `hangtag run`, overridden by the flags, as one layer.

    Raises:
        SettingsError: A value of any of these stages is not allowed.
    """
    for kind in KINDS:
        resolve_settings(kind, flags, preset, file)
    values = read_settings_file(file)
    tables = {name_stage(kind): select_settings(kind, values) for kind in KINDS}
    return lay_over({stage: table for stage, table in tables.items() if table}, flags)
