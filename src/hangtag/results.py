"""Define the results that stages return, with tables that are read on demand, and format values for people."""

import html
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hangtag.io import JsonObject, read_csv, read_json

if TYPE_CHECKING:
    import polars as pl

# The columns of plain text.
WIDTH = 80
# Replaces spaces at which a line must not break.
NO_BREAK_SPACE = "\0"


@dataclass(frozen=True)
class StageResult:
    """The result of a stage. It is shown as a small table when printed or displayed in a notebook.

    Attributes:
        stage: The stage's name.
        folder: The folder that the stage writes to.
        metrics: The counts and metrics, as in the manifest.
        seconds: The time that the stage took; if it was skipped, the time of the earlier run.
        skipped: Whether the stage was skipped because its inputs and settings had not changed.
    """

    stage: str
    folder: Path
    metrics: JsonObject
    seconds: float
    skipped: bool = False

    @classmethod
    def of(cls, result: "StageResult") -> Self:
        """Convert the result of a stage to this class."""
        return cls(result.stage, result.folder, result.metrics, result.seconds, result.skipped)

    def read_table(self, name: str) -> "pl.DataFrame":
        """Read one of the stage's tables, a `.csv` or `.parquet` file of its folder."""
        path = self.folder / name
        if path.suffix == ".parquet":
            import polars as pl  # noqa: PLC0415  (a light install has no polars)

            return pl.read_parquet(path)
        return read_csv(path)

    def __str__(self) -> str:
        """Format the stage and its metrics, one metric per line."""
        rows = list(flatten_metrics(self.metrics))
        width = max((len(name) for name, _ in rows), default=0)
        lines = [f"  {name:<{width}}  {format_value(value)}" for name, value in rows]
        return "\n".join([f"{self.stage}: {self._describe_outcome()}", *lines, f"  in {self.folder}"])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(format_value(value))}</td></tr>"
            for name, value in flatten_metrics(self.metrics)
        )
        caption = html.escape(f"{self.stage}: {self._describe_outcome()}, in {self.folder}")
        return f"<table><caption>{caption}</caption><tbody>{rows}</tbody></table>"

    def _describe_outcome(self) -> str:
        return "unchanged, skipped" if self.skipped else f"done in {format_seconds(self.seconds)}"


class PrepareResult(StageResult):
    """The result of `prepare`."""

    @property
    def items(self) -> "pl.DataFrame":
        """Return the items: `item_id`, the catalogue's columns, and the row of the photograph in `images.npy`."""
        return self.read_table("items.parquet")

    @property
    def rejected(self) -> "pl.DataFrame":
        """Return the rows and photographs that could not be used, each with a code and a reason."""
        return self.read_table("rejected.csv")


class CleanResult(StageResult):
    """The result of `clean`."""

    @property
    def labels(self) -> "pl.DataFrame":
        """Return the items with `label`, `split` and `group_id`."""
        return self.read_table("labels.parquet")

    @property
    def label_changes(self) -> "pl.DataFrame":
        """Return the changed labels, each with its rule."""
        return self.read_table("label_changes.csv")


class TrainResult(StageResult):
    """The result of `train`."""

    @property
    def history(self) -> "pl.DataFrame":
        """Return the metrics of every epoch."""
        return self.read_table("history.csv")


class EvaluatedResult(StageResult):
    """The result of a stage that evaluates predictions."""

    @property
    def report(self) -> JsonObject:
        """Return all metrics with their intervals, as in `report.json`."""
        report: JsonObject = read_json(self.folder / "report.json")
        return report


class CrossValidateResult(EvaluatedResult):
    """The result of `cross_validate`."""

    @property
    def out_of_fold(self) -> "pl.DataFrame":
        """Return the probabilities of every labelled item, predicted by the model of the fold that excluded it."""
        return self.read_table("out_of_fold.parquet")

    @property
    def classes(self) -> "pl.DataFrame":
        """Return the precision, recall and F1 of each class, with its interval and its number of items."""
        return self.read_table("classification_report.csv")


class EvaluateResult(EvaluatedResult):
    """The result of `evaluate` for one run."""

    @property
    def misclassified(self) -> "pl.DataFrame":
        """Return the misclassified items in descending order of confidence."""
        return self.read_table("misclassified.csv")


class PredictResult(StageResult):
    """The result of `predict` for one run."""

    @property
    def predictions(self) -> "pl.DataFrame":
        """Return the predicted items, with confidence and probabilities."""
        return self.read_table("predictions.parquet")


class CompareResult(StageResult):
    """The result of `compare`."""

    @property
    def runs(self) -> "pl.DataFrame":
        """Return one row for each run: metrics with intervals, and costs."""
        return self.read_table("comparison.csv")


class LearningCurveResult(StageResult):
    """The result of `learning_curve`."""

    @property
    def points(self) -> "pl.DataFrame":
        """Return one row for each share of the training items: metrics with intervals."""
        return self.read_table("learning_curve.csv")


class ParameterSearchResult(StageResult):
    """The result of `parameter_search`."""

    @property
    def trials(self) -> "pl.DataFrame":
        """Return one row for each trial, the best on val first: its run, its settings, and its figures."""
        return self.read_table("trials.csv")


class AuditResult(StageResult):
    """The result of `audit`."""

    @property
    def issues(self) -> "pl.DataFrame":
        """Return the issues in descending order of score; see docs/audit.md for the columns."""
        return self.read_table("issues.csv")


def flatten_metrics(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each metric; names in a nested mapping are prefixed by its name."""
    for key, value in metrics.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from flatten_metrics(value, f"{name} ")
        else:
            yield name, value


def format_value(value: object) -> str:
    """Format a value: numbers as 44,441 or 0.9132, booleans as yes or no, lists separated by commas."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4f}".rstrip("0").rstrip(".")
        case list() | tuple():
            return ", ".join(map(format_value, value)) or "none"
    return str(value)


def format_seconds(seconds: float) -> str:
    """Format a duration as `3.2 s`, `4 min 05 s` or `2 h 06 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min"


def fold(text: str, indent: str = "") -> str:
    """Break a text into lines, with the further ones indented; `NO_BREAK_SPACE` becomes a space."""
    folded = textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return folded.replace(NO_BREAK_SPACE, " ")


def make_relative(folder: Path) -> str:
    """Return a path relative to the current folder if it is below it, else unchanged."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Format a number with its noun: `1 product`, `2,000 products`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
