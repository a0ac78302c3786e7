from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip2_adapter import ProxyHeaderError
from sip2_adapter.proxy_protocol import SIGNATURE, bytes_wanted, read_source

PORTS = b"\xdc\x04\x17\x71"
MACHINE, PROXY = ip_address("10.1.2.9").packed, ip_address("192.0.2.1").packed
MACHINE_6, PROXY_6 = ip_address("2001:db8::9").packed, ip_address("2001:db8::1").packed


def version_2(command=0x21, family=0x11, addresses=MACHINE + PROXY + PORTS, more=b""):
    block = addresses + more
    return SIGNATURE + bytes([command, family]) + len(block).to_bytes(2) + block


HEADERS = {
    "TCP4": (b"PROXY TCP4 10.1.2.9 192.0.2.1 56324 6001\r\n", "10.1.2.9"),
    "TCP6": (b"PROXY TCP6 2001:db8::9 2001:db8::1 56324 6001\r\n", "2001:db8::9"),
    "IPv4 in IPv6": (b"PROXY TCP6 ::ffff:10.1.2.9 ::1 56324 6001\r\n", "10.1.2.9"),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "UNKNOWN with addresses": (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    "v2 TCP4": (version_2(), "10.1.2.9"),
    "v2 TCP6": (version_2(family=0x21, addresses=MACHINE_6 + PROXY_6 + PORTS), "2001:db8::9"),
    "v2 with TLV": (version_2(more=b"\x04\x00\x03abc"), "10.1.2.9"),
    "v2 LOCAL": (version_2(command=0x20), None),
    "v2 unspecified": (version_2(family=0, addresses=b""), None),
}
WRONG = {
    "SIP2 instead": b"9300CNkiosk1|COpw1|\r",
    "TLS instead": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00",
    "another word": b"PROXYTCP4 10.1.2.9 192.0.2.1 56324 6001\r\n",
    "lower case": b"proxy TCP4 10.1.2.9 192.0.2.1 56324 6001\r\n",
    "UDP": b"PROXY UDP4 10.1.2.9 192.0.2.1 56324 6001\r\n",
    "no address": b"PROXY TCP4 machine 192.0.2.1 56324 6001\r\n",
    "of the other family": b"PROXY TCP6 10.1.2.9 192.0.2.1 56324 6001\r\n",
    "two blanks": b"PROXY TCP4  10.1.2.9 192.0.2.1 56324 6001\r\n",
    "a port too high": b"PROXY TCP4 10.1.2.9 192.0.2.1 65536 6001\r\n",
    "no port": b"PROXY TCP4 10.1.2.9 192.0.2.1 56324 -1\r\n",
    "too few": b"PROXY TCP4 10.1.2.9 192.0.2.1\r\n",
    "oversized": b"PROXY TCP4 " + b"1" * 120 + b"\r\n",
    "never ending": b"PROXY UNKNOWN " + b"x" * 200,
    "v2 of version 1": version_2(command=0x11),
    "v2 of no command": version_2(command=0x22),
    "v2 UDP": version_2(family=0x12),
    "v2 of a local socket": version_2(family=0x31, addresses=b"/" * 216),
    "v2 too short": version_2(addresses=MACHINE + PROXY),
    "v2 oversized": SIGNATURE + b"\x21\x11\xff\xff" + b"\0" * 5000,
}


def read(data):
    """Read a header as a connection does; return its source and what comes after it."""
    header = b""
    while wanted := bytes_wanted(header):
        taken = data[len(header) : len(header) + wanted]
        if not taken:
            raise EOFError
        header += taken
    return read_source(header), data[len(header) :]


@pytest.mark.parametrize(("header", "source"), HEADERS.values(), ids=HEADERS)
def test_a_header_announces_the_source_and_nothing_after_it_is_read(header, source):
    expected = None if source is None else ip_address(source)
    assert read(header + b"9300CN") == (expected, b"9300CN")


@pytest.mark.parametrize("header", [header for header, _ in HEADERS.values()], ids=HEADERS)
def test_a_header_may_come_byte_by_byte(header):
    assert all(bytes_wanted(header[:length]) > 0 for length in range(len(header)))
    assert bytes_wanted(header) == 0


@pytest.mark.parametrize("header", WRONG.values(), ids=WRONG)
def test_a_wrong_header_is_refused(header):
    with pytest.raises(ProxyHeaderError):
        read(header)


@given(st.sampled_from([header for header, _ in HEADERS.values()]), st.data())
def test_a_mutated_header_is_read_or_refused(header, data):
    mutated = bytearray(header)
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ProxyHeaderError, EOFError):
        read(bytes(mutated))
