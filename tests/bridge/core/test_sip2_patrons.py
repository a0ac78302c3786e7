"""A library whose host offers SIP2 alone: found, linked, lent to, and upgraded once REST is there.

Against the simulated Koha with both faces, over TCP and HTTP.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from secrets import token_bytes
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from bridge.borrowing import Borrower
from bridge.cli import main
from bridge.demo.koha import SimulatedKoha
from bridge.errors import Denied, KeyProblem, KohaNotReachable, NoSuchPatron
from bridge.keys.ring import KeyRing, MasterKey, write_new_key_file
from bridge.models import AuditTag, Librarian, LibrarianRole, LinkRequestState, UnlinkReason
from bridge.patrons.category import CategoryService, ReconcileAction
from bridge.patrons.koha import KohaPatronDirectory
from bridge.patrons.sip2 import Sip2Account, Sip2PatronDirectory
from bridge.rules import DenialReason
from bridge.store import open_engine, upgrade
from bridge.store.tables import Base
from bridge.wiring import build_bridge
from koha_client import KohaClient, OAuth2ClientCredentials, Transport
from koha_client.simulator import DemoPatron, demo_state

TOKYO = ZoneInfo("Asia/Tokyo")
LOGIN, PASSWORD = "bridge", "bridge-sip2-password"


@pytest.fixture
def state(clock):
    return demo_state(lambda: clock().astimezone(TOKYO))


@pytest.fixture
def koha(state):
    with SimulatedKoha(state, {LOGIN: PASSWORD}) as koha:
        yield koha


def directory_of(koha, clock, *, password=PASSWORD, port=None, expiry_field=None):
    account = Sip2Account("127.0.0.1", port or koha.sip_port, LOGIN, 5, password)
    return Sip2PatronDirectory(account, lambda: clock().astimezone(TOKYO), expiry_field)


@pytest.fixture
def directory(koha, clock):
    return directory_of(koha, clock)


@pytest.fixture
def library(place, directory):
    """The place's library, on SIP2 alone."""
    libraries = place.environment.libraries
    libraries[place.library] = replace(libraries[place.library], patrons=directory)
    return libraries


def link(place, card, patron=DemoPatron.FINE):
    place.start(cardnumber=patron.value)
    challenge = place.registration.begin(place.counter, card.certificate_der)
    return place.complete_link(place.counter, card, challenge)


# The directory


def test_a_patron_is_found_by_exactly_the_card_number(directory):
    found = directory.find_by_cardnumber(DemoPatron.FINE.value)
    assert (found.patron_id, found.expiry_date, found.category_id) == (None, None, "PT")
    assert found.name == "太郎 図書"
    assert (found.expired, found.restricted, found.card_lost) == (False, False, False)
    assert DemoPatron.FINE.value not in repr(found)


@pytest.mark.parametrize("identifier", ["nobody", "tosho", "", "1|AA2", "２０２６"])
def test_nobody_else_is_found(directory, identifier):
    assert directory.find_by_cardnumber(identifier) is None


@pytest.mark.parametrize(
    ("patron", "condition"),
    [
        (DemoPatron.EXPIRED, "expired"),
        (DemoPatron.RESTRICTED, "restricted"),
        (DemoPatron.CARD_LOST, "card_lost"),
        (DemoPatron.EXPIRES_TODAY, None),
    ],
)
def test_the_status_flags_tell_what_the_rules_need(directory, patron, condition):
    found = directory.find_by_cardnumber(patron.value)
    conditions = {name for name in ("expired", "restricted", "card_lost") if getattr(found, name)}
    assert conditions == ({condition} if condition else set())


def test_a_date_of_expiry_that_should_be_there_and_is_not_counts_as_over(koha, clock):
    directory = directory_of(koha, clock, expiry_field=b"PA")
    assert directory.find_by_cardnumber(DemoPatron.FINE.value).expired


def test_a_refused_log_in_or_a_silent_host_is_koha_not_reachable(koha, clock, caplog):
    caplog.set_level("DEBUG")
    for directory in (
        directory_of(koha, clock, password="wrong"),
        directory_of(koha, clock, port=9),
    ):
        with pytest.raises(KohaNotReachable):
            directory.find_by_cardnumber(DemoPatron.FINE.value)
    assert DemoPatron.FINE.value not in caplog.text
    assert PASSWORD not in caplog.text
    assert PASSWORD not in repr(directory_of(koha, clock)._account)


def test_an_id_cannot_be_asked_for(directory):
    with pytest.raises(KohaNotReachable):
        directory.get(51)


def test_several_threads_ask_at_the_same_time(directory):
    wanted = [DemoPatron.FINE, DemoPatron.SECOND, DemoPatron.CHILD, DemoPatron.RESTRICTED] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda patron: directory.find_by_cardnumber(patron.value), wanted))
    assert [record.cardnumber for record in found] == [patron.value for patron in wanted]


# Linking and lending


def test_a_card_is_linked_and_opens_a_session(place, library):
    card = place.card()
    made = link(place, card)
    assert (made.patron_id, made.patron_reference is None) == (None, False)
    summary = place.registration.find_patron(place.librarian, DemoPatron.FINE.value)
    assert [each.link_id for each in summary.open_links] == [made.link_id]
    found = place.resolve(place.borrow(card))
    assert isinstance(found, Borrower)
    assert found.cardnumber == DemoPatron.FINE.value


def test_the_card_number_is_nowhere_in_clear(place, library):
    link(place, place.card())
    session = place.store.scoped_session()
    rows = [repr(row) for table in Base.metadata.sorted_tables for row in session.execute(select(table))]
    session.remove()
    assert len(rows) > 5
    assert not [row for row in rows if DemoPatron.FINE.value in row]


def test_the_end_of_a_link_wipes_the_card_number(place, library):
    made = link(place, place.card())
    request_id = place.audit(AuditTag.LINK_REQUESTED)[-1].subject
    assert place.registration.request(place.librarian, request_id).patron_reference is None
    ended = place.registration.unlink(place.librarian, made.link_id, reason=UnlinkReason.PATRON_REQUEST)
    assert (ended.patron_id, ended.patron_reference) == (None, None)


def test_a_request_that_is_cancelled_forgets_the_card_number(place, library):
    request = place.start(cardnumber=DemoPatron.FINE.value)
    assert request.patron_reference is not None
    assert request.patron_reference not in repr(request)
    place.registration.cancel(place.librarian, request.request_id)
    kept = place.registration.request(place.librarian, request.request_id)
    assert (kept.state, kept.patron_reference) == (LinkRequestState.CANCELLED, None)


def test_an_expired_library_card_is_refused_by_kohas_word_alone(place, library, state):
    card = place.card()
    link(place, card)
    patron = state.find_patron_by_identifier(DemoPatron.FINE.value)
    yesterday = place.clock().astimezone(TOKYO).date() - timedelta(days=1)
    state.put_patron(replace(patron, expiry_date=yesterday))
    with pytest.raises(Denied) as caught:
        place.borrow(card)
    assert caught.value.reason is DenialReason.LIBRARY_CARD_EXPIRED


def test_a_new_library_card_breaks_a_link_over_sip2(place, library, state):
    card = place.card()
    link(place, card)
    patron = state.find_patron_by_identifier(DemoPatron.FINE.value)
    state.put_patron(replace(patron, cardnumber="20260000000999"))
    with pytest.raises(NoSuchPatron):
        place.borrow(card)


# Upgrading


@pytest.fixture
def rest(koha):
    transport = Transport(connect_timeout=30, read_timeout=30)
    auth = OAuth2ClientCredentials(koha.rest_url, koha.client_id, koha.client_secret, transport)
    yield KohaPatronDirectory(KohaClient(koha.rest_url, auth, transport))
    transport.close()


def connect(place, library, rest):
    library[place.library] = replace(
        library[place.library], patrons=rest, categories=rest, linked_category={"PT": "PT12"}
    )


def test_a_link_is_upgraded_at_its_next_use_and_survives_a_new_library_card(place, library, rest, state):
    card = place.card()
    made = link(place, card)
    connect(place, library, rest)
    place.borrow(card)
    upgraded = place.registration.link(place.librarian, made.link_id)
    patron = state.find_patron_by_identifier(DemoPatron.FINE.value)
    assert (upgraded.patron_id, upgraded.patron_reference) == (patron.patron_id, None)
    assert [row.subject for row in place.audit(AuditTag.LINK_UPGRADED)] == [made.link_id]
    state.put_patron(replace(patron, cardnumber="20260000000999"))
    assert place.resolve(place.borrow(card)).cardnumber == "20260000000999"


def test_a_reconciliation_upgrades_every_link_and_moves_its_patron(place, library, rest, state):
    made = link(place, place.card())
    place.clock.advance(seconds=1)
    lost = link(place, place.card(), DemoPatron.SECOND)
    connect(place, library, rest)
    second = state.find_patron_by_identifier(DemoPatron.SECOND.value)
    state.put_patron(replace(second, cardnumber="20260000000999"))
    service = CategoryService(place.environment)
    foreseen = list(service.reconcile(place.library, place.command, dry_run=True))
    assert [each.action for each in foreseen] == [ReconcileAction.UPGRADED, ReconcileAction.LEFT_ALONE]
    assert place.registration.link(place.librarian, made.link_id).patron_id is None
    actions = [each.action for each in service.reconcile(place.library, place.command, dry_run=False)]
    assert actions == [ReconcileAction.UPGRADED, ReconcileAction.LEFT_ALONE, ReconcileAction.MOVED]
    assert state.find_patron_by_identifier(DemoPatron.FINE.value).category_id == "PT12"
    assert place.registration.link(place.librarian, lost.link_id).patron_reference is not None


# The reference


def test_a_reference_says_nothing_without_the_key_and_nothing_of_another_library(key_ring):
    other = KeyRing([MasterKey("k1", bytes(32))], bytes)
    (reference,) = key_ring.patron_references("central", "4711")
    assert "4711" not in reference
    assert key_ring.patron_references("central", "4711") == (reference,)
    assert key_ring.patron_references("harbour", "4711") != (reference,)
    assert key_ring.cardnumber_of("central", reference) == "4711"
    for ring, library_id in ((key_ring, "harbour"), (other, "central")):
        with pytest.raises(KeyProblem):
            ring.cardnumber_of(library_id, reference)
    with pytest.raises(KeyProblem, match="k9 is missing"):
        key_ring.cardnumber_of("central", "k9:AAAA")


def test_a_reference_made_under_an_older_key_is_still_found(key_ring):
    newer = KeyRing([MasterKey("k2", bytes(32)), MasterKey("k1", bytes(range(32)))], bytes)
    (reference,) = key_ring.patron_references("central", "4711")
    assert reference in newer.patron_references("central", "4711")
    assert newer.cardnumber_of("central", reference) == "4711"


# From the settings


@pytest.fixture
def over_sip2(installation, koha):
    """An installation without ``[library.koha]``."""
    (installation.directory / "directory_password").write_text(PASSWORD)
    before, rest = installation.path.read_text("utf-8").split("[library.koha]")
    sip2 = rest.split("[library.sip2]")[1].replace("koha_port = 9", f"koha_port = {koha.sip_port}")
    account = f'directory_login = "{LOGIN}"\ndirectory_password_file = "directory_password"\n'
    installation.path.write_text(f"{before}[library.sip2]{sip2.rstrip()}\n{account}", "utf-8")
    write_new_key_file(installation.key_file, token_bytes)
    engine = open_engine(installation.load().database.url)
    upgrade(engine)
    engine.dispose()
    return installation


def test_the_settings_of_a_library_on_sip2_alone_find_its_patrons(over_sip2):
    bridge = build_bridge(over_sip2.load())
    librarian = Librarian("l1", "central", "hanako", "花子", LibrarianRole.LIBRARIAN)
    summary = bridge.services.registration.find_patron(librarian, DemoPatron.FINE.value)
    assert (summary.patron.name, summary.decision.allowed) == ("太郎 図書", True)
    bridge.store.dispose()


def test_checking_the_settings_says_what_sip2_alone_cannot_do(over_sip2):
    result = CliRunner().invoke(main, ["--config", str(over_sip2.path), "check-config"])
    assert result.exit_code == 0
    limitations = [line for line in result.stderr.splitlines() if line.startswith("not possible: ")]
    assert len(limitations) == 3
    assert all("library central: without [library.koha]" in line for line in limitations)


def test_there_is_nothing_to_reconcile_on_sip2_alone(over_sip2):
    command = ["--config", str(over_sip2.path), "categories", "reconcile"]
    assert CliRunner().invoke(main, command).exit_code == 0
    named = CliRunner().invoke(main, [*command, "--library", "central"])
    assert (named.exit_code, "category-refused" in named.stderr) == (1, True)
