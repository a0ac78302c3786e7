"""Links, requests and sessions that are over: what ends by itself, what is deleted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import ColumnElement, delete, exists, func, not_, or_, select
from sqlalchemy.orm import aliased

from bridge.models import CardLink, MoveDirection, MoveState
from bridge.rules import LINK_STEPS, LinkStep
from bridge.store.link_columns import LINKS, link_of
from bridge.store.queries import Queries
from bridge.store.tables import (
    BulkUnlinkingLinkRow,
    CardLinkRow,
    CardSessionRow,
    CategoryMoveRow,
    ChallengeRow,
    LinkRequestRow,
)


class HousekeepingQueries(Queries):
    """Queries on what is over."""

    def outlived_links(
        self,
        library_id: str,
        *,
        now: datetime,
        linked_until: datetime | None,
        today: date,
        position: str,
        limit: int,
    ) -> Sequence[CardLink]:
        """See ``bridge.ports.Transaction``."""
        outlived: list[ColumnElement[bool]] = [
            CardLinkRow.not_after < now,
            CardLinkRow.represented_until <= today,
        ]
        if linked_until is not None:
            outlived.append(CardLinkRow.linked_at <= linked_until)
        rows = self._session.execute(
            LINKS.where(
                CardLinkRow.library_id == library_id,
                CardLinkRow.ended_at.is_(None),
                or_(*outlived),
                CardLinkRow.link_id > position,
            )
            .order_by(CardLinkRow.link_id)
            .limit(limit)
        )
        return [link_of(row) for row in rows]

    def deletable_links(
        self, library_id: str, ended_until: datetime, position: str, limit: int
    ) -> Sequence[CardLink]:
        """See ``bridge.ports.Transaction``."""
        rows = self._session.execute(
            LINKS.where(
                CardLinkRow.library_id == library_id,
                CardLinkRow.ended_at <= ended_until,
                not_(_is_the_way_back()),
                CardLinkRow.link_id > position,
            )
            .order_by(CardLinkRow.link_id)
            .limit(limit)
        )
        return [link_of(row) for row in rows]

    def delete_link(self, link_id: str) -> bool:
        """See ``bridge.ports.Transaction``."""
        is_ended = select(CardLinkRow.link_id).where(
            CardLinkRow.link_id == link_id, CardLinkRow.state.in_(LINK_STEPS[LinkStep.DELETE][0])
        )
        if self._session.scalar(is_ended) is None:
            return False
        requests = select(LinkRequestRow.request_id).where(LinkRequestRow.link_id == link_id)
        self._changed(delete(ChallengeRow).where(ChallengeRow.link_request_id.in_(requests)))
        for row in (LinkRequestRow, CardSessionRow, CategoryMoveRow, BulkUnlinkingLinkRow, CardLinkRow):
            self._changed(delete(row).where(row.link_id == link_id))
        return True

    def delete_link_requests(self, expired_until: datetime, limit: int) -> int:
        """See ``bridge.ports.Transaction``."""
        requests = self._session.scalars(
            select(LinkRequestRow.request_id).where(LinkRequestRow.expires_at <= expired_until).limit(limit)
        ).all()
        self._changed(delete(ChallengeRow).where(ChallengeRow.link_request_id.in_(requests)))
        return self._changed(delete(LinkRequestRow).where(LinkRequestRow.request_id.in_(requests)))

    def delete_sessions(self, closed_until: datetime, limit: int) -> int:
        """See ``bridge.ports.Transaction``."""
        sessions = (
            select(CardSessionRow.session_id).where(CardSessionRow.closed_at <= closed_until).limit(limit)
        ).scalar_subquery()
        return self._changed(delete(CardSessionRow).where(CardSessionRow.session_id.in_(sessions)))

    def count_over(self, before: datetime) -> tuple[int, int]:
        """See ``bridge.ports.Transaction``."""
        requests = select(func.count()).select_from(LinkRequestRow).where(LinkRequestRow.expires_at <= before)
        sessions = select(func.count()).select_from(CardSessionRow).where(CardSessionRow.closed_at <= before)
        return self._session.scalar(requests) or 0, self._session.scalar(sessions) or 0


def _is_the_way_back() -> ColumnElement[bool]:
    """The link by which a patron came into the category that it is in, or whose move is still to be made."""
    later = aliased(CategoryMoveRow)
    is_the_latest = not_(
        exists().where(
            later.library_id == CategoryMoveRow.library_id,
            later.patron_id == CategoryMoveRow.patron_id,
            later.state != MoveState.SUPERSEDED,
            later.sequence > CategoryMoveRow.sequence,
        )
    )
    return exists().where(
        CategoryMoveRow.link_id == CardLinkRow.link_id,
        or_(
            CategoryMoveRow.direction == MoveDirection.LINKED,
            CategoryMoveRow.state.in_([state for state in MoveState if state.is_open]),
        ),
        CategoryMoveRow.state != MoveState.SUPERSEDED,
        is_the_latest,
    )
