"""An item with several photographs is judged by all of them: a first one that misleads is outvoted."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from audited import LABEL_SPACE, PLACES, SCHEMA, TYPES, make_context, make_images, make_items, make_probs, write_audited
from stub_runs import CLASS_NAMES, StubModel, draw_image, patch_models, write_run, write_workspace
from stub_runs import SCHEMA as STUB_SCHEMA

from hangtag.auditing.duplicate_issues import find_duplicates
from hangtag.auditing.evidence import find_training_items
from hangtag.auditing.image_issues import find_bad_pictures
from hangtag.auditing.model_evidence import predict_with_run
from hangtag.catalog.images import Pixels
from hangtag.catalog.prepared_items import OTHERS, OtherPhotographs, read_prepared
from hangtag.catalog.schema import CatalogSchema
from hangtag.config import AuditConfig, PredictConfig
from hangtag.errors import LeakError
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import HeadProbs
from hangtag.inference.runs import load_classifier, predict_photographs
from hangtag.io import read_csv, write_parquet, write_whole
from hangtag.labels.dataset import UNKNOWN, read_labeled_items
from hangtag.labels.duplicates import hash_items, hash_photographs
from hangtag.labels.image_hashes import PhotographSet
from hangtag.manifest import StageRecord
from hangtag.metrics.leakage import check_unseen
from hangtag.models.label_space import CATEGORY_PATH, LabelSpace
from hangtag.models.seen_images import SeenPhotographs
from hangtag.stages import cross_validate as cross_validation
from hangtag.stages.audit import audit
from hangtag.stages.predict import predict
from hangtag.training.data import ItemDataset
from hangtag.workspace import OTHER_IMAGES, OTHER_PHOTOGRAPHS, Workspace

# An item, the path of a further photograph, and its pixels.
Other = tuple[str, str, Pixels]


def make_others(others: Sequence[Other]) -> OtherPhotographs:
    rows = [(item_id, path, 60, 80, "RGB", 2) for item_id, path, _ in others]
    return OtherPhotographs(pl.DataFrame(rows, schema=OTHERS, orient="row"), np.stack([each for *_, each in others]))


def add_others(place: Workspace, others: Sequence[Other], schema: CatalogSchema) -> None:
    """Write what `prepare` and `clean` would write of items with further photographs."""
    made = make_others(others)
    write_parquet(place.prepared / OTHER_PHOTOGRAPHS, made.table)
    with write_whole(place.prepared / OTHER_IMAGES) as temporary:
        np.save(temporary, made.images)
    paths = [place.prepared / name for name in ("images.npy", "items.parquet", OTHER_IMAGES, OTHER_PHOTOGRAPHS)]
    StageRecord("prepare", place.prepared, {}, {}).finish({}, paths, schema=schema.to_json(), taxonomy_text="")
    record = StageRecord("clean", place.labels, {"prepared": read_prepared(place).digest}, {})
    record.finish({}, [place.labels / "labels.parquet"])


def show(answer: str, confidence: float) -> Pixels:
    return draw_image(CLASS_NAMES.index(answer), confidence)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """The first photograph of `i1` looks like a bag; two others show shoes."""
    items: list[Any] = [
        ("Bags", "train", "Bags", 0.9),
        (UNKNOWN, None, "Bags", 0.9),
        ("Shoes", "val", "Tshirts", 0.8),
        ("Tshirts", "test", "Tshirts", 0.9),
        ("Shoes", "train", "Shoes", 0.9),
    ]
    place = write_workspace(tmp_path / "ws", items)
    others = [
        ("i1", "1b.jpg", show("Shoes", 0.8)),
        ("i2", "2b.jpg", show("Shoes", 0.9)),
        ("i1", "1c.jpg", show("Shoes", 0.9)),
        ("i2", "2c.jpg", show("Shoes", 0.9)),
    ]
    add_others(place, others, STUB_SCHEMA)
    return place


def test_the_predicted_probabilities_are_the_means_over_the_photographs(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_models(monkeypatch)
    write_run(place, "run")
    (result,) = predict(place, PredictConfig(items="all"))
    table = pl.read_parquet(result.folder / "predictions.parquet")
    found = dict(table.select("item_id", "predicted_label").iter_rows())
    assert found == {"i0": "Bags", "i1": "Shoes", "i2": "Shoes", "i3": "Tshirts", "i4": "Shoes"}
    means = dict(table.select("item_id", "pred_probs").iter_rows())
    np.testing.assert_allclose(means["i1"], [(0.9 + 0.1 + 0.05) / 3, (0.05 + 0.8 + 0.9) / 3, 0.2 / 3], atol=1e-6)
    np.testing.assert_allclose(means["i0"], [0.9, 0.05, 0.05], atol=1e-6)


def test_an_audit_with_a_run_judges_by_all_photographs(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_models(monkeypatch)
    write_run(place, "run")
    labelled = read_labeled_items(place)
    items = read_prepared(place).items.join(labelled.table, on="item_id", maintain_order="left")
    classifier = load_classifier(place, "run", labelled)
    hashes, _ = hash_items(labelled, items.with_columns(image_index=pl.arange(len(items))))
    found = predict_with_run(classifier, "run", labelled, items, hashes)
    answers = dict(zip(items["item_id"].gather(found.rows), found.pred_probs.argmax(axis=1), strict=True))
    assert {item_id: CLASS_NAMES[answer] for item_id, answer in answers.items()} == {"i2": "Shoes", "i3": "Tshirts"}


class AuditedModel:
    """Reads its answer from the first pixel: the category path from red, the score of strangeness from green."""

    input = ("pixels",)

    def predict_on_batch(self, inputs: dict[str, npt.NDArray[np.uint8]]) -> dict[str, npt.NDArray[np.float32]]:
        first = inputs["pixels"][:, 0, 0]
        genders = np.full((len(first), 2), 0.5, np.float32)
        scores = np.asarray(first[:, 1] / 50, np.float32)
        return {CATEGORY_PATH: make_probs(4, first[:, 0]), "attribute_0": genders, "ood_score": scores}


def paint(pixels: Pixels, type_: str, strangeness: float = 0.5) -> Pixels:
    painted = pixels.copy()
    painted[0, 0] = PLACES[type_], round(50 * strangeness), 0
    return painted


def find_label_errors(place: Workspace) -> dict[str, str]:
    audit(place, AuditConfig(use_names=False), model="stub")
    issues = read_csv(place.issues, infer_schema=False).filter(pl.col("code") == "label_error")
    return dict(issues.select("item_id", "suggested_label").iter_rows())


def test_an_audit_with_a_model_judges_by_all_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    description = {"out_of_distribution": {"limit": 1.0}, "run_id": "stub"}
    classifier = Classifier(AuditedModel(), LABEL_SPACE, (16, 12), description)
    monkeypatch.setattr(Classifier, "load", lambda *_, **__: classifier)
    # Sandals that are called tees; their first photograph shows a tee, the others sandals.
    items = make_items(type={5: "Tees"}, kind={5: "Wear"})
    images, types = make_images(items), list(TYPES) * 25
    # The first photograph of shoes shows a shirt worn with them. That of others is a package.
    shown = {5: ("Tees", 0.5), 8: ("Shirts", 0.5), 12: ("Tees", 3.0)}
    for row, type_ in enumerate(types):
        images[row] = paint(images[row], *shown.get(row, (type_, 0.5)))
    place = write_audited(tmp_path / "w", items, images)
    assert find_label_errors(place) == {"i8": "Shirts"}
    random = np.random.default_rng(3)
    others = []
    for row, type_ in enumerate(types):
        for letter in "bc":
            noise = random.integers(0, 255, images[row].shape, dtype=np.uint8)
            others.append((f"i{row}", f"{row}{letter}.jpg", paint(noise, type_)))
    add_others(place, others, SCHEMA)
    assert find_label_errors(place) == {"i5": "Sandals"}
    # A photograph that is no product has an issue of its own.
    pictures = read_csv(place.issues, infer_schema=False).filter(pl.col("code") == "bad_picture")
    assert pictures.select("item_id").rows() == [("i12",)]
    assert pictures["reason"][0].startswith("The photograph 12.jpg looks like no product")


def test_an_item_is_in_distribution_if_half_of_its_photographs_are() -> None:
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7], [0.5, 0.5]], np.float32)
    scores = np.array([7, 0.5, 3, 4, 2], np.float32)
    photographs = HeadProbs(LabelSpace.of_classes(("a", "b")), {CATEGORY_PATH: probs}, scores)
    found = photographs.average(np.array([1, 0, 1, 0, 1]))
    np.testing.assert_allclose(found.by_head[CATEGORY_PATH], [[0.25, 0.75], [2 / 3, 1 / 3]], atol=1e-6)
    assert found.ood_scores is not None
    assert found.ood_scores.tolist() == [0.5, 3]
    # Of single photographs not a bit changes.
    alone = photographs.average(np.arange(5))
    assert alone.by_head[CATEGORY_PATH].tobytes() == probs.tobytes()
    assert alone.ood_scores is not None
    assert alone.ood_scores.tolist() == scores.tolist()


def test_the_products_of_photographs_have_an_answer_each() -> None:
    images = np.stack([paint(np.zeros((16, 12, 3), np.uint8), each) for each in ("Tees", "Shoes", "Shirts", "Shoes")])
    classifier = Classifier(AuditedModel(), LABEL_SPACE, (16, 12))
    assert classifier.predict(images) == ["Tees", "Shoes", "Shirts", "Shoes"]
    assert classifier.predict(images, products=["x", "y", "y", "y"]) == ["Tees", "Shoes"]
    assert [each.label for each in classifier.classify(images, products=[7, 8, 7, 8])][1] == "Shoes"


def test_left_out_items_are_predicted_from_all_photographs() -> None:
    images = np.stack([show("Bags", 0.9), show("Tshirts", 0.9)])
    others = make_others(
        [("i1", "b", show("Shoes", 0.9)), ("i9", "x", show("Bags", 0.9)), ("i1", "c", show("Shoes", 0.9))]
    )
    words = np.array([[1], [2]], np.int32)
    left_out = ItemDataset(images, np.array([0, 1]), {CATEGORY_PATH: np.array([0, 1])}, words)
    asked: list[Any] = []

    def answer(data: ItemDataset, _: str) -> dict[str, npt.NDArray[np.float32]]:
        asked.append(data.words)
        return {CATEGORY_PATH: make_probs(3, data.images[data.rows][:, 0, 0, 0])}

    trainer: Any = SimpleNamespace(
        data={"val": left_out}, label_space=LabelSpace.of_classes(CLASS_NAMES), predict_heads=answer, title=""
    )
    found = cross_validation._predict_items(pl.Series(["i0", "i1"]), trainer, others)[CATEGORY_PATH]
    assert [CLASS_NAMES[index] for index in found.argmax(axis=1)] == ["Bags", "Shoes"]
    np.testing.assert_allclose(found[1], [0.05, 1.85 / 3, 1 / 3], atol=1e-6)
    # The name of the item is read with each of its photographs.
    assert asked[1].tolist() == [[2], [2]]


def test_a_model_that_has_seen_another_photograph_of_an_item_is_refused(place: Workspace) -> None:
    labelled = read_labeled_items(place)
    val = labelled.of_split("val")
    (row, _), _ = labelled.others.find(val["item_id"])
    pixels = hash_photographs(labelled.others.images, np.array([row])).pixels
    seen = SeenPhotographs(PhotographSet(pixels=pixels))
    outputs = LabelSpace.of_classes(CLASS_NAMES)
    classifier = Classifier(AuditedModel(), outputs, (8, 6), seen=seen)
    with pytest.raises(LeakError, match="of 1 of the 1 items"):
        check_unseen(classifier, labelled, val, None)
    check_unseen(replace(classifier, seen=SeenPhotographs()), labelled, val, None)
    items = labelled.table.sort("image_index")
    hashes, _ = hash_items(labelled, items)
    learnt = find_training_items(classifier, labelled, items, hashes)
    # These have a photograph of the same pixels.
    assert sorted(items["item_id"].filter(pl.Series(learnt.mask))) == ["i1", "i2", "i4"]


def test_issues_of_pictures_and_duplicates_name_the_photograph() -> None:
    items = make_items()
    images = make_images(items)
    blank = np.full_like(images[0], 255)
    others = make_others(
        [
            ("i3", "3b.jpg", blank),
            ("i2", "2b.jpg", images[2][::-1]),
            ("i7", "7b.jpg", images[9]),
            ("i8", "8b.jpg", images[8]),
        ]
    )
    table = others.table.with_columns(width=pl.when(pl.col("item_id") == "i2").then(20).otherwise("width"))
    context = replace(make_context(items, images=images), others=OtherPhotographs(table, others.images))
    pictures = dict(find_bad_pictures(context).select("item_id", "reason").iter_rows())
    assert set(pictures) == {"i2", "i3"}
    assert pictures["i3"] == "The picture 3b.jpg is blank: all of it has one colour."
    assert pictures["i2"] == "The photograph 2b.jpg has 20 x 80 pixels; 32 a side are wanted."
    # A photograph that an item has twice is no duplicate of another item's.
    duplicates = find_duplicates(context)
    assert duplicates.select("item_id", "code", "group_id").rows() == [
        ("i7", "exact_duplicate", "photographs-i7"),
        ("i9", "exact_duplicate", "photographs-i7"),
    ]
    assert duplicates["reason"].to_list() == [
        "The photograph 7b.jpg is the same, pixel for pixel, as that of item i9.",
        "The photograph is the same, pixel for pixel, as that of item i7.",
    ]


def test_names_are_read_with_every_photograph(place: Workspace) -> None:
    labelled = read_labeled_items(place)
    asked: list[Any] = []

    class Noting(Classifier):
        def predict_rows(self, images: Pixels, rows: Any, title: Any = "", names: Any = None) -> HeadProbs:
            asked.append(names)
            return super().predict_rows(images, rows, title, None)

    classifier = Noting(StubModel(), LabelSpace.of_classes(CLASS_NAMES), (8, 6))
    mean, photographs = predict_photographs(classifier, labelled, labelled.table, "Predicting", with_names=True)
    assert (len(mean), len(photographs)) == (5, 9)
    assert asked[1] == ["Nice thing, 1", "Nice thing, 2", "Nice thing, 1", "Nice thing, 2"]
