"""Group the commands and the flags under headings in `--help`."""

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# The headings of `hangtag --help` and their commands, in order.
COMMAND_GROUPS = {
    "Start here": ("app", "check"),
    "Prepare a catalogue": ("init", "prepare", "clean", "explore", "suggest-merges"),
    "Train and evaluate": ("train", "cross-validate", "learning-curve", "evaluate", "compare", "predict", "models"),
    "Find and fix label errors": ("audit", "review", "map-taxonomy", "apply", "exchange"),
    "Use the results": ("report", "search", "export", "classify", "serve"),
    "All at once": ("run", "demo"),
}


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


def create_app() -> typer.Typer:
    """Create the command line without its commands."""
    return typer.Typer(
        cls=GroupedCommands,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
