"""The stage `report`: a complete page that loads nothing, skipped if nothing has changed, with all texts escaped."""

import base64
import hashlib
import re
from pathlib import Path

import polars as pl
import pytest
from fake_workspace import ALL_STAGES, CLASSES, COLOR, GRAY, HOSTILE, FakeWorkspace, build_workspace
from page_reader import Page

from hangtag.catalog.schema import CatalogSchema
from hangtag.errors import WorkspaceError
from hangtag.io import hash_file, write_csv, write_parquet
from hangtag.labels.dataset import read_labeled_items
from hangtag.manifest import StageRecord
from hangtag.stages.compare import compare
from hangtag.stages.report import HEADINGS, report


def make_page(fake: FakeWorkspace) -> Page:
    report(fake.workspace)
    return Page(fake.workspace.report)


def test_page_has_every_chapter_and_every_run(tmp_path: Path) -> None:
    page = make_page(build_workspace(tmp_path))
    # Without an audit there is no chapter on the health of the catalogue.
    shown = {name: heading for name, heading in HEADINGS.items() if name != "health"}
    headings = [*shown.values(), "Limits of the results"]
    for number, heading in enumerate(headings, 1):
        assert f"{number} {heading}" in page.text
    assert {link["href"] for link in page.find("a")} >= {f"#{name}" for name in (*shown, "comparison")}
    assert {"capstone-color-0", "capstone-gray-0"} <= set(re.findall(r"capstone-\w+-\d", page.text))
    assert "capstone, gray, seed 0" in page.text


def test_page_shows_the_values_in_the_files(tmp_path: Path) -> None:
    text = make_page(build_workspace(tmp_path)).text
    for shown in ("54 rows", "53 of them", "0.411 to 0.900", "0.789", "0.988", "3,461", "there is no such photograph"):
        assert shown in text
    assert "2 items share their photograph with another, in 1 groups" in text


def test_unchanged_workspace_is_skipped(tmp_path: Path) -> None:
    fake = build_workspace(tmp_path)
    first = report(fake.workspace)
    before = fake.workspace.report.read_bytes()
    second = report(fake.workspace)
    assert (first.skipped, second.skipped) == (False, True)
    assert fake.workspace.report.read_bytes() == before
    assert first.metrics == {"runs": 2, "evaluated": 2, "bytes": len(before)}


@pytest.mark.parametrize("stages", [(), ALL_STAGES])
def test_the_classes_of_a_cross_validation_are_sorted_by_their_f1(tmp_path: Path, stages: tuple[str, ...]) -> None:
    fake = build_workspace(tmp_path, stages)
    assert "Cross-validation" not in make_page(fake).text
    # Five of ten watches and a pair of shoes are taken for the first class.
    shoes, watches = (fake.items.filter(pl.col("label") == label)["item_id"].to_list() for label in CLASSES[2::2])
    fake.cross_validate(wrong=[*watches[:5], shoes[0]])
    text = make_page(fake).text
    assert text.count("In a cross-validation, every labelled item is predicted by") == 1
    assert "not only the 20 % that are in the hold-out" in text
    section = text[text.index("Cross-validation Items Accuracy") :]
    assert "folded Class, 4 folds from photograph 50 0.880" in section
    table = section[section.index("Class Items F1 95 % interval Precision Recall") :]
    rows = re.findall(r"(\S+) 10 (\d\.\d+) (\d\.\d+) to (\d\.\d+) (\d\.\d+) (\d\.\d+)", table)
    shown = [(name, f1, precision, recall) for name, f1, _, _, precision, recall in rows]
    assert shown == [
        ("Watches", "0.667", "1.000", "0.500"),
        (HOSTILE.split()[-1], "0.769", "0.625", "1.000"),
        ("Shoes", "0.947", "1.000", "0.900"),
        ("Bags", "1.000", "1.000", "1.000"),
        ("Bows", "1.000", "1.000", "1.000"),
    ]
    assert all(float(low) < 1 and float(low) <= float(f1) <= float(high) for _, f1, low, high, *_ in rows)


def test_cross_validations_of_other_labels_and_without_metrics_are_not_shown(tmp_path: Path) -> None:
    fake = build_workspace(tmp_path)
    fake.cross_validate("earlier", has_report=False)
    assert "Cross-validation" not in make_page(fake).text
    fake.cross_validate("one")
    fake.cross_validate("two", wrong=[])
    page = make_page(fake)
    assert re.findall(r"(\w+) Class, 4 folds", page.text) == ["one", "two"]
    fake.items = fake.items.with_columns(group_id=pl.col("item_id"))
    fake.clean()
    assert "Class, 4 folds" not in make_page(fake).text


@pytest.mark.parametrize("change", ["a new evaluation", "a lost page", "an edited page", "a new run"])
def test_any_change_writes_the_page_again(tmp_path: Path, change: str) -> None:
    fake = build_workspace(tmp_path)
    report(fake.workspace)
    whole = fake.workspace.report.read_text(encoding="utf-8")
    match change:
        case "a new evaluation":
            fake.evaluate("capstone-color-0", accuracy=0.1234)
        case "a lost page":
            fake.workspace.report.unlink()
        case "an edited page":
            fake.workspace.report.write_text(whole.replace("Evaluation", "Flattery"), encoding="utf-8")
        case "a new run":
            fake.train("capstone-color-1", "color", 1)
    assert not report(fake.workspace).skipped
    text = fake.workspace.report.read_text(encoding="utf-8")
    assert "Evaluation" in text
    assert ("0.123" in text) == (change == "a new evaluation")
    assert ("capstone-color-1" in text) == (change == "a new run")


@pytest.mark.parametrize(
    ("stages", "commands"),
    [
        ((), {"explore", "train", "audit"}),
        (("explore",), {"train", "audit"}),
        (("explore", "train"), {"evaluate", "predict", "audit"}),
        (("train", "evaluate"), {"explore", "predict", "audit"}),
        (ALL_STAGES, {"audit"}),
    ],
)
def test_missing_stages_are_named_with_their_command(
    tmp_path: Path, stages: tuple[str, ...], commands: set[str]
) -> None:
    text = make_page(build_workspace(tmp_path, stages)).text
    assert set(re.findall(r"hangtag (\w+) --workspace 'work space'", text)) == commands


def test_one_run_of_two_may_be_evaluated(tmp_path: Path) -> None:
    fake = build_workspace(tmp_path, ("train",))
    fake.evaluate("capstone-gray-0")
    text = make_page(fake).text
    assert "Not evaluated yet: capstone-color-0." in text
    assert "Classification report of capstone-gray-0" in text
    assert "Classification report of capstone-color-0" not in text


def test_page_that_was_written_without_a_manifest_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill after the page and before its manifest must not leave the manifest of the page before."""
    fake = build_workspace(tmp_path)
    report(fake.workspace)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(StageRecord, "load_if_unchanged", lambda _: None)
    monkeypatch.setattr(StageRecord, "finish", stop)
    with pytest.raises(KeyboardInterrupt):
        report(fake.workspace)
    assert fake.workspace.report.is_file()
    assert not (fake.workspace.root / "report" / "manifest.json").exists()


def test_unprepared_workspace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="hangtag prepare"):
        report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_runs_on_older_labels_are_pointed_out(tmp_path: Path) -> None:
    fake = build_workspace(tmp_path)
    assert "earlier state of the labels" not in make_page(fake).text
    model = fake.workspace.run("capstone-gray-0") / "model.json"
    digest = re.search(r'"labels_digest": "(\w+)"', model.read_text(encoding="utf-8"))
    assert digest
    model.write_text(model.read_text(encoding="utf-8").replace(digest[1], "0" * 64), encoding="utf-8")
    fake.finish_stage("train", model.parent, {"architecture": "capstone"}, {})
    assert "until they are trained again: capstone-gray-0." in make_page(fake).text


def test_hostile_names_and_labels_stay_text(tmp_path: Path) -> None:
    page = make_page(build_workspace(tmp_path))
    assert HOSTILE in page.text
    assert f"{HOSTILE} of <b>make</b> 7" in page.text
    assert len(page.scripts) == 2
    assert not any("alert('label')" in script for script in page.scripts)
    raw = (tmp_path / "work space" / "report.html").read_text(encoding="utf-8")
    assert HOSTILE not in raw
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_page_requests_nothing_from_outside(tmp_path: Path) -> None:
    page = make_page(build_workspace(tmp_path))
    addresses = [
        value for _, tag in page.tags for name, value in tag.items() if name in ("src", "href", "srcset", "action")
    ]
    assert len(addresses) > 10
    assert all(value and value.startswith(("#", "data:")) for value in addresses)
    raw = (tmp_path / "work space" / "report.html").read_text(encoding="utf-8")
    style = raw[raw.index("<style>") : raw.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_policy_allows_only_the_two_scripts_of_the_page(tmp_path: Path) -> None:
    page = make_page(build_workspace(tmp_path))
    policy = next(tag["content"] for tag in page.find("meta") if tag.get("http-equiv"))
    assert policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    hashes = re.findall(r"'sha256-([^']+)'", policy)
    ours = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in page.scripts]
    assert hashes == ours
    assert "script-src 'unsafe" not in policy


def test_pictures_and_tables_have_text_alternatives(tmp_path: Path) -> None:
    page = make_page(build_workspace(tmp_path))
    pictures = page.find("img")
    # A sheet per class and for Unknown, the means, and per run: errors, Grad-CAM, worst class, predictions.
    assert len(pictures) == 6 + 1 + 2 * 4
    assert all(picture["alt"] and picture["width"] and picture["height"] for picture in pictures)
    assert len(page.find("caption")) == len(page.find("table"))
    assert all(cell.get("scope") for cell in page.find("th"))
    assert len({tag["id"] for _, tag in page.tags if "id" in tag}) == sum("id" in tag for _, tag in page.tags)


def test_equal_inputs_give_equal_pages(tmp_path: Path) -> None:
    pages = []
    for folder in ("one", "two"):
        fake = build_workspace(tmp_path / folder, runs=[COLOR])
        report(fake.workspace)
        pages.append(fake.workspace.report.read_bytes())
    assert pages[0] == pages[1]


def test_capstone_figures_are_shown_only_for_its_own_catalogue(tmp_path: Path) -> None:
    own = make_page(build_workspace(tmp_path / "own", is_capstone=True)).text
    other = make_page(build_workspace(tmp_path / "other")).text
    for shown in (
        "9 Beside the capstone",
        "cannot be compared; chapter 9 says why",
        "9,914,686",
        "0.940",
        "1346",
        "7,993",
        "0.815",
        "Where do the hold-out items",
    ):
        assert (shown.replace("1346", "1,346") in own, shown.replace("1346", "1,346") in other) == (True, False)
    assert "Capstone" not in other


def test_catalogue_with_one_level_and_no_names(tmp_path: Path) -> None:
    schema = CatalogSchema("", "id", None, ("kind",), columns=("id", "kind"))
    text = make_page(build_workspace(tmp_path, schema=schema)).text
    assert "hangtag report · catalogue" in text
    assert "kind label, the folder" in text
    assert "Item kind as given Old New Matched by Score" in text


@pytest.mark.parametrize("table", ["", "goods.csv"])
@pytest.mark.parametrize("stages", [(), ALL_STAGES])
def test_nothing_is_said_of_levels_rings_and_tables_that_a_catalogue_lacks(
    tmp_path: Path, table: str, stages: tuple[str, ...]
) -> None:
    schema = CatalogSchema(table, "id", None, ("kind",), columns=("id", "kind"))
    text = make_page(build_workspace(tmp_path, stages, schema=schema)).text
    # Sentences about the page's own tables.
    text = text.replace("The same as a table", "")
    words = r"\b(?:levels?|finest|attributes?|hierarchy)\b" + ("" if table else r"|\b(?:tables?|rows?|columns?)\b")
    said = [match for match in re.findall(rf"(?i)[^.]*(?:{words})[^.]*", text) if not is_about_the_page(match)]
    assert said == []
    assert ("From 54 rows" in text, "From 54 photographs" in text) == (bool(table), not table)
    assert ("Labels and accuracy" in text) == bool(stages)
    assert ("quote its accuracy" in text) == bool(stages)


def is_about_the_page(sentence: str) -> bool:
    """Return whether a sentence is about the page's own columns, rows and tables, or about networks."""
    own = [
        *("column per predicted label", "share of the row", "label column", "In rows with a mark", "Column Over"),
        *("A column is balanced", "Column Role", "Column kind", "come first in the table", "the table below"),
        *("hold-out columns", "hold-out rows", "in any order of the rows"),
    ]
    return any(each in sentence for each in own)


def test_a_label_that_differs_from_the_only_level_has_a_sunburst(tmp_path: Path) -> None:
    schema = CatalogSchema("goods.csv", "id", None, ("kind",), columns=("id", "kind"))
    fake = build_workspace(tmp_path, ("explore",), schema=schema)
    assert "Sunburst" not in make_page(fake).text
    path = fake.workspace.exploration / "sunburst_Class.csv"
    write_csv(path, pl.DataFrame({"Class": ["Bags", "Bags"], "kind": ["Handbags", "Bags"], "count": [3, 4]}))
    fake.finish_stage("explore", fake.workspace.exploration, {}, {})
    text = make_page(fake).text
    assert "From kind to Class" in text
    assert "The inner ring is Class, the outer kind" in text
    assert "Sunburst, kind" not in text


def test_several_seeds_are_averaged(tmp_path: Path) -> None:
    runs = [(f"capstone-color-{seed}", "color", seed) for seed in range(3)]
    text = make_page(build_workspace(tmp_path, runs=runs)).text
    assert "Mean over the seeds" in text
    assert "capstone, colour validation 3 0.789 0.789 to 0.789 0.700 0.600 to 0.800 0.600 0.600 to 0.600" in text
    assert "Mean over the seeds" not in make_page(build_workspace(tmp_path / "two")).text


def test_recipes_and_their_costs_are_in_the_last_chapter(tmp_path: Path) -> None:
    fake = build_workspace(tmp_path)
    assert "Accuracy and cost" not in make_page(fake).text
    run_ids = [COLOR[0], GRAY[0]]
    for run_id in run_ids:
        write_correct_predictions(fake, run_id)
    compare(fake.workspace, run_ids, samples=20)
    page = make_page(fake)
    assert "Accuracy and cost" in page.text
    assert "Recipes on Class" in page.text
    assert "is older than the runs" not in page.text
    assert any("against its cost" in str(image.get("alt")) for image in page.find("img"))
    # Another evaluation of a run makes the comparison out of date.
    fake.evaluate(COLOR[0], 0.1)
    text = make_page(fake).text
    assert "The comparison of accuracy and cost is older than the runs" in text
    assert "Recipes on Class" not in text


def write_correct_predictions(fake: FakeWorkspace, run_id: str) -> None:
    """Write the predictions that a comparison reads into a run's evaluation, all of them correct."""
    folder, labelled = fake.workspace.evaluation(run_id), read_labeled_items(fake.workspace)
    items = labelled.table.filter(pl.col("label") != "Unknown").select("item_id", "group_id", "label")
    items = items.with_columns(predicted_label=pl.col("label"), split=pl.lit("val"))
    write_parquet(folder / "predictions.parquet", items)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    inputs = {"model": hash_file(fake.workspace.run(run_id) / "model.json"), "labels": labelled.digest}
    StageRecord("evaluate", folder, inputs, {}).finish({}, files)
