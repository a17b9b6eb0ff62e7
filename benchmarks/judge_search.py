"""Measure how well `hangtag search` finds products of a held-out split by words, from their photographs alone.

Usage: python benchmarks/judge_search.py --workspace W [--run RUN] [--split test] [--candidates] [QUERY...]

Queries are the single words, and the pairs of words, that ten or more names of the split have and that the map knows.
The names of the split are used only to judge: a product found is right if its name has all the words of the query. The
products of the split are ranked, no others. Printed are the mean share that is right of the first one and of the first
ten, the share of the right ones among the first hundred, and the share that a random order has; then the same by kind
of word, the best and worst words, and each QUERY. `--candidates` compares other ways to learn the words, on val.
"""

import argparse
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hangtag.inference.search import LEAST, SearchIndex
from hangtag.labels.dataset import LabeledItems, read_labeled_items
from hangtag.lock import hold
from hangtag.models.text import split_words
from hangtag.stages.search import SPLIT, choose_run, open_index
from hangtag.training import word_map
from hangtag.workspace import Workspace

LEAST_ITEMS = 10
MOST_PAIRS = 2000
SHOWN = 12
Query = tuple[str, ...]
# Precision at 1 and at 10, recall at 100, and chance.
Judged = tuple[float, float, float, float]
Floats = npt.NDArray[np.float32]


class Judge:
    """The items of a split, with the words of their names and the queries."""

    def __init__(self, labelled: LabeledItems, index: SearchIndex, split: str) -> None:
        table = labelled.table
        self.rows = np.flatnonzero((table["split"] == split).fill_null(value=False).to_numpy())
        names = table[str(labelled.schema.name)].gather(self.rows).to_list()
        known = set(index.map.words)
        self.words = [set(split_words(name or "")) & known for name in names]
        singles = Counter((word,) for words in self.words for word in words)
        pairs = Counter(pair for words in self.words for pair in combinations(sorted(words), 2))
        self.singles = [query for query, count in sorted(singles.items()) if count >= LEAST_ITEMS]
        frequent = [query for query, count in sorted(pairs.items()) if count >= LEAST_ITEMS]
        chosen = np.random.default_rng(0).permutation(len(frequent))[:MOST_PAIRS]
        self.pairs = [frequent[position] for position in chosen]
        self.has = {word: np.array([word in words for words in self.words]) for word in known}

    def judge(self, query: Query, scores: Floats) -> Judged:
        """Return precision at 1 and 10, recall at 100 and chance of one query, for the scores of the split's items."""
        is_right = np.logical_and.reduce([self.has[word] for word in query])
        near = np.argpartition(-scores, 100)[:100]
        found = is_right[near[np.argsort(-scores[near], kind="stable")]]
        return float(found[0]), found[:10].mean(), found.sum() / is_right.sum(), is_right.mean()

    def report(self, name: str, by_word: dict[str, Floats]) -> dict[str, Judged]:
        """Print a line for the single words and one for the pairs; return what each word reaches."""
        judged: dict[str, Judged] = {}
        for kind, queries in (("words", self.singles), ("pairs", self.pairs)):
            found = [self.judge(query, np.prod([by_word[word] for word in query], axis=0)) for query in queries]
            print_line(f"{name}, {kind}", found)
            if kind == "words":
                judged = {word: each for (word,), each in zip(queries, found, strict=True)}
        return judged


def print_line(name: str, found: list[Judged]) -> None:
    """Print the means of some queries."""
    first, ten, recall, chance = np.mean(found, axis=0)
    print(f"{name:34} {len(found):6,} {first:8.3f} {ten:8.3f} {recall:8.3f} {chance:8.4f}", flush=True)


def find_kinds(labelled: LabeledItems, words: set[str]) -> dict[str, set[str]]:
    """Sort words by the column of the catalogue whose values have them; brands are most often a name's first word."""
    kinds = {}
    for column in (*labelled.schema.attributes, *labelled.schema.levels):
        values = labelled.table[column].drop_nulls().unique().to_list()
        kinds[column] = {word for value in values for word in split_words(str(value))} & words
    names = [split_words(name or "") for name in labelled.table[str(labelled.schema.name)].to_list()]
    firsts, all_names = Counter(name[0] for name in names if name), Counter(w for name in names for w in set(name))
    described = set().union(*kinds.values())
    kinds["first word of names (brand)"] = {word for word in words - described if firsts[word] > all_names[word] / 2}
    kinds["all other words"] = words - described - kinds["first word of names (brand)"]
    return kinds


def list_candidates(labelled: LabeledItems, index: SearchIndex, judge: Judge) -> None:
    """Print a line for each other way to learn words: ridge penalties, and the names of the nearest neighbors."""
    features = np.concatenate(list(index.iterate_features())).astype(np.float16)
    table = labelled.table
    train = np.flatnonzero((table["split"] == SPLIT).fill_null(value=False).to_numpy())
    names = table[str(labelled.schema.name)].gather(train).to_list()
    linear: dict[str, Floats] = {}
    for penalty in (1000.0, 64.0, 8.0):
        word_map.PENALTY = penalty
        learned = word_map.learn_word_map(features, train, names)
        scores = features[judge.rows].astype(np.float32) @ learned.weights + learned.bias
        linear = {word: scores[:, learned.words.index(word)].clip(LEAST) for word in judge.has}
        judge.report(f"ridge, penalty {penalty:g}", linear)
    unit = features.astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    similarity = unit[judge.rows] @ unit[train].T
    near = np.argpartition(-similarity, 20, axis=1)[:, :20]
    weights = np.exp((np.take_along_axis(similarity, near, axis=1) - similarity.max(axis=1, keepdims=True)) / 0.05)
    weights /= weights.sum(axis=1, keepdims=True)
    holders: dict[str, list[int]] = {word: [] for word in judge.has}
    for row, name in enumerate(names):
        for word in set(split_words(name or "")) & holders.keys():
            holders[word].append(row)
    both = {}
    for word, rows in holders.items():
        present = np.zeros(len(names), np.float32)
        present[rows] = 1
        both[word] = (weights * present[near]).sum(axis=1)
    judge.report("20 nearest neighbors", {word: scores + LEAST for word, scores in both.items()})
    judge.report("both, summed", {word: scores + linear[word] for word, scores in both.items()})


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queries", nargs="*", metavar="QUERY")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--run")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--candidates", action="store_true")
    arguments = parser.parse_args()
    workspace = Workspace.at(arguments.workspace)
    run_id = choose_run(workspace, arguments.run)
    reads = [workspace.prepared, workspace.labels, workspace.run(run_id)]
    with hold("search", workspace, reads=reads, writes=[workspace.search_index(run_id)]):
        labelled = read_labeled_items(workspace)
        index = open_index(workspace, run_id, labelled)
        judge = Judge(labelled, index, arguments.split)
        print(f"{run_id} on {arguments.split}, {len(judge.rows):,} products, {len(index.map.words):,} words known")
        print(f"{'':34} {'n':>6} {'P@1':>8} {'P@10':>8} {'R@100':>8} {'chance':>8}")
        if arguments.candidates:
            list_candidates(labelled, index, judge)
            return
        # As `SearchIndex.score_words` does for one query, for all words at once.
        features = np.concatenate(list(index.iterate_features()))[judge.rows]
        scores = np.clip(features @ index.map.weights + index.map.bias, LEAST, None)
        by_word = {word: scores[:, index.map.words.index(word)] for word in judge.has}
    judged = judge.report("photographs", by_word)
    for kind, words in find_kinds(labelled, set(judged)).items():
        if words:
            print_line(f"  {kind}", [judged[word] for word in sorted(words)])
    precision = {word: each[1] for word, each in judged.items()}
    ranked = sorted(precision, key=lambda word: (-precision[word], word))
    for title, shown in (("best", ranked[:SHOWN]), ("worst", ranked[::-1][:SHOWN])):
        print(f"{title}: " + ", ".join(f"{word} {precision[word]:.1f}" for word in shown))
    for text in arguments.queries:
        query = tuple(split_words(text))
        is_right = np.logical_and.reduce([judge.has.get(word, np.zeros(1, bool)) for word in query])
        if is_right.any():
            found = judge.judge(query, np.prod([by_word[word] for word in query], axis=0))
            print_line(f"{' '.join(query)} ({is_right.sum()} products)", [found])


if __name__ == "__main__":
    main()
