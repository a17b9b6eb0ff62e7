"""The corrected catalogue: only decided cells differ, what no longer fits is told, and clean takes it in."""

import csv
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from issue_queue import make_line, write_issues
from scipy.stats import beta

from hangtag.config import ApplyConfig
from hangtag.errors import CatalogError, SettingsError, WorkspaceError
from hangtag.io import read_json
from hangtag.reviewing.auto_accept import DecidedIssue, accept_open, count_needed, is_proven, measure_kinds
from hangtag.reviewing.decisions import DecisionRequest, LabelOptions, build_decisions
from hangtag.reviewing.items import read_items
from hangtag.reviewing.queue import Queue, read_issues
from hangtag.reviewing.store import Store
from hangtag.stages.apply import apply
from hangtag.stages.clean import clean
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace


def decide(workspace: Workspace, position: int, action: str, reviewer: str = "Ann", **more: Any) -> None:
    """Decide as the page does, by what is there now."""
    store = Store(workspace.review / "review.sqlite")
    queue = Queue(read_issues(workspace.issues), read_items(workspace), store)
    versions = {issue.item_id: queue.read_version(issue.item_id) for issue in queue.issues}
    request = DecisionRequest(position, action, versions, **more)
    store.add(build_decisions(request, queue, LabelOptions(queue.items)), reviewer)
    store.close()


def undo(workspace: Workspace) -> None:
    store = Store(workspace.review / "review.sqlite")
    store.undo("Ann")
    store.close()


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def replace(lines: list[bytes], item_id: str, old: str, new: str) -> None:
    """Change an item's line by hand."""
    [index] = [index for index, line in enumerate(lines) if line.startswith(f"{item_id},".encode())]
    assert lines[index].count(f",{old},".encode()) == 1
    lines[index] = lines[index].replace(f",{old},".encode(), f",{new},".encode())


def test_only_decided_cells_are_changed_in_the_table(workspace: Workspace, drawn: Path) -> None:
    decide(workspace, 0, "accept")
    decide(workspace, 1, "keep")
    path = ("Footwear", "Shoes", "Casual Shoes")
    decide(
        workspace, 2, "choose", values=dict(zip(("masterCategory", "subCategory", "articleType"), path, strict=True))
    )
    decide(workspace, 3, "skip")
    issues = read_issues(workspace.issues)
    result = apply(workspace)
    before = (drawn / "catalog" / "styles.csv").read_bytes().split(b"\n")
    wanted = list(before)
    replace(wanted, issues[0].item_id, "Shirts", "Tshirts")
    replace(wanted, issues[2].item_id, "Apparel,Topwear,Shirts", "Footwear,Shoes,Casual Shoes")
    assert (workspace.review / "corrected" / "styles.csv").read_bytes() == b"\n".join(wanted)
    assert read(workspace.review / "label_changes.csv") == [
        {"item_id": issues[0].item_id, "column": "articleType", "old": "Shirts", "new": "Tshirts", "rule": "reviewed"},
        *(
            {"item_id": issues[2].item_id, "column": column, "old": old, "new": new, "rule": "reviewed"}
            for column, old, new in zip(
                ("masterCategory", "subCategory", "articleType"), ("Apparel", "Topwear", "Shirts"), path, strict=True
            )
        ),
    ]
    # The first was asked about under two codes, which settled both.
    counted = {"decided": 4, "skipped": 1, "items_changed": 2, "cells_changed": 4, "not_applied": 0}
    assert counted.items() <= result.metrics.items()
    assert apply(workspace).skipped


def test_without_a_change_the_table_is_the_one_that_was_delivered(workspace: Workspace, drawn: Path) -> None:
    with pytest.raises(WorkspaceError, match="hangtag review"):
        apply(workspace)
    decide(workspace, 0, "accept")
    assert apply(workspace).metrics["cells_changed"] == 1
    undo(workspace)
    assert apply(workspace).metrics["cells_changed"] == 0
    assert (workspace.review / "corrected" / "styles.csv").read_bytes() == (
        drawn / "catalog" / "styles.csv"
    ).read_bytes()
    assert read(workspace.review / "label_changes.csv") == []


def test_clean_takes_the_changes_in_and_says_so(workspace: Workspace) -> None:
    clean(workspace)
    before = pl.read_parquet(workspace.labels / "labels.parquet")
    assert clean(workspace).skipped
    issues = read_issues(workspace.issues)
    [sandals] = [issue for issue in issues if issue.score == 0.55]
    decide(workspace, 0, "accept")
    decide(workspace, sandals.position, "accept")
    apply(workspace)
    result = clean(workspace)
    assert (result.skipped, result.metrics["reviewed_cells"]) == (False, 3)
    after = pl.read_parquet(workspace.labels / "labels.parquet")
    label = dict(after.select("item_id", "label").iter_rows())
    given = dict(after.select("item_id", "articleType").iter_rows())
    assert (given[issues[0].item_id], label[issues[0].item_id]) == ("Tshirts", "Tshirts")
    assert (given[sandals.item_id], label[sandals.item_id]) == ("Casual Shoes", "Shoes")
    changed = {issues[0].item_id, sandals.item_id}
    columns = ["item_id", "masterCategory", "subCategory", "articleType", "productDisplayName"]
    rest = [table.filter(~pl.col("item_id").is_in(changed)).select(columns) for table in (before, after)]
    assert rest[0].equals(rest[1])
    lines = [line for line in read(workspace.labels / "label_changes.csv") if line["rule"] == "reviewed"]
    assert [(line["item_id"], line["column"], line["old"], line["new"]) for line in lines] == [
        (issues[0].item_id, "articleType", "Shirts", "Tshirts"),
        (sandals.item_id, "articleType", "Sandals", "Casual Shoes"),
        (sandals.item_id, "subCategory", "Sandal", "Shoes"),
    ]
    assert clean(workspace).skipped
    # Undone, it is as it was.
    undo(workspace)
    undo(workspace)
    apply(workspace)
    assert not clean(workspace).skipped
    assert pl.read_parquet(workspace.labels / "labels.parquet").equals(before)


def test_a_damaged_list_of_changes_is_told(workspace: Workspace) -> None:
    workspace.review.mkdir()
    (workspace.review / "label_changes.csv").write_text("item_id,old\n1,2\n")
    with pytest.raises(WorkspaceError, match="hangtag apply"):
        clean(workspace)


def test_what_has_changed_in_the_catalogue_since_is_not_applied(
    workspace: Workspace, drawn: Path, tmp_path: Path
) -> None:
    issues = read_issues(workspace.issues)
    for position in range(4):
        decide(workspace, position, "accept")
    shutil.copytree(drawn / "catalog", tmp_path / "moved")
    table = tmp_path / "moved" / "styles.csv"
    lines = table.read_bytes().split(b"\n")
    replace(lines, issues[0].item_id, "Shirts", "Dresses")
    replace(lines, issues[1].item_id, "Shirts", "Tshirts")
    gone = f"{issues[2].item_id},".encode()
    table.write_bytes(b"\n".join(line for line in lines if not line.startswith(gone)))
    result = apply(workspace, catalog=tmp_path / "moved")
    assert (result.metrics["items_changed"], result.metrics["not_applied"]) == (1, 2)
    told = {line["item_id"]: line for line in read(workspace.review / "not_applied.csv")}
    assert set(told) == {issues[0].item_id, issues[2].item_id}
    reason = "articleType is 'Dresses' now, by the catalogue; the reviewer saw 'Shirts'"
    assert told[issues[0].item_id]["reason"] == reason
    assert told[issues[2].item_id]["reason"] == "the catalogue no longer has this item"
    assert [line["item_id"] for line in read(workspace.review / "label_changes.csv")] == [issues[3].item_id]


def test_the_corrected_catalogue_can_be_the_next_one(workspace: Workspace, drawn: Path, tmp_path: Path) -> None:
    decide(workspace, 0, "accept")
    apply(workspace)
    shutil.copytree(drawn / "catalog", tmp_path / "next")
    shutil.copy(workspace.review / "corrected" / "styles.csv", tmp_path / "next" / "styles.csv")
    prepare(tmp_path / "next", workspace)
    result = clean(workspace)
    assert "reviewed_cells" not in result.metrics
    assert apply(workspace).metrics["not_applied"] == 0
    assert (workspace.review / "corrected" / "styles.csv").read_bytes() == (
        tmp_path / "next" / "styles.csv"
    ).read_bytes()


def test_decisions_build_on_each_other(workspace: Workspace) -> None:
    """A second look at an item that was changed before, as after another audit."""
    issues = read_issues(workspace.issues)
    decide(workspace, 0, "accept")
    dress = {"masterCategory": "Apparel", "subCategory": "Dress", "articleType": "Dresses"}
    decide(workspace, 0, "choose", "Bob", values=dress)
    apply(workspace)
    changes = read(workspace.review / "label_changes.csv")
    assert {(line["column"], line["old"], line["new"]) for line in changes} == {
        ("articleType", "Shirts", "Dresses"),
        ("subCategory", "Topwear", "Dress"),
    }
    assert {line["item_id"] for line in changes} == {issues[0].item_id}


def test_a_tree_of_photographs_has_changes_and_no_table(drawn: Path, tmp_path: Path) -> None:
    photographs = sorted((drawn / "catalog" / "images").glob("*.jpg"))[:40]
    for number, photograph in enumerate(photographs):
        folder = tmp_path / "tree" / ("bags" if number % 2 else "shoes")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(photograph, folder)
    workspace = Workspace.at(tmp_path / "w")
    prepare(tmp_path / "tree", workspace)
    ids = read_items(workspace).ids
    [first] = [item_id for item_id in ids if item_id.startswith("bags")][:1]
    line = make_line(first, "bags", "shoes", 0.9, column="category", changes={"category": "shoes"})
    write_issues(workspace, [line])
    decide(workspace, 0, "accept")
    assert apply(workspace).metrics["cells_changed"] == 1
    assert not (workspace.review / "corrected").exists()
    assert clean(workspace).metrics["reviewed_cells"] == 1


def test_a_catalogue_that_cannot_be_found_is_told(workspace: Workspace, tmp_path: Path) -> None:
    decide(workspace, 0, "accept")
    with pytest.raises(CatalogError, match="--catalog"):
        apply(workspace, catalog=tmp_path / "nowhere")
    (tmp_path / "other.csv").write_text("id,kind\n1,A\n")
    with pytest.raises(CatalogError, match="lost columns"):
        apply(workspace, catalog=tmp_path / "other.csv")


def test_auto_accepts_only_what_decisions_prove(workspace: Workspace) -> None:
    items = read_items(workspace)
    # The surest issues are undecided; every second one below them is decided.
    lines = [
        make_line(item_id, items.read_values(item_id)["articleType"], "Tshirts", 0.9 - 0.005 * number)
        for number, item_id in enumerate(items.ids[:100])
        if items.read_values(item_id)["articleType"] != "Tshirts"
    ]
    write_issues(workspace, lines)
    decide(workspace, 0, "skip")
    with pytest.raises(
        SettingsError,
        match=r"label_error \(image\): 0 decisions at or below the highest score of an open issue, 29 needed",
    ):
        apply(workspace, ApplyConfig(auto_accept=0.9))
    for position in range(2, 62, 2):
        decide(workspace, position, "accept")
    assert apply(workspace).metrics["accepted_by_auto"] == 0
    result = apply(workspace, ApplyConfig(auto_accept=0.9))
    # Down to the last that was decided: the odd places to 59, but for what was skipped.
    assert result.metrics["accepted_by_auto"] == 30
    rules = [line["rule"] for line in read(workspace.review / "label_changes.csv")]
    assert (rules.count("reviewed"), rules.count("auto")) == (30, 30)
    assert clean(workspace).metrics["auto_cells"] == 30
    [measured] = read_json(workspace.review / "manifest.json")["automatic"]
    assert (measured["decided"], measured["right"]) == (30, 30)
    # What was accepted is undone by leaving it out, and a person's word goes before.
    assert apply(workspace).metrics["accepted_by_auto"] == 0
    decide(workspace, 59, "keep")
    assert apply(workspace, ApplyConfig(auto_accept=0.9)).metrics["accepted_by_auto"] == 29
    for position in (21, 23):
        decide(workspace, position, "keep")
    with pytest.raises(SettingsError, match=r"30 of 33 were right: that does not prove 0\.9\b"):
        apply(workspace, ApplyConfig(auto_accept=0.9))


def test_what_was_accepted_stays_so_when_the_next_audit_does_not_name_it(workspace: Workspace) -> None:
    items = read_items(workspace)
    ids = [item_id for item_id in items.ids if items.read_values(item_id)["articleType"] == "Shirts"]
    others = [
        item_id for item_id in items.ids if items.read_values(item_id)["articleType"] not in ("Shirts", "Tshirts")
    ]
    decided = [make_line(item_id, "x", "Tshirts", 0.8 - n / 1000) for n, item_id in enumerate(others[:29])]
    write_issues(
        workspace, [make_line(ids[0], "Shirts", "Tshirts", 0.9), make_line(ids[1], "Dresses", "Tshirts", 0.9), *decided]
    )
    for position in range(2, 31):
        decide(workspace, position, "accept")
    result = apply(workspace, ApplyConfig(auto_accept=0.9))
    # The second is about a label that the catalogue has no more.
    assert result.metrics["accepted_by_auto"] == 1
    assert {line["item_id"] for line in read(workspace.review / "label_changes.csv") if line["rule"] == "auto"} == {
        ids[0]
    }
    before = (workspace.review / "corrected" / "styles.csv").read_bytes()
    assert apply(workspace, ApplyConfig(auto_accept=0.9)).skipped
    write_issues(workspace, [make_line(ids[2], "Shirts", "Tshirts", 0.1)])
    assert apply(workspace, ApplyConfig(auto_accept=0.9)).metrics["accepted_by_auto"] == 1
    assert (workspace.review / "corrected" / "styles.csv").read_bytes() == before
    # Without the flag it is let go, for good.
    apply(workspace)
    write_issues(workspace, [make_line(ids[2], "Shirts", "Tshirts", 0.9)])
    apply(workspace, ApplyConfig(auto_accept=0.9))
    assert {line["item_id"] for line in read(workspace.review / "label_changes.csv") if line["rule"] == "auto"} == {
        ids[2]
    }


def test_a_proof_is_the_lower_bound_of_clopper_and_pearson() -> None:
    assert (count_needed(0.9), count_needed(0.95), count_needed(0.99)) == (29, 59, 299)
    for precision in (0.6, 0.9, 0.95, 0.99):
        for decided in (1, 28, 29, 30, 36, 59, 100, 299, 1000):
            for wrong in (0, 1, 2, 5, 20):
                right = decided - wrong
                if right > 0:
                    for risk in (0.05, 0.025):
                        bound = beta.ppf(risk, right, wrong + 1)
                        assert is_proven(right, decided, precision, risk) == (bound >= precision), (right, decided)


def test_every_code_is_proven_by_itself_and_from_the_surest_down() -> None:
    decided = [DecidedIssue("good", 0.9 - n / 1000, is_right=n < 60) for n in range(80)]
    decided += [DecidedIssue("bad", 0.9 - n / 1000, is_right=n >= 3) for n in range(80)]
    # Two early mistakes end the search from the surest on; the one from half of the decisions on still finds it.
    decided += [DecidedIssue("late", 0.9 - n / 1000, is_right=n not in (0, 4)) for n in range(160)]
    # Surer than any open one: they say nothing of what is left.
    decided += [DecidedIssue("bad", 0.95, is_right=True)] * 100
    bad, good, late = measure_kinds(decided, {"good": [0.9, 0.1], "bad": [0.9], "late": [0.9]}, 0.9)
    assert late.threshold == pytest.approx(0.9 - 159 / 1000)
    assert (bad.threshold, bad.decided) == (None, 80)
    assert (good.decided, good.right) == (80, 60)
    assert good.threshold is not None
    above = [each for each in decided if each.kind == "good" and each.score >= good.threshold]
    assert beta.ppf(0.025, sum(each.is_right for each in above), sum(not each.is_right for each in above) + 1) >= 0.9
    assert len(above) > 60


def test_label_errors_are_proven_by_the_evidence_they_have(workspace: Workspace) -> None:
    items = read_items(workspace)
    ids = [each for each in items.ids if items.read_values(each)["articleType"] != "Tshirts"][:32]
    given = [items.read_values(each)["articleType"] for each in ids]
    # Thirty are decided; of the open ones only that with their evidence can be proven.
    evidence = ["image", "name", *["image"] * 30]
    lines = zip(ids, given, evidence, strict=True)
    write_issues(workspace, [make_line(each, old, "Tshirts", 0.9, evidence=by) for each, old, by in lines])
    for position in range(2, 32):
        decide(workspace, position, "accept")
    result = apply(workspace, ApplyConfig(auto_accept=0.9))
    assert result.metrics["accepted_from_score"] == {"label_error (image)": 0.9}
    assert [line["item_id"] for line in read(workspace.review / "accepted.csv")] == [ids[0]]
    assert read(workspace.review / "accepted.csv")[0]["evidence"] == "image"
    measured = {each["kind"]: each["decided"] for each in read_json(workspace.review / "manifest.json")["automatic"]}
    assert measured == {"label_error (image)": 30, "label_error (name)": 0}


def test_a_proof_may_reach_down_to_nothing_and_needs_no_second_search() -> None:
    [measured] = measure_kinds(
        [DecidedIssue("one", 0.28 - n / 100, is_right=True) for n in range(29)], {"one": [0.9]}, 0.9
    )
    assert (measured.decided, measured.threshold) == (29, 0.0)


def test_decisions_count_by_the_scores_that_their_issues_have_now(workspace: Workspace) -> None:
    items = read_items(workspace)
    ids = [each for each in items.ids if items.read_values(each)["articleType"] != "Tshirts"][:31]
    given = [items.read_values(each)["articleType"] for each in ids]
    write_issues(workspace, [make_line(each, old, "Tshirts", 0.9) for each, old in zip(ids, given, strict=True)])
    for position in range(1, 31):
        decide(workspace, position, "accept")
    # Another audit is less sure of all of them alike; by the scores of before, none would be below an open one.
    write_issues(workspace, [make_line(each, old, "Tshirts", 0.4) for each, old in zip(ids, given, strict=True)])
    assert apply(workspace, ApplyConfig(auto_accept=0.9)).metrics["accepted_by_auto"] == 1


def test_a_group_decided_at_once_counts_once(workspace: Workspace) -> None:
    [first, *_] = [issue.position for issue in read_issues(workspace.issues) if issue.group_id]
    decide(workspace, first, "accept", whole_group=True)
    store = Store(workspace.review / "review.sqlite")
    decisions = store.read()
    store.close()
    assert len(decisions) == 3
    accepted = accept_open(read_issues(workspace.issues), decisions, {}, 0.9)
    assert accepted.decisions == []
    issues = [
        dataclasses.replace(issue, code="duplicate_label_conflict", evidence="")
        for issue in read_issues(workspace.issues)
    ]
    values = {issue.item_id: read_items(workspace).read_values(issue.item_id) for issue in issues}
    [measured] = accept_open(issues, decisions, values, 0.9).measured
    assert (measured.decided, measured.right) == (1, 1)
