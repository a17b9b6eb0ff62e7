"""A table of a settings file is for its stage alone, and what stands in the wrong place is told with the right one."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag import cli
from hangtag.config import (
    KINDS,
    MORE_KINDS,
    ClassifyConfig,
    CleanConfig,
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    PrepareConfig,
    ReviewConfig,
    ServeConfig,
    TrainConfig,
)
from hangtag.errors import SettingsError
from hangtag.presets import DEMO_SETTINGS, PRESETS, check_names
from hangtag.settings import lay_over, name_stage, read_settings, resolve, select_settings, to_toml

ALL: tuple[type[Any], ...] = (*KINDS, *MORE_KINDS)
SETTINGS = [(kind, each.name, each.default) for kind in ALL for each in dataclasses.fields(kind)]


def write(folder: Path, text: str) -> Path:
    file = folder / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refuse(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as told:
        cli._read_file(write(folder, text))
    return str(told.value)


@pytest.mark.parametrize(("kind", "name", "default"), SETTINGS, ids=[f"{k.__name__}-{n}" for k, n, _ in SETTINGS])
def test_a_setting_in_a_stages_table_is_for_that_stage_alone(kind: type[Any], name: str, default: Any) -> None:
    values = {name_stage(kind): {name: default}}
    check_names(values, ALL)
    assert {each for each in ALL if select_settings(each, values)} == {kind}
    # Above all tables it is for every stage that has it.
    has = {each for each in ALL if name in {field.name for field in dataclasses.fields(each)}}
    assert {each for each in ALL if select_settings(each, {name: default})} == has
    # In the table of a stage that has it not, it is refused, with the stages that have it.
    for other in set(ALL) - has:
        with pytest.raises(SettingsError, match=f"{name} is a setting of .*{name_stage(kind)}") as told:
            check_names({name_stage(other): {name: default}}, ALL)
        assert f"[{name_stage(kind)}]" in str(told.value)


def test_settings_of_the_same_name_do_not_mix(tmp_path: Path) -> None:
    text = """
[prepare]
max_bytes = 1000
[train]
weights = "imagenet"
[evaluate]
logit_adjustment = 0.5
[predict]
target_precision = 0.9
[export]
weights = "int8"
[serve]
max_pixels = 10_000
workers = 3
port = 9000
"""
    file = write(tmp_path, text)
    assert cli._resolve(TrainConfig, {}, file=file) == TrainConfig(weights="imagenet")
    assert cli._resolve(ExportConfig, {}, file=file) == ExportConfig(weights="int8")
    assert cli._resolve(PrepareConfig, {}, file=file) == PrepareConfig(max_bytes=1000)
    assert cli._resolve(ServeConfig, {}, file=file) == ServeConfig(max_pixels=10_000, workers=3, port=9000)
    assert cli._resolve(ReviewConfig, {}, file=file) == ReviewConfig()
    assert cli._resolve(EvaluateConfig, {}, file=file) == EvaluateConfig(logit_adjustment=0.5)
    assert cli._resolve(PredictConfig, {}, file=file) == PredictConfig(target_precision=0.9)
    assert cli._resolve(ClassifyConfig, {}, file=file) == ClassifyConfig()


def test_the_table_is_over_what_stands_above_and_flags_are_over_both(tmp_path: Path) -> None:
    file = write(tmp_path, "target_precision = 0.9\nsample = 500\n[predict]\nwanted_precision = 0.99\n")
    assert cli._resolve(PredictConfig, {}, file=file).target_precision == 0.99
    assert cli._resolve(ClassifyConfig, {}, file=file).target_precision == 0.9
    assert cli._resolve(PredictConfig, {"target_precision": 0.98}, file=file).target_precision == 0.98
    chained = cli._read_for_chain({"target_precision": 0.98, "epochs": 2}, "default", file)
    check_names(chained)
    assert resolve(PredictConfig, chained).target_precision == 0.98
    assert resolve(TrainConfig, PRESETS["quick"], chained).epochs == 2
    assert resolve(CleanConfig, chained).sample == 500


def test_the_chain_takes_its_own_tables_of_a_file_for_all(tmp_path: Path) -> None:
    file = write(tmp_path, '[train]\ncolor_mode = "gray"\nseed = 3\n[serve]\nmax_photos = 3\n[review]\nport = 99\n')
    chained = cli._read_for_chain({}, "default", file)
    assert chained == {"train": {"color_mode": "gray", "seed": 3}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[train]\nepochs = 1\n[serve]\nepochs = 3\n", "settings.toml, line 4, [serve]: epochs is a setting of train,"),
        ("[train]\nbatch_sise = 1\n", "settings.toml, line 2, [train]: train has no setting batch_sise. Did you mean"),
        ("\nepoch = 3\n", "settings.toml, line 2: There is no such setting. Did you mean epochs?"),
        ("[trian]\nepochs = 3\n", "settings.toml, line 1, [trian]: There is no stage trian with settings. Did you"),
        ("[compare]\nsplit = 'val'\n", "There is no stage compare with settings."),
        ("[epochs]\nmany = 3\n", "epochs is a setting of train, not a table."),
        ("train = 3\n", "settings.toml, line 1: train is a stage, not a setting. Allowed: a table [train]"),
        ("[[train]]\nepochs = 3\n", "train is a stage, not a setting. Allowed: a table [train]"),
        ("[train]\n[train.more]\nepochs = 3\n", "[train]: train has no setting more."),
        (
            "[train]\n# so\nepochs = 'many'\n",
            "settings.toml, line 3, [train]: epochs is of the wrong type. Allowed: int",
        ),
        ("train.epochs = 'many'\n", "settings.toml, [train]: epochs is of the wrong type. Allowed: int"),
        ("train = {epoch = 3}\n", "settings.toml, [train]: train has no setting epoch. Did you mean epochs?"),
        ("max_pixels = 'many'\n", "settings.toml, line 1: max_pixels is of the wrong type."),
        ("[clean]\nmatcher = 'magic'\n", "line 2, [clean]: matcher has no such value. Allowed: class-words, names."),
        ("[prepare]\nimage_size = 'large'\n", "line 2, [prepare]: The image size cannot be read."),
    ],
)
def test_what_stands_in_the_wrong_place_is_told_with_the_right_one(tmp_path: Path, text: str, told: str) -> None:
    message = refuse(tmp_path, text)
    assert told in message
    assert "Received: " in message


def test_a_value_out_of_range_is_told_with_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "[train]\nepochs = 0\n")
    with pytest.raises(SettingsError, match=r"^settings\.toml, for train: epochs cannot be used\. Allowed: 1 to"):
        cli._resolve(TrainConfig, {}, file=file)
    with pytest.raises(SettingsError, match=r"^settings\.toml, for train: epochs cannot be used"):
        cli._read_for_chain({}, "default", file)
    # The flag is right and over it, or itself wrong.
    assert cli._resolve(TrainConfig, {"epochs": 2}, file=file).epochs == 2
    with pytest.raises(SettingsError, match=r"^seed cannot be used"):
        cli._resolve(TrainConfig, {"epochs": 2, "seed": -1}, file=file)


def test_a_file_nested_without_end_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(write(tmp_path, f"a = {'[' * 100_000}"))


def test_presets_hold_tables_of_their_stages() -> None:
    for preset in PRESETS.values():
        check_names(preset)
        assert set(preset) <= {"clean", "train"}
    check_names(DEMO_SETTINGS)
    laid = lay_over(DEMO_SETTINGS, {"epochs": 1})
    assert (resolve(TrainConfig, laid).epochs, resolve(TrainConfig, laid).batch_size) == (1, 8)
    laid = lay_over(DEMO_SETTINGS, {"epochs": 1, "train": {"epochs": 2}})
    assert resolve(TrainConfig, laid).epochs == 2


@pytest.mark.parametrize("kind", ALL)
def test_what_is_written_is_read_back(kind: type[Any], tmp_path: Path) -> None:
    file = write(tmp_path, to_toml(kind()))
    check_names(read_settings(file), ALL)
    assert resolve(kind, read_settings(file)) == kind()
    for other in set(ALL) - {kind}:
        assert select_settings(other, read_settings(file)) == {}
    # Runs of earlier versions have a file without a table.
    flat = write(tmp_path, to_toml(kind()).partition("\n")[2])
    assert resolve(kind, read_settings(flat)) == kind()


@given(text=st.text(st.characters(exclude_categories=["Cs"])), rate=st.floats(1e-12, 1), seed=st.integers(0, 2**32 - 1))
def test_any_text_and_number_is_read_back(
    text: str, rate: float, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = TrainConfig(weights=text, learning_rate=rate, seed=seed)
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text(to_toml(config), encoding="utf-8", newline="\n")
    assert resolve(TrainConfig, read_settings(file)) == config
