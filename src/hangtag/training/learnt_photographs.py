"""What a training learns from, and what the weights that it begins from have learnt from, for the model to carry."""

from collections.abc import Mapping
from pathlib import Path

from hangtag.artifacts import hash_file
from hangtag.config import TrainConfig
from hangtag.errors import LeakError
from hangtag.labels.duplicates import hash_photographs
from hangtag.labels.photograph_hashes import PhotographHashes, PhotographSet
from hangtag.models.description import DESCRIPTION, read_description
from hangtag.models.seen_photographs import SeenPhotographs, read_seen
from hangtag.models.storage import WEIGHTS
from hangtag.training.dataset import ItemDataset
from hangtag.workspace import Workspace

WITHOUT = "Train without --weights, or from weights that learnt from other photographs."


def collect_seen(
    place: Workspace, config: TrainConfig, data: Mapping[str, ItemDataset], max_distance: int | None
) -> SeenPhotographs:
    """Return what a run will have seen: its own items, and what the runs have seen that it takes weights from.

    Args:
        place: The workspace.
        config: The training's settings.
        data: What it learns from, `train`, and what it is judged on after every epoch, `val`.
        max_distance: How far apart perceptual hashes of one photograph may be; see `read_hash_distance`.

    Raises:
        LeakError: The weights to begin from learnt from photographs on which the run's epoch, temperatures and
            thresholds would be chosen.
    """
    val = hash_photographs(data["val"].images, data["val"].rows)
    begun = read_begun(config.weights)
    if not config.calibrated_by:
        check_begun(begun, val, max_distance, "val, on which confidence is calibrated")
    train = hash_photographs(data["train"].images, data["train"].rows)
    seen = SeenPhotographs(PhotographSet.of(train), PhotographSet.of(val)) | begun
    if config.photographs_by:
        seen |= _read_run(place, config.photographs_by)
    if config.calibrated_by:
        # Of the other run only val has a part in this one.
        seen |= SeenPhotographs(chosen_on=_read_run(place, config.calibrated_by).chosen_on)
    return seen


def check_begun(begun: SeenPhotographs, hashes: PhotographHashes, max_distance: int | None, what: str) -> None:
    """Check that the weights to begin from did not learn from photographs that are to judge what comes of them.

    Raises:
        LeakError: They did.
    """
    count = int(begun.learnt.find(hashes, max_distance).sum())
    if count:
        raise LeakError(
            f"The weights to begin from learnt from {count:,} of the {len(hashes):,} photographs of {what}.",
            hint=WITHOUT,
        )


def read_begun(source: str) -> SeenPhotographs:
    """Return what the weights of a `--weights` have seen.

    That is nothing of a catalogue for what a library publishes by name. The weights of a run say so themselves; of
    any other file it is not known.

    Raises:
        ModelError: The list beside a run's weights is damaged.
    """
    path = Path(source).expanduser()
    if not source or not path.exists():
        return SeenPhotographs()
    folder = path.parent
    if path.name == WEIGHTS and (folder / DESCRIPTION).is_file():
        content = read_description(folder).content
        if content.get("weights", {}).get("sha256") == hash_file(path):
            return read_seen(folder, content) or SeenPhotographs(is_complete=False)
    return SeenPhotographs(is_complete=False)


def _read_run(place: Workspace, run_id: str) -> SeenPhotographs:
    """Return what a run of the workspace has seen; nothing where it does not say."""
    folder = place.run(run_id)
    return read_seen(folder, read_description(folder).content) or SeenPhotographs()
