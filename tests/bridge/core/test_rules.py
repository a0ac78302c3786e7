"""Every rule, over all combinations of what it looks at."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest

from bridge.models import (
    CardLink,
    IdentifierKind,
    LinkState,
    Representation,
    RepresentativeCheck,
)
from bridge.rules import (
    ALLOWED,
    LINK_STEPS,
    Decision,
    DenialReason,
    LinkEnding,
    LinkPolicy,
    LinkStep,
    PatronStanding,
    ending_of,
    is_near,
    is_running,
    judge_certificate,
    judge_certificate_end,
    judge_duration,
    judge_link,
    judge_link_age,
    judge_number_of_links,
    judge_patron,
    judge_representation,
    judge_retention,
    judge_step,
    may_borrow,
    may_link,
    may_represent,
    years_after,
)
from jpki.revocation import RevocationAnswer, RevocationStatus

NOW = datetime(2026, 11, 2, 3, 0, tzinfo=UTC)
TODAY = date(2026, 11, 2)
ALIVE, OVER = NOW, NOW - timedelta(microseconds=1)
YESTERDAY, TOMORROW = TODAY - timedelta(days=1), TODAY + timedelta(days=1)

GOOD, REVOKED, UNKNOWN = RevocationStatus.GOOD, RevocationStatus.REVOKED, RevocationStatus.UNKNOWN
ACTIVE, SUSPENDED, ENDED = LinkState.ACTIVE, LinkState.SUSPENDED, LinkState.ENDED

CERTIFICATES = [
    (ALIVE, GOOD, None),
    (ALIVE, REVOKED, DenialReason.CERTIFICATE_REVOKED),
    (ALIVE, UNKNOWN, DenialReason.REVOCATION_UNKNOWN),
    (OVER, GOOD, DenialReason.CERTIFICATE_EXPIRED),
    (OVER, REVOKED, DenialReason.CERTIFICATE_EXPIRED),
    (OVER, UNKNOWN, DenialReason.CERTIFICATE_EXPIRED),
]

LINKS = {
    (ACTIVE, ALIVE): None,
    (ACTIVE, OVER): DenialReason.CERTIFICATE_EXPIRED,
    (SUSPENDED, ALIVE): DenialReason.LINK_SUSPENDED,
    (SUSPENDED, OVER): DenialReason.LINK_SUSPENDED,
    (ENDED, ALIVE): DenialReason.LINK_ENDED,
    (ENDED, OVER): DenialReason.LINK_ENDED,
}

EXPIRED, LOST = DenialReason.LIBRARY_CARD_EXPIRED, DenialReason.LIBRARY_CARD_LOST
RESTRICTED = DenialReason.PATRON_RESTRICTED

PATRONS = {  # expiry date, restricted, card lost
    (None, False, False): None,
    (None, False, True): LOST,
    (None, True, False): RESTRICTED,
    (None, True, True): LOST,
    (YESTERDAY, False, False): EXPIRED,
    (YESTERDAY, False, True): EXPIRED,
    (YESTERDAY, True, False): EXPIRED,
    (YESTERDAY, True, True): EXPIRED,
    (TODAY, False, False): None,
    (TODAY, False, True): LOST,
    (TODAY, True, False): RESTRICTED,
    (TODAY, True, True): LOST,
    (TOMORROW, False, False): None,
    (TOMORROW, False, True): LOST,
    (TOMORROW, True, False): RESTRICTED,
    (TOMORROW, True, True): LOST,
}


def link(state: LinkState, not_after: datetime) -> CardLink:
    return CardLink(
        "1", "central", 51, IdentifierKind.SERIAL_NUMBER, state, not_after, linked_at=OVER, linked_by="2"
    )


@pytest.mark.parametrize(("not_after", "status", "denial"), CERTIFICATES)
def test_a_certificate_is_good_only_within_its_validity_and_named_good(not_after, status, denial):
    answer = RevocationAnswer(status, "test", NOW)
    assert judge_certificate(not_after, answer, NOW) == Decision(denial)


@pytest.mark.parametrize("status", RevocationStatus)
def test_every_status_but_good_denies(status):
    answer = RevocationAnswer(status, "test", NOW)
    assert judge_certificate(ALIVE, answer, NOW).allowed is (status is GOOD)


@pytest.mark.parametrize(("state_and_end", "denial"), [*LINKS.items()])
def test_a_link_is_alive_only_while_active_and_its_certificate_valid(state_and_end, denial):
    assert judge_link(link(*state_and_end), NOW, TODAY, LinkPolicy()) == Decision(denial)


@pytest.mark.parametrize(("patron", "denial"), [*PATRONS.items()])
def test_a_library_card_is_in_order_on_its_last_day_unless_lost_or_restricted(patron, denial):
    assert judge_patron(PatronStanding(*patron), TODAY) == Decision(denial)


@pytest.mark.parametrize(("patron", "denial"), [*PATRONS.items()])
def test_a_card_may_be_linked_whatever_its_owner_owes(patron, denial):
    expected = ALLOWED if denial is RESTRICTED else Decision(denial)
    assert may_link(PatronStanding(*patron), TODAY) == expected


@pytest.mark.parametrize(("links", "patrons"), [*product(LINKS.items(), PATRONS.items())])
def test_a_session_opens_only_on_a_living_link_and_a_library_card_in_order(links, patrons):
    (state_and_end, link_denial), (patron, patron_denial) = links, patrons
    if patron_denial is RESTRICTED:
        patron_denial = None  # may return books; Koha refuses the loans
    decision = may_borrow(link(*state_and_end), PatronStanding(*patron), NOW, TODAY, LinkPolicy())
    assert decision == Decision(link_denial or patron_denial)


# The life of a link

POSSIBLE = {
    LinkStep.USE: {ACTIVE: None, SUSPENDED: DenialReason.LINK_SUSPENDED, ENDED: DenialReason.LINK_ENDED},
    LinkStep.SUSPEND: {ACTIVE: None, SUSPENDED: DenialReason.LINK_SUSPENDED, ENDED: DenialReason.LINK_ENDED},
    LinkStep.RESTORE: {
        ACTIVE: DenialReason.STEP_NOT_POSSIBLE,
        SUSPENDED: None,
        ENDED: DenialReason.LINK_ENDED,
    },
    LinkStep.END: {ACTIVE: None, SUSPENDED: None, ENDED: DenialReason.LINK_ENDED},
    LinkStep.DELETE: {
        ACTIVE: DenialReason.STEP_NOT_POSSIBLE,
        SUSPENDED: DenialReason.LINK_SUSPENDED,
        ENDED: None,
    },
}


@pytest.mark.parametrize(("step", "state"), [*product(LinkStep, LinkState)])
def test_a_step_is_possible_from_the_states_of_the_table_alone(step, state):
    assert judge_step(state, step) == Decision(POSSIBLE[step][state])


def test_what_has_ended_never_comes_back():
    assert [step for step in LinkStep if ENDED in LINK_STEPS[step][0]] == [LinkStep.DELETE]


# How long it lasts

DAY = timedelta(days=1)
MOMENTS = {
    NOW - DAY: "before",
    NOW - timedelta(microseconds=1): "just before",
    NOW: "now",
    NOW + DAY: "after",
}


@pytest.mark.parametrize("not_after", MOMENTS)
def test_the_last_moment_of_a_certificate_still_counts(not_after):
    expected = None if not_after >= NOW else DenialReason.CERTIFICATE_EXPIRED
    assert judge_certificate_end(not_after, NOW) == Decision(expected)


@pytest.mark.parametrize("age", [timedelta(0), DAY - timedelta(microseconds=1), DAY, 2 * DAY])
@pytest.mark.parametrize("maximum_age", [None, DAY])
def test_a_link_grows_as_old_as_the_library_lets_it(age, maximum_age):
    expected = DenialReason.LINK_EXPIRED if maximum_age is not None and age >= maximum_age else None
    assert judge_link_age(NOW - age, NOW, maximum_age) == Decision(expected)


@pytest.mark.parametrize("until", [None, YESTERDAY, TODAY, TOMORROW])
def test_what_a_representative_linked_is_good_until_the_15th_birthday(until):
    expected = None if until in (None, TOMORROW) else DenialReason.REPRESENTATION_OVER
    assert judge_representation(until, TODAY) == Decision(expected)


ALL_CHECKED = frozenset(RepresentativeCheck)
BIRTHDAYS = {
    YESTERDAY: DenialReason.REPRESENTATION_OVER,
    TODAY: DenialReason.REPRESENTATION_OVER,
    TOMORROW: None,
    date(2041, 11, 2): None,
    date(2041, 11, 3): DenialReason.REPRESENTATION_INCOMPLETE,
}


@pytest.mark.parametrize("until", BIRTHDAYS)
def test_a_representative_acts_for_a_child_under_15(until):
    assert may_represent(until, ALL_CHECKED, TODAY) == Decision(BIRTHDAYS[until])


@pytest.mark.parametrize("missing", RepresentativeCheck)
def test_each_point_of_the_checklist_is_needed(missing):
    decision = may_represent(TOMORROW, ALL_CHECKED - {missing}, TODAY)
    assert decision == Decision(DenialReason.REPRESENTATION_INCOMPLETE)


def test_who_was_born_on_29_february_is_15_on_1_march():
    assert years_after(date(2028, 2, 29), 15) == date(2043, 3, 1)


@pytest.mark.parametrize("age", [timedelta(0), DAY - timedelta(microseconds=1), DAY, 2 * DAY])
def test_what_is_over_is_kept_for_the_retention_and_no_longer(age):
    expected = DenialReason.RETENTION_OVER if age >= DAY else None
    assert judge_retention(NOW - age, NOW, DAY) == Decision(expected)


@pytest.mark.parametrize(("open_links", "maximum"), [*product(range(4), range(1, 4))])
def test_a_patron_gets_one_more_link_below_the_maximum(open_links, maximum):
    expected = None if open_links < maximum else DenialReason.TOO_MANY_LINKS
    assert judge_number_of_links(open_links, LinkPolicy(maximum_per_patron=maximum)) == Decision(expected)


def lasting(not_after, linked_at, until):
    representation = None if until is None else Representation(until, ALL_CHECKED)
    return CardLink(
        "1",
        "central",
        51,
        IdentifierKind.SERIAL_NUMBER,
        ACTIVE,
        not_after,
        linked_at=linked_at,
        linked_by="2",
        representation=representation,
    )


@pytest.mark.parametrize(
    ("not_after", "linked_at", "until", "maximum_age"),
    [*product((OVER, ALIVE), (NOW - DAY, NOW), (None, TODAY, TOMORROW), (None, DAY))],
)
def test_a_link_lasts_while_no_rule_of_duration_objects(not_after, linked_at, until, maximum_age):
    objections = [
        judge_certificate_end(not_after, NOW).denial,
        judge_link_age(linked_at, NOW, maximum_age).denial,
        judge_representation(until, TODAY).denial,
    ]
    expected = next((each for each in objections if each is not None), None)
    link = lasting(not_after, linked_at, until)
    policy = LinkPolicy(maximum_age=maximum_age)
    assert judge_duration(link, NOW, TODAY, policy) == Decision(expected)
    assert judge_link(link, NOW, TODAY, policy) == Decision(expected)


TOKYO = ZoneInfo("Asia/Tokyo")
MIDNIGHT = datetime(2026, 11, 2, 15, 0, tzinfo=UTC)  # of 3 November in Tokyo


@pytest.mark.parametrize(
    ("not_after", "until", "maximum_age", "expected"),
    [
        (NOW + DAY, None, None, LinkEnding(NOW + DAY, DenialReason.CERTIFICATE_EXPIRED)),
        (NOW + DAY, None, 2 * DAY, LinkEnding(NOW + DAY, DenialReason.CERTIFICATE_EXPIRED)),
        (NOW + 3 * DAY, None, 2 * DAY, LinkEnding(NOW + 2 * DAY, DenialReason.LINK_EXPIRED)),
        (NOW + DAY, TOMORROW, 2 * DAY, LinkEnding(MIDNIGHT, DenialReason.REPRESENTATION_OVER)),
    ],
)
def test_a_link_ends_with_whatever_comes_first(not_after, until, maximum_age, expected):
    link = lasting(not_after, NOW, until)
    assert ending_of(link, LinkPolicy(maximum_age=maximum_age), TOKYO) == expected


@pytest.mark.parametrize(("days", "near"), [(-1, True), (0, True), (90, True), (91, False)])
def test_an_ending_is_near_in_the_last_90_days(days, near):
    assert is_near(LinkEnding(NOW + days * DAY, DenialReason.CERTIFICATE_EXPIRED), NOW) is near


@pytest.mark.parametrize(
    ("seconds", "running"),
    [(-3661, False), (-61, False), (-60, True), (0, True), (299, True), (300, False), (3600, False)],
)
def test_what_was_given_for_a_time_is_good_from_its_beginning_to_its_end(seconds, running):
    given_at = datetime(2026, 11, 2, 3, 0, tzinfo=UTC)
    lifetime = timedelta(minutes=5)
    assert is_running(given_at + lifetime, lifetime, given_at + timedelta(seconds=seconds)) is running
