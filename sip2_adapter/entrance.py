"""One port at which machines connect: who may come in, the PROXY header, TLS. Edge.

A connection is looked at from cheap to dear: room, source address, PROXY header, TLS handshake. Only
then is anything of SIP2 read. Nobody is told why he is not let in.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Final

from sip2_adapter.addresses import IpAddress, is_within, read_address
from sip2_adapter.admission import Admission
from sip2_adapter.channel import FrameChannel
from sip2_adapter.errors import ProxyHeaderError
from sip2_adapter.framing import FrameBuffer
from sip2_adapter.listener import Listener, ProxyLimits
from sip2_adapter.observer import Cut, ProxyObserver
from sip2_adapter.proxy_protocol import bytes_wanted, read_source

_logger: Final = logging.getLogger(__name__)

_BACKLOG: Final = 128
_PAUSE: Final = 1.0
"""Seconds without new connections when the operating system has no more room for them."""

Serve = Callable[[FrameChannel, IpAddress], "asyncio.Task[None]"]
"""Speaks SIP2 with the machine at that address, in a task that ends with the connection."""


class _NotTaken(Exception):
    """The connection is not taken."""

    def __init__(self, cut: Cut) -> None:
        super().__init__(cut.value)
        self.cut = cut


class Entrance:
    """A port shared by *listeners*, one for each library. Whoever comes in is given to *serve*.

    Start with ``open``; ``close`` takes no more connections and drops those that are not in yet.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        limits: ProxyLimits,
        admission: Admission,
        observer: ProxyObserver | None,
        serve: Serve,
    ) -> None:
        self._listeners = listeners
        self._first = listeners[0]  # what they share is read from it
        self._limits = limits
        self._admission = admission
        self._observer = observer
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._arriving: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that it really has."""
        return int(self._sockets[0].getsockname()[1])

    async def open(self) -> None:
        """Listen; raises ``OSError`` if an address of the host cannot be had."""
        first = self._first
        found = await self._loop.getaddrinfo(
            first.host, first.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, address in dict.fromkeys(found):
            listening = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
            listening.settimeout(0)
            self._sockets.append(listening)
            self._loop.add_reader(listening, self._accept, listening)

    async def close(self) -> None:
        """Take no more connections. Idempotent."""
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()
        arriving = list(self._arriving)
        for task in arriving:
            task.cancel()
        await asyncio.gather(*arriving, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_BACKLOG):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no more file descriptors, or memory
                _logger.error("%s: no connection taken: %s", self._first.name, error.strerror)  # noqa: TRY400
                self._loop.remove_reader(listening)
                self._loop.call_later(_PAUSE, self._resume, listening)
                return
            cut = self._admission.enter()
            if cut is not None:
                connection.close()
                self._report(cut, None)
                continue
            task = self._loop.create_task(self._take(connection))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    async def _take(self, connection: socket.socket) -> None:
        """Let a connection in, or report what stands against it."""
        address = None
        try:
            address = await self._source(connection)
            self._require_room(address)
        except BaseException as error:
            connection.close()
            self._admission.leave()
            if not isinstance(error, _NotTaken):
                raise
            self._report(error.cut, address)
            return
        # From here on the socket is the event loop's to close.
        try:
            serving = self._serve(await self._handshake(connection), address)
        except BaseException as error:
            self._leave(address)
            if not isinstance(error, _NotTaken):
                raise
            self._report(error.cut, address)
        else:
            serving.add_done_callback(lambda _: self._leave(address))

    def _leave(self, address: IpAddress) -> None:
        self._admission.leave_from(address)
        self._admission.leave()

    async def _source(self, connection: socket.socket) -> IpAddress:
        """Return where the machine is: at the other end, or where a trusted load balancer says."""
        connection.settimeout(0)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # an answer waits for nothing
            peer = read_address(connection.getpeername()[0])
        except OSError as error:  # gone already
            raise _NotTaken(Cut.ADDRESS_NOT_ALLOWED) from error
        trusted = self._first.trusted_proxies
        if not trusted:
            return peer
        if not is_within(peer, trusted):
            raise _NotTaken(Cut.PROXY_NOT_TRUSTED)
        try:
            async with asyncio.timeout(self._limits.handshake_timeout):
                return await self._announced_source(connection) or peer
        except (ProxyHeaderError, OSError) as error:  # a TimeoutError is an OSError
            raise _NotTaken(Cut.PROXY_HEADER) from error

    async def _announced_source(self, connection: socket.socket) -> IpAddress | None:
        header = b""
        # Not a byte more than the header is read: what follows it is for TLS.
        while wanted := bytes_wanted(header):
            received = await self._loop.sock_recv(connection, wanted)
            if not received:
                raise ProxyHeaderError("the connection ended in the PROXY header")
            header += received
        return read_source(header)

    def _require_room(self, address: IpAddress) -> None:
        if not any(listener.allows_address(address) for listener in self._listeners):
            raise _NotTaken(Cut.ADDRESS_NOT_ALLOWED)
        cut = self._admission.enter_from(address)
        if cut is not None:
            raise _NotTaken(cut)

    async def _handshake(self, connection: socket.socket) -> FrameChannel:
        first, limits = self._first, self._limits
        frames = FrameBuffer(first.terminator, limits.frame_limit)
        channel = FrameChannel(frames, first.terminator, frame_timeout=limits.frame_timeout)
        encrypted = {} if first.tls is None else {"ssl_handshake_timeout": limits.handshake_timeout}
        try:
            await self._loop.connect_accepted_socket(lambda: channel, connection, ssl=first.tls, **encrypted)
        except OSError as error:  # of which ssl.SSLError and the handshake's time-out are kinds
            raise _NotTaken(Cut.TLS_HANDSHAKE) from error
        return channel

    def _report(self, cut: Cut, address: IpAddress | None) -> None:
        _logger.info("%s: connection from %s not taken: %s", self._first.name, address or "-", cut)
        if self._observer is not None:
            self._observer.connection_cut(self._first.name, cut)
