"""Format numbers, pictures and training settings for the report."""

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape
from PIL import Image

from hangtag.catalog.schema import CatalogSchema
from hangtag.models.registry import ARCHITECTURES
from hangtag.train_config import IMAGENET, START, find_weights
from hangtag.training.data import ENLARGED_HEIGHT
from hangtag.training.targets import ALL, LABEL

# Shown for a missing number.
NOTHING = "–"
# The maximum width in pixels and the WebP quality of pictures in the page.
MAX_WIDTH, QUALITY = 1400, 80
Settings = Mapping[str, Any]
OPTIMIZERS = {"muon": "Muon", "adamw": "AdamW", "sgd": "SGD"}
# The values that a template of the report shows, by name.
Context = dict[str, Any]


def format_count(value: float | None) -> str:
    """Format 12345 as 12,345, and None as an en dash."""
    return NOTHING if value is None else f"{value:,.0f}"


def format_score(value: float | None, decimals: int = 3) -> str:
    """Format 0.91324 as 0.913, and None, NaN and infinity as an en dash."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"


def format_share(value: float | None, decimals: int = 1) -> str:
    """Format 0.72 as 72.0 %."""
    return NOTHING if value is None else f"{100 * value:.{decimals}f} %"


def format_interval(ends: Sequence[float] | None) -> str:
    """Format (0.9071, 0.9193) as 0.907 to 0.919."""
    return NOTHING if ends is None else " to ".join(format_score(end) for end in ends)


def format_shape(sides: Sequence[int | None]) -> str:
    """Format [80, 60, 32] as 80 × 60 × 32."""
    return " × ".join(format_count(side) for side in sides)


def format_confidence(value: float) -> str:
    """Format 0.954 as 95 %, and values above 0.99 as > 99 %, so that none is rounded up to 100 %."""
    return "> 99 %" if value > 0.99 else format_share(value, 0)


def format_difference(value: float | None) -> str:
    """Format 0.0123 as +0.012 and -0.0123 as −0.012."""
    if value is None:
        return NOTHING
    return f"{value:+.3f}".replace("-", "−")


def format_operations(value: float | None) -> str:
    """Format 306470912 as 306 million, and 1234567890 as 1.23 billion."""
    if value is None:
        return NOTHING
    scale, word = (1e9, "billion") if value >= 999.5e6 else (1e6, "million")
    return f"{value / scale:.3g} {word}"


def mark_commands(text: str) -> Markup:
    """Return a text as HTML in which what is between backticks is code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    marked = (Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts))
    return Markup("").join(marked)


FILTERS: dict[str, Callable[..., Any]] = {
    "count": format_count,
    "score": format_score,
    "share": format_share,
    "confidence": format_confidence,
    "interval": format_interval,
    "shape": format_shape,
    "difference": format_difference,
    "operations": format_operations,
    "commands": mark_commands,
}


@dataclass(frozen=True)
class Picture:
    """A picture in the page.

    Attributes:
        src: A `data:` URI.
        width: The width in pixels; with the height it lets the browser reserve the space.
        height: The height in pixels.
        alt: Its text alternative.
    """

    src: str
    width: int
    height: int
    alt: str


def embed_picture(path: Path, alt: str) -> Picture | None:
    """Encode a picture as WebP, at most `MAX_WIDTH` pixels wide, or return None if there is no such file."""
    if not path.is_file():
        return None
    with Image.open(path) as source:
        image = source.convert("RGB")
    if image.width > MAX_WIDTH:
        height = max(1, round(image.height * MAX_WIDTH / image.width))
        image = image.resize((MAX_WIDTH, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=4)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/webp;base64,{encoded}", image.width, image.height, alt)


def describe_recipe(settings: Settings, schema: CatalogSchema, precision: str = "") -> str:
    """Describe the settings of a training in one sentence, without those that an earlier version did not have.

    Args:
        settings: The settings of `train`.
        schema: The catalogue's label, levels and attributes.
        precision: `float32` or `bfloat16`; empty if unknown.
    """
    phrases = [
        *_describe_target(settings, schema),
        *_describe_weights(settings),
        *_describe_optimizer(settings),
        *_describe_augmentation(settings),
        *_describe_averaging(settings),
        *([f"computed in {precision}"] if precision else []),
    ]
    text = "; ".join(phrases)
    return f"{text[:1].upper()}{text[1:]}."


def _describe_target(settings: Settings, schema: CatalogSchema) -> list[str]:
    target = settings.get("target", LABEL)
    source = "photographs"
    if settings.get("with_names"):
        source += " and names"
    if target != ALL:
        return [f"predicts {schema.label_name if target == LABEL else target} from {source}"]
    weight = settings.get("attribute_weight")
    weighted = f" (weight of an attribute {weight:g}, of the label 1)" if weight is not None else ""
    levels = (
        "all levels" if len(schema.levels) > 1 else f"{schema.find_heading(schema.levels[0])} and {schema.label_name}"
    )
    attributes = f" and attributes{weighted}" if schema.attributes else ""
    return [f"predicts {levels}{attributes} from {source}"]


def _describe_weights(settings: Settings) -> list[str]:
    weights = find_weights(str(settings.get("weights", "")), str(settings.get("architecture", "")))
    decay = settings.get("layer_decay", 1)
    if not weights:
        return []
    named = {IMAGENET: "Keras's ImageNet weights", START: "those that come with hangtag"}
    source = named.get(weights, Path(weights).name)
    if settings.get("freeze"):
        return [f"pretrained weights: {source}, frozen, only the heads are trained"]
    return [f"pretrained weights: {source}" + (f", layer-wise learning-rate decay {decay:g}" if decay < 1 else "")]


def _describe_optimizer(settings: Settings) -> list[str]:
    # Earlier versions had no setting and always used SGD with an inverse-time schedule.
    optimizer = str(settings.get("optimizer", "sgd"))
    phrase = OPTIMIZERS.get(optimizer, optimizer)
    if optimizer == "sgd" and settings.get("momentum"):
        phrase += f" with momentum {settings['momentum']:g}"
    if (rate := settings.get("learning_rate")) is not None:
        phrase += f", learning rate {rate:g} {_describe_schedule(settings)}"
    decay, smoothing = settings.get("weight_decay"), settings.get("label_smoothing")
    return [
        phrase,
        *([f"weight decay {decay:g}"] if decay else []),
        *([f"label smoothing {smoothing:g}"] if smoothing else []),
    ]


def _describe_schedule(settings: Settings) -> str:
    if settings.get("lr_schedule", "inverse-time") == "inverse-time":
        return "with inverse-time decay"
    warmup = settings.get("warmup")
    return "with cosine decay" + (f" after warm-up over {format_share(warmup, 0)} of the steps" if warmup else "")


def _describe_augmentation(settings: Settings) -> list[str]:
    """Describe class balancing, augmentation and progressive resizing."""
    shift, zoom, brightness = (settings.get(key) for key in ("max_shift", "zoom", "brightness"))
    varied = [
        *(["mirrored half of the time"] if settings.get("flip") else []),
        *([f"shifted by up to {shift} {'pixel' if shift == 1 else 'pixels'}"] if shift else []),
        *([f"zoomed by up to {format_share(zoom, 0)}"] if zoom else []),
        *([f"brighter or darker by up to {format_share(brightness, 0)}"] if brightness else []),
    ]
    balance = settings.get("class_balance")
    return [
        *([f"rare classes sampled more often (class balance {balance:g} of 1)"] if balance else []),
        f"photographs {', '.join(varied)}" if varied else "photographs not varied",
        *_describe_scale(settings),
    ]


def _describe_scale(settings: Settings) -> list[str]:
    start, end = settings.get("initial_scale", 1), settings.get("final_scale", 1)
    network = ARCHITECTURES.get(settings.get("architecture", ""))
    if not end:
        enlarged = f"photographs below {ENLARGED_HEIGHT} pixels enlarged to that height"
        return [enlarged] if settings.get("freeze") else ["progressive resizing", enlarged]
    is_resized = start < end and network is not None and network.takes_any_size and not settings.get("freeze")
    return [
        *([f"progressive resizing from {format_share(start, 0)} of the sides"] if is_resized else []),
        *([f"photographs enlarged to {format_share(end, 0)} of the sides"] if end > 1 else []),
    ]


def _describe_averaging(settings: Settings) -> list[str]:
    """Describe weight averaging, the kept checkpoint, and test-time augmentation."""
    decay = settings.get("ema_decay")
    is_best = settings.get("checkpoint", "best") == "best"
    return [
        *([f"exponential moving average of the weights with decay {decay:g}"] if decay else []),
        f"weights of the {'best validation epoch' if is_best else 'last epoch'}",
        *(["predictions averaged over each photograph and its mirror image"] if settings.get("tta_flip") else []),
    ]
