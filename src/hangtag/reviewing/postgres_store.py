"""Store review decisions in PostgreSQL: append-only, in transactions, with optimistic locking between reviewers."""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.engine import Connection

from hangtag.reviewing.postgres_connection import Database
from hangtag.reviewing.postgres_tables import CATALOGUES, COLUMNS, DECISIONS, HOLDS, update_tables
from hangtag.reviewing.store import (
    ConflictError,
    Decision,
    Identity,
    NewDecision,
    deduplicate,
    find_standing,
    list_values,
    make_undo,
    parse_row,
    read_time,
    select_newer,
)
from hangtag.reviewing.store_errors import StoreError

# A stored decision's columns without `id` and `batch`, as `list_values` returns them.
VALUES = [column.name for column in COLUMNS[2:]]
# New decisions, each with the id of the one that it undoes, and the last id of the catalogue's decisions.
Planned = tuple[list[tuple[NewDecision, int | None]], int]
Build = Callable[[Connection], Planned]


class PostgresStore:
    """Decisions of one catalogue in a database of PostgreSQL, to which processes of several machines may write at once.

    The methods are those of `Store`. A transaction that stores decisions locks the catalogue until it has committed.
    So nothing comes between the check of the versions and the new rows, and the ids increase in the order in which
    decisions become visible: whoever reads those after an id misses none.

    Args:
        parameters: The parameters of libpq.
        catalogue: The catalogue's id.

    Raises:
        StoreError: The database cannot be opened, or does not have the catalogue.
    """

    def __init__(self, parameters: Mapping[str, str], catalogue: str) -> None:
        self._database, self._catalogue = Database(parameters), catalogue
        try:
            self._database.transact(lambda connection, _: self._open(connection))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def read(self, after: int = 0) -> list[Decision]:
        """Return the decisions whose id is greater than `after`, by id.

        Raises:
            StoreError: They cannot be read.
        """
        return self._database.read(lambda connection: self._select(connection, DECISIONS.c.id > after))

    def add(self, decisions: Sequence[NewDecision], reviewer: str, time: str = "") -> list[Decision]:
        """Store decisions in one transaction, all or none; see `Store.add`.

        Raises:
            ConflictError: The last decision about one of the items is not the one that the reviewer saw.
            StoreError: They cannot be written.
        """

        def build(connection: Connection) -> Planned:
            last = self._check_versions(connection, decisions)
            return [(new, None) for new in decisions], last

        return self._write(build, reviewer, time)

    def undo(self, reviewer: str) -> list[Decision]:
        """Undo the reviewer's last batch of decisions that is not undone yet; see `Store.undo`.

        Raises:
            ConflictError: There is a later decision about one of the items.
            StoreError: They cannot be written.
        """

        def build(connection: Connection) -> Planned:
            last = self._find_last_batch(connection, reviewer)
            if not last:
                return [], 0
            self._check_last(connection, last)
            return [(make_undo(undone), undone.id) for undone in last], self._read_last_id(connection)

        return self._write(build, reviewer)

    def hold(self, issues: Sequence[Identity], reviewer: str, *, seconds: float, share: bool = False) -> int | None:
        """Reserve the first issue that no other reviewer holds, in this process or another; see `Store.hold`.

        The clock is that of the database.

        Raises:
            StoreError: It cannot be written.
        """
        if not issues:
            return None

        def reserve(connection: Connection, _: int) -> int:
            held = set() if share else self._list_held(connection, reviewer)
            free = (index for index, issue in enumerate(issues) if issue not in held)
            # Another process may take an issue that was free a moment ago.
            taken = (index for index in free if self._take(connection, issues[index], reviewer, seconds, share=share))
            index = next(taken, None)
            if index is None:
                index = 0
                self._take(connection, issues[0], reviewer, seconds, share=True)
            self._sweep_holds(connection)
            return index

        return self._database.transact(reserve)

    def _open(self, connection: Connection) -> None:
        update_tables(connection, self._database.place)
        found = connection.execute(sa.select(CATALOGUES.c.id).where(CATALOGUES.c.id == self._catalogue)).first()
        if not found:
            raise StoreError(
                "The database does not have the decisions of this workspace.",
                received=self._database.place,
                hint="Name the database that has them, or restore a backup of it.",
                reason="the catalogue is missing",
            )

    def _write(self, build: Build, reviewer: str, time: str = "") -> list[Decision]:
        """Store what `build` plans."""
        request = str(uuid.uuid4())

        def work(connection: Connection, attempt: int) -> list[Decision]:
            # If the connection was lost in a commit, this waits until the server has ended that transaction.
            _lock_catalogue(connection, self._catalogue)
            if attempt and (stored := self._select(connection, DECISIONS.c.request == request)):
                return stored
            rows, last = build(connection)
            if not rows:
                return []
            values = [list_values(new, reviewer, time or read_time(), undoes) for new, undoes in rows]
            numbered = [(last + 1 + offset, last + 1, *each) for offset, each in enumerate(values)]
            _insert(connection, self._catalogue, numbered, lambda _: request)
            return [parse_row(row) for row in numbered]

        return self._database.transact(work)

    def _select(self, connection: Connection, *conditions: sa.ColumnElement[bool]) -> list[Decision]:
        statement = sa.select(*COLUMNS).where(DECISIONS.c.catalogue == self._catalogue, *conditions)
        return [parse_row(row) for row in connection.execute(statement.order_by(DECISIONS.c.id))]

    def _read_last_id(self, connection: Connection) -> int:
        return int(connection.execute(self._select_last_id()).scalar_one())

    def _select_last_id(self, *before: sa.ColumnElement[Any]) -> sa.Select[Any]:
        last = sa.func.coalesce(sa.func.max(DECISIONS.c.id), 0)
        return sa.select(*before, last).where(DECISIONS.c.catalogue == self._catalogue)

    def _check_versions(self, connection: Connection, decisions: Sequence[NewDecision]) -> int:
        """Check that the last decision about each item is the one that was seen; return the catalogue's last id."""
        of_items = self._select_last_id(DECISIONS.c.item_id).where(_is_about({new.item_id for new in decisions}))
        # Both at once: the server may be far away.
        both = self._select_last_id(sa.null()).union_all(of_items.group_by(DECISIONS.c.item_id))
        versions = {row[0]: row[1] for row in connection.execute(both)}
        stale = [new for new in decisions if versions.get(new.item_id, 0) != new.version]
        if stale:
            newer = [
                later
                for new in stale
                for later in select_newer(self._select(connection, DECISIONS.c.item_id == new.item_id), new.version)
            ]
            raise ConflictError(deduplicate(newer))
        return int(versions[None])

    def _find_last_batch(self, connection: Connection, reviewer: str) -> list[Decision]:
        undo = DECISIONS.alias()
        is_undone = sa.exists().where(undo.c.catalogue == self._catalogue, undo.c.undoes == DECISIONS.c.id)
        own = (DECISIONS.c.reviewer == reviewer, DECISIONS.c.action != "undo", ~is_undone)
        last = sa.select(DECISIONS.c.batch).where(DECISIONS.c.catalogue == self._catalogue, *own)
        batch = connection.execute(last.order_by(DECISIONS.c.id.desc()).limit(1)).scalar()
        return (
            [] if batch is None else self._select(connection, DECISIONS.c.batch == batch, DECISIONS.c.id >= batch, *own)
        )

    def _check_last(self, connection: Connection, decisions: Sequence[Decision]) -> None:
        """Check that there is no later decision about the items of decisions that are to be undone."""
        of_items = self._select(connection, _is_about({decision.item_id for decision in decisions}))
        later = [
            other
            for decision in decisions
            for other in find_standing(of_items)
            if other.item_id == decision.item_id and other.id > decision.id and other.batch != decision.batch
        ]
        if later:
            raise ConflictError(deduplicate(later))

    def _list_held(self, connection: Connection, reviewer: str) -> set[Identity]:
        statement = sa.select(HOLDS.c.item_id, HOLDS.c.code, HOLDS.c.column).where(
            HOLDS.c.catalogue == self._catalogue,
            HOLDS.c.reviewer != reviewer,
            HOLDS.c.until > sa.func.clock_timestamp(),
        )
        return {(item_id, code, column) for item_id, code, column in connection.execute(statement)}

    def _sweep_holds(self, connection: Connection) -> None:
        """Remove the holds that are over, but for those that another process is taking."""
        is_over = (HOLDS.c.catalogue == self._catalogue, HOLDS.c.until <= sa.func.clock_timestamp())
        over = sa.select(*HOLDS.primary_key).where(*is_over).with_for_update(skip_locked=True)
        connection.execute(sa.delete(HOLDS).where(sa.tuple_(*HOLDS.primary_key).in_(over)))

    def _take(self, connection: Connection, issue: Identity, reviewer: str, seconds: float, *, share: bool) -> bool:
        """Reserve an issue; return whether it was free, as it may not be any more, or is to be shared."""
        item_id, code, column = issue
        until = sa.func.clock_timestamp() + timedelta(seconds=seconds)
        new = insert(HOLDS).values(
            catalogue=self._catalogue, item_id=item_id, code=code, column=column, reviewer=reviewer, until=until
        )
        is_free = sa.or_(HOLDS.c.until <= sa.func.clock_timestamp(), HOLDS.c.reviewer == reviewer)
        statement = new.on_conflict_do_update(
            index_elements=list(HOLDS.primary_key),
            set_={"reviewer": new.excluded.reviewer, "until": new.excluded.until},
            where=None if share else is_free,
        )
        # A hold need not survive a power failure, so the transaction does not wait for the disk; a statement that sets
        # this, of its own, would be one more way to the server.
        is_lazy = sa.func.set_config("synchronous_commit", "off", sa.true())
        return connection.execute(statement.returning(is_lazy)).first() is not None


def create_catalogue(parameters: Mapping[str, str], catalogue: str, name: str, decisions: Sequence[Decision]) -> None:
    """Add a catalogue to a database, with decisions that were stored elsewhere; all of it or nothing.

    Args:
        parameters: The parameters of libpq.
        catalogue: The new catalogue's id.
        name: Its name, for people who look into the database.
        decisions: The decisions, which keep their ids.

    Raises:
        StoreError: The database cannot be opened or written.
    """
    requests = {decision.batch: str(uuid.uuid4()) for decision in decisions}

    def work(connection: Connection, _: int) -> None:
        update_tables(connection, database.place)
        # If the connection was lost in a commit, this attempt may be the second one.
        row = insert(CATALOGUES).values(id=catalogue, name=name).on_conflict_do_nothing()
        if connection.execute(row.returning(CATALOGUES.c.id)).first() and decisions:
            rows = [
                (each.id, each.batch, *list_values(each, each.reviewer, each.time, each.undoes)) for each in decisions
            ]
            _insert(connection, catalogue, rows, requests.__getitem__)

    with closing(Database(parameters)) as database:
        database.transact(work)


def _lock_catalogue(connection: Connection, catalogue: str) -> None:
    """Keep others from storing decisions about the catalogue until the transaction ends."""
    connection.execute(sa.select(CATALOGUES.c.id).where(CATALOGUES.c.id == catalogue).with_for_update(key_share=True))


def _is_about(item_ids: Collection[str]) -> sa.ColumnElement[bool]:
    # One parameter, however many items a group has.
    return DECISIONS.c.item_id == sa.any_(sa.literal(list(item_ids), ARRAY(sa.Text)))


def _insert(
    connection: Connection, catalogue: str, rows: Sequence[Sequence[Any]], find_request: Callable[[int], str]
) -> None:
    """Insert rows with the values of `COLUMNS`; `find_request` returns the request's id of a batch."""
    connection.execute(
        sa.insert(DECISIONS),
        [
            {
                "catalogue": catalogue,
                "request": find_request(row[1]),
                **dict(zip(["id", "batch", *VALUES], row, strict=True)),
            }
            for row in rows
        ],
    )
