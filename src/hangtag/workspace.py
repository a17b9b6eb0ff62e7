"""Where each stage's files live; nothing else builds their paths."""

import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hangtag.errors import WorkspaceError
from hangtag.io import find_part_owner, flush, is_alive, put_in_place, read_json, write_json

# The folder of a workspace's locks.
LOCKS = ".locks"
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Workspace:
    """A folder that holds everything the stages write, one subfolder a stage."""

    root: Path

    @classmethod
    def at(cls, place: "str | Path | Workspace") -> "Workspace":
        """Take a path or a workspace and give a workspace."""
        if isinstance(place, Workspace):
            return place
        root = Path(place).expanduser().absolute()
        if root.exists() and not root.is_dir():
            raise WorkspaceError("The workspace is not a folder.", received=str(place))
        try:
            str(root).encode()
        except UnicodeEncodeError as error:
            # Libraries that write tables take no other names.
            raise WorkspaceError("The workspace's path is no UTF-8 text.", received=str(root)) from error
        return cls(root)

    @property
    def prepared(self) -> Path:
        """What `prepare` writes."""
        return self.root / "prepared"

    @property
    def labels(self) -> Path:
        """What `clean` writes."""
        return self.root / "labels"

    @property
    def exploration(self) -> Path:
        """What `explore` writes."""
        return self.root / "exploration"

    @property
    def runs(self) -> Path:
        """One folder for every training run."""
        return self.root / "runs"

    def run(self, run_id: str) -> Path:
        """What `train` writes for one run; the name cannot leave the folder."""
        if not RUN_ID.fullmatch(run_id):
            raise WorkspaceError(
                "That is no name for a run.",
                allowed="Allowed: letters, digits, '.', '_' and '-', up to 100, a letter or digit first.",
                received=run_id,
            )
        return self.runs / run_id

    def evaluation(self, run_id: str) -> Path:
        """What `evaluate` writes for one run."""
        return self.run(run_id) / "evaluation"

    def predictions(self, run_id: str) -> Path:
        """What `predict` writes for one run."""
        return self.run(run_id) / "predictions"

    def folds(self, run_id: str) -> Path:
        """What `cross-validate` writes for the settings of one run."""
        return self.root / "folds" / self.run(run_id).name

    def fold_ids(self) -> list[str]:
        """Give the names of the finished trainings in folds, in alphabetical order."""
        folder = self.root / "folds"
        if not folder.is_dir():
            return []
        return sorted(each.name for each in folder.iterdir() if (each / "manifest.json").is_file())

    @property
    def audit(self) -> Path:
        """What `audit` writes."""
        return self.root / "audit"

    @property
    def comparison(self) -> Path:
        """What `compare` writes."""
        return self.root / "comparison"

    @property
    def issues(self) -> Path:
        """What `audit` suspects, one line an issue."""
        return self.root / "audit" / "issues.csv"

    @property
    def review(self) -> Path:
        """What `review` and `apply` write."""
        return self.root / "review"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Return every folder that stages write to."""
        first = (self.prepared, self.labels, self.exploration, self.runs, self.root / "folds")
        return (*first, self.audit, self.comparison, self.review)

    @property
    def report(self) -> Path:
        """The page that `report` writes."""
        return self.root / "report.html"

    def stage_folders(self) -> list[Path]:
        """Return the folders of all stages, those of single runs and folds among them, whether they exist or not."""
        stages = [self.prepared, self.labels, self.exploration, self.audit, self.comparison, self.review]
        runs = [path for path in self.runs.glob("*") if path.is_dir()]
        parts = [path / name for path in runs for name in ("evaluation", "predictions")]
        folds = [path for path in (self.root / "folds").glob("*") if path.is_dir()]
        return [*stages, self.root / "report", *runs, *parts, *folds]

    def run_ids(self) -> list[str]:
        """Give the names of the finished runs, in alphabetical order."""
        if not self.runs.is_dir():
            return []
        return sorted(folder.name for folder in self.runs.iterdir() if (folder / "manifest.json").is_file())


def is_workspace(folder: Path) -> bool:
    """Return whether a folder is a workspace: something has been prepared in it, or was begun to be."""
    return (folder / "prepared" / "manifest.json").is_file() or (folder / LOCKS).is_dir()


# Write a folder's new files beside its old ones and switch to them, so that a kill never mixes the two.

STAGING = ".new"
MANIFEST = "manifest.json"
# What of the folder goes away with the switch; written before the manifest, so that a manifest means: all is there.
STALE = "stale.json"
PART = re.compile(r"\..*\.part(\..*)?")


def begin_staging(folder: Path) -> Path:
    """Return an empty folder inside `folder` for its new files; what a stopped process left there is removed."""
    staging = folder / STAGING
    if staging.exists():
        shutil.rmtree(staging)
    staging.mkdir(parents=True)
    return staging


def commit(folder: Path, manifest: object, stale: Sequence[str] = ()) -> None:
    """Write the manifest of the staged files and switch to them.

    Args:
        folder: The folder; its staged files are complete.
        manifest: What `manifest.json` will hold.
        stale: Files and folders in it, by their relative paths, that go away.
    """
    write_json(folder / STAGING / STALE, list(stale))
    write_json(folder / STAGING / MANIFEST, manifest)
    _switch(folder)


def recover(folder: Path) -> None:
    """Finish a switch that was cut short, and remove what else a dead process left.

    Staged files with a manifest are complete: they replace the old ones. Without one they are removed, and the old
    ones stay as they are. Only for a process that has the folder to itself.
    """
    staging = folder / STAGING
    if _is_complete(staging):
        _switch(folder)
    elif staging.is_dir():
        with suppress(OSError):
            # On a disk that cannot be written to it is no hindrance either: nobody reads it.
            shutil.rmtree(staging)
    remove_dead_parts(folder)


def _is_complete(staging: Path) -> bool:
    """Return whether all files are staged: the manifest is written last; a damaged one tells nothing."""
    try:
        return isinstance(read_json(staging / MANIFEST), dict)
    except (OSError, ValueError):
        return False


def has_leftovers(folder: Path) -> bool:
    """Return whether a stopped process left something in the folder."""
    return (folder / STAGING).is_dir() or any(find_parts(folder))


def find_parts(folder: Path) -> list[Path]:
    """Return the temporary files of a folder, those of its subfolders not among them."""
    return [path for path in folder.glob(".*.part*") if PART.fullmatch(path.name)] if folder.is_dir() else []


def remove_dead_parts(folder: Path) -> None:
    """Remove the temporary files of processes that are no more."""
    for path in find_parts(folder):
        if not is_alive(find_part_owner(path)):
            with suppress(OSError):
                path.unlink()


def _switch(folder: Path) -> None:
    """Move the staged files to their places, the manifest last. Can be repeated after a kill at any moment of it."""
    staging = folder / STAGING
    unlink(folder / MANIFEST)
    flush(folder)
    staged = sorted(path for path in staging.rglob("*") if path.is_file() and path.name not in (MANIFEST, STALE))
    for path in staged:
        target = folder / path.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        put_in_place(path, target)
    for name in _read_stale(staging):
        _remove(folder / name)
    put_in_place(staging / MANIFEST, folder / MANIFEST)
    flush(folder)
    shutil.rmtree(staging)


def _read_stale(staging: Path) -> list[str]:
    """Return what goes away; nothing where the list is damaged, and never what is somebody else's."""
    try:
        names = read_json(staging / STALE)
    except (OSError, ValueError):
        return []
    texts = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    # A manifest that was tampered with must name nothing outside, nor the folder itself.
    return [name for name in texts if (path := Path(name)).parts and ".." not in path.parts and not path.is_absolute()]


def unlink(path: Path) -> None:
    """Remove a file, or an empty folder that is in its place."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
