"""Test the sentence that describes the settings of a run, without options that the run did not use."""

import dataclasses

from hangtag.catalog.schema import CatalogSchema
from hangtag.presets import PRESETS
from hangtag.reporting.format import describe_recipe, mark_commands
from hangtag.settings import resolve
from hangtag.train_config import TrainConfig

SCHEMA = CatalogSchema(
    "goods.csv", "id", None, ("group", "kind"), attributes=("colour",), columns=("id", "group", "kind", "colour")
)
CAPSTONE = dataclasses.asdict(resolve(TrainConfig, PRESETS["capstone"]))


def test_the_recipe_of_the_capstone() -> None:
    assert describe_recipe(CAPSTONE, SCHEMA, "bfloat16") == (
        "Predicts Class from photographs; SGD with momentum 0.9, learning rate 0.01 with inverse-time decay; "
        "photographs mirrored half of the time; weights of the best validation epoch; computed in bfloat16."
    )


def test_progressive_resizing_is_described_where_the_network_can_do_it() -> None:
    settings = {**CAPSTONE, "initial_scale": 0.5, "class_balance": 0.3}
    assert "resizing" not in describe_recipe(settings, SCHEMA)
    words = describe_recipe({**settings, "architecture": "residual"}, SCHEMA)
    assert "; progressive resizing from 50 % of the sides; " in words
    assert "rare classes sampled more often (class balance 0.3 of 1)" in words


def test_pretrained_weights_and_enlarged_photographs_are_described() -> None:
    settings = {**CAPSTONE, "architecture": "residual", "initial_scale": 1.2, "final_scale": 1.6}
    words = describe_recipe({**settings, "weights": "models/lite.safetensors", "layer_decay": 0.9}, SCHEMA)
    assert "; pretrained weights: lite.safetensors, layer-wise learning-rate decay 0.9; " in words
    assert "; progressive resizing from 120 % of the sides; photographs enlarged to 160 % of the sides; " in words
    words = describe_recipe({**settings, "weights": "start", "initial_scale": 0, "final_scale": 0}, SCHEMA)
    assert "; pretrained weights: those that come with hangtag; " in words
    assert "; progressive resizing; photographs below 160 pixels enlarged to that height; " in words
    words = describe_recipe({**settings, "weights": "imagenet", "freeze": True}, SCHEMA)
    assert "; pretrained weights: Keras's ImageNet weights, frozen, only the heads are trained; " in words
    assert "progressive resizing" not in words


def test_names_levels_and_attributes_are_described() -> None:
    settings = {"target": "all", "attribute_weight": 0.1, "with_names": True}
    assert describe_recipe(settings, SCHEMA).startswith(
        "Predicts all levels and attributes (weight of an attribute 0.1, of the label 1) from photographs and names; "
    )


def test_a_recipe_speaks_of_no_level_or_attribute_that_the_catalogue_lacks() -> None:
    settings = {"target": "all", "attribute_weight": 0.1}
    alone = CatalogSchema("", "id", None, ("kind",), columns=("id", "kind"))
    assert describe_recipe(settings, alone).startswith("Predicts kind and Class from photographs; ")
    assert describe_recipe(settings, dataclasses.replace(SCHEMA, attributes=())).startswith(
        "Predicts all levels from photographs; "
    )


def test_commands_in_a_text_are_code_and_the_rest_stays_text() -> None:
    assert mark_commands("<b> `hangtag <run>` & more") == "&lt;b&gt; <code>hangtag &lt;run&gt;</code> &amp; more"
    assert mark_commands("one ` alone <i>") == "one ` alone &lt;i&gt;"
