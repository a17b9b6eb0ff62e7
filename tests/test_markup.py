"""Test that a label, column or file name that contains markup is shown as text in every output, and never rendered."""

import html
import io
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from hangtag import console
from hangtag.figures.confusion_matrix import plot_interactive_confusion
from hangtag.figures.style import save_figure
from hangtag.inference.streaming import Failure
from hangtag.io import escape_markdown
from hangtag.metrics.markdown import Block, _format_class_table, _list_pairs, write_markdown
from hangtag.models.label_space import LabelSpace
from hangtag.serving.model_card import write_card
from hangtag.serving.output import write_table_lines

HOSTILE = '<img src=x onerror=alert(1)>|`x`\n# [a](https:b) **b** </title>&amp;<a href="//c">'
SIGNS = st.text(st.sampled_from("<>&;|`*_[]()!#+-=~\\ \n1.)ab\"'"), min_size=1, max_size=12)
MARKS = st.builds("{}{}{}".format, SIGNS, st.text(st.characters(exclude_categories=["Cs"]), max_size=3), SIGNS)


def render(text: str) -> str:
    return str(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))


def extract_text(rendered: str) -> str:
    """Return the visible text, on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", rendered)).split())


@given(MARKS.filter(lambda text: text.strip() and "\0" not in text))
@example("&lt;b&gt;")
@example("[a](https:b)")
@example("1. one")
@example("--- ")
@example("a | b\\|c")
def test_text_is_shown_in_markdown_and_not_rendered(text: str) -> None:
    wanted = " ".join(text.split())
    listed = render(f"- {escape_markdown(text)}\n")
    assert re.findall(r"<[^>]*>", listed) == ["<ul>", "<li>", "</li>", "</ul>"]
    assert extract_text(listed) == wanted
    cells = render(f"| a | b |\n| --- | --- |\n| {escape_markdown(text)} | 1 |\n")
    assert len(re.findall("<td>", cells)) == 2
    assert set(re.findall(r"</?(\w+)", cells)) == {"table", "thead", "tbody", "tr", "th", "td"}
    assert extract_text(cells) == f"a b {wanted} 1"


def describe(**more: Any) -> dict[str, Any]:
    figures = {"n": 10, "accuracy": 0.5, "macro_f1": 0.5, "ece": 0.1}
    return {
        "run_id": "run",
        "image_size": (80, 60),
        "label_space": {"levels": {HOSTILE: ["a"]}, "attributes": {HOSTILE: ["b"]}},
        "preprocessing": {"color_mode": "color"},
        "check": {"items": 1, "accuracy": 1.0, "keras_accuracy": 1.0, "difference": 0.0, "tolerance": 1.0},
        "calibration": {"photograph": {"thresholds": {"0.9": 0.5}}},
        "out_of_distribution": {"in_distribution_share": 0.9},
        "architecture": "residual",
        "parameters": {"total": 1},
        "flops": 1.0,
        "network": {"sha256": "0", "weights_sha256": "0", "stored_as": "float32"},
        "figures": {"val": figures},
        "label_name": HOSTILE,
    } | more


def test_a_model_card_renders_no_name() -> None:
    rendered = render(write_card(describe(run_id=HOSTILE)))
    assert not re.search(r"<(img|a|strong|h1> \[)", rendered)
    assert "https:" not in "".join(re.findall(r"<[^>]*>", rendered))
    assert rendered.count("<h1>") == 1
    assert extract_text(rendered).count(" ".join(HOSTILE.split())) == 4


def test_a_model_card_says_what_each_figure_is_measured_from() -> None:
    figures: Any = {"n": 1, "accuracy": 0.94, "macro_f1": 0.9, "ece": 0.0, "input": "photograph"}
    named = figures | {"accuracy": 0.99, "input": "photograph and name"}
    card = write_card(describe(run_id="one", figures={"test": figures}, figures_with_names={"test": named}))
    assert "from photographs alone" in card
    parts = card.partition("from photographs and product names together")
    assert "| hold-out | 1 | 0.9400" in parts[0]
    assert "| hold-out | 1 | 0.9900" in parts[2]


@pytest.mark.parametrize(("words", "source"), [(["hat"], "photographs and product names together"), (None, "alone")])
def test_figures_of_an_earlier_export_are_those_of_what_its_run_reads(words: list[str] | None, source: str) -> None:
    card = write_card(describe(run_id="one", words=words))
    assert f"{source}, with 95 % intervals" in card


def test_the_report_of_an_evaluation_renders_no_label() -> None:
    pairs = pl.DataFrame([["val", HOSTILE, HOSTILE, 3, 0.5]], schema=["split", "a", "b", "n", "share"], orient="row")
    row = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "f1_low": 0.5, "f1_high": 1.0, "support": 3}
    rendered = render("\n".join([*_list_pairs(pairs), "", *_format_class_table({HOSTILE: row})]))
    assert set(re.findall(r"</?(\w+)", rendered)) == {"p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
    assert extract_text(rendered).count(" ".join(HOSTILE.split())) == 4


def test_a_comparison_renders_no_column(monkeypatch: pytest.MonkeyPatch) -> None:
    block = Block(f"Evaluated on {HOSTILE}.", ("run", "accuracy"), [("a_b", "0.5 [0.4, 0.6]")], f"With {HOSTILE}.")
    monkeypatch.setattr("hangtag.metrics.markdown.list_blocks", lambda _: [block])
    rendered = render(write_markdown(None))  # type: ignore[arg-type]
    assert not re.search(r"<(img|a|strong|em)", rendered)
    assert "<td>a_b</td>\n<td>0.5 [0.4, 0.6]</td>" in rendered
    assert extract_text(rendered).count(" ".join(HOSTILE.split())) == 2


def test_an_interactive_confusion_matrix_renders_no_label(tmp_path: Path) -> None:
    names = [HOSTILE, "Bags"]
    confusion = pl.DataFrame({"label": names, "predicted_label": names, "count": [1, 2]})
    figure = plot_interactive_confusion(confusion, names, HOSTILE)
    assert figure.data[0].x == (html.escape(HOSTILE), "Bags")
    assert figure.data[0].y == figure.data[0].x
    [page, _] = save_figure(figure, tmp_path / "a.html")
    text = page.read_text(encoding="utf-8")
    assert "<img" not in text
    assert "<a href" not in text
    assert text.count("<title>") == 1
    title = text[text.index("<title>") + 7 : text.index("</title>")]
    assert html.unescape(title).startswith(HOSTILE)


def test_an_unescaped_title_does_not_end_the_head(tmp_path: Path) -> None:
    from plotly.graph_objects import Figure

    [page, _] = save_figure(Figure(layout={"title": {"text": "</title><script>1</script>"}}), tmp_path / "a.html")
    head = page.read_text(encoding="utf-8").partition("</title>")[0]
    assert head.endswith("&lt;/title&gt;&lt;script&gt;1&lt;/script&gt;")


@pytest.mark.parametrize("text", ["[/x]", "[red]a[/red]", "[link=http://a]b"])
def test_a_progress_bar_shows_markup_as_text(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=paper, force_terminal=True, color_system=None, width=200))
    with console.show_progress(f"Predicting {text}", 3, "items") as bar:
        bar.advance()
        bar.describe(f"Reading {text}")
    assert text in paper.getvalue()


@pytest.mark.parametrize("name", ["a\x1b[2Jb.png", "a\nb.png", "a\udcffb.png", "a\u202eb.png"])
def test_a_file_name_sends_no_control_characters_to_the_terminal(name: str) -> None:
    label_space = LabelSpace.of_classes(("a",))
    [_, row] = write_table_lines([(name, Failure("not_an_image", f"no picture {name}"))], label_space)
    assert all(line.isprintable() for line in row[:-1].split("\n"))
    # A line break of the name begins no line: the first column of the lines after the first is empty.
    assert all(line.startswith(" ") for line in row[:-1].split("\n")[1:])
    assert row.endswith("\n")
    row.encode()
