"""A network for the inference engine OpenVINO: written from Keras, read without any training code."""

import logging
import os
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
from hangtag.io import hash_file, name_refusals, write_whole
from hangtag.models.checkpoint import SavedModel
from hangtag.models.description import AGAIN, Description, read_description
from hangtag.models.network_file import NETWORK, NETWORK_WEIGHTS, read_network
from hangtag.models.seen_images import read_seen

if TYPE_CHECKING:
    import openvino

ONNX = "network.onnx"
Arrays = dict[str, npt.NDArray[Any]]


def _import_openvino() -> Any:
    """Import the engine when it is needed: it takes half a second, which `hangtag --help` need not wait."""
    # It would report its use to its makers; without this package it has nothing to report with.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino  # noqa: PLC0415

    return openvino


class ExportedNetwork:
    """A compiled network with the methods of a `keras.Model`, for any number of threads.

    Args:
        path: Its `network.xml`, `network.bin` beside it.
        streams: Requests that are computed side by side; the processors are shared out among them.
        threads: Processors to use; 0 takes all.
        exact: Compute in float32 even where the processor is quicker in bfloat16, which changes probabilities by
            some thousandths.
        described: Whose hashes, inputs and outputs it must have; None holds it against nothing.

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
        hints: dict[str, Any] = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": threads or os.cpu_count() or 1}
        if exact:
            hints["INFERENCE_PRECISION_HINT"] = "f32"
        self._path, self._described, self._hints = path, described, hints
        core = openvino.Core()
        try:
            self._compiled = core.compile_model(read_network(core, path, described), "CPU", hints)
        except RuntimeError as error:
            raise ModelError("The model's network cannot be read.", received=str(path)) from error
        self.input = tuple(each.any_name for each in self._compiled.inputs)
        self._own = threading.local()
        self._warm_up()

    def _warm_up(self) -> None:
        """Run one batch in the loading thread.

        The engine's binding builds static tables at its first conversion of an array. Two threads that arrive there
        together wait for each other for ever: one holds Python's lock and wants the table's, the other the reverse.
        """
        try:
            self.predict_on_batch({end.any_name: _make_blank(end) for end in self._compiled.inputs})
        except RuntimeError as error:
            raise ModelError("The model's network cannot be run.", received=str(self._path)) from error

    def predict_on_batch(self, inputs: Arrays) -> Arrays:
        """Return every output by its name, float32 (n, ...)."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        try:
            results = self._own.request.infer(inputs)
        except RuntimeError as error:
            raise ModelError("The model's network cannot be computed.", hint=AGAIN, received=str(self._path)) from error
        return {output.any_name: np.asarray(results[output], np.float32) for output in self._compiled.outputs}

    def read_graph(self) -> "tuple[openvino.Model, Callable[[openvino.Model], Any]]":
        """Read the network's graph again, and return it with what compiles a graph for this machine."""
        core = _import_openvino().Core()
        network = read_network(core, self._path, self._described)
        return network, lambda network: core.compile_model(network, "CPU", self._hints)


def _make_blank(end: Any) -> npt.NDArray[Any]:
    """Build an array of zeros that an input takes, with 1 for each side that may be any."""
    sides = [side.get_length() if side.is_static else 1 for side in end.get_partial_shape()]
    return np.zeros(sides, end.get_element_type().to_dtype())


def save_network(
    folder: Path, model: Any, *, weights: str = "float32", examples: Sequence[Arrays] = ()
) -> dict[str, str]:
    """Write a `keras.Model` whose inputs and outputs are mappings as `network.xml` and `network.bin`.

    Args:
        folder: Where to.
        model: The model.
        weights: How they are kept: `float32`, `float16`, or `int8`, which also computes with whole numbers.
        examples: Inputs of one photograph each, which tell `int8` the ranges of values.

    Returns:
        The hashes of both, as `model.json` has them.

    Raises:
        MissingExtraError: What quantises it is not installed.
    """
    openvino = _import_openvino()
    with tempfile.TemporaryDirectory() as scratch, name_refusals(Path(scratch)):
        model.export(f"{scratch}/keras.xml", format="openvino", verbose=False)
        network = openvino.Core().read_model(f"{scratch}/keras.xml")
        _name_ends(network, model)
        if weights == "int8":
            network = _quantize_int8(network, examples)
        openvino.save_model(network, f"{scratch}/{NETWORK}", compress_to_fp16=weights != "float32")
        for name in (NETWORK_WEIGHTS, NETWORK):
            with write_whole(folder / name) as temporary:
                temporary.write_bytes((Path(scratch) / name).read_bytes())
    return {"sha256": hash_file(folder / NETWORK), "weights_sha256": hash_file(folder / NETWORK_WEIGHTS)}


def _quantize_int8(network: "openvino.Model", examples: Sequence[Arrays]) -> "openvino.Model":
    """Return a network whose convolutions compute with whole numbers of 8 bits, their ranges taken from examples.

    The heads and what tells novelty are a hundredth of the work, and matter most: they stay as they are.

    Raises:
        MissingExtraError: What quantises it is not installed.
    """
    if find_spec("nncf") is None:
        raise MissingExtraError("int8 needs a quantiser.", hint="pip install nncf")
    import nncf  # noqa: PLC0415

    ranges = nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
    nncf.set_log_level(logging.ERROR)
    heads = [each.get_friendly_name() for each in network.get_ops() if each.get_type_name() == "MatMul"]
    return nncf.quantize(
        network,
        nncf.Dataset(list(examples)),
        subset_size=len(examples),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=heads),
        # The whole range, not what is usual: cut off, what is unlike all that was learnt would look familiar.
        advanced_parameters=nncf.AdvancedQuantizationParameters(activations_range_estimator_params=ranges),
    )


def save_onnx(folder: Path, model: Any) -> Path:
    """Write a `keras.Model` as `network.onnx`, for other engines than ours.

    Raises:
        MissingExtraError: What converts it is not installed.
    """
    if find_spec("tf2onnx") is None:
        raise MissingExtraError("ONNX needs a converter.", hint="pip install tf2onnx onnx")
    with tempfile.TemporaryDirectory() as scratch, name_refusals(Path(scratch)):
        model.export(f"{scratch}/{ONNX}", format="onnx", verbose=False)
        with write_whole(folder / ONNX) as temporary:
            temporary.write_bytes((Path(scratch) / ONNX).read_bytes())
    return folder / ONNX


def _name_ends(network: "openvino.Model", model: Any) -> None:
    """Name inputs and outputs as the Keras model does, which flattens mappings in the order of their keys."""
    for ends, names in ((network.inputs, sorted(model.input)), (network.outputs, sorted(model.output))):
        for end, name in zip(ends, names, strict=True):
            end.get_tensor().set_names({name})


def load_exported(folder: Path, *, streams: int = 1, exact: bool = False) -> SavedModel:
    """Load an exported model from its folder; only a graph of known operations is read, nothing in it is run.

    Args:
        folder: What `hangtag export` wrote.
        streams: See `ExportedNetwork`.
        exact: See `ExportedNetwork`.

    Raises:
        ModelError: A file is missing, damaged, changed, or does not fit its description.
    """
    described = read_description(folder)
    seen = read_seen(folder, described.content)
    network = ExportedNetwork(folder / NETWORK, streams=streams, exact=exact, described=described)
    return SavedModel(
        network,
        described.outputs,
        described.vocabulary,
        described.image_size,
        described.network_size,
        described.content,
        seen,
    )
