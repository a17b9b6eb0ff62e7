"""Describe in words how a run was trained, from the settings that it holds."""

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from hangtag.models.registry import ARCHITECTURES
from hangtag.training.targets import ALL, LABEL

# Write numbers for people: counts with commas, scores with three decimals, shares in percent.

NOTHING = "–"


def format_count(value: float | None) -> str:
    """Write 12345 as 12,345; an en dash for nothing."""
    return NOTHING if value is None else f"{value:,.0f}"


def format_score(value: float | None, decimals: int = 3) -> str:
    """Write 0.91324 as 0.913; an en dash for nothing or for no number."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"


def format_share(value: float | None, decimals: int = 1) -> str:
    """Write 0.72 as 72.0 %."""
    return NOTHING if value is None else f"{100 * value:.{decimals}f} %"


def format_interval(ends: Sequence[float] | None) -> str:
    """Write (0.9071, 0.9193) as 0.907 to 0.919."""
    return NOTHING if ends is None else " to ".join(format_score(end) for end in ends)


def format_shape(sides: Sequence[int | None]) -> str:
    """Write [80, 60, 32] as 80 × 60 × 32."""
    return " × ".join(format_count(side) for side in sides)


def format_confidence(value: float) -> str:
    """Write 0.954 as 95 %, and what would be rounded to certainty as > 99 %."""
    return "> 99 %" if value > 0.99 else format_share(value, 0)


def format_difference(value: float | None) -> str:
    """Write 0.0123 as +0.012 and -0.0123 as −0.012."""
    if value is None:
        return NOTHING
    return f"{value:+.3f}".replace("-", "−")


def format_operations(value: float | None) -> str:
    """Write 306470912 as 306 million, and 1234567890 as 1.23 billion."""
    if value is None:
        return NOTHING
    scale, word = (1e9, "billion") if value >= 999.5e6 else (1e6, "million")
    return f"{value / scale:.3g} {word}"


FILTERS: dict[str, Callable[..., Any]] = {
    "count": format_count,
    "score": format_score,
    "share": format_share,
    "confidence": format_confidence,
    "interval": format_interval,
    "shape": format_shape,
    "difference": format_difference,
    "operations": format_operations,
}


# Put pictures on disk into the page as data URIs, encoded small.

MAX_WIDTH = 1400
QUALITY = 80


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Attributes:
        src: A `data:` URI.
        width: Pixels, so that the page keeps room for it.
        height: Pixels.
        alt: What it shows, for those who cannot see it.
    """

    src: str
    width: int
    height: int
    alt: str


def embed_picture(path: Path, alt: str) -> Picture | None:
    """Encode a picture as WebP, at most `MAX_WIDTH` pixels wide; None where there is no such file."""
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


Settings = Mapping[str, Any]
OPTIMIZERS = {"muon": "Muon", "adamw": "AdamW", "sgd": "SGD"}


def describe_recipe(settings: Settings, label_name: str, precision: str = "") -> str:
    """Return the recipe of a training as one sentence; a setting that an earlier hangtag did not have is passed over.

    Args:
        settings: The settings of `train`.
        label_name: What people call the label.
        precision: The arithmetic that was chosen, where it is known.
    """
    phrases = [
        *_describe_target(settings, label_name),
        *_describe_weights(settings),
        *_describe_steps(settings),
        *_describe_items(settings),
        *_describe_end(settings),
        *([f"arithmetic in {precision}"] if precision else []),
    ]
    text = "; ".join(phrases)
    return f"{text[:1].upper()}{text[1:]}."


def _describe_target(settings: Settings, label_name: str) -> list[str]:
    target = settings.get("target", LABEL)
    source = "photographs"
    if settings.get("with_names"):
        source += " and names"
    if target != ALL:
        return [f"learns {label_name if target == LABEL else target} from {source}"]
    weight = settings.get("attribute_weight")
    counts = f", an attribute counting {weight:g} of the label" if weight is not None else ""
    return [f"learns all levels and attributes together{counts}, from {source}"]


def _describe_weights(settings: Settings) -> list[str]:
    weights, decay = str(settings.get("weights", "")), settings.get("layer_decay", 1)
    if not weights:
        return []
    begun = "begun from the library's ImageNet weights" if weights == "imagenet" else f"begun from {Path(weights).name}"
    if settings.get("freeze"):
        return [f"{begun}, which stay as they are: the heads alone learn"]
    return [begun + (f", each block's steps {decay:g} of those of the one after it" if decay < 1 else "")]


def _describe_steps(settings: Settings) -> list[str]:
    # Before there was a choice, it was SGD with a step size that falls as the report's did.
    optimizer = str(settings.get("optimizer", "sgd"))
    steps = OPTIMIZERS.get(optimizer, optimizer)
    if optimizer == "sgd" and settings.get("momentum"):
        steps += f" with momentum {settings['momentum']:g}"
    if (rate := settings.get("learning_rate")) is not None:
        steps += f", steps of at most {rate:g}, {_describe_schedule(settings)}"
    decay, smoothing = settings.get("weight_decay"), settings.get("label_smoothing")
    return [
        steps,
        *([f"weight decay {decay:g}"] if decay else []),
        *([f"labels smoothed by {smoothing:g}"] if smoothing else []),
    ]


def _describe_schedule(settings: Settings) -> str:
    if settings.get("lr_schedule", "inverse-time") == "inverse-time":
        return "slowly smaller (inverse time)"
    warmup = settings.get("warmup")
    rising = f"rising over the first {format_share(warmup, 0)} of the training, then " if warmup else ""
    return f"{rising}falling along a cosine"


def _describe_items(settings: Settings) -> list[str]:
    """Describe which items are shown how often, and how their photographs are varied."""
    shift, zoom, brightness = (settings.get(key) for key in ("max_shift", "zoom", "brightness"))
    varied = [
        *(["mirrored half of the time"] if settings.get("flip") else []),
        *([f"shifted by up to {shift} {'pixel' if shift == 1 else 'pixels'}"] if shift else []),
        *([f"grown or shrunk by up to {format_share(zoom, 0)}"] if zoom else []),
        *([f"brighter or darker by up to {format_share(brightness, 0)}"] if brightness else []),
    ]
    balance = settings.get("class_balance")
    return [
        *([f"rare products shown more often (balance {balance:g} of 1)"] if balance else []),
        f"photographs {', '.join(varied)}" if varied else "photographs as they are",
        *_describe_start(settings),
    ]


def _describe_start(settings: Settings) -> list[str]:
    start, end = settings.get("initial_scale", 1), settings.get("final_scale", 1)
    network = ARCHITECTURES.get(settings.get("architecture", ""))
    is_growing = start < end and network is not None and network.takes_any_size and not settings.get("freeze")
    return [
        *([f"begun on photographs of {format_share(start, 0)} of the sides"] if is_growing else []),
        *([f"photographs enlarged to {format_share(end, 0)} of the sides"] if end > 1 else []),
    ]


def _describe_end(settings: Settings) -> list[str]:
    """Describe which weights the model has in the end, and how it answers."""
    average = settings.get("ema_decay")
    is_best = settings.get("checkpoint", "best") == "best"
    return [
        *([f"weights averaged over the steps ({average:g} kept at each)"] if average else []),
        f"the {'epoch that did best on validation' if is_best else 'last epoch'} kept",
        *(["answers from each photograph and its mirror image"] if settings.get("tta_flip") else []),
    ]
