"""What a machine in the wrong hands tries at the proxy: real resolver, real store, simulated Koha."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from bridge.models import AuditTag, TerminalKind
from bridge.resolver import TokenResolver
from bridge.terminals.machines import MachinePolicies, MachinePolicy
from sip2_adapter import ConnectionLimits, Listener, ProxyLimits, Sip2Proxy, decode
from sip2_adapter.codec import checksum
from sip2_adapter.simulator import (
    Account,
    AcsItem,
    AcsPatron,
    CheckinOutcome,
    Fault,
    HoldOutcome,
    LoanOutcome,
    SimulatedAcs,
)
from tests.patient_loop import give_the_proxy_the_loops_clock

DATE = b"20261120    155739"
OTHER_CARD = "L-9999-000001"


class Koha:
    """A ``LibraryBackend``: patrons by card number; ``answers_about`` lets it mix them up."""

    def __init__(self, *cardnumbers: str) -> None:
        self.patrons = {each: AcsPatron(each, f"Patron of {each[-6:]}") for each in cardnumbers}
        self.answers_about: dict[str, str] = {}
        self.lent: list[tuple[str, str]] = []

    def find_patron(self, patron_identifier):
        return self.patrons.get(self.answers_about.get(patron_identifier, patron_identifier))

    def password_is_right(self, patron_identifier, password):
        return True

    def find_item(self, barcode):
        return AcsItem(barcode, "Momo")

    def check_out(self, patron_identifier, barcode, *, no_block):
        self.lent.append((patron_identifier, barcode))
        return LoanOutcome(datetime(2026, 12, 4, tzinfo=UTC))

    def check_in(self, barcode, library_id):
        return CheckinOutcome(ok=True)

    def renew(self, patron_identifier, barcode):
        return LoanOutcome(None)

    def pay_fee(self, patron_identifier, amount):
        return True

    def place_hold(self, patron_identifier, barcode, pickup_library_id):
        return HoldOutcome(1, pickup_library_id)


class Machine:
    """A machine that sends what it is told to."""

    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer
        self._sequence = -1
        self.received = b""

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def hear(self) -> bytes:
        async with asyncio.timeout(90):
            line = await self._reader.readuntil(b"\r")
        self.received += line
        return line[:-1]

    async def ask(self, body: bytes) -> bytes:
        self._sequence = (self._sequence + 1) % 10
        head = body + b"AY%dAZ" % self._sequence
        await self.say(head + checksum(head) + b"\r")
        return await self.hear()

    async def log_in(self, login: str) -> bytes:
        return await self.ask(b"9300CN" + login.encode() + b"|COpw|")

    async def patron(self, identifier: bytes, language: bytes = b"000"):
        return decode(
            await self.ask(b"63" + language + DATE + b" " * 10 + b"AOCPL|AA" + identifier + b"|AC|AD|")
        )

    async def check_out(self, identifier: bytes, item: bytes = b"1"):
        return decode(await self.ask(b"11YN" + DATE * 2 + b"AOCPL|AA" + identifier + b"|AB" + item + b"|AC|"))

    async def is_cut_off(self) -> bool:
        async with asyncio.timeout(90):
            with suppress(ConnectionError):
                return await self._reader.read() == b""
        return True

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
async def start(place, monkeypatch):
    """Return what starts Koha, proxy and machines of a library, and ends them."""
    give_the_proxy_the_loops_clock(monkeypatch)
    running = []
    connected = []

    async def start(
        library=None, *cards, faults=lambda number, code: None, late_seconds=0.0, machines=("sc1", "sc2")
    ):
        koha = Koha(*(cards or (place.cardnumber, OTHER_CARD)))
        acs = SimulatedAcs(
            koha,
            [Account(login, "pw", "CPL") for login in machines],
            clock=place.clock,
            faults=faults,
            late_seconds=late_seconds,
        )
        await acs.start()
        resolver = TokenResolver(
            place.borrowing,
            MachinePolicies(MachinePolicy()),
            place.store.change_counter(),
            clock=place.clock,
            time_zone=ZoneInfo("Asia/Tokyo"),
        )
        listener = Listener(library or place.library, "127.0.0.1", 0, "127.0.0.1", acs.port)
        proxy = Sip2Proxy(connections=ConnectionLimits())
        proxy.add_library(listener, resolver, limits=ProxyLimits(answer_timeout=60), clock=place.clock)
        await proxy.start()
        running.append((proxy, acs))

        async def machine(login=None):
            made = Machine(*await asyncio.open_connection("127.0.0.1", proxy.ports[listener.name]))
            connected.append(made)
            if login is not None:
                assert (await made.log_in(login)).startswith(b"941")
            return made

        return koha, acs, machine

    yield start
    for each in connected:
        each.close()
    for proxy, acs in running:
        await proxy.stop(1)
        await acs.stop()


@pytest.fixture
def token(place):
    """The token of patron 51 at sc1."""
    card = place.card()
    place.link(card)
    return place.borrow(card).token.value.encode()


async def test_a_token_of_another_terminal_is_worth_nothing_and_its_owner_keeps_the_session(start, token):
    koha, acs, machine = await start()
    owner, thief = await machine("sc1"), await machine("sc2")
    assert (await owner.patron(token)).value(b"BL") == b"Y"
    assert (await thief.patron(token)).value(b"BL") == b"N"
    assert (await thief.check_out(token)).fixed_field("ok") == b"0"
    assert (await owner.check_out(token)).fixed_field("ok") == b"1"
    assert len(koha.lent) == 1
    assert not any(token in line for line in acs.received)


async def test_guessing_finds_nothing_locks_the_machine_and_rings_once_however_it_connects(
    place, start, token
):
    _, acs, machine = await start()
    for number in range(30):
        thief = await machine("sc2")
        assert (await thief.patron(b"98%012d" % number)).value(b"BL") == b"N"
        thief.close()
    assert b"wait a minute" in (await (await machine("sc2")).patron(b"98000000000099")).value(b"AF")
    assert len(place.audit(AuditTag.SESSION_GUESSING)) == 1
    assert len(place.audit(AuditTag.SESSION_DENIED)) == 5
    assert not any(line.startswith(b"63") for line in acs.received)
    assert (await (await machine("sc1")).patron(token)).value(b"BL") == b"Y", "others go on"


@pytest.mark.parametrize(
    "smuggled",
    [
        b"%s|AA" + OTHER_CARD.encode(),
        OTHER_CARD.encode() + b"|AA%s",
        b"%s|AO|AA" + OTHER_CARD.encode() + b"|",
    ],
)
async def test_a_second_patron_behind_a_delimiter_makes_the_message_worthless(start, token, smuggled):
    koha, acs, machine = await start()
    for login in ("sc1", "sc2"):
        answer = await (await machine(login)).ask(
            b"11YN" + DATE * 2 + b"AOCPL|AA" + smuggled % token + b"|AB1|AC|"
        )
        assert answer == b"96"
    assert koha.lent == []
    assert not any(line.startswith(b"11") for line in acs.received)


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
async def test_a_message_behind_a_cr_is_a_message_of_its_own_with_the_same_rules(start, token, end):
    koha, acs, machine = await start()
    thief = await machine("sc2")
    hidden = b"11YN" + DATE * 2 + b"AOCPL|AA" + token + b"|AB1|AC|"
    await thief.say(b"63000" + DATE + b" " * 10 + b"AOCPL|AAx" + end + hidden + b"\r")
    first = await thief.hear()
    if end == b"\n":
        assert first == b"96", "one message, of which Koha would drop a byte"
    else:
        assert first.startswith(b"64")
        assert (await thief.hear()).startswith(b"120")
    assert koha.lent == []
    assert not any(token in line for line in acs.received)


async def test_a_machine_that_logs_in_as_another_is_cut_off(start, token):
    koha, acs, machine = await start()
    thief = await machine("sc2")
    assert (await thief.log_in("sc1")).startswith(b"940")
    assert await thief.is_cut_off()
    assert [line[:8] for line in acs.received if line.startswith(b"93")] == [b"9300CNsc"]
    assert koha.lent == []


async def test_a_library_knows_no_token_and_no_patron_of_another(place, start, token):
    place.add_terminal("other-check", TerminalKind.SELF_CHECK, "sc1", place.other_library)
    _, _, machine = await start()
    other_koha, other_acs, other_machine = await start(place.other_library, "H-1")
    here, there = await machine("sc1"), await other_machine("sc1")
    assert (await here.patron(token)).value(b"BL") == b"Y"
    assert (await there.patron(token)).value(b"BL") == b"N"
    assert (await there.check_out(token)).fixed_field("ok") == b"0"
    assert (await there.patron(place.cardnumber.encode())).value(b"BL") == b"N"
    assert not any(token in line for line in other_acs.received)
    assert other_koha.lent == []
    assert (await here.check_out(token)).fixed_field("ok") == b"1"


async def test_koha_answering_with_another_patrons_data_is_refused_and_rings_once(place, start, token):
    koha, _, machine = await start()
    koha.answers_about[place.cardnumber] = OTHER_CARD
    owner = await machine("sc1")
    for _ in range(3):
        answer = await owner.patron(token)
        assert (answer.value(b"BL"), answer.value(b"AE")) == (b"N", b"")
    assert OTHER_CARD.encode() not in owner.received
    assert b"Patron of" not in owner.received
    assert len(place.audit(AuditTag.SESSION_ANOTHER_PATRON)) == 1


async def test_no_answer_ever_reaches_another_of_64_machines_whatever_koha_does(place, start):
    """Each asks in its own language, which Koha repeats; delays, cuts, half answers and wrong checksums."""
    source = random.Random(20261121)
    mischief = (
        None,
        None,
        None,
        Fault.LATE,
        Fault.CLOSE,
        Fault.HALF,
        Fault.WRONG_CHECKSUM,
        Fault.WRONG_SEQUENCE,
    )

    def faults(number, code):
        return None if code == "93" else source.choice(mischief)

    logins = [f"m{number}" for number in range(64)]
    cards = [f"7310{number:010d}" for number in range(64)]
    _, _, machine = await start(None, *cards, faults=faults, late_seconds=0.02, machines=logins)
    answered = 0

    async def use(number):
        nonlocal answered
        own = await machine(logins[number])
        card = cards[number].encode()
        for turn in range(12):
            language = b"%03d" % (100 + number)
            await asyncio.sleep(source.random() * 0.01)
            if turn % 3 == 2:  # hangs up in the middle, and comes back
                await own.say(b"63" + language + DATE + b" " * 10 + b"AOCPL|AA" + card + b"|\r")
                own.close()
                own = await machine(logins[number])
            answer = await own.patron(card, language)
            assert answer.fixed_field("language") == language
            assert answer.value(b"AA") == card
            if answer.value(b"BL") == b"Y":
                answered += 1
                assert answer.value(b"AE") == f"Patron of {cards[number][-6:]}".encode()
        for other in cards:
            assert other == cards[number] or other.encode() not in own.received

    await asyncio.gather(*map(use, range(64)))
    assert answered > 100
