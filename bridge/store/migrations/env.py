"""Run the migrations over the connection that ``bridge.store.schema`` gives."""

from __future__ import annotations

from alembic import context

from bridge.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter a column in place
)
with context.begin_transaction():
    context.run_migrations()
