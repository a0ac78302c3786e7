"""Who may connect: how many machines there are, in all and from each address. Pure."""

from __future__ import annotations

from collections import Counter

from sip2_adapter.addresses import IpAddress
from sip2_adapter.listener import ConnectionLimits
from sip2_adapter.observer import Cut


class Admission:
    """Counts the connections of one proxy. What has come in must go out again, once."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._total = 0
        self._by_address: Counter[IpAddress] = Counter()

    def enter(self) -> Cut | None:
        """Count a connection; say why there is no room for it, and then do not count it."""
        if self._total >= self._limits.total:
            return Cut.TOO_MANY_CONNECTIONS
        self._total += 1
        return None

    def leave(self) -> None:
        """Count a connection no more."""
        self._total -= 1

    def enter_from(self, address: IpAddress) -> Cut | None:
        """Count a connection at its address; say why there is no room, and then do not count it."""
        if self._by_address[address] >= self._limits.per_address:
            return Cut.TOO_MANY_FROM_ADDRESS
        self._by_address[address] += 1
        return None

    def leave_from(self, address: IpAddress) -> None:
        """Count it no more."""
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
