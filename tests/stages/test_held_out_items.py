"""What is fitted on held-out items is fitted on these, with their names and groups; what is learnt is not of them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from stub_stages import make_trainer

from hangtag.catalog.schema import CatalogSchema
from hangtag.labels.dataset import LabeledItems
from hangtag.manifest import StageRecord
from hangtag.models.label_space import CATEGORY_PATH, LabelSpace, Probs
from hangtag.stages import cross_validate as fold_stage
from hangtag.stages import train as train_stage
from hangtag.stages.train import build_trainer
from hangtag.train_config import TrainConfig
from hangtag.training import trainer as trainer_module
from hangtag.training.calibration import calibrate_model
from hangtag.training.data import ItemDataset
from hangtag.training.name_head import NAME_WEIGHT
from hangtag.training.targets import build_targets
from hangtag.training.trainer import Trainer
from hangtag.workspace import Workspace

LABEL_SPACE = LabelSpace.of_classes(("dark", "light"))
CONFIG = TrainConfig(with_names=True, checkpoint="last")
WEIGHT = f"{CATEGORY_PATH}_with_name/name_weight"


class CalibratedTrainer(Trainer):
    """A trainer that answers `dark` with a confidence of 0.9; `answers` says how many of each ten are wrong.

    Args:
        answers: By split and whether names are read.
        items: The number of items of each split.
    """

    def __init__(self, answers: dict[tuple[str, bool], int], items: int) -> None:
        images, rows = np.zeros((2 * items, 1, 1, 3), np.uint8), np.arange(2 * items)
        classes, words = {CATEGORY_PATH: np.zeros(items, np.int64)}, np.ones((items, 1), np.int32)
        self.data = {
            split: ItemDataset(images, part, classes, words)
            for split, part in (("train", rows[:items]), ("val", rows[items:]))
        }
        self.answers, self.label_space, self.title = answers, LABEL_SPACE, ""
        self.vocabulary: Any = SimpleNamespace(words=("word",))

    def predict_heads(self, data: ItemDataset, title: str, *, words: bool = True) -> dict[str, Probs]:  # noqa: ARG002
        split = next(name for name, each in self.data.items() if each is data)
        probs = np.tile(np.array([0.9, 0.1], np.float32), (len(data), 1))
        is_wrong = np.arange(len(data)) % 10 < self.answers[split, words]
        probs[is_wrong] = probs[is_wrong, ::-1]
        return {CATEGORY_PATH: probs}


def label_rows(groups: list[str]) -> Any:
    """Return labelled items of these groups, in the order of their photographs."""
    return SimpleNamespace(table=pl.DataFrame({"image_index": np.arange(len(groups)), "group_id": groups}))


def find_temperature(share: float) -> float:
    """Return the temperature that makes a confidence of 0.9 this share."""
    return float(np.log(0.9 / 0.1) / np.log(share / (1 - share)))


def test_temperatures_are_fitted_on_val_with_and_without_names() -> None:
    answers = {("train", False): 1, ("train", True): 1, ("val", False): 4, ("val", True): 2}
    labelled = label_rows([str(number) for number in range(200)])
    calibration = calibrate_model(CalibratedTrainer(answers, 100), labelled)
    temperatures = {key: each["temperatures"][CATEGORY_PATH] for key, each in calibration.items()}
    assert temperatures == {
        "photograph": pytest.approx(find_temperature(0.6), rel=0.01),
        "photograph_and_name": pytest.approx(find_temperature(0.8), rel=0.01),
    }


@pytest.mark.parametrize(("photographs", "is_proven"), [(1, True), (10, False)])
def test_thresholds_need_so_many_products_and_no_photographs_of_one(photographs: int, is_proven: bool) -> None:
    """All 300 photographs of val are answered rightly; they prove 0.9 as 300 products, but not as 30."""
    answers = {(split, words): 0 for split in ("train", "val") for words in (False, True)}
    groups = [f"train{number}" for number in range(300)] + [f"val{number // photographs}" for number in range(300)]
    calibration = calibrate_model(CalibratedTrainer(answers, 300), label_rows(groups))
    for each in calibration.values():
        assert (each["thresholds"]["0.9"] is not None) is is_proven


class NamingTrainer(make_trainer()):  # type: ignore[misc]
    """A trainer without an image network whose classifiers of names are real; `made` lists all of them."""

    made: list["NamingTrainer"]
    network_size = (4, 4)
    predict_names = Trainer.predict_names

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self.made.append(self)

    def predict_heads(self, data: ItemDataset, *_: Any, **__: Any) -> dict[str, Probs]:
        return {CATEGORY_PATH: np.full((len(data), 2), 0.5, np.float32)}

    def fit(self, state: Any) -> None:
        super().fit(state)
        self.state = state
        state.kept_weights = {}


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> list[NamingTrainer]:
    """Stub the networks of both stages, and return the list that their trainers are added to."""
    monkeypatch.setattr(NamingTrainer, "made", [], raising=False)
    monkeypatch.setattr(trainer_module, "assign_weights", lambda *_: None)
    for stage in (train_stage, fold_stage):
        monkeypatch.setattr(stage, "assign_weights", lambda *_: None)
        monkeypatch.setattr(stage, "Trainer", NamingTrainer)
    return NamingTrainer.made


@pytest.fixture
def labelled() -> LabeledItems:
    """Return 40 items, each ten in a split, whose names tell their label; two by two they share a word of their own."""
    numbers = np.arange(40)
    splits = ["train", "train", "val", "test"]
    table = pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in numbers],
            "image_index": numbers,
            "title": [f"{'night' if number % 2 else 'noon'} word{number // 2}" for number in numbers],
            "label": ["dark" if number % 2 else "light" for number in numbers],
            "split": [splits[number // 10] for number in numbers],
            "group_id": [f"g{number}" for number in numbers],
        }
    )
    images = np.zeros((40, 4, 4, 3), np.uint8)
    return LabeledItems(table, images, ("dark", "light"), CatalogSchema(name="title"), "digest")


def list_words(numbers: list[int]) -> set[str]:
    return {"night", "noon"} | {f"word{number // 2}" for number in numbers}


def test_the_vocabulary_is_that_of_the_training_items(
    labelled: LabeledItems, trainers: list[NamingTrainer], tmp_path: Path
) -> None:
    build_trainer(Workspace.at(tmp_path), labelled, tmp_path, CONFIG)
    assert set(trainers[0].vocabulary.words) == list_words(list(range(20)))


def test_a_fold_learns_no_word_and_no_name_weight_of_its_own_items(
    labelled: LabeledItems, trainers: list[NamingTrainer], tmp_path: Path
) -> None:
    item_folds = np.arange(40) // 2 % 2
    targets = build_targets(labelled, CONFIG.target)
    record = StageRecord("fold", tmp_path / "fold_0", {}, {"folds": 2})
    fold_stage._run_fold(record, fold_stage._Fold(labelled, targets, CONFIG, item_folds, 0))
    trained_on = np.flatnonzero(item_folds != 0).tolist()
    assert trainers[0].data["train"].rows.tolist() == trained_on
    assert set(trainers[0].vocabulary.words) == list_words(trained_on)
    # The photographs tell nothing and the names everything: these items would choose the highest.
    assert trainers[0].state.kept_weights[WEIGHT] == NAME_WEIGHT
