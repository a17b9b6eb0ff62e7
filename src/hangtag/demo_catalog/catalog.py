"""Write a small synthetic catalogue with the defects of a real one.

The rows are generated, defects are planted in them, and the photographs are drawn, some of them damaged on purpose.
`defects.csv` lists which item has which defect.
"""

import dataclasses
import io
import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps

from hangtag.demo_catalog.drawing import HEIGHT, WIDTH, Canvas
from hangtag.demo_catalog.rows import CAPSTONE_COLUMNS, DemoItem, make_rows
from hangtag.demo_catalog.shapes import SILHOUETTES
from hangtag.errors import CatalogError, SettingsError
from hangtag.io import write_text

# Width x height: unusual sizes of the real catalogue, and a larger one.
ODD_SIZES = ((53, 80), (54, 80), (60, 60), (60, 76), (60, 79), (120, 160))
NO_IMAGE = b"<html><body>404: this photograph has moved</body></html>\n"
START_OF_FRAME = b"\xff\xc0"
# The number of items for each defect of the photograph.
PHOTOGRAPH_DEFECTS = {
    "no photograph": 3,
    "grayscale": 8,
    "odd size": 6,
    "all white": 1,
    "truncated": 1,
    "empty file": 1,
    "not an image": 1,
    "too many pixels": 1,
}
MISSING_VALUES = (
    ("baseColour", "NA"),
    ("usage", "NA"),
    ("productDisplayName", "NA"),
    ("season", ""),
    ("usage", ""),
    ("year", ""),
)
COMMA_ENDINGS = (", Pack of 2", ", Gift Boxed", ", Limited", ", New", ", Sizes S, M")
OUTSIDE_ID = "../../outside"
MIN_ITEMS_PER_KIND = 10
HEADER_PREFIX = "# Drawn by hangtag;"
HEADER_LINE = f"{HEADER_PREFIX} overwritten by the next `hangtag demo`.\n"
DESCRIPTION = """
table = "styles.csv"
image = "images/{id}.jpg"
id = "id"
name = "productDisplayName"
levels = ["masterCategory", "subCategory", "articleType"]
attributes = ["gender", "baseColour", "season", "year", "usage"]
label_name = "Class"
taxonomy = "taxonomy.toml"
"""
TAXONOMY = """name = "demo"

# An item starts with its coarsest label.
[[rules]]
rule = "start"
level = "masterCategory"

# A subcategory with enough items of its own becomes their label.
[[rules]]
rule = "promote"
level = "subCategory"
within = "masterCategory"
min_share = 0.07

# So does a very common article type: Tshirts and Shirts.
[[rules]]
rule = "promote"
level = "articleType"
min_share = 0.11

# A label with very few items cannot be trained or evaluated.
[[rules]]
rule = "drop_rare"
max_count = 3

# This label does not describe the product, but the product's name may.
[[rules]]
rule = "relabel"
labels = ["Free Items"]
"""


def write_demo_catalog(folder: Path, *, items_per_kind: int = 108, seed: int = 0) -> Path:
    """Write a catalogue in the capstone's layout: styles.csv and images/<id>.jpg, 60 pixels wide and 80 high.

    It also writes `catalog.toml` and `taxonomy.toml`, which describe the catalogue, and `defects.csv` (item_id,
    defect), which lists the planted defects. The same arguments give the same bytes on the same machine. Files that
    have the right content are not written again, so that the next `prepare` finds no change.

    Args:
        folder: The folder to write: new, empty, or with an earlier demo catalogue.
        items_per_kind: The approximate number of items of a kind of product; 108 gives about 990 items in all.
        seed: The random seed.

    Returns:
        The folder.

    Raises:
        CatalogError: The folder contains other files.
        SettingsError: `items_per_kind` is too small to plant all defects.
    """
    if items_per_kind < MIN_ITEMS_PER_KIND:
        allowed = f"Allowed: {MIN_ITEMS_PER_KIND} or more."
        raise SettingsError("items_per_kind is too small.", allowed=allowed, received=items_per_kind)
    _check_folder(folder)
    # Write the header line first, so that the next call recognises and completes a folder left incomplete by a kill.
    _write_if_changed(folder / "catalog.toml", HEADER_LINE + DESCRIPTION)
    num_free = max(5, round(0.35 * items_per_kind))
    items = make_rows(items_per_kind, num_free, max(2, num_free // 4), seed)
    plant_defects(items, seed)
    photographs = draw_photographs(items, seed)
    _write_photographs(folder / "images", photographs)
    _write_if_changed(folder / "taxonomy.toml", TAXONOMY)
    _write_if_changed(folder / "defects.csv", _list_defects(items))
    _write_if_changed(folder / "styles.csv", _join_rows(items))
    return folder


def _check_folder(folder: Path) -> None:
    description = folder / "catalog.toml"
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    is_demo = description.is_file() and description.read_text("utf-8", errors="replace").startswith(HEADER_PREFIX)
    if not is_demo:
        raise CatalogError(
            "The demo catalogue cannot be written into a folder that contains other files.",
            allowed="Allowed: a new or empty folder.",
            received=str(folder),
        )


class _ItemsWithoutDefect:
    """The items that have no defect yet, in random order."""

    def __init__(self, items: list[DemoItem], seed: int) -> None:
        self.items = list(items)
        random.Random(f"{seed}/defects").shuffle(self.items)

    def take(self, defect: str, is_suitable: Callable[[DemoItem], bool] = lambda _: True) -> DemoItem:
        """Remove and return the next suitable item of an unambiguous category, with the defect added to it."""
        for item in self.items:
            if item.row["masterCategory"] not in ("Free Items", "Home") and is_suitable(item):
                self.items.remove(item)
                item.defects.append(defect)
                return item
        raise AssertionError(f"no item is left for the defect {defect!r}")


def plant_defects(items: list[DemoItem], seed: int) -> None:
    """Add defects to the items, in place, and note each in `DemoItem.defects`.

    The defects are: names with unquoted commas, bare quotes, two spellings of missing values, eight defects of
    photographs, identical and nearly identical photographs (some with different labels), a path that leaves the
    folder, and a duplicate id. Photographs are damaged later, when `draw_photographs` draws them.
    """
    remaining = _ItemsWithoutDefect(items, seed)
    for number in range(3):
        _plant_label_conflict(items, remaining, number)
    _plant_row_defects(remaining)
    for defect, count in PHOTOGRAPH_DEFECTS.items():
        for _ in range(count):
            remaining.take(defect)
    for _ in range(5):
        _copy_item(items, remaining.take("identical photograph"), "identical photograph")
    for _ in range(6):
        _copy_item(items, remaining.take("nearly identical photograph"), "nearly identical photograph")
    _plant_duplicate_id(items, remaining)
    outside = _copy_item(items, remaining.items[0], "path leaves the folder")
    outside.row["id"], outside.photograph_of = OUTSIDE_ID, None


def _plant_row_defects(remaining: _ItemsWithoutDefect) -> None:
    for ending in COMMA_ENDINGS:
        remaining.take("comma in the name").row["productDisplayName"] += ending
    row = remaining.take("bare quote", lambda item: item.kind == "Backpacks").row
    row["productDisplayName"] += ' for 15" Laptops'
    row = remaining.take("bare quote", lambda item: item.kind == "Handbags").row
    row["productDisplayName"] = f'"{row["productDisplayName"]}'
    for column, value in MISSING_VALUES:
        remaining.take(f"{column} is {value or 'empty'}").row[column] = value


def _plant_label_conflict(items: list[DemoItem], remaining: _ItemsWithoutDefect, number: int) -> None:
    """Add a copy of an item that has the same photograph but a different category."""
    kind, changes = (
        ("Tshirts", {"articleType": "Shirts"}),
        ("Casual Shoes", {"subCategory": "Sandal", "articleType": "Sandals"}),
        ("Watches", {"masterCategory": "Free Items", "subCategory": "Free Gifts", "articleType": "Free Gifts"}),
    )[number]
    original = remaining.take("identical photograph", lambda item: item.kind == kind)
    copy = _copy_item(items, original, "identical photograph")
    copy.row |= changes
    for item in (original, copy):
        item.defects.append("labels disagree")


def _copy_item(items: list[DemoItem], original: DemoItem, defect: str) -> DemoItem:
    """Append and return a copy of `original` with the same photograph, a new id and another year."""
    item_id = str(max(int(item.row["id"]) for item in items if item.row["id"].isdecimal()) + 3)
    year = str(2015 + (int(original.row["year"]) - 2014) % 10)
    row = original.row | {"id": item_id, "year": year}
    copy = dataclasses.replace(original, row=row, defects=[defect], photograph_of=original.row["id"])
    items.append(copy)
    return copy


def _plant_duplicate_id(items: list[DemoItem], remaining: _ItemsWithoutDefect) -> None:
    original = remaining.take("id given twice")
    duplicate = _copy_item(items, original, "id given twice")
    duplicate.row["id"], duplicate.photograph_of = original.row["id"], None
    duplicate.row["productDisplayName"] += " Restocked"


def draw_photographs(items: list[DemoItem], seed: int) -> dict[str, bytes]:
    """Draw the photographs of all items that have one; return the content of each file by item id."""
    files: dict[str, bytes] = {}
    pictures: dict[str, Image.Image] = {}
    num_odd_sizes = 0
    for item in items:
        item_id = item.row["id"]
        if item_id in files or not item_id.isdecimal() or "no photograph" in item.defects:
            continue
        if item.photograph_of is not None:
            files[item_id] = files[item.photograph_of]
            if "nearly identical photograph" in item.defects:
                files[item_id] = _encode_jpeg(_brighten_pixels(pictures[item.photograph_of]), quality=85)
            continue
        picture = _draw_photograph(item, seed)
        if "odd size" in item.defects:
            picture = ImageOps.fit(picture, ODD_SIZES[num_odd_sizes % len(ODD_SIZES)])
            num_odd_sizes += 1
        pictures[item_id] = picture
        files[item_id] = _damage_file(_encode_jpeg(picture), item.defects)
    return files


def _draw_photograph(item: DemoItem, seed: int) -> Image.Image:
    if "all white" in item.defects:
        return Image.new("RGB", (WIDTH, HEIGHT), "white")
    rng = random.Random(f"{seed}/{item.row['id']}/picture")
    canvas = Canvas(item.look)
    SILHOUETTES[item.kind](canvas, rng)
    picture = canvas.finish(rng)
    return picture.convert("L") if "grayscale" in item.defects else picture


def _encode_jpeg(picture: Image.Image, quality: int = 92) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _brighten_pixels(picture: Image.Image) -> Image.Image:
    """Increase every pixel value by 1 (of 255)."""
    return picture.point(lambda value: min(value + 1, 255))


def _damage_file(data: bytes, defects: list[str]) -> bytes:
    if "truncated" in defects:
        return data[: len(data) * 2 // 3]
    if "empty file" in defects:
        return b""
    if "not an image" in defects:
        return NO_IMAGE
    if "too many pixels" in defects:
        # The header states 65,500 x 65,500 pixels: decoding it without a check runs out of memory.
        start = data.index(START_OF_FRAME) + 5
        return data[:start] + (65500).to_bytes(2, "big") * 2 + data[start + 4 :]
    return data


def _write_photographs(folder: Path, photographs: dict[str, bytes]) -> None:
    """Write the photographs and remove all others. No fsync: the next call rewrites an incomplete file."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.jpg")):
        if path.stem not in photographs:
            path.unlink()
    for item_id, data in photographs.items():
        path = folder / f"{item_id}.jpg"
        if not path.is_file() or path.read_bytes() != data:
            path.write_bytes(data)


def _list_defects(items: list[DemoItem]) -> str:
    lines = [f"{item.row['id']},{defect}" for item in items for defect in item.defects]
    return "\n".join(["item_id,defect", *lines]) + "\n"


def _join_rows(items: list[DemoItem]) -> str:
    """Format the rows as CSV without any quoting, as in the real catalogue."""
    return "\n".join([",".join(CAPSTONE_COLUMNS), *(",".join(item.row.values()) for item in items)]) + "\n"


def _write_if_changed(path: Path, text: str) -> None:
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)
