"""Stage `export`: write a run's model as a folder that classifies without training code."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.catalog.images import Pixels, shrink
from hangtag.config import ExportConfig
from hangtag.errors import ModelError, WorkspaceError
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import HeadProbs
from hangtag.inference.runs import EvaluatedItems, load_classifier, predict_items, select_items, select_runs
from hangtag.io import JsonObject, expand_home, hash_file, read_json, write_json, write_text
from hangtag.labels.dataset import LabeledItems, read_hash_distance, read_labeled_items
from hangtag.lock import LOCK, hold, sweep
from hangtag.manifest import StageRecord
from hangtag.metrics.comparison import compute_mcnemar
from hangtag.metrics.evaluated_runs import is_evaluated, require_evaluation
from hangtag.metrics.leakage import check_unseen
from hangtag.models.checkpoint import hash_run
from hangtag.models.description import DESCRIPTION
from hangtag.models.openvino import load_exported, save_network, save_onnx
from hangtag.models.out_of_distribution import (
    OUT_OF_DISTRIBUTION,
    PIXEL_STATISTICS,
    PixelStatistics,
    add_ood_score,
    compute_pixel_statistics,
    draw_ood_images,
    find_limit,
)
from hangtag.models.seen_images import ENTRY, FILE, write_seen
from hangtag.results import StageResult
from hangtag.serving.model_card import PHOTOGRAPH, write_card
from hangtag.workspace import STAGING, Workspace

# The largest allowed difference of a probability between Keras and the inference engine, both in float32 arithmetic, by
# the number format of the weights. For int8 only the accuracy is compared.
TOLERANCES = {"float32": 0.001, "float16": 0.02, "int8": 1.0}
# The number of photographs that int8 quantization is calibrated on.
EXAMPLES = 400
# Synthetic out-of-distribution images of each kind, to check the scores of a quantized network too.
NUM_OOD_IMAGES = 40
# The loss of accuracy on val through the engine's default arithmetic that is always allowed. A larger one is refused if
# it is not chance: one item of 100 that the engine alone gets wrong is a loss of 0.01 and no evidence.
ALLOWED_LOSS = 0.002
# The two-sided p-value of McNemar's test below which a loss is no chance, which is 0.05 for a loss alone.
CHANCE = 0.1
COPIED = (
    "architecture",
    "class_names",
    "image_size",
    "network_size",
    "preprocessing",
    "label_space",
    "words",
    "parameters",
    "flops",
    "run_id",
    "label_name",
    "tta_flip",
    "calibration",
    "train_counts",
    "train_splits",
    "pretrained",
    "metrics",
    "labels_digest",
    "versions",
)
FIGURES = ("n", "accuracy", "macro_f1", "ece", "confidence_interval")


@dataclass(frozen=True)
class Check:
    """The comparison of the inference engine with Keras on the items of val.

    Attributes:
        items: The number of items.
        difference: The largest difference of a probability, both in float32 arithmetic.
        keras_accuracy: The accuracy of Keras on the primary level.
        accuracy: The accuracy of the engine in its default arithmetic on this machine.
        tolerance: The largest allowed difference.
    """

    items: int
    difference: float
    keras_accuracy: float
    accuracy: float
    tolerance: float


def export(
    workspace: str | Path | Workspace,
    run_id: str,
    folder: str | Path,
    config: ExportConfig = ExportConfig(),  # noqa: B008  (frozen)
) -> StageResult:
    """Write a run's model for the inference engine, and compare its predictions with the run's on val.

    Writes `network.xml` and `network.bin`, `model.json`, `README.md` (the model card), `seen.safetensors` (hashes of
    the photographs that it was trained on) and, if requested, `network.onnx`. The folder has no training code and no
    photographs.

    Args:
        workspace: A workspace with the finished run.
        run_id: The run.
        folder: The folder to write to; an earlier export there is replaced.
        config: The settings of the export.

    Raises:
        WorkspaceError: There is no such run, it was trained on other labels, or the folder has other files.
        LeakError: The run was trained on items that its metrics were computed on.
        ModelError: The run cannot be loaded, or the predictions of the exported network differ too much.
        MissingExtraError: Keras is not installed.
    """
    workspace, target = Workspace.at(workspace), expand_home(folder).absolute()
    sweep(workspace)
    (run_id,) = select_runs(workspace, [run_id])
    run, evaluation = workspace.run(run_id), workspace.evaluation(run_id)
    _check_folder(target)
    with hold("export", workspace, reads=[workspace.prepared, workspace.labels, run, evaluation], writes=[target]):
        return _export_run(workspace, run_id, target, config)


def _export_run(workspace: Workspace, run_id: str, target: Path, config: ExportConfig) -> StageResult:
    labelled = read_labeled_items(workspace)
    # An evaluation from before the run was trained again has the metrics of another network.
    report = None
    if is_evaluated(workspace, run_id):
        require_evaluation(workspace, run_id)
        report = workspace.evaluation(run_id) / "report.json"
    inputs = {"run": hash_run(workspace, run_id), "labels": labelled.digest}
    if report:
        inputs["evaluation"] = hash_file(report)
    record = StageRecord("export", target, inputs, config)
    if current := record.load_if_unchanged():
        return current
    target = record.begin()
    classifier = load_classifier(workspace, run_id, labelled)
    figures = _read_figures(report)
    evaluated = labelled.table.filter(pl.col("split").is_in(["val", *figures]))
    check_unseen(classifier, labelled, evaluated, read_hash_distance(workspace))
    train, val = (_select_labelled(labelled, classifier, split) for split in ("train", "val"))
    model = add_ood_score(classifier.model, labelled.images, train["image_index"].to_numpy().astype(np.int64))
    hashes = save_network(target, model, weights=config.weights, examples=_take_examples(labelled, train, model))
    description = {"format": classifier.description["format"]}
    description |= {key: classifier.description[key] for key in COPIED if key in classifier.description}
    network = {"engine": "openvino", "stored_as": config.weights, **hashes}
    description |= {"network": network} | figures
    paths = [target / name for name in ("network.xml", "network.bin", DESCRIPTION, "README.md")]
    if classifier.seen:
        path, description[ENTRY] = write_seen(target, classifier.seen)
        paths.append(path)
    else:
        (target / FILE).unlink(missing_ok=True)
    write_json(target / DESCRIPTION, description)
    check, ood_scores = _compare_networks(classifier, target, labelled, val, TOLERANCES[config.weights])
    train_rows, val_rows = (items["image_index"].to_numpy().astype(np.int64) for items in (train, val))
    description[OUT_OF_DISTRIBUTION] = limit_distribution(labelled.images, train_rows, val_rows, ood_scores)
    description["check"] = asdict(check)
    write_json(target / DESCRIPTION, description)
    write_text(target / "README.md", write_card(description))
    if config.onnx:
        paths.append(save_onnx(target, model))
    size = sum(path.stat().st_size for path in paths)
    counts = {"megabytes": round(size / 1e6, 1), "checked": check.items, "difference": check.difference}
    return record.finish(counts | {"val_accuracy": round(check.accuracy, 4)}, paths)


def limit_distribution(
    images: Pixels,
    train_rows: npt.NDArray[np.int64],
    val_rows: npt.NDArray[np.int64],
    distances: npt.NDArray[np.float32],
) -> JsonObject:
    """Return the entry of `model.json` that says which photographs are in distribution.

    Args:
        images: uint8 (N, H, W, 3).
        train_rows: Rows of the training photographs, int64 (n,).
        val_rows: Rows of the validation photographs, int64 (m,).
        distances: The network's output `ood_score` for the validation photographs, (m,).
    """
    limit, statistics = find_limit(distances), PixelStatistics.fit(images, train_rows, val_rows)
    is_inside = statistics.measure(compute_pixel_statistics(images, val_rows)) <= statistics.limit
    share = round(float((is_inside & (distances <= limit)).mean()), 4)
    return {"limit": limit, "in_distribution_share": share, PIXEL_STATISTICS: statistics.to_json()}


def _check_folder(folder: Path) -> None:
    held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    # Files of an interrupted export may be replaced.
    if held - {STAGING, LOCK} and not (folder / "network.xml").is_file():
        raise WorkspaceError(
            "The folder has files that are not an export of hangtag.",
            allowed="Allowed: a new or empty folder, or an earlier export.",
            received=str(folder),
        )


def _select_labelled(labelled: LabeledItems, classifier: Classifier, split: str) -> pl.DataFrame:
    items = select_items(labelled, classifier.label_space, [split])
    if items.is_empty():
        raise WorkspaceError(f"There are no items in the split {split}.", hint="Clean a larger catalogue.")
    return items


def _take_examples(labelled: LabeledItems, items: pl.DataFrame, model: Any) -> list[dict[str, npt.NDArray[Any]]]:
    """Return network inputs for quantization: photographs without names, and out-of-distribution images, one each."""
    rows = items["image_index"].to_numpy()[:: max(len(items) // EXAMPLES, 1)][:EXAMPLES]
    size = model.input["pixels"].shape[1:3]
    pixels = np.concatenate([shrink(labelled.images[rows], size), draw_ood_images(size, NUM_OOD_IMAGES)])
    others = {
        name: np.zeros((1, *each.shape[1:]), each.dtype) for name, each in model.input.items() if name != "pixels"
    }
    return [{"pixels": photograph[None], **others} for photograph in pixels]


def _read_figures(report: Path | None) -> JsonObject:
    """Return the metrics of each split on the primary level, from the run's evaluation, by what they are measured from.

    Returns:
        `figures`, of photographs alone, as the export is used, and for a run that reads names `figures_with_names`, of
        photographs with their names. Each split's metrics have `input`, which says so. Empty without an evaluation.
    """
    if report is None:
        return {"figures": {}}
    content = read_json(report)
    measured = {"figures": (PHOTOGRAPH, content["splits"])}
    if alone := content.get("photograph_alone"):
        measured = {
            "figures": (PHOTOGRAPH, alone["splits"]),
            "figures_with_names": (content["input"], content["splits"]),
        }
    return {
        name: {
            split: {"input": source} | {key: figures[key] for key in FIGURES if key in figures}
            for split, figures in splits.items()
        }
        for name, (source, splits) in measured.items()
    }


def _compare_networks(
    classifier: Classifier, folder: Path, labelled: LabeledItems, val: pl.DataFrame, tolerance: float
) -> tuple[Check, npt.NDArray[np.float32]]:
    """Compare the predictions of both networks on all photographs of val.

    Returns:
        The comparison, and the out-of-distribution score of each photograph in the exported network.

    Raises:
        ModelError: The predictions differ too much.
    """

    def predict(title: str, model: Any = None) -> HeadProbs:
        chosen = replace(classifier, model=model) if model else classifier
        return predict_items(chosen, labelled, val, title, with_names=False)

    wanted = predict("Predicting with Keras")
    exact = predict("Predicting with the engine in float32", load_exported(folder, exact=True).model)
    found = predict("Predicting with the engine", load_exported(folder).model)
    differences = [np.abs(exact.by_head[head] - probs).max(initial=0) for head, probs in wanted.by_head.items()]
    keras_correct, correct = EvaluatedItems(val, wanted).correct, EvaluatedItems(val, found).correct
    check = Check(
        items=len(val),
        difference=round(float(max(differences)), 6),
        keras_accuracy=float(keras_correct.mean()),
        accuracy=float(correct.mean()),
        tolerance=tolerance,
    )
    if check.difference > tolerance or is_less_accurate(correct, keras_correct):
        loss = round(check.keras_accuracy - check.accuracy, 4)
        raise ModelError(
            "The predictions of the exported network differ from those of the run.",
            allowed=f"Allowed: a difference of {tolerance} in probabilities; a loss of accuracy of {ALLOWED_LOSS}, or "
            "a larger one that may be chance.",
            received=f"a difference of {check.difference}, a loss of accuracy of {loss} on {check.items} items",
        )
    return check, np.asarray(found.ood_scores, np.float32)


def is_less_accurate(correct: npt.NDArray[np.bool_], baseline_correct: npt.NDArray[np.bool_]) -> bool:
    """Return whether predictions are less accurate than others by more than `ALLOWED_LOSS`, and not by chance.

    Args:
        correct: Whether each prediction is right, (n,), n above 0.
        baseline_correct: Whether each of the others is, for the same items.
    """
    lost, gained = int((baseline_correct & ~correct).sum()), int((correct & ~baseline_correct).sum())
    return lost - gained > ALLOWED_LOSS * len(correct) and compute_mcnemar(gained, lost) < CHANCE
