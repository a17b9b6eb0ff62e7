"""The flags of the command line: those that commands share, and those made of settings and of a catalogue's keys."""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hangtag.settings import select_settings

Command = Callable[..., Any]
Flags = dict[str, inspect.Parameter]

WorkspaceOption = Annotated[Path, typer.Option("--workspace", "-w", help="The folder that all stages share.")]
PresetOption = Annotated[
    Literal["capstone", "default", "finetune", "frozen", "quick"],
    typer.Option(
        help="default does what is best known, quick a smaller network soon, capstone what the report did; finetune "
        "goes on from --weights that were learnt elsewhere, frozen only learns heads on them."
    ),
]
FileOption = Annotated[
    Path | None, typer.Option("--config", help="A TOML file of settings, over the preset's; flags are over both.")
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        metavar="FOLDER",
        help="A folder that `hangtag export` wrote; by default the model that hangtag comes with.",
    ),
]
CatalogArgument = Annotated[
    str, typer.Argument(metavar="CATALOG", help="A folder, a .zip, or a .csv file with photographs.")
]
RunsOption = Annotated[
    list[str] | None, typer.Option("--run", metavar="RUN_ID", help="A finished run; may be repeated. All by default.")
]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="Replace a training of the same name that has other settings.")
]
SchemaOption = Annotated[
    Path | None, typer.Option("--schema", help="A TOML file that describes the catalogue; see docs/data.md.")
]
SeedsOption = Annotated[
    str | None,
    typer.Option("--seeds", "--seed", metavar="SEED,...", help="A training for each seed. [default: 0]"),
]


def _build_modes_option(default: str) -> Any:
    text = f"A training for each colour mode: color, gray, or color,gray. [default: {default}]"
    return typer.Option("--color-modes", "--color-mode", metavar="MODE,...", help=text)


ModesOption = Annotated[str | None, _build_modes_option("color; both where the preset is capstone")]
DemoModesOption = Annotated[str | None, _build_modes_option("color,gray")]

# What a text looks like that stands for several values.
METAVARS = {
    "image_size": "HEIGHTxWIDTH",
    "split_fractions": "TRAIN,VAL,TEST",
    "splits": "SPLIT,...",
    "train_splits": "SPLIT,...",
    "calibration_run": "RUN",
    "test_where": "RULE",
    "splits_from": "WORKSPACE",
    "auto_accept": "PRECISION",
    "allowed_hosts": "NAME,...",
    "trusted_proxies": "ADDRESS,...",
    "weights": "FILE",
}
# A key of the catalogue's description, its flag, and what the flag means.
DESCRIPTION = (
    ("table", "--table", "The table's file name inside the catalogue."),
    ("image", "--image", "The photographs' paths, with columns in braces: images/{id}.jpg."),
    ("image_column", "--image-column", "The column that holds the photographs' paths."),
    ("id", "--id-column", "The column that names an item."),
    ("name", "--name-column", "The column with the product's name."),
    ("levels", "--levels", "The label columns from coarse to fine, between commas."),
    ("attributes", "--attributes", "Further columns that describe an item, between commas."),
    ("label_name", "--label-name", "The heading of the cleaned label."),
    ("split", "--split-column", "A column that already says train, val or test."),
)


def build_setting_flags(*kinds: type, defaults: Mapping[str, Any] | None = None, omit: Collection[str] = ()) -> Flags:
    """Make a flag of every setting of the stages' dataclasses.

    A flag that is not given is None, so that a preset and a settings file keep their say; the help shows the default.

    Args:
        kinds: The dataclasses; a setting that two of them have means the same in both.
        defaults: Defaults to show in the place of the dataclasses' own.
        omit: Settings that the command asks for in another way.
    """
    flags: Flags = {}
    for kind in kinds:
        hints, own = typing.get_type_hints(kind), select_settings(kind, defaults or {})
        for each in dataclasses.fields(kind):
            if each.name not in omit:
                default = _show_default(each.name, own.get(each.name, each.default))
                text = each.metadata["help"] + (f" [default: {default}]" if default else "")
                flags[each.name] = _build_setting_flag(each.name, hints[each.name], text)
    return flags


def _build_setting_flag(name: str, hint: Any, text: str) -> inspect.Parameter:
    dashed = name.replace("_", "-")
    if typing.get_origin(hint) is tuple:
        hint = str
    flag = f"--{dashed}/--no-{dashed}" if hint is bool else f"--{dashed}"
    return _build_flag(name, hint, typer.Option(flag, help=text, show_default=False, metavar=METAVARS.get(name)))


def _build_flag(name: str, hint: Any, option: Any) -> inspect.Parameter:
    annotation = Annotated[typing.Optional[hint], option]  # noqa: UP045  (a Literal has no `|` before the annotation)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _show_default(name: str, value: object) -> str:
    if isinstance(value, tuple):
        return ("x" if name == "image_size" else ",").join(str(part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def build_description_flags() -> Flags:
    """Make the flags that describe a catalogue, each over the same key of its TOML description."""
    return {
        key: _build_flag(f"describe_{key}", str, typer.Option(flag, help=text, show_default=False))
        for key, flag, text in DESCRIPTION
    }


def gather(function: Command, groups: Mapping[str, Flags]) -> Command:
    """Give a command that has the flags of all groups and hands them to `function` as one mapping a group.

    Args:
        function: Takes each group's name as a keyword, beside parameters of its own.
        groups: The flags by the name of that keyword; only those that were given are handed over.
    """

    def command(**values: Any) -> Any:
        for group, flags in groups.items():
            found = {key: values.pop(flag.name) for key, flag in flags.items()}
            values[group] = {key: value for key, value in found.items() if value is not None}
        return function(**values)

    own = [each for name, each in inspect.signature(function).parameters.items() if name not in groups]
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    parameters += [flag for flags in groups.values() for flag in flags.values()]
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command
