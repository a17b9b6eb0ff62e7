"""Declare the commands that only pass the workspace and settings to the stage of their name."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from hangtag import cli_options as options
from hangtag import config
from hangtag.presets import resolve_settings
from hangtag.train_config import TrainConfig


@dataclass(frozen=True)
class StageCommand:
    """A command that only passes the workspace, the settings and some keyword arguments to the stage of its name.

    Attributes:
        name: The command's name.
        kind: The dataclass of its settings.
        help: The text of its `--help`; `hangtag --help` shows the first line.
        parameters: The annotation for Typer and the default of further parameters, passed as keyword arguments.
        has_preset: Whether the command has the flag `--preset`.
    """

    name: str
    kind: type[Any]
    help: str
    parameters: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    has_preset: bool = False

    def register(self, app: typer.Typer, run_stage: Callable[..., None]) -> None:
        """Add the command to `app`; it calls `run_stage` with its name, the workspace, the settings and parameters."""

        def call(
            workspace: Path, file: Path | None, settings: dict[str, Any], preset: str = "default", **more: Any
        ) -> None:
            run_stage(self.name, workspace, resolve_settings(self.kind, settings, preset, file), **more)

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
        command = options.gather(call, {"settings": options.build_setting_flags(self.kind)}, parameters)
        app.command(self.name, cls=options.GroupedCommand, help=inspect.cleandoc(self.help))(command)


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
        """,
        {
            "run_id": (options.RunIdOption, None),
            "resume": (options.ResumeOption, False),
            "replace": (options.ReplaceOption, False),
        },
        has_preset=True,
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
)
