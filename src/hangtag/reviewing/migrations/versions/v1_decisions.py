"""Create the catalogues, their decisions, which are only added to, and the issues that reviewers hold."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "1"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ACTIONS = "action IN ('accept', 'keep', 'choose', 'skip', 'undo')"
ONLY_ADDED = """
CREATE FUNCTION hangtag.refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'decisions are only added'; END $$
"""


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "catalogues",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="hangtag",
    )
    _create_decisions()
    op.create_table(
        "holds",
        sa.Column("catalogue", sa.Uuid(), sa.ForeignKey("hangtag.catalogues.id"), primary_key=True),
        *(sa.Column(name, sa.Text(), primary_key=True) for name in ("item_id", "code", "column")),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        schema="hangtag",
    )


def _create_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("catalogue", sa.Uuid(), sa.ForeignKey("hangtag.catalogues.id"), primary_key=True),
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("item_id", "code", "column", "action")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("old", "new", "suggested")),
        sa.Column("score", sa.Double(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("reviewer", "time")),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("undoes", sa.BigInteger()),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("evidence", "product")),
        sa.Column("request", sa.Uuid(), nullable=False),
        sa.CheckConstraint(ACTIONS, name="decisions_action"),
        schema="hangtag",
    )
    for name, columns in {"item": ["item_id", "id"], "reviewer": ["reviewer", "id"]}.items():
        op.create_index(f"decisions_of_{name}", "decisions", ["catalogue", *columns], schema="hangtag")
    # What is stored twice, or undone twice, is refused, whatever a program does.
    op.create_index(
        "decisions_stored_once", "decisions", ["request", sa.text("(id - batch)")], unique=True, schema="hangtag"
    )
    op.create_index(
        "decisions_undone_once",
        "decisions",
        ["catalogue", "undoes"],
        unique=True,
        schema="hangtag",
        postgresql_where=sa.text("undoes IS NOT NULL"),
    )
    op.execute(ONLY_ADDED)
    for each, events in {"ROW": "UPDATE OR DELETE", "STATEMENT": "TRUNCATE"}.items():
        op.execute(
            f"CREATE TRIGGER refuse_{events.split()[0].lower()} BEFORE {events} ON hangtag.decisions "
            f"FOR EACH {each} EXECUTE FUNCTION hangtag.refuse_change()"
        )
    # The owner of a table has all rights, but those that are taken away; a trigger stops whoever gives them back.
    op.execute("REVOKE UPDATE, DELETE, TRUNCATE ON hangtag.decisions FROM PUBLIC, CURRENT_USER")
