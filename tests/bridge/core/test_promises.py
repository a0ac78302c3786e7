"""What a library promises the patrons who link their cards: a test for each promise."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import date, timedelta

import pytest

from bridge.admin.words import PROBLEMS
from bridge.agent.screen import ERROR_WORDS
from bridge.borrowing import Borrower, NoLongerValid, NotOurs, TokenProblem
from bridge.errors import (
    AlreadyLinked,
    ConsentMissing,
    Denied,
    LinkNotFound,
    NoLinkRequest,
    NoSuchPatron,
    NotAllowed,
    NotLinked,
)
from bridge.links.consent import STANDARD_VERSION
from bridge.models import (
    AgentStep,
    AuditTag,
    LinkState,
    Representation,
    RepresentativeCheck,
    SuspensionReason,
    UnlinkReason,
)
from bridge.rules import DenialReason
from bridge.store.links import LinkQueries
from jpki.errors import PinBlockedError
from jpki.revocation import RevocationStatus
from jpki.simulator.pki import CardProfile

ALL_CHECKED = frozenset(RepresentativeCheck)
BIRTHDAY = date(2030, 5, 5)


def open_links(place, cardnumber=None):
    return list(place.registration.find_patron(place.librarian, cardnumber or place.cardnumber).open_links)


def denial(action, *arguments, **choices):
    with pytest.raises(Denied) as caught:
        action(*arguments, **choices)
    return caught.value.reason


def set_policy(place, **changes):
    library = place.environment.libraries[place.library]
    changed = replace(library, links=replace(library.links, **changes))
    place.environment.libraries[place.library] = changed


# Only the person links, knowing what to


def test_no_card_is_linked_without_consent_to_the_wording_in_force(place):
    with pytest.raises(ConsentMissing):
        place.registration.start(
            place.librarian,
            terminal_id="counter-1",
            cardnumber=place.cardnumber,
            consent_version="2020-01-01",
        )
    link = place.link(place.card())
    assert (link.consent_version, link.consented_at) == (STANDARD_VERSION, place.clock())
    assert place.registration.link(place.librarian, link.link_id) == link


def test_a_child_s_card_is_linked_by_a_representative_after_the_checklist(place):
    link = place.link_for_child(place.card(), BIRTHDAY)
    kept = place.registration.link(place.librarian, link.link_id)
    assert kept.representation == Representation(BIRTHDAY, ALL_CHECKED)
    assert (kept.linked_by, kept.consented_at) == (place.librarian.librarian_id, place.clock())


@pytest.mark.parametrize("missing", RepresentativeCheck)
def test_a_representative_without_every_point_of_the_checklist_is_refused(place, missing):
    representation = Representation(BIRTHDAY, ALL_CHECKED - {missing})
    refused = denial(place.start, representation=representation)
    assert refused is DenialReason.REPRESENTATION_INCOMPLETE


def test_nobody_represents_a_patron_of_15(place):
    representation = Representation(date(2026, 11, 2), ALL_CHECKED)
    assert denial(place.start, representation=representation) is DenialReason.REPRESENTATION_OVER


def test_at_15_the_card_asks_for_its_owner_who_links_it_anew_in_one_step(place):
    card = place.card()
    link = place.link_for_child(card, date(2026, 11, 3))
    opened = place.borrow(card)
    place.clock.advance(hours=12)
    assert denial(place.borrow, card) is DenialReason.REPRESENTATION_OVER
    assert isinstance(place.resolve(opened), NoLongerValid)
    anew = place.link(card, replaces=link.link_id)
    assert anew.representation is None
    assert place.borrow(card)


# The PIN


def test_a_blocked_pin_is_told_with_who_can_help_and_that_the_library_card_works():
    for words in (str(PROBLEMS["pin-blocked"]), ERROR_WORDS[PinBlockedError].en):
        assert "library cannot unlock" in words
        assert "library card works as before" in words
    japanese = ERROR_WORDS[PinBlockedError].ja
    for word in ("図書館では解除できません", "市区町村の窓口", "コンビニ", "利用者カードはこれまでどおり"):
        assert word in japanese


def test_a_pin_blocked_after_the_link_is_made_writes_nothing(place):
    card = place.card()
    place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    place.complete_link(place.counter, card, challenge)
    before = len(place.audit())
    with pytest.raises(NoLinkRequest):
        place.registration.progress(place.counter, challenge.challenge_id, AgentStep.PIN_BLOCKED, 0)
    assert len(place.audit()) == before


# The library card


def test_the_plastic_card_is_none_of_the_bridge_s_business_whatever_becomes_of_the_link(place):
    card = place.card()
    link = place.link(card)
    for step in (
        lambda: None,
        lambda: place.registration.suspend(
            place.librarian, link.link_id, reason=SuspensionReason.SUSPECTED_MISUSE
        ),
        lambda: place.registration.unlink(place.librarian, link.link_id, reason=UnlinkReason.MISTAKE),
    ):
        step()
        assert place.borrowing.resolve(place.library, "sc1", place.cardnumber) == NotOurs()


def test_the_card_works_while_the_library_card_is_valid_and_again_after_its_renewal(place):
    card = place.card()
    place.link(card)
    place.koha.change(51, expiry_date=date(2026, 11, 1))
    assert denial(place.borrow, card) is DenialReason.LIBRARY_CARD_EXPIRED
    place.koha.change(51, expiry_date=date(2027, 11, 1))
    assert place.borrow(card)


def test_a_new_library_card_needs_no_new_link(place):
    card = place.card()
    place.link(card)
    place.koha.change(51, cardnumber="L-4711-999999")
    assert place.resolve(place.borrow(card)).cardnumber == "L-4711-999999"


# The lost card


def test_a_lost_card_is_ended_by_library_card_alone_everywhere_and_at_once(place):
    card, phone = place.card(), place.card()
    links = [place.link(card), place.link(phone)]
    sessions = [place.borrow(card), place.borrow(phone, place.second_self_check)]
    on_its_way = place.borrowing.begin(place.second_self_check, card.certificate_der)
    ended = place.registration.unlink_all(place.librarian, place.cardnumber, reason=UnlinkReason.CARD_LOST)
    assert {link.link_id for link in ended} == {link.link_id for link in links}
    for opened, machine in zip(sessions, ("sc1", "sc2"), strict=True):
        assert place.resolve(opened, machine) == NoLongerValid(TokenProblem.CLOSED)
    with pytest.raises(NotLinked):
        place.complete_borrow(place.second_self_check, card, on_its_way)
    for each in (card, phone):
        with pytest.raises(NotLinked):
            place.borrow(each)
    assert [row.details["reason"] for row in place.audit(AuditTag.LINK_ENDED)] == ["card_lost"] * 2
    with pytest.raises(LinkNotFound):
        place.registration.unlink_all(place.librarian, place.cardnumber, reason=UnlinkReason.CARD_LOST)


def test_a_card_linked_or_ended_elsewhere_in_the_same_moment_is_ended_with_the_lost_one(place, monkeypatch):
    first, second = place.link(place.card()), place.link(place.card())
    meanwhile = []
    find_patron = place.registration.find_patron

    def find_and_be_overtaken(*asked):
        summary = find_patron(*asked)
        place.registration.unlink(place.librarian, first.link_id, reason=UnlinkReason.PATRON_REQUEST)
        monkeypatch.undo()
        meanwhile.append(place.link(place.card()))
        return summary

    monkeypatch.setattr(place.registration, "find_patron", find_and_be_overtaken)
    ended = place.registration.unlink_all(place.librarian, place.cardnumber, reason=UnlinkReason.CARD_LOST)
    assert {link.link_id for link in ended} == {second.link_id, meanwhile[0].link_id}
    assert open_links(place) == []


def test_the_reissued_card_is_linked_anew(place):
    place.link(place.card())
    place.registration.unlink_all(place.librarian, place.cardnumber, reason=UnlinkReason.CARD_LOST)
    reissued = place.card()
    place.link(reissued)
    assert place.borrow(reissued)


def test_a_mislaid_card_rests_and_works_again_once_it_is_found(place):
    card = place.card()
    link = place.link(card)
    opened = place.borrow(card)
    rests = place.registration.suspend(place.librarian, link.link_id, reason=SuspensionReason.CARD_MISLAID)
    assert (rests.state, rests.suspended_reason) == (LinkState.SUSPENDED, "card_mislaid")
    assert place.resolve(opened) == NoLongerValid(TokenProblem.CLOSED)
    assert denial(place.borrow, card) is DenialReason.LINK_SUSPENDED
    assert place.registration.restore(place.librarian, link.link_id).state is LinkState.ACTIVE
    assert place.borrow(card)
    tags = [row.tag for row in place.audit() if row.subject == link.link_id]
    assert tags == [AuditTag.LINK_CREATED, AuditTag.LINK_SUSPENDED, AuditTag.LINK_RESTORED]


def test_staff_neither_suspend_for_the_program_s_reasons_nor_restore_what_was_revoked(place):
    card = place.card()
    link = place.link(card)
    with pytest.raises(NotAllowed):
        place.registration.suspend(place.librarian, link.link_id, reason=SuspensionReason.CERTIFICATE_REVOKED)
    assert denial(place.registration.restore, place.librarian, link.link_id) is (
        DenialReason.STEP_NOT_POSSIBLE
    )
    place.revocation.status = RevocationStatus.REVOKED
    denial(place.borrow, card)
    assert denial(place.registration.restore, place.librarian, link.link_id) is DenialReason.LINK_SUSPENDED
    place.registration.unlink(place.librarian, link.link_id, reason=UnlinkReason.PATRON_REQUEST)
    assert denial(place.registration.restore, place.librarian, link.link_id) is DenialReason.LINK_ENDED


# The renewed certificate


def test_the_last_90_days_are_told_at_each_use(place):
    new, ending = place.card(), place.card(CardProfile.EXPIRES_SOON)
    place.link(new)
    link = place.link(ending)
    assert place.borrow(new).ending is None
    for _ in range(2):
        told = place.borrow(ending).ending
        assert (told.at, told.denial) == (link.not_after, DenialReason.CERTIFICATE_EXPIRED)


def test_a_renewed_card_takes_the_place_of_the_old_one_in_one_step(place):
    old_card, new_card = place.card(CardProfile.EXPIRES_SOON), place.card()
    old = place.link(old_card)
    opened = place.borrow(old_card)
    new = place.link(new_card, replaces=old.link_id)
    assert new.replaces == old.link_id
    ended = place.registration.link(place.librarian, old.link_id)
    assert (ended.state, ended.ended_reason) == (LinkState.ENDED, "relinked")
    assert open_links(place) == [new]
    assert place.resolve(opened) == NoLongerValid(TokenProblem.CLOSED)
    assert place.audit(AuditTag.LINK_CREATED)[-1].details == {"replaces": old.link_id}
    with pytest.raises(NotLinked):
        place.borrow(old_card)


def test_a_new_card_that_is_refused_leaves_the_old_link_as_it_was(place):
    old = place.link(place.card())
    other = place.card()
    place.start(cardnumber="L-4711-000816")
    challenge = place.registration.begin(place.counter, other.certificate_der)
    place.complete_link(place.counter, other, challenge)
    place.start(replaces=old.link_id)
    with pytest.raises(AlreadyLinked):
        place.registration.begin(place.counter, other.certificate_der)
    assert open_links(place) == [old]


def test_a_link_of_somebody_else_is_not_replaced(place):
    old = place.link(place.card())
    with pytest.raises(LinkNotFound):
        place.start(cardnumber="L-4711-000816", replaces=old.link_id)


# Several cards


def test_a_patron_links_several_cards_up_to_the_library_s_number(place):
    set_policy(place, maximum_per_patron=2)
    card, phone = place.card(), place.card()
    first = place.link(card)
    place.link(phone)
    assert place.borrow(card)
    assert place.borrow(phone)
    assert denial(place.start) is DenialReason.TOO_MANY_LINKS
    assert place.link(place.card(), replaces=first.link_id)
    assert len(open_links(place)) == 2


def test_one_card_is_one_patron_and_a_refusal_does_not_say_whose_it_is(place):
    card = place.card()
    place.link(card)
    request = place.start(cardnumber="L-4711-000816")
    with pytest.raises(AlreadyLinked) as caught:
        place.registration.begin(place.counter, card.certificate_der)
    seen = place.registration.request(place.librarian, request.request_id)
    words = str(PROBLEMS[seen.problem])
    assert "to one patron only" in words
    assert seen.patron_id == 52
    for secret in (place.cardnumber, place.name, "patron_id=51"):
        assert secret not in str(caught.value) + words + repr(seen)
    assert "51" not in str(caught.value) + words


def test_the_last_place_is_not_given_to_two_counters_at_once(place, monkeypatch):
    set_policy(place, maximum_per_patron=1)
    one, other = [], []
    for counter, challenge in ((place.counter, one), (place.second_counter, other)):
        card = place.card()
        place.start(counter)
        challenge += [counter, card, place.registration.begin(counter, card.certificate_der)]
    one_has_counted, other_is_done = threading.Event(), threading.Event()
    count = LinkQueries.open_links_of_patron

    def count_and_be_overtaken(*args, **options):
        found = count(*args, **options)
        if options.get("to_add") and not one_has_counted.is_set():
            one_has_counted.set()
            other_is_done.wait(0.5)  # in vain: it has to wait for us
        return found

    def overtake():
        assert one_has_counted.wait(90)
        try:
            return place.complete_link(*other)
        finally:
            other_is_done.set()

    monkeypatch.setattr(LinkQueries, "open_links_of_patron", count_and_be_overtaken)
    outcomes = together(lambda: place.complete_link(*one), overtake)
    assert [type(outcome).__name__ for outcome in outcomes] == ["CardLink", "Denied"]
    assert outcomes[1].reason is DenialReason.TOO_MANY_LINKS
    assert open_links(place) == [outcomes[0]]


# One session


def test_two_borrowings_of_one_link_at_once_leave_one_session_open(place):
    card = place.card()
    link = place.link(card)
    machines = (place.self_check, place.second_self_check)
    challenges = [
        (machine, card, place.borrowing.begin(machine, card.certificate_der)) for machine in machines
    ]
    outcomes = together(*(lambda each=each: place.complete_borrow(*each) for each in challenges))
    with place.store.transaction() as transaction:
        (left,) = transaction.open_sessions_of_links([link.link_id])
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    answers = [place.resolve(opened, login) for opened, login in zip(outcomes, ("sc1", "sc2"), strict=True)]
    assert [answer.session_id for answer in answers if isinstance(answer, Borrower)] == [left.session_id]
    assert NoLongerValid(TokenProblem.CLOSED) in answers


def together(*actions):
    """Do all at the same moment; return what each returned or raised."""
    outcomes = [None] * len(actions)
    barrier = threading.Barrier(len(actions))

    def act(number, action):
        barrier.wait(90)
        try:
            outcomes[number] = action()
        except Exception as error:  # noqa: BLE001  # the test looks at it
            outcomes[number] = error

    threads = [threading.Thread(target=act, args=each) for each in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    return outcomes


# Who looked


def test_a_look_up_at_the_counter_is_written_down_by_the_links_that_were_seen(place):
    place.registration.find_patron(place.librarian, place.cardnumber)
    nobody_s = place.audit()[-1]
    link = place.link(place.card())
    place.registration.find_patron(place.librarian, place.cardnumber)
    seen = place.audit()[-1]
    for line, subject in ((nobody_s, "-"), (seen, link.link_id)):
        assert (line.tag, line.subject) == (AuditTag.PATRON_LOOKED_UP, subject)
        assert line.actor_id == place.librarian.librarian_id
        assert line.details == {}
    with pytest.raises(NoSuchPatron):
        place.registration.find_patron(place.librarian, "nobody")
    assert place.audit()[-1].details == {"problem": "patron-not-found"}


def test_a_link_older_than_the_library_allows_is_refused_and_told_before(place):
    set_policy(place, maximum_age=timedelta(days=100))
    card = place.card()
    place.link(card)
    assert place.borrow(card).ending is None
    place.clock.advance(days=10)
    assert place.borrow(card).ending.denial is DenialReason.LINK_EXPIRED
    place.clock.advance(days=90)
    assert denial(place.borrow, card) is DenialReason.LINK_EXPIRED
