"""Read and check `model.json`, the description of a saved model.

A model may come from anywhere, so its files are read with a size limit and as strict JSON, and every entry is checked
before it is used.
"""

import json
import math
import os
import reprlib
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from hangtag.errors import ModelError
from hangtag.io import JsonObject
from hangtag.models.description_schema import NOTHING, Mistake, find_mistake
from hangtag.models.label_space import LabelSpace
from hangtag.models.text import Vocabulary

DESCRIPTION = "model.json"
FORMAT = 2
# The entries of `calibration`, named after the inputs that they apply to.
FITS = ("photograph", "photograph_and_name")
AGAIN = "Export or copy the model again."
# In bytes; enough for 100,000 classes.
LARGEST_TEXT = 32 << 20
# The deepest nesting of objects and arrays; a description has five levels.
DEEPEST = 16


def read_bytes(path: Path, most: int = LARGEST_TEXT) -> bytes:
    """Read the content of a file of limited size.

    Args:
        path: The path, which must be a regular file.
        most: The largest size, in bytes.

    Raises:
        ModelError: There is no such file, it cannot be read, it is larger, or it is a folder, a device or a pipe.
    """
    try:
        # O_NONBLOCK, because opening a pipe without a writer would otherwise block for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ModelError(f"{path.name} is no file.", hint=AGAIN, received=str(path))
            content = file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"{path.name} cannot be read: {reason}.", hint=AGAIN, received=str(path)) from error
    if len(content) > most:
        raise ModelError(f"{path.name} is too large.", allowed=f"Allowed: {most:,} bytes.", received=str(path))
    return content


def read_table(path: Path) -> JsonObject:
    """Read a strict JSON object: UTF-8, no duplicate keys, finite numbers, nested at most `DEEPEST` levels.

    Raises:
        ModelError: The file is missing or too large, or its content is something else.
    """
    text = read_bytes(path)
    try:
        content = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_parse_object,
            parse_constant=_refuse_constant,
            parse_float=_parse_float,
        )
    except RecursionError as error:
        raise _make_read_error(path, "it is nested too deeply") from error
    except ValueError as error:  # invalid UTF-8 or JSON, or refused by one of the hooks
        raise _make_read_error(path, str(error).rstrip(".")) from error
    if not isinstance(content, dict):
        raise _make_read_error(path, "it holds no table")
    if fault := _find_fault(content):
        raise _make_read_error(path, fault)
    return content


def _make_read_error(path: Path, reason: str) -> ModelError:
    # The reason is escaped, because it may quote the file.
    return ModelError(
        f"The description {path.name} is damaged: {escape(reason)}.",
        allowed="Allowed: a JSON object in UTF-8, each key once, with finite numbers.",
        hint=AGAIN,
        received=str(path),
    )


def escape(text: str, most: int = 120) -> str:
    """Return an untrusted text for a message: truncated, with control characters escaped."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:most])
    return shown if len(text) <= most else f"{shown}…"


def _parse_object(pairs: list[tuple[str, Any]]) -> JsonObject:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return table


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _find_fault(content: JsonObject) -> str:
    """Return why a content could not be written as JSON again, in a few words; an empty text if it could.

    The levels are searched one after another, because recursion would fail on a deeply nested file.
    """
    level: list[Any] = [content]
    for _ in range(DEEPEST):
        members = [member for container in level for member in _list_members(container)]
        if not all(_is_text(member) for member in members if isinstance(member, str)):
            return "it has half a character"
        level = [member for member in members if isinstance(member, dict | list)]
        if not level:
            return ""
    return "it is nested too deeply"


def _list_members(container: JsonObject | list[Any]) -> Iterable[Any]:
    return chain(container, container.values()) if isinstance(container, dict) else container


def _is_text(text: str) -> bool:
    """Return whether a text has no surrogate (half a character), which JSON can represent and UTF-8 cannot."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


class _UntrustedValue:
    """An untrusted value for a message: truncated, with control characters escaped."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "nothing" if self._value is NOTHING else escape(reprlib.repr(self._value))


@dataclass(frozen=True)
class Description:
    """The checked description of a model.

    Attributes:
        content: The content of `model.json`.
        label_space: The label space of the model's heads.
        vocabulary: The vocabulary of product names, or None for a model that reads images alone.
        image_size: (height, width) of the photographs.
        network_size: (height, width) that photographs are resized to before the network.
        path: The path of `model.json`.
    """

    content: JsonObject
    label_space: LabelSpace
    vocabulary: Vocabulary | None
    image_size: tuple[int, int]
    network_size: tuple[int, int]
    path: Path

    def read(self, *keys: str) -> Any:
        """Return an optional entry.

        Args:
            *keys: The keys of nested objects that lead to the entry.

        Raises:
            ModelError: The entry is missing.
        """
        value: Any = self.content
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            raise refuse(self.path, (".".join(keys), "Wanted: this entry.", NOTHING))
        return value


def read_description(folder: Path) -> Description:
    """Read the description of the model in a folder, and check every entry that hangtag uses.

    Raises:
        ModelError: There is no description, or it is damaged, incomplete, contradictory, or of another format version.
    """
    path = folder / DESCRIPTION
    if not path.exists():
        raise ModelError("There is no model in this folder.", allowed=f"Wanted: {DESCRIPTION}.", received=str(folder))
    content = read_table(path)
    _check_format(path, content)
    mistake = find_mistake(content) or next(_find_contradictions(content), None)
    if mistake:
        raise refuse(path, mistake)
    words = content["words"]
    height, width = content["image_size"]
    network_height, network_width = content.get("network_size", (height, width))
    return Description(
        content,
        LabelSpace.from_json(content["label_space"]),
        None if words is None else Vocabulary(tuple(words)),
        (height, width),
        (network_height, network_width),
        path,
    )


def read_entries(folder: Path) -> JsonObject:
    """Read the description of a run without its model, for display. Entries may be missing.

    Raises:
        ModelError: There is no description, it is damaged, or an entry is wrong.
    """
    path = folder / DESCRIPTION
    content = read_table(path)
    if mistake := find_mistake(content, may_lack=True):
        raise refuse(path, mistake)
    return content


def refuse(path: Path, mistake: Mistake) -> ModelError:
    """Return the error for a wrong entry of a description."""
    entry, allowed, received = mistake
    what = f"The model's description is wrong at {escape(entry)} in {path}."
    return ModelError(what, allowed=allowed, received=_UntrustedValue(received), hint=AGAIN)


def _check_format(path: Path, content: Mapping[str, Any]) -> None:
    version = content.get("format")
    if type(version) is int and version != FORMAT:
        raise ModelError(
            "The model's description is not one that this version reads.",
            allowed=f"Allowed: format {FORMAT}.",
            received=version,
            hint=f"Train or export the model again: {path}.",
        )


def _find_contradictions(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield the entries that are valid on their own and contradict other entries."""
    described = content["label_space"]
    levels, attributes = described["levels"], described["attributes"]
    sizes = [len(names) for names in levels.values()]
    for number, path in enumerate(described["category_paths"]):
        if len(path) != len(sizes) or any(index >= size for index, size in zip(path, sizes, strict=True)):
            allowed = f"Allowed: for each of {len(sizes)} levels the index of one of its classes, or -1."
            yield f"label_space.category_paths.{number}", allowed, path
    if len({tuple(path) for path in described["category_paths"]}) < len(described["category_paths"]):
        yield "label_space.category_paths", "Allowed: category paths without duplicates.", "the same one twice"
    if common := levels.keys() & attributes.keys():
        yield "label_space.attributes", "Allowed: columns that are not levels.", sorted(common)
    if described["primary"] not in levels:
        yield "label_space.primary", f"Allowed: {escape(', '.join(levels))}.", described["primary"]
    elif levels[described["primary"]] != content["class_names"]:
        yield "class_names", "Allowed: the classes of the level that label_space.primary names.", content["class_names"]
    else:
        yield from _find_other_heads(content, LabelSpace.from_json(described).heads)
    if "network" not in content and "weights" not in content:
        yield "weights", "Wanted: this entry, or network.", NOTHING


def _find_other_heads(content: Mapping[str, Any], heads: Mapping[str, int]) -> Iterator[Mistake]:
    """Yield the entries by head that name other heads than the label space has, or have another size."""
    allowed = f"Allowed: {escape(', '.join(heads))}."
    calibration = content.get("calibration", {})
    entries = {f"{key}.temperatures": calibration[key]["temperatures"] for key in FITS if key in calibration}
    if calibration.get("name_weight"):
        entries["name_weight"] = calibration["name_weight"]
    for entry, by_head in entries.items():
        if by_head.keys() != heads.keys():
            yield f"calibration.{entry}", allowed, list(by_head)
    counts = content.get("train_counts")
    if counts and counts.keys() != heads.keys():
        yield "train_counts", allowed, list(counts)
    for head, class_counts in (counts or {}).items():
        if len(class_counts) != heads.get(head):
            yield f"train_counts.{head}", f"Allowed: {heads.get(head)} numbers, one a class.", len(class_counts)
