"""Sweeps over all active links: how far each has come."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import select, update

from bridge.ports import LinkGroup, RevocationSweepState
from bridge.store.queries import Queries
from bridge.store.tables import RevocationSweepRow, SweptGroupRow
from jpki.revocation import RevocationAnswer


def _state(row: RevocationSweepRow) -> RevocationSweepState:
    return RevocationSweepState(
        sweep_id=row.sweep_id,
        started_at=row.started_at,
        position_at=row.position_at,
        position=row.position,
        good=row.good,
        suspended=row.suspended,
        unknown=row.unknown,
        finished_at=row.finished_at,
    )


class SweepQueries(Queries):
    """Queries on sweeps."""

    def open_sweep(self, sweep: RevocationSweepState, resume_after: datetime) -> RevocationSweepState:
        """See ``bridge.ports.Transaction``."""
        row = self._session.scalar(
            select(RevocationSweepRow)
            .where(
                RevocationSweepRow.finished_at.is_(None),
                RevocationSweepRow.started_at > resume_after,
            )
            .order_by(RevocationSweepRow.started_at.desc())
            .limit(1)
        )
        if row is not None:
            return _state(row)
        self._add(RevocationSweepRow(**asdict(sweep)))
        return sweep

    def advance_sweep(self, before: RevocationSweepState, after: RevocationSweepState) -> bool:
        """See ``bridge.ports.Transaction``."""
        met = self._changed(
            update(RevocationSweepRow)
            .where(
                RevocationSweepRow.sweep_id == before.sweep_id,
                RevocationSweepRow.position == before.position,
                RevocationSweepRow.good == before.good,
                RevocationSweepRow.suspended == before.suspended,
                RevocationSweepRow.unknown == before.unknown,
                RevocationSweepRow.finished_at.is_(None),
            )
            .values(
                position_at=after.position_at,
                position=after.position,
                good=after.good,
                suspended=after.suspended,
                unknown=after.unknown,
                finished_at=after.finished_at,
            )
        )
        return met == 1

    def swept_groups(self, sweep_id: str) -> Collection[LinkGroup]:
        """See ``bridge.ports.Transaction``."""
        rows = self._session.execute(
            select(SweptGroupRow.library_id, SweptGroupRow.issuer_key_identifier, SweptGroupRow.key_id).where(
                SweptGroupRow.sweep_id == sweep_id
            )
        )
        return {LinkGroup(*row) for row in rows}

    def keep_swept_group(
        self, group: LinkGroup, sweep_id: str, tagged_before: datetime, answer: RevocationAnswer
    ) -> None:
        """See ``bridge.ports.Transaction``."""
        self._session.merge(
            SweptGroupRow(
                **group._asdict(),
                sweep_id=sweep_id,
                tagged_before=tagged_before,
                source=answer.source,
                as_of=answer.as_of,
            )
        )
