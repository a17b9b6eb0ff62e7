"""Find how a table of text is written: its encoding, separator, quotes, line ends, and where its header is."""

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

from hangtag.catalog.files import SURROGATES
from hangtag.errors import CatalogError

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
DOUBLED, BACKSLASH = "doubled", "backslash"
ESCAPES = (DOUBLED, BACKSLASH)
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
# The dialect is found from so much of a table. Lines above a header are a few.
SAMPLE_LETTERS, SAMPLE_RECORDS = 1_000_000, 5_000
# A header has half of the cells that most rows have, if so many rows have as many.
MAX_LINES_ABOVE, MIN_ROWS_LIKE_IT = 50, 5
_SEPARATOR_LINE = re.compile(r"sep=(.)(?:\r*\n|\r)", re.IGNORECASE)
_FIRST_LINE_END = re.compile(r'(?:"[^"]*"|[^"\r\n])*(\r*\n|\r)')


@dataclass(frozen=True)
class Dialect:
    r"""How a table of text is written.

    Attributes:
        separator: What stands between cells, one letter.
        escape: How a quote inside quotes is written: `doubled`, or behind a `backslash`.
        line_end: `\n` for LF, CR LF and CR CR LF, or `\r`.
    """

    separator: str = ","
    escape: str = DOUBLED
    line_end: str = "\n"


@dataclass(frozen=True)
class Text:
    """A decoded table.

    Attributes:
        text: Its text without a byte order mark. Bytes that the encoding lacks are surrogates, as of the error handler
            `surrogateescape`, so that encoding the text returns the same bytes.
        encoding: `utf-8`, `utf-16-le`, `utf-16-be` or `cp1252` (Windows-1252).
        mark: The byte order mark, or nothing.
        is_guessed: Whether the encoding is Windows-1252 since the bytes are no UTF-8.
    """

    text: str
    encoding: str
    mark: bytes = b""
    is_guessed: bool = False

    def encode(self, text: str) -> bytes:
        """Return the bytes of another text in the same encoding.

        Raises:
            UnicodeEncodeError: The encoding lacks a letter of it.
        """
        return self.mark + text.encode(self.encoding, _choose_error_handler(self.encoding))


@dataclass(frozen=True)
class Record:
    """A row of cells: a line, or several where a quoted cell has line ends.

    Attributes:
        start, stop: Where it begins and where its line end begins.
        following: Where the next record begins.
        values: The cells' texts.
        spans: Where the cells stand, quotes included; None where the cells are the line split at its separators.
        fault: Why the cells are in doubt; empty where they are not.
        has_open_quote: Whether a quote opens a cell and does not close it, so that it is text.
    """

    start: int
    stop: int
    following: int
    values: list[str]
    spans: list[tuple[int, int]] | None = None
    fault: str = ""
    has_open_quote: bool = False

    def list_spans(self, separator: str) -> list[tuple[int, int]]:
        """Return where the cells stand."""
        if self.spans is not None:
            return self.spans
        spans, begin = [], self.start
        for value in self.values:
            spans.append((begin, begin + len(value)))
            begin += len(value) + len(separator)
        return spans


@dataclass(frozen=True)
class Head:
    """Where a table's parts are.

    Attributes:
        dialect: How it is written.
        above: The lines above the header, as records.
        header: The record of the headings.
        width: Cells that most records have.
        filled: Cells up to the last that is not empty, in most records.
    """

    dialect: Dialect
    above: list[Record]
    header: Record
    width: int
    filled: int


def decode_table(data: bytes, where: str = "", encoding: str = "") -> Text:
    """Decode a table: UTF-8 or UTF-16 with or without a byte order mark, Windows-1252, or the encoding that is named.

    A text in which more letters than bytes in doubt are UTF-8 is UTF-8: one wrong byte spoils its cell alone.

    Raises:
        CatalogError: The table is UTF-16 and ends inside a letter.
    """
    mark = next((mark for mark in BYTE_ORDER_MARKS if data.startswith(mark)), b"")
    is_guessed = not encoding and not mark
    encoding = encoding or BYTE_ORDER_MARKS.get(mark) or _guess_encoding(data)
    try:
        text = data[len(mark) :].decode(encoding, _choose_error_handler(encoding))
    except LookupError as error:
        raise CatalogError(
            "There is no such encoding.", allowed="Allowed: utf-8, cp1251, gbk, shift_jis, ...", received=encoding
        ) from error
    except UnicodeDecodeError as error:
        raise CatalogError(
            f"The table {where} is no whole UTF-16 text: {error.reason}.",
            allowed="Allowed: UTF-8, UTF-16, Windows-1252.",
            hint="Save it again, as CSV UTF-8.",
        ) from error
    return Text(text, encoding, mark, is_guessed and encoding == "cp1252")


def _choose_error_handler(encoding: str) -> str:
    return "surrogatepass" if encoding.startswith("utf-16") else "surrogateescape"


def _guess_encoding(data: bytes) -> str:
    head = data[:1000]
    # Of Latin letters in UTF-16, every other byte is zero.
    for encoding, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        if len(head) >= 4 and zeros.count(0) > len(zeros) * 0.8:
            return encoding
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "surrogateescape")
        wrong = sum(1 for _ in SURROGATES.finditer(text))
        right = sum(1 for _ in re.finditer(r"[^\x00-\x7f]", text)) - wrong
        return "utf-8" if right >= wrong else "cp1252"
    return "utf-8"


def find_head(
    text: str, where: str, separator: str = "", escape: str = "", headings: Sequence[frozenset[str]] = ()
) -> Head:
    """Find a table's dialect and its header.

    The separator and the escape are those with which most records have the same number of cells, the first among
    them, and the fewest are in doubt; of equals, those that make the most cells. The header is the first
    record of which at least two cells, and half of those that most records have, are not empty.

    Args:
        text: The decoded table.
        where: Its name, for messages.
        separator: The separator; empty to find it.
        escape: `doubled` or `backslash`; empty to find it.
        headings: Sets of columns; a record near the top that has all of one is the header.

    Raises:
        CatalogError: There is no header.
    """
    start, line_end = 0, _find_line_end(text)
    if found := _SEPARATOR_LINE.match(text):
        separator, start = separator or found[1], found.end()
    sample = text[start : start + SAMPLE_LETTERS]
    separators = [separator] if separator else [mark for mark in SEPARATORS.values() if mark in sample] or [","]
    escapes = [escape] if escape else [DOUBLED, BACKSLASH] if '\\"' in sample else [DOUBLED]
    candidates = [Dialect(mark, how, line_end) for mark in separators for how in escapes]
    scored = [(_score_dialect(text, start, dialect), -rank, dialect) for rank, dialect in enumerate(candidates)]
    dialect = max(scored, key=lambda entry: entry[:2])[2]
    records = _sample_records(text, start, dialect)
    header = find_header([record.values for record in records], headings)
    if header is None:
        raise CatalogError(f"The table {where} is empty.", allowed="Allowed: a header line and rows.")
    width = _find_mode([len(record.values) for record in records])
    filled = _find_mode([count_filled(row.values) for row in records[header + 1 :] or records[header:]])
    return Head(dialect, records[:header], records[header], width, filled)


def find_header(rows: Sequence[Sequence[str]], headings: Sequence[frozenset[str]] = ()) -> int | None:
    """Return which of a table's first rows is its header, or None; see `find_head`."""
    filled = [count for row in rows if (count := count_filled(row))]
    usual = _find_mode(filled)
    # In a table of a few rows, a few odd ones do not make the header a line above it.
    is_clear = filled.count(usual) >= max(MIN_ROWS_LIKE_IT, len(filled) / 2)
    wanted = min(max(2, -(-usual // 2) if is_clear else 0), max(filled, default=1))
    top = rows[: MAX_LINES_ABOVE + 1]
    names = [frozenset(map(str.strip, row)) for row in top]
    known = (index for index, found in enumerate(names) if any(each <= found for each in headings))
    likely = (index for index, row in enumerate(top) if len([*filter(str.strip, row)]) >= wanted)
    return next((index for index in (*known, *likely)), None)


def _find_line_end(text: str) -> str:
    """Return the first line end outside quotes."""
    first = _FIRST_LINE_END.match(text)
    is_return = first[1] == "\r" if first else "\n" not in text
    return "\r" if is_return else "\n"


def _sample_records(text: str, start: int, dialect: Dialect) -> list[Record]:
    records = islice(read_records(text, start, dialect), SAMPLE_RECORDS)
    return [record for record in records if record.start - start < SAMPLE_LETTERS]


def count_filled(cells: Sequence[str]) -> int:
    """Return the number of cells up to the last one that is not blank."""
    return next((index for index in range(len(cells), 0, -1) if cells[index - 1].strip()), 0)


def _find_mode(values: Sequence[int]) -> int:
    """Return the most frequent value, of equals the greatest."""
    counts = Counter(values)
    return max(counts, key=lambda value: (counts[value], value), default=1)


def _score_dialect(text: str, start: int, dialect: Dialect) -> tuple[float, int]:
    """Return how well a dialect fits, and the cells of most records."""
    records = _sample_records(text, start, dialect)
    wide = [record for record in records if len(record.values) > 1]
    if not wide:
        return 0.0, 1
    width = _find_mode([len(record.values) for record in wide])
    fitting = sum(len(record.values) == width and not record.has_open_quote for record in records)
    # Lists inside cells have a separator too, but their column's heading has none.
    in_header = len(records[0].values)
    return round(fitting / len(records) + (in_header > 1) / 2 + (in_header == width) / 4, 2), width


def read_records(text: str, start: int, dialect: Dialect, *, one_line: bool = False) -> Iterator[Record]:
    """Yield a record for every line that is not blank and not within another record; see `read_record`."""
    while start < len(text):
        record = read_record(text, start, dialect, one_line=one_line)
        if not (len(record.values) == 1 and not record.values[0].strip()):
            yield record
        start = record.following


def read_record(text: str, start: int, dialect: Dialect, *, one_line: bool = False) -> Record:
    """Read the record that begins at an offset.

    Quotes count where they open a cell and close it again; others are text. Where such a text would hold separators,
    the quotes may have been meant, and the record is in doubt. So is one with a line end of another kind than the
    table's outside quotes: it may be two rows or one.

    Args:
        text: The table.
        start: Where the record begins.
        dialect: How the table is written.
        one_line: Whether quoted cells end with the line too.
    """
    stop, following = _find_stop(text, start, dialect.line_end)
    line = text[start:stop]
    other_end = "\r" if dialect.line_end == "\n" else "\n"
    if '"' not in line and not (dialect.escape == BACKSLASH and "\\" in line):
        fault = _OTHER_LINE_END if other_end in line else ""
        return Record(start, stop, following, line.split(dialect.separator), fault=fault)
    patterns = _compile_patterns(dialect, one_line)
    values: list[str] = []
    spans: list[tuple[int, int]] = []
    fault, has_open_quote = "", False
    begin = start
    while True:
        quoted = patterns.quoted.match(text, begin) if text.startswith(('"', " "), begin) else None
        if quoted:
            end = quoted.end()
            values.append(patterns.unescape(quoted[1], is_quoted=True))
            if end > stop:
                stop, following = _find_stop(text, end, dialect.line_end)
        else:
            bare = patterns.bare.match(text, begin, stop)
            end = bare.end() if bare else stop
            value = text[begin:end]
            fault = fault or (_OTHER_LINE_END if other_end in value else "")
            if _INNER_QUOTE.search(value) and value.count('"') % 2 and text[end:stop].rstrip().endswith('"'):
                fault = fault or _OPEN_QUOTE
            if value.startswith('"'):
                has_open_quote = True
                fault = fault or (_OPEN_QUOTE if _holds_separator(text[begin:stop], dialect.separator) else "")
            values.append(patterns.unescape(value, is_quoted=False))
        spans.append((begin, end))
        if end >= stop:
            return Record(start, stop, following, values, spans, fault, has_open_quote)
        begin = end + 1


# A quote between letters, where a separator may be missing; behind a digit it stands for inches.
_INNER_QUOTE = re.compile(r'[^\W\d]"\w')
_OTHER_LINE_END = "a line end (CR or LF) of another kind than the table's, outside quotes"
_OPEN_QUOTE = "a quote opens a cell and does not close it, so that separators may belong to the cell"


def _find_stop(text: str, start: int, line_end: str) -> tuple[int, int]:
    """Return where the line end begins and where the next line does."""
    found = text.find(line_end, start)
    if found < 0:
        return len(text), len(text)
    stop = found
    while line_end == "\n" and stop > start and text[stop - 1] == "\r":
        stop -= 1
    return stop, found + 1


def _holds_separator(rest: str, separator: str) -> bool:
    """Return whether separators follow an opening quote before the next one, or before the end of the line."""
    close = rest.find('"', 1)
    return separator in (rest[:close] if close > 0 else rest)


@dataclass(frozen=True)
class _Patterns:
    quoted: re.Pattern[str]
    bare: re.Pattern[str]
    escape: str

    def unescape(self, text: str, *, is_quoted: bool) -> str:
        if self.escape == BACKSLASH:
            return re.sub(r'\\(.)|""' if is_quoted else r"\\(.)", _unescape_found, text, flags=re.DOTALL)
        return text.replace('""', '"') if is_quoted else text


def _unescape_found(found: re.Match[str]) -> str:
    return '"' if found[1] is None else found[1]


@lru_cache(maxsize=64)
def _compile_patterns(dialect: Dialect, one_line: bool) -> _Patterns:
    separator = re.escape(dialect.separator)
    ends = r"\r*\n" if dialect.line_end == "\n" else r"\r"
    within = dialect.line_end if one_line else ""
    if dialect.escape == BACKSLASH:
        quoted = rf'"([^"\\{within}]*(?:(?:\\.|"")[^"\\{within}]*)*)"'
        bare = rf"(?:[^{separator}\\]|\\.)*"
    else:
        quoted = rf'"([^"{within}]*(?:""[^"{within}]*)*)"'
        bare = rf"[^{separator}]*"
    return _Patterns(
        re.compile(rf" *{quoted} *(?={separator}|{ends}|\Z)", re.DOTALL), re.compile(bare, re.DOTALL), dialect.escape
    )


def quote_cell(value: str, dialect: Dialect, *, was_quoted: bool) -> str:
    """Return a cell's text as it is written: quoted where it was or where it needs to be."""
    marks = (dialect.separator, "\n", "\r", *(["\\"] if dialect.escape == BACKSLASH else []))
    if not (was_quoted or value.startswith('"') or any(mark in value for mark in marks)):
        return value
    if dialect.escape == BACKSLASH:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return '"' + value.replace('"', '""') + '"'


def check_dialect(separator: str, escape: str) -> Dialect:
    """Return the separator and the escape that a description names; words stand for letters that are hard to type.

    Raises:
        CatalogError: The separator is no single letter, or the escape is unknown.
    """
    mark = SEPARATORS.get(separator.lower(), separator).replace("\\t", "\t")
    if len(mark) > 1 or mark in ('"', "\n", "\r", "\\"):
        raise CatalogError(
            "The separator in the catalogue's description is wrong.",
            allowed=f"Allowed: one letter, or {', '.join(SEPARATORS)}.",
            received=separator,
        )
    if escape and escape not in ESCAPES:
        raise CatalogError(
            "The escape in the catalogue's description is wrong.",
            allowed=f"Allowed: {', '.join(ESCAPES)}.",
            received=escape,
        )
    return replace(Dialect(), separator=mark, escape=escape)
