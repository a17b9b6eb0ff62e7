"""Stage `train`: a classifier learnt from the labelled photographs, its history and its settings."""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hangtag.artifacts import write_csv, write_text
from hangtag.config import TrainConfig, to_toml
from hangtag.errors import SettingsError, WorkspaceError
from hangtag.labels.labelled import Labelled, read_labelled
from hangtag.manifest import NAME as MANIFEST
from hangtag.manifest import StageRecord, StageResult, read_versions
from hangtag.models.backend import import_keras
from hangtag.models.registry import build_model
from hangtag.models.storage import read_weights, save_model
from hangtag.progress import Bar, show_progress
from hangtag.training.checkpoint import TrainingState, read_checkpoint, remove_checkpoint, write_checkpoint
from hangtag.training.dataset import ItemDataset, build_dataset
from hangtag.training.precision import choose_precision
from hangtag.training.schedule import build_schedule
from hangtag.workspace import Workspace

VALIDATION_BATCH = 256


def train(
    workspace: str | Path | Workspace,
    config: TrainConfig = TrainConfig(),  # noqa: B008  (frozen)
    *,
    run_id: str | None = None,
    resume: bool = False,
) -> StageResult:
    """Train a classifier on the `train` split and keep the epoch that does best on `val`.

    Writes `runs/<run_id>/model.safetensors`, `model.json`, `history.csv` and `config.toml`. After every epoch
    the whole state is saved, so a kill loses one epoch at most.

    Args:
        workspace: A workspace that has been cleaned.
        config: Settings.
        run_id: The run's name; by default made of architecture, colour mode and seed.
        resume: Go on with an unfinished training, with the same data in the same order.

    Raises:
        WorkspaceError: Nothing is cleaned, a split is empty, or there is no fitting training to resume.
        ModelError: The architecture does not exist or cannot be built for this catalogue.
        MissingExtraError: Keras is not installed.
    """
    place = Workspace.at(workspace)
    labelled = read_labelled(place)
    run_id = run_id or name_run(config)
    folder = place.run(run_id)
    record = StageRecord("train", folder, {"labels": labelled.digest}, config)
    if current := record.find_current():
        return current
    training = _Training(labelled, config, folder, run_id)
    state = training.resume() if resume else TrainingState()
    training.fit(state)
    paths = training.save(state)
    result = record.finish(_count(training, state), paths, precision=training.precision)
    remove_checkpoint(training.checkpoint)
    return result


def name_run(config: TrainConfig) -> str:
    """Give the name that a run has unless the user names it."""
    return f"{config.architecture}-{config.color_mode}-{config.seed}"


class _Training:
    """A model on its way: the data, the compiled network, and where its state is saved."""

    def __init__(self, labelled: Labelled, config: TrainConfig, folder: Path, run_id: str) -> None:
        self.labelled, self.config, self.folder, self.run_id = labelled, config, folder, run_id
        self.checkpoint = folder / "checkpoint"
        self.data = {split: build_dataset(labelled, split) for split in ("train", "val")}
        for split, dataset in self.data.items():
            if not len(dataset):
                hint = "Clean a larger catalogue, or with other split fractions."
                raise WorkspaceError(f"There are no items in the split {split}.", hint=hint)
        self.precision = choose_precision(config.precision)
        height, width = labelled.images.shape[1:3]
        self.arguments: dict[str, Any] = {
            "image_size": (height, width),
            "num_classes": len(labelled.class_names),
            "color_mode": config.color_mode,
        }
        self.model = self._build()

    def _build(self) -> Any:
        keras = import_keras()
        keras.utils.set_random_seed(self.config.seed)
        policy = "mixed_bfloat16" if self.precision == "bfloat16" else "float32"
        model = build_model(self.config.architecture, dtype=policy, **self.arguments)
        optimizer = keras.optimizers.SGD(
            build_schedule(self.config.learning_rate, self.config.epochs), momentum=self.config.momentum
        )
        # XLA is slower on a CPU: it took bfloat16 from 298 to 59 images a second.
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
        return model

    def _identify(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self.config), "labels": self.labelled.digest, "precision": self.precision}

    def resume(self) -> TrainingState:
        return read_checkpoint(self.checkpoint, self.model, self._identify())

    def fit(self, state: TrainingState) -> None:
        while state.epoch < self.config.epochs:
            line = self._run_epoch(state.epoch + 1)
            if not math.isfinite(line["loss"] + line["val_loss"]):
                raise SettingsError(
                    f"The training diverged: in epoch {line['epoch']} the loss is no longer a number.",
                    hint="Train with a smaller --learning-rate.",
                    received=self.config.learning_rate,
                )
            state.history.append(line)
            best = state.history[state.best_epoch - 1]["val_accuracy"] if state.best_epoch else -1.0
            if line["val_accuracy"] > best:
                state.best_epoch, state.best_weights = state.epoch, read_weights(self.model)
            write_checkpoint(self.checkpoint, self.model, state, self._identify())

    def _run_epoch(self, epoch: int) -> dict[str, Any]:
        config, data = self.config, self.data["train"]
        self._reseed_dropout(epoch)
        started = time.perf_counter()
        title = f"Epoch {epoch}/{config.epochs}"
        with show_progress(title, len(data) + len(self.data["val"]), "photographs") as bar:
            loss, accuracy = self._run_steps(epoch, bar, title)
            seconds = time.perf_counter() - started
            bar.describe(f"{title} · validation")
            val_loss, val_accuracy = self._validate(self.data["val"], bar)
        return {
            "epoch": epoch,
            "loss": loss,
            "accuracy": accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": round(time.perf_counter() - started, 3),
            "images_per_second": round(len(data) / seconds, 1),
        }

    def _run_steps(self, epoch: int, bar: Bar, title: str) -> tuple[float, float]:
        config = self.config
        loss, correct, seen = 0.0, 0.0, 0
        batches = self.data["train"].iterate_shuffled(
            config.batch_size, seed=config.seed, epoch=epoch, flip=config.flip
        )
        for images, classes in batches:
            # Keras gives the figures of this batch alone.
            figures = self.model.train_on_batch(images, classes, return_dict=True)
            loss += float(figures["loss"]) * len(classes)
            correct += float(figures["accuracy"]) * len(classes)
            seen += len(classes)
            bar.advance(len(classes))
            bar.describe(f"{title} · loss {loss / seen:.3f} · accuracy {correct / seen:.3f}")
        return loss / seen, correct / seen

    def _validate(self, data: ItemDataset, bar: Bar) -> tuple[float, float]:
        """Give the mean cross-entropy and the accuracy on a split."""
        loss, correct = 0.0, 0
        for images, classes in data.iterate(VALIDATION_BATCH):
            probs = np.asarray(self.model.predict_on_batch(images), np.float64)
            correct += int((probs.argmax(axis=1) == classes).sum())
            loss -= float(np.log(probs[np.arange(len(classes)), classes].clip(1e-7, 1)).sum())
            bar.advance(len(classes))
        return loss / len(data), correct / len(data)

    def _reseed_dropout(self, epoch: int) -> None:
        """Start every epoch's dropout from (seed, epoch), as a resumed training must."""
        for position, layer in enumerate(self.model.layers):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                words = np.random.SeedSequence((self.config.seed, epoch, position)).generate_state(2)
                generator.state.assign(words.astype(np.uint32))

    def save(self, state: TrainingState) -> list[Path]:
        best = state.history[state.best_epoch - 1]
        # From here on the folder is no longer the earlier run's, if there was one; a kill must not leave its manifest.
        (self.folder / MANIFEST).unlink(missing_ok=True)
        history, settings = self.folder / "history.csv", self.folder / "config.toml"
        write_csv(history, pl.DataFrame(state.history))
        write_text(settings, to_toml(self.config))
        paths = save_model(
            self.folder,
            self.model,
            state.best_weights,
            architecture=self.config.architecture,
            arguments=self.arguments,
            class_names=self.labelled.class_names,
            run_id=self.run_id,
            label_name=self.labelled.schema.label_name,
            metrics={key: best[key] for key in ("epoch", "val_accuracy", "val_loss")},
            labels_digest=self.labelled.digest,
            versions=read_versions(),
        )
        return [*paths, history, settings]


def _count(training: _Training, state: TrainingState) -> dict[str, Any]:
    speeds = [line["images_per_second"] for line in state.history]
    return {
        "train": len(training.data["train"]),
        "val": len(training.data["val"]),
        "classes": len(training.labelled.class_names),
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "val_accuracy": round(state.history[state.best_epoch - 1]["val_accuracy"], 4),
        "images_per_second": round(sum(speeds) / len(speeds), 1),
    }
