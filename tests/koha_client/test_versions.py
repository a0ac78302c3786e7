"""Each release's routes and permissions, and that the client says in words what is missing."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest

import koha_client.client
from koha_client import (
    Ability,
    BadRequest,
    BasicCredentials,
    Health,
    HealthState,
    KohaClient,
    KohaLibrary,
    KohaVersion,
    MalformedAnswer,
    NotOffered,
    PatronNotFound,
)
from koha_client.simulator import DemoItem, DemoPatron, KohaRestServer
from koha_client.versions import EDIT_BORROWERS, LEAST_PERMISSIONS, LIST_BORROWERS, Route

FINE = DemoPatron.FINE.value
NEEDED = {
    Ability.LIST_CATEGORIES: KohaVersion.V24_05,
    Ability.SEE_CIRCULATION_RULES: KohaVersion.V24_11,
}


def test_an_older_koha_says_what_it_cannot_do(client_of_any, any_koha):
    for ability in Ability:
        health = client_of_any.check_ability(ability)
        needed = NEEDED.get(ability, KohaVersion.V22_11)
        if any_koha.version.is_at_least(needed):
            assert (health.state, health.advice) == (HealthState.OK, "")
        else:
            assert health.state is HealthState.NOT_OFFERED
            assert health.version == needed.value
            assert health.advice == f"This Koha is too old to {ability.value}; that needs {needed.value}."


def test_what_an_older_koha_lacks_is_a_typed_error(client_of_any, any_koha):
    if any_koha.version.is_at_least(KohaVersion.V24_05):
        assert "PT12" in [category.category_id for category in client_of_any.list_categories()]
    else:
        with pytest.raises(NotOffered, match=r"Koha 24\.05 does"):
            client_of_any.list_categories()


PERMISSIONS = {
    Ability.FIND_PATRONS: {"22.11": "borrowers:edit_borrowers", "24.11": "borrowers:list_borrowers"},
    Ability.CHANGE_PATRONS: {"22.11": "borrowers:1"},
    Ability.SET_PASSWORDS: {"22.11": "borrowers:1"},
    Ability.READ_ATTRIBUTES: {"22.11": "borrowers:edit_borrowers"},
    Ability.LIST_CATEGORIES: {"24.05": "parameters:manage_patron_categories"},
    Ability.LIST_LIBRARIES: {"22.11": "catalogue:1"},
    Ability.SEE_CHECKOUTS: {"22.11": "circulate:circulate_remaining_permissions"},
    Ability.SEE_HOLDS: {"22.11": "reserveforothers:place_holds"},
    Ability.SEE_CIRCULATION_RULES: {"24.11": "circulate:circulate_remaining_permissions"},
}


def test_each_release_names_the_permission_that_is_missing(client_of_any, any_koha):
    any_koha.permissions = frozenset()
    for ability, wanted in PERMISSIONS.items():
        known = [since for since in wanted if since <= any_koha.version.value]
        health = client_of_any.check_ability(ability)
        if known:
            assert health.state is HealthState.FORBIDDEN
            assert health.missing_permissions[0] == wanted[known[-1]]
            assert health.missing_permissions[0] in health.advice
            assert ability.value in health.advice


def test_list_borrowers_is_enough_from_24_11_on(client_of_any, any_koha):
    any_koha.permissions = frozenset({LIST_BORROWERS})

    enough = client_of_any.check_health().state is HealthState.OK

    assert enough == any_koha.version.is_at_least(KohaVersion.V24_11)


def test_edit_borrowers_was_enough_before(client_of_any, any_koha):
    any_koha.permissions = frozenset({EDIT_BORROWERS})

    enough = client_of_any.check_health().state is HealthState.OK

    assert enough != any_koha.version.is_at_least(KohaVersion.V24_11)


def test_the_least_permissions_are_enough_for_everything_and_no_superlibrarian():
    for route in Route:
        for version in KohaVersion:
            if version.is_at_least(route.first_version):
                modules = {permission.split(":")[0] + ":1" for permission in route.permissions(version)}
                assert LEAST_PERMISSIONS & (modules | set(route.permissions(version)))
    assert not any("superlibrarian" in permission for permission in LEAST_PERMISSIONS)


def test_a_probe_changes_nothing(client, state, clock):
    before, moments = state.patrons(), [state.updated_at(patron) for patron in state.patrons()]
    clock.moment += timedelta(minutes=5)

    for ability in Ability:
        client.check_ability(ability)

    assert state.patrons() == before
    assert [state.updated_at(patron) for patron in before] == moments


def test_a_preference_that_is_off_is_named(client, koha):
    koha.grants_tokens = False

    health = client.check_health()

    assert (health.state, health.preference) == (
        HealthState.PREFERENCE_OFF,
        "RESTOAuth2ClientCredentials",
    )
    assert "RESTOAuth2ClientCredentials" in health.advice


def test_basic_authentication_that_is_off_is_named(koha, transport):
    client = KohaClient(koha.base_url, BasicCredentials("bridge", "password"), transport)

    assert client.check_health().preference == "RESTBasicAuth"


@pytest.mark.parametrize("state_of_health", [state for state in HealthState if state is not HealthState.OK])
def test_every_trouble_has_a_sentence(state_of_health):
    assert Health(state_of_health, ("a:b",), preference="P", version="24.05").advice.endswith((".", ")."))


def test_a_patron_of_a_library_that_the_account_may_not_see_looks_absent(client, koha, state):
    client.update_patron(51, {"library_id": "EPL"}, client.get_patron(51).updated_on)
    koha.permissions = frozenset({LIST_BORROWERS})

    assert client.find_patron_by_cardnumber(FINE) is None
    with pytest.raises(PatronNotFound):
        client.get_patron(51)
    koha.permissions |= {"borrowers:view_borrower_infos_from_any_libraries"}
    assert client.find_patron_by_cardnumber(FINE).library_id == "EPL"


def test_libraries_are_listed(client_of_any):
    assert client_of_any.list_libraries() == [
        KohaLibrary("CPL", "中央図書館"),
        KohaLibrary("EPL", "東図書館"),
    ]


def test_a_category_says_what_moving_into_it_costs(client):
    category = next(each for each in client.list_categories() if each.category_id == "PT12")

    assert category.enrolment_fee == Decimal(0)
    assert category.can_be_guarantee is False
    assert category.name == "一般（カード連携）"


def test_only_the_patron_s_own_checkouts_and_holds_are_read(client_of_any, state):
    """As text, 5 is in 51 and 52; Koha's parameters match what contains them."""
    fine, second = state.get_patron(51), state.get_patron(52)
    state.check_out(fine, DemoItem.VOLUME_1.value)
    state.check_out(second, DemoItem.VOLUME_2.value)
    state.place_hold(second, DemoItem.VOLUME_1.value, "CPL")

    checkouts = client_of_any.checkouts_of(51)

    assert [checkout.item_id for checkout in checkouts] == [state.item_id(DemoItem.VOLUME_1.value)]
    assert checkouts[0].due_date == state.loans_of(fine)[0].due_at
    assert client_of_any.checkouts_of(5) == []
    assert [hold.patron_id for hold in client_of_any.holds_of(52)] == [52]
    assert client_of_any.holds_of(5) == []


def test_a_list_of_many_pages_is_read_to_its_end(client, state):
    fine = state.get_patron(51)
    for item in list(DemoItem)[8:14]:
        assert state.check_out(fine, item.value).ok
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(koha_client.client, "_PAGE_SIZE", 4)
        assert len(client.checkouts_of(51)) == 6


@pytest.mark.parametrize("head", [b"", b"X-Total-Count: 3\r\n"], ids=["no count", "a wrong count"])
def test_a_list_that_is_not_whole_is_not_taken(raw_server, transport, head):
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n" + head + b"\r\n[]"
    with raw_server(answer) as server, pytest.raises(MalformedAnswer):
        KohaClient(server.base_url, BasicCredentials("a", "b"), transport).list_libraries()


def test_circulation_rules_tell_a_category_s_limit(client):
    assert client.circulation_rules(category_id="PT", library_id="CPL").loan_limit == 6
    assert client.circulation_rules(category_id="PT12", library_id="CPL").loan_limit == 12
    with pytest.raises(BadRequest):
        client.circulation_rules(category_id="NOPE", library_id="CPL", item_type_id="BK")


def test_a_koha_whose_account_is_at_another_library_needs_no_more(state, client_of, client_id, client_secret):
    with KohaRestServer(
        state, client_id=client_id, client_secret=client_secret, account_library_id="EPL"
    ) as koha:
        assert client_of(koha).find_patron_by_cardnumber(FINE)


@pytest.mark.parametrize("method", ["checkouts_of", "holds_of"])
def test_another_patron_s_loan_or_hold_is_never_taken(raw_server, transport, method):
    record = {
        "checkout_id": 1,
        "hold_id": 1,
        "biblio_id": 1,
        "patron_id": 52,
        "due_date": "2026-12-04T23:59:00+09:00",
    }
    body = json.dumps([record]).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Total-Count: 1\r\n"
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    with raw_server(head + length + body) as server, pytest.raises(MalformedAnswer):
        getattr(KohaClient(server.base_url, BasicCredentials("a", "b"), transport), method)(51)


def test_a_koha_that_refuses_the_search_itself_is_not_taken_for_well(raw_server, transport):
    body = b'[{"path": "/query/q", "message": "Malformed query string"}]'
    head = b"HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    with raw_server(head + body) as server:
        client = KohaClient(server.base_url, BasicCredentials("a", "b"), transport)
        assert client.check_health().state is HealthState.NOT_KOHA
