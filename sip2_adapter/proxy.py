"""The proxy between self-check machines (SC) and Koha's SIP server (ACS). Edge.

One task serves one machine: it reads a request, has it answered, writes the answer, and reads the
next. Each machine has a connection of its own to the ACS, opened with the machine's own log-in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from sip2_adapter.answers import refuse
from sip2_adapter.channel import FrameChannel
from sip2_adapter.client import AcsConnection
from sip2_adapter.codec import (
    RESEND_AFTER_BAD_CHECKSUM,
    decode,
    encode,
    seal,
    text_value,
)
from sip2_adapter.errors import (
    AcsNotReached,
    AcsUnavailable,
    ChannelClosed,
    ChecksumMismatch,
    FrameTooLong,
    LoginRefused,
    RemoteProtocolError,
    ResendRequested,
    type_and_place,
)
from sip2_adapter.framing import DEFAULT_FRAME_LIMIT, FrameBuffer, Terminator
from sip2_adapter.grammar import ACS_RESEND, REQUESTS, SC_RESEND
from sip2_adapter.messages import ErrorDetection, LoginRequest, Sip2Message
from sip2_adapter.observer import ProxyObserver, Result
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
    names_another_patron,
    patron_identifier,
    put_patron_identifier,
    restore_patron_identifier,
)
from sip2_adapter.screen import ScreenOf, english_screen
from sip2_adapter.session import KioskSession, PatronSession

_logger: Final = logging.getLogger(__name__)

_LOGIN: Final = b"93"
_SC_STATUS: Final = b"99"
_END_PATRON_SESSION: Final = b"35"
_READS: Final = frozenset({b"99", b"23", b"63", b"17", b"35"})
"""Requests that change nothing in Koha: no answer means nothing was done."""

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
"""Seconds without a new attempt after the ACS could not be reached, doubled from first to longest."""


@dataclass(frozen=True)
class Listener:
    """A port for the machines of one library, and the ACS behind it.

    ``terminator`` is what the machines expect at the end of an answer; LF is for machines that send
    no CR.
    """

    name: str
    host: str
    port: int
    upstream_host: str
    upstream_port: int
    terminator: Terminator = Terminator.CR


@dataclass(frozen=True)
class ProxyLimits:
    """Times in seconds, sizes in bytes.

    ``answer_timeout`` must be shorter than the machines' own time-out. ``idle_timeout`` must be
    longer than their status interval (5 to 7 minutes are usual). ``patron_idle_timeout`` ends the
    session of a patron who walked away. ``retry_window`` is how long a request that is sent again
    counts as a repetition.
    """

    answer_timeout: float = 20.0
    login_timeout: float = 30.0
    idle_timeout: float = 900.0
    patron_idle_timeout: float = 120.0
    retry_window: float = 60.0
    frame_limit: int = DEFAULT_FRAME_LIMIT


def _local_time() -> datetime:
    return datetime.now(UTC).astimezone()


class Sip2Proxy:
    """Listens for self-check machines and lends them Koha, with tokens in place of card numbers.

    *resolver* says what a patron identifier is. *screen_of* says what a machine's screen can show.
    *clock* gives the library's local time, for the dates in answers of our own. Start with ``start``,
    end with ``stop``.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        resolver: PatronResolver,
        *,
        limits: ProxyLimits = ProxyLimits(),
        screen_of: ScreenOf = english_screen,
        observer: ProxyObserver | None = None,
        clock: Callable[[], datetime] = _local_time,
    ) -> None:
        self.resolver = resolver
        self.limits = limits
        self.screen_of = screen_of
        self.observer = observer
        self.clock = clock
        self._listeners = tuple(listeners)
        self._servers: dict[str, asyncio.Server] = {}
        self._kiosks: dict[asyncio.Task[None], _KioskConnection] = {}

    @property
    def ports(self) -> Mapping[str, int]:
        """The port that each listener, by name, really has; of use where port 0 was asked for."""
        return {name: server.sockets[0].getsockname()[1] for name, server in self._servers.items()}

    async def start(self) -> None:
        """Listen on every port; raises ``OSError`` if one cannot be had, and then listens on none."""
        loop = asyncio.get_running_loop()
        try:
            for listener in self._listeners:
                self._servers[listener.name] = await loop.create_server(
                    partial(self._channel, listener), listener.host, listener.port
                )
        except OSError:
            await self.stop(grace=0)
            raise

    async def stop(self, grace: float) -> None:
        """Take no new machines, let answers that are due go out for up to *grace* seconds, and close."""
        servers, self._servers = list(self._servers.values()), {}
        for server in servers:
            server.close()
        for kiosk in self._kiosks.values():
            kiosk.finish()
        tasks = set(self._kiosks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for server in servers:
            await server.wait_closed()

    def _channel(self, listener: Listener) -> FrameChannel:
        return FrameChannel(
            FrameBuffer(listener.terminator, self.limits.frame_limit),
            listener.terminator,
            lambda channel: self._serve(listener, channel),
        )

    def _serve(self, listener: Listener, channel: FrameChannel) -> None:
        kiosk = _KioskConnection(self, listener, channel)
        task = asyncio.get_running_loop().create_task(kiosk.serve())
        self._kiosks[task] = kiosk
        task.add_done_callback(self._kiosks.pop)


class _Upstream:
    """One machine's way to the ACS: connects, and logs in again after a cut."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._connection: AcsConnection | None = None
        self._login: Sip2Message | None = None
        self._pause = _FIRST_PAUSE
        self._next_attempt = 0.0

    def logged_in(self, login: Sip2Message) -> None:
        """Keep the 93 that the ACS accepted, to send it again after a cut."""
        self._login = login

    async def exchange(self, request: Sip2Message, deadline: float) -> tuple[bytes, Sip2Message]:
        """Return the answer to *request*; raises what ``AcsConnection.exchange`` raises."""
        connection = self._connection
        if connection is None or not connection.is_open:
            connection = await self._connect(deadline)
        return await connection.exchange(request, _seconds_until(deadline))

    def close(self) -> None:
        """Close. Idempotent."""
        if self._connection is not None:
            self._connection.close()

    async def _connect(self, deadline: float) -> AcsConnection:
        self.close()
        clock = asyncio.get_running_loop().time
        if clock() < self._next_attempt:
            raise AcsNotReached("the ACS could not be reached a moment ago")
        try:
            self._connection = await self._open(deadline)
        except (AcsUnavailable, RemoteProtocolError) as error:
            self._next_attempt = clock() + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            raise AcsNotReached("no session with the ACS") from error
        self._pause = _FIRST_PAUSE
        return self._connection

    async def _open(self, deadline: float) -> AcsConnection:
        connection = await AcsConnection.open(
            self._listener.upstream_host, self._listener.upstream_port, _seconds_until(deadline)
        )
        if self._login is not None:
            _, answer = await connection.exchange(self._login, _seconds_until(deadline))
            if answer.fixed_field("ok") != b"1":
                connection.abort()
                raise LoginRefused("the ACS no longer accepts the machine's log-in")
        return connection


def _seconds_until(deadline: float) -> float:
    return deadline - asyncio.get_running_loop().time()


class _KioskConnection:
    """One machine, from its connection to its end."""

    def __init__(self, proxy: Sip2Proxy, listener: Listener, channel: FrameChannel) -> None:
        self._proxy = proxy
        self._limits = proxy.limits
        self._listener = listener
        self._channel = channel
        self._upstream = _Upstream(listener)
        self._session = KioskSession(retry_window=proxy.limits.retry_window)
        self._kiosk = Kiosk(listener.name, channel.peer, login=None)
        self._screen = proxy.screen_of(self._kiosk)
        self._clock = asyncio.get_running_loop().time
        self._answering = False
        self._finished = False

    def finish(self) -> None:
        """End after the answer that is due, or at once if none is."""
        self._finished = True
        if not self._answering:
            self._channel.close()

    async def serve(self) -> None:
        """Answer the machine until either side ends the connection."""
        observer = self._proxy.observer
        if observer is not None:
            observer.kiosk_connected(self._listener.name)
        try:
            await self._serve()
        except (ChannelClosed, TimeoutError):
            pass  # gone, silent, or not reading: in each case the connection is over
        finally:
            self._channel.close()
            self._upstream.close()
            await self._end_patron_session(SessionEnd.DISCONNECTED)
            if observer is not None:
                observer.kiosk_disconnected(self._listener.name)

    async def _serve(self) -> None:
        while not self._finished:
            try:
                frame = await self._next_frame()
            except FrameTooLong:
                self._report(b"??", Result.MALFORMED, self._clock())
                await self._channel.send(SC_RESEND, self._limits.answer_timeout)
                return
            self._answering = True
            answer = await self._answer(frame)
            await self._channel.send(answer, self._limits.answer_timeout)
            self._answering = False

    async def _next_frame(self) -> bytes:
        limits, session = self._limits, self._session
        idle = limits.login_timeout if session.login is None else limits.idle_timeout
        idle_at = self._clock() + idle
        while session.patron is not None:
            patron_idle_at = session.patron_seen_at + limits.patron_idle_timeout
            try:
                return await self._channel.receive(min(idle_at, patron_idle_at) - self._clock())
            except TimeoutError:
                if self._clock() >= idle_at:
                    raise
                await self._end_patron_session(SessionEnd.IDLE)
        return await self._channel.receive(idle_at - self._clock())

    async def _answer(self, frame: bytes) -> bytes:
        started = self._clock()
        code = b"??"
        try:
            request = decode(frame)
        except ChecksumMismatch as error:
            code, answer, result = error.code, RESEND_AFTER_BAD_CHECKSUM, Result.BAD_CHECKSUM
        except RemoteProtocolError:
            answer, result = SC_RESEND, Result.MALFORMED
        else:
            code = request.code
            answer, result = await self._answer_message(frame, request)
        self._report(code, result, started)
        return answer

    async def _answer_message(self, frame: bytes, request: Sip2Message) -> tuple[bytes, Result]:
        session = self._session
        if request.code == ACS_RESEND:
            return session.last_answer or SC_RESEND, Result.RESENT
        if request.code not in REQUESTS:
            return SC_RESEND, Result.MALFORMED
        repeated = session.repeated_answer(frame, self._clock())
        if repeated is not None:
            return repeated, Result.REPEATED
        if request.code != _SC_STATUS:
            session.patron_seen_at = self._clock()
        try:
            answer, result = await self._answer_request(request)
        except Exception as error:  # noqa: BLE001  # whatever it is, the machine gets a valid answer
            _logger.error("%s %s: %s", self._listener.name, request.code.decode(), type_and_place(error))  # noqa: TRY400
            answer, result = self._refuse(request, self._screen.messages.outcome_unknown, Result.FAILED)
        if result is not Result.RESEND_REQUESTED:
            session.remember(frame, request, answer, self._clock())
        return answer, result

    async def _answer_request(self, request: Sip2Message) -> tuple[bytes, Result]:
        deadline = self._clock() + self._limits.answer_timeout
        if request.code == _LOGIN:
            return await self._log_in(request, deadline)
        if self._session.login is None:
            return self._refuse(request, self._screen.messages.not_logged_in, Result.NOT_LOGGED_IN)
        try:
            return await self._answer_logged_in(request, deadline)
        finally:
            if request.code == _END_PATRON_SESSION:
                await self._end_patron_session(SessionEnd.END_PATRON_SESSION)

    async def _answer_logged_in(self, request: Sip2Message, deadline: float) -> tuple[bytes, Result]:
        presented = patron_identifier(request)
        if presented is not None:
            resolution = await self._resolve(presented, deadline)
            await self._take(presented, resolution)
            if isinstance(resolution, Refused):
                return self._refuse_patron(request, resolution)
        return await self._ask_acs(request, presented, deadline)

    async def _resolve(self, presented: bytes, deadline: float) -> Resolution:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._proxy.resolver.resolve(presented, self._kiosk)
        except TimeoutError:
            return Refused(Refusal.UNAVAILABLE, self._screen.messages.acs_unavailable)

    async def _take(self, presented: bytes, resolution: Resolution) -> None:
        """Let *presented* be the patron at the machine, and end the session of the one before."""
        session = self._session
        current = session.patron
        patron = None
        if isinstance(resolution, Resolved):
            shown = presented if resolution.mask is None else resolution.mask
            patron = PatronSession(resolution.session_id, presented, resolution.cardnumber, shown)
        elif isinstance(resolution, Refused) and current and current.token == presented:
            return  # still the same patron at the machine, whose session ends as any other
        if current and (patron is None or patron.session_id != current.session_id):
            await self._end_patron_session(SessionEnd.ANOTHER_PATRON)
        session.patron = patron

    async def _ask_acs(
        self, request: Sip2Message, presented: bytes | None, deadline: float
    ) -> tuple[bytes, Result]:
        patron = self._session.patron
        outgoing = fill_language(request)
        if presented is not None and patron is not None:
            outgoing = put_patron_identifier(outgoing, patron.cardnumber)
        try:
            frame, answer = await self._upstream.exchange(self._sealed(outgoing, request), deadline)
        except (ResendRequested, AcsUnavailable, RemoteProtocolError) as error:
            return self._without_answer(request, error)
        if patron is None:
            return self._mirrored(frame, answer, drop_other_patrons(answer, None), request)
        if presented is not None and names_another_patron(answer, patron.cardnumber):
            _logger.error("%s: the ACS answered about another patron", self._listener.name)
            await self._proxy.resolver.report_another_patron(patron.session_id, self._kiosk)
            return self._refuse(request, self._screen.messages.outcome_unknown, Result.ANOTHER_PATRON)
        refused = self._proxy.resolver.judge(patron.session_id, answer, self._kiosk)
        if refused is not None:
            return self._refuse_patron(request, refused)
        cleaned = restore_patron_identifier(
            drop_other_patrons(answer, patron.cardnumber), patron.cardnumber, patron.shown
        )
        return self._mirrored(frame, answer, cleaned, request)

    async def _log_in(self, request: Sip2Message, deadline: float) -> tuple[bytes, Result]:
        """Pass the machine's log-in on. After a refusal the connection ends, as Koha ends its own."""
        wanted, current = LoginRequest.of(request), self._session.login
        login = wanted.login_user_id.decode("latin-1")
        changes_account = current is not None and wanted.login_user_id != current.login_user_id
        if changes_account or not (login.isascii() and login.isprintable()):
            # Koha would give the connection another account, while tokens are bound to the first; and
            # it drops control characters that would make one account look like two.
            self._finished = True
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
            self._kiosk = replace(self._kiosk, login=login)
            self._screen = self._proxy.screen_of(self._kiosk)
        else:
            self._finished = True
        answer_frame, result = self._mirrored(frame, answer, answer, request)
        return answer_frame, result if accepted else Result.LOGIN_REFUSED

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
        text = screen_messages.acs_unavailable if request.code in _READS else screen_messages.outcome_unknown
        return self._refuse(request, text, Result.OUTCOME_UNKNOWN)

    def _refuse_patron(self, request: Sip2Message, refused: Refused) -> tuple[bytes, Result]:
        if self._proxy.observer is not None:
            self._proxy.observer.patron_refused(self._listener.name, refused.refusal)
        return self._refuse(request, refused.screen_message, Result.REFUSED)

    def _refuse(self, request: Sip2Message, screen_message: str, result: Result) -> tuple[bytes, Result]:
        text = text_value(screen_message, self._screen.encoding)
        answer = refuse(request, text, self._proxy.clock())
        return encode(seal(answer, request.sequence)), result

    async def _end_patron_session(self, end: SessionEnd) -> None:
        patron, self._session.patron = self._session.patron, None
        if patron is None:
            return
        try:
            await self._proxy.resolver.close_session(patron.session_id, end)
        except Exception as error:  # noqa: BLE001  # the machine has nothing to do with it
            _logger.error("%s: a session not closed: %s", self._listener.name, type_and_place(error))  # noqa: TRY400

    def _report(self, code: bytes, result: Result, started: float) -> None:
        seconds = self._clock() - started
        if self._proxy.observer is not None:
            self._proxy.observer.request_answered(self._listener.name, code, result, seconds)
        _logger.info(
            "%s %s %s %s %.1f ms",
            self._listener.name,
            self._kiosk.login or "-",
            code.decode(),
            result,
            seconds * 1000,
        )
