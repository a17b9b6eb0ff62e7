"""Stage `compare`: compare evaluated runs, each tested against one of them on the same items."""

from collections.abc import Sequence
from pathlib import Path

from hangtag.config import EvaluateConfig
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.figures.pareto import plot_costs, plot_interactive_costs
from hangtag.figures.style import save_figure
from hangtag.inference.runs import select_runs
from hangtag.io import write_csv, write_json, write_text
from hangtag.labels.dataset import read_labeled_items
from hangtag.lock import hold, sweep
from hangtag.manifest import StageRecord
from hangtag.metrics.comparison import COMPARISON_FILES, Comparison, build_comparison, read_comparison
from hangtag.metrics.evaluated_runs import digest_run, find_evaluated, is_evaluated, read_run, read_truth
from hangtag.metrics.markdown import list_blocks, write_markdown
from hangtag.metrics.pareto import Timing, time_runs
from hangtag.results import CompareResult, StageResult
from hangtag.train_config import SPLITS
from hangtag.workspace import Workspace

__all__ = ["compare", "list_blocks", "read_comparison"]

# So that a run's intervals are those of its evaluation, unless either was told otherwise.
DEFAULTS = EvaluateConfig()


def compare(
    workspace: str | Path | Workspace,
    run_ids: Sequence[str] | None = None,
    *,
    split: str = "val",
    baseline: str | None = None,
    is_timed: bool = False,
    samples: int = DEFAULTS.bootstrap_samples,
    seed: int = DEFAULTS.bootstrap_seed,
) -> CompareResult:
    """Compare evaluated runs on the items that all of them were evaluated on, and test each against the baseline.

    Writes to `comparison/`: `comparison.csv`, `pairs.csv`, `seeds.csv`, `recipes.csv` and `pareto.csv` (see
    `Comparison`), all of them in `comparison.json`, formatted tables in `comparison.md`, and plots of metrics against
    costs, `pareto.png` and `pareto.html`. Runs with different targets are compared on a column that all of them
    predict.

    Args:
        workspace: A workspace with evaluated runs.
        run_ids: The runs, two or more with the baseline; by default all that were evaluated on the split.
        split: The split to compare on. Use `test` for the final evaluation only: the metrics of a run that was chosen
            by them are too optimistic.
        baseline: The run that the others are tested against; the first one by default.
        is_timed: Whether to measure the prediction time on some of the split's photographs; see `time_runs`.
        samples: The number of bootstrap samples for each 95 % interval.
        seed: The seed of the bootstrap.

    Raises:
        SettingsError: There is no such split, or there are fewer than two runs.
        WorkspaceError: A run is not finished, or has no up-to-date evaluation on the split; or the runs were evaluated
            on other targets, on other labels, or on no item that all of them share.
        ModelError: A run to be timed cannot be loaded.
    """
    workspace = Workspace.at(workspace)
    if split not in SPLITS:
        allowed = f"Allowed: {', '.join(SPLITS)}."
        raise SettingsError("There is no such split.", allowed=allowed, received=split)
    sweep(workspace)
    chosen = _choose_runs(workspace, run_ids, baseline, split)
    baseline = baseline or chosen[0]
    evaluated = [folder for run_id in chosen for folder in (workspace.run(run_id), workspace.evaluation(run_id))]
    with hold(
        "compare", workspace, reads=[workspace.prepared, workspace.labels, *evaluated], writes=[workspace.comparison]
    ):
        # Checked again under the lock, because another process may have replaced a run.
        _require_evaluations(workspace, chosen)
        return CompareResult.of(
            _compare_runs(workspace, chosen, split, baseline, is_timed=is_timed, samples=samples, seed=seed)
        )


def _compare_runs(
    workspace: Workspace, chosen: list[str], split: str, baseline: str, *, is_timed: bool, samples: int, seed: int
) -> StageResult:
    inputs = {run_id: digest_run(workspace, run_id) for run_id in chosen}
    settings = {"run_ids": chosen, "split": split, "baseline": baseline, "samples": samples, "seed": seed}
    record = StageRecord("compare", workspace.comparison, inputs, settings | {"is_timed": is_timed})
    if current := record.load_if_unchanged():
        return current
    runs = [read_run(workspace, run_id, split) for run_id in chosen]
    truth, timing = read_truth(workspace, runs), _time_runs(workspace, chosen, split) if is_timed else None
    comparison = build_comparison(
        runs, chosen.index(baseline), split, samples=samples, seed=seed, truth=truth, timing=timing
    )
    paths = _write_comparison(record.begin(), comparison)
    counts = {"runs": len(chosen), "split": split, "items": comparison.runs["items"][0]}
    return record.finish(counts, paths, timed=comparison.timed)


def _time_runs(workspace: Workspace, run_ids: Sequence[str], split: str) -> Timing:
    return time_runs(workspace, run_ids, read_labeled_items(workspace), split)


def _write_comparison(folder: Path, comparison: Comparison) -> list[Path]:
    tables = {name: getattr(comparison, table) for name, table in COMPARISON_FILES.items()}
    for name, table in tables.items():
        write_csv(folder / name, table)
    whole = {COMPARISON_FILES[name]: table.to_dicts() for name, table in tables.items()}
    write_json(folder / "comparison.json", whole | {"timed": comparison.timed or None})
    write_text(folder / "comparison.md", write_markdown(comparison))
    split, items = comparison.runs["split"][0], comparison.runs["items"][0]
    title = f"Accuracy and costs: {items:,} items of {split}"
    paths = save_figure(plot_costs(comparison.fronts, title), folder / "pareto.png")
    paths += save_figure(plot_interactive_costs(comparison.fronts, title), folder / "pareto.html")
    return [*paths, *(folder / name for name in (*COMPARISON_FILES, "comparison.json", "comparison.md"))]


def _choose_runs(workspace: Workspace, run_ids: Sequence[str] | None, baseline: str | None, split: str) -> list[str]:
    """Return the named runs in their order, after the baseline if it is not among them."""
    asked = list(dict.fromkeys(run_ids or find_evaluated(workspace, split)))
    if baseline is not None and baseline not in asked:
        asked.insert(0, baseline)
    if len(asked) < 2:
        hint = (
            ""
            if run_ids
            else "Run `hangtag evaluate` first; by default all runs that were evaluated on the split are compared."
        )
        raise SettingsError(
            "There are fewer than two runs to compare.", allowed="Allowed: two runs or more.", received=asked, hint=hint
        )
    chosen = select_runs(workspace, asked)
    _require_evaluations(workspace, chosen)
    return chosen


def _require_evaluations(workspace: Workspace, run_ids: Sequence[str]) -> None:
    """Check that the runs are evaluated, and were not trained again since.

    Raises:
        WorkspaceError: A run has no up-to-date evaluation.
    """
    missing = [run_id for run_id in run_ids if not is_evaluated(workspace, run_id)]
    if missing:
        command = " ".join(["hangtag evaluate", *missing])
        what = "These runs are not evaluated, or were trained again since."
        raise WorkspaceError(what, received=missing, hint=f"Run `{command}` first.")
