"""Define the errors that a user can cause, with messages that explain the problem and the solution."""

import errno
from collections.abc import Callable, Sequence

# Packages of the extra `train`; classifying needs none of them.
TRAIN_PACKAGES = {
    "jinja2",
    "joblib",
    "keras",
    "matplotlib",
    "plotly",
    "polars",
    "scipy",
    "sklearn",
    "snowballstemmer",
    "urllib3",
}
# Errors of the operating system that are not bugs: missing permissions, a full or broken disk, a file in place of a
# folder, too many open files.
REFUSALS = tuple(
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "EIO", "ESTALE", "EBUSY", "ETXTBSY"),
        *("EISDIR", "ENOTDIR", "EEXIST", "ENOTEMPTY", "ELOOP", "ENAMETOOLONG", "EMFILE", "ENFILE", "ENXIO"),
    )
    if hasattr(errno, name)
)


class HangtagError(Exception):
    """Base of all errors that a user can cause; the command line prints the message and exits with code 2.

    Args:
        what: A sentence that says what is wrong.
        allowed: A sentence that says what is allowed.
        received: The received value; shown by its `repr`, as `Received: ...`.
        hint: A sentence that says what to do, usually the command that helps.
    """

    def __init__(self, what: str, *, allowed: str = "", received: object = None, hint: str = "") -> None:
        self.what = what
        parts = [what, allowed]
        if received is not None:
            parts.append(f"Received: {received!r}.")
        parts.append(hint)
        super().__init__(" ".join(part for part in parts if part))


class CatalogError(HangtagError):
    """Raised if the catalogue, or its description, cannot be read."""


class SettingsError(HangtagError):
    """Raised if a setting has a value that is not allowed.

    Args:
        what: A sentence that says what is wrong, with names of settings in braces: `{epochs} must be 1 to 10.`
        allowed: A sentence that says what is allowed; it may contain names in braces too.
        received: The received value.
        hint: A sentence that says what to do; it may contain names in braces too.
        settings: The names in braces. `name_settings` replaces them by flags or keys; until then they are shown.
    """

    def __init__(
        self, what: str, *, allowed: str = "", received: object = None, hint: str = "", settings: Sequence[str] = ()
    ) -> None:
        self._texts, self._received, self._settings = (what, allowed, hint), received, tuple(settings)
        what, allowed, hint = self._replace_names(str)
        super().__init__(what, allowed=allowed, received=received, hint=hint)

    def name_settings(self, describe: Callable[[str], str]) -> "SettingsError":
        """Return the error with each setting named as the user typed it: a flag, or a key and line of a file."""
        what, allowed, hint = self._replace_names(describe)
        return SettingsError(what, allowed=allowed, received=self._received, hint=hint)

    def _replace_names(self, describe: Callable[[str], str]) -> list[str]:
        texts = list(self._texts)
        for name in self._settings:
            texts = [text.replace(f"{{{name}}}", describe(name)) for text in texts]
        return texts


class WorkspaceError(HangtagError):
    """Raised if a stage lacks the output of an earlier stage, or the workspace cannot be used."""


class ModelError(HangtagError):
    """Raised if a saved model is missing, damaged, or does not match its description."""


class StalledError(HangtagError):
    """Raised if worker threads do not finish, so that only the end of the process can stop them."""


class LeakError(HangtagError):
    """Raised if the splits share items, pixels or duplicates, so that an evaluation would be too optimistic."""


class RunnerError(HangtagError):
    """Raised if a Ray cluster cannot be used: it is not there, or its nodes cannot do the work."""


class MissingExtraError(HangtagError):
    """Raised if a stage needs an optional dependency that is not installed."""


def describe_mistake(error: Exception) -> str | None:
    """Return the message for an error that the user or the system caused, or None if the error is a bug."""
    if isinstance(error, HangtagError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        package = str(error.name).partition(".")[0]
        hint = 'Install it with `pip install "hangtag[train]"`.'
        return f"This command needs {package}, which is not installed. {hint}" if package in TRAIN_PACKAGES else None
    if isinstance(error, OSError) and error.errno in REFUSALS:
        where = "" if error.filename is None else f" Received: {str(error.filename)!r}."
        return f"The operating system reports: {error.strerror}.{where}"
    return None
