"""The second factor: its codes, its log-in, its set-up, and the keys it is kept under."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from pyotp import TOTP, parse_uri

from bridge.accounts.log_in_tries import LONGEST_LOCK, lock_duration
from bridge.accounts.own_account import OwnAccountService
from bridge.accounts.second_factor import STEP, SecondFactorPolicy, grouped, matching_step, provisioning_uri
from bridge.accounts.staff import StaffService
from bridge.errors import (
    KeyInUse,
    LogInFailed,
    OwnPasswordRefused,
    PasswordUnfit,
    SecondFactorNeeded,
    SecondFactorRefused,
)
from bridge.keys.ring import KeyRing, MasterKey
from bridge.keys.rotation import KeyRotation
from bridge.models import REGION, Actor, ActorKind, AuditTag, LibrarianRole
from bridge.ports import KeyedRecord

SECRET = b"12345678901234567890"
"""The secret of RFC 6238, appendix B."""


@pytest.mark.parametrize(
    ("moment", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
    ],
)
def test_codes_are_those_of_rfc_6238(moment, code):
    assert matching_step(SECRET, code, datetime.fromtimestamp(moment, UTC)) == moment // STEP


@pytest.mark.parametrize(("steps", "taken"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_be_one_step_off_and_no_more(steps, taken):
    then = datetime.fromtimestamp(1111111109, UTC) + timedelta(seconds=STEP * steps)
    assert (matching_step(SECRET, "081804", then) is not None) is taken


@pytest.mark.parametrize("code", ["", "81804", "0818041", "08180x", "０８１８０４"])
def test_what_is_no_code_matches_nothing(code):
    assert matching_step(SECRET, code, datetime.fromtimestamp(1111111109, UTC)) is None


def test_the_picture_and_the_text_carry_the_same_secret():
    read = parse_uri(provisioning_uri(SECRET, "hanako"))
    assert read.secret == grouped(SECRET).replace(" ", "")
    assert (read.name, read.issuer) == ("hanako", "koha-jpki")


@pytest.mark.parametrize(
    ("policy", "roles"),
    [
        (SecondFactorPolicy.OPTIONAL, set()),
        (
            SecondFactorPolicy.ADMINISTRATORS,
            {LibrarianRole.ADMINISTRATOR, LibrarianRole.REGION_ADMINISTRATOR},
        ),
        (SecondFactorPolicy.EVERYONE, set(LibrarianRole)),
    ],
)
def test_the_setting_says_who_must_have_one(policy, roles):
    assert {role for role in LibrarianRole if policy.requires(role)} == roles


def test_each_fifth_failure_locks_for_twice_as_long_up_to_a_working_day():
    minutes = [lock_duration(failures) for failures in (1, 4, 5, 6, 10, 15, 20, 25, 30, 500)]
    assert minutes[:2] == [None, None]
    assert [each and each / timedelta(minutes=1) for each in minutes[2:8]] == [15, None, 30, 60, 120, 240]
    assert minutes[8:] == [LONGEST_LOCK, LONGEST_LOCK]


class App:
    """The authenticator app on somebody's telephone."""

    def __init__(self, place, secret: bytes) -> None:
        self.place, self.totp = place, TOTP(grouped(secret).replace(" ", ""))

    def code(self, steps: int = 0) -> str:
        return self.totp.at(self.place.clock() + timedelta(seconds=STEP * steps))

    def wrong(self) -> str:
        """Return a code that no step near the present one has."""
        near = {self.code(steps) for steps in (-1, 0, 1)}
        return next(code for code in ("000000", "111111", "222222", "333333") if code not in near)

    def next(self) -> str:
        """Wait for a code that was not used yet."""
        self.place.clock.advance(seconds=2 * STEP)
        return self.code()


@pytest.fixture
def own(place):
    return OwnAccountService(place.environment, place.staff, SecondFactorPolicy.ADMINISTRATORS)


@pytest.fixture
def app(place, own):
    """Hanako's app, set up and confirmed."""
    return set_up(place, own, place.librarian)


def set_up(place, own, librarian):
    own.propose_second_factor(librarian, place.password)
    app = App(place, own.proposed_secret(librarian))
    own.confirm_second_factor(librarian, app.code())
    return app


def half(place):
    with pytest.raises(SecondFactorNeeded) as caught:
        place.staff.log_in("hanako", place.password)
    return caught.value.librarian.librarian_id, caught.value.librarian.session_generation


def failures(place) -> int:
    with place.store.reading() as transaction:
        return transaction.find_account("hanako").failed_log_ins


def test_a_second_factor_counts_only_once_a_code_of_it_was_given(place, own):
    own.propose_second_factor(place.librarian, place.password)
    place.staff.log_in("hanako", place.password)
    app = App(place, own.proposed_secret(place.librarian))
    with pytest.raises(SecondFactorRefused):
        own.confirm_second_factor(place.librarian, app.wrong())
    place.staff.log_in("hanako", place.password)
    own.confirm_second_factor(place.librarian, app.code())
    assert own.proposed_secret(place.librarian) is None
    half(place)


def test_the_whole_log_in_needs_password_and_code(place, own, app):
    logged_in = own.complete_log_in(*half(place), app.next())
    assert logged_in.librarian_id == place.librarian.librarian_id
    assert place.audit()[-1].tag is AuditTag.LOGIN_SUCCEEDED


def test_a_code_is_accepted_once_the_one_that_confirmed_it_too(place, own, app):
    with pytest.raises(SecondFactorRefused):
        own.complete_log_in(*half(place), app.code())
    code = app.next()
    own.complete_log_in(*half(place), code)
    with pytest.raises(SecondFactorRefused):
        own.complete_log_in(*half(place), code)
    with pytest.raises(SecondFactorRefused):  # an older one, which clocks would still allow
        own.complete_log_in(*half(place), app.code(-1))


def test_of_many_with_the_same_code_at_the_same_moment_one_is_let_in(place, own, app):
    begun, code = half(place), app.next()

    def one(_number):
        try:
            own.complete_log_in(*begun, code)
        except SecondFactorRefused:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(one, range(4))) == [False, False, False, True]


def test_wrong_codes_lock_the_account_and_right_passwords_between_them_do_not_unlock_it(place, own, app):
    for _ in range(5):
        begun = half(place)
        with pytest.raises(SecondFactorRefused):
            own.complete_log_in(*begun, app.wrong())
    with pytest.raises(SecondFactorRefused):
        own.complete_log_in(*begun, app.next())
    with pytest.raises(LogInFailed):
        place.staff.log_in("hanako", place.password)
    place.clock.advance(minutes=15)
    own.complete_log_in(*half(place), app.next())
    assert failures(place) == 0


def test_a_right_password_is_no_failure_and_forgets_none(place, own, app):
    for _ in range(4):
        with pytest.raises(LogInFailed):
            place.staff.log_in("hanako", "wrong")
    for _ in range(3):
        begun = half(place)
    assert failures(place) == 4
    own.complete_log_in(*begun, app.next())
    assert failures(place) == 0


def test_half_a_log_in_is_worth_nothing_after_a_new_password(place, own, app):
    begun = half(place)
    of = {"library_id": place.library, "librarian_id": place.librarian.librarian_id}
    place.staff.reset_password(place.command, **of, password="another long password")
    with pytest.raises(SecondFactorRefused):
        own.complete_log_in(*begun, app.next())


def test_a_closed_account_is_not_let_in_by_its_code(place, own, app):
    begun = half(place)
    of = {"library_id": place.library, "librarian_id": place.librarian.librarian_id}
    place.staff.disable(place.command, **of)
    with pytest.raises(SecondFactorRefused):
        own.complete_log_in(*begun, app.next())


def test_a_reset_takes_it_away_ends_the_sessions_and_is_audited(place, own, app):
    of = {"library_id": place.library, "librarian_id": place.librarian.librarian_id}
    after = place.staff.reset_second_factor(place.command, **of)
    assert not after.has_second_factor
    assert after.session_generation == place.librarian.session_generation + 1
    assert place.audit()[-1].tag is AuditTag.SECOND_FACTOR_RESET
    place.staff.log_in("hanako", place.password)


def test_it_is_given_up_by_a_code_and_by_nothing_else(place, own, app):
    with pytest.raises(SecondFactorRefused):
        own.remove_second_factor(place.librarian, app.wrong())
    half(place)
    own.remove_second_factor(place.librarian, app.next())
    place.staff.log_in("hanako", place.password)


def test_a_second_factor_is_not_replaced_by_who_has_the_password_alone(place, own, app):
    with pytest.raises(SecondFactorRefused):
        own.propose_second_factor(place.librarian, place.password)
    half(place)


def test_the_own_password_is_asked_before_a_secret_is_drawn_and_its_tries_count(place, own):
    for _ in range(5):
        with pytest.raises(OwnPasswordRefused):
            own.propose_second_factor(place.librarian, "wrong")
    with pytest.raises(OwnPasswordRefused):
        own.propose_second_factor(place.librarian, place.password)
    assert own.proposed_secret(place.librarian) is None


def test_a_new_own_password_ends_every_session(place, own):
    changed = own.change_password(place.librarian, place.password, "a new and long password")
    assert changed.session_generation == place.librarian.session_generation + 1
    with pytest.raises(LogInFailed):
        place.staff.log_in("hanako", place.password)
    place.staff.log_in("hanako", "a new and long password")
    assert AuditTag.LIBRARIAN_PASSWORD_CHANGED in {event.tag for event in place.audit()}


@pytest.mark.parametrize("new", ["short", "", "x" * 1025, None])
def test_a_password_that_is_short_or_no_new_one_is_refused(place, own, new):
    with pytest.raises(PasswordUnfit):
        own.change_password(place.librarian, place.password, place.password if new is None else new)
    place.staff.log_in("hanako", place.password)


def test_a_wrong_present_password_changes_nothing(place, own):
    with pytest.raises(OwnPasswordRefused):
        own.change_password(place.librarian, "wrong", "a new and long password")
    place.staff.log_in("hanako", place.password)


def test_the_secret_is_nowhere_in_the_clear(place, own, app):
    secret = app.totp.byte_secret()
    with place.store.reading() as transaction:
        account = transaction.find_account("hanako")
    kept = account.second_factor.secret
    assert secret not in kept.ciphertext
    assert kept.ciphertext.hex() not in repr(account)


@pytest.mark.parametrize("library_id", ["central", REGION])
def test_a_key_is_not_retired_before_the_second_factors_left_it(make_place, store, clock, pki, library_id):
    old, new = MasterKey("k1", bytes(32)), MasterKey("k2", bytes([1]) * 32)

    def node(*keys):
        ring = KeyRing(keys, lambda length: bytes(length))
        ring.confirm(store)
        return make_place(store, ring, clock, pki)

    first = node(old)
    role = LibrarianRole.REGION_ADMINISTRATOR if library_id == REGION else LibrarianRole.LIBRARIAN
    member = first.staff.add_librarian(
        first.command,
        library_id=library_id,
        login_name="taro",
        display_name="太郎",
        role=role,
        password=first.password,
    )
    service = OwnAccountService(first.environment, first.staff, SecondFactorPolicy.OPTIONAL)
    app = set_up(first, service, member)
    second = node(new, old)
    rotation = KeyRotation(second.environment, Actor(ActorKind.COMMAND, "tests"))
    with pytest.raises(KeyInUse) as caught:
        rotation.retire("k1")
    assert caught.value.uses[KeyedRecord.SECOND_FACTOR.value] == 1
    list(rotation.rotate())
    rotation.retire("k1")
    third = node(new)
    after = OwnAccountService(third.environment, third.staff, SecondFactorPolicy.OPTIONAL)
    with pytest.raises(SecondFactorNeeded) as needed:
        third.staff.log_in("taro", third.password)
    member = needed.value.librarian
    after.complete_log_in(member.librarian_id, member.session_generation, app.next())


def test_a_secret_under_a_lost_key_refuses_and_does_not_let_in(place, own, app):
    other = KeyRing([MasterKey("other", bytes([7]) * 32)], lambda length: bytes(length))
    lost = type(place.environment)(
        place.store, other, place.environment.libraries, place.clock, place.environment.random_bytes
    )
    staff = StaffService(lost, place.staff._password_hasher)
    service = OwnAccountService(lost, staff, SecondFactorPolicy.OPTIONAL)
    with pytest.raises(SecondFactorRefused):
        service.complete_log_in(*half(place), app.next())
