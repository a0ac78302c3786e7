"""Network addresses of self-check machines. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network


def read_address(value: str | bytes) -> IpAddress:
    """Return an address, an IPv4 one also where a socket for IPv6 names it (``::ffff:10.0.0.1``).

    *value* is text, or the 4 or 16 bytes of an address. Raises ``ValueError``.
    """
    address = ip_address(value.partition("%")[0] if isinstance(value, str) else value)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_within(address: IpAddress, networks: Iterable[IpNetwork]) -> bool:
    """Say whether *address* is in one of *networks*."""
    return any(address in network for network in networks)
