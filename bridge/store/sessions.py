"""Card sessions: the time in which a token stands for a patron."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Row, bindparam, func, insert, or_, select, update

from bridge.models import CardSession
from bridge.ports import EncryptedValue
from bridge.store.prepared import Prepared
from bridge.store.queries import Queries
from bridge.store.tables import CardSessionRow, table_under
from jpki.revocation import RevocationAnswer

SESSIONS = table_under(CardSessionRow)

OPEN_SESSION_OF_LINK = Prepared(
    select(SESSIONS).where(SESSIONS.c.link_id == bindparam("of_link"), SESSIONS.c.closed_at.is_(None))
)

OPEN_SESSIONS_OF_LINKS = select(SESSIONS).where(
    SESSIONS.c.link_id.in_(bindparam("link_ids", expanding=True)), SESSIONS.c.closed_at.is_(None)
)

OVERDUE_SESSIONS = Prepared(
    select(SESSIONS)
    .where(
        SESSIONS.c.closed_at.is_(None),
        or_(
            SESSIONS.c.expires_at <= bindparam("now"),
            func.coalesce(SESSIONS.c.last_used_at, SESSIONS.c.opened_at) < bindparam("idle_since"),
        ),
    )
    .with_for_update(skip_locked=True)
)  # what another node is about to close is left to it

ADD_SESSION = Prepared(
    insert(SESSIONS),
    [column.key for column in SESSIONS.c if column.key not in ("last_used_at", "closed_at", "closed_reason")],
)


@cache
def _session_under_any(number: int) -> Prepared:
    """Return the look-up of a session under any of *number* digests of tokens."""
    return Prepared(
        select(SESSIONS).where(
            SESSIONS.c.library_id == bindparam("of_library"),
            or_(*(SESSIONS.c.token_digest == bindparam(f"digest_{each}") for each in range(number))),
        )
    )


def _session(row: Row[Any]) -> CardSession:
    return CardSession(
        session_id=row.session_id,
        library_id=row.library_id,
        terminal_id=row.terminal_id,
        link_id=row.link_id,
        opened_at=row.opened_at,
        expires_at=row.expires_at,
        cardnumber="",
        last_used_at=row.last_used_at,
        closed_at=row.closed_at,
        revocation=_revocation(row),
    )


def _revocation(row: Row[Any]) -> RevocationAnswer | None:
    if row.revocation_status is None or row.revocation_source is None or row.revocation_as_of is None:
        return None
    return RevocationAnswer(
        status=row.revocation_status,
        source=row.revocation_source,
        as_of=row.revocation_as_of,
        next_update=row.revocation_next_update,
    )


class SessionQueries(Queries):
    """Queries on card sessions."""

    def add_session(
        self,
        session: CardSession,
        token_key_id: str,
        token_digest: str,
        cardnumber: EncryptedValue,
    ) -> None:
        """Keep an open session; its card number only as given in *cardnumber*."""
        revocation = session.revocation
        ADD_SESSION.change(
            self._connection,
            {
                "session_id": session.session_id,
                "library_id": session.library_id,
                "terminal_id": session.terminal_id,
                "link_id": session.link_id,
                "opened_at": session.opened_at,
                "expires_at": session.expires_at,
                "token_key_id": token_key_id,
                "token_digest": token_digest,
                "cardnumber_key_id": cardnumber.key_id,
                "cardnumber_nonce": cardnumber.nonce,
                "cardnumber_ciphertext": cardnumber.ciphertext,
                "revocation_status": revocation and revocation.status,
                "revocation_source": revocation and revocation.source,
                "revocation_as_of": revocation and revocation.as_of,
                "revocation_next_update": revocation and revocation.next_update,
            },
        )

    def find_session_by_token(
        self, library_id: str, token_digests: Sequence[str]
    ) -> tuple[CardSession, EncryptedValue | None] | None:
        """See ``bridge.ports.Transaction``."""
        row = self._find_under_any(library_id, token_digests)
        return None if row is None else (_session(row), _cardnumber(row))

    def is_token_taken(self, library_id: str, token_digests: Sequence[str]) -> bool:
        """See ``bridge.ports.Transaction``."""
        return self._find_under_any(library_id, token_digests) is not None

    def touch_session(self, session_id: str, at: datetime) -> None:
        """Remember when an open session was last used."""
        self._connection.execute(
            update(SESSIONS)
            .where(SESSIONS.c.session_id == session_id, SESSIONS.c.closed_at.is_(None))
            .values(last_used_at=at)
        )

    def close_session(self, session_id: str, at: datetime, reason: str) -> CardSession | None:
        """See ``bridge.ports.Transaction``."""
        row = self._connection.execute(
            update(SESSIONS)
            .where(SESSIONS.c.session_id == session_id, SESSIONS.c.closed_at.is_(None))
            .values(
                closed_at=at,
                closed_reason=reason,
                cardnumber_key_id=None,
                cardnumber_nonce=None,
                cardnumber_ciphertext=None,
            )
            .returning(*SESSIONS.columns)
        ).one_or_none()
        return None if row is None else _session(row)

    def open_session_of_link(self, link_id: str) -> CardSession | None:
        """See ``bridge.ports.Transaction``."""
        row = OPEN_SESSION_OF_LINK.first(self._connection, {"of_link": link_id})
        return None if row is None else _session(row)

    def open_sessions_of_links(self, link_ids: Collection[str]) -> Sequence[CardSession]:
        """Return the sessions that run on any of these links."""
        rows = self._connection.execute(OPEN_SESSIONS_OF_LINKS, {"link_ids": list(link_ids)})
        return [_session(row) for row in rows]

    def overdue_sessions(self, now: datetime, idle_since: datetime) -> Sequence[CardSession]:
        """See ``bridge.ports.Transaction``."""
        rows = OVERDUE_SESSIONS.rows(self._connection, {"now": now, "idle_since": idle_since})
        return [_session(row) for row in rows]

    def _find_under_any(self, library_id: str, token_digests: Sequence[str]) -> Any | None:
        parameters = {f"digest_{number}": digest for number, digest in enumerate(token_digests)}
        parameters["of_library"] = library_id
        return _session_under_any(len(token_digests)).first(self._connection, parameters)


def _cardnumber(row: Row[Any]) -> EncryptedValue | None:
    if row.cardnumber_key_id is None or row.cardnumber_nonce is None or row.cardnumber_ciphertext is None:
        return None
    return EncryptedValue(row.cardnumber_key_id, row.cardnumber_nonce, row.cardnumber_ciphertext)
