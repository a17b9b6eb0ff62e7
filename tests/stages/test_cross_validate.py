"""Out-of-fold probabilities: every labelled item once, by a network that never saw it, however often it is stopped."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from test_train import write_prepared

from hangtag.catalog.prepared_items import OtherPhotographs, read_prepared
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.io import read_json, write_parquet
from hangtag.manifest import StageRecord
from hangtag.models.label_space import LabelSpace
from hangtag.presets import PRESETS
from hangtag.settings import resolve
from hangtag.stages import cross_validate as stage
from hangtag.stages.cross_validate import cross_validate
from hangtag.train_config import TrainConfig
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
    # With another number of folds they would be other trainings.
    with pytest.raises(SettingsError, match=r"other settings \(folds: 2 there, 3 now\).*--run-id.*--replace"):
        cross_validate(workspace, CONFIG, folds=3)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(workspace, CONFIG, folds=3, replace=True)
    assert trained == [1]


@pytest.mark.parametrize("folds", [1, 21])
def test_a_number_of_folds_that_cannot_be_used_is_refused(workspace: Workspace, folds: int) -> None:
    with pytest.raises(SettingsError, match="2 to 20"):
        cross_validate(workspace, CONFIG, folds=folds)


def test_a_network_that_has_seen_the_items_is_refused(workspace: Workspace) -> None:
    with pytest.raises(SettingsError, match="no other run's network"):
        cross_validate(workspace, TrainConfig(with_names=True, image_run="whole"))


def test_more_folds_than_groups_are_refused(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="too few groups"):
        cross_validate(workspace, CONFIG, folds=12)
