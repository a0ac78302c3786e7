"""The version of the database, kept by Alembic."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

from bridge.errors import StoreProblem
from bridge.store.engine import (
    BEGIN_OPTION,
    error_code,
    failures_translated,
    is_there,
    make_sqlite_file_private,
    tables_may_be_rebuilt,
)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "bridge.store:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _require_known(revision: str) -> None:
    if revision not in {script.revision for script in _scripts().walk_revisions()}:
        raise StoreProblem(f"the database has revision {revision}, made by a newer version of the program")


def head_revision() -> str:
    """Return the revision that this program was written for."""
    head = _scripts().get_current_head()
    if head is None:
        raise StoreProblem("the program carries no migrations")
    return head


def current_revision(engine: Engine) -> str | None:
    """Return the revision of the database, None where it has not been set up.

    Raises ``StoreProblem`` where the database does not answer.
    """
    if not is_there(engine):
        return None
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    except DatabaseError as error:
        raise StoreProblem(f"the database cannot be reached or opened{_cause(engine, error)}") from None


def _cause(engine: Engine, error: DatabaseError) -> str:
    """Return SQLite's file, and the database's own name for what is wrong; nothing of a URL's secrets."""
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    named = ", ".join(filter(None, (file, error_code(error))))
    return f" ({named})" if named else ""


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Create the tables or bring them up to date; return the revisions before and after.

    All or nothing, and nothing to do is no error. Raises ``StoreProblem`` where the database does not
    answer or is ahead of this program, ``StoreUnavailable`` where it is held by somebody or full.
    """
    before = current_revision(engine)
    if before is not None:
        _require_known(before)
    make_sqlite_file_private(engine)
    config = _config()
    with (
        failures_translated(),
        engine.execution_options(**{BEGIN_OPTION: "IMMEDIATE"}).connect() as connection,
        tables_may_be_rebuilt(connection),
        connection.begin(),
    ):
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return before, head_revision()


def check_version(engine: Engine) -> None:
    """Raise ``StoreProblem`` unless the database has exactly this program's revision."""
    found, wanted = current_revision(engine), head_revision()
    if found is None:
        raise StoreProblem("the database has not been set up: run koha-jpki init-db")
    _require_known(found)
    if found != wanted:
        raise StoreProblem(
            f"the database has revision {found}, this program needs {wanted}: run koha-jpki init-db"
        )
