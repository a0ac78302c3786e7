"""The PROXY protocol, versions 1 and 2: a load balancer says whose connection it passes on. Pure.

Its header comes before everything else, TLS included. Source: haproxy.org, ``proxy-protocol.txt``.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from sip2_adapter.addresses import IpAddress, read_address
from sip2_adapter.errors import ProxyHeaderError

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
"""What version 2 begins with, so that no other server takes it for a request."""

_WORD: Final = b"PROXY "
"""What version 1 begins with."""

_SHORTEST: Final = 12
"""No header of either version is shorter; the shortest is ``PROXY UNKNOWN`` CR LF."""

_VERSION_1_LIMIT: Final = 107
_VERSION_1_FAMILIES: Final = {b"TCP4": 4, b"TCP6": 6}

_VERSION_2_HEAD: Final = 16
_VERSION_2_LIMIT: Final = 2048
"""Bytes after the head. Addresses take 36 at most; HAProxy's own TLVs stay below a kilobyte."""

_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED: Final = 0x00
_ADDRESS_LENGTHS: Final = {0x11: 4, 0x21: 16}
"""TCP over IPv4 and over IPv6: bytes of an address. Two addresses are followed by two ports."""


def bytes_wanted(head: bytes) -> int:
    """Return how many bytes may be read next without reading past the header; 0 when *head* is whole.

    Raises ``ProxyHeaderError`` as soon as *head* cannot become a header.
    """
    if not (SIGNATURE.startswith(head[:_SHORTEST]) or head[: len(_WORD)] == _WORD[: len(head)]):
        raise ProxyHeaderError("no PROXY header")
    if len(head) < _SHORTEST:
        return _SHORTEST - len(head)
    if head.startswith(SIGNATURE):
        if len(head) < _VERSION_2_HEAD:
            return _VERSION_2_HEAD - len(head)
        length = int.from_bytes(head[14:_VERSION_2_HEAD])
        if length > _VERSION_2_LIMIT:
            raise ProxyHeaderError("the PROXY header is too long")
        return _VERSION_2_HEAD + length - len(head)
    if head.endswith(b"\r\n"):
        return 0
    if len(head) >= _VERSION_1_LIMIT:
        raise ProxyHeaderError("the PROXY header is too long")
    return 1


def read_source(header: bytes) -> IpAddress | None:
    """Return the source address that a whole *header* announces.

    None where it announces none (UNKNOWN, LOCAL): the connection is then the load balancer's own.
    Raises ``ProxyHeaderError``.
    """
    return _read_version_2(header) if header.startswith(SIGNATURE) else _read_version_1(header)


def _read_version_1(header: bytes) -> IpAddress | None:
    fields = header.removesuffix(b"\r\n").split(b" ")
    if fields[1] == b"UNKNOWN":
        return None
    if len(fields) != 6 or fields[1] not in _VERSION_1_FAMILIES:
        raise ProxyHeaderError("the PROXY header cannot be read")
    source, destination = _address(fields[2]), _address(fields[3])
    family = _VERSION_1_FAMILIES[fields[1]]
    if {source.version, destination.version} != {family} or not all(map(_is_port, fields[4:])):
        raise ProxyHeaderError("the PROXY header cannot be read")
    return read_address(str(source))


def _read_version_2(header: bytes) -> IpAddress | None:
    command, family = header[12], header[13]
    if command == _LOCAL or (command == _PROXY and family == _UNSPECIFIED):
        return None
    length = _ADDRESS_LENGTHS.get(family)
    if command != _PROXY or length is None or len(header) < _VERSION_2_HEAD + 2 * length + 4:
        raise ProxyHeaderError("the PROXY header cannot be read")
    return read_address(header[_VERSION_2_HEAD : _VERSION_2_HEAD + length])


def _address(text: bytes) -> IpAddress:
    try:
        return ip_address(text.decode("ascii"))
    except ValueError as error:
        raise ProxyHeaderError("the PROXY header cannot be read") from error


def _is_port(text: bytes) -> bool:
    return text.isdigit() and len(text) <= 5 and int(text) <= 65535
