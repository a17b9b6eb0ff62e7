"""List the photographs that the model that ships with hangtag was trained on, without training it again.

`.venv/bin/python scripts/list-shipped-photographs.py W`, where `hangtag prepare` and `hangtag clean` have read *Fashion
Product Images (Small)* into the workspace W with their default settings. The splits of W must be those of the model's
description. Writes only hashes, and the new `model.json` and `README.md`.
"""

import sys

import numpy as np

from hangtag.io import read_json, write_json, write_text
from hangtag.labels.dataset import read_labeled_items
from hangtag.labels.duplicates import hash_photographs
from hangtag.labels.image_hashes import PhotographSet
from hangtag.models.description import DESCRIPTION
from hangtag.models.label_space import CATEGORY_PATH
from hangtag.models.seen_images import ENTRY, SeenPhotographs, write_seen
from hangtag.models.shipped import SHIPPED
from hangtag.serving.model_card import write_card
from hangtag.stages.train import build_dataset
from hangtag.training.targets import build_targets
from hangtag.workspace import Workspace

# The temperatures and thresholds are those of a run trained on train alone, which were fitted on val.
CHOSEN_ON = ["val"]


def main() -> None:
    """Write the hashes of the photographs of the splits that the model's description names."""
    labelled = read_labeled_items(Workspace.at(sys.argv[1]))
    description = read_json(SHIPPED / DESCRIPTION)
    if labelled.digest != description["labels_digest"]:
        sys.exit("The model was trained on other labels or splits: prepare and clean with default settings.")
    targets = build_targets(labelled)

    def list_split(splits: list[str]) -> PhotographSet:
        data = build_dataset(labelled, targets, None, labelled.table["split"].is_in(splits).fill_null(False).to_numpy())
        if splits == description["train_splits"]:
            counts = np.bincount(data.classes[CATEGORY_PATH], minlength=len(targets.label_space.category_paths))
            assert counts.tolist() == description["train_counts"][CATEGORY_PATH], "not the training items of the model"
        return PhotographSet.of(hash_photographs(data.images, data.rows))

    seen = SeenPhotographs(list_split(description["train_splits"]), list_split(CHOSEN_ON))
    _, description[ENTRY] = write_seen(SHIPPED, seen)
    write_json(SHIPPED / DESCRIPTION, description)
    write_text(SHIPPED / "README.md", write_card(description))
    print(description[ENTRY])


main()
