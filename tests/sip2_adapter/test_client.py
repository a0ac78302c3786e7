from __future__ import annotations

import socket
from datetime import UTC, datetime

import pytest

from sip2_adapter import (
    AcsClosed,
    AcsNotReached,
    AcsTimeout,
    ChecksumMismatch,
    LoginRefused,
    MalformedMessage,
    ResendRequested,
    SequenceMismatch,
    Sip2Client,
    UnexpectedAnswer,
    build,
)
from sip2_adapter.simulator import Fault

NOW = datetime(2026, 11, 20, 15, 57, 39, tzinfo=UTC)


def client_of(acs, timeout=5.0):
    return Sip2Client("127.0.0.1", acs.port, timeout=timeout)


async def test_it_logs_in_and_asks(start_acs):
    acs = await start_acs()
    async with client_of(acs) as client:
        await client.login(b"kiosk1", b"pw1", b"desk")
        for _ in range(12):
            assert (await client.status()).fixed_field("online_status") == b"Y"
        patron = await client.patron_information(b"CPL", b"20000000000009", NOW)
        assert patron.value(b"AE").decode() == "太郎 山田"


async def test_a_refused_login_says_so(start_acs):
    async with client_of(await start_acs()) as client:
        with pytest.raises(LoginRefused):
            await client.login(b"kiosk1", b"wrong")


async def test_a_japanese_answer_with_a_code_point_checksum_is_understood(start_acs):
    async with client_of(await start_acs()) as client:
        await client.login(b"plain", b"pw")
        patron = await client.patron_information(b"CPL", b"20000000000009", NOW)
        assert patron.error_detection == "code_points"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.CLOSE, AcsClosed),
        (Fault.HALF, AcsClosed),
        (Fault.IGNORE, AcsTimeout),
        (Fault.WRONG_SEQUENCE, SequenceMismatch),
        (Fault.ASK_TO_RESEND, ResendRequested),
    ],
)
async def test_every_fault_has_its_own_error(start_acs, fault, error):
    acs = await start_acs(faults=lambda _, code: fault if code == "99" else None)
    async with client_of(acs, timeout=0.2) as client:
        await client.login(b"kiosk1", b"pw1")
        with pytest.raises(error):
            await client.status()
        if fault is not Fault.ASK_TO_RESEND:
            with pytest.raises(AcsNotReached):
                await client.status()


async def test_a_damaged_answer_is_asked_for_again(start_acs):
    acs = await start_acs(faults=lambda _, code: Fault.WRONG_CHECKSUM if code == "99" else None)
    async with client_of(acs) as client:
        await client.login(b"kiosk1", b"pw1")
        assert (await client.status()).sequence == 0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"941AY0AZFDFD\r", UnexpectedAnswer),
        (b"98Y\r", MalformedMessage),
        (b"96AZFEF6\r", ResendRequested),
        (b"941AY0AZ0000\r" * 3, ChecksumMismatch),
    ],
)
async def test_an_answer_that_is_not_due_is_refused(connect_to_script, answer, error):
    async with await connect_to_script(answer) as client:
        with pytest.raises(error):
            await client.status()


@pytest.fixture
def connect_to_script(cleanup):
    """A client on a server that answers every line with the same bytes."""
    import asyncio

    async def connect(answer):
        async def serve(reader, writer):
            try:
                while await reader.readuntil(b"\r"):
                    writer.write(answer)
            except asyncio.IncompleteReadError:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        cleanup.push_async_callback(server.wait_closed)
        cleanup.callback(server.close)
        return Sip2Client("127.0.0.1", server.sockets[0].getsockname()[1], timeout=5)

    return connect


async def test_nobody_there_is_not_reached():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = Sip2Client("127.0.0.1", unused.getsockname()[1], timeout=1)
        with pytest.raises(AcsNotReached):
            await client.__aenter__()
    with pytest.raises(AcsNotReached):
        await client.request(build(b"99", b"00802.00"))
