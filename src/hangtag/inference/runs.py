"""Find runs, refuse those that were trained on other labels, and predict items with one."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from hangtag.errors import ModelError, WorkspaceError
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import HeadProbs
from hangtag.labels.dataset import LabeledItems
from hangtag.workspace import Workspace

HINT = "Run `hangtag train` with this workspace first."


def select_runs(workspace: Workspace, run_ids: Sequence[str] | None) -> list[str]:
    """Return the named runs, each once, or all finished ones.

    Raises:
        WorkspaceError: There is no finished run, or none of that name.
    """
    finished = workspace.run_ids()
    if not finished:
        raise WorkspaceError("There is no finished training run in this workspace.", hint=HINT)
    if not run_ids:
        return finished
    for run_id in run_ids:
        if run_id not in finished:
            allowed = f"Finished runs: {', '.join(finished)}."
            raise WorkspaceError("There is no such finished run.", allowed=allowed, received=run_id)
    return list(dict.fromkeys(run_ids))


def load_classifier(workspace: Workspace, run_id: str, labelled: LabeledItems) -> Classifier:
    """Load a run's model, if it was trained on the workspace's current labels.

    Raises:
        WorkspaceError: The labels have changed since it was trained.
        ModelError: The model cannot be loaded.
    """
    classifier = Classifier.load(workspace.run(run_id))
    if classifier.description.get("labels_digest") != labelled.digest:
        raise WorkspaceError(
            "The run was trained on other labels than the workspace has now.",
            hint=f"Run `hangtag train` again, or remove {workspace.run(run_id)}.",
            received=run_id,
        )
    return classifier


def can_read_names(classifier: Classifier, labelled: LabeledItems) -> bool:
    """Return whether the classifier reads names and the catalogue has some."""
    return classifier.reads_names and labelled.schema.name is not None


def ask_about(
    classifier: Classifier, labelled: LabeledItems, items: pl.DataFrame, title: str, *, with_names: bool
) -> HeadProbs:
    """Return the answers for rows of the catalogue's table, from their photographs, and their names where wanted.

    Raises:
        ModelError: The pixels do not fit the model, or it gives no numbers for them.
    """
    rows = items["image_index"].to_numpy().astype(np.int64)
    names = items[str(labelled.schema.name)].to_list() if with_names else None
    return classifier.predict_rows(labelled.images, rows, title, names)


def adjust(predictions: HeadProbs, classifier: Classifier, strength: float) -> HeadProbs:
    """Apply logit adjustment; see `HeadProbs.adjust`. A strength of 0 changes nothing.

    Raises:
        ModelError: The model does not say how often each class was in training.
    """
    if not strength:
        return predictions
    train_counts = classifier.description.get("train_counts")
    if not train_counts:
        raise ModelError(
            "The model does not say how often each class was in training, so rare ones cannot be favoured.",
            hint="Go without --logit-adjustment, or train it again.",
        )
    return predictions.adjust(train_counts, strength)


def name_other_values(predictions: HeadProbs) -> pl.DataFrame:
    """Return the predicted values of every level and attribute but the primary level, as `predicted_<column>`.

    Levels do not contradict each other. A value is null where the predicted product has none on that level.
    """
    chosen = predictions.choose_labels()
    chosen.pop(predictions.outputs.primary)
    return pl.DataFrame(
        {f"predicted_{column}": pl.Series(values, dtype=pl.String) for column, values in chosen.items()}
    )
