"""What one turn of the event loop brings on many connections is worked through together."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest

from sip2_adapter.channel import FrameChannel, Turn
from sip2_adapter.framing import FrameBuffer, Terminator


@pytest.fixture
async def connect():
    """Give a channel and the socket at its other end."""
    ends = []

    async def connected():
        near, far = socket.socketpair()
        far.settimeout(0)
        _, channel = await asyncio.get_running_loop().create_connection(
            lambda: FrameChannel(FrameBuffer(), Terminator.CR), sock=near
        )
        ends.extend([channel, far])
        return channel, far

    yield connected
    for end in ends:
        end.close()


async def read(far):
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recv(far, 100)


async def test_what_came_in_a_turn_is_written_when_all_of_it_was_worked_through(connect):
    turn, seen = Turn(), []
    (first, first_end), (second, second_end) = await connect(), await connect()

    def echo(channel):
        def take(frame):
            seen.append(frame)
            turn.put(channel, frame)
            with pytest.raises(BlockingIOError):
                first_end.recv(100)
            return True

        return take

    first.offer(echo(first), turn)
    second.offer(echo(second), turn)
    first_end.send(b"one\r")
    second_end.send(b"two\r")
    assert await read(first_end) == b"one\r"
    assert await read(second_end) == b"two\r"
    assert sorted(seen) == [b"one", b"two"]


async def test_an_error_of_our_own_cuts_one_connection_and_no_other(connect, caplog):
    caplog.set_level(logging.INFO)
    turn = Turn()
    (broken, broken_end), (sound, sound_end) = await connect(), await connect()

    def fail(frame):
        raise ValueError(frame)

    def echo(frame):
        turn.put(sound, frame)
        return True

    broken.offer(fail, turn)
    sound.offer(echo, turn)
    broken_end.send(b"secret\r")
    sound_end.send(b"63\r")
    assert await read(sound_end) == b"63\r"
    assert await read(broken_end) == b""
    assert not broken.is_open
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


async def test_what_comes_for_a_connection_that_is_over_is_left(connect):
    turn, seen = Turn(), []
    channel, far = await connect()
    channel.offer(lambda frame: not seen.append(frame), turn)
    turn.receive(channel, b"63\r")
    channel.close()
    turn.work()
    assert seen == []
    assert await read(far) == b""
