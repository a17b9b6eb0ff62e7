"""Test the fingerprints that `clean` keeps: which are computed again, and for which catalogue they are."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hangtag.catalog.images import Pixels
from hangtag.catalog.prepared_items import read_prepared
from hangtag.config import CleanConfig, PrepareConfig
from hangtag.labels import duplicates
from hangtag.labels.fingerprints import read_fingerprints
from hangtag.stages.clean import clean
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

CONFIG = PrepareConfig(image_size=(16, 12), workers=1)
EVERY = CleanConfig(taxonomy="every")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A table of 30 products with two photographs each; the last two rows are another's photographs again."""
    folder, random = tmp_path / "shop", np.random.default_rng(0)
    folder.mkdir()
    for number in range(30):
        for letter in "ab":
            Image.fromarray(random.integers(0, 256, (16, 12, 3), np.uint8)).save(folder / f"{number}{letter}.png")
    rows = [f"{number},{'Hats' if number % 2 else 'Bags'},{number % 28}a.png|{number}b.png" for number in range(30)]
    (folder / "items.csv").write_text("\n".join(["id,kind,images", *rows]))
    return folder


def run(shop: Path, workspace: Path) -> Path:
    described = {"levels": "kind", "image_column": "images", "image_separator": "|"}
    prepare(shop / "items.csv", workspace, CONFIG, overrides=described)
    return clean(workspace, EVERY).folder


def test_only_new_photographs_are_hashed_again(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def note(images: Pixels) -> Any:
        lengths.append(len(images))
        return compute(images)

    compute = duplicates.compute_perceptual_hashes
    monkeypatch.setattr(duplicates, "compute_perceptual_hashes", note)
    run(shop, tmp_path / "w")
    assert lengths == [30, 30]
    lengths.clear()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (16, 12, 3), np.uint8)).save(shop / "7b.png")
    table = (shop / "items.csv").read_text().splitlines()
    (shop / "items.csv").write_text("\n".join([table[0], *table[:4:-1]]))
    folder = run(shop, tmp_path / "w")
    assert lengths == [1]
    anew = run(shop, tmp_path / "anew")
    for name in ("fingerprints.parquet", "labels.parquet"):
        assert (folder / name).read_bytes() == (anew / name).read_bytes()


def test_they_are_of_one_state_of_the_catalogue(shop: Path, tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path / "w")
    run(shop, workspace.root)
    prepared = read_prepared(workspace)
    found = read_fingerprints(workspace.labels, prepared)
    assert found is not None
    images = np.concatenate([prepared.images, prepared.others.images])
    pixels, perceptual = duplicates.compute_fingerprints(images)
    assert found.pixels == pixels
    np.testing.assert_array_equal(found.perceptual, perceptual)
    shutil.copy(shop / "1a.png", shop / "2a.png")
    prepare(shop / "items.csv", workspace, CONFIG, overrides={"levels": "kind", "image": "{id}a.png"})
    assert read_fingerprints(workspace.labels, read_prepared(workspace)) is None
