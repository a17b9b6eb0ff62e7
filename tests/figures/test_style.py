import re
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from hangtag.figures.counts import draw_contact_sheet, plot_counts, plot_sunburst, save_figure

TABLE = pl.DataFrame({"value": ["Bags & <Belts>", "靴"], "count": [20, 3]})


def test_figures_and_contact_sheets_are_saved_as_png(tmp_path: Path) -> None:
    for figure in (plot_counts(TABLE, "value", "Items"), draw_contact_sheet([], [], title="Empty")):
        path = tmp_path / "figure.png"
        assert save_figure(figure, path) == [path]
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.getpixel((0, 0))[:3] == (255, 255, 255)  # type: ignore[index]


def test_an_interactive_page_uses_a_local_script_and_no_network(tmp_path: Path) -> None:
    figure = plot_sunburst(TABLE, ["value"], "Bags & <Belts>")
    path = tmp_path / "sunburst.html"
    script = tmp_path / "plotly.min.js"
    assert save_figure(figure, path) == [path, script]
    page = path.read_text(encoding="utf-8")
    assert re.findall(r'src="([^"]*)"', page) == ["plotly.min.js"]
    assert script.stat().st_size > 1_000_000
    assert "<title>Bags &amp; &lt;Belts&gt;</title>" in page
    assert '<html lang="en">' in page


def test_an_interactive_page_has_no_upload_button(tmp_path: Path) -> None:
    path, _ = save_figure(plot_sunburst(TABLE, ["value"], ""), tmp_path / "sunburst.html")
    assert '"showSendToCloud": false' in path.read_text(encoding="utf-8")


def test_a_damaged_script_is_replaced_and_a_valid_one_kept(tmp_path: Path) -> None:
    figure = plot_sunburst(TABLE, ["value"], "")
    _, script = save_figure(figure, tmp_path / "one.html")
    whole, written = script.read_bytes(), script.stat().st_ino
    save_figure(figure, tmp_path / "two.html")
    assert script.stat().st_ino == written
    script.write_text("half")
    save_figure(figure, tmp_path / "two.html")
    assert script.read_bytes() == whole


@pytest.mark.parametrize("name", ["counts.png", "sunburst.html"])
def test_the_same_table_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    for folder in ("a", "b"):
        html = name.endswith("html")
        figure = plot_sunburst(TABLE, ["value"], "T") if html else plot_counts(TABLE, "value", "T")
        save_figure(figure, tmp_path / folder / name)
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
