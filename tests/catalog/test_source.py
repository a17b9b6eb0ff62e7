"""Files are found however their names are written, and the exact name always wins."""

import struct
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import pytest

from hangtag.catalog.files import FileError
from hangtag.catalog.name_index import NameIndex
from hangtag.catalog.source import FolderSource, Source, ZipSource, open_source
from hangtag.errors import CatalogError

COMPOSED = unicodedata.normalize("NFC", "Schürze é.jpg")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


def make_folder(path: Path, *names: str) -> Source:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(name.encode(errors="surrogateescape"))
    return open_source(path)


def make_archive(path: Path, *names: str) -> Source:
    with zipfile.ZipFile(path / "c.zip", "w") as archive:
        for name in names:
            archive.writestr(name, name.encode())
    return open_source(path / "c.zip")


MAKERS = {"folder": make_folder, "archive": make_archive}


def find(source: Source, name: str) -> str | None:
    """Return the name of the file that is read for a name; None where there is none."""
    if source.has(name):
        assert source.packed_size(name) > 0
        return source.read(name, 1000).decode(errors="surrogateescape")
    assert source.packed_size(name) == 0
    with pytest.raises(FileError) as caught:
        source.read(name, 1000)
    assert caught.value.code == "missing_file"
    return None


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ("images/A1.JPG", "images/A1.jpg"),
        ("Images/a1.jpg", "images/A1.JPG"),
        ("images/a1.jpg", "images\\a1.jpg"),
        ("images/a1.jpg", ".\\Images\\A1.jpg"),
        ("images/a1.jpg", " images/a1.jpg\t"),
        ("images/a1.jpg", "images/a1 .jpg"),
        ("images /a1.jpg", "images/a1.jpg"),
        ("images/a1.jpg", "images/./x/../a1.jpg"),
        (COMPOSED, DECOMPOSED),
        (DECOMPOSED, COMPOSED),
        (DECOMPOSED, COMPOSED.upper()),
        ("İ.jpg", "i̇.jpg"),
    ],
)
def test_the_only_file_that_a_name_can_stand_for_is_found(kind: str, there: str, asked: str, tmp_path: Path) -> None:
    assert find(MAKERS[kind](tmp_path, there, "images/other.jpg"), asked) == there


@pytest.mark.parametrize("kind", MAKERS)
def test_the_exact_name_wins_and_a_name_of_two_files_is_none(kind: str, tmp_path: Path) -> None:
    source = MAKERS[kind](
        tmp_path, "a.jpg", "a.JPG", "b.JPG", "B.jpg", "x\\y.jpg", "x/y.jpg", DECOMPOSED, "SCHÜRZE É.JPG"
    )
    for name in ("a.jpg", "a.JPG", "b.JPG", "B.jpg", "x/y.jpg"):
        assert find(source, name) == name
    assert find(source, "A.jpg") is None
    assert find(source, "b.jpg") is None
    # Of two that differ in case, the one that is written alike but for its accents.
    assert find(source, COMPOSED) == DECOMPOSED


@pytest.mark.parametrize("kind", MAKERS)
def test_nothing_else_is_guessed(kind: str, tmp_path: Path) -> None:
    source = MAKERS[kind](tmp_path, "images/a1.jpg", "images/strasse.jpg")
    for name in (
        "images/a1.jpeg",
        "a1.jpg",
        "images/a2.jpg",
        "images/straße.jpg",
        "images/a 1.jpg",
        "..\\images\\a1.jpg",
    ):
        assert find(source, name) is None


def test_a_link_out_of_the_folder_stays_outside_by_any_name(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").touch()
    source = make_folder(tmp_path / "c", "images/1.jpg")
    (tmp_path / "c" / "images" / "2.jpg").symlink_to(tmp_path / "secret.jpg")
    for name in ("images/2.JPG", "images\\2.jpg", "../secret.jpg"):
        with pytest.raises(FileError) as caught:
            source.read(name, 100)
        assert caught.value.code == "outside_catalog"
    assert find(source, "..\\secret.jpg") is None


def test_the_index_is_not_made_for_exact_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    init = NameIndex.__init__

    def count(index: NameIndex, names: Iterable[str]) -> None:
        made.append(1)
        init(index, names)

    monkeypatch.setattr(NameIndex, "__init__", count)
    for kind, make in MAKERS.items():
        (tmp_path / kind).mkdir()
        source = make(tmp_path / kind, "images/a1.jpg")
        assert find(source, "images/a1.jpg")
        assert not made
        assert [find(source, "images/A1.jpg"), find(source, "images/a2.jpg")] == ["images/a1.jpg", None]
        assert made == [1]
        made.clear()


def test_escaped_names_are_found_as_before(tmp_path: Path) -> None:
    source = make_folder(tmp_path, "na\udcefve.png")
    assert list(source.names()) == [r"na\xefve.png"]
    assert find(source, r"na\xefve.png") == "na\udcefve.png"
    assert find(source, r"NA\xefve.PNG") == "na\udcefve.png"


class BytesInfo(zipfile.ZipInfo):
    """An entry whose name is written as it is, without the flag that it is UTF-8."""

    raw: bytes

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802  (the library's)
        return self.raw, 0


def make_raw_archive(path: Path, *names: bytes) -> Source:
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            info = BytesInfo(str(number))
            info.raw = name
            archive.writestr(info, b"content")
    return ZipSource(path)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (DECOMPOSED.encode(), DECOMPOSED),
        ("シャツ/1.jpg".encode(), "シャツ/1.jpg"),
        ("Käse.jpg".encode("cp437"), "Käse.jpg"),
        ("Gürtel/È.jpg".encode("cp850"), "Gürtel/È.jpg"),
        ("Café.jpg".encode("cp1252"), "Café.jpg"),
        ("Обувь/Ботинки 1.jpg".encode("cp866"), "Обувь/Ботинки 1.jpg"),
        ("Обувь/1.jpg".encode("cp1251"), "Обувь/1.jpg"),
        ("鞋子/短袖T恤.jpg".encode("gb2312"), "鞋子/短袖T恤.jpg"),
        ("シャツ/赤.jpg".encode("cp932"), "シャツ/赤.jpg"),
        (b"bags\\red\\1.jpg", "bags/red/1.jpg"),
        (b"plain.jpg", "plain.jpg"),
    ],
)
def test_names_in_an_archive_without_the_flag(raw: bytes, name: str, tmp_path: Path) -> None:
    source = make_raw_archive(tmp_path / "c.zip", raw, b"folder\\", b"__MACOSX\\._1.jpg")
    assert list(source.names()) == [name]
    assert source.read(name, 100) == b"content"
    assert source.read(unicodedata.normalize("NFC", name), 100) == b"content"


def test_a_name_whose_encoding_is_not_clear_is_found_by_what_a_table_calls_it(tmp_path: Path) -> None:
    names = ["가방/1.jpg", "모자/2.jpg"]
    source = make_raw_archive(tmp_path / "c.zip", *(name.encode("cp949") for name in names))
    assert "encoding is not clear" in source.notes[0]
    assert not set(names) & set(source.names())
    for name in names:
        assert source.read(name, 100) == b"content"
    assert find(source, "가방/2.jpg") is None


def test_an_encoding_that_was_found_is_said(tmp_path: Path) -> None:
    source = make_raw_archive(tmp_path / "c.zip", "Обувь/1.jpg".encode("cp866"), b"plain.jpg")
    assert source.notes == ["1 names in the archive are not UTF-8, and read as cp866: Обувь/1.jpg"]
    assert make_archive(tmp_path, "Обувь/1.jpg").notes == []


def test_a_name_in_the_extra_field_counts(tmp_path: Path) -> None:
    raw, name = b"?????/1.jpg", "가방/1.jpg".encode()
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        for number, checksum in enumerate((zlib.crc32(raw), 7)):
            info = BytesInfo(str(number))
            info.raw = raw[number:]
            info.extra = struct.pack("<HHBI", 0x7075, 5 + len(name), 1, checksum) + name
            archive.writestr(info, b"content")
    assert sorted(ZipSource(tmp_path / "c.zip").names()) == ["????/1.jpg", "가방/1.jpg"]


def test_of_two_different_files_of_one_name_none_is_read(tmp_path: Path) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        warnings.simplefilter("ignore")
        for name, content in (("a.jpg", b"1"), ("a.jpg", b"2"), ("b.jpg", b"3"), ("b.jpg", b"3"), ("./a.jpg", b"4")):
            archive.writestr(name, content)
    source = ZipSource(tmp_path / "c.zip")
    assert list(source.names()) == ["a.jpg", "b.jpg"]
    assert source.read("b.jpg", 10) == b"3"
    with pytest.raises(FileError, match="different files of this name"):
        source.read("A.jpg", 10)


def make_zip(*names: str) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("c.rar", b"Rar!\x1a\x07\x01\x00" + bytes(9), r"is a \.rar archive.*Unpack it"),
        ("c.7z", b"7z\xbc\xaf\x27\x1c" + bytes(9), r"is a \.7z archive.*Unpack it"),
        ("c.tar.gz", b"\x1f\x8b\x08" + bytes(9), "compressed by gzip.*Unpack it"),
        ("c.tar", bytes(257) + b"ustar" + bytes(300), r"is a \.tar archive.*Unpack it"),
        ("c.pdf", b"%PDF-1.7", "is a PDF document"),
        ("c.docx", make_zip("[Content_Types].xml", "word/document.xml"), r"is a Word document.*as \.csv or \.xlsx"),
        ("c.numbers", make_zip("Index/Document.iwa"), r"document of Numbers or Pages.*Export it"),
        ("c.zip", make_zip("xl/workbook.xml"), r"Excel workbook.*the ending \.xlsx"),
        ("c.gsheet", b'{"url": "https://docs.google.com/x"}', r"is text.*the ending \.csv"),
        ("c.dat", b"id;kind\n1;Bags\n", r"is text.*the ending \.csv"),
        ("c.zip", make_zip("a.jpg")[:40], "part of a .zip, or an incomplete one"),
        ("c.jpg", b"\xff\xd8\xff\xe0", "is a JPEG picture"),
        ("c.bin", b"\0\1\2", "of an unknown kind"),
        ("c.zip", b"", "is empty"),
    ],
)
def test_what_is_no_catalogue_is_named_by_its_first_bytes(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CatalogError, match=rf"^{name}.*{message}") as caught:
        open_source(tmp_path / name)
    assert "Allowed: a folder, a .zip, or a table: .csv" in str(caught.value)


def test_an_entry_with_a_drive_or_that_leads_out_is_never_found(tmp_path: Path) -> None:
    source = make_raw_archive(tmp_path / "c.zip", b"C:\\a.jpg", b"..\\b.jpg", b"\\c.jpg")
    for name in ("C:/a.jpg", "a.jpg", "b.jpg", "..\\B.jpg", "c.jpg", "\\C.jpg"):
        assert find(source, name) is None


def test_a_folder_that_is_no_catalogue_is_an_error(tmp_path: Path) -> None:
    assert isinstance(open_source(tmp_path), FolderSource)
    with pytest.raises(CatalogError):
        open_source(tmp_path / "nowhere")
