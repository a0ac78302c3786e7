"""Order, time limits, circuit breaker and cache around sources, with the moment as an argument."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from jpki.circuit_breaker import BreakerPolicy, CircuitBreaker
from jpki.guarded_source import CachedSource, GuardedSource
from jpki.revocation import (
    RevocationAnswer,
    RevocationPolicy,
    RevocationStatus,
    UnknownReason,
    unknown_answer,
)
from jpki.revocation_chain import RevocationChain

SECOND = timedelta(seconds=1)
POLICY = RevocationPolicy(maximum_age=timedelta(hours=24))


class Scripted:
    """A source that says what a function returns, and counts how often it was asked."""

    def __init__(self, name: str, say: Callable[..., RevocationAnswer]) -> None:
        self.name = name
        self.say = say
        self.asked = 0

    def check(self, certificate, issuer, now):
        self.asked += 1
        return self.say(now)


def good(name="ocsp", age=timedelta(0), **rest):
    return Scripted(name, lambda now: RevocationAnswer(RevocationStatus.GOOD, name, now - age, **rest))


def revoked(name="crl", age=timedelta(0)):
    return Scripted(
        name,
        lambda now: RevocationAnswer(
            RevocationStatus.REVOKED, name, now - age, revoked_at=now - age, reason="superseded"
        ),
    )


def unknown(name="ocsp", why=UnknownReason.UNREACHABLE):
    return Scripted(name, lambda now: unknown_answer(name, now, why))


@pytest.fixture
def card(issue):
    return issue()


# Order


def test_the_first_source_that_knows_has_the_last_word(card, now):
    first, second = good("crl"), revoked("ocsp")
    answer = RevocationChain([first, second], POLICY).check(*card, now)
    assert (answer.status, answer.source, second.asked) == (RevocationStatus.GOOD, "crl", 0)


def test_revoked_ends_the_asking_however_old_it_is(card, now):
    first, second = revoked("crl", age=timedelta(days=400)), good("ocsp")
    answer = RevocationChain([first, second], POLICY).check(*card, now)
    assert (answer.status, answer.source, second.asked) == (RevocationStatus.REVOKED, "crl", 0)


@pytest.mark.parametrize(
    ("first", "why"),
    [(unknown("ocsp", why), why) for why in UnknownReason]
    + [(good("ocsp", age=timedelta(hours=25)), UnknownReason.STALE)],
)
def test_unknown_and_stale_fall_through_and_are_kept(card, now, first, why):
    answer = RevocationChain([first, good("crl")], POLICY).check(*card, now)
    assert (answer.status, answer.source) == (RevocationStatus.GOOD, "crl")
    assert [(said.source, said.why) for said in answer.consulted] == [("ocsp", why)]


def test_where_nobody_knows_every_reason_is_kept(card, now):
    sources = [
        unknown("crl", UnknownReason.NO_SOURCE),
        unknown("ocsp", UnknownReason.UNREACHABLE),
        unknown("platform", UnknownReason.MALFORMED),
    ]
    answer = RevocationChain(sources, POLICY).check(*card, now)
    assert (answer.status, answer.source, answer.why) == (
        RevocationStatus.UNKNOWN,
        "crl",
        UnknownReason.NO_SOURCE,
    )
    assert [(said.source, said.why) for said in answer.consulted] == [
        ("ocsp", UnknownReason.UNREACHABLE),
        ("platform", UnknownReason.MALFORMED),
    ]


def test_a_chain_of_nothing_is_refused():
    with pytest.raises(ValueError, match="source"):
        RevocationChain([], POLICY)


# Circuit breaker

BREAKER = BreakerPolicy(failures=2, first_pause=10 * SECOND, longest_pause=30 * SECOND)


def test_a_service_is_left_alone_after_failures_and_tried_once_after_a_pause(now):
    breaker = CircuitBreaker(BREAKER)
    breaker.failed(now)
    assert breaker.may_ask(now)
    breaker.failed(now)
    assert breaker.paused_until == now + 10 * SECOND
    assert not breaker.may_ask(now + 9 * SECOND)
    assert breaker.may_ask(now + 10 * SECOND)
    assert not breaker.may_ask(now + 10 * SECOND)  # one trial at a time
    breaker.succeeded()
    assert breaker.may_ask(now + 10 * SECOND)
    assert breaker.paused_until is None


def test_each_failed_trial_doubles_the_pause_up_to_the_longest(now):
    breaker = CircuitBreaker(BREAKER)
    pauses = []
    for _ in range(6):
        breaker.failed(now)
        pauses.append(breaker.paused_until and (breaker.paused_until - now) // SECOND)
    assert pauses == [None, 10, 20, 30, 30, 30]
    breaker.succeeded()
    breaker.failed(now)
    assert breaker.paused_until is None


# Guards


def guarded(source, *, timeout=60.0, maximum_at_once=2, failures=2) -> GuardedSource:
    policy = BreakerPolicy(failures, 10 * SECOND, 30 * SECOND)
    return GuardedSource(
        source, timeout=timeout, maximum_at_once=maximum_at_once, breaker=CircuitBreaker(policy)
    )


def test_an_answer_passes_through_a_guard(card, now):
    assert guarded(revoked()).check(*card, now).status is RevocationStatus.REVOKED


@pytest.mark.parametrize("why", [UnknownReason.UNREACHABLE, UnknownReason.MALFORMED])
def test_a_source_that_fails_is_left_alone_and_tried_again(card, now, why):
    source = unknown("ocsp", why)
    guard = guarded(source)
    for _ in range(5):
        assert guard.check(*card, now).status is RevocationStatus.UNKNOWN
    assert source.asked == 2
    source.say = good().say
    assert guard.check(*card, now + 11 * SECOND).status is RevocationStatus.GOOD


def test_to_say_unknown_is_no_failure(card, now):
    source = unknown("ocsp", UnknownReason.RESPONDER_SAYS_UNKNOWN)
    guard = guarded(source)
    for _ in range(5):
        guard.check(*card, now)
    assert source.asked == 5


def test_a_slow_source_is_given_up_in_time_and_holds_up_nobody_else(card, now):
    answer_now = threading.Event()

    def slow(now):
        answer_now.wait(100)
        return unknown_answer("ocsp", now, UnknownReason.UNREACHABLE)

    guard = guarded(Scripted("ocsp", slow), timeout=0.2, maximum_at_once=2, failures=100)
    begun = time.monotonic()
    try:
        answers = [guard.check(*card, now) for _ in range(2)]
        # Both places are taken by questions that were given up: the next ones are not asked at all.
        answers += [guard.check(*card, now) for _ in range(300)]
        assert time.monotonic() - begun < 30  # to wait for each would take a minute
        assert {answer.why for answer in answers} == {UnknownReason.UNREACHABLE}
    finally:
        answer_now.set()
    deadline = time.monotonic() + 30
    guard._source.say = good().say
    while guard.check(*card, now).status is not RevocationStatus.GOOD:
        assert time.monotonic() < deadline


def test_terminals_ask_side_by_side(card, now):
    both_are_asking = threading.Barrier(2, timeout=60)

    def say(now):
        both_are_asking.wait()
        return good().say(now)

    guard = guarded(Scripted("ocsp", say))
    answers = []
    terminals = [threading.Thread(target=lambda: answers.append(guard.check(*card, now))) for _ in range(2)]
    for terminal in terminals:
        terminal.start()
    for terminal in terminals:
        terminal.join(60)
    assert [answer.status for answer in answers] == [RevocationStatus.GOOD] * 2


# Cache


@pytest.mark.parametrize("make", [good, revoked])
def test_an_answer_is_remembered_for_its_time(card, now, make):
    source = make()
    cache = CachedSource(source, lifetime=60 * SECOND)
    first = cache.check(*card, now)
    assert cache.check(*card, now + 59 * SECOND) is first
    assert cache.check(*card, now + 60 * SECOND) is not first
    assert source.asked == 2


def test_an_answer_counts_no_longer_than_its_source_says(card, now):
    source = good(next_update=now + 10 * SECOND)
    cache = CachedSource(source, lifetime=60 * SECOND)
    cache.check(*card, now)
    cache.check(*card, now + 9 * SECOND)
    assert source.asked == 1
    cache.check(*card, now + 10 * SECOND)
    assert source.asked == 2


def test_unknown_is_not_remembered(card, now):
    source = unknown()
    cache = CachedSource(source, lifetime=60 * SECOND)
    cache.check(*card, now)
    cache.check(*card, now)
    assert source.asked == 2


def test_another_card_gets_another_answer(issue, now):
    source = good()
    cache = CachedSource(source, lifetime=60 * SECOND)
    cache.check(*issue(), now)
    cache.check(*issue(), now)
    assert source.asked == 2


def test_beyond_its_capacity_the_cache_forgets_the_card_not_asked_for_longest(issue, now):
    source = good()
    cache = CachedSource(source, lifetime=60 * SECOND, capacity=2)
    first, second, third = issue(), issue(), issue()
    for asked in (first, second, first, third):
        cache.check(*asked, now)
    assert source.asked == 3
    cache.check(*first, now)
    assert source.asked == 3
    cache.check(*second, now)
    assert source.asked == 4
