"""The machine's side of SIP2: a connection to an ACS, for the proxy, for probes and for tests. Edge."""

from __future__ import annotations

import asyncio
import ssl
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from sip2_adapter.channel import FrameChannel
from sip2_adapter.codec import ACS_RESEND_REQUEST, build, decode, encode, seal
from sip2_adapter.errors import (
    AcsClosed,
    AcsNotReached,
    AcsTimeout,
    ChannelClosed,
    ChecksumMismatch,
    LoginRefused,
    ResendRequested,
    SequenceMismatch,
    UnexpectedAnswer,
)
from sip2_adapter.fields import DATE_FORMAT, UNKNOWN_LANGUAGE, FieldId
from sip2_adapter.framing import FrameBuffer, Terminator
from sip2_adapter.grammar import SC_RESEND
from sip2_adapter.messages import Field, Sip2Message
from sip2_adapter.session import SEQUENCE_NUMBERS
from sip2_adapter.tls import ClientTls

ANSWER_LIMIT: Final = 256 * 1024
"""Bytes of one answer. A patron with hundreds of loans gets a 64 of some kilobytes."""

_RESENDS: Final = 2
"""How often an answer with a wrong checksum is asked for again; 3M machines do it up to three times."""


class AcsConnection:
    """One connection to the ACS with one request in flight, for callers that build their own frames.

    After any failure the connection is closed: a late answer must never be taken for the answer to
    the next request.
    """

    def __init__(self, channel: FrameChannel) -> None:
        self.channel = channel

    @classmethod
    async def open(cls, host: str, port: int, timeout: float, tls: ClientTls | None = None) -> Self:
        """Connect, with *tls* encrypted and to nobody else; raises ``AcsNotReached``, which says why."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                _, channel = await loop.create_connection(
                    lambda: FrameChannel(FrameBuffer(limit=ANSWER_LIMIT), Terminator.CR),
                    host,
                    port,
                    ssl=None if tls is None else tls.context,
                    server_hostname=None if tls is None else tls.server_name,
                )
        except OSError as error:  # of which TimeoutError and ssl.SSLError are kinds
            raise AcsNotReached(f"no connection to {host}:{port}: {_reason(error)}") from error
        return cls(channel)

    @property
    def is_open(self) -> bool:
        """Whether a request may be sent. Bytes that nobody asked for spoil the connection."""
        return self.channel.is_open and not self.channel.waiting

    async def exchange(self, request: Sip2Message, timeout: float) -> tuple[bytes, Sip2Message]:
        """Send *request*, sealed with a sequence number, and return its answer, frame and message.

        Raises ``AcsNotReached`` where nothing was sent, ``ResendRequested`` where the ACS answered
        96, ``AcsTimeout``, ``AcsClosed`` or a ``RemoteProtocolError`` where the outcome is unknown.
        """
        if not self.is_open:
            self.abort()
            raise AcsNotReached("the connection to the ACS is closed")
        return await self._answer(request, timeout, send=True)

    async def answer_to(self, request: Sip2Message, timeout: float) -> tuple[bytes, Sip2Message]:
        """Return the answer to *request*, which was sent already; raises what ``exchange`` raises."""
        return await self._answer(request, timeout, send=False)

    async def _answer(self, request: Sip2Message, timeout: float, *, send: bool) -> tuple[bytes, Sip2Message]:
        deadline = asyncio.get_running_loop().time() + timeout
        try:
            if send:
                await self.channel.send(encode(request), timeout)
            return await self._receive_answer(request, deadline)
        except ResendRequested:
            raise
        except TimeoutError as error:
            self.abort()
            raise AcsTimeout(f"no answer within {timeout:g} s") from error
        except ChannelClosed as error:
            self.abort()
            raise AcsClosed("the ACS closed the connection") from error
        except BaseException:
            self.abort()
            raise

    async def _receive_answer(self, request: Sip2Message, deadline: float) -> tuple[bytes, Sip2Message]:
        clock = asyncio.get_running_loop().time
        resends = 0
        while True:
            frame = await self.channel.receive(deadline - clock())
            try:
                answer = decode(frame)
            except ChecksumMismatch:
                if resends == _RESENDS:
                    raise
                resends += 1
                await self.channel.send(ACS_RESEND_REQUEST, deadline - clock())
            else:
                _check_answer(request, answer, resent=resends > 0)
                return frame, answer

    def close(self) -> None:
        """Close. Idempotent."""
        self.channel.close()

    def abort(self) -> None:
        """Close without delay. Idempotent."""
        self.channel.abort()


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "no TLS"
    return "no answer in time" if isinstance(error, TimeoutError) else error.strerror or "refused"


def _check_answer(request: Sip2Message, answer: Sip2Message, *, resent: bool) -> None:
    if answer.code == SC_RESEND:
        raise ResendRequested("the ACS did not understand the request")
    expected = request.spec.response
    if expected is None or answer.code != expected:
        raise UnexpectedAnswer(expected or b"", answer.code)
    # Koha numbers an answer that it sends again with 0, whatever the request's number was.
    if answer.sequence != request.sequence and not (resent and answer.sequence == 0):
        raise SequenceMismatch(request.sequence or 0, answer.sequence)


class Sip2Client:
    """A self-check machine in a program: log in, ask, log out. One request in flight.

    ::

        async with Sip2Client("127.0.0.1", 6001, timeout=5) as client:
            await client.login(b"kiosk1", password)
            status = await client.status()

    Every method raises ``AcsUnavailable`` or ``RemoteProtocolError`` as ``AcsConnection.exchange``.
    """

    def __init__(self, host: str, port: int, *, timeout: float, tls: ClientTls | None = None) -> None:
        self._tls = tls
        self._host = host
        self._port = port
        self._timeout = timeout
        self._connection: AcsConnection | None = None
        self._sequence = 0

    async def __aenter__(self) -> Self:
        """Connect; raises ``AcsNotReached``."""
        self._connection = await AcsConnection.open(self._host, self._port, self._timeout, self._tls)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    async def request(self, message: Sip2Message) -> Sip2Message:
        """Send *message* with the next sequence number and return the answer."""
        if self._connection is None:
            raise AcsNotReached("the client is not connected")
        sealed = seal(message, self._sequence)
        self._sequence = (self._sequence + 1) % SEQUENCE_NUMBERS
        _, answer = await self._connection.exchange(sealed, self._timeout)
        return answer

    async def login(self, user_id: bytes, password: bytes, location: bytes = b"") -> None:
        """Log in (93); raises ``LoginRefused`` on 940."""
        fields: tuple[Field, ...] = (
            (FieldId.LOGIN_USER_ID, user_id),
            (FieldId.LOGIN_PASSWORD, password),
        )
        if location:
            fields += ((FieldId.LOCATION_CODE, location),)
        answer = await self.request(build(b"93", b"00", fields))
        if answer.fixed_field("ok") != b"1":
            raise LoginRefused("the ACS refused the log-in")

    async def status(self) -> Sip2Message:
        """Ask for the ACS status (99); the answer is a 98."""
        return await self.request(build(b"99", b"0" + b"080" + b"2.00"))

    async def patron_information(
        self, institution_id: bytes, patron_identifier: bytes, now: datetime
    ) -> Sip2Message:
        """Ask for a patron (63) without any list; the answer is a 64."""
        date = now.strftime(DATE_FORMAT).encode("ascii")
        fields = (
            (FieldId.INSTITUTION_ID, institution_id),
            (FieldId.PATRON_IDENTIFIER, patron_identifier),
        )
        return await self.request(build(b"63", UNKNOWN_LANGUAGE + date + b" " * 10, fields))
