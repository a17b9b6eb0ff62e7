"""Read a tree of photographs in which the folders are the categories."""

from collections.abc import Mapping
from itertools import takewhile
from pathlib import PurePosixPath

from hangtag.catalog.schema import CatalogSchema
from hangtag.catalog.source import Source
from hangtag.errors import CatalogError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MAX_LEVELS = 50
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def read_tree(source: Source, values: Mapping[str, object]) -> tuple[list[dict[str, str]], CatalogSchema]:
    """Give a row for each photograph: its path, its folders as label levels, and its split folder if any.

    Folders above the categories that hold everything are passed over; `train/`, `validation/` and `test/` (and
    their usual other spellings) are honoured as splits where every photograph lies in one. One folder deep
    gives the level `category`, deeper trees give `level_1`, `level_2`, ... as far as all photographs go.

    Raises:
        CatalogError: There are no photographs in folders, or they lie in too many of them.
    """
    paths = sorted(name for name in source.names() if PurePosixPath(name).suffix.lower() in SUFFIXES)
    folders = _strip_common([PurePosixPath(path).parts[:-1] for path in paths])
    has_splits = bool(folders) and all(each and each[0].lower() in SPLIT_FOLDERS for each in folders)
    classes = [each[1:] if has_splits else each for each in folders]
    depth = min(map(len, classes), default=0)
    if depth == 0:
        raise CatalogError(
            "The catalogue has no table, and its photographs are not sorted into folders by category.",
            allowed="Allowed: styles.csv with images/, a table described in catalog.toml, or a folder a category.",
            received=str(source.path),
        )
    if depth > MAX_LEVELS:
        raise CatalogError(
            "The photographs lie in too many folders, one in the other.",
            allowed=f"Allowed: {MAX_LEVELS} levels.",
            received=depth,
        )
    levels = ["category"] if depth == 1 else [f"level_{number + 1}" for number in range(depth)]
    rows = []
    for path, folder, names in zip(paths, folders, classes, strict=True):
        row = {"id": str(PurePosixPath(path).with_suffix("")), "path": path}
        row |= dict(zip(levels, names, strict=False))
        rows.append(row | ({"given": SPLIT_FOLDERS[folder[0].lower()]} if has_splits else {}))
    described: dict[str, object] = {
        "levels": levels,
        "image_column": "path",
        "split": "given" if has_splits else None,
    }
    schema = CatalogSchema.from_values(described | dict(values))
    return _name_apart(rows), schema.with_columns(tuple(rows[0]))


def _strip_common(folders: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Drop leading folders that all photographs share, as a .zip of one folder has."""
    if not folders:
        return folders
    # What the first and the last in order share, all between them share.
    ends = zip(min(folders), max(folders), strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends))
    passed = max(0, min(shared, min(map(len, folders)) - 1))
    return [each[passed:] for each in folders]


def _name_apart(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Keep the ending in the id where `a.jpg` and `a.png` lie side by side."""
    seen: set[str] = set()
    for row in rows:
        if row["id"] in seen:
            row["id"] = row["path"]
        seen.add(row["id"])
    return rows
