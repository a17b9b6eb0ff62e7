"""Compare inference engines on the registered networks: photographs a second, bytes on disk, seconds to import.

Usage: python benchmarks/compare_engines.py [--seconds 3]

Needs Keras, and of the engines those that are to be compared: openvino, onnxruntime with tf2onnx and onnx, and
ai-edge-litert; what is not installed is left out. Weights are random: they do not matter for speed. Every
engine gets the same pixels, in turn, on as many threads as there are processors, and answers all heads.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from hangtag.models.registry import ARCHITECTURES, build_model

BATCHES = (1, 32, 256)
HEADS = {"category_path": 160, "attribute_0": 5, "attribute_1": 46, "attribute_2": 4, "attribute_3": 8}
THREADS = os.cpu_count() or 1
Ask = Callable[[Any], Any]


def main() -> None:
    """Print a line for each engine and network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3, help="to measure each batch size for")
    parser.add_argument("--networks", nargs="*", default=list(ARCHITECTURES))
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {THREADS} threads, Python {platform.python_version()}")
    for engine, package in PACKAGES.items():
        if find_spec(package):
            print(f"import {package}: {_time_import(package):.2f} s ({engine})")
    print("network | engine | MB | " + " | ".join(f"batch {size}, photographs a second" for size in BATCHES))
    for network in arguments.networks:
        model = build_model(network, image_size=(80, 60), heads=HEADS, color_mode="color", dtype="float32")
        for engine, prepare in ENGINES.items():
            needed = PACKAGES.get(engine.partition(",")[0])
            if needed is None or find_spec(needed):
                with tempfile.TemporaryDirectory() as folder:
                    ask = prepare(model, Path(folder))
                    size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6
                    speeds = [_measure(ask, batch, arguments.seconds) for batch in BATCHES]
                rates = " | ".join(f"{speed:.0f}" for speed in speeds)
                print(f"{network} | {engine} | {size:.1f} | {rates}", flush=True)


def _time_import(package: str) -> float:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {package}"], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return min(times)


def _measure(ask: Ask, batch: int, seconds: float) -> float:
    pixels = np.random.default_rng(0).integers(0, 256, (batch, 80, 60, 3), dtype=np.uint8)
    for _ in range(3):
        ask(pixels)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        ask(pixels)
        count += batch
    return count / (time.perf_counter() - started)


def _prepare_keras(model: Any, _folder: Path) -> Ask:
    return lambda pixels: model.predict_on_batch({"pixels": pixels})


def _prepare_openvino(model: Any, folder: Path, precision: str = "f32") -> Ask:
    import openvino

    path = folder / "network.xml"
    model.export(str(path), format="openvino", verbose=False)
    hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": THREADS}
    compiled = openvino.Core().compile_model(path, "CPU", hints)
    return lambda pixels: compiled({0: pixels})


def _prepare_onnx(model: Any, folder: Path) -> Ask:
    import onnxruntime

    path = folder / "network.onnx"
    model.export(str(path), format="onnx", verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pixels: session.run(None, {name: pixels})


def _prepare_litert(model: Any, folder: Path) -> Ask:
    from ai_edge_litert.interpreter import Interpreter

    path = folder / "network.tflite"
    model.export(str(path), format="litert", verbose=False)
    interpreter = Interpreter(str(path), num_threads=THREADS)
    place, prepared = interpreter.get_input_details()[0]["index"], None

    def ask(pixels: Any) -> Any:
        nonlocal prepared
        if prepared != pixels.shape:
            prepared = pixels.shape
            interpreter.resize_tensor_input(place, prepared)
            interpreter.allocate_tensors()
        interpreter.set_tensor(place, pixels)
        interpreter.invoke()
        return [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]

    return ask


PACKAGES = {"OpenVINO": "openvino", "ONNX Runtime": "onnxruntime", "LiteRT": "ai_edge_litert"}
ENGINES: dict[str, Callable[[Any, Path], Ask]] = {
    "Keras": _prepare_keras,
    "OpenVINO": _prepare_openvino,
    "OpenVINO, bfloat16": lambda model, folder: _prepare_openvino(model, folder, "bf16"),
    "ONNX Runtime": _prepare_onnx,
    "LiteRT": _prepare_litert,
}


if __name__ == "__main__":
    main()
