"""The rules of lending with a card: pure functions, each returning a Decision.

They read like the policy document. Whatever is not named good is refused, so that a status added
later denies. Koha alone decides circulation: no loan rule is in here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum, unique

from bridge.models import CardLink, LinkState
from jpki.revocation import RevocationAnswer, RevocationStatus


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
    """Allowed, or the reason why not. Never a bare bool: a refusal always has words."""

    denial: DenialReason | None = None

    @property
    def allowed(self) -> bool:
        """Whether no rule objected."""
        return self.denial is None


ALLOWED = Decision()


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


def judge_certificate(not_after: datetime, revocation: RevocationAnswer, now: datetime) -> Decision:
    """Decide whether a certificate may be relied on at the moment *now*."""
    if now > not_after:
        return Decision(DenialReason.CERTIFICATE_EXPIRED)
    if revocation.status is RevocationStatus.REVOKED:
        return Decision(DenialReason.CERTIFICATE_REVOKED)
    if revocation.status is not RevocationStatus.GOOD:
        return Decision(DenialReason.REVOCATION_UNKNOWN)
    return ALLOWED


def judge_link(link: CardLink, now: datetime) -> Decision:
    """Decide whether a link is alive at the moment *now*."""
    if link.state is LinkState.SUSPENDED:
        return Decision(DenialReason.LINK_SUSPENDED)
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
