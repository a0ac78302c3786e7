"""Borrowing at a self-check machine: sessions, tokens, and each thing that must be refused."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy import text

from bridge.borrowing import Borrower, NoLongerValid, NotOurs, TokenProblem
from bridge.errors import (
    Denied,
    KohaNotReachable,
    NoSuchPatron,
    NotLinked,
    WrongTerminalKind,
)
from bridge.keys.ring import KeyRing, MasterKey
from bridge.models import AgentStep, AuditTag, SuspensionReason, UnlinkReason
from bridge.rules import DenialReason
from bridge.tokens import CheckDigit, TokenShape
from jpki.certificate import UserAuthenticationCertificate
from jpki.errors import ChallengeAlreadyUsed, ChallengeUnknown, InvalidSignature, WrongTerminal
from jpki.revocation import RevocationStatus
from jpki.simulator.pki import CardProfile


@pytest.fixture
def card(place):
    """A card that is linked to patron 51."""
    card = place.card()
    place.link(card)
    return card


def denials(place):
    return [row.details["problem"] for row in place.audit(AuditTag.SESSION_DENIED)]


def closings(place):
    return [row.details["reason"] for row in place.audit(AuditTag.SESSION_CLOSED)]


def suspend(place):
    (link,) = place.registration.find_patron(place.librarian, place.cardnumber).open_links
    place.registration.suspend(place.librarian, link.link_id, reason=SuspensionReason.CARD_MISLAID)


def test_a_linked_card_opens_a_session_and_its_token_stands_for_the_card_number(place, card):
    opened = place.borrow(card)
    assert re.fullmatch("98[0-9]{12}", opened.token.value)
    assert opened.expires_at == place.clock() + timedelta(minutes=15)
    assert place.stands_for(place.resolve(opened)) == (opened.session_id, place.cardnumber)
    assert place.audit(AuditTag.SESSION_OPENED)[-1].subject == opened.session_id
    with place.store.transaction() as transaction:
        assert transaction.open_links_of_patron(place.library, 51)[0].last_used_at == place.clock()


def test_the_token_brings_the_card_number_that_the_patron_has_now(place, card):
    place.koha.change(51, cardnumber="NEW-1")
    session_id, cardnumber = place.stands_for(place.resolve(place.borrow(card)))
    assert (session_id, cardnumber) == (place.audit(AuditTag.SESSION_OPENED)[-1].subject, "NEW-1")


# Before the PIN


def test_a_card_that_was_never_linked_is_refused_before_the_pin(place):
    with pytest.raises(NotLinked):
        place.borrowing.begin(place.self_check, place.card().certificate_der)
    assert denials(place) == ["not-linked"]


def test_a_suspended_link_is_refused_before_the_pin(place, card):
    suspend(place)
    with pytest.raises(Denied) as caught:
        place.borrowing.begin(place.self_check, card.certificate_der)
    assert caught.value.reason is DenialReason.LINK_SUSPENDED


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (RevocationStatus.REVOKED, "certificate-revoked"),
        (RevocationStatus.UNKNOWN, "revocation-unknown"),
    ],
)
def test_a_linked_card_not_known_to_be_good_is_refused_before_the_pin(place, card, status, reason):
    place.revocation.status = status
    with pytest.raises(Denied) as caught:
        place.borrowing.begin(place.self_check, card.certificate_der)
    assert caught.value.slug == reason
    assert denials(place) == [reason]


def test_an_expired_card_is_refused_before_the_pin(place):
    with pytest.raises(Exception, match="expired"):
        place.borrowing.begin(place.self_check, place.card(CardProfile.EXPIRED).certificate_der)
    assert denials(place) == ["certificate-expired"]


def test_a_counter_opens_no_session(place, card):
    with pytest.raises(WrongTerminalKind):
        place.borrowing.begin(place.counter, card.certificate_der)
    with pytest.raises(WrongTerminalKind):
        place.borrowing.complete(place.counter, "any", b"", b"")


# After the PIN


def test_a_response_opens_one_session(place, card):
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    place.complete_borrow(place.self_check, card, challenge)
    with pytest.raises(ChallengeAlreadyUsed):
        place.complete_borrow(place.self_check, card, challenge)
    assert denials(place) == ["challenge-already-used"]


def test_a_response_from_another_machine_is_refused(place, card):
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    with pytest.raises(WrongTerminal):
        place.complete_borrow(place.second_self_check, card, challenge)


def test_a_wrong_signature_opens_nothing(place, card):
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    with pytest.raises(InvalidSignature):
        place.borrowing.complete(place.self_check, challenge.challenge_id, card.certificate_der, bytes(256))


def test_a_challenge_for_linking_opens_nothing(place):
    card = place.card()
    place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    with pytest.raises(ChallengeUnknown):
        place.complete_borrow(place.self_check, card, challenge)


def test_a_revocation_answer_that_aged_during_the_pin_no_longer_counts(place, card):
    place.revocation.check = lambda certificate, issuer, now: aged(now)
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    place.clock.advance(seconds=61)
    with pytest.raises(Denied) as caught:
        place.complete_borrow(place.self_check, card, challenge)
    assert caught.value.reason is DenialReason.REVOCATION_UNKNOWN


def aged(now):
    """An answer that has one more minute of its 24 hours."""
    from jpki.revocation import RevocationAnswer

    as_of = now - timedelta(hours=23, minutes=59)
    return RevocationAnswer(RevocationStatus.GOOD, "scripted", as_of)


def test_a_link_ended_during_the_pin_opens_nothing(place, card):
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    with place.store.transaction() as transaction:
        link = transaction.open_links_of_patron(place.library, 51)[0]
    place.registration.unlink(place.librarian, link.link_id, reason=UnlinkReason.CARD_LOST)
    with pytest.raises(NotLinked):
        place.complete_borrow(place.self_check, card, challenge)


def test_a_link_ended_while_koha_thinks_opens_nothing(place, card):
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    with place.store.transaction() as transaction:
        link = transaction.open_links_of_patron(place.library, 51)[0]
    place.koha.before_get = lambda: place.registration.unlink(
        place.librarian, link.link_id, reason=UnlinkReason.CARD_LOST
    )
    with pytest.raises(Denied) as caught:
        place.complete_borrow(place.self_check, card, challenge)
    assert caught.value.reason is DenialReason.LINK_ENDED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"expiry_date": date(2026, 11, 1)}, DenialReason.LIBRARY_CARD_EXPIRED),
        ({"card_lost": True}, DenialReason.LIBRARY_CARD_LOST),
    ],
)
def test_the_library_card_must_be_in_order(place, card, changes, reason):
    place.koha.change(51, **changes)
    with pytest.raises(Denied) as caught:
        place.borrow(card)
    assert caught.value.reason is reason
    assert denials(place) == [reason.value]


def test_a_restricted_patron_gets_a_session_and_koha_refuses_the_loans(place, card):
    place.koha.change(51, restricted=True)
    assert isinstance(place.resolve(place.borrow(card)), Borrower)


def test_after_the_library_card_is_renewed_the_card_works_again(place, card):
    place.koha.change(51, expiry_date=date(2026, 11, 1))
    with pytest.raises(Denied):
        place.borrow(card)
    place.koha.change(51, expiry_date=date(2027, 11, 1))
    place.borrow(card)


def test_koha_out_of_reach_or_the_patron_gone_opens_nothing(place, card):
    place.koha.reachable = False
    with pytest.raises(KohaNotReachable):
        place.borrow(card)
    place.koha.reachable = True
    del place.koha.patrons[51]
    with pytest.raises(NoSuchPatron):
        place.borrow(card)
    assert denials(place) == ["koha-not-reachable", "patron-not-found"]


# Tokens


@pytest.mark.parametrize(
    "identifier",
    [
        "",
        "98",
        "L-4711-000815",
        "9812345678901",
        "981234567890123",
        "97123456789012",
        "98１２３４５６７８９０１２",
        "98123456789012\n",
    ],
)
def test_what_has_not_the_shape_of_a_token_is_not_ours(place, identifier):
    assert place.borrowing.resolve(place.library, "sc1", identifier) == NotOurs()
    assert place.borrowing.resolve(place.library, None, identifier) == NotOurs()


def test_a_token_never_given_is_unknown(place):
    found = place.borrowing.resolve(place.library, "sc1", "98123456789012")
    assert found == NoLongerValid(TokenProblem.UNKNOWN)
    event = place.audit(AuditTag.SESSION_DENIED)[-1]
    assert (event.subject, event.terminal_id) == ("-", "check-1")


@pytest.mark.parametrize("sip2_login", ["sc2", "nobody", "", None])
def test_a_token_is_worth_nothing_at_another_machine_and_its_owner_keeps_it(place, card, sip2_login):
    opened = place.borrow(card)
    assert place.resolve(opened, sip2_login) == NoLongerValid(TokenProblem.WRONG_TERMINAL)
    assert denials(place) == ["token-wrong-terminal"]
    seen_at = "check-2" if sip2_login == "sc2" else None
    assert place.audit(AuditTag.SESSION_DENIED)[-1].terminal_id == seen_at
    assert isinstance(place.resolve(opened), Borrower)


def test_a_token_is_worth_nothing_in_another_library(place, card):
    opened = place.borrow(card)
    found = place.borrowing.resolve(place.other_library, "sc1", opened.token.value)
    assert found == NoLongerValid(TokenProblem.UNKNOWN)


def test_a_token_is_dead_after_the_session_was_closed(place, card):
    opened = place.borrow(card)
    place.borrowing.close(opened.session_id, "end_patron_session")
    place.borrowing.close(opened.session_id, "disconnected")
    assert place.resolve(opened) == NoLongerValid(TokenProblem.CLOSED)
    assert closings(place) == ["end_patron_session"]


def test_a_token_is_dead_after_its_lifetime_however_busy(place, card):
    opened = place.borrow(card)
    for _ in range(14):
        place.clock.advance(minutes=1)
        assert isinstance(place.resolve(opened), Borrower)
    place.clock.advance(minutes=1)
    assert place.resolve(opened) == NoLongerValid(TokenProblem.EXPIRED)
    assert closings(place) == ["token-expired"]


def test_a_token_is_dead_after_the_idle_limit(place, card):
    opened = place.borrow(card)
    place.clock.advance(seconds=120)
    assert isinstance(place.resolve(opened), Borrower)
    place.clock.advance(seconds=121)
    assert place.resolve(opened) == NoLongerValid(TokenProblem.IDLE)
    assert place.resolve(opened) == NoLongerValid(TokenProblem.CLOSED)


def test_unlinking_kills_the_token_at_once(place, card):
    opened = place.borrow(card)
    with place.store.transaction() as transaction:
        link = transaction.open_links_of_patron(place.library, 51)[0]
    place.registration.unlink(place.librarian, link.link_id, reason=UnlinkReason.CARD_LOST)
    assert place.resolve(opened) == NoLongerValid(TokenProblem.CLOSED)
    assert closings(place) == ["link-ended"]


def test_suspending_the_link_kills_the_token_at_the_next_message(place, card):
    opened = place.borrow(card)
    suspend(place)
    assert closings(place) == ["link-suspended"]
    assert place.resolve(opened) == NoLongerValid(TokenProblem.CLOSED)


def test_removing_the_terminal_kills_the_token(place, card):
    opened = place.borrow(card)
    place.staff.remove_terminal(place.command, library_id=place.library, terminal_id="check-1")
    assert place.resolve(opened) == NoLongerValid(TokenProblem.WRONG_TERMINAL)


def test_a_second_session_of_a_card_ends_the_first(place, card):
    first = place.borrow(card)
    second = place.borrow(card, place.second_self_check)
    assert place.resolve(first) == NoLongerValid(TokenProblem.CLOSED)
    assert isinstance(place.resolve(second, "sc2"), Borrower)
    assert closings(place) == ["superseded"]


def test_card_numbers_of_forgotten_sessions_are_wiped_when_the_next_one_opens(place, card):
    place.borrow(card)
    other = place.card()
    place.start(cardnumber="L-4711-000816")
    challenge = place.registration.begin(place.counter, other.certificate_der)
    place.complete_link(place.counter, other, challenge)
    place.clock.advance(minutes=3)
    place.borrow(other)
    assert closings(place) == ["overdue"]


def test_a_token_made_with_an_old_key_is_still_found(place, card, make_place):
    opened = place.borrow(card)
    keys = KeyRing(
        [MasterKey("k2", bytes(32)), MasterKey("k1", bytes(range(32)))], place.environment.random_bytes
    )
    after_rotation = make_place(place.store, keys, place.clock, place.pki)
    assert place.stands_for(after_rotation.resolve(opened)) == (opened.session_id, place.cardnumber)


def test_two_sessions_never_share_a_token(place, card, monkeypatch):
    drawn = iter([bytes(16), bytes(16), bytes(16), bytes([1] * 16)])

    class Scripted(TokenShape):
        def draw(self, random_bytes):
            return super().draw(lambda _: next(drawn))

    place.borrowing._tokens = replace(place.tokens, shape=Scripted("98", 14))
    first, second = place.borrow(card), place.borrow(card)
    assert first.token.value == "98000000000000"
    assert second.token.value == TokenShape("98", 14).draw(lambda _: bytes([1] * 16)).value


def test_each_machine_has_tokens_of_its_own_shape(place, card):
    shape = TokenShape("971", 16, CheckDigit.LUHN)
    place.borrowing._tokens = replace(place.tokens, shapes={(place.library, "sc1"): shape})
    opened = place.borrow(card)
    assert shape.matches(opened.token.value)
    assert place.stands_for(place.resolve(opened)) == (opened.session_id, place.cardnumber)
    assert place.resolve(opened, "sc2") == NoLongerValid(TokenProblem.WRONG_TERMINAL)
    assert place.borrowing.resolve("harbour", "sc1", opened.token.value) == NotOurs()


def test_a_session_ends_when_its_revocation_answer_grows_stale(place, card):
    place.revocation.next_update = place.clock() + timedelta(seconds=30)
    opened = place.borrow(card)
    for _ in range(3):
        place.clock.advance(seconds=100)  # within the five minutes that clocks may differ
        assert isinstance(place.resolve(opened), Borrower)
    place.clock.advance(seconds=100)
    assert place.resolve(opened) == NoLongerValid(TokenProblem.REVOCATION_UNKNOWN)
    assert place.audit(AuditTag.SESSION_DENIED)[-1].details == {"problem": "token-revocation-unknown"}


def test_a_session_ends_when_its_certificate_expires(place, card):
    certificate = UserAuthenticationCertificate.from_der(card.certificate_der)
    place.clock.now = certificate.not_after - timedelta(seconds=60)
    place.koha.change(51, expiry_date=None)
    opened = place.borrow(card)
    assert isinstance(place.resolve(opened), Borrower)
    place.clock.advance(seconds=61)
    assert place.resolve(opened) == NoLongerValid(TokenProblem.CERTIFICATE_EXPIRED)


def test_a_session_of_which_no_revocation_answer_is_kept_is_refused(place, card):
    opened = place.borrow(card)
    place.change(text("UPDATE card_session SET revocation_status = NULL"))
    assert place.resolve(opened) == NoLongerValid(TokenProblem.REVOCATION_UNKNOWN)


# The PIN


def begun(place, card):
    return place.borrowing.begin(place.self_check, card.certificate_der).challenge_id


def test_a_locked_pin_is_a_refusal_at_its_machine_and_names_nobody(place, card):
    place.borrowing.progress(place.self_check, begun(place, card), AgentStep.PIN_BLOCKED)
    event = place.audit()[-1]
    machine = place.self_check.terminal_id
    assert (event.tag, event.subject, event.terminal_id) == (AuditTag.SESSION_DENIED, machine, machine)
    assert event.details == {"problem": "pin-blocked"}


def test_a_wrong_pin_is_recorded_at_its_machine_and_is_no_refusal(place, card):
    place.borrowing.progress(place.self_check, begun(place, card), AgentStep.PIN_WRONG)
    event = place.audit()[-1]
    machine = place.self_check.terminal_id
    assert (event.tag, event.subject, event.terminal_id) == (AuditTag.PIN_WRONG, machine, machine)
    assert event.details == {}
    assert denials(place) == []


@pytest.mark.parametrize("step", sorted(set(AgentStep) - {AgentStep.PIN_WRONG, AgentStep.PIN_BLOCKED}))
def test_nothing_else_at_the_reader_of_a_machine_is_recorded(place, card, step):
    challenge_id = begun(place, card)
    before = len(place.audit())
    place.borrowing.progress(place.self_check, challenge_id, step)
    assert len(place.audit()) == before


def test_a_pin_that_was_told_after_the_session_opened_is_not_recorded(place, card):
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    place.complete_borrow(place.self_check, card, challenge)
    before = len(place.audit())
    for step in (AgentStep.PIN_WRONG, AgentStep.PIN_BLOCKED):
        with pytest.raises(ChallengeAlreadyUsed):
            place.borrowing.progress(place.self_check, challenge.challenge_id, step)
    assert len(place.audit()) == before


def test_a_pin_at_another_terminal_or_of_no_challenge_is_not_recorded(place, card):
    challenge_id = begun(place, card)
    before = len(place.audit())
    for terminal, told in ((place.counter, challenge_id), (place.self_check, "unknown")):
        with pytest.raises(ChallengeUnknown):
            place.borrowing.progress(terminal, told, AgentStep.PIN_BLOCKED)
    assert len(place.audit()) == before


def test_a_machine_that_runs_wild_fills_no_audit_log(place, card):
    challenge_id = begun(place, card)
    for _ in range(50):
        place.borrowing.progress(place.self_check, challenge_id, AgentStep.PIN_WRONG)
    assert len(place.audit(AuditTag.PIN_WRONG)) == 5
