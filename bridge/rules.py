"""The rules of lending with a card: pure functions, each returning a Decision.

They read like the policy document. Whatever is not named good is refused, so that a status added
later denies. Koha alone decides circulation: no loan rule is in here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum, unique

from bridge.models import CardLink, LinkState
from jpki.revocation import RevocationAnswer, RevocationPolicy, RevocationStatus, UnknownReason


@unique
class DenialReason(StrEnum):
    """Why a card may not be used. The value is the stable slug shown to programs."""

    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_REVOKED = "certificate-revoked"
    REVOCATION_UNKNOWN = "revocation-unknown"
    LINK_SUSPENDED = "link-suspended"
    LINK_ENDED = "link-ended"
    LIBRARY_CARD_EXPIRED = "library-card-expired"
    PATRON_RESTRICTED = "patron-restricted"
    LIBRARY_CARD_LOST = "library-card-lost"


@dataclass(frozen=True)
class Decision:
    """Allowed, or the reason why not. Never a bare bool: a refusal always has words.

    ``why`` tells apart what one reason covers: the ``UnknownReason`` of an answer, the RFC 5280 reason of
    a revocation, or what suspended a link. Where it is allowed all the same, it is ``for_review``.
    """

    denial: DenialReason | None = None
    why: str | None = None
    for_review: bool = False

    @property
    def allowed(self) -> bool:
        """Whether no rule objected."""
        return self.denial is None


ALLOWED = Decision()


@unique
class OutagePolicy(StrEnum):
    """What a library does with a linked card while no source of revocation information answers."""

    REFUSE = "refuse"
    LAST_KNOWN_GOOD = "last_known_good"


OUTAGES = frozenset({UnknownReason.UNREACHABLE, UnknownReason.STALE, UnknownReason.MALFORMED})
"""When nobody can tell just now. Any other reason is an objection, or a setting to be put right."""


@dataclass(frozen=True)
class RevocationRule:
    """What a library demands: how fresh an answer must be, and what follows where there is none.

    With ``LAST_KNOWN_GOOD`` a linked card is accepted for review in an outage, if its certificate was
    last known to be GOOD at most ``last_known_good_limit`` ago. There is no rule that accepts anything.
    """

    freshness: RevocationPolicy = field(default_factory=RevocationPolicy)
    outage: OutagePolicy = OutagePolicy.REFUSE
    last_known_good_limit: timedelta = timedelta(0)

    def bridges(self, why: UnknownReason | None, last_known: RevocationAnswer | None, now: datetime) -> bool:
        """Whether *last_known* may stand for an answer that is unknown for the reason *why*."""
        if self.outage is not OutagePolicy.LAST_KNOWN_GOOD or why not in OUTAGES:
            return False
        if last_known is None or last_known.status is not RevocationStatus.GOOD:
            return False
        return -self.freshness.clock_skew <= now - last_known.as_of <= self.last_known_good_limit


STRICT = RevocationRule()


@dataclass(frozen=True)
class PatronStanding:
    """What Koha says of a patron, as far as the rules need it.

    ``expiry_date`` is the last day on which the library card is valid; None means it never expires,
    unless the library system says ``expired`` without naming the day.
    """

    expiry_date: date | None
    restricted: bool
    card_lost: bool
    expired: bool = False


def judge_certificate(
    not_after: datetime,
    revocation: RevocationAnswer,
    now: datetime,
    rule: RevocationRule = STRICT,
    last_known: RevocationAnswer | None = None,
) -> Decision:
    """Decide whether a certificate may be relied on at the moment *now*.

    *last_known* is what was last known of the certificate of a linked card.
    """
    if now > not_after:
        return Decision(DenialReason.CERTIFICATE_EXPIRED)
    answer = decisive_answer(rule.freshness.evaluate(revocation, now))
    if answer.status is RevocationStatus.GOOD:
        return ALLOWED
    if answer.status is RevocationStatus.REVOKED:
        return Decision(DenialReason.CERTIFICATE_REVOKED, answer.reason)
    why = answer.why.value if answer.why is not None else None
    if rule.bridges(answer.why, last_known, now):
        return Decision(why=why, for_review=True)
    return Decision(DenialReason.REVOCATION_UNKNOWN, why)


def decisive_answer(answer: RevocationAnswer) -> RevocationAnswer:
    """Return, of several sources none of which knows, the first that is not merely out of service.

    An objection of one source must not hide behind the outage of another.
    """
    if answer.status is not RevocationStatus.UNKNOWN:
        return answer
    return next((each for each in (answer, *answer.consulted) if each.why not in OUTAGES), answer)


def judge_link(link: CardLink, now: datetime) -> Decision:
    """Decide whether a link is alive at the moment *now*."""
    if link.state is LinkState.SUSPENDED:
        return Decision(DenialReason.LINK_SUSPENDED, link.suspended_reason)
    if link.state is not LinkState.ACTIVE:
        return Decision(DenialReason.LINK_ENDED)
    if now > link.not_after:
        return Decision(DenialReason.CERTIFICATE_EXPIRED)
    return ALLOWED


def judge_patron(patron: PatronStanding, today: date) -> Decision:
    """Decide whether the library card is in order on *today*, a day in the library's time zone.

    The day of expiry itself is still valid, as in Koha.
    """
    if patron.expired or (patron.expiry_date is not None and today > patron.expiry_date):
        return Decision(DenialReason.LIBRARY_CARD_EXPIRED)
    if patron.card_lost:
        return Decision(DenialReason.LIBRARY_CARD_LOST)
    if patron.restricted:
        return Decision(DenialReason.PATRON_RESTRICTED)
    return ALLOWED


def may_link(patron: PatronStanding, today: date) -> Decision:
    """Decide whether a card may be linked to this patron.

    A restriction (overdue books, a fine) is no reason to refuse the link: Koha refuses the loans.
    """
    decision = judge_patron(patron, today)
    if decision.denial is DenialReason.PATRON_RESTRICTED:
        return ALLOWED
    return decision


def may_borrow(link: CardLink, patron: PatronStanding, now: datetime, today: date) -> Decision:
    """Decide whether a linked card may open a session at a self-check machine."""
    decision = judge_link(link, now)
    if not decision.allowed:
        return decision
    decision = judge_patron(patron, today)
    if decision.denial is DenialReason.PATRON_RESTRICTED:
        return ALLOWED  # a restricted patron may return books; Koha refuses the loans
    return decision
