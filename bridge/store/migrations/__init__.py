"""Alembic's environment; ``bridge.store.schema`` runs it."""
