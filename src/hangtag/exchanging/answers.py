"""Ask about issues in another tool, and store its annotators' answers as decisions of the review.

An issue about the category, or about one attribute, becomes a `Question`. Other tools write the mapping `to_json` into
their files and return it unchanged. An answer becomes a decision only if the product is still what the annotator saw.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hangtag.catalog.missing_values import strip_blank
from hangtag.errors import CatalogError, SettingsError, WorkspaceError
from hangtag.io import JsonObject
from hangtag.reviewing.decision_store import DecisionStore
from hangtag.reviewing.decisions import DecisionRequest, LabelOptions, RefusedError, build_decisions
from hangtag.reviewing.items import Items
from hangtag.reviewing.queue import Issue, Queue
from hangtag.reviewing.store import ConflictError, Decision

SEPARATOR = " > "
MISSING = "(missing)"
# What a question is known by when it comes back.
IDENTITY = ("item_id", "code", "column")
OTHER_CATALOG = ("the catalogue has no item", "the photograph is not the one", "the name is not the one")
Values = dict[str, str]


class Labels:
    """The labels that an annotator can choose: the categories of the catalogue, or the values of one attribute.

    Attributes:
        columns: The columns that a label sets: all levels, or the attribute.
        by_text: The values of each label by its text, as `Apparel > Topwear > Shirts`, in alphabetical order.

    Args:
        queue: The issues; their suggestions are labels too.
        column: An attribute; empty for the category.

    Raises:
        SettingsError: The catalogue has no such attribute.
        CatalogError: Two labels have the same text.
    """

    def __init__(self, queue: Queue, column: str) -> None:
        schema = queue.items.schema
        if column and column not in schema.attributes:
            raise SettingsError(
                "{column} must be an attribute of the catalogue, or be left out for the category.",
                allowed=f"Allowed: {', '.join(schema.attributes) or 'none, as the catalogue has no attributes'}.",
                received=column,
                settings=["column"],
            )
        self._queue = queue
        options = LabelOptions(queue.items)
        self.columns = options.find_columns(column or schema.levels[-1])
        suggested = [values for issue in queue.issues if (values := self.find_suggested(issue))]
        found: dict[str, Values] = {}
        for values in [*(option.values for option in options.list(self.columns[-1])), *suggested]:
            text = self.format(values)
            if found.setdefault(text, values) != values:
                raise CatalogError(
                    "Two categories are the same as texts, so that an answer would not tell which is meant.",
                    received=text,
                    hint=f"Rename one of them, without {SEPARATOR.strip()!r} in a name.",
                )
        self.by_text = dict(sorted(found.items()))

    def asks(self, issue: Issue) -> bool:
        """Return whether an issue is about these columns, and about nothing else."""
        return bool({issue.column, *issue.changes} - {""}) and {issue.column, *issue.changes} - {""} <= set(
            self.columns
        )

    def find_suggested(self, issue: Issue) -> Values | None:
        """Return the values that an issue suggests, or None if it suggests none or leaves one missing."""
        if not issue.changes or not self.asks(issue):
            return None
        values = self.pick(self._queue.items.read_values(issue.item_id) | issue.changes)
        return None if any(map(self._queue.items.schema.is_missing, values.values())) else values

    def pick(self, values: Mapping[str, str]) -> Values:
        """Return an item's values of these columns, without white space at their ends."""
        return {column: strip_blank(values[column]) for column in self.columns}

    def format(self, values: Mapping[str, str]) -> str:
        """Return the text of some values; a missing one as `(missing)`."""
        is_missing = self._queue.items.schema.is_missing
        return SEPARATOR.join(MISSING if is_missing(values[name]) else values[name] for name in self.columns)


@dataclass(frozen=True)
class Question:
    """An issue as another tool asks about it.

    Attributes:
        issue: The issue.
        given, suggested: Texts of the present and the suggested label; the suggestion may be empty.
        photograph: A hash of the photograph's prepared pixels.
        name: The product's name, or an empty text.
        values: The product's values of the label's columns.
    """

    issue: Issue
    given: str
    suggested: str
    photograph: str
    name: str
    values: Values

    def to_json(self) -> JsonObject:
        """Return what the other tool has to return with the answer."""
        identity = dict(zip(IDENTITY, self.issue.identity, strict=True))
        labels = {"given": self.given, "suggested": self.suggested, "values": self.values}
        return identity | labels | {"name": self.name, "photograph": self.photograph}


def list_questions(queue: Queue, labels: Labels, limit: int = 0) -> tuple[list[Question], dict[str, int]]:
    """List the open and skipped issues about the label, one for each product: that with the highest score.

    Args:
        queue: The issues.
        labels: The labels that can be chosen.
        limit: The largest number of questions; 0 for no limit.

    Returns:
        The questions in descending order of score, and the number of open issues that are left out, by the reason.
    """
    undecided = [issue for issue in queue.issues if queue.get_state(issue) != "decided"]
    asked = [issue for issue in undecided if labels.asks(issue)]
    first: dict[str, Issue] = {}
    for issue in asked:
        first.setdefault(issue.item_id, issue)
    chosen = list(first.values())[: limit or None]
    left_out = {
        "not_about_the_label": len(undecided) - len(asked),
        "further_issues_of_these_products": len(asked) - len(first),
        "beyond_the_limit": len(first) - len(chosen),
    }
    questions = [_build_question(issue, queue, labels) for issue in chosen]
    return questions, {reason: count for reason, count in left_out.items() if count}


def _build_question(issue: Issue, queue: Queue, labels: Labels) -> Question:
    values = labels.pick(queue.read_item(issue.item_id).values)
    suggested = labels.find_suggested(issue)
    return Question(
        issue,
        labels.format(values),
        labels.format(suggested) if suggested else "",
        hash_photograph(queue.items, issue.item_id),
        queue.items.read_name(issue.item_id),
        values,
    )


def hash_photograph(items: Items, item_id: str) -> str:
    """Return a hash of the prepared pixels of an item's first photograph."""
    pixels = items.images[items.positions[item_id]]
    return hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Answer:
    """What one annotator answered to a question.

    Attributes:
        where: The name of the task or the sample in the other tool.
        asked: What `Question.to_json` returned.
        label: The text of the chosen label; None if the annotator skipped the question.
        reviewer: The annotator.
        time: The time of the answer, ISO 8601 in UTC; empty if the tool does not state it.
    """

    where: str
    asked: Mapping[str, Any]
    label: str | None
    reviewer: str
    time: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        """Return the item, code and column of the issue."""
        return self.asked["item_id"], self.asked["code"], self.asked["column"]


@dataclass(frozen=True)
class NotTaken:
    """An answer that did not become a decision, with the reason."""

    where: str
    item_id: str
    label: str
    reviewer: str
    reason: str


class UnreadableAnswerError(Exception):
    """Raised for an answer of another tool that cannot be read; the text is the reason."""


def check_asked(asked: object) -> Mapping[str, Any]:
    """Return what `Question.to_json` wrote, after checking its types.

    Raises:
        UnreadableAnswerError: It is something else.
    """
    texts = (*IDENTITY, "given", "suggested", "name", "photograph")
    if (
        isinstance(asked, dict)
        and all(isinstance(asked.get(name), str) for name in texts)
        and isinstance(asked.get("values"), dict)
        and all(isinstance(value, str) for value in asked["values"].values())
    ):
        return asked
    raise UnreadableAnswerError("it is no question of `hangtag exchange`, or was changed")


def parse_time(text: object) -> str:
    """Return a time of another tool as ISO 8601 in UTC with milliseconds.

    Raises:
        UnreadableAnswerError: It is no time, or has no time zone.
    """
    try:
        time = datetime.fromisoformat(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        time = datetime.min
    if time.tzinfo is None:
        raise UnreadableAnswerError(f"its time cannot be read: {text!r}")
    return time.astimezone(UTC).isoformat(timespec="milliseconds")


class AnswerStore:
    """Stores the answers of another tool as decisions.

    Attributes:
        counts: The number of questions whose answers were stored, by action, and of those that were stored before.
        not_taken: The answers that were not stored.

    Args:
        queue: The issues with their decisions.
        store: The store of decisions.
        labels: The labels that could be chosen.
    """

    def __init__(self, queue: Queue, store: DecisionStore, labels: Labels) -> None:
        self._queue, self._store, self._labels = queue, store, labels
        self._options = LabelOptions(queue.items)
        self._issues = {issue.identity: issue for issue in queue.issues}
        self.counts = dict.fromkeys(("accepted", "kept", "chosen", "skipped", "already_decided"), 0)
        self.not_taken: list[NotTaken] = []

    def add(self, answers: Iterable[Answer]) -> None:
        """Store answers: one decision for each question, if its annotators agree.

        Raises:
            WorkspaceError: None of the questions is about this catalogue.
            StoreError: The decisions cannot be written.
        """
        by_question: dict[tuple[str, str, str], list[Answer]] = defaultdict(list)
        for answer in answers:
            by_question[answer.identity].append(answer)
        start = len(self.not_taken)
        for given in by_question.values():
            answered = sorted((answer for answer in given if answer.label is not None), key=lambda each: each.time)
            try:
                self._take(answered or given)
            except RefusedError as reason:
                self.not_taken += [_refuse(answer, str(reason)) for answer in answered or given]
        reasons = [line.reason for line in self.not_taken[start:]]
        if reasons and not any(self.counts.values()) and all(reason.startswith(OTHER_CATALOG) for reason in reasons):
            raise WorkspaceError(
                "The file is about another catalogue, or about an earlier state of this one: none of its products is "
                f"as the annotators saw it. The first: {reasons[0]}.",
                received=self.not_taken[start].where,
                hint="Name the workspace whose issues were exchanged with --workspace.",
            )

    def _take(self, answers: Sequence[Answer]) -> None:
        """Store the answers to one question.

        Raises:
            RefusedError: They cannot become a decision.
        """
        first = answers[0]
        if any(answer.asked != first.asked for answer in answers):
            raise RefusedError("the product or its labels changed between two tasks that ask the same")
        issue = self._find_issue(first)
        values = self._agree(answers)
        seen = first.asked["values"]
        now = self._labels.pick(self._queue.read_item(issue.item_id).values)
        decision = self._queue.find_decision(issue)
        if values is None:
            if decision:
                self.counts["already_decided"] += 1
                return
            self._decide(issue, first, "skip", None)
            return
        is_decided = decision is not None and decision.action != "skip"
        if now == values and (is_decided or now != seen):
            self.counts["already_decided"] += 1
            return
        self._check_unchanged(issue, seen, now)
        if decision and is_decided:
            raise RefusedError(f"it contradicts a decision: {_describe(decision)}")
        suggested = self._labels.find_suggested(issue)
        action = "keep" if values == now else "accept" if values == suggested else "choose"
        self._decide(issue, first, action, values)

    def _find_issue(self, answer: Answer) -> Issue:
        items, item_id = self._queue.items, answer.asked["item_id"]
        if item_id not in items.positions:
            raise RefusedError(f"the catalogue has no item {item_id!r}")
        if hash_photograph(items, item_id) != answer.asked["photograph"]:
            raise RefusedError("the photograph is not the one that the annotator saw")
        if items.read_name(item_id) != answer.asked["name"]:
            raise RefusedError("the name is not the one that the annotator saw")
        issue = self._issues.get(answer.identity)
        if issue is None:
            raise RefusedError("the audit has no such issue any more")
        if not self._labels.asks(issue) or set(answer.asked["values"]) != set(self._labels.columns):
            raise RefusedError(f"it is not about {', '.join(self._labels.columns)}: read it with the flag --column")
        return issue

    def _agree(self, answers: Sequence[Answer]) -> Values | None:
        """Return the values that all annotators chose, or None if they skipped the question."""
        unknown = [each.label for each in answers if each.label is not None and each.label not in self._labels.by_text]
        if unknown:
            raise RefusedError(f"the catalogue has no category {unknown[0]!r}")
        if len({answer.label for answer in answers}) > 1:
            chosen = "; ".join(f"{answer.reviewer}: {answer.label}" for answer in answers)
            raise RefusedError(f"the annotators contradict each other ({chosen})")
        label = answers[0].label
        return None if label is None else self._labels.by_text[label]

    def _check_unchanged(self, issue: Issue, seen: Mapping[str, str], now: Mapping[str, str]) -> None:
        for column, value in now.items():
            if value != seen[column]:
                source = self._queue.read_item(issue.item_id).sources.get(column)
                cause = f"by a decision ({_describe(source)})" if source else "in the catalogue"
                raise RefusedError(f"{column} is {value!r} now, {cause}; the annotator saw {seen[column]!r}")

    def _decide(self, issue: Issue, answer: Answer, action: str, values: Values | None) -> None:
        versions = {issue.item_id: self._queue.read_version(issue.item_id)}
        request = DecisionRequest(issue.position, action, versions, values if action == "choose" else None)
        try:
            self._store.add(build_decisions(request, self._queue, self._options), answer.reviewer, answer.time)
        except ConflictError as conflict:
            raise RefusedError(f"it contradicts a decision: {_describe(conflict.decisions[-1])}") from None
        finally:
            self._queue.refresh()
        past = {"accept": "accepted", "keep": "kept", "choose": "chosen", "skip": "skipped"}
        self.counts[past[action]] += 1


def _refuse(answer: Answer, reason: str) -> NotTaken:
    # The reasons of the review are sentences.
    reason = reason[:1].lower() + reason[1:].removesuffix(".")
    return NotTaken(answer.where, answer.asked["item_id"], answer.label or "", answer.reviewer, reason)


def _describe(decision: Decision) -> str:
    new = SEPARATOR.join(decision.new.values())
    return f"{decision.action} {new} by {decision.reviewer}, {decision.time}"
