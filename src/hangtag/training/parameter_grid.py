"""Read the candidates of a parameter search from a TOML file, and list or draw their combinations."""

import dataclasses
import typing
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sklearn.model_selection import ParameterGrid, ParameterSampler

from hangtag.config import KINDS
from hangtag.errors import SettingsError
from hangtag.io import expand_home
from hangtag.models.registry import find_architecture
from hangtag.settings import check_settings, convert, locate_key, name_flag, name_key, read_settings
from hangtag.train_config import TrainConfig

# The keys of the file beside its table [train], as in scikit-learn's RandomizedSearchCV.
N_ITER, RANDOM_STATE = "n_iter", "random_state"
KEYS = f"Allowed: {N_ITER}, {RANDOM_STATE}, and a table [train]."
# Each trial's run is locked at the same time, and a process may open some thousand files.
MOST_TRIALS = 200
# Settings that every trial must have alike, and why.
COMMON = {
    "target": "models of other targets predict other classes, whose accuracies cannot be compared",
    "image_run": "its settings would replace those of the search",
}
Locate = Callable[[str, str], str]
# The settings of a training, and those of them that the search has chosen.
Trial = tuple[TrainConfig, dict[str, Any]]


def list_trials(config: TrainConfig, search: str | Path | Mapping[str, Any]) -> list[Trial]:
    """Return the different settings to try, each with the values that the search has chosen.

    Args:
        config: The settings that are not searched.
        search: A TOML file, or its content: `train`, a mapping of settings to lists of candidates; and where `n_iter`
            combinations are drawn at random, instead of trying all, that number and `random_state`, by default 0.

    Raises:
        SettingsError: The search cannot be read, has an unknown name or a value that is not allowed, or the settings
            cannot be used in a search.
        ModelError: An architecture does not exist.
    """
    values, locate = _read_search(search)
    candidates = {name: _read_candidates(name, given, locate) for name, given in values["train"].items()}
    trials = {}
    for chosen in _combine(candidates, values.get(N_ITER), values.get(RANDOM_STATE, 0)):
        try:
            trials[dataclasses.replace(config, **chosen)] = chosen
        except SettingsError as error:
            raise error.name_settings(partial(_name_setting, chosen, locate)) from error
    _check_trials(list(trials))
    return list(trials.items())


def _read_search(search: str | Path | Mapping[str, Any]) -> tuple[dict[str, Any], Locate]:
    """Return the content of the file, checked but for the candidates, and a function that locates its keys."""
    if isinstance(search, Mapping):
        values, path = dict(search), None
    else:
        path = expand_home(search)
        values = read_settings(path)

    def locate(table: str, key: str) -> str:
        return locate_key(path, table, key) if path else ""

    for key, value in values.items():
        named = name_key("", key, locate("", key))
        if key in (N_ITER, RANDOM_STATE):
            least, most = (1, MOST_TRIALS) if key == N_ITER else (0, 2**32 - 1)
            if type(value) is not int or not least <= value <= most:
                raise SettingsError(f"{named} must be a whole number from {least} to {most}.", received=value)
        elif key != "train":
            hint = "Candidates stand in the table [train]."
            raise SettingsError(f"{named} is no key of a search.", allowed=KEYS, received=value, hint=hint)
    if not isinstance(values.get("train"), Mapping) or not values["train"]:
        example = "[train], then learning_rate = [0.001, 0.002]"
        raise SettingsError("The search has no candidates.", allowed=KEYS, hint=f"Write some, as in {example}.")
    return values, locate


def _read_candidates(name: str, given: Any, locate: Locate) -> list[Any]:
    """Return the different candidates of a setting, of its type."""
    values = given if isinstance(given, list | tuple) else [given]
    for value in values:
        check_settings({"train": {name: value}}, KINDS, locate)
    named = name_key("train", name, locate("train", name))
    if name in COMMON:
        raise SettingsError(f"{named} cannot be searched: {COMMON[name]}.", received=given)
    if not isinstance(given, list | tuple) or not given:
        hint = f"{name_flag(name)} sets a single value."
        raise SettingsError(f"{named} must be a list of candidates.", received=given, hint=hint)
    kind = typing.get_type_hints(TrainConfig)[name]
    if typing.get_origin(kind) is tuple and not all(isinstance(value, list | tuple) for value in given):
        # ["a", "b"] could be one value or two candidates.
        raise SettingsError(
            f'Each candidate of {named} is a list itself, as in [["a"], ["a", "b"]].', received=list(given)
        )
    return list(dict.fromkeys(convert(name, value, kind) for value in given))


def _combine(candidates: Mapping[str, list[Any]], n_iter: int | None, random_state: int) -> list[dict[str, Any]]:
    """Return all combinations of the candidates, or `n_iter` different ones drawn at random."""
    grid = ParameterGrid(candidates)
    if n_iter is not None and n_iter < len(grid):
        grid = ParameterSampler(candidates, n_iter, random_state=random_state)
    if len(grid) > MOST_TRIALS:
        raise SettingsError(
            "The candidates have too many combinations.",
            allowed=f"Allowed: {MOST_TRIALS:,} trainings.",
            received=len(grid),
            hint=f"Draw some of them with {N_ITER}, above [train] in the file.",
        )
    return list(islice(grid, MOST_TRIALS))


def _name_setting(chosen: Mapping[str, Any], locate: Locate, name: str) -> str:
    return name_key("train", name, locate("train", name)) if name in chosen else name_flag(name)


def _check_trials(configs: list[TrainConfig]) -> None:
    """Check that there are several trials, that val can choose among them, and that their architectures exist.

    Raises:
        SettingsError: There is only one, or val cannot.
        ModelError: An architecture does not exist.
    """
    if len(configs) < 2:
        raise SettingsError("There is nothing to choose among.", allowed="Allowed: two combinations or more.")
    if any(config.image_run for config in configs):
        raise SettingsError(f"A search cannot have --image-run: {COMMON['image_run']}.", hint="Go without it.")
    if any("val" in config.train_splits for config in configs):
        raise SettingsError("A search chooses on val, which must not be trained on.", hint="Leave val out.")
    for config in configs:
        find_architecture(config.architecture)
