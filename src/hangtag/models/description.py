"""The description beside a saved model, `model.json`: what it has to hold, and what is made of it."""

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
from hangtag.models.description_schema import NOTHING, Mistake, find_mistake
from hangtag.models.label_space import LabelSpace
from hangtag.models.text import Vocabulary

# Read the files of a model's folder that somebody else may have made: whole, of a bounded size, and strictly JSON.

AGAIN = "Export or copy the model again."
# A description of a hundred thousand classes is smaller, and so is its graph.
LARGEST_TEXT = 32 << 20
# Tables and lists within each other: a description has five, and what lists it for people has no use for more.
DEEPEST = 16


def read_bytes(path: Path, most: int = LARGEST_TEXT) -> bytes:
    """Read a file whole.

    Args:
        path: The file; a folder, a device or a pipe is refused without waiting for it.
        most: The largest size, in bytes.

    Raises:
        ModelError: There is no such file, it cannot be read, or it is larger.
    """
    try:
        # Without waiting, because a pipe that nobody writes to would be waited for for ever.
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


def read_table(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds a table: UTF-8, each key once, finite numbers, not nested without end.

    Raises:
        ModelError: The file is missing, too large, or holds something else.
    """
    text = read_bytes(path)
    try:
        content = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_read_pairs,
            parse_constant=_refuse_constant,
            parse_float=_read_float,
        )
    except RecursionError as error:
        raise _refuse(path, "it is nested too deeply") from error
    except ValueError as error:  # of UTF-8 and of JSON, and of what is refused below
        raise _refuse(path, str(error).rstrip(".")) from error
    if not isinstance(content, dict):
        raise _refuse(path, "it holds no table")
    if fault := _find_fault(content):
        raise _refuse(path, fault)
    return content


def _refuse(path: Path, reason: str) -> ModelError:
    # A reason may quote the file.
    return ModelError(
        f"The description {path.name} is damaged: {escape(reason)}.",
        allowed="Allowed: a JSON table in UTF-8, each key once, with finite numbers.",
        hint=AGAIN,
        received=str(path),
    )


def escape(text: str, most: int = 120) -> str:
    """Return a text from elsewhere in a form that a terminal can show: cut, control characters as escapes."""
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:most])
    return shown if len(text) <= most else f"{shown}…"


def _read_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return table


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _read_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _find_fault(content: dict[str, Any]) -> str:
    """Return what cannot be written again as it was read, in a few words; nothing where all can. Without recursion."""
    level: list[Any] = [content]
    for _ in range(DEEPEST):
        members = [each for table in level for each in _list_members(table)]
        if not all(_is_text(each) for each in members if isinstance(each, str)):
            return "it has half a character"
        level = [each for each in members if isinstance(each, dict | list)]
        if not level:
            return ""
    return "it is nested too deeply"


def _list_members(table: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return chain(table, table.values()) if isinstance(table, dict) else table


def _is_text(text: str) -> bool:
    """Return whether a text has no half of a character, which JSON can write and UTF-8 cannot."""
    return text.isascii() or not any("\ud800" <= each <= "\udfff" for each in text)


FORMAT = 2
# What a calibration is called, by the inputs that it is for.
FITS = ("photograph", "photograph_and_name")
DESCRIPTION = "model.json"


class _Shown:
    """A value from elsewhere, for a message: cut, control characters as escapes."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "nothing" if self._value is NOTHING else escape(reprlib.repr(self._value))


@dataclass(frozen=True)
class Description:
    """The description in a model's folder, `model.json`.

    Attributes:
        content: All of `model.json`.
        outputs: What the model's heads stand for.
        vocabulary: The words of names that it knows, or None where it reads pixels alone.
        image_size: (height, width) of the photographs that it is asked about.
        network_size: (height, width) that they are shrunk to first.
        path: Its file.
    """

    content: dict[str, Any]
    outputs: LabelSpace
    vocabulary: Vocabulary | None
    image_size: tuple[int, int]
    network_size: tuple[int, int]
    path: Path

    def read(self, *keys: str) -> Any:
        """Return an entry that not every description has, by its keys from the outermost in.

        Raises:
            ModelError: It is not there.
        """
        value: Any = self.content
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            raise refuse(self.path, (".".join(keys), "Wanted: this entry.", NOTHING))
        return value


def read_description(folder: Path) -> Description:
    """Read the description of the model in a folder, and check every entry of it that is read anywhere.

    Raises:
        ModelError: There is none, or it is damaged, incomplete, contradicts itself, or is of another version.
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


def read_entries(folder: Path) -> dict[str, Any]:
    """Read the entries of a run's description for people, without a look at its model; some may be missing.

    Raises:
        ModelError: There is no description, it is damaged, or an entry is wrong.
    """
    path = folder / DESCRIPTION
    content = read_table(path)
    if mistake := find_mistake(content, may_lack=True):
        raise refuse(path, mistake)
    return content


def refuse(path: Path, mistake: Mistake) -> ModelError:
    """Return the error for an entry of a description that is wrong."""
    index, allowed, received = mistake
    what = f"The model's description is wrong at {escape(index)} in {path}."
    return ModelError(what, allowed=allowed, received=_Shown(received), hint=AGAIN)


def _check_format(path: Path, content: Mapping[str, Any]) -> None:
    found = content.get("format")
    if type(found) is int and found != FORMAT:
        raise ModelError(
            "The model's description is not one that this version reads.",
            allowed=f"Allowed: format {FORMAT}.",
            received=found,
            hint=f"Train or export the model again: {path}.",
        )


def _find_contradictions(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """List the entries that are right by themselves and do not fit the others."""
    described = content["label_space"]
    levels, attributes = described["levels"], described["attributes"]
    sizes = [len(names) for names in levels.values()]
    for number, product in enumerate(described["category_paths"]):
        if len(product) != len(sizes) or any(index >= size for index, size in zip(product, sizes, strict=True)):
            allowed = f"Allowed: for each of {len(sizes)} levels the index of one of its classes, or -1."
            yield f"label_space.category_paths.{number}", allowed, product
    if len({tuple(product) for product in described["category_paths"]}) < len(described["category_paths"]):
        yield "label_space.category_paths", "Allowed: products that differ from each other.", "the same one twice"
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
    """List the entries by head that name other heads than there are, or have another size."""
    allowed = f"Allowed: {escape(', '.join(heads))}."
    calibration = content.get("calibration", {})
    told = {f"{key}.temperatures": calibration[key]["temperatures"] for key in FITS if key in calibration}
    if calibration.get("name_weight"):
        told["name_weight"] = calibration["name_weight"]
    for index, by_head in told.items():
        if by_head.keys() != heads.keys():
            yield f"calibration.{index}", allowed, list(by_head)
    counts = content.get("train_counts")
    if counts and counts.keys() != heads.keys():
        yield "train_counts", allowed, list(counts)
    for head, found in (counts or {}).items():
        if len(found) != heads.get(head):
            yield f"train_counts.{head}", f"Allowed: {heads.get(head)} numbers, one a class.", len(found)
