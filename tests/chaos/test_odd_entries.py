"""Every kind of odd entry in every place of a catalogue or folder gives a code or an error, and never a wait."""

import io
import json
import os
import random
import signal
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import polars as pl
import pytest
from PIL import Image
from stub_runs import StubModel, make_classifier

from hangtag import cli
from hangtag.catalog import image_files
from hangtag.catalog.files import FileError, escape_name, find_named, read_regular
from hangtag.catalog.prepared_items import read_prepared
from hangtag.config import PrepareConfig
from hangtag.errors import CatalogError, HangtagError
from hangtag.inference.classifier import Classifier
from hangtag.inference.prediction import Prediction
from hangtag.inference.streaming import Failure, classify_photographs
from hangtag.io import read_json
from hangtag.labels.taxonomy import load_taxonomy
from hangtag.reviewing.items import read_items, read_source_table
from hangtag.serving.output import list_entries, list_photographs, write_explained
from hangtag.stages.classify import print_predictions, write_predictions
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

SECONDS = 20
CONFIG = PrepareConfig(image_size=(8, 8), workers=1)
DESCRIPTION = 'table = "styles.csv"\nlevels = ["kind"]\nimage = "images/{id}.png"\ntaxonomy = "rules.toml"\n'
RULES = 'name = "mine"\n[[rules]]\nrule = "start"\nlevel = "kind"\n'
NO_UTF8 = os.fsdecode(b"na\xefve.png")
BYTES = {
    "bytes": bytes(range(256)),
    "zeros": b"\0" * 5000,
    "utf-16": b"\xff\xfe" + "id,kind\n1,k\n".encode("utf-16-le"),
    "brackets": b"[" * 100_000,
    "empty": b"",
}


class HangsError(Exception):
    """Something has waited far longer than it may."""


@pytest.fixture(autouse=True)
def end_what_hangs(tmp_path: Path) -> Iterator[None]:
    """Fail what takes 20 seconds, and let go whoever waits for a pipe."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for path in tmp_path.rglob("*"):
            if stat.S_ISFIFO(path.lstat().st_mode):
                os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        raise HangsError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS, 1)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def draw(path: Path, shade: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(path, "PNG")


def encode() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), (9, 9, 9)).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A catalogue of two items with a description and a taxonomy."""
    folder = tmp_path / "catalog"
    for number in (1, 2):
        draw(folder / "images" / f"{number}.png", number * 50)
    (folder / "styles.csv").write_text("id,kind\n1,bag\n2,shoe\n")
    (folder / "catalog.toml").write_text(DESCRIPTION)
    (folder / "rules.toml").write_text(RULES)
    return folder


@pytest.fixture
def classifier() -> Classifier:
    return make_classifier(StubModel())


def make_sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 3 << 30)


def make_outer(path: Path, *, folder: bool = False) -> None:
    outer = path.parents[len(path.parts) - path.parts.index("catalog") - 1].parent / "outer"
    draw(outer / "secret.png")
    path.symlink_to(outer if folder else outer / "secret.png")


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


MAKERS: dict[str, Callable[[Path], object]] = {
    "dangling": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path.name),
    "fifo": make_fifo,
    "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: (path / "more").mkdir(parents=True),
    "sparse": make_sparse,
    "binary": lambda path: path.write_bytes(BYTES["bytes"]),
    "outside": make_outer,
    "outside folder": lambda path: make_outer(path, folder=True),
    "upwards": lambda path: path.symlink_to(path.parent),
}
PHOTOGRAPH_CODES = {
    "dangling": "missing_photograph",
    "loop": "unreadable_file",
    "fifo": "not_a_file",
    "socket": "not_a_file",
    "device": "outside_catalog",
    "folder": "not_a_file",
    "sparse": "too_many_bytes",
    "binary": "not_an_image",
    "outside": "outside_catalog",
    "outside folder": "outside_catalog",
    "upwards": "not_a_file",
}
CLASSIFY_CODES = PHOTOGRAPH_CODES | {
    "dangling": "unreadable",
    "loop": "unreadable",
    "device": "outside_folder",
    "outside": "outside_folder",
    "outside folder": "outside_folder",
}


def put(kind: str, path: Path) -> None:
    """Put an odd entry in the place of a file or folder."""
    if path.is_dir():
        for each in path.iterdir():
            each.unlink()
        path.rmdir()
    path.unlink(missing_ok=True)
    MAKERS[kind](path)


def read_rejected(workspace: Path) -> dict[str, str]:
    table = pl.read_csv(workspace / "prepared" / "rejected.csv", infer_schema=False)
    return dict(table.select("image_path", "code").iter_rows())


@pytest.mark.parametrize("kind", MAKERS)
def test_an_odd_photograph_has_a_code_and_the_others_their_pixels(kind: str, catalog: Path, tmp_path: Path) -> None:
    put(kind, catalog / "images" / "2.png")
    counts = prepare(catalog, tmp_path / "w", CONFIG).metrics
    assert (counts["items"], counts["rejected"]) == (1, 1)
    assert read_rejected(tmp_path / "w") == {"images/2.png": PHOTOGRAPH_CODES[kind]}
    assert prepare(catalog, tmp_path / "w", CONFIG).skipped


@pytest.mark.parametrize("kind", MAKERS)
def test_an_odd_entry_in_a_tree_has_a_code(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    draw(folder / "bags" / "1.png")
    draw(folder / "shoes" / "1.png")
    put(kind, folder / "bags" / "2.png")
    counts = prepare(folder, tmp_path / "w", CONFIG).metrics
    linked = kind in ("outside folder", "upwards")
    expected = {} if kind == "folder" else {"bags/2.png": "linked_folder" if linked else PHOTOGRAPH_CODES[kind]}
    assert read_rejected(tmp_path / "w") == expected
    assert counts["items"] == 2
    assert counts["rows"] == 2 + len(expected)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("role", ["styles.csv", "catalog.toml", "rules.toml", "images"])
def test_an_odd_file_of_the_catalogue_is_an_error_that_names_it(
    role: str, kind: str, catalog: Path, tmp_path: Path
) -> None:
    put(kind, catalog / role)
    if (role, kind) == ("catalog.toml", "folder"):
        pytest.skip("a folder of that name is no description")
    with pytest.raises(CatalogError):
        prepare(catalog, tmp_path / "w", CONFIG)
    assert not (tmp_path / "w" / "prepared" / "manifest.json").exists()


@pytest.mark.parametrize("kind", MAKERS)
def test_an_odd_entry_that_no_row_names_changes_nothing(kind: str, catalog: Path, tmp_path: Path) -> None:
    put(kind, catalog / "more")
    put(kind, catalog / "images" / "3.png")
    assert prepare(catalog, tmp_path / "w", CONFIG).metrics["items"] == 2
    assert prepare(catalog, tmp_path / "w", CONFIG).skipped
    is_file = kind in ("dangling", "loop", "fifo", "socket", "device", "sparse", "binary", "outside")
    assert read_rejected(tmp_path / "w") == ({"images/3.png": "unused_photograph"} if is_file else {})


@pytest.mark.parametrize("kind", [*MAKERS, "nothing"])
@pytest.mark.parametrize("suffix", ["", ".csv", ".zip", ".toml"])
def test_an_odd_argument_is_an_error_or_a_catalogue(
    suffix: str, kind: str, catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "catalog" / f"argument{suffix}"
    if kind != "nothing":
        put(kind, path)
    arguments = [str(catalog), "--schema", str(path)] if suffix == ".toml" else [str(path)]
    command = ["prepare", *arguments, "-w", str(tmp_path / "w"), "--workers", "1", "--image-size", "8x8"]
    # A link to the catalogue's own folder is the catalogue.
    assert run(*command) == (0 if kind == "upwards" and suffix != ".toml" else 2)
    told = capsys.readouterr().err
    assert "Traceback" not in told


@pytest.mark.parametrize("kind", BYTES)
@pytest.mark.parametrize("role", ["styles.csv", "catalog.toml", "rules.toml"])
def test_a_binary_or_nested_file_of_the_catalogue_is_an_error(
    role: str, kind: str, catalog: Path, tmp_path: Path
) -> None:
    if (role, kind) == ("styles.csv", "utf-16"):
        pytest.skip("a table may be UTF-16")
    (catalog / role).write_bytes(BYTES[kind] or (b"x" if role == "catalog.toml" else b""))
    with pytest.raises(CatalogError):
        prepare_and_load(catalog, tmp_path / "w")


def prepare_and_load(catalog: Path, workspace: Path) -> None:
    """Prepare a catalogue, and read its taxonomy as `clean` does."""
    prepare(catalog, workspace, CONFIG)
    load_taxonomy("rules.toml", read_prepared(Workspace.at(workspace)).taxonomy_text or "x", ("kind",))


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 5000,
        "a = {b = " * 3000,
        "x = " + "1" * 5000,
        "levels = " + "[" * 80 + "]" * 80,
        "levels = [1]",
        "table = 7",
        "table = ['styles.csv']",
        "image = {a = 1}",
        "levels = ['kind']\nimage = '{id'\ntaxonomy = '../x.toml'",
        "levels = ['kind']\nimage = '../{id}.png'",
    ],
)
def test_any_description_is_an_error(text: str, catalog: Path, tmp_path: Path) -> None:
    (catalog / "catalog.toml").write_text(text)
    with pytest.raises(CatalogError):
        prepare(catalog, tmp_path / "w", CONFIG)


def test_a_description_may_begin_with_a_byte_order_mark(catalog: Path, tmp_path: Path) -> None:
    for name in ("catalog.toml", "rules.toml"):
        (catalog / name).write_bytes(b"\xef\xbb\xbf" + (catalog / name).read_bytes())
    assert prepare(catalog, tmp_path / "w", CONFIG).metrics["items"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 5000,
        "rules = [1]",
        "rules = 'start'",
        "[[rules]]\nrule = ['start']",
        "[[rules]]\nrule = 'start'\nlevel = ['kind']",
        "[[rules]]\nrule = 'start'\nlevel = 'kind'\n[[rules]]\nrule = 'drop_rare'\nmax_count = 'x'",
        "[[rules]]\nrule = 'start'\nlevel = 'kind'\n[[rules]]\nrule = 'relabel'\nlabels = 3",
        "[[rules]]\nrule = 'start'\nlevel = 'kind'\n[[rules]]\nrule = 'relabel'\nlabels = [[3]]",
    ],
)
def test_any_taxonomy_is_an_error(text: str) -> None:
    with pytest.raises(CatalogError):
        load_taxonomy("rules.toml", text, ("kind",))


@pytest.mark.parametrize("kind", ["fifo", "loop", "folder", "device", "binary", "sparse"])
def test_a_taxonomy_that_is_no_file_is_an_error(kind: str, catalog: Path) -> None:
    put(kind, catalog / "other.toml")
    with pytest.raises(CatalogError, match="no such taxonomy"):
        load_taxonomy(str(catalog / "other.toml"), "", ("kind",))


@pytest.mark.parametrize("kind", MAKERS)
def test_a_review_shows_the_packed_pixels_of_an_odd_photograph(kind: str, catalog: Path, tmp_path: Path) -> None:
    prepare(catalog, tmp_path / "w", CONFIG)
    assert (
        read_items(Workspace.at(tmp_path / "w")).read_photograph("2", original=True)[0]
        == (catalog / "images" / "2.png").read_bytes()
    )
    put(kind, catalog / "images" / "2.png")
    content, media = read_items(Workspace.at(tmp_path / "w")).read_photograph("2", original=True)
    assert media == "image/png"
    assert np.asarray(Image.open(io.BytesIO(content))).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "folder"])
@pytest.mark.parametrize("named", ["folder", "file"])
def test_apply_says_that_an_odd_table_cannot_be_read(kind: str, named: str, catalog: Path, tmp_path: Path) -> None:
    prepare(catalog, tmp_path / "w", CONFIG)
    prepared = read_prepared(Workspace.at(tmp_path / "w"))
    manifest = read_json(tmp_path / "w" / "prepared" / "manifest.json")
    assert read_source_table(manifest, prepared.schema, None).rows == {"1": 0, "2": 1}
    put(kind, catalog / "styles.csv")
    with pytest.raises(CatalogError):
        read_source_table(manifest, prepared.schema, catalog / "styles.csv" if named == "file" else None)


def tell(classifier: Classifier, *places: Path) -> dict[str, str]:
    lines: list[str] = []
    print_predictions(places, classifier, form="json", write=lines.append)
    told = [json.loads(line) for line in lines]
    return {Path(each["file"]).name: each["error"]["code"] if "error" in each else "answer" for each in told}


@pytest.mark.parametrize("kind", MAKERS)
def test_an_odd_photograph_in_a_folder_is_told_in_its_place(
    kind: str, catalog: Path, classifier: Classifier, tmp_path: Path
) -> None:
    put(kind, catalog / "images" / "2.png")
    expected = {"1.png": "answer", "2.png": CLASSIFY_CODES[kind]}
    if kind in ("folder", "upwards"):
        # What is in it, is found anyway.
        del expected["2.png"]
    assert tell(classifier, catalog / "images") == expected
    for suffix in (".csv", ".jsonl", ".parquet"):
        tally = write_predictions(tmp_path / f"out{suffix}", [catalog / "images"], classifier)
        assert (tally["failed"], sum(tally.values())) == (len(expected) - 1, len(expected))


@pytest.mark.parametrize("kind", MAKERS)
def test_an_odd_photograph_that_is_named_is_told_or_an_error(kind: str, catalog: Path, classifier: Classifier) -> None:
    path = catalog / "images" / "2.png"
    put(kind, path)
    if kind in ("dangling", "loop"):
        with pytest.raises(CatalogError, match="no such file"):
            tell(classifier, path)
    elif kind in ("outside", "outside folder"):
        # A link that is named is followed.
        assert set(tell(classifier, path).values()) == {"answer"}
    elif kind in ("folder", "upwards"):
        assert "2.png" not in tell(classifier, path)
    else:
        assert tell(classifier, path) == {"2.png": "not_a_file" if kind == "device" else CLASSIFY_CODES[kind]}


@pytest.mark.skipif(os.geteuid() != 0, reason="only the administrator makes devices")
def test_a_device_is_not_read(catalog: Path, classifier: Classifier, tmp_path: Path) -> None:
    path = catalog / "images" / "2.png"
    path.unlink()
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this container makes no devices")
    assert tell(classifier, catalog / "images") == {"1.png": "answer", "2.png": "not_a_file"}
    prepare(catalog, tmp_path / "w", CONFIG)
    assert read_rejected(tmp_path / "w") == {"images/2.png": "not_a_file"}


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 300, "\ud800.png", "/dev/zero", "."])
def test_any_path_given_in_python_is_answered(name: str, classifier: Classifier) -> None:
    (outcome,) = classify_photographs(classifier, [name])
    assert isinstance(outcome, Failure)
    assert outcome.code in ("unreadable", "not_a_file")


def test_links_out_of_a_folder_are_listed_and_loops_end(catalog: Path, tmp_path: Path) -> None:
    images = catalog / "images"
    make_outer(images / "a.png")
    make_outer(images / "linked", folder=True)
    (images / "again").symlink_to(images)
    (images / "same.png").symlink_to("1.png")
    listed = {entry.path.name: entry.failure and entry.failure.code for entry in list_entries([images])}
    assert listed == {
        "1.png": None,
        "2.png": None,
        "a.png": "outside_folder",
        "linked": "outside_folder",
        "same.png": None,
    }
    assert [path.name for path in list_photographs([images])] == ["1.png", "2.png", "same.png"]
    (tmp_path / "link").symlink_to(images)
    assert {entry.path.name for entry in list_entries([tmp_path / "link"])} == set(listed)


def test_a_folder_that_cannot_be_read_is_told(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refuse(path: Path | int) -> object:
        # Folders that are removed are listed by a number.
        if not isinstance(path, int) and Path(path).name == "shut":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    for kind in ("bags", "shoes", "shut"):
        draw(tmp_path / "tree" / kind / "1.png")
    monkeypatch.setattr(os, "scandir", refuse)
    assert tell(classifier, tmp_path / "tree") == {"1.png": "answer", "shut": "unreadable_folder"}
    prepare(tmp_path / "tree", tmp_path / "w", CONFIG)
    assert read_rejected(tmp_path / "w") == {"shut": "unreadable_folder"}


def test_names_that_are_no_utf8_are_written_in_one_way(
    classifier: Classifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / os.fsdecode(b"cat\xff")
    for kind in ("bags", os.fsdecode(b"sho\xfces")):
        draw(folder / kind / NO_UTF8, 20)
    draw(folder / "bags" / r"a\xff.png", 30)
    (folder / "bags" / os.fsdecode(b"bad\xfe.png")).write_bytes(b"bad")
    prepare(folder, tmp_path / "w", CONFIG)
    items = read_items(Workspace.at(tmp_path / "w"))
    assert set(items.columns["image_path"]) == {r"bags/a\xff.png", r"bags/na\xefve.png", r"sho\xfces/na\xefve.png"}
    assert set(items.columns["category"]) == {"bags", r"sho\xfces"}
    assert read_rejected(tmp_path / "w") == {r"bags/bad\xfe.png": "not_an_image"}
    for item_id, path in zip(items.ids, items.columns["image_path"], strict=True):
        found = folder / os.fsdecode(path.replace(r"\xef", "\udcef").replace(r"\xfc", "\udcfc"))
        assert items.read_photograph(item_id, original=True)[0] == found.read_bytes()

    names = {r"a\xff.png", r"bad\xfe.png", r"na\xefve.png"}
    assert set(tell(classifier, folder)) == names
    for suffix, read in ((".csv", pl.read_csv), (".jsonl", pl.read_ndjson), (".parquet", pl.read_parquet)):
        write_predictions(tmp_path / f"out{suffix}", [folder], classifier)
        files = read(tmp_path / f"out{suffix}")["file"].to_list()
        assert {Path(file).name for file in files} == names
        assert all(r"cat\xff" in file for file in files)
    for form in ("csv", "table"):
        print_predictions([folder], classifier, form=form)
        told = capsys.readouterr().out
        assert r"na\xefve.png" in told


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("-w", "w\udcff", "workspace's path"),
        ("--label-name", "\udcff", "not UTF-8"),
        ("--levels", "a,\udcff", "not UTF-8"),
    ],
)
def test_an_argument_that_is_no_utf8_is_an_error(
    flag: str, value: str, message: str, catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["-w", str(tmp_path / "w")] if flag != "-w" else []
    assert run("prepare", str(catalog), *place, flag, str(tmp_path / value) if flag == "-w" else value) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("w*"))


def test_a_terminal_that_lacks_letters_ends_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stderr", terminal)
    assert run("prepare", str(tmp_path / "シャツ")) == 2
    terminal.flush()
    assert rb"\u30b7\u30e3\u30c4" in terminal.buffer.getvalue()


def test_a_table_whose_name_is_no_utf8_is_read_and_corrected(tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    draw(folder / "images" / "1.png")
    (folder / os.fsdecode(b"st\xffyles.csv")).write_text("id,kind\n1,bag\n")
    prepare(folder, tmp_path / "w", CONFIG, overrides={"levels": "kind", "image": "images/{id}.png"})
    prepared = read_prepared(Workspace.at(tmp_path / "w"))
    manifest = read_json(tmp_path / "w" / "prepared" / "manifest.json")
    original = read_source_table(manifest, prepared.schema, None)
    assert ([*original.data], original.rows) == ([r"st\xffyles.csv"], {"1": 0})


def test_a_row_may_name_a_photograph_by_its_escapes(tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    draw(folder / NO_UTF8)
    (folder / "t.csv").write_text('id,kind,file\n1,bag,na\\xefve.png\n2,bag,"na\\xeeve.png"\n')
    prepare(folder, tmp_path / "w", CONFIG, overrides={"levels": "kind", "image_column": "file"})
    assert read_rejected(tmp_path / "w") == {r"na\xeeve.png": "missing_photograph"}


@pytest.mark.parametrize("name", ["plain.png", "a\\xff.png", "\udcff\udc80", "ü\udcff", "\ud800"])
def test_escaped_names_can_be_written_and_found_again(name: str, tmp_path: Path) -> None:
    escaped = escape_name(name)
    escaped.encode()
    assert escape_name(escaped) == escaped
    if name != "\ud800":
        (tmp_path / name).touch()
        assert find_named(str(tmp_path / escaped)) == str(tmp_path / name)


@pytest.mark.parametrize("length", [100, 180, 181, 240, 251])
@pytest.mark.parametrize("letter", ["a", "ü", "\udcff"])
def test_a_photograph_with_a_long_name_is_explained(letter: str, length: int, tmp_path: Path) -> None:
    stem = letter * (length // (2 if letter == "ü" else 1))
    path = tmp_path / f"{stem}.png"
    draw(path)
    looked = np.ones((5, 4), np.float32)
    answer = Prediction("bag", 0.9, True, True, {}, {}, (("bag", 0.9),), looked)
    folder = tmp_path / "explained"
    for _ in range(2):
        ((file, outcome),) = write_explained([(str(path), answer)], folder)
        assert (file, outcome) == (str(path), answer)
    names = sorted(each.name for each in folder.iterdir())
    assert len(names) == 2
    assert all(len(os.fsencode(name)) <= 200 for name in names)
    # Two long names that begin alike have two pictures that are told apart by name.
    other = tmp_path / "other" / f"{stem[:-1]}b.png"
    draw(other)
    list(write_explained([(str(other), answer)], folder))
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("kind", ["dangling", "fifo", "binary", "folder"])
def test_a_photograph_that_changes_before_it_is_explained_is_told(kind: str, catalog: Path, tmp_path: Path) -> None:
    path = catalog / "images" / "1.png"
    answer = Prediction("bag", 0.9, True, True, {}, {}, (("bag", 0.9),), np.ones((5, 4), np.float32))
    put(kind, path)
    ((_, outcome),) = write_explained([(str(path), answer)], tmp_path / "explained")
    assert isinstance(outcome, Failure)
    assert not (tmp_path / "explained").exists()


@pytest.mark.parametrize("size", [(600, 1), (1, 600), (5000, 2), (1, 1), (3, 4000)])
def test_the_thinnest_pictures_are_prepared_and_classified(
    size: tuple[int, int], catalog: Path, classifier: Classifier, tmp_path: Path
) -> None:
    Image.new("RGB", size, (9, 90, 200)).save(catalog / "images" / "2.png")
    assert prepare(catalog, tmp_path / "w", CONFIG).metrics["items"] == 2
    images = read_prepared(Workspace.at(tmp_path / "w")).images
    assert (images[1] == (9, 90, 200)).all()
    assert tell(classifier, catalog / "images") == {"1.png": "answer", "2.png": "answer"}


def test_a_file_is_read_up_to_a_limit_even_where_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(FileError, match="5 bytes, 4 are allowed"):
        read_regular(path, 4)
    # The system makes these up as they are read, and states no size.
    assert read_regular("/proc/self/status", 10**6).startswith(b"Name:")
    with pytest.raises(FileError, match="are allowed"):
        read_regular("/proc/self/status", 10)


@pytest.mark.parametrize("place", ["ws", "deep/ws", ""])
def test_a_workspace_is_no_part_of_the_catalogue_that_it_lies_in(place: str, catalog: Path, tmp_path: Path) -> None:
    workspace = catalog / place
    assert prepare(catalog, workspace, CONFIG).metrics["items"] == 2
    draw(workspace / "exploration" / "sheet.png")
    (workspace / "review" / "corrected").mkdir(parents=True)
    (workspace / "review" / "corrected" / "styles.csv").write_text("id,kind\n")
    (workspace / "report.html").write_text("x")
    assert prepare(catalog, workspace, CONFIG).skipped
    # Another workspace finds the same catalogue.
    prepare(catalog, tmp_path / "other", CONFIG)
    inputs = [read_json(each / "prepared" / "manifest.json")["inputs"] for each in (workspace, tmp_path / "other")]
    assert inputs[0] == inputs[1]


def test_a_workspace_in_a_tree_gives_no_photographs(tmp_path: Path) -> None:
    for kind in ("bags", "shoes"):
        draw(tmp_path / "tree" / kind / "1.png")
    workspace = tmp_path / "tree" / "ws"
    # What a first call leaves that was stopped.
    draw(workspace / "exploration" / "sheet.png")
    assert prepare(tmp_path / "tree", workspace, CONFIG).metrics["items"] == 2
    assert prepare(tmp_path / "tree", workspace, CONFIG).skipped


def test_a_replaced_archive_keeps_no_old_pixels(tmp_path: Path) -> None:
    path = tmp_path / "c.zip"
    for shade in (10, 200):
        draw(tmp_path / "1.png", shade)
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(tmp_path / "1.png", "bags/1.png")
            archive.write(tmp_path / "1.png", "shoes/2.png")
        prepare(path, tmp_path / "w", CONFIG)
        assert (read_prepared(Workspace.at(tmp_path / "w")).images == shade).all()
    assert list(image_files._sources)[-1:] == [path]


def test_an_archive_that_is_replaced_while_it_is_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.zip"

    def write(shade: int) -> None:
        draw(tmp_path / "1.png", shade)
        with zipfile.ZipFile(path.with_suffix(".new"), "w") as archive:
            archive.write(tmp_path / "1.png", "bags/1.png")
        path.with_suffix(".new").replace(path)

    write(10)
    whole = image_files.pack_photographs

    def replace_first(*arguments: object) -> object:
        write(200)
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("hangtag.stages.prepare.pack_photographs", replace_first)
    with pytest.raises(CatalogError, match="changed while"):
        prepare(path, tmp_path / "w", CONFIG)


def test_a_deep_tree_is_an_error_or_read(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    deep = folder.joinpath(*["d"] * 300)
    deep.mkdir(parents=True)
    draw(deep / "1.png")
    # One folder holds all: those above it are passed over.
    assert prepare(folder, tmp_path / "w", CONFIG).metrics["items"] == 1
    draw(folder.joinpath("e", *["d"] * 299) / "1.png")
    with pytest.raises(CatalogError, match="nested too deeply"):
        prepare(folder, tmp_path / "w", CONFIG)


def test_random_bytes_are_no_table(catalog: Path, tmp_path: Path) -> None:
    source = random.Random(7)
    alphabet = b'",;\t|\n\r\0\xff\xfea1' + bytes(source.randrange(256) for _ in range(8))
    for number in range(200):
        content = bytes(source.choice(alphabet) for _ in range(source.randrange(1, 3000)))
        (catalog / "styles.csv").write_bytes(content)
        with pytest.raises(HangtagError):
            prepare(catalog, tmp_path / str(number), CONFIG)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    return int(stopped.value.code or 0)
