"""Write issues as tasks of Label Studio with a labelling configuration, and read its JSON export.

Source of the formats: Label Studio's documentation, "Label Studio JSON format of annotated tasks", "Import
pre-annotated data" and the tags `Choices` and `Image`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from xml.etree import ElementTree

from hangtag.errors import CatalogError
from hangtag.exchanging.answers import Answer, NotTaken, Question, UnreadableAnswerError, check_asked, parse_time
from hangtag.io import JsonObject

# The names of the tags, which results refer to.
CHOICES, IMAGE = "category", "image"
# The key of a task's data that comes back to hangtag.
ASKED = "hangtag"
# More labels than this are a list to search in, not a column of buttons.
MAX_BUTTONS = 20
MAX_REVIEWER = 60


def build_config(labels: Iterable[str]) -> str:
    """Build the labelling configuration, XML: the photograph, the question, and one choice for each label."""
    labels = list(labels)
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Header", value="$name")
    ElementTree.SubElement(view, "Image", name=IMAGE, value="$image", zoom="true", zoomControl="true")
    for key in ("given", "suggested", "reason"):
        ElementTree.SubElement(view, "Text", name=f"{key}_text", value=f"${key}_text")
    layout = "select" if len(labels) > MAX_BUTTONS else "vertical"
    choices = ElementTree.SubElement(
        view, "Choices", name=CHOICES, toName=IMAGE, choice="single", required="true", layout=layout
    )
    for label in labels:
        ElementTree.SubElement(choices, "Choice", value=label)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def build_task(question: Question, image: str, model_version: str) -> JsonObject:
    """Build the task of a question, with the suggestion as a prediction if there is one.

    Args:
        question: The question.
        image: The address of the photograph.
        model_version: The name by which Label Studio tells predictions of several audits apart.
    """
    issue = question.issue
    data = {
        "image": image,
        "product_id": issue.item_id,
        "name": question.name or issue.item_id,
        "given": question.given,
        "suggested": question.suggested,
        "code": issue.code,
        "evidence": issue.evidence,
        "score": issue.score,
        "given_text": f"Given: {question.given}",
        "suggested_text": f"Suggested: {question.suggested or 'nothing'}",
        "reason_text": issue.reason,
        ASKED: question.to_json(),
    }
    result = {
        "id": "suggested",
        "from_name": CHOICES,
        "to_name": IMAGE,
        "type": "choices",
        "value": {"choices": [question.suggested]},
    }
    prediction = {"model_version": model_version, "score": issue.score, "result": [result]}
    return {"data": data, "predictions": [prediction] if question.suggested else []}


def read_export(tasks: object) -> tuple[list[Answer], list[NotTaken]]:
    """Read the answers in a JSON export; tasks without an annotation are passed over.

    Args:
        tasks: The parsed file.

    Returns:
        The answers, and the annotations that cannot be read, with the reason.

    Raises:
        CatalogError: The file is no JSON export of tasks that hangtag wrote.
    """
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise _make_error("a JSON object, or something else that is no list of tasks")
    if any("data" not in task and ASKED in task for task in tasks):
        raise _make_error("the format JSON-MIN")
    if not any(isinstance(task.get("data"), dict) and ASKED in task["data"] for task in tasks):
        raise _make_error(f"{len(tasks)} tasks, none of which hangtag wrote")
    answers, refused = [], []
    for number, task in enumerate(tasks, 1):
        where = f"task {task.get('id', number)}"
        annotations = task.get("annotations")
        for annotation in annotations if isinstance(annotations, list) else []:
            try:
                answers.append(_read_annotation(task, annotation, where))
            except UnreadableAnswerError as reason:
                refused.append(NotTaken(where, _find_item(task), "", "", str(reason)))
    return answers, refused


def _make_error(received: str) -> CatalogError:
    return CatalogError(
        "The file is no export of Label Studio with the tasks of hangtag.",
        allowed="Allowed: an export in the format JSON.",
        received=received,
        hint="Choose Export, then JSON, in the project whose tasks `hangtag exchange label-studio` wrote.",
    )


def _read_annotation(task: JsonObject, annotation: object, where: str) -> Answer:
    asked = check_asked(task["data"].get(ASKED) if isinstance(task.get("data"), dict) else None)
    if not isinstance(annotation, dict):
        raise UnreadableAnswerError("the annotation is not an object of JSON")
    time = parse_time(annotation.get("updated_at") or annotation.get("created_at"))
    reviewer = _read_annotator(annotation.get("completed_by"))
    if annotation.get("was_cancelled"):
        return Answer(where, asked, None, reviewer, time)
    results = annotation.get("result")
    chosen = [
        label
        for result in (results if isinstance(results, list) else [])
        if isinstance(result, dict) and result.get("from_name") == CHOICES
        for label in _read_choices(result)
    ]
    if len(chosen) != 1 or not isinstance(chosen[0], str):
        raise UnreadableAnswerError(f"the annotation has {len(chosen)} categories, and must have one")
    return Answer(where, asked, chosen[0], reviewer, time)


def _read_choices(result: JsonObject) -> list[Any]:
    value = result.get("value")
    choices = value.get("choices") if isinstance(value, dict) else None
    return choices if isinstance(choices, list) else []


def _read_annotator(completed_by: object) -> str:
    """Return the annotator's address or name; exports without users have a number only."""
    name = ""
    if isinstance(completed_by, dict):
        full = " ".join(str(completed_by.get(part) or "") for part in ("first_name", "last_name")).strip()
        name = str(completed_by.get("email") or full)
        completed_by = completed_by.get("id")
    if not name and isinstance(completed_by, int):
        name = f"Label Studio user {completed_by}"
    if not name:
        raise UnreadableAnswerError("the annotation does not say who made it")
    return name[:MAX_REVIEWER]


def _find_item(task: JsonObject) -> str:
    data = task.get("data")
    return str(data.get("product_id", "")) if isinstance(data, dict) else ""


def build_tasks(
    questions: Sequence[Question], find_image: Callable[[str], str], model_version: str
) -> list[JsonObject]:
    """Build the tasks of questions; `find_image` returns the address of an item's photograph."""
    return [build_task(question, find_image(question.issue.item_id), model_version) for question in questions]
