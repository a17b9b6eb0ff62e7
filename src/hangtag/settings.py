"""Build, check and write the settings of stages: frozen dataclasses made from presets, TOML files and flags.

There is one dataclass for each stage. It derives from `Settings` and declares each field with `setting`, which holds
the default, the help text and the range of allowed values.
"""

import dataclasses
import json
import re
import tomllib
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

from hangtag.errors import SettingsError

Config = TypeVar("Config")
Value = TypeVar("Value")
TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class Bounds:
    """The allowed values of a setting; an attribute that is None or empty sets no limit.

    Attributes:
        low: The smallest allowed value; for a tuple, of each of its parts.
        high: The largest allowed value.
        above: An exclusive lower bound.
        below: An exclusive upper bound.
        is_valid: A further check of the whole value.
        must_be: A description of the allowed values; by default built from the numbers.
    """

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    is_valid: Callable[[Any], bool] = lambda _: True
    must_be: str = ""

    def contains(self, value: Any) -> bool:
        """Return whether a value is allowed; NaN is not allowed if there is a numerical bound."""
        parts = value if isinstance(value, tuple) else (value,)
        return self.is_valid(value) and all(
            (self.low is None or part >= self.low)
            and (self.high is None or part <= self.high)
            and (self.above is None or part > self.above)
            and (self.below is None or part < self.below)
            for part in parts
        )

    def __str__(self) -> str:
        if self.must_be:
            return self.must_be
        if self.low is not None and self.high is not None:
            return f"{self.low} to {self.high}"
        limits = {"at least": self.low, "above": self.above, "at most": self.high, "below": self.below}
        return " and ".join(f"{word} {limit}" for word, limit in limits.items() if limit is not None)


def setting(
    default: Value,
    help_text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    is_valid: Callable[[Any], bool] = lambda _: True,
    must_be: str = "",
    metavar: str | None = None,
    group: str = "",
) -> Value:
    """Declare a setting.

    Args:
        default: The default value.
        help_text: The sentence that `--help` shows.
        low: The smallest allowed value; this and the following arguments are those of `Bounds`.
        high: The largest allowed value.
        above: An exclusive lower bound.
        below: An exclusive upper bound.
        is_valid: A further check of the value.
        must_be: A description of the allowed values.
        metavar: The placeholder of the value in `--help`; by default its type.
        group: The heading of the flag in `--help`.
    """
    bounds = Bounds(low, high, above, below, is_valid, must_be)
    metadata = {"help": help_text, "bounds": bounds, "metavar": metavar, "group": group}
    return field(default=default, metadata=metadata)


class Settings:
    """Base class of a stage's settings, which checks every field against its bounds."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SettingsError: A value is out of its bounds.
        """
        for declared in dataclasses.fields(self):  # type: ignore[arg-type]
            bounds, value = declared.metadata["bounds"], getattr(self, declared.name)
            require(bounds.contains(value), f"{{{declared.name}}} must be {bounds}.", value, [declared.name])


def require(holds: bool, what: str, received: object, settings: Sequence[str]) -> None:
    """Check a condition on settings.

    Raises:
        SettingsError: The condition does not hold; see there for `what`, `received` and `settings`.
    """
    if not holds:
        raise SettingsError(what, received=received, settings=settings)


def read_settings(path: Path) -> dict[str, Any]:
    """Read settings from a TOML file: keys for every stage that has them, and a table for each stage's own keys.

    Raises:
        SettingsError: The file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"The settings file cannot be read: {error}.", received=str(path)) from error


def name_stage(kind: type) -> str:
    """Return the stage of a settings dataclass: `train` for `TrainConfig`, `map-taxonomy` for `MapTaxonomyConfig`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__.removesuffix("Config")).lower()


def name_flag(name: str) -> str:
    """Return a setting's flag: `--batch-size` for `batch_size`."""
    return f"--{name.replace('_', '-')}"


def name_key(table: str, key: str, location: str) -> str:
    """Return the name of a settings file's key for messages: `[train] epochs in settings.toml, line 3`."""
    name = f"[{table}] {key}" if table else key
    return f"{name} in {location}" if location else name


def select_settings(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer's values for one stage: the top-level keys, overridden by those of the stage's table."""
    names = {declared.name for declared in dataclasses.fields(kind)}
    top_level = {key: value for key, value in values.items() if key in names}
    table = values.get(name_stage(kind))
    stage_values = table if isinstance(table, Mapping) else {}
    return top_level | {key: value for key, value in stage_values.items() if key in names}


def lay_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two layers of values into one; a top-level key of `above` also overrides the tables of `below`."""
    tables = {key: value for key, value in above.items() if isinstance(value, Mapping)}
    top_level = {key: value for key, value in above.items() if key not in tables}
    merged: dict[str, Any] = {}
    for key, value in below.items():
        is_table = isinstance(value, Mapping)
        merged[key] = {name: old for name, old in value.items() if name not in top_level} if is_table else value
    merged |= top_level
    return merged | {stage: {**merged.get(stage, {}), **table} for stage, table in tables.items()}


def resolve(kind: type[Config], *layers: Mapping[str, Any]) -> Config:
    """Build a stage's settings from layers of values; later layers override earlier ones.

    Within a layer, the stage's table overrides the top-level keys. Keys and tables of other stages are ignored, so
    that one file can have settings of all stages; `check_settings` finds a name that no stage has.

    Raises:
        SettingsError: A value has the wrong type or is out of range.
    """
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for layer in layers:
        given = select_settings(kind, layer)
        values |= {key: convert(key, value, hints[key]) for key, value in given.items() if value is not None}
    return kind(**values)


def parse_image_size(text: str) -> tuple[int, int]:
    """Parse `80x60` as (height, width).

    Raises:
        SettingsError: The text is not two whole numbers around an `x`.
    """
    height, cross, width = text.lower().partition("x")
    if not (cross and height.strip().isdecimal() and width.strip().isdecimal()):
        message = "{image_size} must be HEIGHTxWIDTH, as in 80x60."
        raise SettingsError(message, received=text, settings=["image_size"])
    return int(height), int(width)


def convert(name: str, value: Any, hint: Any) -> Any:
    """Convert a value to the setting's type: parse text for tuples and sizes, and a whole number for a float.

    Raises:
        SettingsError: The value has another type.
    """
    if name == "image_size" and isinstance(value, str):
        return parse_image_size(value)
    if typing.get_origin(hint) is tuple:
        return _convert_tuple(name, value, typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        allowed = typing.get_args(hint)
        require(value in allowed, f"{{{name}}} must be one of {', '.join(allowed)}.", value, [name])
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    require(type(value) is hint, f"{{{name}}} must be {TYPE_NAMES[hint]}.", value, [name])
    return value


def _convert_tuple(name: str, value: Any, hints: tuple[Any, ...]) -> tuple[Any, ...]:
    kind = hints[0]
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    what = f"{{{name}}} must be {'values' if kind is str else 'numbers'} separated by commas."
    require(isinstance(parts, list | tuple), what, value, [name])
    try:
        return tuple(kind(part) for part in parts)
    except (TypeError, ValueError):
        raise SettingsError(what, received=value, settings=[name]) from None


def to_toml(config: Any) -> str:
    """Return a stage's settings as a TOML table named like the stage, for `read_settings` and `resolve`."""
    lines = [f"[{name_stage(type(config))}]"]
    for declared in dataclasses.fields(config):
        value = getattr(config, declared.name)
        lines.append(f"{declared.name} = {format_toml_value(value)}")
    return "\n".join(lines) + "\n"


def format_toml_value(value: Any) -> str:
    """Return a text, a number, a boolean or a tuple of them as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(format_toml_value, value))}]"
    if isinstance(value, str):
        # JSON strings are valid in TOML, except for this character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def check_settings(values: Mapping[str, Any], kinds: Sequence[type], locate: Callable[[str, str], str]) -> None:
    """Check that every name is a setting, is in its stage's table or at the top level, and has the right type.

    Args:
        values: Keys for every stage that has them, and tables named like stages.
        kinds: The stages' dataclasses.
        locate: Returns the file and line of a table's key, or ""; the table is "" for top-level keys, and the key is
            "" for the table itself.

    Raises:
        SettingsError: A name is unknown or in another stage's table, or a value has the wrong type.
    """
    stages = {name_stage(kind): kind for kind in kinds}
    for key, value in values.items():
        if isinstance(value, Mapping) and key in stages:
            for name, table_value in value.items():
                _check_table_key(key, name, table_value, stages, locate(key, name))
        elif isinstance(value, Mapping):
            _reject_table(key, stages, locate(key, ""))
        else:
            _check_top_level_key(key, value, stages, locate("", key))


def _check_table_key(stage: str, name: str, value: Any, stages: Mapping[str, type], location: str) -> None:
    """Check a key of a stage's table."""
    hints = typing.get_type_hints(stages[stage])
    if name in hints:
        _check_types(name, value, [hints[name]], name_key(stage, name, location))
        return
    where = _format_prefix(location, stage)
    if owners := list(_find_owners(name, stages)):
        what = f"{where}{name} is a setting of {' and '.join(owners)}, not of {stage}."
        raise SettingsError(what, allowed=f"Allowed: {name} in {_format_tables(owners)}.", received=name)
    allowed = f"Allowed in [{stage}]: {', '.join(hints)}."
    raise SettingsError(f"{where}{stage} has no setting {name}.{_suggest(name, hints)}", allowed=allowed, received=name)


def _check_top_level_key(key: str, value: Any, stages: Mapping[str, type], location: str) -> None:
    """Check a key outside of all tables."""
    where = _format_prefix(location)
    if key in stages:
        allowed = f"Allowed: a table [{key}] with settings of its own."
        raise SettingsError(f"{where}{key} is a stage, not a setting.", allowed=allowed, received=value)
    known = {name: hint for kind in stages.values() for name, hint in typing.get_type_hints(kind).items()}
    if key not in known:
        allowed = f"Allowed: {', '.join(sorted(known))}."
        raise SettingsError(f"{where}There is no such setting.{_suggest(key, known)}", allowed=allowed, received=key)
    hints = [typing.get_type_hints(stages[owner])[key] for owner in _find_owners(key, stages)]
    _check_types(key, value, hints, name_key("", key, location))


def _reject_table(key: str, stages: Mapping[str, type], location: str) -> None:
    owners = list(_find_owners(key, stages))
    hint = f"{key} is a setting of {' and '.join(owners)}, not a table." if owners else ""
    what = f"{_format_prefix(location, key)}There is no stage {key} with settings.{_suggest(key, stages)}"
    raise SettingsError(what, allowed=f"Allowed: {_format_tables(stages)}.", received=f"[{key}]", hint=hint)


def _check_types(name: str, value: Any, hints: Sequence[Any], named: str) -> None:
    """Check that the value has the right type for at least one stage; each stage checks it again in `resolve`."""
    errors: list[SettingsError] = []
    for hint in hints:
        try:
            convert(name, value, hint)
        except SettingsError as error:
            errors.append(error)
    if len(errors) == len(hints):
        raise errors[0].name_settings(lambda _: named) from errors[0]


def _find_owners(name: str, stages: Mapping[str, type]) -> Iterator[str]:
    return (
        stage for stage, kind in stages.items() if any(declared.name == name for declared in dataclasses.fields(kind))
    )


def _format_tables(stages: Iterable[str]) -> str:
    return ", ".join(f"[{stage}]" for stage in stages)


def _format_prefix(location: str, table: str = "") -> str:
    """Return the prefix of a message about a name: `settings.toml, line 3, [train]: `."""
    parts = [location, f"[{table}]" if table else ""]
    return f"{', '.join(part for part in parts if part)}: " if any(parts) else ""


def _suggest(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), 1)
    return f" Did you mean {close[0]}?" if close else ""


def locate_key(path: Path, table: str, key: str) -> str:
    """Return the location of a table's key in a TOML file, or of the table itself: `settings.toml, line 3`.

    The line is omitted if it is not found, as for keys of inline tables.
    """
    line = _find_line(path.read_text(encoding="utf-8"), table, key)
    return f"{path}, line {line}" if line else str(path)


def _find_line(text: str, table: str, key: str) -> int | None:
    """Return the line number, from 1, of a table's key, or of the table's header if the key is empty."""
    current_table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*[\"']?([\w-]+)", line):
            current_table = header[1]
            if current_table == table and not key:
                return number
        elif current_table == table and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line):
            return number
    return None
