"""The mistakes a user can make, each told as what is wrong, what is allowed, what came, and what helps."""


class HangtagError(Exception):
    """A user's mistake: the command line prints it in a line or two and exits with code 2.

    Args:
        what: What is wrong, a sentence.
        allowed: What would be right, a sentence.
        received: The value that came; shown by its `repr`, as `Received: ...`.
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
    """A setting has a value that it cannot have."""


class WorkspaceError(HangtagError):
    """A stage lacks what an earlier stage writes."""


class ModelError(HangtagError):
    """A saved model is missing, damaged, or not what its description says."""


class StalledError(HangtagError):
    """Work in other threads does not come to an end; they cannot be ended but with the process."""


class LeakError(HangtagError):
    """The splits share items, pixels or duplicates, so no honest figure can come of them."""


class MissingExtraError(HangtagError):
    """A stage needs the `train` extra and it is not installed."""
