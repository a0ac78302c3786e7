"""Links, and the librarians' requests to make one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, literal, or_, select, true, tuple_, update

from bridge.errors import AlreadyLinked, LinkNotFound, LinkRequestNotFound, LinkRequestPending
from bridge.models import (
    CardIdentifier,
    CardLink,
    LinkRequest,
    LinkRequestState,
    LinkState,
    Terminal,
)
from bridge.ports import EncryptedValue, ExpiringLink, SweptLink
from bridge.store.queries import Queries
from bridge.store.tables import CardClaimRow, CardLinkRow, LinkRequestRow
from jpki.revocation import RevocationAnswer

OPEN_REQUEST_STATES = [state for state in LinkRequestState if state.is_open]


def _link(row: CardLinkRow) -> CardLink:
    return CardLink(
        link_id=row.link_id,
        library_id=row.library_id,
        patron_id=row.patron_id,
        kind=row.kind,
        state=row.state,
        not_after=row.not_after,
        linked_at=row.linked_at,
        linked_by=row.linked_by,
        last_used_at=row.last_used_at,
        ended_at=row.ended_at,
        ended_reason=row.ended_reason,
        patron_reference=row.patron_reference,
        revocation=_revocation(row),
        suspended_at=row.suspended_at,
        suspended_reason=row.suspended_reason,
    )


def _claim(library_id: str, link_id: str, identifier: CardIdentifier) -> CardClaimRow:
    return CardClaimRow(
        key_id=identifier.key_id,
        library_id=library_id,
        kind=identifier.kind,
        digest=identifier.digest,
        link_id=link_id,
    )


def _revocation(row: CardLinkRow) -> RevocationAnswer | None:
    if row.revocation_status is None or row.revocation_source is None or row.revocation_as_of is None:
        return None
    return RevocationAnswer(
        row.revocation_status, row.revocation_source, row.revocation_as_of, reason=row.revocation_reason
    )


def _serial(key_id: str | None, nonce: bytes | None, ciphertext: bytes | None) -> EncryptedValue | None:
    """Return what an open link keeps of the serial number; an ended one keeps nothing."""
    if key_id is None or nonce is None or ciphertext is None:
        return None
    return EncryptedValue(key_id, nonce, ciphertext)


def _revocation_columns(answer: RevocationAnswer) -> dict[str, Any]:
    return {
        "revocation_status": answer.status,
        "revocation_source": answer.source,
        "revocation_as_of": answer.as_of,
        "revocation_reason": answer.reason,
    }


def _link_request(row: LinkRequestRow) -> LinkRequest:
    return LinkRequest(
        request_id=row.request_id,
        library_id=row.library_id,
        terminal_id=row.terminal_id,
        patron_id=row.patron_id,
        librarian_id=row.librarian_id,
        state=row.state,
        started_at=row.started_at,
        expires_at=row.expires_at,
        problem=row.problem,
        problem_why=row.problem_why,
        attempts_remaining=row.attempts_remaining,
        link_id=row.link_id,
        patron_reference=row.patron_reference,
    )


class LinkQueries(Queries):
    """Queries on links."""

    def add_link(
        self,
        link: CardLink,
        identifier: CardIdentifier,
        serial: EncryptedValue,
        also: Sequence[CardIdentifier] = (),
    ) -> None:
        """See ``bridge.ports.Transaction``."""
        self._add(
            CardLinkRow(
                link_id=link.link_id,
                library_id=link.library_id,
                patron_id=link.patron_id,
                patron_reference=link.patron_reference,
                kind=identifier.kind,
                key_id=identifier.key_id,
                digest=identifier.digest,
                serial_key_id=serial.key_id,
                serial_nonce=serial.nonce,
                serial_ciphertext=serial.ciphertext,
                state=link.state,
                not_after=link.not_after,
                linked_at=link.linked_at,
                linked_by=link.linked_by,
                **({} if link.revocation is None else _revocation_columns(link.revocation)),
            ),
            taken=AlreadyLinked,
        )
        for each in (identifier, *also):
            self._add(_claim(link.library_id, link.link_id, each), taken=AlreadyLinked)

    def find_link(self, library_id: str, link_id: str) -> CardLink | None:
        """Return a link, ended or not."""
        row = self._session.scalar(
            select(CardLinkRow).where(CardLinkRow.library_id == library_id, CardLinkRow.link_id == link_id)
        )
        return None if row is None else _link(row)

    def find_open_link(self, library_id: str, identifiers: Sequence[CardIdentifier]) -> CardLink | None:
        """See ``bridge.ports.Transaction``."""
        row = self._session.scalar(
            select(CardLinkRow)
            .where(
                CardLinkRow.library_id == library_id,
                CardLinkRow.ended_at.is_(None),
                or_(
                    *(
                        and_(
                            CardLinkRow.kind == identifier.kind,
                            CardLinkRow.key_id == identifier.key_id,
                            CardLinkRow.digest == identifier.digest,
                        )
                        for identifier in identifiers
                    )
                ),
            )
            .limit(1)
        )
        return None if row is None else _link(row)

    def open_links_of_patron(
        self, library_id: str, patron_id: int | None, patron_references: Sequence[str] = ()
    ) -> Sequence[CardLink]:
        """Return the links of a patron that have not ended, the oldest first."""
        of_patron: ColumnElement[bool] = CardLinkRow.patron_reference.in_(patron_references)
        if patron_id is not None:
            of_patron = or_(CardLinkRow.patron_id == patron_id, of_patron)
        return self._open_links(library_id, of_patron)

    def links_by_reference(self, library_id: str) -> Sequence[CardLink]:
        """See ``bridge.ports.Transaction``."""
        return self._open_links(library_id, CardLinkRow.patron_reference.is_not(None))

    def set_patron_of_link(self, link_id: str, patron_id: int) -> bool:
        """See ``bridge.ports.Transaction``."""
        met = self._changed(
            update(CardLinkRow)
            .where(CardLinkRow.link_id == link_id, CardLinkRow.patron_reference.is_not(None))
            .values(patron_id=patron_id, patron_reference=None)
        )
        return met == 1

    def end_link(self, library_id: str, link_id: str, reason: str, at: datetime) -> CardLink:
        """See ``bridge.ports.Transaction``."""
        row = self._session.execute(
            update(CardLinkRow)
            .where(
                CardLinkRow.library_id == library_id,
                CardLinkRow.link_id == link_id,
                CardLinkRow.ended_at.is_(None),
            )
            .values(
                state=LinkState.ENDED,
                ended_at=at,
                ended_reason=reason,
                digest=None,
                serial_key_id=None,
                serial_nonce=None,
                serial_ciphertext=None,
                patron_reference=None,
            )
            .returning(CardLinkRow)
            .execution_options(populate_existing=True)
        ).scalar_one_or_none()
        if row is None:
            raise LinkNotFound
        self._session.execute(delete(CardClaimRow).where(CardClaimRow.link_id == link_id))
        return _link(row)

    def _open_links(self, library_id: str, condition: ColumnElement[bool]) -> Sequence[CardLink]:
        rows = self._session.scalars(
            select(CardLinkRow)
            .where(CardLinkRow.library_id == library_id, CardLinkRow.ended_at.is_(None), condition)
            .order_by(CardLinkRow.linked_at, CardLinkRow.link_id)
        )
        return [_link(row) for row in rows]

    def touch_link(self, link_id: str, at: datetime) -> None:
        """Remember when a link was last used."""
        self._session.execute(
            update(CardLinkRow).where(CardLinkRow.link_id == link_id).values(last_used_at=at)
        )

    def remember_revocation(self, link_ids: Sequence[str], answer: RevocationAnswer) -> None:
        """See ``bridge.ports.Transaction``."""
        self._session.execute(
            update(CardLinkRow)
            .where(
                CardLinkRow.link_id.in_(link_ids),
                or_(
                    CardLinkRow.revocation_as_of.is_(None),
                    CardLinkRow.revocation_as_of < answer.as_of,
                ),
            )
            .values(**_revocation_columns(answer))
            .execution_options(synchronize_session=False)
        )

    def suspend_link(self, link_id: str, answer: RevocationAnswer, reason: str, at: datetime) -> bool:
        """See ``bridge.ports.Transaction``."""
        met = self._changed(
            update(CardLinkRow)
            .where(CardLinkRow.link_id == link_id, CardLinkRow.state == LinkState.ACTIVE)
            .values(
                state=LinkState.SUSPENDED,
                suspended_at=at,
                suspended_reason=reason,
                **_revocation_columns(answer),
            )
        )
        return met == 1

    def count_active_links(self) -> int:
        """Return how many links are active, in all libraries."""
        return self._session.scalar(select(func.count()).where(CardLinkRow.state == LinkState.ACTIVE)) or 0

    def active_links_after(
        self, position_at: datetime | None, position: str, limit: int
    ) -> Sequence[SweptLink]:
        """See ``bridge.ports.Transaction``.

        Reads columns, not mapped rows: there may be a million. As they were made is how they lie on the
        disk, so that a batch touches few pages.
        """
        after: ColumnElement[bool] = true()
        if position_at is not None:
            last = tuple_(literal(position_at, CardLinkRow.linked_at.type), literal(position))
            after = tuple_(CardLinkRow.linked_at, CardLinkRow.link_id) > last
        rows = self._session.execute(
            select(
                CardLinkRow.link_id,
                CardLinkRow.linked_at,
                CardLinkRow.library_id,
                CardLinkRow.serial_key_id,
                CardLinkRow.serial_nonce,
                CardLinkRow.serial_ciphertext,
            )
            .where(after, CardLinkRow.state == LinkState.ACTIVE)
            .order_by(CardLinkRow.linked_at, CardLinkRow.link_id)
            .limit(limit)
        )
        return [
            SweptLink(link_id, linked_at, library_id, _serial(key_id, nonce, ciphertext))
            for link_id, linked_at, library_id, key_id, nonce, ciphertext in rows
        ]

    def expiring_links(self, after: datetime, until: datetime) -> Sequence[ExpiringLink]:
        """See ``bridge.ports.Transaction``."""
        rows = self._session.execute(
            select(CardLinkRow.link_id, CardLinkRow.library_id, CardLinkRow.not_after)
            .where(
                CardLinkRow.ended_at.is_(None),
                CardLinkRow.not_after > after,
                CardLinkRow.not_after <= until,
            )
            .order_by(CardLinkRow.not_after, CardLinkRow.link_id)
        )
        return [ExpiringLink(*row) for row in rows]


class LinkRequestQueries(Queries):
    """Queries on requests for a link."""

    def add_link_request(self, request: LinkRequest) -> None:
        """See ``bridge.ports.Transaction``."""
        self._session.execute(
            update(LinkRequestRow)
            .where(
                LinkRequestRow.library_id == request.library_id,
                LinkRequestRow.terminal_id == request.terminal_id,
                LinkRequestRow.state.in_(OPEN_REQUEST_STATES),
                LinkRequestRow.expires_at <= request.started_at,
            )
            .values(state=LinkRequestState.EXPIRED, patron_reference=None)
        )
        self._add(
            LinkRequestRow(
                request_id=request.request_id,
                library_id=request.library_id,
                terminal_id=request.terminal_id,
                patron_id=request.patron_id,
                patron_reference=request.patron_reference,
                librarian_id=request.librarian_id,
                state=request.state,
                started_at=request.started_at,
                expires_at=request.expires_at,
                problem=request.problem,
                problem_why=request.problem_why,
                attempts_remaining=request.attempts_remaining,
                link_id=request.link_id,
            ),
            taken=LinkRequestPending,
        )

    def find_link_request(self, library_id: str, request_id: str) -> LinkRequest | None:
        """Return a request as it was kept: one that has expired may still say that it waits."""
        row = self._session.scalar(
            select(LinkRequestRow).where(
                LinkRequestRow.library_id == library_id, LinkRequestRow.request_id == request_id
            )
        )
        return None if row is None else _link_request(row)

    def find_open_link_request(self, terminal: Terminal, now: datetime) -> LinkRequest | None:
        """Return the request that waits at a terminal, if it has not expired."""
        row = self._session.scalar(
            select(LinkRequestRow).where(
                LinkRequestRow.library_id == terminal.library_id,
                LinkRequestRow.terminal_id == terminal.terminal_id,
                LinkRequestRow.state.in_(OPEN_REQUEST_STATES),
                LinkRequestRow.expires_at > now,
            )
        )
        return None if row is None else _link_request(row)

    def update_link_request(self, request: LinkRequest) -> None:
        """See ``bridge.ports.Transaction``."""
        met = self._changed(
            update(LinkRequestRow)
            .where(
                LinkRequestRow.request_id == request.request_id,
                LinkRequestRow.state.in_(OPEN_REQUEST_STATES),
            )
            .values(
                state=request.state,
                problem=request.problem,
                problem_why=request.problem_why,
                attempts_remaining=request.attempts_remaining,
                link_id=request.link_id,
                patron_reference=request.patron_reference if request.state.is_open else None,
            )
        )
        if met == 0:
            raise LinkRequestNotFound
