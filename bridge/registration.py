"""Linking a card to a patron at the counter (連携登録), and ending a link.

Koha and the revocation source are asked outside database transactions: neither may hold a lock
while somebody else's server thinks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType

from bridge.category import CategoryService
from bridge.environment import Environment
from bridge.errors import (
    AlreadyLinked,
    BridgeError,
    Denied,
    LinkNotFound,
    LinkRequestNotFound,
    NoLinkRequest,
    NoSuchPatron,
    NotAllowed,
    TerminalNotFound,
    WrongTerminalKind,
    slug_of,
    why_of,
)
from bridge.keys import KeyUse
from bridge.models import (
    Actor,
    ActorKind,
    AgentStep,
    AuditTag,
    CardLink,
    Librarian,
    LinkRequest,
    LinkRequestState,
    LinkState,
    Permission,
    Terminal,
    TerminalKind,
    UnlinkReason,
)
from bridge.ports import PatronRecord, Transaction
from bridge.rules import Decision, DenialReason, may_link
from bridge.serial_record import write_serial_record
from bridge.verification import CardVerification, was_made_for
from jpki.challenge import Challenge, ChallengePurpose, VerifiedCard
from jpki.errors import ChallengeUnknown, JpkiError
from jpki.revocation import RevocationAnswer

REQUEST_LIFETIME = timedelta(minutes=5)

AGENT_STEPS: Mapping[AgentStep, tuple[LinkRequestState, str | None]] = MappingProxyType(
    {
        AgentStep.PIN_REQUESTED: (LinkRequestState.WAITING_FOR_PIN, None),
        AgentStep.PIN_WRONG: (LinkRequestState.WAITING_FOR_PIN, "pin-wrong"),
        AgentStep.PIN_BLOCKED: (LinkRequestState.REFUSED, "pin-blocked"),
        AgentStep.CARD_REMOVED: (LinkRequestState.WAITING_FOR_CARD, "card-removed"),
        AgentStep.GIVEN_UP: (LinkRequestState.WAITING_FOR_CARD, "given-up"),
    }
)
"""What the counter page shows after each step: the state of the request and the problem, if any."""


@dataclass(frozen=True)
class PatronSummary:
    """A patron as the counter sees one before a link is started."""

    patron: PatronRecord
    open_links: Sequence[CardLink]
    decision: Decision


class RegistrationService:
    """Requests for a link, the link itself, and its end.

    What a librarian does raises ``NotAllowed`` where the role does not permit it; ``request`` and
    ``link`` only show, and any role may look.
    """

    def __init__(
        self, environment: Environment, verification: CardVerification, categories: CategoryService
    ) -> None:
        self._environment = environment
        self._verification = verification
        self._categories = categories

    def find_patron(self, librarian: Librarian, cardnumber: str) -> PatronSummary:
        """Show a patron, by library card. Raises ``NoSuchPatron``, ``KohaNotReachable``."""
        _require_counter_role(librarian)
        library = self._environment.library(librarian.library_id)
        patron = library.patrons.find_by_cardnumber(cardnumber)
        if patron is None:
            raise NoSuchPatron
        references = self._environment.keys.patron_references(library.library_id, patron.cardnumber)
        with self._environment.store.transaction() as transaction:
            open_links = transaction.open_links_of_patron(library.library_id, patron.patron_id, references)
        today = library.today(self._environment.clock())
        return PatronSummary(patron, open_links, may_link(patron.standing, today))

    def start(self, librarian: Librarian, *, terminal_id: str, cardnumber: str) -> LinkRequest:
        """Order the next card at a counter terminal to be linked to a patron, for five minutes.

        Raises ``TerminalNotFound``, ``WrongTerminalKind``, ``LinkRequestPending``, ``Denied``, and
        what ``find_patron`` raises.
        """
        _require_counter_role(librarian)
        with self._environment.store.transaction() as transaction:
            terminal = transaction.find_terminal(librarian.library_id, terminal_id)
        if terminal is None:
            raise TerminalNotFound
        _require_counter(terminal)
        summary = self.find_patron(librarian, cardnumber)
        if summary.decision.denial is not None:
            raise Denied(summary.decision.denial)
        now = self._environment.clock()
        request = LinkRequest(
            request_id=self._environment.new_id(),
            library_id=librarian.library_id,
            terminal_id=terminal_id,
            patron_id=summary.patron.patron_id,
            librarian_id=librarian.librarian_id,
            state=LinkRequestState.WAITING_FOR_CARD,
            started_at=now,
            expires_at=now + REQUEST_LIFETIME,
            patron_reference=self._reference_to(librarian.library_id, summary.patron),
        )
        with self._environment.store.transaction() as transaction:
            transaction.add_link_request(request)
            self._record(transaction, AuditTag.LINK_REQUESTED, request, _actor(librarian), request.request_id)
        return request

    def request(self, librarian: Librarian, request_id: str) -> LinkRequest:
        """Return a request as it stands now. Raises ``LinkRequestNotFound``."""
        with self._environment.store.transaction() as transaction:
            return self._current(transaction, librarian.library_id, request_id)

    def cancel(self, librarian: Librarian, request_id: str) -> LinkRequest:
        """Take a request back. Raises ``LinkRequestNotFound`` where it is not open any more."""
        _require_counter_role(librarian)
        with self._environment.store.transaction() as transaction:
            request = self._current(transaction, librarian.library_id, request_id)
            if not request.state.is_open:
                raise LinkRequestNotFound
            cancelled = replace(request, state=LinkRequestState.CANCELLED)
            transaction.update_link_request(cancelled)
            self._record(transaction, AuditTag.LINK_REQUEST_CANCELLED, request, _actor(librarian), request_id)
        return cancelled

    def pending(self, terminal: Terminal) -> LinkRequest | None:
        """Return the request that waits at a counter terminal."""
        with self._environment.store.transaction() as transaction:
            return transaction.find_open_link_request(terminal, self._environment.clock())

    def begin(self, terminal: Terminal, certificate_der: bytes) -> Challenge:
        """Check the card on the reader; return the challenge it shall sign.

        Whatever stands against the card ends the request, before the PIN. Raises
        ``WrongTerminalKind``, ``NoLinkRequest``, ``AlreadyLinked``, and what
        ``CardVerification.check`` and ``issue`` raise.
        """
        _require_counter(terminal)
        request = self.pending(terminal)
        if request is None:
            self._refuse(terminal, None, NoLinkRequest.slug)
            raise NoLinkRequest
        try:
            card = self._verification.check(certificate_der)
            identifiers = self._verification.identifiers(terminal.library_id, card.certificate)
            with self._environment.store.transaction() as transaction:
                if transaction.find_open_link(terminal.library_id, identifiers) is not None:
                    raise AlreadyLinked
            return self._verification.issue(
                ChallengePurpose.LINK, terminal, card, link_request_id=request.request_id
            )
        except (BridgeError, JpkiError) as error:
            self._refuse(terminal, request.request_id, slug_of(error), why=why_of(error))
            raise

    def progress(
        self,
        terminal: Terminal,
        challenge_id: str,
        step: AgentStep,
        attempts_remaining: int | None = None,
    ) -> None:
        """Show on the counter page what happens at the reader; at a self-check nobody watches.

        Raises ``ChallengeUnknown``, and ``NoLinkRequest`` where the request is over meanwhile.
        """
        with self._environment.store.transaction() as transaction:
            pending = transaction.find_challenge(challenge_id)
        if pending is None or not was_made_for(pending.challenge, terminal):
            raise ChallengeUnknown("no such challenge at this terminal")
        if pending.link_request_id is None:
            return
        state, problem = AGENT_STEPS[step]
        if state is LinkRequestState.REFUSED:
            self._refuse(terminal, pending.link_request_id, problem or step.value, attempts_remaining)
            return
        with self._environment.store.transaction() as transaction:
            request = self._open(transaction, terminal.library_id, pending.link_request_id)
            transaction.update_link_request(
                replace(request, state=state, problem=problem, attempts_remaining=attempts_remaining)
            )

    def complete(
        self, terminal: Terminal, challenge_id: str, certificate_der: bytes, signature: bytes
    ) -> CardLink:
        """Make the link, if the signature proves the card and Koha still knows the patron.

        The patron is then moved into the category for linked patrons; that this fails undoes nothing.

        Raises ``ChallengeUnknown``, ``ChallengeAlreadyUsed``, ``NoLinkRequest``,
        ``AlreadyLinked``, ``NoSuchPatron``, ``KohaNotReachable``, and what
        ``CardVerification.prove`` and ``rely_on`` raise. Nothing is stored then but the refusal.
        """
        _require_counter(terminal)
        request_id = None
        try:
            pending = self._verification.take(challenge_id, ChallengePurpose.LINK, terminal)
            request_id = pending.link_request_id
            verified = self._verification.prove(pending, terminal, certificate_der, signature)
            with self._environment.store.transaction() as transaction:
                request = self._open(transaction, terminal.library_id, request_id)
            patron = self._ask_koha(request)
            answer = self._verification.await_answer(pending)
            # Nothing was known before: in an outage there is nothing that could stand for the answer.
            self._verification.rely_on(terminal.library_id, verified.certificate.not_after, answer)
            link = self._link(request, patron, verified, answer)
        except (BridgeError, JpkiError) as error:
            self._refuse(terminal, request_id, slug_of(error), why=why_of(error))
            raise
        self._move(link, Actor(ActorKind.LIBRARIAN, request.librarian_id))
        return link

    def link(self, librarian: Librarian, link_id: str) -> CardLink:
        """Return a link of the librarian's library, ended or not. Raises ``LinkNotFound``."""
        with self._environment.store.transaction() as transaction:
            link = transaction.find_link(librarian.library_id, link_id)
        if link is None:
            raise LinkNotFound
        return link

    def unlink(self, librarian: Librarian, link_id: str, *, reason: UnlinkReason) -> CardLink:
        """End a link; sessions that run on it end at once. Raises ``LinkNotFound``.

        A patron whom the link had moved into another category is then moved back.
        """
        _require_counter_role(librarian)
        now = self._environment.clock()
        library_id, actor = librarian.library_id, _actor(librarian)
        event = self._environment.event
        with self._environment.store.transaction() as transaction:
            link = transaction.end_link(library_id, link_id, reason.value, now)
            transaction.add_audit_event(
                event(AuditTag.LINK_ENDED, library_id, actor, link_id, reason=reason.value)
            )
            for session in transaction.open_sessions_of_link(link_id):
                transaction.close_session(session.session_id, now, DenialReason.LINK_ENDED.value)
                transaction.add_audit_event(
                    event(
                        AuditTag.SESSION_CLOSED,
                        library_id,
                        actor,
                        session.session_id,
                        terminal_id=session.terminal_id,
                        reason=DenialReason.LINK_ENDED.value,
                    )
                )
            if link.patron_id is not None:
                self._categories.plan(transaction, library_id, patron_id=link.patron_id, link_id=link_id)
        self._move(link, actor)
        return link

    def _ask_koha(self, request: LinkRequest) -> PatronRecord:
        library = self._environment.library(request.library_id)
        patron = self._environment.patron_of(request)
        decision = may_link(patron.standing, library.today(self._environment.clock()))
        if decision.denial is not None:
            raise Denied(decision.denial)
        return patron

    def _move(self, link: CardLink, actor: Actor) -> None:
        if link.patron_id is not None:
            self._categories.run(link.library_id, link.patron_id, actor)

    def _reference_to(self, library_id: str, patron: PatronRecord) -> str | None:
        """Return what a patron without an id is kept under."""
        if patron.patron_id is not None:
            return None
        return self._environment.keys.patron_references(library_id, patron.cardnumber)[0]

    def _link(
        self, request: LinkRequest, patron: PatronRecord, verified: VerifiedCard, answer: RevocationAnswer
    ) -> CardLink:
        certificate = verified.certificate
        identifiers = self._verification.identifiers(request.library_id, certificate)
        link = CardLink(
            link_id=self._environment.new_id(),
            library_id=request.library_id,
            patron_id=patron.patron_id,
            kind=identifiers[0].kind,
            state=LinkState.ACTIVE,
            not_after=certificate.not_after,
            linked_at=self._environment.clock(),
            linked_by=request.librarian_id,
            patron_reference=self._reference_to(request.library_id, patron),
            revocation=answer,
        )
        serial = self._environment.keys.encrypt(
            KeyUse.SERIAL_ENCRYPTION,
            link.library_id,
            link.link_id,
            write_serial_record(certificate.issuer_key_identifier, certificate.serial_number),
        )
        with self._environment.store.transaction() as transaction:
            self._open(transaction, request.library_id, request.request_id)
            if transaction.find_open_link(request.library_id, identifiers) is not None:
                raise AlreadyLinked
            transaction.add_link(link, identifiers[0], serial, identifiers[1:])
            if link.patron_id is not None:
                self._categories.plan(
                    transaction,
                    link.library_id,
                    patron_id=link.patron_id,
                    link_id=link.link_id,
                    category_id=patron.category_id,
                )
            transaction.update_link_request(
                replace(request, state=LinkRequestState.COMPLETED, problem=None, link_id=link.link_id)
            )
            actor = Actor(ActorKind.LIBRARIAN, request.librarian_id)
            self._record(transaction, AuditTag.LINK_CREATED, request, actor, link.link_id)
        return link

    def _refuse(
        self,
        terminal: Terminal,
        request_id: str | None,
        problem: str,
        attempts_remaining: int | None = None,
        why: str | None = None,
    ) -> None:
        """Record a refusal; the request, if there is one and it is open, is over."""
        with self._environment.store.transaction() as transaction:
            transaction.add_audit_event(
                self._environment.event(
                    AuditTag.LINK_REFUSED,
                    terminal.library_id,
                    Actor(ActorKind.TERMINAL, terminal.terminal_id),
                    request_id or terminal.terminal_id,
                    terminal_id=terminal.terminal_id,
                    problem=problem,
                    **({} if why is None else {"why": why}),
                )
            )
            if request_id is None:
                return
            with suppress(NoLinkRequest, LinkRequestNotFound):
                request = self._open(transaction, terminal.library_id, request_id)
                transaction.update_link_request(
                    replace(
                        request,
                        state=LinkRequestState.REFUSED,
                        problem=problem,
                        problem_why=why,
                        attempts_remaining=attempts_remaining,
                    )
                )

    def _current(self, transaction: Transaction, library_id: str, request_id: str) -> LinkRequest:
        request = transaction.find_link_request(library_id, request_id)
        if request is None:
            raise LinkRequestNotFound
        if request.state.is_open and request.expires_at <= self._environment.clock():
            return replace(request, state=LinkRequestState.EXPIRED)
        return request

    def _open(self, transaction: Transaction, library_id: str, request_id: str | None) -> LinkRequest:
        if request_id is None:
            raise NoLinkRequest
        try:
            request = self._current(transaction, library_id, request_id)
        except LinkRequestNotFound:
            raise NoLinkRequest from None
        if not request.state.is_open:
            raise NoLinkRequest
        return request

    def _record(
        self, transaction: Transaction, tag: AuditTag, request: LinkRequest, actor: Actor, subject: str
    ) -> None:
        transaction.add_audit_event(
            self._environment.event(tag, request.library_id, actor, subject, terminal_id=request.terminal_id)
        )


def _require_counter_role(librarian: Librarian) -> None:
    if not librarian.role.may(Permission.WORK_AT_THE_COUNTER):
        raise NotAllowed


def _require_counter(terminal: Terminal) -> None:
    if terminal.kind is not TerminalKind.COUNTER:
        raise WrongTerminalKind


def _actor(librarian: Librarian) -> Actor:
    return Actor(ActorKind.LIBRARIAN, librarian.librarian_id)
