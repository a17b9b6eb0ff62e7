"""Predict the soft targets of knowledge distillation: the mean probabilities of trained runs, the teacher."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hangtag.catalog.images import Pixels
from hangtag.errors import WorkspaceError
from hangtag.io import name_refusals
from hangtag.models.batch_predict import ProbsByHead, iterate_head_probs, join_head_probs
from hangtag.models.checkpoint import SavedModel, load_saved
from hangtag.models.label_space import LabelSpace
from hangtag.models.network_file import NETWORK
from hangtag.models.openvino import ExportedNetwork, save_network
from hangtag.workspace import Workspace


class Teacher:
    """Trained models whose mean probabilities are the targets of a smaller or faster network.

    A soft target says which other classes a photograph resembles, and it is not misled by a single wrong label. The
    teacher predicts the same augmented photograph that the network is trained on. Sources: Hinton, Vinyals and Dean,
    *Distilling the Knowledge in a Neural Network*, 2015; Beyer et al., *Knowledge Distillation: A Good Teacher is
    Patient and Consistent*, 2022.

    Args:
        members: The models, with equal label spaces.
    """

    def __init__(self, members: Sequence[SavedModel]) -> None:
        # OpenVINO predicts several times as fast as Keras, and outside of its locks.
        self.networks = [(_convert(member), member.network_size) for member in members]
        self.heads = members[0].label_space.heads

    def predict(self, images: Pixels) -> ProbsByHead:
        """Return the mean probabilities of each head, float32 (n, classes).

        Args:
            images: uint8 (n, H, W, 3), of the size of the prepared photographs.
        """
        rows = np.arange(len(images))
        parts = [
            join_head_probs(list(iterate_head_probs(network, images, rows, image_size=size)), self.heads)
            for network, size in self.networks
        ]
        return {head: np.mean([part[head] for part in parts], axis=0, dtype=np.float32) for head in self.heads}

    def mix(self, targets: ProbsByHead, images: Pixels, weight: float) -> ProbsByHead:
        """Return the weighted mean of targets and of the teacher's probabilities.

        An item without a value on a head keeps its row of zeros, which adds no loss.

        Args:
            targets: The targets of each head, float32 (n, classes).
            images: See `predict`.
            weight: The weight of the teacher, 0 to 1.
        """
        probs = self.predict(images)
        return {
            head: ((1 - weight) * rows + weight * probs[head] * rows.any(axis=1, keepdims=True)).astype(np.float32)
            for head, rows in targets.items()
        }


def load_teacher(workspace: Workspace, run_ids: Sequence[str], labels_digest: str, label_space: LabelSpace) -> Teacher:
    """Load finished runs of a workspace as a teacher.

    Raises:
        WorkspaceError: A run was trained on other labels or for another target, or it reads names.
        ModelError: A run's files are damaged.
    """
    members = []
    for run_id in run_ids:
        member = load_saved(workspace.run(run_id))
        if member.description.get("labels_digest") != labels_digest or member.label_space != label_space:
            hint = "Name runs with the same target that were trained on the labels of now."
            raise WorkspaceError(
                "The run of --teacher was trained on other labels or for another target.", hint=hint, received=run_id
            )
        if member.vocabulary is not None:
            raise WorkspaceError("The run of --teacher reads names: name its run of photographs.", received=run_id)
        members.append(member)
    return Teacher(members)


def _convert(model: SavedModel) -> ExportedNetwork:
    """Convert a model to OpenVINO in a temporary folder."""
    with tempfile.TemporaryDirectory() as scratch, name_refusals(Path(scratch)):
        save_network(Path(scratch), model.model)
        return ExportedNetwork(Path(scratch) / NETWORK)
