"""Linking a card at the counter: the story, and each thing that must be refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from bridge.errors import (
    AlreadyLinked,
    Denied,
    KohaNotReachable,
    LinkNotFound,
    LinkRequestNotFound,
    LinkRequestPending,
    NoLinkRequest,
    NoSuchPatron,
    NotAllowed,
    TerminalNotFound,
    WrongTerminalKind,
)
from bridge.links.consent import STANDARD_VERSION
from bridge.models import (
    AgentStep,
    AuditTag,
    LibrarianRole,
    LinkRequestState,
    LinkState,
    SuspensionReason,
    TerminalKind,
    UnlinkReason,
)
from bridge.rules import DenialReason
from jpki.errors import (
    CertificateExpired,
    ChallengeAlreadyUsed,
    ChallengeExpired,
    ChallengeUnknown,
    InvalidSignature,
    MalformedCertificate,
    UntrustedIssuer,
    WrongCertificate,
    WrongCertificatePolicy,
    WrongCertificateType,
    WrongTerminal,
)
from jpki.revocation import RevocationStatus
from jpki.simulator.pki import CardProfile


def state(place, request):
    return place.registration.request(place.librarian, request.request_id)


def problem_of(place, tag=AuditTag.LINK_REFUSED):
    return place.audit(tag)[-1].details["problem"]


def no_link_was_made(place) -> bool:
    with place.store.transaction() as transaction:
        return not transaction.open_links_of_patron(place.library, 51)


def test_a_card_is_linked_from_the_start_to_the_end(place):
    card = place.card()
    request = place.start()
    assert place.registration.pending(place.counter) == request
    challenge = place.registration.begin(place.counter, card.certificate_der)
    place.registration.progress(place.counter, challenge.challenge_id, AgentStep.PIN_REQUESTED, 3)
    assert state(place, request).state is LinkRequestState.WAITING_FOR_PIN
    link = place.complete_link(place.counter, card, challenge)
    finished = state(place, request)
    assert (finished.state, finished.link_id) == (LinkRequestState.COMPLETED, link.link_id)
    assert (link.patron_id, link.state) == (51, LinkState.ACTIVE)
    assert link.linked_by == place.librarian.librarian_id
    assert place.registration.pending(place.counter) is None
    summary = place.registration.find_patron(place.librarian, place.cardnumber)
    assert list(summary.open_links) == [link]
    *_, made, looked_up = place.audit()
    assert (made.tag, made.subject) == (AuditTag.LINK_CREATED, link.link_id)
    assert (looked_up.tag, looked_up.subject) == (AuditTag.PATRON_LOOKED_UP, link.link_id)


def test_a_link_ends_with_its_certificate(place):
    card = place.card(CardProfile.EXPIRES_SOON)
    assert place.link(card).not_after < place.clock() + timedelta(days=31)


# Before there is a request


def test_an_unknown_library_card_starts_nothing(place):
    with pytest.raises(NoSuchPatron):
        place.start(cardnumber="nobody")


def test_a_patron_whose_library_card_expired_yesterday_cannot_be_linked(place):
    place.koha.change(51, expiry_date=date(2026, 11, 1))
    with pytest.raises(Denied) as caught:
        place.start()
    assert caught.value.reason is DenialReason.LIBRARY_CARD_EXPIRED
    summary = place.registration.find_patron(place.librarian, place.cardnumber)
    assert summary.decision.denial is DenialReason.LIBRARY_CARD_EXPIRED


def test_the_day_is_the_librarys_own(place):
    place.koha.change(51, expiry_date=date(2026, 11, 2))
    place.clock.now = place.clock.now.replace(hour=14, minute=59)  # 23:59 in Japan
    assert place.registration.find_patron(place.librarian, place.cardnumber).decision.allowed
    place.clock.advance(minutes=1)
    assert not place.registration.find_patron(place.librarian, place.cardnumber).decision.allowed


def test_koha_out_of_reach_starts_nothing(place):
    place.koha.reachable = False
    with pytest.raises(KohaNotReachable):
        place.start()


def test_a_request_needs_a_terminal_of_the_library_and_a_counter(place):
    foreign = place.add_terminal("foreign", TerminalKind.COUNTER, library=place.other_library)
    with pytest.raises(TerminalNotFound):
        place.start(foreign)
    with pytest.raises(WrongTerminalKind):
        place.start(place.self_check)


def test_a_counter_waits_for_one_card_at_a_time(place):
    place.start()
    with pytest.raises(LinkRequestPending):
        place.start()
    place.start(place.second_counter)


def test_a_request_lasts_five_minutes(place):
    request = place.start()
    place.clock.advance(minutes=5)
    assert state(place, request).state is LinkRequestState.EXPIRED
    assert place.registration.pending(place.counter) is None
    with pytest.raises(NoLinkRequest):
        place.registration.begin(place.counter, place.card().certificate_der)
    place.start()


def test_a_request_can_be_taken_back_once(place):
    request = place.start()
    assert place.registration.cancel(place.librarian, request.request_id).state is (
        LinkRequestState.CANCELLED
    )
    with pytest.raises(LinkRequestNotFound):
        place.registration.cancel(place.librarian, request.request_id)


def test_another_librarys_librarian_sees_no_request_and_no_link(place):
    stranger = replace(place.librarian, library_id=place.other_library)
    link = place.link(place.card())
    request = place.start()
    for call in (place.registration.request, place.registration.cancel):
        with pytest.raises(LinkRequestNotFound):
            call(stranger, request.request_id)
    with pytest.raises(LinkNotFound):
        place.registration.link(stranger, link.link_id)
    with pytest.raises(LinkNotFound):
        place.registration.unlink(stranger, link.link_id, reason=UnlinkReason.MISTAKE)


# Before the PIN


def test_a_card_without_a_request_is_refused(place):
    with pytest.raises(NoLinkRequest):
        place.registration.begin(place.counter, place.card().certificate_der)
    assert problem_of(place) == "no-link-request"


def test_a_self_check_machine_links_nothing(place):
    with pytest.raises(WrongTerminalKind):
        place.registration.begin(place.self_check, place.card().certificate_der)
    with pytest.raises(WrongTerminalKind):
        place.registration.complete(place.self_check, "any", b"", b"")


@pytest.mark.parametrize(
    ("profile", "error", "slug"),
    [
        (CardProfile.EXPIRED, CertificateExpired, "certificate-expired"),
        (CardProfile.FOREIGN_CA, UntrustedIssuer, "untrusted-issuer"),
        (CardProfile.FOREIGN_CA_FORGED_KEY_IDENTIFIER, UntrustedIssuer, "untrusted-issuer"),
        (CardProfile.SIGNATURE_CERTIFICATE, UntrustedIssuer, "untrusted-issuer"),
        (CardProfile.CA_AS_LEAF, WrongCertificateType, "wrong-certificate-type"),
        (CardProfile.WRONG_POLICY, WrongCertificatePolicy, "wrong-certificate-policy"),
    ],
)
def test_a_bad_certificate_ends_the_request_before_the_pin(place, profile, error, slug):
    request = place.start()
    with pytest.raises(error):
        place.registration.begin(place.counter, place.card(profile).certificate_der)
    assert (state(place, request).state, state(place, request).problem) == (LinkRequestState.REFUSED, slug)
    assert problem_of(place) == slug
    assert place.revocation.asked == 0


def test_bytes_that_are_no_certificate_are_refused(place):
    place.start()
    with pytest.raises(MalformedCertificate):
        place.registration.begin(place.counter, b"not a certificate")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (RevocationStatus.REVOKED, DenialReason.CERTIFICATE_REVOKED),
        (RevocationStatus.UNKNOWN, DenialReason.REVOCATION_UNKNOWN),
    ],
)
def test_a_card_not_known_to_be_good_is_refused_before_the_pin(place, status, reason):
    request = place.start()
    place.revocation.status = status
    with pytest.raises(Denied) as caught:
        place.registration.begin(place.counter, place.card().certificate_der)
    assert caught.value.reason is reason
    assert state(place, request).problem == reason.value


def test_a_linked_card_is_refused_before_the_pin(place):
    card = place.card()
    place.link(card)
    place.start(cardnumber="L-4711-000816")
    with pytest.raises(AlreadyLinked):
        place.registration.begin(place.counter, card.certificate_der)
    assert problem_of(place) == "already-linked"


# While the PIN is asked


@pytest.mark.parametrize(
    ("step", "expected", "problem"),
    [
        (AgentStep.PIN_REQUESTED, LinkRequestState.WAITING_FOR_PIN, None),
        (AgentStep.PIN_WRONG, LinkRequestState.WAITING_FOR_PIN, "pin-wrong"),
        (AgentStep.PIN_BLOCKED, LinkRequestState.REFUSED, "pin-blocked"),
        (AgentStep.CARD_REMOVED, LinkRequestState.WAITING_FOR_CARD, "card-removed"),
        (AgentStep.GIVEN_UP, LinkRequestState.WAITING_FOR_CARD, "given-up"),
    ],
)
def test_the_counter_sees_each_step_at_the_reader(place, step, expected, problem):
    request = place.start()
    challenge = place.registration.begin(place.counter, place.card().certificate_der)
    place.registration.progress(place.counter, challenge.challenge_id, step, 2)
    seen = state(place, request)
    assert (seen.state, seen.problem, seen.attempts_remaining) == (expected, problem, 2)


def test_progress_is_taken_from_the_terminal_of_the_challenge_alone(place):
    place.start()
    challenge = place.registration.begin(place.counter, place.card().certificate_der)
    for terminal, challenge_id in (
        (place.second_counter, challenge.challenge_id),
        (replace(place.counter, library_id=place.other_library), challenge.challenge_id),
        (place.counter, "unknown"),
    ):
        with pytest.raises(ChallengeUnknown):
            place.registration.progress(terminal, challenge_id, AgentStep.PIN_REQUESTED, 3)


def test_a_wrong_pin_is_recorded_by_its_terminal_alone(place):
    place.start()
    challenge = place.registration.begin(place.counter, place.card().certificate_der)
    place.registration.progress(place.counter, challenge.challenge_id, AgentStep.PIN_WRONG, 2)
    event = place.audit()[-1]
    assert (event.tag, event.subject, event.terminal_id, event.details) == (
        AuditTag.PIN_WRONG,
        place.counter.terminal_id,
        place.counter.terminal_id,
        {},
    )


def test_the_agent_learns_that_the_librarian_took_the_request_back(place):
    request = place.start()
    challenge = place.registration.begin(place.counter, place.card().certificate_der)
    place.registration.cancel(place.librarian, request.request_id)
    with pytest.raises(NoLinkRequest):
        place.registration.progress(place.counter, challenge.challenge_id, AgentStep.PIN_REQUESTED, 3)


# After the PIN


def test_a_response_counts_once(place):
    card = place.card()
    place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    place.complete_link(place.counter, card, challenge)
    with pytest.raises(ChallengeAlreadyUsed):
        place.complete_link(place.counter, card, challenge)
    assert problem_of(place) == "challenge-already-used"


def test_an_expired_challenge_is_refused_and_used_up(place):
    card = place.card()
    request = place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    place.clock.advance(seconds=120)
    with pytest.raises(ChallengeExpired):
        place.complete_link(place.counter, card, challenge)
    assert state(place, request).problem == "challenge-expired"
    with pytest.raises(ChallengeAlreadyUsed):
        place.complete_link(place.counter, card, challenge)
    assert no_link_was_made(place)


def test_a_wrong_signature_is_refused(place):
    card = place.card()
    place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    with pytest.raises(InvalidSignature):
        place.registration.complete(place.counter, challenge.challenge_id, card.certificate_der, bytes(256))
    assert no_link_was_made(place)


def test_the_certificate_must_be_the_one_that_was_checked(place):
    checked, other = place.card(), place.card()
    place.start()
    challenge = place.registration.begin(place.counter, checked.certificate_der)
    with pytest.raises(WrongCertificate):
        place.complete_link(place.counter, other, challenge)


def test_a_response_from_another_counter_is_refused(place):
    card = place.card()
    place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    with pytest.raises(WrongTerminal):
        place.complete_link(place.second_counter, card, challenge)
    assert no_link_was_made(place)


@pytest.mark.parametrize("library", ["central", "harbour"])
def test_a_response_from_elsewhere_spoils_neither_the_challenge_nor_the_request(place, library):
    stranger = place.add_terminal("stranger", TerminalKind.COUNTER, library=library)
    card = place.card()
    request = place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    with pytest.raises(WrongTerminal):
        place.complete_link(stranger, card, challenge)
    assert state(place, request).state.is_open
    assert place.complete_link(place.counter, card, challenge).patron_id == 51


def test_a_challenge_for_borrowing_links_nothing(place):
    card = place.card()
    place.link(card)
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    place.start(cardnumber="L-4711-000816")
    with pytest.raises(ChallengeUnknown):
        place.complete_link(place.counter, card, challenge)


def test_an_unknown_challenge_is_refused(place):
    with pytest.raises(ChallengeUnknown):
        place.registration.complete(place.counter, "x" * 32, b"", b"")


def test_a_request_taken_back_during_the_pin_makes_no_link(place):
    card = place.card()
    request = place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    place.registration.cancel(place.librarian, request.request_id)
    with pytest.raises(NoLinkRequest):
        place.complete_link(place.counter, card, challenge)
    assert no_link_was_made(place)
    assert state(place, request).state is LinkRequestState.CANCELLED


def test_a_request_taken_back_while_koha_thinks_makes_no_link(place):
    card = place.card()
    request = place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    place.koha.before_get = lambda: place.registration.cancel(place.librarian, request.request_id)
    with pytest.raises(NoLinkRequest):
        place.complete_link(place.counter, card, challenge)
    assert no_link_was_made(place)


def test_a_patron_who_left_meanwhile_is_not_linked(place):
    card = place.card()
    request = place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    del place.koha.patrons[51]
    with pytest.raises(NoSuchPatron):
        place.complete_link(place.counter, card, challenge)
    assert state(place, request).problem == "patron-not-found"
    assert no_link_was_made(place)


def test_a_library_card_that_expired_meanwhile_is_not_linked(place):
    card = place.card()
    place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    place.koha.change(51, expiry_date=date(2026, 11, 1))
    with pytest.raises(Denied):
        place.complete_link(place.counter, card, challenge)
    assert no_link_was_made(place)


def test_koha_out_of_reach_at_the_end_makes_no_link(place):
    card = place.card()
    request = place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    place.koha.reachable = False
    with pytest.raises(KohaNotReachable):
        place.complete_link(place.counter, card, challenge)
    assert state(place, request).problem == "koha-not-reachable"
    assert no_link_was_made(place)


def test_koha_is_never_asked_inside_a_transaction(place):
    """SQLite has one writer: were a transaction open, writing would fail here."""
    card = place.card()
    place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    place.koha.before_get = lambda: place.add_terminal("meanwhile", TerminalKind.COUNTER)
    place.complete_link(place.counter, card, challenge)


# Who may


def test_an_auditor_looks_but_neither_links_nor_unlinks(place):
    link = place.link(place.card())
    request = place.start(cardnumber="L-4711-000816")
    auditor = replace(place.librarian, role=LibrarianRole.AUDITOR)
    registration = place.registration
    for act in (
        lambda: registration.find_patron(auditor, place.cardnumber),
        lambda: registration.start(
            auditor,
            terminal_id="counter-2",
            cardnumber=place.cardnumber,
            consent_version=STANDARD_VERSION,
        ),
        lambda: registration.unlink_all(auditor, place.cardnumber, reason=UnlinkReason.CARD_LOST),
        lambda: registration.suspend(auditor, link.link_id, reason=SuspensionReason.CARD_MISLAID),
        lambda: registration.restore(auditor, link.link_id),
        lambda: registration.cancel(auditor, request.request_id),
        lambda: registration.unlink(auditor, link.link_id, reason=UnlinkReason.MISTAKE),
    ):
        with pytest.raises(NotAllowed):
            act()
    assert registration.request(auditor, request.request_id).state.is_open
    assert registration.link(auditor, link.link_id).ended_at is None


# The end of a link


def test_a_link_is_shown_to_its_library(place):
    link = place.link(place.card())
    assert place.registration.link(place.librarian, link.link_id) == link


@pytest.mark.parametrize("reason", UnlinkReason)
def test_a_link_is_ended_by_staff_and_the_card_free_again(place, reason):
    card = place.card()
    link = place.link(card)
    ended = place.registration.unlink(place.librarian, link.link_id, reason=reason)
    assert (ended.state, ended.ended_reason) == (LinkState.ENDED, reason.value)
    assert place.audit(AuditTag.LINK_ENDED)[-1].details == {"reason": reason.value}
    with pytest.raises(LinkNotFound):
        place.registration.unlink(place.librarian, link.link_id, reason=reason)
    assert place.link(card).link_id != link.link_id


def test_the_same_card_is_kept_under_other_identifiers_in_another_library(place):
    certificate = place.verification.check(place.card().certificate_der).certificate
    here, there = (
        place.verification.identifiers(library, certificate)[0].digest
        for library in (place.library, place.other_library)
    )
    assert here != there
