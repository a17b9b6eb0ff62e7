"""Issues as samples of FiftyOne, made-up tags and labels, and the decisions that they become."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from exchanged import check_golden, read_back, write_samples
from issue_queue import make_line, write_issues

from hangtag.config import ExchangeConfig
from hangtag.errors import CatalogError, SettingsError
from hangtag.reviewing.decision_store import read_decisions
from hangtag.stages.exchange import exchange
from hangtag.workspace import Workspace

SHIRTS, TSHIRTS = "Apparel > Topwear > Shirts", "Apparel > Topwear > Tshirts"
CASUAL = "Footwear > Shoes > Casual Shoes"


def read_samples(workspace: Workspace, samples: list[Any], folder: Path, reviewer: str = "Ana") -> dict[str, Any]:
    return dict(read_back(workspace, {"samples": samples}, folder, "fiftyone", reviewer=reviewer).metrics)


def list_reasons(workspace: Workspace) -> list[str]:
    lines = (workspace.review / "not_taken.csv").read_text(encoding="utf-8").splitlines()[1:]
    return [line.split(",")[-1] for line in lines]


def test_a_sample_has_both_labels_the_score_and_tags(workspace: Workspace, tmp_path: Path, drawn: Path) -> None:
    samples = write_samples(workspace, tmp_path / "out")
    first = samples[0]
    assert first["filepath"] == str(drawn.resolve() / "catalog" / "images" / f"{first['product_id']}.jpg")
    assert first["tags"] == ["label_error", "warning", "image"]
    assert first["given"] == {"_cls": "Classification", "label": SHIRTS}
    assert first["suggested"] == {"_cls": "Classification", "label": TSHIRTS, "confidence": 0.97}
    metadata = json.loads((tmp_path / "out" / "metadata.json").read_text(encoding="utf-8"))
    # With a version, FiftyOne would read the folder as a dump of its database.
    assert "version" not in metadata
    assert TSHIRTS in metadata["info"]["default_classes"]


def test_the_files_are_those_of_the_golden_ones(workspace: Workspace, tmp_path: Path, drawn: Path) -> None:
    exchange(workspace, ExchangeConfig(limit=2), tool="fiftyone", output=tmp_path / "out")
    samples = (tmp_path / "out" / "samples.json").read_text(encoding="utf-8")
    samples = re.sub(r'\\"photograph\\": \\"[0-9a-f]{32}', r'\\"photograph\\": \\"HASH', samples)
    check_golden("fiftyone_samples.json", samples.replace(str(drawn.resolve()), "DRAWN"))
    check_golden("fiftyone_metadata.json", (tmp_path / "out" / "metadata.json").read_text(encoding="utf-8"))


def test_tags_and_labels_become_decisions(workspace: Workspace, tmp_path: Path) -> None:
    samples = write_samples(workspace, tmp_path / "out")
    samples[0]["tags"].append("accept")
    samples[1]["tags"].append("keep")
    samples[2]["tags"].append("skip")
    samples[3]["decision"] = {"_cls": "Classification", "label": CASUAL}
    samples[4]["decision"] = None
    del samples[0]["last_modified_at"]
    samples[1]["last_modified_at"] = {"$date": 1773094568728}
    metrics = read_samples(workspace, samples, tmp_path)
    assert metrics == {"accepted": 1, "kept": 1, "chosen": 1, "skipped": 1, "not_taken": 0}
    found = {each.item_id: each for each in read_decisions(workspace)}
    actions = [found[sample["product_id"]].action for sample in samples[:4]]
    assert actions == ["accept", "keep", "skip", "choose"]
    assert {each.reviewer for each in found.values()} == {"Ana"}
    times = [found[sample["product_id"]].time for sample in samples[:4]]
    # Where FiftyOne states no time, it is that of storage.
    assert times[0] > "2026-03-10"
    assert times[1:3] == ["2026-03-09T22:16:08.728+00:00"] * 2


def test_answers_that_contradict_each_other_are_listed(workspace: Workspace, tmp_path: Path) -> None:
    samples = write_samples(workspace, tmp_path / "out")
    samples[0]["tags"] += ["accept", "keep"]
    samples[1]["tags"].append("accept")
    samples[1]["decision"] = {"_cls": "Classification", "label": CASUAL}
    samples[2]["tags"].append("accept")
    samples[2]["hangtag"] = "{"
    samples[3]["decision"] = {"_cls": "Classification", "label": 3}
    samples[4]["tags"].append("keep")
    assert read_samples(workspace, samples, tmp_path)["not_taken"] == 4
    lines = (workspace.review / "not_taken.csv").read_text(encoding="utf-8")
    for reason in (
        "its answers contradict each other (accept, keep)",
        f"its answers contradict each other (accept, decision {CASUAL})",
        "its field `hangtag` is not what was written",
        "its label is no text",
    ):
        assert reason in lines


def test_nothing_can_be_accepted_without_a_suggestion(workspace: Workspace, tmp_path: Path) -> None:
    item_id = write_samples(workspace, tmp_path / "out")[0]["product_id"]
    conflict = make_line(item_id, "Shirts", "", 0.9, code="duplicate_label_conflict")
    write_issues(workspace, [conflict])
    [sample] = write_samples(workspace, tmp_path / "out")
    assert "suggested" not in sample
    sample["tags"].append("accept")
    read_samples(workspace, [sample], tmp_path)
    assert list_reasons(workspace) == ["there is no suggestion to accept"]
    sample["tags"][-1] = "keep"
    assert read_samples(workspace, [sample], tmp_path)["kept"] == 1


def test_a_file_that_is_no_export_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    contents: list[Any] = [[], {"samples": []}, {"samples": [{"filepath": "x"}]}, {"labels": {}}]
    for content in contents:
        with pytest.raises(CatalogError, match="no export of FiftyOne"):
            read_back(workspace, content, tmp_path, "fiftyone", reviewer="Ana")


def test_the_person_must_be_named(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="must name the person"):
        read_samples(workspace, write_samples(workspace, tmp_path / "out"), tmp_path, reviewer=" ")
