"""Category paths, such as `Apparel > Tops > Shirts`: split them into levels, and write a changed one back."""

import json
import re
from collections.abc import Mapping, Sequence

from hangtag.catalog.schema import CatalogSchema

Path = tuple[str, ...]
# What stands between the names of a path that is a list, as messages write it.
LIST_SEPARATOR = ">"


def read_list(cell: str) -> list[str] | None:
    """Return the texts of a JSON list, as which tables of JSON hold several values; None of any other cell."""
    if not cell.startswith("["):
        return None
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(part, str) for part in found) else None


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

    Its parent categories, where the cell lists them too, become those of the new path. Other paths and all white space
    stay.

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
    old = _split_parts(paths[chosen], schema)
    style = next((each for each in (*paths, example) if schema.level_separator in each), schema.level_separator)
    changed = []
    for index, text in enumerate(paths):
        parts = _split_parts(text, schema)
        is_parent = bool(parts) and parts == old[: len(parts)]
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


def _write_path(text: str, path: Path, schema: CatalogSchema, style: str) -> str:
    """Return a path with the white space that a text has at its ends, and another one around its separators."""
    first, _, rest = style.partition(schema.level_separator)
    before, behind = first[len(first.rstrip()) :], rest[: len(rest) - len(rest.lstrip())]
    start = text[: len(text) - len(text.lstrip())]
    end = text[len(text.rstrip()) :] if text.strip() else ""
    separators = [schema.level_separator, *filter(None, [schema.category_separator])]
    names = [_replace_all(name, {mark: f"\\{mark}" for mark in separators}) for name in path]
    return start + f"{before}{schema.level_separator}{behind}".join(names) + end
