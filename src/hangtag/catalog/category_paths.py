"""Category paths, such as `Apparel > Tops > Shirts`: split them into levels, and write a changed one back."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from hangtag.catalog.cell_text import read_list
from hangtag.catalog.schema import CatalogSchema

Path = tuple[str, ...]
# What stands between the names of a path that is a list, as messages write it.
LIST_SEPARATOR = ">"


def fill_levels(paths: Sequence[Path], depth: int) -> list[Path]:
    """Return paths of one length.

    A category without subcategories stands for itself at the levels below it, so that it is a class there. The levels
    below any other category are empty: which of its subcategories the item belongs to is missing.

    Args:
        paths: The parts of each path; none where an item has no category.
        depth: The length of the longest path.
    """
    with_subcategories = {path[:length] for path in set(paths) for length in range(1, len(path))}
    filled = {
        path: path + ((path[-1] if path and path not in with_subcategories else ""),) * (depth - len(path))
        for path in set(paths)
    }
    return [filled[path] for path in paths]


def split_path(cell: str, schema: CatalogSchema) -> Path:
    """Return the parts of a cell's category path: of several paths, the one that counts."""
    if (parts := read_list(cell)) is not None:
        return tuple(stripped for part in parts if (stripped := part.strip()))
    paths = _list_paths(cell, schema)
    return _split_parts(paths[_choose_path(paths, schema)], schema)


def change_path(cell: str, schema: CatalogSchema, path: Path, example: str = "") -> str:
    """Return a cell with another path in the place of the one that counts.

    Only the names that differ are replaced: other paths, white space, and separators at the ends or doubled stay. The
    path's parent categories, where the cell lists them too and no other path needs them, become those of the new path.

    Args:
        cell: The cell.
        schema: What its columns mean.
        path: The parts of the new path.
        example: A path of the same table, for the white space around separators where the cell has none.
    """
    written = cell if cell.strip() else example
    if read_list(written) is not None:
        marks = (", " if ", " in written or "," not in written else ",", ":")
        return json.dumps(path, ensure_ascii=written.isascii(), separators=marks)
    paths = _list_paths(cell, schema)
    chosen = _choose_path(paths, schema)
    split = [_split_parts(text, schema) for text in paths]
    old = split[chosen]
    gaps = (_find_gap(text, schema) for text in (*paths, example))
    style = next(filter(None, gaps), schema.level_separator)
    others = [parts for index, parts in enumerate(split) if index != chosen and parts != old[: len(parts)]]
    changed = []
    for text, parts, index in zip(paths, split, range(len(paths)), strict=True):
        is_parent = (
            bool(parts) and parts == old[: len(parts)] and not any(each[: len(parts)] == parts for each in others)
        )
        new = path if index == chosen else path[: len(parts)] if is_parent else None
        changed.append(text if new is None else _write_path(text, new, schema, style))
    return (schema.category_separator or "").join(changed)


def _list_paths(cell: str, schema: CatalogSchema) -> list[str]:
    return _split_unescaped(cell, schema.category_separator) if schema.category_separator else [cell]


def _split_unescaped(text: str, separator: str) -> list[str]:
    """Split a text at separators that have no backslash before them: shops write one before those in a name."""
    return re.split(rf"(?<!\\){re.escape(separator)}", text)


def _choose_path(paths: Sequence[str], schema: CatalogSchema) -> int:
    """Return which path counts: the first with the most parts, or the first that is not blank."""
    if schema.category == "deepest":
        return max(range(len(paths)), key=lambda index: len(_split_parts(paths[index], schema)))
    return next((index for index, path in enumerate(paths) if path.strip()), 0)


def _split_parts(path: str, schema: CatalogSchema) -> Path:
    parts = map(str.strip, _split_unescaped(path, schema.level_separator))
    separators = [schema.level_separator, *filter(None, [schema.category_separator])]
    return tuple(_replace_all(part, {f"\\{mark}": mark for mark in separators}) for part in parts if part)


def _replace_all(text: str, replaced: Mapping[str, str]) -> str:
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text


def _locate_parts(text: str, schema: CatalogSchema) -> list[tuple[int, int]]:
    """Return where each name of a path stands, without white space around it."""
    spans, start = [], 0
    for piece in _split_unescaped(text, schema.level_separator):
        if name := piece.strip():
            first = start + piece.index(name)
            spans.append((first, first + len(name)))
        start += len(piece) + len(schema.level_separator)
    return spans


def _find_gap(text: str, schema: CatalogSchema) -> str:
    """Return a path's separator with the white space around it; empty where it stands between no two names."""
    spans = _locate_parts(text, schema)
    gaps = [text[before[1] : behind[0]] for before, behind in pairwise(spans)]
    return next((gap for gap in gaps if gap.count(schema.level_separator) == 1), "")


def _write_path(text: str, path: Path, schema: CatalogSchema, style: str) -> str:
    """Return a path's text with other names; further ones are joined to the last by the separator `style`."""
    marks = {mark: f"\\{mark}" for mark in (schema.level_separator, schema.category_separator) if mark}
    names = [_replace_all(name, marks) for name in path]
    spans = _locate_parts(text, schema)
    if not spans or not names:
        start = text[: len(text) - len(text.lstrip())]
        end = text[len(text.rstrip()) :] if text.strip() else ""
        return start + style.join(names) + end
    old = _split_parts(text, schema)
    kept = [
        text[first:last] if before == after else name
        for (first, last), before, after, name in zip(spans, old, path, names, strict=False)
    ]
    gaps = [text[before[1] : behind[0]] for before, behind in pairwise(spans)][: len(kept) - 1]
    written = kept[0] + "".join(gap + name for gap, name in zip(gaps, kept[1:], strict=True))
    more = "".join(style + name for name in names[len(kept) :])
    return text[: spans[0][0]] + written + more + text[spans[-1][1] :]
