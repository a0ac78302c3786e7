"""What the query modules share: the session of one transaction."""

from __future__ import annotations

from typing import cast

from sqlalchemy import CursorResult, Executable
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bridge.errors import BridgeError
from bridge.store.engine import is_unique_violation
from bridge.store.tables import Base


class Queries:
    """Queries in one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def _add(self, row: Base, *, taken: type[BridgeError] | None = None) -> None:
        """Insert *row*; where a unique value is there already, raise *taken*.

        The database's own error is not chained: PostgreSQL's text repeats the values.
        """
        self._session.add(row)
        try:
            self._session.flush()
        except IntegrityError as error:
            if taken is None or not is_unique_violation(error):
                raise
            raise taken from None

    def _changed(self, statement: Executable) -> int:
        """Run an UPDATE or DELETE; return how many rows it met."""
        return cast("CursorResult[object]", self._session.execute(statement)).rowcount
