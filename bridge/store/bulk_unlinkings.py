"""Requests to end many links, and the links that each names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import func, literal, select, update

from bridge.models import BulkUnlinking, BulkUnlinkingState, CardLink, IdentifierKind, LinkState
from bridge.rules import LINK_STEPS, LinkStep
from bridge.store.link_columns import LINKS, link_of
from bridge.store.queries import Queries
from bridge.store.tables import BulkUnlinkingLinkRow, BulkUnlinkingRow, CardLinkRow, table_under

NAMED_LINKS = table_under(BulkUnlinkingLinkRow)

IDS_AT_ONCE = 5_000
"""PostgreSQL takes 65,535 parameters in one statement."""


def _bulk(row: BulkUnlinkingRow) -> BulkUnlinking:
    return BulkUnlinking(
        bulk_id=row.bulk_id,
        library_id=row.library_id,
        reason=row.reason,
        link_count=row.link_count,
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        state=row.state,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        decision=row.decision,
        ended=row.ended,
        skipped=row.skipped,
        closed_at=row.closed_at,
    )


class BulkUnlinkingQueries(Queries):
    """Queries on requests to end many links."""

    def add_bulk_unlinking(self, bulk: BulkUnlinking, link_ids: Sequence[str]) -> BulkUnlinking:
        """See ``bridge.ports.Transaction``."""
        row = BulkUnlinkingRow(
            bulk_id=bulk.bulk_id,
            library_id=bulk.library_id,
            reason=bulk.reason,
            state=bulk.state,
            link_count=0,
            requested_by=bulk.requested_by,
            requested_at=bulk.requested_at,
            expires_at=bulk.expires_at,
            ended=0,
            skipped=0,
        )
        self._add(row)
        for start in range(0, len(link_ids), IDS_AT_ONCE):
            part = link_ids[start : start + IDS_AT_ONCE]
            named = select(literal(bulk.bulk_id), CardLinkRow.link_id).where(
                # Not by an index of the library, which SQLite takes for narrower than many ids.
                CardLinkRow.library_id.concat("") == bulk.library_id,
                CardLinkRow.link_id.in_(part),
                CardLinkRow.state.in_(LINK_STEPS[LinkStep.END][0]),
            )
            self._connection.execute(NAMED_LINKS.insert().from_select(["bulk_id", "link_id"], named))
        counted = select(func.count()).where(NAMED_LINKS.c.bulk_id == bulk.bulk_id)
        row.link_count = self._connection.execute(counted).scalar_one()
        self._session.flush()
        return replace(bulk, link_count=row.link_count)

    def find_bulk_unlinking(
        self, library_id: str, bulk_id: str, *, to_change: bool = False
    ) -> BulkUnlinking | None:
        """See ``bridge.ports.Transaction``."""
        statement = (
            select(BulkUnlinkingRow)
            .where(BulkUnlinkingRow.library_id == library_id, BulkUnlinkingRow.bulk_id == bulk_id)
            .execution_options(populate_existing=True)
        )
        row = self._session.scalar(statement.with_for_update() if to_change else statement)
        return None if row is None else _bulk(row)

    def bulk_unlinkings(self, library_id: str, state: BulkUnlinkingState) -> Sequence[BulkUnlinking]:
        """Return a library's requests in a state, the oldest first."""
        rows = self._session.scalars(
            select(BulkUnlinkingRow)
            .where(BulkUnlinkingRow.library_id == library_id, BulkUnlinkingRow.state == state)
            .order_by(BulkUnlinkingRow.requested_at)
        )
        return [_bulk(row) for row in rows]

    def count_waiting_bulk_unlinkings(self, library_id: str, now: datetime, *, but_of: str) -> int:
        """See ``bridge.ports.Transaction``."""
        waiting = select(func.count()).where(
            BulkUnlinkingRow.library_id == library_id,
            BulkUnlinkingRow.state == BulkUnlinkingState.REQUESTED,
            BulkUnlinkingRow.expires_at > now,
            BulkUnlinkingRow.requested_by != but_of,
        )
        return self._connection.execute(waiting).scalar_one()

    def update_bulk_unlinking(self, bulk: BulkUnlinking) -> None:
        """Keep state, decision and counts of a request."""
        self._changed(
            update(BulkUnlinkingRow)
            .where(BulkUnlinkingRow.bulk_id == bulk.bulk_id)
            .values(
                state=bulk.state,
                decided_by=bulk.decided_by,
                decided_at=bulk.decided_at,
                decision=bulk.decision,
                ended=bulk.ended,
                skipped=bulk.skipped,
                closed_at=bulk.closed_at,
            )
        )

    def count_bulk_links(self, bulk_id: str) -> Mapping[tuple[IdentifierKind, LinkState], int]:
        """See ``bridge.ports.Transaction``."""
        rows = self._connection.execute(
            select(CardLinkRow.kind, CardLinkRow.state, func.count())
            .join(BulkUnlinkingLinkRow, BulkUnlinkingLinkRow.link_id == CardLinkRow.link_id)
            .where(BulkUnlinkingLinkRow.bulk_id == bulk_id)
            .group_by(CardLinkRow.kind, CardLinkRow.state)
        )
        return {(kind, state): count for kind, state, count in rows}

    def bulk_links(self, bulk_id: str, limit: int) -> Sequence[CardLink]:
        """Return the first links of a request, as they are now, in the order of their ids."""
        named = (
            select(BulkUnlinkingLinkRow.link_id)
            .where(BulkUnlinkingLinkRow.bulk_id == bulk_id)
            .order_by(BulkUnlinkingLinkRow.link_id)
            .limit(limit)
        )
        rows = self._connection.execute(
            LINKS.where(CardLinkRow.link_id.in_(named)).order_by(CardLinkRow.link_id)
        )
        return [link_of(row) for row in rows]

    def bulk_links_to_end(self, bulk_id: str, limit: int) -> Sequence[str]:
        """See ``bridge.ports.Transaction``."""
        return self._session.scalars(
            select(BulkUnlinkingLinkRow.link_id)
            .where(BulkUnlinkingLinkRow.bulk_id == bulk_id, BulkUnlinkingLinkRow.ended.is_(None))
            .order_by(BulkUnlinkingLinkRow.link_id)
            .limit(limit)
        ).all()

    def keep_bulk_outcomes(self, bulk_id: str, link_ids: Sequence[str], ended: Collection[str]) -> None:
        """See ``bridge.ports.Transaction``."""
        for outcome in (True, False):
            alike = [link_id for link_id in link_ids if (link_id in ended) is outcome]
            self._changed(
                update(BulkUnlinkingLinkRow)
                .where(BulkUnlinkingLinkRow.bulk_id == bulk_id, BulkUnlinkingLinkRow.link_id.in_(alike))
                .values(ended=outcome)
                .execution_options(synchronize_session=False)
            )
