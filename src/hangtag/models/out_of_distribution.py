"""The out-of-distribution score: the distance of a photograph's features from those of the training classes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels, limit_part, shrink
from hangtag.models.batch_predict import BATCH, WEIGHT, fill_inputs
from hangtag.models.label_space import CATEGORY_PATH
from hangtag.models.layers import find_features, import_keras

OOD_SCORE = "ood_score"
# The entry of `model.json`.
OUT_OF_DISTRIBUTION = "out_of_distribution"
# The share of catalogue photographs that is to count as familiar.
IN_DISTRIBUTION_SHARE = 0.99
# More photographs tell little more of the features' spread.
MOST_PHOTOGRAPHS = 12_000
# The (height, width) of the patches that a drawn picture of smooth blots has.
BLOTS = (6, 5)
# What is added to the spread in every direction, as a share of the mean: no direction is without any.
RIDGE = 1e-3
Matrix = npt.NDArray[np.float64]


def add_ood_score(model: Any, images: Pixels, rows: npt.NDArray[np.int64]) -> Any:
    """Return a model with the output `ood_score`, float32 (n,): the squared distance to the nearest class.

    The distance is that of Mahalanobis: measured by how much the features of one class spread in each direction.
    Source: Lee et al., *A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
    Attacks*, 2018.

    Args:
        model: A network of `build_model`.
        images: uint8 (N, H, W, 3).
        rows: Those it learnt from, int64 (n,).
    """
    keras = import_keras()
    features = _join_features(model)
    reader = keras.Model(model.input, {"features": features, CATEGORY_PATH: model.output[CATEGORY_PATH]})
    center, whitening, means = _measure_spread(reader, images, _spread_out(rows))
    whitened = keras.layers.Dense(whitening.shape[1], name="whitened", dtype="float32")
    classes = keras.layers.Dense(len(means), name="nearness", dtype="float32")
    white = whitened(features)
    # |z - m|^2 = |z|^2 - 2 z m + |m|^2
    distances = classes(white) + keras.ops.sum(keras.ops.square(white), axis=-1, keepdims=True)
    whitened.set_weights([whitening, -center @ whitening])
    classes.set_weights([-2 * means.T, (means**2).sum(axis=1)])
    ood_scores = keras.ops.min(distances, axis=-1)
    return keras.Model(model.input, {**model.output, OOD_SCORE: ood_scores}, name=model.name)


def find_limit(ood_scores: npt.NDArray[np.float32]) -> float:
    """Return the novelty that all but a hundredth of the catalogue's photographs stay below."""
    # A distance a little below 0 comes of rounding.
    return max(round(float(np.quantile(ood_scores, IN_DISTRIBUTION_SHARE)), 3), 0.0)


def draw_ood_images(image_size: tuple[int, int], count: int) -> Pixels:
    """Draw pictures that no catalogue has, `count` of each kind: noise, smooth blots, single colours.

    Returns:
        uint8 (3 * count, height, width, 3), the same at every call.
    """
    random = np.random.default_rng(0)
    height, width = image_size
    noise = random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    coarse = random.uniform(0, 255, (count, *BLOTS, 3))
    blots = np.einsum("hi,wj,nijc->nhwc", _interpolate(BLOTS[0], height), _interpolate(BLOTS[1], width), coarse)
    colors = np.broadcast_to(random.integers(0, 256, (count, 1, 1, 3), dtype=np.uint8), noise.shape)
    return np.concatenate([noise, blots.astype(np.uint8), colors])


def _interpolate(points: int, size: int) -> Matrix:
    """Return the interpolation weight of each point at `size` positions between them, (size, points)."""
    indices = np.linspace(0, points - 1, size)[:, None]
    return np.asarray(np.maximum(0, 1 - np.abs(indices - np.arange(points))))


def _join_features(model: Any) -> Any:
    ends = find_features(model)
    return ends[0] if len(ends) == 1 else import_keras().layers.Concatenate(name="features", dtype="float32")(ends)


def _spread_out(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    step = max(len(rows) // MOST_PHOTOGRAPHS, 1)
    return np.sort(rows)[::step]


def _measure_spread(reader: Any, images: Pixels, rows: npt.NDArray[np.int64]) -> tuple[Matrix, Matrix, Matrix]:
    """Return the mean of all features (d,), what makes their spread within a class 1 in all directions (d, d), and the
    means of the predicted classes so whitened (classes, d).
    """  # noqa: D205
    found = list(_read_features(reader, images, rows))
    features = np.concatenate([batch for batch, _ in found]).astype(np.float64)
    classes = np.concatenate([probs.argmax(axis=1) for _, probs in found])
    center = features.mean(axis=0)
    features -= center
    present, indices = np.unique(classes, return_inverse=True)
    means = np.zeros((len(present), features.shape[1]))
    np.add.at(means, indices, features)
    means /= np.bincount(indices)[:, None]
    spread = np.cov((features - means[indices]).T)
    spread += RIDGE * np.trace(spread) / len(spread) * np.eye(len(spread)) + 1e-9 * np.eye(len(spread))
    whitening = np.linalg.cholesky(np.linalg.inv(spread))
    return center, whitening, means @ whitening


def _read_features(reader: Any, images: Pixels, rows: npt.NDArray[np.int64]) -> Iterator[tuple[Any, Any]]:
    image_size = reader.input["pixels"].shape[1:3]
    size = limit_part(image_size, BATCH, WEIGHT)
    for start in range(0, len(rows), size):
        pixels = shrink(images[rows[start : start + size]], image_size)
        found = reader.predict_on_batch(fill_inputs(reader, pixels, None))
        yield found["features"][: len(pixels)], found[CATEGORY_PATH][: len(pixels)]
