"""The proxy between self-check machines (SC) and Koha's SIP server (ACS). Edge.

Here it listens and stops; what happens on one machine's connection stands in ``kiosk``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from sip2_adapter.channel import FrameChannel, Outbox
from sip2_adapter.framing import FrameBuffer
from sip2_adapter.kiosk import KioskConnection, KioskSurroundings
from sip2_adapter.listener import DEFAULT_LIMITS, Listener, ProxyLimits
from sip2_adapter.observer import ProxyObserver
from sip2_adapter.repetition import RecentChanges
from sip2_adapter.resolver import PatronResolver
from sip2_adapter.screen import ScreenOf, english_screen

__all__ = ["Listener", "ProxyLimits", "Sip2Proxy"]


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
        limits: ProxyLimits = DEFAULT_LIMITS,
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
        self._kiosks: dict[asyncio.Task[None], KioskConnection] = {}

    @property
    def ports(self) -> Mapping[str, int]:
        """The port that each listener, by name, really has; of use where port 0 was asked for."""
        return {name: server.sockets[0].getsockname()[1] for name, server in self._servers.items()}

    async def start(self) -> None:
        """Listen on every port; raises ``OSError`` if one cannot be had, and then listens on none."""
        loop = asyncio.get_running_loop()
        surroundings = KioskSurroundings(
            self.resolver,
            self.limits,
            self.screen_of,
            self.observer,
            self.clock,
            Outbox(),
            RecentChanges(self.limits.retry_window, time.monotonic),
        )
        try:
            for listener in self._listeners:
                self._servers[listener.name] = await loop.create_server(
                    partial(self._channel, surroundings, listener), listener.host, listener.port
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

    def _channel(self, surroundings: KioskSurroundings, listener: Listener) -> FrameChannel:
        return FrameChannel(
            FrameBuffer(listener.terminator, self.limits.frame_limit),
            listener.terminator,
            lambda channel: self._serve(KioskConnection(surroundings, listener, channel)),
        )

    def _serve(self, kiosk: KioskConnection) -> None:
        task = asyncio.get_running_loop().create_task(kiosk.serve())
        self._kiosks[task] = kiosk
        task.add_done_callback(self._kiosks.pop)
