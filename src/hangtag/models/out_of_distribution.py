"""Out-of-distribution score: how far a photograph is from those of the training catalogue.

Two distances are combined, each relative to its limit: that of the network's features to the nearest training class,
and that of simple statistics of the pixels. Features tell photographs of other things; the statistics tell photographs
taken in another way, such as on a floor or a hanger instead of a plain background, which features often miss.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hangtag.catalog.images import Pixels, limit_part, shrink, take_rows
from hangtag.io import JsonObject
from hangtag.models.batch_predict import BATCH, WEIGHT, fill_inputs
from hangtag.models.label_space import CATEGORY_PATH
from hangtag.models.layers import find_features, import_keras

if TYPE_CHECKING:
    from keras import Model

OOD_SCORE = "ood_score"
# The entry of `model.json`.
OUT_OF_DISTRIBUTION = "out_of_distribution"
# The entry of that entry with the statistics of the pixels.
PIXEL_STATISTICS = "pixel_statistics"
# The shares of the catalogue's photographs that the limits of the features and of the statistics accept.
FEATURES_SHARE, STATISTICS_SHARE = 0.99, 0.985
# The share of a set's photographs above which it is out of distribution as a whole. Of a set like the model's catalogue
# about one in a hundred is; where most are, that says something of the set and nothing of one photograph.
MOST_OUT_OF_DISTRIBUTION = 0.5
# Distances are divided by no smaller limit: it is 0 where all photographs are alike.
LEAST_LIMIT = 1e-3
# Differences of neighbouring pixels, of their mean over the channels, up to which an area is even; 0 to 255.
EVEN = 1
# The least standard deviation of a statistic.
LEAST_DEVIATION = 0.005
# Means over the channels above which a pixel is nearly white, and above which one of the border is light.
NEARLY_WHITE, LIGHT = 239, 229
# More photographs hardly change the estimate of the features' covariance.
MOST_PHOTOGRAPHS = 12_000
# The (rows, columns) of random colours that an image of smooth blobs is interpolated from.
BLOB_GRID = (6, 5)
# Added to the variance of every direction, as a share of their mean, so that the covariance can be inverted.
RIDGE = 1e-3
Matrix = npt.NDArray[np.float64]


def add_ood_score(model: "Model", images: Pixels, rows: npt.NDArray[np.int64]) -> "Model":
    """Add the output `ood_score`, float32 (n,), to a model: the squared Mahalanobis distance to the nearest class.

    The class means and the covariance within classes, which all classes share, are estimated from the features of the
    training photographs. Each photograph counts for its predicted class. Source: Lee et al., *A Simple Unified
    Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks*, 2018.

    Args:
        model: A network of `build_model`.
        images: uint8 (N, H, W, 3).
        rows: The rows of `images` that the model was trained on, int64 (n,).

    Returns:
        A new `keras.Model` that shares the layers of `model`.
    """
    keras = import_keras()
    features = _join_features(model)
    feature_model = keras.Model(model.input, {"features": features, CATEGORY_PATH: model.output[CATEGORY_PATH]})
    center, whitening, means = _fit_class_means(feature_model, images, _subsample(rows))
    whitened = keras.layers.Dense(whitening.shape[1], name="whitened", dtype="float32")
    nearness = keras.layers.Dense(len(means), name="nearness", dtype="float32")
    z = whitened(features)
    # |z - m|^2 = |z|^2 - 2 z m + |m|^2
    distances = nearness(z) + keras.ops.sum(keras.ops.square(z), axis=-1, keepdims=True)
    whitened.set_weights([whitening, -center @ whitening])
    nearness.set_weights([-2 * means.T, (means**2).sum(axis=1)])
    ood_scores = keras.ops.min(distances, axis=-1)
    return keras.Model(model.input, {**model.output, OOD_SCORE: ood_scores}, name=model.name)


def find_limit(ood_scores: npt.NDArray[np.floating], share: float = FEATURES_SHARE) -> float:
    """Return the limit of in-distribution: the quantile of the scores at a share, at least 0.

    Args:
        ood_scores: The scores of the catalogue's photographs, (n,).
        share: The share of the photographs that are in distribution.
    """
    # Rounding errors can make a squared distance slightly negative.
    return max(round(float(np.quantile(ood_scores, share)), 3), 0.0)


@dataclass(frozen=True)
class PixelStatistics:
    """The distribution of the statistics of a catalogue's pixels; see `compute_pixel_statistics`.

    Attributes:
        center: Their means, (8,).
        whitening: The matrix that makes their covariance the identity, (8, 8).
        limit: The largest squared distance to the center that is in distribution.
    """

    center: Matrix
    whitening: Matrix
    limit: float

    @classmethod
    def fit(
        cls, images: Pixels, train_rows: npt.NDArray[np.int64], val_rows: npt.NDArray[np.int64]
    ) -> "PixelStatistics":
        """Estimate the distribution on training photographs, and the limit on validation photographs.

        Args:
            images: uint8 (N, H, W, 3).
            train_rows: Rows of `images`, int64 (n,).
            val_rows: Others.
        """
        values = compute_pixel_statistics(images, _subsample(train_rows))
        # Of drawn products a statistic may be the same everywhere, and any other value would be infinitely far.
        center, scale = values.mean(axis=0), np.maximum(values.std(axis=0), LEAST_DEVIATION)
        # The ridge is that of statistics of unit variance.
        covariance = np.cov(((values - center) / scale).T) + RIDGE * np.eye(len(center))
        np.fill_diagonal(covariance, np.maximum(covariance.diagonal(), 1))
        whitening = np.linalg.cholesky(np.linalg.inv(covariance)) / scale[:, None]
        unlimited = cls(center, whitening, np.inf)
        distances = unlimited.measure(compute_pixel_statistics(images, np.sort(val_rows)))
        return cls(center, whitening, find_limit(distances, STATISTICS_SHARE))

    @classmethod
    def from_json(cls, content: JsonObject) -> "PixelStatistics":
        """Read the entry of `model.json`."""
        return cls(np.array(content["center"]), np.array(content["whitening"]), float(content["limit"]))

    def to_json(self) -> JsonObject:
        """Return the entry of `model.json`."""
        return {
            "center": self.center.round(6).tolist(),
            "whitening": self.whitening.round(6).tolist(),
            "limit": self.limit,
        }

    def measure(self, values: Matrix) -> Matrix:
        """Return the squared Mahalanobis distance of each photograph's statistics to the center, (n,)."""
        return np.asarray((((values - self.center) @ self.whitening) ** 2).sum(axis=1))


def compute_pixel_statistics(images: Pixels, rows: npt.NDArray[np.int64]) -> Matrix:
    """Compute eight statistics of each photograph's brightness, from 0 to 1.

    They are the mean differences between neighbours in a row and in a column, the shares of even ones of these, the
    share of nearly white pixels, and the mean, the standard deviation and the share of light pixels of the border.

    Args:
        images: uint8 (N, H, W, 3).
        rows: Rows of `images`, int64 (n,).

    Returns:
        float64 (n, 8).
    """
    batches = (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
    parts = [_compute_statistics(take_rows(images, batch)) for batch in batches]
    return np.concatenate([np.empty((0, 8)), *parts])


def _compute_statistics(pixels: Pixels) -> Matrix:
    # Sums over the channels: whole numbers, five times as fast as means in float32.
    sums = pixels[..., 0].astype(np.int16)
    sums += pixels[..., 1]
    sums += pixels[..., 2]
    count, height, width = sums.shape
    in_rows = np.abs(sums[:, :, 1:] - sums[:, :, :-1]).reshape(count, -1)
    in_columns = np.abs(sums[:, 1:] - sums[:, :-1]).reshape(count, -1)
    edge = max(round(min(height, width) / 30), 1)
    sides = (sums[:, :edge], sums[:, -edge:], sums[:, edge:-edge, :edge], sums[:, edge:-edge, -edge:])
    border = np.concatenate([side.reshape(count, -1) for side in sides], axis=1).astype(np.float32)
    statistics = [
        in_rows.sum(axis=1, dtype=np.int64) / (765 * in_rows.shape[1]),
        in_columns.sum(axis=1, dtype=np.int64) / (765 * in_columns.shape[1]),
        _measure_share(in_rows <= 3 * EVEN),
        _measure_share(in_columns <= 3 * EVEN),
        _measure_share((sums > 3 * NEARLY_WHITE).reshape(count, -1)),
        border.mean(axis=1) / 765,
        border.std(axis=1) / 765,
        _measure_share(border > 3 * LIGHT),
    ]
    return np.stack(statistics, axis=1).astype(np.float64)


def _measure_share(is_so: npt.NDArray[np.bool_]) -> Matrix:
    """Return the share of each row that is True; twice as fast as `count_nonzero` along an axis."""
    return np.asarray(is_so.view(np.uint8).sum(axis=1, dtype=np.uint32) / is_so.shape[1])


def draw_ood_images(image_size: tuple[int, int], count: int) -> Pixels:
    """Draw out-of-distribution images: `count` of noise, of smooth blobs, and of a single colour.

    Args:
        image_size: (height, width).
        count: The number of images of each kind.

    Returns:
        uint8 (3 * count, height, width, 3), identical in every call.
    """
    random = np.random.default_rng(0)
    height, width = image_size
    noise = random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    coarse = random.uniform(0, 255, (count, *BLOB_GRID, 3))
    to_height, to_width = _interpolate(BLOB_GRID[0], height), _interpolate(BLOB_GRID[1], width)
    blobs = np.einsum("hi,wj,nijc->nhwc", to_height, to_width, coarse)
    colors = np.broadcast_to(random.integers(0, 256, (count, 1, 1, 3), dtype=np.uint8), noise.shape)
    return np.concatenate([noise, blobs.astype(np.uint8), colors])


def _interpolate(points: int, size: int) -> Matrix:
    """Return the weights of linear interpolation from `points` to `size` positions, (size, points)."""
    positions = np.linspace(0, points - 1, size)[:, None]
    return np.asarray(np.maximum(0, 1 - np.abs(positions - np.arange(points))))


def _join_features(model: "Model") -> "Model":
    """Return the features that the heads read, those of an ensemble's members concatenated, (n, width)."""
    features = find_features(model)
    if len(features) == 1:
        return features[0]
    return import_keras().layers.Concatenate(name="features", dtype="float32")(features)


def _subsample(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return evenly spaced rows, sorted, fewer than twice `MOST_PHOTOGRAPHS`."""
    step = max(len(rows) // MOST_PHOTOGRAPHS, 1)
    return np.sort(rows)[::step]


def _fit_class_means(
    feature_model: "Model", images: Pixels, rows: npt.NDArray[np.int64]
) -> tuple[Matrix, Matrix, Matrix]:
    """Estimate the class means and the covariance that they share.

    Returns:
        The mean of all features (d,); the whitening matrix (d, d), which makes the covariance within classes the
        identity; and the whitened means of the predicted classes (classes, d).
    """
    batches = list(_compute_features(feature_model, images, rows))
    features = np.concatenate([batch for batch, _ in batches]).astype(np.float64)
    classes = np.concatenate([probs.argmax(axis=1) for _, probs in batches])
    center = features.mean(axis=0)
    features -= center
    present, indices = np.unique(classes, return_inverse=True)
    means = np.zeros((len(present), features.shape[1]))
    np.add.at(means, indices, features)
    means /= np.bincount(indices)[:, None]
    covariance = np.cov((features - means[indices]).T)
    identity = np.eye(len(covariance))
    covariance += RIDGE * np.trace(covariance) / len(covariance) * identity + 1e-9 * identity
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    return center, whitening, means @ whitening


def _compute_features(
    feature_model: "Model", images: Pixels, rows: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Yield the features (n, d) and the category path probabilities (n, classes) of each batch."""
    image_size = feature_model.input["pixels"].shape[1:3]
    size = limit_part(image_size, BATCH, WEIGHT)
    for start in range(0, len(rows), size):
        pixels = shrink(images[rows[start : start + size]], image_size)
        outputs = feature_model.predict_on_batch(fill_inputs(feature_model, pixels, None))
        yield outputs["features"][: len(pixels)], outputs[CATEGORY_PATH][: len(pixels)]
