"""Connect to PostgreSQL: addresses without passwords, limits on waiting, and transactions that are tried again."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

import psycopg
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from hangtag.errors import SettingsError
from hangtag.reviewing.postgres_errors import REPEATABLE, explain_error, find_code, is_lost

T = TypeVar("T")
SCHEMES = ("postgresql://", "postgres://")
# Parameters of libpq that are never written to a file.
SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
# Limits on waiting, so that no page hangs: for a connection, another transaction, a statement; in seconds.
CONNECT_TIMEOUT, LOCK_TIMEOUT, STATEMENT_TIMEOUT = 5, 5, 10
# A process that stops within a transaction keeps others waiting for this long at most.
IDLE_TIMEOUT = 10
# For how long transactions are tried again after a connection was lost, as by a restart of the database.
RETRY_SECONDS = 8.0
RETRY_PAUSE = 0.2
# While the database cannot be reached, it is tried once in so many seconds; others fail at once.
FAILED_SECONDS = 2.0
# Connections of a process: the review answers this many requests at a time, and others wait.
CONNECTIONS = 8
# The time that a lost server is noticed in, which does not close its connections; libpq's names, in seconds and ms.
KEEPALIVES = {"keepalives_idle": "5", "keepalives_interval": "2", "keepalives_count": "3", "tcp_user_timeout": "10000"}


def parse_address(address: str) -> dict[str, str]:
    """Return the parameters of libpq in an address such as `postgresql://ann@db.example:5432/hangtag`.

    Raises:
        SettingsError: It is not an address of PostgreSQL. It is not shown: its password may be anywhere.
    """
    try:
        if not address.startswith(SCHEMES):
            raise ValueError
        return {name: str(value) for name, value in conninfo_to_dict(address).items()}
    except (ValueError, psycopg.Error):
        raise SettingsError(
            "This is not the address of a database of PostgreSQL.",
            allowed="Allowed: postgresql://USER@HOST:PORT/DATABASE.",
            hint="It is not shown here, since it may hold a password.",
        ) from None


def leave_out_secrets(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that may be written to a file."""
    return {name: value for name, value in parameters.items() if name not in SECRETS}


def describe_place(parameters: Mapping[str, str]) -> str:
    """Return the database and its server for messages."""
    host = parameters.get("host") or parameters.get("hostaddr") or "the default host"
    port = f":{parameters['port']}" if "port" in parameters else ""
    return f"{parameters.get('dbname', 'of the default name')} at {host}{port}"


class Database:
    """A database of PostgreSQL, with a pool of connections. It is thread-safe.

    Args:
        parameters: The parameters of libpq.
    """

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self.place = describe_place(parameters)
        named = {"connect_timeout": str(CONNECT_TIMEOUT), "application_name": "hangtag", **KEEPALIVES, **parameters}
        self._engine = make_engine(named)
        self._lock, self._slots = threading.Lock(), threading.BoundedSemaphore(CONNECTIONS)
        self._was_reached = False
        # When the connection was lost first, and when it was last tried without success, with the reason.
        self._lost_since: float | None = None
        self._failure: tuple[float, SQLAlchemyError] | None = None

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run statements that only read, each by itself; see `transact`."""
        return self._run(lambda connection, _: work(connection.execution_options(isolation_level="AUTOCOMMIT")))

    def transact(self, work: Callable[[Connection, int], T]) -> T:
        """Run a transaction, and commit it.

        It is tried again for some seconds if the connection is lost, even while it commits: it must find out itself
        whether it was committed.

        Args:
            work: Executes the statements; its arguments are the connection and the number of the attempt, from 0.

        Returns:
            What `work` returns.

        Raises:
            StoreError: The database cannot be reached, or an error of it; see `explain_error`.
        """
        return self._run(work, is_write=True)

    def _run(self, work: Callable[[Connection, int], T], *, is_write: bool = False) -> T:
        is_unknown = False
        for attempt in count():
            is_committing = False
            try:
                with self._take_slot(), self._engine.connect() as connection:
                    result = work(connection, attempt)
                    is_committing = is_write
                    if is_write:
                        connection.commit()
            except SQLAlchemyError as error:
                is_unknown |= is_committing and is_lost(error)
                if not self._may_try_again(error, attempt):
                    raise explain_error(error, self.place, is_unknown=is_unknown) from error
            else:
                self._note_success()
                return result
            time.sleep(RETRY_PAUSE)
        raise AssertionError

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _note_success(self) -> None:
        with self._lock:
            self._was_reached, self._lost_since, self._failure = True, None, None

    @contextmanager
    def _take_slot(self) -> Iterator[None]:
        """Wait for one of the connections. The pool would let its waiters wait on after a connection has failed."""
        if not self._slots.acquire(timeout=LOCK_TIMEOUT):
            raise PoolTimeoutError("no connection is free")
        try:
            with self._lock:
                if self._failure and time.monotonic() - self._failure[0] < FAILED_SECONDS:
                    raise self._failure[1].with_traceback(None)
            yield
        finally:
            self._slots.release()

    def _may_try_again(self, error: SQLAlchemyError, attempt: int) -> bool:
        if find_code(error) in REPEATABLE:
            return attempt < 5
        # A wrong address or password does not improve by waiting.
        if not is_lost(error) or not self._was_reached:
            return False
        now = time.monotonic()
        with self._lock:
            self._lost_since = self._lost_since or now
            if now - self._lost_since < RETRY_SECONDS:
                return True
            # An error that was only repeated does not put off the next attempt.
            if not self._failure or error is not self._failure[1]:
                self._failure = (now, error)
            return False


def make_engine(parameters: Mapping[str, str]) -> Engine:
    """Build the pool of connections; each has the limits on waiting."""
    settings = {
        "statement_timeout": STATEMENT_TIMEOUT,
        "lock_timeout": LOCK_TIMEOUT,
        "idle_in_transaction_session_timeout": IDLE_TIMEOUT,
    }

    def connect() -> psycopg.Connection[Any]:
        connection: psycopg.Connection[Any] = psycopg.connect(**parameters)  # type: ignore[arg-type]
        try:
            for name, seconds in settings.items():
                connection.execute("SELECT set_config(%s, %s, false)", (name, f"{seconds}s"))
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    return sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=connect,
        pool_pre_ping=True,
        pool_size=CONNECTIONS,
    )
