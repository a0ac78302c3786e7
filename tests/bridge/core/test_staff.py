"""Log-in of librarians, tokens of terminals."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from bridge.accounts.staff import StaffService
from bridge.errors import (
    LibrarianNotFound,
    LibraryNotFound,
    LogInFailed,
    NameTaken,
    TerminalNotFound,
    WrongRole,
)
from bridge.models import REGION, AuditTag, LibrarianRole, TerminalKind


def fail(place, times: int, password: str = "wrong") -> None:
    for _ in range(times):
        with pytest.raises(LogInFailed):
            place.staff.log_in("hanako", password)


def test_a_librarian_logs_in_with_name_and_password(place):
    assert place.staff.log_in("hanako", place.password) == place.librarian
    assert place.staff.get_librarian(place.librarian.librarian_id) == place.librarian
    assert place.audit()[-1].tag is AuditTag.LOGIN_SUCCEEDED


@pytest.mark.parametrize(
    ("name", "password"),
    [("hanako", "wrong"), ("nobody", "wrong"), ("", ""), ("hanako\0", "wrong"), ("\ud800", "wrong")],
)
def test_a_wrong_log_in_says_nothing_of_the_cause(place, name, password):
    with pytest.raises(LogInFailed) as caught:
        place.staff.log_in(name, password)
    assert caught.value.args == ()
    assert caught.value.__cause__ is None


def test_an_unknown_name_costs_one_verification_as_a_known_one_does(place, monkeypatch):
    verified = []
    real = PasswordHasher.verify
    monkeypatch.setattr(
        PasswordHasher, "verify", lambda self, *args: verified.append(args) or real(self, *args)
    )
    for name in ("hanako", "nobody"):
        with pytest.raises(LogInFailed):
            place.staff.log_in(name, "wrong")
    assert len(verified) == 2
    known, unknown = (password_hash.split("$")[1:4] for password_hash, _ in verified)
    assert known == unknown  # the same algorithm at the same cost


def test_what_was_typed_as_a_name_is_not_written_to_the_audit_log(place):
    with pytest.raises(LogInFailed):
        place.staff.log_in("my-secret-password", "hanako")
    event = place.audit(AuditTag.LOGIN_FAILED)[-1]
    assert (event.subject, event.actor_id, event.library_id) == ("-", "-", "-")


def test_five_failures_lock_the_account_for_fifteen_minutes(place):
    fail(place, 5)
    fail(place, 1, place.password)
    place.clock.advance(minutes=15)
    assert place.staff.log_in("hanako", place.password) == place.librarian


def test_trying_while_locked_does_not_lengthen_the_lock(place):
    fail(place, 5)
    place.clock.advance(minutes=14)
    fail(place, 5)
    place.clock.advance(minutes=1)
    place.staff.log_in("hanako", place.password)


def test_a_success_forgets_the_failures(place):
    fail(place, 4)
    place.staff.log_in("hanako", place.password)
    fail(place, 4)
    place.staff.log_in("hanako", place.password)


def test_a_password_hash_of_old_cost_is_renewed_at_the_next_log_in(place):
    stronger = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    StaffService(place.environment, stronger).log_in("hanako", place.password)
    with place.store.transaction() as transaction:
        assert "m=16,t=2" in transaction.find_account("hanako").password_hash


def test_an_unknown_librarian_is_not_found(place):
    with pytest.raises(LibrarianNotFound):
        place.staff.get_librarian("nobody")


def test_a_name_is_given_once(place):
    with pytest.raises(NameTaken):
        place.staff.add_librarian(
            place.command,
            library_id=place.library,
            login_name="hanako",
            display_name="他の花子",
            role=LibrarianRole.AUDITOR,
            password="another password",
        )


def test_nobody_is_added_to_a_library_that_is_not_there(place):
    with pytest.raises(LibraryNotFound):
        place.add_terminal("t", TerminalKind.COUNTER, library="nowhere")


def test_a_library_that_left_the_settings_takes_its_staff_and_terminals_along(place):
    issued = place.staff.add_terminal(
        place.command, library_id=place.library, terminal_id="counter-3", name="3", kind=TerminalKind.COUNTER
    )
    del place.environment.libraries[place.library]
    assert place.staff.terminal_for_token(issued.token) is None
    with pytest.raises(LibrarianNotFound):
        place.staff.get_librarian(place.librarian.librarian_id)
    with pytest.raises(LogInFailed):
        place.staff.log_in("hanako", place.password)


def test_a_terminal_is_known_by_its_token_until_it_is_removed(place):
    issued = place.staff.add_terminal(
        place.command,
        library_id=place.library,
        terminal_id="counter-3",
        name="カウンター 3",
        kind=TerminalKind.COUNTER,
    )
    assert issued.token not in repr(issued)
    assert place.staff.terminal_for_token(issued.token) == issued.terminal
    assert place.staff.terminal_for_token(issued.token + "x") is None
    assert issued.terminal in place.staff.terminals(place.library)
    place.staff.remove_terminal(place.command, library_id=place.library, terminal_id="counter-3")
    assert place.staff.terminal_for_token(issued.token) is None
    assert issued.terminal not in place.staff.terminals(place.library)
    with pytest.raises(TerminalNotFound):
        place.staff.remove_terminal(place.command, library_id=place.library, terminal_id="counter-3")
    assert [row.tag for row in place.audit()][-2:] == [AuditTag.TERMINAL_ADDED, AuditTag.TERMINAL_REMOVED]


def of(place) -> dict[str, str]:
    return {"library_id": place.library, "librarian_id": place.librarian.librarian_id}


def in_session(place):
    return place.staff.librarian_of_session(place.librarian.librarian_id, place.librarian.session_generation)


def test_a_log_out_ends_every_session_of_the_librarian(place):
    assert in_session(place) == place.librarian
    place.staff.log_out(place.librarian)
    with pytest.raises(LibrarianNotFound):
        in_session(place)
    again = place.staff.log_in("hanako", place.password)
    assert place.staff.librarian_of_session(again.librarian_id, again.session_generation) == again
    assert [row.tag for row in place.audit()[-2:]] == [AuditTag.LOGGED_OUT, AuditTag.LOGIN_SUCCEEDED]


def test_a_closed_account_is_logged_out_and_its_sessions_stay_ended_when_it_is_opened_again(place):
    place.staff.disable(place.command, **of(place))
    fail(place, 1, place.password)
    place.staff.enable(place.command, **of(place))
    with pytest.raises(LibrarianNotFound):
        in_session(place)
    assert place.staff.log_in("hanako", place.password).active


def test_a_new_password_unlocks_and_ends_the_sessions_of_the_old_one(place):
    fail(place, 5)
    place.staff.reset_password(place.command, **of(place), password="another long password")
    with pytest.raises(LibrarianNotFound):
        in_session(place)
    fail(place, 1, place.password)
    assert place.staff.log_in("hanako", "another long password")


def test_an_unlocked_account_logs_in_at_once(place):
    fail(place, 5)
    assert [member.locked for member in place.staff.librarians(place.library)] == [True]
    place.staff.unlock(place.command, **of(place))
    assert [member.locked for member in place.staff.librarians(place.library)] == [False]
    assert place.staff.log_in("hanako", place.password)


def test_each_change_of_an_account_is_in_the_audit_log(place):
    place.staff.disable(place.command, **of(place))
    place.staff.enable(place.command, **of(place))
    place.staff.unlock(place.command, **of(place))
    place.staff.change_role(place.command, **of(place), role=LibrarianRole.AUDITOR)
    place.staff.reset_password(place.command, **of(place), password="another long password")
    rows = place.audit()[-5:]
    assert [row.tag for row in rows] == [
        AuditTag.LIBRARIAN_DISABLED,
        AuditTag.LIBRARIAN_ENABLED,
        AuditTag.LIBRARIAN_UNLOCKED,
        AuditTag.LIBRARIAN_ROLE_CHANGED,
        AuditTag.LIBRARIAN_PASSWORD_RESET,
    ]
    assert {(row.library_id, row.subject) for row in rows} == {(place.library, place.librarian.librarian_id)}


@pytest.mark.parametrize(
    "change",
    [
        lambda staff, actor, of_whom: staff.disable(actor, **of_whom),
        lambda staff, actor, of_whom: staff.enable(actor, **of_whom),
        lambda staff, actor, of_whom: staff.unlock(actor, **of_whom),
        lambda staff, actor, of_whom: staff.change_role(actor, **of_whom, role=LibrarianRole.AUDITOR),
        lambda staff, actor, of_whom: staff.reset_password(actor, **of_whom, password="x" * 12),
    ],
)
@pytest.mark.parametrize("library_id", ["harbour", REGION])
def test_an_account_of_another_library_is_not_found_and_not_changed(place, change, library_id):
    of_whom = {**of(place), "library_id": library_id}
    before = place.audit()
    with pytest.raises(LibrarianNotFound):
        change(place.staff, place.command, of_whom)
    assert len(place.audit()) == len(before)
    assert place.staff.log_in("hanako", place.password) == place.librarian
    with pytest.raises(LibrarianNotFound):
        place.staff.find_librarian(library_id, "hanako")


@pytest.mark.parametrize(
    ("library_id", "role"),
    [("central", LibrarianRole.REGION_ADMINISTRATOR), (REGION, LibrarianRole.ADMINISTRATOR)],
)
def test_a_role_belongs_to_a_library_or_to_the_region(place, library_id, role):
    with pytest.raises(WrongRole):
        place.staff.add_librarian(
            place.command,
            library_id=library_id,
            login_name="x",
            display_name="x",
            role=role,
            password=place.password,
        )
