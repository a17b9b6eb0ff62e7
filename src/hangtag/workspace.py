"""Define the paths of a workspace, and replace the old files of a stage's folder by new ones.

All paths of stages are built here. A stage writes its new files to a staging folder beside the old ones. `commit`
switches to them, and `recover` finishes an interrupted switch, so that a kill never leaves a mixture.
"""

import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hangtag.errors import WorkspaceError
from hangtag.io import expand_home, find_part_owner, flush, is_alive, put_in_place, read_json, write_json

# The folder of a workspace's locks.
LOCKS = ".locks"
# The folder inside a stage's folder for new files.
NO_WORKSPACE = "There is no workspace at this path."
WORKSPACE_HINT = (
    "Name another one with --workspace, or make it: `hangtag check CATALOG`, or step by step, first `hangtag prepare "
    "CATALOG` with this workspace."
)
STAGING = ".new"
# The folder inside a run's folder from which an unfinished training continues.
CHECKPOINT = "checkpoint"
# The folder inside `prepared/` of what an interrupted `prepare` decoded.
SHARDS = ".decoded"
# The folder inside a run's `predictions/` of what an interrupted `predict` predicted.
PARTS = ".parts"
MANIFEST = "manifest.json"
# The list of files that the switch removes. It is written before the manifest, so a manifest means that all is staged.
STALE = "stale.json"
# The photographs of items beside the first of each, and their pixels; in `prepared/` of a catalogue that has some.
OTHER_PHOTOGRAPHS, OTHER_IMAGES = "other_photographs.parquet", "other_images.npy"
PART = re.compile(r"\..*\.part(\..*)?")
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Workspace:
    """A folder with everything that the stages write, one subfolder for each stage."""

    root: Path

    @classmethod
    def at(cls, path: "str | Path | Workspace") -> "Workspace":
        """Return the workspace at a path; a workspace is returned as it is.

        Raises:
            WorkspaceError: The path is not a folder, or not UTF-8 text.
        """
        if isinstance(path, Workspace):
            return path
        root = expand_home(path).absolute()
        if root.exists() and not root.is_dir():
            raise WorkspaceError("The workspace is not a folder.", received=str(path))
        try:
            str(root).encode()
        except UnicodeEncodeError as error:
            # Libraries that write tables accept no other names.
            raise WorkspaceError("The workspace's path is not UTF-8 text.", received=str(root)) from error
        return cls(root)

    @property
    def prepared(self) -> Path:
        """Return the folder that `prepare` writes."""
        return self.root / "prepared"

    @property
    def labels(self) -> Path:
        """Return the folder that `clean` writes."""
        return self.root / "labels"

    @property
    def exploration(self) -> Path:
        """Return the folder that `explore` writes."""
        return self.root / "exploration"

    @property
    def runs(self) -> Path:
        """Return the folder of the training runs, one subfolder for each."""
        return self.root / "runs"

    def run(self, run_id: str) -> Path:
        """Return the folder that `train` writes for a run.

        Raises:
            WorkspaceError: The name has characters other than letters, digits, `.`, `_` and `-`, as a path has.
        """
        if not RUN_ID.fullmatch(run_id):
            raise WorkspaceError(
                "This is not a name for a run.",
                allowed="Allowed: letters, digits, '.', '_' and '-', up to 100, a letter or digit first.",
                received=run_id,
            )
        return self.runs / run_id

    def evaluation(self, run_id: str) -> Path:
        """Return the folder that `evaluate` writes for a run."""
        return self.run(run_id) / "evaluation"

    def predictions(self, run_id: str) -> Path:
        """Return the folder that `predict` writes for a run."""
        return self.run(run_id) / "predictions"

    def search_index(self, run_id: str) -> Path:
        """Return the folder that `search` writes for a run."""
        return self.run(run_id) / "search"

    def folds(self, run_id: str) -> Path:
        """Return the folder that `cross-validate` writes for the settings of a run."""
        return self.root / "folds" / self.run(run_id).name

    def fold_ids(self) -> list[str]:
        """Return the names of the finished cross-validations, in alphabetical order."""
        folder = self.root / "folds"
        if not folder.is_dir():
            return []
        return sorted(run.name for run in folder.iterdir() if (run / "manifest.json").is_file())

    @property
    def audit(self) -> Path:
        """Return the folder that `audit` writes."""
        return self.root / "audit"

    @property
    def comparison(self) -> Path:
        """Return the folder that `compare` writes."""
        return self.root / "comparison"

    @property
    def learning_curve(self) -> Path:
        """Return the folder that `learning-curve` writes."""
        return self.root / "learning_curve"

    @property
    def parameter_search(self) -> Path:
        """Return the folder that `train --search` writes."""
        return self.root / "parameter_search"

    @property
    def issues(self) -> Path:
        """Return the issues that `audit` found, a CSV with one line for each."""
        return self.root / "audit" / "issues.csv"

    @property
    def review(self) -> Path:
        """Return the folder that `review` and `apply` write."""
        return self.root / "review"

    @property
    def taxonomy(self) -> Path:
        """Return the folder that `map-taxonomy` writes."""
        return self.root / "taxonomy"

    @property
    def merges(self) -> Path:
        """Return the folder that `suggest-merges` writes."""
        return self.root / "merges"

    @property
    def downloads(self) -> Path:
        """Return the folder with the photographs that `prepare` downloaded, by a hash of their URL."""
        return self.root / "downloads"

    @property
    def check_summary(self) -> Path:
        """Return the summary of the last check, which `check` writes."""
        return self.root / "check.json"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Return every folder that stages write to."""
        first = (self.prepared, self.labels, self.exploration, self.runs, self.root / "folds", self.learning_curve)
        more = (self.parameter_search, self.audit, self.comparison, self.review, self.taxonomy, self.merges)
        return (*first, *more, self.downloads)

    @property
    def report(self) -> Path:
        """Return the page that `report` writes."""
        return self.root / "report.html"

    def stage_folders(self) -> list[Path]:
        """Return the folders of all stages, including those of single runs and folds, whether they exist or not."""
        stages = [self.prepared, self.labels, self.exploration, self.audit, self.comparison, self.review]
        stages += [self.taxonomy, self.merges, self.learning_curve, self.parameter_search]
        runs = [path for path in self.runs.glob("*") if path.is_dir()]
        parts = [path / name for path in runs for name in ("evaluation", "predictions", "search")]
        folds = [path for path in (self.root / "folds").glob("*") if path.is_dir()]
        return [*stages, self.root / "report", *runs, *parts, *folds]

    def run_ids(self) -> list[str]:
        """Return the names of the finished runs, in alphabetical order."""
        if not self.runs.is_dir():
            return []
        return sorted(folder.name for folder in self.runs.iterdir() if (folder / "manifest.json").is_file())


def is_workspace(folder: Path) -> bool:
    """Return whether a folder is a workspace, in which a stage has run or started."""
    return (folder / "prepared" / "manifest.json").is_file() or (folder / LOCKS).is_dir()


def begin_staging(folder: Path) -> Path:
    """Create and return an empty folder inside `folder` for new files; leftovers of a stopped process are removed.

    Raises:
        WorkspaceError: The folder cannot be made.
    """
    staging = folder / STAGING
    if staging.exists():
        shutil.rmtree(staging)
    try:
        staging.mkdir(parents=True)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise WorkspaceError(
            f"This folder cannot be made: {error.strerror}.",
            hint="Choose a folder that can be written, for a workspace with --workspace.",
            received=str(folder),
        ) from error
    return staging


def commit(folder: Path, manifest: object, stale: Sequence[str] = ()) -> None:
    """Write the manifest of the staged files and switch to them.

    Args:
        folder: The stage's folder, with complete staged files.
        manifest: The content of `manifest.json`.
        stale: Files and folders to remove, as paths relative to `folder`.
    """
    write_json(folder / STAGING / STALE, list(stale))
    write_json(folder / STAGING / MANIFEST, manifest)
    _switch_to_staged(folder)


def recover(folder: Path) -> None:
    """Finish an interrupted switch, and remove other leftovers of dead processes.

    Staged files with a manifest are complete and replace the old ones. Without a manifest they are removed, and the
    old ones are kept. The caller must hold the folder's lock.
    """
    staging = folder / STAGING
    if _is_complete(staging):
        _switch_to_staged(folder)
    elif staging.is_dir():
        with suppress(OSError):
            # It may stay on a read-only disk, since nothing reads it.
            shutil.rmtree(staging)
    remove_dead_parts(folder)


def _is_complete(staging: Path) -> bool:
    """Return whether all files are staged, which is so if the manifest, written last, is readable."""
    try:
        return isinstance(read_json(staging / MANIFEST), dict)
    except (OSError, ValueError):
        return False


def has_leftovers(folder: Path) -> bool:
    """Return whether a stopped process left staged or temporary files in the folder."""
    return (folder / STAGING).is_dir() or any(find_parts(folder))


def find_parts(folder: Path) -> list[Path]:
    """Return the temporary files of a folder, without those of its subfolders."""
    return [path for path in folder.glob(".*.part*") if PART.fullmatch(path.name)] if folder.is_dir() else []


def remove_dead_parts(folder: Path) -> None:
    """Remove the temporary files of processes that no longer exist."""
    for path in find_parts(folder):
        if not is_alive(find_part_owner(path)):
            with suppress(OSError):
                path.unlink()


def _switch_to_staged(folder: Path) -> None:
    """Move the staged files over the old ones, the manifest last. This can be repeated after a kill at any moment."""
    staging = folder / STAGING
    unlink(folder / MANIFEST)
    flush(folder)
    staged = sorted(path for path in staging.rglob("*") if path.is_file() and path.name not in (MANIFEST, STALE))
    for path in staged:
        target = folder / path.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        put_in_place(path, target)
    for name in _read_stale(staging):
        _remove_tree(folder / name)
    put_in_place(staging / MANIFEST, folder / MANIFEST)
    flush(folder)
    shutil.rmtree(staging)


def _read_stale(staging: Path) -> list[str]:
    """Return the paths to remove, without paths outside of the folder; none if the list is damaged."""
    try:
        names = read_json(staging / STALE)
    except (OSError, ValueError):
        return []
    texts = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    # A manipulated list must not contain paths outside of the folder or the folder itself.
    return [name for name in texts if (path := Path(name)).parts and ".." not in path.parts and not path.is_absolute()]


def unlink(path: Path) -> None:
    """Remove a file or an empty folder; a missing file is not an error."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _remove_tree(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
