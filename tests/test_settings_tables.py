"""Test settings files: a table applies to its stage only, and errors name the file, the line and the right place."""

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
)
from hangtag.errors import SettingsError
from hangtag.presets import (
    DEMO_SETTINGS,
    PRESETS,
    check_names,
    merge_chain_settings,
    read_settings_file,
    resolve_settings,
)
from hangtag.settings import lay_over, name_stage, read_settings, resolve, select_settings, to_toml
from hangtag.train_config import TrainConfig

ALL: tuple[type[Any], ...] = (*KINDS, *MORE_KINDS)
SETTINGS = [(kind, each.name, each.default) for kind in ALL for each in dataclasses.fields(kind)]


def write(folder: Path, text: str) -> Path:
    file = folder / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refuse(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as raised:
        read_settings_file(write(folder, text))
    return str(raised.value)


@pytest.mark.parametrize(("kind", "name", "default"), SETTINGS, ids=[f"{k.__name__}-{n}" for k, n, _ in SETTINGS])
def test_a_setting_in_a_table_applies_to_its_stage_only(kind: type[Any], name: str, default: Any) -> None:
    values = {name_stage(kind): {name: default}}
    check_names(values, ALL)
    assert {each for each in ALL if select_settings(each, values)} == {kind}
    # A top-level key applies to every stage that has the setting.
    has = {each for each in ALL if name in {field.name for field in dataclasses.fields(each)}}
    assert {each for each in ALL if select_settings(each, {name: default})} == has
    # In the table of a stage without it, it is rejected, and the message names the stages that have it.
    for other in set(ALL) - has:
        with pytest.raises(SettingsError, match=f"{name} is a setting of .*{name_stage(kind)}") as raised:
            check_names({name_stage(other): {name: default}}, ALL)
        assert f"[{name_stage(kind)}]" in str(raised.value)


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
    assert resolve_settings(TrainConfig, {}, file=file) == TrainConfig(weights="imagenet")
    assert resolve_settings(ExportConfig, {}, file=file) == ExportConfig(weights="int8")
    assert resolve_settings(PrepareConfig, {}, file=file) == PrepareConfig(max_bytes=1000)
    assert resolve_settings(ServeConfig, {}, file=file) == ServeConfig(max_pixels=10_000, workers=3, port=9000)
    assert resolve_settings(ReviewConfig, {}, file=file) == ReviewConfig()
    assert resolve_settings(EvaluateConfig, {}, file=file) == EvaluateConfig(logit_adjustment=0.5)
    assert resolve_settings(PredictConfig, {}, file=file) == PredictConfig(target_precision=0.9)
    assert resolve_settings(ClassifyConfig, {}, file=file) == ClassifyConfig()


def test_a_table_overrides_top_level_keys_and_flags_override_both(tmp_path: Path) -> None:
    file = write(tmp_path, "target_precision = 0.9\nsample = 500\n[predict]\ntarget_precision = 0.99\n")
    assert resolve_settings(PredictConfig, {}, file=file).target_precision == 0.99
    assert resolve_settings(ClassifyConfig, {}, file=file).target_precision == 0.9
    assert resolve_settings(PredictConfig, {"target_precision": 0.98}, file=file).target_precision == 0.98
    chained = merge_chain_settings({"target_precision": 0.98, "epochs": 2}, "default", file)
    check_names(chained)
    assert resolve(PredictConfig, chained).target_precision == 0.98
    assert resolve(TrainConfig, PRESETS["quick"], chained).epochs == 2
    assert resolve(CleanConfig, chained).sample == 500


def test_run_uses_only_the_tables_of_its_stages(tmp_path: Path) -> None:
    file = write(tmp_path, '[train]\ncolor_mode = "gray"\nseed = 3\n[serve]\nmax_photos = 3\n[review]\nport = 99\n')
    chained = merge_chain_settings({}, "default", file)
    assert chained == {"train": {"color_mode": "gray", "seed": 3}}


@pytest.mark.parametrize(
    ("text", "expected"),
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
            "[train] epochs in {file}, line 3 must be a whole number. Received: 'many'.",
        ),
        ("train.epochs = 'many'\n", "[train] epochs in {file} must be a whole number."),
        ("train = {epoch = 3}\n", "settings.toml, [train]: train has no setting epoch. Did you mean epochs?"),
        ("max_pixels = 'many'\n", "max_pixels in {file}, line 1 must be a whole number."),
        ("[clean]\nmatcher = 'magic'\n", "[clean] matcher in {file}, line 2 must be one of class-words, names."),
        (
            "[prepare]\nimage_size = 'large'\n",
            "[prepare] image_size in {file}, line 2 must be HEIGHTxWIDTH, as in 80x60.",
        ),
    ],
)
def test_an_error_in_a_file_names_the_line_and_the_right_place(tmp_path: Path, text: str, expected: str) -> None:
    message = refuse(tmp_path, text)
    assert expected.format(file=tmp_path / "settings.toml") in message
    assert "Received: " in message


def test_a_value_out_of_range_is_named_by_the_file_and_line_or_by_the_flag(tmp_path: Path) -> None:
    file = write(tmp_path, "[train]\nepochs = -1\n")
    message = re.escape(f"[train] epochs in {file}, line 2 must be 0 to 10000. Received: -1.")
    with pytest.raises(SettingsError, match=f"^{message}$"):
        resolve_settings(TrainConfig, {}, file=file)
    with pytest.raises(SettingsError, match=f"^{message}$"):
        merge_chain_settings({}, "default", file)
    # A flag overrides the file, and may be wrong itself.
    assert resolve_settings(TrainConfig, {"epochs": 2}, file=file).epochs == 2
    with pytest.raises(SettingsError, match=r"^--seed must be 0 to 4294967295\. Received: -1\.$"):
        resolve_settings(TrainConfig, {"epochs": 2, "seed": -1}, file=file)


def test_a_relation_names_each_setting_by_its_source(tmp_path: Path) -> None:
    file = write(tmp_path, "# one\nminutes = 5\n")
    message = f"minutes in {file}, line 2 cannot be used with --freeze: the time goes into features, not into epochs."
    with pytest.raises(SettingsError, match=re.escape(message)):
        resolve_settings(TrainConfig, {"freeze": True}, file=file)


@pytest.mark.parametrize(
    ("kind", "name", "allowed", "refused", "must_be"),
    [
        (TrainConfig, "epochs", [0, 10_000], [-1, 10_001], "0 to 10000"),
        (TrainConfig, "learning_rate", [1e-9, 10.0], [0.0, 10.1, math.nan], "above 0 and at most 10"),
        (TrainConfig, "momentum", [0.0, 0.999], [-0.1, 1.0, math.nan], "at least 0 and below 1"),
        (ServeConfig, "max_pixels", [1, 10**12], [0], "at least 1"),
        (
            PrepareConfig,
            "image_size",
            [(8, 2048)],
            [(7, 8), (8,), (8, 8, 8)],
            "HEIGHTxWIDTH, each 8 to 2048, as in 80x60",
        ),
        (EvaluateConfig, "splits", [("val",)], [(), ("holdout",)], "one or more of train, val, test"),
    ],
)
def test_bounds_are_checked_and_named(
    kind: type[Any], name: str, allowed: list[Any], refused: list[Any], must_be: str
) -> None:
    for value in allowed:
        assert getattr(kind(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(SettingsError, match=re.escape(f"{name} must be {must_be}. Received: {value!r}.")):
            kind(**{name: value})


def test_an_error_without_a_file_or_flag_names_the_setting() -> None:
    with pytest.raises(SettingsError, match=r"^\[train\] epochs must be a whole number\."):
        check_names({"train": {"epochs": "many"}})
    with pytest.raises(SettingsError, match=r"^epochs must be a whole number\."):
        check_names({"epochs": "many"})


def test_a_file_that_is_nested_too_deeply_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(write(tmp_path, f"a = {'[' * 100_000}"))


def test_presets_have_tables_of_their_stages() -> None:
    for preset in PRESETS.values():
        check_names(preset)
        assert set(preset) <= {"clean", "train"}
    check_names(DEMO_SETTINGS)
    laid = lay_over(DEMO_SETTINGS, {"epochs": 1})
    assert (resolve(TrainConfig, laid).epochs, resolve(TrainConfig, laid).batch_size) == (1, 8)
    laid = lay_over(DEMO_SETTINGS, {"epochs": 1, "train": {"epochs": 2}})
    assert resolve(TrainConfig, laid).epochs == 2


@pytest.mark.parametrize("kind", ALL)
def test_written_settings_are_read_back(kind: type[Any], tmp_path: Path) -> None:
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
