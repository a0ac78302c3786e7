"""The challenge that a card signs, and the proof that it did. Pure, but for a memory that is passed in.

``begin`` checks a certificate and makes a challenge for it, ``complete`` checks the answer. The
caller keeps the challenge in between and sees to it that it is used once (``ChallengeUnknown``,
``ChallengeAlreadyUsed``); moment and randomness come in as arguments.

The card signs any digest it is given, so the message says what it is for::

    "koha-jpki-bridge/challenge/v1" 0x00, then for each of
      purpose, library_id, terminal_id, challenge_id, nonce (32 bytes),
      issued_at (UTC, RFC 3339, seconds), SHA-256 of the certificate's DER
    a 2-byte big-endian length and the bytes (text in UTF-8)
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum, unique

from jpki.certificate import UserAuthenticationCertificate
from jpki.errors import (
    ChallengeExpired,
    ChallengeUnknown,
    MalformedChallenge,
    WrongCertificate,
    WrongTerminal,
)
from jpki.proven import ProvenCertificates
from jpki.trust import TrustAnchor, TrustStore
from jpki.verify import CertificatePolicy, verify_signature

MESSAGE_PREFIX = b"koha-jpki-bridge/challenge/v1\x00"
NONCE_SIZE = 32
_MESSAGE_FIELDS = 7
_LENGTH_SIZE = 2
_RFC_3339_SECONDS = "%Y-%m-%dT%H:%M:%SZ"


@unique
class ChallengePurpose(StrEnum):
    """What the patron agrees to with the PIN."""

    LINK = "link"
    BORROW = "borrow"
    IDENTIFY = "identify"


@dataclass(frozen=True)
class ChallengeNonce:
    """32 unpredictable bytes. Raises ``ValueError`` for any other number of them."""

    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.value) != NONCE_SIZE:
            raise ValueError(f"a nonce has {NONCE_SIZE} bytes")


@dataclass(frozen=True)
class Challenge:
    """One question to one card at one place; made by ``begin``, kept by the caller.

    ``certificate_digest`` is the SHA-256 of the certificate's DER.
    """

    challenge_id: str
    purpose: ChallengePurpose
    library_id: str
    terminal_id: str
    nonce: ChallengeNonce = field(repr=False)
    issued_at: datetime
    expires_at: datetime
    certificate_digest: bytes = field(repr=False)

    def message(self) -> bytes:
        """Return the bytes to sign; the card gets their SHA-256."""
        fields = (
            self.purpose.value.encode(),
            self.library_id.encode(),
            self.terminal_id.encode(),
            self.challenge_id.encode(),
            self.nonce.value,
            self.issued_at.astimezone(UTC).strftime(_RFC_3339_SECONDS).encode(),
            self.certificate_digest,
        )
        return MESSAGE_PREFIX + b"".join(len(value).to_bytes(_LENGTH_SIZE, "big") + value for value in fields)


@dataclass(frozen=True)
class CardResponse:
    """What comes back from the card: the certificate again, and its signature over the message."""

    challenge_id: str
    certificate_der: bytes = field(repr=False)
    signature: bytes = field(repr=False)


_COMPLETED = object()


@dataclass(frozen=True)
class VerifiedCard:
    """The proof that a card with this certificate was present and its PIN known.

    Only ``complete`` makes one: a function that takes it cannot be called without the proof.
    """

    certificate: UserAuthenticationCertificate
    issuer: TrustAnchor
    purpose: ChallengePurpose
    library_id: str
    terminal_id: str
    verified_at: datetime
    made_by: InitVar[object] = None

    def __post_init__(self, made_by: object) -> None:
        if made_by is not _COMPLETED:
            raise TypeError("a VerifiedCard is made by jpki.challenge.complete alone")


def begin(
    certificate: UserAuthenticationCertificate,
    *,
    purpose: ChallengePurpose,
    library_id: str,
    terminal_id: str,
    challenge_id: str,
    nonce: ChallengeNonce,
    now: datetime,
    lifetime: timedelta,
    trust_store: TrustStore,
    policy: CertificatePolicy,
    proven: ProvenCertificates | None = None,
) -> Challenge:
    """Verify *certificate*, then make a challenge for it that lives for *lifetime*.

    A card that would be refused later is refused here, before its owner is asked for a PIN. With
    *proven* the proof is remembered as long as the challenge lives. Raises what
    ``verify_certificate`` raises.
    """
    issued_at = now.astimezone(UTC).replace(microsecond=0)
    expires_at = issued_at + lifetime
    proven = ProvenCertificates() if proven is None else proven
    proven.prove(certificate, trust_store, policy, now, until=expires_at)
    return Challenge(
        challenge_id=challenge_id,
        purpose=purpose,
        library_id=library_id,
        terminal_id=terminal_id,
        nonce=nonce,
        issued_at=issued_at,
        expires_at=expires_at,
        certificate_digest=certificate.digest,
    )


def complete(
    challenge: Challenge,
    response: CardResponse,
    *,
    library_id: str,
    terminal_id: str,
    trust_store: TrustStore,
    policy: CertificatePolicy,
    now: datetime,
    proven: ProvenCertificates | None = None,
) -> VerifiedCard:
    """Check *response*, which came from the named terminal, and return the proof.

    In this order, each raising: the challenge's id (``ChallengeUnknown``), the place
    (``WrongTerminal``), the time (``ChallengeExpired``), the same certificate
    (``WrongCertificate``), the certificate once more (``verify_certificate``), the signature
    (``InvalidSignature``). Of a certificate that ``begin`` left in *proven*, once more means the dates,
    its own and its CA's. That a challenge is answered only once is the caller's business.
    """
    if response.challenge_id != challenge.challenge_id:
        raise ChallengeUnknown("the response answers another challenge")
    if (library_id, terminal_id) != (challenge.library_id, challenge.terminal_id):
        raise WrongTerminal("the response came from another place")
    if not challenge.issued_at <= now < challenge.expires_at:
        raise ChallengeExpired(challenge.expires_at)
    digest = hashlib.sha256(response.certificate_der).digest()
    if not hmac.compare_digest(digest, challenge.certificate_digest):
        raise WrongCertificate("the response carries another certificate")
    proven = ProvenCertificates() if proven is None else proven
    card = proven.prove_again(response.certificate_der, trust_store, policy, now)
    verify_signature(card.certificate, challenge.message(), response.signature)
    return VerifiedCard(
        certificate=card.certificate,
        issuer=card.issuer,
        purpose=challenge.purpose,
        library_id=challenge.library_id,
        terminal_id=challenge.terminal_id,
        verified_at=now,
        made_by=_COMPLETED,
    )


def check_message(
    message: bytes, *, library_id: str, terminal_id: str, certificate_der: bytes
) -> ChallengePurpose:
    """Return the purpose in *message*, having checked that it may be signed at this terminal.

    For the agent: a server, or somebody in its place, cannot have a card sign arbitrary bytes.
    Raises ``MalformedChallenge`` unless *message* is exactly one of ours, for this library, this
    terminal and this certificate.
    """
    purpose, library, terminal, _, nonce, issued_at, digest = _message_fields(message)
    try:
        parsed_purpose = ChallengePurpose(purpose.decode())
        parsed_issued_at = datetime.strptime(issued_at.decode(), _RFC_3339_SECONDS).replace(tzinfo=UTC)
    except ValueError as error:
        raise MalformedChallenge("the purpose or the time is not one") from error
    # strptime also takes single digits; the message has one form only.
    if parsed_issued_at.strftime(_RFC_3339_SECONDS).encode() != issued_at:
        raise MalformedChallenge("the time is not in RFC 3339 form")
    if len(nonce) != NONCE_SIZE:
        raise MalformedChallenge("the nonce has not 32 bytes")
    if library != library_id.encode():
        raise MalformedChallenge("the message is for another library")
    if terminal != terminal_id.encode():
        raise MalformedChallenge("the message is for another terminal")
    if digest != hashlib.sha256(certificate_der).digest():
        raise MalformedChallenge("the message is for another certificate")
    return parsed_purpose


def _message_fields(message: bytes) -> list[bytes]:
    """Split *message* into its seven fields. Raises ``MalformedChallenge``."""
    if not message.startswith(MESSAGE_PREFIX):
        raise MalformedChallenge("not a message of this program")
    fields = []
    position = len(MESSAGE_PREFIX)
    while position < len(message):
        start = position + _LENGTH_SIZE
        position = start + int.from_bytes(message[start - _LENGTH_SIZE : start], "big")
        fields.append(message[start:position])
    if position != len(message) or len(fields) != _MESSAGE_FIELDS:
        raise MalformedChallenge("not seven fields")
    return fields
