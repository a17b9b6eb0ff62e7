"""Train one network: epochs, moving average of the weights, validation and checkpoints."""

import math
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import shrink
from hangtag.console import Bar, print_line, show_progress
from hangtag.errors import SettingsError
from hangtag.io import JsonObject
from hangtag.models.batch_predict import ProbsByHead, iterate_head_probs, join_head_probs
from hangtag.models.checkpoint import Weights, assign_weights, read_weights
from hangtag.models.keras_hub import HUB, read_preset
from hangtag.models.label_space import CATEGORY_PATH, NO_VALUE, Indices, LabelSpace
from hangtag.models.layers import find_features, freeze_blocks, import_keras
from hangtag.models.pretrained import load_pretrained
from hangtag.models.registry import build_head, build_model, find_architecture
from hangtag.models.text import PARTS, Vocabulary
from hangtag.results import format_seconds
from hangtag.train_config import TrainConfig
from hangtag.training.calibration import normalize_label_head
from hangtag.training.checkpoint import TrainingState, read_checkpoint, write_checkpoint
from hangtag.training.data import (
    Augmentation,
    ItemDataset,
    choose_scales,
    choose_size,
    prefetch,
    scale_size,
)
from hangtag.training.epochs import EpochTime, choose_epochs
from hangtag.training.losses import LEAST_PROBABILITY, WeightEMA, build_losses, build_metrics, choose_precision
from hangtag.training.name_head import choose_name_weight, train_names
from hangtag.training.optimizers import build_optimizer, compute_rates
from hangtag.training.parallel import get_cluster
from hangtag.training.sampling import compute_copies
from hangtag.training.targets import NAME_WORDS, WordTargets, encode_targets
from hangtag.training.teacher import Teacher

if TYPE_CHECKING:
    from keras import Model

Inputs = Mapping[str, npt.NDArray[np.uint8] | npt.NDArray[np.float32]]
TrainingBatch = tuple[Inputs, ProbsByHead]

# The training steps that are timed at an image size, after the first one, in which the network is compiled.
TIMED_STEPS = 4


def describe_epoch(line: JsonObject, epochs: int) -> str:
    """Return the text that is printed after an epoch.

    Args:
        line: The epoch's row of `history.csv`.
        epochs: The number of epochs.
    """
    return (
        f"Epoch {line['epoch']}/{epochs}: loss {line['loss']:.3f}, accuracy {line['accuracy']:.3f}, "
        f"on val {line['val_loss']:.3f} and {line['val_accuracy']:.3f}, {format_seconds(line['seconds'])}"
    )


class Trainer:
    """A network with its training data, optimizer and checkpoint folder.

    Args:
        data: The datasets `train`, to train on, and `val`, to validate on after every epoch.
        label_space: The classes of the heads.
        config: The settings of the training.
        checkpoint: The folder of the checkpoint.
        identity: Digests that must be the same when an interrupted training is resumed, in addition to the settings.
        vocabulary: The vocabulary of product names, for a model that reads them or learns to predict their words.
        teacher: The models whose probabilities are mixed into the targets.
        title: The prefix of the progress bar's title.
    """

    def __init__(
        self,
        data: dict[str, ItemDataset],
        label_space: LabelSpace,
        config: TrainConfig,
        checkpoint: Path,
        identity: JsonObject,
        *,
        vocabulary: Vocabulary | None = None,
        teacher: Teacher | None = None,
        title: str = "",
    ) -> None:
        config = choose_epochs(config, len(data["train"]))
        config = choose_scales(config, data["train"].images.shape[1:3])
        self.data, self.label_space, self.config, self.checkpoint = data, label_space, config, checkpoint
        self.vocabulary = vocabulary if config.with_names else None
        self.teacher, self.title, self.cluster = teacher, title, get_cluster()
        takes_any_size = find_architecture(config.architecture).takes_any_size
        self.hub = read_preset(config.pretrained) if config.architecture == HUB else None
        self.precision = choose_precision(config.precision)
        settings = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(config).items()}
        self.identity = {**settings, **identity, "precision": self.precision}
        self.average = WeightEMA(config.ema_decay)
        # Balances category paths, not the classes of one level, because a common class can contain rare types.
        self.copies = compute_copies(data["train"].classes[CATEGORY_PATH], config.class_balance)
        # A network with a dense layer over all pixels cannot be trained on several image sizes.
        self.initial_scale = config.initial_scale if takes_any_size and not config.freeze else config.final_scale
        with self.cluster.scope():
            self._build()

    def _build(self) -> None:
        """Build the network, the model to train and its optimizer."""
        config, data = self.config, self.data
        self.model = self.build_model(None if self.initial_scale < config.final_scale else self.network_size)
        self.pretrained = {}
        if config.pretrained and not config.image_run:
            self.pretrained = load_pretrained(self.model, config.architecture, config.pretrained)
        self.identity["pretrained"] = self.pretrained
        freeze_blocks(self.model, config.frozen_blocks if config.pretrained else 0)
        has_word_head = config.word_weight > 0 and not config.freeze and not config.image_run
        self.word_targets = WordTargets.choose(data["train"].words if has_word_head else None)
        self.trained = self._select_trainable_model()
        self._compile()

    @property
    def image_size(self) -> tuple[int, int]:
        """The (height, width) of the photographs."""
        height, width = self.data["train"].images.shape[1:3]
        return height, width

    @property
    def network_size(self) -> tuple[int, int]:
        """The (height, width) of the network's input after the last epoch."""
        return scale_size(self.image_size, self.config.final_scale)

    def choose_size(self, epoch: int, epochs: int) -> tuple[int, int]:
        """Return the (height, width) that photographs have in an epoch, from 1, of a number of epochs."""
        return choose_size(
            self.image_size,
            epoch,
            epochs,
            initial_scale=self.initial_scale,
            final_scale=self.config.final_scale,
            final_fraction=self.config.final_fraction,
        )

    def build_model(self, image_size: tuple[int, int] | None, num_words: int = 0) -> "Model":
        """Build the network with newly initialized weights.

        Args:
            image_size: (height, width) of its input; None accepts any size.
            num_words: The size of the vocabulary, for a network with a text input; 0 builds none.

        Raises:
            ModelError: The architecture does not support this size.
        """
        import_keras().utils.set_random_seed(self.config.seed)
        return build_model(
            self.config.architecture,
            image_size=image_size,
            heads=self.label_space.heads,
            color_mode=self.config.color_mode,
            num_words=num_words,
            dtype="mixed_bfloat16" if self.precision == "bfloat16" else "float32",
            hub=self.hub,
        )

    def _select_trainable_model(self) -> "Model":
        """Return the model to train, which shares its weights with the network: the network and the head of words."""
        if not len(self.word_targets):
            return self.model
        words = build_head(find_features(self.model), NAME_WORDS, len(self.word_targets))
        return import_keras().Model(self.model.input, {**self.model.output, NAME_WORDS: words})

    def _compile(self) -> None:
        losses, loss_weights = build_losses(list(self.trained.output), self.config)
        is_scaled = self.config.layer_decay < 1 and self.config.pretrained and not self.config.freeze
        rates = compute_rates(self.trained, self.config.layer_decay) if is_scaled else None
        self.trained.compile(
            build_optimizer(self.config, len(self.data["train"]), rates),
            losses,
            loss_weights=loss_weights,
            metrics={CATEGORY_PATH: build_metrics(self.label_space)},
            # XLA is slower on a CPU: 59 instead of 298 images per second in bfloat16.
            jit_compile=False,
        )
        for model in (self.model, self.trained):
            self.cluster.distribute(model)

    def resume(self) -> TrainingState:
        """Restore the training from its checkpoint.

        Raises:
            WorkspaceError: There is no checkpoint, it is damaged, or its settings or labels differ.
        """
        with self.cluster.scope():
            return read_checkpoint(self.checkpoint, self.trained, self.average, self.identity)

    def fit(self, state: TrainingState) -> None:
        """Train the remaining epochs, and write a checkpoint after each.

        Raises:
            SettingsError: The training diverges.
        """
        while state.epoch < self.config.epochs:
            line = self._run_epoch(state.epoch + 1)
            if not math.isfinite(line["loss"] + line["val_loss"]):
                raise SettingsError(
                    f"The training diverged: the loss of epoch {line['epoch']} is not finite.",
                    hint="Train with a smaller --learning-rate.",
                    received=self.config.learning_rate,
                )
            state.history.append(line)
            print_line(self.title + describe_epoch(line, self.config.epochs))
            kept = state.history[state.kept_epoch - 1]
            is_better = line["val_accuracy"] > kept["val_accuracy"] or not state.kept_epoch
            # The model is used at the final image size, so metrics at a smaller size are not comparable.
            if self.config.checkpoint == "last" or is_better or line["image_size"] != kept["image_size"]:
                state.kept_epoch, state.kept_weights = state.epoch, self._read_evaluation_weights()
            if self.cluster.is_chief:
                write_checkpoint(self.checkpoint, self.trained, self.average, state, self.identity)

    def _on_train_begin(self) -> None:
        """Prepare the training data before an epoch; called at the start of every epoch."""

    def _read_evaluation_weights(self) -> Weights:
        average = self.average.read(self.trained)
        # The head of words is trained, but no part of the network.
        weights = {path: average.get(path, value).copy() for path, value in read_weights(self.model).items()}
        return normalize_label_head(weights, self.config.tau_norm)

    def _run_epoch(self, epoch: int) -> JsonObject:
        data = self.data["train"]
        self._reseed_dropout(epoch)
        image_size = self.choose_size(epoch, self.config.epochs)
        started = time.perf_counter()
        self._on_train_begin()
        title = f"{self.title}Epoch {epoch}/{self.config.epochs}"
        with show_progress(title, len(data) + len(self.data["val"]), "photographs") as bar:
            loss, accuracy = self._run_steps(epoch, image_size, bar, title)
            seconds = time.perf_counter() - started
            bar.describe(f"{title} · validation")
            val_loss = val_accuracy = math.nan
            if math.isfinite(loss):
                with self.average.swap(self.trained):
                    val_loss, val_accuracy = self._validate(self.data["val"], image_size, bar)
        return {
            "epoch": epoch,
            "image_size": "x".join(str(side) for side in image_size),
            "loss": loss,
            "accuracy": accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "learning_rate": float(self.trained.optimizer.learning_rate),
            "seconds": round(time.perf_counter() - started, 3),
            "images_per_second": round(len(data) / seconds, 1),
        }

    def time_epoch(self, image_size: tuple[int, int]) -> EpochTime:
        """Estimate the time of an epoch at an image size from a few steps.

        The weights change: this trainer is not to be used for the training.
        """
        batches = prefetch(islice(self._iterate_batches(1, image_size), TIMED_STEPS + 1))
        started = time.perf_counter()
        steps = []
        for inputs, targets in batches:
            self.trained.train_on_batch(inputs, targets)
            self.average.update(self.trained)
            steps.append(time.perf_counter() - started)
            started = time.perf_counter()
        step = float(np.median(steps[1:] or steps))
        count = math.ceil(len(self.data["train"]) / self.config.batch_size)
        started = time.perf_counter()
        predicted = len(next(self._iterate_head_probs(self.data["val"], image_size))[CATEGORY_PATH])
        validation = (time.perf_counter() - started) * len(self.data["val"]) / predicted
        return EpochTime(max(steps[0] - step, 0.0), step * count, validation)

    def _run_steps(self, epoch: int, image_size: tuple[int, int], bar: Bar, title: str) -> tuple[float, float]:
        loss, correct, seen = 0.0, 0.0, 0
        for inputs, targets in prefetch(self._iterate_batches(epoch, image_size)):
            count = len(targets[CATEGORY_PATH])
            # Keras returns the metrics of this batch only.
            metrics = self.trained.train_on_batch(inputs, targets, return_dict=True)
            self.average.update(self.trained)
            # Keras prefixes metrics with the name of the head if there are several heads.
            prefix = f"{CATEGORY_PATH}_" if len(self.trained.output) > 1 else ""
            loss += metrics[f"{prefix}cross_entropy"] * count
            correct += metrics[f"{prefix}accuracy"] * count
            seen += count
            bar.advance(count * self.cluster.size)
            bar.describe(f"{title} · loss {loss / seen:.3f} · accuracy {correct / seen:.3f}")
        return float(loss / seen), float(correct / seen)

    def _iterate_batches(self, epoch: int, image_size: tuple[int, int]) -> Iterator[TrainingBatch]:
        """Yield the batches of an epoch: the inputs of the trained model, and the targets of each head."""
        for batch in self.data["train"].iterate_shuffled(
            self.config.batch_size,
            seed=self.config.seed,
            epoch=epoch,
            augmentation=Augmentation.of(self.config),
            copies=self.copies,
            cluster=self.cluster,
        ):
            targets = self._encode_targets(batch.classes)
            if self.teacher:
                targets = self.teacher.mix(targets, batch.images, self.config.teacher_weight)
            if len(self.word_targets) and batch.words is not None:
                targets[NAME_WORDS] = self.word_targets.encode(batch.words)
            yield {"pixels": shrink(batch.images, image_size)}, targets

    def _encode_targets(self, classes: dict[str, Indices]) -> ProbsByHead:
        return encode_targets(classes, self.label_space.heads, self.config.label_smoothing)

    def _iterate_head_probs(self, data: ItemDataset, image_size: tuple[int, int]) -> Iterator[ProbsByHead]:
        """Yield the probabilities of all heads during training, batch by batch."""
        return iterate_head_probs(self.model, data.images, data.rows, image_size=image_size)

    def _validate(self, data: ItemDataset, image_size: tuple[int, int], bar: Bar) -> tuple[float, float]:
        """Return the mean cross-entropy and the accuracy on the primary level, at the epoch's image size.

        A network that was trained on small photographs only performs badly on larger ones.
        """
        classes, chances, correct = self.find_primary_classes(data), [], []
        # Two numbers an item are kept, not the probabilities of all heads.
        for batch in self._iterate_head_probs(data, image_size):
            probs = self.label_space.sum_level(batch[CATEGORY_PATH], self.label_space.primary)
            wanted, classes = classes[: len(probs)], classes[len(probs) :]
            known = wanted != NO_VALUE
            chances.append(probs[known, wanted[known]].astype(np.float64))
            correct.append(probs[known].argmax(axis=1) == wanted[known])
            bar.advance(len(probs))
        losses = -np.log(np.concatenate(chances).clip(LEAST_PROBABILITY, 1))
        return float(losses.mean()), float(np.concatenate(correct).mean())

    def find_primary_classes(self, data: ItemDataset) -> Indices:
        """Return each item's class index on the primary level, int64 (n,)."""
        primary_of_path = np.append(self.label_space.list_classes(self.label_space.primary), NO_VALUE)
        return np.asarray(primary_of_path[data.classes[CATEGORY_PATH]], np.int64)

    def predict_heads(self, data: ItemDataset, title: str, *, words: bool = True) -> ProbsByHead:
        """Return the probabilities of all heads for a dataset, with test-time augmentation if it is enabled.

        Args:
            data: The dataset.
            title: The title of the progress bar.
            words: Whether to use the product names.
        """
        with show_progress(title, len(data), "photographs") as bar:
            batches = []
            for batch in iterate_head_probs(
                self.model,
                data.images,
                data.rows,
                words=data.words if words else None,
                tta_flip=self.config.tta_flip,
                image_size=self.network_size,
            ):
                batches.append(batch)
                bar.advance(len(batch[CATEGORY_PATH]))
        return join_head_probs(batches, self.label_space.heads)

    def predict_names(self, state: TrainingState, name_weight: dict[str, float] | None = None) -> dict[str, float]:
        """Train the name classifiers after the image network, and add their weights to `state.kept_weights`.

        Args:
            state: The state of the finished training of the image network.
            name_weight: The name weight of each head; None chooses it on val.

        Returns:
            The name weight of each head.
        """
        train, val, heads = self.data["train"], self.data["val"], self.label_space.heads
        if self.vocabulary is None or train.words is None or val.words is None:
            return {}
        num_words = len(self.vocabulary.words)
        name_weights = train_names(train.words, train.classes, heads, num_words, self.config.seed)
        if name_weight is None:
            by_head = self.predict_heads(val, f"{self.title}Choosing the name weight")
            name_weight = choose_name_weight(by_head, val.words, val.classes, self.label_space, name_weights)
        for head in heads:
            parts = name_weights[head] | {"name_weight": np.array([name_weight[head]], np.float32)}
            state.kept_weights |= {f"{head}_with_name/{part}": parts[part] for part in PARTS}
        self.model = self.build_model(self.network_size, num_words)
        assign_weights(self.model, state.kept_weights)
        return name_weight

    def _reseed_dropout(self, epoch: int) -> None:
        """Seed dropout by (seed, epoch, layer), so that a resumed training draws the same masks."""
        for position, layer in enumerate(self.trained.layers):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                words = np.random.SeedSequence((self.config.seed, epoch, position)).generate_state(2)
                generator.state.assign(words.astype(np.uint32))
