"""Errors that a user can cause: each says what is wrong, what is allowed, what was received, and what helps."""

import errno
from collections.abc import Callable, Sequence

# Packages of the extra `train`; classifying needs none of them.
TRAIN_PACKAGES = {"jinja2", "joblib", "keras", "matplotlib", "plotly", "polars", "scipy", "sklearn", "snowballstemmer"}
# Errors of the operating system that are no bug: missing permissions, a full or broken disk, a file where a folder
# has to be, too many open files.
REFUSALS = tuple(
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "EIO", "ESTALE", "EBUSY", "ETXTBSY"),
        *("EISDIR", "ENOTDIR", "EEXIST", "ENOTEMPTY", "ELOOP", "ENAMETOOLONG", "EMFILE", "ENFILE", "ENXIO"),
    )
    if hasattr(errno, name)
)


class HangtagError(Exception):
    """A user's mistake: the command line prints it in a line or two and exits with code 2.

    Args:
        what: What is wrong, a sentence.
        allowed: What is allowed, a sentence.
        received: The value that was received; shown by its `repr`, as `Received: ...`.
        hint: What to do, usually the command that helps.
    """

    def __init__(self, what: str, *, allowed: str = "", received: object = None, hint: str = "") -> None:
        parts = [what, allowed]
        if received is not None:
            parts.append(f"Received: {received!r}.")
        parts.append(hint)
        super().__init__(" ".join(part for part in parts if part))


class CatalogError(HangtagError):
    """The catalogue cannot be read as it was described."""


class SettingsError(HangtagError):
    """A setting has a value that is not allowed.

    Args:
        what: What is wrong, a sentence; settings stand in it by their names in braces: `{epochs} must be 1 to 10.`
        allowed: What is allowed, a sentence, with names in braces too.
        received: The value that was received.
        hint: What to do, with names in braces too.
        settings: The names in braces; until `name_settings` they are shown as they are.
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
    """A stage lacks what an earlier stage writes."""


class ModelError(HangtagError):
    """A saved model is missing, damaged, or does not match its description."""


class StalledError(HangtagError):
    """Worker threads do not finish, and only the end of the process can end them."""


class LeakError(HangtagError):
    """The splits share items, pixels or duplicates, so that an evaluation would be too good."""


class MissingExtraError(HangtagError):
    """A stage needs the `train` extra and it is not installed."""


def describe_mistake(error: Exception) -> str | None:
    """Return the message for an error that a user or the system caused; None where the error is a bug."""
    if isinstance(error, HangtagError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        package = str(error.name).partition(".")[0]
        hint = 'Install it with `pip install "hangtag[train]"`.'
        return f"This command needs {package}, which is not installed. {hint}" if package in TRAIN_PACKAGES else None
    if isinstance(error, OSError) and error.errno in REFUSALS:
        where = "" if error.filename is None else f" Received: {str(error.filename)!r}."
        return f"The system refuses it: {error.strerror}.{where}"
    return None
