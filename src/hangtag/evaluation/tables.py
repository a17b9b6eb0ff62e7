"""Tell an evaluation in tables, one a file."""

from collections.abc import Mapping
from typing import Any

import polars as pl
import polars.selectors as cs

from hangtag.evaluation.answered import Answered
from hangtag.evaluation.calibration import tabulate_reliability
from hangtag.evaluation.confusion import find_most_confused, tabulate_confusion
from hangtag.evaluation.coverage import tabulate_coverage, tabulate_thresholds
from hangtag.evaluation.levels import tabulate_levels
from hangtag.evaluation.metrics import tabulate_classes
from hangtag.labels.labelled import Labelled

# Made only for a model that says how often each class was in training.
ADJUSTMENT = "adjustment.csv"


def build_tables(
    report: Mapping[str, Any], parts: Mapping[str, Answered], predictions: pl.DataFrame, labelled: Labelled
) -> dict[str, pl.DataFrame]:
    """Give every table of an evaluation by its file's name.

    Args:
        report: What `build_report` gave.
        parts: The answered items by split.
        predictions: The same items as `Answered.tabulate` gives them.
        labelled: The cleaned catalogue, for the names of misclassified items.
    """
    confusion = tabulate_confusion(predictions)
    classes = [tabulate_classes(figures, split) for split, figures in report["splits"].items()]
    reliability = {split: tabulate_reliability(part.confidence, part.correct) for split, part in parts.items()}
    coverage = {split: tabulate_coverage(part.confidence, part.correct) for split, part in parts.items()}
    tables = {
        "classification_report.csv": pl.concat(classes),
        "confusion_matrix.csv": confusion,
        "most_confused.csv": find_most_confused(confusion),
        "misclassified.csv": _tabulate_wrong(predictions, labelled),
        "levels.csv": tabulate_levels(report["levels"]),
        "reliability.csv": _join_splits(reliability),
        "coverage.csv": _join_splits(coverage),
        "thresholds.csv": tabulate_thresholds(report["thresholds"]),
    }
    if "adjustments" in report:
        tables[ADJUSTMENT] = pl.DataFrame(report["adjustments"])
    return tables


def find_wrong(predictions: pl.DataFrame) -> pl.DataFrame:
    """Give the misclassified items, the most confident first."""
    wrong = predictions.filter(pl.col("label") != pl.col("predicted_label"))
    return wrong.sort("confidence", "item_id", descending=[True, False])


def _tabulate_wrong(predictions: pl.DataFrame, labelled: Labelled) -> pl.DataFrame:
    wrong = find_wrong(predictions).select("split", "item_id", "label", "predicted_label", "confidence")
    if name := labelled.schema.name:
        names = labelled.table.select("item_id", name)
        wrong = wrong.join(names, on="item_id", how="left", maintain_order="left")
    return wrong.with_columns(cs.float().round(4))


def _join_splits(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Put the tables of the splits one below the other, with the split before their columns."""
    return pl.concat([table.select(pl.lit(split).alias("split"), pl.all()) for split, table in tables.items()])
