"""Run the migrations with the connection, and in the transaction, that `update_tables` passes to Alembic."""

from alembic import context

from hangtag.reviewing.postgres_tables import METADATA, SCHEMA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    version_table_schema=SCHEMA,
)
with context.begin_transaction():
    context.run_migrations()
