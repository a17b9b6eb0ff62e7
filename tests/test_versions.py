"""Test that the lowest allowed versions are the tested ones."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def read_pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {package.lower(): version for package, version in pairs}


def read_floors() -> dict[str, set[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    floors: dict[str, set[str]] = {}
    for requirement in [*project["dependencies"], *extras]:
        found = re.match(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", requirement)
        assert found, requirement
        floors.setdefault(found[1].lower(), set()).add(found[2])
    return floors


def test_every_lowest_version_is_tested() -> None:
    floors = read_floors()
    # The same release under another name, for systems without the smaller package.
    assert floors.pop("tensorflow") == floors["tensorflow-cpu"]
    assert {name: {version} for name, version in read_pins("constraints-lowest.txt").items()} == floors


def test_every_dependency_is_pinned_for_the_tests() -> None:
    assert set(read_floors()) <= set(read_pins("constraints.txt"))
