"""Opening the database: SQLite for one node, PostgreSQL where several share it."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
    TimeoutError,  # noqa: A004  # of the pool of connections
)
from sqlalchemy.pool import ConnectionPoolEntry

from bridge.errors import StoreUnavailable
from bridge.store.prepared import run_text

logger = logging.getLogger(__name__)

SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",  # readers do not wait for the writer
    "PRAGMA synchronous = FULL",  # a link that was told to the librarian survives a power cut
    "PRAGMA foreign_keys = ON",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA secure_delete = ON",  # what is wiped is overwritten in the file
)

POSTGRESQL_SETTINGS = ("SET lock_timeout = '5s'",)  # as busy_timeout: whoever waits for a lock is told

CONNECT_TIMEOUT = 5
"""Seconds to wait for a PostgreSQL server that does not answer, where the URL says nothing else."""

BEGIN_OPTION = "sqlite_begin"
"""Execution option: how a transaction begins on SQLite, ``DEFERRED`` or ``IMMEDIATE``."""

QUERY_ONLY_PRAGMA = "PRAGMA query_only = ON"
"""SQLite refuses to write over the connection. Each change of it makes all statements be prepared anew."""

DURABLE_OPTION = "durable"
"""Execution option: False where a commit need not wait for the disk.

Every program sees it at once, and the death of this one takes nothing away. A power cut may: the last such
commits, from the end and without gaps, for the next durable one brings all before it to the disk.
"""

WRITING: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "sqlite": {BEGIN_OPTION: "IMMEDIATE"},
        "postgresql": {"isolation_level": "READ COMMITTED"},
    }
)
"""Dialect: the execution options of transactions that write."""

UNIQUE_VIOLATIONS = frozenset(
    {
        "SQLITE_CONSTRAINT_UNIQUE",  # sqlite.org/rescode.html
        "SQLITE_CONSTRAINT_PRIMARYKEY",
        "23505",  # PostgreSQL, appendix A: unique_violation
    }
)


def open_engine(url: str) -> Engine:
    """Return an engine for *url* (``sqlite:///file`` or ``postgresql+psycopg://...``).

    Nothing is connected yet. Parameters are left out of every error text.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, SQLITE_PRAGMAS)
    timeout = {} if "connect_timeout" in parsed.query else {"connect_timeout": CONNECT_TIMEOUT}
    engine = create_engine(parsed, hide_parameters=True, pool_pre_ping=True, connect_args=timeout)
    event.listen(engine, "connect", _set_up_postgresql)
    event.listen(engine, "begin", _begin_on_postgresql)
    return engine


def open_for_reading(engine: Engine) -> Engine:
    """Return an engine over the same database whose transactions only read, each over one snapshot.

    On SQLite it has connections of its own, as whether one may write is said of a connection.
    """
    if engine.dialect.name == "sqlite":
        # In WAL mode a deferred transaction that only reads waits for nobody and sees one snapshot.
        return _open_sqlite(engine.url, (*SQLITE_PRAGMAS, QUERY_ONLY_PRAGMA))
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _open_sqlite(url: URL, pragmas: Sequence[str]) -> Engine:
    def set_up(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        assert isinstance(connection, sqlite3.Connection)  # noqa: S101  # for the type checker
        connection.isolation_level = None  # the driver must not begin by itself: _begin_on_sqlite does
        for pragma in pragmas:
            connection.execute(pragma)

    engine = create_engine(url, hide_parameters=True)
    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", _begin_on_sqlite)
    return engine


def make_sqlite_file_private(engine: Engine) -> None:
    """Create the database file, if it is not there, readable by its owner only."""
    if engine.dialect.name == "sqlite" and engine.url.database:
        os.close(os.open(Path(engine.url.database), os.O_RDWR | os.O_CREAT, 0o600))


def is_there(engine: Engine) -> bool:
    """Say whether there is a database to connect to: SQLite would make an empty file by itself."""
    return engine.dialect.name != "sqlite" or Path(engine.url.database or "").exists()


def is_unique_violation(error: IntegrityError) -> bool:
    """Say whether a value was there already, and not some other constraint broken."""
    return error_code(error) in UNIQUE_VIOLATIONS


@contextmanager
def failures_translated() -> Iterator[None]:
    """Raise ``StoreUnavailable`` where the database, not the program, is to blame.

    The database's own error is not chained: its text may repeat values.
    """
    try:
        yield
    except SQLAlchemyError as error:
        if not _is_unavailable(error):
            raise
        code = error_code(error) or type(error).__name__
        logger.error("the database cannot be used now: %s", code)  # noqa: TRY400  # no values
        raise StoreUnavailable(code) from None


def _is_unavailable(error: SQLAlchemyError) -> bool:
    # InternalError: PostgreSQL that became a stand-by takes no writes (25006).
    if isinstance(error, OperationalError | InternalError | TimeoutError):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


def error_code(error: SQLAlchemyError) -> str | None:
    """Return the database's own name for an error, such as SQLITE_FULL or 57P01."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    return getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)


def violated_constraint(error: IntegrityError) -> str:
    """Return the name of the constraint that was broken; on SQLite the names of its columns."""
    diagnosis = getattr(error.orig, "diag", None)
    return str(error.orig) if diagnosis is None else str(diagnosis.constraint_name)


@contextmanager
def tables_may_be_rebuilt(connection: Connection) -> Iterator[None]:
    """Let migrations drop and remake tables that others refer to; before a transaction begins.

    SQLite cannot change a column in place, and would take the drop of the old table for the deletion
    of its rows (sqlite.org/lang_altertable.html, 7).
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101  # for the type checker
    driver.execute("PRAGMA foreign_keys = OFF")  # without effect inside a transaction
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys = ON")


class SqliteChanges:
    """``bridge.ports.ChangeCounter`` for SQLite: ``PRAGMA data_version`` over a connection of its own.

    That number tells of the commits of every other connection, in this process or another
    (sqlite.org/pragma.html#pragma_data_version); this connection never commits anything.
    """

    def __init__(self, engine: Engine) -> None:
        # Out of the pool for good: it ends with this object.
        connection = engine.raw_connection()
        driver = connection.driver_connection
        connection.detach()
        assert isinstance(driver, sqlite3.Connection)  # noqa: S101  # for the type checker
        self._cursor = driver.cursor()

    def __call__(self) -> int:
        """Return the number now. Raises ``sqlite3.Error`` where the database cannot be read."""
        version: int = self._cursor.execute("PRAGMA data_version").fetchone()[0]
        return version


def _begin_on_sqlite(connection: Connection) -> None:
    # A writer takes its lock at the start: one that reads first and writes later could find the
    # lock taken and fail at once, without waiting.
    options = connection.get_execution_options()
    # In WAL mode NORMAL leaves the file whole (sqlite.org/pragma.html#pragma_synchronous).
    _set_pragma(connection, "synchronous", "FULL" if options.get(DURABLE_OPTION, True) else "NORMAL")
    run_text(connection, f"BEGIN {options.get(BEGIN_OPTION, 'DEFERRED')}")


def _set_pragma(connection: Connection, name: str, value: str) -> None:
    """Set what the transaction about to begin needs, unless an earlier one on the connection left it so."""
    if connection.info.get(name) != value:
        run_text(connection, f"PRAGMA {name} = {value}")
        connection.info[name] = value


def _set_up_postgresql(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for setting in POSTGRESQL_SETTINGS:
        cursor.execute(setting)
    cursor.close()
    connection.commit()  # or the first roll-back would take the settings back


def _begin_on_postgresql(connection: Connection) -> None:
    if not connection.get_execution_options().get(DURABLE_OPTION, True):
        # Loses three times wal_writer_delay at the most (PostgreSQL, "Asynchronous Commit").
        run_text(connection, "SET LOCAL synchronous_commit = off")
