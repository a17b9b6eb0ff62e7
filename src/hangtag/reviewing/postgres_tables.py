"""Define the tables of decisions in PostgreSQL, and bring a database of an earlier version up to date with Alembic."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.engine import Connection

from hangtag.reviewing.store_errors import StoreError

# The tables have a schema of their own, so that the database may have tables of others.
SCHEMA = "hangtag"
VERSION_TABLE = "schema_version"
MIGRATIONS = Path(__file__).parent / "migrations"
# The lock under which one process changes the tables, and the seconds for which the others wait for it.
MIGRATION_LOCK, MIGRATION_TIMEOUT = 0x68616E67, 60

METADATA = sa.MetaData(schema=SCHEMA)
CATALOGUES = sa.Table(
    "catalogues",
    METADATA,
    sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
)
# The columns from `id` to `product` are those of SQLite, see `store_tables`; `id` and `batch` count in each catalogue.
DECISIONS = sa.Table(
    "decisions",
    METADATA,
    sa.Column("catalogue", sa.ForeignKey(CATALOGUES.c.id), primary_key=True),
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("batch", sa.BigInteger, nullable=False),
    sa.Column("item_id", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("column", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("old", sa.Text, nullable=False),
    sa.Column("new", sa.Text, nullable=False),
    sa.Column("suggested", sa.Text, nullable=False),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("reviewer", sa.Text, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("undoes", sa.BigInteger),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("product", sa.Text, nullable=False),
    # The id that a process gives to what it stores together, by which it is found if its confirmation was lost.
    sa.Column("request", sa.Uuid(as_uuid=False), nullable=False),
)
HOLDS = sa.Table(
    "holds",
    METADATA,
    sa.Column("catalogue", sa.ForeignKey(CATALOGUES.c.id), primary_key=True),
    sa.Column("item_id", sa.Text, primary_key=True),
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("column", sa.Text, primary_key=True),
    sa.Column("reviewer", sa.Text, nullable=False),
    sa.Column("until", sa.DateTime(timezone=True), nullable=False),
)
# The columns of a stored decision, in the order of `store_tables.COLUMNS`.
COLUMNS = [each for each in DECISIONS.columns if each.name not in ("catalogue", "request")]


def update_tables(connection: Connection, place: str, config: Config | None = None) -> None:
    """Create the tables, or bring those of an earlier version up to date, in the transaction of the connection.

    One process at a time does so, and no other process sees a part of it.

    Args:
        connection: A connection in a transaction.
        place: The database, for messages.
        config: The migrations; by default those of this version of hangtag.

    Raises:
        StoreError: The tables are of a later version of hangtag, or the database does not store Unicode.
    """
    config = config or make_config()
    if _is_current(connection, place, config):
        return
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{MIGRATION_TIMEOUT}s'"))
    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    if _is_current(connection, place, config):
        return
    _check_encoding(connection, place)
    if not sa.inspect(connection).has_schema(SCHEMA):
        connection.execute(sa.schema.CreateSchema(SCHEMA))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def make_config() -> Config:
    """Return the settings with which Alembic finds the migrations."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _is_current(connection: Connection, place: str, config: Config) -> bool:
    """Return whether the tables are of this version.

    Raises:
        StoreError: They are of a later version.
    """
    options = {"version_table": VERSION_TABLE, "version_table_schema": SCHEMA}
    scripts = ScriptDirectory.from_config(config)
    found = MigrationContext.configure(connection, opts=options).get_current_revision()
    if found is None:
        return False
    try:
        scripts.get_revision(found)
    except CommandError:
        raise StoreError(
            f"The decisions of the review are of a later version of hangtag than this one (tables {found}).",
            received=place,
            hint="Install the version that the other reviewers have.",
            reason="the tables are of a later version",
        ) from None
    return found == scripts.get_current_head()


def _check_encoding(connection: Connection, place: str) -> None:
    encoding = connection.execute(sa.text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise StoreError(
            f"The database stores text as {encoding}, which has no room for every name of a product.",
            received=place,
            hint="Make one with `createdb --encoding=UTF8 --template=template0`.",
            reason=f"the encoding is {encoding}",
        )
