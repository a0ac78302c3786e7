"""The proxy over real sockets, with the simulated ACS behind it."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from contextlib import suppress

import pytest

from sip2_adapter import (
    JAPANESE_SCREEN_MESSAGES,
    KioskScreen,
    Listener,
    ProxyLimits,
    Refusal,
    Refused,
    Resolved,
    Result,
    ScreenMessages,
    SessionEnd,
    Sip2Proxy,
    Terminator,
    decode,
)
from sip2_adapter.simulator import Fault
from tests.sip2_adapter.frames import (
    BOOK,
    CARD,
    DATE,
    HELD_BOOK,
    OTHER_CARD,
    OTHER_TOKEN,
    STATUS,
    TOKEN,
    checkin,
    checkout,
    end_session,
    fault_on,
    patron_information,
)


async def test_a_token_borrows_and_returns_and_the_card_number_never_reaches_the_kiosk(
    place, resolver, library
):
    acs, _, kiosk = await place()
    resolver.give(TOKEN, CARD, "s1")
    information = decode(await kiosk.ask_sealed(patron_information(TOKEN)))
    assert (information.code, information.value(b"AA")) == (b"64", TOKEN)
    loan = decode(await kiosk.ask_sealed(checkout(TOKEN)))
    assert (loan.fixed_field("ok"), loan.value(b"AA")) == (b"1", TOKEN)
    assert library.loans == {BOOK.decode(): CARD.decode()}
    returned = decode(await kiosk.ask_sealed(checkin()))
    assert (returned.fixed_field("ok"), returned.value(b"AA")) == (b"1", TOKEN)
    ended = decode(await kiosk.ask_sealed(end_session(TOKEN)))
    assert (ended.code, ended.value(b"AA")) == (b"36", TOKEN)
    assert resolver.closed == [("s1", SessionEnd.END_PATRON_SESSION)]
    assert CARD not in kiosk.received
    assert TOKEN not in b"".join(acs.received)


async def test_a_token_is_dead_after_the_end_of_the_session(place, resolver):
    _, _, kiosk = await place()
    resolver.give(TOKEN, CARD, "s1")
    await kiosk.ask_sealed(end_session(TOKEN))
    refused = decode(await kiosk.ask_sealed(patron_information(TOKEN)))
    assert refused.value(b"BL") == b"N"
    assert refused.value(b"AF").decode() == "カードをもう一度かざしてください"


async def test_a_plastic_card_passes_byte_for_byte(place):
    acs, _, kiosk = await place()
    frame = kiosk.sealed(
        b"63001" + DATE + b"  Y       AOCPL|AA" + CARD + b"|ZZ\x83\x65\x83X\x83g|AD1234!!|AC|", 4
    )
    answer = await kiosk.ask(frame)
    assert acs.received[-1] == frame
    assert decode(answer).value(b"AA") == CARD
    assert decode(answer).sequence == 4


async def test_what_koha_answers_to_a_plastic_card_passes_byte_for_byte(place, connect):
    acs, _, kiosk = await place()
    direct = await connect(acs.port)
    await direct.send(direct.sealed(b"9300CNkiosk1|COpw1|") + b"\r")
    await direct.line(b"\r\n")
    item = b"17" + DATE + b"AOCPL|AB" + BOOK + b"|"
    for body in (patron_information(CARD), patron_information(b"nobody"), item, STATUS):
        await direct.send(direct.sealed(body, 7) + b"\r")
        assert await kiosk.ask(kiosk.sealed(body, 7)) == await direct.line(b"\r\n")


async def test_a_machine_without_error_detection_gets_none_and_koha_gets_it_all_the_same(
    start_acs, start_proxy, connect, library
):
    acs = await start_acs()
    proxy = await start_proxy(acs.port)
    kiosk = await connect(proxy.ports["main"])
    assert await kiosk.ask(b"9300CNkiosk1|COpw1|") == b"941"
    answer = await kiosk.ask(patron_information(CARD) + b"AD1234!!|")
    assert b"CQY" in answer, "without AY Koha would have trimmed the password"
    assert b"AZ" not in answer
    assert [decode(line).sequence for line in acs.received] == [0, 1]


async def test_a_blank_language_is_filled_in(place):
    acs, _, kiosk = await place()
    answer = await kiosk.ask_sealed(b"23   " + DATE + b"AOCPL|AA" + CARD + b"|AC|AD|")
    assert acs.received[-1].startswith(b"23000")
    assert decode(answer).fixed_field("transaction_date") == DATE


async def test_a_repeated_checkout_is_answered_from_memory_and_executed_once(place, library, observer):
    _, _, kiosk = await place()
    frame = kiosk.sealed(checkout(CARD), 3)
    first = await kiosk.ask(frame)
    assert await kiosk.ask(frame) == first
    assert library.checkouts == 1
    assert observer.results[-1] == (b"11", Result.REPEATED)


async def test_the_same_request_with_another_sequence_number_is_a_new_one(place, library):
    _, _, kiosk = await place()
    await kiosk.ask(kiosk.sealed(checkout(CARD), 3))
    await kiosk.ask(kiosk.sealed(checkout(CARD), 4))
    assert library.checkouts == 2


async def test_the_same_request_after_the_retry_window_is_a_new_one(place, library):
    _, _, kiosk = await place(limits=ProxyLimits(retry_window=-1))
    frame = kiosk.sealed(checkout(CARD), 3)
    await kiosk.ask(frame)
    await kiosk.ask(frame)
    assert library.checkouts == 2


async def test_a_machine_asks_for_the_last_answer_again(place):
    acs, _, kiosk = await place()
    answer = await kiosk.ask_sealed(patron_information(CARD))
    asked = len(acs.received)
    assert await kiosk.ask(b"97AZFEF5") == answer
    assert await kiosk.ask(b"97") == answer
    assert len(acs.received) == asked


async def test_a_machine_that_asks_again_before_anything_was_said_gets_96(start_acs, start_proxy, connect):
    acs = await start_acs()
    kiosk = await connect((await start_proxy(acs.port)).ports["main"])
    assert await kiosk.ask(b"97") == b"96"


async def test_a_bad_checksum_is_not_executed(place, library, observer):
    _, _, kiosk = await place()
    frame = kiosk.sealed(checkout(CARD))
    assert await kiosk.ask(frame[:-4] + b"0000") == b"96AZFEF6"
    assert library.checkouts == 0
    assert observer.results[-1] == (b"11", Result.BAD_CHECKSUM)


@pytest.mark.parametrize("junk", [b"xx", b"A", b"\x00\x01\x02", b"63too short", b"64answer", b"XSx"])
async def test_what_is_no_request_is_answered_with_96(place, junk):
    _, _, kiosk = await place()
    assert await kiosk.ask(junk) == b"96"
    assert (await kiosk.ask_sealed(STATUS)).startswith(b"98")


@pytest.mark.parametrize("dropped", [b"\n", b"\0"])
async def test_a_byte_that_koha_drops_smuggles_in_no_other_patron(place, resolver, library, dropped):
    acs, _, kiosk = await place()
    resolver.give(TOKEN, CARD, "s1")
    await kiosk.ask_sealed(patron_information(TOKEN))
    hidden = b"|A" + dropped + b"A" + OTHER_CARD + b"|AA" + TOKEN
    assert await kiosk.ask_sealed(checkout(TOKEN).replace(b"|AA" + TOKEN, hidden)) == b"96"
    assert library.loans == {}
    assert not any(line.startswith(b"11") for line in acs.received)


async def test_empty_lines_are_swallowed_instead_of_killing_the_connection(place):
    _, _, kiosk = await place()
    await kiosk.send(b"\r\r\n\r" + kiosk.sealed(STATUS, 5) + b"\r\r")
    assert (await kiosk.line()).startswith(b"98Y")
    assert (await kiosk.ask(kiosk.sealed(STATUS, 6))).startswith(b"98Y")


@pytest.mark.parametrize(
    ("terminator", "sent"), [(Terminator.CRLF, b"\r\n"), (Terminator.LF, b"\n"), (Terminator.CR, b"\r")]
)
async def test_answers_end_as_the_machine_is_set(start_acs, start_proxy, connect, terminator, sent):
    acs = await start_acs()
    proxy = await start_proxy(acs.port, terminator=terminator)
    kiosk = await connect(proxy.ports["main"])
    await kiosk.send(b"9300CNkiosk1|COpw1|" + sent)
    assert await kiosk.line(terminator) == b"941"
    await kiosk.send(STATUS + sent)
    assert (await kiosk.line(terminator)).startswith(b"98Y")


async def test_pipelined_requests_are_answered_in_order(place):
    _, _, kiosk = await place()
    await kiosk.send(b"".join(kiosk.sealed(STATUS, number) + b"\r" for number in range(1, 10)) * 4)
    answers = [decode(await kiosk.line()).sequence for _ in range(36)]
    assert answers == [*range(1, 10)] * 4


async def test_a_frame_beyond_the_limit_ends_the_connection_after_an_answer(place):
    _, _, kiosk = await place(limits=ProxyLimits(frame_limit=1000))
    await kiosk.send(b"63" + b"x" * 2000)
    assert await kiosk.end() == b"96\r"


async def test_a_refused_login_is_940_and_the_end(start_acs, start_proxy, connect, resolver):
    acs = await start_acs()
    kiosk = await connect((await start_proxy(acs.port)).ports["main"])
    assert (await kiosk.log_in(b"kiosk1", b"wrong")).startswith(b"940")
    assert await kiosk.end() == b""
    assert resolver.kiosks == []


async def test_nothing_reaches_koha_before_the_login(start_acs, start_proxy, connect, resolver):
    acs = await start_acs()
    kiosk = await connect((await start_proxy(acs.port)).ports["main"])
    assert (await kiosk.ask_sealed(STATUS)).startswith(b"98N")
    refused = decode(await kiosk.ask_sealed(patron_information(TOKEN)))
    assert refused.value(b"BL") == b"N"
    assert acs.received == []
    assert resolver.kiosks == []


async def test_a_machine_cannot_change_its_account(place, resolver):
    acs, _, kiosk = await place()
    asked = len(acs.received)
    assert (await kiosk.log_in(b"kiosk2", b"pw2")).startswith(b"940")
    assert await kiosk.end() == b""
    assert len(acs.received) == asked


async def test_a_login_with_control_characters_is_refused(start_acs, start_proxy, connect):
    acs = await start_acs()
    kiosk = await connect((await start_proxy(acs.port)).ports["main"])
    assert (await kiosk.log_in(b"kio\nsk1")).startswith(b"940")
    assert acs.received == []


async def test_the_end_of_a_session_ends_it_even_if_the_resolver_refuses(place, resolver):
    _, _, kiosk = await place()
    resolver.give(TOKEN, CARD, "s1")
    await kiosk.ask_sealed(patron_information(TOKEN))
    resolver.tokens[TOKEN] = Refused(Refusal.UNAVAILABLE, "later")
    assert (await kiosk.ask_sealed(end_session(TOKEN))).startswith(b"36Y")
    assert resolver.closed == [("s1", SessionEnd.END_PATRON_SESSION)]


async def test_a_session_that_cannot_be_closed_does_not_harm_the_machine(
    place, resolver, monkeypatch, caplog
):
    _, _, kiosk = await place()
    resolver.give(TOKEN, CARD, "s1")
    await kiosk.ask_sealed(patron_information(TOKEN))

    async def fail(*_):
        raise RuntimeError("no database")

    monkeypatch.setattr(resolver, "close_session", fail)
    assert b"AFThank you!" in await kiosk.ask_sealed(end_session(TOKEN))
    assert "main: not written: RuntimeError" in caplog.text


@pytest.mark.parametrize("ending", [end_session(TOKEN), patron_information(OTHER_TOKEN)])
async def test_a_session_that_is_closed_slowly_delays_no_answer(place, resolver, monkeypatch, ending):
    _, _, kiosk = await place(limits=ProxyLimits(answer_timeout=0.3))
    resolver.give(TOKEN, CARD, "s1")
    resolver.give(OTHER_TOKEN, OTHER_CARD, "s2")
    await kiosk.ask_sealed(patron_information(TOKEN))
    may_close, close = asyncio.Event(), resolver.close_session

    async def close_slowly(*arguments):
        await may_close.wait()
        await close(*arguments)

    monkeypatch.setattr(resolver, "close_session", close_slowly)
    answer = await kiosk.ask_sealed(ending)
    assert b"AFThank you!" in answer or b"|BLY|" in answer
    assert resolver.closed == []
    may_close.set()
    await resolver.close_event.wait()
    assert resolver.closed[0][0] == "s1"


async def test_the_resolver_learns_the_listener_and_the_accepted_login(place, resolver):
    _, _, kiosk = await place()
    await kiosk.ask_sealed(patron_information(CARD))
    (seen,) = resolver.kiosks
    assert (seen.listener, seen.login) == ("main", "kiosk1")
    assert seen.peer == "127.0.0.1"


@pytest.mark.parametrize(
    ("request_body", "answer_head", "expected"),
    [
        (patron_information(OTHER_TOKEN), b"64YYYY", (b"BL", b"N")),
        (b"23000" + DATE + b"AOCPL|AA" + OTHER_TOKEN + b"|AC|AD|", b"24YYYY", (b"BL", b"N")),
        (checkout(OTHER_TOKEN), b"120NUN", (b"BL", b"N")),
        (b"29NN" + DATE * 2 + b"AOCPL|AA" + OTHER_TOKEN + b"|AB1|", b"300NUN", (b"AB", b"1")),
        (b"65" + DATE + b"AOCPL|AA" + OTHER_TOKEN + b"|", b"66000000000", (b"AO", b"CPL")),
        (b"15+" + DATE + b"AOCPL|AA" + OTHER_TOKEN + b"|AB1|", b"160N", (b"AO", b"CPL")),
        (
            b"37" + DATE + b"0100JPYBV100|AOCPL|AA" + OTHER_TOKEN + b"|",
            b"38N",
            (b"AA", OTHER_TOKEN),
        ),
        (b"25" + DATE + b"AOCPL|AA" + OTHER_TOKEN + b"|", b"26YYYY", (b"BL", b"N")),
        (b"01N" + DATE + b"AOCPL|ALx|AA" + OTHER_TOKEN + b"|AC|", b"24YYYY", (b"BL", b"N")),
        (
            b"19" + DATE + b"AOCPL|AB1|CHx|AA" + OTHER_TOKEN + b"|",
            b"200",
            (b"AB", b"1"),
        ),
        (end_session(OTHER_TOKEN), b"36Y", (b"AA", OTHER_TOKEN)),
    ],
    ids=lambda value: value[:2].decode() if isinstance(value, bytes) else "",
)
async def test_a_refusal_is_a_valid_answer_of_the_expected_code(place, request_body, answer_head, expected):
    acs, _, kiosk = await place()
    asked = len(acs.received)
    frame = await kiosk.ask_sealed(request_body)
    answer = decode(frame)
    assert frame.startswith(answer_head)
    assert answer.value(expected[0]) == expected[1]
    assert answer.value(b"AF").decode() == "カードをもう一度かざしてください"
    assert len(acs.received) == asked


async def test_another_card_ends_the_session_of_the_first(place, resolver):
    _, _, kiosk = await place()
    resolver.give(TOKEN, CARD, "s1")
    resolver.give(OTHER_TOKEN, OTHER_CARD, "s2")
    await kiosk.ask_sealed(patron_information(TOKEN))
    await kiosk.ask_sealed(patron_information(OTHER_TOKEN))
    assert resolver.closed == [("s1", SessionEnd.ANOTHER_PATRON)]
    await kiosk.ask_sealed(patron_information(b"20000000000008"))
    assert resolver.closed[1:] == [("s2", SessionEnd.ANOTHER_PATRON)]
    assert CARD not in kiosk.received
    assert OTHER_CARD not in kiosk.received


async def test_a_disconnect_ends_the_session(place, resolver, observer):
    _, _, kiosk = await place()
    resolver.give(TOKEN, CARD, "s1")
    await kiosk.ask_sealed(patron_information(TOKEN))
    kiosk.close()
    async with asyncio.timeout(5):
        await resolver.close_event.wait()
    assert resolver.closed == [("s1", SessionEnd.DISCONNECTED)]
    assert (observer.connected, observer.disconnected) == (1, 1)


async def test_a_patron_who_walks_away_ends_the_session_and_the_machine_stays(place, resolver):
    _, _, kiosk = await place(limits=ProxyLimits(patron_idle_timeout=0.05))
    resolver.give(TOKEN, CARD, "s1")
    await kiosk.ask_sealed(patron_information(TOKEN))
    async with asyncio.timeout(5):
        await resolver.close_event.wait()
    assert resolver.closed == [("s1", SessionEnd.IDLE)]
    assert (await kiosk.ask_sealed(STATUS)).startswith(b"98Y")


async def test_a_silent_machine_is_disconnected(place):
    _, _, kiosk = await place(limits=ProxyLimits(idle_timeout=0.05))
    assert await kiosk.end() == b""


async def test_a_machine_that_trickles_bytes_gains_no_time(start_acs, start_proxy, connect):
    acs = await start_acs()
    proxy = await start_proxy(acs.port, limits=ProxyLimits(login_timeout=0.2))
    kiosk = await connect(proxy.ports["main"])

    async def trickle():
        while True:
            await kiosk.send(b"9")
            await asyncio.sleep(0.02)

    task = asyncio.create_task(trickle())
    assert await kiosk.end() == b""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_token_that_stops_being_good_is_refused_within_its_session(place, resolver):
    _, _, kiosk = await place()
    resolver.give(TOKEN, CARD, "s1")
    await kiosk.ask_sealed(patron_information(TOKEN))
    resolver.tokens[TOKEN] = Refused(Refusal.NO_LONGER_VALID, "revoked")
    refused = decode(await kiosk.ask_sealed(checkout(TOKEN)))
    assert (refused.fixed_field("ok"), refused.value(b"AF")) == (b"0", b"revoked")


async def test_a_resolver_that_cannot_say_just_now_keeps_the_session(place, resolver):
    _, _, kiosk = await place()
    resolver.give(TOKEN, CARD, "s1")
    await kiosk.ask_sealed(patron_information(TOKEN))
    resolver.tokens[TOKEN] = Refused(Refusal.UNAVAILABLE, "later")
    assert b"AFlater" in await kiosk.ask_sealed(checkout(TOKEN))
    resolver.give(TOKEN, CARD, "s1")
    assert (await kiosk.ask_sealed(checkout(TOKEN))).startswith(b"121")
    assert resolver.closed == []


async def test_a_hanging_resolver_does_not_hang_the_machine(place, resolver, monkeypatch):
    _, _, kiosk = await place(limits=ProxyLimits(answer_timeout=0.05))

    async def hang(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(resolver, "resolve", hang)
    assert (await kiosk.ask_sealed(checkout(TOKEN))).startswith(b"120NUN")


async def test_a_failing_resolver_is_an_answer_and_an_error_in_the_log(
    place, resolver, monkeypatch, caplog, observer
):
    _, _, kiosk = await place()

    async def fail(*_):
        raise RuntimeError(CARD.decode())

    monkeypatch.setattr(resolver, "resolve", fail)
    assert (await kiosk.ask_sealed(checkout(TOKEN))).startswith(b"120NUN")
    assert observer.results[-1] == (b"11", Result.FAILED)
    assert "RuntimeError at fail:" in caplog.text
    assert CARD.decode() not in caplog.text


async def test_a_return_names_only_the_patron_at_the_machine(place, resolver, library):
    _, _, kiosk = await place()
    resolver.give(TOKEN, CARD, "s1")
    library.loans[BOOK.decode()] = OTHER_CARD.decode()
    library.loans[HELD_BOOK.decode()] = CARD.decode()
    nobody = decode(await kiosk.ask_sealed(checkin(BOOK)))
    assert nobody.value(b"AA") is None
    await kiosk.ask_sealed(patron_information(TOKEN))
    held = decode(await kiosk.ask_sealed(checkin(HELD_BOOK)))
    assert (held.value(b"AA"), held.value(b"CV")) == (TOKEN, b"01")
    assert (held.value(b"CY"), held.value(b"DA")) == (None, None)
    assert CARD not in kiosk.received
    assert OTHER_CARD not in kiosk.received


async def test_an_answer_with_another_identifier_than_was_asked_is_refused(place, resolver):
    _, _, kiosk = await place()
    resolver.tokens[TOKEN] = Resolved("s1", b"edna")
    refused = decode(await kiosk.ask_sealed(patron_information(TOKEN)))
    assert refused.value(b"BL") == b"N"
    assert CARD not in kiosk.received


async def test_koha_answering_about_another_patron_is_refused_and_alarmed(
    place, resolver, library, observer, caplog
):
    _, _, kiosk = await place()
    resolver.give(TOKEN, CARD, "s1")
    library.userids[CARD.decode()] = OTHER_CARD.decode()
    refused = decode(await kiosk.ask_sealed(patron_information(TOKEN)))
    assert refused.value(b"BL") == b"N"
    assert observer.results[-1] == (b"63", Result.ANOTHER_PATRON)
    assert resolver.alarms == ["s1"]
    assert "another patron" in caplog.text
    assert OTHER_CARD not in kiosk.received


async def test_the_acss_own_answer_may_end_what_a_token_may_do(place, resolver, observer):
    _, _, kiosk = await place()
    resolver.give(TOKEN, CARD, "s1")
    resolver.verdict = Refused(Refusal.LIBRARY_CARD_NOT_VALID, "期限切れ")
    refused = decode(await kiosk.ask_sealed(patron_information(TOKEN)))
    assert (refused.value(b"BL"), refused.value(b"AF")) == (b"N", "期限切れ".encode())
    assert refused.value(b"AE") == b""
    assert observer.refusals == [Refusal.LIBRARY_CARD_NOT_VALID]
    assert decode(await kiosk.ask_sealed(patron_information(CARD))).value(b"BL") == b"Y"


async def test_a_mask_may_stand_in_the_answers_in_place_of_the_token(place, resolver):
    _, _, kiosk = await place()
    resolver.give(TOKEN, CARD, "s1", mask=b"************99")
    for request in (patron_information(TOKEN), checkout(TOKEN)):
        assert decode(await kiosk.ask_sealed(request)).value(b"AA") == b"************99"
    assert CARD not in kiosk.received


@pytest.mark.parametrize("request_of", [patron_information, checkout, end_session])
async def test_the_mask_stands_in_our_own_refusals_too(place, resolver, request_of):
    _, _, kiosk = await place(faults=lambda number, _: Fault.CLOSE if number == 3 else None)
    resolver.give(TOKEN, CARD, "s1", mask=b"**********0017")
    await kiosk.ask_sealed(patron_information(TOKEN))
    unanswered = decode(await kiosk.ask_sealed(request_of(TOKEN)))
    assert unanswered.value(b"AA") == b"**********0017"
    assert unanswered.value(b"AF") not in (None, b"")
    resolver.tokens[OTHER_TOKEN] = Refused(Refusal.WRONG_TERMINAL, "not here", b"**********0025")
    refused = decode(await kiosk.ask_sealed(request_of(OTHER_TOKEN)))
    assert refused.value(b"AA") == b"**********0025"
    assert TOKEN not in kiosk.received
    assert OTHER_TOKEN not in kiosk.received


async def test_each_machine_reads_its_own_language_in_its_own_characters(
    start_acs, connect, cleanup, resolver
):
    acs = await start_acs()

    def screen_of(kiosk):
        japanese = kiosk.login == "kiosk1"
        return KioskScreen(JAPANESE_SCREEN_MESSAGES, "cp932") if japanese else KioskScreen()

    proxy = Sip2Proxy()
    proxy.add_library(Listener("main", "127.0.0.1", 0, "127.0.0.1", acs.port), resolver, screen_of=screen_of)
    await proxy.start()
    cleanup.push_async_callback(proxy.stop, 1)
    resolver.tokens[TOKEN] = Refused(Refusal.UNKNOWN_TOKEN, "カードをもう一度")
    kiosk = await connect(proxy.ports["main"])
    early = decode(await kiosk.ask_sealed(patron_information(TOKEN)))
    assert early.value(b"AF") == ScreenMessages().not_logged_in.encode()
    await kiosk.log_in()
    refused = decode(await kiosk.ask_sealed(patron_information(TOKEN)))
    assert refused.value(b"AF") == "カードをもう一度".encode("cp932")
    await acs.stop()
    offline = decode(await kiosk.ask_sealed(patron_information(CARD)))
    assert offline.value(b"AF").decode("cp932") == JAPANESE_SCREEN_MESSAGES.acs_unavailable


async def test_a_machine_that_never_reads_its_answers_is_cut_off(place, observer):
    _, _, kiosk = await place(limits=ProxyLimits(answer_timeout=0.2))
    long_answer = kiosk.sealed(patron_information(b"nobody" + b"x" * 8000)) + b"\r"
    kiosk._writer.transport.pause_reading()

    async def ask_for_ever():
        while True:
            await kiosk.send(long_answer)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(ask_for_ever(), timeout=10)
    async with asyncio.timeout(5):
        while not observer.disconnected:
            await asyncio.sleep(0.005)


async def test_mutated_frames_neither_end_the_proxy_nor_reach_the_next_machine(
    place, connect, resolver, observer
):
    _, proxy, _ = await place()
    resolver.give(TOKEN, CARD, "s1")
    source = random.Random(20261120)
    bodies = [patron_information(TOKEN), checkout(TOKEN), checkin(), STATUS, b"97AZFEF5", b"9300CNx|COy|"]
    for _ in range(15):
        kiosk = await connect(proxy.ports["main"])
        await kiosk.log_in()
        for _ in range(20):
            frame = bytearray(source.choice(bodies))
            for _ in range(source.randrange(4)):
                frame[source.randrange(len(frame))] = source.randrange(256)
            if frame.strip(b"\r\n"):
                with suppress(ConnectionError):  # a mutated log-in may have ended the connection
                    await kiosk.send(bytes(frame).replace(b"\r", b"") + b"\r")
        with suppress(ConnectionError):
            await kiosk.send(b"9300CNanother|COpw|\r")  # refused: ends the connection
        await kiosk.end()
        assert CARD not in kiosk.received
    assert not any(result is Result.FAILED for _, result in observer.results)
    fresh = await connect(proxy.ports["main"])
    assert (await fresh.log_in()).startswith(b"941")


# When Koha is slow, silent, gone, or closes.


@pytest.mark.parametrize("fault", [Fault.CLOSE, Fault.HALF, Fault.IGNORE, Fault.WRONG_SEQUENCE])
async def test_a_lost_answer_is_said_to_be_unknown_and_never_sent_twice(place, library, fault, observer):
    acs, _, kiosk = await place(faults=fault_on("11", fault), limits=ProxyLimits(answer_timeout=0.3))
    frame = kiosk.sealed(checkout(CARD), 5)
    answer = await kiosk.ask(frame)
    assert answer.startswith(b"120NUN")
    assert b"ask at the counter" in answer
    assert observer.results[-1] == (b"11", Result.OUTCOME_UNKNOWN)
    assert await kiosk.ask(frame) == answer
    assert sum(line.startswith(b"11") for line in acs.received) == 1
    assert (await kiosk.ask(kiosk.sealed(STATUS, 6))).startswith(b"98Y"), "it reconnected"


async def test_an_answer_with_a_wrong_checksum_is_asked_for_again_not_executed_again(place, library):
    acs, _, kiosk = await place(faults=fault_on("11", Fault.WRONG_CHECKSUM))
    answer = decode(await kiosk.ask(kiosk.sealed(checkout(CARD), 5)))
    assert (answer.fixed_field("ok"), answer.sequence) == (b"1", 5)
    assert library.checkouts == 1
    assert acs.received[-1] == b"97AZFEF5"


async def test_a_late_answer_is_not_taken_for_the_next_one(place):
    _, _, kiosk = await place(
        faults=fault_on("63", Fault.LATE),
        late_seconds=0.3,
        limits=ProxyLimits(answer_timeout=0.1),
    )
    assert b"BLN" in await kiosk.ask_sealed(patron_information(CARD))
    assert (await kiosk.ask_sealed(checkout(CARD))).startswith(b"121")


async def test_koha_asking_for_a_resend_is_passed_on_and_the_retry_is_executed(place, library):
    _, _, kiosk = await place(faults=fault_on("11", Fault.ASK_TO_RESEND, times=1))
    frame = kiosk.sealed(checkout(CARD), 5)
    assert await kiosk.ask(frame) == b"96AZFEF6"
    assert (await kiosk.ask(frame)).startswith(b"121")
    assert library.checkouts == 1


@pytest.mark.parametrize(
    ("body", "head"),
    [
        (b"01N" + DATE + b"AOCPL|ALx|AAnobody|AC|", b"24YYYY"),
        (b"19" + DATE + b"AOCPL|ABnope|CHx|", b"200"),
    ],
)
async def test_requests_on_which_koha_dies_are_answered(place, body, head):
    _, _, kiosk = await place()
    assert (await kiosk.ask_sealed(body)).startswith(head)
    assert (await kiosk.ask_sealed(STATUS)).startswith(b"98Y")


async def test_after_a_cut_the_proxy_logs_in_again_with_the_machines_own_account(place):
    acs, _, kiosk = await place()
    acs.drop_connections()
    answer = await kiosk.ask_sealed(STATUS)
    if answer.startswith(b"98N"):  # the cut was not yet seen when the request went out
        answer = await kiosk.ask_sealed(STATUS)
    assert answer.startswith(b"98Y")
    logins = [line for line in acs.received if line.startswith(b"93")]
    assert len(logins) == 2
    assert logins[0] == logins[1]


async def test_a_login_that_koha_no_longer_accepts_leaves_the_machine_off_line(place):
    acs, _, kiosk = await place()
    del acs.accounts["kiosk1"]
    acs.drop_connections()
    async with asyncio.timeout(5):
        while not (await kiosk.ask_sealed(STATUS)).startswith(b"98N"):
            pass
    assert (await kiosk.ask_sealed(patron_information(CARD))).startswith(b"64YYYY")


async def test_a_machine_is_off_line_while_koha_is_down_and_comes_back(
    place, start_acs, monkeypatch, observer
):
    monkeypatch.setattr("sip2_adapter.upstream._FIRST_PAUSE", 0.01)
    monkeypatch.setattr("sip2_adapter.upstream._LONGEST_PAUSE", 0.02)
    acs, _, kiosk = await place()
    port = acs.port
    await acs.stop()
    async with asyncio.timeout(5):
        while not (await kiosk.ask_sealed(STATUS)).startswith(b"98N"):
            pass
    down = await kiosk.ask_sealed(checkout(CARD))
    assert down.startswith(b"120NUN")
    assert b"cannot be reached" in down
    assert observer.results[-1] == (b"11", Result.ACS_UNAVAILABLE)
    await start_acs(port=port)
    async with asyncio.timeout(5):
        while not (await kiosk.ask_sealed(STATUS)).startswith(b"98Y"):
            await asyncio.sleep(0.01)


async def test_without_koha_a_login_is_refused_within_the_time_out(start_proxy, connect):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = await start_proxy(unused.getsockname()[1])
        kiosk = await connect(proxy.ports["main"])
        assert (await kiosk.log_in()).startswith(b"940")
        assert await kiosk.end() == b""


async def test_a_graceful_stop_delivers_the_answer_that_is_due(place, resolver, library):
    _, proxy, kiosk = await place(faults=fault_on("11", Fault.LATE), late_seconds=0.1)
    resolver.give(TOKEN, CARD, "s1")
    await kiosk.send(kiosk.sealed(checkout(TOKEN), 3) + b"\r")
    async with asyncio.timeout(5):
        while not library.checkouts:
            await asyncio.sleep(0.005)
    await proxy.stop(grace=5)
    assert (await kiosk.line()).startswith(b"121")
    assert await kiosk.end() == b""
    assert resolver.closed == [("s1", SessionEnd.DISCONNECTED)]


async def test_a_stop_without_grace_ends_what_is_due(place, resolver):
    _, proxy, kiosk = await place(faults=fault_on("11", Fault.IGNORE))
    await kiosk.send(kiosk.sealed(checkout(CARD), 3) + b"\r")
    async with asyncio.timeout(5):
        while not resolver.kiosks:
            await asyncio.sleep(0.005)
    await proxy.stop(grace=0.01)
    assert await kiosk.end() == b""


async def test_a_port_in_use_starts_nothing(resolver):
    from sip2_adapter import Listener, Sip2Proxy

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        proxy = Sip2Proxy()
        proxy.add_library(Listener("free", "127.0.0.1", 0, "127.0.0.1", 1), resolver)
        proxy.add_library(Listener("taken", "127.0.0.1", port, "127.0.0.1", 1), resolver)
        with pytest.raises(OSError, match="in use"):
            await proxy.start()
    assert proxy.ports == {}


async def test_no_answer_ever_reaches_another_machine(start_acs, start_proxy, connect, resolver):
    acs = await start_acs()
    proxy = await start_proxy(acs.port)

    async def one_machine(number):
        kiosk = await connect(proxy.ports["main"])
        token, card = b"981%011d" % number, b"nobody%d" % number
        resolver.give(token, card, f"s{number}")
        await kiosk.log_in()
        for turn in range(10):
            answer = decode(await kiosk.ask_sealed(patron_information(token, language=b"%03d" % turn)))
            assert answer.value(b"AA") == token
            assert answer.fixed_field("language") == b"%03d" % turn
        assert b"nobody" not in kiosk.received

    await asyncio.gather(*(one_machine(number) for number in range(64)))


async def test_the_log_names_terminal_code_and_result_and_no_secret(place, resolver, caplog):
    caplog.set_level(logging.DEBUG)
    _, proxy, kiosk = await place()
    resolver.give(TOKEN, CARD, "s1")
    await kiosk.ask_sealed(patron_information(TOKEN) + b"AD4711|AC0815|")
    await kiosk.ask_sealed(checkin(BOOK))
    await kiosk.ask_sealed(patron_information(OTHER_TOKEN))
    await proxy.stop(grace=0)
    assert "main kiosk1 63 answered" in caplog.text
    assert "main kiosk1 63 refused" in caplog.text
    for secret in (TOKEN, OTHER_TOKEN, CARD, b"4711", b"0815", b"pw1", b"Edna"):
        assert secret.decode() not in caplog.text
