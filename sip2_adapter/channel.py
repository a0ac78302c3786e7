"""One TCP connection that carries SIP2 frames. Edge; the proxy, the client and the simulator use it.

Written on ``asyncio.Protocol`` rather than on streams: a frame passes the proxy twice, and streams
copy, lock and wake up more often than a message of 200 bytes is worth.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from sip2_adapter.errors import ChannelClosed, FrameTooLong, FrameTooSlow, TooManyFrames, type_and_place
from sip2_adapter.framing import FrameBuffer, Terminator

_logger: Final = logging.getLogger(__name__)

_READ_AHEAD: Final = 16
"""Frames kept before reading pauses. A machine asks one at a time, so an honest one never waits."""

_MOST_FRAMES: Final = 256
"""Frames that may wait at all: what was read when reading paused can be a lot of tiny ones."""


class FrameChannel(asyncio.Protocol):
    """Frames in and frames out, in order; for one task at a time.

    ``offer`` lets others take a frame at once: they are offered each that comes alone while none waits,
    and say whether they took it. ``on_end`` is called once, at the end.
    ``can_send_now`` says that the connection is up and its peer keeps up with reading, ``waiting`` are
    the whole frames that nobody has read yet. A frame that was begun must end within *frame_timeout*
    seconds.
    """

    def __init__(
        self,
        frames: FrameBuffer,
        terminator: Terminator,
        on_open: Callable[[FrameChannel], None] | None = None,
        frame_timeout: float | None = None,
    ) -> None:
        self._buffer = frames
        self._on_open = on_open
        self._frame_timeout = frame_timeout
        self._frame_timer: asyncio.TimerHandle | None = None
        self._terminator = terminator.value
        self._end: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self.can_send_now = False
        self.waiting: deque[bytes] = deque()
        self._on_frame: Callable[[bytes], bool] | None = None
        self._turn: Turn | None = None
        self.on_end: Callable[[], None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether frames may still be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def offer(self, on_frame: Callable[[bytes], bool], turn: Turn) -> None:
        """Offer frames to *on_frame* from now on, each in the *turn* that brings it."""
        self._on_frame, self._turn = on_frame, turn

    async def receive(self, timeout: float | None) -> bytes:
        """Return the next frame.

        Raises ``TimeoutError`` after *timeout* seconds without a whole frame, however busily bytes
        trickle in; ``ChannelClosed`` at the end of the connection; ``FrameTooLong``, ``FrameTooSlow``
        or ``TooManyFrames`` when the peer sent such, after which nothing more can be read.
        """
        if not self.waiting:
            await self._wait_for_frame(timeout)
        frame = self.waiting.popleft()
        if len(self.waiting) == _READ_AHEAD - 1 and self.is_open:
            self._open_transport().resume_reading()
        return frame

    async def send(self, frame: bytes, timeout: float) -> None:
        """Write *frame* and its terminator at once, so that they travel in one segment.

        Raises ``ChannelClosed``, or ``TimeoutError`` when the peer does not read for *timeout* seconds;
        the connection is then cut, because a polite close would wait for that peer.
        """
        if not self.is_open:
            raise ChannelClosed
        self._open_transport().write(frame + self._terminator)
        if self._writable is not None:
            try:
                async with asyncio.timeout(timeout):
                    await self._writable
            except TimeoutError:
                self.abort()
                raise

    def send_now(self, frame: bytes) -> None:
        """Write *frame* and its terminator without waiting; to a connection that is over, nothing."""
        if self._end is None:
            self._write(frame + self._terminator)

    def close(self) -> None:
        """Close once everything written has been sent. Idempotent."""
        if self._transport is not None:
            self._transport.close()
        self._end_reading(ChannelClosed())

    def abort(self) -> None:
        """Close now; what has not been sent is lost. Idempotent."""
        if self._transport is not None:
            self._transport.abort()
        self._end_reading(ChannelClosed())

    async def _wait_for_frame(self, timeout: float | None) -> None:
        if self._end is not None:
            raise self._end
        loop = asyncio.get_running_loop()
        self._reader = reader = loop.create_future()
        timer = None if timeout is None else loop.call_later(max(timeout, 0), _expire, reader)
        try:
            await reader
        finally:
            self._reader = None
            if timer is not None:
                timer.cancel()

    def _open_transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise ChannelClosed
        return self._transport

    def _end_reading(self, end: Exception) -> None:
        self.can_send_now = False
        if self._end is None:
            self._end = end
        if self._reader is not None and not self._reader.done():
            self._reader.set_exception(self._end)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection; called by the event loop."""
        # A cast, because uvloop's transports do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._write = self._transport.write
        self.can_send_now = True
        if self._on_open is not None:
            self._on_open(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes, or leave them to the turn; called by the event loop."""
        if self._turn is not None:
            self._turn.receive(self, data)
        else:
            self.take(data)

    def take(self, data: bytes) -> None:
        """Take bytes now, unless the connection is over."""
        if self._end is not None:
            return
        if self._on_frame is not None and not self.waiting:
            frame = self._buffer.whole_frame(data)
            if frame is not None and self._on_frame(frame):
                return
        try:
            frames = self._buffer.receive(data)
        except FrameTooLong as error:
            self._refuse_more(error)
            return
        if self._frame_timeout is not None:
            self._time_frame(self._frame_timeout, ended=bool(frames))
        if not frames:
            return
        if len(self.waiting) + len(frames) > _MOST_FRAMES:
            self.waiting.clear()
            self._refuse_more(TooManyFrames())
            return
        self.waiting.extend(frames)
        if len(self.waiting) >= _READ_AHEAD:
            self._open_transport().pause_reading()
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _time_frame(self, timeout: float, *, ended: bool) -> None:
        """Begin to time a frame that has begun, and stop when it has ended."""
        if self._frame_timer is not None and (ended or not self._buffer.has_begun):
            self._frame_timer.cancel()
            self._frame_timer = None
        if self._frame_timer is None and self._buffer.has_begun:
            loop = asyncio.get_running_loop()
            self._frame_timer = loop.call_later(timeout, self._refuse_more, FrameTooSlow())

    def _refuse_more(self, error: Exception) -> None:
        if self.is_open:
            self._open_transport().pause_reading()
        self._end_reading(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end; called by the event loop."""
        if self._frame_timer is not None:
            self._frame_timer.cancel()
        self._end_reading(ChannelClosed())
        self.resume_writing()
        if self.on_end is not None:
            self.on_end()

    def pause_writing(self) -> None:
        """Hold the writer back; called by the event loop."""
        self.can_send_now = False
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Let the writer go on; called by the event loop."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None
        self.can_send_now = self._end is None


def _expire(reader: asyncio.Future[None]) -> None:
    if not reader.done():
        reader.set_exception(TimeoutError())


class Turn:
    """What a turn of the event loop brings on many connections: all of it read, worked through, and written.

    Were each answer written the moment it is made, its peer would be woken up, find one message and go
    to sleep again; waking up costs more than all the rest. And what is done about a message takes longer
    between two system calls than among its like.
    """

    def __init__(self) -> None:
        self._received: list[tuple[FrameChannel, bytes]] = []
        self._frames: list[tuple[FrameChannel, bytes]] = []
        self._call_soon = asyncio.get_running_loop().call_soon

    def receive(self, channel: FrameChannel, data: bytes) -> None:
        """Have *channel* take *data* before the event loop waits again."""
        if not self._received:
            self._call_soon(self.work)
        self._received.append((channel, data))

    def put(self, channel: FrameChannel, frame: bytes) -> None:
        """Send *frame* on *channel* when the rest of the turn has been worked through; from ``on_frame``."""
        self._frames.append((channel, frame))

    def work(self) -> None:
        """Work everything through and write now."""
        received, self._received = self._received, []
        for channel, data in received:
            try:
                channel.take(data)
            except Exception as error:  # noqa: BLE001  # an error of our own: the others go on
                _logger.error("a connection is cut: %s", type_and_place(error))  # noqa: TRY400
                channel.abort()
        self.flush()

    def flush(self) -> None:
        """Write everything now."""
        frames, self._frames = self._frames, []
        for channel, frame in frames:
            channel.send_now(frame)
