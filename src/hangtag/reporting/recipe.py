"""Say in words how a run was trained, from the settings that it holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hangtag.models.registry import ARCHITECTURES
from hangtag.reporting.numbers import format_share
from hangtag.training.targets import ALL, LABEL

Settings = Mapping[str, Any]
OPTIMIZERS = {"muon": "Muon", "adamw": "AdamW", "sgd": "SGD"}


def describe_recipe(settings: Settings, label_name: str, precision: str = "") -> str:
    """Give the recipe of a training as one sentence; a setting that an earlier hangtag did not have is passed over.

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
    if settings.get("schedule", "inverse-time") == "inverse-time":
        return "slowly smaller (inverse time)"
    warmup = settings.get("warmup")
    rising = f"rising over the first {format_share(warmup, 0)} of the training, then " if warmup else ""
    return f"{rising}falling along a cosine"


def _describe_items(settings: Settings) -> list[str]:
    """Say which items are shown how often, and how their photographs are varied."""
    shift, zoom, brightness = (settings.get(key) for key in ("shift", "zoom", "brightness"))
    varied = [
        *(["mirrored half of the time"] if settings.get("flip") else []),
        *([f"shifted by up to {shift} {'pixel' if shift == 1 else 'pixels'}"] if shift else []),
        *([f"grown or shrunk by up to {format_share(zoom, 0)}"] if zoom else []),
        *([f"brighter or darker by up to {format_share(brightness, 0)}"] if brightness else []),
    ]
    balance = settings.get("balance")
    return [
        *([f"rare products shown more often (balance {balance:g} of 1)"] if balance else []),
        f"photographs {', '.join(varied)}" if varied else "photographs as they are",
        *_describe_start(settings),
    ]


def _describe_start(settings: Settings) -> list[str]:
    start, end = settings.get("start_scale", 1), settings.get("end_scale", 1)
    network = ARCHITECTURES.get(settings.get("architecture", ""))
    is_growing = start < end and network is not None and network.takes_any_size and not settings.get("freeze")
    return [
        *([f"begun on photographs of {format_share(start, 0)} of the sides"] if is_growing else []),
        *([f"photographs enlarged to {format_share(end, 0)} of the sides"] if end > 1 else []),
    ]


def _describe_end(settings: Settings) -> list[str]:
    """Say which weights the model has in the end, and how it answers."""
    average = settings.get("average")
    is_best = settings.get("keep", "best") == "best"
    return [
        *([f"weights averaged over the steps ({average:g} kept at each)"] if average else []),
        f"the {'epoch that did best on validation' if is_best else 'last epoch'} kept",
        *(["answers from each photograph and its mirror image"] if settings.get("flip_average") else []),
    ]
