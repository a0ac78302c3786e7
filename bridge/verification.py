"""Checking a card, before and after the PIN: what linking and borrowing have in common.

Before: certificate, chain, and the question about revocation, for whose answer a short grace is waited.
After: the challenge is looked up, the signature proven, and the answer must be there; the challenge is used
up once, with what comes of it. What a good card may then do is the business of the services.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.environment import Environment
from bridge.errors import Denied, LibraryNotFound, StoreUnavailable
from bridge.models import Actor, ActorKind, AuditTag, CardIdentifier, IdentifierKind, Terminal
from bridge.ports import PendingChallenge, Transaction
from bridge.revocation.inquiries import RevocationInquiries, RevocationInquiry
from bridge.rules import (
    STRICT,
    Decision,
    DenialReason,
    RevocationRule,
    decisive_answer,
    judge_certificate,
)
from jpki import challenge as card_challenge
from jpki.certificate import UserAuthenticationCertificate
from jpki.challenge import CardResponse, Challenge, ChallengeNonce, ChallengePurpose, VerifiedCard
from jpki.errors import ChallengeAlreadyUsed, ChallengeUnknown, WrongTerminal
from jpki.proven import ProvenCertificates
from jpki.revocation import RevocationAnswer, RevocationSource, UnknownReason, unknown_answer
from jpki.trust import TrustAnchor, TrustStore
from jpki.verify import CertificatePolicy, verify_certificate

logger = logging.getLogger(__name__)

REMEMBERED_AFTER_EXPIRY = timedelta(minutes=10)
"""How long a replay is still told from an unknown challenge."""


POLL_SECONDS = 0.1
"""How often it is looked whether the answer has come, which may have come to another process."""


@dataclass(frozen=True)
class LibraryRevocation:
    """Whom one library asks about revocation, and what it makes of the answer."""

    source: RevocationSource
    rule: RevocationRule = STRICT


@dataclass(frozen=True)
class CardPolicy:
    """Which cards are good: whose, with which certificate, and by whose word not revoked.

    ``revocation`` has a row for each library. ``answer_grace`` is how long a patron waits for the answer
    before the PIN is asked; ``answer_limit``, counted from the signature, how long after it.
    """

    trust_store: TrustStore
    certificate: CertificatePolicy
    revocation: Mapping[str, LibraryRevocation]
    challenge_lifetime: timedelta
    answer_grace: timedelta = timedelta(seconds=2)
    answer_limit: timedelta = timedelta(seconds=10)

    def revocation_of(self, library_id: str) -> LibraryRevocation:
        """Return the row of a library. Raises ``LibraryNotFound``."""
        try:
            return self.revocation[library_id]
        except KeyError:
            raise LibraryNotFound(library_id) from None


@dataclass(frozen=True)
class CheckedCard:
    """A certificate that is good but for its revocation, which is not known yet.

    That its card is here, and its owner, is not proven by it.
    """

    certificate: UserAuthenticationCertificate
    issuer: TrustAnchor


@dataclass(frozen=True)
class Reliance:
    """What a use of a card relies on: an answer, or what was last known, and then for review.

    ``why`` is the reason for which there was no answer.
    """

    answer: RevocationAnswer
    for_review: bool = False
    why: str | None = None


def was_made_for(challenge: Challenge, terminal: Terminal) -> bool:
    """Return whether *challenge* was issued to *terminal*."""
    return (challenge.library_id, challenge.terminal_id) == (terminal.library_id, terminal.terminal_id)


def find_challenge_of(transaction: Transaction, challenge_id: str, terminal: Terminal) -> PendingChallenge:
    """Return a challenge that was issued to *terminal*, used or not. Raises ``ChallengeUnknown``."""
    pending = transaction.find_challenge(challenge_id)
    if pending is None or not was_made_for(pending.challenge, terminal):
        raise ChallengeUnknown("no such challenge at this terminal")
    return pending


def record_wrong_pin(environment: Environment, transaction: Transaction, terminal: Terminal) -> None:
    """Record that a PIN was wrong at *terminal*: where, and nothing by which order or card could be told."""
    transaction.add_audit_event(
        environment.event(
            AuditTag.PIN_WRONG,
            terminal.library_id,
            Actor(ActorKind.TERMINAL, terminal.terminal_id),
            terminal.terminal_id,
            terminal_id=terminal.terminal_id,
        )
    )


class CardVerification:
    """Challenges and proofs, for one ``CardPolicy``."""

    def __init__(self, environment: Environment, policy: CardPolicy) -> None:
        self._environment = environment
        self._policy = policy
        self._inquiries = RevocationInquiries()
        self._proven = ProvenCertificates()

    def check(self, certificate_der: bytes) -> CheckedCard:
        """Check a certificate by itself, before anybody is asked for anything.

        Raises ``jpki``'s ``CertificateError``s.
        """
        now = self._environment.clock()
        certificate = UserAuthenticationCertificate.from_der(certificate_der)
        issuer = verify_certificate(certificate, self._policy.trust_store, self._policy.certificate, now)
        return CheckedCard(certificate, issuer)

    def issue(
        self,
        purpose: ChallengePurpose,
        terminal: Terminal,
        card: CheckedCard,
        *,
        last_known: RevocationAnswer | None = None,
        link_request_id: str | None = None,
    ) -> Challenge:
        """Ask about revocation; make and keep a challenge for a checked card at one terminal.

        An answer that comes within the grace is judged as in ``rely_on``, which see for *last_known*
        and what is raised: then nobody is asked for a PIN. A later one is kept with the challenge, for
        ``await_answer``.
        """
        now = self._environment.clock()
        source = self._policy.revocation_of(terminal.library_id).source
        inquiry = self._inquiries.start(source, card.certificate, card.issuer, now)
        answer = inquiry.wait(self._policy.answer_grace.total_seconds())
        if answer is not None:
            answer = decisive_answer(answer)
            self.rely_on(terminal.library_id, card.certificate.not_after, answer, last_known)
        challenge = card_challenge.begin(
            card.certificate,
            purpose=purpose,
            library_id=terminal.library_id,
            terminal_id=terminal.terminal_id,
            challenge_id=self._environment.new_id(),
            nonce=ChallengeNonce(self._environment.random_bytes(card_challenge.NONCE_SIZE)),
            now=self._environment.clock(),
            lifetime=self._policy.challenge_lifetime,
            trust_store=self._policy.trust_store,
            policy=self._policy.certificate,
            proven=self._proven,
        )
        with self._environment.store.transaction(durable=False) as transaction:
            transaction.purge_challenges(now - REMEMBERED_AFTER_EXPIRY)
            transaction.add_challenge(PendingChallenge(challenge, answer, link_request_id))
        if answer is None:
            self._keep_when_answered(inquiry, challenge.challenge_id)
        return challenge

    @contextmanager
    def answering(
        self, challenge_id: str, purpose: ChallengePurpose, terminal: Terminal
    ) -> Iterator[PendingChallenge]:
        """Yield a challenge of *terminal*, to be proven and then used up in this block.

        What comes of a good answer is stored in one transaction with ``consume_challenge``: of two answers
        at the same moment one wins. Where the block refuses the answer, the challenge is used up here, so
        that an answer is tried once; it stays good only where the database failed.

        Raises ``ChallengeUnknown`` (also for the other purpose), ``ChallengeAlreadyUsed``, and
        ``WrongTerminal`` for another terminal's challenge, which stays good there.
        """
        store = self._environment.store
        with store.reading() as transaction:
            pending = transaction.unused_challenge(challenge_id)
        if pending.challenge.purpose is not purpose:
            raise ChallengeUnknown("the challenge was made for another purpose")
        if not was_made_for(pending.challenge, terminal):
            raise WrongTerminal("the response came from another place")
        try:
            yield pending
        except StoreUnavailable:
            raise
        except BaseException:
            with suppress(ChallengeAlreadyUsed), store.transaction(durable=False) as transaction:
                transaction.consume_challenge(challenge_id, self._environment.clock())
            raise

    def prove(
        self, pending: PendingChallenge, terminal: Terminal, certificate_der: bytes, signature: bytes
    ) -> VerifiedCard:
        """Return the proof that the card was at this terminal and its PIN known.

        Raises ``jpki``'s ``ChallengeError``s, ``CertificateError``s and ``InvalidSignature``.
        """
        return card_challenge.complete(
            pending.challenge,
            CardResponse(pending.challenge.challenge_id, certificate_der, signature),
            library_id=terminal.library_id,
            terminal_id=terminal.terminal_id,
            trust_store=self._policy.trust_store,
            policy=self._policy.certificate,
            now=self._environment.clock(),
            proven=self._proven,
        )

    def await_answer(self, pending: PendingChallenge) -> RevocationAnswer:
        """Return the revocation answer of a challenge, in whichever process it arrives.

        Where it does not come in time the answer is UNKNOWN(UNREACHABLE).
        """
        answer = pending.revocation
        waits = round(self._policy.answer_limit.total_seconds() / POLL_SECONDS)
        while answer is None and waits > 0:
            time.sleep(POLL_SECONDS)
            waits -= 1
            with self._environment.store.reading() as transaction:
                found = transaction.find_challenge(pending.challenge.challenge_id)
            answer = None if found is None else found.revocation
        if answer is not None:
            return answer
        source = self._policy.revocation_of(pending.challenge.library_id).source
        return unknown_answer(source.name, self._environment.clock(), UnknownReason.UNREACHABLE)

    def rely_on(
        self,
        library_id: str,
        not_after: datetime,
        answer: RevocationAnswer,
        last_known: RevocationAnswer | None = None,
    ) -> Reliance:
        """Return what a use of the card may rely on, by the library's rule.

        *not_after* is the certificate's; *last_known* belongs to a card that is linked: without it
        nothing but GOOD will do. Raises ``Denied``.
        """
        now = self._environment.clock()
        decision = judge_certificate(
            not_after, answer, now, self._policy.revocation_of(library_id).rule, last_known
        )
        if decision.denial is DenialReason.REVOCATION_UNKNOWN or decision.for_review:
            accepted = "accepted for review" if decision.for_review else "refused"
            logger.warning("%s: revocation unknown (%s): %s", library_id, decision.why, accepted)
        if decision.denial is not None:
            raise Denied(decision.denial, decision.why, answer)
        if decision.for_review and last_known is not None:
            return Reliance(last_known, for_review=True, why=decision.why)
        return Reliance(answer)

    def judge_again(self, library_id: str, not_after: datetime, answer: RevocationAnswer | None) -> Decision:
        """Decide whether what was known at the proof may still be relied on, now.

        *not_after* is the certificate's; *answer* the one that counted then, None where it was not kept.
        """
        now = self._environment.clock()
        if answer is None:
            return Decision(DenialReason.REVOCATION_UNKNOWN)
        rule = self._policy.revocation_of(library_id).rule
        return judge_certificate(not_after, answer, now, rule, last_known=answer)

    def fresh_until(self, library_id: str, answer: RevocationAnswer | None) -> datetime:
        """Return until when ``judge_again`` need not be asked again as to the age of *answer*."""
        if answer is None:
            return self._environment.clock()
        return self._policy.revocation_of(library_id).rule.freshness.fresh_until(answer)

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

    def _keep_when_answered(self, inquiry: RevocationInquiry, challenge_id: str) -> None:
        def keep(answer: RevocationAnswer) -> None:
            with self._environment.store.transaction(durable=False) as transaction:
                transaction.set_challenge_revocation(challenge_id, decisive_answer(answer))

        inquiry.when_answered(keep)
