"""Build the commands: from functions or the dataclasses of settings, with flags grouped under headings in `--help`.

The flags of a stage's settings are built from its dataclass; all others are declared in `cli_options`.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from hangtag import cli_options as options
from hangtag import config
from hangtag.cli_help import GroupedCommand
from hangtag.errors import SettingsError
from hangtag.presets import resolve_settings
from hangtag.runner_config import RunnerConfig
from hangtag.settings import name_flag, name_stage, select_settings
from hangtag.train_config import TrainConfig

Command = Callable[..., Any]
Flags = dict[str, inspect.Parameter]

# `run` and `demo` replace these settings of `train` by --color-modes and --seeds, and train once for each of them.
CHAIN_SETTINGS = ("color_mode", "seed")
# The stages of `check`, whose settings its --config may have.
CHECK_KINDS = (config.PrepareConfig, config.CleanConfig, TrainConfig, config.AuditConfig)


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
        for key, flag, text in options.DESCRIPTION
    }


def build_runner_flags(*, has_gpus: bool) -> dict[str, Flags]:
    """Build the group of flags that choose where work is done; graphics cards are for that of networks."""
    return {"runner": build_setting_flags(RunnerConfig, omit=() if has_gpus else ("gpus_per_task",))}


def gather(function: Command, groups: Mapping[str, Flags], own: Iterable[inspect.Parameter] | None = None) -> Command:
    """Build a command with the flags of all groups, which passes them to `function` as one mapping for each group.

    Those of the group `runner` are passed as a `RunnerConfig`.

    Args:
        function: A function that takes each group as a keyword argument, besides other parameters.
        groups: The flags of each group, by the name of the keyword; only flags that the user typed are passed.
        own: The other parameters; by default those of `function`.
    """

    def command(**values: Any) -> Any:
        for group, flags in groups.items():
            group_values = {key: values.pop(flag.name) for key, flag in flags.items()}
            values[group] = {key: value for key, value in group_values.items() if value is not None}
        if "runner" in groups:
            values["runner"] = resolve_settings(RunnerConfig, values["runner"])
        return function(**values)

    if own is None:
        own = [parameter for name, parameter in inspect.signature(function).parameters.items() if name not in groups]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    parameters += [flag for flags in groups.values() for flag in flags.values()]
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


@dataclass(frozen=True)
class StageCommand:
    """A command that only passes the workspace, the settings and some keyword arguments to the stage of its name.

    Attributes:
        name: The command's name.
        kind: The dataclass of its settings.
        help: The text of its `--help`; `hangtag --help` shows the first line.
        parameters: The annotation for Typer and the default of further parameters, passed as keyword arguments.
        has_preset: Whether the command has the flag `--preset`.
        has_runner: Whether Ray can do its work, trainings or predictions.
        variants: Another stage that a flag calls, and the flags that it lacks, by the parameter of the flag.
    """

    name: str
    kind: type[Any]
    help: str
    parameters: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    has_preset: bool = False
    has_runner: bool = False
    variants: Mapping[str, tuple[str, tuple[str, ...]]] = dataclasses.field(default_factory=dict)

    def register(self, app: typer.Typer, run_stage: Callable[..., None]) -> None:
        """Add the command to `app`; it calls `run_stage` with its name, the workspace, the settings and parameters."""

        def call(
            workspace: Path, file: Path | None, settings: dict[str, Any], preset: str = "default", **more: Any
        ) -> None:
            stage = self._choose_stage(more)
            run_stage(stage, workspace, resolve_settings(self.kind, settings, preset, file), **more)

        declared: dict[str, tuple[Any, Any]] = {
            "workspace": (options.WorkspaceOption, options.WORKSPACE),
            "file": (options.FileOption, None),
        }
        if self.has_preset:
            declared["preset"] = (options.PresetOption, "default")
        parameters = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in (declared | dict(self.parameters)).items()
        ]
        groups = {"settings": build_setting_flags(self.kind)} | (
            build_runner_flags(has_gpus=True) if self.has_runner else {}
        )
        command = gather(call, groups, parameters)
        app.command(self.name, cls=GroupedCommand, help=inspect.cleandoc(self.help))(command)

    def _choose_stage(self, values: dict[str, Any]) -> str:
        """Return the stage that the flags call, and leave only its parameters in `values`.

        Raises:
            SettingsError: A flag was used that this stage lacks.
        """
        chosen = self.name
        for flag, (stage, lacking) in self.variants.items():
            if values.get(flag) is None:
                values.pop(flag, None)
                continue
            chosen = stage
            if used := [name_flag(name) for name in lacking if values.pop(name)]:
                raise SettingsError(f"{' and '.join(used)} cannot be used with {name_flag(flag)}.")
        return chosen


def register(
    app: typer.Typer,
    *kinds: type,
    describes: bool = False,
    has_runner: bool = False,
    defaults: Mapping[str, Any] | None = None,
    omit: Collection[str] = (),
) -> Callable[[Command], Command]:
    """Return a decorator that adds a function to `app` as a command, with a flag for each setting of `kinds`.

    The function receives the settings as `settings`, with `describes` a catalogue's description as `overrides`, and
    with `has_runner` a `RunnerConfig` as `runner`.
    """
    groups = {"settings": build_setting_flags(*kinds, defaults=defaults, omit=omit)} if kinds else {}
    if describes:
        groups["overrides"] = build_description_flags()
    if has_runner:
        groups |= build_runner_flags(has_gpus=False)

    def decorate(function: Command) -> Command:
        app.command(cls=GroupedCommand)(gather(function, groups))
        return function

    return decorate


def register_local_app(app: typer.Typer) -> None:
    """Add the command `app` to the command line."""

    @app.command("app", cls=GroupedCommand)
    def run(
        folder: options.AppFolderOption = options.APP_FOLDER,
        port: options.PortOption = options.APP_PORT,
        browser: options.BrowserOption = True,
    ) -> None:
        """Check and correct catalogues in the browser.

        Choose or drop a catalogue, look at its first rows, start the check, decide, and download the corrected file.
        Nothing leaves this machine. Ctrl-C stops it; a check that runs is stopped too, and continues the next time.
        """
        from hangtag.stages.app import app as stage  # noqa: PLC0415  (slow to import)

        told = "The page: {}  (Ctrl-C stops it)"
        stage(folder, port=port, opens=browser, on_start=lambda address: typer.echo(told.format(address), err=True))


# Commands that only pass settings and some arguments to their stage.
STAGE_COMMANDS = (
    StageCommand(
        "clean",
        config.CleanConfig,
        """Assign one label to every item, and split the items.

        The splits are train for training, val to choose models and thresholds, and test for the final evaluation.
        Reads prepared/ and writes labels/, with a line in label_changes.csv for every changed label.
        """,
        has_preset=True,
    ),
    StageCommand(
        "explore",
        config.ExploreConfig,
        """Plot class counts, balance and contact sheets.

        Reads prepared/ and labels/ and writes exploration/: bar charts, sunbursts, and a sheet of photographs for
        every class, each figure with its table.
        """,
    ),
    StageCommand(
        "train",
        TrainConfig,
        """Train a classifier on the labelled photographs.

        Trains for --epochs passes over the train split, and measures accuracy on val after each of them.
        Reads prepared/ and labels/ and writes runs/RUN_ID/; an interrupted training loses at most one epoch.
        With --search, trains with several settings, each a run, and writes their ranking to parameter_search/.
        """,
        {
            "run_id": (options.RunIdOption, None),
            "resume": (options.ResumeOption, False),
            "replace": (options.ReplaceOption, False),
            "search": (options.SearchFileOption, None),
            "training_workers": (options.TrainingWorkersOption, None),
        },
        has_preset=True,
        has_runner=True,
        variants={
            "search": ("parameter-search", ("resume", "replace", "training_workers")),
            "training_workers": ("parallel-training", ()),
        },
    ),
    StageCommand(
        "cross-validate",
        TrainConfig,
        """Predict every item with a model not trained on it.

        Trains once for each fold, without the items of that fold, and predicts them. Reads prepared/ and labels/ and
        writes folds/RUN_ID/: the probabilities of every labelled item, for `hangtag audit`, and accuracy, macro-F1 and
        the F1 of each class over all items. After an interruption the same command continues.
        """,
        {
            "folds": (options.FoldsOption, 5),
            "run_id": (options.RunIdOption, None),
            "replace": (options.ReplaceOption, False),
        },
        has_preset=True,
        has_runner=True,
    ),
    StageCommand(
        "learning-curve",
        TrainConfig,
        """Measure whether more items would help.

        Trains on growing shares of the training items, measures each training on val, and estimates what twice the
        items would bring. Reads prepared/ and labels/ and writes runs/ and learning_curve/; finished runs are kept.
        """,
        {
            "fractions": (options.FractionsOption, "0.1,0.2,0.5,1"),
            "seeds": (options.CurveSeedsOption, None),
            "replace": (options.ReplaceOption, False),
        },
        has_preset=True,
        has_runner=True,
    ),
    StageCommand(
        "evaluate",
        config.EvaluateConfig,
        """Evaluate trained models, and list their errors.

        Reads runs/ and labels/ and writes runs/RUN_ID/evaluation/: accuracy with intervals, the confusion matrix, and
        every misclassified item. Refuses splits that share items.
        """,
        {"run_ids": (options.RunsArgument, None)},
    ),
    StageCommand(
        "predict",
        config.PredictConfig,
        """Predict the labels of Unknown items.

        Unknown items are those whose label cannot be derived from the table.
        Reads runs/ and labels/ and writes runs/RUN_ID/predictions/, with a list of items on which the models disagree.
        """,
        {"run_ids": (options.RunsArgument, None)},
        has_runner=True,
    ),
    StageCommand(
        "apply",
        config.ApplyConfig,
        """Write the corrected catalogue.

        Writes the catalogue's own table to review/corrected/, with the decided cells changed and no other byte, and
        the list of changes to review/label_changes.csv, which the next clean applies. Undone decisions have no effect.
        """,
        {"catalog": (options.MovedCatalogOption, None)},
    ),
    StageCommand(
        "map-taxonomy",
        config.MapTaxonomyConfig,
        """Match categories to a public taxonomy.

        Proposes a category of Google's or Shopify's product taxonomy, from a file, for every category of the catalogue,
        and leaves open what is not certain. Reads prepared/ and writes taxonomy/mapping.csv: look it over, correct it,
        and name it with `hangtag apply --taxonomy-mapping`.
        """,
        {"taxonomy": (options.TaxonomyArgument, inspect.Parameter.empty)},
    ),
    StageCommand(
        "suggest-merges",
        config.SuggestMergesConfig,
        """Find labels that mean the same.

        Compares the spelling of labels, their synonyms, and the words of their products. Reads prepared/ and writes
        merges/merges.csv, and merges/merges.toml: look it over, and name it with `hangtag clean --taxonomy`.
        """,
    ),
    StageCommand(
        "exchange",
        config.ExchangeConfig,
        """Exchange issues and catalogues with other tools.

        With --output, writes the open issues for Label Studio or FiftyOne, or the cleaned catalogue as an image folder
        of Hugging Face. With --answers, reads what annotators answered as decisions, as if they used hangtag review.
        """,
        {
            "tool": (options.ToolArgument, inspect.Parameter.empty),
            "output": (options.ExchangeFolderOption, None),
            "answers": (options.AnswersOption, None),
        },
    ),
)
