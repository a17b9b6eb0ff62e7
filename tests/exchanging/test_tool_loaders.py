"""What `hangtag exchange` writes, read by the other tools' own loaders; `scripts/test-tools` installs them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from exchanged import annotate, read_back, write_samples, write_tasks
from PIL import Image

from hangtag.stages.clean import clean
from hangtag.stages.exchange import exchange
from hangtag.workspace import Workspace

pytestmark = pytest.mark.tools
LOADERS = Path(__file__).resolve().parents[1] / "fixtures" / "tool_loaders.py"
SHIRTS, TSHIRTS = "Apparel > Topwear > Shirts", "Apparel > Topwear > Tshirts"


def load(python: Path, tool: str, folder: Path) -> Any:
    """Read a folder with a tool's loader, in the tool's environment."""
    done = subprocess.run([python, LOADERS, tool, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_label_studio_accepts_configuration_tasks_and_predictions(
    workspace: Workspace, tmp_path: Path, tools_python: Path
) -> None:
    tasks = write_tasks(workspace, tmp_path / "out")
    found = load(tools_python, "label-studio", tmp_path / "out")
    assert found["tasks"] == [True] * len(tasks)
    assert (found["errors"], found["image"]) == ([], "image")
    assert {task["data"]["given"] for task in tasks} <= set(found["labels"])
    # It does look at the labels.
    assert (found["annotation"], found["wrong"]) == (True, False)


def test_what_label_studio_converts_becomes_decisions(workspace: Workspace, tmp_path: Path, tools_python: Path) -> None:
    tasks = write_tasks(workspace, tmp_path / "out")
    answered = [annotate(tasks[0], TSHIRTS), annotate(tasks[1], SHIRTS)]
    (tmp_path / "out" / "export.json").write_text(json.dumps(answered), encoding="utf-8")
    converted = load(tools_python, "label-studio-export", tmp_path / "out")
    metrics = read_back(workspace, converted, tmp_path).metrics
    assert (metrics["accepted"], metrics["kept"], metrics["not_taken"]) == (1, 1, 0)


def test_fiftyone_reads_labels_confidences_and_tags(workspace: Workspace, tmp_path: Path, tools_python: Path) -> None:
    written = write_samples(workspace, tmp_path / "out")
    found = load(tools_python, "fiftyone", tmp_path / "out")
    assert TSHIRTS in found["info"]["default_classes"]
    assert len(found["samples"]) == len(written)
    for before, after in zip(written, found["samples"], strict=True):
        for field in ("filepath", "tags", "product_id", "reason", "hangtag"):
            assert after[field] == before[field]
        for field in ("given", "suggested"):
            assert {**after[field], **before[field]} == after[field]
    # What its own serialization of an answer looks like is read.
    found["samples"][0]["tags"].append("accept")
    found["samples"][0]["last_modified_at"] = None
    metrics = read_back(workspace, found, tmp_path, "fiftyone", reviewer="Ana").metrics
    assert (metrics["accepted"], metrics["not_taken"]) == (1, 0)


def test_hugging_face_loads_splits_classes_and_pixels(
    workspace: Workspace, tmp_path: Path, drawn: Path, tools_python: Path
) -> None:
    clean(workspace)
    exchange(workspace, tool="hugging-face", output=tmp_path / "out")
    found = load(tools_python, "hugging-face", tmp_path / "out")
    labels = pl.read_parquet(workspace.labels / "labels.parquet")
    folders = {"train": "train", "val": "validation", "test": "test"}
    assert found.keys() == set(folders.values())
    for split, folder in folders.items():
        table, items = found[folder], labels.filter(pl.col("split") == split)
        kinds = [table["features"][name] for name in ("image", "label", "articleType", "gender", "id")]
        assert kinds == ["Image", "ClassLabel", "ClassLabel", "Value", "Value"]
        assert table["classes"] == sorted(labels.filter(pl.col("split").is_not_null())["label"].unique())
        rows = {row["id"]: row for row in table["rows"]}
        assert set(rows) == set(items["item_id"])
        for item_id, label in items.select("item_id", "label").iter_rows():
            assert table["classes"][rows[item_id]["label"]] == label
            with Image.open(drawn / "catalog" / "images" / f"{item_id}.jpg") as picture:
                size, pixels = [*picture.size], np.asarray(picture.convert("RGB")).reshape(-1)[:9].astype(int)
            assert rows[item_id]["image"][0] == size
            # Versions of the decoder differ by a shade or two.
            assert np.abs(np.array(rows[item_id]["image"][1]) - pixels).max() <= 4
