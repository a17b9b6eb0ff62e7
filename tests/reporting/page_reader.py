"""Read a page as a browser would, as far as the tests need it."""

import re
from html.parser import HTMLParser
from pathlib import Path

# What a browser sets apart from the text before it.
APART = ("td", "th", "small", "dt", "dd", "li", "option")


class Page(HTMLParser):
    """A parsed page: its tags with their attributes, its scripts, and its text outside scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in APART:
            self.text += " "
        if tag in ("script", "style"):
            self._inside.append(tag)
            # What runs; data blocks are not scripts to a browser.
            if tag == "script" and "type" not in dict(attrs):
                self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.text += data
        elif self._inside[-1] == "script" and "type" not in self.tags[-1][1]:
            self.scripts[-1] += data

    def find(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]
