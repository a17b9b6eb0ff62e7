"""Out-of-fold probabilities: every labelled item once, by a network that never saw it, however often it is stopped."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as sklearn_metrics
from test_train import write_prepared

from hangtag.catalog.prepared_items import OtherPhotographs, read_prepared
from hangtag.catalog.schema import CatalogSchema
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.inference.runs import find_classes
from hangtag.io import read_csv, read_json, write_csv, write_parquet
from hangtag.labels.dataset import LabeledItems
from hangtag.manifest import StageRecord
from hangtag.metrics.bootstrap import compute_intervals
from hangtag.models.label_space import CATEGORY_PATH, LabelSpace
from hangtag.presets import PRESETS
from hangtag.results import CrossValidateResult
from hangtag.settings import resolve
from hangtag.stages import cross_validate as stage
from hangtag.stages.cross_validate import cross_validate
from hangtag.summary import describe_blocks
from hangtag.train_config import TrainConfig
from hangtag.training.targets import build_targets
from hangtag.training.trainer import Trainer
from hangtag.workspace import Workspace

CONFIG = resolve(
    TrainConfig, PRESETS["capstone"], {"epochs": 2, "batch_size": 8, "precision": "float32", "tta_flip": True}
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Write 24 photographs, dark and light by turns, in pairs of duplicates; the last pair has no split."""
    place, numbers = Workspace.at(tmp_path / "w"), np.arange(24)
    table = pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in numbers],
            "image_index": numbers[::-1],
            "label": ["dark" if number // 2 % 2 else "light" for number in numbers[:22]] + ["Unknown"] * 2,
            "split": [("train", "val", "test")[number // 2 % 3] for number in numbers[:22]] + [None] * 2,
            "group_id": [f"g{number // 2}" for number in numbers],
        }
    )
    shades = np.where(numbers // 2 % 2, 60, 180)[::-1, None, None, None]
    write_prepared(place, table.select("item_id"), np.broadcast_to(shades, (24, 16, 12, 3)).astype(np.uint8))
    write_parquet(place.labels / "labels.parquet", table)
    StageRecord("clean", place.labels, {"prepared": read_prepared(place).digest}, {}).finish(
        {}, [place.labels / "labels.parquet"]
    )
    return place


def test_every_labelled_item_is_predicted_once_and_by_a_network_that_never_saw_it_or_its_duplicates(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_rows: list[set[int]] = []
    fit = Trainer.fit

    def note(self: Trainer, state: object) -> None:
        training_rows.append(set(self.data["train"].rows.tolist()))
        fit(self, state)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "fit", note)
    result = cross_validate(workspace, CONFIG, folds=3)
    table = pl.read_parquet(result.folder / "out_of_fold.parquet")
    assert sorted(table["item_id"]) == sorted(f"i{number}" for number in range(22))
    for item_id, fold in table.select("item_id", "fold").iter_rows():
        number = int(item_id[1:])
        pair = {23 - number // 2 * 2, 23 - number // 2 * 2 - 1}
        assert not pair & training_rows[fold]
    label_space = LabelSpace.from_json(read_json(result.folder / "label_space.json"))
    assert label_space.class_names == ("dark", "light")
    probs = np.array(table["pred_probs"].to_list())
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(probs.max(axis=1), table["confidence"], atol=1e-6)
    chosen = [label_space.class_names[place] for place in probs.argmax(axis=1)]
    assert chosen == table["predicted_label"].to_list()
    wanted = {f"i{number}": "dark" if number // 2 % 2 else "light" for number in range(22)}
    assert dict(table.select("item_id", "label").iter_rows()) == wanted
    assert len(pl.read_csv(result.folder / "history.csv")) == 6
    # The metrics are those of all items; see below.
    right = sum(label == predicted for label, predicted in table.select("label", "predicted_label").iter_rows())
    assert result.metrics["accuracy"] == round(right / 22, 4)
    assert result.report["splits"]["out_of_fold"]["accuracy"] == right / 22
    assert result.classes["support"].to_list() == [10, 12]
    assert not list(result.folder.rglob("checkpoint"))
    # It is no run that could be evaluated.
    assert workspace.run_ids() == []


def test_finished_folds_are_not_trained_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    tabulate = stage._tabulate_fold

    def stop(items: pl.DataFrame, trainer: Trainer, fold: int, others: OtherPhotographs) -> pl.DataFrame:
        if fold == 1:
            raise KeyboardInterrupt
        return tabulate(items, trainer, fold, others)

    monkeypatch.setattr(stage, "_tabulate_fold", stop)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(workspace, CONFIG, folds=2)
    monkeypatch.undo()
    trained: list[int] = []

    def note(_: Trainer, epoch: int) -> None:
        trained.append(epoch)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_run_epoch", note)
    result = cross_validate(workspace, CONFIG, folds=2)
    # The first fold was finished, and the second had all its epochs.
    assert trained == []
    assert result.metrics["items"] == 22
    assert cross_validate(workspace, CONFIG, folds=2).skipped
    # Results of an earlier version, which computed no metrics: they are computed from the finished folds.
    manifest, report = read_json(result.folder / "manifest.json"), result.report
    kept = [result.folder / name for name in ("out_of_fold.parquet", "history.csv", "label_space.json")]
    StageRecord("cross-validate", result.folder, manifest["inputs"], manifest["settings"]).finish({"items": 22}, kept)
    assert not (result.folder / "report.json").exists()
    again = cross_validate(workspace, CONFIG, folds=2)
    assert (again.skipped, again.metrics, again.report) == (False, result.metrics, report)
    assert trained == []
    # With another number of folds they would be other trainings.
    with pytest.raises(SettingsError, match=r"other settings \(folds: 2 there, 3 now\).*--run-id.*--replace"):
        cross_validate(workspace, CONFIG, folds=3)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(workspace, CONFIG, folds=3, replace=True)
    assert trained == [1]


def test_a_share_of_the_other_folds_is_trained_on_and_every_item_predicted(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    fit = Trainer.fit

    def count(self: Trainer, state: Any) -> None:
        trained.append(len(self.data["train"]))
        fit(self, state)

    monkeypatch.setattr(Trainer, "fit", count)
    result = cross_validate(workspace, dataclasses.replace(CONFIG, epochs=1, train_fraction=0.5), folds=2)
    assert all(2 <= count <= 8 for count in trained)
    assert len(result.out_of_fold) == 22
    with pytest.raises(WorkspaceError, match=r"no items to train on[\s\S]*--train-fraction"):
        cross_validate(workspace, dataclasses.replace(CONFIG, train_fraction=1e-6), folds=2, run_id="none")


@pytest.mark.parametrize("folds", [1, 21])
def test_a_number_of_folds_that_cannot_be_used_is_refused(workspace: Workspace, folds: int) -> None:
    with pytest.raises(SettingsError, match="2 to 20"):
        cross_validate(workspace, CONFIG, folds=folds)


def test_a_network_that_has_seen_the_items_is_refused(workspace: Workspace) -> None:
    with pytest.raises(SettingsError, match="cannot use the network of another run"):
        cross_validate(workspace, TrainConfig(with_names=True, image_run="whole"))


def test_more_folds_than_groups_are_refused(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="too few groups"):
        cross_validate(workspace, CONFIG, folds=12)


# The metrics, of probabilities that no network made

SCHEMA = CatalogSchema(levels=("kind",), attributes=("gender", "season"))
CLASSES = ("Bags", "Belts", "Caps", "Shirts")
SCORES = {"precision": 0.5, "recall": 0.5, "f1_low": 0.1, "f1_high": 0.9}
KINDS = ("Accessories", "Clothes")


def make_labelled(n: int, seed: int = 0) -> LabeledItems:
    """Return n items of four classes, in pairs of duplicates; `kind` follows from the class, attributes have gaps."""
    random = np.random.default_rng(seed)
    classes = np.append(np.arange(4), random.choice(4, n - 4, p=(0.5, 0.3, 0.15, 0.05)))
    genders = np.array([None, "Men", "Women"])[random.integers(0, 3, n)]
    table = pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(n)],
            "image_index": np.arange(n),
            "kind": [KINDS[int(index == 3)] for index in classes],
            "gender": pl.Series(genders.tolist(), dtype=pl.String),
            "season": pl.Series([None] * (n - 2) + ["Fall", "Spring"], dtype=pl.String),
            "label": [CLASSES[index] for index in classes],
            "split": [("train", "train", "val", "test")[number % 4] for number in range(n)],
            "group_id": [f"g{number // 2}" for number in range(n)],
        }
    )
    return LabeledItems(table, np.zeros((n, 1, 1, 3), np.uint8), CLASSES, SCHEMA, "digest")


def join_folds(
    folder: Path, labelled: LabeledItems, target: str = "all", *, never: int | None = None, folds: int = 3
) -> CrossValidateResult:
    """Join folds whose probabilities are random, higher for the true classes; the class `never` is not predicted."""
    targets, random = build_targets(labelled, target), np.random.default_rng(1)
    label_space, usable = targets.label_space, targets.classes[CATEGORY_PATH] >= 0
    by_head = {}
    for head, size in label_space.heads.items():
        scores = random.random((len(usable), size))
        known = np.flatnonzero(targets.classes[head] >= 0)
        scores[known, targets.classes[head][known]] += 0.4
        if head == CATEGORY_PATH and never is not None:
            scores[:, label_space.list_classes(label_space.primary) == never] = 0
        by_head[head] = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    record = StageRecord("cross-validate", folder / "folded", {}, {"with_names": False, "folds": folds})
    parts = []
    for fold in range(folds):
        rows = np.flatnonzero(usable & (np.arange(len(usable)) % folds == fold))[::-1]
        own = {head: probs[rows] for head, probs in by_head.items()}
        trainer: Any = SimpleNamespace(
            label_space=label_space,
            data={"val": None},
            title="",
            predict_heads=lambda *_, own=own: dict(own),
            find_primary_classes=lambda _, rows=rows: find_classes(
                labelled.table[label_space.primary][rows], label_space.class_names
            ),
        )
        part = record.folder / f"fold_{fold}"
        table = stage._tabulate_fold(labelled.table[rows], trainer, fold, labelled.others)
        write_parquet(part / "out_of_fold.parquet", table)
        write_csv(part / "history.csv", pl.DataFrame({"fold": [fold], "epoch": [1]}))
        parts.append(part)
    return CrossValidateResult.of(stage._join_folds(record, parts, labelled, label_space))


@pytest.mark.parametrize("never", [None, 2])
def test_the_metrics_are_those_of_scikit_learn_over_all_items(tmp_path: Path, never: int | None) -> None:
    labelled = make_labelled(200)
    result = join_folds(tmp_path, labelled, never=never)
    table = result.out_of_fold
    true, predicted = table["label"].to_list(), table["predicted_label"].to_list()
    assert len(set(table["item_id"])) == 200
    assert dict(zip(table["item_id"], true, strict=True)) == dict(labelled.table.select("item_id", "label").iter_rows())
    assert (CLASSES[2] in predicted) is (never is None)
    accuracy = sklearn_metrics.accuracy_score(true, predicted)
    macro_f1 = sklearn_metrics.f1_score(true, predicted, average="macro", zero_division=0)
    expected = {"items": 200, "folds": 3, "accuracy": round(accuracy, 4), "macro_f1": round(macro_f1, 4)}
    assert result.metrics == read_json(result.folder / "manifest.json")["counts"] == expected
    report = result.report
    assert (report["run_id"], report["folds"], report["label_name"]) == ("folded", 3, "Class")
    assert list(report["splits"]) == ["out_of_fold"]
    figures = report["splits"]["out_of_fold"]
    assert (figures["n"], figures["accuracy"]) == (200, pytest.approx(accuracy))
    assert figures["macro_f1"] == pytest.approx(macro_f1)
    scores = sklearn_metrics.precision_recall_fscore_support(true, predicted, labels=CLASSES, zero_division=0)
    for key, values in zip(("precision", "recall", "f1", "support"), scores, strict=True):
        assert result.classes[key].to_list() == pytest.approx(values.tolist()), key
    for row in result.classes.iter_rows(named=True):
        assert 0 <= row["f1_low"] <= row["f1"] <= row["f1_high"] <= 1
        assert row["f1_low"] < row["f1_high"]
    # By group, as for the groups themselves.
    groups = table.join(labelled.table, on="item_id", maintain_order="left")["group_id"].to_list()
    own, other = (np.array([CLASSES.index(name) for name in names]) for names in (true, predicted))
    intervals = compute_intervals(own, other, groups, 4, samples=1000, seed=0)
    assert figures["confidence_interval"]["macro_f1"] == intervals["macro_f1"]
    assert result.classes.select("f1_low", "f1_high").rows() == [tuple(ends) for ends in intervals["class_f1"]]
    counts = read_csv(result.folder / "confusion_matrix.csv")
    assert (counts["count"].sum(), counts["split"].unique().to_list()) == (200, ["out_of_fold"])
    wrong = [pair for pair in zip(true, predicted, strict=True) if pair[0] != pair[1]]
    first = read_csv(result.folder / "most_confused.csv").row(0, named=True)
    text = (result.folder / "report.md").read_text(encoding="utf-8")
    assert f"- {first['label']} predicted as {first['predicted_label']}: {first['count']} " in text
    assert first["count"] == wrong.count((first["label"], first["predicted_label"])) == max(map(wrong.count, wrong))


def test_levels_and_attributes_are_measured_where_they_have_a_value(tmp_path: Path) -> None:
    labelled = make_labelled(200)
    result = join_folds(tmp_path, labelled)
    levels = result.report["levels"]["out_of_fold"]
    assert [(column, figures["kind"]) for column, figures in levels.items()] == [
        ("kind", "level"),
        ("label", "label"),
        ("gender", "attribute"),
        ("season", "attribute"),
    ]
    known = labelled.table["gender"].is_not_null().sum()
    assert 0 < known < 200
    assert [figures["n"] for figures in levels.values()] == [200, 200, known, 2]
    table = result.out_of_fold.join(labelled.table, on="item_id", maintain_order="left").drop_nulls("gender")
    chosen = np.array(table["attribute_0"].to_list()).argmax(axis=1)
    predicted = np.array(["Men", "Women"])[chosen]
    assert levels["gender"]["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(table["gender"], predicted))
    macro_f1 = sklearn_metrics.f1_score(table["gender"], predicted, average="macro")
    assert levels["gender"]["macro_f1"] == pytest.approx(macro_f1)
    assert levels["gender"]["macro_f1_low"] < macro_f1 < levels["gender"]["macro_f1_high"]
    assert read_csv(result.folder / "levels.csv")["split"].unique().to_list() == ["out_of_fold"]
    # Two items of the attribute cannot be frequent.
    assert levels["season"]["frequent_macro_f1"] is None
    printed = describe_blocks(stage.list_fold_blocks(result.report))
    assert max(map(len, printed.splitlines())) <= 80
    season = next(line for line in printed.splitlines() if line.startswith("season"))
    assert season.split()[1] == "2"
    assert season.endswith("–")


def test_a_target_that_is_one_level_leaves_out_items_without_a_value(tmp_path: Path) -> None:
    labelled = make_labelled(60)
    result = join_folds(tmp_path, labelled, "gender")
    known = labelled.table.filter(pl.col("gender").is_not_null())
    assert result.metrics["items"] == len(known) < 60
    report = result.report
    assert (report["target"], report["label_name"], report["class_names"]) == ("gender", "gender", ["Men", "Women"])
    assert list(report["levels"]["out_of_fold"]) == ["gender"]
    assert report["levels"]["out_of_fold"]["gender"]["macro_f1"] == report["splits"]["out_of_fold"]["macro_f1"]
    assert result.classes["label"].to_list() == ["Men", "Women"]
    assert result.classes["support"].sum() == len(known)


def test_the_files_are_in_the_manifest_and_nothing_is_made_up(tmp_path: Path) -> None:
    result = join_folds(tmp_path, make_labelled(60))
    tables = ("classification_report.csv", "confusion_matrix.csv", "most_confused.csv", "levels.csv")
    written = {"out_of_fold.parquet", "label_space.json", "report.json", "report.md", "history.csv", *tables}
    assert set(read_json(result.folder / "manifest.json")["outputs"]) == written
    # Each fold has its own network, so that there is no temperature and no threshold.
    assert not {"temperature", "thresholds", "logit_adjustment", "adjustments"} & set(result.report)
    text = (result.folder / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Cross-validation of folded\n\nTarget: label (Class). Input: photograph. Not calibrated. ")
    assert "the one of 3 models that was not trained on it" in text
    assert "## Sure predictions" not in text


def test_the_terminal_lists_the_classes_of_lowest_f1_with_their_items(tmp_path: Path) -> None:
    result = join_folds(tmp_path, make_labelled(200), never=2)
    columns, worst = stage.list_fold_blocks(result.report)
    assert [row[0] for row in columns.rows] == ["kind", "Class", "gender", "season"]
    accuracy = result.report["splits"]["out_of_fold"]["accuracy"]
    assert columns.rows[1][2].startswith(f"{accuracy:.3f} [0.")
    support = dict(result.classes.select("label", "support").iter_rows())
    assert (worst.title, worst.headings[0]) == ("All 4 classes, the lowest F1 first.", "Class")
    assert worst.rows[0][:4] == ("Caps", str(support["Caps"]), "0.000", "0.000")
    assert worst.rows[0][4].startswith("0.000 [0.000, 0.")
    scores = [float(row[4].split()[0]) for row in worst.rows]
    assert scores == sorted(scores)
    # Of many classes the lowest are shown, without those that no item has.
    classes = {f"class {number}": SCORES | {"f1": number / 20, "support": number} for number in range(20)}
    report = result.report
    report["splits"]["out_of_fold"]["classes"] = classes
    worst = stage.list_fold_blocks(report)[1]
    assert worst.title == "The 12 of 19 classes with the lowest F1."
    assert [row[0] for row in worst.rows] == [f"class {number}" for number in range(1, 13)]
