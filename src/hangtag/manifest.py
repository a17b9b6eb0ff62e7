"""Remember what a stage read, was told and wrote, so that it is skipped when nothing has changed."""

import dataclasses
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from hangtag.artifacts import hash_file, hash_json, read_json, write_json
from hangtag.errors import WorkspaceError

NAME = "manifest.json"
LIBRARIES = ("numpy", "polars", "pillow", "scikit-learn", "keras", "tensorflow-cpu", "tensorflow")
# Larger files (the packed pixels) are checked by their size when a stage asks whether it is up to date:
# hashing them again would take longer than some stages.
HASH_CHECK_LIMIT_BYTES = 64_000_000


@dataclass(frozen=True)
class StageResult:
    """What a stage did.

    Attributes:
        stage: The stage's name.
        folder: The folder it writes to.
        counts: What it counted, as its manifest holds it.
        seconds: How long it took; of the earlier run where it was skipped.
        skipped: Whether its inputs and settings had not changed, so that nothing was done.
    """

    stage: str
    folder: Path
    counts: dict[str, Any]
    seconds: float
    skipped: bool = False


class StageRecord:
    """The manifest of one stage in the making.

    Args:
        stage: The stage's name.
        folder: The folder it writes to.
        inputs: A digest for everything it reads.
        settings: Its settings, a dataclass or a plain mapping.
    """

    def __init__(self, stage: str, folder: Path, inputs: Mapping[str, str], settings: Any) -> None:
        self.stage, self.folder, self.inputs = stage, folder, dict(inputs)
        values = dataclasses.asdict(settings) if dataclasses.is_dataclass(settings) else dict(settings)  # type: ignore[arg-type]
        self.settings = {key: _to_json(value) for key, value in values.items()}
        self._started = time.perf_counter()

    def find_current(self) -> StageResult | None:
        """Give the earlier result if it was made from the same inputs and settings and is still whole."""
        manifest = read_manifest(self.folder)
        if manifest is None:
            return None
        wanted = (self.stage, self.inputs, self.settings, _version("hangtag"))
        found = (
            manifest.get("stage"),
            manifest.get("inputs"),
            manifest.get("settings"),
            manifest.get("versions", {}).get("hangtag"),
        )
        if wanted != found or not _outputs_are_whole(self.folder, manifest["outputs"]):
            return None
        return StageResult(self.stage, self.folder, manifest["counts"], manifest["seconds"], skipped=True)

    def finish(self, counts: Mapping[str, Any], outputs: Sequence[Path], **more: Any) -> StageResult:
        """Write `manifest.json` and give the stage's result.

        Args:
            counts: What the stage counted, for people and checks.
            outputs: Every file it wrote, below its folder.
            **more: Further entries (JSON values) that later stages read.
        """
        seconds = round(time.perf_counter() - self._started, 3)
        described = {
            str(path.relative_to(self.folder)): {"bytes": path.stat().st_size, "sha256": hash_file(path)}
            for path in sorted(outputs)
        }
        manifest = {
            "stage": self.stage,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": seconds,
            "counts": dict(counts),
            "settings": self.settings,
            "inputs": self.inputs,
            "outputs": described,
            "versions": read_versions(),
            **more,
        }
        write_json(self.folder / NAME, manifest)
        return StageResult(self.stage, self.folder, dict(counts), seconds)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read a stage's manifest, or give None where the stage has not finished."""
    path = folder / NAME
    return read_json(path) if path.is_file() else None


def require_manifest(folder: Path, hint: str) -> dict[str, Any]:
    """Read a stage's manifest, or say which command makes it.

    Raises:
        WorkspaceError: The stage has not finished in this workspace.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise WorkspaceError(f"The folder {folder.name}/ of this workspace is not made yet.", hint=hint)
    return manifest


def compute_digest(manifest: Mapping[str, Any]) -> str:
    """Give one digest for all that a stage wrote: the same outputs, the same digest."""
    return hash_json({name: output["sha256"] for name, output in manifest["outputs"].items()})


def read_versions() -> dict[str, str]:
    """Give the versions of Python, hangtag and the libraries that figures depend on."""
    versions = {"hangtag": _version("hangtag"), "python": platform.python_version()}
    return versions | {name: version for name in LIBRARIES if (version := _version(name))}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _outputs_are_whole(folder: Path, outputs: Mapping[str, Mapping[str, Any]]) -> bool:
    for name, output in outputs.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != output["bytes"]:
            return False
        if output["bytes"] <= HASH_CHECK_LIMIT_BYTES and hash_file(path) != output["sha256"]:
            return False
    return True


def _to_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_to_json(each) for each in value]
    return str(value) if isinstance(value, Path) else value
