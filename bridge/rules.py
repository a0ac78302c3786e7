"""The rules of lending with a card: pure functions, each returning a Decision.

They read like the policy document. Whatever is not named good is refused, so that a status added
later denies. Koha alone decides circulation: no loan rule is in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from enum import StrEnum, unique
from types import MappingProxyType

from bridge.models import CardLink, LinkState, RepresentativeCheck, SuspensionReason
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
    LINK_EXPIRED = "link-expired"
    REPRESENTATION_OVER = "representation-over"
    RETENTION_OVER = "retention-over"
    TOO_MANY_LINKS = "too-many-links"
    STEP_NOT_POSSIBLE = "step-not-possible"
    REPRESENTATION_INCOMPLETE = "representation-incomplete"


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


CLOCK_DIFFERENCE = timedelta(minutes=1)
"""By how much the clocks of two nodes may differ."""

RENEWAL_NOTICE = timedelta(days=90)
"""How long before its end a link is told to end. A city renews certificates within the last three months."""


@dataclass(frozen=True)
class LinkPolicy:
    """What a library demands of its links.

    ``maximum_age`` is how long a link lasts at most, None where only its certificate ends it; an ended
    link is deleted for good after ``retention``; a patron has ``maximum_per_patron`` open ones at most.
    One member of staff ends ``ends_without_approval`` links at once; for more, a second one must approve
    within ``approval_time``.
    """

    maximum_age: timedelta | None = None
    maximum_per_patron: int = 3
    retention: timedelta = timedelta(days=365)
    ends_without_approval: int = 1
    approval_time: timedelta = timedelta(days=7)


@unique
class LinkStep(StrEnum):
    """What can happen to a link."""

    USE = "use"
    SUSPEND = "suspend"
    RESTORE = "restore"
    END = "end"
    DELETE = "delete"


LINK_STEPS: Mapping[LinkStep, tuple[frozenset[LinkState], LinkState | None]] = MappingProxyType(
    {
        LinkStep.USE: (frozenset({LinkState.ACTIVE}), LinkState.ACTIVE),
        LinkStep.SUSPEND: (frozenset({LinkState.ACTIVE}), LinkState.SUSPENDED),
        LinkStep.RESTORE: (frozenset({LinkState.SUSPENDED}), LinkState.ACTIVE),
        LinkStep.END: (frozenset({LinkState.ACTIVE, LinkState.SUSPENDED}), LinkState.ENDED),
        LinkStep.DELETE: (frozenset({LinkState.ENDED}), None),
    }
)
"""The life of a link: from which states a step leads to which; None is no link any more.

A link is made ACTIVE. What has ended never comes back: the card is linked anew.
"""

STAFF_SUSPENSIONS = frozenset(
    {SuspensionReason.CARD_MISLAID, SuspensionReason.PATRON_REQUEST, SuspensionReason.SUSPECTED_MISUSE}
)
"""What staff suspend for, and restore from. A revoked certificate stays so, and needs a new link."""


@dataclass(frozen=True)
class LinkEnding:
    """When a link ends by itself, and the reason for which it is refused from then on."""

    at: datetime
    denial: DenialReason


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
    within_validity = judge_certificate_end(not_after, now)
    if not within_validity.allowed:
        return within_validity
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


def judge_step(state: LinkState, step: LinkStep, suspended_reason: str | None = None) -> Decision:
    """Decide whether *step* is possible with a link in *state*; *suspended_reason* is why it rests."""
    states, _ = LINK_STEPS[step]
    if state in states:
        return ALLOWED
    if state is LinkState.SUSPENDED:
        return Decision(DenialReason.LINK_SUSPENDED, suspended_reason)
    if state is LinkState.ENDED:
        return Decision(DenialReason.LINK_ENDED)
    return Decision(DenialReason.STEP_NOT_POSSIBLE)


def judge_certificate_end(not_after: datetime, now: datetime) -> Decision:
    """Decide whether a certificate is within its validity, the last moment of which still counts."""
    return Decision(DenialReason.CERTIFICATE_EXPIRED) if now > not_after else ALLOWED


def judge_link_age(linked_at: datetime, now: datetime, maximum_age: timedelta | None) -> Decision:
    """Decide whether a link is younger than the library lets it become; None is any age."""
    if maximum_age is not None and now >= linked_at + maximum_age:
        return Decision(DenialReason.LINK_EXPIRED)
    return ALLOWED


def judge_representation(until: date | None, today: date) -> Decision:
    """Decide whether what a legal representative linked is still good: until the child's 15th birthday.

    *until* is that birthday, None for a link that the patron made.
    """
    if until is not None and today >= until:
        return Decision(DenialReason.REPRESENTATION_OVER)
    return ALLOWED


def judge_duration(link: CardLink, now: datetime, today: date, policy: LinkPolicy) -> Decision:
    """Decide whether a link has lasted too long: by its certificate, its age, or its owner's."""
    until = None if link.representation is None else link.representation.until
    decisions = (
        judge_certificate_end(link.not_after, now),
        judge_link_age(link.linked_at, now, policy.maximum_age),
        judge_representation(until, today),
    )
    return next((decision for decision in decisions if not decision.allowed), ALLOWED)


def judge_link(link: CardLink, now: datetime, today: date, policy: LinkPolicy) -> Decision:
    """Decide whether a link may be used at the moment *now*, which is *today* in its library."""
    decision = judge_step(link.state, LinkStep.USE, link.suspended_reason)
    return decision if not decision.allowed else judge_duration(link, now, today, policy)


def judge_retention(ended_at: datetime, now: datetime, retention: timedelta) -> Decision:
    """Decide whether what is over may still be kept."""
    return Decision(DenialReason.RETENTION_OVER) if now >= ended_at + retention else ALLOWED


def judge_number_of_links(open_links: int, policy: LinkPolicy) -> Decision:
    """Decide whether a patron who has *open_links* may get one more."""
    return ALLOWED if open_links < policy.maximum_per_patron else Decision(DenialReason.TOO_MANY_LINKS)


def ending_of(link: CardLink, policy: LinkPolicy, time_zone: tzinfo) -> LinkEnding:
    """Return when a link ends by itself at the latest, and why: whatever comes first."""
    endings = [LinkEnding(link.not_after, DenialReason.CERTIFICATE_EXPIRED)]
    if policy.maximum_age is not None:
        endings.append(LinkEnding(link.linked_at + policy.maximum_age, DenialReason.LINK_EXPIRED))
    if link.representation is not None:
        birthday = datetime.combine(link.representation.until, time.min, time_zone)
        endings.append(LinkEnding(birthday, DenialReason.REPRESENTATION_OVER))
    return min(endings, key=lambda ending: ending.at)


def is_running(expires_at: datetime, lifetime: timedelta, now: datetime) -> bool:
    """Whether something that was given for *lifetime* is still good at the moment *now*.

    What was given in the future is not: a clock that stepped back lengthens nothing.
    """
    return expires_at - lifetime - CLOCK_DIFFERENCE <= now < expires_at


def is_near(ending: LinkEnding, now: datetime) -> bool:
    """Whether a link ends so soon that everyone who uses it is told."""
    return ending.at - now <= RENEWAL_NOTICE


def may_represent(until: date, checks: frozenset[RepresentativeCheck], today: date) -> Decision:
    """Decide whether a legal representative may link a child's card: under 15, and all points checked.

    *until* is the child's 15th birthday.
    """
    if today >= until:
        return Decision(DenialReason.REPRESENTATION_OVER)
    if until > years_after(today, 15) or checks != frozenset(RepresentativeCheck):
        return Decision(DenialReason.REPRESENTATION_INCOMPLETE)
    return ALLOWED


def years_after(day: date, years: int) -> date:
    """Return the same day of a later year; 1 March where there is no 29 February."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return date(day.year + years, 3, 1)


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


def may_borrow(
    link: CardLink, patron: PatronStanding, now: datetime, today: date, policy: LinkPolicy
) -> Decision:
    """Decide whether a linked card may open a session at a self-check machine."""
    decision = judge_link(link, now, today, policy)
    if not decision.allowed:
        return decision
    decision = judge_patron(patron, today)
    if decision.denial is DenialReason.PATRON_RESTRICTED:
        return ALLOWED  # a restricted patron may return books; Koha refuses the loans
    return decision
