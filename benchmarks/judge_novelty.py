"""Measure how well a model detects out-of-distribution images.

Usage: python benchmarks/judge_novelty.py --workspace W FOLDER... [--model FOLDER]

The in-distribution photographs are those of the workspace's `test` split. Out-of-distribution images are the pictures
in each folder, whole and as two random upright crops, and three kinds of drawn images: noise, smooth blots and single
colours. Prints the shares that are called out-of-distribution, the shares that would be sure of a label without that
check, and the area under the ROC curve of the score between both kinds.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageFilter
from sklearn.metrics import roc_auc_score

from hangtag.catalog.images import Pixels, decode_photograph
from hangtag.inference.classifier import Classifier
from hangtag.labels.dataset import read_labeled_items
from hangtag.serving.output import list_photographs
from hangtag.workspace import Workspace

DRAWN = 200
LARGEST = 100_000_000


def main() -> None:
    """Print a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    classifier = Classifier.load(arguments.model, streams=2)
    labelled = read_labeled_items(Workspace.at(arguments.workspace))
    rows = labelled.table.filter(pl.col("split") == "test")["image_index"].to_numpy()
    random = np.random.default_rng(0)
    kinds = {"test": labelled.images[np.sort(rows)]}
    kinds |= {folder.name: np.stack(list(_read(folder, classifier.image_size, random))) for folder in arguments.folders}
    kinds |= _draw(classifier.image_size, random)
    limit, threshold = classifier.description["out_of_distribution"]["limit"], classifier.find_threshold(0.95) or 1.0
    found = {kind: classifier.predict_heads(pixels) for kind, pixels in kinds.items()}
    familiar = _rank(found["test"].ood_scores)
    print(f"{'kind':16} {'pictures':>8} {'unlike':>7} {'sure, had it no limit':>22} {'AUC':>6}")
    for kind, predictions in found.items():
        ood_scores = _rank(predictions.ood_scores)
        auc = roc_auc_score(np.repeat([0, 1], [len(familiar), len(ood_scores)]), np.concatenate([familiar, ood_scores]))
        sure = (predictions.probs.max(axis=1) >= threshold).mean()
        print(f"{kind:16} {len(ood_scores):8,} {(ood_scores > limit).mean():7.3f} {sure:22.3f} {auc:6.3f}")


def _rank(ood_scores: object) -> np.ndarray:
    return np.asarray(ood_scores, np.float64)


def _read(folder: Path, image_size: tuple[int, int], random: np.random.Generator) -> Iterator[Pixels]:
    for path in list_photographs([folder]):
        yield decode_photograph(path.read_bytes(), image_size, LARGEST).pixels
        with Image.open(path) as image:
            whole = image.convert("RGB")
        for _ in range(2):
            height = int(whole.height * random.uniform(0.3, 0.9))
            width = min(int(height * image_size[1] / image_size[0]), whole.width)
            left, top = random.integers(0, [whole.width - width + 1, whole.height - height + 1])
            crop = whole.crop((left, top, left + width, top + height))
            yield np.asarray(crop.resize(image_size[::-1], Image.Resampling.LANCZOS))


def _draw(image_size: tuple[int, int], random: np.random.Generator) -> dict[str, Pixels]:
    noise = random.integers(0, 256, (DRAWN, *image_size, 3), dtype=np.uint8)
    blurred = [np.asarray(Image.fromarray(each).filter(ImageFilter.GaussianBlur(6)), np.float64) for each in noise]
    blots = [(each - each.min()) / max(np.ptp(each), 1) * 255 for each in blurred]
    colors = np.broadcast_to(random.integers(0, 256, (DRAWN, 1, 1, 3), dtype=np.uint8), noise.shape)
    return {"noise": noise, "blots": np.asarray(blots, np.uint8), "one colour": np.ascontiguousarray(colors)}


if __name__ == "__main__":
    main()
