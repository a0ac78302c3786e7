from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip2_adapter import FrameBuffer, FrameTooLong, Terminator

CASES = {
    "CR": (Terminator.CR, b"941\r9900802.00\r", [b"941", b"9900802.00"]),
    "CR LF": (Terminator.CR, b"941\r\n9900802.00\r\n", [b"941", b"9900802.00"]),
    "leading LF": (Terminator.CR, b"\n941\r", [b"941"]),
    "empty lines": (Terminator.CR, b"\r\r\n\r941\r\r", [b"941"]),
    "set to CR LF": (Terminator.CRLF, b"941\r\n98\r\n", [b"941", b"98"]),
    "an LF inside stays": (Terminator.CR, b"94\n1\r", [b"94\n1"]),
    "LF only": (Terminator.LF, b"941\n9900802.00\n", [b"941", b"9900802.00"]),
    "CR LF on LF": (Terminator.LF, b"941\r\n98\r\n", [b"941", b"98"]),
}


def whole(buffer, data):
    return buffer.receive(data)


def byte_by_byte(buffer, data):
    return [frame for byte in data for frame in buffer.receive(bytes([byte]))]


def with_trailing_data(buffer, data):
    return buffer.receive(data + b"9300CN")


@pytest.mark.parametrize("feed", [whole, byte_by_byte, with_trailing_data])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_frames_do_not_depend_on_how_bytes_arrive(feed, case):
    terminator, data, expected = case
    assert feed(FrameBuffer(terminator), data) == expected


@given(st.lists(st.binary(max_size=20)))
def test_frames_do_not_depend_on_where_segments_are_cut(segments):
    buffer = FrameBuffer()
    cut = [frame for segment in segments for frame in buffer.receive(segment)]
    assert cut == FrameBuffer().receive(b"".join(segments))


@pytest.mark.parametrize("data", [b"x" * 11, b"x" * 11 + b"\r", b"941\r" + b"x" * 11])
def test_a_frame_beyond_the_limit_is_refused(data):
    with pytest.raises(FrameTooLong) as caught:
        FrameBuffer(limit=10).receive(data)
    assert (caught.value.length, caught.value.limit) == (11, 10)


def test_a_frame_of_exactly_the_limit_passes():
    assert FrameBuffer(limit=10).receive(b"x" * 10 + b"\r") == [b"x" * 10]
