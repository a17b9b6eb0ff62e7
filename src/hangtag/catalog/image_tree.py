"""Read a tree of photographs in which the folders are the categories."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from hangtag.catalog.category_paths import fill_levels
from hangtag.catalog.images import PICTURE_SUFFIXES, SUFFIXES
from hangtag.catalog.schema import CatalogSchema
from hangtag.catalog.source import Source
from hangtag.errors import CatalogError

MAX_LEVELS = 50
# The label rules of a tree with branches of several depths: the label is the finest folder that is there.
UNEVEN_TAXONOMY = "folders"
# A folder that holds everything is passed over although photographs lie in it beside the categories, if they are few.
STRAY_SHARE = 0.1
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "dev": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# What is written beside these words: `test1`, `training_set`, `train-images`.
SPLIT_ADDITIONS = frozenset({"", "set", "data", "images"})
# Folders that a NAS, an operating system or an archive program makes for itself; in lower case.
SYSTEM_FOLDERS = frozenset(
    {
        "@eadir",
        "@recycle",
        "@sharebin",
        "@tmp",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "__macosx",
    }
)
Folders = tuple[str, ...]
PassedOver = tuple[str, str, str]


@dataclass(frozen=True)
class ImageTree:
    """The photographs of a tree.

    Attributes:
        rows: A row a photograph: its id, path and label levels, empty where it lies in fewer folders, and its split.
        schema: What the columns mean.
        skipped_folders: The folders and files that are no rows, as (path, code, reason).
    """

    rows: list[dict[str, str]]
    schema: CatalogSchema
    skipped_folders: list[PassedOver]


def read_tree(source: Source, values: Mapping[str, object]) -> ImageTree:
    """Read a row for each photograph: its path, its folders as label levels, and its split folder if any.

    Folders above the categories that hold everything are passed over; `train/`, `validation/` and `test/` (and
    their usual other spellings) are honoured as splits where every photograph in a folder lies in one and more than
    one has categories, or where all of them are inside the folders of the categories.

    One folder deep gives the level `category`, deeper trees give `level_1`, `level_2`, ... as deep
    as the deepest branch goes; see `fill_levels` for photographs in fewer folders. One in no folder has empty cells.

    Args:
        source: The files.
        values: Entries of the catalogue's description that stand over what is found.

    Raises:
        CatalogError: There are no photographs in folders, or all lie in too many of them.
    """
    names = sorted(source.names())
    pictures, skipped_folders = _separate_pictures(names)
    skipped_folders = [(path, error.code, error.reason) for path, error in source.skipped_folders()] + skipped_folders
    splits, classes = _read_folders([PurePosixPath(path).parts[:-1] for path in pictures])
    kept = [row for row, folders in enumerate(classes) if len(folders) <= MAX_LEVELS]
    reason = f"the photograph lies in more than {MAX_LEVELS} folders, one in the other"
    deep = [
        (pictures[row], "too_many_folders", reason) for row in range(len(pictures)) if len(classes[row]) > MAX_LEVELS
    ]
    depth = max((len(classes[row]) for row in kept), default=0)
    if depth == 0:
        raise _make_error(source, deep)
    levels = ["category"] if depth == 1 else [f"level_{number + 1}" for number in range(depth)]
    rows = []
    filled = fill_levels([tuple(map(_compose, classes[index])) for index in kept], depth)
    for index, cells in zip(kept, filled, strict=True):
        path = pictures[index]
        row = {"id": str(PurePosixPath(path).with_suffix("")), "path": path, **dict(zip(levels, cells, strict=True))}
        rows.append(row | ({"given": splits[index]} if splits else {}))
    is_uneven = any(cells[0] and not cells[-1] for cells in filled)
    described: dict[str, object] = {
        "levels": levels,
        "image_column": "path",
        "split": "given" if splits else None,
        "taxonomy": UNEVEN_TAXONOMY if is_uneven else "",
    }
    schema = CatalogSchema.from_values(described | dict(values))
    return ImageTree(_name_apart(rows), schema.with_columns(tuple(rows[0])), skipped_folders + deep)


def _make_error(source: Source, deep: Sequence[PassedOver]) -> CatalogError:
    if deep:
        return CatalogError(
            "The folders of photographs are nested too deeply.",
            allowed=f"Allowed: {MAX_LEVELS} levels.",
            received=deep[0][0][:200],
        )
    return CatalogError(
        "The catalogue has no table, and its photographs are not sorted into folders by category.",
        allowed="Allowed: styles.csv with images/, a table described in catalog.toml, or a folder a category.",
        received=str(source.path),
    )


def _separate_pictures(names: Sequence[str]) -> tuple[list[str], list[PassedOver]]:
    """Return the pictures, and a line for each kind of file that is none, with their number."""
    pictures: list[str] = []
    system: dict[str, list[str]] = defaultdict(list)
    others: dict[str, list[str]] = defaultdict(list)
    for name in names:
        *folders, file = PurePosixPath(name).parts
        own = next((folder for folder in folders if folder.lower() in SYSTEM_FOLDERS), None)
        suffix = PurePosixPath(file).suffix.lower().strip()
        if own is not None:
            system[own].append(name)
        elif suffix in PICTURE_SUFFIXES:
            pictures.append(name)
        else:
            others[suffix].append(name)
    lines = [
        (found[0], "not_used", f"in folders called {folder}, which a system keeps for itself: {_count_files(found)}")
        for folder, found in system.items()
    ]
    for suffix, found in others.items():
        kind = f"of the kind {suffix}" if suffix else "without an ending"
        lines.append((found[0], "not_used", f"no photograph by its name: {_count_files(found)} {kind}"))
    return pictures, lines


def _count_files(found: Sequence[str]) -> str:
    return "1 file" if len(found) == 1 else f"{len(found):,} files, of which this is the first,"


def _read_folders(folders: Sequence[Folders]) -> tuple[list[str], list[Folders]]:
    """Return the split of each photograph, none where there are no splits, and its folders that are categories."""
    stripped = _strip_common(folders)
    found = [find_split(each[0]) if each else None for each in stripped]
    if not any(found) or any(each and not split for each, split in zip(stripped, found, strict=True)):
        return _read_inner_splits(stripped)
    classes = _strip_common([_leave_split(each) for each in stripped])
    splits = [split or "" for split in found]
    # A test split without categories, as of a competition, leaves only one that can be learnt from: no split at all.
    judged = {split for split, each in zip(splits, classes, strict=True) if split and each}
    return (splits if len(judged) > 1 else []), classes


def _read_inner_splits(folders: Sequence[Folders]) -> tuple[list[str], list[Folders]]:
    """Return the splits and the categories of photographs whose splits are folders inside those of the categories.

    They are splits only if every photograph in a folder lies in one, at the same depth from the top or from its own
    end, and there are two or more: a category may be called `Training`.
    """
    depth = min((len(each) for each in folders if each), default=0)
    for place in (-1, *range(1, depth)):
        splits = [find_split(each[place]) if each else "" for each in folders]
        if depth > 1 and None not in splits and len(set(filter(None, splits))) > 1:
            classes = [(*each[:place], *each[place:][1:]) if each else each for each in folders]
            return [split or "" for split in splits], classes
    return [], list(folders)


def find_split(folder: str) -> str | None:
    """Return the split that a folder's name stands for, or None."""
    if found := SPLIT_FOLDERS.get(folder.lower()):
        return found
    first, *more = re.split(r"[\W\d_]+", folder.lower())
    return SPLIT_FOLDERS.get(first) if SPLIT_ADDITIONS.issuperset(more) else None


def _leave_split(folders: Folders) -> Folders:
    """Remove a split folder, and one of the same name in it, as unpacking an archive makes them."""
    return folders[2:] if folders[:1] == folders[1:2] else folders[1:]


def _strip_common(folders: Sequence[Folders]) -> list[Folders]:
    """Remove leading folders that all photographs share, as a .zip of one folder has, but for a few beside them."""
    start = 0
    while True:
        firsts = Counter(each[start] for each in folders if len(each) > start)
        direct = sum(1 for each in folders if len(each) == start + 1)
        total = firsts.total()
        if len(firsts) != 1 or direct == total or direct > STRAY_SHARE * total:
            return [each[start:] for each in folders]
        start += 1


def _compose(folder: str) -> str:
    """Return a category's name with its accents as one letter each: a Mac takes them apart, other systems do not."""
    return unicodedata.normalize("NFC", folder)


def _name_apart(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Keep the ending in the id where `a.jpg` and `a.png` lie side by side; a kind that is not read comes last."""
    seen: set[str] = set()
    for row in _put_readable_first(rows):
        if row["id"] in seen:
            row["id"] = row["path"]
        seen.add(row["id"])
    return rows


def _put_readable_first(rows: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    yield from sorted(rows, key=lambda row: PurePosixPath(row["path"]).suffix.lower().strip() not in SUFFIXES)
