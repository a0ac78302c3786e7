"""The audit log, and the check values of the master keys: both are only ever added to."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select

from bridge.errors import NameTaken
from bridge.models import AuditEvent
from bridge.store.queries import Queries
from bridge.store.tables import AuditEventRow, KeyCheckRow


class RecordQueries(Queries):
    """Queries on what is never changed."""

    def add_audit_event(self, event: AuditEvent) -> None:
        """Append one event."""
        self._add(
            AuditEventRow(
                at=event.at,
                library_id=event.library_id,
                tag=event.tag,
                actor_kind=event.actor.kind,
                actor_id=event.actor.actor_id,
                subject=event.subject,
                terminal_id=event.terminal_id,
                details=dict(event.details),
            )
        )

    def key_checks(self) -> Mapping[str, str]:
        """See ``bridge.ports.Transaction``."""
        rows = self._session.scalars(select(KeyCheckRow))
        return {row.key_id: row.check_value for row in rows}

    def add_key_check(self, key_id: str, check_value: str) -> None:
        """See ``bridge.ports.Transaction``."""
        self._add(KeyCheckRow(key_id=key_id, check_value=check_value), taken=NameTaken)
