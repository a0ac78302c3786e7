"""Kills the bridge with SIGKILL at random moments of linking and using, and looks at what is left.

``python -m fuzz.kill`` (part of ``make soak``) works the services in a process of its own over a real
database, ends it without warning, and then demands: no half link, no lost link, the audit log whole. What
the killed process had been told is done must be there; what it had begun is there wholly or not at all.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NoReturn
from zoneinfo import ZoneInfo

from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from bridge.accounts.staff import StaffService
from bridge.audit.log import AuditService, CheckedLog
from bridge.borrowing import BorrowingService
from bridge.environment import Environment, Library
from bridge.errors import NoSuchPatron
from bridge.keys.ring import KeyRing, MasterKey
from bridge.links.consent import STANDARD_VERSION
from bridge.models import (
    Actor,
    ActorKind,
    AuditTag,
    Librarian,
    LibrarianRole,
    LinkRequestState,
    Terminal,
    TerminalKind,
    UnlinkReason,
)
from bridge.patrons.category import CategoryService
from bridge.ports import PatronRecord
from bridge.registration import RegistrationService
from bridge.store import (
    AuditEventRow,
    CardLinkRow,
    CardSessionRow,
    LinkRequestRow,
    SqlStore,
    open_engine,
    upgrade,
)
from bridge.store.tables import CardClaimRow
from bridge.tokens import TokenPolicy, TokenShape
from bridge.verification import CardPolicy, CardVerification, LibraryRevocation
from jpki.challenge import Challenge
from jpki.revocation import RevocationAnswer, RevocationStatus
from jpki.simulator.pki import CardMaterial, CardPki, CardProfile
from jpki.verify import CertificatePolicy

LIBRARY = "central"
BEGIN = datetime(2026, 11, 2, 3, 0, tzinfo=UTC)
BETWEEN_KILLS = timedelta(minutes=20)
"""What was waiting when the process died has expired when the next one begins."""

LONGEST_LIFE = 0.4
"""Seconds: a few rounds of linking, using and unlinking, of which most are cut off somewhere."""

KILLS_A_DATABASE = 50
"""Then a new one, so that looking through it stays quick."""

WORDS = ("linked", "opened", "closed", "ending", "ended")
"""What a process tells: what is done, and once what it is about to do."""

COMMAND = Actor(ActorKind.COMMAND, "kill")
NUMBER_OF_CARDS = 3


class Patrons:
    """A library system with one adult for each card."""

    def get(self, patron_id: int) -> PatronRecord:
        """Return the patron."""
        if not 0 <= patron_id < NUMBER_OF_CARDS:
            raise NoSuchPatron
        return PatronRecord(
            patron_id=patron_id,
            category_id="ADULT",
            expiry_date=date(2030, 3, 31),
            restricted=False,
            card_lost=False,
            cardnumber=f"L-{patron_id}",
            name="利用者",
        )

    def find_by_cardnumber(self, cardnumber: str) -> PatronRecord | None:
        """Return the patron."""
        return self.get(int(cardnumber.removeprefix("L-")))


class AlwaysGood:
    """A revocation source that has nothing against any card."""

    name = "good"

    def check(self, certificate: object, issuer: object, now: datetime) -> RevocationAnswer:
        """Answer."""
        return RevocationAnswer(RevocationStatus.GOOD, self.name, now)


@dataclass
class Clock:
    """Stands still while a process lives."""

    now: datetime = BEGIN

    def __call__(self) -> datetime:
        """Return the moment."""
        return self.now


class Bridge:
    """The services over a database, and what a process does with them until it is killed."""

    def __init__(self, url: str, clock: Callable[[], datetime], pki: CardPki) -> None:
        self.keys = KeyRing([MasterKey("k1", bytes(range(32)))], os.urandom)
        self.store = SqlStore(open_engine(url), self.keys)
        self.clock = clock
        library = Library(LIBRARY, "中央図書館", ZoneInfo("Asia/Tokyo"), Patrons())
        self.environment = Environment(self.store, self.keys, {LIBRARY: library}, clock, os.urandom)
        policy = CardPolicy(
            pki.trust_store(),
            CertificatePolicy(),
            {LIBRARY: LibraryRevocation(AlwaysGood())},
            timedelta(seconds=120),
        )
        verification = CardVerification(self.environment, policy)
        categories = CategoryService(self.environment)
        self.registration = RegistrationService(self.environment, verification, categories)
        tokens = TokenPolicy(TokenShape("98", 14), timedelta(minutes=15), timedelta(seconds=120))
        self.borrowing = BorrowingService(self.environment, verification, tokens)
        self.staff = StaffService(self.environment, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))

    def furnish(self) -> Place:
        """Add a librarian, a counter and a self-check machine."""
        librarian = self.staff.add_librarian(
            COMMAND,
            library_id=LIBRARY,
            login_name="hanako",
            display_name="Hanako",
            role=LibrarianRole.LIBRARIAN,
            password="correct horse battery staple",  # of a database that is deleted
        )
        terminals = [
            self.staff.add_terminal(
                COMMAND, library_id=LIBRARY, terminal_id=name, name=name, kind=kind, sip2_login=login
            ).terminal
            for name, kind, login in (
                ("counter-1", TerminalKind.COUNTER, None),
                ("check-1", TerminalKind.SELF_CHECK, "sc1"),
            )
        ]
        return Place(librarian, *terminals)

    def work(self, place: Place, cards: list[CardMaterial], journal: int) -> NoReturn:
        """Link, use and unlink without end; *journal* hears of each thing after it was said to be done."""

        def tell(word: str, number: str) -> None:
            os.write(journal, f"{word} {number}\n".encode())

        while True:
            for number, card in enumerate(cards):
                summary = self.registration.find_patron(place.librarian, f"L-{number}")
                link = next(iter(summary.open_links), None)
                if link is None:
                    self.registration.start(
                        place.librarian,
                        terminal_id=place.counter.terminal_id,
                        cardnumber=f"L-{number}",
                        consent_version=STANDARD_VERSION,
                    )
                    challenge = self.registration.begin(place.counter, card.certificate_der)
                    link = self.registration.complete(place.counter, *respond(card, challenge))
                    tell("linked", link.link_id)
                challenge = self.borrowing.begin(place.self_check, card.certificate_der)
                opened = self.borrowing.complete(place.self_check, *respond(card, challenge))
                tell("opened", opened.session_id)
                self.borrowing.resolve(LIBRARY, "sc1", opened.token.value)
                self.borrowing.close(opened.session_id, "end_patron_session")
                tell("closed", opened.session_id)
                tell("ending", link.link_id)
                self.registration.unlink(place.librarian, link.link_id, reason=UnlinkReason.MISTAKE)
                tell("ended", link.link_id)


@dataclass(frozen=True)
class Place:
    """Who works where."""

    librarian: Librarian
    counter: Terminal
    self_check: Terminal


@dataclass
class Report:
    """What came of it."""

    kills: int = 0
    done: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def respond(card: CardMaterial, challenge: Challenge) -> tuple[str, bytes, bytes]:
    """Return what goes back of a challenge: its id, the certificate, the signature."""
    signature = card.private_key.sign(challenge.message(), padding.PKCS1v15(), SHA256())
    return challenge.challenge_id, card.certificate_der, signature


def run(urls: Iterator[str], kills: int, seed: int) -> Report:
    """Kill *kills* times, over one new database of *urls* after the other."""
    moments = random.Random(seed)  # not for secrets
    pki = CardPki.create(BEGIN)
    cards = [pki.issue_card(CardProfile.GOOD) for _ in range(NUMBER_OF_CARDS)]
    report = Report()
    while report.kills < kills and not report.problems:
        url = next(urls)
        _run_on(url, min(KILLS_A_DATABASE, kills - report.kills), moments, pki, cards, report)
    return report


def _run_on(
    url: str, kills: int, moments: random.Random, pki: CardPki, cards: list[CardMaterial], report: Report
) -> None:
    engine = open_engine(url)
    upgrade(engine)
    engine.dispose()
    clock = Clock()
    bridge = Bridge(url, clock, pki)
    place = bridge.furnish()
    told: set[tuple[str, str]] = set()
    for _ in range(kills):
        bridge.store.dispose()  # a child must not share a connection
        clock.now += BETWEEN_KILLS
        told |= _one_life(lambda journal: bridge.work(place, cards, journal), moments, report)
        report.kills += 1
        report.problems.extend(problems(bridge, url, told))
        if report.problems:
            return
    bridge.store.dispose()
    report.done.update(word for word, _ in told)


def _one_life(
    work: Callable[[int], NoReturn], moments: random.Random, report: Report
) -> set[tuple[str, str]]:
    """Let a process work until it is killed; return what it told."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(writing)
        except BaseException as error:  # noqa: BLE001  # whatever it is, the parent reports it
            os.write(writing, f"failed {type(error).__name__}:{error}\n".encode())
        os._exit(1)
    os.close(writing)
    time.sleep(moments.uniform(0, LONGEST_LIFE))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading) as journal:
        entries = {(word, rest) for word, _, rest in (line.strip().partition(" ") for line in journal)}
    report.problems.extend(
        f"the process failed by itself: {rest}" for word, rest in entries if word == "failed"
    )
    return entries


@dataclass(frozen=True)
class Remains:
    """What a database holds."""

    links: dict[str, CardLinkRow]
    sessions: dict[str, CardSessionRow]
    completed: Counter[str | None]
    claims: Counter[str]
    events: Counter[tuple[AuditTag, str]]


def problems(bridge: Bridge, url: str, told: set[tuple[str, str]]) -> Iterator[str]:
    """Yield what is wrong with a database, after *told* was said to be done."""
    engine = open_engine(url)
    with Session(engine) as session:
        requests = session.scalars(
            select(LinkRequestRow).where(LinkRequestRow.state == LinkRequestState.COMPLETED)
        )
        events = session.execute(select(AuditEventRow.tag, AuditEventRow.subject))
        remains = Remains(
            {row.link_id: row for row in session.scalars(select(CardLinkRow))},
            {row.session_id: row for row in session.scalars(select(CardSessionRow))},
            Counter(row.link_id for row in requests),
            Counter(session.scalars(select(CardClaimRow.link_id))),
            Counter((tag, subject) for tag, subject in events),
        )
        if engine.dialect.name == "sqlite":
            yield from _damage(session)
    engine.dispose()
    yield from _half_links(remains)
    yield from _half_sessions(remains)
    yield from _lost(remains, told)
    audit = AuditService(bridge.environment, bridge.store.audit_log())
    for library_id in audit.libraries():
        for outcome in audit.check(library_id):
            if not isinstance(outcome, CheckedLog) or not outcome.whole:
                yield f"the audit log is not whole: {outcome}"


def _damage(session: Session) -> Iterator[str]:
    found = session.execute(text("PRAGMA integrity_check")).scalars()
    yield from (f"the file is damaged: {each}" for each in found if each != "ok")
    found = session.execute(text("PRAGMA foreign_key_check")).scalars()
    yield from (f"a reference to nothing in {each}" for each in found)


def _half_links(remains: Remains) -> Iterator[str]:
    events = remains.events
    for link_id, row in remains.links.items():
        is_open = int(row.ended_at is None)
        expected = {
            "requests": (remains.completed[link_id], 1),
            "events of its beginning": (events[AuditTag.LINK_CREATED, link_id], 1),
            "events of its end": (events[AuditTag.LINK_ENDED, link_id], 1 - is_open),
            "identifiers": (int(row.digest is not None), is_open),
            "serial numbers": (int(row.serial_ciphertext is not None), is_open),
            "claims": (remains.claims[link_id], is_open),
        }
        for what, (number, wanted) in expected.items():
            if number != wanted:
                yield f"half a link: {number} {what} where {wanted} should be"
    made = {subject for tag, subject in events if tag is AuditTag.LINK_CREATED}
    yield from ("an event without its link" for _ in made - remains.links.keys())


def _half_sessions(remains: Remains) -> Iterator[str]:
    for session_id, row in remains.sessions.items():
        is_closed = int(row.closed_at is not None)
        if remains.events[AuditTag.SESSION_OPENED, session_id] != 1:
            yield "a session without the event of its beginning"
        if remains.events[AuditTag.SESSION_CLOSED, session_id] != is_closed:
            yield "a session without the event of its end, or the reverse"
        if not is_closed and remains.links[row.link_id].ended_at is not None:
            yield "a session is left on a link that has ended"


def _lost(remains: Remains, told: set[tuple[str, str]]) -> Iterator[str]:
    ended = {link_id for link_id, row in remains.links.items() if row.ended_at is not None}
    closed = {session_id for session_id, row in remains.sessions.items() if row.closed_at is not None}
    numbers = {word: {number for each, number in told if each == word} for word in WORDS}
    open_ = remains.links.keys() - ended
    yield from ("a link that was told is lost" for _ in numbers["linked"] - numbers["ending"] - open_)
    yield from ("a link that was told to have ended is back" for _ in numbers["ended"] - ended)
    yield from ("a session that was told is lost" for _ in numbers["opened"] - remains.sessions.keys())
    yield from ("a session that was told to be over is back" for _ in numbers["closed"] - closed)


def sqlite_files(directory: Path) -> Iterator[str]:
    """Yield the URL of one new file after the other."""
    number = 0
    while True:
        yield f"sqlite:///{directory}/{number}.sqlite3"
        number += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--url", action="append", help="an empty database; else new SQLite files")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        urls = iter(options.url) if options.url else sqlite_files(Path(directory))
        report = run(urls, options.kills, options.seed)
    took = time.monotonic() - started
    done = ", ".join(f"{count} {word}" for word, count in sorted(report.done.items()))
    print(f"kill: seed {options.seed}, {report.kills} kills, {len(report.problems)} problems, {took:.0f} s")
    print(f"  told before the end: {done}")
    for problem in report.problems:
        print(f"  PROBLEM {problem}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
