"""The parts put together from settings: real store, real key file, real Koha client."""

from __future__ import annotations

from datetime import UTC, date, datetime
from secrets import token_bytes

import pytest

from bridge.errors import Denied, KohaNotReachable, NoSuchPatron
from bridge.keys.ring import write_new_key_file
from bridge.models import Librarian, LibrarianRole, Terminal, TerminalKind
from bridge.patrons.koha import KohaPatronDirectory
from bridge.rules import DenialReason
from bridge.store import open_engine, upgrade
from bridge.terminals.machines import MachinePolicy, ScreenLanguage
from bridge.tokens import CheckDigit, TokenShape
from bridge.wiring import build_bridge, build_proxy
from jpki.challenge import ChallengePurpose
from koha_client import KohaClient, OAuth2ClientCredentials, Transport
from koha_client.simulator import DemoPatron, KohaRestServer, demo_state
from sip2_adapter.framing import Terminator
from sip2_adapter.resolver import Kiosk

LIBRARIAN = Librarian("l1", "central", "hanako", "花子", LibrarianRole.LIBRARIAN)


@pytest.fixture
def koha(installation):
    server = KohaRestServer(demo_state(lambda: datetime.now(UTC)), client_id="bridge", client_secret="s" * 40)
    server.start()
    installation.koha_url = server.base_url
    installation.write()
    yield server
    server.close()


@pytest.fixture
def bridge(installation, koha):
    write_new_key_file(installation.key_file, token_bytes)
    settings = installation.load()
    engine = open_engine(settings.database.url)
    upgrade(engine)
    engine.dispose()
    bridge = build_bridge(settings)
    yield bridge
    bridge.store.dispose()


@pytest.fixture
def directory(koha):
    transport = Transport(connect_timeout=30, read_timeout=30)
    auth = OAuth2ClientCredentials(koha.base_url, "bridge", "s" * 40, transport)
    yield KohaPatronDirectory(KohaClient(koha.base_url, auth, transport))
    transport.close()


def test_a_patron_is_found_in_koha_through_the_services(bridge):
    registration = bridge.services.registration
    summary = registration.find_patron(LIBRARIAN, DemoPatron.FINE.value)
    assert summary.patron.cardnumber == DemoPatron.FINE.value
    assert summary.patron.name == "図書 太郎"
    assert summary.decision.allowed
    expired = registration.find_patron(LIBRARIAN, DemoPatron.EXPIRED.value)
    assert expired.decision.denial is DenialReason.LIBRARY_CARD_EXPIRED
    lost = registration.find_patron(LIBRARIAN, DemoPatron.CARD_LOST.value)
    assert lost.decision.denial is DenialReason.LIBRARY_CARD_LOST


def test_koha_closed_is_not_reachable(bridge, koha):
    koha.in_maintenance = True
    with pytest.raises(KohaNotReachable):
        bridge.services.registration.find_patron(LIBRARIAN, DemoPatron.FINE.value)


def test_a_card_is_refused_where_no_source_is_configured(bridge, present_pki):
    card = present_pki.issue_card()
    verification = bridge.services.registration._verification
    counter = Terminal("counter-1", "central", "counter-1", TerminalKind.COUNTER)
    with pytest.raises(Denied) as caught:
        verification.issue(ChallengePurpose.LINK, counter, verification.check(card.certificate_der))
    assert (caught.value.reason, caught.value.why) == (DenialReason.REVOCATION_UNKNOWN, "no-source")


def test_names_of_libraries_come_from_the_settings(bridge):
    assert bridge.services.library_names == {"central": "中央図書館"}
    assert bridge.services.clock().tzinfo is UTC


def test_each_library_with_machines_is_served_with_its_own_limits(bridge, installation):
    (site,) = build_proxy(installation.load()).sites.values()
    listener = site.listener
    assert (listener.name, listener.port) == ("central", installation.sip2_port)
    assert listener.terminator is Terminator.CR
    assert (site.limits.answer_timeout, site.limits.patron_idle_timeout) == (20.0, 120)
    assert site.clock().utcoffset().total_seconds() == 9 * 3600


def test_a_machine_is_served_as_its_settings_say_and_as_usual_otherwise(bridge, installation):
    text = installation.path.read_text("utf-8").replace(
        "koha_port = 9\n", "koha_port = 9\nlanguage = 'ja'\nshow_token = false\nexpiry_field = 'PA'\n"
    )
    machine = "[[library.self_check]]\nsip2_login = 'sc9'\ncharacter_set = 'cp932'\nplastic_cards = false\n"
    shape = "token_prefix = '971'\ntoken_check_digit = 'luhn'\n"
    installation.path.write_text(text + machine + shape, "utf-8")
    settings = installation.load()
    machines = build_proxy(settings).sites["central"].resolver._machines
    japanese = ScreenLanguage.JAPANESE
    usual = MachinePolicy(japanese, show_token=False)
    assert machines.of(Kiosk("central", "", "sc1")) == machines.of(Kiosk("central", "", None)) == usual
    assert machines.of(Kiosk("central", "", "sc9")) == MachinePolicy(
        japanese, "cp932", show_token=False, plastic_cards=False
    )
    assert machines.expiry_field == b"PA"
    tokens = build_bridge(settings).services.borrowing._tokens
    assert tokens.shape_at("central", "sc9") == TokenShape("971", 14, CheckDigit.LUHN)
    assert tokens.shape_at("central", "sc1") == TokenShape("98", 14)


def test_the_directory_speaks_the_services_words(directory, koha):
    patron = directory.find_by_cardnumber(DemoPatron.FINE.value)
    assert directory.get(patron.patron_id) == patron
    assert isinstance(patron.expiry_date, date)
    assert patron.name not in repr(patron)
    assert directory.find_by_cardnumber("nobody") is None
    with pytest.raises(NoSuchPatron):
        directory.get(999_999)
    koha.permissions = frozenset()
    with pytest.raises(KohaNotReachable):
        directory.get(patron.patron_id)
