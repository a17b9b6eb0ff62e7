"""Where each stage's files live; nothing else builds their paths."""

import re
from dataclasses import dataclass
from pathlib import Path

from hangtag.errors import WorkspaceError

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
        """What `train --folds` writes for the settings of one run."""
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
