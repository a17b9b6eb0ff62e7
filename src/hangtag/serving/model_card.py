"""The card of an exported model: what it is for, what it is not, and how good it was, for people."""

from collections.abc import Mapping
from typing import Any

from hangtag.io import escape_markdown

NAMES = {"train": "training", "val": "validation", "test": "hold-out"}


def write_card(description: Mapping[str, Any]) -> str:
    """Return the card as Markdown, from what `model.json` holds."""
    height, width = description["image_size"]
    outputs = description["label_space"]
    levels, attributes = (
        ", ".join(f"{escape_markdown(column)} ({len(names)})" for column, names in outputs[kind].items()) or "none"
        for kind in ("levels", "attributes")
    )
    check = description["check"]
    parts = [
        f"# {escape_markdown(description['run_id'])}",
        f"Classifies photographs of fashion products, {height} x {width} pixels in "
        f"{description['preprocessing']['color_mode']}, on the levels {levels}, with the attributes {attributes}. "
        "The numbers are those of classes.",
        "## Use",
        "    hangtag classify photo.jpg --model FOLDER\n    hangtag serve --model FOLDER",
        "Photographs are to look like those it learnt from: one product, on a plain background. Any other is answered "
        "with “not sure” for the most part; see Limits.",
        "## Figures",
        _tabulate_figures(description),
        "## Confidence",
        _tabulate_thresholds(description["calibration"]["photograph"]["thresholds"]),
        "## Limits",
        "A photograph that is unlike those it learnt from is “not sure” whatever the confidence; the limit lets "
        f"{description['out_of_distribution']['in_distribution_share']:.0%} of the validation photographs through.",
        _describe_seen(description),
        "Labels are as brands gave them, made consistent, not as an expert would; where brands disagree, so does the "
        "model.",
        "## Network",
        f"{escape_markdown(description['architecture'])}, {description['parameters']['total']:,} parameters, "
        f"{description['flops'] / 1e6:.0f} MFLOPs a photograph. Compared with Keras on {check['items']:,} "
        f"validation photographs: {_describe_difference(description)}; accuracy is {check['accuracy']:.4f} with the "
        f"engine, and {check['keras_accuracy']:.4f} in Keras.",
        f"SHA-256 of `network.xml`: `{description['network']['sha256']}`; of `network.bin`: "
        f"`{description['network']['weights_sha256']}`.",
    ]
    return "\n\n".join(parts) + "\n"


def _describe_seen(description: Mapping[str, Any]) -> str:
    """Describe what is known of the photographs that it was trained on."""
    entry = description.get("seen")
    if not entry:
        return "It does not say which photographs it learnt from."
    begun = "" if entry["is_complete"] else " What the weights that it began from learnt from is not known."
    return (
        f"`{entry['file']}` holds hashes of the photographs that it learnt from ({entry['learnt']:,} different ones): "
        f"an audit takes its answers for others only, which are out-of-sample.{begun}"
    )


def _describe_difference(description: Mapping[str, Any]) -> str:
    difference, tolerance = (description["check"][key] for key in ("difference", "tolerance"))
    if description["network"]["stored_as"] == "int8":
        return (
            f"its convolutions compute with whole numbers of 8 bits, and probabilities differ by up to {difference:g}"
        )
    return f"in float32 probabilities differ by {difference:g} at most (allowed: {tolerance:g})"


def _tabulate_figures(description: Mapping[str, Any]) -> str:
    figures, label_name = description["figures"], description["label_name"]
    if not figures:
        return "None: the run was not evaluated before it was exported (`hangtag evaluate`)."
    lines = [
        f"On {escape_markdown(label_name)}, from photographs, with 95 % intervals.\n",
        "| split | items | accuracy | macro-F1 | calibration error |",
        "| --- | --- | --- | --- | --- |",
    ]
    for split, found in figures.items():
        name = NAMES[split] + (" (learnt from)" if split in description.get("train_splits", ["train"]) else "")
        lines.append(
            f"| {name} | {found['n']:,} | {_format_metric(found, 'accuracy')} | {_format_metric(found, 'macro_f1')} "
            f"| {found['ece']:.4f} |"
        )
    return "\n".join(lines)


def _format_metric(found: Mapping[str, Any], key: str) -> str:
    interval = found.get("confidence_interval", {}).get(key)
    return f"{found[key]:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")


def _tabulate_thresholds(thresholds: Mapping[str, float | None]) -> str:
    lines = [
        "From this confidence on, at least so many answers are right, with a certainty of 95 %, on photographs like "
        "those of validation.\n",
        "| wanted precision | confidence |",
        "| --- | --- |",
    ]
    lines += [
        f"| {precision} | {'not to be had' if threshold is None else f'{threshold:.3f}'} |"
        for precision, threshold in thresholds.items()
    ]
    return "\n".join(lines)
