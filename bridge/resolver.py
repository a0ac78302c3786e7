"""What the SIP2 proxy asks us: ``sip2_adapter.PatronResolver`` over the borrowing service.

The service waits for the database, so each question runs in a thread of its own. Trouble of any
kind is a refusal: a token never passes on to Koha as if it were a card number.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from types import MappingProxyType

from bridge.borrowing import Borrower, BorrowingService, NoLongerValid, TokenProblem
from bridge.machines import GuessingGuard, MachinePolicies
from bridge.models import AuditTag
from bridge.tokens import mask
from sip2_adapter.resolver import (
    Kiosk,
    PassThrough,
    Refusal,
    Refused,
    Resolution,
    Resolved,
    SessionEnd,
)
from sip2_adapter.screen import KioskScreen
from sip2_adapter.standing import PatronAnswer, judge_library_card

logger = logging.getLogger(__name__)

REFUSALS: Mapping[TokenProblem, Refusal] = MappingProxyType(
    {
        TokenProblem.UNKNOWN: Refusal.UNKNOWN_TOKEN,
        TokenProblem.WRONG_TERMINAL: Refusal.WRONG_TERMINAL,
        TokenProblem.CLOSED: Refusal.EXPIRED_TOKEN,
        TokenProblem.EXPIRED: Refusal.EXPIRED_TOKEN,
        TokenProblem.IDLE: Refusal.EXPIRED_TOKEN,
        TokenProblem.LINK_NOT_VALID: Refusal.NO_LONGER_VALID,
        TokenProblem.CERTIFICATE_EXPIRED: Refusal.CERTIFICATE_EXPIRED,
        TokenProblem.REVOCATION_UNKNOWN: Refusal.REVOCATION_UNKNOWN,
    }
)

_GUESSES = frozenset({TokenProblem.UNKNOWN, TokenProblem.WRONG_TERMINAL})
"""What a machine presents that nobody gave it. A token of its own that is over is no guess."""


class TokenResolver:
    """Answers the proxy for one library; a listener's name is the library's id.

    *clock* gives the present moment in UTC, *time_zone* the library's days.
    """

    def __init__(
        self,
        borrowing: BorrowingService,
        machines: MachinePolicies,
        *,
        clock: Callable[[], datetime],
        time_zone: tzinfo,
    ) -> None:
        self._borrowing = borrowing
        self._machines = machines
        self._clock = clock
        self._time_zone = time_zone
        self._guard = GuessingGuard()
        self._not_valid: set[str] = set()

    def screen_of(self, kiosk: Kiosk) -> KioskScreen:
        """Say in which language and characters a machine is spoken to."""
        return self._machines.of(kiosk).screen

    async def resolve(self, patron_identifier: bytes, kiosk: Kiosk) -> Resolution:
        """Say what *patron_identifier* is at *kiosk*, now. Never raises."""
        try:
            text = patron_identifier.decode("ascii")
        except UnicodeDecodeError:
            return self._plastic(kiosk)  # a token is of ASCII digits
        try:
            if not self._borrowing.is_token(kiosk.listener, text):
                return self._plastic(kiosk)
            if self._guard.is_locked(kiosk, self._clock()):
                return self._refused(Refusal.GUESSING, kiosk)
            found = await asyncio.to_thread(self._borrowing.resolve, kiosk.listener, kiosk.login, text)
            match found:
                case Borrower():
                    return self._resolved(found, text, kiosk)
                case NoLongerValid(problem):
                    await self._watch_guesses(problem, text, kiosk)
                    return self._refused(REFUSALS[problem], kiosk)
        except Exception as error:  # noqa: BLE001  # whatever it is, the token must not pass
            logger.error("a token not looked up: %s", type(error).__name__)  # noqa: TRY400  # no values
            return self._refused(Refusal.UNAVAILABLE, kiosk)
        return self._plastic(kiosk)

    def judge(self, session_id: str, answer: PatronAnswer, kiosk: Kiosk) -> Refused | None:
        """Refuse a patron whose library card is not valid by Koha's answer, until the session ends."""
        today = self._clock().astimezone(self._time_zone).date()
        if not judge_library_card(answer, today, self._machines.expiry_field).forbids:
            return None
        self._not_valid.add(session_id)
        return self._refused(Refusal.LIBRARY_CARD_NOT_VALID, kiosk)

    async def report_another_patron(self, session_id: str, kiosk: Kiosk) -> None:
        """Write the alarm into the audit log."""
        await self._alarm(AuditTag.SESSION_ANOTHER_PATRON, kiosk, session_id)

    async def close_session(self, session_id: str, end: SessionEnd) -> None:
        """The kiosk session is over. Where it cannot be closed now, its idle limit ends it."""
        self._not_valid.discard(session_id)
        try:
            await asyncio.to_thread(self._borrowing.close, session_id, end.value)
        except Exception as error:  # noqa: BLE001  # the proxy has nothing to do about it
            logger.error("a session not closed: %s", type(error).__name__)  # noqa: TRY400  # no values

    def _plastic(self, kiosk: Kiosk) -> Resolution:
        if self._machines.of(kiosk).plastic_cards:
            return PassThrough()
        return self._refused(Refusal.PLASTIC_NOT_ACCEPTED, kiosk)

    def _resolved(self, borrower: Borrower, token: str, kiosk: Kiosk) -> Resolution:
        if borrower.session_id in self._not_valid:
            # Koha would look past the expiry in an off-line checkout (11 with no block).
            return self._refused(Refusal.LIBRARY_CARD_NOT_VALID, kiosk)
        if not _fits_a_message(borrower.cardnumber):
            logger.error("Koha's card number of a patron does not fit a SIP2 message")
            return self._refused(Refusal.UNAVAILABLE, kiosk)
        shown = None if self._machines.of(kiosk).show_token else mask(token).encode()
        return Resolved(borrower.session_id, borrower.cardnumber.encode(), shown)

    async def _watch_guesses(self, problem: TokenProblem, token: str, kiosk: Kiosk) -> None:
        if problem in _GUESSES and self._guard.count_wrong(kiosk, token, self._clock()):
            logger.warning("%s %s: tokens are guessed at this machine", kiosk.listener, kiosk.login or "-")
            await self._alarm(AuditTag.SESSION_GUESSING, kiosk)

    async def _alarm(self, tag: AuditTag, kiosk: Kiosk, session_id: str | None = None) -> None:
        try:
            await asyncio.to_thread(
                self._borrowing.report_alarm, kiosk.listener, kiosk.login, tag, session_id
            )
        except Exception as error:  # noqa: BLE001  # the machine is refused all the same
            logger.error("an alarm not written: %s", type(error).__name__)  # noqa: TRY400  # no values

    def _refused(self, refusal: Refusal, kiosk: Kiosk) -> Refused:
        return Refused(refusal, self._machines.of(kiosk).text(refusal))


def _fits_a_message(cardnumber: str) -> bool:
    """Say whether a value can stand in a field: not empty, no delimiter, nothing unprintable."""
    return cardnumber.isprintable() and "|" not in cardnumber and cardnumber != ""
