"""Test the flags that are built from settings and from a catalogue's description."""

import dataclasses
import inspect

import pytest
from typer.main import get_command

from hangtag.catalog.schema import CatalogSchema
from hangtag.cli import app
from hangtag.cli_commands import build_description_flags, build_setting_flags, gather
from hangtag.cli_help import COMMAND_GROUPS
from hangtag.cli_options import DESCRIPTION
from hangtag.config import KINDS, PrepareConfig
from hangtag.train_config import SPLITS, TrainConfig

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
SETTINGS = [
    (kind.__name__.removesuffix("Config").lower(), each.name) for kind in KINDS for each in dataclasses.fields(kind)
]


def options_of(command: str) -> set[str]:
    return {option for param in COMMANDS[command].params for option in param.opts}


def test_a_setting_of_two_stages_has_the_same_meaning_in_both() -> None:
    meanings: dict[str, set[tuple[object, ...]]] = {}
    for kind in KINDS:
        for each in dataclasses.fields(kind):
            meanings.setdefault(each.name, set()).add((each.type, each.default, each.metadata["help"]))
    assert {name for name, found in meanings.items() if len(found) > 1} == set()


def test_every_command_is_in_a_group_of_the_help() -> None:
    assert [name for names in COMMAND_GROUPS.values() for name in names] == list(get_command(app).list_commands(None))  # type: ignore[attr-defined]
    assert {name for names in COMMAND_GROUPS.values() for name in names} == set(COMMANDS)


def test_flags_of_several_stages_are_grouped_by_stage_and_group() -> None:
    one, both = build_setting_flags(TrainConfig), build_setting_flags(PrepareConfig, TrainConfig)
    assert get_heading_of(one, "epochs") == "Optimization"
    assert get_heading_of(both, "epochs") == "Train: optimization"
    assert get_heading_of(both, "fit") == "Prepare"
    assert get_heading_of(build_setting_flags(PrepareConfig), "fit") is None


def test_every_setting_of_train_has_a_group() -> None:
    assert {each.name for each in dataclasses.fields(TrainConfig) if not each.metadata["group"]} == set()


@pytest.mark.parametrize(("stage", "name"), SETTINGS)
def test_every_setting_is_a_flag_of_its_stage_and_of_run_and_demo(stage: str, name: str) -> None:
    flag = f"--{name.replace('_', '-')}"
    assert flag in options_of(stage)
    assert flag in options_of("run")
    assert flag in options_of("demo")


def test_every_setting_has_a_help_text_that_ends_with_a_full_stop() -> None:
    for kind in KINDS:
        for each in dataclasses.fields(kind):
            assert each.metadata["help"].endswith("."), each.name


def test_every_command_has_a_workspace_and_says_what_it_reads_or_writes() -> None:
    for name, command in COMMANDS.items():
        if name in ("models", "classify", "serve", "init", "app"):
            # A table's description is written beside the table, and the application has a workspace for each catalogue.
            # Architectures do not depend on a workspace, and an exported model needs none.
            continue
        assert {"--workspace", "-w"} <= options_of(name)
        assert "writes" in command.help.lower(), name


def test_the_description_flags_are_keys_of_a_catalogue_schema() -> None:
    fields = {each.name for each in dataclasses.fields(CatalogSchema)}
    assert {key for key, _, _ in DESCRIPTION} <= fields
    for command in ("prepare", "run"):
        assert {flag for _, flag, _ in DESCRIPTION} <= options_of(command)


def get_help_of(flags: dict[str, inspect.Parameter], name: str) -> str:
    return str(flags[name].annotation.__metadata__[0].help)


def get_heading_of(flags: dict[str, inspect.Parameter], name: str) -> str | None:
    heading: str | None = flags[name].annotation.__metadata__[0].rich_help_panel
    return heading


def test_help_shows_the_default_of_the_dataclass_and_the_flag_has_none() -> None:
    flags = build_setting_flags(PrepareConfig, TrainConfig)
    assert get_help_of(flags, "image_size").endswith("[default: 80x60]")
    assert get_help_of(flags, "flip").endswith("[default: yes]")
    assert get_help_of(flags, "learning_rate").endswith(f"[default: {TrainConfig().learning_rate}]")
    assert {flag.default for flag in flags.values()} == {None}


def test_a_command_can_show_other_defaults_and_leave_settings_out() -> None:
    flags = build_setting_flags(TrainConfig, defaults={"epochs": 3}, omit=["seed"])
    assert get_help_of(flags, "epochs").endswith("[default: 3]")
    assert "seed" not in flags
    assert "momentum" in flags


def test_an_empty_default_is_not_shown() -> None:
    assert "[default" not in get_help_of(build_setting_flags(*KINDS), "taxonomy")
    assert get_help_of(build_setting_flags(*KINDS), "splits").endswith(f"[default: {','.join(SPLITS)}]")


def test_gather_passes_only_the_flags_that_were_given() -> None:
    def stage(workspace: str, settings: dict[str, object], overrides: dict[str, object]) -> tuple[object, ...]:
        """Do it."""
        return workspace, settings, overrides

    groups = {"settings": build_setting_flags(TrainConfig), "overrides": build_description_flags()}
    command = gather(stage, groups)
    values = dict.fromkeys(list(inspect.signature(command).parameters))
    given = {**values, "workspace": "here", "epochs": 2, "flip": False, "describe_id": "sku"}
    assert command(**given) == ("here", {"epochs": 2, "flip": False}, {"id": "sku"})
    assert (command.__name__, command.__doc__) == ("stage", "Do it.")
