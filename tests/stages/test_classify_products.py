"""The photographs of a product have one answer: grouped by folder, by the names of files, or as lists in Python."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from drawn import draw, encode

import hangtag
from hangtag import cli
from hangtag.config import ClassifyConfig
from hangtag.errors import SettingsError
from hangtag.inference import streaming
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import Prediction
from hangtag.inference.streaming import Failure, classify_photographs
from hangtag.stages.classify import print_predictions, write_predictions

CONFIG = ClassifyConfig(target_precision=0.9)
# The first photograph of each product misleads.
SHOWN = {"11": ("Hat", "Shoe", "Shoe"), "12": ("Shoe", "Shirt", "Shirt"), "110": ("Shirt", "Hat", "Hat")}
WANTED = {"11": "Shoe", "12": "Shirt", "110": "Hat"}


@pytest.fixture
def products(tmp_path: Path) -> Path:
    """Photographs as `front/11.png`, `side/11.png`, `back/11.png`."""
    for number, kinds in SHOWN.items():
        for seed, (folder, kind) in enumerate(zip(("back", "front", "side"), kinds, strict=True)):
            (tmp_path / "views" / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "views" / folder / f"{number}.png").write_bytes(encode(draw(kind, int(number) + seed)))
    return tmp_path / "views"


def move_to_folders(products: Path) -> Path:
    """Return the same photographs in a folder for each product."""
    folder = products.with_name("by-product")
    for path in products.rglob("*.png"):
        (folder / path.stem).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.stem / f"{path.parent.name}.png")
    return folder


def answer(classifier: Classifier, place: Path, rule: str, form: Any) -> str:
    told: list[str] = []
    print_predictions([place], classifier, CONFIG, form=form, write=told.append, group_by=rule)
    return "".join(told)


def test_files_are_grouped_by_their_names(classifier: Classifier, products: Path) -> None:
    lines = [json.loads(line) for line in answer(classifier, products, r"(?P<product>\d+)\.png", "json").splitlines()]
    assert {line["product"]: (line["label"], line["photographs"]) for line in lines} == {
        number: (label, 3) for number, label in WANTED.items()
    }
    rows = list(csv.DictReader(answer(classifier, products, r"^\d+", "csv").splitlines()))
    assert {row["product"]: row["predicted_label"] for row in rows} == WANTED
    assert "3 photographs" in answer(classifier, products, r"^(\d+)", "table")


def test_files_are_grouped_by_their_folders(classifier: Classifier, products: Path) -> None:
    folder = move_to_folders(products)
    (folder / "12" / "bad.png").write_bytes(b"no picture")
    (folder / "13").mkdir()
    (folder / "13" / "bad.png").write_bytes(b"no picture")
    rows = list(csv.DictReader(answer(classifier, folder, "folder", "csv").splitlines()))
    found = {Path(row["product"]).name: (row["predicted_label"], row["photographs"]) for row in rows}
    assert found == {number: (label, "3") for number, label in WANTED.items()} | {"13": ("", "")}
    errors = {Path(row["product"]).name: row["error"] for row in rows if row["error"]}
    assert errors["12"].startswith("bad.png: not_an_image: ")
    assert errors["13"].startswith("not_an_image: ")
    # With a slash, the expression is about paths.
    by_path = answer(classifier, folder, r"by-product/(\d+)/", "json").splitlines()
    assert {json.loads(line)["product"] for line in by_path} == {*WANTED, "13"}


def test_a_file_that_does_not_match_is_a_product_of_its_own(classifier: Classifier, products: Path) -> None:
    (products / "logo.png").write_bytes(encode(draw("Hat", 5)))
    lines = [json.loads(line) for line in answer(classifier, products, r"^\d+", "json").splitlines()]
    assert (lines[0]["product"], lines[0]["photographs"]) == (str(products / "logo.png"), 1)
    assert len(lines) == 4
    with pytest.raises(SettingsError, match=r"matches none of them.*Received: .*for files such as"):
        answer(classifier, products, r"(\d+)_\d", "json")
    with pytest.raises(SettingsError, match="no regular expression"):
        answer(classifier, products, "(", "json")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_products_are_written_to_a_file(
    suffix: str, classifier: Classifier, products: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hangtag.serving.predicted_files.PART", 2)
    path = tmp_path / f"answers{suffix}"
    tally = write_predictions(path, [products], classifier, CONFIG, group_by=r"^\d+")
    assert sum(tally.values()) == 3
    if suffix == ".jsonl":
        found = {line["product"]: line["label"] for line in map(json.loads, path.read_text().splitlines())}
    else:
        table = pl.read_csv(path, infer_schema=False) if suffix == ".csv" else pl.read_parquet(path)
        assert table.columns[:3] == ["product", "photographs", "predicted_label"]
        found = dict(table.select("product", "predicted_label").iter_rows())
    assert found == WANTED


def test_lists_are_products_in_python(classifier: Classifier, products: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = [[products / folder / f"{number}.png" for folder in ("back", "front", "side")] for number in SHOWN]
    found = hangtag.classify([*views, views[0][0], []], classifier)
    labels = [each.label if isinstance(each, Prediction) else each.code for each in found]
    assert labels == [*WANTED.values(), "Hat", "missing_photograph"]
    assert [each.photographs for each in found if isinstance(each, Prediction)] == [3, 3, 3, None]
    monkeypatch.setattr(streaming, "MAX_PHOTOGRAPHS", 2)
    (large,) = classify_photographs(classifier, [views[0]])
    assert isinstance(large, Failure)
    assert large.code == "too_many_photographs"


@pytest.mark.parametrize("sizes", [[1], [63, 2], [70, 1, 130], [2] * 100])
def test_products_of_any_size_come_in_order(sizes: list[int], classifier: Classifier) -> None:
    kinds = [("Hat", "Shirt", "Shoe")[number * number % 3] for number in range(len(sizes))]
    pictures = {kind: encode(draw(kind, 7)) for kind in set(kinds)}
    entries = ([pictures[kind]] * size for kind, size in zip(kinds, sizes, strict=True))
    found = [each for each in classify_photographs(classifier, entries) if isinstance(each, Prediction)]
    assert [(each.label, each.photographs) for each in found] == list(zip(kinds, sizes, strict=True))


def test_products_have_no_heatmaps(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["classify", str(tmp_path), "--group-by", "folder", "--explain", str(tmp_path / "maps")])
    assert stopped.value.code == 2
    assert "--explain and --group-by cannot be used together" in capsys.readouterr().err
