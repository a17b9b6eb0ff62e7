"""Test logit adjustment and its table against values computed by hand."""

import numpy as np
import polars as pl
import pytest

from hangtag.inference.prediction import HeadProbs
from hangtag.inference.runs import EvaluatedItems
from hangtag.metrics.report import STRENGTHS, try_adjustments
from hangtag.models.label_space import CATEGORY_PATH, NO_VALUE, LabelSpace

# Eight of the first class in training, two of the second: at a strength of 0.5 its probabilities count twice.
TRAIN_COUNTS = {CATEGORY_PATH: [8, 2]}
PROBS = np.array([[0.6, 0.4], [0.9, 0.1], [0.7, 0.3]], np.float32)
LABELS = ["rare", "common", "common"]


def answer(splits: list[str]) -> dict[str, EvaluatedItems]:
    items = pl.DataFrame({"split": splits, "label": LABELS})
    return EvaluatedItems(
        items, HeadProbs(LabelSpace.of_classes(("common", "rare")), {CATEGORY_PATH: PROBS})
    ).by_split()


def test_a_small_strength_finds_the_rare_item_and_a_large_one_loses_a_common_item() -> None:
    table = try_adjustments(answer(["val"] * 3), TRAIN_COUNTS)
    assert table.columns == ["split", "strength", "accuracy", "macro_f1"]
    assert table["strength"].to_list() == list(STRENGTHS) == [0, 0.1, 0.25, 0.5, 0.75, 1]
    assert table["accuracy"].to_list() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 1, 2 / 3, 2 / 3])
    # All common: an F1 of 0.8 and one of 0. At the end one of each is right, and one common item is called rare.
    assert table["macro_f1"].to_list() == pytest.approx([0.4, 0.4, 0.4, 1, 2 / 3, 2 / 3])


def test_adjustments_are_computed_for_val_and_test_only() -> None:
    table = try_adjustments(answer(["test", "train", "val"]), TRAIN_COUNTS)
    assert table["split"].unique(maintain_order=True).to_list() == ["val", "test"]
    assert try_adjustments(answer(["train"] * 3), TRAIN_COUNTS).is_empty()


def test_a_category_path_is_adjusted_by_the_share_of_its_label() -> None:
    """Two paths of one label of 16 items, beside a label of 4: each path of the first counts a quarter."""
    label_space = LabelSpace(
        {"season": ("Summer", "Winter"), "label": ("common", "rare")}, ((0, 0), (1, 0), (1, 1)), {}, "label"
    )
    probs = HeadProbs(label_space, {CATEGORY_PATH: np.array([[0.6, 0.2, 0.2]], np.float32)})
    adjusted = probs.adjust({CATEGORY_PATH: [14, 2, 4]}, 1.0).by_head[CATEGORY_PATH]
    np.testing.assert_allclose(adjusted, [[0.6 / 1.6, 0.2 / 1.6, 0.8 / 1.6]], rtol=1e-6)


def test_a_category_path_without_a_label_is_adjusted_by_its_own_share() -> None:
    label_space = LabelSpace({"season": ("Summer",), "label": ("common",)}, ((0, 0), (0, NO_VALUE)), {}, "label")
    probs = HeadProbs(label_space, {CATEGORY_PATH: np.array([[0.8, 0.2]], np.float32)})
    adjusted = probs.adjust({CATEGORY_PATH: [16, 4]}, 1.0).by_head[CATEGORY_PATH]
    np.testing.assert_allclose(adjusted, [[0.5, 0.5]], rtol=1e-6)
