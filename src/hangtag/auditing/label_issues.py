"""Find labels that the photograph, the name, or both speak against: on every level, one issue an item."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hangtag.auditing.context import AuditContext
from hangtag.auditing.evidence import OutOfSampleProbs
from hangtag.auditing.issues import (
    ERROR,
    INFO,
    NAME_AGAINST_LABEL,
    PHOTOGRAPH_AND_NAME,
    WARNING,
    WRONG_LABEL,
    NotApplicableError,
    build_issues,
    say_probability,
)
from hangtag.auditing.label_scores import ModalityProbs, SuspectLabels, hear
from hangtag.auditing.nearest_neighbors import compute_features, find_neighbors, weigh_neighbors
from hangtag.models.label_space import NO_VALUE, Indices, LabelSpace, Probs

SEVERITIES = {PHOTOGRAPH_AND_NAME: ERROR, WRONG_LABEL: WARNING, NAME_AGAINST_LABEL: WARNING}
# The finest level whose suggestion is likelier than not is the one that people are asked about.
LIKELY = 0.5
# A witness that gives the suggested class less than this does not speak for it.
HEARD = 0.25
# The share of a score that hangs on how far both witnesses speak for the suggestion, not only against the given label.
UNSUPPORTED = 0.05
# What no witness gives any probability is still not impossible.
TINY = 1e-4


@dataclass(frozen=True)
class _Case:
    """All items that any witness spoke of.

    Attributes:
        rows: Rows of the table of items, int64 (n,).
        given: Each item's product, int64 (n,).
        modality_probs: What is said of their products.
        outputs: The products.
        min_class_items: See `OutOfSampleProbs`.
    """

    rows: Indices
    given: Indices
    modality_probs: ModalityProbs
    outputs: LabelSpace
    min_class_items: int

    def of_level(self, level: str) -> tuple[Indices, ModalityProbs]:
        """Return each item's given class on a level, and what is said of it."""
        classes = np.append(self.outputs.list_classes(level), NO_VALUE)
        said = self.modality_probs
        sums = [self.outputs.sum_level(probs, level) for probs in (said.photograph, said.name)]
        return np.asarray(classes[self.given], np.int64), ModalityProbs(
            sums[0], said.has_photograph, sums[1], said.has_name, said.names_in_photograph
        )


def find_label_issues(context: AuditContext) -> pl.DataFrame:
    """Return the issues of the codes `wrong_label`, `name_against_label` and `photograph_and_name_against_label`.

    Every level is heard by itself. Where an item is doubted on the primary level that decides, else the surest of
    the others: held against the others by planted errors, it ranks best (docs/experiments.md). The product is
    suggested that the witnesses find likeliest among those with the suggested class there, so that the changed levels
    never contradict each other. Attributes are heard where photographs tell them well enough.

    Raises:
        NotApplicableError: There is no witness.
    """
    if context.photographs is None and context.names is None:
        raise NotApplicableError("Neither photographs nor names have a say.")
    case = _gather(context)
    lines = list(_describe_all(context, case, _choose_level(case, context.config.min_score)))
    found = [_split_codes(lines)]
    if context.photographs is not None:
        found += [_find_attribute_issues(context, context.photographs, column) for column in context.attributes]
    table = pl.concat(found)
    return table.filter(pl.col("score") >= context.config.min_score)


def _gather(context: AuditContext) -> _Case:
    witnesses = [each for each in (context.photographs, context.names) if each is not None]
    rows = np.unique(np.concatenate([each.rows for each in witnesses]))
    given = np.full(len(rows), NO_VALUE, np.int64)
    outputs = witnesses[0].outputs
    said, has = [], []
    for witness in (context.photographs, context.names):
        probs, heard = np.zeros((len(rows), len(outputs.category_paths)), np.float32), np.zeros(len(rows), bool)
        if witness is not None:
            places = np.searchsorted(rows, witness.rows)
            probs[places], heard[places], given[places] = witness.products, True, witness.given
        said.append(probs)
        has.append(heard)
    twice = context.photographs is not None and context.photographs.reads_names
    return _Case(
        rows, given, ModalityProbs(said[0], has[0], said[1], has[1], twice), outputs, witnesses[0].min_class_items
    )


@dataclass(frozen=True)
class _Doubts:
    """The doubted items, k of them.

    Attributes:
        places: Their places in the case, int64 (k,).
        verdicts: What was found on every level.
        levels: The deciding level of each, as its place in `verdicts`, int64 (k,).
        entries: The item's place in that level's verdicts, int64 (k,).
        confident: Whether confident learning doubts the item on any level, bool (k,).
    """

    places: Indices
    verdicts: list[SuspectLabels]
    levels: Indices
    entries: Indices
    confident: npt.NDArray[np.bool_]


def _choose_level(case: _Case, min_score: float) -> _Doubts:
    """Combine every level, and give the deciding one for each doubted item: the primary one, else the surest."""
    primary = case.outputs.primary
    verdicts = [
        hear(level, *case.of_level(level), case.min_class_items, primary_from=min_score if level == primary else None)
        for level in case.outputs.levels
    ]
    places = np.concatenate([each.places for each in verdicts])
    levels = np.concatenate([np.full(len(each.places), number) for number, each in enumerate(verdicts)])
    entries = np.concatenate([np.arange(len(each.places)) for each in verdicts])
    ranks = np.concatenate([each.scores + 2 * (each.level == primary) for each in verdicts])
    order = np.lexsort((-ranks, places))
    first = np.ones(len(order), bool)
    first[1:] = places[order][1:] != places[order][:-1]
    kept = order[first]
    sure = [each.places[each.confident] for each in verdicts]
    return _Doubts(places[kept], verdicts, levels[kept], entries[kept], np.isin(places[kept], np.concatenate(sure)))


def _describe_all(context: AuditContext, case: _Case, doubts: _Doubts) -> Iterator[dict[str, Any]]:
    products = _choose_products(context, case, doubts)
    kept = np.flatnonzero(products != NO_VALUE)
    if not len(kept):
        return
    values = {level: context.read(level) for level in context.levels}
    rows = case.rows[doubts.places]
    lookalikes = find_neighbors(compute_features(context.small), rows[kept])
    heard = {level: case.of_level(level)[1] for level in context.levels if level in case.outputs.levels}
    together = {level: said.join() for level, said in heard.items()}
    scores = _hear_lookalikes(context, case, doubts, kept, lookalikes)
    for near, number in zip(lookalikes, kept.tolist(), strict=True):
        verdict, entry = doubts.verdicts[doubts.levels[number]], int(doubts.entries[number])
        changes = _list_changes(case.outputs, int(products[number]), values, int(rows[number]))
        if not changes:
            continue
        column = _choose_column(changes, case, heard, together, int(doubts.places[number]))
        given = values[column][int(rows[number])]
        line = {
            "item_id": context.item_ids[rows[number]],
            "code": str(verdict.codes[entry]),
            "severity": SEVERITIES[str(verdict.codes[entry])] if doubts.confident[number] else INFO,
            "given_label": given,
            "suggested_label": changes[column],
            "column": column,
            "changes": changes,
        }
        same = int((values[column].gather(near) == changes[column]).sum())
        wanted = case.outputs.levels[column].index(changes[column])
        support = _measure_support(heard[column], int(doubts.places[number]), wanted)
        line["score"] = float(scores[number]) * (1 - UNSUPPORTED * (1 - support))
        quotes = _quote_witnesses(heard[column], int(doubts.places[number]), wanted, changes[column])
        if same and len(quotes) and verdict.codes[entry] != NAME_AGAINST_LABEL:
            quotes.append(f"{same} of {len(near)} look-alikes are {changes[column]}")
        yield line | {"reason": write_reason(quotes, given)}


def _hear_lookalikes(
    context: AuditContext, case: _Case, doubts: _Doubts, kept: Indices, lookalikes: Indices
) -> npt.NDArray[np.float64]:
    """Return the scores of the doubted items, float64 (k,): on the primary level look-alikes have a say in them too."""
    pairs = zip(doubts.levels.tolist(), doubts.entries.tolist(), strict=True)
    scores = np.array([doubts.verdicts[level].scores[entry] for level, entry in pairs])
    given, said = case.of_level(case.outputs.primary)
    everyone = np.full(len(context.items), NO_VALUE, np.int64)
    everyone[case.rows] = given
    primary = list(case.outputs.levels).index(case.outputs.primary)
    chosen = (doubts.levels[kept] == primary) & said.has_photograph[doubts.places[kept]]
    places = doubts.places[kept][chosen]
    probs = said.of(places).join() + TINY
    probs *= weigh_neighbors(everyone[lookalikes[chosen]], probs.shape[1])
    entries = np.arange(len(places))
    own = probs[entries, given[places]].astype(np.float64)
    probs[entries, given[places]] = 0
    # Not one less the given class's share: an item that could be many things is no sign of a wrong label.
    scores[kept[chosen]] = 1 - own / (own + probs.max(axis=1))
    return scores


def _choose_products(context: AuditContext, case: _Case, doubts: _Doubts) -> Indices:
    """Return the product to suggest for each doubted item, int64 (k,); `NO_VALUE` where none would change a value.

    That an item or a product lacks a value is no change. A product that lacks one where the item has one is suggested
    only where none completes it: the item's own would stay beside those of another category.
    """
    chosen = np.full(len(doubts.places), NO_VALUE, np.int64)
    probs = case.modality_probs.of(doubts.places).join()
    columns = [level for level in context.levels if level in case.outputs.levels]
    classes = np.stack([case.outputs.list_classes(level) for level in columns], axis=1)
    given = classes[case.given[doubts.places]]
    for number, verdict in enumerate(doubts.verdicts):
        here = np.flatnonzero(doubts.levels == number)
        wanted = verdict.suggested[doubts.entries[here]]
        fits = case.outputs.list_classes(verdict.level)[None] == wanted[:, None]
        has, had = classes[None] != NO_VALUE, given[here][:, None] != NO_VALUE
        is_whole = (has | ~had).all(axis=2)
        fits = _complete(fits, is_whole, classes, case.given[doubts.places[here]])
        fits &= (has & had & (classes[None] != given[here][:, None])).any(axis=2)
        # Above all probabilities of those that would leave a value of the item as it is.
        best = np.where(fits, probs[here] + is_whole, -1.0)
        chosen[here] = np.where(fits.any(axis=1), best.argmax(axis=1), NO_VALUE)
    return chosen


def _complete(
    fits: npt.NDArray[np.bool_], is_whole: npt.NDArray[np.bool_], classes: Indices, given: Indices
) -> npt.NDArray[np.bool_]:
    """Return the products to choose from, bool (k, products).

    Where all that have the suggested class lack a value that the item has, those that complete them are among them;
    where the item's own product completes one, none is: it has what is suggested, and more.

    Args:
        fits: Those that have the suggested class.
        is_whole: Those that have a value wherever the item has one.
        classes: Each product's class on every level, int64 (products, levels).
        given: Each item's own product, int64 (k,).
    """
    lacking = np.flatnonzero(~(fits & is_whole).any(axis=1))
    if not len(lacking) or (classes != NO_VALUE).all():
        return fits
    completes = ((classes[:, None] == NO_VALUE) | (classes[:, None] == classes[None])).all(axis=2)
    fits[lacking] = fits[lacking].astype(np.float32) @ completes.astype(np.float32) > 0
    fits[lacking[fits[lacking, given[lacking]]]] = False
    return fits


def _list_changes(outputs: LabelSpace, product: int, values: Mapping[str, pl.Series], row: int) -> dict[str, str]:
    """Return the new value of every column that the suggested product changes, coarse to fine; a missing cell stays."""
    changes = {}
    for level, classes in zip(outputs.levels, outputs.category_paths[product], strict=True):
        if level not in values or classes == NO_VALUE or values[level][row] is None:
            continue
        if outputs.levels[level][classes] != values[level][row]:
            changes[level] = outputs.levels[level][classes]
    return changes


def _choose_column(
    changes: Mapping[str, str],
    case: _Case,
    heard: Mapping[str, ModalityProbs],
    together: Mapping[str, Probs],
    place: int,
) -> str:
    """Return the finest changed level whose new value is likely enough, else the coarsest changed one.

    That is likelier than not by both witnesses, and not against the photograph where one was asked.
    """
    for level in reversed(list(changes)):
        wanted = case.outputs.levels[level].index(changes[level])
        sees = heard[level].photograph[place, wanted] >= HEARD or not heard[level].has_photograph[place]
        if together[level][place, wanted] >= LIKELY and sees:
            return level
    return next(iter(changes))


def _measure_support(said: ModalityProbs, place: int, wanted: int) -> float:
    """Return what photograph and name say of the suggested class, 0 to 1: their geometric mean; 1 where one is not heard.

    A photograph alone is not held to it: planted errors are ranked worse then (docs/experiments.md).
    """
    if said.names_in_photograph or not (said.has_photograph[place] and said.has_name[place]):
        return 1.0
    return math.sqrt(said.photograph[place, wanted] * said.name[place, wanted])


def _quote_witnesses(said: ModalityProbs, place: int, wanted: int, name: str) -> list[str]:
    """Describe what the witnesses that were heard of an item say of the suggested class."""
    seer, looks = ("photograph and name", "look like") if said.names_in_photograph else ("the photograph", "looks like")
    quotes = []
    if said.has_photograph[place]:
        quotes.append(_quote(seer, looks, name, float(said.photograph[place, wanted])))
    if said.has_name[place]:
        quotes.append(_quote("the name", "says", name, float(said.name[place, wanted])))
    return quotes


def _quote(who: str, says: str, name: str, probability: float) -> str:
    """Describe what a witness says of the suggested class; one that hardly speaks for it is not made to."""
    return f"{who} {says if probability >= HEARD else f'hardly {says}'} {name} ({say_probability(probability)})"


def write_reason(quotes: Sequence[str], given: str) -> str:
    """Write what speaks against a label as one sentence."""
    text = ", ".join(quotes)
    return f"{text[0].upper()}{text[1:]}; given {given or 'nothing'}."


def _split_codes(lines: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.concat(
        [
            build_issues([line for line in lines if line["code"] == code], code, severity)
            for code, severity in SEVERITIES.items()
        ]
    )


def measure_attribute(context: AuditContext, witness: OutOfSampleProbs, column: str) -> float:
    """Return how often photographs tell an attribute as it is given, 0 to 1."""
    given, probs = _read_attribute(context, witness, column)
    known = given != NO_VALUE
    return float((probs.argmax(axis=1) == given)[known].mean()) if known.any() else 0.0


def _read_attribute(context: AuditContext, witness: OutOfSampleProbs, column: str) -> tuple[Indices, Probs]:
    names = {name: place for place, name in enumerate(witness.outputs.attributes[column])}
    values = context.read(column).gather(witness.rows)
    given = np.array([names.get(value, NO_VALUE) if value else NO_VALUE for value in values], np.int64)
    return given, witness.attributes[column]


def _find_attribute_issues(context: AuditContext, witness: OutOfSampleProbs, column: str) -> pl.DataFrame:
    if column not in witness.attributes or (
        measure_attribute(context, witness, column) < context.config.min_attribute_accuracy
    ):
        return build_issues([], WRONG_LABEL, WARNING)
    given, probs = _read_attribute(context, witness, column)
    nobody: npt.NDArray[np.bool_] = np.zeros(len(given), bool)
    verdict = hear(column, given, ModalityProbs(probs, ~nobody, np.zeros_like(probs), nobody))
    names = witness.outputs.attributes[column]
    lines = []
    for entry, place in enumerate(verdict.places.tolist()):
        old, new = names[given[place]], names[verdict.suggested[entry]]
        probability = say_probability(probs[place, verdict.suggested[entry]])
        lines.append(
            {
                "item_id": context.item_ids[witness.rows[place]],
                "given_label": old,
                "suggested_label": new,
                "score": float(verdict.scores[entry]),
                "reason": write_reason([f"the photograph looks like {column} {new} ({probability})"], old),
                "column": column,
                "changes": {column: new},
            }
        )
    return build_issues(lines, WRONG_LABEL, WARNING)
