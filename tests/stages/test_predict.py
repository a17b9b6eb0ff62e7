"""`predict` labels the Unknown items with every run, and lists where the runs differ."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from stub_runs import (
    CLASS_NAMES,
    IMAGE_SIZE,
    SCHEMA,
    Item,
    StubModel,
    finish_again,
    patch_models,
    write_labels,
    write_run,
    write_workspace,
)

from hangtag.config import PredictConfig
from hangtag.errors import ModelError, WorkspaceError
from hangtag.inference.prediction import describe_confidence, format_prediction
from hangtag.io import read_json, write_json
from hangtag.labels.dataset import UNKNOWN, read_labeled_items
from hangtag.models.checkpoint import SavedModel
from hangtag.models.label_space import CATEGORY_PATH, NO_VALUE, LabelSpace
from hangtag.models.text import Vocabulary
from hangtag.stages.predict import describe_predictions, predict
from hangtag.workspace import Workspace

ITEMS: list[Item] = [
    ("Bags", "train", "Bags", 0.9),
    (UNKNOWN, None, "Shoes", 0.8),
    ("Shoes", "val", "Shoes", 0.7),
    ("Tshirts", "test", "Bags", 0.6),
    (UNKNOWN, None, "Tshirts", 0.94),
]


LABEL_SPACE = LabelSpace(
    {"kind": ("Goods", "Wear"), "label": CLASS_NAMES},
    ((0, 0), (0, 1), (NO_VALUE, 2)),
    {"gender": ("Men", "Women")},
    "label",
)


class NamedModel(StubModel):
    """Predict like `StubModel` with words, and the next class without; the gender is Women with 0.9."""

    def __init__(self, label_space: LabelSpace) -> None:
        super().__init__()
        self.label_space = label_space
        self.input = ("pixels", "words")  # type: ignore[assignment]

    def predict_on_batch(self, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
        self.shift = 0 if inputs["words"].any() else 1
        answers = super().predict_on_batch(inputs)
        if self.label_space.attributes:
            answers["attribute_0"] = np.tile(np.array([0.1, 0.9], np.float32), (len(inputs["pixels"]), 1))
        return answers


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
    assert result.metrics == {"items": 2, "sure": 0, "differing": 0}
    table = read(place, "one")
    assert table.columns == [
        "item_id",
        "title",
        "given_label",
        "predicted_label",
        "confidence",
        "second_label",
        "second_confidence",
        "is_sure",
    ]
    # A model without thresholds is never sure.
    assert table.rows() == [
        ("i1", "Nice thing, 1", "Free Gifts", "Shoes", 0.8, "Bags", 0.1, False),
        ("i4", "Nice thing, 4", "Free Gifts", "Tshirts", 0.94, "Bags", 0.03, False),
    ]


def test_items_that_lack_a_level_are_asked_about_too(place: Workspace) -> None:
    table = pl.read_parquet(place.labels / "labels.parquet")
    types = pl.Series("type", [" n/a", *table["type"].to_list()[1:]])
    write_labels(place, table.with_columns(types))
    write_run(place, "one")
    assert predict(place)[0].metrics["items"] == 3
    given_labels = read(place, "one").select("item_id", "given_label").rows()
    assert given_labels == [("i0", None), ("i1", "Free Gifts"), ("i4", "Free Gifts")]


def write_named_run(place: Workspace, run_id: str, label_space: LabelSpace = LABEL_SPACE, **more: Any) -> None:
    """Write a run whose `model.json` says what it predicts and reads, for `NamedModel`."""
    path = write_run(place, run_id) / "model.json"
    write_json(path, read_json(path) | {"label_space": label_space.to_json(), "words": None} | more)
    finish_again(path.parent)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load `NamedModel` from now on."""

    def load(folder: Path) -> SavedModel:
        description = read_json(folder / "model.json")
        label_space, words = LabelSpace.from_json(description["label_space"]), description["words"]
        vocabulary = Vocabulary(tuple(words)) if words else None
        return SavedModel(NamedModel(label_space), label_space, vocabulary, IMAGE_SIZE, IMAGE_SIZE, description)

    monkeypatch.setattr("hangtag.inference.classifier.load_saved", load)


@pytest.mark.usefixtures("named")
def test_other_levels_and_attributes_have_a_column_each(place: Workspace) -> None:
    write_named_run(place, "one")
    predict(place)
    table = read(place, "one")
    assert table.columns[-3:] == ["is_sure", "predicted_kind", "predicted_gender"]
    # The model reads no names, so answers one place further; bags and shoes are goods, and T-shirts have no kind.
    assert table.select("predicted_label", "predicted_kind", "predicted_gender").rows() == [
        ("Tshirts", None, "Women"),
        ("Bags", "Goods", "Women"),
    ]


@pytest.mark.usefixtures("named")
def test_names_are_given_to_a_model_that_reads_them(place: Workspace) -> None:
    thresholds = {"photograph": {"thresholds": {"0.95": 0.1}}, "photograph_and_name": {"thresholds": {"0.95": 0.9}}}
    write_named_run(place, "one", words=["nice"], calibration=thresholds)
    [result] = predict(place)
    assert result.metrics == {"items": 2, "sure": 1, "differing": 0}
    # Sure from the threshold on that was chosen with names.
    assert read(place, "one").select("predicted_label", "confidence", "is_sure").rows() == [
        ("Shoes", 0.8, False),
        ("Tshirts", 0.94, True),
    ]


@pytest.mark.usefixtures("named")
def test_sure_goes_by_the_wanted_precision_and_needs_its_threshold(place: Workspace) -> None:
    calibration = {"photograph": {"thresholds": {"0.9": 0.5, "0.95": 0.9, "0.99": None}}}
    write_named_run(place, "one", calibration=calibration)
    found = {}
    for wanted in (0.9, 0.95, 0.99, 0.995):
        [result] = predict(place, PredictConfig(target_precision=wanted))
        found[wanted] = result.metrics["sure"]
    assert found == {0.9: 2, 0.95: 1, 0.99: 0, 0.995: 0}


@pytest.mark.usefixtures("named")
def test_rare_classes_can_be_favoured(place: Workspace) -> None:
    write_named_run(place, "one", train_counts={CATEGORY_PATH: [1, 100, 100], "attribute_0": [1, 100]})
    predict(place, PredictConfig(logit_adjustment=1))
    table = read(place, "one")
    # 0.1 / 1 for bags against 0.8 / 100; the genders are 0.1 / 1 and 0.9 / 100.
    assert table["predicted_label"].to_list() == ["Bags", "Bags"]
    assert table["predicted_gender"].to_list() == ["Men", "Men"]
    assert table["confidence"].to_list() == pytest.approx([0.1 / 0.109, 0.94 / 0.9406], abs=1e-4)
    write_named_run(place, "one")
    with pytest.raises(ModelError, match=r"train_counts.*Leave out --logit-adjustment"):
        predict(place, PredictConfig(logit_adjustment=1))


@pytest.mark.usefixtures("named")
def test_runs_for_other_columns_do_not_differ_and_are_held_against_their_own(place: Workspace) -> None:
    write_named_run(place, "label", words=["nice"])
    write_named_run(place, "kind", LabelSpace.of_classes(("Goods", "Gifts", "Wear"), "kind"))
    results = {result.folder.parent.name: result.metrics["differing"] for result in predict(place)}
    assert results == {"label": 0, "kind": 0}
    table = read(place, "kind")
    assert table.columns[-1] == "is_sure"
    assert table.select("given_label", "predicted_label").rows() == [("Goods", "Wear"), ("Goods", "Goods")]


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
    assert result.metrics["items"] == 5
    table = read(place, "one")
    assert table["predicted_label"].to_list() == [answer for _, _, answer, _ in ITEMS]
    assert table["given_label"].to_list() == ["Bags", "Free Gifts", "Shoes", "Tshirts", "Free Gifts"]


def test_differences_between_the_runs_of_one_call_are_listed_for_each(place: Workspace) -> None:
    for run_id, shift in (("one", 0), ("same", 0), ("other", 1)):
        write_run(place, run_id, shift=shift)
    results = {result.folder.parent.name: result.metrics["differing"] for result in predict(place)}
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
    assert result.metrics["differing"] == 0
    assert len(loaded) == 1
    assert not place.predictions("other").exists()


def test_without_unknown_items_the_files_are_there_and_empty(tmp_path: Path) -> None:
    place = write_workspace(tmp_path / "ws", [item for item in ITEMS if item[0] != UNKNOWN])
    write_run(place, "one")
    [result] = predict(place)
    assert result.metrics == {"items": 0, "sure": 0, "differing": 0}
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

    monkeypatch.setattr("hangtag.stages.predict.draw_contact_sheet", draw)
    items: list[Item] = [*ITEMS, *[(UNKNOWN, None, "Bags", 0.999)] * 101]
    write_run(place := write_workspace(tmp_path / "ws", items), "one")
    predict(place)
    assert drawn == [(100, "Shoes\n80%, not sure\ni1", 6, "103 items as one labels them, the first 100")]


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
    table = read_labeled_items(place).table
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


def test_what_is_not_sure_says_so() -> None:
    assert format_prediction(0.998, True) == ">99%"
    assert format_prediction(0.333, False) == "33%, not sure"
