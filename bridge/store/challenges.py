"""Challenges on their way: each is answered once."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, select, update

from bridge.ports import PendingChallenge
from bridge.store.prepared import Prepared
from bridge.store.queries import Queries
from bridge.store.tables import ChallengeRow, table_under
from jpki.challenge import Challenge, ChallengeNonce
from jpki.errors import ChallengeAlreadyUsed, ChallengeUnknown
from jpki.revocation import RevocationAnswer

CHALLENGES = table_under(ChallengeRow)

CHALLENGE = Prepared(select(CHALLENGES).where(CHALLENGES.c.challenge_id == bindparam("of_challenge")))

ADD_CHALLENGE = Prepared(insert(CHALLENGES), CHALLENGES.c.keys())

CONSUME_CHALLENGE = Prepared(
    update(CHALLENGES)
    .where(CHALLENGES.c.challenge_id == bindparam("of_challenge"), CHALLENGES.c.used_at.is_(None))
    .values(used_at=bindparam("now"))
)

PURGE_CHALLENGES = Prepared(delete(CHALLENGES).where(CHALLENGES.c.expires_at < bindparam("before")))


def _pending(row: Row[Any]) -> PendingChallenge:
    return PendingChallenge(
        challenge=Challenge(
            challenge_id=row.challenge_id,
            purpose=row.purpose,
            library_id=row.library_id,
            terminal_id=row.terminal_id,
            nonce=ChallengeNonce(row.nonce),
            issued_at=row.issued_at,
            expires_at=row.expires_at,
            certificate_digest=row.certificate_digest,
        ),
        revocation=_revocation(row),
        link_request_id=row.link_request_id,
    )


def _revocation(row: Row[Any]) -> RevocationAnswer | None:
    if row.revocation_status is None or row.revocation_source is None or row.revocation_as_of is None:
        return None
    return RevocationAnswer(
        status=row.revocation_status,
        source=row.revocation_source,
        as_of=row.revocation_as_of,
        next_update=row.revocation_next_update,
        reason=row.revocation_reason,
        why=row.revocation_why,
    )


def _revocation_columns(answer: RevocationAnswer | None) -> dict[str, Any]:
    return {
        "revocation_status": answer and answer.status,
        "revocation_source": answer and answer.source,
        "revocation_as_of": answer and answer.as_of,
        "revocation_next_update": answer and answer.next_update,
        "revocation_reason": answer and answer.reason,
        "revocation_why": answer and answer.why,
    }


class ChallengeQueries(Queries):
    """Queries on challenges."""

    def add_challenge(self, pending: PendingChallenge) -> None:
        """Keep a challenge until it is answered."""
        challenge = pending.challenge
        ADD_CHALLENGE.change(
            self._connection,
            {
                "challenge_id": challenge.challenge_id,
                "purpose": challenge.purpose,
                "library_id": challenge.library_id,
                "terminal_id": challenge.terminal_id,
                "nonce": challenge.nonce.value,
                "issued_at": challenge.issued_at,
                "expires_at": challenge.expires_at,
                "certificate_digest": challenge.certificate_digest,
                "link_request_id": pending.link_request_id,
                "used_at": None,
                **_revocation_columns(pending.revocation),
            },
        )

    def find_challenge(self, challenge_id: str) -> PendingChallenge | None:
        """See ``bridge.ports.Transaction``."""
        row = CHALLENGE.first(self._connection, {"of_challenge": challenge_id})
        return None if row is None else _pending(row)

    def unused_challenge(self, challenge_id: str) -> PendingChallenge:
        """See ``bridge.ports.Transaction``."""
        row = CHALLENGE.first(self._connection, {"of_challenge": challenge_id})
        if row is None:
            raise ChallengeUnknown
        if row.used_at is not None:
            raise ChallengeAlreadyUsed
        return _pending(row)

    def set_challenge_revocation(self, challenge_id: str, answer: RevocationAnswer) -> None:
        """See ``bridge.ports.Transaction``."""
        self._session.execute(
            update(ChallengeRow)
            .where(ChallengeRow.challenge_id == challenge_id)
            .values(**_revocation_columns(answer))
        )

    def consume_challenge(self, challenge_id: str, now: datetime) -> None:
        """See ``bridge.ports.Transaction``."""
        if not CONSUME_CHALLENGE.change(self._connection, {"of_challenge": challenge_id, "now": now}):
            self.unused_challenge(challenge_id)
            raise ChallengeAlreadyUsed

    def purge_challenges(self, before: datetime) -> int:
        """Delete the challenges that expired before that moment; return how many."""
        return PURGE_CHALLENGES.change(self._connection, {"before": before})
