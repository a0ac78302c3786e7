"""A bridge with everything real but Koha, the revocation source and the clock."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes
from zoneinfo import ZoneInfo

import pytest
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Date,
    DateTime,
    Engine,
    Executable,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    select,
    text,
)
from sqlalchemy.exc import OperationalError

from bridge.accounts.staff import StaffService
from bridge.borrowing import Borrower, BorrowingService, OpenedSession
from bridge.demo.processes import free_port
from bridge.environment import Environment, Library
from bridge.errors import KohaNotReachable, NoSuchPatron
from bridge.keys.ring import KeyRing, MasterKey
from bridge.links.bulk_unlinking import BulkUnlinkingService, at_once
from bridge.links.consent import STANDARD_VERSION
from bridge.models import (
    Actor,
    ActorKind,
    AuditTag,
    CardLink,
    LibrarianRole,
    LinkRequest,
    Representation,
    RepresentativeCheck,
    Terminal,
    TerminalKind,
)
from bridge.patrons.category import CategoryService
from bridge.ports import PatronRecord
from bridge.registration import RegistrationService
from bridge.store import AuditEventRow, SqlStore, open_engine, upgrade
from bridge.store.tables import Base
from bridge.tokens import TokenPolicy, TokenShape
from bridge.verification import CardPolicy, CardVerification, LibraryRevocation
from config import Settings, load_settings
from jpki.challenge import Challenge
from jpki.revocation import RevocationAnswer, RevocationStatus, UnknownReason
from jpki.simulator.pki import Authority, CardMaterial, CardPki, CardProfile
from jpki.trust import TrustStore, import_anchor
from jpki.verify import CertificatePolicy
from tests.patient_loop import PatientEventLoop

NOW = datetime(2026, 11, 2, 3, 0, tzinfo=UTC)
POSTGRESQL = Path("/usr/lib/postgresql/15/bin")
LIBRARY = "central"
OTHER_LIBRARY = "harbour"
PASSWORD = "correct horse battery staple"
CARDNUMBER = "L-4711-000815"
NAME = "姫路 花子"
COMMAND = Actor(ActorKind.COMMAND, "test")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": PatientEventLoop}


@pytest.fixture(scope="session")
def pki() -> CardPki:
    """One for all tests: each issues cards of its own."""
    return CardPki.create(NOW)


@pytest.fixture(scope="session")
def present_pki(pki: CardPki) -> CardPki:
    """The same for processes and services that look at the real clock."""
    return CardPki.create(datetime.now(UTC), pki.keys)


@pytest.fixture(autouse=True)
def _no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@dataclass
class FixedClock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@dataclass
class FakeKoha:
    """The patrons of a library, as a dict."""

    patrons: dict[int, PatronRecord] = field(default_factory=dict)
    reachable: bool = True
    before_get: Callable[[], object] = lambda: None

    def find_by_cardnumber(self, cardnumber: str) -> PatronRecord | None:
        self._require_reachable()
        return next((p for p in self.patrons.values() if p.cardnumber == cardnumber), None)

    def get(self, patron_id: int) -> PatronRecord:
        self.before_get()
        self._require_reachable()
        if patron_id not in self.patrons:
            raise NoSuchPatron
        return self.patrons[patron_id]

    def change(self, patron_id: int, **changes: object) -> None:
        self.patrons[patron_id] = replace(self.patrons[patron_id], **changes)

    def _require_reachable(self) -> None:
        if not self.reachable:
            raise KohaNotReachable


def patron(patron_id: int, cardnumber: str, name: str = "") -> PatronRecord:
    return PatronRecord(
        patron_id=patron_id,
        category_id="ADULT",
        expiry_date=date(2027, 3, 31),
        restricted=False,
        card_lost=False,
        cardnumber=cardnumber,
        name=name,
    )


@dataclass
class ScriptedRevocation:
    """Says of every certificate what the test tells it to say."""

    status: RevocationStatus = RevocationStatus.GOOD
    next_update: datetime | None = None
    asked: int = 0
    name: str = "scripted"

    def check(self, certificate: object, issuer: object, now: datetime) -> RevocationAnswer:
        self.asked += 1
        why = UnknownReason.UNREACHABLE if self.status is RevocationStatus.UNKNOWN else None
        return RevocationAnswer(self.status, self.name, now, self.next_update, why=why)


class PostgresqlServer:
    """A PostgreSQL server of its own, on a Unix socket. It can be stopped and started again, as it was."""

    def __init__(self, directory: Path) -> None:
        self.url = f"postgresql+psycopg://bridge@/{{}}?host={directory}&connect_timeout=60"
        self._directory = directory
        self._account = (
            {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        )
        if self._account:
            shutil.chown(directory, "postgres", "postgres")
        self._data = directory / "data"
        subprocess.run(
            [
                POSTGRESQL / "initdb",
                "-D",
                self._data,
                "-U",
                "bridge",
                "-A",
                "trust",
                "--no-sync",
                "-E",
                "UTF8",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=directory,
            **self._account,
        )

    def start(self) -> None:
        options = {"listen_addresses": "", "fsync": "off", "unix_socket_directories": self._directory}
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(POSTGRESQL / "postgres", "-D", self._data),
                    *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
                ],
                stdout=log,
                stderr=log,
                cwd=self._directory,
                **self._account,
            )
        _wait_for(self.url.format("postgres"), self._process)

    def limit_file_size(self, process: int, size: int) -> None:
        """Let one of its processes make no file longer than that."""
        # By the server's own account: root may lack the right where it is confined to a container.
        command = ["prlimit", "--pid", str(process), f"--fsize={size}:"]
        subprocess.run(command, check=True, timeout=90, **self._account)

    def wait(self) -> None:
        """Wait until it takes calls, after one of its processes fell and took all others along."""
        _wait_for(self.url.format("postgres"), self._process)

    def stop(self) -> None:
        """Stop it as its administrator does in a hurry: sessions are ended, what they began is undone."""
        self._process.send_signal(signal.SIGINT)  # "fast shutdown"
        self._process.wait(timeout=90)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    directory = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path must be short
    server = PostgresqlServer(directory)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def postgresql(postgresql_server: PostgresqlServer) -> str:
    """The URL of a PostgreSQL server up to the database's name."""
    return postgresql_server.url


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    engine = open_engine(url)
    deadline = time.monotonic() + 90
    while True:
        try:
            engine.connect().close()
        except OperationalError:
            assert server.poll() is None, "PostgreSQL ended"
            assert time.monotonic() < deadline, "PostgreSQL does not answer"
            time.sleep(0.05)
        else:
            engine.dispose()
            return


@pytest.fixture
def empty_postgresql_url(postgresql: str) -> str:
    """The URL of an empty PostgreSQL database."""
    name = f"test_{token_bytes(6).hex()}"
    with _administration(postgresql) as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    return postgresql.format(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, on either kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/bridge.sqlite3"
        return
    yield request.getfixturevalue("empty_postgresql_url")


@contextmanager
def _administration(postgresql: str) -> Iterator[Connection]:
    engine = open_engine(postgresql.format("postgres"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def new_engine(database_url: str) -> Iterator[Engine]:
    """A database of its own, set up by the migrations."""
    engine = open_engine(database_url)
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that was set up, to be copied."""
    path = tmp_path_factory.mktemp("template") / "bridge.sqlite3"
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path)}"


@pytest.fixture(scope="session")
def postgresql_url(postgresql: str) -> str:
    """A database that was set up, shared by all tests; ``store`` empties it after each."""
    url = postgresql.format("bridge")
    with _administration(postgresql) as connection:
        connection.execute(text("CREATE DATABASE bridge"))
    engine = open_engine(url)
    upgrade(engine)
    engine.dispose()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> SqlStore:
    """An empty store, on either kind of database."""
    store: SqlStore = request.getfixturevalue(f"{request.param}_store")
    return store


@pytest.fixture
def postgresql_store(postgresql_url: str) -> Iterator[SqlStore]:
    """An empty store on PostgreSQL."""
    engine = open_engine(postgresql_url)
    yield SqlStore(engine)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # no triggers
        # Of tables with a few rows TRUNCATE takes three times as long: each gets a new file.
        connection.execute(text("; ".join(f"DELETE FROM {name}" for name in Base.metadata.tables)))
    engine.dispose()


@pytest.fixture
def key_ring() -> KeyRing:
    return KeyRing([MasterKey("k1", bytes(range(32)))], token_bytes)


class Place:
    """A bridge for tests: the services over one store, and hands to work them."""

    cardnumber = CARDNUMBER
    name = NAME
    password = PASSWORD
    command = COMMAND
    library = LIBRARY
    other_library = OTHER_LIBRARY
    consent_version = STANDARD_VERSION

    def __init__(self, store: SqlStore, keys: KeyRing, clock: FixedClock, pki: CardPki) -> None:
        self.store, self.keys, self.clock, self.pki = store, keys, clock, pki
        self.koha = FakeKoha({51: patron(51, CARDNUMBER, NAME), 52: patron(52, "L-4711-000816")})
        self.revocation = ScriptedRevocation()
        tokyo = ZoneInfo("Asia/Tokyo")
        other_koha = FakeKoha({9: patron(9, "H-1")})
        libraries = {
            LIBRARY: Library(LIBRARY, "中央図書館", tokyo, self.koha),
            OTHER_LIBRARY: Library(OTHER_LIBRARY, "港図書館", tokyo, other_koha),
        }
        self.environment = Environment(store, keys, libraries, clock, token_bytes)
        policy = CardPolicy(
            trust_store(pki),
            CertificatePolicy(),
            dict.fromkeys(libraries, LibraryRevocation(self.revocation)),
            timedelta(seconds=120),
        )
        self.verification = CardVerification(self.environment, policy)
        self.tokens = TokenPolicy(TokenShape("98", 14), timedelta(minutes=15), timedelta(seconds=120))
        categories = CategoryService(self.environment)
        self.registration = RegistrationService(self.environment, self.verification, categories)
        self.bulk_unlinking = BulkUnlinkingService(self.environment, categories, at_once)
        self.borrowing = BorrowingService(self.environment, self.verification, self.tokens)
        quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        self.staff = StaffService(self.environment, quick)

    def furnish(self) -> None:
        """Add the terminals and the librarian."""
        self.counter = self.add_terminal("counter-1", TerminalKind.COUNTER)
        self.second_counter = self.add_terminal("counter-2", TerminalKind.COUNTER)
        self.self_check = self.add_terminal("check-1", TerminalKind.SELF_CHECK, "sc1")
        self.second_self_check = self.add_terminal("check-2", TerminalKind.SELF_CHECK, "sc2")
        self.librarian = self.staff.add_librarian(
            COMMAND,
            library_id=LIBRARY,
            login_name="hanako",
            display_name="司書 花子",
            role=LibrarianRole.LIBRARIAN,
            password=PASSWORD,
        )

    def add_terminal(
        self, terminal_id: str, kind: TerminalKind, sip2_login: str | None = None, library: str = LIBRARY
    ) -> Terminal:
        return self.staff.add_terminal(
            COMMAND,
            library_id=library,
            terminal_id=terminal_id,
            name=terminal_id,
            kind=kind,
            sip2_login=sip2_login,
        ).terminal

    def start(
        self, terminal: Terminal | None = None, cardnumber: str = CARDNUMBER, **choices: object
    ) -> LinkRequest:
        place = terminal or self.counter
        return self.registration.start(
            self.librarian,
            terminal_id=place.terminal_id,
            cardnumber=cardnumber,
            consent_version=self.consent_version,
            **choices,
        )

    def link(self, card: CardMaterial, **choices: object) -> CardLink:
        """Link a card to patron 51, from the start to the end."""
        self.start(**choices)
        challenge = self.registration.begin(self.counter, card.certificate_der)
        return self.complete_link(self.counter, card, challenge)

    def link_for_child(self, card: CardMaterial, until: date) -> CardLink:
        """Link a card as a legal representative does, after every point was checked."""
        return self.link(card, representation=Representation(until, frozenset(RepresentativeCheck)))

    def complete_link(self, terminal: Terminal, card: CardMaterial, challenge: Challenge) -> CardLink:
        signature = self.sign(card, challenge)
        return self.registration.complete(terminal, challenge.challenge_id, card.certificate_der, signature)

    def borrow(self, card: CardMaterial, terminal: Terminal | None = None) -> OpenedSession:
        """Open a session, from the start to the end."""
        place = terminal or self.self_check
        challenge = self.borrowing.begin(place, card.certificate_der)
        return self.complete_borrow(place, card, challenge)

    def complete_borrow(self, terminal: Terminal, card: CardMaterial, challenge: Challenge) -> OpenedSession:
        signature = self.sign(card, challenge)
        return self.borrowing.complete(terminal, challenge.challenge_id, card.certificate_der, signature)

    def resolve(self, opened: OpenedSession, sip2_login: str | None = "sc1"):
        """Ask as a machine's message does, which is a use."""
        found = self.borrowing.resolve(LIBRARY, sip2_login, opened.token.value)
        if isinstance(found, Borrower):
            self.borrowing.touch({found.session_id: self.clock()})
        return found

    @staticmethod
    def stands_for(borrower: Borrower) -> tuple[str, str]:
        """Return session and card number, and leave the rest."""
        return borrower.session_id, borrower.cardnumber

    def card(self, profile: CardProfile = CardProfile.GOOD) -> CardMaterial:
        return self.pki.issue_card(profile)

    @staticmethod
    def sign(card: CardMaterial, challenge: Challenge) -> bytes:
        """Sign as the card would."""
        return card.private_key.sign(challenge.message(), padding.PKCS1v15(), SHA256())

    @property
    def url(self) -> str:
        """Where the database is."""
        return str(self.store.scoped_session()().get_bind().url)

    def change(self, statement: Executable) -> None:
        """Change the database behind the program's back."""
        engine = open_engine(self.url)
        try:
            with engine.begin() as connection:
                connection.execute(statement)
        finally:
            engine.dispose()

    def audit(self, tag: AuditTag | None = None) -> list[AuditEventRow]:
        """The audit log, the latest last."""
        session = self.store.scoped_session()
        rows = session.scalars(select(AuditEventRow).order_by(AuditEventRow.event_id)).all()
        session.remove()
        return [row for row in rows if tag in (None, row.tag)]


def trust_store(pki: CardPki) -> TrustStore:
    authorities = (Authority.AUTHENTICATION_1, Authority.AUTHENTICATION_2)
    ders = [pki.ca_certificate(authority) for authority in authorities]
    return TrustStore(import_anchor(der, [sha256(der).hexdigest()], allow_test=True) for der in ders)


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Iterator[SqlStore]:
    """An empty store on SQLite."""
    store = SqlStore(open_engine(sqlite_url))
    yield store
    store.dispose()


@pytest.fixture
def make_place() -> type[Place]:
    return Place


@pytest.fixture
def place(store: SqlStore, key_ring: KeyRing, clock: FixedClock, pki: CardPki) -> Iterator[Place]:
    """The services over SQLite, and once more over PostgreSQL."""
    yield from _furnished(store, key_ring, clock, pki)


@pytest.fixture
def place_on_sqlite(
    sqlite_store: SqlStore, key_ring: KeyRing, clock: FixedClock, pki: CardPki
) -> Iterator[Place]:
    """For what is about SQLite's file."""
    yield from _furnished(sqlite_store, key_ring, clock, pki)


@pytest.fixture
def place_on_postgresql(
    postgresql_store: SqlStore, key_ring: KeyRing, clock: FixedClock, pki: CardPki
) -> Iterator[Place]:
    """For what is about PostgreSQL's server."""
    yield from _furnished(postgresql_store, key_ring, clock, pki)


def _furnished(store: SqlStore, keys: KeyRing, clock: FixedClock, pki: CardPki) -> Iterator[Place]:
    place = Place(store, keys, clock, pki)
    place.furnish()
    yield place
    _require_no_names(place)


def _require_no_names(place: Place) -> None:
    """Whatever a test did, the audit log names neither patron nor staff."""
    written = repr([(row.subject, row.actor_id, row.terminal_id, row.details) for row in place.audit()])
    names = [NAME, PASSWORD, CARDNUMBER, "L-4711-000816", "H-1", "hanako", "司書"]
    assert [name for name in names if name in written] == []


class Installation:
    """A folder with settings, key and CA certificates, as an operator leaves it."""

    def __init__(self, directory: Path, pki: CardPki, ports: tuple[int, int]) -> None:
        self.directory = directory
        self.path = directory / "bridge.toml"
        self.key_file = directory / "master_keys"
        self.database = directory / "bridge.sqlite3"
        self.web_port, self.sip2_port = ports
        self.koha_url = "http://127.0.0.1:9/api/v1"
        trust = directory / "trust"
        trust.mkdir()
        self.fingerprints = []
        for authority in (Authority.AUTHENTICATION_1, Authority.AUTHENTICATION_2):
            der = pki.ca_certificate(authority)
            (trust / f"{authority.value}.cer").write_bytes(der)
            self.fingerprints.append(sha256(der).hexdigest())
        (directory / "secret").write_text("s" * 40)
        (directory / "secret").chmod(0o600)
        self.write()

    def write(self) -> None:
        self.path.write_text(
            f"""
            mode = "development"
            [web]
            host = "127.0.0.1"
            port = {self.web_port}
            secret_key_file = "secret"
            secure_cookies = false
            [database]
            url = "sqlite:///{self.database}"
            [keys]
            master_key_file = "{self.key_file}"
            [jpki]
            trust_directory = "trust"
            pinned_fingerprints = {self.fingerprints}
            [revocation]
            [[library]]
            library_id = "central"
            name = "中央図書館"
            cardnumber_prefixes = ["L-"]
            [library.koha]
            base_url = "{self.koha_url}"
            client_id = "bridge"
            client_secret_file = "secret"
            [library.sip2]
            listen_host = "127.0.0.1"
            listen_port = {self.sip2_port}
            koha_host = "127.0.0.1"
            koha_port = 9
            """,
            encoding="utf-8",
        )

    def load(self) -> Settings:
        return load_settings(self.path, {})


@pytest.fixture
def installation(tmp_path: Path, present_pki: CardPki) -> Installation:
    return Installation(tmp_path, present_pki, (free_port(), free_port()))


ROWS: Mapping[str, Mapping[str, object]] = {
    "terminal": {"terminal_id": "check-1", "kind": "self_check", "sip2_login": "sc1", "active": True},
    "librarian": {"role": "librarian", "active": True},
    "card_link": {"kind": "serial_number", "state": "active", "patron_id": 51, "not_after": date(2030, 1, 1)},
    "bulk_unlinking": {"state": "requested", "link_count": 2},
    "link_request": {"terminal_id": "check-1", "state": "completed", "link_id": "card_link", "patron_id": 51},
    "card_session": {"terminal_id": "check-1", "closed_at": NOW, "closed_reason": "idle"},
    "challenge": {"purpose": "borrow", "terminal_id": "check-1", "revocation_status": "good"},
    "category_move": {"direction": "linked", "state": "done", "sequence": 1},
    "audit_event": {"tag": "librarian:added", "actor_kind": "command", "sequence": 1},
}
"""By table, what its constraints demand; ``rows_of_revision`` fills the rest."""


@pytest.fixture
def rows_of_revision() -> Callable[[MetaData], list[tuple[Table, dict[str, object]]]]:
    """Give a row for each table of a revision, as far as its columns demand one."""

    def value(table: Table, column: Column[object]) -> object:
        if column.name in ROWS.get(table.name, {}):
            return ROWS[table.name][column.name]
        if column.foreign_keys:
            target = next(iter(column.foreign_keys)).column
            return value(target.table, target)
        if isinstance(column.type, DateTime):
            return NOW.replace(tzinfo=None)
        if isinstance(column.type, Date):
            return NOW.date()
        if isinstance(column.type, Integer):
            return 1
        if isinstance(column.type, LargeBinary):
            return b"\0" * 32
        if isinstance(column.type, JSON):
            return {}
        return LIBRARY if column.name == "library_id" else table.name

    def rows(metadata: MetaData) -> list[tuple[Table, dict[str, object]]]:
        return [
            (
                table,
                {
                    column.name: value(table, column)
                    for column in table.columns
                    if column.name == "digest"
                    or column.name in ROWS.get(table.name, {})
                    or not (column.nullable or column.server_default is not None)
                },
            )
            for table in metadata.sorted_tables
            if table.name != "alembic_version"
        ]

    return rows
