"""The command line: one command a stage; it parses, calls and prints."""

import dataclasses
import functools
import inspect
import textwrap
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hangtag import __version__, config
from hangtag.errors import HangtagError

if TYPE_CHECKING:
    from hangtag.manifest import StageResult

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
Command = Callable[..., Any]
WorkspaceOption = Annotated[Path, typer.Option("--workspace", "-w", help="The folder that all stages share.")]
PresetOption = Annotated[
    Literal["capstone", "default"],
    typer.Option(help="capstone does what the report did; default does what is best known."),
]
FileOption = Annotated[
    Path | None, typer.Option("--config", help="A TOML file of settings, over the preset's; flags are over both.")
]
CatalogArgument = Annotated[
    str, typer.Argument(metavar="CATALOG", help="A folder, a .zip, or a .csv file with photographs.")
]
RunsOption = Annotated[list[str] | None, typer.Option("--run", help="A finished run; may be repeated. All by default.")]
SchemaOption = Annotated[
    Path | None, typer.Option("--schema", help="A TOML file that describes the catalogue; see docs/data.md.")
]
DESCRIPTION = {
    "table": "The table's file name inside the catalogue.",
    "image": "The photographs' paths, with columns in braces: images/{id}.jpg.",
    "image_column": "The column that holds the photographs' paths.",
    "id": "The column that names an item.",
    "name": "The column with the product's name.",
    "levels": "The label columns from coarse to fine, between commas.",
    "attributes": "Further columns that describe an item, between commas.",
    "label_name": "The heading of the cleaned label.",
    "split": "A column that already says train, val or test.",
}


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


def _describe_settings(kinds: tuple[type, ...]) -> dict[str, inspect.Parameter]:
    """Make a flag of every setting of the stages' dataclasses."""
    flags: dict[str, inspect.Parameter] = {}
    for kind in kinds:
        hints = typing.get_type_hints(kind)
        for each in dataclasses.fields(kind):
            hint, default = hints[each.name], _show_value(each.default)
            shown = f"{each.metadata['help']} [default: {default}]" if default else each.metadata["help"]
            if typing.get_origin(hint) is tuple:
                hint = str
            flags[each.name] = _make_flag(each.name, hint, shown)
    return flags


def _make_flag(name: str, hint: Any, shown: str) -> inspect.Parameter:
    dashed = name.replace("_", "-")
    option = typer.Option(
        f"--{dashed}/--no-{dashed}" if hint is bool else f"--{dashed}", help=shown, show_default=False
    )
    annotation = Annotated[hint | None, option] if isinstance(hint, type) else Annotated[typing.Optional[hint], option]  # noqa: UP045
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _show_value(value: object) -> str:
    if isinstance(value, tuple):
        return ("x" if value == config.PrepareConfig.image_size else ",").join(map(str, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _command(*kinds: type, describes: bool = False) -> Callable[[Command], Command]:
    """Register a command with a flag for each setting of `kinds`, handed over as `settings`.

    With `describes`, the flags that describe a catalogue are handed over as `overrides`.
    """

    def decorate(function: Command) -> Command:
        parts = {"settings": _describe_settings(kinds)}
        if describes:
            names = {
                key: "split-column" if key == "split" else f"{key}-column" if key in ("id", "name") else key
                for key in DESCRIPTION
            }
            parts["overrides"] = {
                key: inspect.Parameter(
                    f"describe_{key}",
                    inspect.Parameter.KEYWORD_ONLY,
                    default=None,
                    annotation=Annotated[
                        str | None, typer.Option(f"--{names[key].replace('_', '-')}", help=text, show_default=False)
                    ],
                )
                for key, text in DESCRIPTION.items()
            }

        @functools.wraps(function)
        def command(**values: Any) -> None:
            for part, flags in parts.items():
                found = {key: values.pop(flag.name) for key, flag in flags.items()}
                values[part] = {key: value for key, value in found.items() if value is not None}
            _guard(functools.partial(function, **values))

        own = inspect.signature(function).parameters.values()
        shown = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own if each.name not in parts]
        shown += [flag for flags in parts.values() for flag in flags.values()]
        command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in shown}
        del command.__wrapped__  # type: ignore[attr-defined]
        app.command()(command)
        return function

    return decorate


def _guard(function: Callable[[], Any]) -> None:
    """Tell a user's mistake in a line or two and leave with 2; tell how to go on after Ctrl-C."""
    try:
        function()
    except HangtagError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo(
            "Stopped. What is finished is kept: give the same command again to go on (train: with --resume).", err=True
        )
        raise typer.Exit(130) from None


def _resolve(
    kind: type[config.Config], settings: Mapping[str, Any], preset: str = "default", file: Path | None = None
) -> config.Config:
    """Put a stage's settings together: the preset, under the file, under the flags."""
    values = _read_file(file)
    return config.resolve(kind, config.read_preset(preset), values, settings)


def _read_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    values = config.read_settings(file)
    config.check_names(values)
    return values


def show(result: "StageResult") -> None:
    """Print what a stage did, in a few lines of at most 80 columns."""
    parts = [f"{_show_count(value)} {key.replace('_', ' ')}" for key, value in result.counts.items()]
    title = result.stage if result.folder.parent.name != "runs" else f"{result.stage} {result.folder.name}"
    if result.folder.parent.parent.name == "runs":
        title = f"{result.stage} {result.folder.parent.name}"
    typer.echo(f"{title}: " + ("unchanged, skipped" if result.skipped else f"done in {result.seconds:,.1f} s"))
    typer.echo(textwrap.fill(" · ".join(parts), 80, initial_indent="  ", subsequent_indent="  "))


def _show_count(value: object) -> str:
    return f"{value:,.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"


def _show_report(workspace: Path) -> None:
    path = (workspace / "report.html").absolute()
    typer.echo(f"The report: {path.as_uri()}")


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

    Every row and photograph is checked; the pixels are decoded once, for all later stages.
    Writes prepared/; what cannot be used is listed in rejected.csv with a reason.
    """
    from hangtag.catalog.prepare import prepare as stage

    show(
        stage(
            catalog, workspace, _resolve(config.PrepareConfig, settings, file=file), schema=schema, overrides=overrides
        )
    )


@_command(config.CleanConfig)
def clean(
    settings: dict[str, Any],
    workspace: WorkspaceOption = Path("workspace"),
    preset: PresetOption = "default",
    file: FileOption = None,
) -> None:
    """Give every item one label, and draw the splits.

    Duplicates stay together on one side of train, val and test.
    Reads prepared/ and writes labels/, with a line in label_changes.csv for every change.
    """
    from hangtag.labels.clean import clean as stage

    show(stage(workspace, _resolve(config.CleanConfig, settings, preset, file)))


@_command(config.ExploreConfig)
def explore(settings: dict[str, Any], workspace: WorkspaceOption = Path("workspace"), file: FileOption = None) -> None:
    """Draw the catalogue in figures and sheets.

    Counts, balance, sunbursts, and a sheet of photographs for every class.
    Reads prepared/ and labels/ and writes exploration/, each figure with its table.
    """
    from hangtag.exploration.explore import explore as stage

    show(stage(workspace, _resolve(config.ExploreConfig, settings, file=file)))


@_command(config.TrainConfig)
def train(
    settings: dict[str, Any],
    workspace: WorkspaceOption = Path("workspace"),
    preset: PresetOption = "default",
    file: FileOption = None,
    run_id: Annotated[str | None, typer.Option(help="The run's name; by default made of its settings.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished training.")] = False,
) -> None:
    """Learn the labels from the photographs.

    Learns from the train split and keeps the epoch that does best on val.
    Reads prepared/ and labels/ and writes runs/RUN_ID/. A kill loses one epoch at most.
    """
    from hangtag.training.train import train as stage

    show(stage(workspace, _resolve(config.TrainConfig, settings, preset, file), run_id=run_id, resume=resume))


@_command(config.EvaluateConfig)
def evaluate(
    settings: dict[str, Any],
    workspace: WorkspaceOption = Path("workspace"),
    run: RunsOption = None,
    file: FileOption = None,
) -> None:
    """Judge trained models, and show their mistakes.

    Accuracy with intervals, the confusion matrix, and every misclassified item.
    Reads runs/ and labels/ and writes runs/RUN_ID/evaluation/. Refuses splits that leak.
    """
    from hangtag.evaluation.evaluate import evaluate as stage

    for result in stage(workspace, _resolve(config.EvaluateConfig, settings, file=file), run_ids=run):
        show(result)


@_command(config.PredictConfig)
def predict(
    settings: dict[str, Any],
    workspace: WorkspaceOption = Path("workspace"),
    run: RunsOption = None,
    file: FileOption = None,
) -> None:
    """Label the Unknown items with trained models.

    Reads runs/ and labels/ and writes runs/RUN_ID/predictions/, and where the models differ.
    """
    from hangtag.inference.predict import predict as stage

    for result in stage(workspace, _resolve(config.PredictConfig, settings, file=file), run_ids=run):
        show(result)


@_command()
def report(settings: dict[str, Any], workspace: WorkspaceOption = Path("workspace")) -> None:  # noqa: ARG001
    """Put everything into one page, report.html.

    The page stands alone: it opens from disk without a network.
    """
    from hangtag.reporting.report import report as stage

    show(stage(workspace))
    _show_report(workspace)


@_command(*config.KINDS, describes=True)
def run(
    catalog: CatalogArgument,
    settings: dict[str, Any],
    overrides: dict[str, Any],
    workspace: WorkspaceOption = Path("workspace"),
    preset: PresetOption = "default",
    file: FileOption = None,
    schema: SchemaOption = None,
    color_modes: Annotated[
        str | None, typer.Option(help="color, gray or color,gray: a training for each. [default: the preset's]")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds between commas: a training for each.")] = "0",
) -> None:
    """Take a catalogue through every stage.

    Stages whose inputs have not changed are skipped, so the same command goes on after a stop.
    """
    from hangtag import chain

    # One training has one colour mode and one seed: --color-mode and --seed serve as the lists of one.
    modes = color_modes or settings.pop("color_mode", None)
    numbers = [str(settings.pop("seed"))] if "seed" in settings else seeds.split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        raise HangtagError(
            "The seeds cannot be read.", allowed="Allowed: whole numbers between commas.", received=seeds
        )
    chain.run(
        catalog,
        workspace,
        preset=preset,
        settings=_read_file(file) | settings,
        schema=schema,
        overrides=overrides,
        color_modes=[mode.strip() for mode in modes.split(",")] if modes else None,
        seeds=[int(number) for number in numbers],
        on_stage=show,
    )
    _show_report(workspace)


@_command(*config.KINDS)
def demo(
    settings: dict[str, Any], workspace: WorkspaceOption = Path("demo-workspace"), file: FileOption = None
) -> None:
    """Do the same on a catalogue that is drawn.

    It is small and has every defect of a real one.
    Needs no download and takes about a minute.
    """
    from hangtag import chain

    chain.demo(workspace, settings=_read_file(file) | settings, on_stage=show)
    _show_report(workspace)


def main() -> None:
    """Run the command line."""
    app()
