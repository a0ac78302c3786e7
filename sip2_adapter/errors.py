"""What can go wrong with SIP2. Whose fault it was is in the type.

::

    Sip2Error
    ├ LocalProtocolError        we were about to send something wrong
    ├ RemoteProtocolError       the peer sent something wrong
    │  ├ FrameTooLong(length, limit)
    │  ├ FrameTooSlow           a frame was begun and not ended in time
    │  ├ TooManyFrames          sent without waiting for answers
    │  ├ ProxyHeaderError       the PROXY header is missing or wrong
    │  ├ MalformedMessage       too short for its code, or no code at all
    │  ├ UnknownMessage(code)
    │  ├ ChecksumMismatch(code)
    │  ├ SequenceMismatch(expected, received)
    │  ├ UnexpectedAnswer(expected, received)
    │  └ ResendRequested        the peer answered 96: it did not execute the request
    ├ ChannelClosed             the peer closed the connection, or it broke
    └ AcsUnavailable            no answer: safe to say "off-line"
       ├ AcsNotReached          the request never left; it may be sent again
       ├ AcsTimeout             sent, not answered in time: executed or not, nobody knows
       ├ AcsClosed              sent, then the connection closed: likewise
       └ LoginRefused           the ACS answered 940

No error carries a field's value: values are card numbers, names and passwords.
"""

from __future__ import annotations

import traceback


def type_and_place(error: Exception) -> str:
    """Return what an error of our own is and where it arose; its text may hold a card number."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


class Sip2Error(Exception):
    """Base of the tree; never raised itself."""


class LocalProtocolError(Sip2Error):
    """We were about to send something that is not SIP2."""


class RemoteProtocolError(Sip2Error):
    """The peer sent something that is not SIP2, or not what was due."""


class FrameTooLong(RemoteProtocolError):
    """More than *limit* bytes arrived without a terminator."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(f"{length} bytes in a frame, the limit is {limit}")
        self.length = length
        self.limit = limit


class FrameTooSlow(RemoteProtocolError):
    """A frame was begun and not ended in time: a line that broke, or somebody who holds connections."""


class TooManyFrames(RemoteProtocolError):
    """More requests wait than a machine that waits for its answers could have sent."""


class ProxyHeaderError(RemoteProtocolError):
    """The header of the PROXY protocol is missing, too long or cannot be read."""


class MalformedMessage(RemoteProtocolError):
    """The frame has no two-digit code, or is shorter than the fixed fields of its code."""


class UnknownMessage(RemoteProtocolError):
    """SIP2 2.00 has no message of this code."""

    def __init__(self, code: bytes) -> None:
        super().__init__(f"no SIP2 message has the code {code!r}")
        self.code = code


class ChecksumMismatch(RemoteProtocolError):
    """The checksum (AZ) fits neither the bytes nor the characters of the message."""

    def __init__(self, code: bytes) -> None:
        super().__init__(f"wrong checksum in a message {code!r}")
        self.code = code


class SequenceMismatch(RemoteProtocolError):
    """The answer carries the sequence number (AY) of another request."""

    def __init__(self, expected: int, received: int | None) -> None:
        super().__init__(f"sequence number {received} where {expected} was due")
        self.expected = expected
        self.received = received


class UnexpectedAnswer(RemoteProtocolError):
    """The answer has another code than the request calls for."""

    def __init__(self, expected: bytes, received: bytes) -> None:
        super().__init__(f"answer {received!r} where {expected!r} was due")
        self.expected = expected
        self.received = received


class ResendRequested(RemoteProtocolError):
    """The ACS answered 96: it did not understand, and did not execute, the request."""


class ChannelClosed(Sip2Error):
    """The peer closed the connection, or it broke; no more frames will come."""


class AcsUnavailable(Sip2Error):
    """No answer from the ACS."""


class AcsNotReached(AcsUnavailable):
    """There is no connection to the ACS; the request never left. Safe to send again."""


class AcsTimeout(AcsUnavailable):
    """The request was sent and not answered in time. It may have been executed: never send it again."""


class AcsClosed(AcsUnavailable):
    """The ACS closed the connection instead of answering. It may have executed the request."""


class LoginRefused(AcsUnavailable):
    """The ACS refused the log-in (940)."""
