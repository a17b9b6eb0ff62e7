"""Compare names of categories: without capitals, signs and plurals, part by part, with synonyms, by their heads."""

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources

import snowballstemmer

from hangtag.labels.relabel import WORD

# Two letters of a language, and the name of its stemmer.
STEMMERS = {
    "ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "en": "english", "es": "spanish", "et": "estonian",
    "fi": "finnish", "fr": "french", "hu": "hungarian", "it": "italian", "nb": "norwegian", "nl": "dutch",
    "no": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sv": "swedish", "tr": "turkish",
}  # fmt: skip
# Languages in which the first words of a name say what it is: `chaussures de sport`.
HEAD_FIRST = ("ca", "es", "fr", "it", "pt", "ro")
ENGLISH = "en"
# What stands between the parts of a name.
AND = ("and", "und", "et", "y", "e", "en", "i", "och", "og", "ja", "ve")
_BETWEEN = re.compile(rf"\s*[&,/+;|]\s*|\s+(?:{'|'.join(AND)})\s+", re.IGNORECASE)
_SPACES = re.compile(r"[\s-]+")


class CategoryWords:
    """How names of categories are compared.

    Args:
        language: The two letters of the names' language. Plurals of languages without a stemmer are not recognised, and
            synonyms are known in English.
        has_near: Whether words that are only near each other, as caps and hats, count as synonyms.
    """

    def __init__(self, language: str = ENGLISH, *, has_near: bool = True) -> None:
        self.language = language or ENGLISH
        name = STEMMERS.get(self.language)
        self._stem = cache(snowballstemmer.stemmer(name).stemWord if name else str)
        self.fold = cache(self._fold)
        self._synonyms: dict[str, str] = {}
        self._kinds: dict[str, str] = {}
        if self.language == ENGLISH:
            content = tomllib.loads((resources.files("hangtag.labels") / "synonyms.toml").read_text(encoding="utf-8"))
            groups = [*content["same"], *(content["near"] if has_near else ())]
            self._synonyms = {self.fold(word): self.fold(group[0]) for group in groups for word in group}
            self._kinds = {
                self.fold_synonyms(word): self.fold_synonyms(kind) for word, kind in content["kinds"].items()
            }

    def split(self, text: str) -> list[str]:
        """Return the words of a name, in lower case."""
        return WORD.findall(text.casefold())

    def _fold(self, text: str) -> str:
        """Return the key of a name: the stems of its words, joined, so that `T-Shirts` and `tshirt` have the same."""
        # The stem of the whole, too: that of `laces` is `lace`, and that of `shoelaces` is `shoelac`.
        return self._stem(self.join(text)) or text

    def join(self, text: str) -> str:
        """Return the stems of a name's words, joined, as `list_word_keys` joins those of longer texts."""
        return "".join(map(self._stem, self.split(text)))

    def fold_synonyms(self, text: str) -> str:
        """Return the key of a name in which every word, or the whole name, is replaced by the first of its synonyms."""
        whole = self.fold(text)
        if whole in self._synonyms:
            return self._synonyms[whole]
        return "".join(self._synonyms.get(self.fold(word), self.fold(word)) for word in self.split(text)) or whole

    def list_kinds(self, text: str) -> Iterator[str]:
        """Yield the keys of what a name is a kind of: `hoodie` is a kind of sweatshirts, and these of tops."""
        key = self.fold_synonyms(text)
        for _ in self._kinds:
            if key not in self._kinds:
                return
            key = self._kinds[key]
            yield key

    def list_alternatives(self, text: str) -> dict[str, bool]:
        """Return the parts of a name, and whether each is sure to stand for itself.

        `Shirts & Tops` is `Shirts` and `Tops`. Of `Handbag & Wallet Accessories` it is not sure that `Handbag` does,
        which may be a `Handbag Accessory`, nor of `Arm Warmers & Sleeves` that `Sleeves` do.
        """
        parts = [part for part in _BETWEEN.split(text) if part]
        found = dict.fromkeys(parts, True)
        if self.language in HEAD_FIRST or len(parts) == 1:
            return found
        words = [part.split() for part in parts]
        last = words[-1][-1]
        for index, part in enumerate(parts):
            if len(words[index]) > 1:
                continue
            before = next((each for each in words[:index] if len(each) > 1), None)
            if before:
                found |= {part: False, " ".join([*before[:-1], part]): True}
            elif len(words[-1]) > 1:
                found |= {part: self._is_plural(part) == self._is_plural(last), f"{part} {last}": True}
        return found

    def _is_plural(self, word: str) -> bool:
        return self.language == ENGLISH and word.casefold().endswith("s")

    def list_heads(self, text: str) -> Iterator[str]:
        """Yield the words of a name that say what it is, the longest first: of `Men's Sports Shoes`, `Sports Shoes`."""
        words = _SPACES.split(text)
        for count in range(len(words) - 1, 0, -1):
            yield " ".join(words[:count] if self.language in HEAD_FIRST else words[-count:])

    def list_word_keys(self, text: str, longest: int) -> Iterator[str]:
        """Yield the keys of all runs of up to `longest` words of a text."""
        stems = [self._stem(word) for word in self.split(text)]
        for count in range(1, longest + 1):
            for start in range(len(stems) - count + 1):
                key = "".join(stems[start : start + count])
                yield key
                if key in self._synonyms:
                    yield self._synonyms[key]
