"""Find label errors: given labels that out-of-sample image or name probabilities contradict, one issue an item.

Three kinds of index occur. A *row* is a row of the catalogue's table of items. A *case* is an item that has
probabilities, numbered from 0 to n - 1 (`Cases`). A *suspect* is a case with an issue, numbered from 0 to k - 1
(`_Suspects`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.auditing.confident_learning import ModalityProbs, SuspectLabels, score_labels
from hangtag.auditing.context import AuditContext
from hangtag.auditing.evidence import OutOfSampleProbs
from hangtag.auditing.issues import (
    ERROR,
    IMAGE,
    IMAGE_AND_NAME,
    INFO,
    LABEL_ERROR,
    NAME,
    WARNING,
    NotApplicableError,
    build_issues,
    format_probability,
)
from hangtag.auditing.nearest_neighbors import compute_features, find_neighbors, weigh_neighbors
from hangtag.models.label_space import NO_VALUE, Indices, LabelSpace, Probs

SEVERITIES = {IMAGE_AND_NAME: ERROR, IMAGE: WARNING, NAME: WARNING}
# The reviewer is asked about the finest level whose suggestion is more likely than not.
LIKELY = 0.5
# A modality with a lower probability of the suggested class does not support it.
SUPPORTS = 0.25
# The share of a score that depends on how far the name, or both modalities, support the suggestion.
UNSUPPORTED = 0.05
# Added to the probabilities before they are multiplied by the neighbors' weights.
TINY = 1e-4


@dataclass(frozen=True)
class Cases:
    """The items that have image or name probabilities, n of them.

    Attributes:
        rows: Rows of the table of items, int64 (n,).
        given: The category path that each item's labels make, int64 (n,).
        modality_probs: Probabilities over the category paths.
        label_space: The category paths.
        min_class_items: See `OutOfSampleProbs`.
    """

    rows: Indices
    given: Indices
    modality_probs: ModalityProbs
    label_space: LabelSpace
    min_class_items: int

    def of_level(self, level: str) -> tuple[Indices, ModalityProbs]:
        """Return each item's given class on a level, and the probabilities of the level's classes."""
        classes = np.append(self.label_space.list_classes(level), NO_VALUE)
        probs = self.modality_probs
        image, name = (self.label_space.sum_level(each, level) for each in (probs.image, probs.name))
        by_level = ModalityProbs(image, probs.has_image, name, probs.has_name, probs.names_in_image)
        return np.asarray(classes[self.given], np.int64), by_level


@dataclass(frozen=True)
class _Suspects:
    """The cases with an issue, k of them.

    Attributes:
        cases: Which cases, int64 (k,).
        by_level: The suspected labels of every level.
        levels: Which entry of `by_level` decides about each suspect, int64 (k,).
        entries: The suspect's position in that entry, int64 (k,).
        confident: Whether confident learning flags the item on any level, bool (k,).
    """

    cases: Indices
    by_level: list[SuspectLabels]
    levels: Indices
    entries: Indices
    confident: npt.NDArray[np.bool_]


def find_label_issues(context: AuditContext) -> pl.DataFrame:
    """Return the issues of the code `label_error`.

    Every level is scored by itself. An issue of the primary level takes precedence, else the one with the highest
    score: of the alternatives this ranks planted errors best (docs/experiments.md). The suggestion is the most likely
    category path among those with the suggested class, so that the changed levels never contradict each other.
    Attributes are checked where the image model predicts them well enough.

    Raises:
        NotApplicableError: There are neither image nor name probabilities.
    """
    if context.image_probs is None and context.name_probs is None:
        raise NotApplicableError("There are probabilities neither of photographs nor of names.")
    cases = collect_cases(context)
    lines = list(_describe_suspects(context, cases, _find_suspects(cases, context.config.min_score)))
    tables = [build_issues(lines, LABEL_ERROR, WARNING)]
    if context.image_probs is not None:
        tables += [_find_attribute_issues(context, context.image_probs, column) for column in context.attributes]
    table = pl.concat(tables)
    return table.filter(pl.col("score") >= context.config.min_score)


def collect_cases(context: AuditContext) -> Cases:
    """Return the items that have image or name probabilities."""
    sources = [each for each in (context.image_probs, context.name_probs) if each is not None]
    rows = np.unique(np.concatenate([each.rows for each in sources]))
    given = np.full(len(rows), NO_VALUE, np.int64)
    label_space = sources[0].label_space
    all_probs, all_masks = [], []
    for source in (context.image_probs, context.name_probs):
        probs = np.zeros((len(rows), len(label_space.category_paths)), np.float32)
        has_probs = np.zeros(len(rows), bool)
        if source is not None:
            cases = np.searchsorted(rows, source.rows)
            probs[cases], has_probs[cases], given[cases] = source.pred_probs, True, source.given
        all_probs.append(probs)
        all_masks.append(has_probs)
    names_in_image = context.image_probs is not None and context.image_probs.reads_names
    modality_probs = ModalityProbs(all_probs[0], all_masks[0], all_probs[1], all_masks[1], names_in_image)
    return Cases(rows, given, modality_probs, label_space, sources[0].min_class_items)


def _find_suspects(cases: Cases, min_score: float) -> _Suspects:
    """Score every level, and choose the level that decides about each suspect: the primary one, else the surest."""
    primary = cases.label_space.primary
    by_level = [
        score_labels(
            level, *cases.of_level(level), cases.min_class_items, primary_from=min_score if level == primary else None
        )
        for level in cases.label_space.levels
    ]
    found = np.concatenate([each.items for each in by_level])
    levels = np.concatenate([np.full(len(each.items), number) for number, each in enumerate(by_level)])
    entries = np.concatenate([np.arange(len(each.items)) for each in by_level])
    ranks = np.concatenate([each.scores + 2 * (each.level == primary) for each in by_level])
    order = np.lexsort((-ranks, found))
    is_first = np.ones(len(order), bool)
    is_first[1:] = found[order][1:] != found[order][:-1]
    kept = order[is_first]
    confident = np.concatenate([each.items[each.confident] for each in by_level])
    return _Suspects(found[kept], by_level, levels[kept], entries[kept], np.isin(found[kept], confident))


def _describe_suspects(context: AuditContext, cases: Cases, suspects: _Suspects) -> Iterator[dict[str, Any]]:
    paths = _choose_category_paths(context, cases, suspects)
    kept = np.flatnonzero(paths != NO_VALUE)
    if not len(kept):
        return
    values = {level: context.read(level) for level in context.levels}
    rows = cases.rows[suspects.cases]
    neighbors = find_neighbors(compute_features(context.small), rows[kept])
    by_level = {level: cases.of_level(level)[1] for level in context.levels if level in cases.label_space.levels}
    combined = {level: probs.join() for level, probs in by_level.items()}
    scores = _score_with_neighbors(context, cases, suspects, kept, neighbors)
    for near, suspect in zip(neighbors, kept.tolist(), strict=True):
        labels, entry = suspects.by_level[suspects.levels[suspect]], int(suspects.entries[suspect])
        case, row = int(suspects.cases[suspect]), int(rows[suspect])
        changes = _list_changes(cases.label_space, int(paths[suspect]), values, row)
        if not changes:
            continue
        column = _choose_column(changes, cases.label_space, by_level, combined, case)
        given = values[column][row]
        evidence = str(labels.evidence[entry])
        wanted = cases.label_space.levels[column].index(changes[column])
        phrases = _describe_evidence(by_level[column], case, wanted, changes[column])
        num_alike = int((values[column].gather(near) == changes[column]).sum())
        if num_alike and phrases and evidence != NAME:
            phrases.append(f"{num_alike} of {len(near)} look-alikes are {changes[column]}")
        support = _measure_support(by_level[column], case, wanted)
        yield {
            "item_id": context.item_ids[row],
            "severity": SEVERITIES[evidence] if suspects.confident[suspect] else INFO,
            "given_label": given,
            "suggested_label": changes[column],
            "evidence": evidence,
            "column": column,
            "changes": changes,
            "score": float(scores[suspect]) * (1 - UNSUPPORTED * (1 - support)),
            "reason": write_reason(phrases, given),
        }


def _score_with_neighbors(
    context: AuditContext, cases: Cases, suspects: _Suspects, kept: Indices, neighbors: Indices
) -> npt.NDArray[np.float64]:
    """Return the suspects' scores, float64 (k,); on the primary level the labels of neighbors count too."""
    pairs = zip(suspects.levels.tolist(), suspects.entries.tolist(), strict=True)
    scores = np.array([suspects.by_level[level].scores[entry] for level, entry in pairs])
    label_space = cases.label_space
    given, modality_probs = cases.of_level(label_space.primary)
    given_by_row = np.full(len(context.items), NO_VALUE, np.int64)
    given_by_row[cases.rows] = given
    primary = list(label_space.levels).index(label_space.primary)
    is_chosen = suspects.levels[kept] == primary
    chosen = suspects.cases[kept][is_chosen]
    probs = modality_probs.of(chosen).join() + TINY
    probs *= weigh_neighbors(given_by_row[neighbors[is_chosen]], probs.shape[1])
    index = np.arange(len(chosen))
    own = probs[index, given[chosen]].astype(np.float64)
    probs[index, given[chosen]] = 0
    # Not 1 - p(given): an item that could be many things is no sign of a wrong label.
    scores[kept[is_chosen]] = 1 - own / (own + probs.max(axis=1))
    return scores


def _choose_category_paths(context: AuditContext, cases: Cases, suspects: _Suspects) -> Indices:
    """Return the category path to suggest for each suspect, int64 (k,); `NO_VALUE` where none would change a value.

    A missing value, of the item or of the path, is no change. A path that lacks a value that the item has is suggested
    only where no other path completes it: the item's own value would stay beside those of another category.
    """
    chosen = np.full(len(suspects.cases), NO_VALUE, np.int64)
    probs = cases.modality_probs.of(suspects.cases).join()
    columns = [level for level in context.levels if level in cases.label_space.levels]
    classes = np.stack([cases.label_space.list_classes(level) for level in columns], axis=1)
    given = classes[cases.given[suspects.cases]]
    for number, labels in enumerate(suspects.by_level):
        here = np.flatnonzero(suspects.levels == number)
        wanted = labels.suggested[suspects.entries[here]]
        fits = cases.label_space.list_classes(labels.level)[None] == wanted[:, None]
        has_value, had_value = classes[None] != NO_VALUE, given[here][:, None] != NO_VALUE
        is_whole = (has_value | ~had_value).all(axis=2)
        fits = _add_completing_paths(fits, is_whole, classes, cases.given[suspects.cases[here]])
        fits &= (has_value & had_value & (classes[None] != given[here][:, None])).any(axis=2)
        # 1 is added, so that paths that replace every value of the item come before all others.
        best = np.where(fits, probs[here] + is_whole, -1.0)
        chosen[here] = np.where(fits.any(axis=1), best.argmax(axis=1), NO_VALUE)
    return chosen


def _add_completing_paths(
    fits: npt.NDArray[np.bool_], is_whole: npt.NDArray[np.bool_], classes: Indices, given: Indices
) -> npt.NDArray[np.bool_]:
    """Return the category paths to choose from, bool (k, paths).

    Where all paths with the suggested class lack a value that the item has, paths that complete them are added; where
    the item's own path completes one, none is left: the item has what is suggested, and more.

    Args:
        fits: The paths that have the suggested class.
        is_whole: The paths that have a value wherever the item has one.
        classes: Each path's class on every level, int64 (paths, levels).
        given: Each item's own path, int64 (k,).
    """
    lacking = np.flatnonzero(~(fits & is_whole).any(axis=1))
    if not len(lacking) or (classes != NO_VALUE).all():
        return fits
    completes = ((classes[:, None] == NO_VALUE) | (classes[:, None] == classes[None])).all(axis=2)
    fits[lacking] = fits[lacking].astype(np.float32) @ completes.astype(np.float32) > 0
    fits[lacking[fits[lacking, given[lacking]]]] = False
    return fits


def _list_changes(label_space: LabelSpace, path: int, values: Mapping[str, pl.Series], row: int) -> dict[str, str]:
    """Return the new value of every column that a category path changes, coarse to fine; missing cells stay missing."""
    changes = {}
    for level, class_index in zip(label_space.levels, label_space.category_paths[path], strict=True):
        if level not in values or class_index == NO_VALUE or values[level][row] is None:
            continue
        if label_space.levels[level][class_index] != values[level][row]:
            changes[level] = label_space.levels[level][class_index]
    return changes


def _choose_column(
    changes: Mapping[str, str],
    label_space: LabelSpace,
    by_level: Mapping[str, ModalityProbs],
    combined: Mapping[str, Probs],
    case: int,
) -> str:
    """Return the finest changed level whose new value is likely enough, else the coarsest changed one.

    That is: more likely than not by the combined probabilities, and supported by the image where there is one.
    """
    for level in reversed(list(changes)):
        wanted = label_space.levels[level].index(changes[level])
        probs = by_level[level]
        is_supported = probs.image[case, wanted] >= SUPPORTS or not probs.has_image[case]
        if combined[level][case, wanted] >= LIKELY and is_supported:
            return level
    return next(iter(changes))


def _measure_support(modality_probs: ModalityProbs, case: int, wanted: int) -> float:
    """Return the geometric mean of the suggested class's image and name probability, or the name's where it is alone.

    Images alone are not held to it: planted errors are ranked worse then (docs/experiments.md). It is 1 for them.
    """
    if modality_probs.names_in_image or not modality_probs.has_name[case]:
        return 1.0
    if not modality_probs.has_image[case]:
        return float(modality_probs.name[case, wanted])
    return math.sqrt(modality_probs.image[case, wanted] * modality_probs.name[case, wanted])


def _describe_evidence(modality_probs: ModalityProbs, case: int, wanted: int, name: str) -> list[str]:
    """Return a phrase for each modality: how probable it finds the suggested class."""
    what, verb = (
        ("photograph and name", "look like") if modality_probs.names_in_image else ("the photograph", "looks like")
    )
    phrases = []
    if modality_probs.has_image[case]:
        phrases.append(_describe_modality(what, verb, name, float(modality_probs.image[case, wanted])))
    if modality_probs.has_name[case]:
        phrases.append(_describe_modality("the name", "says", name, float(modality_probs.name[case, wanted])))
    return phrases


def _describe_modality(what: str, verb: str, name: str, probability: float) -> str:
    return f"{what} {verb if probability >= SUPPORTS else f'hardly {verb}'} {name} ({format_probability(probability)})"


def write_reason(phrases: Sequence[str], given: str) -> str:
    """Write the evidence against a label as one sentence."""
    text = ", ".join(phrases)
    return f"{text[0].upper()}{text[1:]}; given {given or 'nothing'}."


def measure_attribute(context: AuditContext, source: OutOfSampleProbs, column: str) -> float:
    """Return the accuracy of the image model on an attribute, measured against the given values, 0 to 1."""
    given, probs = read_attribute(context, source, column)
    known = given != NO_VALUE
    return float((probs.argmax(axis=1) == given)[known].mean()) if known.any() else 0.0


def read_attribute(context: AuditContext, source: OutOfSampleProbs, column: str) -> tuple[Indices, Probs]:
    """Return each item's given value of an attribute, int64 (n,), `NO_VALUE` for none, and its probabilities."""
    names = {name: index for index, name in enumerate(source.label_space.attributes[column])}
    values = context.read(column).gather(source.rows)
    given = np.array([names.get(value, NO_VALUE) if value else NO_VALUE for value in values], np.int64)
    return given, source.attributes[column]


def _find_attribute_issues(context: AuditContext, source: OutOfSampleProbs, column: str) -> pl.DataFrame:
    if column not in source.attributes or (
        measure_attribute(context, source, column) < context.config.min_attribute_accuracy
    ):
        return build_issues([], LABEL_ERROR, WARNING)
    given, probs = read_attribute(context, source, column)
    nobody: npt.NDArray[np.bool_] = np.zeros(len(given), bool)
    labels = score_labels(column, given, ModalityProbs(probs, ~nobody, np.zeros_like(probs), nobody))
    names = source.label_space.attributes[column]
    lines = []
    for entry, item in enumerate(labels.items.tolist()):
        old, new = names[given[item]], names[labels.suggested[entry]]
        probability = format_probability(probs[item, labels.suggested[entry]])
        lines.append(
            {
                "item_id": context.item_ids[source.rows[item]],
                "given_label": old,
                "suggested_label": new,
                "evidence": IMAGE,
                "score": float(labels.scores[entry]),
                "reason": write_reason([f"the photograph looks like {column} {new} ({probability})"], old),
                "column": column,
                "changes": {column: new},
            }
        )
    return build_issues(lines, LABEL_ERROR, WARNING)
