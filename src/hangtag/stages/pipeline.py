"""The commands `run` and `demo`: all stages from a catalogue to the report."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hangtag.config import CleanConfig, EvaluateConfig, ExploreConfig, PredictConfig, PrepareConfig
from hangtag.demo_catalog.catalog import write_demo_catalog
from hangtag.errors import SettingsError
from hangtag.models.registry import find_architecture
from hangtag.presets import DEMO_SETTINGS, check_names, read_preset
from hangtag.results import StageResult
from hangtag.settings import lay_over, resolve, select_settings
from hangtag.stages.clean import clean
from hangtag.stages.evaluate import evaluate
from hangtag.stages.explore import explore
from hangtag.stages.predict import predict
from hangtag.stages.prepare import prepare
from hangtag.stages.report import report
from hangtag.stages.train import name_run, train_or_resume
from hangtag.train_config import TrainConfig
from hangtag.workspace import Workspace

# The colour modes that each preset trains if none is given.
COLOR_MODES = {"capstone": ("color", "gray"), "default": ("color",), "quick": ("color",)}


def run(
    catalog: str | Path,
    workspace: str | Path | Workspace,
    *,
    preset: str = "default",
    settings: Mapping[str, Any] | None = None,
    schema: str | Path | None = None,
    overrides: Mapping[str, object] | None = None,
    color_modes: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    replace: bool = False,
    on_stage: Callable[[StageResult], None] = lambda _: None,
) -> list[StageResult]:
    """Run every stage on a catalogue; stages whose inputs have not changed are skipped.

    Args:
        catalog: A folder, a `.zip`, or a `.csv` file.
        workspace: The folder to write to.
        preset: `default` is the most accurate, `quick` trains a smaller network in less time, `capstone` reproduces
            the capstone report, in colour and gray.
        settings: Settings of any stage, which override the preset's; `{"train": {...}}` is for one stage only.
        schema: A TOML file that describes the catalogue.
        overrides: Entries that override that description.
        color_modes: `color`, `gray` or both; by default the one in `settings`, else the preset's.
        seeds: One training for each; by default the one in `settings`, else 0.
        replace: Replace runs of the same name with other settings; without it they are an error.
        on_stage: Called with the result of each stage as it ends.

    Returns:
        The results of the stages, in order.

    Raises:
        HangtagError: A setting is wrong, or a stage fails.
    """
    workspace, values = Workspace.at(workspace), dict(settings or {})
    check_names(values)
    layers = (read_preset(preset), values)
    # Every setting is checked before the first stage: the last may be hours away.
    preparing, cleaning = resolve(PrepareConfig, *layers), resolve(CleanConfig, *layers)
    exploring = resolve(ExploreConfig, *layers)
    trainings = _plan_trainings(layers, preset, color_modes, seeds)
    evaluating, predicting = resolve(EvaluateConfig, *layers), resolve(PredictConfig, *layers)
    results: list[StageResult] = []

    def add_results(*done: StageResult) -> None:
        for result in done:
            results.append(result)
            on_stage(result)

    add_results(prepare(catalog, workspace, preparing, schema=schema, overrides=overrides))
    add_results(clean(workspace, cleaning))
    add_results(explore(workspace, exploring))
    for config in trainings:
        add_results(train_or_resume(workspace, config, replace=replace))
    run_ids = [name_run(config) for config in trainings]
    add_results(*evaluate(workspace, evaluating, run_ids=run_ids))
    add_results(*predict(workspace, predicting, run_ids=run_ids))
    add_results(report(workspace))
    return results


def _plan_trainings(
    layers: tuple[Mapping[str, Any], Mapping[str, Any]],
    preset: str,
    color_modes: Sequence[str] | None,
    seeds: Sequence[int] | None,
) -> list[TrainConfig]:
    """Return the settings of one training for each different seed and colour mode.

    Raises:
        SettingsError: There is no colour mode or no seed, or a setting is wrong.
    """
    settings = select_settings(TrainConfig, layers[-1])
    if color_modes is None:
        color_modes = [settings["color_mode"]] if "color_mode" in settings else COLOR_MODES[preset]
    if seeds is None:
        seeds = [settings.get("seed", 0)]
    if not color_modes or not seeds:
        raise SettingsError("There is nothing to train.", allowed="Allowed: one colour mode and one seed or more.")
    find_architecture(resolve(TrainConfig, *layers).architecture)
    return [
        resolve(TrainConfig, *layers, {"color_mode": color_mode, "seed": seed})
        for seed in dict.fromkeys(seeds)
        for color_mode in dict.fromkeys(color_modes)
    ]


def demo(
    workspace: str | Path | Workspace,
    *,
    settings: Mapping[str, Any] | None = None,
    color_modes: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    replace: bool = False,
    on_stage: Callable[[StageResult], None] = lambda _: None,
) -> list[StageResult]:
    """Draw a catalogue with the defects of real ones, and run every stage on it, in about a minute.

    Args:
        workspace: The folder to write to; the catalogue goes to `demo-catalog/` in it.
        settings: Settings of any stage, which override the demo's; `{"train": {...}}` is for one stage only.
        color_modes: `color`, `gray` or both; both by default.
        seeds: One training for each; only 0 by default.
        replace: Replace runs of the same name with other settings; without it they are an error.
        on_stage: Called with the result of each stage as it ends.

    Returns:
        The results of the stages, in order.

    Raises:
        HangtagError: A setting is wrong, or a stage fails.
    """
    workspace = Workspace.at(workspace)
    return run(
        # Existing files are not written again, so that a second run skips every stage.
        write_demo_catalog(workspace.root / "demo-catalog"),
        workspace,
        preset="capstone",
        settings=lay_over(DEMO_SETTINGS, settings or {}),
        color_modes=color_modes,
        seeds=seeds,
        replace=replace,
        on_stage=on_stage,
    )
