"""Test that no table has a cell that a spreadsheet runs as a formula, and that tables are read back unchanged."""

import csv
import io
import json
import re
from pathlib import Path

import polars as pl
import pytest
from drawn import draw, encode
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from issue_queue import make_line, write_issues

from hangtag.auditing.issues import COLUMNS
from hangtag.config import CleanConfig
from hangtag.errors import describe_mistake
from hangtag.inference.streaming import Failure
from hangtag.io import expand_home, guard_cell, read_csv, unguard_cell, write_csv, write_whole
from hangtag.labels.dataset import read_reviewed
from hangtag.models.label_space import LabelSpace
from hangtag.reviewing.decisions import DecisionRequest, LabelOptions, build_decisions
from hangtag.reviewing.items import read_items
from hangtag.reviewing.queue import Queue, read_issues
from hangtag.reviewing.store import Store
from hangtag.serving.output import write_csv_lines
from hangtag.stages.apply import ACCEPTED, CHANGES, _read_accepted, _write_csv_rows, apply
from hangtag.stages.clean import clean
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

SIGNS = "=+-@\t\r\n＝＋－＠"
# Begin with signs, apostrophes and blanks, which an alphabet of all characters would rarely generate.
TEXT = st.builds(
    "{}{}".format,
    st.text(st.sampled_from(f"{SIGNS}' \v\f\xa0\ufeff,\"a1"), max_size=4),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
)
CELLS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
SHORT = settings(CELLS, max_examples=20)


def starts_a_formula(cell: str) -> bool:
    return cell.lstrip(" \v\f\xa0\ufeff")[:1] in tuple(SIGNS)


def parse(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@given(TEXT)
@example("'=1")
@example("''\t")
@example("' ＋1")
@example("'")
@example("O'Neill")
def test_a_text_is_guarded_if_it_is_a_formula_and_read_back(text: str) -> None:
    guarded = guard_cell(text)
    assert unguard_cell(guarded) == text
    assert not starts_a_formula(guarded)
    assert (guarded == text) or starts_a_formula(text.lstrip("'"))


@CELLS
@given(texts=st.lists(TEXT, min_size=1, max_size=8), heading=TEXT.filter(lambda text: text not in ("", "n")))
def test_a_table_is_read_back_as_it_was_written(texts: list[str], heading: str, tmp_path: Path) -> None:
    table = pl.DataFrame({heading: texts, "n": [-1.5] * len(texts)})
    write_csv(tmp_path / "a.csv", table)
    [first, *rows] = parse(tmp_path / "a.csv")
    assert [guard_cell(heading), "n"] == first
    assert [row[1] for row in rows] == ["-1.5"] * len(texts)
    assert not any(starts_a_formula(cell) for cell in (first[0], *(row[0] for row in rows)))
    assert [unguard_cell(row[0]) for row in rows] == texts
    back = read_csv(tmp_path / "a.csv", infer_schema=False)
    assert back.columns == [heading, "n"]
    assert back[heading].to_list() == texts


@SHORT
@given(texts=st.tuples(TEXT, TEXT, TEXT, TEXT), product=TEXT)
def test_changes_listed_by_apply_reach_clean_unchanged(texts: tuple[str, ...], product: str, tmp_path: Path) -> None:
    place, line = Workspace.at(tmp_path), [*texts, "reviewed", product]
    path = _write_csv_rows(place.review / "label_changes.csv", CHANGES, [line])
    assert not any(starts_a_formula(cell) for row in parse(path) for cell in row)
    assert read_reviewed(place) == [dict(zip(CHANGES, line, strict=True))]


@SHORT
@given(identity=st.tuples(TEXT, TEXT, TEXT), product=TEXT)
def test_automatically_accepted_changes_are_read_back(
    identity: tuple[str, str, str], product: str, tmp_path: Path
) -> None:
    place = Workspace.at(tmp_path)
    values = json.dumps({"kind": identity[0]})
    path = _write_csv_rows(
        place.review / "accepted.csv", ACCEPTED, [[*identity, "image", "0.9", values, values, product]]
    )
    assert not any(starts_a_formula(cell) for row in parse(path) for cell in row)
    [accepted] = _read_accepted(place)
    assert (accepted.identity, accepted.evidence, accepted.product) == (identity, "image", product)


@SHORT
@given(item=TEXT, label=TEXT, reason=TEXT)
def test_the_issues_of_an_audit_are_read_by_the_review(item: str, label: str, reason: str, tmp_path: Path) -> None:
    line = make_line(item, label, label, 0.5, reason=reason, changes=json.dumps({"articleType": label}))
    write_csv(tmp_path / "issues.csv", pl.DataFrame([line], schema=COLUMNS))
    assert not any(starts_a_formula(cell) for row in parse(tmp_path / "issues.csv") for cell in row)
    [issue] = read_issues(tmp_path / "issues.csv")
    assert (issue.item_id, issue.given_label, issue.reason, issue.changes) == (
        item, label, reason, {"articleType": label},
    )  # fmt: skip


@pytest.mark.parametrize("name", ["=cmd.png", "-x.png", "@x", "\tx", "'=x"])
def test_the_output_of_classify_is_guarded_too(name: str) -> None:
    label_space = LabelSpace({"=kind": ("a", "b"), "label": ("a", "b")}, ((0, 0), (1, 1)), {"@brand": ("x",)}, "label")
    text = "".join(write_csv_lines([(name, Failure("not_an_image", "no picture"))], label_space))
    [headings, row] = csv.reader(io.StringIO(text, newline=""))
    assert not any(starts_a_formula(cell) for cell in (*headings, *row))
    assert unguard_cell(row[0]) == name


@pytest.fixture
def formulas(tmp_path: Path) -> Workspace:
    """Return a prepared catalogue whose ids, labels, names and a heading are formulas, with one issue."""
    (tmp_path / "shop" / "images").mkdir(parents=True)
    lines = ["id,=kind,title"]
    for number in range(40):
        lines.append(f"-{number},{('=Hat', '@Shoe')[number % 2]},+{number} tall")
        (tmp_path / "shop" / "images" / f"-{number}.png").write_bytes(encode(draw(("Hat", "Shoe")[number % 2], number)))
    (tmp_path / "shop" / "styles.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    described = 'table = "styles.csv"\nid = "id"\nname = "title"\nlevels = ["=kind"]\nimage = "images/{id}.png"\n'
    (tmp_path / "shop" / "catalog.toml").write_text(described, encoding="utf-8")
    prepare(tmp_path / "shop", tmp_path / "workspace")
    place = Workspace.at(tmp_path / "workspace")
    line = make_line("-0", "=Hat", "@Shoe", 0.9, column="=kind", changes={"=kind": "@Shoe"})
    write_issues(place, [line])
    return place


def test_a_catalogue_of_formulas_is_corrected_byte_by_byte_and_cleaned(formulas: Workspace, tmp_path: Path) -> None:
    store = Store(formulas.review / "review.sqlite")
    queue = Queue(read_issues(formulas.issues), read_items(formulas), store)
    store.add(build_decisions(DecisionRequest(0, "accept", {"-0": 0}), queue, LabelOptions(queue.items)), "Ann")
    store.close()
    apply(formulas)
    given = (tmp_path / "shop" / "styles.csv").read_bytes()
    corrected = (formulas.review / "corrected" / "styles.csv").read_bytes()
    assert corrected == given.replace(b"-0,=Hat,", b"-0,@Shoe,")
    assert parse(formulas.review / "label_changes.csv")[1] == [
        "'-0",
        "'=kind",
        "'=Hat",
        "'@Shoe",
        "reviewed",
        "'+0 tall",
    ]
    assert clean(formulas, CleanConfig(split_fractions=(0.5, 0.25, 0.25))).metrics["reviewed_cells"] == 1
    labels = pl.read_parquet(formulas.labels / "labels.parquet")
    assert dict(labels.select("item_id", "=kind").iter_rows())["-0"] == "@Shoe"
    tables = list(formulas.root.glob("labels/*.csv"))
    assert len(tables) == 3
    assert not any(starts_a_formula(cell) for path in tables for row in parse(path) for cell in row)
    cleaned = read_csv(formulas.labels / "styles_cleaned.csv", infer_schema=False)
    assert cleaned.columns[:2] == ["id", "=kind"]
    assert set(cleaned["=kind"]) == {"=Hat", "@Shoe"}


def test_every_table_is_written_and_read_by_write_csv_and_read_csv() -> None:
    """Check the source code: new tables must use `write_csv` and `read_csv`, or guard their cells."""
    source = Path(__file__).parent.parent / "src" / "hangtag"
    own = re.compile(r"\bpl\.read_csv\(|\.write_csv\(|csv\.(?:writer|reader|DictReader|DictWriter)\(")
    found = {str(path.relative_to(source)) for path in source.rglob("*.py") if own.search(path.read_text("utf-8"))}
    assert found == {
        "io.py",
        "labels/dataset.py",
        "labels/public_taxonomy.py",
        "reviewing/queue.py",
        "stages/apply.py",
        "stages/parameter_search.py",
    }
    script = (source / "serving" / "static" / "page.js").read_text("utf-8")
    assert r"/^'*[ \v\f\u00a0\ufeff]*[\t\r\n=+\-@\uff1d\uff0b\uff0d\uff20]/" in script


def test_a_folder_that_cannot_be_made_is_named_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OSError, match="cannot be made") as error, write_whole(tmp_path / "new" / "a.txt"):
        pass
    assert describe_mistake(error.value) == (
        "The operating system reports: this folder cannot be made (No such file or directory). "
        f"Received: '{tmp_path / 'new'}'."
    )


def test_the_home_folder_of_nobody_stays_as_it_was_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand_home("~/a.csv") == tmp_path / "a.csv"
    assert expand_home("~nobody-of-this-name/a.csv") == Path("~nobody-of-this-name/a.csv")
    assert expand_home(Path("/a/~")) == Path("/a/~")
