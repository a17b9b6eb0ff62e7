"""Suggest categories for items that have none, by photograph and name, where that is right for nine items of ten."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.auditing.confident_learning import ModalityProbs
from hangtag.auditing.context import AuditContext
from hangtag.auditing.evidence import OutOfSampleProbs
from hangtag.auditing.label_issues import collect_cases
from hangtag.models.label_space import NO_VALUE, Indices, LabelSpace
from hangtag.training.calibration import find_threshold

# The table in `audit/`, where there are such items.
FILE = "suggested_categories.csv"
# A suggestion is sure from the confidence above which this share of the given categories is predicted.
PRECISION = 0.9
SEPARATOR = " > "


def suggest_categories(context: AuditContext) -> pl.DataFrame:
    """Return a row for each item without a category.

    An item is predicted by its photographs and its name, like those with a category. The threshold is chosen by these
    (see `find_threshold`): on their out-of-sample predictions, where those of categories that cannot be predicted are
    wrong. So it is a promise for items of the same kinds.

    Returns:
        `item_id`, `name`, `suggested_category` (its levels with ` > ` between them; null where nothing can be said),
        `confidence` (0 to 1, null likewise), and `is_sure`, yes or no.
    """
    lacking = context.lacking
    names = context.read_names()
    table = pl.DataFrame(
        {
            "item_id": context.items["item_id"].gather(lacking),
            "name": [None] * len(lacking) if names is None else names.gather(lacking),
        },
        schema={"item_id": pl.String, "name": pl.String},
    )
    predicted: dict[int, tuple[str, float]] = {}
    threshold = None
    sources = [each for each in (context.image_probs, context.name_probs) if each is not None]
    if sources and any(len(each.other_rows) for each in sources):
        space = sources[0].label_space
        rows, confidence, paths = _predict_others(context, sources, space)
        threshold = _choose_threshold(context, np.flatnonzero(~np.isin(rows, lacking)), rows, confidence)
        named = [_name_path(space, path, context.levels) for path in range(len(space.category_paths))]
        found = zip(rows.tolist(), paths.tolist(), confidence.tolist(), strict=True)
        predicted = {row: (named[path], value) for row, path, value in found}
    values = [predicted.get(row, (None, None)) for row in lacking.tolist()]
    sure = [value is not None and threshold is not None and value >= threshold for _, value in values]
    return table.with_columns(
        suggested_category=pl.Series([name for name, _ in values], dtype=pl.String),
        confidence=pl.Series([value for _, value in values], dtype=pl.Float64).round(4),
        is_sure=pl.Series(["yes" if each else "no" for each in sure], dtype=pl.String),
    )


def _predict_others(
    context: AuditContext, sources: list[OutOfSampleProbs], space: LabelSpace
) -> tuple[Indices, npt.NDArray[np.float32], Indices]:
    """Return the rows of the items without a category of `space`, their confidence, and their likeliest path."""
    rows = np.unique(np.concatenate([each.other_rows for each in sources]))
    all_probs, all_masks = [], []
    for source in (context.image_probs, context.name_probs):
        probs, mask = np.zeros((len(rows), len(space.category_paths)), np.float32), np.zeros(len(rows), bool)
        if source is not None:
            places = np.searchsorted(rows, source.other_rows)
            probs[places], mask[places] = source.other_probs, True
        all_probs.append(probs)
        all_masks.append(mask)
    names_in_image = context.image_probs is not None and context.image_probs.reads_names
    joined = ModalityProbs(all_probs[0], all_masks[0], all_probs[1], all_masks[1], names_in_image).join()
    return rows, joined.max(axis=1), joined.argmax(axis=1)


def _choose_threshold(
    context: AuditContext, without_class: Indices, rows: Indices, confidence: npt.NDArray[np.float32]
) -> float | None:
    """Choose the confidence from which suggestions are sure; None where none reaches the precision.

    Args:
        context: The catalogue.
        without_class: The places in `rows` of items whose category cannot be predicted.
        rows: See `_predict_others`.
        confidence: See `_predict_others`.
    """
    cases = collect_cases(context)
    known = np.flatnonzero(cases.given != NO_VALUE)
    probs = cases.modality_probs.join()[known]
    groups = context.items["group_id"].fill_null(context.items["item_id"])
    members = [*groups.gather(cases.rows[known]), *groups.gather(rows[without_class])]
    correct = probs.argmax(axis=1) == cases.given[known]
    return find_threshold(
        np.concatenate([probs.max(axis=1), confidence[without_class]]),
        np.concatenate([correct, np.zeros(len(without_class), bool)]),
        PRECISION,
        np.asarray(members),
    )


def _name_path(space: LabelSpace, path: int, levels: Sequence[str]) -> str:
    """Return the values of a category path in the catalogue's own levels, with ` > ` between them."""
    pairs = zip(space.levels.items(), space.category_paths[path], strict=True)
    return SEPARATOR.join(names[index] for (level, names), index in pairs if index != NO_VALUE and level in levels)
