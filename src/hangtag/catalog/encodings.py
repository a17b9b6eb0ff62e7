"""Find the encoding of a table of text, decode it, and encode changes of it again.

Libraries that find encodings judge running text: of tables, whose few letters outside ASCII stand in short cells, they
take a wrong encoding often, and they do not say what else it may be. Here the letters of the words decide, by the
alphabets and the letter frequencies of the languages that an encoding is used for.
"""

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hangtag.catalog.files import SURROGATES
from hangtag.catalog.letter_frequencies import score_text
from hangtag.errors import CatalogError

# UTF-32 first: its mark begins with that of UTF-16.
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
WITHOUT_MARK = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
# Encodings that may be found, with how much rarer their tables are than those in Windows-1252 (logarithms).
ENCODINGS = {
    "utf-8": ("UTF-8", 4.0),
    "cp1252": ("Windows-1252", 0.0),
    "cp1250": ("Windows-1250, Central European", -3.0),
    "cp1251": ("Windows-1251, Cyrillic", -3.0),
    "cp1253": ("Windows-1253, Greek", -3.0),
    "cp1254": ("Windows-1254, Turkish", -3.0),
    "cp1255": ("Windows-1255, Hebrew", -3.0),
    "cp1256": ("Windows-1256, Arabic", -3.0),
    "cp1257": ("Windows-1257, Baltic", -3.0),
    "cp874": ("Windows-874, Thai", -3.0),
    "cp932": ("Shift JIS, Japanese", -3.0),
    "gb18030": ("GBK or GB 18030, Chinese", -3.0),
    "cp950": ("Big5, Chinese", -3.0),
    "cp949": ("EUC-KR, Korean", -3.0),
    "euc_jp": ("EUC-JP, Japanese", -4.0),
    "iso8859_15": ("ISO 8859-15, Western European", -4.0),
    "iso8859_2": ("ISO 8859-2, Central European", -4.0),
    "iso8859_5": ("ISO 8859-5, Cyrillic", -5.0),
    "iso8859_6": ("ISO 8859-6, Arabic", -4.0),
    "iso8859_7": ("ISO 8859-7, Greek", -4.0),
    "koi8_u": ("KOI8, Cyrillic", -6.0),
    "mac_roman": ("Mac OS Roman", -5.0),
    "mac_cyrillic": ("Mac OS Cyrillic", -5.0),
    "cp850": ("DOS 850, Western European", -5.0),
    "cp852": ("DOS 852, Central European", -5.0),
    "cp866": ("DOS 866, Cyrillic", -5.0),
}
# Other encodings are in question unless one is so much likelier (a logarithm: twenty times).
MIN_MARGIN = 3.0
MAX_WORDS = 5_000
MAX_BY_CHANCE = 10
# Letters and marks that a second byte may be, with a byte outside ASCII among them.
_WORD = re.compile(rb"[0-9@-~]*[\x80-\xff][0-9@-~\x80-\xff]*")
MIN_ZEROS = 0.002
_MARKS = b'\n\r\t,;|"'
_OUTSIDE_ASCII = re.compile(r"[^\x00-\x7f]")


@dataclass(frozen=True)
class Text:
    """A decoded table.

    Attributes:
        text: Its text without a byte order mark. Bytes that the encoding lacks are surrogates, as of the error handler
            `surrogateescape`.
        encoding: The name of its encoding in Python, such as `utf-8` or `cp1252`.
        mark: The byte order mark, or nothing.
        is_guessed: Whether the encoding was found by the letters of the text.
    """

    text: str
    encoding: str
    mark: bytes = b""
    is_guessed: bool = False

    def encode(self, text: str) -> bytes:
        """Return the bytes of another text in the same encoding, without a byte order mark.

        Raises:
            UnicodeEncodeError: The encoding lacks a letter of it.
        """
        return text.encode(self.encoding, _choose_error_handler(self.encoding))


def decode_table(data: bytes, where: str = "", encoding: str = "") -> Text:
    """Decode a table in the encoding that is named, or that its byte order mark or its letters show.

    A text in which more letters than bytes in doubt are UTF-8 is UTF-8: one wrong byte spoils its cell alone.

    Raises:
        CatalogError: The encoding is unknown or another one than that of the byte order mark; the text of a Unicode
            encoding ends inside a letter; or several encodings are as likely.
    """
    mark = next((mark for mark in BYTE_ORDER_MARKS if data.startswith(mark)), b"")
    named = _normalize_name(encoding, mark)
    found = named or BYTE_ORDER_MARKS.get(mark) or _find_unicode(data)
    found = found or _guess_encoding(data, where)
    is_guessed = not named and found in ENCODINGS and found != "utf-8"
    try:
        text = data[len(mark) :].decode(found, _choose_error_handler(found))
    except UnicodeError as error:
        name = found.upper().removesuffix("-LE").removesuffix("-BE")
        raise CatalogError(
            f"The table {where} is no whole {name} text: {getattr(error, 'reason', error)}.",
            allowed="Allowed: UTF-8, UTF-16, Windows-1252, or the encoding that --encoding names.",
            hint="Save it again, as CSV UTF-8.",
        ) from error
    return Text(text, found, mark, is_guessed)


def _normalize_name(encoding: str, mark: bytes) -> str:
    """Return the codec that a description names; the mark of a Unicode encoding says its byte order.

    Raises:
        CatalogError: There is no such encoding of text, or the mark is that of another one.
    """
    if not encoding:
        return ""
    try:
        name = codecs.lookup(encoding).name
        "a".encode(name)
        marked = BYTE_ORDER_MARKS.get(mark, "")
    except (LookupError, ValueError, TypeError) as error:
        raise CatalogError(
            "There is no such encoding.", allowed="Allowed: utf-8, cp1251, gbk, shift_jis, ...", received=encoding
        ) from error
    if marked and not marked.startswith(WITHOUT_MARK.get(name, name).removesuffix("-le")):
        raise CatalogError(
            "The table begins with the byte order mark of another encoding.",
            allowed=f"Allowed: {marked}, or no --encoding.",
            received=encoding,
        )
    return marked or WITHOUT_MARK.get(name, name)


def _choose_error_handler(encoding: str) -> str:
    return "surrogatepass" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"


def _find_unicode(data: bytes) -> str:
    """Return UTF-8, UTF-16 or UTF-32 if a table without a byte order mark is that; empty otherwise."""
    head = data[:100_000]
    if head.count(0) > len(head) * MIN_ZEROS:
        if len(data) % 4 == 0 and set(head[3::4]) == {0} and max(head[2::4]) <= 0x10:
            return "utf-32-le"
        if len(data) % 4 == 0 and set(head[::4]) == {0} and max(head[1::4]) <= 0x10:
            return "utf-32-be"
        # Separators and line ends have a zero beside them, whatever letters stand between them.
        pairs = Counter(zip(head[::2], head[1::2], strict=False))
        marks = {
            "utf-16-le": sum(pairs[mark, 0] for mark in _MARKS),
            "utf-16-be": sum(pairs[0, mark] for mark in _MARKS),
        }
        likely = max(marks, key=lambda name: marks[name])
        if marks[likely] > max(1, 4 * min(marks.values())):
            return likely
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "surrogateescape")
        wrong = sum(1 for _ in SURROGATES.finditer(text))
        right = sum(1 for _ in _OUTSIDE_ASCII.finditer(text)) - wrong
        # A few letters may be UTF-8 by chance; they are judged as those of any encoding.
        return "utf-8" if right > MAX_BY_CHANCE and right >= wrong else ""
    return "utf-8"


def _guess_encoding(data: bytes, where: str) -> str:
    """Return the encoding whose letters are the likeliest.

    Raises:
        CatalogError: Another one is nearly as likely, and has other letters.
    """
    words = list(_list_words(data))
    joined = b"\n".join(words)
    scores = {
        name: prior + score_text(joined.decode(name, "surrogateescape"), name) for name, (_, prior) in ENCODINGS.items()
    }
    best = max(scores, key=lambda name: scores[name])
    close = [name for name in scores if scores[name] > scores[best] - MIN_MARGIN]
    text = data.decode(best, "surrogateescape") if len(close) > 1 else ""
    others = [name for name in close if name != best and data.decode(name, "surrogateescape") != text]
    if others:
        raise _describe_candidates([best, *sorted(others, key=lambda name: -scores[name])], words, where)
    return best


def _list_words(data: bytes) -> dict[bytes, None]:
    """Return different words that have a byte outside ASCII, in their order."""
    words: dict[bytes, None] = {}
    for found in _WORD.finditer(data):
        words[found[0]] = None
        if len(words) >= MAX_WORDS:
            break
    return words


def _describe_candidates(names: Sequence[str], words: Sequence[bytes], where: str) -> CatalogError:
    """Return an error that says what a word of the table is in each encoding."""
    word = next((word for word in words if len({word.decode(name, "replace") for name in names}) > 1), words[0])
    samples = [f"{name} ({ENCODINGS[name][0]}) reads {word.decode(name, 'replace')!r}" for name in names[:4]]
    return CatalogError(
        f"The table {where} is no UTF-8, and several encodings are as likely: {'; '.join(samples)}.",
        allowed="Allowed: the encoding in which its words are right, or any other that Python knows.",
        hint=f"Name it with --encoding, such as --encoding {names[0]}, or save the table again, as CSV UTF-8.",
    )
