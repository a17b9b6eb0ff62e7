"""Test the static and interactive figures of the confusion matrix."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from hangtag.figures.confusion_matrix import MAX_INCHES, plot_confusion, plot_interactive_confusion
from hangtag.figures.style import ACCENT, PAPER

NAMES = ("Bags", "$hoes_$", "2012", "Ties")
CONFUSION = pl.DataFrame(
    [("Bags", "Bags", 1234), ("Bags", "2012", 6), ("2012", "Ties", 2), ("2012", "2012", 2), ("Ties", "Ties", 1)],
    schema=["label", "predicted_label", "count"],
    orient="row",
)


def test_every_cell_shows_its_count() -> None:
    [axes] = plot_confusion(CONFUSION, NAMES, "run, val").axes
    written = {(text.get_position()[::-1], text.get_text()) for text in axes.texts}
    assert written == {((0, 0), "1,234"), ((0, 2), "6"), ((2, 3), "2"), ((2, 2), "2"), ((3, 3), "1")}


def test_axis_labels_are_the_class_names_unchanged() -> None:
    figure = plot_confusion(CONFUSION, NAMES, "run, val")
    figure.draw_without_rendering()
    [axes] = figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(NAMES)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(NAMES)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Predicted label", "Label")
    heading = axes.get_title(loc="left").replace("\n", " ")
    assert heading == "run, val: 1,245 items, colour by the share of the row"


def test_the_title_of_a_small_matrix_fits_the_figure() -> None:
    figure = plot_confusion(CONFUSION, NAMES, "residual-gender-color-0-and-some-more, val")
    figure.draw_without_rendering()
    [axes] = figure.axes
    [heading] = [text for text in axes.get_children() if isinstance(text, Text) and "colour by" in text.get_text()]
    assert heading.get_window_extent().x1 <= figure.bbox.x1


def test_the_colour_shows_the_share_of_the_row_not_the_count() -> None:
    [axes] = plot_confusion(CONFUSION, NAMES, "run, val").axes
    [image] = axes.images
    colors = np.asarray(image.to_rgba(np.asarray(image.get_array())))
    assert to_hex(colors[3, 3]) == ACCENT
    assert to_hex(colors[1, 1]) == PAPER
    assert colors[0, 0][0] < colors[2, 2][0] < colors[0, 2][0] < 1


def test_class_names_fit_the_figure() -> None:
    names = [f"Loungewear and Nightwear {number}" for number in range(30)]
    confusion = pl.DataFrame({"label": names, "predicted_label": names, "count": [1] * 30})
    figure = plot_confusion(confusion, names, "run, val")
    figure.draw_without_rendering()
    [axes] = figure.axes
    for tick in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        box = tick.get_window_extent()
        assert box.x0 >= 0
        assert box.y0 >= 0
    rows = [tick.get_window_extent() for tick in axes.get_yticklabels()]
    assert all(upper.y0 > lower.y1 for upper, lower in pairwise(rows))


@pytest.mark.parametrize(("num_classes", "numbered"), [(142, True), (400, False)])
def test_the_figure_of_many_classes_can_be_opened(num_classes: int, numbered: bool) -> None:
    names = [str(number) for number in range(num_classes)]
    confusion = pl.DataFrame({"label": names[:2], "predicted_label": names[:2], "count": [1, 1]})
    figure = plot_confusion(confusion, names, "run, val")
    assert max(figure.get_size_inches()) <= MAX_INCHES
    assert bool(figure.axes[0].texts) == numbered


def test_the_interactive_matrix_shows_labels_counts_and_shares() -> None:
    figure = plot_interactive_confusion(CONFUSION, NAMES, "run, val")
    [heatmap] = figure.data
    assert list(heatmap.x) == list(heatmap.y) == list(NAMES)
    assert np.asarray(heatmap.customdata)[0, 2].tolist() == [6, pytest.approx(6 / 1240)]
    assert np.asarray(heatmap.z)[2, 3] == pytest.approx(np.sqrt(0.5))
    # Else the class 2012 would lie two thousand cells away.
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "category"
    assert figure.layout.yaxis.autorange == "reversed"
    assert figure.layout.title.text.startswith("run, val: 1,245 items")
