"""The store over SQLAlchemy: one transaction, all the queries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from bridge.ports import AuditSealer, ChangeCounter, Transaction
from bridge.store.audit import AuditLog, AuditQueries
from bridge.store.bulk_unlinkings import BulkUnlinkingQueries
from bridge.store.categories import CategoryMoveQueries
from bridge.store.challenges import ChallengeQueries
from bridge.store.consents import ConsentQueries
from bridge.store.desk import DeskQueries
from bridge.store.engine import (
    DURABLE_OPTION,
    WRITING,
    SqliteChanges,
    failures_translated,
    open_for_reading,
)
from bridge.store.guesses import GuessQueries
from bridge.store.housekeeping import HousekeepingQueries
from bridge.store.keys import KeyQueries
from bridge.store.link_requests import LinkRequestQueries
from bridge.store.link_steps import LinkStepQueries
from bridge.store.links import LinkQueries
from bridge.store.sessions import SessionQueries
from bridge.store.staff import StaffQueries
from bridge.store.statistics import StatisticsQueries
from bridge.store.sweeps import SweepQueries
from bridge.store.swept_links import SweptLinkQueries


class SqlTransaction(
    StaffQueries,
    ConsentQueries,
    DeskQueries,
    LinkQueries,
    LinkStepQueries,
    LinkRequestQueries,
    SweptLinkQueries,
    HousekeepingQueries,
    BulkUnlinkingQueries,
    CategoryMoveQueries,
    ChallengeQueries,
    SessionQueries,
    GuessQueries,
    SweepQueries,
    StatisticsQueries,
    KeyQueries,
    AuditQueries,
):
    """All queries in one transaction; implements ``bridge.ports.Transaction``."""


class SqlStore:
    """Where the bridge remembers: implements ``bridge.ports.Store`` over an engine.

    *sealer* seals the audit logs; without one they stay unsealed.
    """

    def __init__(self, engine: Engine, sealer: AuditSealer | None = None) -> None:
        self._engine = engine
        self._sealer = sealer
        writing = engine.execution_options(**WRITING[engine.dialect.name])
        self._writing = {
            durable: writing.execution_options(**{DURABLE_OPTION: durable}) for durable in (True, False)
        }
        self._reading = open_for_reading(engine)

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Transaction]:
        """See ``bridge.ports.Store``.

        On SQLite each one waits for its turn to write from its beginning, for up to five seconds.
        """
        with failures_translated(), self._writing[durable].begin() as connection:
            transaction = SqlTransaction(connection, self._sealer)
            yield transaction
            transaction.flush()
            transaction.append_audit_events()

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """See ``bridge.ports.Store``. It waits for no writer, and none waits for it."""
        with failures_translated(), self._reading.connect() as connection:
            connection.begin()
            yield SqlTransaction(connection)

    def change_counter(self) -> ChangeCounter | None:
        """See ``bridge.ports.Store``: for SQLite, where it takes two microseconds."""
        return SqliteChanges(self._engine) if self._engine.dialect.name == "sqlite" else None

    def scoped_session(self) -> scoped_session[Session]:
        """Return a session for the admin's lists, which read the mapped classes.

        Whoever uses it calls ``remove()`` at the end of each request. It cannot write.
        """
        return scoped_session(sessionmaker(self._reading, autoflush=False))

    def audit_log(self) -> AuditLog:
        """Return the audit logs, to be read."""
        return AuditLog(self._engine)

    def dispose(self) -> None:
        """Close the connections, before the process forks or ends."""
        self._engine.dispose()
        self._reading.dispose()
