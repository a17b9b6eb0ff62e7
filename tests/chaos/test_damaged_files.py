"""Every file of a workspace damaged in every way: each command ends well or says in a line or two what is damaged."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from damages import COMMANDS, KINDS

# Each has once ended with a traceback, or not at all.
ALWAYS = [("audit/issues.csv", "folder"), ("labels/class_counts.csv", "full folder"), ("review/manifest.json", "fifo")]
SCRIPT = Path(__file__).parents[1] / "fixtures" / "damages.py"


def attack(scratch: Path, **spec: Any) -> list[dict[str, Any]]:
    """Damage files and return what every command said."""
    path = scratch / "spec.json"
    path.write_text(json.dumps({"scratch": str(scratch), "kinds": KINDS, **spec}))
    done = subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def find_faults(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what was no answer, was too long, named nothing, or was not mended by the command that makes it."""
    return [each for each in found if each["outcome"] not in ("done", "told") or each.get("wrong") or _is_vague(each)]


def _is_vague(each: dict[str, Any]) -> bool:
    said = each["said"].strip().splitlines()
    return each["outcome"] == "told" and (len(said) > 2 or not said[0].startswith(("Error: ", "The page: ")))


def test_damaged_files_are_told(tmp_path: Path) -> None:
    found = attack(tmp_path, small=True, part=0.03, seed=3, always=ALWAYS)
    assert len(found) > 40
    assert any(each["outcome"] == "told" for each in found)
    assert find_faults(found) == []


@pytest.mark.chaos
def test_every_damage_of_every_file_is_told(tmp_path: Path) -> None:
    found = attack(tmp_path)
    cases = {(each["file"], each["kind"]) for each in found}
    told = sum(each["outcome"] == "told" for each in found)
    print(f"{len(cases)} damages, {len(found)} commands of {len(COMMANDS)}, {told} refused")
    assert find_faults(found) == []
