"""One machine's way to the ACS: a connection of its own, made anew and logged in again after a cut. Edge."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from math import inf
from typing import Final

from sip2_adapter.channel import FrameChannel
from sip2_adapter.client import AcsConnection
from sip2_adapter.codec import build, seal
from sip2_adapter.errors import AcsClosed, AcsNotReached, AcsUnavailable, LoginRefused, RemoteProtocolError
from sip2_adapter.listener import Listener
from sip2_adapter.messages import Sip2Message

_logger: Final = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
"""Seconds without a new attempt after the ACS could not be reached, doubled from first to longest."""


_STATUS: Final = build(b"99", b"0" + b"080" + b"2.00")
"""The 99 of a machine that sends none: after a log-in Koha speaks version 2.00."""


class Upstream:
    """One machine's way to the ACS: connects, and after a cut logs in and tells its protocol version again.

    ``channel`` is the channel of the present connection; *on_open* is called with that of each new one.
    """

    def __init__(self, listener: Listener, on_open: Callable[[FrameChannel], None]) -> None:
        self.channel: FrameChannel | None = None
        self._listener = listener
        self._on_open = on_open
        self._connection: AcsConnection | None = None
        self._login: Sip2Message | None = None
        self._status = _STATUS
        self._pause = _FIRST_PAUSE
        self._next_attempt = 0.0
        self.used_at = -inf
        """When a request went out last; the caller keeps it where it uses ``channel`` itself."""

    def logged_in(self, login: Sip2Message) -> None:
        """Keep the 93 that the ACS accepted, to send it again after a cut."""
        self._login = login

    def status_asked(self, status: Sip2Message) -> None:
        """Keep the 99 that the ACS answered: it says in which version of the protocol the machine speaks."""
        self._status = status

    async def keep_alive(self, sequence: int, timeout: float) -> None:
        """Ask for the ACS status, as the machine does; raises as ``exchange``."""
        deadline = asyncio.get_running_loop().time() + timeout
        await self.exchange(seal(self._status, sequence), deadline)

    async def exchange(self, request: Sip2Message, deadline: float) -> tuple[bytes, Sip2Message]:
        """Return the answer to *request*; raises what ``AcsConnection.exchange`` raises."""
        self.used_at = asyncio.get_running_loop().time()
        connection = self._connection
        if connection is None or not connection.is_open:
            connection = await self._connect(deadline)
        return await connection.exchange(request, seconds_until(deadline))

    async def answer_to(self, request: Sip2Message, deadline: float) -> tuple[bytes, Sip2Message]:
        """Return the answer to *request*, which went out on ``channel``; raises as ``exchange``."""
        if self._connection is None:
            raise AcsClosed("the connection to the ACS is closed")
        return await self._connection.answer_to(request, seconds_until(deadline))

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
            _logger.warning("%s: no session with the ACS: %s", self._listener.name, error)
            self._next_attempt = clock() + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            raise AcsNotReached("no session with the ACS") from error
        self._pause = _FIRST_PAUSE
        self.channel = self._connection.channel
        self._on_open(self.channel)
        return self._connection

    async def _open(self, deadline: float) -> AcsConnection:
        connection = await AcsConnection.open(
            self._listener.upstream_host,
            self._listener.upstream_port,
            seconds_until(deadline),
            self._listener.upstream_tls,
        )
        if self._login is not None:
            _, answer = await connection.exchange(self._login, seconds_until(deadline))
            if answer.fixed_field("ok") != b"1":
                connection.abort()
                raise LoginRefused("the ACS no longer accepts the machine's log-in")
            if self._status is not _STATUS:
                await connection.exchange(self._status, seconds_until(deadline))
        return connection


def seconds_until(deadline: float) -> float:
    """Return how long it is until *deadline* on the event loop's clock."""
    return deadline - asyncio.get_running_loop().time()
