"""`predict` labels the Unknown items with every run, and lists where the runs differ."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hangtag.config import PredictConfig
from hangtag.errors import WorkspaceError
from hangtag.inference.captions import describe_confidence
from hangtag.inference.predict import describe_predictions, predict
from hangtag.labels.labelled import UNKNOWN, read_labelled
from hangtag.workspace import Workspace
from stub_runs import CLASS_NAMES, SCHEMA, Item, StubModel, patch_models, write_labels, write_run, write_workspace

ITEMS: list[Item] = [
    ("Bags", "train", "Bags", 0.9),
    (UNKNOWN, None, "Shoes", 0.8),
    ("Shoes", "val", "Shoes", 0.7),
    ("Tshirts", "test", "Bags", 0.6),
    (UNKNOWN, None, "Tshirts", 0.94),
]


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return write_workspace(tmp_path / "ws", ITEMS)


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[StubModel]:
    return patch_models(monkeypatch)


def read(place: Workspace, run_id: str, name: str = "predictions.csv") -> pl.DataFrame:
    return pl.read_csv(place.predictions(run_id) / name)


def test_unknown_items_get_their_two_likeliest_labels(place: Workspace) -> None:
    write_run(place, "one")
    [result] = predict(place)
    assert result.counts == {"items": 2, "differing": 0}
    columns = ["item_id", "title", "given_label", "predicted_label", "confidence", "second_label", "second_confidence"]
    table = read(place, "one")
    assert table.columns == columns
    assert table.rows() == [
        ("i1", "Nice thing, 1", "Free Gifts", "Shoes", 0.8, "Bags", 0.1),
        ("i4", "Nice thing, 4", "Free Gifts", "Tshirts", 0.94, "Bags", 0.03),
    ]


def test_all_probabilities_are_kept_in_the_parquet_file(place: Workspace) -> None:
    write_run(place, "one")
    predict(place)
    table = pl.read_parquet(place.predictions("one") / "predictions.parquet")
    assert table.columns == ["item_id", "predicted_label", "confidence", "pred_probs"]
    assert table.schema["pred_probs"] == pl.List(pl.Float32)
    np.testing.assert_allclose(table["pred_probs"].to_list(), [[0.1, 0.8, 0.1], [0.03, 0.03, 0.94]], rtol=1e-6)


def test_all_items_can_be_asked_for(place: Workspace) -> None:
    write_run(place, "one")
    [result] = predict(place, PredictConfig(items="all"))
    assert result.counts["items"] == 5
    table = read(place, "one")
    assert table["predicted_label"].to_list() == [answer for _, _, answer, _ in ITEMS]
    assert table["given_label"].to_list() == ["Bags", "Free Gifts", "Shoes", "Tshirts", "Free Gifts"]


def test_differences_between_the_runs_of_one_call_are_listed_for_each(place: Workspace) -> None:
    for run_id, shift in (("one", 0), ("same", 0), ("other", 1)):
        write_run(place, run_id, shift=shift)
    results = {result.folder.parent.name: result.counts["differing"] for result in predict(place)}
    assert results == {"one": 2, "other": 2, "same": 2}
    one = read(place, "one", "differences.csv")
    assert one.columns == [
        "item_id",
        "predicted_label",
        "confidence",
        "other_run_id",
        "other_predicted_label",
        "other_confidence",
    ]
    assert one.rows() == [
        ("i1", "Shoes", 0.8, "other", "Tshirts", 0.8),
        ("i4", "Tshirts", 0.94, "other", "Bags", 0.94),
    ]
    other = read(place, "other", "differences.csv")
    assert other.select("item_id", "other_run_id").rows() == [
        ("i1", "one"),
        ("i4", "one"),
        ("i1", "same"),
        ("i4", "same"),
    ]


def test_only_the_runs_asked_for_are_predicted_each_once(place: Workspace, loaded: list[StubModel]) -> None:
    write_run(place, "one")
    write_run(place, "other", shift=1)
    [result] = predict(place, run_ids=["one", "one"])
    assert result.counts["differing"] == 0
    assert len(loaded) == 1
    assert not place.predictions("other").exists()


def test_without_unknown_items_the_files_are_there_and_empty(tmp_path: Path) -> None:
    place = write_workspace(tmp_path / "ws", [item for item in ITEMS if item[0] != UNKNOWN])
    write_run(place, "one")
    [result] = predict(place)
    assert result.counts == {"items": 0, "differing": 0}
    assert read(place, "one").is_empty()
    assert "predicted_label" in read(place, "one").columns
    assert read(place, "one", "differences.csv").columns[3] == "other_run_id"
    table = pl.read_parquet(place.predictions("one") / "predictions.parquet")
    assert table.is_empty()
    assert table.schema["pred_probs"] == pl.List(pl.Float32)
    with Image.open(place.predictions("one") / "contact_sheet.png") as sheet:
        assert sheet.width > 100


def test_the_sheet_shows_a_hundred_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def draw(images: list[object], captions: list[str], columns: int, title: str) -> Image.Image:
        drawn.append((len(images), captions[0], columns, title))
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr("hangtag.inference.predict.draw_contact_sheet", draw)
    items: list[Item] = [*ITEMS, *[(UNKNOWN, None, "Bags", 0.999)] * 101]
    write_run(place := write_workspace(tmp_path / "ws", items), "one")
    predict(place)
    assert drawn == [(100, "Shoes\n80%\ni1", 6, "103 items as one labels them, the first 100")]


def test_a_second_call_is_skipped_until_something_changes(place: Workspace, loaded: list[StubModel]) -> None:
    write_run(place, "one")
    assert [result.skipped for result in predict(place)] == [False]
    assert [result.skipped for result in predict(place)] == [True]
    assert len(loaded) == 1
    # Each run's differences tell of the others.
    write_run(place, "two", shift=1)
    assert [result.skipped for result in predict(place)] == [False, False]
    write_run(place, "two", shift=2)
    assert [result.skipped for result in predict(place)] == [False, False]
    assert [result.skipped for result in predict(place, PredictConfig(items="all"))] == [False, False]


@pytest.mark.parametrize("run_id", ["one", "labels"])
def test_a_run_that_learnt_other_labels_is_refused(place: Workspace, run_id: str) -> None:
    write_run(place, run_id)
    predict(place)
    table = read_labelled(place).table
    write_labels(place, table.with_columns(label=pl.lit("Bags")))
    with pytest.raises(WorkspaceError, match=rf"other labels.*'{run_id}'.*hangtag train"):
        predict(place)


def test_a_workspace_without_runs_says_what_to_do(place: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="Run `hangtag train`"):
        predict(place)


def test_an_unknown_run_is_told_with_those_that_are_there(place: Workspace) -> None:
    write_run(place, "one")
    with pytest.raises(WorkspaceError, match=r"Finished runs: one\. Received: 'two'"):
        predict(place, run_ids=["one", "two"])


def test_a_catalogue_without_names_has_no_column_for_them(tmp_path: Path) -> None:
    schema = SCHEMA.from_values({**SCHEMA.to_json(), "name": None})
    write_run(place := write_workspace(tmp_path / "ws", ITEMS, schema=schema), "one")
    predict(place)
    assert read(place, "one").columns[:3] == ["item_id", "given_label", "predicted_label"]


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), max_size=8))
def test_the_two_likeliest_are_in_order_and_differ(rows: list[list[float]]) -> None:
    probs = np.array(rows, np.float32).reshape(-1, 3)
    table = describe_predictions(pl.Series([str(row) for row in range(len(rows))], dtype=pl.String), probs, CLASS_NAMES)
    index = CLASS_NAMES.index
    assert [index(label) for label in table["predicted_label"]] == probs.argmax(axis=1).tolist()
    assert table.filter(pl.col("predicted_label") == pl.col("second_label")).is_empty()
    assert table.filter(pl.col("second_confidence") > pl.col("confidence")).is_empty()
    assert table["pred_probs"].to_list() == probs.tolist()


@pytest.mark.parametrize(
    ("confidence", "text"),
    [(1.0, "100%"), (0.9999, ">99%"), (0.995, ">99%"), (0.994, "99%"), (0.333, "33%"), (0, "0%")],
)
def test_certainty_is_not_rounded_to(confidence: float, text: str) -> None:
    assert describe_confidence(confidence) == text
