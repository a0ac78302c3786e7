"""``python -m fuzz.sip2``: broken and hostile machines at the SIP2 proxy, with the simulated ACS behind it.

Each machine has one patron. What must hold: every answer is a SIP2 message; none holds a card number,
or the name of another machine's patron; the proxy meets no error of its own; memory stays flat.
``--honest`` sends good requests only, for a soak test.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import re
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import uvloop

from fuzz.sip2_frames import DATE, FrameMaker
from sip2_adapter import (
    ChecksumMismatch,
    Cut,
    Kiosk,
    Listener,
    LoginRefusal,
    PassThrough,
    ProxyLimits,
    Refusal,
    Refused,
    Resolution,
    Resolved,
    Result,
    SessionEnd,
    Sip2Error,
    Sip2Message,
    Sip2Proxy,
    decode,
)
from sip2_adapter.codec import RESEND_AFTER_BAD_CHECKSUM, checksum
from sip2_adapter.grammar import SC_RESEND
from sip2_adapter.simulator import (
    Account,
    AcsItem,
    AcsPatron,
    CheckinOutcome,
    Encoding,
    HoldOutcome,
    LoanOutcome,
    SimulatedAcs,
)

NOW = datetime(2026, 11, 20, 15, 57, 39, tzinfo=UTC)
MACHINES = 16
BATCH = 25
SECONDS_TO_ANSWER = 60.0
GROWTH_LIMIT_MB = 5.0
WARM_UP_SHARE = 0.2

CARD = "7310{:010d}"
NAME = "Patronymic{:04d}x"
TOKEN = "98{:012d}"
NAMES = re.compile(rb"Patronymic(\d{4})x")


def patron_of(number: int) -> AcsPatron:
    return AcsPatron(CARD.format(number), NAME.format(number), overdue_items=("1",))


class Library:
    """A ``LibraryBackend`` in which every machine's patron has borrowed every item."""

    def __init__(self) -> None:
        self._patrons = {CARD.format(number): patron_of(number) for number in range(MACHINES)}
        self._borrower = 0

    def find_patron(self, patron_identifier: str) -> AcsPatron | None:
        return self._patrons.get(patron_identifier)

    def password_is_right(self, patron_identifier: str, password: str) -> bool:
        return password == "1"

    def find_item(self, barcode: str) -> AcsItem | None:
        return AcsItem(barcode, f"Title {barcode}") if barcode else None

    def check_out(self, patron_identifier: str, barcode: str, *, no_block: bool) -> LoanOutcome:
        patron = self.find_patron(patron_identifier)
        if patron is None:
            return LoanOutcome(None, screen_message="Invalid Patron")
        return LoanOutcome(NOW + timedelta(days=14), screen_message=f"Lent to {patron.name}")

    def check_in(self, barcode: str, library_id: str) -> CheckinOutcome:
        # Somebody else's, most of the time: Koha names borrower and next patron to any machine.
        self._borrower = (self._borrower + 1) % MACHINES
        return CheckinOutcome(
            ok=True, borrower=patron_of(self._borrower), held_for=patron_of(MACHINES - 1 - self._borrower)
        )

    def renew(self, patron_identifier: str, barcode: str) -> LoanOutcome:
        return self.check_out(patron_identifier, barcode, no_block=False)

    def pay_fee(self, patron_identifier: str, amount: Decimal) -> bool:
        return self.find_patron(patron_identifier) is not None

    def place_hold(self, patron_identifier: str, barcode: str, pickup_library_id: str) -> HoldOutcome | None:
        return HoldOutcome(1, pickup_library_id) if self.find_patron(patron_identifier) else None


class Resolver:
    """One token for each machine, worth something there alone."""

    async def resolve(self, patron_identifier: bytes, kiosk: Kiosk) -> Resolution:
        if not re.fullmatch(rb"98\d{12}", patron_identifier):
            return PassThrough()
        number = int(patron_identifier[2:])
        if kiosk.login != f"kiosk{number}":
            return Refused(Refusal.WRONG_TERMINAL, "この機械ではありません")
        return Resolved(f"session{number}", CARD.format(number).encode())

    def judge(self, session_id: str, answer: Sip2Message, kiosk: Kiosk) -> Refused | None:
        return None

    async def report_another_patron(self, session_id: str, kiosk: Kiosk) -> None:
        return None

    async def report_login_from_elsewhere(self, login: str, kiosk: Kiosk) -> None:
        pass

    async def close_session(self, session_id: str, end: SessionEnd) -> None:
        return None


@dataclass
class Report:
    """What was sent and seen; ``problems`` is what must not happen."""

    frames: int = 0
    answers: int = 0
    connections: int = 0
    growth_mb: float = 0.0
    results: Counter[Result] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def kiosk_connected(self, listener: str) -> None:
        self.connections += 1

    def kiosk_disconnected(self, listener: str) -> None:
        pass

    def connection_cut(self, listener: str, cut: Cut) -> None:
        pass

    def login_refused(self, listener: str, refusal: LoginRefusal) -> None:
        pass

    def request_answered(self, listener: str, code: bytes, result: Result, seconds: float) -> None:
        self.results[result] += 1
        if result is Result.FAILED:
            self.problems.append(f"an error of our own at {code!r}")

    def patron_refused(self, listener: str, refusal: Refusal) -> None:
        pass


class Machine:
    """One self-check machine that sends what a ``FrameMaker`` makes and reads all that comes."""

    def __init__(self, number: int, port: int, seed: int, report: Report, *, honest: bool) -> None:
        self.number = number
        self._port = port
        self._report = report
        own, other = TOKEN.format(number).encode(), TOKEN.format((number + 1) % MACHINES).encode()
        strangers = () if honest else (other, b"98999999999999", b"", b"nobody", b"|", b"98")
        self._maker = FrameMaker(random.Random(f"{seed}/{number}"), (own, own, *strangers))
        self._make = self._maker.honest if honest else self._maker.next
        self._turn = 0
        self._writer: asyncio.StreamWriter | None = None

    async def send_batch(self) -> None:
        """Send some frames, then one whose answer is known, and look at everything up to it."""
        if self._writer is None:
            await self._connect()
        self._turn += 1
        frames = [self._make() for _ in range(BATCH)]
        language = b"%03d" % (self._turn % 900 + 100)
        head = (
            b"63" + language + DATE + b" " * 10 + b"AOCPL|AA" + TOKEN.format(self.number).encode() + b"|AY0AZ"
        )
        # A 99 may have sent Koha back to protocol 1.00, which knows no 63.
        data = b"\r".join([*frames, b"", b"9900802.00", head + checksum(head), b""])
        self._report.frames += len(frames)
        # A machine that sends too much at once, or logs in wrongly, is cut off: then it connects anew.
        try:
            async with asyncio.timeout(SECONDS_TO_ANSWER):
                await self._exchange(data, language)
        except (ConnectionError, asyncio.IncompleteReadError):
            await self.close()
        except TimeoutError:
            self._report.problems.append(f"machine {self.number}: no answer in turn {self._turn}")
            await self.close()

    async def _exchange(self, data: bytes, language: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)
        while True:
            answer = (await self._reader.readuntil(b"\r"))[:-1]
            self._look_at(answer)
            if answer.startswith(b"64") and answer[16:19] == language:
                return

    def _look_at(self, answer: bytes) -> None:
        self._report.answers += 1
        if b"7310000000" in answer:
            self._report.problems.append(f"machine {self.number}: a card number in {answer[:2]!r}")
        for found in NAMES.findall(answer):
            if int(found) != self.number:
                self._report.problems.append(f"machine {self.number}: another's name in {answer[:2]!r}")
        if answer in (SC_RESEND, RESEND_AFTER_BAD_CHECKSUM):
            return
        try:
            decode(answer)
        except ChecksumMismatch:
            # An answer without a checksum may end in an echo of something that looks like one.
            if not answer.endswith(b"|"):
                self._report.problems.append(f"machine {self.number}: a wrong checksum in {answer[:2]!r}")
        except Sip2Error as error:
            self._report.problems.append(f"machine {self.number}: {type(error).__name__} in {answer[:2]!r}")

    async def _connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**22)
        self._writer.write(b"9300CNkiosk%d|COpw|\r" % self.number)
        if (await self._reader.readuntil(b"\r"))[:3] != b"941":
            self._report.problems.append(f"machine {self.number}: not logged in")

    async def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def run(
    seed: int, *, frames: int | None = None, seconds: float | None = None, honest: bool = False
) -> Report:
    """Send *frames* frames, or for *seconds*, and report."""
    report = Report()
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: report.problems.append(
            f"escaped: {context.get('exception') or context['message']}"
        )
    )
    accounts = [Account(f"kiosk{n}", "pw", "CPL", encoding=Encoding.UTF8) for n in range(MACHINES)]
    acs = SimulatedAcs(Library(), accounts, clock=lambda: NOW)
    await acs.start()
    listener = Listener("main", "127.0.0.1", 0, "127.0.0.1", acs.port)
    # Broken frames without end are the purpose here; a connection that is cut would be spared them.
    limits = ProxyLimits(answer_timeout=30, garbage_limit=1_000_000_000)
    proxy = Sip2Proxy(observer=report)
    proxy.add_library(listener, Resolver(), limits=limits, clock=lambda: NOW)
    await proxy.start()
    machines = [Machine(n, proxy.ports["main"], seed, report, honest=honest) for n in range(MACHINES)]
    started = time.monotonic()

    def share() -> float:
        if frames is not None:
            return report.frames / frames
        return (time.monotonic() - started) / (seconds or 1)

    async def drive(machine: Machine) -> None:
        while share() < 1 and len(report.problems) < 20:
            await machine.send_batch()
        await machine.close()

    async def watch_memory() -> None:
        settled = None
        while True:
            await asyncio.sleep(0.05)
            acs.received.clear()
            if settled is None and share() >= WARM_UP_SHARE:
                settled = resident_mb()
            if settled is not None:
                report.growth_mb = resident_mb() - settled

    memory = asyncio.create_task(watch_memory())
    await asyncio.gather(*map(drive, machines))
    memory.cancel()
    await proxy.stop(5)
    await acs.stop()
    return report


def resident_mb() -> float:
    """Return the resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, help="run for a time in place of a number of frames")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--honest", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # it tells of every connection that Koha closes
    frames = None if options.seconds else options.frames
    started = time.monotonic()
    report = uvloop.run(run(options.seed, frames=frames, seconds=options.seconds, honest=options.honest))
    if report.growth_mb > GROWTH_LIMIT_MB:
        report.problems.append(f"memory grew by {report.growth_mb:.1f} MB")
    took = time.monotonic() - started
    print(
        f"sip2: seed {options.seed}, {report.frames} frames, {report.answers} answers, "
        f"{report.connections} connections, {report.growth_mb:+.1f} MB, {took:.0f} s"
    )
    print("  " + ", ".join(f"{result} {count}" for result, count in sorted(report.results.items())))
    for problem in report.problems:
        print(f"  PROBLEM {problem}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
