"""The way to Koha: kept open, made anew as it was, and no request ever sent twice."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from sip2_adapter import AcsNotReached, Listener, ProxyLimits, Result, decode
from sip2_adapter.codec import build
from sip2_adapter.simulator import Fault
from sip2_adapter.upstream import Upstream
from tests.sip2_adapter.frames import (
    CARD,
    STATUS,
    TOKEN,
    checkout,
    fault_on,
    patron_information,
)

OLD_STATUS = b"9900801.00"


def sent(acs, code):
    return [line for line in acs.received if line.startswith(code)]


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


# Kept open


async def test_koha_does_not_close_on_a_machine_that_is_silent(place):
    acs, _, kiosk = await place(client_timeout=0.2, limits=ProxyLimits(keepalive_interval=0.05))
    await until(lambda: len(sent(acs, b"99")) >= 8)  # twice as long as Koha waits
    assert (await kiosk.ask_sealed(patron_information(CARD))).startswith(b"64")
    assert len(sent(acs, b"93")) == 1


async def test_a_machine_that_speaks_keeps_the_connection_open_itself(place):
    acs, _, kiosk = await place(limits=ProxyLimits(keepalive_interval=0.2))
    for _ in range(40):
        await kiosk.ask_sealed(patron_information(CARD))
        await asyncio.sleep(0.01)
    assert sent(acs, b"99") == []


async def test_a_keep_alive_speaks_the_machines_own_version(place):
    acs, _, kiosk = await place(limits=ProxyLimits(keepalive_interval=0.05))
    await kiosk.ask_sealed(OLD_STATUS)
    await until(lambda: len(sent(acs, b"99")) >= 3)
    assert all(line.startswith(OLD_STATUS) for line in sent(acs, b"99"))
    assert (await kiosk.ask_sealed(patron_information(CARD)))[:2] == b"96", "still version 1.00"


async def test_a_request_during_a_keep_alive_is_answered_after_it(place, resolver):
    acs, _, kiosk = await place(
        faults=fault_on("99", Fault.LATE), late_seconds=0.1, limits=ProxyLimits(keepalive_interval=0.05)
    )
    resolver.give(TOKEN, CARD, "s1")
    for _ in range(3):
        seen = len(sent(acs, b"99"))
        await until(lambda seen=seen: len(sent(acs, b"99")) > seen)
        answer = decode(await kiosk.ask_sealed(patron_information(TOKEN)))
        assert answer.value(b"AA") == TOKEN


async def test_a_keep_alive_that_koha_does_not_answer_leads_to_a_new_connection(place):
    acs, _, kiosk = await place(
        faults=fault_on("99", Fault.CLOSE, times=1), limits=ProxyLimits(keepalive_interval=0.05)
    )
    await until(lambda: len(sent(acs, b"93")) == 2)
    assert (await kiosk.ask_sealed(patron_information(CARD))).startswith(b"64")


async def test_a_request_during_a_keep_alive_that_koha_ignores_is_answered_in_its_own_time(place):
    limit = 0.5
    acs, _, kiosk = await place(
        faults=lambda _, code: Fault.IGNORE if code in {"99", "63"} else None,
        limits=ProxyLimits(keepalive_interval=0.05, answer_timeout=limit),
    )
    await until(lambda: sent(acs, b"99"))
    clock = asyncio.get_running_loop().time
    asked = clock()
    assert b"|BLN|" in await kiosk.ask_sealed(patron_information(CARD))
    assert clock() - asked < 1.5 * limit


async def test_a_stop_during_a_keep_alive_waits_for_nothing_else(place):
    acs, proxy, _ = await place(
        faults=fault_on("99", Fault.LATE), late_seconds=0.1, limits=ProxyLimits(keepalive_interval=0.02)
    )
    await until(lambda: sent(acs, b"99"))
    async with asyncio.timeout(2):
        await proxy.stop(10)


# Made anew


@pytest.mark.parametrize(("status", "code"), [(OLD_STATUS, b"96"), (STATUS, b"64"), (None, b"64")])
async def test_after_a_cut_log_in_and_version_are_as_they_were(place, status, code):
    acs, _, kiosk = await place()
    if status is not None:
        await kiosk.ask_sealed(status)
    before = list(acs.received)
    acs.drop_connections()
    await until(lambda: not acs.connected)
    answer = b""
    async with asyncio.timeout(5):
        while len(sent(acs, b"93")) < 2:
            answer = await kiosk.ask_sealed(patron_information(CARD))
    assert answer[:2] == code
    assert [line[:10] for line in acs.received[len(before) : -1]] == [line[:10] for line in before]


async def test_koha_that_cannot_be_reached_is_tried_after_ever_longer_pauses_up_to_the_longest(monkeypatch):
    now, attempts = 1000.0, []
    upstream = Upstream(Listener("main", "127.0.0.1", 0, "127.0.0.1", 1), lambda _: None)

    async def fail(deadline):
        attempts.append(now)
        raise AcsNotReached("nobody there")

    monkeypatch.setattr(upstream, "_open", fail)
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "time", lambda: now)
        while len(attempts) < 10:
            with pytest.raises(AcsNotReached):
                await upstream.exchange(build(b"99", b"0" + b"080" + b"2.00"), now + 20)
            now += 0.25
    pauses = [later - before for before, later in pairwise(attempts)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


# Never sent twice


async def test_a_retry_while_the_first_is_under_way_is_executed_once(place, library, observer):
    acs, _, kiosk = await place(faults=fault_on("11", Fault.LATE), late_seconds=0.1)
    frame = kiosk.sealed(checkout(CARD), 5)
    await kiosk.send(frame + b"\r" + frame + b"\r")
    first, second = await kiosk.line(), await kiosk.line()
    assert first == second
    assert first.startswith(b"121")
    assert (library.checkouts, len(sent(acs, b"11"))) == (1, 1)
    assert observer.results[-1] == (b"11", Result.REPEATED)


async def test_a_checkout_that_is_sent_again_on_a_new_connection_is_executed_once(
    place, library, connect, observer
):
    acs, proxy, kiosk = await place()
    frame = kiosk.sealed(checkout(CARD), 5)
    answer = await kiosk.ask(frame)
    kiosk.close()
    again = await connect(proxy.ports["main"])
    await again.log_in()
    await again.ask_sealed(STATUS)
    assert await again.ask(frame) == answer
    assert (library.checkouts, len(sent(acs, b"11"))) == (1, 1)
    assert observer.results[-1] == (b"11", Result.REPEATED)


async def test_a_machine_that_hung_up_in_the_middle_gets_the_answer_on_its_new_connection(
    place, library, connect, resolver
):
    acs, proxy, kiosk = await place(faults=fault_on("11", Fault.LATE), late_seconds=0.2)
    resolver.give(TOKEN, CARD, "s1")
    await kiosk.ask_sealed(patron_information(TOKEN))
    frame = kiosk.sealed(checkout(TOKEN), 5)
    await kiosk.send(frame + b"\r")
    await until(lambda: sent(acs, b"11"))
    kiosk.close()
    again = await connect(proxy.ports["main"])
    await again.log_in()
    answer = decode(await again.ask(frame))
    assert (answer.fixed_field("ok"), answer.value(b"AA")) == (b"1", TOKEN)
    assert library.checkouts == 1


async def test_the_same_frame_of_another_machine_is_a_request_of_its_own(place, library, connect):
    _, proxy, kiosk = await place()
    other = await connect(proxy.ports["main"])
    await other.log_in(b"kiosk2", b"pw2")
    frame = kiosk.sealed(checkout(CARD), 5)
    first, second = await kiosk.ask(frame), await other.ask(frame)
    assert b"renewing" not in first
    assert b"renewing" in second
    assert library.checkouts == 2


async def test_a_request_that_never_left_is_tried_again(place, start_acs, library, monkeypatch):
    monkeypatch.setattr("sip2_adapter.upstream._FIRST_PAUSE", 0.01)
    monkeypatch.setattr("sip2_adapter.upstream._LONGEST_PAUSE", 0.01)
    acs, _, kiosk = await place()
    port = acs.port
    await acs.stop()
    frame = kiosk.sealed(checkout(CARD), 5)
    await kiosk.ask_sealed(STATUS)  # by now the cut has been seen
    assert (await kiosk.ask(frame)).startswith(b"120")
    await start_acs(port=port)
    async with asyncio.timeout(5):
        while not (await kiosk.ask(frame)).startswith(b"121"):
            await asyncio.sleep(0.01)
    assert library.checkouts == 1


async def test_what_is_unknown_stays_unknown_on_a_new_connection(place, library, connect):
    acs, proxy, kiosk = await place(faults=fault_on("11", Fault.CLOSE))
    frame = kiosk.sealed(checkout(CARD), 5)
    answer = await kiosk.ask(frame)
    assert b"ask at the counter" in answer
    kiosk.close()
    again = await connect(proxy.ports["main"])
    await again.log_in()
    assert await again.ask(frame) == answer
    assert len(sent(acs, b"11")) == 1


async def test_97_after_a_96_brings_the_96_and_never_an_older_answer(place, library):
    _, _, kiosk = await place()
    frame = kiosk.sealed(checkout(CARD), 5)
    answer = await kiosk.ask(frame)
    assert await kiosk.ask(b"97AZFEF5") == answer
    damaged = kiosk.sealed(patron_information(CARD), 6)[:-4] + b"0000"
    assert await kiosk.ask(damaged) == b"96AZFEF6"
    assert await kiosk.ask(b"97AZFEF5") == b"96AZFEF6"
    assert await kiosk.ask(frame) == answer, "and the checkout is still not executed again"
    assert library.checkouts == 1
