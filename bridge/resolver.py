"""What the SIP2 proxy asks us: ``sip2_adapter.PatronResolver`` over the borrowing service.

The service waits for the database, so each question runs in a thread of its own. Trouble of any
kind is a refusal: a token never passes on to Koha as if it were a card number.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from types import MappingProxyType

from bridge.borrowing import Borrower, BorrowingService, NoLongerValid, TokenProblem
from bridge.models import AuditTag
from sip2_adapter.messages import Sip2Message
from sip2_adapter.resolver import (
    Kiosk,
    PassThrough,
    Refusal,
    Refused,
    Resolution,
    Resolved,
    SessionEnd,
)

logger = logging.getLogger(__name__)

REFUSALS: Mapping[TokenProblem, Refusal] = MappingProxyType(
    {
        TokenProblem.UNKNOWN: Refusal.UNKNOWN_TOKEN,
        TokenProblem.WRONG_TERMINAL: Refusal.WRONG_TERMINAL,
        TokenProblem.CLOSED: Refusal.EXPIRED_TOKEN,
        TokenProblem.EXPIRED: Refusal.EXPIRED_TOKEN,
        TokenProblem.IDLE: Refusal.EXPIRED_TOKEN,
        TokenProblem.LINK_NOT_VALID: Refusal.NO_LONGER_VALID,
    }
)

SCREEN_MESSAGES: Mapping[Refusal, str] = MappingProxyType(
    {
        Refusal.UNKNOWN_TOKEN: "Card not recognised. Please lay your card on the reader again.",
        Refusal.EXPIRED_TOKEN: "Session ended. Please lay your card on the reader again.",
        Refusal.WRONG_TERMINAL: "Please use the machine at which you laid your card.",
        Refusal.GUESSING: "Too many wrong numbers. Please wait a minute.",
        Refusal.NO_LONGER_VALID: "Your card is no longer linked. Please ask at the counter.",
        Refusal.CERTIFICATE_EXPIRED: "Your card's certificate has expired. Please ask at the counter.",
        Refusal.REVOCATION_UNKNOWN: "Your card must be checked again. Please lay it on the reader again.",
        Refusal.LIBRARY_CARD_NOT_VALID: "Library card expired or restricted. Please ask at the counter.",
        Refusal.PLASTIC_NOT_ACCEPTED: "Please use your My Number Card at this machine.",
        Refusal.UNAVAILABLE: "Cards cannot be read now. Please use your library card.",
    }
)
"""What the patron reads (AF): short, and in ASCII, which every machine can show."""


class TokenResolver:
    """Answers the proxy; a listener's name is the id of its library."""

    def __init__(self, borrowing: BorrowingService) -> None:
        self._borrowing = borrowing

    async def resolve(self, patron_identifier: bytes, kiosk: Kiosk) -> Resolution:
        """Say what *patron_identifier* is at *kiosk*, now. Never raises."""
        try:
            text = patron_identifier.decode("ascii")
        except UnicodeDecodeError:
            return PassThrough()  # a token is of ASCII digits
        try:
            found = await asyncio.to_thread(self._borrowing.resolve, kiosk.listener, kiosk.login, text)
        except Exception as error:  # noqa: BLE001  # whatever it is, the token must not pass
            logger.error("a token not looked up: %s", type(error).__name__)  # noqa: TRY400  # no values
            return _refused(Refusal.UNAVAILABLE)
        match found:
            case Borrower(session_id, cardnumber) if _fits_a_message(cardnumber):
                return Resolved(session_id, cardnumber.encode())
            case Borrower():
                logger.error("Koha's card number of a patron does not fit a SIP2 message")
                return _refused(Refusal.UNAVAILABLE)
            case NoLongerValid(problem):
                return _refused(REFUSALS[problem])
        return PassThrough()

    def judge(self, session_id: str, answer: Sip2Message, kiosk: Kiosk) -> Refused | None:
        """Leave the answer to Koha and the machine."""
        return None

    async def report_another_patron(self, session_id: str, kiosk: Kiosk) -> None:
        """Write the alarm into the audit log."""
        try:
            await asyncio.to_thread(
                self._borrowing.report_alarm,
                kiosk.listener,
                kiosk.login,
                AuditTag.SESSION_ANOTHER_PATRON,
                session_id,
            )
        except Exception as error:  # noqa: BLE001  # the proxy has refused already
            logger.error("an alarm not written: %s", type(error).__name__)  # noqa: TRY400  # no values

    async def close_session(self, session_id: str, end: SessionEnd) -> None:
        """The kiosk session is over. Where it cannot be closed now, its idle limit ends it."""
        try:
            await asyncio.to_thread(self._borrowing.close, session_id, end.value)
        except Exception as error:  # noqa: BLE001  # the proxy has nothing to do about it
            logger.error("a session not closed: %s", type(error).__name__)  # noqa: TRY400  # no values


def _refused(refusal: Refusal) -> Refused:
    return Refused(refusal, SCREEN_MESSAGES[refusal])


def _fits_a_message(cardnumber: str) -> bool:
    """Say whether a value can stand in a field: not empty, no delimiter, nothing unprintable."""
    return cardnumber.isprintable() and "|" not in cardnumber and cardnumber != ""
