"""Out-of-sample probabilities from a cross-validation, from a run, or from an exported model."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hangtag.auditing.category_mapping import MODEL_CLASS, map_categories, read_category_mapping, tabulate_classes
from hangtag.auditing.evidence import (
    TRAINED_ON,
    UNKNOWN_CATEGORY,
    UNLIKE,
    OutOfSampleProbs,
    find_category_paths,
    find_training_items,
)
from hangtag.auditing.issues import NotApplicableError
from hangtag.errors import ModelError, WorkspaceError
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import HeadProbs
from hangtag.inference.runs import (
    KnownProbs,
    can_read_names,
    predict_new_photographs,
    predict_photographs,
)
from hangtag.io import read_json
from hangtag.labels.dataset import LabeledItems
from hangtag.labels.image_hashes import Keys, PhotographHashes
from hangtag.manifest import require_manifest
from hangtag.models.checkpoint import hash_run
from hangtag.models.description import read_entries
from hangtag.models.label_space import CATEGORY_PATH, NO_VALUE, LabelSpace, Probs
from hangtag.train_config import SPLITS
from hangtag.workspace import Workspace

# An exported model knows its classes without any item of this catalogue.
MIN_CLASS_ITEMS = 1


def predict_with_model(
    classifier: Classifier,
    labelled: LabeledItems,
    items: pl.DataFrame,
    hashes: PhotographHashes,
    category_mapping: str = "",
    known: KnownProbs | None = None,
) -> OutOfSampleProbs:
    """Predict a catalogue's items from all their photographs with an exported model, mapped to its own categories.

    Left out are items whose category the model does not have, those that are out of distribution, and those whose
    photographs the model was trained on (`find_training_items`).

    Args:
        classifier: The model.
        labelled: The catalogue.
        items: The table of all its items, with `split`.
        hashes: The hashes of the first photograph of each, then of the others.
        category_mapping: A file of matches that a person chose; see `read_category_mapping`.
        known: What the same model predicted earlier; these photographs are not predicted again.

    Raises:
        SettingsError: That file cannot be used.
        NotApplicableError: The model has none of the categories, or was trained on all items that it has.
        ModelError: The photographs have another size than the model's.
    """
    height, width = labelled.images.shape[1:3]
    if (height, width) != classifier.image_size:
        wanted = "x".join(map(str, classifier.image_size))
        raise ModelError(
            "The photographs are not of the model's size.",
            hint=f"Prepare the catalogue with --image-size {wanted}.",
            received=f"{height}x{width}",
        )
    schema = labelled.schema
    model, headings = classifier.label_space, schema.by_column
    by_hand = (
        read_category_mapping(Path(category_mapping), schema.levels, headings, model) if category_mapping else None
    )
    mapping = map_categories(items, schema.levels, schema.missing, model, by_hand)
    shown = mapping.table.rename({level: headings.get(level, level) for level in schema.levels})
    tables = {"category_mapping.csv": shown, "model_classes.csv": tabulate_classes(model)}
    if (mapping.given == NO_VALUE).all():
        raise NotApplicableError(
            "The model has none of the catalogue's categories by their names. Match them by hand in a copy of "
            "audit/category_mapping.csv, and name it with --category-mapping.",
            tables,
        )
    with_names = can_read_names(classifier, labelled)
    title = f"Predicting with {classifier.name or 'the model'}"
    probs = None
    if with_names:
        asked = items.with_columns(image_index=pl.arange(len(items)))
        head_probs, photographs = predict_photographs(classifier, labelled, asked, title, with_names=True)
    else:
        head_probs, photographs, probs = _predict_again(classifier, labelled, items, hashes.pixels, known, title)
    usable = mapping.given != NO_VALUE
    is_unlike = np.zeros(len(items), bool) if head_probs.ood_scores is None else head_probs.ood_scores > 1
    usable &= ~is_unlike
    if not usable.any():
        raise NotApplicableError(
            "All photographs of categories that the model has are unlike those that it was trained on.", tables
        )
    training_items = find_training_items(classifier, labelled, items, hashes)
    rows = np.flatnonzero(usable & ~training_items.mask)
    if not len(rows):
        raise NotApplicableError("The model was trained on every item that it could check.", tables)
    products = mapping.convert(head_probs.by_head[CATEGORY_PATH][rows], mapping.given[rows])
    is_other = (mapping.given == NO_VALUE) & ~training_items.mask & ~is_unlike
    others = np.flatnonzero(is_other)
    unmapped = mapping.table.filter(pl.col(MODEL_CLASS).is_null())
    summary = {
        "kind": "model",
        "name": classifier.name,
        "categories": len(mapping.table),
        "categories_not_mapped": len(unmapped),
        "items_not_mapped": int(unmapped["items"].sum()),
        **training_items.describe(usable),
    }
    return OutOfSampleProbs(
        rows,
        mapping.label_space,
        mapping.given[rows],
        products,
        source=f"the exported model {classifier.name}".rstrip(),
        reads_names=with_names,
        ood_scores=photographs.ood_scores,
        min_class_items=MIN_CLASS_ITEMS,
        summary=summary,
        tables=tables,
        other_rows=others,
        other_probs=mapping.convert(head_probs.by_head[CATEGORY_PATH][others], mapping.given[others]),
        known_probs=probs,
        left_out={
            UNKNOWN_CATEGORY: mapping.given == NO_VALUE,
            UNLIKE: is_unlike,
            TRAINED_ON: training_items.mask,
        },
    )


def _predict_again(
    classifier: Classifier,
    labelled: LabeledItems,
    items: pl.DataFrame,
    pixels: Keys,
    known: KnownProbs | None,
    title: str,
) -> tuple[HeadProbs, HeadProbs, KnownProbs]:
    """Return what `predict_photographs` does, of the category paths, and the predictions to use the next time."""
    count, images = len(items), labelled.images
    first = predict_new_photographs(classifier, images, np.arange(count), pixels[:count], known, title)
    rows, owners = labelled.others.find(items["item_id"])
    if not len(rows):
        return first, first, KnownProbs.of(pixels[:count], first)
    keys, title = pixels[count:][rows], f"{title}, other photographs"
    others = predict_new_photographs(classifier, labelled.others.images, rows, keys, known, title)
    photographs = first.join(others)
    averaged = photographs.average(np.concatenate([np.arange(count), owners]))
    return averaged, photographs, KnownProbs.of(np.concatenate([pixels[:count], keys]), photographs)


WHAT_TO_RUN = "Run `hangtag cross-validate` with this workspace first, or give a model with --model."


def choose_folds(workspace: Workspace, digest: str, run_id: str | None) -> str | None:
    """Return the cross-validation to read: `run_id`, else the latest one of the workspace's current labels."""
    names = [run_id] if run_id is not None and run_id in workspace.fold_ids() else workspace.fold_ids()
    if run_id is not None and run_id not in names:
        return None
    hint = "Run `hangtag cross-validate --run-id NAME` of that name again, or move its folder away."
    found = [(require_manifest(workspace.folds(name), hint), name) for name in names]
    current = [(manifest["finished"], name) for manifest, name in found if manifest["inputs"].get("labels") == digest]
    return max(current)[1] if current else None


def read_folds(folder: Path, items: pl.DataFrame, missing: tuple[str, ...]) -> OutOfSampleProbs:
    """Read the out-of-fold probabilities of every labelled item.

    Args:
        folder: What `cross-validate` wrote.
        items: The table of items.
        missing: The spellings of a missing value.

    Raises:
        WorkspaceError: The files do not belong together.
    """
    label_space = LabelSpace.from_json(read_json(folder / "label_space.json"))
    table = items.select("item_id").with_row_index("row")
    found = pl.read_parquet(folder / "out_of_fold.parquet").join(table, on="item_id", how="left")
    if found["row"].null_count():
        raise WorkspaceError("The out-of-fold probabilities are of other items.", hint=WHAT_TO_RUN)
    rows = found["row"].to_numpy().astype(np.int64)
    heads = [head for head in label_space.heads if head in found.columns]
    attributes = dict(zip(list(label_space.heads)[1:], label_space.attributes, strict=True))
    settings = require_manifest(folder, WHAT_TO_RUN)["settings"]
    return OutOfSampleProbs(
        rows,
        label_space,
        find_category_paths(items, label_space, missing)[rows],
        _read_array(found["category_path_probs"], len(label_space.category_paths)),
        {attributes[head]: _read_array(found[head], label_space.heads[head]) for head in heads},
        source=f"out-of-fold probabilities of folds/{folder.name}",
        reads_names=bool(settings.get("with_names", False)),
        summary={"kind": "folds", "name": folder.name, "folds": settings.get("folds")},
    )


def _read_array(values: pl.Series, width: int) -> Probs:
    return np.asarray(values.list.to_array(width).to_numpy(), np.float32)


def choose_run(workspace: Workspace, digest: str, run_id: str | None) -> str:
    """Return the run to predict with: `run_id`, else the one with the best accuracy on val.

    Raises:
        NotApplicableError: No finished run was trained on the labels that the workspace has.
    """
    names = workspace.run_ids() if run_id is None else [run_id]
    for name in names:
        hash_run(workspace, name)
    described = {name: read_entries(workspace.run(name)) for name in names}
    fitting = {name: found for name, found in described.items() if found.get("labels_digest") == digest}
    if not fitting:
        raise NotApplicableError(f"No model was trained on the labels of this workspace. {WHAT_TO_RUN}")

    def rank(name: str) -> tuple[float, str]:
        return (float(fitting[name].get("metrics", {}).get("val_accuracy") or 0), name)

    return max(fitting, key=rank)


def predict_with_run(
    classifier: Classifier, run_id: str, labelled: LabeledItems, items: pl.DataFrame, hashes: PhotographHashes
) -> OutOfSampleProbs:
    """Predict the items of the splits that a run was not trained on, and whose photographs it has not seen.

    Each item is predicted from all its photographs.

    Raises:
        NotApplicableError: It was trained on every split.
    """
    train_splits = classifier.description.get("train_splits", ["train"])
    unseen = [split for split in SPLITS if split not in train_splits]
    training_items = find_training_items(classifier, labelled, items, hashes)
    chosen = items.with_row_index("row").filter(pl.col("split").is_in(unseen) & ~pl.Series(training_items.mask))
    if chosen.is_empty():
        raise NotApplicableError(f"The run {run_id} was trained on every item. {WHAT_TO_RUN}")
    rows = chosen["row"].to_numpy().astype(np.int64)
    with_names = can_read_names(classifier, labelled)
    asked = chosen.with_columns(image_index=pl.col("row"))
    head_probs, _ = predict_photographs(classifier, labelled, asked, f"Predicting with {run_id}", with_names=with_names)
    label_space = classifier.label_space
    summary: dict[str, Any] = {"kind": "run", "name": run_id, "splits": unseen}
    summary |= training_items.describe(items["split"].is_not_null().to_numpy())
    return OutOfSampleProbs(
        rows,
        label_space,
        find_category_paths(items, label_space, labelled.schema.missing)[rows],
        head_probs.by_head[CATEGORY_PATH],
        {attribute: head_probs.read_probs(attribute) for attribute in label_space.attributes},
        source=f"the run {run_id} on {' and '.join(unseen)}, which it was not trained on",
        reads_names=with_names,
        summary=summary,
        left_out={TRAINED_ON: ~np.isin(np.arange(len(items)), rows)},
    )
