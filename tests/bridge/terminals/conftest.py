"""A whole bridge on a database file, as terminals see it: over its HTTP API and nothing else."""

import io
import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import jsonschema
import pytest
from argon2 import PasswordHasher
from flask import request
from sqlalchemy import inspect, text

from bridge.accounts.own_account import OwnAccountService
from bridge.accounts.second_factor import SecondFactorPolicy
from bridge.accounts.staff import StaffService
from bridge.administration import AdministrationService
from bridge.api.openapi import openapi_document
from bridge.app import create_app_from
from bridge.borrowing import BorrowingService
from bridge.counter.identification import IdentificationService
from bridge.counter.koha_desk import DeskService
from bridge.environment import Environment, Library
from bridge.errors import NoSuchPatron
from bridge.keys.ring import KeyRing, MasterKey
from bridge.links.bulk_unlinking import BulkUnlinkingService, at_once
from bridge.links.consent import STANDARD_VERSION
from bridge.links.consent_service import ConsentService
from bridge.models import Actor, ActorKind, LibrarianRole, TerminalKind
from bridge.patrons.category import CategoryService
from bridge.ports import PatronRecord
from bridge.registration import RegistrationService
from bridge.services import Services
from bridge.statistics import StatisticsService
from bridge.store import SqlStore, open_engine, upgrade
from bridge.terminals.enrolment import EnrolmentService
from bridge.terminals.service import TerminalService
from bridge.tokens import TokenPolicy, TokenShape
from bridge.verification import CardPolicy, CardVerification, LibraryRevocation
from config import WebSettings
from jpki.errors import CardInUse, NoCard
from jpki.revocation import RevocationAnswer, RevocationStatus, UnknownReason
from jpki.simulator.card import SimulatedCard, SimulatedConnection
from jpki.simulator.pki import CardPki, CardProfile, PkiKeys
from jpki.verify import CertificatePolicy
from tests.serving import served

NOW = datetime(2026, 11, 2, 1, 0, tzinfo=UTC)
LIBRARY = "chuo"
CARDNUMBER = "C0001234567"
PIN = "4937"
KOHA_ORIGIN = "https://staff.koha.example"
OTHER_LIBRARY = "kita"
OTHER_ORIGIN = "https://staff.kita.example"
TODAY = date(2026, 11, 2)
PATRON = PatronRecord(
    patron_id=71,
    category_id="PT",
    expiry_date=TODAY + timedelta(days=100),
    restricted=False,
    card_lost=False,
    cardnumber=CARDNUMBER,
    name="甲野花子",
)


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now

    def advance(self, **duration):
        self.now += timedelta(**duration)


class Patrons:
    """The library system: the patrons in ``records``, and no answer where ``failure`` is set."""

    def __init__(self):
        self.records = {PATRON.patron_id: PATRON}
        self.failure = None

    def find_by_cardnumber(self, cardnumber):
        return next((each for each in self.records.values() if each.cardnumber == cardnumber), None)

    def get(self, patron_id):
        if self.failure is not None:
            raise self.failure
        if patron_id not in self.records:
            raise NoSuchPatron
        return self.records[patron_id]

    def change(self, **changes):
        self.records[PATRON.patron_id] = replace(PATRON, **changes)


class Revocations:
    """A source that knows the serial numbers in ``revoked`` and nothing while it is ``down``."""

    name = "test"

    def __init__(self):
        self.revoked = set()
        self.down = False

    def check(self, certificate, issuer, now):
        del issuer
        if self.down:
            return RevocationAnswer(RevocationStatus.UNKNOWN, self.name, now, why=UnknownReason.UNREACHABLE)
        revoked = certificate.serial_number.value in self.revoked
        return RevocationAnswer(
            RevocationStatus.REVOKED if revoked else RevocationStatus.GOOD, self.name, now
        )


@pytest.fixture(scope="session")
def pki():
    return CardPki.create(NOW, PkiKeys.generate())


@dataclass
class BridgeUnderTest:
    """The services with everything that a test turns, and a librarian and two terminals with tokens."""

    services: Services
    store: SqlStore
    engine: object
    clock: Clock
    patrons: Patrons
    revocations: Revocations
    librarian: object = None
    other_librarian: object = None
    counter_token: str = field(default="", repr=False)
    self_check_token: str = field(default="", repr=False)

    def start_link(self):
        return self.services.registration.start(
            self.librarian,
            terminal_id="counter-1",
            cardnumber=CARDNUMBER,
            consent_version=STANDARD_VERSION,
        )

    def request(self, request):
        return self.services.registration.request(self.librarian, request.request_id)

    def rows(self):
        """Return everything in the database, as one text per table."""
        with self.engine.connect() as connection:
            return {
                table: repr(connection.execute(text(f"SELECT * FROM {table}")).all())
                for table in inspect(self.engine).get_table_names()
            }


@pytest.fixture
def bridge(tmp_path, pki):
    engine = open_engine(f"sqlite:///{tmp_path / 'bridge.db'}")
    upgrade(engine)
    clock, patrons, revocations = Clock(), Patrons(), Revocations()
    random_bytes = secrets.token_bytes
    store = SqlStore(engine)
    environment = Environment(
        store=store,
        keys=KeyRing([MasterKey("test", bytes(range(32)))], random_bytes),
        libraries={
            library_id: Library(
                library_id, name, ZoneInfo("Asia/Tokyo"), patrons, koha_origins=frozenset({origin})
            )
            for library_id, name, origin in (
                (LIBRARY, "中央図書館", KOHA_ORIGIN),
                (OTHER_LIBRARY, "北図書館", OTHER_ORIGIN),
            )
        },
        clock=clock,
        random_bytes=random_bytes,
    )
    policy = CardPolicy(
        trust_store=pki.trust_store(),
        certificate=CertificatePolicy(frozenset({"1.2.392.200149.8.5.1.3.30"})),
        revocation=dict.fromkeys((LIBRARY, OTHER_LIBRARY), LibraryRevocation(revocations)),
        challenge_lifetime=timedelta(seconds=120),
    )
    verification = CardVerification(environment, policy)
    tokens = TokenPolicy(TokenShape("98", 14), timedelta(minutes=15), timedelta(minutes=2))
    categories = CategoryService(environment)
    staff = StaffService(environment, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    enrolment = EnrolmentService(environment)
    own_account = OwnAccountService(environment, staff, SecondFactorPolicy.OPTIONAL)
    services = Services(
        registration=RegistrationService(environment, verification, categories),
        consent=ConsentService(environment),
        identification=IdentificationService(environment, verification),
        borrowing=BorrowingService(environment, verification, tokens),
        staff=staff,
        own_account=own_account,
        enrolment=enrolment,
        terminals=TerminalService(environment, tokens.idle_limit),
        categories=categories,
        administration=AdministrationService(
            environment, staff, enrolment, ConsentService(environment), {}, {}
        ),
        bulk_unlinking=BulkUnlinkingService(environment, categories, at_once),
        statistics=StatisticsService(environment, lambda: ()),
        library_names={LIBRARY: "中央図書館", OTHER_LIBRARY: "北図書館"},
        clock=clock,
        desk=DeskService(environment, staff, own_account),
    )
    bridge = BridgeUnderTest(services, store, engine, clock, patrons, revocations)
    add_staff_and_terminals(bridge)
    yield bridge
    store.dispose()


def add_staff_and_terminals(bridge):
    actor = Actor(ActorKind.COMMAND, "test")
    staff = bridge.services.staff
    bridge.librarian = staff.add_librarian(
        actor,
        library_id=LIBRARY,
        login_name="sato",
        display_name="佐藤",
        role=LibrarianRole.LIBRARIAN,
        password="correct horse",
    )
    bridge.other_librarian = staff.add_librarian(
        actor,
        library_id=OTHER_LIBRARY,
        login_name="kita",
        display_name="北野",
        role=LibrarianRole.LIBRARIAN,
        password="correct horse",
    )
    staff.add_terminal(
        actor, library_id=OTHER_LIBRARY, terminal_id="north-1", name="北窓口", kind=TerminalKind.COUNTER
    )
    bridge.counter_token = staff.add_terminal(
        actor, library_id=LIBRARY, terminal_id="counter-1", name="窓口1", kind=TerminalKind.COUNTER
    ).token
    bridge.self_check_token = staff.add_terminal(
        actor,
        library_id=LIBRARY,
        terminal_id="self-check-1",
        name="自動貸出機1",
        kind=TerminalKind.SELF_CHECK,
        sip2_login="sc1",
    ).token


@pytest.fixture
def app(bridge):
    """The application; every answer that it gives in a test must be one that its document foresees."""
    web = WebSettings(host="127.0.0.1", port=0, secret_key="k" * 32, secure_cookies=True)
    scoped_session = bridge.store.scoped_session()
    app = create_app_from(bridge.services, scoped_session, web)
    judge = DocumentJudge()
    app.after_request(judge.compare)
    yield app
    scoped_session.remove()
    assert judge.unforeseen == []


class DocumentJudge:
    """Holds the API's answers against the API's document."""

    def __init__(self):
        self._paths = openapi_document("/api/v1", "en")["paths"]
        self.unforeseen = []

    def compare(self, response):
        endpoint = request.endpoint or ""
        operation = self._operation(endpoint.removeprefix("api."))
        if operation is not None and request.method != "OPTIONS":  # Flask answers that by itself
            try:
                self._validate(operation["responses"], response)
            except (KeyError, jsonschema.ValidationError) as error:
                told = getattr(error, "message", repr(error))
                self.unforeseen.append(f"{endpoint} {response.status_code}: {told}")
        return response

    def _operation(self, operation_id):
        operations = (each for path in self._paths.values() for each in path.values())
        return next((each for each in operations if each["operationId"] == operation_id), None)

    def _validate(self, foreseen, response):
        content = foreseen[str(response.status_code)].get("content")
        if content is None:
            assert response.get_data() == b""
            return
        jsonschema.validate(response.get_json(), content[response.mimetype]["schema"])


class RecordingMiddleware:
    """Keeps every request that reaches the application: a line, the headers, the body."""

    def __init__(self, application):
        self._application = application
        self.requests = []
        self.journal = []

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        headers = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
        line = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        self.requests.append((line, headers, body))
        self.journal.append(line)
        return self._application(environ, start_response)


@dataclass
class Server:
    url: str
    recorder: RecordingMiddleware


@pytest.fixture
def server(app):
    """The application on a port of this machine."""
    recorder = RecordingMiddleware(app)
    with served(recorder) as url:
        yield Server(url, recorder)


class SimulatedReader:
    """A reader on which tests lay cards, one after the other."""

    def __init__(self, *cards):
        self.cards = list(cards)
        self.in_use = False

    def wait_for_card(self, timeout):
        del timeout
        if not self.cards:
            raise NoCard

    def connect(self):
        if self.in_use:
            raise CardInUse
        return SimulatedConnection(self.cards[0])

    def wait_for_removal(self):
        self.cards.pop(0)


@pytest.fixture
def make_card(pki):
    def make(profile=CardProfile.GOOD, *, pin=PIN, faults=None):
        return SimulatedCard.from_material(pki.issue_card(profile), pin, faults)

    return make


@pytest.fixture
def make_reader():
    return SimulatedReader
