"""Record each stage's inputs, settings and outputs, so that unchanged stages are skipped."""

import dataclasses
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from hangtag.errors import WorkspaceError
from hangtag.io import JsonObject, hash_file, hash_json, read_json, write_json
from hangtag.results import StageResult
from hangtag.workspace import STAGING, begin_staging, commit

NAME = "manifest.json"
LIBRARIES = ("numpy", "polars", "pillow", "scikit-learn", "keras", "tensorflow-cpu", "tensorflow")
# Entries of a manifest on which later stages depend: the meaning of columns, and the taxonomy.
READ_ENTRIES = ("schema", "taxonomy_text")
# The required entries of a manifest and their types.
ENTRIES: dict[str, type | tuple[type, ...]] = {
    "stage": str,
    "finished": str,
    "seconds": (int, float),
    "counts": dict,
    "settings": dict,
    "inputs": dict,
    "outputs": dict,
    "versions": dict,
}
# A hash of all other entries, since a damaged manifest may still be valid JSON. Earlier versions did not write it.
DIGEST = "digest"
# Files that no later stage reads.
OWN_FILES = ("photographs.parquet", "repaired.csv", "changes.csv")


class StageRecord:
    """The manifest of a stage that is running.

    Args:
        stage: The stage's name.
        folder: The folder that the stage writes to.
        inputs: A hash of each input, by name.
        settings: The stage's settings, a dataclass or a mapping.

    Attributes:
        work: The folder for new files, until `finish` moves them to `folder`; see `begin`.
    """

    def __init__(self, stage: str, folder: Path, inputs: Mapping[str, str], settings: Any) -> None:
        self.stage, self.folder, self.inputs = stage, folder, dict(inputs)
        values = dataclasses.asdict(settings) if dataclasses.is_dataclass(settings) else dict(settings)  # type: ignore[arg-type]
        self.settings = {key: _to_json(value) for key, value in values.items()}
        self.work = folder / STAGING
        self._started = time.perf_counter()

    def begin(self) -> Path:
        """Create the empty folder `work` and return it. The earlier files in `folder` are kept until `finish`."""
        return begin_staging(self.folder)

    def load_if_unchanged(self) -> StageResult | None:
        """Return the earlier result if inputs, settings, version and files are unchanged, else None."""
        manifest = read_manifest(self.folder)
        if manifest is None:
            return None
        current = (self.stage, self.inputs, self.settings, read_version("hangtag"))
        recorded = (
            manifest.get("stage"),
            manifest.get("inputs"),
            manifest.get("settings"),
            manifest.get("versions", {}).get("hangtag"),
        )
        if current != recorded or _find_changed_files(self.folder, manifest):
            return None
        return StageResult(self.stage, self.folder, manifest["counts"], manifest["seconds"], skipped=True)

    def find_other_settings(self) -> dict[str, tuple[Any, Any]]:
        """Return the settings that differ from those of the earlier result in the folder, as (earlier, now)."""
        earlier = (read_manifest(self.folder) or {"settings": self.settings})["settings"]
        names = dict.fromkeys([*earlier, *self.settings])
        both = {name: (earlier.get(name), self.settings.get(name)) for name in names}
        return {name: values for name, values in both.items() if values[0] != values[1]}

    def finish(
        self, counts: Mapping[str, Any], outputs: Sequence[Path], *, stale: Sequence[str] = (), **more: Any
    ) -> StageResult:
        """Move the new files to the folder, write `manifest.json` and return the stage's result.

        Files of the earlier result that were not written again are removed. A kill at any moment leaves the earlier
        result, the new one, or an incomplete switch that the next command finishes, but never a mixture with a
        manifest.

        Args:
            counts: The counts and metrics of the stage.
            outputs: Every file that the stage wrote, below `work` or already in `folder`.
            stale: Further files and folders to remove, by paths relative to the folder.
            **more: Further entries (JSON values) that later stages read.
        """
        seconds = round(time.perf_counter() - self._started, 3)
        self.work.mkdir(parents=True, exist_ok=True)
        described = {
            self._get_output_name(path): {"bytes": path.stat().st_size, "sha256": hash_file(path)}
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
        earlier = (read_manifest(self.folder) or {"outputs": {}})["outputs"]
        commit(self.folder, _add_digest(manifest), [*(name for name in earlier if name not in described), *stale])
        return StageResult(self.stage, self.folder, dict(counts), seconds)

    def update(self, **more: Any) -> None:
        """Update entries of a finished manifest that are not part of the result."""
        manifest = read_manifest(self.folder)
        if manifest is not None and any(manifest.get(name) != value for name, value in more.items()):
            write_json(self.folder / NAME, _add_digest(manifest | more))

    def _get_output_name(self, path: Path) -> str:
        return path.relative_to(self.work if path.is_relative_to(self.work) else self.folder).as_posix()


def read_manifest(folder: Path) -> JsonObject | None:
    """Read a stage's manifest; return None if the stage has not finished or the manifest is damaged."""
    try:
        manifest = read_json(folder / NAME)
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and _is_valid(manifest) else None


def _is_valid(manifest: JsonObject) -> bool:
    if not all(isinstance(manifest.get(key), kind) for key, kind in ENTRIES.items()):
        return False
    return DIGEST not in manifest or manifest[DIGEST] == _add_digest(manifest)[DIGEST]


def _add_digest(manifest: Mapping[str, Any]) -> JsonObject:
    """Return the manifest as it is after writing and reading JSON, with a hash of all other entries."""
    rest: JsonObject = json.loads(json.dumps({name: manifest[name] for name in manifest if name != DIGEST}))
    return rest | {DIGEST: hash_json(rest)}


def find_manifest(folder: Path, hint: str) -> JsonObject | None:
    """Read a stage's manifest as `require_manifest` does, or return None if the stage has not finished.

    Raises:
        WorkspaceError: The manifest is damaged, or files have changed since the stage ran.
    """
    return require_manifest(folder, hint) if os.path.lexists(folder / NAME) else None


def require_manifest(folder: Path, hint: str, names: Sequence[str] | None = None) -> JsonObject:
    """Read a stage's manifest and check that its files are unchanged.

    Args:
        folder: The stage's folder.
        hint: A sentence with the command that writes the folder.
        names: The files to check; by default all that the stage wrote.

    Raises:
        WorkspaceError: The stage has not finished in this workspace, or its files have changed since it ran.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        what = "is not made yet"
        if os.path.lexists(folder / NAME):
            what = f"cannot be used: its {NAME} is damaged"
        elif (folder / STAGING).exists():
            what = "is not finished: the command that writes it was stopped, or is at work"
        raise WorkspaceError(f"The folder {_name_folder(folder)}/ of this workspace {what}.", hint=hint)
    if changed := _find_changed_files(folder, manifest, names):
        raise WorkspaceError(
            f"Files of {_name_folder(folder)}/ are not those that the command wrote: changed, damaged, or gone.",
            received=changed[:5],
            hint=hint,
        )
    return manifest


def _name_folder(folder: Path) -> str:
    """Return a folder's name for messages, including the run's name if it is a folder of a run."""
    depth = 3 if folder.parent.parent.name == "runs" else 2 if folder.parent.name in ("runs", "folds") else 1
    return "/".join(folder.parts[-depth:])


def compute_digest(manifest: Mapping[str, Any]) -> str:
    """Compute one hash of all results of a stage that later stages read: its files and the entries `READ_ENTRIES`."""
    outputs = {name: output["sha256"] for name, output in manifest["outputs"].items() if name not in OWN_FILES}
    return hash_json([outputs, {name: manifest[name] for name in READ_ENTRIES if name in manifest}])


def read_versions() -> dict[str, str]:
    """Return the versions of Python, hangtag and the libraries that results depend on."""
    versions = {"hangtag": read_version("hangtag"), "python": platform.python_version()}
    return versions | {name: version for name in LIBRARIES if (version := read_version(name))}


def read_version(name: str) -> str:
    """Return the version of an installed package, or an empty text."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _find_changed_files(folder: Path, manifest: Mapping[str, Any], names: Sequence[str] | None = None) -> list[str]:
    """Return the files that differ from the manifest by size or hash; every file is read in full."""
    outputs = manifest["outputs"]
    checked = outputs if names is None else names
    return [name for name in checked if not _is_unchanged(folder / name, outputs.get(name))]


def _is_unchanged(path: Path, output: Any) -> bool:
    try:
        status = path.stat()
        if status.st_size != output["bytes"]:
            return False
        return bool(_hash_once(path, status.st_ino, status.st_size, status.st_mtime_ns) == output["sha256"])
    except (OSError, KeyError, TypeError):
        return False


@lru_cache(maxsize=4096)
def _hash_once(path: Path, *_identity: int) -> str:
    """Hash a file once for each state of the file, since a stage checks the packed pixels several times."""
    return hash_file(path)


def _to_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_to_json(part) for part in value]
    return str(value) if isinstance(value, Path) else value
