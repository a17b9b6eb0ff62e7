"""A second `prepare` decodes only what is new, and one that was killed goes on with the same result."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from shop_exports import draw_photographs

from hangtag.catalog import image_files, images
from hangtag.config import PrepareConfig
from hangtag.io import read_csv
from hangtag.stages.prepare import prepare

ALONE = PrepareConfig(workers=1)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for kind in ("bags", "hats"):
        draw_photographs(tmp_path / "tree" / kind, [f"{number:03}.png" for number in range(30)])
    (tmp_path / "tree" / "bags" / "bad.png").write_text("no picture")
    return tmp_path / "tree"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are decoded, in order."""
    paths: list[str] = []
    read = image_files.read_photograph

    def note(source: object, path: str, config: PrepareConfig) -> images.Photograph:
        paths.append(path)
        return read(source, path, config)  # type: ignore[arg-type]

    monkeypatch.setattr(image_files, "read_photograph", note)
    return paths


def read_prepared_files(workspace: Path) -> dict[str, bytes]:
    names = ("items.parquet", "images.npy", "rejected.csv", "other_photographs.parquet", "other_images.npy")
    paths = [workspace / "prepared" / name for name in names]
    return {path.name: path.read_bytes() for path in paths if path.exists()}


def test_only_new_and_changed_photographs_are_decoded(tree: Path, tmp_path: Path, decoded: list[str]) -> None:
    prepare(tree, tmp_path / "w", ALONE)
    assert len(decoded) == 61
    decoded.clear()
    draw_photographs(tree / "shoes", ["000.png"])
    draw_photographs(tree / "hats", ["007.png", "100.png"])
    os.utime(tree / "hats" / "007.png", ns=(0, time.time_ns()))
    (tree / "bags" / "003.png").unlink()
    prepare(tree, tmp_path / "w", ALONE)
    # What could not be used is tried again.
    assert sorted(decoded) == ["bags/bad.png", "hats/007.png", "hats/100.png", "shoes/000.png"]
    prepare(tree, tmp_path / "anew", ALONE)
    assert read_prepared_files(tmp_path / "w") == read_prepared_files(tmp_path / "anew")
    decoded.clear()
    # Other pixels are wanted.
    prepare(tree, tmp_path / "w", PrepareConfig(workers=1, fit="stretch"))
    assert len(decoded) == 62


def test_what_is_new_changed_and_removed_is_listed(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    draw_photographs(folder, [f"{number}.png" for number in range(6)])
    table = folder / "items.csv"
    flags = {"levels": "kind", "attributes": "colour", "image": "{id}.png"}

    def write(rows: str) -> None:
        table.write_text(f"id,kind,colour\n{rows}")

    write("0,Hats,red\n1,Hats,\n2,Bags,blue\n3,Bags,red\n4,Bags,red\n")
    first = prepare(table, tmp_path / "w", ALONE, overrides=flags)
    assert "new_items" not in first.metrics
    assert not (tmp_path / "w" / "prepared" / "changes.csv").exists()
    # 3 has a category more, 4 another picture, and 2 another place in the table alone.
    write("5,Bags,red\n2,Bags,blue\n0,Hats,red\n3,Hats,red\n4,Bags,red\n")
    (folder / "0.png").replace(folder / "spare.png")
    draw_photographs(folder, ["unused.png", "0.png", "4.png"])
    (folder / "spare.png").replace(folder / "0.png")
    result = prepare(table, tmp_path / "w", ALONE, overrides=flags)
    counts = {name: result.metrics[f"{name}_items"] for name in ("new", "changed", "removed")}
    assert counts == {"new": 1, "changed": 2, "removed": 1}
    changes = read_csv(result.folder / "changes.csv", infer_schema=False).rows()
    assert sorted(changes) == [("1", "removed"), ("3", "changed"), ("4", "changed"), ("5", "new")]
    # A result that was damaged is not compared with.
    (tmp_path / "w" / "prepared" / "images.npy").write_bytes(b"")
    write("5,Bags,red\n")
    assert "new_items" not in prepare(table, tmp_path / "w", ALONE, overrides=flags).metrics
    assert not (tmp_path / "w" / "prepared" / "changes.csv").exists()


def test_another_catalogue_of_the_same_files_is_decoded(tree: Path, tmp_path: Path, decoded: list[str]) -> None:
    prepare(tree, tmp_path / "w", ALONE)
    other = tmp_path / "other"
    other.mkdir()
    for path in sorted(tree.rglob("*.png")):
        (other / path.parent.name).mkdir(exist_ok=True)
        copy = other / path.parent.name / path.name
        copy.write_bytes(path.read_bytes())
        os.utime(copy, ns=(0, path.stat().st_mtime_ns))
    draw_photographs(other / "shoes", ["000.png"])
    decoded.clear()
    prepare(other, tmp_path / "w", ALONE)
    assert len(decoded) == 62
    # Nor is a file that took another's place and kept its time.
    decoded.clear()
    first, second = other / "bags" / "000.png", other / "hats" / "020.png"
    time_of_first = first.stat().st_mtime_ns
    first.write_bytes(second.read_bytes())
    os.utime(first, ns=(0, time_of_first))
    (other / "hats" / "021.png").unlink()
    prepare(other, tmp_path / "w", ALONE)
    assert "bags/000.png" in decoded


def test_changed_pixels_on_disk_are_not_reused(tree: Path, tmp_path: Path, decoded: list[str]) -> None:
    prepare(tree, tmp_path / "w", ALONE)
    pixels = np.load(tmp_path / "w" / "prepared" / "images.npy")
    np.save(tmp_path / "w" / "prepared" / "images.npy", pixels[::-1])
    decoded.clear()
    prepare(tree, tmp_path / "w", ALONE)
    assert len(decoded) == 61


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of 20 products with three photographs each, of which some cannot be used, and one is shared by many."""
    folder = tmp_path / "shop"
    draw_photographs(folder, [f"{number}{letter}.png" for number in range(20) for letter in "abc"])
    (folder / "3a.png").write_text("no picture")
    (folder / "5b.png").unlink()
    for number in range(8, 16):
        (folder / f"{number}c.png").write_bytes((folder / "0a.png").read_bytes())
    rows = [f"p{number},Hats,{'|'.join(f'{number}{letter}.png' for letter in 'abc')}" for number in range(20)]
    description = 'id = "sku"\nlevels = ["kind"]\nimage_column = "images"\nimage_separator = "|"\n'
    (folder / "catalog.toml").write_text(description)
    (folder / "products.csv").write_text("\n".join(["sku,kind,images", *rows]))
    return folder


def test_only_new_photographs_of_products_are_decoded(table: Path, tmp_path: Path, decoded: list[str]) -> None:
    prepare(table, tmp_path / "w", ALONE)
    assert len(decoded) == 60
    decoded.clear()
    rows = (table / "products.csv").read_text()
    draw_photographs(table, ["new.png", "18b.png"])
    os.utime(table / "18b.png", ns=(0, time.time_ns()))
    (table / "products.csv").write_text(f"{rows}\np20,Hats,new.png")
    prepare(table, tmp_path / "w", ALONE)
    # What could not be used, and what many products share, is tried again.
    again = {"3a.png", "5b.png", *(f"{number}c.png" for number in range(8, 16))}
    assert set(decoded) == {"new.png", "18b.png"} | again
    prepare(table, tmp_path / "anew", ALONE)
    assert read_prepared_files(tmp_path / "w") == read_prepared_files(tmp_path / "anew")


def test_a_product_changes_with_any_of_its_photographs(table: Path, tmp_path: Path) -> None:
    prepare(table, tmp_path / "w", ALONE)
    (table / "4c.png").write_bytes((table / "6c.png").read_bytes())
    (table / "7b.png").unlink()
    (table / "5b.png").write_bytes((table / "6b.png").read_bytes())
    changes = read_csv(prepare(table, tmp_path / "w", ALONE).folder / "changes.csv")
    assert changes.rows() == [("p4", "changed"), ("p5", "changed"), ("p7", "changed")]


KILLED = """
import os, sys
from hangtag.catalog import image_files, images
from hangtag.config import PrepareConfig
from hangtag.io import read_csv
from hangtag.stages.prepare import prepare

image_files.CHUNK = 8
chunks = 0
decode = image_files._decode_chunk

def stop(*arguments):
    global chunks
    chunks += 1
    if chunks > int(sys.argv[3]):
        os.kill(os.getpid(), 9)
    return decode(*arguments)

image_files._decode_chunk = stop
prepare(sys.argv[1], sys.argv[2], PrepareConfig(workers=1))
"""


@pytest.mark.parametrize("chunks", [0, 1, 5])
def test_a_killed_prepare_goes_on(chunks: int, tree: Path, tmp_path: Path, decoded: list[str]) -> None:
    arguments = [sys.executable, "-c", KILLED, str(tree), str(tmp_path / "w"), str(chunks)]
    assert subprocess.run(arguments, check=False, capture_output=True).returncode == -9
    prepare(tree, tmp_path / "w", ALONE)
    assert len(decoded) - decoded.count("bags/bad.png") == 60 - max(0, 8 * chunks - (chunks == 5))
    assert not (tmp_path / "w" / "prepared" / ".decoded").exists()
    prepare(tree, tmp_path / "anew", ALONE)
    assert read_prepared_files(tmp_path / "w") == read_prepared_files(tmp_path / "anew")
    assert pl.read_csv(tmp_path / "w" / "prepared" / "rejected.csv")["code"].to_list() == ["not_an_image"]


@pytest.mark.parametrize("chunks", [0, 2, 7])
def test_a_killed_prepare_goes_on_with_all_photographs(
    chunks: int, table: Path, tmp_path: Path, decoded: list[str]
) -> None:
    arguments = [sys.executable, "-c", KILLED, str(table), str(tmp_path / "w"), str(chunks)]
    assert subprocess.run(arguments, check=False, capture_output=True).returncode == -9
    prepare(table, tmp_path / "w", ALONE)
    # Of the first two chunks one photograph cannot be used, of seven two: such ones are tried again.
    done = {0: 0, 2: 16 - 1, 7: 56 - 2}[chunks]
    assert len(set(decoded) - {"3a.png", "5b.png"}) == 58 - done
    prepare(table, tmp_path / "anew", ALONE)
    files = read_prepared_files(tmp_path / "w")
    assert len(files) == 5
    assert files == read_prepared_files(tmp_path / "anew")
