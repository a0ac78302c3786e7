"""Everything that can go wrong between a reader and a verified card.

The base and the branches are never raised themselves; each leaf says one thing and carries its data.

::

    JpkiError
    ├ ReaderError                     no answer from the card
    │  ├ NoReader
    │  ├ NoCard
    │  ├ CardRemoved
    │  ├ CardInUse                    another program holds the card
    │  ├ ReaderServiceUnavailable     pcscd (or Windows' service) is not running
    │  └ ReaderFailure                anything else the reader said
    ├ CardError(status_word)          the card's answer, and it is no
    │  ├ InvalidPinError(attempts_remaining)
    │  ├ PinBlockedError
    │  ├ PinAlreadyVerified           somebody else's open PIN state: power off, begin again
    │  ├ NotAMyNumberCard
    │  ├ CardApplicationAbsent        the library's own application, which not every card has
    │  └ CertificateNotPresent
    ├ ApduRefused                     our own allow-list stopped the command before the card
    ├ UnsupportedToken(label)         a JPKI token, but not a kind we can serve
    ├ MalformedCardData               the card answered something that cannot be
    ├ MalformedPin                    not four digits; never sent to a card
    ├ LastAttemptProtected(attempts_remaining)
    ├ CertificateError
    │  ├ MalformedCertificate
    │  ├ UntrustedIssuer
    │  ├ CertificateExpired(not_after)
    │  ├ CertificateNotYetValid(not_before)
    │  ├ WrongCertificateType         a signature certificate, or a CA
    │  ├ WrongCertificatePolicy
    │  └ UnsupportedAlgorithm
    ├ TrustError
    │  ├ FingerprintNotPinned(fingerprint)
    │  ├ TestAuthorityRefused
    │  └ TrustFileRefused(path, problem)
    ├ CrlError                        a revocation list was not taken; the one in force stays
    │  ├ CrlNotFetched(problem)
    │  │  └ CrlRedirectRefused(host)
    │  ├ CrlTooLarge(limit)
    │  ├ MalformedCrl
    │  ├ UnsupportedCrl               delta, indirect, partial, or critical and unknown
    │  ├ CrlIssuerUnknown
    │  ├ InvalidCrlSignature
    │  ├ CrlNotYetValid(this_update)
    │  ├ CrlExpired(next_update)
    │  ├ CrlOlderThanInForce(number, number_in_force)
    │  └ CrlIndexDamaged(path)
    ├ PlatformMappingError            the file that describes a platform's service is wrong
    ├ InvalidSignature
    └ ChallengeError
       ├ MalformedChallenge           the message is not one of ours, or names another place
       ├ ChallengeUnknown
       ├ ChallengeExpired(expired_at)
       ├ ChallengeAlreadyUsed
       ├ WrongTerminal
       └ WrongCertificate             not the certificate that the challenge was made for
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path


class JpkiError(Exception):
    """Base of the tree; never raised itself."""


class ReaderError(JpkiError):
    """There was no answer from the card; never raised itself."""


class NoReader(ReaderError):
    """No reader is connected, or not the one that was asked for."""


class NoCard(ReaderError):
    """No card lay on the reader within the time given."""


class CardRemoved(ReaderError):
    """The card was taken away. After a VERIFY it is unknown whether a try was spent."""


class CardInUse(ReaderError):
    """Another program holds the card."""


class UnresponsiveCard(ReaderError):
    """Something lies on the reader that does not answer: two cards, a card upside down, no chip card."""


class ReaderServiceUnavailable(ReaderError):
    """The PC/SC service is not running."""


class ReaderFailure(ReaderError):
    """The reader reported something else; the text is PC/SC's own."""


class CardError(JpkiError):
    """The card answered with a failing status word."""

    def __init__(self, status_word: int, message: str | None = None) -> None:
        super().__init__(message or f"the card answered {status_word:04X}")
        self.status_word = status_word


class InvalidPinError(CardError):
    """The PIN was wrong; a try was spent."""

    def __init__(self, status_word: int, *, attempts_remaining: int) -> None:
        super().__init__(status_word, f"wrong PIN, {attempts_remaining} attempts remaining")
        self.attempts_remaining = attempts_remaining


class PinBlockedError(CardError):
    """No try is left; the municipality's counter can set a new PIN."""


class PinAlreadyVerified(CardError):
    """The card says that the PIN is verified although we have not: somebody else's state."""


class NotAMyNumberCard(CardError):
    """The card has no JPKI application."""


class CardApplicationAbsent(CardError):
    """The card does not have the application in which the library's city wrote a number."""


class CertificateNotPresent(CardError):
    """The card carries no user authentication certificate."""


class ApduRefused(JpkiError):
    """Our own allow-list stopped a command before it reached the card; there is no status word."""


class UnsupportedToken(JpkiError):
    """A JPKI token of a kind that this program cannot serve; *label* is what it calls itself."""

    def __init__(self, label: str) -> None:
        super().__init__(f"unsupported token {label!r}")
        self.label = label


class MalformedCardData(JpkiError):
    """The card answered with data that cannot be (a length that does not fit, no DER)."""


class MalformedPin(JpkiError):
    """Not four digits. The value is not repeated here."""


class LastAttemptProtected(JpkiError):
    """VERIFY was not sent, because a wrong PIN would block the card."""

    def __init__(self, attempts_remaining: int) -> None:
        super().__init__(f"{attempts_remaining} attempts remaining: not tried")
        self.attempts_remaining = attempts_remaining


class CertificateError(JpkiError):
    """The certificate cannot be relied on; never raised itself."""


class MalformedCertificate(CertificateError):
    """Not one DER certificate of the shape that RFC 5280 asks for."""


class UntrustedIssuer(CertificateError):
    """No imported CA for user authentication issued it."""


class CertificateExpired(CertificateError):
    """Its validity is over."""

    def __init__(self, not_after: datetime) -> None:
        super().__init__(f"expired at {not_after.isoformat()}")
        self.not_after = not_after


class CertificateNotYetValid(CertificateError):
    """Its validity has not begun."""

    def __init__(self, not_before: datetime) -> None:
        super().__init__(f"not valid before {not_before.isoformat()}")
        self.not_before = not_before


class WrongCertificateType(CertificateError):
    """Not a user authentication certificate: a signature certificate or a CA."""


class WrongCertificatePolicy(CertificateError):
    """Its policy, key usage or critical extensions are not those of a user authentication certificate."""


class UnsupportedAlgorithm(CertificateError):
    """Its key or signature algorithm is too weak or not one this program knows."""


class TrustError(JpkiError):
    """A CA certificate was not accepted; never raised itself."""


class FingerprintNotPinned(TrustError):
    """The CA certificate's SHA-256 fingerprint is not among the pinned ones."""

    def __init__(self, fingerprint: str) -> None:
        super().__init__(f"fingerprint {fingerprint} is not pinned")
        self.fingerprint = fingerprint


class TestAuthorityRefused(TrustError):
    """A test CA (O=JPKI-TEST...) outside development mode."""

    __test__ = False  # not a test class, whatever pytest thinks of its name


class TrustFileRefused(TrustError):
    """A file in the trust directory is not, or no longer, a CA that the settings accept."""

    def __init__(self, path: Path, problem: Exception) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class CrlError(JpkiError):
    """A certificate revocation list was not taken; never raised itself."""


class CrlNotFetched(CrlError):
    """The list could not be got from where it is kept; *problem* says why, without the address."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"the CRL was not fetched: {problem}")
        self.problem = problem


class CrlRedirectRefused(CrlNotFetched):
    """The server sent us to another host, which nobody configured."""

    def __init__(self, host: str) -> None:
        super().__init__(f"redirected to another host, {host}")
        self.host = host


class CrlTooLarge(CrlError):
    """The list has more than *limit* bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the CRL is larger than {limit} bytes")
        self.limit = limit


class MalformedCrl(CrlError):
    """Not one whole CRL of the shape that RFC 5280 asks for."""


class UnsupportedCrl(CrlError):
    """A delta, an indirect CRL, one of a part that is not accepted, or with an unknown critical extension."""


class CrlIssuerUnknown(CrlError):
    """No imported CA for user authentication has the name and key that the CRL names."""


class InvalidCrlSignature(CrlError):
    """The CRL is not signed by the CA that it names."""


class CrlNotYetValid(CrlError):
    """The CRL is from the future."""

    def __init__(self, this_update: datetime) -> None:
        super().__init__(f"the CRL is issued for {this_update.isoformat()}")
        self.this_update = this_update


class CrlExpired(CrlError):
    """A newer CRL should have been there at *next_update*."""

    def __init__(self, next_update: datetime) -> None:
        super().__init__(f"the CRL was to be replaced at {next_update.isoformat()}")
        self.next_update = next_update


class CrlOlderThanInForce(CrlError):
    """The CRL has a lower number than the one in force, or its number and other content."""

    def __init__(self, number: int, number_in_force: int) -> None:
        super().__init__(f"CRL number {number} does not follow number {number_in_force}, which is in force")
        self.number = number
        self.number_in_force = number_in_force


class CrlIndexDamaged(CrlError):
    """An index file is not one that this program wrote whole."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is damaged: import the CRL again")
        self.path = path


class PlatformMappingError(JpkiError):
    """The file that describes a platform operator's service is wrong; the sentence says where."""


class InvalidSignature(JpkiError):
    """The signature over the challenge is not this card's."""


class ChallengeError(JpkiError):
    """The challenge does not fit; never raised itself."""


class MalformedChallenge(ChallengeError):
    """The message is not one of ours, or names another terminal or certificate."""


class ChallengeUnknown(ChallengeError):
    """There is no such challenge."""


class ChallengeExpired(ChallengeError):
    """The answer came too late."""

    def __init__(self, expired_at: datetime) -> None:
        super().__init__(f"expired at {expired_at.isoformat()}")
        self.expired_at = expired_at


class ChallengeAlreadyUsed(ChallengeError):
    """The challenge was answered before: a replay."""


class WrongTerminal(ChallengeError):
    """The answer came from another terminal or library than the challenge was made for."""


class WrongCertificate(ChallengeError):
    """The answer carries another certificate than the challenge was made for."""
