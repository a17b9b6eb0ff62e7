"""`search` finds products by words and by an example, and learns words from the names of the training split alone."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from audited import EACH, IMAGE_SIZE, LABEL_SPACE, TYPES, make_images, make_items, write_audited
from PIL import Image
from safetensors.numpy import load_file

from hangtag.cli import main
from hangtag.config import SearchConfig
from hangtag.errors import CatalogError, SettingsError, WorkspaceError
from hangtag.inference.classifier import Classifier
from hangtag.inference.search import MAP, WORDS, find_index
from hangtag.io import read_csv, read_json, write_json
from hangtag.labels.dataset import read_labeled_items
from hangtag.manifest import StageRecord, read_manifest, require_manifest
from hangtag.models.checkpoint import read_weights, save_model
from hangtag.models.layers import cut_backbone, import_keras
from hangtag.models.registry import build_model
from hangtag.stages import search as stage
from hangtag.stages.search import search
from hangtag.workspace import Workspace

RUN = "tiny"
ROWS = {kind: [row for row, each in enumerate(list(TYPES) * EACH) if each == kind] for kind in TYPES}
VAL = [row for row in range(len(TYPES) * EACH) if row // 4 % 4 == 2]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network without training: its pooled features tell the colours of the drawn products."""
    import_keras().utils.set_random_seed(3)
    heads = LABEL_SPACE.heads
    model = build_model("residual-tiny", image_size=IMAGE_SIZE, heads=heads, color_mode="color")
    folder = tmp_path_factory.mktemp("saved")
    more: dict[str, Any] = {"architecture": "residual-tiny", "color_mode": "color", "label_space": LABEL_SPACE}
    save_model(folder, model, read_weights(model), image_size=IMAGE_SIZE, **more)
    return folder


@pytest.fixture(scope="module")
def loaded(saved: Path) -> tuple[Classifier, Any]:
    classifier = Classifier.load(saved)
    return classifier, cut_backbone(classifier.model)


@pytest.fixture
def write_searched(
    tmp_path: Path, saved: Path, loaded: tuple[Classifier, Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Workspace]:
    """Return a function that writes a workspace with a run, and with other titles by row."""
    # It is the same network in every run; to load and compile it each time would take seconds.
    monkeypatch.setattr("hangtag.inference.classifier.Classifier.load", lambda _: loaded[0])
    monkeypatch.setattr(stage, "cut_backbone", lambda _: loaded[1])

    def write(titles: dict[int, str] | None = None, val_accuracy: float = 0.5, run_id: str = RUN) -> Workspace:
        place = write_audited(tmp_path / "w", make_items(title=titles or {}))
        folder = place.run(run_id)
        shutil.copytree(saved, folder, dirs_exist_ok=True)
        more = {"labels_digest": read_labeled_items(place).digest, "metrics": {"val_accuracy": val_accuracy}}
        write_json(folder / "model.json", read_json(saved / "model.json") | more)
        StageRecord("train", folder, {}, {}).finish({}, [folder / "model.json", folder / "model.safetensors"])
        return place

    return write


@pytest.fixture
def fail_to_compute(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after which no features are computed any more."""

    def fail(*_: object) -> None:
        raise AssertionError("the features are computed again")

    return lambda: monkeypatch.setattr(stage, "_compute_features", fail)


def test_words_find_products_by_their_photographs_whatever_their_names(
    write_searched: Callable[..., Workspace],
) -> None:
    hidden = [row for row in ROWS["Shoes"] if row in VAL]
    place = write_searched(dict.fromkeys(hidden, "Thing of Brand1"))
    found = search(place, "Shoes!", SearchConfig(limit=25)).table
    assert set(found["label"]) == {"Shoes"}
    assert set(found.filter(~pl.col("named"))["item_id"]) == {f"i{row}" for row in hidden}
    assert found["rank"].to_list() == list(range(1, 26))
    assert found["score"].is_sorted(descending=True)
    assert found["score"].max() <= 1  # type: ignore[operator]
    unnamed = search(place, "shoes", SearchConfig(limit=len(hidden), unnamed=True)).table
    assert set(unnamed["item_id"]) == {f"i{row}" for row in hidden}
    of_split = search(place, "shoes", SearchConfig(limit=100, split="val"))
    assert set(of_split.table["split"]) == {"val"}
    assert (len(of_split.table), of_split.searched) == (len(VAL), len(VAL))


def test_all_words_count(write_searched: Callable[..., Workspace]) -> None:
    titles = {row: f"Footwear {'red' if row in ROWS['Shoes'] else 'green'}" for kind in TYPES for row in ROWS[kind]}
    titles |= dict.fromkeys(ROWS["Shirts"], "Wear blue") | dict.fromkeys(ROWS["Tees"], "Wear olive")
    place = write_searched(titles)
    for query, label in (("footwear green", "Sandals"), ("wear blue", "Shirts"), ("red footwear", "Shoes")):
        assert set(search(place, query).table["label"]) == {label}


def test_words_are_learned_from_the_names_of_the_training_split_alone(write_searched: Callable[..., Workspace]) -> None:
    held_out = [row for row in range(len(TYPES) * EACH) if row // 4 % 4 >= 2]
    place = write_searched()
    search(place, "shoes")
    first = load_file(place.search_index(RUN) / MAP)
    place = write_searched({row: f"Secret Tees {row}" for row in held_out})
    with pytest.raises(SettingsError, match="No product name of the training split has: 'secret'"):
        search(place, "secret")
    second = load_file(place.search_index(RUN) / MAP)
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)


def test_unknown_and_rare_words_are_named(write_searched: Callable[..., Workspace]) -> None:
    place = write_searched({0: "Shoes polka", 1: "Sandals polka"})
    result = search(place, "shoes, spotted polka")
    assert result.words.known == ("shoes",)
    assert result.words.describe_left_out() == (
        "No product name of the training split has: 'spotted'. "
        "Fewer than 10 product names of the training split have: 'polka' (2)."
    )
    assert result.table["named"].to_list() == [True] * 10
    with pytest.raises(SettingsError, match="near spelling: 'shirts'"):
        search(place, "shrits")
    with pytest.raises(SettingsError, match="There is no word to search for"):
        search(place, "?!")
    with pytest.raises(SettingsError, match="There is nothing to search for"):
        search(place, " ")


def test_an_example_finds_what_looks_like_it(write_searched: Callable[..., Workspace], tmp_path: Path) -> None:
    place = write_searched()
    images = make_images(make_items())
    path = tmp_path / "example.png"
    Image.fromarray(images[ROWS["Tees"][4]]).save(path)
    result = search(place, config=SearchConfig(limit=20), image=path)
    assert result.table["item_id"][0] == f"i{ROWS['Tees'][4]}"
    assert result.table["score"][0] == pytest.approx(1, abs=1e-3)
    assert set(result.table["label"]) == {"Tees"}
    assert result.table["named"].null_count() == 20
    # With words, both count: shoes that look like this shirt are shoes.
    assert set(search(place, "shoes", image=path).table["label"]) == {"Shoes"}
    path.write_bytes(b"no image")
    with pytest.raises(CatalogError, match="The example of --image cannot be read"):
        search(place, image=path)
    with pytest.raises(CatalogError, match="The example of --image cannot be read"):
        search(place, image=tmp_path / "missing.png")


def test_a_catalogue_without_names_is_searched_by_example(
    write_searched: Callable[..., Workspace], tmp_path: Path
) -> None:
    place = write_searched(dict.fromkeys(range(100), ""))
    path = tmp_path / "example.png"
    Image.fromarray(make_images(make_items())[ROWS["Shirts"][0]]).save(path)
    assert set(search(place, image=path).table["label"]) == {"Shirts"}
    with pytest.raises(SettingsError, match="so none can be searched for"):
        search(place, "shirts")


def test_the_index_is_reused_until_the_labels_the_run_or_its_files_change(
    write_searched: Callable[..., Workspace], fail_to_compute: Callable[[], None]
) -> None:
    place = write_searched()
    first = search(place, "shoes").table
    folder = place.search_index(RUN)
    assert not (folder / "checkpoint").exists()
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest["counts"]["items"] == 100
    assert set(manifest["outputs"]) == {"features.safetensors", MAP, WORDS}
    inputs: list[dict[str, str]] = []
    # A damaged file is computed again, as is an index of other labels or of another network.
    for damage in (
        lambda: (folder / MAP).write_bytes(b"damaged"),
        (folder / WORDS).unlink,
        lambda: write_searched({0: "Another name"}),
        lambda: write_searched({0: "Another name"}, val_accuracy=0.6),
    ):
        damage()
        assert search(place, "shoes").table.height == 10
        require_manifest(folder, "")
        inputs.append((read_manifest(folder) or {})["inputs"])
    # Damages change no input; the other titles are other labels and another prepared catalogue.
    assert [
        sum(each != other for each, other in zip(inputs[0].values(), found.values(), strict=True)) for found in inputs
    ] == [0, 0, 3, 3]
    write_searched()
    assert search(place, "shoes").table.equals(first)
    fail_to_compute()
    assert search(place, "shoes").table.equals(first)


def test_the_best_run_is_searched_with_unless_one_is_named(write_searched: Callable[..., Workspace]) -> None:
    write_searched(val_accuracy=0.9, run_id="better")
    place = write_searched(val_accuracy=0.5)
    assert search(place, "shoes").run_id == "better"
    assert search(place, "shoes", run_id=RUN).run_id == RUN
    with pytest.raises(WorkspaceError, match="There is no such finished run"):
        search(place, "shoes", run_id="other")


def test_a_workspace_without_a_run_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = write_audited(tmp_path / "w", make_items())
    assert run_command("search", "shoes", "-w", str(place.root)) == 2
    assert capsys.readouterr().err == (
        "Error: There is no finished training run in this workspace. Run `hangtag train` with this workspace first.\n"
    )
    # What was typed is named first.
    assert run_command("search", "shoes", "--run", "x", "-w", str(place.root)) == 2
    assert "run in this workspace. Received: 'x'." in capsys.readouterr().err
    assert run_command("search", "--image", str(tmp_path / "gone.jpg"), "-w", str(place.root)) == 2
    assert f"example of --image cannot be read. Received: '{tmp_path / 'gone.jpg'}'" in capsys.readouterr().err
    assert run_command("search", "shoes", "-w", str(tmp_path / "gone")) == 2
    error = capsys.readouterr().err
    assert "There is no workspace at this path." in error
    assert "--workspace" in error


def run_command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    return int(leaving.value.code or 0)


def test_the_command_prints_a_table_json_or_a_file(
    write_searched: Callable[..., Workspace], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "Shoes with a name so long that no terminal of eighty columns has the room to show all of it"
    place = write_searched(dict.fromkeys(VAL, long))
    arguments = ("search", "shoes", "spotted", "-w", str(place.root), "--limit", "2", "--split", "val")
    assert run_command(*arguments) == 0
    printed = capsys.readouterr()
    assert printed.err == "No product name of the training split has: 'spotted'.\n"
    lines = printed.out.splitlines()
    assert lines[0] == "rank  id   name                                            label  score  in name"
    assert re.fullmatch(
        r" {3}1 {2}i\d\d? +Shoes with a name so long that no terminal of… {2}Shoes {2}[01]\.\d{3} {2}yes", lines[1]
    )
    assert lines[3] == f"The best 2 of {len(VAL)} products."
    assert max(map(len, lines)) <= 80
    assert run_command(*arguments, "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [sorted(each) for each in found] == [["item_id", "label", "name", "named", "rank", "score", "split"]] * 2
    assert run_command(*arguments, "--output", str(tmp_path / "found.csv")) == 0
    assert capsys.readouterr().out == f"search: 2 products · in {tmp_path / 'found.csv'}\n"
    assert read_csv(tmp_path / "found.csv")["item_id"].to_list() == [each["item_id"] for each in found]
    for wrong in (["--output", "found.txt"], ["--json", "--output", "found.csv"], ["--limit", "0"]):
        assert run_command(*arguments, *wrong) == 2


def test_the_review_finds_the_latest_index_of_the_catalogue_alone(write_searched: Callable[..., Workspace]) -> None:
    place = write_searched()
    digest = (read_manifest(place.labels) or {})["inputs"]["prepared"]
    assert find_index(place, digest) is None
    search(place, "shoes")
    index = find_index(place, digest)
    assert index is not None
    assert index.item_ids[:2] == ("i0", "i1")
    assert find_index(place, "another catalogue") is None
    (place.search_index(RUN) / MAP).write_bytes(b"damaged")
    assert find_index(place, digest) is None
