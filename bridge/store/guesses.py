"""Tokens that were worth nothing at a self-check machine."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import select

from bridge.guessing import Guesses
from bridge.store.queries import Queries
from bridge.store.tables import TokenGuessesRow


class GuessQueries(Queries):
    """Queries on guessed tokens."""

    def find_guesses(self, library_id: str, sip2_login: str, *, to_change: bool = False) -> Guesses | None:
        """See ``bridge.ports.Transaction``."""
        wanted = select(TokenGuessesRow).where(
            TokenGuessesRow.library_id == library_id, TokenGuessesRow.sip2_login == sip2_login
        )
        if to_change:
            self._wait_for_turn("guesses", library_id, sip2_login)
        row = self._session.scalar(wanted)
        if row is None:
            return None
        return Guesses(row.since, row.refused, row.wrong, row.locked_until, row.last_digest)

    def keep_guesses(self, library_id: str, sip2_login: str, guesses: Guesses) -> None:
        """See ``bridge.ports.Transaction``."""
        self._session.merge(TokenGuessesRow(library_id=library_id, sip2_login=sip2_login, **asdict(guesses)))
