"""Declare the settings of `train` and `cross-validate`: names, defaults, help texts and allowed values."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from hangtag.settings import Settings, require, setting

SPLITS = ("train", "val", "test")
# Values of --weights: random weights; those that come with hangtag; these where there are any, else random ones; and
# those of ImageNet, which come with hangtag or from Keras.
NONE, START, AUTO, IMAGENET = "none", "start", "auto", "imagenet"
# The architectures that weights come with hangtag for.
STARTED = ("mobilenet-v2",)
# The largest scale of the sides of photographs.
MAX_SCALE = 4
ColorMode = Literal["color", "gray"]
# Settings that earlier versions did not have, with the value that is documented to leave the training as it was, as
# JSON has it.
AS_BEFORE: dict[str, object] = {
    "calibration_run": "",
    "frozen_blocks": 0,
    "image_run": "",
    "minutes": 0.0,
    "tau_norm": 0.0,
    "teacher": [],
    "train_fraction": 1.0,
    "word_weight": 0.0,
}
# Declare settings of `train` under a heading of `hangtag train --help`.
_data, _model, _optimization = (partial(setting, group=name) for name in ("Data", "Model", "Optimization"))
_augmentation, _prediction = (partial(setting, group=name) for name in ("Augmentation", "Prediction"))


def _are_splits(names: tuple[str, ...]) -> bool:
    return bool(names) and set(names) <= set(SPLITS)


splits_setting = partial(setting, is_valid=_are_splits, must_be="one or more of train, val, test", metavar="SPLIT,...")


def find_weights(weights: str, architecture: str) -> str:
    """Return what the setting `weights` means for an architecture: `start`, another source, or empty for none.

    Those of ImageNet come with hangtag for some architectures. Earlier versions stored an empty string for none.
    """
    if weights in (AUTO, IMAGENET) and architecture in STARTED:
        return START
    return "" if weights in (AUTO, NONE) else weights


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Settings of `train` and `cross-validate`, in the groups and the order in which `--help` shows them."""

    target: str = _data(
        "all",
        "What the model predicts: all levels and attributes, only the label, or the column of a level or an attribute.",
    )
    color_mode: ColorMode = _data("color", "Train on color or gray pixels.")
    with_names: bool = _data(
        False, "Also train a classifier of product names; the model still works with a photograph alone."
    )
    class_balance: float = _data(
        0.3,
        "Oversampling of rare classes: 0 keeps the class frequencies, 1 makes all classes equally frequent.",
        low=0,
        high=1,
    )
    train_splits: tuple[str, ...] = splits_setting(
        ("train",), "Splits to train on; val too for a final model.", group="Data"
    )
    train_fraction: float = _data(
        1.0,
        "Share of the training items to train on, drawn by --seed: alike in every label, with duplicates together, and "
        "a smaller share is part of a larger one. val and test stay whole.",
        above=0,
        high=1,
    )
    calibration_run: str = _data(
        "", "Run whose temperatures and thresholds are reused; needed when val is trained on.", metavar="RUN"
    )

    architecture: str = _model(
        "mobilenet-v2", "Network architecture; `hangtag models` lists them. hub is the backbone of a KerasHub preset."
    )
    weights: str = _model(
        AUTO,
        "Pretrained weights: start for those that come with hangtag, for mobilenet-v2; none; auto for start if there "
        "are any, else none; a safetensors file; imagenet for those of Keras; for hub, the name or folder of a preset.",
        metavar="FILE",
    )
    freeze: bool = _model(False, "Freeze the pretrained weights and train only the heads, on features computed once.")
    frozen_blocks: int = _model(
        0,
        "Freeze the pretrained weights of this many blocks from the input; later blocks and the heads are trained. "
        "Without pretrained weights none are frozen.",
        low=0,
        high=1000,
    )
    image_run: str = _model(
        "", "Run whose network and settings are reused; only the classifier of names is trained.", metavar="RUN"
    )

    teacher: tuple[str, ...] = _model(
        (),
        "Finished runs whose averaged probabilities are further targets: knowledge distillation.",
        metavar="RUN,...",
    )
    teacher_weight: float = _model(
        0.7, "Weight of the teacher's probabilities in the targets; the labels have the rest.", low=0, high=1
    )

    epochs: int = _optimization(
        0, "Passes over the training items; 0 chooses by --min-epochs and --min-steps.", low=0, high=10_000
    )
    min_epochs: int = _optimization(8, "With --epochs 0: the epochs of a large catalogue.", low=1, high=10_000)
    min_steps: int = _optimization(
        600, "With --epochs 0: a small catalogue has as many epochs as make so many steps, 50 at most.", low=1
    )
    minutes: float = _optimization(
        0.0,
        "Time budget: as many epochs as fit into these minutes, at most 50 or --epochs; 0 sets none.",
        low=0,
        high=100_000,
    )
    batch_size: int = _optimization(64, "Items per training step.", low=1, high=65_536)
    learning_rate: float = _optimization(0.002, "Peak learning rate.", above=0, high=10)
    seed: int = _optimization(
        0, "Random seed of initial weights, shuffling, augmentation and dropout.", low=0, high=2**32 - 1
    )
    optimizer: Literal["muon", "adamw", "sgd"] = _optimization("adamw", "Optimizer.")
    lr_schedule: Literal["cosine", "inverse-time"] = _optimization("cosine", "Learning-rate schedule.")
    warmup: float = _optimization(
        0.15, "Fraction of the training steps over which the cosine schedule raises the learning rate.", low=0, below=1
    )
    layer_decay: float = _optimization(
        0.9,
        "Layer-wise learning-rate decay: each block's rate is this fraction of the next block's. Without pretrained "
        "weights all blocks have the same rate.",
        above=0,
        high=1,
    )
    momentum: float = _optimization(0.9, "Momentum of SGD.", low=0, below=1)
    weight_decay: float = _optimization(0.05, "Weight decay.", low=0, high=1)
    label_smoothing: float = _optimization(0.05, "Label smoothing: share spread over all classes.", low=0, below=1)
    attribute_weight: float = _optimization(
        0.1, "Weight of each attribute in the loss; the label with its levels has weight 1.", low=0, high=100
    )
    word_weight: float = _optimization(
        0.0,
        "Weight of a further head that predicts the words of product names, in training alone; it adds nothing to the "
        "model. 0, or a catalogue without names, has none.",
        low=0,
        high=100,
    )
    ema_decay: float = _optimization(
        0.998, "Decay of the exponential moving average of the weights, per step; 0 disables it.", low=0, below=1
    )
    tau_norm: float = _optimization(
        1.0,
        "Rescaling of the label head after training: 1 makes the weights of all category paths equally large, which "
        "helps networks trained with --class-balance; 0 leaves them as they are.",
        low=0,
        high=1,
    )
    checkpoint: Literal["last", "best"] = _optimization("last", "Epoch to keep: the last, or the best on val.")
    precision: Literal["auto", "float32", "bfloat16"] = _optimization(
        "float32",
        "Numerical precision; auto uses bfloat16 if the processor supports it. Weights stay float32.",
    )

    flip: bool = _augmentation(True, "Flip training photographs left to right at random.")
    max_shift: int = _augmentation(5, "Shift training photographs by up to this many pixels.", low=0, high=256)
    zoom: float = _augmentation(0.0, "Zoom training photographs in or out by up to this fraction.", low=0, below=1)
    brightness: float = _augmentation(
        0.15, "Change the brightness of training photographs by up to this fraction.", low=0, below=1
    )
    initial_scale: float = _augmentation(
        0.0,
        "Progressive resizing: scale of the photographs' sides in the first epochs; 0 takes three fifths of "
        "--final-scale. The architecture capstone needs a fixed size.",
        low=0,
        high=MAX_SCALE,
    )
    final_scale: float = _augmentation(
        0.0,
        "Scale of the photographs' sides in the last epochs and in prediction; below 1 is faster, above 1 enlarges "
        "photographs for networks that expect larger ones. 0 enlarges smaller ones to a "
        "height of 160 pixels, at most fourfold, if weights are pretrained.",
        low=0,
        high=MAX_SCALE,
    )
    final_fraction: float = _augmentation(
        0.4, "Fraction of the epochs, at the end, that use the final scale.", above=0, high=1
    )

    tta_flip: bool = _prediction(
        True, "Test-time augmentation: average the predictions for a photograph and its mirror image."
    )

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        # A run trained on val has no data to choose an epoch or to fit temperatures.
        require(
            "val" not in self.train_splits or (self.checkpoint == "last" and self.calibration_run != ""),
            "{train_splits} with val needs {checkpoint} last, and as {calibration_run} a run with the same settings "
            "that was not trained on val.",
            {"checkpoint": self.checkpoint, "calibration_run": self.calibration_run},
            ["train_splits", "checkpoint", "calibration_run"],
        )
        require(
            not self.image_run or self.with_names,
            "{image_run} needs {with_names}: only the classifier of names is trained.",
            self.image_run,
            ["image_run", "with_names"],
        )
        require(
            not (self.teacher and (self.freeze or self.image_run or self.with_names)),
            "{teacher} cannot be used with {freeze}, {image_run} or {with_names}; names can be added afterwards, with "
            "{image_run}.",
            {"teacher": self.teacher},
            ["teacher", "freeze", "image_run", "with_names"],
        )
        require(
            not (self.minutes and self.freeze),
            "{minutes} cannot be used with {freeze}: the time goes into features, not into epochs.",
            {"minutes": self.minutes, "freeze": self.freeze},
            ["minutes", "freeze"],
        )
        require(
            self.pretrained != "" or not self.freeze,
            "{freeze} needs pretrained {weights}.",
            {"architecture": self.architecture, "weights": self.weights},
            ["freeze", "weights"],
        )

    @property
    def pretrained(self) -> str:
        """The pretrained weights; see `find_weights`."""
        return find_weights(self.weights, self.architecture)
