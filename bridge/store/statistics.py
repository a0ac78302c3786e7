"""Counts for statistics: over the audit log by library and day, and the days that were counted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime

from sqlalchemy import Integer, cast, func, select

from bridge.models import AuditTag
from bridge.ports import EventCount
from bridge.store.queries import Queries
from bridge.store.tables import AuditEventRow, CardLinkRow, CountedDayRow, RevocationSweepRow

_PROBLEM = AuditEventRow.details["problem"].as_string()
_TIMES = func.coalesce(cast(AuditEventRow.details["repeated"].as_string(), Integer), 1)
"""An event that tells equal refusals together stands for as many as it says."""


class StatisticsQueries(Queries):
    """Queries of statistics."""

    def count_events(
        self, library_id: str, tags: Collection[AuditTag], begin: datetime, end: datetime
    ) -> Sequence[EventCount]:
        """See ``bridge.ports.Transaction``."""
        columns = (
            AuditEventRow.tag,
            func.coalesce(AuditEventRow.terminal_id, ""),
            func.coalesce(_PROBLEM, ""),
        )
        rows = self._session.execute(
            select(*columns, func.sum(_TIMES))
            .where(
                AuditEventRow.library_id == library_id,
                AuditEventRow.at >= begin,
                AuditEventRow.at < end,
                AuditEventRow.tag.in_(tags),
            )
            .group_by(*columns)
        )
        return [EventCount(*row) for row in rows]

    def counted_days(self, library_id: str, first: date, last: date) -> Mapping[date, Sequence[EventCount]]:
        """See ``bridge.ports.Transaction``."""
        rows = self._session.scalars(
            select(CountedDayRow).where(
                CountedDayRow.library_id == library_id, CountedDayRow.day.between(first, last)
            )
        )
        return {
            row.day: [
                EventCount(AuditTag(tag), terminal_id, problem, times)
                for tag, terminal_id, problem, times in row.counts
            ]
            for row in rows
        }

    def keep_counted_days(self, library_id: str, days: Mapping[date, Sequence[EventCount]]) -> None:
        """See ``bridge.ports.Transaction``."""
        for day in sorted(days):
            counts = [[count.tag.value, *count[1:]] for count in days[day]]
            self._session.merge(CountedDayRow(library_id=library_id, day=day, counts=counts))

    def last_event_at(self, library_id: str, tags: Collection[AuditTag]) -> datetime | None:
        """See ``bridge.ports.Transaction``."""
        moments = (
            self._session.scalar(
                select(func.max(AuditEventRow.at)).where(
                    AuditEventRow.library_id == library_id, AuditEventRow.tag == tag
                )
            )
            for tag in tags
        )
        return max((moment for moment in moments if moment is not None), default=None)

    def last_refusals(
        self, library_id: str, tags: Collection[AuditTag], since: datetime
    ) -> Mapping[str, datetime]:
        """See ``bridge.ports.Transaction``."""
        query = (
            select(func.coalesce(_PROBLEM, ""), func.max(AuditEventRow.at))
            .where(
                AuditEventRow.library_id == library_id,
                AuditEventRow.tag.in_(tags),
                AuditEventRow.at >= since,
            )
            .group_by(_PROBLEM)
        )
        return {row[0]: row[1] for row in self._session.execute(query)}

    def count_links_ending(self, library_id: str, begin: datetime, end: datetime) -> int:
        """See ``bridge.ports.Transaction``."""
        return (
            self._session.scalar(
                select(func.count()).where(
                    CardLinkRow.library_id == library_id,
                    CardLinkRow.not_after >= begin,
                    CardLinkRow.not_after < end,
                    CardLinkRow.ended_at.is_(None),
                )
            )
            or 0
        )

    def last_sweep_ended_at(self) -> datetime | None:
        """See ``bridge.ports.Transaction``."""
        return self._session.scalar(select(func.max(RevocationSweepRow.finished_at)))
