"""What is known about the revocation of a certificate, and for how long it counts. Pure.

Revoked, unknown and stale are three different answers. Where an answer comes from is the business
of ``jpki.revocation_source``; what follows from it, of the caller's rules. Nothing but GOOD is good.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, unique
from typing import Protocol

from jpki.certificate import UserAuthenticationCertificate
from jpki.trust import TrustAnchor

CERTIFICATE_HOLD = "certificateHold"
"""RFC 5280, 5.3.1. J-LIS gives it for 一時停止."""


@unique
class RevocationStatus(Enum):
    """RFC 6960, 2.2, as seen by a relying party."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


@unique
class UnknownReason(Enum):
    """Why the status is not known. Each is told apart to the end: screen, audit, metrics."""

    RESPONDER_SAYS_UNKNOWN = "responder-says-unknown"
    UNREACHABLE = "unreachable"
    STALE = "stale"
    NOT_TRUSTED = "not-trusted"
    MALFORMED = "malformed"
    NO_SOURCE = "no-source"


@dataclass(frozen=True)
class RevocationAnswer:
    """One answer of one source.

    ``as_of`` is the time for which the source speaks (OCSP thisUpdate), or when it was asked if it
    did not speak. ``next_update`` is when the source promises a newer answer. ``reason`` is the name of
    RFC 5280, 5.3.1, such as ``certificateHold``. ``consulted`` holds what other sources said when
    several were asked.
    """

    status: RevocationStatus
    source: str
    as_of: datetime
    next_update: datetime | None = None
    revoked_at: datetime | None = None
    reason: str | None = None
    why: UnknownReason | None = None
    consulted: tuple[RevocationAnswer, ...] = ()

    @property
    def is_on_hold(self) -> bool:
        """Whether the certificate is suspended (一時停止): revoked, and may be released."""
        return self.status is RevocationStatus.REVOKED and self.reason == CERTIFICATE_HOLD


def unknown_answer(source: str, as_of: datetime, why: UnknownReason) -> RevocationAnswer:
    """Return what is known where *source* did not speak: nothing, and why."""
    return RevocationAnswer(RevocationStatus.UNKNOWN, source, as_of, why=why)


class RevocationSource(Protocol):
    """Something that can be asked whether a certificate is revoked."""

    @property
    def name(self) -> str:
        """Short name for audit and screens, such as ``ocsp``."""

    def check(
        self, certificate: UserAuthenticationCertificate, issuer: TrustAnchor, now: datetime
    ) -> RevocationAnswer:
        """Return what the source says. It never raises: no answer is UNKNOWN with its reason."""


@dataclass(frozen=True)
class RevocationPolicy:
    """How old an answer may be, and how far the source's clock may be off."""

    maximum_age: timedelta = timedelta(hours=24)
    clock_skew: timedelta = timedelta(minutes=5)

    def fresh_until(self, answer: RevocationAnswer) -> datetime:
        """Return the last moment at which ``evaluate`` does not call *answer* stale."""
        oldest = answer.as_of + self.maximum_age
        return oldest if answer.next_update is None else min(oldest, answer.next_update + self.clock_skew)

    def evaluate(self, answer: RevocationAnswer, now: datetime) -> RevocationAnswer:
        """Return *answer*, or UNKNOWN(STALE) where a GOOD has outlived its time.

        REVOKED never grows stale. An answer from the future beyond the skew counts as stale too.
        """
        if answer.status is not RevocationStatus.GOOD:
            return answer
        too_old = now - answer.as_of > self.maximum_age
        outlived = answer.next_update is not None and now > answer.next_update + self.clock_skew
        from_the_future = answer.as_of > now + self.clock_skew
        if too_old or outlived or from_the_future:
            return RevocationAnswer(
                RevocationStatus.UNKNOWN,
                answer.source,
                answer.as_of,
                next_update=answer.next_update,
                why=UnknownReason.STALE,
            )
        return answer
