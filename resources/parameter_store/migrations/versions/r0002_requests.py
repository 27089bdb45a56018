"""Requests of the last day that came with a key, and their answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; its rows are dropped after a day, so nothing guards them."""
    op.create_table(
        "requests",
        sa.Column("caller", sa.String(80), primary_key=True),
        sa.Column("key", sa.String(128), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("headers", sa.Text),
        sa.Column("body", sa.LargeBinary),
    )
    op.create_index("requests_at", "requests", ["at"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("requests")
