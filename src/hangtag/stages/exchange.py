"""Stage `exchange`: write issues or the cleaned catalogue for another tool, and read its annotators' answers."""

import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from hangtag.config import ExchangeConfig
from hangtag.errors import CatalogError, SettingsError, WorkspaceError
from hangtag.exchanging import fiftyone, label_studio
from hangtag.exchanging.answers import AnswerStore, Labels, NotTaken, Question, list_questions
from hangtag.exchanging.photographs import FOLDER, Photographs
from hangtag.io import (
    JsonObject,
    expand_home,
    format_csv_row,
    hash_file,
    require_file,
    write_json,
    write_text,
    write_whole,
)
from hangtag.lock import LOCK, hold
from hangtag.manifest import StageRecord, read_manifest, read_version
from hangtag.results import StageResult
from hangtag.reviewing.decision_store import open_store
from hangtag.reviewing.items import Items, read_items
from hangtag.reviewing.queue import Queue, read_issues
from hangtag.reviewing.store import digest_decisions
from hangtag.workspace import STAGING, Workspace

Tool = Literal["label-studio", "fiftyone", "hugging-face"]
TOOLS: tuple[Tool, ...] = ("label-studio", "fiftyone", "hugging-face")
# The settings that only some tools have a use for.
USED_BY: Mapping[str, tuple[Tool, ...]] = {
    "column": ("label-studio", "fiftyone"),
    "limit": ("label-studio", "fiftyone"),
    "document_root": ("label-studio",),
    "url_prefix": ("label-studio",),
    "reviewer": ("fiftyone",),
}
NOT_TAKEN = "not_taken.csv"
MAX_ANSWER_BYTES = 1_000_000_000


def exchange(
    workspace: str | Path | Workspace,
    config: ExchangeConfig = ExchangeConfig(),  # noqa: B008  (frozen)
    *,
    tool: Tool,
    output: str | Path | None = None,
    answers: str | Path | None = None,
) -> StageResult:
    """Write a folder for another tool, or read what its annotators answered.

    - Label Studio: `tasks.json`, a task for each product with an open issue, and `label_config.xml`. Its JSON export
      is read as decisions of the review.
    - FiftyOne: a data set in FiftyOne's own format with the given label, the suggestion and tags for the kind of issue.
      Its export in the same format is read as decisions.
    - Hugging Face: the cleaned catalogue as an image folder with a `metadata.parquet` in the folder of each split.

    Answers that cannot become decisions are listed in `review/not_taken.csv`, with the reason.

    Args:
        workspace: A workspace that is prepared and audited; for Hugging Face, prepared and cleaned.
        config: Settings.
        tool: `label-studio`, `fiftyone` or `hugging-face`.
        output: The folder to write; an earlier one of this command is replaced.
        answers: The file to read.

    Raises:
        SettingsError: Neither or both of `output` and `answers` are given, or a setting does not fit the tool.
        WorkspaceError: The workspace lacks what the tool needs, the folder has other files, or the answers are about
            another catalogue.
        CatalogError: The answers cannot be read.
    """
    _check_arguments(tool, config, output, answers)
    workspace = Workspace.at(workspace)
    if answers is not None:
        return _read_answers(workspace, tool, config, expand_home(answers))
    target = expand_home(str(output)).absolute()
    _check_folder(target)
    reads = [workspace.prepared, workspace.labels if tool == "hugging-face" else workspace.audit]
    with hold("exchange", workspace, reads=reads, writes=[target]):
        if tool == "hugging-face":
            # A light install has none of the libraries that this needs.
            from hangtag.exchanging.image_folder import write_image_folder  # noqa: PLC0415

            return write_image_folder(workspace, target)
        return _write_questions(workspace, tool, config, target)


def _check_arguments(tool: str, config: ExchangeConfig, output: object, answers: object) -> None:
    if tool not in TOOLS:
        raise SettingsError("There is no such tool.", allowed=f"Allowed: {', '.join(TOOLS)}.", received=tool)
    if (output is None) == (answers is None):
        raise SettingsError(
            "Name either the folder to write, with --output, or the file to read, with --answers.",
            received=f"{'neither' if output is None else 'both'} of them",
        )
    if answers is not None and tool == "hugging-face":
        raise SettingsError(
            "An image folder of Hugging Face holds no answers.",
            received=str(answers),
            hint="Read it as a catalogue: `hangtag prepare FOLDER`.",
        )
    for name, tools in USED_BY.items():
        if getattr(config, name) != getattr(ExchangeConfig(), name) and tool not in tools:
            raise SettingsError(
                f"{{{name}}} has no meaning for {tool}.",
                allowed=f"Allowed: with {' and '.join(tools)}.",
                received=getattr(config, name),
                settings=[name],
            )
    if config.document_root and config.url_prefix:
        raise SettingsError(
            "{document_root} and {url_prefix} are two ways to name the photographs: choose one.",
            received=config.url_prefix,
            settings=["document_root", "url_prefix"],
        )


def _check_folder(folder: Path) -> None:
    """Check that a folder is new, empty, or was written by this command.

    Raises:
        WorkspaceError: It has other files.
    """
    held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if held - {STAGING, LOCK} and (read_manifest(folder) or {}).get("stage") != "exchange":
        raise WorkspaceError(
            "The folder has files that `hangtag exchange` did not write.",
            allowed="Allowed: a new or empty folder, or an earlier result of this command.",
            received=str(folder),
        )


def _write_questions(workspace: Workspace, tool: Tool, config: ExchangeConfig, target: Path) -> StageResult:
    items = read_items(workspace)
    with closing(open_store(workspace)) as store:
        queue = Queue(read_issues(workspace.issues), items, store)
        inputs = {"prepared": items.digest, "issues": hash_file(workspace.issues)}
        inputs["decisions"] = digest_decisions(store.read())
    labels = Labels(queue, config.column)
    record = StageRecord("exchange", target, inputs, {"tool": tool} | vars(config))
    if current := record.load_if_unchanged():
        return current
    questions, left_out = list_questions(queue, labels, config.limit)
    if not questions:
        raise WorkspaceError(
            f"No issue about {', '.join(labels.columns)} is open.",
            allowed="Allowed: an audit with undecided issues about the category, or about the attribute of --column.",
            hint="The issues are in audit/issues.csv; `hangtag review` shows which are decided.",
        )
    work = record.begin()
    addresses = _Addresses(items, workspace, config, target, work)
    version = f"hangtag-{read_version('hangtag')}-{inputs['issues'][:8]}"
    if tool == "label-studio":
        tasks = label_studio.build_tasks(questions, addresses.find_address, version)
        write_json(work / "tasks.json", tasks)
        write_text(work / "label_config.xml", label_studio.build_config(labels.by_text))
        paths = [work / "tasks.json", work / "label_config.xml"]
    else:
        paths = _write_fiftyone(work, questions, addresses, labels)
    counts: JsonObject = {"questions": len(questions), **addresses.counts}
    counts |= {"left_out": left_out} if left_out else {}
    return record.finish(counts, [*paths, *addresses.copies])


def _write_fiftyone(work: Path, questions: Sequence[Question], addresses: "_Addresses", labels: Labels) -> list[Path]:
    files = fiftyone.build_files(questions, addresses.find_path, labels.by_text)
    for name, content in files.items():
        write_json(work / name, content)
    return [work / name for name in files]


class _Addresses:
    """The addresses of photographs in the other tool; photographs without a file of their own are copied.

    Attributes:
        counts: The number of photographs by where they are: `by_url`, `by_path`, or `copied_` with the kind.
        copies: The files that were written.
    """

    def __init__(self, items: Items, workspace: Workspace, config: ExchangeConfig, target: Path, work: Path) -> None:
        self._items, self._config, self._target, self._work = items, config, target, work
        self._photographs = Photographs(items, workspace)
        self.counts: Counter[str] = Counter()
        self.copies: list[Path] = []

    def find_address(self, item_id: str) -> str:
        """Return a photograph's address for Label Studio: a URL, or a path below its folder of local files."""
        url = self._photographs.find_url(item_id)
        if not url and self._config.url_prefix:
            url = self._config.url_prefix + quote(self._items.list_photographs(item_id)[0])
        if url:
            self.counts["by_url"] += 1
            return url
        path = self.find_path(item_id)
        root = expand_home(self._config.document_root or os.sep).resolve()
        if not path.is_relative_to(root):
            raise SettingsError(
                "{document_root} must be a folder that holds the photographs: Label Studio shows no others.",
                allowed=f"Allowed: a folder above {path.parent}.",
                received=self._config.document_root,
                settings=["document_root"],
            )
        return f"/data/local-files/?d={quote(path.relative_to(root).as_posix())}"

    def find_path(self, item_id: str) -> Path:
        """Return the absolute path of a photograph's file; one without a file is copied into the output."""
        found = self._photographs.find_file(item_id)
        if found is not None:
            self.counts["by_path"] += 1
            return found.resolve()
        name = f"{self._items.positions[item_id]:06}"
        path, kind = self._photographs.copy(item_id, self._work / FOLDER, name)
        self.counts[f"copied_{kind}"] += 1
        self.copies.append(path)
        return self._target.resolve() / path.relative_to(self._work)


def _read_answers(workspace: Workspace, tool: Tool, config: ExchangeConfig, path: Path) -> StageResult:
    started = time.perf_counter()
    content = _read_json(path)
    if tool == "label-studio":
        answers, refused = label_studio.read_export(content)
    else:
        answers, refused = fiftyone.read_samples(content, config.reviewer)
    with hold("exchange", workspace, reads=[workspace.prepared, workspace.audit], writes=[]):
        issues, items = read_issues(workspace.issues), read_items(workspace)
        with closing(open_store(workspace)) as store:
            queue = Queue(issues, items, store)
            taken = AnswerStore(queue, store, Labels(queue, config.column))
            try:
                taken.add(answers)
            finally:
                # What was stored before an error stays stored, so the list has to be complete.
                not_taken = [*refused, *taken.not_taken]
                _write_not_taken(workspace.review / NOT_TAKEN, not_taken)
    counts: JsonObject = {name: count for name, count in taken.counts.items() if count or name != "already_decided"}
    counts["not_taken"] = len(not_taken)
    if not_taken:
        counts["listed_in"] = NOT_TAKEN
    return StageResult("exchange", workspace.review, counts, round(time.perf_counter() - started, 3))


def _read_json(path: Path) -> Any:
    """Read a file of another tool.

    Raises:
        CatalogError: It is missing, too large, or no JSON.
    """
    try:
        require_file(path)
        if path.stat().st_size > MAX_ANSWER_BYTES:
            raise ValueError(f"it has more than {MAX_ANSWER_BYTES:,} bytes")
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CatalogError(f"The answers cannot be read: {error.strerror}.", received=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise CatalogError(
            f"The answers are not JSON: {str(error) or 'nested too deep'}.",
            allowed="Allowed: the JSON file that the tool exported.",
            received=str(path),
        ) from error


def _write_not_taken(path: Path, lines: Sequence[NotTaken]) -> None:
    columns = ("where", "item_id", "label", "reviewer", "reason")
    rows = [[getattr(line, name) for name in columns] for line in lines]
    with write_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(map(format_csv_row, (columns, *rows)))
