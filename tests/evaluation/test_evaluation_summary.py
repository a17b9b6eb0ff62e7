"""`report.md` as people read it."""

from typing import Any

import polars as pl

from hangtag.evaluation.summary import write_summary

SCORES = {"precision": 0.9, "recall": 1.0, "f1": 0.947368, "support": 1900}
NOTHING = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
INTERVAL = {"level": 0.95, "method": "bootstrap", "samples": 1000, "accuracy": [0.9, 0.92], "macro_f1": [0.8, 0.85]}
REPORT: dict[str, Any] = {
    "run_id": "capstone-color-0",
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
}
CONFUSED = pl.DataFrame(
    [("val", "Bags", "A|B_c", 1234, 0.6495), ("test", "Bags", "A|B_c", 1, 0.1)],
    schema=["split", "label", "predicted_label", "count", "share"],
    orient="row",
)
EXPECTED = r"""# Evaluation of capstone-color-0

| split | items | loss | accuracy | macro-F1 | weighted F1 | top 3 | ECE |
| --- | --- | --- | --- | --- | --- | --- | --- |
| val | 1,900 | 0.2500 | 0.9123 [0.9000, 0.9200] | 0.8300 [0.8000, 0.8500] | 0.9000 | 0.9900 | 0.0120 |

In brackets: 95% intervals, bootstrap, 1,000 draws.

Without items, so not judged: test.

## val

| label | precision | recall | F1 | items |
| --- | --- | --- | --- | --- |
| Bags | 0.900 | 1.000 | 0.947 | 1,900 |
| A\|B\_c | 0.000 | 0.000 | 0.000 | 0 |

Most confused:

- Bags taken for A\|B\_c: 1,234 (65.0% of Bags)
"""


def test_the_summary_reads_like_this() -> None:
    assert write_summary(REPORT, CONFUSED, ["test"]) == EXPECTED


def test_a_model_without_mistakes_is_said_to_be() -> None:
    text = write_summary(REPORT, CONFUSED.clear())
    assert "No item was misclassified." in text
    assert "not judged" not in text
