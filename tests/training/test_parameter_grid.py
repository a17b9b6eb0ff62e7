"""The combinations of a parameter search: all, or some drawn with a seed, and what is refused before any runs."""

from pathlib import Path
from typing import Any

import pytest

from hangtag.errors import HangtagError
from hangtag.train_config import TrainConfig
from hangtag.training.parameter_grid import list_trials

RATES = {"learning_rate": [0.001, 0.01], "optimizer": ["sgd", "adamw"]}


def list_chosen(search: Any, **settings: Any) -> list[dict[str, Any]]:
    trials = list_trials(TrainConfig(**settings), search)
    assert all(vars(config) | chosen == vars(config) for config, chosen in trials)
    return [chosen for _, chosen in trials]


def test_all_combinations_are_tried_and_other_settings_stay(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text('[train]\nlearning_rate = [0.001, 0.01]\noptimizer = ["sgd", "adamw"]\n', encoding="utf-8")
    trials = list_trials(TrainConfig(epochs=3), file)
    assert {config.epochs for config, _ in trials} == {3}
    assert sorted((chosen["learning_rate"], chosen["optimizer"]) for _, chosen in trials) == [
        *((0.001, "adamw"), (0.001, "sgd")),
        *((0.01, "adamw"), (0.01, "sgd")),
    ]
    assert list_chosen({"train": RATES}) == [chosen for _, chosen in trials]


def test_some_are_drawn_without_repetition_and_alike_for_a_seed() -> None:
    many = {"train": {"learning_rate": [number / 1000 for number in range(1, 40)], "flip": [True, False]}}
    drawn = [list_chosen(many | {"n_iter": 20, "random_state": seed}) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({(each["learning_rate"], each["flip"]) for each in drawn[0]}) == 20
    assert len(list_chosen(many | {"n_iter": 200})) == 78


def test_candidates_of_a_list_are_lists_and_equal_ones_count_once() -> None:
    teachers = list_chosen({"train": {"teacher": [["a"], ["a", "b"]], "epochs": [2, 2]}})
    assert [each["teacher"] for each in teachers] == [("a",), ("a", "b")]
    assert list_chosen({"train": {"learning_rate": [1, 0.5, 1.0]}}) == [{"learning_rate": 1.0}, {"learning_rate": 0.5}]


@pytest.mark.parametrize(
    ("search", "settings", "message"),
    [
        ("learning_rate = [1]", {}, r"learning_rate in .*grid\.toml, line 1 is no key of a search.*\[train\]"),
        ("[train]\nlearning_rat = [1]", {}, "Did you mean learning_rate"),
        ("[train]\nsplits = [1]", {}, "setting of evaluate, not of train"),
        ("[train]\nepochs = 3", {}, r"line 2 must be a list of candidates.*--epochs sets"),
        ("[train]\nepochs = []", {}, "must be a list of candidates"),
        ("[train]\n\nepochs = [1, 'two']", {}, r"epochs in .*line 3 must be a whole number"),
        ("[train]\nepochs = [1, -2]", {}, r"epochs in .*line 2 must be 0 to 10000"),
        ("[train]\nepochs = [3]", {}, "nothing to choose among"),
        ("[train]\nteacher = ['a', 'b']", {}, "Each candidate of .* is a list itself"),
        ("[train]\ntarget = ['label', 'all']", {}, "cannot be searched"),
        ("[train]\nfreeze = [true, false]", {"weights": "none"}, r"freeze in .*line 2 needs pretrained --weights"),
        ("[train]\nepochs = [1, 2]", {"with_names": True, "image_run": "run"}, "--image-run"),
        ("[train]\nepochs = [1, 2]", {"train_splits": ("train", "val"), "calibration_run": "run"}, "chooses on val"),
        ("[train]\narchitecture = ['residual', 'round']", {}, "round"),
        ("n_iter = 0\n[train]\nepochs = [1, 2]", {}, "n_iter in .* must be a whole number from 1 to 200"),
        ("random_state = true\n[train]\nepochs = [1, 2]", {}, "random_state in .* from 0 to 4294967295"),
        (
            "n_iter = 1\nrandom_state = 4294967296\n[train]\nepochs = [1, 2]",
            {},
            "random_state in .* from 0 to 4294967295",
        ),
        (f"[train]\nepochs = {list(range(40))}\nseed = {list(range(40))}", {}, r"too many.*Received: 1600.*n_iter"),
        ("", {}, "no candidates"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    search: str, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "grid.toml"
    file.write_text(search, encoding="utf-8")
    with pytest.raises(HangtagError, match=message):
        list_trials(TrainConfig(**settings), file)
