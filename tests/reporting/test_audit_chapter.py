"""Test that the report shows the audit, the decisions and the corrected catalogue, and follows their changes."""

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from audited_report import HEADED, write_audit
from fake_workspace import FakeWorkspace, build_workspace
from page_reader import Page

from hangtag.errors import WorkspaceError
from hangtag.manifest import StageRecord
from hangtag.reporting.audit_chapter import list_categories
from hangtag.reviewing.decisions import DecisionRequest, LabelOptions, build_decisions
from hangtag.reviewing.filters import Filter
from hangtag.reviewing.items import read_items
from hangtag.reviewing.queue import Queue, read_issues
from hangtag.reviewing.store import Store
from hangtag.stages.apply import apply
from hangtag.stages.report import report
from hangtag.workspace import Workspace


def decide(workspace: Workspace, position: int, action: str, reviewer: str = "Ann", **more: Any) -> dict[str, int]:
    """Decide as the page does, and return what the page counts then."""
    with closing(Store(workspace.review / "review.sqlite")) as store:
        queue = Queue(read_issues(workspace.issues), read_items(workspace), store)
        versions = {issue.item_id: queue.read_version(issue.item_id) for issue in queue.issues}
        request = DecisionRequest(position, action, versions, **more)
        store.add(build_decisions(request, queue, LabelOptions(queue.items)), reviewer)
        queue.refresh()
        return queue.count(Filter())


def write_applied(fake: FakeWorkspace, digest: str) -> None:
    folder = fake.workspace.review
    path = folder / "corrected" / "goods.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("id,group,kind,title\n")
    (folder / "label_changes.csv").write_text("item_id,column,old,new,rule\n")
    counts = {"items_changed": 1, "cells_changed": 1, "accepted_by_auto": 0, "not_applied": 2}
    record = StageRecord("apply", folder, {"decisions": digest}, {})
    record.finish(counts, [path, folder / "label_changes.csv"])


def read_chapter(fake: FakeWorkspace) -> str:
    """Return the chapter's text, of a page that was written now."""
    assert not report(fake.workspace).skipped
    text = Page(fake.workspace.report).text
    return text[text.rindex("Suspected errors and corrections") : text.rindex("Limits of the results")]


def test_the_audit_is_shown_with_its_expected_number_of_right_ones(tmp_path: Path) -> None:
    fake = build_workspace(tmp_path, (), schema=HEADED)
    assert "The catalogue is not audited yet." in read_chapter(fake)
    write_audit(fake)
    text = read_chapter(fake)
    assert "Items judged 41 of 53" in text
    assert "Items with an issue 6" in text
    assert "the exported model <b>fashion</b>" in text
    assert "label error (image) 5 the photograph contradicts the label" in text
    assert "label error (image+name) 1" in text
    assert "bad picture 1" in text
    assert "exact duplicate" not in text
    assert "Of the first Expected to be right 95 % interval 20 13 9 to 17 100 37 21 to 58" in text
    assert "Weak evidence: the predictions agree with 76% of the labels" in text
    assert "Not checked: label error (name). The catalogue has no column of names." in text
    assert "kind Suspected Judged Items Score Bags 3 8 9 0.700 0.400 to 0.900 Suspected" in text
    assert "Nobody has decided about an issue yet. hangtag review --workspace 'work space'" in text
    assert report(fake.workspace).skipped


def test_only_values_of_the_finest_level_with_issues_are_listed_the_most_first() -> None:
    rows = [
        {"column": "kind", "value": str(number), "items": 9, "judged": 9, "issues": number, "score": 0.5}
        for number in range(14)
    ]
    found = list_categories({"catalog_scores": [*rows, {"column": "", "value": "", "issues": 99}]}, "kind")
    assert [row["issues"] for row in found] == list(range(13, 3, -1))


def test_decisions_are_counted_as_the_review_counts_them(tmp_path: Path) -> None:
    fake = build_workspace(tmp_path, (), schema=HEADED)
    write_audit(fake)
    report(fake.workspace)
    decide(fake.workspace, 0, "accept")
    decide(fake.workspace, 1, "keep")
    decide(fake.workspace, 2, "keep", "Bob")
    counts = decide(fake.workspace, 3, "skip")
    assert (counts["open"], counts["skipped"], counts["decided"]) == (2, 1, 3)
    text = read_chapter(fake)
    assert "Decided 3 Accepted 1 Rejected 2 Changed otherwise 0 Skipped 1 Open 2" in text
    assert "2 people have decided" in text
    assert "The decisions are not applied yet. hangtag apply --workspace 'work space'" in text
    # Opening the store for a review without a decision changes nothing that the page shows.
    Store(fake.workspace.review / "review.sqlite").close()
    assert report(fake.workspace).skipped
    with closing(Store(fake.workspace.review / "review.sqlite")) as store:
        store.undo("Ann")
    assert "Decided 3 Accepted 1 Rejected 2 Changed otherwise 0 Skipped 0 Open 3" in read_chapter(fake)


def test_what_was_applied_is_shown_with_the_name_of_the_file(tmp_path: Path) -> None:
    fake = build_workspace(tmp_path, (), schema=HEADED)
    write_audit(fake)
    decide(fake.workspace, 0, "accept")
    assert "The decisions are not applied yet." in read_chapter(fake)
    write_applied(fake, "of other decisions")
    text = read_chapter(fake)
    assert "1 cell of 1 item was changed; 2 decisions were not applied" in text
    assert "The corrected file is review/corrected/goods.csv." in text
    assert "There are other decisions since." in text
    assert report(fake.workspace).skipped
    # Its owner may take the corrected file away.
    shutil.rmtree(fake.workspace.review / "corrected")
    assert report(fake.workspace).skipped


def test_an_audit_of_earlier_labels_is_marked(tmp_path: Path) -> None:
    fake = build_workspace(tmp_path, (), schema=HEADED)
    write_audit(fake)
    assert "have changed since this audit" not in read_chapter(fake)
    manifest = json.loads((fake.workspace.audit / "manifest.json").read_text())
    StageRecord("audit", fake.workspace.audit, manifest["inputs"] | {"labels": "0"}, {}).finish(
        {"issues": 6}, [fake.workspace.issues, fake.workspace.audit / "summary.json"]
    )
    assert "have changed since this audit" in read_chapter(fake)


def test_a_damaged_summary_is_an_error_that_says_what_to_run(tmp_path: Path) -> None:
    fake = build_workspace(tmp_path, (), schema=HEADED)
    write_audit(fake)
    (fake.workspace.audit / "summary.json").write_text("{")
    with pytest.raises(WorkspaceError, match="hangtag audit"):
        report(fake.workspace)


def test_apply_and_report_agree_on_the_decisions(workspace: Workspace, tmp_path: Path) -> None:
    """The real `apply` on the drawn catalogue; its manifest is read by the report of another workspace."""
    decide(workspace, 0, "accept")
    result = apply(workspace)
    assert result.metrics["written"] == ["corrected/styles.csv"]
    fake = build_workspace(tmp_path / "other", (), schema=HEADED)
    shutil.copytree(workspace.review, fake.workspace.review)
    write_audit(fake)
    text = read_chapter(fake)
    assert "The corrected file is review/corrected/styles.csv." in text
    assert "There are other decisions since." not in text
    decide(fake.workspace, 0, "keep")
    assert "There are other decisions since." in read_chapter(fake)
