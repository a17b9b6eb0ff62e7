"""Find labels that mean the same: by their spelling, by synonyms, and by the words of their products' names."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

from hangtag.auditing.category_words import CategoryWords
from hangtag.auditing.value_issues import SAME_SCORE, find_variants
from hangtag.io import JsonObject
from hangtag.labels.relabel import split_words

SYNONYM_SCORE = 0.8
# Scores from here on merge in the proposed rules; others stand there as comments.
MIN_MERGED_SCORE = SYNONYM_SCORE
# The words of fewer products say little about a label.
MIN_NAMED_ITEMS = 5


@dataclass(frozen=True)
class LabelItems:
    """The products of a label.

    Attributes:
        count: How many there are.
        parent: The coarsest category that most of them have.
        names: Their names.
    """

    count: int
    parent: str
    names: Sequence[str]


@dataclass(frozen=True)
class Merge:
    """A label that may mean the same as another, which has more products.

    Attributes:
        label: The label.
        into: The other one.
        score: How sure it is, 0 to 1. It orders merges; it is no probability.
        reason: Why, for people.
    """

    label: str
    into: str
    score: float
    reason: str


def find_merges(labels: Mapping[str, LabelItems], min_similarity: float) -> list[Merge]:
    """Return the labels that may mean the same as another, the surest first; a label is merged into one other only.

    Args:
        labels: The products of each label.
        min_similarity: How alike the words of two labels' product names must be, as a cosine.
    """
    found = [
        *_find_spellings(labels),
        *_find_synonyms(labels),
        *_find_alike(labels, min_similarity),
    ]
    best: dict[str, Merge] = {}
    for merge in sorted(found, key=lambda each: -each.score):
        # Of two labels only one is merged into the other.
        if merge.label not in best and getattr(best.get(merge.into), "into", None) != merge.label:
            best[merge.label] = merge
    return sorted(best.values(), key=lambda each: (-each.score, -labels[each.label].count, each.label))


def _find_spellings(labels: Mapping[str, LabelItems]) -> Iterator[Merge]:
    for rare, usual, score in find_variants({label: items.count for label, items in labels.items()}):
        reason = "differs only in capitals, signs, spaces or endings" if score >= SAME_SCORE else "one letter differs"
        yield Merge(rare, usual, score, reason)


def _find_synonyms(labels: Mapping[str, LabelItems]) -> Iterator[Merge]:
    words = CategoryWords(has_near=False)
    by_key: dict[str, list[str]] = {}
    for label in sorted(labels, key=lambda each: (-labels[each].count, each)):
        by_key.setdefault(words.fold_synonyms(label), []).append(label)
    for usual, *others in by_key.values():
        for label in others:
            if words.fold(label) != words.fold(usual):
                yield Merge(label, usual, SYNONYM_SCORE, "a synonym")


def _find_alike(labels: Mapping[str, LabelItems], min_similarity: float) -> Iterator[Merge]:
    """Yield pairs of labels with the same parent whose products' names have the same words.

    A label's words are weighted by the share of its products that have them, and less if many labels have them.
    """
    named = [label for label, items in labels.items() if len(items.names) >= MIN_NAMED_ITEMS]
    if len(named) < 2:
        return
    counter = CountVectorizer(tokenizer=split_words, token_pattern=None, binary=True)
    counts = counter.fit_transform([name for label in named for name in labels[label].names])
    sizes = [len(labels[label].names) for label in named]
    ends = np.cumsum(sizes)
    shares = np.vstack([counts[end - size : end].sum(axis=0) / size for end, size in zip(ends, sizes, strict=True)])
    weights = TfidfTransformer().fit_transform(np.asarray(shares))
    alike = (weights @ weights.T).toarray()
    for one, other in combinations(range(len(named)), 2):
        if labels[named[one]].parent == labels[named[other]].parent and alike[one, other] >= min_similarity:
            label, into = sorted((named[one], named[other]), key=lambda each: (labels[each].count, each))
            score = round(float(alike[one, other]) * SYNONYM_SCORE, 2) - 0.01
            yield Merge(label, into, round(score, 2), f"products have the same words (cosine {alike[one, other]:.2f})")


def write_rules(
    name: str, rules: Sequence[JsonObject], merges: Sequence[Merge], labels: Mapping[str, LabelItems]
) -> str:
    """Write label rules with the merges, before those that look at the number of a label's products.

    Args:
        name: What the rules are called.
        rules: The rules without them, as TOML has them.
        merges: The merges; less sure ones are written as comments.
        labels: The products of each label.
    """
    place = next((index for index, rule in enumerate(rules) if rule["rule"] in ("drop_rare", "relabel")), len(rules))
    sure = {merge.label: merge.into for merge in merges if merge.score >= MIN_MERGED_SCORE}
    groups: dict[str, list[Merge]] = {}
    for merge in merges:
        if merge.label in sure:
            groups.setdefault(_find_last(merge.into, sure), []).append(merge)
    parts = [
        "# Labels that mean the same, as `hangtag suggest-merges` found them. Remove what is wrong, and the # before\n"
        "# what else is right. Then name this file: hangtag clean --taxonomy FILE",
        f"name = {_write_value(name)}",
        *map(_write_rule, rules[:place]),
        *(_write_merge(into, group, labels) for into, group in groups.items()),
        *(
            "\n".join(f"# {line}" for line in _write_merge(merge.into, [merge], labels).splitlines())
            for merge in merges
            if merge.label not in sure
        ),
        *map(_write_rule, rules[place:]),
    ]
    return "\n\n".join(parts) + "\n"


def _find_last(label: str, merged: Mapping[str, str]) -> str:
    """Return what a label ends as where labels are merged into labels that are merged themselves."""
    for _ in merged:
        label = merged.get(label, label)
    return label


def _write_merge(into: str, merges: Sequence[Merge], labels: Mapping[str, LabelItems]) -> str:
    comments = [
        f"# {json.dumps(each.label, ensure_ascii=False)} ({labels[each.label].count:,} products): {each.reason}"
        for each in merges
    ]
    rule = {"rule": "merge", "labels": [each.label for each in merges], "into": into}
    return "\n".join([*comments, _write_rule(rule)])


def _write_rule(rule: JsonObject) -> str:
    return "\n".join(["[[rules]]", *(f"{key} = {_write_value(value)}" for key, value in rule.items())])


def _write_value(value: object) -> str:
    """Write a text, a number, a truth value or a list as TOML, which has them as JSON does."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
