"""Limits of time that hold however busy the machine is: on an event loop that has patience with it."""

from __future__ import annotations

import asyncio
import logging
import time

from sip2_adapter import Cut, ProxyLimits
from tests.sip2_adapter.frames import STATUS


async def test_a_slow_frame_has_its_time_from_its_own_beginning(listening, connect, observer):
    port = await listening(limits=ProxyLimits(frame_timeout=0.3))
    kiosk = await connect(port)
    await kiosk.log_in()
    status = kiosk.sealed(STATUS)
    await kiosk.send(status[:4])
    for _ in range(3):
        await asyncio.sleep(0.15)
        await kiosk.send(status[4:] + b"\r" + status[:4])
        assert (await kiosk.line()).startswith(b"98")
    assert observer.cuts == []


async def test_idle_and_oversized_are_told_apart(listening, connect, observer, until):
    limits = ProxyLimits(idle_timeout=0.2, frame_limit=1000)
    port = await listening(limits=limits)
    idle, loud = await connect(port), await connect(port)
    await idle.log_in()
    await loud.log_in()
    await loud.send(b"x" * 1001)
    await loud.end()
    await until(lambda: observer.cuts == [Cut.FRAME_TOO_LONG])
    assert await idle.end() == b""
    assert observer.cuts == [Cut.FRAME_TOO_LONG, Cut.IDLE]


async def test_the_log_says_who_was_cut_off_and_why(listening, connect, caplog, observer, until):
    caplog.set_level(logging.INFO)
    port = await listening(limits=ProxyLimits(idle_timeout=0.1))
    kiosk = await connect(port)
    await kiosk.log_in()
    await kiosk.end()
    await until(lambda: observer.cuts == [Cut.IDLE])
    assert "main kiosk1 at 127.0.0.1 cut: idle" in caplog.text


async def test_time_in_which_the_machine_held_everything_up_has_not_passed_for_the_limits(place):
    acs, _, kiosk = await place(client_timeout=0.2, limits=ProxyLimits(keepalive_interval=0.05))
    before = len(acs.received)
    time.sleep(0.5)  # nothing in this process runs
    await asyncio.sleep(0.5)
    assert (await kiosk.ask_sealed(STATUS)).startswith(b"98")
    assert len([line for line in acs.received if line.startswith(b"93")]) == 1
    assert len(acs.received) - before >= 5, "and what did pass has been used"
