"""The command line: one command a stage; it parses, calls and prints."""

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hangtag import __version__, config
from hangtag.cli_options import (
    CatalogArgument,
    Command,
    DemoModesOption,
    FileOption,
    ModelOption,
    ModesOption,
    PresetOption,
    ReplaceOption,
    RunsOption,
    SchemaOption,
    SeedsOption,
    WorkspaceOption,
    build_description_flags,
    build_setting_flags,
    gather,
)
from hangtag.errors import CatalogError, HangtagError, SettingsError, StalledError
from hangtag.io import REFUSALS
from hangtag.settings import (
    Config,
    lay_over,
    locate,
    name_stage,
    parse_image_size,
    read_settings,
    resolve,
    select_settings,
)
from hangtag.workspace import Workspace

if TYPE_CHECKING:
    from hangtag.inference.classifier import Classifier
    from hangtag.manifest import StageResult

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# What the extra `train` brings along; classifying needs none of it.
TRAIN_PACKAGES = {"jinja2", "joblib", "keras", "matplotlib", "plotly", "polars", "scipy", "sklearn", "snowballstemmer"}
# A chain trains once for each of its --color-modes and --seeds; these flags of `train` are other names of those.
IN_CHAIN = ("color_mode", "seed")


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Make a fashion catalogue's categories consistent, and learn them from its photographs."""
    if version:
        typer.echo(f"hangtag {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _command(
    *kinds: type,
    describes: bool = False,
    defaults: Mapping[str, Any] | None = None,
    omit: Sequence[str] = (),
) -> Callable[[Command], Command]:
    """Register a command with a flag for each setting of `kinds`, handed over as `settings`.

    With `describes`, the flags that describe a catalogue are handed over as `overrides`.
    """
    groups = {"settings": build_setting_flags(*kinds, defaults=defaults, omit=omit)}
    if describes:
        groups["overrides"] = build_description_flags()

    def decorate(function: Command) -> Command:
        app.command()(gather(function, groups))
        return function

    return decorate


def _resolve(
    kind: type[Config], settings: Mapping[str, Any], preset: str = "default", file: Path | None = None
) -> Config:
    """Put a stage's settings together: the preset, under the file, under the flags."""
    below, values = config.read_preset(preset), _read_file(file)
    try:
        return resolve(kind, below, values, settings)
    except SettingsError as error:
        # Without the file it is the flags that are wrong, or it is right, and the file is wrong.
        resolve(kind, below, settings)
        raise SettingsError(f"{file and file.name}, for {name_stage(kind)}: {error}") from error


def _read_file(file: Path | None) -> dict[str, Any]:
    """Read a settings file, which may hold settings of every stage."""
    if file is None:
        return {}
    values = read_settings(file)
    config.check_names(values, (*config.KINDS, *config.MORE_KINDS), lambda table, key: locate(file, table, key))
    return values


def _read_for_chain(settings: Mapping[str, Any], preset: str, file: Path | None) -> dict[str, Any]:
    """Lay the flags over those of the file's settings that are of the chain's stages."""
    for kind in config.KINDS:
        _resolve(kind, settings, preset, file)
    values = _read_file(file)
    own = {name_stage(kind): select_settings(kind, values) for kind in config.KINDS}
    return lay_over({stage: table for stage, table in own.items() if table}, settings)


def _split(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _read_seeds(text: str | None) -> list[int] | None:
    parts = _split(text)
    if parts is not None and not all(part.isdecimal() for part in parts):
        raise SettingsError(
            "The seeds cannot be read.", allowed="Allowed: whole numbers between commas.", received=text
        )
    return None if parts is None else [int(part) for part in parts]


def _show(*results: "StageResult") -> None:
    from hangtag.summary import describe_result

    for result in results:
        typer.echo(describe_result(result))


def _show_report(workspace: Path) -> None:
    typer.echo(f"The report: {Workspace.at(workspace).report.as_uri()}")


@_command(config.PrepareConfig, describes=True)
def prepare(
    catalog: CatalogArgument,
    settings: dict[str, Any],
    overrides: dict[str, Any],
    workspace: WorkspaceOption = Path("workspace"),
    schema: SchemaOption = None,
    file: FileOption = None,
) -> None:
    """Read a catalogue and pack its photographs.

    Reads the catalogue's table and photographs, each of them once for all later stages.
    Writes prepared/; what cannot be used is listed there in rejected.csv with a reason.
    """
    from hangtag.stages.prepare import prepare as stage

    resolved = _resolve(config.PrepareConfig, settings, file=file)
    _show(stage(catalog, workspace, resolved, schema=schema, overrides=overrides))


@_command(config.CleanConfig)
def clean(
    settings: dict[str, Any],
    workspace: WorkspaceOption = Path("workspace"),
    preset: PresetOption = "default",
    file: FileOption = None,
) -> None:
    """Give every item one label, and draw the splits.

    The splits say which items a model learns from (train), is chosen by (val) and is judged by (test).
    Reads prepared/ and writes labels/, with a line in label_changes.csv for every change.
    """
    from hangtag.stages.clean import clean as stage

    _show(stage(workspace, _resolve(config.CleanConfig, settings, preset, file)))


@_command(config.ExploreConfig)
def explore(settings: dict[str, Any], workspace: WorkspaceOption = Path("workspace"), file: FileOption = None) -> None:
    """Draw the catalogue in figures and sheets.

    Counts, balance, sunbursts, and a sheet of photographs for every class.
    Reads prepared/ and labels/ and writes exploration/, each figure with its table.
    """
    from hangtag.stages.explore import explore as stage

    _show(stage(workspace, _resolve(config.ExploreConfig, settings, file=file)))


@_command(config.TrainConfig)
def train(
    settings: dict[str, Any],
    workspace: WorkspaceOption = Path("workspace"),
    preset: PresetOption = "default",
    file: FileOption = None,
    run_id: Annotated[str | None, typer.Option(help="The run's name; by default made of its settings.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished training.")] = False,
    replace: ReplaceOption = False,
    folds: Annotated[
        int | None,
        typer.Option(help="Train so many times, each without a part of the items, and predict it; for the audit."),
    ] = None,
) -> None:
    """Learn the labels from the photographs.

    Goes over the train items --epochs times, and after each time judges itself on the val items.
    Reads prepared/ and labels/ and writes runs/RUN_ID/; a kill loses one pass at most. With --folds it
    writes folds/RUN_ID/: every item's probabilities from a network that never saw it.
    """
    from hangtag.stages.cross_validate import cross_validate
    from hangtag.stages.train import train as stage

    resolved = _resolve(config.TrainConfig, settings, preset, file)
    if folds is None:
        _show(stage(workspace, resolved, run_id=run_id, resume=resume, replace=replace))
    else:
        # Finished folds and epochs count in any case.
        _show(cross_validate(workspace, resolved, folds=folds, run_id=run_id, replace=replace))


@_command(config.EvaluateConfig)
def evaluate(
    settings: dict[str, Any],
    workspace: WorkspaceOption = Path("workspace"),
    run: RunsOption = None,
    file: FileOption = None,
) -> None:
    """Judge trained models, and show their mistakes.

    Accuracy with intervals, the confusion matrix, and every misclassified item.
    Reads runs/ and labels/ and writes runs/RUN_ID/evaluation/; refuses splits that share items.
    """
    from hangtag.stages.evaluate import evaluate as stage

    _show(*stage(workspace, _resolve(config.EvaluateConfig, settings, file=file), run_ids=run))


@app.command()
def compare(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Evaluated runs, two or more; all of them by default.")
    ] = None,
    workspace: WorkspaceOption = Path("workspace"),
    split: Annotated[
        Literal["test", "val", "train"],
        typer.Option(help="Whose items to compare on; test is for the final judgement only, never to choose a run."),
    ] = "val",
    baseline: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="The run that the others are tested against; the first one by default."),
    ] = None,
    is_timed: Annotated[
        bool, typer.Option("--time", help="Time predicting too, here and now: a quiet machine tells most.")
    ] = False,
    is_wide: Annotated[
        bool, typer.Option("--wide", help="Print figures and costs as one table, wider than 80 columns.")
    ] = False,
) -> None:
    """Put runs side by side: accuracy, differences, costs.

    Figures with intervals, what each run took, and paired tests on the items that all runs were judged on.
    Reads runs/ and writes comparison/; runs that differ by their seed alone are summarized too.
    """
    from hangtag.lock import hold
    from hangtag.stages.compare import compare as stage
    from hangtag.stages.compare import list_blocks, read_comparison
    from hangtag.summary import describe_blocks

    result = stage(workspace, runs, split=split, baseline=baseline, is_timed=is_timed)
    _show(result)
    # Another process may be replacing it by now.
    with hold("compare", Workspace.at(workspace), reads=[result.folder], writes=[]):
        blocks = list_blocks(read_comparison(result.folder), is_wide=is_wide)
    typer.echo(f"\n{describe_blocks(blocks, is_wide=is_wide)}")


@_command(config.PredictConfig)
def predict(
    settings: dict[str, Any],
    workspace: WorkspaceOption = Path("workspace"),
    run: RunsOption = None,
    file: FileOption = None,
) -> None:
    """Label the Unknown items with trained models.

    Unknown are those whose label could not be told from the table.
    Reads runs/ and labels/ and writes runs/RUN_ID/predictions/, and where the models differ.
    """
    from hangtag.stages.predict import predict as stage

    _show(*stage(workspace, _resolve(config.PredictConfig, settings, file=file), run_ids=run))


@_command(config.AuditConfig)
def audit(
    settings: dict[str, Any],
    workspace: WorkspaceOption = Path("workspace"),
    run: Annotated[
        str | None,
        typer.Option(metavar="RUN_ID", help="The training in folds, or the run, to hear; the latest folds by default."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            metavar="FOLDER",
            help="A folder that `hangtag export` wrote, to hear in their place; where there is no training, the model "
            "that hangtag comes with.",
        ),
    ] = None,
    file: FileOption = None,
) -> None:
    """Find wrong labels, duplicates and bad pictures.

    Every label is held against its photograph and its name; best after `hangtag train --folds 5`.
    Reads prepared/ and labels/ and writes audit/issues.csv, the surest issues first, each with its reason.
    """
    from hangtag.io import read_json
    from hangtag.lock import hold
    from hangtag.stages.audit import audit as stage
    from hangtag.stages.audit import describe_audit

    result = stage(workspace, _resolve(config.AuditConfig, settings, file=file), run_id=run, model=model)
    _show(result)
    # Another process may be replacing it by now.
    with hold("audit", Workspace.at(workspace), reads=[result.folder], writes=[]):
        summary = read_json(result.folder / "summary.json")
    typer.echo(f"\n{describe_audit(summary)}")


@_command(config.ReviewConfig)
def review(settings: dict[str, Any], workspace: WorkspaceOption = Path("workspace"), file: FileOption = None) -> None:
    """Settle suspected mistakes in a browser.

    Shows the issues of audit/issues.csv one by one, the surest first; a key accepts, keeps, chooses or skips.
    Writes every decision to review/review.sqlite at once. Several people can review together; Ctrl-C stops it.
    """
    from hangtag.stages.review import review as stage

    stage(workspace, _resolve(config.ReviewConfig, settings, file=file), on_start=_show_page)


def _show_page(address: str) -> None:
    typer.echo(f"The page: {address}", err=True)


@_command(config.ApplyConfig)
def apply(
    settings: dict[str, Any],
    workspace: WorkspaceOption = Path("workspace"),
    catalog: Annotated[
        Path | None, typer.Option(metavar="CATALOG", help="Where the catalogue is, if it has moved since prepare.")
    ] = None,
    file: FileOption = None,
) -> None:
    """Write the corrected catalogue.

    Writes its own table to review/corrected/, with the decided cells changed and no other byte, and the list of
    changes to review/label_changes.csv, which the next clean takes in. What was undone is as it was.
    """
    from hangtag.stages.apply import apply as stage

    _show(stage(workspace, _resolve(config.ApplyConfig, settings, file=file), catalog=catalog))


@app.command()
def report(workspace: WorkspaceOption = Path("workspace")) -> None:
    """Put everything into one page, report.html.

    Reads what the other stages wrote; what is missing is named with its command.
    Writes report.html, which stands alone: it opens from disk without a network.
    """
    from hangtag.stages.report import report as stage

    _show(stage(workspace))
    _show_report(workspace)


@_command(*config.KINDS, describes=True, omit=IN_CHAIN)
def run(
    catalog: CatalogArgument,
    settings: dict[str, Any],
    overrides: dict[str, Any],
    workspace: WorkspaceOption = Path("workspace"),
    preset: PresetOption = "default",
    file: FileOption = None,
    schema: SchemaOption = None,
    color_modes: ModesOption = None,
    seeds: SeedsOption = None,
    replace: ReplaceOption = False,
) -> None:
    """Take a catalogue through every stage.

    Reads a catalogue and writes everything, up to the one page report.html.
    Stages whose inputs have not changed are skipped, so after a stop the same command goes on.
    """
    from hangtag.stages import pipeline

    pipeline.run(
        catalog,
        workspace,
        preset=preset,
        settings=_read_for_chain(settings, preset, file),
        schema=schema,
        overrides=overrides,
        color_modes=_split(color_modes),
        seeds=_read_seeds(seeds),
        replace=replace,
        on_stage=_show,
    )
    _show_report(workspace)


@_command(*config.KINDS, defaults=lay_over(config.read_preset("capstone"), config.DEMO_SETTINGS), omit=IN_CHAIN)
def demo(
    settings: dict[str, Any],
    workspace: WorkspaceOption = Path("demo-workspace"),
    file: FileOption = None,
    color_modes: DemoModesOption = None,
    seeds: SeedsOption = None,
    replace: ReplaceOption = False,
) -> None:
    """Do the same on a catalogue that is drawn.

    The drawn catalogue is small and has every defect of a real one; nothing is downloaded.
    Writes it and everything else to a folder of its own, and takes about a minute.
    """
    from hangtag.stages import pipeline

    pipeline.demo(
        workspace,
        settings=_read_for_chain(settings, "capstone", file),
        color_modes=_split(color_modes),
        seeds=_read_seeds(seeds),
        replace=replace,
        on_stage=_show,
    )
    _show_report(workspace)


@app.command()
def models(
    image_size: Annotated[
        str, typer.Option(metavar="HEIGHTxWIDTH", help="Height x width of the photographs.")
    ] = "80x60",
    color_mode: Annotated[config.ColorMode, typer.Option(help="What the networks see of them.")] = "color",
) -> None:
    """List the networks that can be trained.

    For each the numbers it learns, the operations of one pass over one photograph (a multiplication and
    its addition counted as two), and the size of its weights in float32; with 30 classes.
    """
    from hangtag.models.flops import describe_architectures as describe
    from hangtag.summary import describe_architectures

    size = parse_image_size(image_size)
    typer.echo(describe_architectures(describe(size, color_mode), size, color_mode))


@_command(config.ExportConfig)
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished run.")],
    settings: dict[str, Any],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where to write the model.")],
    workspace: WorkspaceOption = Path("workspace"),
    file: FileOption = None,
) -> None:
    """Write a model that needs no training code.

    Writes a folder for `hangtag classify` and `hangtag serve`, and holds it against the run on photographs of val.
    Evaluate the run before, so that the model's card has its figures.
    """
    from hangtag.stages.export import export as stage

    _show(stage(workspace, run, to, _resolve(config.ExportConfig, settings, file=file)))


@_command(config.ClassifyConfig)
def classify(
    places: Annotated[list[Path], typer.Argument(metavar="PHOTOGRAPH...", help="Files, and folders of them.")],
    settings: dict[str, Any],
    model: ModelOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write a .csv, .jsonl or .parquet file; after a stop, the same call goes on."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    explain: Annotated[
        Path | None,
        typer.Option(
            "--explain", metavar="FOLDER", help="Write each photograph with a map over it of where the model looked."
        ),
    ] = None,
    file: FileOption = None,
) -> None:
    """Say what photographs show.

    Prints each photograph's label with its levels, or "not sure" where the confidence is not enough.
    Needs no training and no workspace. Photographs that cannot be read are told, and stop nothing.
    """
    from hangtag.stages.classify import classify as stage
    from hangtag.stages.classify import classify_to
    from hangtag.summary import describe_tally

    if json + csv + (output is not None) > 1:
        raise SettingsError("There is one form of answer only.", allowed="Allowed: --json, --csv or --output.")
    if explain and output:
        raise SettingsError("--explain goes with answers that are printed.", allowed="Allowed: --explain or --output.")
    resolved = _resolve(config.ClassifyConfig, settings, file=file)
    classifier = _load_classifier(model, os.cpu_count() or 1)
    if output is None:
        form: Any = "json" if json else "csv" if csv else "table"
        tally = stage(places, classifier, resolved, form=form, explain=explain)
    else:
        tally = classify_to(output, places, classifier, resolved)
        typer.echo(f"classify: {describe_tally(tally)} · in {output}")
    if not sum(tally.values()):
        raise CatalogError("There is no photograph in these places.", received=[str(place) for place in places])
    if tally["failed"]:
        typer.echo(f"{tally['failed']:,} of {sum(tally.values()):,} could not be classified.", err=True)
        if tally["failed"] == sum(tally.values()):
            raise typer.Exit(2)


@_command(config.ServeConfig)
def serve(settings: dict[str, Any], model: ModelOption = None, file: FileOption = None) -> None:
    """Answer over HTTP, and show a page.

    POST /v1/classify takes photographs; / is a page to drop them on, /docs says what else there is.
    Ctrl-C or SIGTERM answers what is waiting, then stops.
    """
    from hangtag.stages.serve import is_open_to_all
    from hangtag.stages.serve import serve as stage

    resolved = _resolve(config.ServeConfig, settings, file=file)
    classifier = _load_classifier(model, resolved.workers or os.cpu_count() or 1)
    if is_open_to_all(resolved):
        typer.echo("Anybody who reaches this machine may ask: set HANGTAG_API_KEY to want a key.", err=True)
    typer.echo(f"The page: http://{resolved.host}:{resolved.port}/", err=True)
    stage(classifier, resolved)


def _load_classifier(model: Path | None, streams: int) -> "Classifier":
    from hangtag.inference.classifier import Classifier

    return Classifier.load(model, streams=streams)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code.

    0 is success, 2 a mistake of the user's, told on stderr in a line or two, 130 a stop by Ctrl-C, and 143 or 129 one
    by SIGTERM or SIGHUP.
    Any other exception is a bug and keeps its traceback.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] not in (["serve"], ["review"]):
        # A service answers what waits first, in its own way.
        _stop_in_order()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            # A terminal's encoding may lack a letter of a file's name or of a label.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _call(given)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has gone, as `head` does. Nothing is left to say, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


_stopped_by: list[int] = []


def _stop_in_order() -> None:
    """Let SIGTERM and the end of the terminal stop a command as Ctrl-C does, so that it cleans up behind itself."""
    _stopped_by.clear()

    def stop(number: int, _frame: object) -> None:
        _stopped_by.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # Not where somebody wants it ignored, as `nohup` does.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)


def _call(arguments: Sequence[str]) -> int:
    from hangtag.summary import describe_stop

    try:
        # A command gives None; --help, and Ctrl-C as 130, an exit code.
        code = typer.main.get_command(app).main(arguments, prog_name="hangtag", standalone_mode=False) or 0
    except HangtagError as error:
        typer.echo(f"Error: {error}", err=True)
        if isinstance(error, StalledError):
            # Python waits for its threads at the end, and one of these never ends.
            sys.stdout.flush()
            os._exit(2)
        return 2
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in TRAIN_PACKAGES:
            raise
        hint = 'Install it with `pip install "hangtag[train]"`.'
        typer.echo(f"Error: This command needs {package}, which is not installed. {hint}", err=True)
        return 2
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        where = "" if error.filename is None else f" Received: {str(error.filename)!r}."
        typer.echo(f"Error: The system refuses it: {error.strerror}.{where}", err=True)
        return 2
    except typer.TyperException as error:
        # A flag or argument that is not right. Typer's own form has the usage too: four lines or more.
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "hangtag"
        message = error.format_message().replace(": Value error, ", ": ")
        typer.echo(f"Error: {message}\nTry '{path} --help' for help.", err=True)
        return 2
    if code == 130:
        with suppress(OSError):
            # The terminal may be gone.
            typer.echo(describe_stop(arguments[0] if arguments else ""), err=True)
        return 128 + _stopped_by[0] if _stopped_by else 130
    return int(code)
