"""No stage holds more than a small part of the packed photographs at once, so a set larger than memory serves."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from drawn import COLORS, SIZE, draw
from serving_fixtures import write_prepared

from hangtag.catalog.images import limit_part
from hangtag.config import CleanConfig
from hangtag.stages.clean import clean
from hangtag.stages.evaluate import evaluate
from hangtag.stages.explore import explore
from hangtag.stages.predict import predict
from hangtag.stages.train import train
from hangtag.train_config import TrainConfig
from hangtag.workspace import Workspace

ITEMS, MOST = 120, 16


class Watched(np.memmap):
    """A memory map that is read a few photographs at a time, or fails."""

    most = 0

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        if part.ndim < 4:
            return np.asarray(part)
        if len(part) > MOST:
            raise AssertionError(f"{len(part)} photographs of {len(self)} are read at once")
        Watched.most = max(Watched.most, len(part))
        return np.array(part)

    def __array_ufunc__(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("all photographs are worked on at once")

    def __array_function__(self, function: Any, types: Any, inputs: Any, more: Any) -> Any:
        # numpy's own memory map asks this of every part.
        if function is np.may_share_memory:
            return super().__array_function__(function, types, inputs, more)
        raise AssertionError("all photographs are worked on at once")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A prepared workspace that may only be read in parts."""
    place = Workspace.at(tmp_path)
    kinds = [list(COLORS)[number % 3] for number in range(ITEMS)]
    ids = [str(number) for number in range(ITEMS)]
    items = pl.DataFrame(
        {
            "item_id": ids,
            "given_split": pl.Series([None] * ITEMS, dtype=pl.String),
            "id": ids,
            "kind": ["Footwear" if kind == "Shoe" else "Wear" for kind in kinds],
            "type": kinds,
            "season": ["Summer"] * ITEMS,
            "image_width": [SIZE[1]] * ITEMS,
            "image_height": [SIZE[0]] * ITEMS,
            "image_mode": ["RGB"] * ITEMS,
            "image_path": [f"{each}.jpg" for each in ids],
        }
    )
    write_prepared(place, items, np.stack([draw(kind, number) for number, kind in enumerate(kinds)]))
    load = np.load

    def watch(path: Path, **more: Any) -> Any:
        loaded = load(path, **more)
        return loaded.view(Watched) if Path(path).name == "images.npy" else loaded

    monkeypatch.setattr(np, "load", watch)
    # So much memory for parts of the drawn photographs; networks take less at once.
    monkeypatch.setattr("hangtag.catalog.images.PART_BYTES", MOST * 3 * SIZE[0] * SIZE[1])
    return place


def test_every_stage_reads_a_part_at_a_time(place: Workspace) -> None:
    clean(place, CleanConfig(taxonomy="finest", max_hash_distance=0))
    assert Watched.most == MOST
    explore(place)
    config = TrainConfig(architecture="residual-tiny", epochs=1, batch_size=8, precision="float32")
    train(place, config, run_id="run")
    evaluate(place)
    predict(place, run_ids=["run"])


def test_the_part_shrinks_with_the_photographs() -> None:
    assert limit_part((80, 60), 1024) == 1024
    assert limit_part((224, 168, 3), 1024) == 283
    assert limit_part((224, 168), 1024, 4) == 70
    assert limit_part((2048, 2048), 1024, 4) == 1
