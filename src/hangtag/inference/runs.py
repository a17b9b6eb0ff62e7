"""Find the runs to work on, and refuse those that learnt other labels."""

from collections.abc import Sequence

from hangtag.errors import WorkspaceError
from hangtag.inference.classifier import Classifier
from hangtag.labels.labelled import Labelled
from hangtag.workspace import Workspace

HINT = "Run `hangtag train` with this workspace first."


def select_runs(workspace: Workspace, run_ids: Sequence[str] | None) -> list[str]:
    """Give the runs asked for, each once, or all finished ones.

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


def load_classifier(workspace: Workspace, run_id: str, labelled: Labelled) -> Classifier:
    """Load a run's model, if it learnt the labels that the workspace has now.

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
