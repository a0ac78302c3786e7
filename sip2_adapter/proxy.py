"""The proxy between self-check machines (SC) and Koha's SIP server (ACS). Edge.

Here it listens and stops; how a connection comes in stands in ``entrance``, what happens on it in
``kiosk``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from sip2_adapter.addresses import IpAddress
from sip2_adapter.admission import Admission
from sip2_adapter.channel import FrameChannel, Turn
from sip2_adapter.entrance import Entrance
from sip2_adapter.kiosk import KioskConnection, Site
from sip2_adapter.listener import (
    DEFAULT_CONNECTION_LIMITS,
    DEFAULT_LIMITS,
    ConnectionLimits,
    Listener,
    ProxyLimits,
    share_a_port,
)
from sip2_adapter.observer import ProxyObserver
from sip2_adapter.repetition import RecentChanges
from sip2_adapter.request_log import RequestLog
from sip2_adapter.resolver import PatronResolver
from sip2_adapter.screen import ScreenOf, english_screen

__all__ = ["Listener", "ProxyLimits", "Sip2Proxy"]


def _local_time() -> datetime:
    return datetime.now(UTC).astimezone()


class Sip2Proxy:
    """Listens for self-check machines and lends them Koha, with tokens in place of card numbers.

    Give it its libraries with ``add_library``. Start with ``start``, end with ``stop``.
    """

    def __init__(
        self,
        *,
        connections: ConnectionLimits = DEFAULT_CONNECTION_LIMITS,
        observer: ProxyObserver | None = None,
    ) -> None:
        self._observer = observer
        self._admission = Admission(connections)
        self._sites: list[Site] = []
        self._entrances: dict[str, Entrance] = {}
        self._kiosks: dict[asyncio.Task[None], KioskConnection] = {}
        self._request_log: RequestLog | None = None

    def add_library(
        self,
        listener: Listener,
        resolver: PatronResolver,
        *,
        limits: ProxyLimits = DEFAULT_LIMITS,
        screen_of: ScreenOf = english_screen,
        clock: Callable[[], datetime] = _local_time,
    ) -> None:
        """Serve a library, on a port of its own or on that of others; before ``start``.

        *resolver* says what a patron identifier is. *screen_of* says what a machine's screen can show.
        *clock* gives the library's local time, for the dates in answers of our own. Raises ``ValueError``
        where it shares a port and log-ins cannot tell its machines apart.
        """
        recent = RecentChanges(limits.retry_window, time.monotonic)
        site = Site(listener, resolver, limits, screen_of, self._observer, clock, recent)
        together = [each.listener for each in (*self._sites, site) if _address(each) == _address(site)]
        if listener.port and len(together) > 1 and not share_a_port(together):
            raise ValueError(f"{listener.name}: its machines cannot be told from others on the same port")
        self._sites.append(site)

    @property
    def sites(self) -> Mapping[str, Site]:
        """The libraries that are served, by the names of their listeners."""
        return {site.listener.name: site for site in self._sites}

    @property
    def ports(self) -> Mapping[str, int]:
        """The port that each listener, by name, really has; of use where port 0 was asked for."""
        return {name: entrance.port for name, entrance in self._entrances.items()}

    async def start(self) -> None:
        """Listen on every port; raises ``OSError`` if one cannot be had, and then listens on none."""
        turn, request_log = Turn(), RequestLog(self._observer)
        self._request_log = request_log
        try:
            for sites in self._sites_by_port():
                listeners = [site.listener for site in sites]
                serve = partial(self._serve, sites, turn, request_log)
                entrance = Entrance(listeners, sites[0].limits, self._admission, self._observer, serve)
                self._entrances.update((listener.name, entrance) for listener in listeners)
                await entrance.open()
        except OSError:
            await self.stop(grace=0)
            raise

    async def stop(self, grace: float) -> None:
        """Take no new machines, let answers that are due go out for up to *grace* seconds, and close."""
        entrances, self._entrances = set(self._entrances.values()), {}
        await asyncio.gather(*(entrance.close() for entrance in entrances))
        for kiosk in self._kiosks.values():
            kiosk.finish()
        tasks = set(self._kiosks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._request_log is not None:
            self._request_log.flush()

    def _sites_by_port(self) -> list[list[Site]]:
        ports: dict[object, list[Site]] = {}
        for number, site in enumerate(self._sites):
            # Whoever asked for any port gets one of his own.
            ports.setdefault(_address(site) if site.listener.port else number, []).append(site)
        return list(ports.values())

    def _serve(
        self,
        sites: Sequence[Site],
        turn: Turn,
        request_log: RequestLog,
        channel: FrameChannel,
        address: IpAddress,
    ) -> asyncio.Task[None]:
        kiosk = KioskConnection(sites, channel, address, turn, request_log)
        task = asyncio.get_running_loop().create_task(kiosk.serve())
        self._kiosks[task] = kiosk
        task.add_done_callback(self._kiosks.pop)
        return task


def _address(site: Site) -> tuple[str, int]:
    return site.listener.host, site.listener.port
