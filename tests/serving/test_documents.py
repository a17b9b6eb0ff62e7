"""Test that the examples of the documents run as written, except for the port."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
ADDRESS = "http://127.0.0.1:8000/"


def read_examples(name: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def folder(photographs: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the files that the examples use."""
    shutil.copy(photographs / "more" / "Shoe.jpg", tmp_path / "photo.jpg")
    shutil.copy(photographs / "Hat.png", tmp_path / "other.png")
    shutil.copytree(model, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_curl_examples_run(folder: Path, address: str) -> None:
    [example] = read_examples("serving.md", "sh")
    single, several, explained = example.replace(ADDRESS, address).splitlines()
    for command, labels in ((single, ["Shoe"]), (several, ["Shoe", "Hat"]), (explained, ["Shoe"])):
        done = subprocess.run(
            command.replace("curl", "curl -sS", 1), shell=True, cwd=folder, capture_output=True, text=True, check=True
        )
        results = json.loads(done.stdout)["results"]
        assert [result["label"] for result in results] == labels
        assert all(("heatmap" in result) is (command is explained) for result in results)


@pytest.mark.usefixtures("folder")
def test_the_python_example_calls_the_service(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    [example] = read_examples("serving.md", "python")
    exec(compile(example.replace(ADDRESS, address), "serving.md", "exec"), {})
    assert capsys.readouterr().out.startswith("Shoe ")


@pytest.mark.usefixtures("folder")
def test_the_python_example_classifies_without_a_service(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hangtag.inference.classifier.SHIPPED", Path("model"))
    [example] = [each for each in read_examples("python.md", "python") if "Classifier.load" in each]
    exec(compile(example, "python.md", "exec"), {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["Shoe", "Hat"]
