"""A small library, a simulated ACS in front of it, a proxy in front of that, and kiosks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding as KeyEncoding
from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from sip2_adapter import (
    ConnectionLimits,
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
    Sip2Message,
    Sip2Proxy,
)
from sip2_adapter.codec import checksum
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
from tests.patient_loop import PatientEventLoop, give_the_proxy_the_loops_clock

NOW = datetime(2026, 11, 20, 15, 57, 39, tzinfo=UTC)
DATE = b"20261120    155739"
GREETING = "Greetings from Koha. "

FINE = AcsPatron("20000000000001", "Edna Acosta", fee_limit=Decimal(5), category_id="PT")
EXPIRED = AcsPatron(
    "20000000000003",
    "Expired",
    GREETING + "Your account has expired as of 2026-11-10",
    expired=True,
)
RESTRICTED = AcsPatron("20000000000004", "Restricted", GREETING + " -- see desk", restricted=True)
LOST = AcsPatron("20000000000005", "Lost", GREETING + " -- Borrower's card reported lost.", card_lost=True)
NO_ADDRESS = AcsPatron(
    "20000000000010", "Moved", GREETING + " -- Borrower has no valid address.", gone_no_address=True
)
OWING = AcsPatron("20000000000006", "Owing", fees_over_limit=True, fees=Decimal("12.50"))
LIMITED = AcsPatron("20000000000007", "Limited")
CHILD = AcsPatron("20000000000008", "Child", category_id="J", has_password=False)
JAPANESE = AcsPatron("20000000000009", "太郎 山田")
ALL_PATRONS = (FINE, EXPIRED, RESTRICTED, LOST, NO_ADDRESS, OWING, LIMITED, CHILD, JAPANESE)

BOOK = AcsItem("39999000000001", "The Perl | book", library_id="CPL", call_number="913 T")
OTHER_BOOK = AcsItem("39999000000002", "Momo", library_id="CPL")
RENTAL = AcsItem("39999000000003", "A film", rental_fee=Decimal(100))
HELD_BOOK = AcsItem("39999000000005", "Wanted", library_id="CPL")


@dataclass
class MemoryLibrary:
    """A ``LibraryBackend`` with Koha's words, in a few dictionaries."""

    patrons: dict[str, AcsPatron] = field(
        default_factory=lambda: {patron.cardnumber: patron for patron in ALL_PATRONS}
    )
    userids: dict[str, str] = field(default_factory=lambda: {"edna": FINE.cardnumber})
    items: dict[str, AcsItem] = field(
        default_factory=lambda: {item.barcode: item for item in (BOOK, OTHER_BOOK, RENTAL, HELD_BOOK)}
    )
    loans: dict[str, str] = field(default_factory=dict)
    checkouts: int = 0
    payments: list[Decimal] = field(default_factory=list)
    password: str = "1234!!"

    def find_patron(self, patron_identifier: str) -> AcsPatron | None:
        found = self.patrons.get(self.userids.get(patron_identifier, patron_identifier))
        if found is None:
            return None
        loans = tuple(item for item, card in self.loans.items() if card == found.cardnumber)
        return replace(found, charged_items=loans)

    def password_is_right(self, patron_identifier: str, password: str) -> bool:
        return password == self.password

    def find_item(self, barcode: str) -> AcsItem | None:
        return self.items.get(barcode)

    def check_out(self, patron_identifier: str, barcode: str, *, no_block: bool) -> LoanOutcome:
        patron = self.find_patron(patron_identifier)
        if patron is None:
            return LoanOutcome(None, screen_message="Invalid Patron")
        if patron.denied and not no_block:
            return LoanOutcome(None, screen_message=self._refusal(patron))
        if barcode not in self.items:
            return LoanOutcome(None, screen_message="Invalid Item")
        if patron.cardnumber == LIMITED.cardnumber:
            return LoanOutcome(None, screen_message="Item cannot be issued: TOO_MANY")
        self.checkouts += 1
        renewed = self.loans.get(barcode) == patron.cardnumber
        self.loans[barcode] = patron.cardnumber
        text = "Item already checked out to you: renewing item." if renewed else ""
        return LoanOutcome(NOW + timedelta(days=14), renewed, text)

    @staticmethod
    def _refusal(patron: AcsPatron) -> str:
        if patron.restricted:
            return "Patron debarred"
        if patron.expired:
            return "Patron expired on 2026-11-10"
        return "Patron has fines" if patron.fees_over_limit else "Patron blocked"

    def check_in(self, barcode: str, library_id: str) -> CheckinOutcome:
        if barcode not in self.items:
            return CheckinOutcome(ok=False, screen_message="Invalid Item")
        card = self.loans.pop(barcode, None)
        if card is None:
            return CheckinOutcome(ok=False, screen_message="Item not checked out")
        held_for = JAPANESE if barcode == HELD_BOOK.barcode else None
        return CheckinOutcome(ok=True, borrower=self.patrons[card], held_for=held_for)

    def renew(self, patron_identifier: str, barcode: str) -> LoanOutcome:
        patron = self.find_patron(patron_identifier)
        if patron is None or patron.denied:
            return LoanOutcome(None, screen_message="Renewals not allowed.")
        if self.loans.get(barcode) != patron.cardnumber:
            return LoanOutcome(None, screen_message=f"Item not checked out to {patron.name}")
        return LoanOutcome(NOW + timedelta(days=14), renewed=True)

    def pay_fee(self, patron_identifier: str, amount: Decimal) -> bool:
        self.payments.append(amount)
        return self.find_patron(patron_identifier) is not None

    def place_hold(self, patron_identifier: str, barcode: str, pickup_library_id: str) -> HoldOutcome | None:
        return HoldOutcome(1, pickup_library_id) if self.find_patron(patron_identifier) else None


@dataclass
class MemoryResolver:
    """A ``PatronResolver``: tokens in a dictionary; every call is kept."""

    tokens: dict[bytes, Resolution] = field(default_factory=dict)
    closed: list[tuple[str, SessionEnd]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    verdict: Refused | None = None
    kiosks: list[Kiosk] = field(default_factory=list)
    close_event: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self, token: bytes, cardnumber: bytes, session_id: str, mask: bytes | None = None) -> None:
        self.tokens[token] = Resolved(session_id, cardnumber, mask)

    async def resolve(self, patron_identifier: bytes, kiosk: Kiosk) -> Resolution:
        return self.look_up(patron_identifier, kiosk)

    def look_up(self, patron_identifier: bytes, kiosk: Kiosk) -> Resolution:
        self.kiosks.append(kiosk)
        if patron_identifier in self.tokens:
            return self.tokens[patron_identifier]
        if patron_identifier.startswith(b"98"):
            return Refused(Refusal.UNKNOWN_TOKEN, "カードをもう一度かざしてください")
        return PassThrough()

    def judge(self, session_id: str, answer: Sip2Message, kiosk: Kiosk) -> Refused | None:
        return self.verdict

    async def report_another_patron(self, session_id: str, kiosk: Kiosk) -> None:
        self.alarms.append(session_id)

    async def report_login_from_elsewhere(self, login: str, kiosk: Kiosk) -> None:
        self.alarms.append(f"{login} at {kiosk.peer}")

    async def close_session(self, session_id: str, end: SessionEnd) -> None:
        self.closed.append((session_id, end))
        for token, resolution in list(self.tokens.items()):
            if isinstance(resolution, Resolved) and resolution.session_id == session_id:
                del self.tokens[token]
        self.close_event.set()


class PromptResolver(MemoryResolver):
    """One that need not wait: its patrons' usual messages take the express lane."""

    def resolve(self, patron_identifier: bytes, kiosk: Kiosk) -> Resolution:
        return self.look_up(patron_identifier, kiosk)


@dataclass
class Counter:
    """A ``ProxyObserver`` that writes everything down."""

    results: list[tuple[bytes, Result]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    login_refusals: list[LoginRefusal] = field(default_factory=list)
    connected: int = 0
    disconnected: int = 0

    def kiosk_connected(self, listener: str) -> None:
        self.connected += 1

    def kiosk_disconnected(self, listener: str) -> None:
        self.disconnected += 1

    def connection_cut(self, listener: str, cut: Cut) -> None:
        self.cuts.append(cut)

    def login_refused(self, listener: str, refusal: LoginRefusal) -> None:
        self.login_refusals.append(refusal)

    def request_answered(self, listener: str, code: bytes, result: Result, seconds: float) -> None:
        assert seconds >= 0
        self.results.append((code, result))

    def patron_refused(self, listener: str, refusal: Refusal) -> None:
        self.refusals.append(refusal)


class RawKiosk:
    """A self-check machine that sends exactly the bytes it is told to; keeps all that it received."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.received = b""
        self._sequence = -1

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def line(self, terminator: bytes = b"\r") -> bytes:
        async with asyncio.timeout(30):
            line = await self._reader.readuntil(terminator)
        self.received += line
        return line.removesuffix(terminator)

    async def ask(self, frame: bytes) -> bytes:
        """Send a frame as it is and return the answer."""
        await self.send(frame + b"\r")
        return await self.line()

    async def ask_sealed(self, body: bytes) -> bytes:
        """Send *body* with the next AY and a right AZ and return the answer."""
        self._sequence = (self._sequence + 1) % 10
        return await self.ask(self.sealed(body, self._sequence))

    @staticmethod
    def sealed(body: bytes, sequence: int = 0) -> bytes:
        """Return *body* with AY and the AZ of its bytes."""
        head = body + b"AY%dAZ" % sequence
        return head + checksum(head)

    async def log_in(self, user: bytes = b"kiosk1", password: bytes = b"pw1") -> bytes:
        return await self.ask_sealed(b"9300CN" + user + b"|CO" + password + b"|CPCPL|")

    async def end(self) -> bytes:
        """Return what comes until the other side closes."""
        rest = b""
        # A reset is an end, too: it comes when the other side closes with bytes of ours unread.
        with suppress(ConnectionResetError):
            async with asyncio.timeout(30):
                while data := await self._reader.read(2**16):
                    rest += data
        self.received += rest
        return rest

    def close(self) -> None:
        self._writer.close()


ACCOUNTS = (
    Account("kiosk1", "pw1", "CPL", encoding=Encoding.UTF8),
    Account("kiosk2", "pw2", "CPL", terminator="CR"),
    Account("plain", "pw", "CPL"),
)


@pytest.fixture(autouse=True)
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    give_the_proxy_the_loops_clock(monkeypatch)


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The entrance works below the streams, where the two event loops differ."""
    factories = {"asyncio": PatientEventLoop}
    if item.path.name == "test_entrance.py":
        factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest.fixture
def library() -> MemoryLibrary:
    return MemoryLibrary()


@pytest.fixture(params=[MemoryResolver, PromptResolver])
def resolver(request: pytest.FixtureRequest) -> MemoryResolver:
    return request.param()


@pytest.fixture
def prompt_resolver() -> PromptResolver:
    return PromptResolver()


@pytest.fixture
def observer() -> Counter:
    return Counter()


@pytest.fixture
async def cleanup() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def start_acs(library: MemoryLibrary, cleanup: AsyncExitStack) -> Callable[..., object]:
    async def start(accounts=ACCOUNTS, **options) -> SimulatedAcs:
        port = options.pop("port", 0)
        acs = SimulatedAcs(library, accounts, clock=lambda: NOW, **options)
        await acs.start(port=port)
        cleanup.push_async_callback(acs.stop)
        return acs

    return start


@pytest.fixture
def connect(cleanup: AsyncExitStack) -> Callable[..., object]:
    async def connect(port: int, **options) -> RawKiosk:
        kiosk = RawKiosk(*await asyncio.open_connection("127.0.0.1", port, limit=2**20, **options))
        cleanup.callback(kiosk.close)
        return kiosk

    return connect


@pytest.fixture
def start_proxy(
    resolver: MemoryResolver, observer: Counter, cleanup: AsyncExitStack
) -> Callable[..., object]:
    async def start(
        upstream_port: int,
        *,
        limits: ProxyLimits | None = None,
        connections: ConnectionLimits | None = None,
        **listener,
    ):
        proxy = Sip2Proxy(connections=connections or ConnectionLimits(), observer=observer)
        proxy.add_library(
            Listener("main", "127.0.0.1", 0, "127.0.0.1", upstream_port, **listener),
            resolver,
            limits=limits or ProxyLimits(),
            clock=lambda: NOW,
        )
        await proxy.start()
        cleanup.push_async_callback(proxy.stop, 1)
        return proxy

    return start


@pytest.fixture
async def kiosk(start_acs, start_proxy, connect) -> RawKiosk:
    """A machine that has logged in through a proxy with default limits."""
    acs = await start_acs()
    proxy = await start_proxy(acs.port)
    kiosk = await connect(proxy.ports["main"])
    assert (await kiosk.log_in()).startswith(b"941")
    return kiosk


@pytest.fixture
async def place(start_acs, start_proxy, connect):
    """Start ACS, proxy and a logged-in machine; returns all three."""

    async def start(*, user=b"kiosk1", password=b"pw1", limits=None, **acs_options):
        acs = await start_acs(**acs_options)
        proxy = await start_proxy(acs.port, limits=limits)
        kiosk = await connect(proxy.ports["main"])
        assert (await kiosk.log_in(user, password)).startswith(b"941")
        return acs, proxy, kiosk

    return start


@pytest.fixture
def until() -> Callable[..., object]:
    """Return a function that waits until something is so."""

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.005)

    return until


@pytest.fixture
def listening(start_acs: Callable[..., object], start_proxy: Callable[..., object]) -> Callable[..., object]:
    """Start an ACS and a proxy; returns the proxy's port."""

    async def start(**listener) -> int:
        acs = await start_acs()
        proxy = await start_proxy(acs.port, **listener)
        return proxy.ports["main"]

    return start


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, in files."""

    certificate: Path
    key: Path


class LocalAuthority:
    """A CA that says that it is for tests; its certificate is in ``file``."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "JPKI-TEST-LOCAL"),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        certificate = (
            self._builder(self._name, self._key, now - timedelta(days=2), now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, SHA256())
        )
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(KeyEncoding.PEM))

    def issue(self, name: str, *, days: float = 1) -> Issued:
        """Issue a certificate for a host, valid until *days* from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        try:
            alternative: x509.GeneralName = x509.IPAddress(ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        certificate = (
            self._builder(
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
                key,
                now - timedelta(days=1.5),
                now + timedelta(days=days),
            )
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .sign(self._key, SHA256())
        )
        stem = f"{self.file.stem}-{name}-{days}"
        issued = Issued(self._directory / f"{stem}.pem", self._directory / f"{stem}.key")
        issued.certificate.write_bytes(certificate.public_bytes(KeyEncoding.PEM))
        issued.key.write_bytes(key.private_bytes(KeyEncoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return issued

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, begin: datetime, end: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
        )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> LocalAuthority:
    return LocalAuthority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> LocalAuthority:
    return LocalAuthority(tmp_path_factory.mktemp("other"), "other-authority")
