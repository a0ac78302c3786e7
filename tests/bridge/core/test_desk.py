"""Who may open the desk in Koha's staff pages, and for how long."""

from __future__ import annotations

from base64 import b32encode
from dataclasses import replace
from datetime import timedelta

import pytest
from pyotp import TOTP

from bridge.accounts.own_account import OwnAccountService
from bridge.accounts.second_factor import SecondFactorPolicy
from bridge.counter.koha_desk import LOCK_DURATION, PLUGIN_PASS_LIFETIME, WINDOW_PASS_LIFETIME, DeskService
from bridge.errors import (
    DeskClosed,
    LibrarianNotFound,
    LibraryNotFound,
    LogInFailed,
    NameTaken,
    NotAllowed,
    OriginRefused,
    PluginNotFound,
    PluginRefused,
    SecondFactorNeeded,
    SecondFactorRefused,
)
from bridge.models import AuditTag, LibrarianRole

KOHA = "https://koha.example"
HARBOUR_KOHA = "https://koha.harbour.example"
BORROWERNUMBER = 51


class Desk:
    def __init__(self, place):
        libraries = {
            library_id: replace(library, koha_origins=frozenset({origin}))
            for (library_id, library), origin in zip(
                place.environment.libraries.items(), (KOHA, HARBOUR_KOHA), strict=True
            )
        }
        self.place = place
        environment = replace(place.environment, libraries=libraries)
        self.own_account = OwnAccountService(environment, place.staff, SecondFactorPolicy.OPTIONAL)
        self.service = DeskService(environment, place.staff, self.own_account)
        self.plugin = self.service.add_plugin(place.command, library_id=place.library, name="中央Koha")
        self.service.add_account(place.command, koha_patron_id=BORROWERNUMBER, librarian=place.librarian)

    def open(self, secret=None, koha_patron_id=BORROWERNUMBER):
        return self.service.open_by_plugin(
            self.plugin.plugin.plugin_id, secret or self.plugin.secret, koha_patron_id
        )


@pytest.fixture
def desk(place):
    return Desk(place)


def test_the_plugin_opens_the_desk_for_whom_koha_knows(desk):
    opened = desk.open()
    assert opened.librarian == desk.place.librarian
    assert opened.expires_at == desk.place.clock() + PLUGIN_PASS_LIFETIME
    assert desk.service.librarian_of(opened.token, KOHA) == desk.place.librarian
    assert desk.service.librarian_of(opened.token, None) == desk.place.librarian


def test_a_token_dies_with_its_time(desk):
    opened = desk.open()
    desk.place.clock.advance(seconds=PLUGIN_PASS_LIFETIME.total_seconds())
    with pytest.raises(DeskClosed):
        desk.service.librarian_of(opened.token, KOHA)
    desk.open()  # which sweeps the old one away
    with desk.place.store.reading() as transaction:
        assert transaction.find_desk_pass("") is None


@pytest.mark.parametrize("by_password", [False, True])
def test_a_desk_that_was_opened_in_the_future_is_closed(desk, by_password):
    place = desk.place
    opened = desk.service.open_by_password("hanako", place.password, KOHA) if by_password else desk.open()
    place.clock.now -= timedelta(seconds=60)  # as the clock of another node may differ
    assert desk.service.librarian_of(opened.token, KOHA) == place.librarian
    place.clock.now -= timedelta(seconds=1)
    with pytest.raises(DeskClosed):
        desk.service.librarian_of(opened.token, KOHA)


@pytest.mark.parametrize("origin", ["https://koha.example.evil", "http://koha.example", "null", HARBOUR_KOHA])
def test_a_page_of_another_origin_gets_nothing_for_a_good_token(desk, origin):
    with pytest.raises(OriginRefused):
        desk.service.librarian_of(desk.open().token, origin)


@pytest.mark.parametrize("token", ["", "x", "\ud800", "あ" * 50])
def test_a_token_that_is_none_opens_nothing(desk, token):
    with pytest.raises(DeskClosed):
        desk.service.librarian_of(token, KOHA)


def test_an_account_of_koha_that_stands_for_nobody_is_refused(desk):
    with pytest.raises(LibrarianNotFound):
        desk.open(koha_patron_id=52)


def test_after_five_wrong_secrets_none_is_looked_at_for_a_minute(desk):
    for _ in range(5):
        with pytest.raises(PluginRefused):
            desk.open(secret="wrong")
    with pytest.raises(PluginRefused):
        desk.open()
    desk.place.clock.advance(seconds=LOCK_DURATION.total_seconds())
    desk.open()
    refused = desk.place.audit(AuditTag.PLUGIN_REFUSED)
    assert {event.subject for event in refused} == {desk.plugin.plugin.plugin_id}
    assert {event.library_id for event in refused} == {desk.place.library}


def test_a_right_secret_in_between_lets_the_count_begin_anew(desk):
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(PluginRefused):
                desk.open(secret="wrong")
        desk.open()


def test_a_plugin_that_nobody_added_is_refused_and_not_named(desk):
    with pytest.raises(PluginRefused):
        desk.service.open_by_plugin("00", desk.plugin.secret, BORROWERNUMBER)
    assert [event.subject for event in desk.place.audit(AuditTag.PLUGIN_REFUSED)] == ["-"]


def test_a_removed_plugin_is_worth_nothing_nor_are_its_tokens(desk):
    opened = desk.open()
    plugin_id = desk.plugin.plugin.plugin_id
    with pytest.raises(PluginNotFound):
        desk.service.remove_plugin(
            desk.place.command, library_id=desk.place.other_library, plugin_id=plugin_id
        )
    desk.service.remove_plugin(desk.place.command, library_id=desk.place.library, plugin_id=plugin_id)
    with pytest.raises(DeskClosed):
        desk.service.librarian_of(opened.token, KOHA)
    with pytest.raises(PluginRefused):
        desk.open()
    assert desk.service.plugins(desk.place.library) == []


def test_an_account_that_is_taken_away_ends_its_tokens(desk):
    opened = desk.open()
    desk.service.remove_account(
        desk.place.command, library_id=desk.place.library, koha_patron_id=BORROWERNUMBER
    )
    with pytest.raises(DeskClosed):
        desk.service.librarian_of(opened.token, KOHA)
    with pytest.raises(LibrarianNotFound):
        desk.open()
    with pytest.raises(LibrarianNotFound):
        desk.service.remove_account(
            desk.place.command, library_id=desk.place.library, koha_patron_id=BORROWERNUMBER
        )


@pytest.mark.parametrize("end", ["log_out", "disable", "reset"])
def test_what_ends_a_librarians_sessions_ends_the_tokens(desk, end):
    opened, place = desk.open(), desk.place
    if end == "log_out":
        place.staff.log_out(place.librarian)
    else:
        whose = {"library_id": place.library, "librarian_id": place.librarian.librarian_id}
        if end == "disable":
            place.staff.disable(place.command, **whose)
        else:
            place.staff.reset_password(place.command, **whose, password="another long password")
    with pytest.raises(DeskClosed):
        desk.service.librarian_of(opened.token, KOHA)


def test_one_account_of_koha_is_one_librarian(desk):
    with pytest.raises(NameTaken):
        desk.service.add_account(
            desk.place.command, koha_patron_id=BORROWERNUMBER, librarian=desk.place.librarian
        )


@pytest.mark.parametrize("role", [LibrarianRole.AUDITOR])
def test_who_may_not_work_at_the_counter_opens_no_desk(desk, role):
    place = desk.place
    place.staff.change_role(
        place.command, library_id=place.library, librarian_id=place.librarian.librarian_id, role=role
    )
    auditor = place.staff.get_librarian(place.librarian.librarian_id)
    with pytest.raises(NotAllowed):
        desk.open()
    with pytest.raises(NotAllowed):
        desk.service.open_by_password("hanako", place.password, KOHA)
    with pytest.raises(NotAllowed):
        desk.service.add_account(place.command, koha_patron_id=99, librarian=auditor)


def test_a_password_opens_the_desk_for_the_librarians_own_koha_alone(desk):
    place = desk.place
    opened = desk.service.open_by_password("hanako", place.password, KOHA)
    assert opened.expires_at == place.clock() + WINDOW_PASS_LIFETIME
    assert desk.service.librarian_of(opened.token, KOHA) == place.librarian
    with pytest.raises(OriginRefused):
        desk.service.open_by_password("hanako", place.password, HARBOUR_KOHA)
    with pytest.raises(LogInFailed):
        desk.service.open_by_password("hanako", "wrong", KOHA)


def test_a_plugin_of_a_library_that_is_not_in_the_settings_is_refused(desk):
    with pytest.raises(LibraryNotFound):
        desk.service.add_plugin(desk.place.command, library_id="gone", name="x")
    gone = {desk.place.other_library: desk.place.environment.libraries[desk.place.other_library]}
    environment = replace(desk.place.environment, libraries=gone)
    desk.service = DeskService(environment, desk.place.staff, desk.own_account)
    with pytest.raises(PluginRefused):
        desk.open()


def test_neither_secret_nor_token_is_printed_or_kept(desk):
    opened = desk.open()
    assert opened.token not in repr(opened)
    assert desk.plugin.secret not in repr(desk.plugin)
    with desk.place.store.reading() as transaction:
        kept = transaction.find_plugin(desk.plugin.plugin.plugin_id)
    assert desk.plugin.secret not in (kept.secret_digest, repr(kept))
    events = repr([(event.subject, event.details) for event in desk.place.audit()])
    assert opened.token not in events
    assert desk.plugin.secret not in events


def test_the_lifetimes_are_short():
    assert timedelta(minutes=5) <= PLUGIN_PASS_LIFETIME <= timedelta(minutes=15)
    assert timedelta(hours=1) >= WINDOW_PASS_LIFETIME


def test_the_window_asks_who_has_a_second_factor_for_a_code_too(desk):
    place, own_account = desk.place, desk.own_account
    own_account.propose_second_factor(place.librarian, place.password)
    secret = own_account.proposed_secret(place.librarian)
    app = TOTP(b32encode(secret).decode())
    own_account.confirm_second_factor(place.librarian, app.at(place.clock()))
    place.clock.advance(minutes=1)
    with pytest.raises(SecondFactorNeeded):
        desk.service.open_by_password("hanako", place.password, KOHA)
    with pytest.raises(SecondFactorRefused):
        desk.service.open_by_password("hanako", place.password, KOHA, "12345")
    opened = desk.service.open_by_password("hanako", place.password, KOHA, app.at(place.clock()))
    assert opened.librarian.librarian_id == place.librarian.librarian_id


def test_the_window_opens_nothing_for_who_must_set_a_second_factor_up_first(desk):
    place = desk.place
    everyone = OwnAccountService(place.environment, place.staff, SecondFactorPolicy.EVERYONE)
    service = DeskService(desk.service._environment, place.staff, everyone)
    with pytest.raises(SecondFactorNeeded):
        service.open_by_password("hanako", place.password, KOHA)
