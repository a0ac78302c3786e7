"""Enrolling a terminal: the key is made on the terminal; a one-time code says which terminal it is.

An administrator has a code drawn and types it, or has it typed, at the terminal. The terminal sends the
code and the SHA-256 of the key that it made; the key itself never travels before it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bridge.accounts.log_in_tries import NOBODY
from bridge.enrolment_code import EnrolmentCode, MistypedEnrolmentCode
from bridge.environment import Environment
from bridge.errors import (
    BridgeError,
    EnrolmentCodeExpired,
    EnrolmentCodeUnknown,
    EnrolmentCodeUsed,
    EnrolmentLocked,
    TerminalNotFound,
)
from bridge.guessing import GuessingRule
from bridge.models import REGION, Actor, ActorKind, AuditTag, Terminal, TerminalEnrolment
from bridge.ports import Transaction
from bridge.rules import is_running

CODE_LIFETIME = timedelta(minutes=15)

ENROLMENT = "enrolment"
"""Under this name, of all libraries, wrong codes are counted: who sends one has no name."""

ENROLMENT_GUESSING: Final = GuessingRule(limit=10, window=timedelta(minutes=1), lockout=timedelta(minutes=1))
"""150 tries in the life of a code, of 2**40; and nobody is kept out for long."""

_STRANGER = Actor(ActorKind.TERMINAL, NOBODY)


@dataclass(frozen=True)
class DrawnCode:
    """A code for a terminal, which is shown once and kept as a keyed digest only."""

    terminal: Terminal
    code: EnrolmentCode
    expires_at: datetime


class EnrolmentService:
    """Codes, and the terminals that enrol by them. Who may draw one is asked in ``administration``."""

    def __init__(self, environment: Environment, guessing: GuessingRule = ENROLMENT_GUESSING) -> None:
        self._environment = environment
        self._guessing = guessing

    def draw_code(self, actor: Actor, *, library_id: str, terminal_id: str) -> DrawnCode:
        """Draw a code for a terminal; one that was drawn before is worth nothing any more.

        The terminal keeps the key that it has until it enrols. Raises ``LibraryNotFound``,
        ``TerminalNotFound``.
        """
        self._environment.library(library_id)
        code = EnrolmentCode.draw(self._environment.random_bytes)
        digest = self._environment.keys.enrolment_digests(code)[0]
        expires_at = self._environment.clock() + CODE_LIFETIME
        with self._environment.store.transaction() as transaction:
            terminal = transaction.find_terminal(library_id, terminal_id)
            if terminal is None:
                raise TerminalNotFound
            transaction.set_enrolment_code(library_id, terminal_id, digest, expires_at)
            transaction.add_audit_event(
                self._environment.event(
                    AuditTag.TERMINAL_CODE_DRAWN, library_id, actor, terminal_id, terminal_id=terminal_id
                )
            )
        return DrawnCode(terminal, code, expires_at)

    def enrol(self, code_text: str, token_digest: str) -> Terminal:
        """Let the terminal of a code be called with the key whose SHA-256 is *token_digest* (hex).

        Sent again, because the answer was lost, it is answered again. Raises ``EnrolmentCodeUnknown``,
        ``EnrolmentCodeExpired``, ``EnrolmentCodeUsed``, ``EnrolmentLocked``, ``LibraryNotFound``,
        ``NameTaken`` where another terminal has this key.
        """
        try:
            code = EnrolmentCode.from_text(code_text)
        except MistypedEnrolmentCode:
            raise EnrolmentCodeUnknown from None  # a slip of the finger: no guess
        digests = self._environment.keys.enrolment_digests(code)
        enrolment = None
        try:
            with self._environment.store.transaction() as transaction:
                self._require_unlocked(transaction)
                enrolment = transaction.find_enrolment(digests)
                return self._take(transaction, enrolment, token_digest)
        except (EnrolmentCodeUnknown, EnrolmentCodeExpired, EnrolmentCodeUsed) as problem:
            self._refuse(enrolment, problem, digests[0])
            raise

    def _require_unlocked(self, transaction: Transaction) -> None:
        guesses = transaction.find_guesses(REGION, ENROLMENT)
        now = self._environment.clock()
        if guesses is not None and guesses.locked_until is not None and now < guesses.locked_until:
            raise EnrolmentLocked(guesses.locked_until)

    def _take(
        self, transaction: Transaction, enrolment: TerminalEnrolment | None, token_digest: str
    ) -> Terminal:
        if enrolment is None:
            raise EnrolmentCodeUnknown
        library_id, terminal_id = enrolment.library_id, enrolment.terminal_id
        self._environment.library(library_id)
        if enrolment.used_at is not None:
            holder = transaction.find_terminal_by_token(token_digest)
            if holder is None or (holder.library_id, holder.terminal_id) != (library_id, terminal_id):
                raise EnrolmentCodeUsed
            return holder
        now = self._environment.clock()
        if not is_running(enrolment.expires_at, CODE_LIFETIME, now):
            raise EnrolmentCodeExpired
        terminal = transaction.enrol_terminal(library_id, terminal_id, token_digest, now)
        transaction.add_audit_event(
            self._environment.event(
                AuditTag.TERMINAL_ENROLLED,
                library_id,
                Actor(ActorKind.TERMINAL, terminal_id),
                terminal_id,
                terminal_id=terminal_id,
            )
        )
        return terminal

    def _refuse(self, enrolment: TerminalEnrolment | None, problem: BridgeError, digest: str) -> None:
        """Record a code that is worth nothing; one that nobody drew is a guess."""
        with self._environment.store.transaction() as transaction:
            if enrolment is not None:
                self._record(transaction, AuditTag.TERMINAL_ENROLMENT_REFUSED, problem, enrolment)
                return
            before = transaction.find_guesses(REGION, ENROLMENT, to_change=True)
            after = self._guessing.after(before, digest, self._environment.clock(), is_guess=True)
            if after is before:
                return
            transaction.keep_guesses(REGION, ENROLMENT, after)
            self._record(transaction, AuditTag.TERMINAL_ENROLMENT_REFUSED, problem)
            if after.locked_until is not None:
                self._record(transaction, AuditTag.TERMINAL_ENROLMENT_GUESSING, problem)

    def _record(
        self,
        transaction: Transaction,
        tag: AuditTag,
        problem: BridgeError,
        enrolment: TerminalEnrolment | None = None,
    ) -> None:
        terminal_id = None if enrolment is None else enrolment.terminal_id
        transaction.add_audit_event(
            self._environment.event(
                tag,
                NOBODY if enrolment is None else enrolment.library_id,
                _STRANGER,
                terminal_id or NOBODY,
                terminal_id=terminal_id,
                problem=problem.slug,
            )
        )
