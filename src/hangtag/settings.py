"""Settings: a frozen dataclass a stage, put together from presets, TOML and flags, checked, and written."""

import dataclasses
import json
import re
import tomllib
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from difflib import get_close_matches
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
    """Read settings from a TOML file: keys for every stage that has them, and a table of its own keys for a stage.

    Raises:
        SettingsError: The file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"The settings file cannot be read: {error}.", received=str(path)) from error


def name_stage(kind: type) -> str:
    """Return the stage that a dataclass has the settings of: `train` for `TrainConfig`."""
    return kind.__name__.removesuffix("Config").lower()


def select_settings(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a layer of values says for a stage: the keys above all tables, and over them the stage's table."""
    names = {each.name for each in dataclasses.fields(kind)}
    above = {key: value for key, value in values.items() if key in names}
    table = values.get(name_stage(kind))
    own = table if isinstance(table, Mapping) else {}
    return above | {key: value for key, value in own.items() if key in names}


def lay_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one layer of values over another, as one layer; a key above all tables is over those in the tables below."""
    tables = {key: value for key, value in above.items() if isinstance(value, Mapping)}
    plain = {key: value for key, value in above.items() if key not in tables}
    laid: dict[str, Any] = {}
    for key, value in below.items():
        is_table = isinstance(value, Mapping)
        laid[key] = {name: own for name, own in value.items() if name not in plain} if is_table else value
    laid |= plain
    return laid | {stage: {**laid.get(stage, {}), **table} for stage, table in tables.items()}


def resolve(kind: type[Config], *layers: Mapping[str, Any]) -> Config:
    """Build a stage's settings from layers of values, the later over the earlier.

    Within a layer the stage's table lies over the keys above all tables. Keys and tables of other stages are passed
    over, so one file can serve the whole chain; use `check_names` to catch a name that no stage knows.

    Raises:
        SettingsError: A value is of the wrong type or out of range.
    """
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for layer in layers:
        given = select_settings(kind, layer)
        values |= {key: convert(key, value, hints[key]) for key, value in given.items() if value is not None}
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


def convert(name: str, value: Any, hint: Any) -> Any:
    """Return `value` as the type the setting has; text is split and parsed, whole numbers serve as floats.

    Raises:
        SettingsError: The value is of another type.
    """
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
    """Write a stage's settings as TOML, in the stage's table, that `read_settings` and `resolve` read back."""
    lines = [f"[{name_stage(type(config))}]"]
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
        # JSON's text is TOML's, but for this one character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def check_settings(values: Mapping[str, Any], kinds: Sequence[type], where: Callable[[str, str], str]) -> None:
    """Refuse names that no stage has, names in another stage's table, and values of the wrong type.

    Args:
        values: Keys for every stage that has them, and tables named after stages.
        kinds: The stages' dataclasses.
        where: Returns how an error about a table's key begins; "" for keys above all tables, or for a table itself.

    Raises:
        SettingsError: It is not so.
    """
    stages = {name_stage(kind): kind for kind in kinds}
    for key, value in values.items():
        if isinstance(value, Mapping) and key in stages:
            for name, own in value.items():
                _check_own(key, name, own, stages, where(key, name))
        elif isinstance(value, Mapping):
            _refuse_table(key, stages, where(key, ""))
        else:
            _check_common(key, value, stages, where("", key))


def _check_own(stage: str, name: str, value: Any, stages: Mapping[str, type], where: str) -> None:
    """Check a key of a stage's table."""
    hints = typing.get_type_hints(stages[stage])
    if name in hints:
        _check_types(name, value, [hints[name]], where)
        return
    allowed = f"Allowed in [{stage}]: {', '.join(hints)}."
    if owners := list(_find_owners(name, stages)):
        belongs = f"{where}{name} is a setting of {' and '.join(owners)}, not of {stage}."
        raise SettingsError(belongs, allowed=f"Allowed: {name} in {_name_tables(owners)}.", received=name)
    raise SettingsError(f"{where}{stage} has no setting {name}.{_suggest(name, hints)}", allowed=allowed, received=name)


def _check_common(key: str, value: Any, stages: Mapping[str, type], where: str) -> None:
    """Check a key above all tables."""
    if key in stages:
        allowed = f"Allowed: a table [{key}] with settings of its own."
        raise SettingsError(f"{where}{key} is a stage, not a setting.", allowed=allowed, received=value)
    known = {name: hint for kind in stages.values() for name, hint in typing.get_type_hints(kind).items()}
    if key not in known:
        allowed = f"Allowed: {', '.join(sorted(known))}."
        raise SettingsError(f"{where}There is no such setting.{_suggest(key, known)}", allowed=allowed, received=key)
    _check_types(key, value, [typing.get_type_hints(stages[owner])[key] for owner in _find_owners(key, stages)], where)


def _refuse_table(key: str, stages: Mapping[str, type], where: str) -> None:
    owners = list(_find_owners(key, stages))
    hint = f"{key} is a setting of {' and '.join(owners)}, not a table." if owners else ""
    what = f"{where}There is no stage {key} with settings.{_suggest(key, stages)}"
    raise SettingsError(what, allowed=f"Allowed: {_name_tables(stages)}.", received=f"[{key}]", hint=hint)


def _check_types(name: str, value: Any, hints: Sequence[Any], where: str) -> None:
    """Refuse a value that no stage can take; which of them can is seen when their settings are put together."""
    errors: list[SettingsError] = []
    for hint in hints:
        try:
            convert(name, value, hint)
        except SettingsError as error:
            errors.append(error)
    if len(errors) == len(hints):
        raise SettingsError(f"{where}{errors[0]}") from errors[0]


def _find_owners(name: str, stages: Mapping[str, type]) -> Iterator[str]:
    return (stage for stage, kind in stages.items() if any(each.name == name for each in dataclasses.fields(kind)))


def _name_tables(stages: Iterable[str]) -> str:
    return ", ".join(f"[{stage}]" for stage in stages)


def _suggest(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), 1)
    return f" Did you mean {close[0]}?" if close else ""


def locate(path: Path, table: str, key: str) -> str:
    """Return how an error about a TOML file's key begins: its name, the line where it is found, and the table."""
    line = _find_line(path.read_text(encoding="utf-8"), table, key)
    parts = [path.name, f"line {line}" if line else "", f"[{table}]" if table else ""]
    return f"{', '.join(part for part in parts if part)}: "


def _find_line(text: str, table: str, key: str) -> int | None:
    """Find the line, from 1, on which a key stands in a table, or the table begins where no key is named."""
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*[\"']?([\w-]+)", line):
            here = header[1]
            if here == table and not key:
                return number
        elif here == table and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line):
            return number
    return None
