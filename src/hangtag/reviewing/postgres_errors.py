"""Convert errors of PostgreSQL to messages that tell the user the cause and the solution, without passwords."""

import re

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from hangtag.reviewing.store_errors import StoreError

# Codes of errors (SQLSTATE). These end a transaction that did not commit and succeeds if it is tried again.
REPEATABLE = ("40001", "40P01")
# Another transaction has what this one waits for, or the database is too slow.
BUSY = ("55P03", "57014")
# The server is stopping, starting, or has no connection left; the class 08 means a lost connection.
UNREACHABLE = ("57P01", "57P02", "57P03", "53300")
FULL, NO_RIGHT, READ_ONLY, NO_DATABASE = "53100", "42501", "25006", "3D000"
# The server's reasons to refuse a connection have no code.
NO_PASSWORD = re.compile("password|authentication|pg_hba", re.IGNORECASE)
MISSING = re.compile(r"database \".*\" does not exist")
WHAT = "The decisions of the review cannot be opened"
AGAIN = "Nothing is lost: run the command again once PostgreSQL answers at this address."


def find_code(error: SQLAlchemyError) -> str:
    """Return PostgreSQL's code of an error; empty if it has none, as errors in connecting."""
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def is_lost(error: SQLAlchemyError) -> bool:
    """Return whether an error means that there is no connection to the database, or none any more."""
    if not isinstance(error, DBAPIError):
        return False
    if code := find_code(error):
        return error.connection_invalidated or code.startswith("08") or code in UNREACHABLE
    return error.connection_invalidated or isinstance(error.orig, psycopg.OperationalError)


def explain_error(error: SQLAlchemyError, place: str, *, is_unknown: bool = False) -> StoreError:
    """Build the error to raise for an error of PostgreSQL.

    Args:
        error: The original error.
        place: The database and its server.
        is_unknown: Whether the decisions may have been written all the same.
    """
    code, reason = find_code(error), _find_reason(error)
    is_locked = code in BUSY or isinstance(error, PoolTimeoutError)
    what = f"{WHAT}: {reason}."
    hint = _find_hint(error, code, reason)
    if is_unknown:
        what = f"It is not known whether the decisions were written: {reason}."
        hint = "The next look at the issue shows it; nothing is written twice."
    elif is_locked:
        what, hint = f"{WHAT}: another process keeps PostgreSQL busy.", "Nothing is lost: run the command again."
    return StoreError(what, received=place, hint=hint, reason=reason, is_locked=is_locked, is_unknown=is_unknown)


def _find_hint(error: SQLAlchemyError, code: str, reason: str) -> str:
    if code == NO_RIGHT:
        return "Ask whoever owns the database for the rights that docs/review.md lists."
    if code == READ_ONLY:
        return "Name the server that can be written to, not a copy of it."
    if code == FULL:
        return "The decisions stay as they are: run the command again once the server's disk has room."
    if code == NO_DATABASE or (not code and MISSING.search(reason)):
        return "Make it with `createdb`, or correct its name."
    if not code and NO_PASSWORD.search(reason):
        return "The password comes from ~/.pgpass, PGPASSWORD, or the address in HANGTAG_DECISIONS."
    return AGAIN if is_lost(error) else "Nothing was written."


def _find_reason(error: SQLAlchemyError) -> str:
    """Return the reason in one line, without the statement and its values."""
    original = getattr(error, "orig", None) or error
    text = str(getattr(getattr(original, "diag", None), "message_primary", None) or original)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Of an error in connecting, the first line has the cause, or the last one of several addresses.
    return (lines[0] if lines else type(original).__name__).removesuffix(".")
