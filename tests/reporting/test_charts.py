"""Test the values of bars, line charts, interactive figures, pictures and formatted numbers."""

import base64
import io
import itertools
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hangtag.reporting.charts import build_bars, build_coverage, build_curves, build_heatmap, build_sunburst, find_ticks
from hangtag.reporting.format import (
    MAX_WIDTH,
    embed_picture,
    format_count,
    format_difference,
    format_interval,
    format_score,
    format_share,
)


def test_bars_are_as_long_as_their_counts() -> None:
    bars = build_bars(["a", "b", "c"], [928, 136, 0])
    assert [(bar.label, bar.count, bar.width) for bar in bars] == [("a", 928, 100), ("b", 136, 14.66), ("c", 0, 0)]
    assert build_bars([], []) == []
    assert build_bars(["none"], [0])[0].width == 0


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_span_their_values_with_a_few_even_steps(low: float, span: float) -> None:
    ticks = find_ticks(low, low + span)
    slack = 1e-6 * (abs(low) + span + 1)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + span - slack
    assert 2 <= len(ticks) <= 8
    steps = [after - before for before, after in itertools.pairwise(ticks)]
    assert min(steps) > 0
    assert max(steps) == pytest.approx(min(steps), rel=1e-3, abs=slack)


def test_a_run_without_errors_has_a_coverage_chart() -> None:
    row = {"coverage": 1.0, "precision": 1.0, "precision_low": 0.95}
    chart = build_coverage([("validation", "val", [row], [{"target_precision": 0.9, **row}])])
    assert len({dot.y for line in chart.lines for dot in line.dots}) == 1


@given(st.lists(st.lists(st.floats(0, 5), min_size=1, max_size=30), min_size=1, max_size=3))
def test_curves_stay_inside_their_chart(values: list[list[float]]) -> None:
    chart = build_curves("Loss", [("line", "val", each) for each in values])
    for line, each in zip(chart.lines, values, strict=True):
        points = [tuple(map(float, point.split(","))) for point in line.points.split()]
        assert len(points) == len(each)
        assert all(chart.left <= x <= chart.width and 0 <= y <= chart.bottom for x, y in points)
        assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert len(chart.x_ticks) <= 10


def test_curves_rise_with_their_values_and_leave_out_nan() -> None:
    chart = build_curves("Accuracy", [("line", "val", [0.1, 0.9, float("nan")])])
    first, second = (float(point.split(",")[1]) for point in chart.lines[0].points.split())
    assert first > second  # y grows downwards
    assert [text for _, text in chart.x_ticks] == ["1", "2", "3"]


def test_heatmap_has_the_shares_of_each_row() -> None:
    rows = [("a", "a", 3), ("a", "<b>", 1), ("<b>", "<b>", 2)]
    table = pl.DataFrame(rows, schema=["label", "predicted_label", "count"], orient="row")
    trace = build_heatmap(table, ["<b>", "a", "empty"])
    assert trace["y"] == ["&lt;b&gt;", "a", "empty"]
    assert trace["z"] == [[1, 0, 0], [0.5, pytest.approx(0.866), 0], [0, 0, 0]]
    assert trace["customdata"][1] == [[1, 0.25], [3, 0.75], [0, 0]]


def test_rings_of_a_sunburst_add_up() -> None:
    rows = [("Apparel", "Shirts", 3), ("Apparel", "<i>", 1), ("Footwear", "Shirts", 2)]
    table = pl.DataFrame(rows, schema=["group", "kind", "count"], orient="row")
    trace = build_sunburst(table, ["group", "kind"])
    assert trace["values"][0] == 6
    by_label = dict(zip(trace["labels"], trace["values"], strict=True))
    assert (by_label["Apparel"], by_label["Footwear"], by_label["&lt;i&gt;"]) == (4, 2, 1)
    assert isinstance(trace["values"], list)


@pytest.mark.parametrize(("width", "expected"), [(300, 300), (2 * MAX_WIDTH, MAX_WIDTH)])
def test_pictures_are_encoded_at_a_limited_width(tmp_path: Path, width: int, expected: int) -> None:
    Image.new("RGB", (width, 200), (200, 30, 30)).save(tmp_path / "sheet.png")
    picture = embed_picture(tmp_path / "sheet.png", "a sheet")
    assert picture
    assert picture.alt == "a sheet"
    kind, encoded = picture.src.split(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        assert image.size == (expected, 200 * expected // width) == (picture.width, picture.height)
        red, green, blue = image.convert("RGB").resize((1, 1)).tobytes()
    assert (red, green, blue) == pytest.approx((200, 30, 30), abs=8)


def test_missing_picture_is_left_out(tmp_path: Path) -> None:
    assert embed_picture(tmp_path / "none.png", "nothing") is None


def test_numbers_are_formatted() -> None:
    assert [format_count(value) for value in (12345, 0, 90.5, None)] == ["12,345", "0", "90", "–"]
    assert [format_score(value) for value in (0.91349, 0.91351, None, float("nan"))] == ["0.913", "0.914", "–", "–"]
    assert [format_share(0.7201), format_share(0.5, 0), format_share(None)] == ["72.0 %", "50 %", "–"]
    assert [format_interval([0.9, 0.95]), format_interval(None)] == ["0.900 to 0.950", "–"]
    assert [format_difference(value) for value in (0.0123, -0.0123, None)] == ["+0.012", "−0.012", "–"]
