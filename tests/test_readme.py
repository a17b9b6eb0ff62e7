"""Test the documents: examples run as written, links lead to files, and lines are not too long."""

import json
import re
from pathlib import Path

import pytest

from hangtag.demo_catalog.catalog import write_demo_catalog

ROOT = Path(__file__).resolve().parents[1]


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    write_demo_catalog(tmp_path / "catalog", items_per_kind=15)
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert float(printed.splitlines()[0]) > 0
    assert "| val |" in printed


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads((ROOT / "examples" / "hangtag.ipynb").read_text())
    monkeypatch.chdir(tmp_path)
    variables: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            # A notebook shows the value of the last line.
            exec(compile("".join(cell["source"]), cell["id"], "exec"), variables)
    assert (tmp_path / "workspace" / "audit" / "issues.csv").is_file()
    assert not any(cell.get("outputs") for cell in notebook["cells"])


def test_the_readme_is_short_and_installs_at_once() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert "    pip install ." in lines[:25] or any(line.startswith("    pip install . ") for line in lines[:25])


def test_documents_have_lines_of_at_most_120_characters() -> None:
    long = [
        f"{path.name}:{number}"
        for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        # Tables, commands and pictures cannot be broken.
        if len(line) > 120 and not line.startswith(("|", "- `", "!", "    ")) and path.name != "cli.md"
    ]
    assert long == []


def test_every_module_is_in_the_architecture() -> None:
    listed = (ROOT / "docs" / "architecture.md").read_text()
    for path in sorted((ROOT / "src" / "hangtag").rglob("*.py")):
        # Migrations are scripts that Alembic runs, and nothing imports them.
        if path.name not in ("__init__.py", "__main__.py") and "migrations" not in path.parts:
            assert re.search(rf"^- `{re.escape(path.name)}`: \w", listed, re.MULTILINE), path


def test_links_lead_to_files() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
