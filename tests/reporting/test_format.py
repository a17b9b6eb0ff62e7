"""A run's settings are told in one sentence, and what a run did not do is not told."""

import dataclasses

from hangtag.config import TrainConfig
from hangtag.presets import PRESETS
from hangtag.reporting.format import describe_recipe
from hangtag.settings import resolve

CAPSTONE = dataclasses.asdict(resolve(TrainConfig, PRESETS["capstone"]))


def test_the_recipe_of_the_capstone() -> None:
    assert describe_recipe(CAPSTONE, "Class", "bfloat16") == (
        "Learns Class from photographs; SGD with momentum 0.9, steps of at most 0.01, slowly smaller (inverse time); "
        "photographs mirrored half of the time; the epoch that did best on validation kept; arithmetic in bfloat16."
    )


def test_a_training_that_begins_small_says_so_where_its_network_can() -> None:
    settings = {**CAPSTONE, "initial_scale": 0.5, "class_balance": 0.3}
    assert "begun on" not in describe_recipe(settings, "Class")
    words = describe_recipe({**settings, "architecture": "residual"}, "Class")
    assert "; begun on photographs of 50 % of the sides; " in words
    assert "rare products shown more often (balance 0.3 of 1)" in words


def test_weights_begun_from_and_enlarged_photographs_are_told() -> None:
    settings = {**CAPSTONE, "architecture": "residual", "initial_scale": 1.2, "final_scale": 1.6}
    words = describe_recipe({**settings, "weights": "models/lite.safetensors", "layer_decay": 0.9}, "Class")
    assert "; begun from lite.safetensors, each block's steps 0.9 of those of the one after it; " in words
    assert "; begun on photographs of 120 % of the sides; photographs enlarged to 160 % of the sides; " in words
    words = describe_recipe({**settings, "weights": "imagenet", "freeze": True}, "Class")
    assert "; begun from the library's ImageNet weights, which stay as they are: the heads alone learn; " in words
    assert "begun on photographs" not in words


def test_names_levels_and_attributes_are_told() -> None:
    settings = {"target": "all", "attribute_weight": 0.1, "with_names": True}
    assert describe_recipe(settings, "Class").startswith(
        "Learns all levels and attributes together, an attribute counting 0.1 of the label, "
        "from photographs and names; "
    )
