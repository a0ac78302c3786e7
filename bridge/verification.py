"""Checking a card, before and after the PIN: what linking and borrowing have in common.

Before: certificate, chain, revocation. After: the challenge is taken, once, and the signature
proven. What a good card may then do is the business of the two services.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.environment import Environment
from bridge.errors import Denied
from bridge.models import CardIdentifier, IdentifierKind, Terminal
from bridge.ports import PendingChallenge
from bridge.rules import Decision, DenialReason, judge_certificate
from jpki import challenge as card_challenge
from jpki.certificate import UserAuthenticationCertificate
from jpki.challenge import CardResponse, Challenge, ChallengeNonce, ChallengePurpose, VerifiedCard
from jpki.errors import ChallengeUnknown, WrongTerminal
from jpki.revocation import RevocationAnswer, RevocationPolicy, RevocationSource
from jpki.trust import TrustStore
from jpki.verify import CertificatePolicy, verify_certificate

REMEMBERED_AFTER_EXPIRY = timedelta(minutes=10)
"""How long a replay is still told from an unknown challenge."""


@dataclass(frozen=True)
class CardPolicy:
    """Which cards are good: whose, with which certificate, and by whose word not revoked."""

    trust_store: TrustStore
    certificate: CertificatePolicy
    revocation_source: RevocationSource
    revocation: RevocationPolicy
    challenge_lifetime: timedelta


@dataclass(frozen=True)
class CheckedCard:
    """A certificate that is good. That its card is here, and its owner, is not proven by it."""

    certificate: UserAuthenticationCertificate
    revocation: RevocationAnswer


def was_made_for(challenge: Challenge, terminal: Terminal) -> bool:
    """Return whether *challenge* was issued to *terminal*."""
    return (challenge.library_id, challenge.terminal_id) == (terminal.library_id, terminal.terminal_id)


class CardVerification:
    """Challenges and proofs, for one ``CardPolicy``."""

    def __init__(self, environment: Environment, policy: CardPolicy) -> None:
        self._environment = environment
        self._policy = policy

    def check(self, certificate_der: bytes) -> CheckedCard:
        """Check a certificate, before anybody is asked for a PIN.

        Raises ``jpki``'s ``CertificateError``s, and ``Denied`` where it is revoked or nobody knows.
        """
        now = self._environment.clock()
        certificate = UserAuthenticationCertificate.from_der(certificate_der)
        issuer = verify_certificate(certificate, self._policy.trust_store, self._policy.certificate, now)
        answer = self._policy.revocation_source.check(certificate, issuer, now)
        return self._judge(certificate, answer)

    def issue(
        self,
        purpose: ChallengePurpose,
        terminal: Terminal,
        card: CheckedCard,
        link_request_id: str | None = None,
    ) -> Challenge:
        """Make and keep a challenge for a checked card at one terminal."""
        now = self._environment.clock()
        challenge = card_challenge.begin(
            card.certificate,
            purpose=purpose,
            library_id=terminal.library_id,
            terminal_id=terminal.terminal_id,
            challenge_id=self._environment.new_id(),
            nonce=ChallengeNonce(self._environment.random_bytes(card_challenge.NONCE_SIZE)),
            now=now,
            lifetime=self._policy.challenge_lifetime,
            trust_store=self._policy.trust_store,
            policy=self._policy.certificate,
        )
        with self._environment.store.transaction() as transaction:
            transaction.purge_challenges(now - REMEMBERED_AFTER_EXPIRY)
            transaction.add_challenge(PendingChallenge(challenge, card.revocation, link_request_id))
        return challenge

    def take(self, challenge_id: str, purpose: ChallengePurpose, terminal: Terminal) -> PendingChallenge:
        """Take a challenge of *terminal* out of use for good, whatever becomes of the answer to it.

        Raises ``ChallengeUnknown`` (also for the other purpose), ``ChallengeAlreadyUsed``, and
        ``WrongTerminal`` for another terminal's challenge, which stays good there.
        """
        now = self._environment.clock()
        with self._environment.store.transaction() as transaction:
            pending = transaction.consume_challenge(challenge_id, now)
            # Raised in here, a refusal undoes the taking.
            if pending.challenge.purpose is not purpose:
                raise ChallengeUnknown("the challenge was made for another purpose")
            if not was_made_for(pending.challenge, terminal):
                raise WrongTerminal("the response came from another place")
        return pending

    def prove(
        self, pending: PendingChallenge, terminal: Terminal, certificate_der: bytes, signature: bytes
    ) -> VerifiedCard:
        """Return the proof that the card was at this terminal and its PIN known.

        The revocation answer from before the PIN must still count. Raises ``jpki``'s
        ``ChallengeError``s, ``CertificateError``s and ``InvalidSignature``, and ``Denied``.
        """
        verified = card_challenge.complete(
            pending.challenge,
            CardResponse(pending.challenge.challenge_id, certificate_der, signature),
            library_id=terminal.library_id,
            terminal_id=terminal.terminal_id,
            trust_store=self._policy.trust_store,
            policy=self._policy.certificate,
            now=self._environment.clock(),
        )
        self._judge(verified.certificate, pending.revocation)
        return verified

    def judge_again(self, not_after: datetime, answer: RevocationAnswer | None) -> Decision:
        """Decide whether what was known at the proof may still be relied on, now.

        *not_after* is the certificate's; *answer* the one that counted then, None where it was not kept.
        """
        now = self._environment.clock()
        if answer is None:
            return Decision(DenialReason.REVOCATION_UNKNOWN)
        return judge_certificate(not_after, self._policy.revocation.evaluate(answer, now), now)

    def identifiers(
        self, library_id: str, certificate: UserAuthenticationCertificate
    ) -> tuple[CardIdentifier, ...]:
        """Return what the card may be kept under in a library, that for a new link first."""
        return self._environment.keys.identifiers(
            library_id,
            IdentifierKind.SERIAL_NUMBER,
            certificate.issuer_key_identifier,
            certificate.serial_number,
        )

    def _judge(self, certificate: UserAuthenticationCertificate, answer: RevocationAnswer) -> CheckedCard:
        now = self._environment.clock()
        evaluated = self._policy.revocation.evaluate(answer, now)
        decision = judge_certificate(certificate.not_after, evaluated, now)
        if decision.denial is not None:
            raise Denied(decision.denial)
        return CheckedCard(certificate, evaluated)
