"""The tables. Events, progress and observations are only ever appended to; the database sees to that."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

__all__ = ["METADATA", "SCHEMA_VERSION", "events", "observations", "progress", "requests", "sessions"]

SCHEMA_VERSION = "0002"
"""Revision of Alembic that these tables are at."""

METADATA = MetaData()

events = Table(
    "events",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", String(27), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("scope", String(80)),
    Column("version", Integer),
    Column("subject", String(200)),
    Column("actor", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index("events_version", "version", unique=True),
    Index("events_scope_kind", "scope", "kind", "seq"),
    Index("events_subject", "subject", "seq"),
)

sessions = Table(
    "sessions",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("scope", String(80), nullable=False),
    Column("scenario", String(80), nullable=False),
    Column("actor", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("configuration", Text, nullable=False),
    Column("started_at", String(27), nullable=False),
    Column("status", String(40), nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("token", String(32), nullable=False),
    Column("lease_seconds", Integer, nullable=False),
    Column("heartbeat_at", String(27), nullable=False),
    Column("lease_until", String(27), nullable=False),
    Column("stop", Text),
    Column("state", LargeBinary),
    Column("ended_at", String(27)),
    Column("result", Text),
    CheckConstraint("lease_seconds > 0", name="sessions_lease"),
    # One running session a scope, whatever a process believes.
    Index(
        "sessions_running",
        "scope",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index("sessions_started", "started_at"),
)

progress = Table(
    "progress",
    METADATA,
    Column("session", String(32), ForeignKey("sessions.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", String(27), nullable=False),
    Column("content", Text, nullable=False),
)

observations = Table(
    "observations",
    METADATA,
    Column("experiment", String(32), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("key", String(200), nullable=False),
    Column("at", String(27), nullable=False),
    Column("content", Text, nullable=False),
    Index("observations_key", "experiment", "key", unique=True),
)

requests = Table(
    "requests",
    METADATA,
    Column("caller", String(80), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("at", String(27), nullable=False),
    Column("status", Integer),
    Column("headers", Text),
    Column("body", LargeBinary),
    Index("requests_at", "at"),
)
