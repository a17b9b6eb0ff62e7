"""Find how a table of text is written: its separator, quotes, line ends, and where its header is."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from hangtag.catalog.csv_records import (
    AFTER_BACKSLASH,
    BACKSLASH,
    CONTROL_ESCAPES,
    DOUBLED,
    ESCAPES,
    NULL,
    QUOTE,
    SEPARATORS,
    SINGLE_QUOTE,
    Dialect,
    Record,
    count_filled,
    read_records,
    stands_in_quotes,
)
from hangtag.errors import CatalogError

# The dialect is found from so much of a table. Lines above a header are a few.
SAMPLE_LETTERS, SAMPLE_RECORDS = 1_000_000, 5_000
# A header has half of the cells that most rows have, if so many rows have as many.
MAX_LINES_ABOVE, MIN_ROWS_LIKE_IT = 50, 5
MIN_ROWS_IN_SINGLE_QUOTES = 3
_SEPARATOR_LINE = re.compile(r"sep=(.)(?:\r*\n|\r)", re.IGNORECASE)
# A row whose quotes, doubled, and separators stand in quotes of their own.
_WRAPPED_LINE = re.compile(r'^"[^"\r\n]*(?:""[^"\r\n]*)*"(?=\r*$)', re.MULTILINE)
# A header as R writes it where nothing else is said: quoted, with a space between.
_SPACED_HEADER = re.compile(r'"[^"\r\n]*"(?: "[^"\r\n]*")+\r*(?:\n|\Z)')
_FIRST_LINE_END = re.compile(r'(?:"[^"]*"|[^"\r\n])*(\r*\n|\r)')


@dataclass(frozen=True)
class Head:
    """Where a table's parts are.

    Attributes:
        dialect: How it is written.
        above: The lines above the header, as records.
        header: The record of the headings.
        width: Cells that most records have.
        filled: Cells up to the last that is not empty, in most records.
        has_row_names: Whether rows begin with a cell that the header lacks, the number that R gives them.
    """

    dialect: Dialect
    above: list[Record]
    header: Record
    width: int
    filled: int
    has_row_names: bool = False


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
    candidates = _list_candidates(text[start : start + SAMPLE_LETTERS], separator, escape, line_end)
    scored = [(_score_dialect(text, start, dialect), -rank, dialect) for rank, dialect in enumerate(candidates)]
    dialect = max(scored, key=lambda entry: entry[:2])[2]
    records = _sample_records(text, start, dialect)
    header = find_header([record.values for record in records], headings)
    if header is None:
        raise CatalogError(f"The table {where} is empty.", allowed="Allowed: a header line and rows.")
    width = _find_mode([len(record.values) for record in records])
    below = records[header + 1 :]
    filled = _find_mode([count_filled(row.values) for row in below or records[header:]])
    has_row_names = _has_row_names(text, records[header], below, dialect)
    return Head(dialect, records[:header], records[header], width, filled, has_row_names)


def _list_candidates(sample: str, separator: str, escape: str, line_end: str) -> list[Dialect]:
    """Return the dialects that a sample may have, the usual ones first."""
    separators = [separator] if separator else [mark for mark in SEPARATORS.values() if mark in sample]
    if not separator and _SPACED_HEADER.match(sample):
        separators.append(" ")
    escapes = [escape] if escape else [DOUBLED, BACKSLASH] if "\\" in sample else [DOUBLED]
    candidates = []
    for mark in separators or [","]:
        styles = [(QUOTE, False)]
        between = re.escape(mark)
        if re.search(rf"(?:^|{between}) *'", sample, re.M) and re.search(rf"' *(?:{between}|\r*$)", sample, re.M):
            styles.append((SINGLE_QUOTE, False))
        if any(mark in found[0] for found in _WRAPPED_LINE.finditer(sample)):
            styles.append((QUOTE, True))
        candidates += [Dialect(mark, how, line_end, *style) for style in styles for how in escapes]
    return candidates


def _has_row_names(text: str, header: Record, rows: Sequence[Record], dialect: Dialect) -> bool:
    """Return whether rows have one cell more than the header, and begin with quoted numbers: 1, 2, 3 and so on.

    Without quotes, the last heading might be the one that is missing.
    """
    if not rows or any(len(row.values) != len(header.values) + 1 for row in rows):
        return False
    names = [str(number) for number in range(1, len(rows) + 1)]
    return all(
        row.values[0] == name and text.startswith(dialect.quote, row.start)
        for row, name in zip(rows, names, strict=True)
    )


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
    fit = fitting / len(records) + (in_header > 1) / 2 + (in_header == width) / 4
    return round(fit, 2) + _shows(text, records, dialect) / 1_000, width


def _shows(text: str, records: Sequence[Record], dialect: Dialect) -> bool:
    """Return whether records show what is unusual in a dialect, which decides where a usual one fits as well.

    Single quotes stand around every cell of some columns, and of no other. Backslashes are nothing but escapes, and
    some stand before a quote in a bare cell, or are a missing cell.
    """
    quote, spans = dialect.quote, [record.list_spans(dialect.separator) for record in records]
    if quote == SINGLE_QUOTE:
        return _shows_single_quotes(text, spans)
    if dialect.escape != BACKSLASH:
        return False
    has_use = False
    for begin, end in (span for each in spans for span in each if "\\" in text[span[0] : span[1]]):
        cell = text[begin:end]
        known = {*CONTROL_ESCAPES, "\\", "\n", QUOTE, SINGLE_QUOTE, dialect.separator, *("N" if cell == NULL else "")}
        if not {found[1] for found in AFTER_BACKSLASH.finditer(cell)} <= known:
            return False
        has_use = has_use or cell == NULL or ("\\" + QUOTE in cell and not stands_in_quotes(text, (begin, end), quote))
    return has_use


def _shows_single_quotes(text: str, spans: Sequence[Sequence[tuple[int, int]]]) -> bool:
    header, *rows = spans
    in_header = all(stands_in_quotes(text, span, SINGLE_QUOTE) for span in header)
    least = 1 if in_header else MIN_ROWS_IN_SINGLE_QUOTES
    flags: list[set[bool]] = []
    is_shown = False
    for cells in zip(*(row for row in rows if len(row) == len(header)), strict=True):
        filled = [span for span in cells if text[span[0] : span[1]].strip()]
        flags.append({stands_in_quotes(text, span, SINGLE_QUOTE) for span in filled})
        is_shown = is_shown or (flags[-1] == {True} and len(filled) >= max(least, len(cells) / 2))
    return is_shown and {True, False} not in flags


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
