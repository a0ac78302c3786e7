"""A librarian's order for the next card at a counter, whatever the card is wanted for.

Kept, shown, advanced by what the agent tells, refused, taken back. What comes of the card is for the
services over this one: ``bridge.registration`` and ``bridge.counter.identification``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import ClassVar

from bridge.counter.watch import OrderWatch
from bridge.environment import Environment
from bridge.errors import LinkRequestNotFound, NoLinkRequest, NotAllowed, TerminalNotFound, WrongTerminalKind
from bridge.models import (
    Actor,
    ActorKind,
    AgentStep,
    AuditTag,
    Librarian,
    LinkRequest,
    LinkRequestState,
    Permission,
    Terminal,
    TerminalKind,
)
from bridge.ports import Transaction
from bridge.rules import is_running
from bridge.verification import find_challenge_of, record_wrong_pin
from jpki.challenge import ChallengePurpose

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
class RequestTags:
    """How an order is called in the audit log."""

    requested: AuditTag
    cancelled: AuditTag
    refused: AuditTag


REQUEST_TAGS: Mapping[ChallengePurpose, RequestTags] = MappingProxyType(
    {
        ChallengePurpose.LINK: RequestTags(
            AuditTag.LINK_REQUESTED, AuditTag.LINK_REQUEST_CANCELLED, AuditTag.LINK_REFUSED
        ),
        ChallengePurpose.IDENTIFY: RequestTags(
            AuditTag.IDENTIFICATION_REQUESTED,
            AuditTag.IDENTIFICATION_CANCELLED,
            AuditTag.IDENTIFICATION_REFUSED,
        ),
    }
)


class CounterService:
    """What the services at a counter share. ``purpose`` is what the card is wanted for.

    What a librarian does raises ``NotAllowed`` where the role does not permit it.
    """

    purpose: ClassVar[ChallengePurpose]

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._watch = OrderWatch(environment.store.change_counter)

    def wait(self, has_changed: Callable[[], bool]) -> bool:
        """Return as soon as *has_changed* says so, or after seconds; False where too many wait, at once."""
        return self._watch.wait(has_changed)

    def request(self, librarian: Librarian, request_id: str) -> LinkRequest:
        """Return a request as it stands now. Raises ``LinkRequestNotFound``."""
        with self._environment.store.reading() as transaction:
            return self._current(transaction, librarian.library_id, request_id)

    def cancel(self, librarian: Librarian, request_id: str) -> LinkRequest:
        """Take a request back. Raises ``LinkRequestNotFound`` where it is not open any more."""
        require_counter_role(librarian)
        with self._environment.store.transaction() as transaction:
            request = self._current(transaction, librarian.library_id, request_id)
            if not request.state.is_open:
                raise LinkRequestNotFound
            cancelled = replace(request, state=LinkRequestState.CANCELLED)
            transaction.update_link_request(cancelled)
            tag = REQUEST_TAGS[request.purpose].cancelled
            self._record(transaction, tag, request, librarian_actor(librarian), request_id)
        return cancelled

    def pending(self, terminal: Terminal) -> LinkRequest | None:
        """Return the request that waits at a counter terminal."""
        with self._environment.store.reading() as transaction:
            return transaction.find_open_link_request(terminal, self._environment.clock())

    def progress(
        self,
        terminal: Terminal,
        challenge_id: str,
        step: AgentStep,
        attempts_remaining: int | None = None,
    ) -> None:
        """Show on the counter page what happens at the reader, and record a wrong PIN.

        Raises ``ChallengeUnknown``, and ``NoLinkRequest`` where the request is over meanwhile.
        """
        with self._environment.store.reading() as transaction:
            pending = find_challenge_of(transaction, challenge_id, terminal)
        state, problem = AGENT_STEPS[step]
        with self._environment.store.transaction() as transaction:
            request = self._open(transaction, terminal.library_id, pending.link_request_id)
            if state is LinkRequestState.REFUSED:
                tag = REQUEST_TAGS[request.purpose].refused
                self._record_refusal(transaction, tag, terminal, request.request_id, problem or step.value)
            if step is AgentStep.PIN_WRONG:
                record_wrong_pin(self._environment, transaction, terminal)
            transaction.update_link_request(
                replace(request, state=state, problem=problem, attempts_remaining=attempts_remaining)
            )

    def purpose_of(self, challenge_id: str) -> ChallengePurpose | None:
        """Return what a challenge was made for; None where there is none of this id."""
        with self._environment.store.reading() as transaction:
            pending = transaction.find_challenge(challenge_id)
        return None if pending is None else pending.challenge.purpose

    def _find_counter(self, librarian: Librarian, terminal_id: str) -> None:
        with self._environment.store.reading() as transaction:
            terminal = transaction.find_terminal(librarian.library_id, terminal_id)
        if terminal is None:
            raise TerminalNotFound
        require_counter(terminal)

    def _require_pending(self, terminal: Terminal) -> LinkRequest:
        """Return the order that waits at a counter for this service's purpose. Raises ``NoLinkRequest``."""
        request = self.pending(terminal)
        if request is None or request.purpose is not self.purpose:
            self._refuse(terminal, None, NoLinkRequest.slug)
            raise NoLinkRequest
        return request

    def _refuse(
        self,
        terminal: Terminal,
        request_id: str | None,
        problem: str,
        why: str | None = None,
    ) -> None:
        """Record a refusal; the request, if there is one and it is open, is over."""
        with self._environment.store.transaction() as transaction:
            tag = REQUEST_TAGS[self.purpose].refused
            self._record_refusal(transaction, tag, terminal, request_id or terminal.terminal_id, problem, why)
            if request_id is None:
                return
            with suppress(NoLinkRequest, LinkRequestNotFound):
                request = self._open(transaction, terminal.library_id, request_id)
                transaction.update_link_request(
                    replace(request, state=LinkRequestState.REFUSED, problem=problem, problem_why=why)
                )

    def _record_refusal(
        self,
        transaction: Transaction,
        tag: AuditTag,
        terminal: Terminal,
        subject: str,
        problem: str,
        why: str | None = None,
    ) -> None:
        transaction.add_audit_event(
            self._environment.event(
                tag,
                terminal.library_id,
                Actor(ActorKind.TERMINAL, terminal.terminal_id),
                subject,
                terminal_id=terminal.terminal_id,
                problem=problem,
                **({} if why is None else {"why": why}),
            )
        )

    def _current(self, transaction: Transaction, library_id: str, request_id: str) -> LinkRequest:
        request = transaction.find_link_request(library_id, request_id)
        if request is None:
            raise LinkRequestNotFound
        now = self._environment.clock()
        if request.state.is_open and not is_running(request.expires_at, REQUEST_LIFETIME, now):
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
        self,
        transaction: Transaction,
        tag: AuditTag,
        request: LinkRequest,
        actor: Actor,
        subject: str,
        **details: str,
    ) -> None:
        transaction.add_audit_event(
            self._environment.event(
                tag, request.library_id, actor, subject, terminal_id=request.terminal_id, **details
            )
        )


def require_counter_role(librarian: Librarian) -> None:
    """Raise ``NotAllowed`` where the role does not work at the counter."""
    if not librarian.role.may(Permission.WORK_AT_THE_COUNTER):
        raise NotAllowed


def require_counter(terminal: Terminal) -> None:
    """Raise ``WrongTerminalKind`` for a self-check machine."""
    if terminal.kind is not TerminalKind.COUNTER:
        raise WrongTerminalKind


def librarian_actor(librarian: Librarian) -> Actor:
    """Return how a librarian is named in the audit log."""
    return Actor(ActorKind.LIBRARIAN, librarian.librarian_id)
