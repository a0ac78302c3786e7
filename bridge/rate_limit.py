"""How often one address may try to log in, whatever the account. Free of IO, shared by threads.

The lock of an account stops who guesses the password of one; this stops who tries one password on many.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from threading import Lock

MAXIMUM_ADDRESSES = 10_000
"""Remembered at a time; who tries from more than that pushes the oldest out, and memory stays small."""

IPV6_SITE = 64
"""Bits: whoever has one address of such a network has all of them (RFC 4291, 2.5.4)."""


class RateLimit:
    """At most *maximum* tries from one address within *window*."""

    def __init__(self, maximum: int, window: timedelta) -> None:
        self._maximum = maximum
        self._window = window
        self._tries: OrderedDict[str, deque[datetime]] = OrderedDict()
        self._lock = Lock()

    def wait(self, address: str | None, now: datetime) -> int:
        """Count one try; return 0, or for how many seconds no more is taken. Such a try is not counted."""
        key = _site_of(address)
        with self._lock:
            tries = self._tries.setdefault(key, deque())
            self._tries.move_to_end(key)
            while len(self._tries) > MAXIMUM_ADDRESSES:
                self._tries.popitem(last=False)
            # A clock that stepped back leaves tries in the future: they count until their time.
            while tries and now - tries[0] >= self._window:
                tries.popleft()
            if len(tries) >= self._maximum:
                return max(1, ceil((tries[0] + self._window - now).total_seconds()))
            tries.append(now)
            return 0


def _site_of(address: str | None) -> str:
    """Return what stands for everybody at an address; an address that is none is one for all."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return ""
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, IPV6_SITE), strict=False))
