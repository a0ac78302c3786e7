"""What Koha says of a patron, and what the bridge makes of it: through the services, over HTTP."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from bridge.errors import Denied, NoSuchPatron
from bridge.patrons.koha import KohaPatronDirectory
from bridge.rules import DenialReason
from koha_client import KohaClient, OAuth2ClientCredentials, Transport
from koha_client.simulator import DemoPatron, KohaRestServer, demo_state

TOKYO = ZoneInfo("Asia/Tokyo")
CLIENT = ("bridge", "s" * 40)
LAST_DAY = datetime(2026, 11, 2, tzinfo=TOKYO).date()


@pytest.fixture
def state(clock):
    return demo_state(lambda: clock().astimezone(TOKYO))


@pytest.fixture
def card(place, state):
    """A card that is linked to the demo's patron, in a library on the simulated Koha."""
    transport = Transport(connect_timeout=30, read_timeout=30)
    with KohaRestServer(state, client_id=CLIENT[0], client_secret=CLIENT[1]) as server:
        auth = OAuth2ClientCredentials(server.base_url, *CLIENT, transport)
        patrons = KohaPatronDirectory(KohaClient(server.base_url, auth, transport))
        libraries = place.environment.libraries
        libraries[place.library] = replace(libraries[place.library], patrons=patrons)
        card = place.card()
        place.start(cardnumber=DemoPatron.FINE.value)
        challenge = place.registration.begin(place.counter, card.certificate_der)
        place.complete_link(place.counter, card, challenge)
        yield card
        transport.close()


def change(state, **changes):
    patron = state.find_patron_by_identifier(DemoPatron.FINE.value)
    state.put_patron(replace(patron, **changes))


def denial(place, card):
    with pytest.raises(Denied) as caught:
        place.borrow(card)
    return caught.value.reason


def test_the_day_of_expiry_is_valid_to_its_last_minute_in_the_librarys_time_zone(place, card, state):
    change(state, expiry_date=LAST_DAY)
    place.clock.now = datetime(2026, 11, 2, 14, 59, tzinfo=UTC)  # 23:59 in Japan
    place.borrow(card)
    place.clock.advance(minutes=1)
    assert denial(place, card) is DenialReason.LIBRARY_CARD_EXPIRED


def test_a_patron_without_a_date_of_expiry_never_expires(place, card, state):
    change(state, expiry_date=None)
    place.borrow(card)


def test_a_restricted_patron_may_come_in_and_return_books(place, card, state):
    change(state, restriction="Overdue since spring")
    place.borrow(card)  # Koha refuses the loans


def test_a_patron_without_a_valid_address_is_kohas_business(place, card, state):
    change(state, gone_no_address=True)
    place.borrow(card)


def test_a_lost_library_card_is_refused(place, card, state):
    change(state, card_lost=True)
    assert denial(place, card) is DenialReason.LIBRARY_CARD_LOST


def test_a_patron_deleted_or_merged_away_in_koha_is_refused(place, card, state):
    state.remove_patron(state.find_patron_by_identifier(DemoPatron.FINE.value).patron_id)
    with pytest.raises(NoSuchPatron):
        place.borrow(card)


def test_the_link_follows_the_patron_to_a_new_library_card(place, card, state):
    change(state, cardnumber="20260000000999")
    assert place.resolve(place.borrow(card)).cardnumber == "20260000000999"


def test_the_old_number_given_to_somebody_else_does_not_take_the_link_along(place, card, state):
    first = state.find_patron_by_identifier(DemoPatron.FINE.value)
    second = state.find_patron_by_identifier(DemoPatron.SECOND.value)
    state.put_patron(replace(first, cardnumber="20260000000999"))
    state.put_patron(replace(second, cardnumber=DemoPatron.FINE.value))
    assert place.resolve(place.borrow(card)).cardnumber == "20260000000999"


def test_a_patron_who_expires_between_start_and_signature_is_not_linked(place, card, state):
    other = place.card()
    place.start(cardnumber=DemoPatron.FINE.value)
    challenge = place.registration.begin(place.counter, other.certificate_der)
    change(state, expiry_date=LAST_DAY - timedelta(days=1))
    with pytest.raises(Denied) as caught:
        place.complete_link(place.counter, other, challenge)
    assert caught.value.reason is DenialReason.LIBRARY_CARD_EXPIRED
