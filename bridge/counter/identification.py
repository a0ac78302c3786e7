"""Whose card is this? A librarian asks, the patron proves it with the PIN, Koha names the patron.

For what the plastic card is otherwise shown for at a counter: a loan, a renewal, a hold, an inter-library
loan, a seat at a PC. Nothing is stored of the patron: the order keeps the link, and Koha is asked when the
librarian looks.
"""

from __future__ import annotations

from dataclasses import replace

from bridge.counter.service import (
    REQUEST_LIFETIME,
    CounterService,
    librarian_actor,
    require_counter,
    require_counter_role,
)
from bridge.environment import Environment
from bridge.errors import BridgeError, Denied, LinkNotFound, LinkRequestNotFound, NotLinked, slug_of, why_of
from bridge.links.life import suspend_revoked
from bridge.links.upgrade import upgrade_link
from bridge.models import (
    Actor,
    ActorKind,
    AuditTag,
    CardLink,
    Librarian,
    LinkRequest,
    LinkRequestState,
    Terminal,
)
from bridge.ports import PatronRecord, PendingChallenge
from bridge.rules import is_running
from bridge.verification import CardVerification, Reliance
from jpki.certificate import UserAuthenticationCertificate
from jpki.challenge import Challenge, ChallengePurpose
from jpki.errors import JpkiError
from jpki.revocation import RevocationStatus


class IdentificationService(CounterService):
    """Orders to tell whose card the next one at a counter is, and their answers."""

    purpose = ChallengePurpose.IDENTIFY

    def __init__(self, environment: Environment, verification: CardVerification) -> None:
        super().__init__(environment)
        self._verification = verification

    def start(self, librarian: Librarian, *, terminal_id: str) -> LinkRequest:
        """Ask whose card the next one at a counter terminal is, for five minutes.

        Raises ``TerminalNotFound``, ``WrongTerminalKind``, ``LinkRequestPending``.
        """
        require_counter_role(librarian)
        self._find_counter(librarian, terminal_id)
        now = self._environment.clock()
        request = LinkRequest(
            request_id=self._environment.new_id(),
            library_id=librarian.library_id,
            terminal_id=terminal_id,
            patron_id=None,
            librarian_id=librarian.librarian_id,
            state=LinkRequestState.WAITING_FOR_CARD,
            started_at=now,
            expires_at=now + REQUEST_LIFETIME,
            purpose=self.purpose,
        )
        with self._environment.store.transaction() as transaction:
            transaction.add_link_request(request)
            self._record(
                transaction,
                AuditTag.IDENTIFICATION_REQUESTED,
                request,
                librarian_actor(librarian),
                request.request_id,
            )
        return request

    def begin(self, terminal: Terminal, certificate_der: bytes) -> Challenge:
        """Check the card on the reader and its link; return the challenge it shall sign.

        Whatever stands against the card ends the order, before the PIN. Raises ``WrongTerminalKind``,
        ``NoLinkRequest``, ``NotLinked``, ``Denied``, and what ``CardVerification.check`` and ``issue`` raise.
        """
        require_counter(terminal)
        request = self._require_pending(terminal)
        link = None
        try:
            card = self._verification.check(certificate_der)
            link = self._require_alive(terminal, card.certificate)
            return self._verification.issue(
                self.purpose,
                terminal,
                card,
                last_known=link.revocation,
                link_request_id=request.request_id,
            )
        except (BridgeError, JpkiError) as error:
            self._deny(terminal, request.request_id, error, link)
            raise

    def complete(
        self, terminal: Terminal, challenge_id: str, certificate_der: bytes, signature: bytes
    ) -> LinkRequest:
        """Answer the order, if the signature proves the card.

        Raises ``ChallengeUnknown``, ``ChallengeAlreadyUsed``, ``NoLinkRequest``, ``NotLinked``, ``Denied``,
        and what ``CardVerification.prove`` and ``rely_on`` raise.
        """
        require_counter(terminal)
        request_id, link = None, None
        try:
            with self._verification.answering(challenge_id, self.purpose, terminal) as pending:
                request_id = pending.link_request_id
                verified = self._verification.prove(pending, terminal, certificate_der, signature)
                answer = self._verification.await_answer(pending)
                link = self._require_alive(terminal, verified.certificate)
                reliance = self._verification.rely_on(
                    terminal.library_id, verified.certificate.not_after, answer, link.revocation
                )
                return self._answer(terminal, pending, link, reliance)
        except (BridgeError, JpkiError) as error:
            self._deny(terminal, request_id, error, link)
            raise

    def patron(self, librarian: Librarian, request_id: str) -> PatronRecord:
        """Return whose card it was, as Koha shows the patron now; for as long as the order would have lasted.

        Raises ``LinkRequestNotFound`` for an order that is another's, has no answer or is past;
        ``LinkNotFound`` where the link has ended meanwhile; ``NoSuchPatron``, ``KohaNotReachable``.
        """
        require_counter_role(librarian)
        with self._environment.store.reading() as transaction:
            request = transaction.find_link_request(librarian.library_id, request_id)
            if request is None or not self._may_be_read(librarian, request) or request.link_id is None:
                raise LinkRequestNotFound
            link = transaction.find_link(librarian.library_id, request.link_id)
        if link is None or link.ended_at is not None:
            raise LinkNotFound
        patron = self._environment.patron_of(link)
        actor = librarian_actor(librarian)
        upgrade_link(self._environment, link, patron, actor)
        with self._environment.store.transaction() as transaction:
            self._record(transaction, AuditTag.PATRON_LOOKED_UP, request, actor, link.link_id)
        return patron

    def _may_be_read(self, librarian: Librarian, request: LinkRequest) -> bool:
        return (
            request.purpose is self.purpose
            and request.state is LinkRequestState.COMPLETED
            and request.librarian_id == librarian.librarian_id
            and is_running(request.expires_at, REQUEST_LIFETIME, self._environment.clock())
        )

    def _answer(
        self, terminal: Terminal, pending: PendingChallenge, link: CardLink, reliance: Reliance
    ) -> LinkRequest:
        now = self._environment.clock()
        with self._environment.store.transaction() as transaction:
            transaction.consume_challenge(pending.challenge.challenge_id, now)
            request = self._open(transaction, terminal.library_id, pending.link_request_id)
            answered = replace(request, state=LinkRequestState.COMPLETED, problem=None, link_id=link.link_id)
            transaction.update_link_request(answered)
            if not transaction.use_link(link.link_id, now, reliance.answer):
                raise NotLinked
            actor = Actor(ActorKind.TERMINAL, terminal.terminal_id)
            details = {"review": reliance.why or "unknown"} if reliance.for_review else {}
            self._record(transaction, AuditTag.PATRON_IDENTIFIED, request, actor, link.link_id, **details)
        return answered

    def _require_alive(self, terminal: Terminal, certificate: UserAuthenticationCertificate) -> CardLink:
        identifiers = self._verification.identifiers(terminal.library_id, certificate)
        with self._environment.store.reading() as transaction:
            link = transaction.find_open_link(terminal.library_id, identifiers)
        if link is None:
            raise NotLinked
        decision = self._environment.library(link.library_id).judge_link(link, self._environment.clock())
        if decision.denial is not None:
            raise Denied(decision.denial, decision.why)
        return link

    def _deny(
        self,
        terminal: Terminal,
        request_id: str | None,
        error: BridgeError | JpkiError,
        link: CardLink | None,
    ) -> None:
        """Record a refusal; what was found revoked is suspended."""
        self._refuse(terminal, request_id, slug_of(error), why=why_of(error))
        answer = error.revocation if isinstance(error, Denied) else None
        if link is not None and answer is not None and answer.status is RevocationStatus.REVOKED:
            actor = Actor(ActorKind.TERMINAL, terminal.terminal_id)
            with self._environment.store.transaction() as transaction:
                suspend_revoked(
                    self._environment, transaction, link.library_id, {link.link_id: answer}, actor
                )
