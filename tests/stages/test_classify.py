"""Photographs are told in their order, bad ones in their place, and a long list survives a kill."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from drawn import COLORS, draw, encode

from hangtag import cli
from hangtag.config import ClassifyConfig
from hangtag.errors import CatalogError, SettingsError
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import Prediction
from hangtag.inference.streaming import CHUNK, Failure, classify_photographs
from hangtag.models.label_space import LabelSpace
from hangtag.serving import predicted_files
from hangtag.serving.output import list_columns, list_photographs, write_table_lines
from hangtag.stages import classify as stage
from hangtag.stages.classify import print_predictions, write_predictions

NAMES = ["Hat.png", "Shirt.png", "Shoe.png", "broken.jpg", "empty.png", "noise.png", "more/Shoe.jpg"]
CONFIG = ClassifyConfig(target_precision=0.9)


def tell(classifier: Classifier, place: Path, form: Any) -> tuple[str, dict[str, int]]:
    told: list[str] = []
    tally = print_predictions([place], classifier, CONFIG, form=form, write=told.append)
    return "".join(told), tally


def test_a_folders_photographs_come_in_order_its_subfolders_after(photographs: Path) -> None:
    assert [str(path.relative_to(photographs)) for path in list_photographs([photographs])] == NAMES
    named = [photographs / "notes.txt", photographs / "more"]
    assert list(list_photographs(named)) == [named[0], photographs / "more" / "Shoe.jpg"]


def test_a_place_that_is_not_there_is_told_before_anything_else(photographs: Path) -> None:
    with pytest.raises(CatalogError, match="no such file"):
        list_photographs([photographs, photographs / "nowhere"])


@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 3])
def test_any_number_is_answered_in_order(count: int, classifier: Classifier) -> None:
    kinds = [list(COLORS)[number * number % 3] for number in range(count)]
    contents = (encode(draw(kind, 3000 + number)) for number, kind in enumerate(kinds))
    found = list(classify_photographs(classifier, contents, precision=0.9))
    assert [each.label for each in found if isinstance(each, Prediction)] == kinds


def test_photographs_are_read_only_as_they_are_needed(classifier: Classifier) -> None:
    taken = 0

    def give() -> Iterator[bytes]:
        nonlocal taken
        for number in range(100 * CHUNK):
            taken = number + 1
            yield encode(draw("Hat", number % 3))

    outcomes = classify_photographs(classifier, give(), workers=2)
    for _ in range(CHUNK):
        next(outcomes)
    assert taken <= 5 * CHUNK


def test_bad_photographs_are_told_in_their_place(classifier: Classifier, photographs: Path, tmp_path: Path) -> None:
    places = [photographs / "broken.jpg", photographs / "Hat.png", photographs / "empty.png", tmp_path / "gone.png"]
    codes = [
        outcome.code if isinstance(outcome, Failure) else outcome.label
        for outcome in classify_photographs(classifier, places)
    ]
    assert codes == ["truncated", "Hat", "empty_file", "unreadable"]


def test_json_is_an_object_a_line(classifier: Classifier, photographs: Path) -> None:
    text, tally = tell(classifier, photographs, "json")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [Path(line["file"]).name for line in lines] == [Path(name).name for name in NAMES]
    hat = lines[0]
    assert (hat["label"], hat["levels"]["kind"], hat["is_sure"]) == ("Hat", "Wear", True)
    assert hat["attributes"]["season"]["value"] in ("Summer", "Winter")
    assert hat["alternatives"][0] == {"label": "Hat", "confidence": hat["confidence"]}
    assert [each["confidence"] for each in hat["alternatives"]] == sorted(
        (each["confidence"] for each in hat["alternatives"]), reverse=True
    )
    assert lines[3]["error"]["code"] == "truncated"
    assert (lines[5]["in_distribution"], lines[5]["is_sure"]) == (False, False)
    assert tally == {"sure": 4, "not_sure": 0, "out_of_distribution": 1, "failed": 2}


def test_a_folder_unlike_the_training_photographs_gets_one_line(classifier: Classifier, tmp_path: Path) -> None:
    folder = tmp_path / "noise"
    folder.mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (80, 60, 3), dtype=np.uint8)
        (folder / f"{number:02}.png").write_bytes(encode(pixels))
    _, tally = tell(classifier, folder, "csv")
    assert tally["out_of_distribution"] > 6
    (warning,) = stage.list_warnings(tally)
    assert warning.startswith(f"{tally['out_of_distribution']} of 12 photographs are unlike all")
    # Half of them are no reason, nor are a few.
    assert stage.list_warnings(dict.fromkeys(predicted_files.OUTCOMES, 0) | {"sure": 6, "out_of_distribution": 6}) == []
    assert stage.list_warnings(dict.fromkeys(predicted_files.OUTCOMES, 0) | {"out_of_distribution": 9}) == []


def test_csv_has_the_same_columns_for_all(classifier: Classifier, photographs: Path) -> None:
    rows = list(csv.DictReader(tell(classifier, photographs, "csv")[0].splitlines()))
    assert [row["predicted_label"] for row in rows] == [
        "Hat",
        "Shirt",
        "Shoe",
        "",
        "",
        rows[5]["predicted_label"],
        "Shoe",
    ]
    assert list(rows[0]) == list_columns(classifier.label_space)
    assert rows[3]["error"].startswith("truncated: ")
    assert [row["is_sure"] for row in rows] == ["True", "True", "True", "", "", "False", "True"]


def test_a_file_that_is_named_like_a_formula_is_none_in_csv(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["+x.png", "-x.png", "=1+1.png", "@x.png"]
    for name in names:
        (tmp_path / name).write_bytes(encode(draw("Hat", 3)))
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    print_predictions(names, classifier, CONFIG, form="csv", write=told.append)
    write_predictions("out.csv", names, classifier, CONFIG)
    write_predictions("out.parquet", names, classifier, CONFIG)
    for text in ("".join(told), (tmp_path / "out.csv").read_text()):
        assert [row["file"] for row in csv.DictReader(text.splitlines())] == [f"'{name}" for name in names]
    assert pl.read_parquet("out.parquet")["file"].to_list() == names


def test_the_table_says_what_is_not_sure(classifier: Classifier, photographs: Path) -> None:
    printed = tell(classifier, photographs, "table")[0]
    # The first column is empty where a row goes on.
    rows = re.split(r"\n(?=\S)", printed.rstrip())
    assert len(rows) == 1 + len(NAMES)
    assert "Hat" in rows[1]
    assert "Wear" in rows[1]
    assert "not classified" in rows[4]
    assert "not sure" in rows[6]
    assert "unlike the training photographs" in rows[6]


def test_the_table_fits_80_columns_and_loses_nothing() -> None:
    label_space = LabelSpace(
        {"department": ("Footwear and accessories",), "kind": ("Open sandals with a heel",)}, ((0, 0),), {}, "kind"
    )
    levels = {level: names[0] for level, names in label_space.levels.items()}
    sure = Prediction("Open sandals with a heel", 0.87, True, True, levels, {}, (), photographs=12, failures=("a", "b"))
    failed = Failure("not_an_image", "no JPEG, PNG, WebP, GIF, BMP or TIFF picture " + "x" * 90)
    printed = "".join(write_table_lines([("folder/" * 9 + "sandals.jpg", sure), ("b.jpg", failed)], label_space))
    assert max(map(len, printed.splitlines())) <= 80
    assert "87%" in printed
    column = "".join(line[49:].strip() for line in printed.splitlines()).replace(" ", "")
    assert "Footwearandaccessories(12photographs,2notread)" in column
    assert "x" * 90 in column


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_long_list_goes_on_after_a_kill(
    suffix: str, classifier: Classifier, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicted_files, "PART", 2)
    output = tmp_path / f"out{suffix}"
    asked: list[int] = []

    def stop_in_the_third_part(classifier: Classifier, files: Any, **more: Any) -> Any:
        asked.append(len(asked))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return classify_photographs(classifier, files, **more)

    monkeypatch.setattr(predicted_files, "classify_photographs", stop_in_the_third_part)
    with pytest.raises(KeyboardInterrupt):
        write_predictions(output, [photographs], classifier, CONFIG)
    assert not output.exists()
    tally = write_predictions(output, [photographs], classifier, CONFIG)
    # Two parts were there already: two of the four are left.
    assert len(asked) == 3 + 2
    assert tally == {"sure": 4, "not_sure": 0, "out_of_distribution": 1, "failed": 2}
    assert [path.name for path in tmp_path.iterdir()] == [output.name]
    assert [Path(name).name for name in read_files(output)] == [Path(name).name for name in NAMES]
    whole = tmp_path / f"whole{suffix}"
    monkeypatch.setattr(predicted_files, "PART", 100)
    write_predictions(whole, [photographs], classifier, CONFIG)
    assert (
        read_labels(whole) == read_labels(output) == ["Hat", "Shirt", "Shoe", None, None, read_labels(whole)[5], "Shoe"]
    )


def test_other_photographs_begin_anew(classifier: Classifier, photographs: Path, tmp_path: Path) -> None:
    parts = tmp_path / "out.csv.parts"
    parts.mkdir()
    (parts / "asked.json").write_text('"another call"')
    (parts / "000000.json").write_text('{"sure": 9, "not_sure": 9, "failed": 9}')
    tally = write_predictions(tmp_path / "out.csv", [photographs / "Hat.png"], classifier, CONFIG)
    assert tally == {"sure": 1, "not_sure": 0, "out_of_distribution": 0, "failed": 0}


def test_names_of_every_kind_are_kept(classifier: Classifier, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    names = ["=1+1.png", "line\nbreak.png", 'quo"te,.png', "Größe.png"]
    for name in names:
        (folder / name).write_bytes(encode(draw("Hat", 1)))
    write_predictions(tmp_path / "out.parquet", [folder], classifier, CONFIG)
    assert sorted(Path(name).name for name in read_files(tmp_path / "out.parquet")) == sorted(names)
    write_predictions(tmp_path / "out.csv", [folder], classifier, CONFIG)
    assert sorted(Path(name).name for name in read_files(tmp_path / "out.csv")) == sorted(names)


def test_an_output_of_another_kind_is_refused(classifier: Classifier, photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"\.csv, \.jsonl, \.parquet"):
        write_predictions(tmp_path / "out.xlsx", [photographs], classifier)
    assert not list(tmp_path.iterdir())


def test_the_command_tells_and_counts(model: Path, photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("classify", str(photographs), "--model", str(model), "--csv") == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1 + len(NAMES)
    assert "2 of 7 could not be classified" in told.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{photographs}/nowhere", "--model", "{model}"], "There is no such file or folder"),
        (["{photographs}/empty.png", "--model", "{model}"], "1 of 1 could not be classified"),
        (["{empty}", "--model", "{model}"], "There is no photograph"),
        (["{photographs}", "--model", "{empty}"], "There is no model in this folder"),
        (["{photographs}", "--model", "{model}", "--csv", "--json"], "cannot be used together"),
        (
            ["{photographs}", "--model", "{model}", "--target-precision", "0.5"],
            "--target-precision must be one of 0.9, 0.95",
        ),
    ],
)
def test_a_mistake_is_told_in_a_line(
    arguments: list[str],
    message: str,
    model: Path,
    photographs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [each.format(photographs=photographs, model=model, empty=tmp_path) for each in arguments]
    assert run("classify", *given) == 2
    assert message in capsys.readouterr().err


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    return int(stopped.value.code or 0)


def read(path: Path) -> pl.DataFrame:
    if path.suffix == ".csv":
        return pl.read_csv(path)
    return pl.read_ndjson(path) if path.suffix == ".jsonl" else pl.read_parquet(path)


def read_files(path: Path) -> list[str]:
    return read(path)["file"].to_list()


def read_labels(path: Path) -> list[str | None]:
    return read(path)["label" if path.suffix == ".jsonl" else "predicted_label"].to_list()
