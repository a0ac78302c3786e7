"""The librarians' requests to make a link."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import or_, select, update

from bridge.errors import LinkRequestNotFound, LinkRequestPending
from bridge.models import LinkRequest, LinkRequestState, Terminal
from bridge.rules import CLOCK_DIFFERENCE
from bridge.store.link_columns import representation_columns, representation_of
from bridge.store.queries import Queries
from bridge.store.tables import LinkRequestRow

OPEN_REQUEST_STATES = [state for state in LinkRequestState if state.is_open]


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
        consent_version=row.consent_version,
        representation=representation_of(row),
        replaces=row.replaces,
        purpose=row.purpose,
    )


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
                or_(
                    LinkRequestRow.expires_at <= request.started_at,
                    LinkRequestRow.started_at > request.started_at + CLOCK_DIFFERENCE,
                ),
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
                consent_version=request.consent_version,
                replaces=request.replaces,
                purpose=request.purpose,
                **representation_columns(request.representation),
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
                LinkRequestRow.started_at <= now + CLOCK_DIFFERENCE,
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
