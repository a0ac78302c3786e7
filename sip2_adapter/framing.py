"""From a stream of bytes to frames. No sockets: bytes in, frames out. Pure."""

from __future__ import annotations

from enum import Enum, unique
from typing import Final

from sip2_adapter.errors import FrameTooLong

DEFAULT_FRAME_LIMIT: Final = 16 * 1024
"""The specification allows 255 characters per field; no request of it comes near this."""


@unique
class Terminator(bytes, Enum):
    """What ends a message. The specification says CR; Koha answers CR LF unless told otherwise."""

    CR = b"\r"
    CRLF = b"\r\n"
    LF = b"\n"


class FrameBuffer:
    """Collects bytes and gives out whole frames, without terminators and without empty lines.

    Unless the terminator is LF, a frame ends at CR, and an LF around it is dropped: a machine set to
    CR LF leaves its LF at the head of the next frame. Empty lines are dropped because Koha closes
    the connection on one, and some machines end every message twice.
    """

    def __init__(self, terminator: Terminator = Terminator.CR, limit: int = DEFAULT_FRAME_LIMIT) -> None:
        self._end = b"\n" if terminator is Terminator.LF else b"\r"
        self._end_byte = self._end[0]
        self._limit = limit
        self._rest = b""

    @property
    def has_begun(self) -> bool:
        """Whether a frame was begun and has not ended."""
        return bool(self._rest)

    def whole_frame(self, data: bytes) -> bytes | None:
        """Return the frame if *data* is one whole frame and nothing else, as it usually is.

        None otherwise: *data* is then for ``receive``.
        """
        frame, end = data.rstrip(b"\r\n"), self._end_byte
        if self._rest or end in frame or end not in data or len(data) > self._limit:
            return None
        return frame.lstrip(b"\r\n") or None

    def receive(self, data: bytes) -> list[bytes]:
        """Add *data* and return every frame that is now complete.

        Raises ``FrameTooLong`` when a frame, finished or not, passes the limit; the connection is
        then beyond repair.
        """
        *frames, rest = (self._rest + data).split(self._end)
        self._rest = rest.lstrip(b"\r\n")
        longest = max(map(len, frames), default=0)
        if max(longest, len(self._rest)) > self._limit:
            raise FrameTooLong(max(longest, len(self._rest)), self._limit)
        return [frame for line in frames if (frame := line.strip(b"\r\n"))]
