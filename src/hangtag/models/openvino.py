"""Export Keras models to OpenVINO and ONNX, and load exported models for inference without Keras."""

import logging
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hangtag.errors import MissingExtraError, ModelError
from hangtag.io import JsonObject, hash_file, name_refusals, write_whole
from hangtag.models.checkpoint import SavedModel
from hangtag.models.description import AGAIN, Description, read_description
from hangtag.models.network_file import NETWORK, NETWORK_WEIGHTS, read_network
from hangtag.models.seen_images import read_seen
from hangtag.processors import count_processors

if TYPE_CHECKING:
    import openvino
    from keras import Model

ONNX = "network.onnx"
Arrays = dict[str, npt.NDArray[Any]]


def _import_openvino() -> Any:
    """Import OpenVINO when it is needed, because the import takes half a second."""
    # OpenVINO sends usage data through this package; without it nothing is sent.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino  # noqa: PLC0415

    return openvino


class ExportedNetwork:
    """A compiled network with the prediction method of a `keras.Model`, safe to use from several threads.

    Args:
        path: The path of `network.xml`; `network.bin` is in the same folder.
        streams: The number of requests that are computed in parallel. The threads are divided among them.
        threads: The number of threads; 0 uses all processors.
        exact: Whether to compute in float32 even if the processor is faster in bfloat16, which changes probabilities by
            some thousandths.
        described: The description whose hashes, inputs and outputs the network must have; None skips this check.

    Attributes:
        input: The names of its inputs.
    """

    def __init__(
        self,
        path: Path,
        *,
        streams: int = 1,
        threads: int = 0,
        exact: bool = False,
        described: Description | None = None,
    ) -> None:
        openvino = _import_openvino()
        # Threads that are bound to a processor wait there for this process's other threads, which decode, and for other
        # processes, whose threads would be bound to the same ones.
        hints: JsonObject = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": threads or count_processors(),
            "ENABLE_CPU_PINNING": False,
        }
        if exact:
            hints["INFERENCE_PRECISION_HINT"] = "f32"
        self._path, self._described, self._hints = path, described, hints
        core = openvino.Core()
        try:
            self._compiled = core.compile_model(read_network(core, path, described), "CPU", hints)
        except RuntimeError as error:
            raise ModelError("The model's network cannot be read.", received=str(path)) from error
        self.input = tuple(port.any_name for port in self._compiled.inputs)
        self._thread_local = threading.local()
        self._warm_up()

    def _warm_up(self) -> None:
        """Predict one batch in the thread that loads the network.

        OpenVINO's Python binding builds static tables when it first converts an array. Two threads that do this at the
        same time deadlock: one holds the GIL and waits for the tables' lock, and the other one the reverse.
        """
        try:
            self.predict_on_batch({port.any_name: _make_zeros(port) for port in self._compiled.inputs})
        except RuntimeError as error:
            raise ModelError("The model's network cannot be run.", received=str(self._path)) from error

    def predict_on_batch(self, inputs: Arrays) -> Arrays:
        """Predict a batch.

        Args:
            inputs: Each input by its name.

        Returns:
            Each output by its name, float32 (n, ...).

        Raises:
            ModelError: The engine cannot compute the network.
        """
        if not hasattr(self._thread_local, "request"):
            self._thread_local.request = self._compiled.create_infer_request()
        try:
            results = self._thread_local.request.infer(inputs)
        except RuntimeError as error:
            raise ModelError("The model's network cannot be computed.", hint=AGAIN, received=str(self._path)) from error
        return {output.any_name: np.asarray(results[output], np.float32) for output in self._compiled.outputs}

    def read_graph(self) -> "tuple[openvino.Model, Callable[[openvino.Model], Any]]":
        """Read the network's graph again; return it and a function that compiles a graph with the same settings."""
        core = _import_openvino().Core()
        network = read_network(core, self._path, self._described)
        return network, lambda network: core.compile_model(network, "CPU", self._hints)


def _make_zeros(port: Any) -> npt.NDArray[Any]:
    """Build an array of zeros for an input; dimensions of any length get the length 1."""
    shape = [side.get_length() if side.is_static else 1 for side in port.get_partial_shape()]
    return np.zeros(shape, port.get_element_type().to_dtype())


def save_network(
    folder: Path, model: "Model", *, weights: str = "float32", examples: Sequence[Arrays] = ()
) -> dict[str, str]:
    """Export a `keras.Model` whose inputs and outputs are mappings to `network.xml` and `network.bin`.

    Args:
        folder: The folder to write to.
        model: The model.
        weights: The type of the stored weights: `float32`, `float16`, or `int8`, which also quantizes activations.
        examples: Inputs of one photograph each, from which `int8` estimates the ranges of activations.

    Returns:
        The hashes of both files, for the entry `network` of `model.json`.

    Raises:
        MissingExtraError: `weights` is `int8`, and NNCF is not installed.
    """
    openvino = _import_openvino()
    with tempfile.TemporaryDirectory() as scratch, name_refusals(Path(scratch)):
        model.export(f"{scratch}/keras.xml", format="openvino", verbose=False)
        network = openvino.Core().read_model(f"{scratch}/keras.xml")
        _name_ports(network, model)
        if weights == "int8":
            network = _quantize_int8(network, examples)
        openvino.save_model(network, f"{scratch}/{NETWORK}", compress_to_fp16=weights != "float32")
        for name in (NETWORK_WEIGHTS, NETWORK):
            with write_whole(folder / name) as temporary:
                temporary.write_bytes((Path(scratch) / name).read_bytes())
    return {"sha256": hash_file(folder / NETWORK), "weights_sha256": hash_file(folder / NETWORK_WEIGHTS)}


def _quantize_int8(network: "openvino.Model", examples: Sequence[Arrays]) -> "openvino.Model":
    """Quantize a network's convolutions to int8, with ranges estimated from examples.

    The matrix products of the heads and of the out-of-distribution score are about 1 % of the work and need to be
    precise, so they are not quantized.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    if find_spec("nncf") is None:
        raise MissingExtraError("int8 needs a quantiser.", hint="pip install nncf")
    import nncf  # noqa: PLC0415

    ranges = nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
    nncf.set_log_level(logging.ERROR)
    matrix_products = [node.get_friendly_name() for node in network.get_ops() if node.get_type_name() == "MatMul"]
    return nncf.quantize(
        network,
        nncf.Dataset(list(examples)),
        subset_size=len(examples),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=matrix_products),
        # The fast correction takes the errors of the layers before for small; a network of few layers then answers 2 %
        # of the photographs otherwise than in float32, and with this one 0.7 % (docs/experiments.md).
        fast_bias_correction=False,
        # The whole range, because clipped activations would make out-of-distribution images look in-distribution.
        advanced_parameters=nncf.AdvancedQuantizationParameters(activations_range_estimator_params=ranges),
    )


def save_onnx(folder: Path, model: "Model") -> Path:
    """Export a `keras.Model` to `network.onnx`, for other inference engines, and return its path.

    Raises:
        MissingExtraError: tf2onnx is not installed.
    """
    if find_spec("tf2onnx") is None:
        raise MissingExtraError("ONNX needs a converter.", hint="pip install tf2onnx onnx")
    with tempfile.TemporaryDirectory() as scratch, name_refusals(Path(scratch)):
        model.export(f"{scratch}/{ONNX}", format="onnx", verbose=False)
        with write_whole(folder / ONNX) as temporary:
            temporary.write_bytes((Path(scratch) / ONNX).read_bytes())
    return folder / ONNX


def _name_ports(network: "openvino.Model", model: "Model") -> None:
    """Name the inputs and outputs as in the Keras model, which flattens mappings in the order of their sorted keys."""
    for ports, names in ((network.inputs, sorted(model.input)), (network.outputs, sorted(model.output))):
        for port, name in zip(ports, names, strict=True):
            port.get_tensor().set_names({name})


def load_exported(folder: Path, *, streams: int = 1, threads: int = 0, exact: bool = False) -> SavedModel:
    """Load an exported model from its folder. Only a graph of known operations is read, and no code is run.

    Args:
        folder: A folder that `hangtag export` wrote.
        streams: See `ExportedNetwork`.
        threads: See `ExportedNetwork`.
        exact: See `ExportedNetwork`.

    Raises:
        ModelError: A file is missing, damaged or changed, or does not fit the description.
    """
    described = read_description(folder)
    seen = read_seen(folder, described.content)
    network = ExportedNetwork(folder / NETWORK, streams=streams, threads=threads, exact=exact, described=described)
    return SavedModel(
        network,
        described.label_space,
        described.vocabulary,
        described.image_size,
        described.network_size,
        described.content,
        seen,
    )
