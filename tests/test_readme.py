"""The README's example runs as it stands."""

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


def test_every_file_of_the_package_is_in_the_tree() -> None:
    tree = (ROOT / "README.md").read_text()
    for path in sorted((ROOT / "src" / "hangtag").rglob("*.py")):
        if path.name not in ("__init__.py", "__main__.py"):
            assert re.search(rf"\b{re.escape(path.stem)}\.py\b", tree), path
