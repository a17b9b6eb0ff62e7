"""Write texts of a catalogue into Markdown so that they are read and never rendered."""

import html
import re

# What begins markup anywhere in a line, and what does so at its start: headings, lists, rules.
_ANYWHERE = re.compile(r"([\\`*_\[\]~|])")
_AT_START = re.compile(r"^([#+=-]|\d+(?=[.)]))")


def escape_markdown(text: str) -> str:
    """Return a label, column or other name on one line, without markup: neither Markdown's nor HTML's."""
    line = html.escape(" ".join(text.split()), quote=False)
    escaped = _ANYWHERE.sub(r"\\\1", line)
    return _AT_START.sub(lambda found: f"{found[1]}\\" if found[1].isdecimal() else f"\\{found[1]}", escaped)
