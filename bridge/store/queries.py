"""What the query modules share: the session of one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import cast

from sqlalchemy import Connection, CursorResult, Executable, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bridge.errors import BridgeError
from bridge.store.engine import is_unique_violation, violated_constraint
from bridge.store.tables import Base


class Queries:
    """Queries in one transaction, which *connection* is in.

    What a patron waits for, at the reader or at every message of a machine, are ``Prepared`` statements over
    tables: mapped rows, and statements made anew, would take many times as long.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _session(self) -> Session:
        """Mapped rows in this transaction, where a query wants them."""
        return Session(self._connection)

    def flush(self) -> None:
        """Write down what was changed in mapped rows; before the commit."""
        if "_session" in vars(self):
            self._session.flush()

    def _add(
        self,
        row: Base,
        *,
        taken: type[BridgeError] | None = None,
        in_the_way: Mapping[str, type[BridgeError]] = MappingProxyType({}),
    ) -> None:
        """Insert *row*; where a unique value is there already, raise *taken*.

        *in_the_way* has another error where a certain column is among those that must be unique.
        The database's own error is not chained: PostgreSQL's text repeats the values.
        """
        self._session.add(row)
        try:
            self._session.flush()
        except IntegrityError as error:
            if taken is None or not is_unique_violation(error):
                raise
            raise _error_of(error, in_the_way) or taken from None

    def _wait_for_turn(self, *name: str) -> None:
        """Let nobody who asks for the same name pass until this transaction is over.

        For what is not there yet, and so cannot be locked. On SQLite a writing transaction is alone anyway.
        """
        if self._connection.dialect.name == "postgresql":
            number = func.hashtextextended("/".join(name), 0)
            self._session.execute(select(func.pg_advisory_xact_lock(number)))

    def _changed(self, statement: Executable) -> int:
        """Run an UPDATE or DELETE; return how many rows it met."""
        return cast("CursorResult[object]", self._session.execute(statement)).rowcount


def _error_of(error: IntegrityError, in_the_way: Mapping[str, type[BridgeError]]) -> type[BridgeError] | None:
    constraint = violated_constraint(error)
    return next((found for column, found in in_the_way.items() if column in constraint), None)
