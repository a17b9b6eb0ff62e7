"""Read the parts of an .xlsx workbook: which sheets it has, where their XML lies, and what belongs to them."""

import re
import zlib
from copy import copy
from dataclasses import dataclass
from io import BytesIO
from posixpath import dirname, join, normpath
from xml.etree import ElementTree as ET
from zipfile import BadZipFile, ZipFile, ZipInfo

# Of the XML in a workbook a byte becomes ten to thirty; a small file must not fill the memory.
MAX_UNPACKED_RATIO, ANY_UNPACKED_BYTES, MAX_UNPACKED_BYTES = 100, 64_000_000, 4_000_000_000
STEP = 1 << 20
READ_PARTS = (".xml", ".rels", ".bin")
# Numbers from 163 up are the workbook's own formats.
LEADING_ZEROS = re.compile("0{2,}")


class WorkbookError(Exception):
    """A workbook is damaged, or larger than allowed; the message is a clause for people."""


@dataclass(frozen=True)
class SheetPart:
    """A sheet of a workbook: its name, and the path of its XML in the archive."""

    name: str
    path: str


def open_archive(data: bytes) -> ZipFile:
    """Open a workbook's archive, and check that its parts are whole and not too large, as stated and in fact.

    Raises:
        WorkbookError: It is damaged, encrypted or too large.
    """
    try:
        archive = ZipFile(BytesIO(data))
        infos = archive.infolist()
        allowed = min(MAX_UNPACKED_BYTES, max(ANY_UNPACKED_BYTES, MAX_UNPACKED_RATIO * len(data)))
        if len({info.filename for info in infos}) != len(infos):
            raise WorkbookError("two of its parts have one name")
        if (stated := sum(info.file_size for info in infos)) > allowed:
            raise WorkbookError(f"unpacked it has {stated:,} bytes, {allowed:,} are allowed")
        for info in infos:
            if info.filename.lower().endswith(READ_PARTS):
                _check_part(archive, info)
    except WorkbookError:
        raise
    except Exception as error:
        # Damaged archives make `zipfile` raise many kinds, as in `ZipSource`.
        raise WorkbookError(f"it is damaged ({error or type(error).__name__})") from error
    return archive


def _check_part(archive: ZipFile, info: ZipInfo) -> None:
    """Unpack a part up to a byte more than its stated size: what reads it later may read on."""
    endless = copy(info)
    endless.file_size += 1
    # The sum is that of the stated size.
    del endless.CRC
    size, checksum = 0, 0
    with archive.open(endless) as file:
        while piece := file.read(STEP):
            size, checksum = size + len(piece), zlib.crc32(piece, checksum)
    if (size, checksum) != (info.file_size, info.CRC):
        raise BadZipFile(f"{info.filename} is not what the archive states")


def find_sheets(archive: ZipFile) -> list[SheetPart]:
    """Return a workbook's sheets in their order.

    Raises:
        WorkbookError: The parts that list them are damaged or missing.
    """
    workbook = _find_workbook(archive)
    targets = read_relations(archive, workbook)
    sheets = []
    for element in _iter_local(_parse(archive, workbook), "sheet"):
        relation = next((value for key, value in element.attrib.items() if key.endswith("}id")), "")
        if relation in targets:
            sheets.append(SheetPart(element.get("name", ""), targets[relation][1]))
    return sheets


def find_part(archive: ZipFile, name: str) -> SheetPart:
    """Return the part of a sheet.

    Raises:
        WorkbookError: It is missing.
    """
    for part in find_sheets(archive):
        if part.name == name and part.path in archive.namelist():
            return part
    raise WorkbookError(f"the part of sheet {name!r} is missing")


def _find_workbook(archive: ZipFile) -> str:
    found = [target for kind, target in read_relations(archive, "").values() if kind == "officeDocument"]
    return found[0] if found else "xl/workbook.xml"


def read_relations(archive: ZipFile, part: str) -> dict[str, tuple[str, str]]:
    """Return the parts that a part refers to, as (kind, path) by their ids; of the archive itself for an empty path."""
    folder, name = dirname(part), part.rpartition("/")[2]
    path = join(folder, "_rels", f"{name}.rels")
    if path not in archive.namelist():
        return {}
    return {
        each.get("Id", ""): (
            each.get("Type", "").rpartition("/")[2],
            normpath(join("/", folder, each.get("Target", ""))).lstrip("/"),
        )
        for each in _parse(archive, path)
        if each.get("TargetMode") != "External"
    }


def count_pictures(archive: ZipFile, sheet: SheetPart) -> int:
    """Return how many pictures lie on a sheet."""
    drawings = [path for kind, path in read_relations(archive, sheet.path).values() if kind == "drawing"]
    names = set(archive.namelist())
    return sum(len(_iter_local(_parse(archive, path), "pic")) for path in drawings if path in names)


def find_padded_styles(archive: ZipFile) -> set[str]:
    """Return the numbers of the cell styles that show leading zeros, such as the format `00000`."""
    targets = read_relations(archive, _find_workbook(archive)).values()
    path = next((path for kind, path in targets if kind == "styles" and path in archive.namelist()), None)
    if path is None:
        return set()
    root = _parse(archive, path)
    formats = {each.get("numFmtId"): each.get("formatCode", "") for each in _iter_local(root, "numFmt")}
    padded = {number for number, code in formats.items() if LEADING_ZEROS.fullmatch(code)}
    tables = _iter_local(root, "cellXfs")
    return {str(index) for index, style in enumerate(tables[0] if tables else ()) if style.get("numFmtId") in padded}


def _parse(archive: ZipFile, path: str) -> ET.Element:
    try:
        content = archive.read(path)
        if b"<!DOCTYPE" in content:
            raise WorkbookError(f"its part {path} has a document type, which workbooks have not")
        return ET.fromstring(content)
    except (KeyError, ET.ParseError, BadZipFile, zlib.error, LookupError, ValueError) as error:
        raise WorkbookError(f"its part {path} is missing or damaged") from error


def _iter_local(root: ET.Element, name: str) -> list[ET.Element]:
    """Return the elements of this name in any namespace: there are two, "transitional" and "strict"."""
    return [each for each in root.iter() if isinstance(each.tag, str) and each.tag.rpartition("}")[2] == name]
