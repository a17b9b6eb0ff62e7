"""Test the results of stages and the public names of the package."""

from pathlib import Path

import pytest
from drawn import draw, encode

import hangtag
from hangtag.demo_catalog.catalog import write_demo_catalog
from hangtag.results import StageResult


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_demo_catalog(folder / "catalog", items_per_kind=10)
    return folder / "workspace"


def test_results_have_their_tables(workspace: Path) -> None:
    prepared = hangtag.prepare(workspace.parent / "catalog", workspace)
    assert len(prepared.items) == prepared.metrics["items"]
    assert {"code", "reason"} <= set(prepared.rejected.columns)
    cleaned = hangtag.clean(workspace)
    assert {"item_id", "label", "split", "group_id"} <= set(cleaned.labels.columns)
    assert "rule" in cleaned.label_changes.columns
    audited = hangtag.audit(workspace)
    assert len(audited.issues) == audited.metrics["issues"]
    assert audited.issues["score"].is_sorted(descending=True)
    skipped = hangtag.audit(workspace)
    assert skipped.skipped
    assert skipped.issues.equals(audited.issues)


def test_a_result_prints_and_shows_as_a_table() -> None:
    result = StageResult("train", Path("runs/<b>"), {"val_accuracy": 0.91234, "items": {"train": 1200}}, 65.0)
    assert str(result).splitlines() == [
        "train: done in 1 min 05 s",
        "  val accuracy  0.9123",
        "  items train   1,200",
        f"  in {Path('runs/<b>')}",
    ]
    shown = result._repr_html_()
    assert "<th>val accuracy</th><td>0.9123</td>" in shown
    assert "<b>" not in shown


def test_photographs_are_classified_from_files_and_from_bytes(tmp_path: Path) -> None:
    photograph = encode(draw("Hat", 1))
    (tmp_path / "hat.png").write_bytes(photograph)
    (tmp_path / "none.png").write_bytes(b"none")
    one, other, failed = hangtag.classify([photograph, tmp_path / "hat.png", tmp_path / "none.png"])
    assert isinstance(one, hangtag.Prediction)
    assert one == other
    assert isinstance(failed, hangtag.Failure)
    assert hangtag.classify(tmp_path) == [one, failed]


@pytest.mark.parametrize("name", hangtag.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(hangtag, name) is not None


def test_every_command_is_a_function_and_a_module() -> None:
    from typer.main import get_command

    from hangtag.cli import app

    stages = Path(hangtag.__file__).parent / "stages"
    for command in get_command(app).commands:  # type: ignore[attr-defined]
        if command != "models":
            name = command.replace("-", "_")
            assert callable(getattr(hangtag, name))
            assert name in ("run", "demo") or (stages / f"{name}.py").is_file()
