"""The corrected catalogue: only decided cells differ, what no longer fits is told, and clean takes it in."""

import csv
import dataclasses
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from issue_queue import make_line, write_issues
from scipy.stats import hypergeom

from hangtag.config import ApplyConfig
from hangtag.errors import CatalogError, SettingsError, WorkspaceError
from hangtag.io import read_json
from hangtag.reviewing.auto_accept import (
    Vote,
    accept_open,
    compute_tail,
    count_needed,
    count_open_needed,
    measure_kinds,
)
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


def rename(lines: list[bytes], item_id: str, name: str) -> None:
    """Give an item's line another product name, which is its last cell."""
    [index] = [index for index, line in enumerate(lines) if line.startswith(f"{item_id},".encode())]
    lines[index] = lines[index].rsplit(b",", 1)[0] + b"," + name.encode()


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
    changed = read(workspace.review / "label_changes.csv")
    items = read_items(workspace)
    assert all(line.pop("product") == items.read_name(line["item_id"]) for line in changed)
    assert changed == [
        {"item_id": issues[0].item_id, "column": "articleType", "old": "Shirts", "new": "Tshirts", "rule": "reviewed"},
        *(
            {"item_id": issues[2].item_id, "column": column, "old": old, "new": new, "rule": "reviewed"}
            for column, old, new in zip(
                ("masterCategory", "subCategory", "articleType"), ("Apparel", "Topwear", "Shirts"), path, strict=True
            )
        ),
    ]
    # The first was asked about under two codes, which settled both.
    counted: dict[str, Any] = {"decided": 4, "skipped": 1, "items_changed": 2, "cells_changed": 4, "not_applied": 0}
    counted |= {"written": ["corrected/styles.csv"]}
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


def test_no_decision_is_applied_to_another_product_that_has_the_id_now(
    workspace: Workspace, drawn: Path, tmp_path: Path
) -> None:
    reused, respaced, kept, *_ = read_issues(workspace.issues)
    decide(workspace, 0, "accept")
    decide(workspace, 1, "accept")
    decide(workspace, 2, "keep")
    apply(workspace)
    shutil.copytree(drawn / "catalog", tmp_path / "next")
    table = tmp_path / "next" / "styles.csv"
    lines = table.read_bytes().split(b"\n")
    names = {each.item_id: read_items(workspace).read_name(each.item_id) for each in (reused, respaced, kept)}
    rename(lines, reused.item_id, "Nordwind Men Linen Shirt")
    rename(lines, kept.item_id, "Nordwind Women Silk Shirt")
    rename(lines, respaced.item_id, names[respaced.item_id].upper() + " ")
    table.write_bytes(b"\n".join(lines))
    # The change that was applied for the former product is no change of the one that has its id now.
    prepare(tmp_path / "next", workspace)
    cleaned = clean(workspace).metrics
    assert (cleaned["reviewed_cells"], cleaned["review_changes_of_other_products"]) == (1, 1)
    result = apply(workspace)
    assert (result.metrics["items_changed"], result.metrics["not_applied"]) == (1, 1)
    [told] = read(workspace.review / "not_applied.csv")
    assert (told["item_id"], told["action"]) == (reused.item_id, "accept")
    name = names[reused.item_id]
    assert told["reason"] == f"the id has another product now, 'Nordwind Men Linen Shirt'; the reviewer saw {name!r}"
    changed = read(workspace.review / "label_changes.csv")
    assert [(line["item_id"], line["product"].strip()) for line in changed] == [
        (respaced.item_id, names[respaced.item_id].upper())
    ]
    # What was decided about the former products is open again; it can be decided anew.
    with closing(Store(workspace.review / "review.sqlite")) as store:
        queue = Queue(read_issues(workspace.issues), read_items(workspace), store)
        states = [queue.get_state(issue) for issue in queue.issues[:3]]
    assert states == ["open", "decided", "open"]
    decide(workspace, 0, "accept")
    assert (apply(workspace).metrics["items_changed"], len(read(workspace.review / "not_applied.csv"))) == (2, 1)


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
    metrics = apply(workspace).metrics
    assert (metrics["cells_changed"], metrics["written"]) == (1, ["label_changes.csv"])
    assert not (workspace.review / "corrected").exists()
    assert clean(workspace).metrics["reviewed_cells"] == 1


def test_a_catalogue_that_cannot_be_found_is_told(workspace: Workspace, tmp_path: Path) -> None:
    decide(workspace, 0, "accept")
    with pytest.raises(CatalogError, match=r"nothing at the path of --catalog. Received: '.*nowhere'. Name the folder"):
        apply(workspace, catalog=tmp_path / "nowhere")
    (tmp_path / "other.csv").write_text("id,kind\n1,A\n")
    with pytest.raises(CatalogError, match="lost columns"):
        apply(workspace, catalog=tmp_path / "other.csv")


def list_in_random_order(workspace: Workspace) -> list[int]:
    issues = read_issues(workspace.issues)
    return [issue.position for issue in sorted(issues, key=lambda issue: issue.random_key)]


def write_shirt_issues(workspace: Workspace, count: int, **fields: str) -> list[str]:
    """Write issues that suggest Tshirts for items that are none; return the items' ids."""
    items = read_items(workspace)
    ids = [each for each in items.ids if items.read_values(each)["articleType"] != "Tshirts"][:count]
    write_issues(
        workspace,
        [
            make_line(each, items.read_values(each)["articleType"], "Tshirts", 0.9 - 0.005 * number, **fields)
            for number, each in enumerate(ids)
        ],
    )
    return ids


def test_auto_accept_accepts_what_a_random_sample_proves(workspace: Workspace) -> None:
    write_shirt_issues(workspace, 100)
    order = list_in_random_order(workspace)
    for position in order[:50]:
        decide(workspace, position, "accept")
    result = apply(workspace, ApplyConfig(auto_accept=0.9))
    lowest = max(order[:50])
    accepted = [position for position in order[50:] if position < lowest]
    assert len(accepted) > 10
    assert result.metrics["accepted_by_auto"] == len(accepted)
    rules = [line["rule"] for line in read(workspace.review / "label_changes.csv")]
    assert (rules.count("reviewed"), rules.count("auto")) == (50, len(accepted))
    assert clean(workspace).metrics["auto_cells"] == len(accepted)
    [measured] = read_json(workspace.review / "manifest.json")["automatic"]
    assert (measured["decided"], measured["sampled"], measured["right"]) == (50, 50, 50)
    # What was accepted is undone by leaving the flag out, and a person's decision comes first.
    assert apply(workspace).metrics["accepted_by_auto"] == 0
    decide(workspace, accepted[0], "accept")
    assert apply(workspace, ApplyConfig(auto_accept=0.9)).metrics["accepted_by_auto"] == len(accepted) - 1
    for position in order[50:53]:
        decide(workspace, position, "keep")
    with pytest.raises(SettingsError, match=r"were right: that does not prove 0\.9\b"):
        apply(workspace, ApplyConfig(auto_accept=0.9))


def test_auto_accept_refuses_decisions_from_the_highest_score_down(workspace: Workspace) -> None:
    write_shirt_issues(workspace, 100)
    for position in range(40):
        decide(workspace, position, "accept")
    with pytest.raises(
        SettingsError, match=r"40 decided, \d of these without a gap in the order `random sample`, at least 29"
    ):
        apply(workspace, ApplyConfig(auto_accept=0.9))


def test_auto_accept_counts_a_skipped_issue_of_the_sample_as_wrong(workspace: Workspace) -> None:
    write_shirt_issues(workspace, 100)
    for number, position in enumerate(list_in_random_order(workspace)[:50]):
        decide(workspace, position, "skip" if number % 10 == 0 else "accept")
    with pytest.raises(SettingsError, match="45 of 50 in the order `random sample` were right"):
        apply(workspace, ApplyConfig(auto_accept=0.9))


def test_auto_accept_leaves_out_a_product_that_is_another_one_since_the_audit(
    workspace: Workspace, drawn: Path, tmp_path: Path
) -> None:
    write_shirt_issues(workspace, 100)
    order = list_in_random_order(workspace)
    for position in order[:50]:
        decide(workspace, position, "accept")
    reused = read_issues(workspace.issues)[order[50]].item_id
    shutil.copytree(drawn / "catalog", tmp_path / "moved")
    table = tmp_path / "moved" / "styles.csv"
    lines = table.read_bytes().split(b"\n")
    rename(lines, reused, "Nordwind Men Linen Shirt")
    table.write_bytes(b"\n".join(lines))
    for _ in range(2):  # The second call reads what the first one accepted.
        apply(workspace, ApplyConfig(auto_accept=0.9), catalog=tmp_path / "moved")
        assert [line["item_id"] for line in read(workspace.review / "not_applied.csv")] == [reused]
        assert reused not in [line["item_id"] for line in read(workspace.review / "label_changes.csv")]
        (workspace.review / "manifest.json").unlink()


def test_auto_accept_leaves_a_few_open_issues_to_people(workspace: Workspace) -> None:
    write_shirt_issues(workspace, 45)
    for position in list_in_random_order(workspace)[:40]:
        decide(workspace, position, "accept")
    with pytest.raises(SettingsError, match="5 are open, 10 needed; review them"):
        apply(workspace, ApplyConfig(auto_accept=0.9))


def test_an_accepted_issue_stays_accepted_when_the_next_audit_lists_it_no_more(workspace: Workspace) -> None:
    write_shirt_issues(workspace, 100)
    order = list_in_random_order(workspace)
    for position in order[:50]:
        decide(workspace, position, "accept")
    count = apply(workspace, ApplyConfig(auto_accept=0.9)).metrics["accepted_by_auto"]
    before = (workspace.review / "corrected" / "styles.csv").read_bytes()
    assert apply(workspace, ApplyConfig(auto_accept=0.9)).skipped
    items = read_items(workspace)
    shirt = next(each for each in items.ids if items.read_values(each)["articleType"] == "Shirts")
    write_issues(workspace, [make_line(shirt, "Dresses", "Tshirts", 0.1)])
    assert apply(workspace, ApplyConfig(auto_accept=0.9)).metrics["accepted_by_auto"] == count
    assert (workspace.review / "corrected" / "styles.csv").read_bytes() == before
    # Without the flag the automatic decisions are dropped, and this audit lists too few to accept any.
    apply(workspace)
    with pytest.raises(SettingsError, match="no issue is open"):
        apply(workspace, ApplyConfig(auto_accept=0.9))


@given(
    population=st.integers(1, 200),
    wrong=st.integers(0, 200),
    sampled=st.integers(0, 200),
    found=st.integers(0, 30),
)
def test_the_tail_is_that_of_the_hypergeometric_distribution(
    population: int, wrong: int, sampled: int, found: int
) -> None:
    assume(wrong <= population and sampled <= population)
    expected = hypergeom.cdf(found, population, wrong, sampled)
    assert compute_tail(population, wrong, sampled, found) == pytest.approx(expected, abs=1e-9)


def test_the_number_of_decisions_needed() -> None:
    assert (count_needed(0.9), count_needed(0.95), count_needed(0.99)) == (29, 59, 299)
    assert (count_open_needed(0.9), count_open_needed(0.95), count_open_needed(0.99)) == (10, 20, 100)


def make_votes(kind: str, answers: list[bool | None], scores: list[float]) -> list[Vote]:
    """Return votes in the random order of their positions."""
    pairs = zip(answers, scores, strict=True)
    return [Vote(kind, score, bytes([n // 256, n % 256]), answer) for n, (answer, score) in enumerate(pairs)]


def test_each_kind_has_its_own_threshold_and_a_part_of_the_risk() -> None:
    random = np.random.default_rng(0)
    scores = random.random(800).round(4)
    # Suggestions are right where the score is above a half.
    right = [bool(score > 0.5) for score in scores]
    good = make_votes("good", [*right[:300], *[None] * 500], scores.tolist())
    bad = make_votes("bad", [*(random.random(300) < 0.5).tolist(), *[None] * 500], scores.tolist())
    few = make_votes("few", [*[True] * 20, *[None] * 500], scores[:520].tolist())
    measured = {each.kind: each for each in measure_kinds([*good, *bad, *few], 0.9)}
    assert measured["good"].threshold == pytest.approx(0.47, abs=0.05)
    assert (measured["bad"].threshold, measured["bad"].sampled) == (None, 300)
    # Two kinds share the risk of 5 %: the third has too few decisions to take part.
    assert measured["few"].reason.endswith(f"{count_needed(0.9, 0.025)} needed")


def test_two_early_mistakes_do_not_end_the_search() -> None:
    scores = [1 - n / 1000 for n in range(700)]
    order = np.random.default_rng(0).permutation(700)
    answers: list[bool | None] = [True] * 350 + [None] * 350
    ranked = [scores[index] for index in order]
    for wrong in sorted(range(350), key=lambda position: -ranked[position])[:6:3]:
        answers[wrong] = False
    [measured] = measure_kinds(make_votes("late", answers, ranked), 0.9)
    assert measured.threshold is not None
    assert measured.threshold < 0.35


def test_a_simulated_review_keeps_the_promise() -> None:
    random = np.random.default_rng(1)
    accepted, broken = 0, 0
    for _ in range(60):
        scores = random.random(400).round(3)
        right = random.random(400) < 0.8 + 0.2 * scores
        answers = [bool(each) if n < 150 else None for n, each in enumerate(right)]
        [measured] = measure_kinds(make_votes("one", answers, scores.tolist()), 0.9)
        if measured.threshold is not None:
            open_right = right[150:][scores[150:] >= measured.threshold]
            accepted += 1
            broken += open_right.mean() < 0.9
    assert accepted > 10
    assert broken <= 6


def test_label_errors_are_measured_by_their_evidence(workspace: Workspace) -> None:
    ids = write_shirt_issues(workspace, 80)
    items = read_items(workspace)
    evidence = ["name" if number % 12 == 0 else "image" for number in range(len(ids))]
    given = [items.read_values(each)["articleType"] for each in ids]
    lines = zip(ids, given, evidence, strict=True)
    write_issues(workspace, [make_line(each, old, "Tshirts", 0.9, evidence=by) for each, old, by in lines])
    order = [position for position in list_in_random_order(workspace) if evidence[position] == "image"]
    for position in order[:40]:
        decide(workspace, position, "accept")
    result = apply(workspace, ApplyConfig(auto_accept=0.9))
    assert result.metrics["accepted_from_score"] == {"label_error (image)": 0.9}
    accepted = read(workspace.review / "accepted.csv")
    assert {line["item_id"] for line in accepted} == {ids[position] for position in order[40:]}
    assert {line["evidence"] for line in accepted} == {"image"}
    measured = {each["kind"]: each["decided"] for each in read_json(workspace.review / "manifest.json")["automatic"]}
    assert measured == {"label_error (image)": 40, "label_error (name)": 0}


def test_decisions_count_by_the_scores_that_their_issues_have_now(workspace: Workspace) -> None:
    write_shirt_issues(workspace, 80)
    for position in list_in_random_order(workspace)[:40]:
        decide(workspace, position, "accept")
    issues = read_issues(workspace.issues)
    # Another audit is less sure of all of them alike; by the earlier scores, the decided would be above the open ones.
    write_issues(workspace, [make_line(each.item_id, each.given_label, "Tshirts", 0.4) for each in issues])
    assert apply(workspace, ApplyConfig(auto_accept=0.9)).metrics["accepted_by_auto"] == 40


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
    assert measured.decided == 1
