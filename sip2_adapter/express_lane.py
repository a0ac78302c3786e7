"""The express lane of one machine: its usual messages, passed on in the turn that brings them. Edge.

It is for the usual message of a patron who is at the machine already: the request goes out and the
answer comes in without a task and without being taken apart (``express``). Whatever the lane does not
know it leaves to the general way (``kiosk``), at any point: before the resolver was asked, after, or
once the request is on its way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Final, Protocol

from sip2_adapter.channel import FrameChannel, Turn
from sip2_adapter.codec import decode
from sip2_adapter.express import FrameView, is_usual_answer, patron_of
from sip2_adapter.messages import Sip2Message
from sip2_adapter.observer import Result
from sip2_adapter.repetition import READS, MachineChanges
from sip2_adapter.request_log import RequestLog
from sip2_adapter.resolver import Kiosk, PassThrough, PatronResolver, Refused, Resolution
from sip2_adapter.session import KioskSession, PatronSession
from sip2_adapter.upstream import Upstream

_ANSWERED: Final = Result.ANSWERED  # an enumeration looks its members up slowly


class GeneralWay(Protocol):
    """What the lane leaves to the general way."""

    def refuse_patron(self, request: Sip2Message, refused: Refused) -> tuple[bytes, Result]:
        """Return the answer to a *request* whose patron is refused."""

    async def land(self, request: bytes, sent: bytes, started: float) -> None:
        """Answer *request*, which came at *started* and went to the ACS as *sent*."""


class ExpressLane:
    """One machine's way for usual messages, one request at a time.

    ``is_free`` says that the machine has logged in and the general way is at no request; it is for the
    general way to set. What the lane has sent and cannot answer is for *general_way* to ``land``.
    """

    def __init__(
        self,
        resolver: PatronResolver,
        session: KioskSession,
        channel: FrameChannel,
        upstream: Upstream,
        turn: Turn,
        request_log: RequestLog,
        answer_timeout: float,
        general_way: GeneralWay,
    ) -> None:
        self._resolver = resolver
        self._session = session
        self._channel = channel
        self._upstream = upstream
        self._turn = turn
        self._request_log = request_log
        self._answer_timeout = answer_timeout
        self._general_way = general_way
        self._loop = asyncio.get_running_loop()
        self._clock = time.monotonic  # the event loop's clock, but never a turn old
        self.is_free = False
        self._asked: tuple[bytes, Resolution | asyncio.Future[Resolution]] | None = None
        self._request: bytes | None = None
        self._sent = b""
        self._patron: PatronSession | None = None
        self._started = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._rescue: asyncio.Task[None] | None = None
        self._landing: asyncio.Future[None] | None = None
        self._finished = False

    def be(self, kiosk: Kiosk, changes: MachineChanges) -> None:
        """Be the lane of *kiosk* from now on, which asks for *changes*."""
        self._kiosk = kiosk
        self._changes = changes

    @property
    def is_busy(self) -> bool:
        """Whether a request is on the lane, or left over from it."""
        return self._request is not None or self._rescue is not None

    async def landed(self) -> None:
        """Wait until the lane is not busy."""
        while self.is_busy:
            self._landing = self._loop.create_future()
            await self._landing
        self._landing = None

    def finish(self) -> None:
        """End the machine's connection after the answer that is due, or at once if none is."""
        self._finished = True
        if not self.is_busy:
            self._channel.close()

    def close(self) -> None:
        """Leave everything as it is. Idempotent."""
        for unfinished in (self._timer, self._rescue, self._asked and self._asked[1]):
            if isinstance(unfinished, asyncio.TimerHandle | asyncio.Future):
                unfinished.cancel()

    def take_asked(self, presented: bytes) -> Resolution | Awaitable[Resolution] | None:
        """Return what the resolver was asked on the lane about *presented*, None if it was not."""
        asked, self._asked = self._asked, None
        return asked[1] if asked is not None and asked[0] == presented else None

    def take_request(self, frame: bytes) -> bool:
        """Send a usual request on, at once; False where it must go the general way."""
        if not self.is_free or self._request is not None or self._rescue is not None:
            return False
        session, acs = self._session, self._upstream.channel
        if acs is None or not acs.can_send_now or acs.waiting or frame == session.last_request:
            return False
        patron = session.patron
        presented: bytes | None
        sent: bytes | None
        if patron is None:
            presented, sent = patron_of(frame), frame
        else:
            presented, sent = patron.token, None if patron.swap is None else patron.swap.to_acs(frame)
        if presented is None or sent is None:
            return False
        changes = frame[:2] not in READS
        if changes and self._changes.find(frame) is not None:
            return False
        if not self._is_as_before(presented, patron):
            return False
        if changes:
            self._changes.begin(frame)
        self._send(acs, frame, sent, patron)
        return True

    def _is_as_before(self, presented: bytes, patron: PatronSession | None) -> bool:
        """Ask the resolver whether *patron* is still at the machine, with None if the card is plastic."""
        try:
            resolution = self._resolver.resolve(presented, self._kiosk)
        except Exception:  # noqa: BLE001  # asked once more on the general way, which reports it
            return False
        if patron is None:
            as_before = isinstance(resolution, PassThrough)
        else:
            as_before = resolution is patron.resolved or resolution == patron.resolved
        if not as_before:
            self._asked = presented, _begun(resolution)
        return as_before

    def _send(self, acs: FrameChannel, request: bytes, sent: bytes, patron: PatronSession | None) -> None:
        session, now = self._session, self._clock()
        session.heard_at = session.patron_seen_at = self._upstream.used_at = self._started = now
        self._request, self._sent, self._patron = request, sent, patron
        self._turn.put(acs, sent)
        if self._timer is None:
            self._timer = self._loop.call_later(self._answer_timeout, self._check_time)

    def take_answer(self, frame: bytes) -> bool:
        """Pass a usual answer back, at once; False where it must go the general way."""
        request, patron = self._request, self._patron
        if request is None:
            return False
        answer = None
        if patron is None:
            answer = frame if is_usual_answer(frame, request) else None
        elif patron.swap is not None:
            answer = patron.swap.to_kiosk(frame, request)
        if answer is None or not self._channel.can_send_now:
            self.rescue()
            return False
        result, kiosk = _ANSWERED, self._kiosk
        if patron is not None:
            refused = self._resolver.judge(patron.resolved.session_id, FrameView(frame), kiosk)
            if refused is not None:
                answer, result = self._general_way.refuse_patron(decode(request), refused)
        self._request = None
        self._turn.put(self._channel, answer)
        now = self._clock()
        self._session.remember(request, answer, now, numbered=True)
        if self._changes.under_way is not None:
            self._changes.end(answer)
        self._request_log.put(kiosk.listener, kiosk.login, request[:2], result, now - self._started)
        if self._landing is not None or self._finished:
            self._land()
        return True

    def rescue(self) -> None:
        """Let the general way bring to its end what the lane has begun."""
        if self._request is not None:
            landing = self._general_way.land(self._request, self._sent, self._started)
            self._rescue = self._loop.create_task(landing)
            self._rescue.add_done_callback(self._rescued)
            self._request = None

    def _rescued(self, _: asyncio.Task[None]) -> None:
        self._rescue = None
        self._land()

    def _check_time(self) -> None:
        """Set off once in a while rather than for each request: late answers are rare."""
        self._timer = None
        if self._request is None:
            return
        left = self._started + self._answer_timeout - self._clock()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_time)
        else:
            self.rescue()

    def _land(self) -> None:
        if self._landing is not None and not self._landing.done():
            self._landing.set_result(None)
        if self._finished and self.is_free:
            self._turn.flush()
            self._channel.close()


def _begun(resolution: Resolution | Awaitable[Resolution]) -> Resolution | asyncio.Future[Resolution]:
    return resolution if isinstance(resolution, Resolution) else asyncio.ensure_future(resolution)
