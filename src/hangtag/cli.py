"""Define the command line: one command for each stage, which calls the stage and prints its result."""

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from hangtag import __version__, config
from hangtag import cli_commands as commands
from hangtag import cli_options as options
from hangtag.cli_help import create_app
from hangtag.errors import CatalogError
from hangtag.exit_codes import run_and_exit
from hangtag.presets import DEMO_SETTINGS, merge_chain_settings, read_preset, read_settings_file, resolve_settings
from hangtag.processors import count_processors
from hangtag.results import StageResult
from hangtag.runner_config import RunnerConfig
from hangtag.settings import lay_over, parse_image_size

app = create_app()


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Find and fix wrong categories in a fashion catalogue, and classify products by their photographs."""
    if version:
        typer.echo(f"hangtag {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _run_stage(command: str, workspace: Path, settings: Any, **more: Any) -> None:
    """Run the stage of a command, and print its results."""
    name = command.replace("-", "_")
    stage = getattr(import_module(f"hangtag.stages.{name}"), name)
    results = stage(workspace, settings, **more)
    _show_results(*(results if isinstance(results, list) else [results]))


for _command in commands.STAGE_COMMANDS:
    _command.register(app, _run_stage)
commands.register_local_app(app)


@commands.register(app, config.PrepareConfig, describes=True, has_runner=True)
def prepare(
    catalog: options.CatalogArgument,
    settings: dict[str, Any],
    overrides: dict[str, Any],
    runner: RunnerConfig,
    workspace: options.WorkspaceOption = options.WORKSPACE,
    file: options.FileOption = None,
    schema: options.SchemaOption = None,
) -> None:
    """Read a catalogue and pack its photographs.

    Reads the catalogue's table and every photograph once, for all later stages.
    Writes prepared/; rows and photographs that cannot be used are listed there in rejected.csv, with a reason.
    """
    from hangtag.stages.prepare import prepare as stage

    resolved = resolve_settings(config.PrepareConfig, settings, file=file)
    _show_results(stage(catalog, workspace, resolved, schema=schema, overrides=overrides, runner=runner))


@commands.register(app)
def init(
    catalog: options.CatalogArgument,
    output: options.DescriptionOutputOption = None,
    encoding: options.EncodingOption = "",
    sheet: options.SheetOption = "",
) -> None:
    """Propose a description of a catalogue's table.

    Writes catalog.toml beside the table: its columns, and what they seem to mean. Look it over, then run prepare.
    """
    from hangtag.stages.init import init as stage

    written = stage(catalog, output, encoding=encoding, sheet=sheet)
    typer.echo(f"Look over {written}, then run: hangtag prepare {shlex.quote(catalog)}")


@commands.register(app)
def compare(
    runs: options.EvaluatedRunsArgument = None,
    workspace: options.WorkspaceOption = options.WORKSPACE,
    split: options.SplitOption = "val",
    baseline: options.BaselineOption = None,
    is_timed: options.TimeOption = False,
    is_wide: options.WideOption = False,
) -> None:
    """Compare runs: accuracy, differences, costs.

    Metrics with intervals, the cost of each run, and paired tests on the items that all runs were evaluated on.
    Reads runs/ and writes comparison/; runs that differ only by their seed are summarized too.
    """
    from hangtag.lock import read_result
    from hangtag.stages import compare as stage
    from hangtag.summary import describe_blocks

    result = stage.compare(workspace, runs, split=split, baseline=baseline, is_timed=is_timed)
    _show_results(result)
    comparison = read_result(workspace, result, stage.read_comparison)
    typer.echo(f"\n{describe_blocks(stage.list_blocks(comparison, is_wide=is_wide), is_wide=is_wide)}")


@commands.register(app)
def models(image_size: options.ImageSizeOption = "80x60", color_mode: options.ColorModeOption = "color") -> None:
    """List the network architectures.

    For each: parameters, operations for a photograph (additions counted), and size in float32; with 30 classes.
    """
    from hangtag.models.flops import describe_architectures as describe
    from hangtag.summary import describe_architectures

    size = parse_image_size(image_size)
    typer.echo(describe_architectures(describe(size, color_mode), size, color_mode))


@commands.register(app, config.AuditConfig)
def audit(
    settings: dict[str, Any],
    run: options.EvidenceArgument = None,
    workspace: options.WorkspaceOption = options.WORKSPACE,
    file: options.FileOption = None,
    model: options.EvidenceModelOption = None,
) -> None:
    """Find label errors, duplicates and bad pictures.

    Compares labels with predictions from photographs and names; best after `hangtag cross-validate`.
    Reads prepared/ and labels/ and writes audit/issues.csv, the highest score first, each with a reason.
    """
    from hangtag.io import read_json
    from hangtag.lock import read_result
    from hangtag.stages import audit as stage
    from hangtag.summary import describe_audit

    resolved = resolve_settings(config.AuditConfig, settings, file=file)
    result = stage.audit(workspace, resolved, run_id=run, model=model)
    _show_results(result)
    summary = read_result(workspace, result, lambda folder: read_json(folder / "summary.json"))
    typer.echo(f"\n{describe_audit(summary, workspace)}")


@commands.register(app, config.ReviewConfig)
def review(
    settings: dict[str, Any], workspace: options.WorkspaceOption = options.WORKSPACE, file: options.FileOption = None
) -> None:
    """Decide on the issues in a browser.

    Shows the issues of audit/issues.csv one by one, the highest score first; a key accepts, keeps, chooses or skips.
    Writes every decision to review/review.sqlite at once, or with --decisions to PostgreSQL. Several people can review
    together; Ctrl-C stops it.
    """
    from hangtag.stages.review import review as stage

    resolved = resolve_settings(config.ReviewConfig, settings, file=file)
    say = partial(typer.echo, err=True)
    stage(workspace, resolved, on_start=lambda address: say(f"The page: {address}"), on_move=say)


@commands.register(app, config.SearchConfig)
def search(
    settings: dict[str, Any],
    words: options.WordsArgument = None,
    workspace: options.WorkspaceOption = options.WORKSPACE,
    image: options.ExampleOption = None,
    run: options.SearchedRunOption = None,
    output: options.FoundOutputOption = None,
    json: options.JsonOption = False,
    file: options.FileOption = None,
) -> None:
    """Find products by words, or by an example photograph.

    Looks at the photographs, so products whose name lacks the words are found too: hangtag search red checked shirt.
    Learns from the names of the train split what words look like, once, and writes runs/RUN_ID/search/.
    """
    from hangtag.io import write_csv
    from hangtag.results import count_of
    from hangtag.stages.search import search as stage
    from hangtag.summary import describe_found

    options.check_found_output(output, json=json)
    resolved = resolve_settings(config.SearchConfig, settings, file=file)
    result = stage(workspace, " ".join(words or []), resolved, image=image, run_id=run)
    if left_out := result.words.describe_left_out():
        typer.echo(left_out, err=True)
    if output is not None:
        write_csv(output, result.table)
        typer.echo(f"search: {count_of(len(result.table), 'product')} · in {output}")
    elif json:
        typer.echo(result.table.write_ndjson(), nl=False)
    else:
        typer.echo(describe_found(result.table, result.searched))


@commands.register(app)
def report(workspace: options.WorkspaceOption = options.WORKSPACE) -> None:
    """Write all results as one page, report.html.

    Reads the results of all other stages; for missing ones, the page names the command that writes them.
    Writes report.html, which can be opened from disk without a network.
    """
    from hangtag.stages.report import report as stage

    _show_results(stage(workspace))
    _show_report(workspace)


@commands.register(app, config.ExportConfig)
def export(
    run: options.RunArgument,
    settings: dict[str, Any],
    output: options.ExportFolderOption,
    workspace: options.WorkspaceOption = options.WORKSPACE,
    file: options.FileOption = None,
) -> None:
    """Export a model that needs no training code.

    Writes a folder for `hangtag classify` and `hangtag serve`, and compares its predictions on val with the run's.
    Evaluate the run first, so that the model card contains its metrics.
    """
    from hangtag.stages.export import export as stage

    _show_results(stage(workspace, run, output, resolve_settings(config.ExportConfig, settings, file=file)))


@commands.register(app, config.ClassifyConfig, has_runner=True)
def classify(
    paths: options.PhotographsArgument,
    settings: dict[str, Any],
    runner: RunnerConfig,
    model: options.ModelOption = None,
    output: options.OutputOption = None,
    json: options.JsonOption = False,
    csv: options.CsvOption = False,
    explain: options.ExplainOption = None,
    group_by: options.GroupByOption = None,
    file: options.FileOption = None,
) -> None:
    """Classify photographs.

    Prints each photograph's label with its levels, or "not sure" if the confidence is too low.
    Needs no training and no workspace. Photographs that cannot be read are reported and skipped.
    """
    from hangtag.inference.classifier import Classifier
    from hangtag.stages.classify import choose_form, list_warnings, print_predictions, write_predictions
    from hangtag.summary import describe_tally

    form = choose_form(json=json, csv=csv, output=output, explain=explain, group_by=group_by, runner=runner)
    resolved = resolve_settings(config.ClassifyConfig, settings, file=file)
    classifier = Classifier.load(model, streams=count_processors())
    if output is None:
        tally = print_predictions(paths, classifier, resolved, form=form, explain=explain, group_by=group_by)
    else:
        tally = write_predictions(output, paths, classifier, resolved, group_by=group_by, runner=runner)
        typer.echo(f"classify: {describe_tally(tally)} · in {output}")
    if not (total := sum(tally.values())):
        raise CatalogError("There is no photograph in these files and folders.", received=[*map(str, paths)])
    for warning in list_warnings(tally, by_product=group_by is not None):
        typer.echo(warning, err=True)
    if tally["failed"] == total:
        raise typer.Exit(2)


@commands.register(app, config.ServeConfig)
def serve(settings: dict[str, Any], model: options.ModelOption = None, file: options.FileOption = None) -> None:
    """Serve a model over HTTP, with a page.

    POST /v1/classify classifies photographs; / is a page to upload them, /docs describes the API.
    Ctrl-C or SIGTERM completes the waiting requests, then stops the service.
    With several processes, SIGHUP replaces them one by one, without a pause.
    """
    from hangtag.stages import serve as stage

    resolved = resolve_settings(config.ServeConfig, settings, file=file)
    served = stage.load_served(model, resolved)
    if stage.is_open_to_all(resolved):
        typer.echo("Everyone who can reach this machine can use it: set HANGTAG_API_KEY to require a key.", err=True)
    typer.echo(f"The page: http://{resolved.host}:{resolved.port}/", err=True)
    stage.serve(served, resolved)


@commands.register(app, describes=True)
def check(
    catalog: options.CatalogArgument,
    overrides: dict[str, Any],
    workspace: options.WorkspaceOption = options.WORKSPACE,
    train: options.TrainOption = False,
    preset: options.PresetOption = "quick",
    file: options.FileOption = None,
    schema: options.SchemaOption = None,
    json: options.JsonSummaryOption = False,
    opens: options.OpenOption = True,
    fail_on: options.FailOption = None,
) -> None:
    """Check a catalogue: what looks wrong in it?

    Reads the products and photographs, compares every category with them, and says what looks wrong, where, and how
    sure that is. Nothing is trained, nothing of the catalogue is changed. Writes prepared/, labels/, audit/ and the
    page report.html, then opens the page to decide on.
    """
    from json import dumps

    from hangtag.check_summary import describe_check
    from hangtag.stages.check import check as stage
    from hangtag.stages.check import count_failing
    from hangtag.stages.review import review_in_browser

    for kind in commands.CHECK_KINDS:
        resolve_settings(kind, {}, preset, file)
    summary = stage(
        catalog,
        workspace,
        preset=preset,
        settings=read_settings_file(file),
        schema=schema,
        overrides=overrides,
        train=train,
        reports_new=fail_on == "new",
    )
    typer.echo(dumps(summary, ensure_ascii=False) if json else f"\n{describe_check(summary, workspace, catalog)}")
    has_suspicions = summary["wrong_categories"] or summary["less_sure"]
    if opens and not json and fail_on is None and has_suspicions and options.has_person():
        told = "\nThe page to decide on them: {}  (Ctrl-C stops it)"
        review_in_browser(workspace, lambda address: typer.echo(told.format(address), err=True))
    if fail_on and count_failing(summary, fail_on):
        raise typer.Exit(1)


@commands.register(app, *config.KINDS, describes=True, omit=commands.CHAIN_SETTINGS)
def run(
    catalog: options.CatalogArgument,
    settings: dict[str, Any],
    overrides: dict[str, Any],
    workspace: options.WorkspaceOption = options.WORKSPACE,
    preset: options.PresetOption = "default",
    file: options.FileOption = None,
    schema: options.SchemaOption = None,
    color_modes: options.ModesOption = None,
    seeds: options.SeedsOption = None,
    replace: options.ReplaceOption = False,
) -> None:
    """Run all stages on a catalogue.

    Reads a catalogue and writes the results of all stages, up to report.html.
    Stages whose inputs have not changed are skipped, so the same command continues an interrupted run.
    """
    from hangtag.stages import pipeline

    more = options.parse_trainings(color_modes, seeds, replace) | {"schema": schema, "overrides": overrides}
    values = merge_chain_settings(settings, preset, file)
    pipeline.run(catalog, workspace, preset=preset, settings=values, on_stage=_show_results, **more)
    _show_report(workspace)


@commands.register(
    app, *config.KINDS, defaults=lay_over(read_preset("capstone"), DEMO_SETTINGS), omit=commands.CHAIN_SETTINGS
)
def demo(
    settings: dict[str, Any],
    workspace: options.WorkspaceOption = Path("demo-workspace"),
    file: options.FileOption = None,
    color_modes: options.DemoModesOption = None,
    seeds: options.SeedsOption = None,
    replace: options.ReplaceOption = False,
) -> None:
    """Run all stages on a generated catalogue.

    The catalogue is small and has the defects of a real one; nothing is downloaded.
    Writes the catalogue and the results of all stages to a separate folder, in about a minute.
    """
    from hangtag.stages import pipeline

    more = options.parse_trainings(color_modes, seeds, replace)
    values = merge_chain_settings(settings, "capstone", file)
    pipeline.demo(workspace, settings=values, on_stage=_show_results, **more)
    _show_report(workspace)


def _show_results(*results: StageResult) -> None:
    from hangtag.summary import describe_results

    typer.echo(describe_results(results))


def _show_report(workspace: Path) -> None:
    from hangtag.summary import describe_report

    typer.echo(describe_report(workspace))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; see `exit_codes.run_and_exit`."""
    run_and_exit(app, list(sys.argv[1:] if arguments is None else arguments))
