"""Accept open issues automatically, above a score threshold whose precision the reviewers' decisions prove.

Only decisions that are as good as a random sample prove anything: those of a reviewer who works from the highest score
down say nothing about the issues further down. Issues have a random order (`Issue.random_key`, the order `random
sample` of the review page). Of the issues at or above a score, the sample is the longest start of this order in which
every issue is decided, in whatever order that happened. A skipped issue in it counts as a wrong suggestion.

The issues that are decided automatically are a finite set, so the test is hypergeometric: it rejects that more of the
open issues at or above the score are wrong than the target precision allows, given the sample and the other decisions.
Scores are tested from the highest down; the search ends at the first score that fails. A second search begins at half
of the sample, so that an early mistake does not end everything. The error probability of 5 % is divided among the
searches and among the kinds of issues (a code with its evidence) whose samples are large enough. Source: Angelopoulos
et al., *Learn then Test*, 2021 (fixed sequence testing with several starts).
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hangtag.reviewing.queue import Issue, compute_random_key
from hangtag.reviewing.store import Decision, Identity, find_standing

# The error probability: that the precision is below the target although it counts as proven.
RISK = 0.05
# About the number of scores that are tested for a kind.
MOST_CANDIDATES = 50


@dataclass(frozen=True)
class Vote:
    """An issue, or a group of issues that are decided together, with the decision about it.

    Attributes:
        kind: The kind of issue.
        score: The lowest score of its issues.
        random_key: Its position in the random order.
        is_right: Whether the suggestion was accepted; None while it is open.
    """

    kind: str
    score: float
    random_key: bytes
    is_right: bool | None


@dataclass(frozen=True)
class KindPrecision:
    """The precision that the decisions about one kind of issue prove.

    Attributes:
        kind: The issue code, with the evidence if it has any, as in `label_error (image)`.
        decided: The number of decisions.
        sampled: The number of these that are a random sample.
        right: The number of the sampled ones that accepted the suggestion.
        threshold: The lowest score to accept; None if the target precision is not proven.
        reason: Why it is not proven; empty if there is a threshold.
    """

    kind: str
    decided: int
    sampled: int
    right: int
    threshold: float | None
    reason: str = ""


def count_needed(precision: float, risk: float = RISK) -> int:
    """Return the smallest number of decisions that proves a precision of many open issues, if all are right."""
    return math.ceil(math.log(risk) / math.log(precision))


def count_open_needed(precision: float) -> int:
    """Return the smallest number of open issues of which one may be wrong."""
    return math.ceil(1 / (1 - precision) - 1e-9)


def compute_tail(population: int, wrong: int, sampled: int, wrong_sampled: int) -> float:
    """Return the probability of at most `wrong_sampled` wrong ones in a sample without replacement.

    It is the distribution function of the hypergeometric distribution.

    Args:
        population: The number of issues.
        wrong: The number of wrong ones among them.
        sampled: The size of the sample.
        wrong_sampled: The number of wrong ones in the sample.
    """
    total = _log_choose(population, sampled)
    lowest = max(0, sampled - (population - wrong))
    terms = (
        math.exp(_log_choose(wrong, k) + _log_choose(population - wrong, sampled - k) - total)
        for k in range(lowest, min(wrong_sampled, wrong, sampled) + 1)
    )
    return min(sum(terms), 1.0)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def measure_kinds(votes: Iterable[Vote], precision: float) -> list[KindPrecision]:
    """Find the threshold of every kind that has open issues.

    Args:
        votes: All issues of the queue that suggest a change, and those that were decided before.
        precision: The target precision, below 1.
    """
    by_kind: dict[str, list[Vote]] = defaultdict(list)
    for vote in sorted(votes, key=lambda vote: vote.random_key):
        by_kind[vote.kind].append(vote)
    kinds = {kind: _list_candidates(found, precision) for kind, found in sorted(by_kind.items()) if _count_open(found)}
    # The sizes of the samples do not depend on what is right, so they may decide among how many the risk is divided.
    sizes = sorted((max((len(each.sample) for each in found), default=0) for found in kinds.values()), reverse=True)
    shared = max((k for k in range(1, len(sizes) + 1) if sizes[k - 1] >= count_needed(precision, RISK / k)), default=1)
    return [_measure_kind(kind, by_kind[kind], found, precision, RISK / shared) for kind, found in kinds.items()]


def _count_open(votes: Iterable[Vote]) -> int:
    return sum(vote.is_right is None for vote in votes)


@dataclass(frozen=True)
class _Candidate:
    """A score that may become the threshold, the votes at or above it, and those of them that are a random sample."""

    score: float
    votes: list[Vote]
    sample: list[Vote]

    def is_provable(self, precision: float, risk: float) -> bool:
        """Return whether the sample is large enough: whether it would prove the precision if all of it were right."""
        return self._bound_risk(precision, 0, 0) <= risk

    def is_proven(self, precision: float, risk: float) -> bool:
        """Return whether at most the allowed share of the open votes is wrong, with a probability of 1 - `risk`."""
        known_wrong = sum(vote.is_right is False for vote in self.votes)
        return self._bound_risk(precision, known_wrong, sum(not vote.is_right for vote in self.sample)) <= risk

    def _bound_risk(self, precision: float, known_wrong: int, wrong_sampled: int) -> float:
        """Return how probable at most these wrong ones in the sample are if too many of the open votes are wrong."""
        too_many = known_wrong + math.floor((1 - precision) * _count_open(self.votes) + 1e-9) + 1
        return compute_tail(len(self.votes), too_many, len(self.sample), wrong_sampled)


def _list_candidates(votes: Sequence[Vote], precision: float) -> list[_Candidate]:
    """Return scores to test, the highest first, evenly spaced among those of decided votes.

    At each, enough votes are open that one of them may be wrong: a few that a reviewer left open are often those that
    were hard to decide, which no sample is like.

    Args:
        votes: Those of one kind, in the random order.
        precision: The target precision.
    """
    needed = count_open_needed(precision)
    scores = sorted((vote.score for vote in votes if vote.is_right is not None), reverse=True)
    # Counted from the end: the lowest score is tested too, which is all of the decisions.
    tested = dict.fromkeys(reversed(scores[:: -max(len(scores) // MOST_CANDIDATES, 1)]))
    candidates = []
    for score in tested:
        above = [vote for vote in votes if vote.score >= score]
        sample = list(itertools.takewhile(lambda vote: vote.is_right is not None, above))
        if _count_open(above) >= needed:
            candidates.append(_Candidate(score, above, sample))
    return candidates


def _measure_kind(
    kind: str, votes: Sequence[Vote], candidates: Sequence[_Candidate], precision: float, risk: float
) -> KindPrecision:
    decided, needed = len(votes) - _count_open(votes), count_needed(precision, risk)
    sample = max((each.sample for each in candidates), key=len, default=[])
    right = sum(bool(vote.is_right) for vote in sample)
    num_open, open_needed = _count_open(votes), count_open_needed(precision)
    if num_open < open_needed:
        reason = f"{num_open} are open, {open_needed} needed; review them"
        return KindPrecision(kind, decided, len(sample), right, None, reason)
    if not any(each.is_provable(precision, risk) for each in candidates):
        reason = f"{decided} decided, {len(sample)} of these without a gap in the order `random sample`, "
        reason += f"at least {max(needed, len(sample) + 1)} needed"
        return KindPrecision(kind, decided, len(sample), right, None, reason)
    first, half = count_needed(precision, risk / 2), len(sample) // 2
    starts = (first, half) if half > first else (needed,)
    searches = [_find_threshold(candidates, start, precision, risk / len(starts)) for start in starts]
    threshold = min((score for score in searches if score is not None), default=None)
    failure = f"{right} of {len(sample)} in the order `random sample` were right: that does not prove {precision:g}"
    return KindPrecision(kind, decided, len(sample), right, threshold, "" if threshold is not None else failure)


def _find_threshold(candidates: Sequence[_Candidate], start: int, precision: float, risk: float) -> float | None:
    """Return the lowest score with a proven precision; the search begins with a sample of `start` votes."""
    begun = itertools.dropwhile(lambda each: len(each.sample) < start, candidates)
    tested = (each for each in begun if each.is_provable(precision, risk))
    proven = itertools.takewhile(lambda each: each.is_proven(precision, risk), tested)
    return min((each.score for each in proven), default=None)


@dataclass(frozen=True)
class Accepted:
    """The automatic decisions, and the precision measured for each kind of issue."""

    decisions: list[Decision]
    measured: list[KindPrecision]


def accept_open(
    issues: Sequence[Issue],
    decisions: Sequence[Decision],
    values: Mapping[str, Mapping[str, str]],
    precision: float,
    earlier: Sequence[Decision] = (),
    products: Mapping[str, str] | None = None,
) -> Accepted:
    """Accept open issues above the threshold of their kind; these decisions are not stored.

    An issue is open if no reviewer has decided about its item (a skip is a decision too), and if the catalogue still
    has the label that the issue is about. Only the issue with the highest score of an item is accepted. An issue that
    was accepted before stays accepted while its kind is proven, since an audit of the corrected labels no longer
    lists it.

    Args:
        issues: The issues of the audit, in descending order of score.
        decisions: All decisions, including undone ones.
        values: The values of every item in the catalogue, by item and column.
        precision: The target precision.
        earlier: The automatic decisions of the previous call.
        products: The name of each item's product at the time of the audit, if the catalogue has names.
    """
    standing = find_standing(decisions)
    settled = {decision.item_id for decision in standing}
    accepted_before = {decision.item_id: decision for decision in earlier if decision.item_id not in settled}
    open_issues = [
        issue
        for issue in issues
        if issue.item_id not in settled and issue.item_id not in accepted_before and _is_open(issue, values)
    ]
    names = products or {}
    new = (_accept_issue(issue, values[issue.item_id], names.get(issue.item_id, "")) for issue in open_issues)
    candidates = [*accepted_before.values(), *new]
    measured = measure_kinds(_list_votes(issues, candidates, standing), precision)
    thresholds = {kind_precision.kind: kind_precision.threshold for kind_precision in measured}
    accepted: dict[str, Decision] = {}
    for candidate in candidates:
        threshold = thresholds[candidate.kind]
        if threshold is not None and candidate.score >= threshold:
            accepted.setdefault(candidate.item_id, candidate)
    return Accepted(list(accepted.values()), measured)


def _is_open(issue: Issue, values: Mapping[str, Mapping[str, str]]) -> bool:
    item = values.get(issue.item_id)
    if item is None or not issue.changes:
        return False
    return not issue.column or item.get(issue.column) == issue.given_label


def _list_votes(
    issues: Sequence[Issue], candidates: Sequence[Decision], standing: Sequence[Decision]
) -> Iterator[Vote]:
    """Yield a vote for every open issue and every decision that suggest a change, or for a group of them.

    The members of a group are right or wrong together, so they are one vote: a group of the queue, and decisions of one
    batch whose issues the queue no longer has. A group is open while one of its issues is. Scores are today's: issues
    may have had different ones when they were decided.
    """
    queue = {issue.identity: issue for issue in issues}
    open_identities = {candidate.identity for candidate in candidates}
    decided = [decision for decision in standing if decision.suggested]
    members: dict[Hashable, list[Decision]] = defaultdict(list)
    for decision in [*candidates, *decided]:
        issue = queue.get(decision.identity)
        group_id: Hashable = issue.group_id if issue else decision.batch
        members[(decision.kind, group_id) if group_id else decision.identity].append(decision)
    for group in members.values():
        first = min(group, key=lambda decision: decision.identity)
        scores = [queue[each.identity].score if each.identity in queue else each.score for each in group]
        is_open = any(each.identity in open_identities for each in group)
        is_right = None if is_open else all(map(_is_right, group))
        yield Vote(first.kind, min(scores), compute_random_key(first.identity), is_right)


def _is_right(decision: Decision) -> bool:
    # A reviewer who chose the suggested values has accepted them; one who skipped the issue has not.
    return decision.action == "accept" or {**decision.old, **decision.suggested} == {**decision.old, **decision.new}


def _accept_issue(issue: Issue, values: Mapping[str, str], product: str) -> Decision:
    old = {column: values.get(column, "") for column in issue.changes}
    return make_accepted(issue.identity, old, issue.changes, issue.score, issue.evidence, product)


def make_accepted(
    identity: Identity, old: Mapping[str, str], new: Mapping[str, str], score: float, evidence: str, product: str = ""
) -> Decision:
    """Return an automatic decision: an `accept` without a reviewer, a time or an id."""
    return Decision(
        *identity,
        "accept",
        old,
        new,
        suggested=new,
        score=score,
        version=0,
        evidence=evidence,
        product=product,
        id=0,
        batch=0,
        reviewer="",
        time="",
        undoes=None,
    )
