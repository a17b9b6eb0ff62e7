"""Test that the capstone's results are consistent, and are shown for no other catalogue."""

import dataclasses

import pytest

from hangtag.catalog.schema import CatalogSchema
from hangtag.reporting.inputs import find_capstone, list_capstone_classes, read_capstone
from hangtag.reporting.model_chapters import list_mixtures

FIGURES = read_capstone()
CLASSES = list_capstone_classes(FIGURES)
SCHEMA = CatalogSchema(levels=tuple(FIGURES["levels"]), columns=tuple(FIGURES["columns"]))


def test_class_counts_add_up() -> None:
    before, after = (sum(counts[index] for counts in FIGURES["class_counts"].values()) for index in (0, 1))
    catalog = FIGURES["catalog"]
    assert before == after == catalog["labelled"] == 44440
    assert len(CLASSES) == 30
    assert sum(FIGURES["class_counts"][label][1] for label in CLASSES) == catalog["classified"]
    assert catalog["relabelled"] + catalog["unknown"] == FIGURES["class_counts"]["Free Items"][0]
    assert catalog["rows"] - catalog["items"] == catalog["rejected"]


def test_layers_add_up() -> None:
    parameters = FIGURES["parameters"]["color"]
    assert sum(layer[2] for layer in FIGURES["architecture"]["layers"]) == parameters["total"] == 9_914_686
    assert parameters["trainable"] + parameters["non_trainable"] == parameters["total"]
    # The first layer has one channel for gray instead of three: two times 32 filters of 3 x 3 less.
    assert parameters["total"] - FIGURES["parameters"]["gray"]["total"] == 2 * 9 * 32


@pytest.mark.parametrize("color_mode", ["color", "gray"])
def test_classification_reports_add_up(color_mode: str) -> None:
    report = FIGURES["validation"][color_mode]
    rows = report["classes"].values()
    assert sorted(report["classes"]) == CLASSES
    assert sum(row[3] for row in rows) == report["support"] == 7993
    for score in range(3):
        assert sum(row[score] for row in rows) / 30 == pytest.approx(report["macro"][score], abs=6e-4)
        weighted = sum(row[score] * row[3] for row in rows) / report["support"]
        assert weighted == pytest.approx(report["weighted"][score], abs=1.1e-3)
    recalled = sum(row[1] * row[3] for row in rows) / report["support"]
    assert recalled == pytest.approx(report["accuracy"], abs=6e-4)
    assert max(FIGURES["epochs"][color_mode]) == FIGURES["epochs"][color_mode][-1]
    assert FIGURES["epochs"][color_mode][-1] == FIGURES["results"][color_mode]["val"][1]


def test_the_hold_out_is_a_mixture_of_trained_and_new_items() -> None:
    mixtures = list_mixtures(FIGURES)
    assert [round(row["mixture"], 3) for row in mixtures] == [0.931, 0.941]
    assert all(abs(row["mixture"] - row["test"]) < 0.01 < row["test"] - row["val"] for row in mixtures)


def test_figures_are_shown_for_the_same_catalogue() -> None:
    assert find_capstone(SCHEMA, CLASSES) == FIGURES


@pytest.mark.parametrize(
    ("schema", "class_names"),
    [
        (SCHEMA, CLASSES[1:]),
        (SCHEMA, sorted([*CLASSES, "Hats"])),
        (dataclasses.replace(SCHEMA, levels=SCHEMA.levels[:2]), CLASSES),
        (dataclasses.replace(SCHEMA, columns=SCHEMA.columns[1:]), CLASSES),
    ],
    ids=["a class less", "a class more", "a level less", "a column less"],
)
def test_figures_are_shown_for_no_other_catalogue(schema: CatalogSchema, class_names: list[str]) -> None:
    assert find_capstone(schema, class_names) is None
