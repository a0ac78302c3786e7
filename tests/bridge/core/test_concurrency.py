"""At the same moment: one wins, the other is told. On SQLite and on PostgreSQL."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from secrets import token_bytes
from threading import Barrier, Event

import pytest

from bridge.borrowing import NoLongerValid, TokenProblem
from bridge.errors import AlreadyLinked, LinkRequestPending, LogInFailed
from bridge.keys.ring import KeyRing, MasterKey
from bridge.models import AuditTag, UnlinkReason
from jpki.errors import ChallengeAlreadyUsed

TIME_LIMIT = 90


def at_once(*calls):
    """Run the calls in threads of their own, from the same moment; return results or exceptions."""
    barrier = Barrier(len(calls), timeout=TIME_LIMIT)

    def run(call):
        barrier.wait()
        try:
            return call()
        except Exception as error:  # noqa: BLE001  # whatever it is, the test counts it
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(TIME_LIMIT) for future in [pool.submit(run, call) for call in calls]]


def kinds(results) -> Counter:
    return Counter(type(result).__name__ for result in results)


def test_one_challenge_answered_twice_at_once_counts_once(place):
    card = place.card()
    place.link(card)
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    results = at_once(*[lambda: place.complete_borrow(place.self_check, card, challenge)] * 4)
    assert kinds(results) == {"OpenedSession": 1, ChallengeAlreadyUsed.__name__: 3}


def test_two_counters_link_the_same_card_at_once_and_one_is_told(place):
    card = place.card()
    challenges = []
    for counter, cardnumber in ((place.counter, place.cardnumber), (place.second_counter, "L-4711-000816")):
        place.start(counter, cardnumber)
        challenges.append((counter, place.registration.begin(counter, card.certificate_der)))
    both_asked_koha = Barrier(2, timeout=TIME_LIMIT)
    place.koha.before_get = both_asked_koha.wait
    results = at_once(
        *(
            lambda counter=counter, challenge=challenge: place.complete_link(counter, card, challenge)
            for counter, challenge in challenges
        )
    )
    assert kinds(results) == {"CardLink": 1, AlreadyLinked.__name__: 1}


def test_two_librarians_start_at_one_counter_at_once_and_one_is_told(place):
    results = at_once(*[place.start] * 3)
    assert kinds(results) == {"LinkRequest": 1, LinkRequestPending.__name__: 2}


def test_a_link_ended_twice_at_once_ends_once(place):
    link = place.link(place.card())
    results = at_once(
        *[lambda: place.registration.unlink(place.librarian, link.link_id, reason=UnlinkReason.MISTAKE)] * 3
    )
    assert kinds(results) == {"CardLink": 1, "LinkNotFound": 2}


def test_two_programs_that_meet_new_keys_at_once_both_start(store):
    for number in range(5):
        keys = KeyRing([MasterKey(f"k{each}", bytes([each] * 32)) for each in range(number + 1)], token_bytes)
        assert at_once(*[lambda keys=keys: keys.confirm(store)] * 4) == [None] * 4


def test_of_two_programs_with_different_keys_of_one_name_one_is_stopped(store, monkeypatch):
    one, other = (KeyRing([MasterKey("k1", bytes([each] * 32))], token_bytes) for each in range(2))
    one_has_checked, other_is_done = Event(), Event()
    check = KeyRing.check

    def check_and_be_overtaken(keys, transaction):
        check(keys, transaction)
        if not one_has_checked.is_set():
            one_has_checked.set()
            other_is_done.wait(0.5)  # on SQLite in vain: it waits for its turn to write

    def overtake():
        assert one_has_checked.wait(TIME_LIMIT)
        try:
            other.confirm(store)
        finally:
            other_is_done.set()

    monkeypatch.setattr(KeyRing, "check", check_and_be_overtaken)
    results = at_once(lambda: one.confirm(store), overtake)
    assert kinds(results) == {"NoneType": 1, "KeyProblem": 1}


def test_of_many_right_passwords_after_four_failures_no_more_than_one_is_tried(place):
    """A guess counts from its beginning, or all that begin before the fifth has failed would be tried."""
    started = Barrier(6, timeout=TIME_LIMIT)
    real = place.staff._matches

    def matches(password_hash, password):
        started.wait()  # every guess has been let in, or not, before the first one is judged
        return real(password_hash, password)

    at_once(*[lambda: place.staff.log_in("hanako", "wrong")] * 4)
    place.staff._matches = matches
    results = at_once(*[lambda: place.staff.log_in("hanako", place.password)] * 6)
    assert kinds(results) == {"Librarian": 1, "LogInFailed": 5}


def test_many_guesses_at_once_lock_the_account(place):
    at_once(*[lambda: place.staff.log_in("hanako", "wrong")] * 8)
    with pytest.raises(LogInFailed):
        place.staff.log_in("hanako", place.password)
    place.clock.advance(minutes=15)
    assert place.staff.log_in("hanako", place.password) == place.librarian


def test_two_machines_with_one_card_at_once_leave_one_session(place):
    card = place.card()
    place.link(card)
    machines = [(place.self_check, "sc1"), (place.second_self_check, "sc2")]
    challenges = [place.borrowing.begin(machine, card.certificate_der) for machine, _ in machines]
    opened = at_once(
        *(
            lambda machine=machine, challenge=challenge: place.complete_borrow(machine, card, challenge)
            for (machine, _), challenge in zip(machines, challenges, strict=True)
        )
    )
    assert kinds(opened) == {"OpenedSession": 2}
    standing = [place.resolve(each, login) for each, (_, login) in zip(opened, machines, strict=True)]
    assert kinds(standing) == {"Borrower": 1, "NoLongerValid": 1}


def test_no_session_is_left_on_a_link_that_ends_while_it_is_used(place):
    card = place.card()
    link = place.link(card)
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    at_once(
        lambda: place.complete_borrow(place.self_check, card, challenge),
        lambda: place.registration.unlink(place.librarian, link.link_id, reason=UnlinkReason.CARD_LOST),
    )
    with place.store.reading() as transaction:
        assert list(transaction.open_sessions_of_links([link.link_id])) == []


def test_a_token_asked_while_it_is_being_closed_is_good_before_or_dead_after(place):
    card = place.card()
    place.link(card)
    opened = place.borrow(card)
    results = at_once(
        *[lambda: place.resolve(opened)] * 4,
        *[lambda: place.borrowing.close(opened.session_id, "patron-ended")] * 3,
    )
    assert set(kinds(results)) <= {"Borrower", "NoLongerValid", "NoneType"}
    assert place.resolve(opened) == NoLongerValid(TokenProblem.CLOSED)
    assert len(place.audit(AuditTag.SESSION_CLOSED)) == 1


def test_many_messages_at_once_are_all_answered(place):
    card = place.card()
    place.link(card)
    opened = place.borrow(card)
    results = at_once(*[lambda: place.resolve(opened)] * 16)
    assert kinds(results) == {"Borrower": 16}
