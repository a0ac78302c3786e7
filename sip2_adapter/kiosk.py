"""One self-check machine, from its connection to its end. Edge.

There are two ways through. On the general way, here, a task reads a request, has it answered, writes
the answer, and reads the next. The usual message of a patron who is at the machine already takes the
express lane (``express_lane``), as far as that knows it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf
from typing import Any, Final

from sip2_adapter.addresses import IpAddress
from sip2_adapter.answers import refuse
from sip2_adapter.channel import FrameChannel, Turn
from sip2_adapter.codec import RESEND_AFTER_BAD_CHECKSUM, decode, encode, seal, text_value
from sip2_adapter.errors import (
    AcsNotReached,
    AcsUnavailable,
    ChannelClosed,
    ChecksumMismatch,
    FrameTooLong,
    FrameTooSlow,
    RemoteProtocolError,
    ResendRequested,
    TooManyFrames,
    type_and_place,
)
from sip2_adapter.express_lane import ExpressLane
from sip2_adapter.grammar import ACS_RESEND, REQUESTS, SC_RESEND
from sip2_adapter.listener import Listener, ProxyLimits
from sip2_adapter.messages import ErrorDetection, LoginRequest, Sip2Message
from sip2_adapter.observer import Cut, LoginRefusal, ProxyObserver, Result
from sip2_adapter.repetition import READS, MachineChanges, RecentChanges
from sip2_adapter.request_log import RequestLog
from sip2_adapter.resolver import (
    Kiosk,
    PatronResolver,
    Refusal,
    Refused,
    Resolution,
    Resolved,
    SessionEnd,
)
from sip2_adapter.rewrite import (
    drop_other_patrons,
    fill_language,
    is_ambiguous,
    names_another_patron,
    patron_identifier,
    put_patron_identifier,
    restore_patron_identifier,
)
from sip2_adapter.screen import ScreenOf
from sip2_adapter.session import KioskSession, PatronSession
from sip2_adapter.upstream import Upstream

_logger: Final = logging.getLogger(__name__)

_LOGIN: Final = b"93"
_SC_STATUS: Final = b"99"
_END_PATRON_SESSION: Final = b"35"
_NOT_EXECUTED: Final = frozenset({Result.RESEND_REQUESTED, Result.ACS_UNAVAILABLE})
"""The machine may send it again, and it will be tried again."""

_PERHAPS_EXECUTED: Final = frozenset(
    {Result.ANSWERED, Result.ANOTHER_PATRON, Result.OUTCOME_UNKNOWN, Result.FAILED}
)
"""The ACS has been asked, or may have been."""


_GARBAGE_PERIOD: Final = 60.0
"""Seconds over which what is no message is counted."""


@dataclass(frozen=True)
class Site:
    """One library behind the proxy, and what all its machines share: see ``proxy.Sip2Proxy``."""

    listener: Listener
    resolver: PatronResolver
    limits: ProxyLimits
    screen_of: ScreenOf
    observer: ProxyObserver | None
    clock: Callable[[], datetime]
    recent: RecentChanges


class KioskConnection:
    """One machine, from its connection to its end.

    *sites* are the libraries behind the port; until the machine has logged in it is at the first of
    them, and nothing goes to any. *address* is where the machine is.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        channel: FrameChannel,
        address: IpAddress,
        turn: Turn,
        request_log: RequestLog,
    ) -> None:
        self._sites = sites
        self._address = address
        self._turn = turn
        self._request_log = request_log
        self._channel = channel
        self._session = KioskSession(retry_window=sites[0].limits.retry_window)
        self._loop = asyncio.get_running_loop()
        self._clock = time.monotonic  # the event loop's clock, but never a turn old
        self._connected_at = self._session.heard_at = self._clock()
        self._garbage = 0
        self._garbage_since = self._connected_at
        self._answering = False
        self._finished = False
        self._kept_waiting_since: float | None = None
        self._behind: set[asyncio.Task[None]] = set()
        self._enter(sites[0])

    def _enter(self, site: Site) -> None:
        """Be a machine of *site*."""
        self._site = site
        self._listener = site.listener
        self._resolver = site.resolver
        self._limits = site.limits
        self._observer = site.observer
        self._upstream = Upstream(site.listener, self._offer_answers)
        self._lane = ExpressLane(
            site.resolver,
            self._session,
            self._channel,
            self._upstream,
            self._turn,
            self._request_log,
            site.limits.answer_timeout,
            self,
        )
        self._channel.offer(self._lane.take_request, self._turn)
        self._be(Kiosk(site.listener.name, str(self._address), login=None))

    def _offer_answers(self, acs: FrameChannel) -> None:
        acs.offer(self._lane.take_answer, self._turn)
        acs.on_end = self._lane.rescue

    def _be(self, kiosk: Kiosk) -> None:
        """Be *kiosk*: with a log-in, another than before."""
        self._kiosk = kiosk
        self._screen = self._site.screen_of(kiosk)
        self._changes = MachineChanges(self._site.recent, kiosk)
        self._lane.be(kiosk, self._changes)

    def _begin_answering(self) -> None:
        """Keep the express lane free of requests while the general way is at one."""
        self._answering = True
        self._lane.is_free = False

    def _end_answering(self) -> None:
        self._answering = False
        self._lane.is_free = self._session.login is not None

    def finish(self) -> None:
        """End after the answer that is due, or at once if none is."""
        self._finished = True
        self._turn.work()
        if not self._answering:
            self._lane.finish()

    async def serve(self) -> None:
        """Answer the machine until either side ends the connection."""
        observer = self._observer
        if observer is not None:
            observer.kiosk_connected(self._listener.name)
        try:
            with suppress(ChannelClosed, TimeoutError):  # gone, silent, or not reading: it is over
                await self._serve()
            self._channel.close()
            await self._lane.landed()  # what was asked last is still counted
        finally:
            self._channel.close()
            self._upstream.close()
            self._changes.end(None)
            self._lane.close()
            await self._end_patron_session(SessionEnd.DISCONNECTED)
            if observer is not None:
                observer.kiosk_disconnected(self._listener.name)

    async def _serve(self) -> None:
        while not self._finished:
            try:
                frame = await self._next_frame()
            except FrameTooLong:
                self._report(b"??", Result.MALFORMED, 0)
                self._report_cut(Cut.FRAME_TOO_LONG)
                await self._channel.send(SC_RESEND, self._limits.answer_timeout)
                return
            except FrameTooSlow:
                self._report_cut(Cut.FRAME_TOO_SLOW)
                return
            except TooManyFrames:
                self._report_cut(Cut.TOO_MANY_FRAMES)
                return
            self._begin_answering()
            await self._lane.landed()
            answer = self._session.last_answer = await self._answer(frame)
            await self._channel.send(answer, self._limits.answer_timeout)
            self._end_answering()

    async def land(self, request: bytes, sent: bytes, started: float) -> None:
        """Answer *request*, which the express lane has *sent* to the ACS and cannot answer."""
        message = decode(request)
        deadline = started + self._limits.answer_timeout
        exchange = self._upstream.answer_to(decode(sent), deadline)
        try:
            answering = self._treated(message, patron_identifier(message), exchange, deadline)
            answer = await self._settled(request, message, started, answering)
            self._session.last_answer = answer
            await self._channel.send(answer, self._limits.answer_timeout)
        except (ChannelClosed, TimeoutError):
            self._channel.close()

    async def _next_frame(self) -> bytes:
        self._session.heard_at = self._clock()
        while True:
            if self._session.login is None and self._clock() >= self._silent_at():
                await self._end_silence()  # it never pauses, so that nothing else would
            try:
                frame = await self._channel.receive(self._next_look_at() - self._clock())
            except TimeoutError:
                await self._end_silence()
            else:
                self._session.heard_at = self._clock()
                return frame

    def _next_look_at(self) -> float:
        """Return when something is to be done if the machine says nothing."""
        return min(self._silent_at(), self._upstream_silent_at())

    def _upstream_silent_at(self) -> float:
        """Return when the ACS will have heard nothing for so long that it might close."""
        if self._session.login is None:
            return inf
        return self._upstream.used_at + self._limits.keepalive_interval

    def _silent_at(self) -> float:
        """Return when the machine, or the patron at it, will have been silent for too long."""
        limits, session = self._limits, self._session
        if session.login is None:
            return self._connected_at + limits.login_timeout  # whatever it may say
        if session.patron is None:
            return session.heard_at + limits.idle_timeout
        return min(
            session.heard_at + limits.idle_timeout, session.patron_seen_at + limits.patron_idle_timeout
        )

    async def _end_silence(self) -> None:
        """End what is over; the express lane may have heard the machine in the meantime.

        Raises ``TimeoutError`` where that is the connection.
        """
        now, session = self._clock(), self._session
        if self._lane.is_busy:
            # It is waiting for us, and we for the ACS.
            session.heard_at = session.patron_seen_at = self._upstream.used_at = now
        elif now >= self._upstream_silent_at():
            await self._keep_upstream_alive()
        elif now < self._silent_at():
            return
        elif session.patron is not None and now >= session.patron_seen_at + self._limits.patron_idle_timeout:
            await self._end_patron_session(SessionEnd.IDLE, now + self._limits.answer_timeout / 2)
            self._kept_waiting_since = now if self._channel.waiting else None
        else:
            self._report_cut(Cut.NOT_LOGGED_IN if session.login is None else Cut.IDLE)
            raise TimeoutError

    async def _keep_upstream_alive(self) -> None:
        """Ask the ACS for its status; what the machine sends meanwhile is answered afterwards.

        The ACS has half the time of an answer for it, so that the other half is left for that request.
        """
        begun = self._clock()
        self._begin_answering()
        try:
            await self._upstream.keep_alive(self._session.next_sequence(), self._limits.answer_timeout / 2)
        except (AcsUnavailable, RemoteProtocolError) as error:
            _logger.warning("%s: no answer to a keep-alive: %s", self._listener.name, type(error).__name__)
        finally:
            self._end_answering()
        if self._finished:
            raise ChannelClosed
        if self._channel.waiting:
            self._kept_waiting_since = begun

    async def _answer(self, frame: bytes) -> bytes:
        started = self._kept_waiting_since or self._clock()
        self._kept_waiting_since = None
        try:
            request = decode(frame)
        except ChecksumMismatch as error:
            self._report(error.code, Result.BAD_CHECKSUM, 0)
            self._count_garbage(started)
            return RESEND_AFTER_BAD_CHECKSUM
        except RemoteProtocolError:
            self._report(b"??", Result.MALFORMED, 0)
            self._count_garbage(started)
            return SC_RESEND
        session = self._session
        if request.code == ACS_RESEND:
            self._report(request.code, Result.RESENT, 0)
            return session.last_answer or SC_RESEND
        # A log-in is looked at more closely where it is passed on.
        if request.code not in REQUESTS or (request.code != _LOGIN and is_ambiguous(frame, request)):
            self._report(request.code, Result.MALFORMED, 0)
            return SC_RESEND
        repeated = session.repeated_answer(frame, started)
        if repeated is not None:
            self._report(request.code, Result.REPEATED, 0)
            return repeated
        if request.code != _SC_STATUS:
            session.patron_seen_at = started
        if request.code not in READS and request.sequence is not None and session.login is not None:
            repeated = await self._outcome_elsewhere(frame)
            if repeated is not None:
                self._report(request.code, Result.REPEATED, self._clock() - started)
                return repeated
            self._changes.begin(frame)
        deadline = started + self._limits.answer_timeout
        return await self._settled(frame, request, started, self._answer_request(request, deadline))

    async def _outcome_elsewhere(self, frame: bytes) -> bytes | None:
        """Return the answer if the machine asked for this change before it connected anew."""
        while (change := self._changes.find(frame)) is not None:
            await asyncio.wait([change.outcome])
            if not change.outcome.cancelled():
                return change.outcome.result()
        return None

    def _count_garbage(self, now: float) -> None:
        """End the connection after too much that is no message; a noisy line stays far below."""
        if now - self._garbage_since > _GARBAGE_PERIOD:
            self._garbage, self._garbage_since = 0, now
        self._garbage += 1
        if self._garbage > self._limits.garbage_limit:
            self._finished = True
            self._report_cut(Cut.GARBAGE)

    async def _settled(
        self, frame: bytes, request: Sip2Message, started: float, answering: Awaitable[tuple[bytes, Result]]
    ) -> bytes:
        """Return, remember and report what *answering* gives; whatever happens, that is a valid answer."""
        try:
            answer, result = await answering
        except Exception as error:  # noqa: BLE001  # an error of our own
            _logger.error("%s %s: %s", self._listener.name, request.code.decode(), type_and_place(error))  # noqa: TRY400
            answer, result = self._refuse(request, self._screen.messages.outcome_unknown, Result.FAILED)
        now = self._clock()
        self._changes.end(answer if result in _PERHAPS_EXECUTED else None)
        if result not in _NOT_EXECUTED:
            self._session.remember(frame, answer, now, numbered=request.sequence is not None)
        self._report(request.code, result, now - started)
        return answer

    async def _answer_request(self, request: Sip2Message, deadline: float) -> tuple[bytes, Result]:
        if request.code == _LOGIN:
            return await self._log_in(request, deadline)
        if self._session.login is None:
            return self._refuse(request, self._screen.messages.not_logged_in, Result.NOT_LOGGED_IN)
        try:
            return await self._answer_logged_in(request, deadline)
        finally:
            if request.code == _END_PATRON_SESSION:
                await self._end_patron_session(SessionEnd.END_PATRON_SESSION, deadline)

    async def _answer_logged_in(self, request: Sip2Message, deadline: float) -> tuple[bytes, Result]:
        presented = patron_identifier(request)
        if presented is not None:
            resolution = await self._resolve(presented, deadline)
            await self._take(presented, resolution, deadline)
            if isinstance(resolution, Refused):
                return self.refuse_patron(request, resolution)
        return await self._ask_acs(request, presented, deadline)

    async def _resolve(self, presented: bytes, deadline: float) -> Resolution:
        # The express lane may have asked already.
        answer = self._lane.take_asked(presented) or self._resolver.resolve(presented, self._kiosk)
        if isinstance(answer, Resolution):
            return answer
        try:
            async with asyncio.timeout_at(deadline):
                return await answer
        except TimeoutError:
            return Refused(Refusal.UNAVAILABLE, self._screen.messages.acs_unavailable)

    async def _take(self, presented: bytes, resolution: Resolution, deadline: float) -> None:
        """Let *presented* be the patron at the machine, and end the session of the one before."""
        session = self._session
        current = session.patron
        patron = None
        if isinstance(resolution, Resolved):
            patron = PatronSession(presented, resolution)
        elif isinstance(resolution, Refused) and current and current.token == presented:
            return  # still the same patron at the machine, whose session ends as any other
        if current and (patron is None or patron.session_id != current.session_id):
            # Half of the time that is left is for the ACS, which is asked next.
            await self._end_patron_session(SessionEnd.ANOTHER_PATRON, (self._clock() + deadline) / 2)
        session.patron = patron

    async def _ask_acs(
        self, request: Sip2Message, presented: bytes | None, deadline: float
    ) -> tuple[bytes, Result]:
        patron = self._session.patron
        outgoing = fill_language(request)
        if presented is not None and patron is not None:
            outgoing = put_patron_identifier(outgoing, patron.cardnumber)
        sealed = self._sealed(outgoing, request)
        exchange = self._upstream.exchange(sealed, deadline)
        answer, result = await self._treated(request, presented, exchange, deadline)
        if request.code == _SC_STATUS and result is Result.ANSWERED:
            self._upstream.status_asked(sealed)
        return answer, result

    async def _treated(
        self,
        request: Sip2Message,
        presented: bytes | None,
        exchange: Awaitable[tuple[bytes, Sip2Message]],
        deadline: float,
    ) -> tuple[bytes, Result]:
        """Return what the machine gets to see of what *exchange* gives."""
        patron = self._session.patron
        try:
            frame, answer = await exchange
        except (ResendRequested, AcsUnavailable, RemoteProtocolError) as error:
            return self._without_answer(request, error)
        if patron is None:
            return self._mirrored(frame, answer, drop_other_patrons(answer, None), request)
        if presented is not None and names_another_patron(answer, patron.cardnumber):
            _logger.error("%s: the ACS answered about another patron", self._listener.name)
            await self._until(deadline, self._resolver.report_another_patron(patron.session_id, self._kiosk))
            return self._refuse(request, self._screen.messages.outcome_unknown, Result.ANOTHER_PATRON)
        refused = self._resolver.judge(patron.session_id, answer, self._kiosk)
        if refused is not None:
            return self.refuse_patron(request, refused)
        cleaned = restore_patron_identifier(
            drop_other_patrons(answer, patron.cardnumber), patron.cardnumber, patron.shown
        )
        return self._mirrored(frame, answer, cleaned, request)

    async def _log_in(self, request: Sip2Message, deadline: float) -> tuple[bytes, Result]:
        """Pass the machine's log-in on. After a refusal the connection ends, as Koha ends its own."""
        wanted = LoginRequest.of(request)
        login = wanted.login_user_id.decode("latin-1")
        refusal = self._login_refusal(wanted, login)
        if refusal is not None:
            self._finished = True
            self._report_login_refused(refusal)
            if refusal is LoginRefusal.WRONG_ADDRESS:
                await self._until(deadline, self._resolver.report_login_from_elsewhere(login, self._kiosk))
            return self._refuse(request, "", Result.LOGIN_REFUSED)
        outgoing = self._sealed(request, request)
        try:
            frame, answer = await self._upstream.exchange(outgoing, deadline)
        except (ResendRequested, AcsUnavailable, RemoteProtocolError) as error:
            self._finished = not isinstance(error, ResendRequested)
            return self._without_answer(request, error)
        accepted = answer.fixed_field("ok") == b"1"
        if accepted:
            self._session.login = wanted
            self._upstream.logged_in(outgoing)
            self._be(replace(self._kiosk, login=login))
        else:
            self._finished = True
            self._report_login_refused(LoginRefusal.BY_ACS)
        answer_frame, result = self._mirrored(frame, answer, answer, request)
        return answer_frame, result if accepted else Result.LOGIN_REFUSED

    def _login_refusal(self, wanted: LoginRequest, login: str) -> LoginRefusal | None:
        """Find the library that *login* is of and say why it is refused, None if it is not."""
        current = self._session.login
        if not (login.isascii() and login.isprintable()):
            return LoginRefusal.UNPRINTABLE  # Koha drops what would make one account look like two
        if current is not None and wanted.login_user_id != current.login_user_id:
            # Koha would give the connection another account, while tokens are bound to the first.
            return LoginRefusal.SECOND_ACCOUNT
        for site in self._sites:
            refusal = site.listener.login_refusal(login, self._address)
            if refusal is not LoginRefusal.UNKNOWN_LOGIN:
                break
        if refusal is not LoginRefusal.UNKNOWN_LOGIN and site is not self._site:
            self._upstream.close()
            self._enter(site)
        return refusal

    def _sealed(self, outgoing: Sip2Message, request: Sip2Message) -> Sip2Message:
        """Return *outgoing* with AY and a byte-sum AZ: Koha trims the last field of a message without."""
        if (
            outgoing is request
            and request.sequence is not None
            and request.error_detection is ErrorDetection.BYTES
        ):
            return request
        sequence = request.sequence
        return seal(outgoing, self._session.next_sequence() if sequence is None else sequence)

    @staticmethod
    def _mirrored(
        frame: bytes, answer: Sip2Message, cleaned: Sip2Message, request: Sip2Message
    ) -> tuple[bytes, Result]:
        """Return the answer with AY and AZ if, and as, the machine used them; untouched if it can be."""
        if (
            cleaned is answer
            and answer.sequence == request.sequence
            and answer.error_detection is ErrorDetection.BYTES
        ):
            return frame, Result.ANSWERED
        return encode(seal(cleaned, request.sequence)), Result.ANSWERED

    def _without_answer(self, request: Sip2Message, error: Exception) -> tuple[bytes, Result]:
        """Say what is known when the ACS gave no answer to *request*."""
        screen_messages = self._screen.messages
        if isinstance(error, ResendRequested):
            frame = SC_RESEND if request.sequence is None else RESEND_AFTER_BAD_CHECKSUM
            return frame, Result.RESEND_REQUESTED
        if isinstance(error, AcsNotReached):
            return self._refuse(request, screen_messages.acs_unavailable, Result.ACS_UNAVAILABLE)
        _logger.warning("%s %s: %s", self._listener.name, request.code.decode(), type(error).__name__)
        text = screen_messages.acs_unavailable if request.code in READS else screen_messages.outcome_unknown
        return self._refuse(request, text, Result.OUTCOME_UNKNOWN)

    def refuse_patron(self, request: Sip2Message, refused: Refused) -> tuple[bytes, Result]:
        """Return the answer to a *request* whose patron is refused."""
        if self._observer is not None:
            self._observer.patron_refused(self._listener.name, refused.refusal)
        return self._refuse(request, refused.screen_message, Result.REFUSED, refused.mask)

    def _refuse(
        self, request: Sip2Message, screen_message: str, result: Result, mask: bytes | None = None
    ) -> tuple[bytes, Result]:
        text = text_value(screen_message, self._screen.encoding)
        patron = self._session.patron
        if mask is None and patron is not None and patron_identifier(request) == patron.token:
            mask = patron.resolved.mask
        echoed = request if mask is None else put_patron_identifier(request, mask)
        answer = refuse(echoed, text, self._site.clock())
        return encode(seal(answer, request.sequence)), result

    async def _end_patron_session(self, end: SessionEnd, deadline: float | None = None) -> None:
        """End the session of the patron at the machine, if there is one.

        Where an answer is due by *deadline*, no longer is waited for that.
        """
        patron, self._session.patron = self._session.patron, None
        if patron is None:
            return
        closing = self._resolver.close_session(patron.session_id, end)
        await (self._done(closing) if deadline is None else self._until(deadline, closing))

    async def _until(self, deadline: float, work: Coroutine[Any, Any, None]) -> None:
        """Wait for what the resolver has to do, until *deadline*: it goes on when the answer has gone out.

        Its failure is written down. The machine has nothing to do with it.
        """
        task = self._loop.create_task(self._done(work))
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)
        await asyncio.wait([task], timeout=max(deadline - self._clock(), 0))

    async def _done(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001
            _logger.error("%s: not written: %s", self._listener.name, type_and_place(error))  # noqa: TRY400

    def _report_cut(self, cut: Cut) -> None:
        _logger.info("%s %s at %s cut: %s", self._listener.name, self._kiosk.login or "-", self._address, cut)
        if self._observer is not None:
            self._observer.connection_cut(self._listener.name, cut)

    def _report_login_refused(self, refusal: LoginRefusal) -> None:
        _logger.warning("%s: log-in from %s refused: %s", self._listener.name, self._address, refusal)
        if self._observer is not None:
            self._observer.login_refused(self._listener.name, refusal)

    def _report(self, code: bytes, result: Result, seconds: float) -> None:
        self._request_log.put(self._kiosk.listener, self._kiosk.login, code, result, seconds)
