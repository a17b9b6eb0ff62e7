"""Stage `learning-curve`: train on growing shares of the items, to see whether more of them would help."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from hangtag.config import EvaluateConfig
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.figures.learning_curve import plot_learning_curve
from hangtag.figures.style import save_figure
from hangtag.inference.runs import evaluate_val, load_classifier
from hangtag.io import JsonObject, read_csv, read_json, write_csv, write_json
from hangtag.labels.dataset import read_labeled_items
from hangtag.lock import hold
from hangtag.manifest import StageRecord
from hangtag.metrics.learning_curve import LearningCurve, build_curve, describe_curve, tabulate_curve
from hangtag.models.checkpoint import hash_run
from hangtag.results import LearningCurveResult, StageResult
from hangtag.runner_config import RunnerConfig
from hangtag.stages.train import name_run, run_trainings
from hangtag.train_config import TrainConfig
from hangtag.workspace import Workspace

__all__ = ["describe_curve", "learning_curve", "read_curve", "tabulate_curve"]
FRACTIONS = (0.1, 0.2, 0.5, 1.0)
BOOTSTRAP = EvaluateConfig()
POINTS, SUMMARY = "learning_curve.csv", "learning_curve.json"


def learning_curve(
    workspace: str | Path | Workspace,
    config: TrainConfig = TrainConfig(),  # noqa: B008  (frozen)
    *,
    fractions: Sequence[float] = FRACTIONS,
    seeds: Sequence[int] | None = None,
    replace: bool = False,
    runner: RunnerConfig = RunnerConfig(),  # noqa: B008
) -> LearningCurveResult:
    """Train on growing shares of the training items, and measure each training on val.

    Each training is a run as `train` makes it, with its own number of epochs; finished runs are not trained again, and
    an interrupted one is resumed. Writes to `learning_curve/`: `learning_curve.csv` (the points), `runs.csv`,
    `fitted.csv` and `learning_curve.json` (see `LearningCurve`), and `learning_curve.png`. `test` is not looked at.

    Args:
        workspace: A workspace that has been cleaned.
        config: The settings of every training.
        fractions: The shares of the training items, two or more, above 0 and at most 1; smaller ones are part of larger
            ones with the same seed.
        seeds: One training of each share for each; by default the seed of the settings.
        replace: Replace runs of the same name with other settings, which are an error otherwise.
        runner: Where the networks are trained, on a cluster side by side.

    Raises:
        SettingsError: The shares or seeds cannot be used, or the settings do not allow trainings that differ by their
            number of items alone.
        HangtagError: A training fails; see `train`.
    """
    workspace = Workspace.at(workspace)
    configs = {name_run(each): each for each in _plan_trainings(config, fractions, seeds)}
    results = run_trainings(workspace, configs, runner, replace=replace)
    trained = {run_id: (configs[run_id], result) for run_id, result in zip(configs, results, strict=True)}
    reads = [workspace.prepared, workspace.labels, *map(workspace.run, trained)]
    with hold("learning-curve", workspace, reads=reads, writes=[workspace.learning_curve]):
        return LearningCurveResult.of(_measure_runs(workspace, config, trained))


def _plan_trainings(config: TrainConfig, fractions: Sequence[float], seeds: Sequence[int] | None) -> list[TrainConfig]:
    """Return the settings of every training, the smallest share first.

    Raises:
        SettingsError: See `learning_curve`.
    """
    different = sorted(set(fractions))
    if len(different) < 2 or not all(0 < each <= 1 for each in different):
        allowed = "Allowed: two or more different numbers above 0, at most 1."
        raise SettingsError("--fractions cannot be used.", allowed=allowed, received=list(fractions))
    if config.train_fraction != 1:
        raise SettingsError(
            "The shares of a learning curve are its --fractions.",
            hint="Go without --train-fraction.",
            received=config.train_fraction,
        )
    excluded = {"image_run": config.image_run, "teacher": config.teacher, "minutes": config.minutes}
    if used := {name: value for name, value in excluded.items() if value}:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in used)
        raise SettingsError(
            "The trainings of a learning curve may differ by their number of items alone: another run has seen all of "
            "them, and a time budget gives more items fewer epochs.",
            hint=f"Go without {flags}.",
            received=used,
        )
    if "val" in config.train_splits:
        raise SettingsError(
            "A learning curve is measured on val, which must not be trained on.",
            hint="Go without val in --train-splits.",
            received=list(config.train_splits),
        )
    chosen = dict.fromkeys([config.seed] if seeds is None else seeds)
    if not chosen:
        raise SettingsError("There is nothing to train.", allowed="Allowed: one seed or more.", received=seeds)
    return [
        dataclasses.replace(config, train_fraction=fraction, seed=seed) for fraction in different for seed in chosen
    ]


def _measure_runs(
    workspace: Workspace, config: TrainConfig, trained: dict[str, tuple[TrainConfig, StageResult]]
) -> StageResult:
    labelled = read_labeled_items(workspace)
    inputs = {"labels": labelled.digest, **{run_id: hash_run(workspace, run_id) for run_id in trained}}
    settings = {run_id: [each.train_fraction, each.seed] for run_id, (each, _) in trained.items()}
    record = StageRecord("learning-curve", workspace.learning_curve, inputs, {"runs": settings})
    if current := record.load_if_unchanged():
        return current
    evaluated = [
        evaluate_val(load_classifier(workspace, run_id, labelled), labelled, f"Measuring {run_id}")
        for run_id in trained
    ]
    first = evaluated[0]
    if first.items.is_empty():
        raise WorkspaceError("There are no items in the split val.", hint="Clean a larger catalogue.")
    runs = pl.DataFrame(
        {
            "run_id": list(trained),
            "train_fraction": [each.train_fraction for each, _ in trained.values()],
            "seed": [each.seed for each, _ in trained.values()],
            "train_items": [result.metrics["train"] for _, result in trained.values()],
            "accuracy": [float(each.correct.mean()) for each in evaluated],
        }
    )
    curve = build_curve(
        runs,
        first.classes,
        np.stack([each.probs.argmax(axis=1) for each in evaluated]),
        first.items["group_id"].to_list(),
        len(first.class_names),
        samples=BOOTSTRAP.bootstrap_samples,
        seed=BOOTSTRAP.bootstrap_seed,
    )
    title = f"Learning curve of {config.architecture}, {len(first.items):,} items of val"
    paths = _write_curve(record.begin(), runs, curve, title)
    return record.finish({"runs": len(runs), "val": len(first.items)}, paths)


def _write_curve(folder: Path, runs: pl.DataFrame, curve: LearningCurve, title: str) -> list[Path]:
    tables = {POINTS: curve.points, "runs.csv": runs, "fitted.csv": curve.fitted}
    for name, table in tables.items():
        write_csv(folder / name, table)
    write_json(folder / SUMMARY, curve.summary)
    picture = save_figure(plot_learning_curve(curve.points, curve.fitted, title), folder / "learning_curve.png")
    return [*picture, *(folder / name for name in (*tables, SUMMARY))]


def read_curve(folder: Path) -> tuple[pl.DataFrame, JsonObject]:
    """Read the points and the summary of a finished learning curve."""
    return read_csv(folder / POINTS), read_json(folder / SUMMARY)
