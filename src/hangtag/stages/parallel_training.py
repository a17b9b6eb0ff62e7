"""Stage `parallel-training`, which is `train --training-workers N`: several tasks of Ray train one network together."""

import os
import sys
from contextlib import chdir, nullcontext
from dataclasses import dataclass
from pathlib import Path

from hangtag.errors import SettingsError
from hangtag.labels.dataset import read_labeled_items
from hangtag.lock import hold, hold_folder
from hangtag.models.pretrained import find_file
from hangtag.ray_group import Member, run_group
from hangtag.ray_tasks import TaskPlan
from hangtag.results import StageResult, TrainResult
from hangtag.runner_config import RunnerConfig
from hangtag.stages.train import Training, Trainings, list_inputs, name_run, train_run
from hangtag.stages.train_worker import check_workers, follow
from hangtag.train_config import TrainConfig
from hangtag.training.checkpoint import read_progress
from hangtag.training.epoch_lines import EpochLines
from hangtag.training.parallel import join_cluster
from hangtag.workspace import CHECKPOINT, Workspace, recover


def parallel_training(
    workspace: str | Path | Workspace,
    config: TrainConfig = TrainConfig(),  # noqa: B008  (frozen)
    *,
    training_workers: int,
    run_id: str | None = None,
    resume: bool = False,
    replace: bool = False,
    runner: RunnerConfig = RunnerConfig("ray"),  # noqa: B008
) -> TrainResult:
    """Train one network as several tasks of a Ray cluster, each on its share of every batch; see `train`.

    All tasks start at the same time or none does. If one dies, all are started again from the last finished epoch.

    Args:
        workspace: A workspace that has been cleaned, in a folder that all nodes share.
        config: The settings of the training; `batch_size` is that of all workers together.
        training_workers: The number of tasks, 2 or more.
        run_id: See `train`, as for the next two.
        resume: Continue an interrupted training.
        replace: Replace a training of the same name that has other settings.
        runner: The cluster.

    Raises:
        SettingsError: The settings are for a single process, or the runner is the local one.
        RunnerError: The Ray cluster cannot be used, or the tasks died again and again.
        HangtagError: See `train`.
    """
    if runner.runner != "ray":
        raise SettingsError("--training-workers is for --runner ray.", received=training_workers)
    if training_workers < 2:
        raise SettingsError("--training-workers must be 2 or more.", received=training_workers)
    check_workers(config, training_workers)
    workspace = Workspace.at(workspace)
    run_id = run_id or name_run(config)
    folder = workspace.run(run_id)
    with hold("train", workspace, reads=list_inputs(workspace, config), writes=[folder]):
        left = [] if resume else read_progress(folder / CHECKPOINT)[0]
        training = Training(run_id, config, resume, left)
        work = Trainings(workspace, replace, Path.cwd(), read_labeled_items(workspace).digest)
        if current := work.find(training):
            return TrainResult.of(current)
        weights = find_file(config.pretrained)
        shared = (workspace.root, *([weights] if weights else []))
        lines = EpochLines({"": folder})

        def begin() -> bool:
            """Return whether the tasks begin at the checkpoint."""
            with hold_folder("train", folder):
                recover(folder)
            return training.must_resume or training.is_begun(folder / CHECKPOINT)

        plan = TaskPlan("train", training_workers, workspace.runs, shared, cpus=0)
        results = run_group(Worker(work, training).run, begin, plan, runner, lines.update)
        lines.finish("")
        # The first has written the run, the others have no result.
        return TrainResult.of(next(filter(None, results)))


@dataclass
class Worker:
    """What each task does.

    Attributes:
        work: The workspace and what is common to all trainings.
        training: The training.
    """

    work: Trainings
    training: Training

    def run(self, argument: tuple[Member, bool], cpus: int) -> StageResult | None:  # noqa: ARG002
        """Train with the other workers; the first writes the run, and returns its result."""
        import tensorflow as tf  # noqa: PLC0415  (slow to import)

        (member, resume), work, training = argument, self.work, self.training
        folder, result = work.workspace.run(training.run_id), None
        with chdir(work.started_in) if work.started_in.is_dir() else nullcontext():
            try:
                cluster = join_cluster(member.index, member.addresses)
                if cluster.is_chief:
                    # After a kill of the command, a task of it may live on for a moment.
                    with hold_folder("train", folder):
                        result = train_run(
                            work.workspace, training.config, training.run_id, resume=resume, replace=work.replace
                        )
                else:
                    follow(work.workspace, training.config, folder, resume=resume)
                cluster.wait()
            except tf.errors.OpError as error:
                # Another worker has died; the command starts all again.
                print(error, file=sys.stderr, flush=True)
                os._exit(1)
        return result
