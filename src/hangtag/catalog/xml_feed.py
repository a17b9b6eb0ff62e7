"""Read the products of an XML feed, RSS or Atom, as a table, and change single values of it in place."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape

from hangtag.errors import CatalogError

PRODUCTS = ("item", "entry")
# Elements with a prefix are those of the feed's specification; they stand over RSS's and Atom's own of the same name.
PREFIX = "g:"
# Encodings in which markup is ASCII, so that a value can be replaced without writing the rest anew.
ENCODINGS = ("utf-8", "us-ascii", "iso-8859-1")
_START_TAG = re.compile(rb"<[^>\"']*(?:\"[^\"]*\"[^>\"']*|'[^']*'[^>\"']*)*>")
_NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
NO_NAME = "the heading cannot be the name of an element"
NESTED = "the value has elements in it"
SEVERAL = "the value stands in several elements, and the new one has another number of parts"
NOT_WRITABLE = "the new value cannot be written so that it is read again as it is"


class Value(NamedTuple):
    """An element of a product: its name, its text, and where its content stands in the file, in bytes.

    Of an element whose tags are one, as `<g:color/>`, it is where this tag stands.
    """

    name: str
    text: str
    start: int
    end: int
    is_one_tag: bool = False


@dataclass
class Product:
    """An element `item` or `entry`.

    Attributes:
        line: The line on which it begins, from 1.
        values: Its elements by column.
        fixed: Columns that cannot be changed, since their elements are nested.
        several: The elements of each column that stands several times.
        end: Where its end tag begins, in bytes.
    """

    line: int
    values: dict[str, Value] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    several: dict[str, list[Value]] = field(default_factory=dict)
    end: int = 0


@dataclass
class Feed:
    """The products of a feed, and its encoding."""

    products: list[Product] = field(default_factory=list)
    encoding: str = "utf-8"

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the products' elements without prefixes, in the order in which they appear first."""
        return tuple(dict.fromkeys(column for product in self.products for column in product.values))


class _Reader:
    """The handlers of one parse."""

    def __init__(self, data: bytes) -> None:
        self.data, self.feed = data, Feed()
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.XmlDeclHandler = self._declare
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._add
        # The depth of the product that is open, 0 for none, and of the element that is.
        self.product, self.depth = 0, 0
        self.text: list[str] = []
        self.start, self.is_nested = 0, False

    def _declare(self, version: str, encoding: str | None, standalone: int) -> None:  # noqa: ARG002
        self.feed.encoding = (encoding or "utf-8").lower()

    def _refuse(self, *_: object) -> None:
        # Entities of its own could expand without end.
        raise ValueError("it has a DOCTYPE, which no feed needs")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:  # noqa: ARG002
        self.depth += 1
        if not self.product:
            if name.rpartition(":")[2] in PRODUCTS:
                self.product = self.depth
                self.feed.products.append(Product(self.parser.CurrentLineNumber))
        elif self.depth == self.product + 1:
            self.text, self.is_nested = [], False
            self.start = self.parser.CurrentByteIndex
        else:
            self.is_nested = True

    def _add(self, text: str) -> None:
        if self.product and self.depth == self.product + 1:
            self.text.append(text)

    def _end(self, name: str) -> None:
        if self.product and self.depth == self.product:
            self.feed.products[-1].end, self.product = self.parser.CurrentByteIndex, 0
        elif self.product and self.depth == self.product + 1:
            self._close(name, self.parser.CurrentByteIndex)
        self.depth -= 1

    def _close(self, name: str, end: int) -> None:
        product, column = self.feed.products[-1], name.rpartition(":")[2]
        tag = _START_TAG.match(self.data, self.start)
        is_editable = tag is not None and not self.is_nested
        value = Value(name, "".join(self.text).strip(), tag.end() if tag else end, end)
        if tag and tag[0].endswith(b"/>"):
            value = Value(name, "", tag.start(), tag.end(), is_one_tag=True)
        earlier = product.values.get(column)
        if earlier is not None and earlier.name != name:
            if not name.startswith(PREFIX):
                return
            product.several.pop(column, None)
        elif earlier is not None:
            product.several.setdefault(column, [earlier]).append(value)
            value = value._replace(text=f"{earlier.text},{value.text}")
            is_editable = is_editable and column not in product.fixed
        product.values[column] = value
        (product.fixed.discard if is_editable else product.fixed.add)(column)


def read_feed(data: bytes, where: str) -> Feed:
    """Read the products of a feed: each element `item` or `entry`, a column for each element in it.

    Names lose their prefixes; the texts of an element that stands several times are joined by commas.

    Args:
        data: The file.
        where: Its path, for messages.

    Raises:
        CatalogError: It is damaged, has a DOCTYPE, or has no products.
    """
    reader = _Reader(data)
    try:
        reader.parser.Parse(data, True)
    except (expat.ExpatError, ValueError, UnicodeError) as error:
        raise CatalogError(
            f"The feed {where} cannot be read: {error}.", allowed="Allowed: RSS or Atom in XML.", received=where
        ) from error
    if not reader.feed.products:
        raise CatalogError(
            f"The feed {where} has no products.", allowed=f"Allowed: elements {' or '.join(PRODUCTS)}.", received=where
        )
    return reader.feed


def edit_feed(
    data: bytes, where: str, changes: Mapping[tuple[int, str], str]
) -> tuple[bytes, dict[tuple[int, str], str]]:
    """Replace values; an element that a product lacks is added at its end. All other bytes are copied.

    Args:
        data: The file.
        where: Its path, for messages.
        changes: New values by the product's position, from 0, and column.

    Returns:
        The new bytes, and why values were not changed.
    """
    feed = read_feed(data, where)
    if feed.encoding not in ENCODINGS:
        return data, dict.fromkeys(changes, f"feeds in {feed.encoding} are read, but not written")
    refused = {cell: NESTED for cell in changes if cell[1] in feed.products[cell[0]].fixed}
    names = {column: value.name for product in feed.products for column, value in product.values.items()}
    # An element that no product has yet gets the prefix that those of Google have.
    has_prefix = any(name.startswith(PREFIX) for name in names.values())
    new_name = f"{PREFIX if has_prefix else ''}{next((column for _, column in changes if column not in names), '')}"
    refused |= {cell: NO_NAME for cell in changes if cell[1] not in names and not _NAME.fullmatch(cell[1])}
    edits: list[tuple[int, int, bytes]] = []
    for (row, column), text in changes.items():
        product = feed.products[row]
        if (row, column) in refused:
            continue
        if values := product.several.get(column, [product.values[column]] if column in product.values else []):
            parts = _share_out(text, [value.text for value in values])
            if parts is None:
                refused[row, column] = SEVERAL
                continue
            edits += [
                _replace(data, value, part, feed.encoding)
                for value, part in zip(values, parts, strict=True)
                if part != value.text
            ]
        else:
            name = names.get(column, new_name).encode()
            written = _write(text, feed.encoding, is_cdata=False)
            edits.append((product.end, product.end, b"<" + name + b">" + written + b"</" + name + b">"))
    pieces, done = [], 0
    for start, end, new in sorted(edits):
        pieces += [data[done:start], new]
        done = end
    edited = b"".join([*pieces, data[done:]])
    again = read_feed(edited, where)
    wrong = {
        (row, column): NOT_WRITABLE
        for (row, column), text in changes.items()
        if (row, column) not in refused and again.products[row].values[column].text != text
    }
    if wrong:
        kept = {cell: text for cell, text in changes.items() if cell not in wrong and cell not in refused}
        edited, _ = edit_feed(data, where, kept)
    return edited, refused | wrong


def _share_out(text: str, old: Sequence[str]) -> list[str] | None:
    """Return the text of each element of a value that stands several times; None where it has other parts.

    A comma in an element separates parts as one between elements does: a feed may list them in either way.
    """
    if len(old) == 1:
        return [text]
    parts = _split_parts(text)
    counts = [len(_split_parts(each)) for each in old]
    if sum(counts) != len(parts):
        return None
    ends = [*accumulate(counts)]
    return [",".join(parts[end - count : end]) for count, end in zip(counts, ends, strict=True)]


def _split_parts(text: str) -> list[str]:
    """Split a text at commas that have no backslash before them, as `category_paths` writes those of a name."""
    return re.split(r"(?<!\\),", text)


def _replace(data: bytes, value: Value, text: str, encoding: str) -> tuple[int, int, bytes]:
    if value.is_one_tag:
        opening = data[value.start : value.end].removesuffix(b"/>").rstrip() + b">"
        written = _write(text, encoding, is_cdata=False)
        return value.start, value.end, opening + written + b"</" + value.name.encode(encoding) + b">"
    is_cdata = data[value.start : value.end].strip().startswith(b"<![CDATA[")
    return value.start, value.end, _write(text, encoding, is_cdata=is_cdata)


def _write(text: str, encoding: str, *, is_cdata: bool) -> bytes:
    if is_cdata and "]]>" not in text:
        return f"<![CDATA[{text}]]>".encode(encoding, "replace")
    return escape(text).encode(encoding, "xmlcharrefreplace")
