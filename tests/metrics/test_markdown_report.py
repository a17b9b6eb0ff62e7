"""Test the text of `report.md`."""

from typing import Any

import polars as pl

from hangtag.metrics.markdown import LEVELS_NOTE, write_summary

SCORES = {"precision": 0.9, "recall": 1.0, "f1": 0.947368, "f1_low": 0.93, "f1_high": 0.9616, "support": 1900}
NOTHING = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "f1_low": None, "f1_high": None, "support": 0}
INTERVAL = {"level": 0.95, "method": "bootstrap", "samples": 1000, "accuracy": [0.9, 0.92], "macro_f1": [0.8, 0.85]}
REPORT: dict[str, Any] = {
    "run_id": "capstone-color-0",
    "target": "label",
    "label_name": "Class_1",
    "input": "photograph",
    "temperature": None,
    "logit_adjustment": 0.0,
    "splits": {
        "val": {
            "n": 1900,
            "loss": 0.25,
            "accuracy": 0.91234,
            "macro_f1": 0.83,
            "weighted_f1": 0.9,
            "top3_accuracy": 0.99,
            "ece": 0.012,
            "confidence_interval": INTERVAL,
            "classes": {"Bags": SCORES, "A|B_c": NOTHING},
        }
    },
    "levels": {
        "val": {
            "sub_kind": {
                "kind": "level",
                "n": 1890,
                "num_classes": 44,
                "accuracy": 0.95,
                "accuracy_low": 0.9401,
                "accuracy_high": 0.96,
                "macro_f1": 0.7,
                "macro_f1_low": 0.6509,
                "macro_f1_high": 0.75,
                "frequent_classes": 37,
                "frequent_n": 1880,
                "frequent_accuracy": 0.955,
                "frequent_macro_f1": 0.8,
            }
        }
    },
    "thresholds": {},
}
CONFUSED = pl.DataFrame(
    [("val", "Bags", "A|B_c", 1234, 0.6495), ("test", "Bags", "A|B_c", 1, 0.1)],
    schema=["split", "label", "predicted_label", "count", "share"],
    orient="row",
)
EXPECTED = r"""# Evaluation of capstone-color-0

Target: label (Class\_1). Input: photograph. Not calibrated.

| split | items | loss | accuracy | macro-F1 | weighted F1 | top 3 | ECE |
| --- | --- | --- | --- | --- | --- | --- | --- |
| val | 1,900 | 0.2500 | 0.9123 [0.9000, 0.9200] | 0.8300 [0.8000, 0.8500] | 0.9000 | 0.9900 | 0.0120 |

In brackets: 95% intervals, bootstrap, 1,000 samples.

Without items, so not evaluated: test.

## Levels and attributes

| split | column | items | classes | accuracy | macro-F1 | frequent classes | frequent accuracy | frequent macro-F1 |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| val | sub\_kind | 1,890 | 44 | 0.950 [0.940, 0.960] | 0.700 [0.651, 0.750] | 37 | 0.955 | 0.800 |

{LEVELS_NOTE}

## val

| label | precision | recall | F1 | items |
| --- | --- | --- | --- | --- |
| Bags | 0.900 | 1.000 | 0.947 [0.930, 0.962] | 1,900 |
| A\|B\_c | 0.000 | 0.000 | 0.000 | 0 |

Most confused:

- Bags predicted as A\|B\_c: 1,234 (65.0% of Bags)
"""


def test_the_summary_has_the_expected_text() -> None:
    assert write_summary(REPORT, CONFUSED, ["test"]) == EXPECTED.replace("{LEVELS_NOTE}", LEVELS_NOTE)
    assert LEVELS_NOTE.startswith("Frequent classes have 10 items or more in the whole catalogue.")


def test_the_summary_states_that_no_item_was_misclassified() -> None:
    text = write_summary(REPORT, CONFUSED.clear())
    assert "No item was misclassified." in text
    assert "not evaluated" not in text


def find_section(text: str, heading: str) -> list[str]:
    """Return the lines of a section that say something."""
    section = text.split(f"\n## {heading}\n")[1].split("\n## ", maxsplit=1)[0]
    return [line for line in section.splitlines() if line]


def test_metrics_without_names_have_their_own_section() -> None:
    alone = {key: value for key, value in REPORT["splits"]["val"].items() if key != "classes"}
    named = REPORT | {"input": "photograph and name", "temperature": 1.2345, "target": "gender", "label_name": "gender"}
    text = write_summary(named | {"photograph_alone": {"splits": {"val": {**alone, "accuracy": 0.5}}}}, CONFUSED)
    assert "\nTarget: gender. Input: photograph and name. Temperature: 1.23.\n" in text
    section = find_section(text, "Without product names")
    assert section[0] == "The same model and items, from the photographs alone."
    assert section[3].startswith("| val | 1,900 | 0.2500 | 0.5000 [0.9000, 0.9200] |")
    assert text.index("Without product names") > text.index("| val | 1,900 | 0.2500 | 0.9123")


def test_thresholds_have_coverage_and_precision_in_each_split() -> None:
    some, none = {"coverage": 0.8349, "precision": 0.9851}, {"coverage": 0.0, "precision": None}
    thresholds = {
        "0.95": {"threshold": 0.56217, "splits": {"val": some, "test": none}},
        "0.995": {"threshold": None, "splits": {"val": none, "test": none}},
    }
    section = find_section(write_summary(REPORT | {"thresholds": thresholds}, CONFUSED), "Sure predictions")
    assert section[:4] == [
        "| target precision | threshold | val: coverage, precision | test: coverage, precision |",
        "| --- | --- | --- | --- |",
        "| 95% | 0.5622 | 83.5%, 98.5% | 0.0%, – |",
        "| 99.5% | – | 0.0%, – | 0.0%, – |",
    ]
    assert len(section) == 5
    adjusted = write_summary(REPORT | {"thresholds": thresholds, "logit_adjustment": 0.25}, CONFUSED)
    assert "Not calibrated. Logit adjustment: 0.25." in adjusted
    assert find_section(adjusted, "Sure predictions")[5].startswith("The thresholds were chosen without")


def test_adjustments_have_a_row_per_strength_and_columns_per_split() -> None:
    rows = [
        {"split": split, "strength": strength, "accuracy": accuracy, "macro_f1": 0.8}
        for split, accuracy in (("val", 0.9), ("test", 0.85))
        for strength in (0.0, 0.25)
    ]
    section = find_section(write_summary(REPORT | {"adjustments": rows}, CONFUSED), "Logit adjustment")
    assert section[:4] == [
        "| strength | val: accuracy | macro-F1 | test: accuracy | macro-F1 |",
        "| --- | --- | --- | --- | --- |",
        "| 0 | 0.9000 | 0.8000 | 0.8500 | 0.8000 |",
        "| 0.25 | 0.9000 | 0.8000 | 0.8500 | 0.8000 |",
    ]
    assert "## Logit adjustment" not in write_summary(REPORT | {"adjustments": []}, CONFUSED)


def test_metrics_of_frequent_classes_are_missing_if_all_are_rare() -> None:
    level = REPORT["levels"]["val"]["sub_kind"] | {"frequent_accuracy": None, "frequent_macro_f1": None}
    text = write_summary(REPORT | {"levels": {"val": {"kind": level}}}, CONFUSED)
    assert find_section(text, "Levels and attributes")[2].endswith("| 37 | – | – |")
