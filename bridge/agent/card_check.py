"""Looking at a card without a bridge: what it tells without a PIN, and whether it signs.

For ``koha-jpki card``. Nothing leaves the machine, and what is signed is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from bridge.agent.pin import PinPad, ask_pin, require_spare_attempt
from bridge.agent.reader import CardReader, use_card
from bridge.agent.screen import Screen, VisitStep
from jpki.card import JpkiSession
from jpki.certificate import UserAuthenticationCertificate
from jpki.constants import TokenKind
from jpki.errors import CertificateExpired, CertificateNotYetValid, JpkiError, PinAlreadyVerified
from jpki.trust import TrustAnchor
from jpki.verify import verify_signature

TEST_MESSAGE_PREFIX = b"koha-jpki-bridge/self-test/v1\x00"
"""Heads what a card signs in a self-test, so that it can never pass for the answer to a challenge."""

FindIssuer = Callable[[UserAuthenticationCertificate], TrustAnchor]
"""Verifies a certificate and returns the CA that vouches for it; raises a ``CertificateError``."""


@dataclass(frozen=True)
class CardStatus:
    """What a card tells without a PIN; None is what it did not tell, because of *problem*.

    A card that could not serve a patron has a *problem*, too: expired, or no PIN attempt to spare.
    """

    token: TokenKind | None = None
    not_after: datetime | None = None
    attempts_remaining: int | None = None
    problem: JpkiError | None = None


@dataclass(frozen=True)
class SignedTest:
    """A self-test that succeeded. Nobody vouches for the certificate where *issuer* is None."""

    not_after: datetime
    issuer: TrustAnchor | None


def look_at_card(reader: CardReader, now: datetime) -> CardStatus:
    """Return what the card on *reader* tells. No attempt is spent; trouble is returned, not raised."""
    try:
        reader.wait_for_card(0)
        return use_card(reader.connect, lambda card: _look(card, now))
    except JpkiError as error:
        return CardStatus(problem=error)


def _look(card: JpkiSession, now: datetime) -> CardStatus:
    status = CardStatus(card.token)
    try:
        attempts_remaining = card.attempts_remaining()
        status = replace(status, attempts_remaining=attempts_remaining)
        certificate = UserAuthenticationCertificate.from_der(card.read_certificate())
        status = replace(status, not_after=certificate.not_after)
        _require_in_time(certificate, now)
        require_spare_attempt(attempts_remaining)
    except PinAlreadyVerified:
        raise  # the card is powered off and looked at again
    except JpkiError as error:
        return replace(status, problem=error)
    return status


def self_test(
    reader: CardReader,
    find_issuer: FindIssuer | None,
    screen: Screen,
    pin_pad: PinPad,
    *,
    wait: float,
    now: datetime,
    nonce: bytes,
) -> SignedTest:
    """Let the card on *reader* sign *nonce* after its PIN, and verify the signature.

    The certificate is read and judged, and the attempts are shown, before the PIN is asked; VERIFY is
    sent once. Waits *wait* seconds for a card. Raises a ``JpkiError``, and ``GivenUp`` where no PIN was
    entered.
    """
    screen.show_step(VisitStep.LAY_CARD)
    reader.wait_for_card(wait)

    def sign(card: JpkiSession) -> SignedTest:
        screen.show_step(VisitStep.READING)
        certificate = UserAuthenticationCertificate.from_der(card.read_certificate())
        _require_in_time(certificate, now)
        issuer = find_issuer(certificate) if find_issuer is not None else None
        attempts_remaining = card.attempts_remaining()
        require_spare_attempt(attempts_remaining)
        screen.show_step(VisitStep.ATTEMPTS_REMAINING, attempts_remaining=attempts_remaining)
        card.verify_pin(ask_pin(pin_pad, screen))
        screen.show_step(VisitStep.SIGNING)
        message = TEST_MESSAGE_PREFIX + nonce
        verify_signature(certificate, message, card.sign(message))
        return SignedTest(certificate.not_after, issuer)

    return use_card(reader.connect, sign)


def _require_in_time(certificate: UserAuthenticationCertificate, now: datetime) -> None:
    """Raise ``CertificateNotYetValid`` or ``CertificateExpired``, whoever issued the certificate."""
    if now < certificate.not_before:
        raise CertificateNotYetValid(certificate.not_before)
    if now > certificate.not_after:
        raise CertificateExpired(certificate.not_after)
