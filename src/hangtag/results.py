"""What the stages return: their metrics, and their tables on demand."""

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hangtag.io import read_csv, read_json

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class StageResult:
    """The result of a stage. It prints as a small table, and shows as one in a notebook.

    Attributes:
        stage: The stage's name.
        folder: The folder it writes to.
        metrics: Its counts and metrics, as in its manifest.
        seconds: How long it took; where it was skipped, how long the earlier run took.
        skipped: Whether it was skipped because its inputs and settings had not changed.
    """

    stage: str
    folder: Path
    metrics: dict[str, Any]
    seconds: float
    skipped: bool = False

    @classmethod
    def of(cls, result: "StageResult") -> Self:
        """Return the result of a stage as one of this class."""
        return cls(result.stage, result.folder, result.metrics, result.seconds, result.skipped)

    def read_table(self, name: str) -> "pl.DataFrame":
        """Read one of the stage's tables, a `.csv` or `.parquet` file of its folder."""
        path = self.folder / name
        if path.suffix == ".parquet":
            import polars as pl  # noqa: PLC0415  (a light install has no polars)

            return pl.read_parquet(path)
        return read_csv(path)

    def __str__(self) -> str:
        """Format the stage and its metrics, one in a line."""
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
        """The items: `item_id`, the catalogue's columns, and which row of `images.npy` is the photograph."""
        return self.read_table("items.parquet")

    @property
    def rejected(self) -> "pl.DataFrame":
        """The rows and photographs that could not be used, each with a code and a reason."""
        return self.read_table("rejected.csv")


class CleanResult(StageResult):
    """The result of `clean`."""

    @property
    def labels(self) -> "pl.DataFrame":
        """The items with `label`, `split` and `group_id`."""
        return self.read_table("labels.parquet")

    @property
    def label_changes(self) -> "pl.DataFrame":
        """The changed labels, each with its rule."""
        return self.read_table("label_changes.csv")


class TrainResult(StageResult):
    """The result of `train`."""

    @property
    def history(self) -> "pl.DataFrame":
        """The metrics of every epoch."""
        return self.read_table("history.csv")


class CrossValidateResult(StageResult):
    """The result of `cross_validate`."""

    @property
    def out_of_fold(self) -> "pl.DataFrame":
        """The probabilities of every labelled item, from the model of the fold that it was left out of."""
        return self.read_table("out_of_fold.parquet")


class EvaluateResult(StageResult):
    """The result of `evaluate` for one run."""

    @property
    def report(self) -> dict[str, Any]:
        """All metrics with their intervals, as in `report.json`."""
        report: dict[str, Any] = read_json(self.folder / "report.json")
        return report

    @property
    def misclassified(self) -> "pl.DataFrame":
        """The misclassified items, the most confident first."""
        return self.read_table("misclassified.csv")


class PredictResult(StageResult):
    """The result of `predict` for one run."""

    @property
    def predictions(self) -> "pl.DataFrame":
        """The predicted items, with confidence and probabilities."""
        return self.read_table("predictions.parquet")


class CompareResult(StageResult):
    """The result of `compare`."""

    @property
    def runs(self) -> "pl.DataFrame":
        """One row for each run: metrics with intervals, and costs."""
        return self.read_table("comparison.csv")


class AuditResult(StageResult):
    """The result of `audit`."""

    @property
    def issues(self) -> "pl.DataFrame":
        """The issues, the surest first; see docs/audit.md for the columns."""
        return self.read_table("issues.csv")


def flatten_metrics(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each metric; those of a nested mapping have its name in front."""
    for key, value in metrics.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from flatten_metrics(value, f"{name} ")
        else:
            yield name, value


def format_value(value: object) -> str:
    """Format a value: 44,441 or 0.9132, yes or no, a list separated by commas."""
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
            return ", ".join(format_value(each) for each in value) or "none"
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
