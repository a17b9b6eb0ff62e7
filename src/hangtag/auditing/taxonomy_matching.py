"""Match a catalogue's categories to those of a public taxonomy: by names, by their parents, and by product names."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hangtag.auditing.category_words import CategoryWords
from hangtag.labels.public_taxonomy import Category, PublicCategory, PublicTaxonomy

# How sure a match of names alone is, by its kind. They were set by hand, in this order, and not fitted to a catalogue.
WHOLE, PART, SYNONYM, KIND_WORD, KIND_OF, COMPOUND, UNSURE_PART = 0.9, 0.87, 0.8, 0.7, 0.6, 0.5, 0.4
# Names this sure stand for themselves; weaker ones count less where the category's parent is matched elsewhere.
STRONG = SYNONYM
# What is left of the doubt where all parents agree, or all names of products have the category's words.
PARENT_DOUBT, PRODUCT_DOUBT = 0.5, 0.5
# What is left of the confidence where no parent agrees, where the parent is matched elsewhere, and of a parent's match.
NO_PARENT, ELSEWHERE, BY_PARENT = 0.85, 0.7, 0.9
# Of two unrelated categories the better one is taken if the doubt about the other is so many times larger.
MIN_DOUBT_RATIO = 1.5
MIN_COMPOUND, MAX_NAMES, MAX_WORDS = 4, 400, 3
# A category that names of products show without any match of its own name: from this share of the products.
MIN_SHARE = 0.3
MAX_CANDIDATES = 3
SYNONYM_WORD = "synonym"
# A name that stands in so many main parts of the taxonomy, as `Accessories` does, says nothing as that of a parent.
MIN_GENERIC = 2
# A part of the taxonomy with less than this share of the products whose category is certain is not the catalogue's.
MIN_HOME_SHARE = 0.01


@dataclass(frozen=True)
class TaxonomyMatch:
    """A public category for a category of the catalogue.

    Attributes:
        category: The public category.
        confidence: How sure the match is, 0 to 1. It orders matches; it is no probability.
        evidence: Why, for people.
        is_own: Whether the category's own name or products are the reason, and not only its parent.
    """

    category: PublicCategory
    confidence: float
    evidence: str
    is_own: bool = True


@dataclass(frozen=True)
class CategoryMatch:
    """The match of one category of the catalogue.

    Attributes:
        proposed: The match, or None where none is certain.
        candidates: The best matches, the surest first.
    """

    proposed: TaxonomyMatch | None
    candidates: Sequence[TaxonomyMatch]


@dataclass
class _Node:
    """A public category, the keys of its own name with how sure each is, and the sure ones of all names of its path."""

    category: PublicCategory
    own: Mapping[str, float]
    above: frozenset[str]


class TaxonomyIndex:
    """Find the categories of a public taxonomy by the words of their names.

    Args:
        taxonomy: The taxonomy.
        words: How names are compared.
    """

    def __init__(self, taxonomy: PublicTaxonomy, words: CategoryWords) -> None:
        self.words = words
        by_name: dict[str, Mapping[str, float]] = {}
        self._nodes: list[_Node] = []
        # The parts of the taxonomy that are the catalogue's, by their names; all where that is not known.
        self.home: Collection[str] = ()
        self._tops: dict[str, set[str]] = defaultdict(set)
        self._by_key: dict[str, list[int]] = defaultdict(list)
        for category in taxonomy.categories:
            for name in category.path:
                if name not in by_name:
                    by_name[name] = self._list_keys(name)
            above = frozenset(
                key for name in category.path for key, strength in by_name[name].items() if strength >= STRONG
            )
            for key, strength in by_name[category.path[-1]].items():
                self._by_key[key].append(len(self._nodes))
                if strength >= STRONG:
                    self._tops[key].add(category.path[0])
            self._nodes.append(_Node(category, by_name[category.path[-1]], above))

    def _list_keys(self, name: str) -> dict[str, float]:
        """Return the keys by which a name is found, each with how sure a match of it is."""
        keys: dict[str, float] = {}
        parts = {part: PART if is_sure else UNSURE_PART for part, is_sure in self.words.list_alternatives(name).items()}
        for text, strength in {**parts, name: WHOLE}.items():
            for key, found in (
                (self.words.fold(text), strength),
                (self.words.join(text), strength),
                (self.words.fold_synonyms(text), min(SYNONYM, strength)),
            ):
                keys[key] = max(found, keys.get(key, 0.0))
        return keys

    def match(self, category: Category, shares: Mapping[int, float], min_confidence: float) -> CategoryMatch:
        """Match a category of the catalogue.

        Args:
            category: Its values, coarse to fine, None where one is missing.
            shares: What `count_names` returned for its products.
            min_confidence: Below this nothing is proposed.
        """
        levels = [value for value in category if value]
        # A category without subcategories stands for itself at the finer levels.
        path = [value for value, after in pairwise([*levels, ""]) if value != after]
        matches = self._rank(path, shares)
        return CategoryMatch(_choose(matches, min_confidence), matches[:MAX_CANDIDATES])

    def _rank(self, path: Sequence[str], shares: Mapping[int, float]) -> list[TaxonomyMatch]:
        """Return the matches of a path, the surest first."""
        if not path:
            return []
        parents = [name for name in path[:-1] if self._is_telling(name)]
        above = _choose(self._rank(parents, {}), STRONG) if parents else None
        found = self._find_names(path[-1])
        for index, share in shares.items():
            if share >= MIN_SHARE:
                found.setdefault(index, (0.0, ""))
        matches = [
            self._judge(index, score, why, parents, shares.get(index, 0.0), above)
            for index, (score, why) in found.items()
        ]
        # The top of the taxonomy is true for nearly everything and helps nobody.
        if above and above.is_own and parents[-1] == path[-2] and len(above.category.path) > 1:
            evidence = f"only its parent {parents[-1]}: {above.evidence}"
            matches.append(TaxonomyMatch(above.category, round(BY_PARENT * above.confidence, 2), evidence, False))
        best: dict[tuple[str, ...], TaxonomyMatch] = {}
        for match in matches:
            if match.confidence > 0 and match.confidence > getattr(best.get(match.category.path), "confidence", 0):
                best[match.category.path] = match
        return sorted(best.values(), key=lambda match: (-match.confidence, -len(match.category.path)))

    def _is_telling(self, name: str) -> bool:
        """Return whether the taxonomy has a parent's name, and in one of its main parts only."""
        tops = [self._tops[key] for key in self._list_own_keys(name) if key in self._tops]
        return bool(tops) and len(self._tops.get(self.words.fold(name), ())) < MIN_GENERIC

    def _judge(
        self, index: int, score: float, why: str, parents: Sequence[str], share: float, above: TaxonomyMatch | None
    ) -> TaxonomyMatch:
        node, reasons = self._nodes[index], [why] if why else []
        agreeing = [name for name in parents if not node.above.isdisjoint(self._list_own_keys(name))]
        # One parent that agrees is much already.
        agreement = 1 - 0.3 ** len(agreeing)
        doubt = (1 - score) * (1 - PARENT_DOUBT * agreement) * (1 - PRODUCT_DOUBT * share)
        confidence = 1 - doubt
        if agreeing:
            reasons.append(f"parents agree ({', '.join(agreeing)})")
        elif parents and not (above and _is_near(node.category, above.category)):
            confidence *= NO_PARENT
            reasons.append("no parent agrees")
        if self.home and not agreeing and node.category.path[0] not in self.home:
            confidence *= ELSEWHERE
            reasons.append(f"hardly any other category is in {node.category.path[0]}")
        if share >= 0.01:
            reasons.append(f"{share:.0%} of product names have its words")
        if score < STRONG and above and not _is_near(node.category, above.category):
            confidence *= ELSEWHERE
            reasons.append(f"but its parent is {above.category}")
        return TaxonomyMatch(node.category, round(confidence, 2), "; ".join(reasons))

    def _list_own_keys(self, name: str) -> set[str]:
        """Return the keys of a name of the catalogue: whole, its parts, and with synonyms."""
        texts = [name, *self.words.list_alternatives(name)]
        return {key for text in texts for key in (self.words.fold(text), self.words.fold_synonyms(text))}

    def _find_names(self, name: str) -> dict[int, tuple[float, str]]:
        """Return the nodes whose name fits that of a category, with how sure that is and why."""
        found: dict[int, tuple[float, str]] = {}
        for key, limit, why in self._list_searches(name):
            for index in self._by_key.get(key, ()):
                own = self._nodes[index].own[key]
                score = min(limit, own)
                if score > found.get(index, (0.0, ""))[0]:
                    # A name may be found by the synonyms of the other.
                    found[index] = (score, SYNONYM_WORD if own == SYNONYM < limit else why)
        return found

    def _list_searches(self, name: str) -> Iterator[tuple[str, float, str]]:
        """Yield the keys to look for, with the most that a match by each counts, and what to call it."""
        words = self.words
        yield words.fold(name), WHOLE, "same name"
        for part, is_sure in words.list_alternatives(name).items():
            yield words.fold(part), SYNONYM if is_sure else UNSURE_PART, "part of the name"
        yield words.fold_synonyms(name), SYNONYM, SYNONYM_WORD
        for key in words.list_kinds(name):
            yield key, KIND_WORD, f"kind of {key}"
        for text in words.list_heads(name):
            yield words.fold(text), KIND_OF, f"kind of {text}"
            yield words.fold_synonyms(text), KIND_OF, f"kind of {text}"
            for key in words.list_kinds(text):
                yield key, KIND_OF, f"kind of {text}"
        key = words.fold(name)
        for start in range(1, len(key) - MIN_COMPOUND + 1):
            if key[start:] in self._by_key:
                yield key[start:], COMPOUND, f"ends with {key[start:]}"
                break

    def count_names(self, names: Sequence[str]) -> dict[int, float]:
        """Return the share of product names that have the words of a public category's name, by its position."""
        sample = names[:: max(1, len(names) // MAX_NAMES)]
        counts: Counter[int] = Counter()
        for name in sample:
            keys = set(self.words.list_word_keys(name, MAX_WORDS))
            counts.update(
                {index for key in keys for index in self._by_key.get(key, ()) if self._nodes[index].own[key] >= STRONG}
            )
        return {index: count / len(sample) for index, count in counts.items()}


def _are_related(one: PublicCategory, other: PublicCategory) -> bool:
    """Return whether one category is the other or stands above it."""
    return all(before == after for before, after in zip(one.path, other.path, strict=False))


def _is_near(category: PublicCategory, above: PublicCategory) -> bool:
    """Return whether a category is related to the match of its parent, or is beside it deep in the taxonomy."""
    beside = len(above.path) > 2 and category.path[: len(above.path) - 1] == above.path[:-1]
    return beside or _are_related(category, above)


def _choose(matches: Sequence[TaxonomyMatch], min_confidence: float) -> TaxonomyMatch | None:
    """Return the surest match, if it is sure enough and no unrelated one is nearly as sure."""
    if not matches or matches[0].confidence < min_confidence:
        return None
    best = matches[0]
    if not best.is_own:
        # A sure match of its own below that of the parent says more.
        own = (each for each in matches if each.is_own and each.confidence >= min_confidence)
        best = next((each for each in own if _are_related(each.category, best.category)), best)
    rivals = [each for each in matches[1:] if not _are_related(each.category, best.category)]
    # The first rival is the surest.
    if rivals and 1 - rivals[0].confidence < MIN_DOUBT_RATIO * (1 - best.confidence):
        return None
    return best


def match_categories(
    categories: Mapping[Category, Sequence[str]], index: TaxonomyIndex, min_confidence: float
) -> dict[Category, CategoryMatch]:
    """Match every category of a catalogue.

    Args:
        categories: The names of the products of each category.
        index: The public taxonomy.
        min_confidence: Below this nothing is proposed.
    """
    shares = {category: index.count_names(names) for category, names in categories.items()}
    counts: Counter[str] = Counter()
    for category, names in categories.items():
        if first := index.match(category, shares[category], min_confidence).proposed:
            counts[first.category.path[0]] += len(names)
    # The parts of the taxonomy in which the other categories are: a shop of clothes has no car parts.
    index.home = {top for top, count in counts.items() if count >= MIN_HOME_SHARE * counts.total()}
    return {category: index.match(category, shares[category], min_confidence) for category in categories}
