"""How staff sign in by Koha: the password by Koha's own route, the permission by the plugin's."""

import logging
import threading
from dataclasses import replace

import pytest

from koha_client import (
    Ability,
    HealthState,
    KohaClient,
    KohaForbidden,
    KohaUnavailable,
    MalformedAnswer,
    OAuth2ClientCredentials,
    Password,
    PatronNotFound,
    PluginMissing,
    StaffStanding,
)
from koha_client.simulator import SimulatedPatron
from koha_client.versions import ALL_BORROWERS, CIRCULATE

PASSWORD = "Tosho-2026-secret"
HANAKO, JIRO = 801, 802


@pytest.fixture
def staff(state):
    """Two members of staff: Hanako, who may lend, and Jiro, whose card number is Hanako's user id."""

    def add(patron_id, cardnumber, userid, password, *permissions):
        patron = SimulatedPatron(
            patron_id,
            cardnumber,
            userid,
            "職員",
            "花子",
            "PT",
            None,
            password=password,
            permissions=frozenset(permissions),
        )
        state.put_patron(patron)

    add(HANAKO, "S-801", "hanako", PASSWORD, CIRCULATE)
    add(JIRO, "hanako", "jiro", "Another-2026")
    return state


def tries_of(state, patron_id=HANAKO):
    return state.get_patron(patron_id).login_attempts


def test_the_right_password_of_the_right_person_is_a_yes(staff, client_of_any):
    assert client_of_any.is_password_of(HANAKO, "hanako", Password(PASSWORD))
    assert tries_of(staff) == 0


def test_a_wrong_password_is_a_no_and_counts_in_koha(staff, client):
    assert not client.is_password_of(HANAKO, "hanako", Password("wrong"))
    assert tries_of(staff) == 1
    assert client.is_password_of(HANAKO, "hanako", Password(PASSWORD))
    assert tries_of(staff) == 0


def test_nobody_is_a_no(staff, client):
    assert not client.is_password_of(0, "nobody", Password(PASSWORD))


def test_the_right_password_of_another_patron_is_a_no(staff, client):
    assert not client.is_password_of(JIRO, "hanako", Password(PASSWORD))


def test_an_answer_about_the_wrong_patron_is_a_no(raw_server, transport, koha, client_id, client_secret):
    """Koha before the mending of Bug 36575, or a card number that is somebody's user id."""
    body = b'{"cardnumber": "x", "patron_id": 802, "userid": "jiro"}'
    head = f"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    auth = OAuth2ClientCredentials(koha.base_url, client_id, client_secret, transport)
    with raw_server(head.encode() + body) as server:
        client = KohaClient(server.base_url, auth, transport)
        assert not client.is_password_of(HANAKO, "hanako", Password(PASSWORD))


def test_a_password_whose_answer_is_lost_is_not_sent_again(
    raw_server, transport, koha, client_id, client_secret
):
    auth = OAuth2ClientCredentials(koha.base_url, client_id, client_secret, transport)
    with raw_server(b"") as server, pytest.raises(KohaUnavailable):
        KohaClient(server.base_url, auth, transport).is_password_of(HANAKO, "hanako", Password(PASSWORD))
    assert len(server.requests) == 1


def test_koha_locks_an_account_after_its_limit_and_says_how_near_that_is(staff, client):
    staff.failed_login_attempts = 3
    for left in (3, 2, 1, 0):
        assert client.staff_standing(HANAKO, CIRCULATE).tries_left == left
        client.is_password_of(HANAKO, "hanako", Password("wrong"))
    assert not client.is_password_of(HANAKO, "hanako", Password(PASSWORD))


def test_whom_staff_has_locked_has_no_try_left(staff, client):
    staff.put_patron(replace(staff.get_patron(HANAKO), login_attempts=-1))
    assert client.staff_standing(HANAKO, CIRCULATE).tries_left == 0


def test_many_wrong_passwords_at_once_are_all_counted(staff, client):
    threads = [
        threading.Thread(target=client.is_password_of, args=(HANAKO, "hanako", Password("wrong")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert tries_of(staff) == 6


@pytest.mark.parametrize(
    ("held", "asked", "permitted"),
    [
        ({CIRCULATE}, CIRCULATE, True),
        ({"circulate:1"}, CIRCULATE, True),
        ({"superlibrarian:1"}, CIRCULATE, True),
        ({CIRCULATE}, "circulate:1", False),
        ({"borrowers:1"}, CIRCULATE, False),
        (set(), CIRCULATE, False),
    ],
)
def test_a_permission_is_held_alone_with_its_module_or_with_all(staff, client, held, asked, permitted):
    staff.put_patron(replace(staff.get_patron(HANAKO), permissions=frozenset(held)))
    assert client.staff_standing(HANAKO, asked) == StaffStanding(HANAKO, permitted, None, "hanako")


def test_a_standing_of_nobody_is_a_typed_error(staff, client):
    with pytest.raises(PatronNotFound):
        client.staff_standing(999, CIRCULATE)


def test_a_standing_of_somebody_else_is_no_answer(raw_server, transport, koha, client_id, client_secret):
    body = b'{"patron_id": 802, "permitted": true, "tries_left": null, "userid": "jiro"}'
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    auth = OAuth2ClientCredentials(koha.base_url, client_id, client_secret, transport)
    with raw_server(head.encode() + body) as server, pytest.raises(MalformedAnswer, match="another patron"):
        KohaClient(server.base_url, auth, transport).staff_standing(HANAKO, CIRCULATE)


def test_a_koha_without_the_plugin_says_so(staff, koha, client):
    koha.has_plugin = False
    with pytest.raises(PluginMissing):
        client.staff_standing(HANAKO, CIRCULATE)
    health = client.check_ability(Ability.SEE_STAFF_PERMISSIONS)
    assert health.state is HealthState.PLUGIN_MISSING
    assert "plugin" in health.advice


def test_an_account_without_the_permission_checks_no_password(staff, koha, client):
    koha.permissions = frozenset()
    with pytest.raises(KohaForbidden):
        client.is_password_of(HANAKO, "hanako", Password(PASSWORD))
    assert client.check_ability(Ability.CHECK_PASSWORDS).state is HealthState.FORBIDDEN
    koha.permissions = frozenset({ALL_BORROWERS})
    assert client.check_ability(Ability.CHECK_PASSWORDS).state is HealthState.OK


def test_looking_whether_passwords_can_be_checked_spends_no_try_of_anybody(staff, client):
    before = [patron.login_attempts for patron in staff.patrons()]
    assert client.check_ability(Ability.CHECK_PASSWORDS).state is HealthState.OK
    assert [patron.login_attempts for patron in staff.patrons()] == before


WHOLE = {"patron_id": 801, "permitted": True, "tries_left": 2, "userid": "hanako"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"permitted": "yes"},
        {"permitted": 1},
        {"permitted": None},
        {"tries_left": "2"},
        {"tries_left": True},
        {"userid": 5},
        {"patron_id": None},
        {"patron_id": 0},
    ],
    ids=str,
)
def test_a_malformed_standing_is_never_guessed(wrong):
    with pytest.raises(MalformedAnswer):
        StaffStanding.from_json({**WHOLE, **wrong})
    with pytest.raises(MalformedAnswer):
        StaffStanding.from_json([WHOLE])


def test_neither_password_nor_user_id_is_shown_anywhere(staff, koha, client, caplog):
    caplog.set_level(logging.DEBUG)
    password = Password(PASSWORD)
    shown = [repr(password), str(password), repr(client.staff_standing(HANAKO, CIRCULATE))]
    client.is_password_of(HANAKO, "hanako", Password(PASSWORD))
    client.is_password_of(HANAKO, "hanako", Password(f"{PASSWORD}!"))
    text = caplog.text + "".join(shown)
    assert "POST /auth/password/validation" in caplog.text
    assert PASSWORD not in text
    assert "hanako" not in text
