"""Settings: frozen dataclasses, one a stage, built from layers of values (presets, TOML, flags), checked and written.

A dataclass derives from `Settings` and declares each field with `setting`, which holds the default, the help text and
the range of allowed values.
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
TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class Bounds:
    """The allowed values of a setting; every part that is None or empty allows anything.

    Attributes:
        low: The smallest value allowed; for a tuple, of each of its parts.
        high: The largest value allowed.
        above: A value that must be exceeded.
        below: A value that must not be reached.
        is_valid: A further check of the whole value.
        must_be: What is allowed, in words; by default made of the numbers.
    """

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    is_valid: Callable[[Any], bool] = lambda _: True
    must_be: str = ""

    def contains(self, value: Any) -> bool:
        """Return whether a value is allowed; NaN is not where there is a bound."""
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
    default: Any,
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
) -> Any:
    """Declare a setting.

    Args:
        default: Its default.
        help_text: The sentence that `--help` shows.
        low: The smallest value allowed; this and the following are those of `Bounds`.
        high: The largest value allowed.
        above: A value that must be exceeded.
        below: A value that must not be reached.
        is_valid: A further check of the value.
        must_be: What is allowed, in words.
        metavar: What `--help` shows for the value, where its type does not say it.
        group: The heading in `--help` that its flag stands under.
    """
    bounds = Bounds(low, high, above, below, is_valid, must_be)
    metadata = {"help": help_text, "bounds": bounds, "metavar": metavar, "group": group}
    return field(default=default, metadata=metadata)


class Settings:
    """Base of a stage's settings: checks every field against its bounds."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SettingsError: A value is out of its bounds.
        """
        for each in dataclasses.fields(self):  # type: ignore[arg-type]
            bounds, value = each.metadata["bounds"], getattr(self, each.name)
            require(bounds.contains(value), f"{{{each.name}}} must be {bounds}.", value, [each.name])


def require(holds: bool, what: str, received: object, settings: Sequence[str]) -> None:
    """Check a condition on settings.

    Raises:
        SettingsError: It does not hold; `what` and `settings` are those of the error.
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
    """Return the stage that a dataclass has the settings of: `train` for `TrainConfig`."""
    return kind.__name__.removesuffix("Config").lower()


def name_flag(name: str) -> str:
    """Return a setting's flag: `--batch-size` for `batch_size`."""
    return f"--{name.replace('_', '-')}"


def name_key(table: str, key: str, location: str) -> str:
    """Return how a message names a key of a settings file: `[train] epochs in settings.toml, line 3`."""
    named = f"[{table}] {key}" if table else key
    return f"{named} in {location}" if location else named


def select_settings(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer's values for one stage: the keys above all tables, overridden by those of the stage's table."""
    names = {each.name for each in dataclasses.fields(kind)}
    above = {key: value for key, value in values.items() if key in names}
    table = values.get(name_stage(kind))
    own = table if isinstance(table, Mapping) else {}
    return above | {key: value for key, value in own.items() if key in names}


def lay_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two layers of values into one; a key above all tables in `above` overrides the tables of `below` too."""
    tables = {key: value for key, value in above.items() if isinstance(value, Mapping)}
    plain = {key: value for key, value in above.items() if key not in tables}
    laid: dict[str, Any] = {}
    for key, value in below.items():
        is_table = isinstance(value, Mapping)
        laid[key] = {name: own for name, own in value.items() if name not in plain} if is_table else value
    laid |= plain
    return laid | {stage: {**laid.get(stage, {}), **table} for stage, table in tables.items()}


def resolve(kind: type[Config], *layers: Mapping[str, Any]) -> Config:
    """Build a stage's settings from layers of values; later layers override earlier ones.

    Within a layer the stage's table overrides the keys above all tables. Keys and tables of other stages are ignored,
    so one file can serve the whole chain; `check_settings` finds a name that no stage has.

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
    """Parse `80x60` as (height, width).

    Raises:
        SettingsError: The text is not two whole numbers around an `x`.
    """
    height, cross, width = text.lower().partition("x")
    if not (cross and height.strip().isdecimal() and width.strip().isdecimal()):
        what = "{image_size} must be HEIGHTxWIDTH, as in 80x60."
        raise SettingsError(what, received=text, settings=["image_size"])
    return int(height), int(width)


def convert(name: str, value: Any, hint: Any) -> Any:
    """Return `value` as the setting's type: text is split and parsed, and a whole number becomes a float.

    Raises:
        SettingsError: The value is of another type.
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
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        lines.append(f"{each.name} = {_format_toml_value(value)}")
    return "\n".join(lines) + "\n"


def _format_toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(_format_toml_value(each) for each in value)}]"
    if isinstance(value, str):
        # JSON's strings are TOML's, but for this one character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def check_settings(values: Mapping[str, Any], kinds: Sequence[type], locate: Callable[[str, str], str]) -> None:
    """Check that every name is a setting, stands in its stage's table or above all tables, and has its type.

    Args:
        values: Keys for every stage that has them, and tables named like stages.
        kinds: The stages' dataclasses.
        locate: Returns the file and line of a table's key, or ""; the table is "" for keys above all tables, and the
            key is "" for the table itself.

    Raises:
        SettingsError: A name is unknown or in another stage's table, or a value is of the wrong type.
    """
    stages = {name_stage(kind): kind for kind in kinds}
    for key, value in values.items():
        if isinstance(value, Mapping) and key in stages:
            for name, own in value.items():
                _check_own_key(key, name, own, stages, locate(key, name))
        elif isinstance(value, Mapping):
            _refuse_table(key, stages, locate(key, ""))
        else:
            _check_common_key(key, value, stages, locate("", key))


def _check_own_key(stage: str, name: str, value: Any, stages: Mapping[str, type], location: str) -> None:
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


def _check_common_key(key: str, value: Any, stages: Mapping[str, type], location: str) -> None:
    """Check a key above all tables."""
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


def _refuse_table(key: str, stages: Mapping[str, type], location: str) -> None:
    owners = list(_find_owners(key, stages))
    hint = f"{key} is a setting of {' and '.join(owners)}, not a table." if owners else ""
    what = f"{_format_prefix(location, key)}There is no stage {key} with settings.{_suggest(key, stages)}"
    raise SettingsError(what, allowed=f"Allowed: {_format_tables(stages)}.", received=f"[{key}]", hint=hint)


def _check_types(name: str, value: Any, hints: Sequence[Any], named: str) -> None:
    """Check that at least one stage can take the value; each stage checks it again when its settings are built."""
    errors: list[SettingsError] = []
    for hint in hints:
        try:
            convert(name, value, hint)
        except SettingsError as error:
            errors.append(error)
    if len(errors) == len(hints):
        raise errors[0].name_settings(lambda _: named) from errors[0]


def _find_owners(name: str, stages: Mapping[str, type]) -> Iterator[str]:
    return (stage for stage, kind in stages.items() if any(each.name == name for each in dataclasses.fields(kind)))


def _format_tables(stages: Iterable[str]) -> str:
    return ", ".join(f"[{stage}]" for stage in stages)


def _format_prefix(location: str, table: str = "") -> str:
    """Return how a message about a name begins: `settings.toml, line 3, [train]: `."""
    parts = [location, f"[{table}]" if table else ""]
    return f"{', '.join(part for part in parts if part)}: " if any(parts) else ""


def _suggest(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), 1)
    return f" Did you mean {close[0]}?" if close else ""


def locate_key(path: Path, table: str, key: str) -> str:
    """Return where a TOML file has a key of a table, or the table itself: `settings.toml, line 3`.

    The line is left out where it is not found, as for keys of inline tables.
    """
    line = _find_line(path.read_text(encoding="utf-8"), table, key)
    return f"{path}, line {line}" if line else str(path)


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
