"""A parsed table, column by column, with what was repaired and what could not be read."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, overload

from hangtag.catalog.csv_records import Dialect


class Repair(NamedTuple):
    """A cell that was not read as it is written.

    Attributes:
        line: The line of its row in the file, from 1; of an Excel sheet the row.
        column: The heading of its column; empty for a whole line.
        before: The text in the file.
        after: What was read.
        reason: Why.
    """

    line: int
    column: str
    before: str
    after: str
    reason: str


class Rows(Sequence[dict[str, str]]):
    """A table's rows as mappings from column to text, made when they are asked for.

    Args:
        columns: The names of the columns.
        cells: The texts of each column.
    """

    def __init__(self, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
        self.columns, self.cells = tuple(columns), cells

    def __len__(self) -> int:
        return len(self.cells[0]) if self.cells else 0

    @overload
    def __getitem__(self, index: int) -> dict[str, str]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, str]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, str] | list[dict[str, str]]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        return {name: values[index] for name, values in zip(self.columns, self.cells, strict=True)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


class Position(NamedTuple):
    """Where a row that was read in an unusual way stands.

    Attributes:
        one_line: Whether its quoted cells end with the line.
        taken: How many cells each column takes; None for one each.
    """

    one_line: bool = False
    taken: tuple[int, ...] | None = None


class ReadAs(NamedTuple):
    """How to read a table of text; see `csv_parser.parse_table`.

    Attributes:
        where: Its name, for messages.
        separator: The separator that was named, or nothing.
        escape: The escape that was named, or nothing.
        headings: Sets of columns by which a header is known.
        encoding: The encoding that was named, or nothing.
    """

    where: str = ""
    separator: str = ""
    escape: str = ""
    headings: tuple[frozenset[str], ...] = ()
    encoding: str = ""


@dataclass
class Table:
    """A parsed table.

    Attributes:
        columns: The header.
        cells: The texts of each column in file order.
        lines: The line of each row in the file, from 1.
        repairs: The cells and lines that were not read as they are written.
        broken: Lines that are no row, as (line number, reason).
        repaired_rows: Positions of the rows that have surplus cells in one of their columns.
        dialect: How the table is written.
        starts: Where each row begins in the text.
        unusual: How rows were read that are not one cell a column, by their position.
        read_as: How a table of text was read.
        inferred_encoding: The encoding that the letters of the text show, where none was named or is plain.
        has_doubts: Whether rows were judged by the values of others.
        doubled: Headings that stood twice; the second got a number.
        list_columns: Of JSON lines, the columns in which lists of texts stand, and texts.
        positions: Of an Excel sheet, the index of each column in the sheet.
        pictures: Of a Parquet file, the columns that hold pictures.
        sheets: Of a workbook with several, their names, that of the table first.
        header: Where the header begins in the text; of an Excel sheet the number of its row.
        width: Of an Excel sheet, the number of columns up to the last with anything in it.
    """

    columns: tuple[str, ...]
    cells: list[list[str]]
    lines: "array[int]" = field(default_factory=lambda: array("q"))
    repairs: list[Repair] = field(default_factory=list)
    broken: list[tuple[int, str]] = field(default_factory=list)
    repaired_rows: list[int] = field(default_factory=list)
    dialect: Dialect = field(default_factory=Dialect)
    starts: "array[int]" = field(default_factory=lambda: array("q"))
    unusual: dict[int, Position] = field(default_factory=dict)
    positions: list[int] = field(default_factory=list)
    read_as: ReadAs = ReadAs()
    inferred_encoding: str = ""
    has_doubts: bool = False
    list_columns: frozenset[str] = frozenset()
    doubled: set[str] = field(default_factory=set)
    pictures: tuple[str, ...] = ()
    sheets: tuple[str, ...] = ()
    header: int = 0
    width: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the table has headings alone."""
        return not self.broken and not any(self.cells)

    def count_repaired(self) -> int:
        """Return the number of rows some of whose cells were read otherwise than they are written."""
        return len({each.line for each in self.repairs if each.before != each.after}.intersection(self.lines))

    @property
    def encoding(self) -> str:
        """The encoding that was named or inferred; empty where a byte order mark or UTF-8 says it."""
        return self.read_as.encoding or self.inferred_encoding

    @property
    def rows(self) -> Rows:
        """The rows as mappings from column to text."""
        return Rows(self.columns, self.cells)
