"""Measure how near classification comes to what the machine allows: network, decoding, and both from files to labels.

Usage: python benchmarks/measure_limits.py CATALOG.zip [--model FOLDER] ... [--files 6000] [--rounds 3]

For each exported model, on the same JPEG files: photographs a second that are decoded, that the network computes by
itself in batches of 64, and that go from files to labels, each with a thread for every processor, in turn; the median
of the rounds is printed. The limit of the network is the number of its operations over those a second of a large
matrix product, in 8 bits by the same engine. Without --model it is the model that comes with hangtag.
"""

import argparse
import math
import os
import platform
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.catalog.images import decode_photograph
from hangtag.inference.classifier import Classifier
from hangtag.inference.streaming import CHUNK, MAX_PIXELS, classify_photographs
from hangtag.models.batch_predict import fill_inputs
from hangtag.models.layers import import_keras
from hangtag.models.network_file import NETWORK
from hangtag.models.openvino import ExportedNetwork, save_network
from hangtag.models.shipped import SHIPPED

THREADS = os.cpu_count() or 1
# The rows, columns and layers of the matrix product.
SIDE, LAYERS = 2048, 4


def main() -> None:
    """Print a table with a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--model", type=Path, action="append")
    parser.add_argument("--files", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = _unpack(arguments.catalog, Path(folder), arguments.files)
        product, ours = _build_product(), [_Model(path, files) for path in arguments.model or [SHIPPED]]
        rates: list[float] = []
        for _ in range(arguments.rounds):
            rates.append(product())
            for model in ours:
                model.measure()
    print(f"{platform.machine()}, Python {platform.python_version()}, {THREADS} threads, {len(files):,} files")
    print(f"a matrix product of {SIDE} x {SIDE} in 8 bits: {statistics.median(rates) / 1e9:.0f} GFLOP/s")
    print("| model | MFLOPs | network | of the limit | decoding | files to labels | of the slower of both |")
    print("| --- |" + " --- |" * 6)
    limit = statistics.median(rates)
    for model in ours:
        network, decoding, whole = (statistics.median(values) for values in model.rates.values())
        print(
            f"| {model.name} | {model.flops / 1e6:.0f} | {network:,.0f} | {network * model.flops / limit:.0%} "
            f"| {decoding:,.0f} | {whole:,.0f} | {whole / min(network, decoding):.0%} |"
        )
    if len(ours) > 1:
        medians = [statistics.median(model.rates["whole"]) for model in ours]
        ratios = ", ".join(f"{each / medians[0]:.2f}" for each in medians)
        print(f"files to labels, times as fast as the first: {ratios}")


class _Model:
    """An exported model, and photographs a second of its three measurements, by round."""

    def __init__(self, path: Path, files: list[Path]) -> None:
        self.classifier, self.files = Classifier.load(path, streams=THREADS), files
        self.name = f"{self.classifier.name} ({self.classifier.description.get('architecture')})"
        self.flops = _count_flops(self.classifier.model.read_graph()[0])
        self.rates: dict[str, list[float]] = {"network": [], "decoding": [], "whole": []}
        self._contents = [path.read_bytes() for path in files]
        pixels = [self._decode(content) for content in self._contents[:CHUNK]]
        self._inputs = fill_inputs(self.classifier.model, np.stack(pixels), None)

    def measure(self) -> None:
        count = len(self.files)
        parts = [self._contents[start : start + CHUNK] for start in range(0, count, CHUNK)]
        self.rates["network"].append(count / _time(self._predict, range(math.ceil(count / CHUNK))))
        self.rates["decoding"].append(count / _time(self._decode_all, parts))
        started = time.perf_counter()
        answered = sum(1 for _ in classify_photographs(self.classifier, self.files))
        self.rates["whole"].append(answered / (time.perf_counter() - started))

    def _predict(self, _: int) -> None:
        self.classifier.model.predict_on_batch(self._inputs)

    def _decode(self, content: bytes) -> Any:
        return decode_photograph(content, self.classifier.image_size, MAX_PIXELS).pixels

    def _decode_all(self, contents: list[bytes]) -> None:
        for content in contents:
            self._decode(content)


def _time(call: Callable[[Any], None], items: Any) -> float:
    """Return the seconds that a call of each item takes in as many threads as there are processors."""
    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(call, items))
    return time.perf_counter() - started


def _count_flops(network: Any) -> int:
    """Count the operations of the convolutions and matrix products for one photograph."""
    return sum(_count_products(node) for node in network.get_ordered_ops())


def _count_products(node: Any) -> int:
    if node.get_type_name() not in ("Convolution", "MatMul"):
        return 0
    output = [side.get_length() for side in list(node.get_output_partial_shape(0))[1:]]
    kernel = list(node.input_value(1).get_shape())
    # (filters, channels, height, width) of a convolution, two sides of a matrix.
    inner = math.prod(kernel[1:]) if node.get_type_name() == "Convolution" else math.prod(kernel) // output[-1]
    return int(2 * math.prod(output) * inner)


def _build_product() -> Callable[[], float]:
    """Return a function that measures the operations a second of a large matrix product in 8 bits."""
    keras = import_keras()
    inputs = keras.Input((1, SIDE // 64, 64), name="pixels")
    x = keras.layers.Conv2D(SIDE, 1)(inputs)
    for _ in range(LAYERS):
        x = keras.layers.Conv2D(SIDE, 1)(x)
    model = keras.Model({"pixels": inputs}, {"product": x})
    examples = [{"pixels": np.random.default_rng(0).random((1, 1, SIDE // 64, 64), np.float32)}]
    with tempfile.TemporaryDirectory() as folder:
        save_network(Path(folder), model, weights="int8", examples=examples)
        network = ExportedNetwork(Path(folder) / NETWORK)
    batch = {"pixels": np.random.default_rng(1).random((64, 1, SIDE // 64, 64), np.float32)}
    flops = 2 * 64 * (SIDE // 64) * (64 * SIDE + LAYERS * SIDE * SIDE)

    def measure() -> float:
        times = []
        for _ in range(8):
            started = time.perf_counter()
            network.predict_on_batch(batch)
            times.append(time.perf_counter() - started)
        return flops / min(times)

    return measure


def _unpack(catalog: Path, folder: Path, count: int) -> list[Path]:
    with zipfile.ZipFile(catalog) as archive:
        names = [name for name in sorted(archive.namelist()) if name.lower().endswith(".jpg")][:count]
        for number, name in enumerate(names):
            (folder / f"{number:06}.jpg").write_bytes(archive.read(name))
    return sorted(folder.iterdir())


if __name__ == "__main__":
    main()
