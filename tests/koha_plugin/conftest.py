"""A bridge with a counter and a simulated card, and a Koha that consists of small pages of our own."""

from __future__ import annotations

import secrets
import shutil
import threading
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
import requests
from argon2 import PasswordHasher
from flask import Flask, request

from bridge.accounts.own_account import OwnAccountService
from bridge.accounts.second_factor import SecondFactorPolicy
from bridge.accounts.staff import StaffService
from bridge.app import create_app_from
from bridge.counter.identification import IdentificationService
from bridge.counter.koha_desk import DeskService
from bridge.environment import Environment, Library
from bridge.keys.ring import KeyRing, MasterKey
from bridge.links.bulk_unlinking import BulkUnlinkingService, at_once
from bridge.links.consent import STANDARD_VERSION
from bridge.links.consent_service import ConsentService
from bridge.models import Actor, ActorKind, AgentStep, LibrarianRole, TerminalKind
from bridge.patrons.category import CategoryService
from bridge.ports import PatronRecord
from bridge.registration import RegistrationService
from bridge.services import Services
from bridge.store import SqlStore, open_engine, upgrade
from bridge.verification import CardPolicy, CardVerification, LibraryRevocation
from config.settings import WebSettings
from jpki.card import JpkiSession, Pin
from jpki.challenge import ChallengePurpose
from jpki.revocation import RevocationAnswer, RevocationStatus
from jpki.simulator.card import SimulatedCard, SimulatedConnection
from jpki.simulator.pki import CardPki, CardProfile
from jpki.verify import CertificatePolicy
from tests.serving import served

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "koha_plugin"
BUNDLE = PLUGIN / "Koha" / "Plugin" / "Com" / "KohaJpki" / "MyNumberCard"
PAGES = Path(__file__).parent / "pages"
LIBRARY = "chuo"
CARDNUMBER = "2000100000017"
BORROWERNUMBER = 71
LIBRARIAN_NUMBER = 8
PASSWORD = "correct horse battery staple"
PIN = "4937"
EVIL = (
    "<img src=x onerror=\"document.body.dataset.pwned='1'\"><script>document.body.dataset.pwned='1'</script>"
)
SYSTEM = Actor(ActorKind.COMMAND, "tests")


class Patrons:
    """A library system with one patron."""

    record = PatronRecord(
        patron_id=BORROWERNUMBER,
        category_id="PT",
        expiry_date=date(2099, 3, 31),
        restricted=False,
        card_lost=False,
        cardnumber=CARDNUMBER,
        name="甲野花子",
    )

    def find_by_cardnumber(self, cardnumber):
        return self.record if cardnumber == CARDNUMBER else None

    def get(self, patron_id):
        assert patron_id == BORROWERNUMBER
        return self.record


class Good:
    name = "test"

    def check(self, certificate, issuer, now):
        return RevocationAnswer(RevocationStatus.GOOD, self.name, now)


@dataclass
class Bridge:
    services: Services
    pki: CardPki
    app: Flask
    origins: set
    url: str = ""
    librarian: object = None
    counter: object = None
    plugin: object = field(default=None, repr=False)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def note(self, response):
        if request.method == "POST" and request.path.endswith("/cancellation"):
            self.cancelled.set()
        return response

    def card(self):
        return SimulatedCard.from_material(self.pki.issue_card(CardProfile.GOOD), PIN)

    def lay(self, card):
        """Do at the counter's reader what the agent does; return what enters the PIN."""
        order = self.services.registration.pending(self.counter)
        is_link = order.purpose is ChallengePurpose.LINK
        service = self.services.registration if is_link else self.services.identification
        session = JpkiSession(SimulatedConnection(card))
        certificate = session.read_certificate()
        challenge = service.begin(self.counter, certificate)
        service.progress(self.counter, challenge.challenge_id, AgentStep.PIN_REQUESTED, 3)

        def enter_pin():
            session.verify_pin(Pin(PIN))
            signature = session.sign(challenge.message())
            service.complete(self.counter, challenge.challenge_id, certificate, signature)

        return enter_pin

    def link(self, card):
        self.services.registration.start(
            self.librarian, terminal_id="counter-1", cardnumber=CARDNUMBER, consent_version=STANDARD_VERSION
        )
        self.lay(card)()


@pytest.fixture(scope="session")
def pki():
    return CardPki.create(datetime.now(UTC))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A database file with all tables and nothing in them: made once, copied for each test."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def bridge(tmp_path, pki, empty_database):
    engine = open_engine(f"sqlite:///{shutil.copy(empty_database, tmp_path / 'bridge.db')}")
    store = SqlStore(engine)
    origins = set()
    library = Library(
        LIBRARY, "みどり市立中央図書館", ZoneInfo("Asia/Tokyo"), Patrons(), koha_origins=origins
    )
    environment = Environment(
        store,
        KeyRing([MasterKey("k1", bytes(range(32)))], secrets.token_bytes),
        {LIBRARY: library},
        lambda: datetime.now(UTC),
        secrets.token_bytes,
    )
    policy = CardPolicy(
        pki.trust_store(), CertificatePolicy(), {LIBRARY: LibraryRevocation(Good())}, timedelta(minutes=2)
    )
    verification = CardVerification(environment, policy)
    staff = StaffService(environment, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    own_account = OwnAccountService(environment, staff, SecondFactorPolicy.OPTIONAL)
    categories = CategoryService(environment)
    services = Services(
        registration=RegistrationService(environment, verification, categories),
        consent=ConsentService(environment),
        identification=IdentificationService(environment, verification),
        borrowing=None,  # no self-check machine here
        staff=staff,
        enrolment=None,
        terminals=None,
        categories=categories,
        bulk_unlinking=BulkUnlinkingService(environment, categories, at_once),
        administration=None,
        statistics=None,
        library_names={LIBRARY: library.name},
        clock=environment.clock,
        desk=DeskService(environment, staff, own_account),
        own_account=own_account,
    )
    web = WebSettings("127.0.0.1", 0, secret_key="not a secret: a test", secure_cookies=False)
    app = create_app_from(services, store.scoped_session(), web)
    made = Bridge(services, pki, app, origins)
    app.after_request(made.note)
    made.librarian = staff.add_librarian(
        SYSTEM,
        library_id=LIBRARY,
        login_name="hanako",
        display_name=EVIL,
        role=LibrarianRole.LIBRARIAN,
        password=PASSWORD,
    )
    made.counter = staff.add_terminal(
        SYSTEM, library_id=LIBRARY, terminal_id="counter-1", name=f"総合{EVIL}", kind=TerminalKind.COUNTER
    ).terminal
    made.plugin = services.desk.add_plugin(SYSTEM, library_id=LIBRARY, name="Koha")
    services.desk.add_account(SYSTEM, koha_patron_id=LIBRARIAN_NUMBER, librarian=made.librarian)
    with served(app) as made.url:
        yield made
    store.dispose()


@dataclass
class Koha:
    """Koha's server as the script meets it; ``with_plugin`` is False where the script was pasted."""

    bridge: Bridge
    url: str = ""
    language: str = "ja"
    with_plugin: bool = True
    may_read_patrons: bool = True
    is_strict: bool = True
    librarian_number: int = LIBRARIAN_NUMBER
    searched: list = field(default_factory=list)

    @property
    def script(self):
        text = (BUNDLE / "mynumbercard.js").read_text(encoding="utf-8")
        if self.with_plugin:
            return text
        empty = 'const PASTED_BRIDGE = "";'
        assert empty in text
        return text.replace(empty, f'const PASTED_BRIDGE = "{self.bridge.url}";')

    @property
    def tag(self):
        data = f' data-bridge="{self.bridge.url}" data-pass="/api/v1/contrib/jpkibridge/pass"'
        source = "/api/v1/contrib/jpkibridge/static/mynumbercard.js"
        return f'<script src="{source}"{data if self.with_plugin else ""}></script>'


def add_pages(app, koha):
    """What Koha shows."""

    @app.route("/page/<name>")
    def page(name):
        html = (PAGES / f"{name}.html").read_text(encoding="utf-8")
        return html.replace("@LANGUAGE@", koha.language).replace("@SCRIPT@", koha.tag)

    @app.route("/cgi-bin/koha/circ/circulation.pl", methods=["GET", "POST"])
    def circulation():
        koha.searched.append(request.values["findborrower"])
        return "<!DOCTYPE html><html lang='en'><title>found</title><p id='found'>found</p></html>"

    @app.route("/cgi-bin/koha/mainpage.pl")
    def main_page():
        return "<!DOCTYPE html><html lang='en'><title>out</title><p id='out'>out</p></html>"

    @app.route("/favicon.ico")
    def icon():
        return "", 204

    @app.after_request
    def strict(response):
        if koha.is_strict:
            response.headers["Content-Security-Policy"] = (
                "default-src 'none'; script-src 'self'; form-action 'self'; base-uri 'none'; "
                f"connect-src 'self' {koha.bridge.url}"
            )
        return response


def add_api(app, koha):
    """What Koha's REST API answers, its plugin's part included."""

    @app.route("/api/v1/contrib/jpkibridge/static/mynumbercard.js")
    def script():
        return koha.script, 200, {"Content-Type": "text/javascript; charset=utf-8"}

    @app.route("/api/v1/contrib/jpkibridge/pass", methods=["POST"])
    def desk_pass():
        """What the plugin's Perl side does; it is tested by itself."""
        plugin = koha.bridge.plugin
        answer = requests.post(
            f"{koha.bridge.url}/api/v1/desk/passes",
            json={"koha_patron_id": koha.librarian_number},
            auth=(plugin.plugin.plugin_id, plugin.secret),
            timeout=90,
        )
        if answer.status_code == 201:
            return answer.json()
        return {"error": answer.json()["type"].rpartition(":")[2]}, 403

    @app.route("/api/v1/patrons/<int:patron_id>")
    def patron(patron_id):
        assert patron_id == BORROWERNUMBER
        return {"cardnumber": CARDNUMBER} if koha.may_read_patrons else ({"error": "no"}, 403)


@pytest.fixture
def koha(bridge):
    koha = Koha(bridge)
    app = Flask("koha", static_folder=None)
    add_pages(app, koha)
    add_api(app, koha)
    with served(app) as koha.url:
        bridge.origins.add(koha.url)
        yield koha


@pytest.fixture
def places():
    return SimpleNamespace(root=ROOT, plugin=PLUGIN, bundle=BUNDLE, tests=Path(__file__).parent)
