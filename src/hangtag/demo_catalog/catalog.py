"""Draw a small catalogue that has every defect of a real one."""

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

# Draw the photographs of the demo catalogue as files, the spoilt ones among them.

# Width x height, as the real catalogue's odd ones, and one larger.
ODD_SIZES = ((53, 80), (54, 80), (60, 60), (60, 76), (60, 79), (120, 160))
NO_IMAGE = b"<html><body>404: this photograph has moved</body></html>\n"
START_OF_FRAME = b"\xff\xc0"


def draw_photographs(items: list[DemoItem], seed: int) -> dict[str, bytes]:
    """Return the content of the photograph file of every item that has one, by item id."""
    files: dict[str, bytes] = {}
    pictures: dict[str, Image.Image] = {}
    odd = 0
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
            picture = ImageOps.fit(picture, ODD_SIZES[odd % len(ODD_SIZES)])
            odd += 1
        pictures[item_id] = picture
        files[item_id] = _spoil_file(_encode_jpeg(picture), item.defects)
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
    """Make every pixel one step of 255 brighter."""
    return picture.point(lambda value: min(value + 1, 255))


def _spoil_file(data: bytes, defects: list[str]) -> bytes:
    if "truncated" in defects:
        return data[: len(data) * 2 // 3]
    if "empty file" in defects:
        return b""
    if "not an image" in defects:
        return NO_IMAGE
    if "too many pixels" in defects:
        # The header claims 65,500 x 65,500; whoever decodes before looking runs out of memory.
        at = data.index(START_OF_FRAME) + 5
        return data[:at] + (65500).to_bytes(2, "big") * 2 + data[at + 4 :]
    return data


# Plant the defects of a real catalogue in a drawn one, and remember which item has which.

# What becomes of a photograph, and of how many.
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


class _Untouched:
    """The items that have no defect yet, in random order."""

    def __init__(self, items: list[DemoItem], seed: int) -> None:
        self.items = list(items)
        random.Random(f"{seed}/defects").shuffle(self.items)

    def take(self, defect: str, holds: Callable[[DemoItem], bool] = lambda _: True) -> DemoItem:
        """Take an item of a clear category and note what will be wrong with it."""
        for item in self.items:
            if item.row["masterCategory"] not in ("Free Items", "Home") and holds(item):
                self.items.remove(item)
                item.defects.append(defect)
                return item
        raise AssertionError(f"no item is left for the defect {defect!r}")


def plant_defects(items: list[DemoItem], seed: int) -> None:
    """Change rows, mark photographs and add duplicates, in place.

    Photographs that are marked are spoilt when they are drawn. In `defects` stand, in all: names with unquoted
    commas, bare quotes, two spellings of missing values, eight things that can be wrong with a photograph, identical
    and nearly identical photographs (some with other labels), a path that leaves the folder, and an id given twice.
    """
    untouched = _Untouched(items, seed)
    for number in range(3):
        _plant_conflict(items, untouched, number)
    _spoil_rows(untouched)
    for defect, count in PHOTOGRAPH_DEFECTS.items():
        for _ in range(count):
            untouched.take(defect)
    for _ in range(5):
        _copy_item(items, untouched.take("identical photograph"), "identical photograph")
    for _ in range(6):
        _copy_item(items, untouched.take("nearly identical photograph"), "nearly identical photograph")
    _repeat_id(items, untouched)
    outside = _copy_item(items, untouched.items[0], "path leaves the folder")
    outside.row["id"], outside.photograph_of = OUTSIDE_ID, None


def _spoil_rows(untouched: _Untouched) -> None:
    for ending in COMMA_ENDINGS:
        untouched.take("comma in the name").row["productDisplayName"] += ending
    row = untouched.take("bare quote", lambda item: item.kind == "Backpacks").row
    row["productDisplayName"] += ' for 15" Laptops'
    row = untouched.take("bare quote", lambda item: item.kind == "Handbags").row
    row["productDisplayName"] = f'"{row["productDisplayName"]}'
    for column, value in MISSING_VALUES:
        untouched.take(f"{column} is {value or 'empty'}").row[column] = value


def _plant_conflict(items: list[DemoItem], untouched: _Untouched, number: int) -> None:
    """Give one photograph to two items of different categories."""
    kind, changes = (
        ("Tshirts", {"articleType": "Shirts"}),
        ("Casual Shoes", {"subCategory": "Sandal", "articleType": "Sandals"}),
        ("Watches", {"masterCategory": "Free Items", "subCategory": "Free Gifts", "articleType": "Free Gifts"}),
    )[number]
    original = untouched.take("identical photograph", lambda item: item.kind == kind)
    copy = _copy_item(items, original, "identical photograph")
    copy.row |= changes
    for item in (original, copy):
        item.defects.append("labels disagree")


def _copy_item(items: list[DemoItem], original: DemoItem, defect: str) -> DemoItem:
    """Add an item with an id of its own and another year that shows the photograph of `original`."""
    item_id = str(max(int(item.row["id"]) for item in items if item.row["id"].isdecimal()) + 3)
    year = str(2015 + (int(original.row["year"]) - 2014) % 10)
    row = original.row | {"id": item_id, "year": year}
    copy = dataclasses.replace(original, row=row, defects=[defect], photograph_of=original.row["id"])
    items.append(copy)
    return copy


def _repeat_id(items: list[DemoItem], untouched: _Untouched) -> None:
    original = untouched.take("id given twice")
    again = _copy_item(items, original, "id given twice")
    again.row["id"], again.photograph_of = original.row["id"], None
    again.row["productDisplayName"] += " Restocked"


MIN_ITEMS_PER_KIND = 10
MARK = "# Drawn by hangtag; written anew by the next `hangtag demo`.\n"
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

# So does a very common type of article: Tshirts and Shirts.
[[rules]]
rule = "promote"
level = "articleType"
min_share = 0.11

# A label with hardly an item cannot be learnt.
[[rules]]
rule = "drop_rare"
max_count = 3

# These say nothing about the product; its name may.
[[rules]]
rule = "relabel"
labels = ["Free Items"]
"""


def write_demo_catalog(folder: Path, *, items_per_kind: int = 108, seed: int = 0) -> Path:
    """Draw a catalogue in the capstone's layout: styles.csv and images/<id>.jpg, 60 wide by 80 high.

    Beside them lie `catalog.toml` and `taxonomy.toml`, which describe it, and `defects.csv` (item_id, defect),
    which tells what is wrong with which item, on purpose. The same arguments give the same bytes on one machine.
    Files that are already right are left alone, so that the next `prepare` sees nothing new.

    Args:
        folder: Where to write; new, empty, or an earlier drawn catalogue.
        items_per_kind: About how many items a kind of product has; 108 gives some 990 in all.
        seed: Other seeds draw other products.

    Returns:
        The folder.

    Raises:
        CatalogError: The folder holds something else.
        SettingsError: There would be too few items for all the defects.
    """
    if items_per_kind < MIN_ITEMS_PER_KIND:
        allowed = f"Allowed: {MIN_ITEMS_PER_KIND} or more."
        raise SettingsError("items_per_kind is too small.", allowed=allowed, received=items_per_kind)
    _check_folder(folder)
    # The mark comes first: a folder left half drawn by a kill is known as ours and finished by the next call.
    _write_if_new(folder / "catalog.toml", MARK + DESCRIPTION)
    num_free = max(5, round(0.35 * items_per_kind))
    items = make_rows(items_per_kind, num_free, max(2, num_free // 4), seed)
    plant_defects(items, seed)
    photographs = draw_photographs(items, seed)
    _write_photographs(folder / "images", photographs)
    _write_if_new(folder / "taxonomy.toml", TAXONOMY)
    _write_if_new(folder / "defects.csv", _list_defects(items))
    _write_if_new(folder / "styles.csv", _join_rows(items))
    return folder


def _check_folder(folder: Path) -> None:
    mark = folder / "catalog.toml"
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (mark.is_file() and mark.read_text(encoding="utf-8", errors="replace").startswith(MARK)):
        raise CatalogError(
            "The demo catalogue would be drawn into a folder that holds something else.",
            allowed="Allowed: a new or empty folder.",
            received=str(folder),
        )


def _join_rows(items: list[DemoItem]) -> str:
    """Write the rows as the real catalogue has them: nothing is ever quoted."""
    return "\n".join([",".join(CAPSTONE_COLUMNS), *(",".join(item.row.values()) for item in items)]) + "\n"


def _list_defects(items: list[DemoItem]) -> str:
    lines = [f"{item.row['id']},{defect}" for item in items for defect in item.defects]
    return "\n".join(["item_id,defect", *lines]) + "\n"


def _write_if_new(path: Path, text: str) -> None:
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def _write_photographs(folder: Path, photographs: dict[str, bytes]) -> None:
    """Write the photographs and remove all others; a damaged one is drawn again by the next call, so no fsync."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.jpg")):
        if path.stem not in photographs:
            path.unlink()
    for item_id, data in photographs.items():
        path = folder / f"{item_id}.jpg"
        if not path.is_file() or path.read_bytes() != data:
            path.write_bytes(data)
