"""Run `train` as one of several workers that train one network together, on one machine or on several."""

from collections.abc import Sequence
from pathlib import Path

from hangtag.errors import SettingsError
from hangtag.labels.dataset import read_labeled_items
from hangtag.lock import hold
from hangtag.manifest import StageRecord
from hangtag.results import TrainResult
from hangtag.stages.earlier_runs import hash_network
from hangtag.stages.train import build_trainer, list_inputs, name_run, train
from hangtag.train_config import TrainConfig
from hangtag.training.checkpoint import TrainingState
from hangtag.training.parallel import join_cluster
from hangtag.workspace import CHECKPOINT, Workspace


def train_worker(
    index: int,
    addresses: Sequence[str],
    workspace: str | Path | Workspace,
    config: TrainConfig = TrainConfig(),  # noqa: B008  (frozen)
    *,
    run_id: str | None = None,
    resume: bool = False,
    replace: bool = False,
) -> TrainResult | None:
    """Train as one of several workers, each on its share of every batch; the first writes the run as `train` does.

    Start it once for each address, in a process of its own, with the same arguments but for the index. All workers read
    the same workspace, on a disk that they share. Every worker validates on all of val, and an epoch ends for all at
    once. If a worker dies, the others end with an error; start all of them again with `resume`.

    Args:
        index: The index of this worker among the addresses; 0 writes the run.
        addresses: The `host:port` of every worker.
        workspace: A workspace that has been cleaned.
        config: The settings of the training; `batch_size` is that of all workers together.
        run_id: The run's name; see `train`.
        resume: See `train`.
        replace: See `train`.

    Returns:
        The result of `train`, None for the workers that write nothing.

    Raises:
        SettingsError: The settings are for a single process, the batch has fewer items than there are workers, or the
            index and the addresses do not fit.
        HangtagError: See `train`.
    """
    check_workers(config, len(addresses))
    cluster = join_cluster(index, addresses)
    result = None
    if cluster.is_chief:
        result = train(workspace, config, run_id=run_id, resume=resume, replace=replace)
    else:
        place, folder = Workspace.at(workspace), Workspace.at(workspace).run(run_id or name_run(config))
        with hold("train", place, reads=list_inputs(place, config), writes=[]):
            follow(place, config, folder, resume=resume)
    cluster.wait()
    return result


def follow(workspace: Workspace, config: TrainConfig, folder: Path, *, resume: bool) -> None:
    """Train as the chief does the run of a folder, and write nothing."""
    labelled = read_labeled_items(workspace)
    # The chief does not train a run again that is finished.
    inputs = {"labels": labelled.digest, **hash_network(workspace, config)}
    if not StageRecord("train", folder, inputs, config).load_if_unchanged():
        trainer = build_trainer(workspace, labelled, folder / CHECKPOINT, config)
        trainer.fit(trainer.resume() if resume else TrainingState())


def check_workers(config: TrainConfig, workers: int) -> None:
    """Check that the settings can be used by several workers.

    Raises:
        SettingsError: They cannot.
    """
    alone = {"freeze": config.freeze, "image_run": config.image_run, "minutes": config.minutes}
    if used := {name: value for name, value in alone.items() if value}:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in used)
        raise SettingsError("Several workers train whole networks.", hint=f"Go without {flags}.", received=used)
    if config.batch_size < workers:
        what = "A batch needs an item for each worker."
        raise SettingsError(what, allowed=f"Allowed: --batch-size {workers} or more.", received=config.batch_size)
