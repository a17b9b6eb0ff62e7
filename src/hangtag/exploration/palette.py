"""The colours and the type of every figure: white paper, dark ink, one accent, gray for what has no label."""

from functools import cache
from pathlib import Path

INK = "#22272e"
SOFT_INK = "#6b7480"
HAIRLINE = "#d9dde3"
PAPER = "#ffffff"
ACCENT = "#3f6f94"
MUTED = "#b4bac3"
MARK = "#b8322a"
FONT_NAME = "DejaVu Sans"
# Muted hues that stay apart on white and beside one another; charts with more sectors begin again.
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
    """Give the file of a font with Latin, Greek and Cyrillic letters; matplotlib brings it along."""
    import matplotlib  # noqa: PLC0415 - only drawing needs it

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


def lighten(color: str, share: float) -> str:
    """Mix a `#rrggbb` colour with white; 0 leaves it, 1 gives white."""
    channels = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(value + (255 - value) * share):02x}" for value in channels)
