"""The tables that the migrations make are the tables that the program maps; every table keeps its rows."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, select

from bridge.store import open_engine, upgrade
from bridge.store.engine import tables_may_be_rebuilt
from bridge.store.schema import _config, _scripts
from bridge.store.tables import Base

REVISIONS = [script.revision for script in reversed(list(_scripts().walk_revisions()))]


def test_migrations_and_mapped_tables_do_not_drift_apart(new_engine):
    with new_engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_row_of_every_revision_is_there_after_the_upgrade(database_url, revision, rows_of_revision):
    engine = open_engine(database_url)
    config = _config()
    with engine.connect() as connection, tables_may_be_rebuilt(connection), connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    before = MetaData()
    before.reflect(engine)
    with engine.begin() as connection:
        for table, row in rows_of_revision(before):
            connection.execute(table.insert().values(row))
    counts = count_rows(engine, before)
    assert all(counts.values()), counts
    upgrade(engine)
    after = count_rows(engine, before)
    engine.dispose()
    assert after == counts


def count_rows(engine, metadata):
    with engine.connect() as connection:
        return {
            table.name: len(connection.execute(select(*table.primary_key)).all())
            for table in metadata.sorted_tables
            if table.name != "alembic_version"
        }
