"""Every rule, over all combinations of what it looks at."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import product

import pytest

from bridge.models import CardLink, IdentifierKind, LinkState
from bridge.rules import (
    ALLOWED,
    Decision,
    DenialReason,
    LinkPolicy,
    PatronStanding,
    judge_certificate,
    judge_link,
    judge_patron,
    may_borrow,
    may_link,
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
