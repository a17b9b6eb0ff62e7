"""Measure the shipped model on photographs that people took at home, and on the hold-out of its own catalogue.

Usage: python benchmarks/foreign_photographs.py --home H --catalog W [--model FOLDER]

H is a workspace of `home-photographs.zip`, W one of the fashion catalogue, both prepared and cleaned. The ten classes
of the photographs at home are mapped by hand to the model's, leniently where several fit. Printed are the shares that
are in distribution and that are sure at 0.95, with and without the limits, and how many of the sure ones are right.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from hangtag.inference.classifier import Classifier
from hangtag.labels.dataset import read_labeled_items
from hangtag.workspace import Workspace

PRECISION = 0.95
CLASSES = {
    "dress": {"Dress"},
    "hat": {"Headwear"},
    "longsleeve": {"Tshirts", "Topwear"},
    "outwear": {"Topwear"},
    "pants": {"Bottomwear"},
    "shirt": {"Shirts"},
    "shoes": {"Shoes", "Sandal", "Flip Flops"},
    "shorts": {"Bottomwear"},
    "skirt": {"Bottomwear"},
    "t-shirt": {"Tshirts", "Topwear"},
}


def main() -> None:
    """Print a line for each set of photographs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--catalog", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    classifier = Classifier.load(arguments.model, streams=2)
    print(
        f"{'photographs':12} {'n':>6} {'right':>6} {'inside':>7} {'sure':>6} {'right':>6} "
        f"{'without limits':>15} {'right':>6}"
    )
    for name, path, split in (("at home", arguments.home, None), ("hold-out", arguments.catalog, "test")):
        labelled = read_labeled_items(Workspace.at(path))
        items = labelled.table if split is None else labelled.table.filter(pl.col("split") == split)
        found = classifier.predict_rows(labelled.images, items["image_index"].to_numpy().astype(np.int64))
        confidence = found.probs.max(axis=1)
        labels = [classifier.class_names[index] for index in found.probs.argmax(axis=1).tolist()]
        right = np.array(
            [label in CLASSES.get(given, {given}) for label, given in zip(labels, items["label"], strict=True)]
        )
        assert found.ood_scores is not None
        inside, confident = found.ood_scores <= 1, confidence >= (classifier.find_threshold(PRECISION) or np.inf)
        sure = inside & confident
        print(
            f"{name:12} {len(items):6,} {right.mean():6.3f} {inside.mean():7.4f} {sure.mean():6.4f} "
            f"{right[sure].mean():6.3f} {confident.mean():15.4f} {right[confident].mean():6.3f}"
        )


if __name__ == "__main__":
    main()
