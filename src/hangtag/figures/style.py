"""Colours, fonts and file names of figures, and saving them atomically."""

import hashlib
import html
import re
import unicodedata
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from hangtag.io import write_text, write_whole

PLAIN = re.compile(r"[A-Za-z0-9-]+( [A-Za-z0-9-]+)*")
MAX_LENGTH = 80
DOTS_PER_INCH = 120
INK = "#22272e"
SOFT_INK = "#6b7480"
HAIRLINE = "#d9dde3"
PAPER = "#ffffff"
ACCENT = "#3f6f94"
MUTED = "#b4bac3"
MARK = "#b8322a"
FONT_NAME = "DejaVu Sans"
# Muted hues that are distinct on white and next to each other; charts with more sectors repeat them.
SERIES = (
    "#3f6f94",
    "#c98b4b",
    "#6d9a78",
    "#a85f63",
    "#7c74a6",
    "#5c9aa5",
    "#b3a04f",
    "#8f6f5a",
    "#9c7f9f",
    "#7b8794",
)
SPLIT_COLORS = {"train": "#3f6f94", "val": "#c98b4b", "test": "#a85f63"}
CHANNEL_COLORS = {"mean_red": "#b8322a", "mean_green": "#4f8a5b", "mean_blue": "#3f6f94"}


@cache
def find_font(bold: bool = False) -> Path:
    """Return the file of a font with Latin, Greek and Cyrillic letters; it is included in matplotlib."""
    import matplotlib  # noqa: PLC0415 - only drawing needs it

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


def lighten(color: str, share: float) -> str:
    """Mix a `#rrggbb` colour with white: 0 leaves it, 1 makes it white."""
    channels = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(value + (255 - value) * share):02x}" for value in channels)


def slug(label: str) -> str:
    """Return a file-name-safe text for a label: letters, digits, `-` and `_` only, never empty.

    Spaces become `_`, so `Flip Flops` gives `Flip_Flops`. A label with other characters loses them and
    gets six digits of its hash instead, so that two labels never share a file.
    """
    if PLAIN.fullmatch(label) and len(label) <= MAX_LENGTH:
        return label.replace(" ", "_")
    ascii_text = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode()
    kept = re.sub(r"[^A-Za-z0-9-]+", "_", ascii_text).strip("_-")[:MAX_LENGTH]
    digits = hashlib.sha256(label.encode()).hexdigest()[:6]
    return f"{kept}_{digits}" if kept else digits


def save_figure(figure: Any, path: Path) -> list[Path]:
    """Write a figure: matplotlib's or Pillow's as PNG, plotly's as HTML that opens without a network.

    Args:
        figure: A matplotlib figure, a `PIL.Image.Image`, or (for a path that ends in .html) a plotly figure.
        path: The file to write; plotly figures share one `plotly.min.js` beside them.

    Returns:
        The files that the figure needs: `path`, and `plotly.min.js` for HTML.
    """
    if path.suffix == ".html":
        return _save_page(figure, path)
    with write_whole(path) as temporary, warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; a warning for each letter would only be noise.
        warnings.filterwarnings("ignore", message="(?s)Glyph .* missing from", category=UserWarning)
        if hasattr(figure, "savefig"):
            figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, facecolor=PAPER)
        else:
            figure.save(temporary, format="PNG", compress_level=6)
    return [path]


def _save_page(figure: Any, path: Path) -> list[Path]:
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - slow to import

    script, source = path.with_name("plotly.min.js"), get_plotlyjs()
    if not (script.is_file() and script.stat().st_size == len(source.encode())):
        write_text(script, source)
    page = figure.to_html(
        include_plotlyjs="directory",
        div_id="figure",  # not a random one: the same figure gives the same bytes
        # Without the button that would send the figure to a server of plotly's makers.
        config={"displaylogo": False, "responsive": True, "showSendToCloud": False},
    )
    # The figure's title is a little HTML already, or should be.
    title = html.escape(html.unescape(figure.layout.title.text or path.stem), quote=False)
    # plotly's page has no language and title, and its margin makes it scroll by a few pixels.
    page = page.replace("<html>", '<html lang="en">', 1)
    head = f"<head>\n    <title>{title}</title>\n    <style>body {{margin: 0; overflow: hidden;}}</style>"
    write_text(path, page.replace("<head>", head, 1))
    return [path, script]
