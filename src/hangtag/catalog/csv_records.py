"""Read the records of a table of text, whatever stands between cells, around them and before quotes; write cells."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
QUOTE, SINGLE_QUOTE = '"', "'"
DOUBLED, BACKSLASH = "doubled", "backslash"
ESCAPES = (DOUBLED, BACKSLASH)
# What a backslash stands before in tables of MySQL and PostgreSQL, and what that means.
CONTROL_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a"}
AFTER_BACKSLASH = re.compile(r"\\(.)", re.DOTALL)
NULL = "\\N"


@dataclass(frozen=True)
class Dialect:
    r"""How a table of text is written.

    Attributes:
        separator: What stands between cells, one letter.
        escape: How a quote inside quotes is written: `doubled`, or behind a `backslash`.
        line_end: `\n` for LF, CR LF and CR CR LF, or `\r`.
        quote: What stands around quoted cells, `"` or `'`; within a wrapped row two `"`.
        wrapped: Whether rows may stand in quotes as a whole, with the quotes inside doubled: as a spreadsheet writes
            the lines of a table that it took for single cells.
    """

    separator: str = ","
    escape: str = DOUBLED
    line_end: str = "\n"
    quote: str = QUOTE
    wrapped: bool = False


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
        is_wrapped: Whether the row stands in quotes as a whole.
    """

    start: int
    stop: int
    following: int
    values: list[str]
    spans: list[tuple[int, int]] | None = None
    fault: str = ""
    has_open_quote: bool = False
    is_wrapped: bool = False

    def list_spans(self, separator: str) -> list[tuple[int, int]]:
        """Return where the cells stand."""
        if self.spans is not None:
            return self.spans
        spans, begin = [], self.start
        for value in self.values:
            spans.append((begin, begin + len(value)))
            begin += len(value) + len(separator)
        return spans


def is_quoted(text: str, record: Record, span: tuple[int, int], dialect: Dialect) -> bool:
    """Return whether the cell of a record that stands somewhere in a text is in quotes."""
    return record.spans is not None and stands_in_quotes(text, span, QUOTE * 2 if record.is_wrapped else dialect.quote)


def stands_in_quotes(text: str, span: tuple[int, int], quote: str) -> bool:
    """Return whether a part of a text begins and ends with a quote."""
    start, end = span
    return end - start >= 2 * len(quote) and text.startswith(quote, start) and text.startswith(quote, end - len(quote))


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
    stop, following = _find_stop(text, start, dialect)
    if dialect.wrapped and text.startswith(QUOTE, start):
        patterns = _compile_patterns(dialect, one_line)
        if (whole := patterns.quoted.match(text, start)) and text[whole.end() :][:1] != dialect.separator:
            _, following = _find_stop(text, whole.end(), dialect)
            inner = replace(dialect, quote=QUOTE * 2, wrapped=False)
            record = _read_cells(text, start + 1, whole.end(1), following, inner, one_line)
            if len(record.values) > 1:
                return replace(record, start=start, stop=whole.end(), is_wrapped=True)
    line = text[start:stop]
    other_end = "\r" if dialect.line_end == "\n" else "\n"
    if dialect.quote not in line and not (dialect.escape == BACKSLASH and "\\" in line):
        fault = _OTHER_LINE_END if other_end in line else ""
        return Record(start, stop, following, line.split(dialect.separator), fault=fault)
    return _read_cells(text, start, stop, following, dialect, one_line)


def _read_cells(text: str, start: int, stop: int, following: int, dialect: Dialect, one_line: bool) -> Record:
    """Read the cells of a record some of which are quoted or escaped."""
    patterns, quote = _compile_patterns(dialect, one_line), dialect.quote
    other_end = "\r" if dialect.line_end == "\n" else "\n"
    openings = (quote,) if dialect.separator == " " else (quote, " ")
    values: list[str] = []
    spans: list[tuple[int, int]] = []
    fault, has_open_quote = "", False
    begin = start
    while True:
        quoted = patterns.quoted.match(text, begin) if text.startswith(openings, begin) else None
        if quoted:
            end = quoted.end()
            values.append(patterns.unescape(quoted[1], is_quoted=True))
            if end > stop:
                stop, following = _find_stop(text, end, dialect)
        else:
            bare = patterns.bare.match(text, begin, stop)
            end = bare.end() if bare else stop
            value = text[begin:end]
            fault = fault or (_OTHER_LINE_END if other_end in value else "")
            # An apostrophe between letters is no quote.
            if quote == QUOTE and _INNER_QUOTE.search(value) and value.count(QUOTE) % 2:
                fault = fault or (_OPEN_QUOTE if text[end:stop].rstrip().endswith(QUOTE) else "")
            if value.startswith(quote):
                has_open_quote = True
                is_open = _holds_separator(text[begin:stop], dialect.separator, quote)
                fault = fault or (_OPEN_QUOTE if is_open else "")
            values.append(patterns.unescape(value, is_quoted=False))
        spans.append((begin, end))
        if end >= stop:
            return Record(start, stop, following, values, spans, fault, has_open_quote)
        begin = end + 1


# A quote between letters, where a separator may be missing; behind a digit it stands for inches.
_INNER_QUOTE = re.compile(r'[^\W\d]"\w')
_OTHER_LINE_END = "a line end (CR or LF) of another kind than the table's, outside quotes"
_OPEN_QUOTE = "a quote opens a cell and does not close it, so that separators may belong to the cell"


def _find_stop(text: str, start: int, dialect: Dialect) -> tuple[int, int]:
    """Return where the line end begins and where the next line does; a backslash before it makes it text."""
    found = text.find(dialect.line_end, start)
    while dialect.escape == BACKSLASH and found > start and text[found - 1] == "\\":
        run = text[start:found]
        if (len(run) - len(run.rstrip("\\"))) % 2 == 0:
            break
        found = text.find(dialect.line_end, found + 1)
    if found < 0:
        return len(text), len(text)
    stop = found
    while dialect.line_end == "\n" and stop > start and text[stop - 1] == "\r":
        stop -= 1
    return stop, found + 1


def _holds_separator(rest: str, separator: str, quote: str) -> bool:
    """Return whether separators follow an opening quote before the next one, or before the end of the line."""
    close = rest.find(quote, len(quote))
    return separator in (rest[:close] if close > 0 else rest)


@dataclass(frozen=True)
class _Patterns:
    quoted: re.Pattern[str]
    bare: re.Pattern[str]
    dialect: Dialect

    def unescape(self, text: str, *, is_quoted: bool) -> str:
        quote = self.dialect.quote
        if self.dialect.escape == BACKSLASH:
            if text == NULL and not is_quoted:
                return ""
            doubled = re.escape(quote * 2)
            return re.sub(rf"\\(.)|{doubled}" if is_quoted else r"\\(.)", self._unescape_found, text, flags=re.DOTALL)
        text = text.replace(quote * 2, quote) if is_quoted else text
        # Within a wrapped row, a quote of a cell is doubled once more.
        return text.replace(quote, QUOTE) if len(quote) > 1 else text

    def _unescape_found(self, found: re.Match[str]) -> str:
        return self.dialect.quote if found[1] is None else CONTROL_ESCAPES.get(found[1], found[1])


@lru_cache(maxsize=64)
def _compile_patterns(dialect: Dialect, one_line: bool) -> _Patterns:
    separator, quote = re.escape(dialect.separator), dialect.quote
    ends = r"\r*\n" if dialect.line_end == "\n" else r"\r"
    if len(quote) > 1:
        # The quote around the row follows its last cell.
        ends += r'|"(?!")'
    within = dialect.line_end if one_line else ""
    text = rf"[^{quote[0]}{within}]*"
    if dialect.escape == BACKSLASH:
        text = rf"[^{quote[0]}\\{within}]*"
        quoted = rf"{quote}({text}(?:(?:\\.|{quote * 2}){text})*){quote}"
        bare = rf"(?:[^{separator}\\]|\\.|\\\Z)*"
    else:
        quoted = rf"{quote}({text}(?:{quote * 2}{text})*){quote}"
        bare = rf"[^{separator}]*"
    spaces = "" if dialect.separator == " " else " *"
    quoted = rf"{spaces}{quoted}{spaces}(?={separator}|{ends}|\Z)"
    return _Patterns(re.compile(quoted, re.DOTALL), re.compile(bare, re.DOTALL), dialect)


def quote_cell(value: str, dialect: Dialect, *, was_quoted: bool, is_wrapped: bool = False) -> str:
    """Return a cell's text as it is written: quoted where it was or where it needs to be.

    In tables with tabs and backslashes, as databases write them, a backslash stands for quotes.
    """
    if dialect.separator == "\t" and dialect.escape == BACKSLASH and not was_quoted:
        names = {meant: f"\\{letter}" for letter, meant in CONTROL_ESCAPES.items()} | {"\\": "\\\\"}
        written = "".join(names.get(letter, letter) for letter in value)
        return f"\\{written}" if value.startswith(dialect.quote) else written
    quote = dialect.quote
    marks = (dialect.separator, "\n", "\r", *(["\\"] if dialect.escape == BACKSLASH else []))
    written = value
    if was_quoted or value.startswith(quote) or any(mark in value for mark in marks):
        is_escaped = dialect.escape == BACKSLASH
        inner = (
            value.replace("\\", "\\\\").replace(quote, f"\\{quote}") if is_escaped else value.replace(quote, quote * 2)
        )
        written = f"{quote}{inner}{quote}"
    return written.replace(QUOTE, QUOTE * 2) if is_wrapped else written


def count_filled(cells: Sequence[str]) -> int:
    """Return the number of cells up to the last one that is not blank."""
    return next((index for index in range(len(cells), 0, -1) if cells[index - 1].strip()), 0)
