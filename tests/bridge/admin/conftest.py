"""A library with a counter, its staff and its patrons, behind the real application and store."""

from __future__ import annotations

import re
import secrets
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from argon2 import PasswordHasher
from playwright.sync_api import expect
from sqlalchemy.orm import Session

from bridge.accounts.own_account import OwnAccountService
from bridge.accounts.second_factor import SecondFactorPolicy
from bridge.accounts.staff import StaffService
from bridge.administration import AdministrationService
from bridge.app import create_app_from
from bridge.borrowing import BorrowingService
from bridge.counter.identification import IdentificationService
from bridge.counter.koha_desk import DeskService
from bridge.environment import Environment, Library
from bridge.errors import NoSuchPatron
from bridge.keys.ring import KeyRing, MasterKey
from bridge.library_policies import LibraryPolicies
from bridge.links.bulk_unlinking import BulkUnlinkingService, at_once
from bridge.links.consent import STANDARD_VERSION
from bridge.links.consent_service import ConsentService
from bridge.models import REGION, Actor, ActorKind, AgentStep, AuditTag, LibrarianRole, TerminalKind
from bridge.patrons.category import CategoryService
from bridge.ports import CategoryDetails, PatronRecord
from bridge.registration import RegistrationService
from bridge.rules import LinkPolicy, RevocationRule
from bridge.services import Services
from bridge.statistics import StatisticsService
from bridge.store import AuditEventRow, CardLinkRow, SqlStore, open_engine, upgrade
from bridge.terminals.enrolment import EnrolmentService
from bridge.terminals.service import TerminalService
from bridge.tokens import TokenPolicy, TokenShape
from bridge.verification import CardPolicy, CardVerification, LibraryRevocation
from config.settings import WebSettings
from jpki.card import JpkiSession, Pin
from jpki.errors import InvalidPinError
from jpki.revocation import RevocationAnswer, RevocationStatus, UnknownReason
from jpki.simulator.card import SimulatedCard, SimulatedConnection
from jpki.simulator.pki import CardPki, CardProfile
from jpki.verify import CertificatePolicy
from tests.serving import served

NOW = datetime(2026, 11, 20, 1, 30, tzinfo=UTC)
LINKED_CATEGORY = {"一般": "一般12"}
PASSWORD = "correct horse battery staple"
SYSTEM = Actor(ActorKind.COMMAND, "tests")


TOKENS = TokenPolicy(TokenShape("98", 14), timedelta(minutes=15), timedelta(minutes=2))
POLICIES = LibraryPolicies(("ocsp",), RevocationRule(), LinkPolicy(), TOKENS, SecondFactorPolicy.OPTIONAL)


@dataclass
class SetClock:
    """A clock that a test moves."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Patrons:
    """A library system that knows some patrons by heart."""

    records: dict[str, PatronRecord] = field(default_factory=dict)

    def find_by_cardnumber(self, cardnumber):
        return self.records.get(cardnumber)

    def get(self, patron_id):
        for record in self.records.values():
            if record.patron_id == patron_id:
                return record
        raise NoSuchPatron


@dataclass
class Revocations:
    """A revocation source that says what a test wants."""

    status: RevocationStatus = RevocationStatus.GOOD
    name: str = "test"
    why: UnknownReason | None = None

    def check(self, certificate, issuer, now):
        return RevocationAnswer(self.status, self.name, now, why=self.why)


class Reader:
    """Does at one counter's reader what the agent does, without the HTTP in between."""

    def __init__(self, registration, terminal, card):
        self.registration = registration
        self.terminal = terminal
        self.connection = SimulatedConnection(card)

    def lay_card(self):
        self.session = JpkiSession(self.connection)
        self.certificate = self.session.read_certificate()
        self.challenge = self.registration.begin(self.terminal, self.certificate)
        self.tell(AgentStep.PIN_REQUESTED, self.session.attempts_remaining())

    def enter_pin(self, pin):
        try:
            self.session.verify_pin(Pin(pin))
        except InvalidPinError as error:
            return self.tell(AgentStep.PIN_WRONG, error.attempts_remaining)
        signature = self.session.sign(self.challenge.message())
        return self.registration.complete(
            self.terminal, self.challenge.challenge_id, self.certificate, signature
        )

    def tell(self, step, attempts_remaining=None):
        self.registration.progress(self.terminal, self.challenge.challenge_id, step, attempts_remaining)


@dataclass
class Categories:
    """Categories of a library system that a test may make fail."""

    patrons: object
    known: dict[str, CategoryDetails] = field(default_factory=dict)
    error: Exception | None = None

    def describe(self, category_ids):
        return {name: self.known[name] for name in category_ids if name in self.known}

    def move(self, patron, category_id):
        if self.error is not None:
            raise self.error
        records = self.patrons.records
        records[patron.cardnumber] = replace(records[patron.cardnumber], category_id=category_id)


@dataclass
class World:
    """Everything a test reaches for."""

    services: Services
    store: SqlStore
    clock: SetClock
    pki: CardPki
    revocations: Revocations
    hanako: object
    north_librarian: object
    counter: object
    app: object
    log_ins_per_address: int
    system: Actor = SYSTEM

    def card(self, profile=CardProfile.GOOD):
        return SimulatedCard.from_material(self.pki.issue_card(profile))

    @contextmanager
    def writing(self):
        """Give a session that changes the database behind the program's back."""
        engine = open_engine(str(self.store.scoped_session()().get_bind().url))
        with Session(engine) as session, session.begin():
            yield session
        engine.dispose()

    def reader(self, card, terminal=None):
        return Reader(self.services.registration, terminal or self.counter, card)

    def identifying_reader(self, card):
        return Reader(self.services.identification, self.counter, card)

    def linked_card(self, cardnumber="2000100000017"):
        """Return a card that is linked to a patron."""
        card = self.card()
        self.link(cardnumber=cardnumber, terminal_id="counter-2", card=card)
        return card

    def link(self, librarian=None, cardnumber="2000100000017", terminal_id="counter-1", card=None):
        """Link a card, a new one where none is given, start to end."""
        librarian = librarian or self.hanako
        request = self.services.registration.start(
            librarian, terminal_id=terminal_id, cardnumber=cardnumber, consent_version=STANDARD_VERSION
        )
        terminals = self.services.staff.terminals(librarian.library_id)
        terminal = next(terminal for terminal in terminals if terminal.terminal_id == request.terminal_id)
        reader = self.reader(card or self.card(), terminal)
        reader.lay_card()
        link = reader.enter_pin("1234")
        reader.connection.close()
        return link


def patrons_of_the_demo():
    def patron(number, name, **changes):
        standing = {
            "category_id": "一般",
            "expiry_date": date(2027, 3, 31),
            "restricted": False,
            "card_lost": False,
        }
        return PatronRecord(
            patron_id=number, cardnumber=f"20001000000{number:02}", name=name, **{**standing, **changes}
        )

    return Patrons(
        {
            record.cardnumber: record
            for record in (
                patron(17, "図書 友子"),
                patron(25, "本田 太郎", expiry_date=date(2026, 3, 31)),
                patron(33, "返却 遅子", restricted=True),
                patron(41, "紛失 次郎", card_lost=True),
            )
        }
    )


@pytest.fixture(scope="session")
def pki():
    return CardPki.create(NOW)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A database file with all tables and nothing in them: made once, copied for each test."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def world(tmp_path, pki, empty_database):
    path = shutil.copy(empty_database, tmp_path / "bridge.db")
    engine = open_engine(f"sqlite:///{path}")
    store = SqlStore(engine)
    clock = SetClock()
    revocations = Revocations()
    tokyo = ZoneInfo("Asia/Tokyo")
    libraries = {
        "chuo": Library("chuo", "みどり市立中央図書館", tokyo, patrons_of_the_demo()),
        "kita": Library("kita", "きた町図書館", tokyo, patrons_of_the_demo()),
    }
    keys = KeyRing([MasterKey("k1", bytes(range(32)))], secrets.token_bytes)
    environment = Environment(store, keys, libraries, clock, secrets.token_bytes)
    policy = CardPolicy(
        pki.trust_store(),
        CertificatePolicy(),
        dict.fromkeys(libraries, LibraryRevocation(revocations)),
        timedelta(minutes=2),
    )
    verification = CardVerification(environment, policy)
    # The cheapest parameters: the hashing is argon2's own business and tested there.
    staff = StaffService(environment, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    categories = CategoryService(environment)
    enrolment = EnrolmentService(environment)
    own_account = OwnAccountService(environment, staff, SecondFactorPolicy.OPTIONAL)
    services = Services(
        registration=RegistrationService(environment, verification, categories),
        consent=ConsentService(environment),
        identification=IdentificationService(environment, verification),
        borrowing=BorrowingService(
            environment,
            verification,
            TokenPolicy(TokenShape("98", 14), timedelta(minutes=15), timedelta(minutes=2)),
        ),
        staff=staff,
        own_account=own_account,
        enrolment=enrolment,
        terminals=TerminalService(environment, timedelta(minutes=2)),
        categories=categories,
        bulk_unlinking=BulkUnlinkingService(environment, categories, at_once),
        administration=AdministrationService(
            environment,
            staff,
            enrolment,
            ConsentService(environment),
            {library_id: {"time_zone": "Asia/Tokyo"} for library_id in libraries},
            dict.fromkeys(libraries, POLICIES),
        ),
        statistics=StatisticsService(environment, lambda: ()),
        library_names={library.library_id: library.name for library in libraries.values()},
        clock=clock,
        desk=DeskService(environment, staff, own_account),
    )

    def librarian(library_id, login_name, display_name, role=LibrarianRole.LIBRARIAN):
        return staff.add_librarian(
            SYSTEM,
            library_id=library_id,
            login_name=login_name,
            display_name=display_name,
            role=role,
            password=PASSWORD,
        )

    def terminal(library_id, terminal_id, name, kind=TerminalKind.COUNTER, sip2_login=None):
        issued = staff.add_terminal(
            SYSTEM,
            library_id=library_id,
            terminal_id=terminal_id,
            name=name,
            kind=kind,
            sip2_login=sip2_login,
        )
        return issued.terminal

    hanako = librarian("chuo", "hanako", "山田 花子")
    librarian("chuo", "kansa", "検見川 監", LibrarianRole.AUDITOR)
    librarian("chuo", "kanri", "管理 正", LibrarianRole.ADMINISTRATOR)
    librarian(REGION, "kouiki", "広域 司", LibrarianRole.REGION_ADMINISTRATOR)
    north_librarian = librarian("kita", "kita", "北野 司")
    counter = terminal("chuo", "counter-1", "1階総合カウンター")
    terminal("chuo", "counter-2", "児童カウンター")
    terminal("chuo", "jidou-1", "自動貸出機 1号機", TerminalKind.SELF_CHECK, "sc-chuo-1")
    terminal("kita", "counter-1", "きたカウンター")
    web = WebSettings("127.0.0.1", 0, secret_key="not a secret: a test", secure_cookies=False)
    app = create_app_from(services, store.scoped_session(), web)
    yield World(
        services,
        store,
        clock,
        pki,
        revocations,
        hanako,
        north_librarian,
        counter,
        app,
        web.log_ins_per_address,
    )
    store.dispose()


@pytest.fixture
def categories(world):
    libraries = world.services.registration._environment.libraries
    categories = Categories(
        libraries["chuo"].patrons,
        {"一般": CategoryDetails("一般", "一般"), "一般12": CategoryDetails("一般12", "一般（連携）")},
    )
    libraries["chuo"] = replace(libraries["chuo"], categories=categories, linked_category=LINKED_CATEGORY)
    return categories


class Browser:
    """A Flask test client that fills in forms: it sends the CSRF token that the page carries."""

    def __init__(self, app, language="ja"):
        self.client = app.test_client()
        self.language = language

    def get(self, path, **values):
        return self.client.get(path, headers={"Accept-Language": self.language}, **values)

    def post(self, path, page, data=None, *, follow=False):
        """Send a form that stands on *page*."""
        html = self.get(page).get_data(as_text=True)
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', html).group(1)
        headers = {"Accept-Language": self.language}
        form = {"csrf_token": token, **(data or {})}
        return self.client.post(path, data=form, headers=headers, follow_redirects=follow)

    def choose_counter(self, terminal_id="counter-1"):
        """Say at which counter this browser stands."""
        return self.post("/admin/counter/terminal", "/admin/counter/", {"terminal_id": terminal_id})

    def log_in(self, login_name="hanako", password=PASSWORD, *, aim=""):
        path = f"/admin/login{aim}"
        return self.post(path, path, {"login_name": login_name, "password": password})


@pytest.fixture
def browser_on():
    """Open a browser on another application than the world's."""
    return Browser


@pytest.fixture
def stranger(world):
    return Browser(world.app)


@pytest.fixture
def desk(world):
    """Hanako's browser at the first counter, logged in, in Japanese."""
    browser = Browser(world.app)
    assert browser.log_in().status_code == 303
    assert browser.choose_counter().status_code == 303
    return browser


@pytest.fixture
def browser_of(world):
    def log_in(login_name, language="ja"):
        browser = Browser(world.app, language)
        assert browser.log_in(login_name).status_code == 303
        return browser

    return log_in


@pytest.fixture
def links_of(world):
    """Put links with numbers from a first to before a last one into the database, of patrons so numbered."""

    def add(first, last, **columns):
        with world.writing() as session:
            session.add_all(
                CardLinkRow(
                    link_id=f"{number:032x}",
                    library_id="chuo",
                    patron_id=number,
                    key_id="k1",
                    digest=f"{number:064x}",
                    **{
                        "kind": "serial_number",
                        "state": "active",
                        "not_after": world.clock.now + timedelta(days=900),
                        "linked_at": world.clock.now,
                        "linked_by": world.hanako.librarian_id,
                        **columns,
                    },
                )
                for number in range(first, last)
            )

    return add


@pytest.fixture
def busy_month(world, links_of):
    """What a library has in its audit log after a month with many patrons."""
    links_of(1001, 1064, not_after=world.clock.now + timedelta(days=5))
    links_of(1064, 1090, not_after=world.clock.now + timedelta(days=30))
    links_of(1090, 1093, not_after=world.clock.now + timedelta(days=70))
    told = [
        *[(AuditTag.LINK_CREATED, "counter-1", {})] * 37,
        *[(AuditTag.SESSION_OPENED, "jidou-1", {})] * 214,
        *[(AuditTag.PATRON_IDENTIFIED, "counter-1", {})] * 58,
        *[(AuditTag.PATRON_IDENTIFIED, "counter-2", {})] * 3,
        *[(AuditTag.SESSION_DENIED, "jidou-1", {"problem": "not-linked"})] * 21,
        *[(AuditTag.LINK_REFUSED, "counter-1", {"problem": "pin-blocked"})] * 6,
        *[(AuditTag.LINK_REFUSED, "counter-1", {"problem": "certificate-expired"})] * 3,
    ]
    with world.writing() as session:
        session.add_all(
            AuditEventRow(
                at=world.clock.now - timedelta(hours=number % 9),
                library_id="chuo",
                tag=tag,
                actor_kind=ActorKind.TERMINAL,
                actor_id=terminal_id,
                subject="-",
                terminal_id=terminal_id,
                details=details,
                sequence=10_000 + number,
                hash=b"",
            )
            for number, (tag, terminal_id, details) in enumerate(told)
        )


# What a person does in Chromium

WINDOW = {"width": 1280, "height": 860}
TIME_LIMIT = 60_000  # milliseconds
expect.set_options(timeout=TIME_LIMIT)


@pytest.fixture
def address(world):
    with served(world.app) as address:
        yield address


@pytest.fixture(params=["ja", "en"])
def language(request):
    return request.param


@pytest.fixture
def page(chromium, address, language):
    """A page that must not load from elsewhere, and must not break its own security policy."""
    context = chromium.new_context(base_url=address, locale=language, viewport=WINDOW)
    context.set_default_timeout(TIME_LIMIT)
    page = context.new_page()
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert [url for url in requests if not url.startswith(address)] == []
    assert complaints == []


class Staff:
    """A librarian's hands at the desk: no mouse. ``actions`` counts keys, and a scan as one."""

    def __init__(self, page):
        self.page = page
        self.actions = 0

    def log_in(self, login_name="hanako"):
        self.page.goto("/admin/")
        expect(self.page.locator("#login_name")).to_be_focused()
        self.page.keyboard.type(login_name)
        self.page.keyboard.press("Tab")
        self.page.keyboard.type(PASSWORD)
        self.page.keyboard.press("Enter")

    def come_to_the_desk(self):
        """Log in, choose the first counter."""
        self.log_in()
        expect(self.page.locator("[data-key='1']")).to_be_focused()
        self.page.wait_for_load_state()  # the keys work when the script is there
        self.page.keyboard.press("1")
        self.await_the_next()

    def await_the_next(self):
        expect(self.page.locator("#cardnumber")).to_be_focused()
        expect(self.page.locator("#cardnumber")).to_have_value("")

    def scan(self, cardnumber="2000100000017"):
        """Do what a barcode scanner does."""
        self.actions += 1
        self.page.keyboard.type(cardnumber)
        self.page.keyboard.press("Enter")
        expect(self.page.locator("h1")).to_be_focused()

    def press(self, *keys):
        for key in keys:
            self.actions += 1
            self.page.keyboard.press(key)


@pytest.fixture
def staff(page):
    return Staff(page)


@pytest.fixture(scope="session")
def hands_at():
    """Put a librarian's hands at another page than the fixture's."""
    return Staff
