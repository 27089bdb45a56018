"""Where Alembic starts: on the connection, and inside the transaction and the lock, that it was given."""

from __future__ import annotations

from alembic import context

from resources.parameter_store.models import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
