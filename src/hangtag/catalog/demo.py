"""Draw a small catalogue that has every defect of a real one."""

from pathlib import Path

from hangtag.artifacts import write_text
from hangtag.catalog.defects import plant_defects
from hangtag.catalog.demo_rows import DemoItem, make_rows
from hangtag.catalog.photographs import draw_photographs
from hangtag.catalog.read import CAPSTONE_COLUMNS
from hangtag.errors import CatalogError, SettingsError

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
    """Bring the folder to just these photographs; a torn one is drawn again by the next call, so no fsync."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.jpg")):
        if path.stem not in photographs:
            path.unlink()
    for item_id, data in photographs.items():
        path = folder / f"{item_id}.jpg"
        if not path.is_file() or path.read_bytes() != data:
            path.write_bytes(data)
