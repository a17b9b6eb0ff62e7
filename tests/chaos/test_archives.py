"""Damaged, encrypted and lying archives give a code or an error, in bounded memory."""

import io
import json
import lzma
import random
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from hangtag.catalog.files import FileError
from hangtag.catalog.reader import read_catalog
from hangtag.catalog.source import open_source
from hangtag.catalog.table_search import ANY_RATIO_BYTES
from hangtag.config import PrepareConfig
from hangtag.errors import CatalogError, HangtagError
from hangtag.manifest import read_manifest
from hangtag.reviewing.items import read_items, read_source_table
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

CONFIG = PrepareConfig(image_size=(8, 8), workers=1)
DESCRIPTION = 'table = "styles.csv"\nlevels = ["kind"]\nimage = "images/{id}.png"\n'
LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"
# Where a field stands in an entry of the directory, and before the data itself; and how it is packed.
FIELDS = {
    "flags": (8, 6, "<H"),
    "method": (10, 8, "<H"),
    "crc": (16, 14, "<I"),
    "packed": (20, 18, "<I"),
    "size": (24, 22, "<I"),
    "offset": (42, None, "<I"),
}
METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2}
METHODS["lzma"] = zipfile.ZIP_LZMA
RARE = ("bzip2", "lzma")
CODES = {"read", "error", "unreadable_file", "outside_catalog", "too_many_bytes"}
ROLES = {"photograph": "images/2.png", "table": "styles.csv", "description": "catalog.toml"}


def encode(shade: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(data, "PNG")
    return data.getvalue()


def make_archive(method: int = zipfile.ZIP_DEFLATED, **contents: bytes) -> bytearray:
    """Build a catalogue of two items; `contents` stand in the place of what a role has."""
    files = {f"images/{number}.png": encode(number * 50) for number in (1, 2)}
    files |= {"styles.csv": b"id,kind\n1,bag\n2,shoe\n", "catalog.toml": DESCRIPTION.encode()}
    files |= {ROLES[role]: content for role, content in contents.items()}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return bytearray(data.getvalue())


def patch(data: bytearray, name: str, **values: int) -> None:
    """Change fields of one entry, in the directory and before its data."""
    for start, length, column in ((CENTRAL, 46, 0), (LOCAL, 30, 1)):
        place = data.find(start)
        while data[place + length : place + length + len(name)] != name.encode():
            place = data.index(start, place + 1)
        for field, value in values.items():
            at, kind = FIELDS[field][column], FIELDS[field][2]
            if at is not None:
                struct.pack_into(str(kind), data, place + int(at), value)


def find_data(data: bytearray, name: str) -> int:
    """Return where an entry's data begins."""
    place = data.index(name.encode())
    return place + len(name)


def flip_data(data: bytearray, name: str) -> None:
    place = find_data(data, name)
    for offset in range(4, 9):
        data[place + offset] ^= 0xFF


DAMAGES: dict[str, Callable[[bytearray, str], object]] = {
    "encrypted": lambda data, name: patch(data, name, flags=1),
    "strongly encrypted": lambda data, name: patch(data, name, flags=0x41),
    "patched": lambda data, name: patch(data, name, flags=0x20),
    "wrong sum": lambda data, name: patch(data, name, crc=12345),
    "unknown method": lambda data, name: patch(data, name, method=99),
    "another method": lambda data, name: patch(data, name, method=zipfile.ZIP_LZMA),
    "bzip2 method": lambda data, name: patch(data, name, method=zipfile.ZIP_BZIP2),
    "wrong offset": lambda data, name: patch(data, name, offset=7),
    "far offset": lambda data, name: patch(data, name, offset=2**31),
    "last offset": lambda data, name: patch(data, name, offset=2**32 - 2),
    "smaller": lambda data, name: patch(data, name, size=5),
    "larger": lambda data, name: patch(data, name, size=10_000),
    "packed smaller": lambda data, name: patch(data, name, packed=3),
    "packed larger": lambda data, name: patch(data, name, packed=2**31),
    "damaged": flip_data,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("method", [*METHODS][:2] + [pytest.param(name, marks=pytest.mark.chaos) for name in RARE])
def test_a_damaged_entry_is_a_code_or_an_error(method: str, role: str, damage: str, tmp_path: Path) -> None:
    data = make_archive(METHODS[method])
    original = bytes(data)
    DAMAGES[damage](data, ROLES[role])
    path, place = tmp_path / "c.zip", tmp_path / "w"
    path.write_bytes(data)
    if (method, damage) in {("lzma", "another method"), ("bzip2", "bzip2 method")}:
        assert prepare(path, place, CONFIG).metrics["items"] == 2
    elif damage == "packed larger":
        # The data says itself where it ends; newer Pythons refuse entries that overlap.
        with suppress(CatalogError):
            assert prepare(path, place, CONFIG).metrics["rows"] == 2
    elif role == "photograph":
        assert prepare(path, place, CONFIG).metrics["rejected"] == 1
        table = pl.read_csv(place / "prepared" / "rejected.csv", infer_schema=False)
        assert table.select("item_id", "code").rows() == [("2", "unreadable_file")]
    else:
        with pytest.raises(CatalogError):
            prepare(path, place, CONFIG)
    # Damaged after it was prepared: what a review shows, and `apply` reads.
    path.write_bytes(original)
    prepare(path, place, CONFIG)
    path.write_bytes(data)
    items = read_items(Workspace.at(place))
    assert items.read_photograph("2", original=True)[1] == "image/png"
    try:
        read_source_table(read_manifest(place / "prepared") or {}, items.schema, None)
    except CatalogError:
        assert role == "table"


def test_the_reason_says_what_is_wrong(tmp_path: Path) -> None:
    reasons = {
        "encrypted": "it is encrypted",
        "unknown method": "compressed or encrypted in a way that cannot be read",
        "wrong sum": "damaged",
        "larger": "damaged|states 10000 bytes",
    }
    for damage, reason in reasons.items():
        data = make_archive()
        DAMAGES[damage](data, "styles.csv")
        (tmp_path / "c.zip").write_bytes(data)
        with pytest.raises(CatalogError, match=reason):
            read_catalog(tmp_path / "c.zip")


@pytest.mark.parametrize(
    "name", ["/styles.csv", "../styles.csv", "a/../../styles.csv", "C:\\styles.csv", "\udcff.csv", "a\0b.csv"]
)
def test_an_entry_that_leads_out_is_an_error(name: str, tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        info = zipfile.ZipInfo("x" * len(name.encode(errors="surrogateescape")))
        archive.writestr(info, b"id,kind\n1,bag\n")
    renamed = data.getvalue().replace(info.filename.encode(), name.encode(errors="surrogateescape"))
    # The flag that a name is UTF-8, which `\xff` is not.
    flagged = bytearray(renamed)
    struct.pack_into("<H", flagged, flagged.index(CENTRAL) + 8, 0x800)
    for each in (renamed, bytes(flagged)):
        (tmp_path / "c.zip").write_bytes(each)
        with pytest.raises(CatalogError):
            prepare(tmp_path / "c.zip", tmp_path / "w", CONFIG)


@pytest.mark.parametrize("prefix", ["./", "a//", "a/./"])
def test_an_entry_is_found_however_its_path_is_written(prefix: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        for name, content in (("styles.csv", b"id,kind\n1,bag\n"), ("images/1.png", encode(9))):
            archive.writestr(prefix + name, content)
        archive.writestr(f"{prefix}catalog.toml", DESCRIPTION)
    assert prepare(tmp_path / "c.zip", tmp_path / "w", CONFIG).metrics["items"] == 1


def attack(data: bytes, path: Path) -> str:
    """Read an archive as every command does; returns how it went, and lets every other exception through."""
    path.write_bytes(data)
    try:
        source = open_source(path)
        outcome = "read"
        for name in source.names():
            try:
                source.read(name, CONFIG.max_bytes)
            except FileError as error:
                outcome = error.code
        source.fingerprint()
        read_catalog(path)
    except CatalogError:
        return "error"
    return outcome


def damage_bytes(data: bytes, source: random.Random) -> bytes:
    """Cut, change, repeat or take out some bytes, most often where the directory is."""
    changed = bytearray(data)
    directory = data.index(CENTRAL)
    way = source.randrange(5)
    for _ in range(source.choice((1, 1, 2, 8))):
        place = source.randrange(directory if source.random() < 0.6 else 0, len(data))
        if way == 0:
            return bytes(changed[: max(place, 1)])
        if way == 1:
            del changed[place : place + source.randrange(1, 40)]
        elif way == 2:
            changed[place:place] = changed[: source.randrange(1, 80)]
        elif place < len(changed):
            changed[place] = source.choice((0, 0xFF, changed[place] ^ (1 << source.randrange(8))))
    return bytes(changed)


@pytest.mark.parametrize("method", METHODS)
def test_hundreds_of_damaged_archives_are_codes_or_errors(method: str, tmp_path: Path) -> None:
    data, source = bytes(make_archive(METHODS[method])), random.Random(method)
    outcomes = [attack(damage_bytes(data, source), tmp_path / "c.zip") for _ in range(200)]
    assert {"error", "unreadable_file"} <= set(outcomes) <= CODES


@pytest.mark.chaos
@pytest.mark.parametrize("method", METHODS)
def test_thousands_of_damaged_archives_are_prepared_or_errors(method: str, tmp_path: Path) -> None:
    data, source = bytes(make_archive(METHODS[method])), random.Random(f"{method} in full")
    path, prepared = tmp_path / "c.zip", 0
    for number in range(1500):
        damaged = damage_bytes(data, source)
        attack(damaged, path)
        try:
            counts = prepare(path, tmp_path / str(number % 2), CONFIG).metrics
        except HangtagError:
            continue
        prepared += 1
        assert counts["items"] + counts["rejected"] == counts["rows"]
    assert prepared


def make_zeros(method: int, *, table: bytes, times: int) -> bytes:
    """Compress a table of a repeated text without ever having it in memory."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        archive.writestr("catalog.toml", DESCRIPTION)
        archive.writestr("images/1.png", encode(9))
        with archive.open("styles.csv", "w") as file:
            file.write(b"id,kind\n1,bag\n")
            for _ in range(times):
                file.write(table)
    return data.getvalue()


def state_less(data: bytes, size: int) -> bytes:
    """Describe that the table is small."""
    changed = bytearray(data)
    patch(changed, "styles.csv", size=size)
    return bytes(changed)


CHILD = """
import json, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (3 << 29, 3 << 29))
from hangtag.catalog.reader import read_catalog
from hangtag.catalog.source import open_source
from hangtag.catalog.files import FileError
from hangtag.errors import CatalogError
told = {}
for path in map(Path, sys.argv[1:]):
    try:
        told[path.name] = len(read_catalog(path).rows)
    except CatalogError as error:
        told[path.name] = str(error)
    try:
        open_source(path).read("styles.csv", 30_000_000)
    except FileError as error:
        assert error.code in ("too_many_bytes", "unreadable_file")
# Not ru_maxrss, which begins with that of the process that started this one.
told["peak"] = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
print(json.dumps(told))
"""


def read_in_bounds(*paths: Path) -> dict[str, object]:
    """Read catalogues in a process that may take 1.6 GB; returns the rows or the error of each, and its peak in kB."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, paths)], capture_output=True, text=True, timeout=120, check=False
    )
    assert child.returncode == 0, child.stderr[-2000:]
    return dict(json.loads(child.stdout))


def test_a_small_archive_with_a_large_table_takes_little_memory(tmp_path: Path) -> None:
    bombs = {
        "lines.zip": make_zeros(zipfile.ZIP_DEFLATED, table=b"\n" * 1_000_000, times=100),
        "bzip2.zip": make_zeros(zipfile.ZIP_BZIP2, table=b"\n" * 1_000_000, times=100),
        "lzma.zip": make_zeros(zipfile.ZIP_LZMA, table=b"1,k\n" * 250_000, times=50),
    }
    bombs |= {f"less-{name}": state_less(data, 3_000_000) for name, data in bombs.items()}
    packed = len(bombs["lines.zip"])
    assert packed < 110_000
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
    told = read_in_bounds(*(tmp_path / name for name in bombs))
    for name in bombs:
        assert "are allowed" in str(told[name]) or "damaged" in str(told[name]), (name, told[name])
    assert "Unpack the archive" in str(told["lines.zip"])
    assert "100000014 bytes" in str(told["lines.zip"])
    assert int(str(told["peak"])) < 300_000


@pytest.mark.parametrize("method", METHODS)
def test_an_entry_is_unpacked_to_its_stated_size_alone(method: str, tmp_path: Path) -> None:
    data = make_zeros(METHODS[method], table=b"\n" * 1_000_000, times=60)
    (tmp_path / "c.zip").write_bytes(state_less(data, 1000))
    source = open_source(tmp_path / "c.zip")
    tracemalloc.start()
    with pytest.raises(FileError, match=r"damaged|states"):
        source.read("styles.csv", 10**9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # One step of LZMA is 4 kB, which can be 28 MB.
    assert peak < (70 if method == "lzma" else 10) * 10**6


@pytest.mark.parametrize(
    "line",
    [b"\n", b",", *(pytest.param(line, marks=pytest.mark.chaos) for line in (b"a,\n", b'"\n', b"a\n"))],
)
def test_the_worst_table_that_a_small_archive_may_hold_is_read_in_bounds(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "c.zip"
    times = (ANY_RATIO_BYTES - 100) // len(line) // 1000
    path.write_bytes(make_zeros(zipfile.ZIP_DEFLATED, table=line * 1000, times=times))
    told = read_in_bounds(path)
    assert isinstance(told["c.zip"], int)
    assert int(str(told["peak"])) < 1_000_000


def test_a_table_that_is_well_compressed_is_read(tmp_path: Path) -> None:
    name = "a shirt of cotton with stripes, " * 4
    rows = "".join(f'{number},"{name}{number * 7919 % 100003}"\n' for number in range(30_000))
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("styles.csv", f"id,kind\n{rows}")
        archive.writestr("catalog.toml", DESCRIPTION)
    assert len(f"id,kind\n{rows}") > ANY_RATIO_BYTES
    assert len(read_catalog(tmp_path / "c.zip").rows) == 30_000


def test_an_archive_may_not_state_more_compressed_bytes_than_it_has(tmp_path: Path) -> None:
    data = bytearray(make_zeros(zipfile.ZIP_DEFLATED, table=b"\n" * 1_000_000, times=10))
    patch(data, "styles.csv", packed=2**31)
    (tmp_path / "c.zip").write_bytes(data)
    with pytest.raises(CatalogError, match="are allowed"):
        read_catalog(tmp_path / "c.zip")


def test_headers_of_the_hardest_kinds_are_errors(tmp_path: Path) -> None:
    archives = {
        "comment": b"PK\5\6" + b"\xff" * 18,
        "zip64": b"PK\6\6" + b"\xff" * 52 + b"PK\6\7" + b"\0" * 16 + b"PK\5\6" + b"\xff" * 18,
        "lzma": lzma.compress(b"x" * 1000),
        "zlib": zlib.compress(b"x" * 1000),
        "empty": b"",
        "nothing": zipfile_of({}),
        "inner": zipfile_of({"inner.zip": zipfile_of({"styles.csv": b"id,kind\n1,k\n"})}),
    }
    for name, data in archives.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CatalogError):
            prepare(tmp_path / name, tmp_path / "w", CONFIG)


def zipfile_of(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def test_the_deepest_names_of_an_archive_take_no_time(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        for number in range(10):
            archive.writestr("d/" * 30_000 + f"{number}.png", b"")
    with pytest.raises(CatalogError):
        prepare(tmp_path / "c.zip", tmp_path / "w", CONFIG)
