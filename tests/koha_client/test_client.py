import dataclasses
from datetime import date, timedelta

import pytest
import requests

from koha_client import (
    BasicCredentials,
    HealthState,
    KohaClient,
    KohaForbidden,
    KohaUnauthorized,
    OAuth2ClientCredentials,
    PatronNotFound,
    SeveralPatrons,
    Transport,
)
from koha_client.simulator import EDIT_BORROWERS, DemoPatron, KohaRestServer


def test_a_patron_is_found_by_the_exact_card_number(client):
    patron = client.find_patron_by_cardnumber(DemoPatron.FINE.value)

    assert patron.cardnumber == DemoPatron.FINE.value
    assert (patron.surname, patron.firstname) == ("図書", "太郎")
    assert patron.expiry_date == date(2027, 11, 20)
    assert not patron.restricted
    assert not patron.patron_card_lost


def test_a_part_of_a_card_number_finds_nobody(client):
    assert client.find_patron_by_cardnumber("2026") is None
    assert client.find_patron_by_cardnumber("") is None


def test_a_number_that_only_koha_takes_for_the_same_finds_nobody(client, state):
    full_width = "".join(chr(ord(digit) + 0xFEE0) for digit in DemoPatron.FINE.value)

    assert client.find_patron_by_cardnumber(full_width) is None


@pytest.mark.parametrize("cardnumber", ['{"-like": "%"}', '"', "\\", "%", "a&_per_page=99", "é\n"])
def test_a_card_number_is_never_taken_for_a_query(client, cardnumber):
    assert client.find_patron_by_cardnumber(cardnumber) is None


def test_two_patrons_under_one_number_are_refused(client, state):
    fine = state.find_patron_by_identifier(DemoPatron.FINE.value)
    state.put_patron(dataclasses.replace(fine, patron_id=900))

    with pytest.raises(SeveralPatrons):
        client.find_patron_by_cardnumber(DemoPatron.FINE.value)


def test_restriction_lost_card_and_expiry_are_read(client, clock):
    restricted = client.find_patron_by_cardnumber(DemoPatron.RESTRICTED.value)
    lost = client.find_patron_by_cardnumber(DemoPatron.CARD_LOST.value)
    expired = client.find_patron_by_cardnumber(DemoPatron.EXPIRED.value)
    last_day = client.find_patron_by_cardnumber(DemoPatron.EXPIRES_TODAY.value)

    today = clock().date()
    assert restricted.restricted
    assert lost.patron_card_lost
    assert expired.is_expired(today)
    assert not last_day.is_expired(today)
    assert last_day.is_expired(today + timedelta(days=1))


def test_a_patron_is_read_by_its_id(client):
    found = client.find_patron_by_cardnumber(DemoPatron.CHILD.value)

    assert client.get_patron(found.patron_id) == found


def test_an_unknown_patron_id_is_not_found(client):
    with pytest.raises(PatronNotFound):
        client.get_patron(999999)


def test_one_token_serves_many_requests(client, koha):
    for _ in range(3):
        client.find_patron_by_cardnumber(DemoPatron.FINE.value)

    assert koha.tokens_granted == 1


def test_a_token_that_koha_has_forgotten_is_renewed_once(client, koha):
    client.find_patron_by_cardnumber(DemoPatron.FINE.value)
    koha.forget_tokens()

    assert client.find_patron_by_cardnumber(DemoPatron.FINE.value)
    assert koha.tokens_granted == 2


def test_a_wrong_secret_is_told(koha, transport, client_id):
    auth = OAuth2ClientCredentials(koha.base_url, client_id, "wrong", transport)
    client = KohaClient(koha.base_url, auth, transport)

    with pytest.raises(KohaUnauthorized, match="refuses the client id or secret") as caught:
        client.get_patron(51)

    assert caught.value.status == 403


def test_a_missing_permission_is_named(client, koha):
    koha.permissions = frozenset()

    with pytest.raises(KohaForbidden) as listing:
        client.find_patron_by_cardnumber(DemoPatron.FINE.value)
    with pytest.raises(KohaForbidden) as reading:
        client.get_patron(51)

    assert listing.value.required_permissions == ("borrowers:list_borrowers",)
    assert reading.value.required_permissions == (
        "borrowers:list_borrowers",
        "borrowers:edit_borrowers",
    )


def test_basic_credentials_are_the_fallback(state, transport):
    with KohaRestServer(
        state, client_id="x", client_secret="y", basic_credentials=("bridge", "pässword")
    ) as koha:
        client = KohaClient(koha.base_url, BasicCredentials("bridge", "pässword"), transport)
        stranger = KohaClient(koha.base_url, BasicCredentials("bridge", "wrong"), transport)

        assert client.get_patron(51).patron_id == 51
        with pytest.raises(KohaUnauthorized):
            stranger.get_patron(51)
        assert koha.tokens_granted == 0


def test_the_request_names_its_agent_and_an_integer_id(koha, client_id, client_secret):
    seen = []
    session = requests.Session()
    session.hooks["response"].append(lambda response, **_: seen.append(response))
    transport = Transport(user_agent="bridge/1", session=session, new_request_id=lambda: 4711)
    auth = OAuth2ClientCredentials(koha.base_url, client_id, client_secret, transport)

    KohaClient(koha.base_url, auth, transport).get_patron(51)
    transport.close()

    assert {response.headers["x-koha-request-id"] for response in seen} == {"4711"}
    assert {response.request.headers["User-Agent"] for response in seen} == {"bridge/1"}


def test_health_is_ok_without_reading_a_patron(client):
    assert client.check_health().state is HealthState.OK


def test_health_names_the_missing_permission(client, koha):
    koha.permissions = frozenset({EDIT_BORROWERS})

    health = client.check_health()

    assert health.state is HealthState.FORBIDDEN
    assert health.missing_permissions == ("borrowers:list_borrowers",)


def test_health_tells_maintenance(client, koha):
    koha.in_maintenance = True

    assert client.check_health().state is HealthState.IN_MAINTENANCE


def test_health_tells_wrong_credentials(koha, transport, client_id):
    auth = OAuth2ClientCredentials(koha.base_url, client_id, "wrong", transport)

    health = KohaClient(koha.base_url, auth, transport).check_health()

    assert health.state is HealthState.UNAUTHORIZED


def test_health_tells_that_nobody_answers(state, transport, client_id, client_secret):
    with KohaRestServer(state, client_id=client_id, client_secret=client_secret) as koha:
        base_url = koha.base_url
    auth = OAuth2ClientCredentials(base_url, client_id, client_secret, transport)

    assert KohaClient(base_url, auth, transport).check_health().state is HealthState.UNREACHABLE


def test_health_tells_that_the_address_is_not_the_api(koha, transport, client_id, client_secret):
    auth = OAuth2ClientCredentials(koha.base_url, client_id, client_secret, transport)
    client = KohaClient(koha.base_url.replace("/api/v1", "/opac"), auth, transport)

    assert client.check_health().state is HealthState.NOT_KOHA
