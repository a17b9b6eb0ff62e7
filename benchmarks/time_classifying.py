"""Time classification from JPEG files on disk to labels: an export, and Keras on the same model.

Usage: python benchmarks/time_classifying.py CATALOG.zip --workspace W --run RUN
                                            [--weights int8] [--files 6000] [--rounds 3]

The run is exported to a temporary folder. The photographs are unpacked to one, once. Then both classify the same
files, in turn: hangtag through `classify_photographs`, and Keras's `predict` on the run, fed by
`keras.utils.image_dataset_from_directory` as its guide has it. Both answer without mirrored photographs unless
the model wants them, which Keras's `predict` alone does not do: it is then asked once for each photograph.
"""

import argparse
import platform
import statistics
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from hangtag.config import ExportConfig
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import Prediction
from hangtag.inference.streaming import classify_photographs
from hangtag.models.checkpoint import load_saved
from hangtag.models.layers import import_keras
from hangtag.stages.export import export
from hangtag.workspace import Workspace


def main() -> None:
    """Print photographs a second of both, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--weights", default="int8", help="how the export keeps them: float32, float16 or int8")
    parser.add_argument("--files", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, model = Path(scratch, "photographs"), Path(scratch, "model")
        files = _unpack(arguments.catalog, folder, arguments.files)
        export(arguments.workspace, arguments.run, model, ExportConfig(weights=arguments.weights))
        classifier = Classifier.load(model, streams=2)
        network = load_saved(Workspace.at(arguments.workspace).run(arguments.run)).model
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            ours.append(_time_hangtag(classifier, files))
            theirs.append(_time_keras(network, folder, classifier.image_size, len(files)))
    print(f"{platform.machine()}, Python {platform.python_version()}, {len(files):,} files")
    print(f"{arguments.run}, {arguments.weights}")
    print(f"hangtag: {_show(ours)} photographs a second")
    print(f"keras: {_show(theirs)} photographs a second")
    print(f"{statistics.median(ours) / statistics.median(theirs):.1f} times as fast")


def _unpack(catalog: Path, folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    with zipfile.ZipFile(catalog) as archive:
        names = [name for name in sorted(archive.namelist()) if name.lower().endswith(".jpg")][:count]
        for number, name in enumerate(names):
            (folder / f"{number:06}.jpg").write_bytes(archive.read(name))
    return sorted(folder.iterdir())


def _time_hangtag(classifier: Classifier, files: list[Path]) -> float:
    started = time.perf_counter()
    answered = sum(isinstance(outcome, Prediction) for outcome in classify_photographs(classifier, files))
    return answered / (time.perf_counter() - started)


def _time_keras(network: Any, folder: Path, image_size: tuple[int, int], count: int) -> float:
    keras = import_keras()
    started = time.perf_counter()
    dataset = keras.utils.image_dataset_from_directory(
        str(folder),
        labels=None,
        image_size=image_size,
        batch_size=64,
        shuffle=False,
        verbose=False,
    )
    network.predict(dataset.map(lambda pixels: {"pixels": pixels}), verbose=0)
    return count / (time.perf_counter() - started)


def _show(speeds: list[float]) -> str:
    return f"{statistics.median(speeds):,.0f} ({min(speeds):,.0f} to {max(speeds):,.0f})"


if __name__ == "__main__":
    main()
