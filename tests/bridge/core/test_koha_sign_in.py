"""Staff who sign in with Koha's password, against a simulated Koha over real HTTP."""

from __future__ import annotations

import base64
import threading
import traceback
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from pyotp import TOTP

from bridge.accounts.koha_sign_in import KohaPasswords
from bridge.accounts.own_account import OwnAccountService
from bridge.accounts.second_factor import SecondFactorPolicy
from bridge.counter.koha_desk import DeskService
from bridge.errors import (
    BridgeError,
    DeskClosed,
    KohaAccountNotFound,
    KohaAccountTaken,
    KohaNotReachable,
    KohaPermissionMissing,
    KohaSignInOff,
    LibrarianNotFound,
    LogInFailed,
    OwnPasswordRefused,
    PasswordNotChecked,
    PasswordOfKoha,
    SecondFactorNeeded,
    StandingUnknown,
)
from bridge.models import REGION, AuditTag, LibrarianRole, PasswordSource
from bridge.ports import NO_PASSWORD

ORIGIN = "https://koha.example.jp"


@pytest.fixture
def place(place_on_sqlite):
    """One database is enough: what differs between the two is tested with the store."""
    return place_on_sqlite


@pytest.fixture
def koha(place, staff_koha):
    """Hanako of the central library signs in with Koha's password; her bridge's one is gone."""
    staff_koha.switch_on(place.environment, place.library)
    use_koha(place, staff_koha)
    staff_koha.asked.clear()
    return staff_koha


@pytest.fixture
def own_account(place):
    return OwnAccountService(place.environment, place.staff, SecondFactorPolicy.OPTIONAL)


def use_koha(place, koha, patron_id=None):
    return place.staff.use_koha_password(
        place.command,
        library_id=place.library,
        librarian_id=place.librarian.librarian_id,
        koha_patron_id=patron_id or koha.hanako,
    )


def log_in(place, password, name="hanako"):
    return place.staff.log_in(name, password)


def test_koha_s_password_logs_in_and_the_one_of_before_does_not(place, koha):
    librarian = log_in(place, koha.password)
    assert librarian.librarian_id == place.librarian.librarian_id
    assert (librarian.password_source, librarian.koha_patron_id) == (PasswordSource.KOHA, koha.hanako)
    assert place.audit()[-1].tag is AuditTag.LOGIN_SUCCEEDED
    with pytest.raises(LogInFailed):
        log_in(place, place.password)


def test_no_password_is_kept(place, koha):
    log_in(place, koha.password)
    with place.store.reading() as transaction:
        assert transaction.find_account("hanako").password_hash == NO_PASSWORD
    for password in (NO_PASSWORD, ""):
        with pytest.raises(LogInFailed):
            log_in(place, password)


def test_the_log_in_name_is_the_bridge_s_and_the_user_id_koha_s(place, koha):
    with pytest.raises(LogInFailed):
        log_in(place, koha.password, koha.userid)
    koha.change(koha.hanako, userid="hanako.tosho")  # whoever edits patrons may change it
    assert log_in(place, koha.password)


def test_the_password_of_somebody_else_in_koha_is_none(place, koha):
    koha.change(koha.jiro, password="Another-2026")
    with pytest.raises(LogInFailed):
        log_in(place, "Another-2026")


@pytest.mark.parametrize("change", [{"userid": ""}, {"password": ""}], ids=["no user id", "no password"])
def test_who_cannot_sign_in_to_koha_cannot_here(place, koha, change):
    koha.change(koha.hanako, **change)
    with pytest.raises(LogInFailed):
        log_in(place, koha.password)


def test_whom_koha_has_deleted_is_refused(place, koha):
    koha.state.remove_patron(koha.hanako)
    with pytest.raises(LogInFailed):
        log_in(place, koha.password)


# the permission


def test_who_lost_the_permission_is_told_so_after_the_right_password_alone(place, koha):
    koha.change(koha.hanako, permissions=frozenset({"catalogue:1"}))
    with pytest.raises(LogInFailed):
        log_in(place, "wrong")
    with pytest.raises(KohaPermissionMissing):
        log_in(place, koha.password)
    assert place.audit()[-1].tag is AuditTag.KOHA_PERMISSION_MISSING
    with place.store.reading() as transaction:
        assert transaction.find_account("hanako").failed_log_ins == 1  # the wrong one


def test_a_session_goes_on_without_asking_until_the_interval_is_over(place, koha):
    librarian = log_in(place, koha.password)
    koha.asked.clear()
    place.clock.advance(minutes=4, seconds=59)
    assert place.staff.may_go_on(librarian)
    assert koha.asked == []
    place.clock.advance(seconds=1)
    assert place.staff.may_go_on(librarian)
    assert koha.asked == ["/api/v1/contrib/jpkibridge/staff/801"]
    assert koha.passwords_tried == 0


@pytest.mark.parametrize("gone", ["permission", "patron", "setting"])
def test_a_session_ends_when_permission_account_or_setting_is_gone(place, koha, gone):
    librarian = log_in(place, koha.password)
    if gone == "permission":
        koha.change(koha.hanako, permissions=frozenset())
    elif gone == "patron":
        koha.state.remove_patron(koha.hanako)
    else:
        library = place.environment.libraries[place.library]
        place.environment.libraries[place.library] = replace(library, koha_sign_in=None)
    place.clock.advance(minutes=5)
    assert not place.staff.may_go_on(librarian)
    assert place.audit()[-1].tag is AuditTag.KOHA_PERMISSION_MISSING
    with pytest.raises(LibrarianNotFound):  # at every browser
        place.staff.librarian_of_session(librarian.librarian_id, librarian.session_generation)


def test_a_clock_that_steps_back_lengthens_nothing(place, koha):
    librarian = log_in(place, koha.password)
    koha.change(koha.hanako, permissions=frozenset())
    place.clock.advance(minutes=-5)
    assert not place.staff.may_go_on(librarian)


def test_a_session_neither_goes_on_nor_ends_while_koha_is_away(place, koha):
    librarian = log_in(place, koha.password)
    place.clock.advance(minutes=5)
    koha.server.in_maintenance = True
    with pytest.raises(StandingUnknown):
        place.staff.may_go_on(librarian)
    koha.server.in_maintenance = False
    assert place.staff.may_go_on(librarian)
    assert place.staff.librarian_of_session(librarian.librarian_id, librarian.session_generation)


def test_a_lock_of_koha_s_by_somebody_else_s_guesses_ends_no_session(place, koha):
    librarian = log_in(place, koha.password)
    koha.state.failed_login_attempts = 3
    koha.change(koha.hanako, login_attempts=3)
    place.clock.advance(minutes=5)
    assert place.staff.may_go_on(librarian)


def test_who_has_a_password_of_the_bridge_never_depends_on_koha(place, staff_koha):
    staff_koha.switch_on(place.environment, place.library)
    staff_koha.server.in_maintenance = True
    librarian = log_in(place, place.password)
    place.clock.advance(days=1)
    assert place.staff.may_go_on(librarian)
    assert staff_koha.asked == []


def test_the_desk_in_koha_s_pages_closes_with_the_permission(place, koha, own_account):
    library = place.environment.libraries[place.library]
    place.environment.libraries[place.library] = replace(library, koha_origins=frozenset({ORIGIN}))
    desk = DeskService(place.environment, place.staff, own_account)
    opened = desk.open_by_password("hanako", koha.password, ORIGIN)
    assert desk.librarian_of(opened.token, ORIGIN)
    koha.server.in_maintenance = True
    place.clock.advance(minutes=5)
    with pytest.raises(StandingUnknown):
        desk.librarian_of(opened.token, ORIGIN)
    koha.server.in_maintenance = False
    koha.change(koha.hanako, permissions=frozenset())
    with pytest.raises(DeskClosed):
        desk.librarian_of(opened.token, ORIGIN)


# tries


def test_five_failures_lock_the_account_here_and_koha_is_asked_for_none_of_them_after(place, koha):
    for _ in range(5):
        with pytest.raises(LogInFailed):
            log_in(place, "wrong")
    assert koha.tries_counted == 5
    for password in ("wrong", koha.password):
        with pytest.raises(LogInFailed):
            log_in(place, password)
    assert koha.tries_counted == 5
    place.clock.advance(minutes=15)
    assert log_in(place, koha.password)


def test_the_bridge_stops_before_the_try_that_would_lock_the_account_in_koha(place, koha):
    koha.state.failed_login_attempts = 3
    for _ in range(4):
        with pytest.raises(LogInFailed):
            log_in(place, "wrong")
    assert koha.tries_counted == 2
    with pytest.raises(LogInFailed):
        log_in(place, koha.password)  # not looked at
    koha.change(koha.hanako, login_attempts=0)  # a log-in to Koha itself takes them back
    place.clock.advance(minutes=15)
    assert log_in(place, koha.password)


def test_many_wrong_passwords_at_once_leave_koha_s_last_try_alone(place, staff_koha):
    koha = staff_koha
    koha.switch_on(place.environment, place.library)
    use_koha(place, koha)
    koha.state.failed_login_attempts = 3

    def guess():
        with pytest.raises(LogInFailed):
            log_in(place, "wrong")

    threads = [threading.Thread(target=guess) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert koha.tries_counted == 2


class Together:
    """A Koha whose answers about a standing come two at a time, where two are asked for at a time."""

    def __init__(self, staff):
        self.staff = staff
        self.barrier = threading.Barrier(2, timeout=1)

    def standing(self, koha_patron_id):
        standing = self.staff.standing(koha_patron_id)
        with suppress(threading.BrokenBarrierError):
            self.barrier.wait()
        return standing

    def is_password_of(self, *asked):
        return self.staff.is_password_of(*asked)


def test_two_at_once_do_not_both_spend_what_only_one_may(place, koha):
    koha.sign_in = replace(koha.sign_in, staff=Together(koha.sign_in.staff))
    koha.switch_on(place.environment, place.library)
    koha.state.failed_login_attempts = 2

    def guess():
        with pytest.raises(LogInFailed):
            log_in(place, "wrong")

    threads = [threading.Thread(target=guess) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert koha.tries_counted == 1


def test_whoever_is_refused_koha_is_asked_as_much(place, koha, monkeypatch):
    place.staff.add_librarian(
        place.command,
        library_id=place.library,
        login_name="bridge-account",
        display_name="次郎",
        role=LibrarianRole.LIBRARIAN,
        password=place.password,
    )
    verified = []
    real = PasswordHasher.verify
    monkeypatch.setattr(
        PasswordHasher, "verify", lambda self, *args: verified.append(args) or real(self, *args)
    )

    def asked_for(name):
        koha.asked.clear()
        verified.clear()
        with pytest.raises(LogInFailed) as caught:
            log_in(place, "wrong", name)
        assert caught.value.args == ()
        return [target.rpartition("/")[0] for target in koha.asked], len(verified)

    asked = asked_for("hanako")
    assert asked == asked_for("nobody") == asked_for("bridge-account") == asked_for("\ud800")
    assert len(asked[0]) == 2
    koha.state.failed_login_attempts = 1
    assert asked_for("hanako") == asked  # not looked at in Koha, and not to be told from the others
    koha.state.remove_patron(koha.hanako)
    assert asked_for("hanako") == asked
    for _ in range(5):
        asked_for("hanako")
    assert asked_for("hanako") == asked  # locked here


def test_a_refusal_about_nobody_carries_neither_the_name_nor_the_password_to_koha(place, koha):
    seen = []
    answer = koha.server.answer
    koha.server.answer = lambda *request: seen.append(repr(request)) or answer(*request)
    for name in ("nobody-at-all", place.librarian.login_name):
        with place.store.transaction() as transaction:
            transaction.lock_account(place.librarian.librarian_id, place.clock() + timedelta(hours=1))
        with pytest.raises(LogInFailed):
            log_in(place, "typed-by-mistake", name)
    assert len(seen) == 4
    assert not any("nobody-at-all" in each or "typed-by-mistake" in each for each in seen)


# an outage


@pytest.mark.parametrize("name", ["hanako", "nobody", "bridge-account"])
def test_while_koha_is_away_whoever_is_refused_hears_the_same(place, koha, name):
    koha.server.in_maintenance = True
    with pytest.raises(PasswordNotChecked) as caught:
        log_in(place, koha.password, name)
    assert caught.value.args == ()
    assert caught.value.__cause__ is None


def test_an_outage_counts_as_no_failure_of_who_signs_in_by_koha(place, koha):
    koha.server.in_maintenance = True
    for _ in range(7):
        with pytest.raises(PasswordNotChecked):
            log_in(place, koha.password)
    koha.server.in_maintenance = False
    place.clock.advance(minutes=1)
    assert log_in(place, koha.password)


def test_wrong_passwords_of_the_bridge_are_counted_in_an_outage_too(place, staff_koha):
    staff_koha.switch_on(place.environment, place.library)
    staff_koha.server.in_maintenance = True
    for _ in range(5):
        with pytest.raises(PasswordNotChecked):
            log_in(place, "wrong")
    with pytest.raises(PasswordNotChecked):
        log_in(place, place.password)
    place.clock.advance(minutes=15)
    assert log_in(place, place.password)


def test_a_koha_that_is_away_is_left_alone_for_a_while_and_found_again(place, koha):
    koha.server.in_maintenance = True
    for _ in range(10):
        with pytest.raises(PasswordNotChecked):
            log_in(place, koha.password)
    asked = len(koha.asked)
    assert asked < 10
    koha.server.in_maintenance = False
    with pytest.raises(PasswordNotChecked):
        log_in(place, koha.password)
    assert len(koha.asked) == asked
    place.clock.advance(seconds=30)
    assert log_in(place, koha.password)


@pytest.mark.parametrize("lacks", ["plugin", "permission of the bridge"])
def test_a_koha_that_does_not_tell_permissions_lets_nobody_in(place, koha, lacks):
    if lacks == "plugin":
        koha.server.has_plugin = False
    else:
        koha.server.permissions = frozenset({"catalogue:1"})
    with pytest.raises(PasswordNotChecked):
        log_in(place, koha.password)
    assert koha.passwords_tried == 0


def test_of_several_kohas_the_name_decides_which_one_a_refusal_asks(place, koha):
    other = replace(koha.sign_in, staff=Silent())
    libraries = place.environment.libraries
    libraries[place.other_library] = replace(libraries[place.other_library], koha_sign_in=other)

    def refused(name):
        with pytest.raises(BridgeError) as caught:
            log_in(place, "wrong", name)
        return type(caught.value)

    names = [f"nobody-{number}" for number in range(20)]
    first = [refused(name) for name in names]
    place.clock.advance(hours=1)
    assert [refused(name) for name in names] == first
    assert set(first) == {LogInFailed, PasswordNotChecked}
    assert refused("hanako") is LogInFailed  # her own


class Silent:
    """A Koha that never answers."""

    def standing(self, koha_patron_id):
        raise KohaNotReachable


# the second factor and the own account


def set_up_second_factor(place, koha, own_account):
    librarian = log_in(place, koha.password)
    own_account.propose_second_factor(librarian, koha.password)
    app = TOTP(own_account_secret(own_account, librarian))
    own_account.confirm_second_factor(librarian, app.at(place.clock()))
    place.clock.advance(minutes=1)
    return app


def own_account_secret(own_account, librarian):
    return base64.b32encode(own_account.proposed_secret(librarian)).decode()


def test_the_second_factor_stays_the_bridge_s_own(place, koha, own_account):
    app = set_up_second_factor(place, koha, own_account)
    with pytest.raises(SecondFactorNeeded) as half:
        log_in(place, koha.password)
    waiting = half.value.librarian
    assert own_account.complete_log_in(
        waiting.librarian_id, waiting.session_generation, app.at(place.clock())
    )


def test_a_second_factor_is_kept_over_the_change_of_the_password_s_source(place, koha, own_account):
    set_up_second_factor(place, koha, own_account)
    reset(place, place.password)
    with pytest.raises(SecondFactorNeeded):
        log_in(place, place.password)


def test_who_sets_a_second_factor_up_gives_koha_s_password_again(place, koha, own_account):
    librarian = log_in(place, koha.password)
    with pytest.raises(OwnPasswordRefused):
        own_account.propose_second_factor(librarian, "wrong")
    assert koha.tries_counted == 1
    koha.server.in_maintenance = True
    with pytest.raises(PasswordNotChecked):
        own_account.propose_second_factor(librarian, koha.password)


def test_koha_s_password_is_not_changed_here(place, koha, own_account):
    librarian = log_in(place, koha.password)
    with pytest.raises(PasswordOfKoha):
        own_account.change_password(librarian, koha.password, "a new and long password")
    assert koha.state.get_patron(koha.hanako).password == koha.password


# administration


def reset(place, password):
    return place.staff.reset_password(
        place.command,
        library_id=place.library,
        librarian_id=place.librarian.librarian_id,
        password=password,
    )


def test_a_reset_password_is_the_bridge_s_and_koha_is_asked_no_more(place, koha):
    session = log_in(place, koha.password)
    assert reset(place, place.password).password_source is PasswordSource.BRIDGE
    with pytest.raises(LibrarianNotFound):
        place.staff.librarian_of_session(session.librarian_id, session.session_generation)
    koha.asked.clear()
    assert log_in(place, place.password)
    assert koha.asked == []
    with pytest.raises(LogInFailed):
        log_in(place, koha.password)


def test_the_change_to_koha_s_password_ends_every_session_and_is_recorded(place, staff_koha):
    staff_koha.switch_on(place.environment, place.library)
    session = log_in(place, place.password)
    use_koha(place, staff_koha)
    assert place.audit()[-1].tag is AuditTag.LIBRARIAN_PASSWORD_OF_KOHA
    with pytest.raises(LibrarianNotFound):
        place.staff.librarian_of_session(session.librarian_id, session.session_generation)


def test_two_accounts_cannot_be_one_in_koha(place, koha):
    account = {"library_id": place.library, "display_name": "二人目", "role": LibrarianRole.AUDITOR}
    with pytest.raises(KohaAccountTaken):
        place.staff.add_librarian_of_koha(
            place.command, login_name="second", koha_patron_id=koha.hanako, **account
        )
    second = place.staff.add_librarian(place.command, login_name="second", password=place.password, **account)
    with pytest.raises(KohaAccountTaken):
        place.staff.use_koha_password(
            place.command,
            library_id=place.library,
            librarian_id=second.librarian_id,
            koha_patron_id=koha.hanako,
        )
    assert log_in(place, place.password, "second")


def test_an_account_is_added_with_koha_s_password_from_the_beginning(place, koha):
    koha.change(koha.jiro, permissions=frozenset({"superlibrarian:1"}))
    place.staff.add_librarian_of_koha(
        place.command,
        library_id=place.library,
        login_name="jiro",
        display_name="次郎",
        role=LibrarianRole.ADMINISTRATOR,
        koha_patron_id=koha.jiro,
    )
    assert log_in(place, koha.password, "jiro").role is LibrarianRole.ADMINISTRATOR


@pytest.mark.parametrize(
    ("patron_id", "error"),
    [(802, KohaPermissionMissing), (999, KohaAccountNotFound)],
    ids=["no permission", "nobody"],
)
def test_whom_koha_would_refuse_is_not_given_the_account(place, staff_koha, patron_id, error):
    staff_koha.switch_on(place.environment, place.library)
    with pytest.raises(error):
        use_koha(place, staff_koha, patron_id)
    staff_koha.server.in_maintenance = True
    with pytest.raises(KohaNotReachable):
        use_koha(place, staff_koha)
    assert log_in(place, place.password)


def test_a_library_that_has_it_not_switched_on_and_the_region_have_no_such_accounts(place, staff_koha):
    with pytest.raises(KohaSignInOff):
        use_koha(place, staff_koha)
    staff_koha.switch_on(place.environment, place.library)
    with pytest.raises(KohaSignInOff):
        place.staff.add_librarian_of_koha(
            place.command,
            library_id=REGION,
            login_name="kouiki",
            display_name="広域",
            role=LibrarianRole.REGION_ADMINISTRATOR,
            koha_patron_id=staff_koha.hanako,
        )
    assert staff_koha.asked == []


def test_with_nobody_s_koha_switched_on_no_koha_is_asked(place, staff_koha):
    KohaPasswords(place.environment).pretend("nobody", None)
    with pytest.raises(LogInFailed):
        log_in(place, "wrong")
    assert staff_koha.asked == []


# secrets


def everything_of(error):
    parts, seen = ["".join(traceback.format_exception(error))], error
    while seen is not None:
        parts += [repr(seen), repr(vars(seen))]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(parts)


def test_koha_s_password_is_in_no_log_no_error_and_no_table(place, staff_koha, caplog):
    koha = staff_koha
    caplog.set_level(1)
    koha.switch_on(place.environment, place.library)
    use_koha(place, koha)
    log_in(place, koha.password)
    wrong = "Another-2026-secret"
    told = []
    for spoil in (
        lambda: None,
        lambda: setattr(koha.state, "failed_login_attempts", 2),
        lambda: setattr(koha.server, "has_plugin", False),
        lambda: setattr(koha.server, "in_maintenance", True),
        koha.server.close,
    ):
        spoil()
        with pytest.raises(BridgeError) as caught:
            log_in(place, wrong)
        told.append(everything_of(caught.value))
    koha.server.close = lambda: None  # the fixture's turn has come already
    text = caplog.text + "".join(told)
    assert "Koha" in caplog.text
    for secret in (koha.password, wrong, koha.userid):
        assert secret not in text
        files = place.url.removeprefix("sqlite:///")
        for suffix in ("", "-wal"):
            with open(files + suffix, "rb") as file:
                assert secret.encode() not in file.read()
