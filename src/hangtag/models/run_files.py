"""The files of a finished run: whether they are those that the training wrote, and what helps where they are not."""

from hangtag.errors import WorkspaceError
from hangtag.manifest import require_manifest
from hangtag.models.description import DESCRIPTION
from hangtag.workspace import Workspace


def hash_run(workspace: Workspace, run_id: str) -> str:
    """Return the hash of a finished run's `model.json`, which holds that of its weights.

    Raises:
        WorkspaceError: The run's files were changed or damaged since it was trained.
    """
    folder, hint = workspace.run(run_id), make_hint(run_id)
    outputs = require_manifest(folder, hint)["outputs"]
    if DESCRIPTION not in outputs:
        raise WorkspaceError(f"The run {run_id} has no {DESCRIPTION}.", hint=hint)
    return str(outputs[DESCRIPTION]["sha256"])


def make_hint(run_id: str) -> str:
    """Return what helps where a run's files are damaged."""
    return f"Train it again (`hangtag train --run-id {run_id}`, with its settings), or move its folder away."
