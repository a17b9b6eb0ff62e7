from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from hangtag.figures.counts import MAX_ROWS, plot_channels, plot_counts, plot_splits
from hangtag.figures.style import ACCENT, MUTED, PAPER


def count(**counts: int) -> pl.DataFrame:
    return pl.DataFrame({"value": list(counts), "count": list(counts.values())})


def axes_of(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def tick_names(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def lay_out(figure: Figure) -> None:
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]


def places(dots: Artist) -> list[list[float]]:
    assert isinstance(dots, PathCollection)
    return [[float(x), float(y)] for x, y in np.asarray(dots.get_offsets())]


def faces(dots: Artist) -> list[str]:
    assert isinstance(dots, PathCollection)
    return [to_hex(color) for color in np.asarray(dots.get_facecolor())]


def find_cut_texts(figure: Figure) -> list[str]:
    """Return the texts that reach out of the figure, once it is laid out."""
    lay_out(figure)
    axes, page = axes_of(figure), figure.bbox
    shown = [*axes.get_yticklabels(), *axes.texts, axes.title, axes.xaxis.label]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown if text.get_text()]
    return [name for name, box in boxes if box.x0 < 0 or box.x1 > page.x1 or box.y0 < 0 or box.y1 > page.y1]


def test_counts_are_bars_on_a_log_axis_with_their_numbers() -> None:
    axes = axes_of(plot_counts(count(Shoes=7344, Bags=120, Home=1), "value", "Items"))
    assert axes.get_xscale() == "log"
    assert [bar.get_width() for bar in axes.patches] == [7344, 120, 1]  # type: ignore[attr-defined]
    assert tick_names(axes) == ["Shoes", "Bags", "Home"]
    assert texts(axes) == ["7,344", "120", "1"]
    assert axes.yaxis_inverted(), "the first row is on top"
    assert axes.get_xlim()[0] < 1, "a single item is seen"


def test_unlabelled_items_are_gray() -> None:
    table = count(**{"Shoes": 9, "Unknown": 8, "(missing)": 7})
    bars = axes_of(plot_counts(table, "value", "")).patches
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [ACCENT, MUTED, MUTED]


def test_the_axis_label_is_the_column_name_unless_it_is_generic() -> None:
    table = count(Shoes=1)
    assert axes_of(plot_counts(table, "value", "")).get_ylabel() == ""
    assert axes_of(plot_counts(table.rename({"value": "usage"}), "usage", "")).get_ylabel() == "usage"


@pytest.mark.parametrize("rows", [1, 3, 142])
def test_names_are_complete_and_do_not_overlap(rows: int) -> None:
    names = {f"Accessories and Gift Sets of kind {number} for men, women and children": 10**6 for number in range(rows)}
    figure = plot_counts(count(**names), "value", "Items in each articleType, as delivered")
    assert find_cut_texts(figure) == []
    boxes = [label.get_window_extent() for label in axes_of(figure).get_yticklabels()]
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in pairwise(boxes))
    assert [name.replace("\n", " ") for name in tick_names(axes_of(figure))] == list(names)


def test_names_are_not_parsed_as_formulas() -> None:
    figure = plot_counts(count(**{"$5 to $9": 3, "a_b^{": 2, "": 1}), "value", "Under $\\frac$")
    lay_out(figure)
    assert tick_names(axes_of(figure)) == ["$5 to $9", "a_b^{", ""]


def test_the_title_states_that_not_all_values_are_shown() -> None:
    table = count(**{f"v{number}": 5 for number in range(MAX_ROWS + 1)})
    axes = axes_of(plot_counts(table, "value", "Sizes"))
    assert len(axes.patches) == MAX_ROWS
    assert axes.get_title(loc="left") == "Sizes: the first 250 of 251"


def test_an_empty_table_is_an_empty_figure() -> None:
    splits = pl.DataFrame(schema={"label": pl.String} | dict.fromkeys(("train", "val", "test", "total"), pl.Int64))
    colors = ("mean_red", "mean_green", "mean_blue", "contrast")
    channels = pl.DataFrame(schema={"label": pl.String} | dict.fromkeys(colors, pl.Float64))
    empty = pl.DataFrame(schema={"value": pl.String, "count": pl.Int64})
    for figure in (plot_counts(empty, "value", ""), plot_splits(splits, ""), plot_channels(channels, "")):
        lay_out(figure)
        assert texts(axes_of(figure)) == []


def test_splits_are_dots_and_an_empty_split_is_an_open_dot() -> None:
    table = pl.DataFrame(
        {"label": ["Shoes", "Home"], "train": [720, 2], "val": [180, 0], "test": [100, 1], "total": [1000, 3]}
    )
    figure = plot_splits(table, "Splits")
    axes = axes_of(figure)
    dots = {str(dots.get_label()): dots for dots in axes.collections[1:]}
    assert places(dots["train"]) == [[720, 0], [2, 1]]
    assert places(dots["val"])[1][0] == pytest.approx(axes.get_xlim()[0])
    assert [face == PAPER for face in faces(dots["val"])] == [False, True]
    assert texts(axes) == ["1,000", "3"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["train", "val", "test"]
    assert find_cut_texts(figure) == []


def test_channel_means_are_dots_between_black_and_white() -> None:
    table = pl.DataFrame(
        {"label": ["Ties"], "mean_red": [120.0], "mean_green": [90.0], "mean_blue": [255.0], "contrast": [31.4]}
    )
    axes = axes_of(plot_channels(table, "Colour"))
    assert [places(dots)[0][0] for dots in axes.collections[1:]] == [120, 90, 255]
    assert axes.get_xlim()[0] < 90
    assert axes.get_xlim()[1] > 255
    assert texts(axes) == ["31"]
