"""Whose card is this? Asked at the counter, proven with the PIN, answered by Koha for the one who asked."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bridge.counter.identification import IdentificationService
from bridge.errors import (
    Denied,
    KohaNotReachable,
    LinkNotFound,
    LinkRequestNotFound,
    LinkRequestPending,
    NoLinkRequest,
    NotAllowed,
    NotLinked,
    WrongTerminalKind,
)
from bridge.models import AgentStep, AuditTag, LibrarianRole, LinkRequestState, LinkState, UnlinkReason
from jpki.challenge import ChallengePurpose
from jpki.errors import ChallengeUnknown
from jpki.revocation import RevocationStatus


@pytest.fixture
def asked(place):
    """The service; the card that it is asked about is linked already."""
    place.identification = IdentificationService(place.environment, place.verification)
    place.linked_card = place.card()
    place.made = place.link(place.linked_card)
    return place


def start(place, terminal=None):
    return place.identification.start(place.librarian, terminal_id=(terminal or place.counter).terminal_id)


def answer(place, card=None, terminal=None):
    card = card or place.linked_card
    counter = terminal or place.counter
    challenge = place.identification.begin(counter, card.certificate_der)
    signature = place.sign(card, challenge)
    return place.identification.complete(counter, challenge.challenge_id, card.certificate_der, signature)


def problem_of(place):
    return place.audit(AuditTag.IDENTIFICATION_REFUSED)[-1].details["problem"]


def test_the_librarian_who_asked_learns_whose_card_it_is(asked):
    request = start(asked)
    assert asked.identification.pending(asked.counter).purpose is ChallengePurpose.IDENTIFY
    answered = answer(asked)
    assert (answered.state, answered.link_id) == (LinkRequestState.COMPLETED, asked.made.link_id)
    assert asked.identification.patron(asked.librarian, request.request_id).cardnumber == asked.cardnumber
    tags = [event.tag for event in asked.audit()][-3:]
    assert tags == [
        AuditTag.IDENTIFICATION_REQUESTED,
        AuditTag.PATRON_IDENTIFIED,
        AuditTag.PATRON_LOOKED_UP,
    ]


def test_nothing_of_the_patron_is_stored(asked):
    start(asked)
    answered = answer(asked)
    assert (answered.patron_id, answered.patron_reference) == (None, None)
    assert asked.cardnumber not in str([event.details for event in asked.audit()])


def test_the_answer_is_for_the_one_who_asked_and_for_five_minutes(asked):
    request = start(asked)
    answer(asked)
    other = asked.staff.add_librarian(
        asked.command,
        library_id=asked.library,
        login_name="jiro",
        display_name="次郎",
        role=LibrarianRole.LIBRARIAN,
        password=asked.password,
    )
    with pytest.raises(LinkRequestNotFound):
        asked.identification.patron(other, request.request_id)
    asked.clock.advance(minutes=5)
    with pytest.raises(LinkRequestNotFound):
        asked.identification.patron(asked.librarian, request.request_id)


def test_there_is_no_answer_before_the_card(asked):
    request = start(asked)
    with pytest.raises(LinkRequestNotFound):
        asked.identification.patron(asked.librarian, request.request_id)


def test_the_answer_goes_with_the_link(asked):
    request = start(asked)
    answer(asked)
    asked.registration.unlink(asked.librarian, asked.made.link_id, reason=UnlinkReason.CARD_LOST)
    with pytest.raises(LinkNotFound):
        asked.identification.patron(asked.librarian, request.request_id)


def test_koha_out_of_reach_is_said(asked):
    request = start(asked)
    answer(asked)
    asked.koha.reachable = False
    with pytest.raises(KohaNotReachable):
        asked.identification.patron(asked.librarian, request.request_id)


def test_a_card_that_is_not_linked_is_refused_before_its_pin(asked):
    request = start(asked)
    with pytest.raises(NotLinked):
        asked.identification.begin(asked.counter, asked.card().certificate_der)
    assert asked.identification.request(asked.librarian, request.request_id).problem == "not-linked"
    assert problem_of(asked) == "not-linked"


def test_a_revoked_card_is_refused_and_its_link_suspended(asked):
    asked.revocation.status = RevocationStatus.REVOKED
    start(asked)
    with pytest.raises(Denied):
        answer(asked)
    link = asked.registration.link(asked.librarian, asked.made.link_id)
    assert link.state is LinkState.SUSPENDED


def test_without_an_order_nobody_is_identified(asked):
    with pytest.raises(NoLinkRequest):
        asked.identification.begin(asked.counter, asked.linked_card.certificate_der)


def test_an_order_to_link_does_not_identify_nor_the_reverse(asked):
    asked.start()
    with pytest.raises(NoLinkRequest):
        asked.identification.begin(asked.counter, asked.linked_card.certificate_der)
    start(asked, asked.second_counter)
    with pytest.raises(NoLinkRequest):
        asked.registration.begin(asked.second_counter, asked.card().certificate_der)


def test_a_signature_for_one_purpose_does_not_serve_the_other(asked):
    start(asked)
    card = asked.linked_card
    challenge = asked.identification.begin(asked.counter, card.certificate_der)
    assert asked.identification.purpose_of(challenge.challenge_id) is ChallengePurpose.IDENTIFY
    with pytest.raises(ChallengeUnknown):
        asked.complete_link(asked.counter, card, challenge)


def test_a_counter_waits_for_one_card_at_a_time_whatever_it_is_for(asked):
    start(asked)
    with pytest.raises(LinkRequestPending):
        asked.start()
    with pytest.raises(LinkRequestPending):
        start(asked)


def test_a_self_check_machine_asks_nobody(asked):
    with pytest.raises(WrongTerminalKind):
        start(asked, asked.self_check)


def test_an_auditor_may_not_ask(asked):
    auditor = asked.staff.add_librarian(
        asked.command,
        library_id=asked.library,
        login_name="audit",
        display_name="監査",
        role=LibrarianRole.AUDITOR,
        password=asked.password,
    )
    with pytest.raises(NotAllowed):
        asked.identification.start(auditor, terminal_id=asked.counter.terminal_id)


def test_steps_and_cancelling_are_those_of_any_order(asked):
    request = start(asked)
    challenge = asked.identification.begin(asked.counter, asked.linked_card.certificate_der)
    asked.registration.progress(asked.counter, challenge.challenge_id, AgentStep.PIN_BLOCKED, 0)
    assert problem_of(asked) == "pin-blocked"
    second = start(asked)
    asked.identification.cancel(asked.librarian, second.request_id)
    assert asked.audit()[-1].tag is AuditTag.IDENTIFICATION_CANCELLED
    assert asked.identification.request(asked.librarian, request.request_id).state is LinkRequestState.REFUSED
    assert second.expires_at - second.started_at == timedelta(minutes=5)
