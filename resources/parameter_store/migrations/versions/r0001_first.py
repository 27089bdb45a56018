"""The first tables, and the triggers that keep history as it was written."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

THE_SAME_ROW = {
    "events": "SELECT 1 FROM events WHERE seq = NEW.seq OR version = NEW.version",
    "progress": "SELECT 1 FROM progress WHERE session = NEW.session AND number = NEW.number",
    "observations": "SELECT 1 FROM observations WHERE experiment = NEW.experiment "
    "AND (number = NEW.number OR key = NEW.key)",
}


def upgrade() -> None:
    """Make all."""
    _tables()
    _guards_of_sqlite() if op.get_bind().dialect.name == "sqlite" else _guards_of_postgres()


def downgrade() -> None:
    """Refuse: history is never dropped."""
    raise NotImplementedError("the history of the parameters is not dropped; keep a copy and make a new one")


def _tables() -> None:
    op.create_table(
        "events",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("scope", sa.String(80)),
        sa.Column("version", sa.Integer),
        sa.Column("subject", sa.String(200)),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_index("events_version", "events", ["version"], unique=True)
    op.create_index("events_scope_kind", "events", ["scope", "kind", "seq"])
    op.create_index("events_subject", "events", ["subject", "seq"])
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("scope", sa.String(80), nullable=False),
        sa.Column("scenario", sa.String(80), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("configuration", sa.Text, nullable=False),
        sa.Column("started_at", sa.String(27), nullable=False),
        sa.Column("status", sa.String(40), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("lease_seconds", sa.Integer, nullable=False),
        sa.Column("heartbeat_at", sa.String(27), nullable=False),
        sa.Column("lease_until", sa.String(27), nullable=False),
        sa.Column("stop", sa.Text),
        sa.Column("state", sa.LargeBinary),
        sa.Column("ended_at", sa.String(27)),
        sa.Column("result", sa.Text),
        sa.CheckConstraint("lease_seconds > 0", name="sessions_lease"),
    )
    running = sa.text("ended_at IS NULL")
    op.create_index(
        "sessions_running", "sessions", ["scope"], unique=True, sqlite_where=running, postgresql_where=running
    )
    op.create_index("sessions_started", "sessions", ["started_at"])
    op.create_table(
        "progress",
        sa.Column("session", sa.String(32), sa.ForeignKey("sessions.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "observations",
        sa.Column("experiment", sa.String(32), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_index("observations_key", "observations", ["experiment", "key"], unique=True)


_LAST_HASH = (
    "coalesce((SELECT hash FROM events ORDER BY seq DESC LIMIT 1), "
    "'0000000000000000000000000000000000000000000000000000000000000000')"
)
_NEXT_SEQ = "coalesce((SELECT max(seq) FROM events), 0) + 1"


def _guards_of_sqlite() -> None:
    execute = op.get_bind().exec_driver_sql
    for table, the_same in THE_SAME_ROW.items():
        for action in ("UPDATE", "DELETE"):
            execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only: no {action}'); END"
            )
        # INSERT OR REPLACE deletes without asking the trigger above.
        execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN EXISTS ({the_same}) "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only: no REPLACE'); END"
        )
    execute(
        "CREATE TRIGGER events_follow BEFORE INSERT ON events "
        f"WHEN NEW.seq <> {_NEXT_SEQ} OR NEW.previous <> {_LAST_HASH} "
        "BEGIN SELECT RAISE(ABORT, 'events: a row must follow the last one'); END"
    )


def _guards_of_postgres() -> None:
    execute = op.get_bind().exec_driver_sql
    execute(
        "CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is append-only: no ' || TG_OP; END $$"
    )
    for table in THE_SAME_ROW:
        execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION append_only()"
        )
        execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION append_only()"
        )
    execute(
        "CREATE FUNCTION events_follow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF NEW.seq <> {_NEXT_SEQ} OR NEW.previous <> {_LAST_HASH} THEN "
        "RAISE EXCEPTION USING MESSAGE = 'events: a row must follow the last one'; END IF; "
        "RETURN NEW; END $$"
    )
    execute(
        "CREATE TRIGGER events_follow BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION events_follow()"
    )
