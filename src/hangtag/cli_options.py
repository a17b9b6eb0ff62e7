"""Define the flags and arguments of the command line, and group them under headings in `--help`.

The flags of a stage's settings are built from its dataclass, and those of a catalogue's description from the table
`DESCRIPTION`. All other arguments and flags are declared here.
"""

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from hangtag.config import AuditConfig, CleanConfig, PrepareConfig
from hangtag.errors import HangtagError, SettingsError
from hangtag.settings import name_flag, name_stage, select_settings
from hangtag.train_config import ColorMode, TrainConfig
from hangtag.workspace import Workspace

WORKSPACE = Path("workspace")
Command = Callable[..., Any]
Flags = dict[str, inspect.Parameter]

# The headings of `hangtag --help` and their commands, in order.
COMMAND_GROUPS = {
    "Start here": ("check",),
    "Prepare a catalogue": ("init", "prepare", "clean", "explore"),
    "Train and evaluate": ("train", "cross-validate", "evaluate", "compare", "predict", "models"),
    "Find and fix label errors": ("audit", "review", "apply"),
    "Use the results": ("report", "export", "classify", "serve"),
    "All at once": ("run", "demo"),
}


# `run` and `demo` replace these settings of `train` by --color-modes and --seeds, and train once for each of them.
CHAIN_SETTINGS = ("color_mode", "seed")


# The stages of `check`, whose settings its --config may have.
CHECK_KINDS = (PrepareConfig, CleanConfig, TrainConfig, AuditConfig)


class GroupedCommand(TyperCommand):
    """A command whose `--help` groups flags by the heading in their declaration (`rich_help_panel`)."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section of the help for each heading, in the order of the flags."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                default = "Arguments" if parameter.param_type_name == "argument" else "Options"
                heading = getattr(parameter, "rich_help_panel", None) or default
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class GroupedCommands(TyperGroup):
    """The command line, whose `--help` groups commands by `COMMAND_GROUPS`."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  (Typer's signature)
        """Return the names of the commands in the order of `COMMAND_GROUPS`."""
        return [name for names in COMMAND_GROUPS.values() for name in names]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section of the help for each heading, with its commands and their first sentences."""
        width = max(map(len, self.list_commands(ctx)))
        for heading, names in COMMAND_GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl(
                    [(name.ljust(width), self.commands[name].get_short_help_str(formatter.width)) for name in names]
                )


def complete_run_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Return the finished runs whose name begins with the typed text, for shell completion."""
    try:
        run_ids = Workspace.at(context.params.get("workspace") or WORKSPACE).run_ids()
    except (HangtagError, OSError):
        return []
    return [run_id for run_id in run_ids if run_id.startswith(incomplete)]


WorkspaceOption = Annotated[Path, typer.Option("--workspace", "-w", help="Folder that all stages share.")]
PresetOption = Annotated[
    Literal["capstone", "default", "finetune", "frozen", "quick", "scratch"],
    typer.Option(
        help="default (or finetune) trains a network further that knows photographs already, quick does so in minutes, "
        "frozen trains only its heads; scratch trains a network from random weights; capstone repeats the report."
    ),
]
FileOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file of settings: overrides the preset; flags override both.")
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        metavar="FOLDER",
        help="Folder written by `hangtag export`; by default the model that ships with hangtag.",
    ),
]
CatalogArgument = Annotated[
    str, typer.Argument(metavar="CATALOG", help="A folder or a .zip, or a table with photographs beside it.")
]
DescriptionOutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="The file to write, by default catalog.toml beside the table."),
]
EncodingOption = Annotated[
    str, typer.Option("--encoding", help="Encoding of a table of text, where it is not found: cp1251, gbk, ...")
]
SheetOption = Annotated[str, typer.Option("--sheet", help="Sheet of a workbook; by default the first with a header.")]
MovedCatalogOption = Annotated[
    Path | None, typer.Option("--catalog", metavar="CATALOG", help="The catalogue, if it has moved since prepare.")
]
SchemaOption = Annotated[
    Path | None, typer.Option("--schema", help="TOML file that describes the catalogue; see docs/data.md.")
]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="Replace a training of the same name that has other settings.")
]
RunIdOption = Annotated[str | None, typer.Option(help="Name of the run; by default built from its settings.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue an interrupted training.")]
FoldsOption = Annotated[int, typer.Option(metavar="N", help="Number of folds, and of trainings, 2 to 20.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A finished run.", autocompletion=complete_run_ids)]
RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN...", help="Finished runs; all by default.", autocompletion=complete_run_ids),
]
EvaluatedRunsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN...", help="Evaluated runs, two or more; all by default.", autocompletion=complete_run_ids
    ),
]
EvidenceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="The run, or the cross-validation, whose probabilities are used; by default the latest cross-validation, "
        "else the best run, else the model that ships with hangtag.",
        autocompletion=complete_run_ids,
    ),
]
EvidenceModelOption = Annotated[
    Path | None,
    typer.Option("--model", "-m", metavar="FOLDER", help="Folder written by `hangtag export`, or `shipped`."),
]
SplitOption = Annotated[
    Literal["test", "val", "train"],
    typer.Option(help="Split to compare on; use test for the final evaluation only, never to choose a run."),
]
BaselineOption = Annotated[
    str | None,
    typer.Option(metavar="RUN", help="Run that the others are tested against; the first one by default."),
]
TimeOption = Annotated[
    bool, typer.Option("--time", help="Also measure the prediction time on this machine; best while it is idle.")
]
WideOption = Annotated[
    bool, typer.Option("--wide", help="Print metrics and costs as one table, wider than 80 columns.")
]
SeedsOption = Annotated[
    str | None,
    typer.Option("--seeds", "--seed", metavar="SEED,...", help="Train once for each seed. [default: 0]"),
]
ImageSizeOption = Annotated[str, typer.Option(metavar="HEIGHTxWIDTH", help="Height x width of the photographs.")]
ColorModeOption = Annotated[ColorMode, typer.Option(help="Color or gray photographs.")]
ExportFolderOption = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder to write to.")]
PhotographsArgument = Annotated[
    list[Path], typer.Argument(metavar="PHOTOGRAPH...", help="Image files, and folders of them.")
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Write a .csv, .jsonl or .parquet file; the same command continues an interrupted one."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
JsonSummaryOption = Annotated[
    bool, typer.Option("--json", help="Print the summary as one JSON object, and nothing else on stdout.")
]
TrainOption = Annotated[
    bool,
    typer.Option("--train", help="First learn from the catalogue itself, which finds more; says how long it takes."),
]
OpenOption = Annotated[
    bool, typer.Option("--open/--no-open", help="Open the page to decide on in the browser, where a person is there.")
]
FailOption = Annotated[
    Literal["any", "new"] | None,
    typer.Option(
        metavar="WHICH",
        help="Exit with code 1 if a category looks wrong that nobody has decided on: any, or only of products that are "
        "new or changed since the last check. Without it a check that went through exits with 0.",
    ),
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
GroupByOption = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="RULE",
        help="One answer for the photographs of a product: folder, for those of a folder, or a regular expression for "
        r"file names, such as '(?P<product>\d+)_\d+'.",
    ),
]
ExplainOption = Annotated[
    Path | None,
    typer.Option("--explain", metavar="FOLDER", help="Write each photograph with a heatmap (Grad-CAM) over it."),
]


def _build_modes_option(default: str) -> Any:
    text = f"Train once for each color mode: color, gray, or color,gray. [default: {default}]"
    return typer.Option("--color-modes", "--color-mode", metavar="MODE,...", help=text)


ModesOption = Annotated[str | None, _build_modes_option("color; both with the preset capstone")]
DemoModesOption = Annotated[str | None, _build_modes_option("color,gray")]

# A key of the catalogue's description, its flag, and its help text.
DESCRIPTION = (
    ("table", "--table", "File name of the table inside the catalogue."),
    ("image", "--image", "Paths of the photographs, with columns in braces: images/{id}.jpg."),
    ("image_column", "--image-column", "Column with the paths of the photographs."),
    ("id", "--id-column", "Column with the identifier of an item."),
    ("name", "--name-column", "Column with the product name."),
    ("levels", "--levels", "Label columns from coarse to fine, separated by commas."),
    ("attributes", "--attributes", "Further columns that describe an item, separated by commas."),
    ("label_name", "--label-name", "Heading of the cleaned label."),
    ("group", "--group-column", "Column whose equal values belong to one product, which stays in one split."),
    ("layout", "--layout", "The shop system whose table it is: shopify, woocommerce, google-merchant, ..."),
    ("level_separator", "--level-separator", "Separator of the levels in a column of category paths: '>'."),
    ("category_separator", "--category-separator", "Separator of several category paths in a cell."),
    ("image_separator", "--image-separator", "Separator of several photographs in a cell."),
    ("other_image_columns", "--other-image-columns", "Columns with further photographs, separated by commas."),
    ("encoding", "--encoding", "Encoding of a table of text, where it is not found: cp1251, gbk, ..."),
    ("separator", "--separator", "Separator of the table's cells, where it is not found: comma, semicolon, tab, bar."),
    ("sheet", "--sheet", "Sheet of an Excel workbook; by default the first with a header and rows."),
    ("split", "--split-column", "Column that already has the splits train, val and test."),
)


def build_setting_flags(*kinds: type, defaults: Mapping[str, Any] | None = None, omit: Collection[str] = ()) -> Flags:
    """Build a flag for every setting of the stages' dataclasses.

    A flag that is not used is None, so that a preset or a settings file can set it; the help shows the default. In the
    help, flags are grouped by the group of their setting, and by stage if there are several.

    Args:
        kinds: The dataclasses; a setting that two of them have has the same meaning in both.
        defaults: Defaults to show instead of those of the dataclasses.
        omit: Settings without a flag, since the command sets them in another way.
    """
    flags: Flags = {}
    for kind in kinds:
        hints, shown_defaults = typing.get_type_hints(kind), select_settings(kind, defaults or {})
        for field in dataclasses.fields(kind):
            if field.name in omit or field.name in flags:
                continue
            default = _format_default(field.name, shown_defaults.get(field.name, field.default))
            text = field.metadata["help"] + (f" [default: {default}]" if default else "")
            parts = [name_stage(kind) if len(kinds) > 1 else "", field.metadata["group"].lower()]
            heading = ": ".join(part for part in parts if part).capitalize()
            flags[field.name] = _build_setting_flag(field, hints[field.name], text, heading or None)
    return flags


def _build_setting_flag(
    field: "dataclasses.Field[Any]", hint: Any, text: str, heading: str | None
) -> inspect.Parameter:
    flag = name_flag(field.name)
    if typing.get_origin(hint) is tuple:
        hint = str
    if hint is bool:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    metavar = field.metadata["metavar"]
    option = typer.Option(flag, help=text, show_default=False, metavar=metavar, rich_help_panel=heading)
    return _build_flag(field.name, hint, option)


def _build_flag(name: str, hint: Any, option: Any) -> inspect.Parameter:
    annotation = Annotated[typing.Optional[hint], option]  # noqa: UP045  (a Literal has no `|` before the annotation)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _format_default(name: str, value: object) -> str:
    if isinstance(value, tuple):
        return ("x" if name == "image_size" else ",").join(str(part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def build_description_flags() -> Flags:
    """Build the flags that describe a catalogue; each overrides the same key of its TOML description."""
    return {
        key: _build_flag(
            f"describe_{key}",
            str,
            typer.Option(flag, help=text, show_default=False, rich_help_panel="Description of the catalogue"),
        )
        for key, flag, text in DESCRIPTION
    }


def gather(function: Command, groups: Mapping[str, Flags], own: Iterable[inspect.Parameter] | None = None) -> Command:
    """Build a command with the flags of all groups, which passes them to `function` as one mapping for each group.

    Args:
        function: A function that takes each group as a keyword argument, besides other parameters.
        groups: The flags of each group, by the name of the keyword; only flags that the user typed are passed.
        own: The other parameters; by default those of `function`.
    """

    def command(**values: Any) -> Any:
        for group, flags in groups.items():
            group_values = {key: values.pop(flag.name) for key, flag in flags.items()}
            values[group] = {key: value for key, value in group_values.items() if value is not None}
        return function(**values)

    if own is None:
        own = [parameter for name, parameter in inspect.signature(function).parameters.items() if name not in groups]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    parameters += [flag for flags in groups.values() for flag in flags.values()]
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def register(
    app: typer.Typer,
    *kinds: type,
    describes: bool = False,
    defaults: Mapping[str, Any] | None = None,
    omit: Collection[str] = (),
) -> Callable[[Command], Command]:
    """Return a decorator that adds a function to `app` as a command, with a flag for each setting of `kinds`.

    The function receives the settings as `settings`, and with `describes` a catalogue's description as `overrides`.
    """
    groups = {"settings": build_setting_flags(*kinds, defaults=defaults, omit=omit)} if kinds else {}
    if describes:
        groups["overrides"] = build_description_flags()

    def decorate(function: Command) -> Command:
        app.command(cls=GroupedCommand)(gather(function, groups))
        return function

    return decorate


def create_app() -> typer.Typer:
    """Create the command line without its commands."""
    return typer.Typer(
        cls=GroupedCommands,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def parse_trainings(color_modes: str | None, seeds: str | None, replace: bool) -> dict[str, Any]:
    """Return the keyword arguments of `run` and `demo` for the trainings; lists are None if a flag is not used.

    Raises:
        SettingsError: The seeds are not whole numbers separated by commas.
    """
    parts = _split_commas(seeds)
    if parts is not None and not all(part.isdecimal() for part in parts):
        raise SettingsError("--seeds must be whole numbers separated by commas.", received=seeds)
    numbers = None if parts is None else [int(part) for part in parts]
    return {"color_modes": _split_commas(color_modes), "seeds": numbers, "replace": replace}


def has_person() -> bool:
    """Return whether a person is at the terminal: neither the input nor the output is a file or a pipe."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _split_commas(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]
