"""The check values of the master keys: only ever added to."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select

from bridge.errors import NameTaken
from bridge.store.queries import Queries
from bridge.store.tables import KeyCheckRow


class RecordQueries(Queries):
    """Queries on what is never changed."""

    def key_checks(self) -> Mapping[str, str]:
        """See ``bridge.ports.Transaction``."""
        rows = self._session.scalars(select(KeyCheckRow))
        return {row.key_id: row.check_value for row in rows}

    def add_key_check(self, key_id: str, check_value: str) -> None:
        """See ``bridge.ports.Transaction``."""
        self._add(KeyCheckRow(key_id=key_id, check_value=check_value), taken=NameTaken)
