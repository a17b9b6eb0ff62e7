"""The stage: what it reads, where the probabilities come from, what it writes, and what it cannot look at."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from audited import SCHEMA, make_images, make_items, make_out_of_sample, write_audited, write_folds
from drawn import COLORS, draw
from product_runs import ProductItem, patch_product_models, write_product_run, write_products
from stub_runs import write_labels

from hangtag.auditing.issues import CODES, COLUMNS
from hangtag.auditing.model_evidence import predict_with_model
from hangtag.catalog.prepared_items import read_prepared
from hangtag.config import AuditConfig
from hangtag.errors import ModelError, SettingsError, WorkspaceError
from hangtag.inference.classifier import Classifier
from hangtag.inference.runs import KnownProbs
from hangtag.io import read_json, write_csv, write_json, write_parquet
from hangtag.labels.dataset import read_labeled_items
from hangtag.labels.duplicates import hash_photographs
from hangtag.manifest import StageRecord, read_manifest
from hangtag.models.label_space import LabelSpace
from hangtag.results import StageResult
from hangtag.stages import audit as audit_module
from hangtag.stages.audit import audit
from hangtag.summary import describe_audit
from hangtag.workspace import Workspace

# What another catalogue calls the classes of the drawn one.
WORDS = {"Hat": "HAT", "Shirt": "shirts", "Shoe": "shoe"}


def read_issues(result: StageResult) -> pl.DataFrame:
    return pl.read_csv(result.folder / "issues.csv", schema=COLUMNS)


def test_every_kind_of_issue_is_found_in_one_catalogue_the_surest_first(tmp_path: Path) -> None:
    items = make_items(
        type={2: "Tees", 6: "Tees", 10: "shirts", 13: "Caps"},
        title={6: None, 20: "Oddmoor Shoe", 24: "Oddmoor Shoe"},
        kind={17: "Wear"},
        gender={40: "Men", 44: "Men"},
    )
    images = make_images(items)
    images[24], images[43], images[30] = images[20], images[40], images[26]
    images[34] = np.clip(images[26].astype(int) + 3, 0, 255)
    images[50] = 255
    place = write_audited(tmp_path, items, images)
    write_folds(place, make_out_of_sample(items))
    result = audit(place)
    issues = read_issues(result)
    assert set(issues["code"]) == set(CODES)
    # Names are the only evidence where there are no image probabilities: here all items have some.
    assert set(issues.filter(pl.col("code") == "label_error")["evidence"]) == {"image", "image+name"}
    assert set(issues.filter(pl.col("code") != "label_error")["evidence"]) == {""}
    assert issues["score"].is_sorted(descending=True)
    assert issues["score"].is_between(0, 1).all()
    assert not issues.select("item_id", "code", "column").is_duplicated().any()
    summary = read_json(result.folder / "summary.json")
    assert summary["issues"] == {code: (issues["code"] == code).sum() for code in CODES}
    label_errors = issues.filter(pl.col("code") == "label_error")["evidence"]
    assert summary["evidence"] == {each: (label_errors == each).sum() for each in ("image+name", "image", "name")}
    assert summary["sources"]["photographs"]["source"] == "out-of-fold probabilities of folds/folded"
    assert summary["not_applicable"] == {}
    assert summary["catalog_score"] < 1
    assert summary["expected_right"]["first"][-1]["issues"] == min(len(label_errors), 500)
    assert result.metrics["issues"] == len(issues)
    assert audit(place).skipped
    assert not audit(place, AuditConfig(min_score=0.7)).skipped


@pytest.mark.parametrize("run_id", [None, "folded"])
def test_a_model_of_the_label_alone_says_nothing_of_the_levels(run_id: str | None, tmp_path: Path) -> None:
    items = make_items()
    place = write_audited(tmp_path, items, make_images(items))
    found = make_out_of_sample(items)
    labels = LabelSpace.of_classes(("Shirts", "Shoes"))
    write_folds(place, replace(found, label_space=labels, pred_probs=np.full((len(found.rows), 2), 0.5, np.float32)))
    summary = read_json(audit(place, run_id=run_id).folder / "summary.json")
    assert "of the label alone" in summary["not_applicable"]["label_error (image)"]
    assert ("comes with" in summary["not_applicable"]["label_error (image)"]) == (run_id is None)


def test_the_pixels_are_mapped_once_for_all_who_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = make_items()
    place = write_audited(tmp_path, items, make_images(items))
    write_folds(place, make_out_of_sample(items))
    seen: list[bool] = []
    call = audit_module._collect_probs

    def look(workspace: Any, context: Any, source: Any, labelled: Any) -> Any:
        seen.append(context.images is labelled.images)
        return call(workspace, context, source, labelled)

    monkeypatch.setattr(audit_module, "_collect_probs", look)
    audit(place)
    assert seen == [True]


def test_what_a_review_has_settled_is_not_found_again(tmp_path: Path) -> None:
    items = make_items(type={10: "shirts"})
    place = write_audited(tmp_path, items, make_images(items))
    write_folds(place, make_out_of_sample(items))
    wrong = (items["item_id"][10], "spelling_variant", "type")
    assert wrong in read_issues(audit(place)).select("item_id", "code", "column").rows()
    line = pl.DataFrame({"item_id": [wrong[0]], "column": "type", "old": "shirts", "new": "Shirts", "rule": "reviewed"})
    write_csv(place.review / "label_changes.csv", line)
    settled = audit(place)
    assert not settled.skipped
    assert wrong not in read_issues(settled).select("item_id", "code", "column").rows()


def test_the_order_of_the_rows_changes_nothing(tmp_path: Path) -> None:
    items = make_items(type={2: "Tees", 7: "Shirts"})
    tables = []
    for name, order in (("a", np.arange(100)), ("b", np.random.default_rng(0).permutation(100))):
        place = write_audited(tmp_path / name, items[order], make_images(items)[order])
        out_of_sample = make_out_of_sample(items)
        shuffled = type(out_of_sample)(
            np.arange(100), out_of_sample.label_space, out_of_sample.given[order], out_of_sample.pred_probs[order],
            {"gender": out_of_sample.attributes["gender"][order]},
        )  # fmt: skip
        write_folds(place, shuffled)
        tables.append(read_issues(audit(place, AuditConfig(use_names=False))).drop("reason"))
    assert tables[0].rows() == tables[1].rows()


def test_without_folds_and_runs_it_says_what_to_run_and_looks_at_the_rest(tmp_path: Path) -> None:
    items = make_items(type={2: "Tees", 10: "shirts"})
    result = audit(write_audited(tmp_path, items))
    summary = read_json(result.folder / "summary.json")
    assert set(summary["not_applicable"]) == {"label_error (image)", "label_error (image+name)"}
    assert "`hangtag cross-validate`" in summary["not_applicable"]["label_error (image)"]
    assert summary["issues"]["label_error"] == summary["evidence"]["name"] == 1
    assert summary["issues"]["spelling_variant"] == 1
    told = describe_audit(summary)
    assert all(len(line) <= 80 for line in told.splitlines())
    assert "Not checked: label error (image), label error (image+name)." in told


def test_folds_of_other_labels_are_not_heard(tmp_path: Path) -> None:
    items = make_items()
    place = write_audited(tmp_path, items)
    write_folds(place, make_out_of_sample(items))
    write_audited(tmp_path, make_items(type={2: "Tees"}))
    summary = read_json(audit(place).folder / "summary.json")
    assert "photographs" not in summary["sources"]


def test_names_can_be_left_out(tmp_path: Path) -> None:
    items = make_items(type={2: "Tees"})
    place = write_audited(tmp_path, items)
    write_folds(place, make_out_of_sample(items))
    summary = read_json(audit(place, AuditConfig(use_names=False)).folder / "summary.json")
    assert summary["not_applicable"]["label_error (name)"] == "Names were left out (--no-use-names)."
    assert summary["evidence"]["image"] == 1


def test_a_run_is_asked_about_the_items_that_it_did_not_learn_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Bags and shoes; of each split's last shoe the network says Bags.
    kinds = [("Bags", "Goods", 0), ("Shoes", "Wear", 1)]
    lines: list[ProductItem] = []
    for number in range(90):
        label, kind, product = kinds[number % 2]
        split = ("train", "val", "test")[number // 30]
        seen = 0 if number % 30 == 29 else product
        lines.append((label, split, kind, "Men", seen, 0.9, seen, 0))
    place = write_products(tmp_path, lines)
    complete_items(place)
    write_product_run(place, "only", train_splits=["train"])
    patch_product_models(monkeypatch)
    result = audit(place, AuditConfig(use_names=False))
    wrong = read_issues(result).filter(pl.col("evidence") == "image")
    assert set(wrong["item_id"]) == {"i59", "i89"}
    # The run was trained on the kind and the label, which is no column.
    assert set(wrong["changes"]) == {'{"kind": "Goods"}'}
    out_of_sample = read_json(result.folder / "summary.json")["sources"]["photographs"]
    assert out_of_sample["items"] == 60
    assert out_of_sample["source"] == "the run only on val and test, which it was not trained on"


def complete_items(place: Workspace) -> None:
    """Return the prepared items the columns that `prepare` would, those of the labels."""
    labels = pl.read_parquet(place.labels / "labels.parquet")
    items = labels.sort("image_index").drop("image_index", "label", "split", "group_id", "pixel_hash")
    manifest = read_manifest(place.prepared) or {}
    write_parquet(place.prepared / "items.parquet", items)
    StageRecord("prepare", place.prepared, {}, {}).finish(
        {}, [place.prepared / name for name in ("items.parquet", "images.npy")],
        schema=manifest["schema"], taxonomy_text="",
    )  # fmt: skip
    write_labels(place, labels)


def test_a_run_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    place = write_audited(tmp_path, make_items())
    with pytest.raises(WorkspaceError, match=r"There are: none\. Received: 'gone'"):
        audit(place, run_id="gone")
    with pytest.raises(SettingsError, match="A run and --model"):
        audit(place, run_id="gone", model=tmp_path)
    with pytest.raises(ModelError, match="no model in this folder"):
        audit(place, model=tmp_path)


# An exported model


def test_an_exported_model_audits_a_catalogue_of_other_words(model: Path, tmp_path: Path) -> None:
    place = write_foreign(tmp_path / "w")
    result = audit(place, model=copy_model(model, tmp_path / "model", limit=1e9))
    issues = read_issues(result).filter(pl.col("evidence") == "image")
    # The seventh, a hat, is given as a shirt.
    assert issues.select("item_id", "given_label", "suggested_label").rows() == [("n6", "shirts", "HAT")]
    mapping = pl.read_csv(result.folder / "category_mapping.csv")
    assert dict(mapping.select("thing", "model_class").iter_rows()) == {
        "shirts": "Shirt", "HAT": "Hat", "shoe": "Shoe", "Gloves": None,
    }  # fmt: skip
    out_of_sample = read_json(result.folder / "summary.json")["sources"]["photographs"]
    assert (out_of_sample["categories_not_mapped"], out_of_sample["items_not_mapped"]) == (1, 3)


def test_categories_that_were_matched_by_hand_are_judged(model: Path, tmp_path: Path) -> None:
    place, exported = write_foreign(tmp_path / "w"), copy_model(model, tmp_path / "model", limit=1e9)
    first = audit(place, model=exported)
    judged = read_json(first.folder / "summary.json")["judged"]
    classes = pl.read_csv(first.folder / "model_classes.csv")
    assert ("label", "Hat") in classes.rows()
    copy = tmp_path / "by hand.csv"
    # As a German Excel saves it.
    text = (first.folder / "category_mapping.csv").read_text().replace("Gloves,3,,", "Gloves,3,label,Hat")
    copy.write_text(text.replace(",", ";"), encoding="cp1252")
    config = AuditConfig(category_mapping=str(copy))
    result = audit(place, config, model=exported)
    summary = read_json(result.folder / "summary.json")
    assert summary["judged"] == judged + 3
    assert summary["sources"]["photographs"]["categories_not_mapped"] == 0
    assert audit(place, config, model=exported).skipped
    copy.write_text("thing,items,model_level,model_class\nGloves,3,label,Shoe\n")
    assert not audit(place, config, model=exported).skipped


def test_a_model_without_any_of_the_categories_still_writes_what_to_match(model: Path, tmp_path: Path) -> None:
    place = write_foreign(tmp_path / "w", words={"Hat": "Hut", "Shirt": "Hemd", "Shoe": "Schuh"})
    exported = copy_model(model, tmp_path / "model", limit=1e9)
    result = audit(place, model=exported)
    assert "--category-mapping" in read_json(result.folder / "summary.json")["not_applicable"]["label_error (image)"]
    copy = shutil.copy(result.folder / "category_mapping.csv", tmp_path / "copy.csv")
    lines = pl.read_csv(copy, schema_overrides={"model_level": pl.String, "model_class": pl.String})
    lines.with_columns(
        model_class=pl.col("thing").replace_strict({"Hemd": "shirt", "Hut": "Hat", "Schuh": "Shoe"}, default=None)
    ).write_csv(copy)
    result = audit(place, AuditConfig(category_mapping=str(copy)), model=exported)
    issues = read_issues(result).filter(pl.col("evidence") == "image")
    assert issues.select("item_id", "given_label", "suggested_label").rows() == [("n6", "Hemd", "Hut")]


def test_a_mapping_without_an_exported_model_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("thing,items,model_level,model_class\n")
    with pytest.raises(
        SettingsError, match=r"--category-mapping is for .*not of the model's size.*Add --model shipped"
    ):
        audit(write_audited(tmp_path / "w", make_items()), AuditConfig(category_mapping=str(tmp_path / "m.csv")))
    with pytest.raises(SettingsError, match="cannot be read"):
        audit(Workspace(tmp_path / "w"), AuditConfig(category_mapping=str(tmp_path / "gone.csv")))


def test_photographs_that_the_model_finds_strange_are_not_judged(model: Path, tmp_path: Path) -> None:
    result = audit(write_foreign(tmp_path / "w"), model=copy_model(model, tmp_path / "model", limit=1e-6))
    summary = read_json(result.folder / "summary.json")
    assert summary["evidence"]["image"] == 0
    assert summary["not_applicable"]["label_error (image)"].startswith("All photographs of categories")


def copy_model(model: Path, folder: Path, limit: float) -> Path:
    """Copy a model, with another limit of what is familiar: 48 photographs are too few to find a fair one on."""
    shutil.copytree(model, folder)
    description = read_json(folder / "model.json")
    description["out_of_distribution"]["limit"] = limit
    description["out_of_distribution"]["pixel_statistics"]["limit"] = 1e9
    write_json(folder / "model.json", description)
    return folder


def test_of_its_own_catalogue_a_model_judges_what_it_did_not_learn(model: Path, trained_workspace: Workspace) -> None:
    labelled, classifier = read_labeled_items(trained_workspace), Classifier.load(model)
    items = read_prepared(trained_workspace).items.join(labelled.table.select("item_id", "split"), on="item_id")
    out_of_sample = predict_with_model(classifier, labelled, items, hash_photographs(labelled.images))
    assert set(items["split"].gather(out_of_sample.rows)) == {"val", "test"}


def test_photographs_of_another_size_say_how_to_prepare_them(model: Path, tmp_path: Path) -> None:
    items = make_items()
    place = write_audited(tmp_path, items, np.repeat(make_images(items), 2, axis=1))
    with pytest.raises(ModelError, match="--image-size 16x12"):
        audit(place, model=model)


def test_a_model_audits_without_training_code(model: Path, tmp_path: Path) -> None:
    place = write_foreign(tmp_path)
    code = (
        "import sys; sys.modules['keras'] = sys.modules['tensorflow'] = None\n"
        "from hangtag.cli import main\n"
        f"main(['audit', '-w', {str(place.root)!r}, '--model', {str(model)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Compared with: the exported model small, " in done.stdout


def write_foreign(folder: Path, words: Mapping[str, str] = WORDS) -> Workspace:
    """Write a catalogue of one level, in words of its own, of what the model was trained on."""

    kinds = [list(COLORS)[row % 3] for row in range(60)]
    things = [words[kind] for kind in kinds]
    things[6] = words["Shirt"]
    things[10:13] = ["Gloves"] * 3
    items = pl.DataFrame(
        {
            "item_id": [f"n{row}" for row in range(60)],
            "thing": things,
            "label": things,
            "split": ["train"] * 60,
            "group_id": [f"n{row}" for row in range(60)],
        }
    )
    images = np.stack([draw(kind, 500 + row) for row, kind in enumerate(kinds)])
    schema = replace(
        SCHEMA, levels=("thing",), attributes=(), name=None, columns=("item_id", "thing"), headings=("item_id", "thing")
    )
    return write_audited(folder, items, images, schema=schema)


def test_known_predictions_are_found_by_their_keys_and_damaged_files_are_none(tmp_path: Path) -> None:
    keys = np.array([30, 10, 20], np.uint64)
    probs = np.array([[3.0], [1.0], [2.0]], np.float32)
    known = KnownProbs(keys, probs, np.empty(0, np.float32))
    assert known.find(np.array([10, 11, 30, 99, 0], np.uint64)).tolist() == [1, -1, 0, -1, -1]
    known.write(tmp_path / "known.npz")
    found = KnownProbs.read(tmp_path / "known.npz")
    assert found is not None
    np.testing.assert_array_equal(found.probs, probs)
    content = (tmp_path / "known.npz").read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"PK" + bytes(100)):
        (tmp_path / "known.npz").write_bytes(damaged)
        assert KnownProbs.read(tmp_path / "known.npz") is None
    assert KnownProbs.read(tmp_path / "missing.npz") is None
