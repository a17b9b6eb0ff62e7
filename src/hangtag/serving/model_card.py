"""The model card of an exported model: intended use, limits, and evaluation results."""

from collections.abc import Mapping
from typing import Any

from hangtag.io import JsonObject, escape_markdown

SPLIT_NAMES = {"train": "training", "val": "validation", "test": "hold-out"}
# What figures are measured from, as `input` of the evaluation's report names it.
PHOTOGRAPH, PHOTOGRAPH_AND_NAME = "photograph", "photograph and name"
SOURCES = {PHOTOGRAPH: "photographs alone", PHOTOGRAPH_AND_NAME: "photographs and product names together"}


def label_figures(description: Mapping[str, Any]) -> dict[str, JsonObject]:
    """Return the figures of an export, each split's with `input`, which says what they are measured from.

    Exports of earlier versions did not say it: a run that reads names was measured with them.

    Args:
        description: The content of `model.json`.

    Returns:
        `figures`, and `figures_with_names` if there are any: metrics by split.
    """
    unlabelled = PHOTOGRAPH_AND_NAME if description.get("words") else PHOTOGRAPH
    return {
        name: {split: {"input": unlabelled} | metrics for split, metrics in description[name].items()}
        for name in ("figures", "figures_with_names")
        if description.get(name)
    }


def write_card(description: Mapping[str, Any]) -> str:
    """Return the model card as Markdown.

    Args:
        description: The content of `model.json`.
    """
    height, width = description["image_size"]
    label_space = description["label_space"]
    levels, attributes = (
        ", ".join(f"{escape_markdown(column)} ({len(names)})" for column, names in label_space[kind].items()) or "none"
        for kind in ("levels", "attributes")
    )
    check = description["check"]
    parts = [
        f"# {escape_markdown(description['run_id'])}",
        f"Classifies photographs of fashion products, {height} x {width} pixels in "
        f"{description['preprocessing']['color_mode']}, on the levels {levels}, with the attributes {attributes}. "
        "The numbers in parentheses count classes.",
        "## Use",
        "    hangtag classify photo.jpg --model FOLDER\n    hangtag serve --model FOLDER",
        "Photographs should look like the training photographs: one product on a plain background. For most others "
        "the prediction is “not sure”; see Limits.",
        "## Figures",
        _tabulate_metrics(description),
        "## Confidence",
        _tabulate_thresholds(description["calibration"]["photograph"]["thresholds"]),
        "## Limits",
        "An out-of-distribution photograph is “not sure” whatever the confidence; the limit is such that "
        f"{description['out_of_distribution']['in_distribution_share']:.0%} of the validation photographs are in "
        "distribution.",
        _describe_training_hashes(description),
        "Labels are the brands' own, made consistent, not an expert's; where brands disagree, so does the model.",
        "## Network",
        f"{escape_markdown(description['architecture'])}, {description['parameters']['total']:,} parameters, "
        f"{description['flops'] / 1e6:.0f} MFLOPs per photograph. Compared with Keras on {check['items']:,} validation "
        f"photographs: {_describe_difference(description)}; accuracy is {check['accuracy']:.4f} in the engine's "
        f"default arithmetic, and {check['keras_accuracy']:.4f} in Keras.",
        f"SHA-256 of `network.xml`: `{description['network']['sha256']}`; of `network.bin`: "
        f"`{description['network']['weights_sha256']}`.",
    ]
    return "\n\n".join(parts) + "\n"


def _describe_training_hashes(description: Mapping[str, Any]) -> str:
    entry = description.get("seen")
    if not entry:
        return "Which photographs it was trained on is not recorded."
    pretraining = (
        "" if entry["is_complete"] else " The photographs that its initial weights were trained on are not known."
    )
    return (
        f"`{entry['file']}` holds hashes of its training photographs ({entry['trained_on']:,} different ones): "
        f"an audit uses its predictions for other photographs only, which are out-of-sample.{pretraining}"
    )


def _describe_difference(description: Mapping[str, Any]) -> str:
    difference, tolerance = (description["check"][key] for key in ("difference", "tolerance"))
    if description["network"]["stored_as"] == "int8":
        return f"its convolutions compute in 8-bit integers, and probabilities differ by up to {difference:g}"
    return f"in float32 probabilities differ by {difference:g} at most (allowed: {tolerance:g})"


def _tabulate_metrics(description: Mapping[str, Any]) -> str:
    tables = [figures for figures in label_figures(description).values() if figures]
    if not tables:
        return "None: the run was not evaluated before it was exported (`hangtag evaluate`)."
    return "\n\n".join(_tabulate_splits(description, figures) for figures in tables)


def _tabulate_splits(description: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]]) -> str:
    source = SOURCES[next(iter(figures.values()))["input"]]
    lines = [
        f"On {escape_markdown(description['label_name'])}, from {source}, with 95 % intervals.\n",
        "| split | items | accuracy | macro-F1 | calibration error |",
        "| --- | --- | --- | --- | --- |",
    ]
    for split, metrics in figures.items():
        name = SPLIT_NAMES[split] + (" (trained on)" if split in description.get("train_splits", ["train"]) else "")
        accuracy, macro_f1 = (_format_with_interval(metrics, key) for key in ("accuracy", "macro_f1"))
        lines.append(f"| {name} | {metrics['n']:,} | {accuracy} | {macro_f1} | {metrics['ece']:.4f} |")
    return "\n".join(lines)


def _format_with_interval(metrics: Mapping[str, Any], key: str) -> str:
    interval = metrics.get("confidence_interval", {}).get(key)
    return f"{metrics[key]:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")


def _tabulate_thresholds(thresholds: Mapping[str, float | None]) -> str:
    lines = [
        "At or above this confidence, at least this fraction of predictions is right on photographs like those of "
        "validation (95 % confidence).\n",
        "| target precision | confidence |",
        "| --- | --- |",
    ]
    lines += [
        f"| {precision} | {'not reached' if threshold is None else f'{threshold:.3f}'} |"
        for precision, threshold in thresholds.items()
    ]
    return "\n".join(lines)
