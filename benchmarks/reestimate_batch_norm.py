"""Evaluate trained runs on val and test, with the moving averages of batch normalization estimated again.

Usage: python benchmarks/reestimate_batch_norm.py WORKSPACE RUN... [--batches 400]

All other weights stay as they are. The averages are the means over batches of the training photographs, in the size of
the run's batches and in random order, without augmentation; a training instead forgets earlier batches with its
momentum. Source: Wu and Johnson, *Rethinking "Batch" in BatchNorm*, 2021 (precise batch normalization). Nothing is
written to the runs.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.catalog.images import Pixels, shrink
from hangtag.inference.classifier import Classifier
from hangtag.inference.runs import EvaluatedItems, load_classifier, predict_items, select_items, select_runs
from hangtag.labels.dataset import LabeledItems, read_labeled_items
from hangtag.manifest import require_manifest
from hangtag.metrics.classification import compute_figures
from hangtag.models.layers import import_keras
from hangtag.workspace import Workspace


def main() -> None:
    """Print a line for each run and split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--batches", type=int, default=400)
    arguments = parser.parse_args()
    place = Workspace.at(arguments.workspace)
    labelled = read_labeled_items(place)
    print("| run | split | accuracy | macro-F1 | with averages estimated again: accuracy | macro-F1 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for run_id in select_runs(place, arguments.runs):
        settings = require_manifest(place.run(run_id), "Run `hangtag train` first.")["settings"]
        classifier = load_classifier(place, run_id, labelled)
        before = dict(_measure(classifier, labelled))
        _estimate_averages(classifier, labelled, settings, arguments.batches)
        for split, (accuracy, macro_f1) in _measure(classifier, labelled):
            first = before[split]
            print(
                f"| {run_id} | {split} | {first[0]:.4f} | {first[1]:.4f} | {accuracy:.4f} | {macro_f1:.4f} |",
                flush=True,
            )


def _measure(classifier: Classifier, labelled: LabeledItems) -> Iterator[tuple[str, tuple[float, float]]]:
    for split in ("val", "test"):
        items = select_items(labelled, classifier.label_space, [split])
        found = EvaluatedItems(items, predict_items(classifier, labelled, items, split, with_names=False))
        figures = compute_figures(found.probs, found.classes, found.class_names)
        yield split, (figures["accuracy"], figures["macro_f1"])


def _estimate_averages(classifier: Classifier, labelled: LabeledItems, settings: dict[str, Any], batches: int) -> None:
    keras = import_keras()
    layers = [layer for layer in classifier.model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    rows = np.random.default_rng(0).permutation(labelled.of_split("train")["image_index"].to_numpy())
    size = int(settings["batch_size"])
    for number in range(min(batches, len(rows) // size)):
        for layer in layers:
            # The mean of all batches so far.
            layer.momentum = number / (number + 1)
        pixels: Pixels = labelled.images[np.sort(rows[number * size : (number + 1) * size])]
        pixels = shrink(pixels, classifier.network_size or classifier.image_size)
        classifier.model({"pixels": pixels}, training=True)


if __name__ == "__main__":
    main()
