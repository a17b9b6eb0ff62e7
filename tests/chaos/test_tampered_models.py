"""A description that somebody changed is refused with one error, or loads and answers."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from tampering import DEPTH, Tampered, list_changes, tamper

from hangtag.cli import main
from hangtag.errors import HangtagError, ModelError
from hangtag.inference.classifier import Classifier
from hangtag.io import read_json, write_json
from hangtag.models.checkpoint import read_weights, save_model
from hangtag.models.description import DESCRIPTION, Description, read_description
from hangtag.models.description_schema import DescriptionSchema
from hangtag.models.label_space import LabelSpace
from hangtag.models.network_file import NETWORK, read_network
from hangtag.models.openvino import ExportedNetwork
from hangtag.models.registry import build_model
from hangtag.models.shipped import SHIPPED
from hangtag.models.text import Vocabulary

LABEL_SPACE = LabelSpace(
    {"kind": ("Goods", "Wear"), "label": ("a", "b", "c")}, ((0, 0), (1, 1), (1, 2)), {"season": ("S", "W")}, "label"
)
# For people alone: nothing is read from them.
FREE = {"pretrained", "versions", "check", "layers"}


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped model, whose network is read and checked at every loading, and compiled once."""
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "shipped", ignore=shutil.ignore_patterns("*.py", "__pycache__")))
    core, compiled = openvino.Core(), ExportedNetwork(folder / NETWORK)

    def load(path: Path, *, described: Description, **_: object) -> ExportedNetwork:
        read_network(core, path, described)
        return compiled

    monkeypatch.setattr("hangtag.models.openvino.ExportedNetwork", load)
    return folder


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """A small model with weights of Keras, and every entry that a training writes."""
    model = build_model("capstone", image_size=(16, 12), heads=LABEL_SPACE.heads, color_mode="color", num_words=2)
    fit = {"temperatures": dict.fromkeys(LABEL_SPACE.heads, 1.1), "thresholds": {"0.95": 0.7, "0.99": None}}
    name_weight = dict.fromkeys(LABEL_SPACE.heads, 1.0)
    save_model(
        tmp_path / "stub",
        model,
        read_weights(model),
        architecture="capstone",
        image_size=(16, 12),
        color_mode="color",
        label_space=LABEL_SPACE,
        vocabulary=Vocabulary(("blue", "shirt")),
        run_id="capstone-color-0",
        label_name="Class",
        tta_flip=True,
        calibration={"photograph": fit, "photograph_and_name": fit, "name_weight": name_weight},
        train_splits=["train"],
        train_counts={head: [1] * size for head, size in LABEL_SPACE.heads.items()},
        metrics={"epoch": 1, "val_accuracy": 0.5, "val_loss": 1.0},
        labels_digest="0" * 64,
    )
    return tmp_path / "stub"


def ask(folder: Path) -> str:
    """Load a model, ask it about one photograph, and return how that went."""
    try:
        classifier = Classifier.load(folder)
        images = np.zeros((1, *classifier.image_size, 3), np.uint8)
        (answer,) = classifier.classify(images)
        predictions = classifier.predict_heads(images, ["Blue shirt"])
        classifier.find_threshold(0.95, with_names=True)
    except HangtagError as error:
        return "refused" if len(str(error)) < 1_000 + len(str(folder)) and "\n" not in str(error) else f"long: {error}"
    except BaseException as error:  # the point of this test
        return f"{type(error).__name__}: {error}"[:200]
    is_finite = all(np.isfinite(probs).all() for probs in predictions.by_head.values())
    return "answered" if is_finite and 0 <= answer.confidence <= 1 else f"no probability: {answer}"


def attack(folder: Path, changes: list[Tampered]) -> Counter[str]:
    """Ask a model after each change of its description; fails where one ends in anything but an error or an answer."""
    found: dict[str, str] = {}
    for change in changes:
        (folder / DESCRIPTION).write_text(change.text, encoding="utf-8")
        found[change.name] = ask(folder)
    wrong = {name: how for name, how in found.items() if how not in ("refused", "answered")}
    assert not wrong, f"{len(wrong)} of {len(found)}"
    return Counter(found.values())


def test_some_changes_of_the_shipped_description(shipped: Path) -> None:
    tally = attack(shipped, tamper(read_json(shipped / DESCRIPTION), 300, seed=1))
    assert tally["refused"] > 150
    assert tally["answered"] > 30


def test_some_changes_of_a_description_of_weights(stub: Path) -> None:
    description = read_json(stub / DESCRIPTION)
    del description["layers"]
    tally = attack(stub, tamper(description, 40, seed=2))
    assert tally["refused"] > 20


@pytest.mark.chaos
def test_all_changes_of_the_shipped_description(shipped: Path) -> None:
    tally = attack(shipped, tamper(read_json(shipped / DESCRIPTION), 10_000, seed=3))
    assert tally.total() > 3_500


@pytest.mark.chaos
def test_all_changes_of_a_description_of_weights(stub: Path) -> None:
    description = read_json(stub / DESCRIPTION)
    del description["layers"]
    tally = attack(stub, tamper(description, 600, seed=4))
    assert tally.total() == 600


def test_models_as_they_are_written_load(stub: Path) -> None:
    """The shipped one is what `scripts/make-shipped-model` wrote; for a training and an export see their own tests."""
    for folder in (SHIPPED, stub):
        described = read_description(folder)
        assert described.content.keys() <= DescriptionSchema.model_fields.keys() | FREE
        assert ask(folder) == "answered"


@pytest.mark.parametrize(
    ("change", "place", "allowed", "received"),
    [
        ({"format": 2.0}, "format", "a valid integer", "2.0"),
        ({"image_size": [80, 60.0]}, "image_size.1", "a valid integer", "60.0"),
        ({"image_size": [80, 4097]}, "image_size.1", "less than or equal to 2048", "4097"),
        ({"tta_flip": "yes"}, "tta_flip", "a valid boolean", "'yes'"),
        ({"out_of_distribution": {"limit": None}}, "out_of_distribution.limit", "a valid number", "None"),
        ({"out_of_distribution": {}}, "out_of_distribution.limit", "this entry", "nothing"),
        ({"calibration": None}, "calibration", "a valid dictionary", "None"),
        (
            {"train_counts": {"category_path": [1]}},
            "train_counts",
            "category_path, attribute_0",
            r"\['category_path'\]",
        ),
        ({"network": {"sha256": "A" * 64}}, "network.sha256", "String should match", "'AAAA"),
        ({"train_splits": ["exam"]}, "train_splits.0", "'train', 'val' or 'test'", "'exam'"),
    ],
)
def test_the_error_names_the_file_the_entry_what_is_allowed_and_what_came(
    shipped: Path, change: dict[str, Any], place: str, allowed: str, received: str
) -> None:
    write_json(shipped / DESCRIPTION, read_json(shipped / DESCRIPTION) | change)
    wanted = (
        rf"wrong at {place} in .*model\.json\. .*{allowed}.* Received: {received}.*Export or copy the model again\."
    )
    with pytest.raises(ModelError, match=wanted):
        Classifier.load(shipped)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("network_size", [40, 30]),
        ("image_size", [80, 60]),
        ("words", ["blue"]),
        ("out_of_distribution", {"limit": 5.0}),
    ],
)
def test_a_description_of_another_network_is_refused(stub: Path, shipped: Path, key: str, value: Any) -> None:
    """The stub has no output for ood_scores, the shipped one reads no names and has one size."""
    folder = stub if key in ("out_of_distribution", "image_size") else shipped
    description = read_json(folder / DESCRIPTION) | {key: value}
    if key == "image_size":
        del description["network_size"]
    write_json(folder / DESCRIPTION, description)
    with pytest.raises(
        ModelError, match=r"other tensors than its description states|another shape than the description"
    ):
        Classifier.load(folder)


def test_a_run_with_a_network_beside_it_is_refused(stub: Path) -> None:
    shutil.copy(SHIPPED / NETWORK, stub)
    with pytest.raises(ModelError, match=r"network\.sha256.*Wanted: this entry"):
        Classifier.load(stub)


def nest(text: str) -> bytes:
    return text.replace("{", '{"deep": ' + "[" * DEPTH + "]" * DEPTH + ",", 1).encode()


ODD: dict[str, tuple[Callable[[str], bytes], str]] = {
    "empty": (lambda _: b"", "damaged"),
    "cut": (lambda text: text[:5000].encode(), "damaged"),
    "deep": (nest, "nested too deeply"),
    "deeper-than-anybody-shows": (
        lambda text: text.replace("{", '{"a":' + "[" * 50 + "]" * 50 + ",", 1).encode(),
        "nested",
    ),
    "twice": (lambda text: text.replace("{", '{"format": 2,', 1).encode(), "'format' is there twice"),
    "nan": (lambda text: text.replace("{", '{"x": NaN,', 1).encode(), "NaN is no number"),
    "infinity": (lambda text: text.replace("{", '{"x": -Infinity,', 1).encode(), "-Infinity is no number"),
    "large-number": (lambda text: text.replace("{", '{"x": 1e999,', 1).encode(), "too large a number"),
    "long-number": (lambda text: text.replace("{", '{"x": ' + "9" * 5000 + ",", 1).encode(), "damaged"),
    "half-a-character": (lambda text: text.replace("{", '{"x": "\\ud800",', 1).encode(), "half a character"),
    "half-a-character-as-key": (lambda text: text.replace("{", '{"\\ud800": 1,', 1).encode(), "half a character"),
    "utf-16": (lambda text: text.encode("utf-16"), "damaged"),
    "latin-1": (lambda text: text.replace("Bags", "Bágs").encode("latin-1"), "damaged"),
    "binary": (lambda _: bytes(range(256)) * 10, "damaged"),
    "list": (lambda text: f"[{text}]".encode(), "no table"),
    "huge": (lambda text: text.encode() + b" " * (33 << 20), "too large"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_file_that_is_no_description_is_refused(shipped: Path, name: str) -> None:
    make, reason = ODD[name]
    text = (shipped / DESCRIPTION).read_text(encoding="utf-8")
    (shipped / DESCRIPTION).write_bytes(make(text))
    with pytest.raises(ModelError, match=reason):
        Classifier.load(shipped)


def test_what_is_no_file_is_refused_at_once(shipped: Path) -> None:
    path = shipped / DESCRIPTION
    path.unlink()
    with pytest.raises(ModelError, match="no model in this folder"):
        Classifier.load(shipped)
    path.mkdir()
    with pytest.raises(ModelError, match=r"model\.json"):
        Classifier.load(shipped)
    path.rmdir()
    path.symlink_to(path)
    with pytest.raises(ModelError):
        Classifier.load(shipped)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ModelError, match=r"model\.json is no file"):
        Classifier.load(shipped)


@pytest.mark.parametrize(
    "change",
    [
        {"calibration": {"photograph": 3}},
        {"out_of_distribution": "x"},
        {"run_id": "x\x1b[31m" * 999},
        {"\x1b": 1, "words": 0},
    ],
)
def test_the_command_line_says_it_in_a_line(
    shipped: Path, change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(shipped / DESCRIPTION, read_json(shipped / DESCRIPTION) | change)
    with pytest.raises(SystemExit) as leaving:
        main(["classify", str(shipped), "--model", str(shipped)])
    shown = capsys.readouterr()
    assert leaving.value.code == 2
    assert shown.out == ""
    assert shown.err.startswith("Error: The model's description is wrong at ")
    assert shown.err.count("\n") == 1
    assert "\x1b" not in shown.err


def test_every_change_is_a_text_of_its_own() -> None:
    description = json.loads((SHIPPED / DESCRIPTION).read_text(encoding="utf-8"))
    names = [name for name, *_ in list_changes(description)]
    assert len(names) == len(set(names)) > 3_500
    assert tamper(description, 50, seed=5) == tamper(description, 50, seed=5)
