"""Settings: a frozen dataclass a stage, put together from presets, TOML and flags, checked, and written."""

import dataclasses
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal, TypeVar

from hangtag.errors import SettingsError

Config = TypeVar("Config")


def setting(default: Any, help_text: str) -> Any:
    """Declare a setting with its default and the sentence that `--help` shows."""
    return field(default=default, metadata={"help": help_text})


def require(holds: bool, what: str, allowed: str, received: object) -> None:
    """Refuse a value.

    Raises:
        SettingsError: It does not hold.
    """
    if not holds:
        raise SettingsError(what, allowed=allowed, received=received)


def read_settings(path: Path) -> dict[str, Any]:
    """Read settings from a TOML file, flat or in tables named after the stages.

    Raises:
        SettingsError: The file is missing or is not TOML.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"The settings file cannot be read: {error}.", received=str(path)) from error
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return flat


def resolve(kind: type[Config], *layers: Mapping[str, Any]) -> Config:
    """Build a stage's settings from layers of values, the later over the earlier.

    Keys that belong to other stages are passed over, so one file can serve the whole chain; use
    `check_names` to catch a name that no stage knows.

    Raises:
        SettingsError: A value is of the wrong type or out of range.
    """
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for layer in layers:
        values |= {
            key: _convert(key, value, hints[key]) for key, value in layer.items() if key in hints and value is not None
        }
    return kind(**values)


def parse_image_size(text: str) -> tuple[int, int]:
    """Read `80x60` as (height, width).

    Raises:
        SettingsError: The text is not two whole numbers around an `x`.
    """
    height, cross, width = text.lower().partition("x")
    if not (cross and height.strip().isdecimal() and width.strip().isdecimal()):
        raise SettingsError(
            "The image size cannot be read.", allowed="Allowed: HEIGHTxWIDTH, as in 80x60.", received=text
        )
    return int(height), int(width)


def _convert(name: str, value: Any, hint: Any) -> Any:
    """Give `value` as the type the setting has; text is split and parsed, whole numbers serve as floats."""
    if name == "image_size" and isinstance(value, str):
        return parse_image_size(value)
    if typing.get_origin(hint) is tuple:
        return _convert_tuple(name, value, typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        allowed = typing.get_args(hint)
        require(value in allowed, f"{name} has no such value.", f"Allowed: {', '.join(allowed)}.", value)
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    require(type(value) is hint, f"{name} is of the wrong type.", f"Allowed: {hint.__name__}.", value)
    return value


def _convert_tuple(name: str, value: Any, hints: tuple[Any, ...]) -> tuple[Any, ...]:
    kind = hints[0]
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    allowed = f"Allowed: {'values' if kind is str else 'numbers'} between commas."
    require(isinstance(parts, list | tuple), f"{name} is of the wrong type.", allowed, value)
    try:
        return tuple(kind(part) for part in parts)
    except (TypeError, ValueError):
        raise SettingsError(f"{name} is of the wrong type.", allowed=allowed, received=value) from None


def to_toml(config: Any) -> str:
    """Write resolved settings as TOML that `read_settings` reads back."""
    lines = []
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        lines.append(f"{each.name} = {_toml_value(value)}")
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(_toml_value(each) for each in value)}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)
