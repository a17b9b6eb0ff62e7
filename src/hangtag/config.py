"""What can be set for every stage, with the defaults and the presets."""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hangtag.errors import SettingsError
from hangtag.settings import check_settings, require, setting

SPLITS = ("train", "val", "test")
ColorMode = Literal["color", "gray"]
# The promises that a model's thresholds are chosen for, as shares of answers that are right.
TARGET_PRECISIONS = (0.9, 0.95, 0.97, 0.98, 0.99, 0.995)
# A rule for the test split: a column, then a parity, a bound, or values between bars. `year!=odd` is refused: it reads
# like a parity, and as a value it would hold for every year.
TEST_RULE = re.compile(
    r"\s*(?P<column>[^=]*[^=<>!\s])\s*"
    r"(?:=\s*(?P<parity>odd|even)"
    r"|(?P<bound>>=|<=)\s*(?P<number>[-+]?[0-9]+(?:\.[0-9]+)?)"
    r"|(?P<sign>!?=)(?!\s*(?:[=<>!]|(?:odd|even)\s*$))(?P<values>[^|]*[^|\s][^|]*(?:\|[^|]*[^|\s][^|]*)*))\s*"
)
TEST_RULE_FORMS = (
    "Allowed, in quotes: 'COLUMN=odd', 'COLUMN=even', 'COLUMN=VALUE|VALUE', 'COLUMN!=VALUE|VALUE', "
    "'COLUMN>=NUMBER', 'COLUMN<=NUMBER'."
)
LOGIT_ADJUSTMENT_HELP = "Favour rare classes: 0 is best for accuracy, 1 where all classes count alike."
TARGET_PRECISION_HELP = "The share of sure answers that is to be right; the others are not sure."
HOST = re.compile(r"\*|[A-Za-z0-9._:\[\]-]+")
# Settings of the service that count something and have no upper bound.
LIMITS = (
    "max_bytes",
    "max_request_bytes",
    "max_pixels",
    "max_request_pixels",
    "max_photos",
    "max_waiting",
    "max_requests_a_client",
    "max_connections",
)


def _check_logit_adjustment(value: float) -> None:
    require(0 <= value <= 2, "logit_adjustment cannot be used.", "Allowed: 0 to 2.", value)


def _check_target_precision(value: float) -> None:
    require(
        value in TARGET_PRECISIONS,
        "There is no threshold for this precision.",
        f"Allowed: {', '.join(f'{each:g}' for each in TARGET_PRECISIONS)}.",
        value,
    )


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class PrepareConfig:
    """Settings of `prepare`."""

    image_size: tuple[int, int] = setting((80, 60), "Height x width that every photograph is fitted to.")
    fit: Literal["pad", "stretch"] = setting(
        "pad", "Keep a photograph's proportions and pad it, or stretch it, to undo that somebody squeezed it."
    )
    max_pixels: int = setting(50_000_000, "Photographs with more pixels are rejected from their header.")
    max_bytes: int = setting(30_000_000, "Photographs with larger files are rejected unread.")
    workers: int = setting(0, "Processes that decode; 0 takes one for each core.")

    def __post_init__(self) -> None:
        """Check the values."""
        require(
            len(self.image_size) == 2 and all(8 <= side <= 2048 for side in self.image_size),
            "The image size cannot be used.",
            "Allowed: HEIGHTxWIDTH, each 8 to 2048, as in 80x60.",
            self.image_size,
        )
        require(self.max_pixels > 0, "max_pixels is too small.", "Allowed: 1 or more.", self.max_pixels)
        require(self.max_bytes > 0, "max_bytes is too small.", "Allowed: 1 or more.", self.max_bytes)
        require(self.workers >= 0, "workers is negative.", "Allowed: 0 or more.", self.workers)


@dataclass(frozen=True)
class CleanConfig:
    """Settings of `clean`."""

    taxonomy: str = setting("", "A taxonomy shipped with hangtag or a TOML file; empty takes the catalogue's.")
    matcher: Literal["class-words", "names"] = setting(
        "names", "How ambiguous labels are relabelled: by the words of the class names, or learnt from names."
    )
    min_match_confidence: float = setting(0.9, "Below it the names matcher leaves an item Unknown.")
    split_seed: int = setting(0, "The seed of the splits.")
    split_fractions: tuple[float, float, float] = setting((0.72, 0.18, 0.10), "Shares of train, val and test.")
    test_where: str = setting(
        "",
        "Which items are the test split, by a column: year=odd, year=even, brand=Nike|Puma, year>=2016. "
        "Empty draws it.",
    )
    splits_from: str = setting(
        "", "Another workspace of the same catalogue, as at another image size, whose splits are taken over."
    )
    max_hash_distance: int = setting(
        1,
        "Perceptual hashes this many bits apart or fewer are duplicates; most differ by an even number.",
    )
    sample: int = setting(0, "Keep a stratified sample of about this many items; 0 keeps all.")

    def __post_init__(self) -> None:
        """Check the values."""
        require(
            len(self.split_fractions) == 3
            and all(0 < share < 1 for share in self.split_fractions)
            and abs(sum(self.split_fractions) - 1) < 1e-6,
            "The split fractions cannot be used.",
            "Allowed: three shares above 0 that add up to 1, as in 0.72,0.18,0.10.",
            self.split_fractions,
        )
        require(
            not self.test_where or TEST_RULE.fullmatch(self.test_where) is not None,
            "The rule for the test split cannot be read.",
            TEST_RULE_FORMS,
            self.test_where,
        )
        require(
            not (self.test_where and self.splits_from),
            "Splits cannot come from a rule and from another workspace.",
            "Allowed: test_where or splits_from.",
            {"test_where": self.test_where, "splits_from": self.splits_from},
        )
        require(
            0 <= self.max_hash_distance <= 2,
            "max_hash_distance cannot be searched.",
            "Allowed: 0, 1 or 2.",
            self.max_hash_distance,
        )
        require(
            0 <= self.min_match_confidence <= 1,
            "min_match_confidence is no probability.",
            "Allowed: 0 to 1.",
            self.min_match_confidence,
        )
        require(self.sample >= 0, "sample is negative.", "Allowed: 0 or more.", self.sample)


@dataclass(frozen=True)
class ExploreConfig:
    """Settings of `explore`."""

    sheet_items: int = setting(20, "Photographs on the contact sheet of each class.")
    sheet_seed: int = setting(0, "The seed that draws the photographs of the contact sheets.")

    def __post_init__(self) -> None:
        """Check the values."""
        require(
            1 <= self.sheet_items <= 200,
            "sheet_items cannot be drawn.",
            "Allowed: 1 to 200.",
            self.sheet_items,
        )


@dataclass(frozen=True)
class TrainConfig:
    """Settings of `train`."""

    architecture: str = setting(
        "residual", "The network, by its registered name; `hangtag models` lists them. hub is a preset of KerasHub."
    )
    weights: str = setting(
        "",
        "Begin from these weights: a safetensors file, imagenet for the library's own, or for the architecture hub a "
        "preset's name or folder; empty begins from none.",
    )
    freeze: bool = setting(
        False, "Leave the weights begun from as they are, and learn heads alone, on features computed once."
    )
    layer_decay: float = setting(
        1.0, "Smaller steps towards the pixels: each block's are this share of those of the block after it."
    )
    target: str = setting(
        "all", "What is learnt: all levels and attributes together, label, or a level's or an attribute's column."
    )
    color_mode: ColorMode = setting("color", "Learn from color or gray pixels.")
    train_splits: tuple[str, ...] = setting(("train",), "The splits to learn from; val too for a model to be shipped.")
    calibration_run: str = setting("", "The run whose temperatures and thresholds to take, where val is learnt from.")
    with_names: bool = setting(False, "Learn the products' names too; a photograph alone serves as before.")
    image_run: str = setting("", "A run whose network and settings to take; only names are learnt then.")
    epochs: int = setting(8, "Passes over the training items.")
    batch_size: int = setting(64, "Items a step.")
    optimizer: Literal["muon", "adamw", "sgd"] = setting("muon", "Which way steps go.")
    learning_rate: float = setting(0.005, "The largest step size.")
    lr_schedule: Literal["cosine", "inverse-time"] = setting("cosine", "How the step size goes over the training.")
    warmup: float = setting(0.15, "The share of the training in which a cosine's step size rises.")
    momentum: float = setting(0.9, "SGD's momentum.")
    weight_decay: float = setting(0.05, "How strongly weights are drawn to zero.")
    label_smoothing: float = setting(0.05, "The share of certainty spread over all classes.")
    class_balance: float = setting(0.3, "Show rare products more often: 0 as they are, 1 all alike.")
    attribute_weight: float = setting(0.1, "What an attribute counts in the loss; the label with its levels is 1.")
    flip: bool = setting(True, "Flip training photographs left to right at random.")
    max_shift: int = setting(5, "Shift them by up to so many pixels.")
    zoom: float = setting(0.0, "Grow or shrink them by up to this share.")
    brightness: float = setting(0.15, "Change their brightness by up to this share.")
    initial_scale: float = setting(
        0.5, "Begin on photographs with this share of the sides; capstone is of one size from the first epoch on."
    )
    final_scale: float = setting(
        1.0,
        "End on photographs with this share of the sides, the size that the network then reads; below 1 is quicker, "
        "above 1 enlarges them for networks that want larger ones.",
    )
    final_fraction: float = setting(0.4, "The last share of the epochs, which sees photographs of that size.")
    ema_decay: float = setting(0.998, "The share that an average of the weights keeps a step; 0 averages nothing.")
    checkpoint: Literal["last", "best"] = setting("last", "The epoch to keep: the last, or the best one on val.")
    tta_flip: bool = setting(True, "Predict from each photograph and its mirror image.")
    precision: Literal["auto_accept", "float32", "bfloat16"] = setting(
        "auto_accept",
        "Arithmetic of the layers; auto takes bfloat16 where the processor has it. Weights stay float32.",
    )
    seed: int = setting(0, "The seed of the weights, the order, the flips and the dropout.")

    def __post_init__(self) -> None:
        """Check the values."""
        for name, low, high in (("epochs", 1, 10_000), ("batch_size", 1, 65_536), ("max_shift", 0, 256)):
            value = getattr(self, name)
            require(low <= value <= high, f"{name} cannot be used.", f"Allowed: {low} to {high}.", value)
        require(
            bool(self.train_splits) and set(self.train_splits) <= set(SPLITS),
            "There is no such split.",
            "Allowed: one or more of train, val, test.",
            self.train_splits,
        )
        # Nothing is left then to choose an epoch by, or to find a temperature on.
        require(
            "val" not in self.train_splits or (self.checkpoint == "last" and self.calibration_run != ""),
            "A model that learns from val needs checkpoint = last and calibration_run.",
            "Allowed: calibration_run names a run with the same settings that did not learn from val.",
            {"checkpoint": self.checkpoint, "calibration_run": self.calibration_run},
        )
        require(
            not self.image_run or self.with_names,
            "image_run needs with_names.",
            "Allowed: image_run only where names are learnt.",
            self.image_run,
        )
        require(0 <= self.seed < 2**32, "seed cannot be used.", "Allowed: 0 to 4294967295.", self.seed)
        require(
            0 < self.learning_rate <= 10,
            "learning_rate cannot be used.",
            "Allowed: above 0, up to 10.",
            self.learning_rate,
        )
        for name in ("momentum", "warmup", "label_smoothing", "ema_decay", "zoom", "brightness"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{name} cannot be used.", "Allowed: 0 up to below 1.", value)
        for name, high in (("initial_scale", 4), ("final_scale", 4), ("final_fraction", 1), ("layer_decay", 1)):
            value = getattr(self, name)
            require(0 < value <= high, f"{name} cannot be used.", f"Allowed: above 0, up to {high}.", value)
        require(
            self.weights != "" or not (self.freeze or self.layer_decay < 1),
            "There is nothing to go on from: freeze and layer_decay are for weights that were learnt elsewhere.",
            "Allowed: with --weights, a file or imagenet.",
            {"weights": self.weights, "freeze": self.freeze, "layer_decay": self.layer_decay},
        )
        for name in ("class_balance", "weight_decay"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} cannot be used.", "Allowed: 0 to 1.", value)
        require(
            0 <= self.attribute_weight <= 100,
            "attribute_weight cannot be used.",
            "Allowed: 0 to 100.",
            self.attribute_weight,
        )


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of `evaluate`."""

    splits: tuple[str, ...] = setting(SPLITS, "The splits to judge, of train, val and test.")
    bootstrap_samples: int = setting(1000, "Draws behind each 95 % interval.")
    bootstrap_seed: int = setting(0, "The seed of those draws.")
    logit_adjustment: float = setting(0.0, LOGIT_ADJUSTMENT_HELP)

    def __post_init__(self) -> None:
        """Check the values."""
        _check_logit_adjustment(self.logit_adjustment)
        require(
            bool(self.splits) and set(self.splits) <= set(SPLITS),
            "There is no such split.",
            "Allowed: one or more of train, val, test.",
            self.splits,
        )
        require(
            100 <= self.bootstrap_samples <= 100_000,
            "bootstrap_samples cannot be used.",
            "Allowed: 100 to 100000.",
            self.bootstrap_samples,
        )


@dataclass(frozen=True)
class PredictConfig:
    """Settings of `predict`."""

    items: Literal["unknown", "all"] = setting("unknown", "Predict the Unknown items, or all of them.")
    target_precision: float = setting(0.95, TARGET_PRECISION_HELP)
    logit_adjustment: float = setting(0.0, LOGIT_ADJUSTMENT_HELP)

    def __post_init__(self) -> None:
        """Check the values."""
        _check_logit_adjustment(self.logit_adjustment)
        _check_target_precision(self.target_precision)


@dataclass(frozen=True)
class ClassifyConfig:
    """Settings of `classify`."""

    target_precision: float = setting(0.95, TARGET_PRECISION_HELP)

    def __post_init__(self) -> None:
        """Check the values."""
        _check_target_precision(self.target_precision)


@dataclass(frozen=True)
class ExportConfig:
    """Settings of `export`."""

    weights: Literal["float32", "float16", "int8"] = setting(
        "float32",
        "How weights are kept: float16 is half the size, int8 a quarter and computes with whole numbers, twice as "
        "fast; it needs nncf. Refused where accuracy on val suffers.",
    )
    onnx: bool = setting(False, "Write network.onnx too, for other engines; needs tf2onnx.")


@dataclass(frozen=True)
class ServeConfig:
    """Settings of `serve`."""

    host: str = setting("127.0.0.1", "The address to listen on; 0.0.0.0 is every one of this machine.")
    port: int = setting(8000, "The port to listen on.")
    target_precision: float = setting(0.95, TARGET_PRECISION_HELP)
    workers: int = setting(0, "Threads that classify; 0 is one a processor.")
    max_bytes: int = setting(10_000_000, "Bytes of one photograph.")
    max_request_bytes: int = setting(50_000_000, "Bytes of all photographs of one request.")
    max_pixels: int = setting(40_000_000, "Pixels of one photograph; known before it is decoded.")
    max_request_pixels: int = setting(200_000_000, "Pixels of all photographs of one request.")
    max_photos: int = setting(64, "Photographs of one request.")
    max_waiting: int = setting(1024, "Photographs that may wait; more are refused with 503.")
    max_requests_a_client: int = setting(128, "Requests at once from one address; more are refused with 429.")
    max_connections: int = setting(1024, "Connections at once; an address may have a quarter of them.")
    timeout: float = setting(30.0, "Seconds for a request, its upload included.")
    allowed_hosts: tuple[str, ...] = setting(
        (), "Further names that the service is asked under; its address and localhost are known, * allows any."
    )
    trusted_proxies: tuple[str, ...] = setting(
        (), "Addresses or networks of proxies whose X-Forwarded-For is believed; by default none."
    )

    def __post_init__(self) -> None:
        """Check the values."""
        _check_target_precision(self.target_precision)
        require(0 <= self.port <= 65_535, "port cannot be used.", "Allowed: 0 to 65535; 0 takes a free one.", self.port)
        require(0 <= self.workers <= 1024, "workers cannot be used.", "Allowed: 0 to 1024.", self.workers)
        require(0 < self.timeout <= 3600, "timeout cannot be used.", "Allowed: above 0, up to 3600.", self.timeout)
        for name in LIMITS:
            value = getattr(self, name)
            require(value >= 1, f"{name} cannot be used.", "Allowed: 1 or more.", value)
        for proxy in self.trusted_proxies:
            require(
                _is_network(proxy),
                "A trusted proxy is no address.",
                "Allowed: IP addresses and networks between commas, as in 10.0.0.5,172.16.0.0/12.",
                proxy,
            )
        for host in self.allowed_hosts:
            require(
                HOST.fullmatch(host) is not None,
                "An allowed host cannot be used.",
                "Allowed: names without scheme and port between commas, as in shop.example, or *.",
                host,
            )


@dataclass(frozen=True)
class AuditConfig:
    """Settings of `audit`."""

    min_score: float = setting(0.5, "Leave out wrong labels that are less sure than this.")
    use_names: bool = setting(True, "Hear the products' names too, not the photographs alone.")
    min_attribute_accuracy: float = setting(
        0.8, "Judge an attribute only where photographs tell it at least so often as it is given."
    )
    max_hash_distance: int = setting(4, "Photographs whose perceptual hashes are so many bits apart may be duplicates.")
    pixel_difference: float = setting(12.0, "They are if no part of them differs by more than so much of 255.")
    min_side: int = setting(32, "A photograph with a shorter side in pixels is too small.")
    score_by: tuple[str, ...] = setting((), "Columns to score beside the levels and a brand column.")

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("min_score", "min_attribute_accuracy"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} cannot be used.", "Allowed: 0 to 1.", value)
        require(
            0 <= self.max_hash_distance <= 8,
            "max_hash_distance cannot be used.",
            "Allowed: 0 to 8.",
            self.max_hash_distance,
        )
        require(
            0 <= self.pixel_difference <= 255,
            "pixel_difference cannot be used.",
            "Allowed: 0 to 255.",
            self.pixel_difference,
        )
        require(self.min_side >= 0, "min_side is negative.", "Allowed: 0 or more.", self.min_side)


@dataclass(frozen=True)
class ReviewConfig:
    """Settings of `review`."""

    host: str = setting("127.0.0.1", "The address to listen on; 0.0.0.0 is every one of this machine.")
    port: int = setting(8001, "The port to listen on.")
    reviewer: str = setting("", "The name that decisions are made under; empty asks in the page.")
    look_alikes: int = setting(8, "How many products that look alike are shown.")

    def __post_init__(self) -> None:
        """Check the values."""
        require(1 <= self.port <= 65_535, "port cannot be used.", "Allowed: 1 to 65535.", self.port)
        require(len(self.reviewer) <= 60, "reviewer is too long.", "Allowed: 60 letters.", self.reviewer)
        require(0 <= self.look_alikes <= 100, "look_alikes cannot be used.", "Allowed: 0 to 100.", self.look_alikes)


@dataclass(frozen=True)
class ApplyConfig:
    """Settings of `apply`."""

    auto_accept: float = setting(
        0.0, "Accept what nobody has decided too, where at least this share was measured to be right; 0 accepts none."
    )

    def __post_init__(self) -> None:
        """Check the values."""
        require(
            self.auto_accept == 0 or 0.5 <= self.auto_accept <= 0.999,
            "auto_accept cannot be used.",
            "Allowed: 0.5 to 0.999, or 0 to accept nothing.",
            self.auto_accept,
        )


# Every stage's settings, in the order of the chain; a name that stands twice means the same in both.
KINDS = (PrepareConfig, CleanConfig, ExploreConfig, TrainConfig, EvaluateConfig, PredictConfig)
# Those of stages that the chain does not go through; a settings file may hold tables of them too.
MORE_KINDS = (AuditConfig, ReviewConfig, ApplyConfig, ExportConfig, ClassifyConfig, ServeConfig)

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "capstone": {
        "clean": {"matcher": "class-words"},
        "train": {
            "architecture": "capstone",
            "target": "label",
            "epochs": 8,
            "batch_size": 32,
            "optimizer": "sgd",
            "learning_rate": 0.01,
            "lr_schedule": "inverse-time",
            "momentum": 0.9,
            "weight_decay": 0.0,
            "label_smoothing": 0.0,
            "class_balance": 0.0,
            "flip": True,
            "max_shift": 0,
            "brightness": 0.0,
            "initial_scale": 1.0,
            "ema_decay": 0.0,
            "checkpoint": "best",
            "tta_flip": False,
        },
    },
    "default": {},
    "finetune": {
        "train": {
            "architecture": "efficientnet-lite0",
            "optimizer": "adamw",
            "epochs": 8,
            "learning_rate": 0.003,
            "layer_decay": 0.9,
            "initial_scale": 1.2,
            "final_scale": 1.6,
            "precision": "float32",
        },
    },
    "frozen": {
        "train": {
            "architecture": "efficientnet-lite0",
            "freeze": True,
            "optimizer": "adamw",
            "epochs": 20,
            "batch_size": 256,
            "learning_rate": 0.003,
            "final_scale": 1.6,
            "ema_decay": 0.99,
            "precision": "float32",
        },
    },
    "quick": {"train": {"architecture": "residual-tiny", "epochs": 5, "final_scale": 0.7, "learning_rate": 0.007}},
}
# `hangtag demo` has these over the preset capstone. The drawn catalogue is small: smaller steps, for the moving
# averages of the network to settle.
DEMO_SETTINGS: dict[str, Any] = {"train": {"epochs": 6, "batch_size": 8}}


def read_preset(name: str) -> dict[str, Any]:
    """Return a preset's settings by name, in a table for each stage.

    Raises:
        SettingsError: There is no preset of that name.
    """
    if name not in PRESETS:
        allowed = f"Allowed: {', '.join(PRESETS)}."
        raise SettingsError("There is no such preset.", allowed=allowed, received=name)
    return PRESETS[name]


def check_names(
    values: Mapping[str, Any],
    kinds: Sequence[type] = KINDS,
    where: Callable[[str, str], str] = lambda table, _: f"[{table}]: " if table else "",
) -> None:
    """Refuse a setting that none of the stages has, or that stands in another stage's table.

    Raises:
        SettingsError: A key is in none of the dataclasses, or not in that of its table, or has another type.
    """
    check_settings(values, kinds, where)
