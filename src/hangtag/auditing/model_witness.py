"""Ask an exported model about a catalogue that it did not learn from."""

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.auditing.category_mapping import map_categories
from hangtag.auditing.issues import NotApplicableError
from hangtag.auditing.learnt_items import find_learnt
from hangtag.auditing.witness import Witness
from hangtag.errors import ModelError
from hangtag.inference.classifier import Classifier
from hangtag.inference.runs import ask_about, can_read_names
from hangtag.labels.labelled import Labelled
from hangtag.labels.photograph_hashes import PhotographHashes
from hangtag.models.outputs import NO_VALUE, PRODUCT

# A model needs no item of a class in this catalogue to know it.
MIN_CLASS_ITEMS = 1


def ask_model(classifier: Classifier, labelled: Labelled, items: pl.DataFrame, hashes: PhotographHashes) -> Witness:
    """Give what a model says of a catalogue's items, in the catalogue's own words.

    Items whose category the model does not know, and photographs that are unlike all that it learnt from, are not
    judged. Nor are items whose photographs it learnt from, whatever their labels and splits are now; see
    `find_learnt`.

    Args:
        classifier: The model.
        labelled: The catalogue.
        items: The table of all its items, with `split`.
        hashes: Of their photographs.

    Raises:
        NotApplicableError: The model knows none of the categories, or learnt from all items that it could judge.
        ModelError: The model cannot take these photographs.
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
    mapping = map_categories(items, schema.levels, schema.missing, classifier.outputs)
    if (mapping.given == NO_VALUE).all():
        raise NotApplicableError("The model knows none of the catalogue's categories by their names.")
    asked = items.with_columns(image_index=pl.arange(len(items)))
    with_names = can_read_names(classifier, labelled)
    answers = ask_about(classifier, labelled, asked, f"Asking {classifier.name or 'the model'}", with_names=with_names)
    novelty = _measure_novelty(classifier, answers.novelty)
    usable = mapping.given != NO_VALUE
    if novelty is not None:
        usable &= novelty <= 1
    if not usable.any():
        raise NotApplicableError("The model finds no photograph of a category that it knows familiar.")
    learnt = find_learnt(classifier, labelled, items, hashes)
    rows = np.flatnonzero(usable & ~learnt.mask)
    if not len(rows):
        raise NotApplicableError("The model learnt from every item that it could judge.")
    products = mapping.convert(answers.answers[PRODUCT][rows], mapping.given[rows])
    unmapped = mapping.table.filter(pl.col("model_class").is_null())
    told = {
        "kind": "model",
        "name": classifier.name,
        "categories": len(mapping.table),
        "categories_not_mapped": len(unmapped),
        "items_not_mapped": int(unmapped["items"].sum()),
        **learnt.describe(usable),
    }
    return Witness(
        rows,
        mapping.outputs,
        mapping.given[rows],
        products,
        source=f"the exported model {classifier.name}".rstrip(),
        reads_names=with_names,
        novelty=novelty,
        min_class_items=MIN_CLASS_ITEMS,
        told=told,
        tables={"category_mapping.csv": mapping.table},
    )


def _measure_novelty(classifier: Classifier, novelty: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32] | None:
    limit = classifier.description.get("novelty", {}).get("limit")
    return None if novelty is None or not limit else np.asarray(novelty / limit, np.float32)
