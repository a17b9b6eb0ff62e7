"""Stage `parameter-search`, which is `train --search`: train with several settings, and rank them on val."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hangtag.config import EvaluateConfig
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.inference.runs import evaluate_val, load_classifier
from hangtag.io import JsonObject, read_csv, read_json, write_csv, write_json
from hangtag.labels.dataset import read_labeled_items
from hangtag.lock import hold
from hangtag.manifest import StageRecord, read_manifest
from hangtag.metrics.bootstrap import estimate_metrics
from hangtag.models.checkpoint import hash_run
from hangtag.results import ParameterSearchResult, StageResult, format_value
from hangtag.runner_config import RunnerConfig
from hangtag.stages.earlier_runs import refuse_other_settings
from hangtag.stages.train import name_run, run_trainings
from hangtag.train_config import TrainConfig
from hangtag.training.checkpoint import read_settings_of_checkpoint
from hangtag.training.parameter_grid import list_trials
from hangtag.workspace import CHECKPOINT, Workspace

BOOTSTRAP = EvaluateConfig()
TRIALS, SUMMARY = "trials.csv", "parameter_search.json"
# The columns of the table beside the settings.
FIGURES = ("val_accuracy", "val_macro_f1", "training_minutes", "difference", "difference_low", "difference_high")
Trials = dict[str, tuple[TrainConfig, dict[str, Any]]]


def parameter_search(
    workspace: str | Path | Workspace,
    config: TrainConfig = TrainConfig(),  # noqa: B008  (frozen)
    *,
    search: str | Path | Mapping[str, Any],
    run_id: str | None = None,
    runner: RunnerConfig = RunnerConfig(),  # noqa: B008
) -> ParameterSearchResult:
    """Train with every combination of candidates, or some drawn at random, and rank the trainings by accuracy on val.

    Each trial is a run as `train` makes it. Finished runs with the same settings are not trained again, unfinished ones
    are resumed, and no run of other settings is replaced. Writes to `parameter_search/`: `trials.csv` (a row for each
    trial, the best first) and `parameter_search.json`. `test` is not looked at.

    Args:
        workspace: A workspace that has been cleaned.
        config: The settings that are not searched.
        search: A TOML file, or its content; see `list_trials`.
        run_id: The runs are named after it, NAME-01 and so on; by default after the name of a run of their settings.
        runner: Where the networks are trained, on a cluster side by side.

    Raises:
        SettingsError: The search or a setting cannot be used.
        HangtagError: A training fails; see `train`.
    """
    workspace = Workspace.at(workspace)
    settings = list_trials(config, search)
    reads = [workspace.prepared, workspace.labels]
    # From the beginning, since two searches at a time would choose the same names.
    with hold("parameter-search", workspace, reads=reads, writes=[workspace.parameter_search]):
        trials = _name_trials(workspace, settings, run_id)
        results = run_trainings(workspace, {run: trial for run, (trial, _) in trials.items()}, runner)
        with hold("parameter-search", workspace, reads=[*map(workspace.run, trials)], writes=[]):
            return ParameterSearchResult.of(_rank_runs(workspace, trials, results))


def _name_trials(
    workspace: Workspace, settings: Sequence[tuple[TrainConfig, dict[str, Any]]], run_id: str | None
) -> Trials:
    """Return the trials by the names of their runs: those of runs with the same settings, else the next free numbers.

    So a search whose candidates have changed trains only the new combinations.
    """
    names: dict[TrainConfig, str] = {}
    for trial, _ in settings:
        fitting = (folder.name for folder in _list_runs(workspace, run_id or name_run(trial)) if _fits(folder, trial))
        if name := next((name for name in fitting if name not in names.values()), None):
            names[trial] = name
    for trial, _ in settings:
        if trial not in names:
            base = run_id or name_run(trial)
            taken = {folder.name for folder in _list_runs(workspace, base)} | set(names.values())
            names[trial] = next(name for number in count(1) if (name := f"{base}-{number:02}") not in taken)
    return {names[trial]: (trial, chosen) for trial, chosen in settings}


def _list_runs(workspace: Workspace, base: str) -> Iterator[Path]:
    """Yield the folders of the finished and unfinished runs of a name, with a number or without."""
    own = workspace.run(base)
    named = sorted(workspace.runs.glob(f"{base}-*"))
    numbered = [folder for folder in named if re.fullmatch(r"\d{2,}", folder.name.removeprefix(f"{base}-"))]
    for folder in [own, *numbered]:
        if read_manifest(folder) is not None or read_settings_of_checkpoint(folder / CHECKPOINT) is not None:
            yield folder


def _fits(folder: Path, config: TrainConfig) -> bool:
    """Return whether a run, finished or not, has these settings."""
    try:
        refuse_other_settings(
            StageRecord("train", folder, {}, config), read_settings_of_checkpoint(folder / CHECKPOINT)
        )
    except SettingsError:
        return False
    return True


def _rank_runs(workspace: Workspace, trials: Trials, results: Sequence[StageResult]) -> StageResult:
    """Measure the runs on val, and write them in the order of their accuracy."""
    labelled = read_labeled_items(workspace)
    inputs = {"labels": labelled.digest, **{run_id: hash_run(workspace, run_id) for run_id in trials}}
    recorded = {
        run_id: {name: format_setting(value) for name, value in chosen.items()}
        for run_id, (_, chosen) in trials.items()
    }
    record = StageRecord("parameter-search", workspace.parameter_search, inputs, {"runs": recorded})
    if current := record.load_if_unchanged():
        return current
    predicted = []
    for run_id in trials:
        measured = evaluate_val(load_classifier(workspace, run_id, labelled), labelled, f"Measuring {run_id}")
        # All have the same items and classes; the probabilities of many trials would fill the memory.
        predicted.append(measured.probs.argmax(axis=1))
    if measured.items.is_empty():
        raise WorkspaceError("There are no items in the split val.", hint="Clean a larger catalogue.")
    estimates = estimate_metrics(
        measured.classes,
        np.stack(predicted),
        measured.items["group_id"].to_list(),
        len(measured.class_names),
        samples=BOOTSTRAP.bootstrap_samples,
        seed=BOOTSTRAP.bootstrap_seed,
    )
    accuracy, macro_f1 = (estimates[name].values for name in ("accuracy", "macro_f1"))
    minutes = [read_csv(each.folder / "history.csv")["seconds"].sum() / 60 for each in results]
    order = sorted(range(len(trials)), key=lambda run: (-accuracy[run], -macro_f1[run], minutes[run]))
    differences = [estimates["accuracy"].compare(run, order[0]) for run in order]
    table = pl.DataFrame(
        {
            "rank": range(1, len(order) + 1),
            "run_id": [list(trials)[run] for run in order],
            **_tabulate_settings([list(recorded.values())[run] for run in order]),
            "val_accuracy": accuracy[order],
            "val_macro_f1": macro_f1[order],
            "training_minutes": [round(minutes[run], 2) for run in order],
            **dict(zip(FIGURES[3:], map(list, zip(*differences, strict=True)), strict=True)),
        }
    )
    summary = {
        "best": table["run_id"][0],
        "trials": len(table),
        "val": len(measured.items),
        # Trials of which it is not certain that they are worse.
        "as_good": int((table[1:]["difference_high"] >= 0).sum()),
    }
    work = record.begin()
    write_csv(work / TRIALS, table)
    write_json(work / SUMMARY, summary)
    counts = {"trials": len(table), "val": len(measured.items), "best_accuracy": round(float(accuracy[order[0]]), 4)}
    return record.finish(counts, [work / TRIALS, work / SUMMARY])


def _tabulate_settings(chosen: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the values of each setting that differs among the trials."""
    texts = {name: [each[name] for each in chosen] for name in chosen[0]}
    return {name: values for name, values in texts.items() if len(set(values)) > 1}


def format_setting(value: Any) -> str:
    """Format the value of a setting: 0.002, yes, or parts separated by commas."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return format_value(value) if isinstance(value, bool) else str(value)


def read_trials(folder: Path) -> tuple[pl.DataFrame, JsonObject]:
    """Read the table and the summary of a finished search; settings are text."""
    table = pl.read_csv(folder / TRIALS, infer_schema=False)
    return table.with_columns(pl.col("rank", *FIGURES).cast(pl.Float64)), read_json(folder / SUMMARY)
