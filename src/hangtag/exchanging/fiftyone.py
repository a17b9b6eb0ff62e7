"""Write issues as a data set in FiftyOne's own format, and read the answers in its export.

The format keeps several labels of a sample, confidences and tags, which the formats for one classification do not.
`metadata.json` has no entry `version`, by which FiftyOne recognises the simple form of its format: samples without a
schema and without ids of a database, whose fields it infers. Source of the format: `FiftyOneDatasetImporter` and
`LegacyFiftyOneDatasetImporter` in FiftyOne 1.22.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hangtag.errors import CatalogError, SettingsError
from hangtag.exchanging.answers import Answer, NotTaken, Question, UnreadableAnswerError, check_asked, parse_time
from hangtag.io import JsonObject

# The field of a sample that comes back to hangtag, a text: names of fields of FiftyOne's database may have no dots.
ASKED = "hangtag"
# The field for another label than the two, and the tags by which people answer.
DECISION = "decision"
ACCEPT, KEEP, SKIP = TAGS = ("accept", "keep", "skip")


def build_files(
    questions: Sequence[Question], find_path: Callable[[str], Path], labels: Iterable[str]
) -> dict[str, JsonObject]:
    """Build the files of a data set by their names.

    Args:
        questions: The questions, one for each product.
        find_path: Returns the absolute path of an item's photograph.
        labels: The labels that can be chosen, for the list of classes.
    """
    samples = [_build_sample(question, find_path(question.issue.item_id)) for question in questions]
    metadata = {"media_type": "image", "info": {"default_classes": list(labels)}}
    return {"metadata.json": metadata, "samples.json": {"samples": samples}}


def _build_sample(question: Question, path: Path) -> JsonObject:
    issue = question.issue
    tags = [issue.code, issue.severity, *([issue.evidence] if issue.evidence else [])]
    sample: JsonObject = {
        "filepath": str(path),
        "tags": tags,
        "product_id": issue.item_id,
        "product_name": question.name,
        "given": {"_cls": "Classification", "label": question.given},
        "reason": issue.reason,
        ASKED: json.dumps(question.to_json(), ensure_ascii=False),
    }
    if question.suggested:
        sample["suggested"] = {"_cls": "Classification", "label": question.suggested, "confidence": issue.score}
    return sample


def read_samples(content: object, reviewer: str) -> tuple[list[Answer], list[NotTaken]]:
    """Read the answers in the file `samples.json` of an export; samples without an answer are passed over.

    A sample is answered by one of the tags `accept`, `keep` and `skip`, or by a classification in the field `decision`.

    Args:
        content: The parsed file.
        reviewer: The name of the person who answered.

    Returns:
        The answers, and the samples that cannot be read, with the reason.

    Raises:
        SettingsError: The reviewer has no name.
        CatalogError: The file is no export of the samples that hangtag wrote.
    """
    if not reviewer.strip():
        raise SettingsError(
            "{reviewer} must name the person who decided, since FiftyOne knows no users.",
            allowed="Allowed: 1 to 60 characters.",
            received=reviewer,
            settings=["reviewer"],
        )
    samples = content.get("samples") if isinstance(content, dict) else None
    if not isinstance(samples, list) or not any(isinstance(each, dict) and ASKED in each for each in samples):
        raise CatalogError(
            "The file is no export of FiftyOne with the samples of hangtag.",
            allowed="Allowed: samples.json of an export as fiftyone.types.FiftyOneDataset.",
            received="no samples, or none with the field `hangtag`",
            hint="Export the data set that was imported from `hangtag exchange fiftyone`.",
        )
    answers, refused = [], []
    for number, sample in enumerate(samples, 1):
        where = f"sample {number}"
        try:
            if answer := _read_sample(sample, where, reviewer):
                answers.append(answer)
        except UnreadableAnswerError as reason:
            item_id = str(sample.get("product_id", "")) if isinstance(sample, dict) else ""
            refused.append(NotTaken(where, item_id, "", reviewer, str(reason)))
    return answers, refused


def _read_sample(sample: Any, where: str, reviewer: str) -> Answer | None:
    if not isinstance(sample, dict):
        raise UnreadableAnswerError("it is not an object of JSON")
    tags = sample.get("tags")
    given = [tag for tag in TAGS if tag in tags] if isinstance(tags, list) else []
    decision = sample.get(DECISION)
    chosen = decision.get("label") if isinstance(decision, dict) else None
    if len(given) + (chosen is not None) == 0:
        return None
    if len(given) + (chosen is not None) > 1:
        both = ", ".join([*given, *([f"decision {chosen}"] if chosen is not None else [])])
        raise UnreadableAnswerError(f"its answers contradict each other ({both})")
    asked = _parse_asked(sample.get(ASKED))
    label = chosen if chosen is not None else {ACCEPT: asked["suggested"], KEEP: asked["given"], SKIP: None}[given[0]]
    if label == "" or (label is not None and not isinstance(label, str)):
        raise UnreadableAnswerError("there is no suggestion to accept" if given == [ACCEPT] else "its label is no text")
    return Answer(where, asked, label, reviewer, _read_time(sample.get("last_modified_at")))


def _parse_asked(text: Any) -> Any:
    try:
        return check_asked(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise UnreadableAnswerError("its field `hangtag` is not what was written") from error


def _read_time(value: Any) -> str:
    """Return a date of FiftyOne's JSON, a text or milliseconds since 1970; empty if there is none."""
    date = value.get("$date") if isinstance(value, dict) else None
    if isinstance(date, int):
        return datetime.fromtimestamp(date / 1000, UTC).isoformat(timespec="milliseconds")
    return parse_time(date) if date is not None else ""
