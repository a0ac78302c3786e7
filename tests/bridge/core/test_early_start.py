"""The question about revocation is asked early: answered in time, late, in another process, or never."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from bridge.borrowing import NoLongerValid, TokenProblem
from bridge.errors import Denied, NotLinked
from bridge.keys.ring import KeyRing, MasterKey
from bridge.models import AuditTag, LinkState
from bridge.revocation.inquiries import RevocationInquiries
from bridge.rules import DenialReason, OutagePolicy, RevocationRule
from bridge.store import SqlStore, open_engine
from bridge.verification import LibraryRevocation
from jpki.revocation import RevocationAnswer, RevocationPolicy, RevocationStatus, UnknownReason

TIME_LIMIT = 90
GOOD, REVOKED, UNKNOWN = RevocationStatus.GOOD, RevocationStatus.REVOKED, RevocationStatus.UNKNOWN


class SlowResponder:
    """Answers when the test lets it."""

    name = "slow"

    def __init__(self, status=GOOD, why=None, reason=None):
        self.status, self.why, self.reason = status, why, reason
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def check(self, certificate, issuer, now):
        self.asked.set()
        assert self.may_answer.wait(TIME_LIMIT)
        return RevocationAnswer(self.status, self.name, now, why=self.why, reason=self.reason)


@pytest.fixture
def card(place):
    card = place.card()
    place.link(card)
    return card


@pytest.fixture
def let_ask(place):
    """Let the library ask another source, by another rule, with other patience."""
    responders = []

    def let_ask(
        source, rule=None, grace=timedelta(milliseconds=20), limit=timedelta(seconds=TIME_LIMIT), at=None
    ):
        verification = (at or place).verification
        verification._policy = replace(
            verification._policy,
            revocation={place.library: LibraryRevocation(source, rule or RevocationRule())},
            answer_grace=grace,
            answer_limit=limit,
        )
        responders.append(source)
        return source

    yield let_ask
    for responder in responders:
        if isinstance(responder, SlowResponder):
            responder.may_answer.set()
    place.verification._inquiries._threads.shutdown()


def begin(place, card):
    return place.borrowing.begin(place.self_check, card.certificate_der)


def stored_answer(place, challenge):
    with place.store.transaction() as transaction:
        return transaction.find_challenge(challenge.challenge_id).revocation


def wait_for_answer(place, challenge):
    place.verification._inquiries._threads.shutdown()  # returns when the answer has been kept
    return stored_answer(place, challenge)


def test_a_slow_answer_does_not_keep_the_patron_from_the_pin_and_joins_at_the_response(place, card, let_ask):
    responder = let_ask(SlowResponder())
    challenge = begin(place, card)
    assert stored_answer(place, challenge) is None
    with ThreadPoolExecutor(1) as pool:
        response = pool.submit(place.complete_borrow, place.self_check, card, challenge)
        responder.may_answer.set()
        assert response.result(TIME_LIMIT).token


def test_a_revoked_that_comes_late_opens_nothing_and_suspends_the_link(place, card, let_ask):
    responder = let_ask(SlowResponder(REVOKED, reason="keyCompromise"))
    challenge = begin(place, card)
    responder.may_answer.set()
    wait_for_answer(place, challenge)
    with pytest.raises(Denied) as caught:
        place.complete_borrow(place.self_check, card, challenge)
    assert (caught.value.reason, caught.value.why) == (DenialReason.CERTIFICATE_REVOKED, "keyCompromise")
    with place.store.transaction() as transaction:
        (link,) = transaction.open_links_of_patron(place.library, 51)
    assert (link.state, link.suspended_reason) == (LinkState.SUSPENDED, "certificate-revoked")
    assert place.audit(AuditTag.LINK_SUSPENDED)[-1].details["why"] == "keyCompromise"


def test_an_answer_within_the_grace_is_judged_before_the_pin(place, card, let_ask):
    responder = let_ask(SlowResponder(REVOKED), grace=timedelta(seconds=TIME_LIMIT))
    with ThreadPoolExecutor(1) as pool:
        refused = pool.submit(begin, place, card)
        assert responder.asked.wait(TIME_LIMIT)
        responder.may_answer.set()
        with pytest.raises(Denied):
            refused.result(TIME_LIMIT)


def test_an_answer_that_never_comes_is_unreachable(place, card, let_ask):
    let_ask(SlowResponder(), limit=timedelta(milliseconds=200))
    challenge = begin(place, card)
    with pytest.raises(Denied) as caught:
        place.complete_borrow(place.self_check, card, challenge)
    assert (caught.value.reason, caught.value.why) == (DenialReason.REVOCATION_UNKNOWN, "unreachable")
    assert place.audit(AuditTag.SESSION_DENIED)[-1].details == {
        "problem": "revocation-unknown",
        "why": "unreachable",
    }


def test_another_process_joins_the_answer(place, card, let_ask, make_place):
    responder = let_ask(SlowResponder(REVOKED))
    challenge = begin(place, card)
    keys = KeyRing([MasterKey("k1", bytes(range(32)))], place.environment.random_bytes)
    other = make_place(SqlStore(open_engine(place.url)), keys, place.clock, place.pki)
    other.koha.patrons = place.koha.patrons
    responder.may_answer.set()
    wait_for_answer(place, challenge)
    with pytest.raises(Denied) as caught:
        other.complete_borrow(place.self_check, card, challenge)
    assert caught.value.reason is DenialReason.CERTIFICATE_REVOKED
    other.store.dispose()


def test_a_slow_responder_holds_no_other_terminal_up(place, card, let_ask):
    let_ask(SlowResponder())
    begin(place, card)
    with pytest.raises(NotLinked):
        place.borrowing.begin(place.second_self_check, place.card().certificate_der)


def test_more_questions_than_places_are_unknown_at_once(place):
    responder = SlowResponder()
    inquiries = RevocationInquiries(maximum_at_once=1)
    first = inquiries.start(responder, None, None, place.clock())
    assert responder.asked.wait(TIME_LIMIT)
    refused = inquiries.start(responder, None, None, place.clock()).wait(0)
    assert refused.why is UnknownReason.UNREACHABLE
    responder.may_answer.set()
    assert first.wait(TIME_LIMIT).status is GOOD


# The outage policy at work

OUTAGE_RULE = RevocationRule(
    RevocationPolicy(timedelta(hours=1)), OutagePolicy.LAST_KNOWN_GOOD, timedelta(hours=12)
)


def answered(status, why=None):
    responder = SlowResponder(status, why)
    responder.may_answer.set()
    return responder


def test_in_an_outage_a_card_last_known_good_is_accepted_and_marked_for_review(place, card, let_ask):
    linked_at = place.clock()
    place.clock.advance(hours=11)
    let_ask(answered(UNKNOWN, UnknownReason.UNREACHABLE), OUTAGE_RULE, grace=timedelta(seconds=TIME_LIMIT))
    opened = place.borrow(card)
    marked = place.audit(AuditTag.SESSION_FOR_REVIEW)[-1]
    assert (marked.subject, marked.details["why"]) == (opened.session_id, "unreachable")
    assert marked.details["as_of"] == linked_at.isoformat()
    assert place.resolve(opened).cardnumber == place.cardnumber


def test_in_an_outage_the_token_dies_when_what_was_known_is_too_old(place, card, let_ask):
    place.clock.advance(hours=11, minutes=59)
    let_ask(answered(UNKNOWN, UnknownReason.UNREACHABLE), OUTAGE_RULE, grace=timedelta(seconds=TIME_LIMIT))
    opened = place.borrow(card)
    place.clock.advance(minutes=1, seconds=1)
    assert place.resolve(opened) == NoLongerValid(TokenProblem.REVOCATION_UNKNOWN)


@pytest.mark.parametrize("why", [UnknownReason.NOT_TRUSTED, UnknownReason.RESPONDER_SAYS_UNKNOWN])
def test_an_objection_is_no_outage(place, card, let_ask, why):
    let_ask(answered(UNKNOWN, why), OUTAGE_RULE, grace=timedelta(seconds=TIME_LIMIT))
    with pytest.raises(Denied) as caught:
        begin(place, card)
    assert caught.value.why == why.value


def test_after_a_revoked_no_outage_brings_the_card_back(place, card, let_ask):
    grace = timedelta(seconds=TIME_LIMIT)
    let_ask(answered(REVOKED), OUTAGE_RULE, grace=grace)
    with pytest.raises(Denied):
        begin(place, card)
    let_ask(answered(UNKNOWN, UnknownReason.UNREACHABLE), OUTAGE_RULE, grace=grace)
    with pytest.raises(Denied) as caught:
        begin(place, card)
    assert (caught.value.reason, caught.value.why) == (DenialReason.LINK_SUSPENDED, "certificate-revoked")


def test_linking_is_refused_in_an_outage_whatever_the_policy(place, let_ask):
    let_ask(answered(UNKNOWN, UnknownReason.UNREACHABLE), OUTAGE_RULE, grace=timedelta(seconds=TIME_LIMIT))
    request = place.start()
    with pytest.raises(Denied):
        place.registration.begin(place.counter, place.card().certificate_der)
    told = place.registration.request(place.librarian, request.request_id)
    assert (told.problem, told.problem_why) == ("revocation-unknown", "unreachable")
