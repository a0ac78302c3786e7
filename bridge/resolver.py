"""What the SIP2 proxy asks us: ``sip2_adapter.PatronResolver`` over the borrowing service.

The service waits for the database, so each question to it runs in a thread of its own. It need not be
asked where the database says that nothing has changed since the last time. Trouble of any kind is a
refusal: a token never passes on to Koha as if it were a card number.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime, timedelta, tzinfo
from types import MappingProxyType

from bridge.borrowing import (
    USE_WRITTEN_WITHIN,
    Borrower,
    BorrowingService,
    NoLongerValid,
    TokenProblem,
)
from bridge.models import AuditTag
from bridge.ports import ChangeCounter
from bridge.running_sessions import RunningSessions
from bridge.terminals.machines import MachinePolicies
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
        TokenProblem.GUESSING: Refusal.GUESSING,
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


ALARM_PAUSE = timedelta(minutes=1)
"""Log-ins from elsewhere as the same machine within this time are one alarm."""


class TokenResolver:
    """Answers the proxy for one library; a listener's name is the library's id.

    *changes* tells whether anything in the database has changed, None where that cannot be told.
    *clock* gives the present moment in UTC, *time_zone* the library's days.
    """

    def __init__(
        self,
        borrowing: BorrowingService,
        machines: MachinePolicies,
        changes: ChangeCounter | None,
        *,
        clock: Callable[[], datetime],
        time_zone: tzinfo,
    ) -> None:
        self._borrowing = borrowing
        self._machines = machines
        self._changes = changes
        self._clock = clock
        self._time_zone = time_zone
        self._running = RunningSessions(borrowing.idle_limit)
        self._turn: tuple[datetime, int | None] | None = None
        self._uses_due: asyncio.TimerHandle | None = None
        self._writing: set[asyncio.Task[None]] = set()
        self._not_valid: set[str] = set()
        self._alarmed: set[str] = set()
        self._elsewhere: dict[str, datetime] = {}

    def screen_of(self, kiosk: Kiosk) -> KioskScreen:
        """Say in which language and characters a machine is spoken to."""
        return self._machines.of(kiosk).screen

    def resolve(self, patron_identifier: bytes, kiosk: Kiosk) -> Resolution | Awaitable[Resolution]:
        """Say what *patron_identifier* is at *kiosk*, now. Never raises.

        At once where nothing has to be looked up: a plastic card, or a session that is still as it was.
        """
        try:
            moment, version = self._turn or self._begin_turn()
            known = self._running.recall(patron_identifier, kiosk, moment, version)
            if known is not None:
                return known
            text = patron_identifier.decode("ascii")
            if self._borrowing.is_token(kiosk.listener, text):
                return self._look_up(text, kiosk)
        except UnicodeDecodeError:
            pass  # a token is of ASCII digits
        except Exception as error:  # noqa: BLE001  # whatever it is, the token must not pass
            return self._trouble(error, kiosk)
        return self._plastic(kiosk)

    def judge(self, session_id: str, answer: PatronAnswer, kiosk: Kiosk) -> Refused | None:
        """Refuse a patron whose library card is not valid by Koha's answer, until the session ends."""
        if not judge_library_card(answer, self._today, self._machines.expiry_field).forbids:
            return None
        self._not_valid.add(session_id)
        self._running.forget(session_id)
        return self._refused(Refusal.LIBRARY_CARD_NOT_VALID, kiosk)

    async def report_another_patron(self, session_id: str, kiosk: Kiosk) -> None:
        """Write the alarm into the audit log, once for each session."""
        if session_id in self._alarmed:
            return
        self._alarmed.add(session_id)
        await self._write_alarm(AuditTag.SESSION_ANOTHER_PATRON, kiosk, kiosk.login, session_id)

    async def report_login_from_elsewhere(self, login: str, kiosk: Kiosk) -> None:
        """Write the alarm into the audit log, of each machine once in a while: it may be tried for hours."""
        now, last = self._clock(), self._elsewhere.get(login)
        if last is not None and now - last < ALARM_PAUSE:
            return
        self._elsewhere[login] = now
        await self._write_alarm(AuditTag.TERMINAL_ELSEWHERE, kiosk, login)

    async def close_session(self, session_id: str, end: SessionEnd) -> None:
        """The kiosk session is over. Where it cannot be closed now, its idle limit ends it."""
        self._not_valid.discard(session_id)
        self._alarmed.discard(session_id)
        self._running.forget(session_id)
        try:
            await asyncio.to_thread(self._borrowing.close, session_id, end.value)
        except Exception as error:  # noqa: BLE001  # the proxy has nothing to do about it
            logger.error("a session not closed: %s", type(error).__name__)  # noqa: TRY400  # no values

    async def _write_alarm(
        self, tag: AuditTag, kiosk: Kiosk, login: str | None, session_id: str | None = None
    ) -> None:
        try:
            await asyncio.to_thread(self._borrowing.report_alarm, kiosk.listener, login, tag, session_id)
        except Exception as error:  # noqa: BLE001  # the machine is refused all the same
            logger.error("an alarm not written: %s", type(error).__name__)  # noqa: TRY400  # no values

    async def _look_up(self, token: str, kiosk: Kiosk) -> Resolution:
        _, version = self._begin_turn()
        try:
            found = await asyncio.to_thread(
                self._borrowing.resolve,
                kiosk.listener,
                kiosk.login,
                token,
                self._running.last_used_at(token.encode()),
            )
            match found:
                case Borrower():
                    return self._resolved(found, token, kiosk, version)
                case NoLongerValid(problem, alarm):
                    if alarm:
                        logger.warning(
                            "%s %s: tokens are guessed at this machine", kiosk.listener, kiosk.login or "-"
                        )
                    return self._refused(REFUSALS[problem], kiosk, token)
        except Exception as error:  # noqa: BLE001  # whatever it is, the token must not pass
            return self._trouble(error, kiosk, token)
        return self._plastic(kiosk)

    def _begin_turn(self) -> tuple[datetime, int | None]:
        """Return moment and database's version; both hold until the event loop waits for messages again."""
        self._turn = self._clock(), None if self._changes is None else self._changes()
        asyncio.get_running_loop().call_soon(self._end_turn)
        return self._turn

    def _end_turn(self) -> None:
        self._turn = None

    def _resolved(self, borrower: Borrower, token: str, kiosk: Kiosk, version: int | None) -> Resolution:
        if borrower.session_id in self._not_valid:
            # Koha would look past the expiry in an off-line checkout (11 with no block).
            return self._refused(Refusal.LIBRARY_CARD_NOT_VALID, kiosk, token)
        if not _fits_a_message(borrower.cardnumber):
            logger.error("Koha's card number of a patron does not fit a SIP2 message")
            return self._refused(Refusal.UNAVAILABLE, kiosk, token)
        resolved = Resolved(borrower.session_id, borrower.cardnumber.encode(), self._mask(token, kiosk))
        self._running.remember(token.encode(), kiosk, borrower, resolved, self._clock(), version)
        self._plan_to_write_uses()
        return resolved

    def _write_uses(self) -> None:
        """Write down who was here, in one transaction, and again after a while if anybody still is."""
        used = self._running.take_uses(self._clock())
        self._uses_due = None
        if self._running:
            self._plan_to_write_uses()
        if used:
            writing = asyncio.get_running_loop().create_task(self._touch(used))
            self._writing.add(writing)  # the event loop itself keeps no hold of a task
            writing.add_done_callback(self._writing.discard)

    def _plan_to_write_uses(self) -> None:
        if self._uses_due is None:
            loop = asyncio.get_running_loop()
            self._uses_due = loop.call_later(USE_WRITTEN_WITHIN.total_seconds(), self._write_uses)

    async def _touch(self, used: Mapping[str, datetime]) -> None:
        try:
            await asyncio.to_thread(self._borrowing.touch, used)
        except Exception as error:  # noqa: BLE001  # at worst a session ends early
            logger.error("uses not written: %s", type(error).__name__)  # noqa: TRY400  # no values

    def _today(self) -> date:
        return self._clock().astimezone(self._time_zone).date()

    def _plastic(self, kiosk: Kiosk) -> Resolution:
        if self._machines.of(kiosk).plastic_cards:
            return PassThrough()
        return self._refused(Refusal.PLASTIC_NOT_ACCEPTED, kiosk)

    def _trouble(self, error: Exception, kiosk: Kiosk, token: str | None = None) -> Refused:
        logger.error("a token not looked up: %s", type(error).__name__)  # no values
        return self._refused(Refusal.UNAVAILABLE, kiosk, token)

    def _refused(self, refusal: Refusal, kiosk: Kiosk, token: str | None = None) -> Refused:
        mask = None if token is None else self._mask(token, kiosk)
        return Refused(refusal, self._machines.of(kiosk).text(refusal), mask)

    def _mask(self, token: str, kiosk: Kiosk) -> bytes | None:
        return None if self._machines.of(kiosk).show_token else mask(token).encode()


def _fits_a_message(cardnumber: str) -> bool:
    """Say whether a value can stand in a field: not empty, no delimiter, nothing unprintable."""
    return cardnumber.isprintable() and "|" not in cardnumber and cardnumber != ""
