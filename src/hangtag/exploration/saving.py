"""Save a figure of any kind, whole or not at all."""

import html
import warnings
from pathlib import Path
from typing import Any

from hangtag.artifacts import write_text, write_whole
from hangtag.exploration.palette import PAPER

DOTS_PER_INCH = 120


def save_figure(figure: Any, path: Path) -> list[Path]:
    """Write a figure: matplotlib's or Pillow's as PNG, plotly's as HTML that opens without a network.

    Args:
        figure: A matplotlib figure, a `PIL.Image.Image`, or (for a path that ends in .html) a plotly figure.
        path: Where to; plotly figures share one `plotly.min.js` beside them.

    Returns:
        The files that the figure needs: `path`, and `plotly.min.js` for HTML.
    """
    if path.suffix == ".html":
        return _save_page(figure, path)
    with write_whole(path) as temporary, warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; a warning for each letter helps nobody.
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
