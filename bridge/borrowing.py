"""Borrowing at a self-check machine (自動貸出機) with a linked card.

A proven card opens a session, for which the machine gets a one-time token of digits. The SIP2 proxy
asks at every message what the token stands for, so a link that ends takes the token with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum, unique

from bridge.environment import Environment
from bridge.errors import BridgeError, Denied, NotLinked, WrongTerminalKind, slug_of, why_of
from bridge.guessing import DEFAULT_GUESSING_RULE, GuessingRule
from bridge.keys.ring import KeyUse
from bridge.links.life import suspend_revoked
from bridge.links.upgrade import upgrade_link
from bridge.models import (
    Actor,
    ActorKind,
    AgentStep,
    AuditTag,
    CardLink,
    CardSession,
    SessionToken,
    Terminal,
    TerminalKind,
)
from bridge.ports import EncryptedValue, Transaction
from bridge.rules import CLOCK_DIFFERENCE, DenialReason, LinkEnding, is_near, may_borrow
from bridge.tokens import TokenPolicy
from bridge.verification import CardVerification, Reliance, find_challenge_of, record_wrong_pin
from jpki.certificate import UserAuthenticationCertificate
from jpki.challenge import Challenge, ChallengePurpose
from jpki.errors import JpkiError
from jpki.revocation import RevocationAnswer, RevocationStatus

PROXY = Actor(ActorKind.PROXY, "sip2-proxy")

NO_SESSION = "-"
"""In the audit log, where a token was never given."""

NOT_LOGGED_IN = ""
"""The SIP2 log-in of a machine that has none yet."""

USE_WRITTEN_WITHIN = timedelta(seconds=10)
"""How late ``touch`` may be told of a use: a machine's messages do not each wait for the disk."""


@dataclass(frozen=True)
class OpenedSession:
    """What a self-check machine's agent hands to the machine.

    ``ending`` is there where the link ends so soon that the patron is told.
    """

    session_id: str
    expires_at: datetime
    token: SessionToken
    ending: LinkEnding | None = None


@dataclass(frozen=True)
class NotOurs:
    """Not a token: a plastic library card, or anything else."""


@dataclass(frozen=True)
class Borrower:
    """Whom a token stands for: the card number for Koha.

    Still true while nothing changes in the database, until ``good_until``, and as long as the token is
    used within the idle limit.
    """

    session_id: str
    good_until: datetime
    cardnumber: str = field(repr=False)


@unique
class TokenProblem(StrEnum):
    """Why a token is worth nothing."""

    GUESSING = "token-guessing"
    """So many were wrong at this machine that none is looked up for a while."""
    UNKNOWN = "token-unknown"
    WRONG_TERMINAL = "token-wrong-terminal"
    CLOSED = "token-closed"
    EXPIRED = "token-expired"
    IDLE = "token-idle"
    LINK_NOT_VALID = "token-link-not-valid"
    CERTIFICATE_EXPIRED = "token-certificate-expired"
    REVOCATION_UNKNOWN = "token-revocation-unknown"


_PROBLEM_OF_CERTIFICATE = {
    DenialReason.CERTIFICATE_EXPIRED: TokenProblem.CERTIFICATE_EXPIRED,
    DenialReason.REVOCATION_UNKNOWN: TokenProblem.REVOCATION_UNKNOWN,
}
"""A refusal that is not listed counts against the link."""

PIN_BLOCKED = "pin-blocked"

_PIN_TROUBLES = frozenset({AgentStep.PIN_WRONG, AgentStep.PIN_BLOCKED})

_GUESSES = frozenset({TokenProblem.UNKNOWN, TokenProblem.WRONG_TERMINAL})
"""What a machine presents that nobody gave it."""


@dataclass(frozen=True)
class NoLongerValid:
    """A token that is worth nothing here and now; ``alarm`` where it was one wrong token too many."""

    problem: TokenProblem
    alarm: bool = False


class BorrowingService:
    """Card sessions: opened by a proof, asked at every SIP2 message, closed."""

    def __init__(
        self,
        environment: Environment,
        verification: CardVerification,
        tokens: TokenPolicy,
        guessing: GuessingRule = DEFAULT_GUESSING_RULE,
    ) -> None:
        self._environment = environment
        self._verification = verification
        self._tokens = tokens
        self._guessing = guessing

    @property
    def idle_limit(self) -> timedelta:
        """The longest time between two uses of a token."""
        return self._tokens.idle_limit

    def begin(self, terminal: Terminal, certificate_der: bytes) -> Challenge:
        """Check the card on the reader and its link; return the challenge it shall sign.

        Raises ``WrongTerminalKind``, ``NotLinked``, ``Denied``, and what ``CardVerification.check``
        and ``issue`` raise. A link whose certificate is found revoked is suspended.
        """
        _require_self_check(terminal)
        link = None
        try:
            card = self._verification.check(certificate_der)
            link = self._require_alive(self._find_link(terminal.library_id, card.certificate))
            return self._verification.issue(
                ChallengePurpose.BORROW, terminal, card, last_known=link.revocation
            )
        except (BridgeError, JpkiError) as error:
            self._deny(terminal, error, link)
            raise

    def progress(self, terminal: Terminal, challenge_id: str, step: AgentStep) -> None:
        """Record a PIN that was wrong or is locked; of other steps there is nobody to be told.

        Raises ``ChallengeUnknown``, and ``ChallengeAlreadyUsed`` where the card has answered meanwhile.
        """
        with self._environment.store.reading() as transaction:
            find_challenge_of(transaction, challenge_id, terminal)
        if step not in _PIN_TROUBLES:
            return
        with self._environment.store.transaction() as transaction:
            transaction.unused_challenge(challenge_id)
            if step is AgentStep.PIN_WRONG:
                record_wrong_pin(self._environment, transaction, terminal)
            else:
                self._record_denial(transaction, terminal, PIN_BLOCKED)

    def complete(
        self, terminal: Terminal, challenge_id: str, certificate_der: bytes, signature: bytes
    ) -> OpenedSession:
        """Open a session, if the signature proves the card and Koha's library card is in order.

        An earlier session of the same link ends. Raises ``ChallengeUnknown``,
        ``ChallengeAlreadyUsed``, ``NotLinked``, ``Denied``, ``NoSuchPatron``,
        ``KohaNotReachable``, and what ``CardVerification.prove`` and ``rely_on`` raise.
        """
        _require_self_check(terminal)
        link = None
        try:
            with self._verification.answering(challenge_id, ChallengePurpose.BORROW, terminal) as pending:
                verified = self._verification.prove(pending, terminal, certificate_der, signature)
                answer = self._verification.await_answer(pending)
                link = self._require_alive(self._find_link(terminal.library_id, verified.certificate))
                reliance = self._verification.rely_on(
                    terminal.library_id, verified.certificate.not_after, answer, link.revocation
                )
                return self._open(terminal, challenge_id, link, reliance)
        except (BridgeError, JpkiError) as error:
            self._deny(terminal, error, link)
            raise

    def is_token(self, library_id: str, patron_identifier: str) -> bool:
        """Say whether an identifier looks like a token, without looking it up."""
        return self._tokens.matches(library_id, patron_identifier)

    def resolve(
        self,
        library_id: str,
        sip2_login: str | None,
        patron_identifier: str,
        last_used_at: datetime | None = None,
    ) -> NotOurs | Borrower | NoLongerValid:
        """Say what an identifier from a self-check machine stands for, now.

        ``sip2_login`` is the name under which Koha accepted that machine; ``last_used_at`` a use that
        the caller has not told ``touch`` of yet. A session found over is closed. Only what was not
        presented a moment ago is written down, so that a machine can fill neither log nor disk.
        """
        if not self.is_token(library_id, patron_identifier):
            return NotOurs()
        digests = self._environment.keys.token_digests(library_id, SessionToken(patron_identifier))
        with self._environment.store.reading() as transaction:
            guesses = transaction.find_guesses(library_id, sip2_login or NOT_LOGGED_IN)
            if guesses is not None and guesses.is_locked(self._environment.clock()):
                return NoLongerValid(TokenProblem.GUESSING)
            terminal = _terminal_of(transaction, library_id, sip2_login)
            found = transaction.find_session_by_token(library_id, [each.digest for each in digests])
            session, cardnumber = found or (None, None)
            standing = self._standing(transaction, session, terminal, last_used_at)
            if session is not None and cardnumber is not None and isinstance(standing, datetime):
                return self._borrower(session, cardnumber, standing)
        problem = standing if isinstance(standing, TokenProblem) else TokenProblem.CLOSED
        return self._refuse(library_id, sip2_login, session, problem, digests[0].digest)

    def touch(self, used: Mapping[str, datetime]) -> None:
        """Write down when sessions, by id, were last used; see ``USE_WRITTEN_WITHIN``."""
        with self._environment.store.transaction(durable=False) as transaction:
            for session_id, at in used.items():
                transaction.touch_session(session_id, at)

    def close(self, session_id: str, reason: str) -> None:
        """End a session; one that is over already is left alone. *reason* is one short word."""
        with self._environment.store.transaction() as transaction:
            self._close(transaction, session_id, reason)

    def report_alarm(
        self, library_id: str, sip2_login: str | None, tag: AuditTag, session_id: str | None
    ) -> None:
        """Write what must not happen into the audit log: at which machine, and in which session."""
        with self._environment.store.transaction() as transaction:
            terminal = _terminal_of(transaction, library_id, sip2_login)
            transaction.add_audit_event(
                self._environment.event(
                    tag,
                    library_id,
                    PROXY,
                    session_id or NO_SESSION,
                    terminal_id=None if terminal is None else terminal.terminal_id,
                )
            )

    def _find_link(self, library_id: str, certificate: UserAuthenticationCertificate) -> CardLink | None:
        identifiers = self._verification.identifiers(library_id, certificate)
        with self._environment.store.reading() as transaction:
            return transaction.find_open_link(library_id, identifiers)

    def _open(
        self, terminal: Terminal, challenge_id: str, link: CardLink, reliance: Reliance
    ) -> OpenedSession:
        library = self._environment.library(terminal.library_id)
        patron = self._environment.patron_of(link)
        upgrade_link(self._environment, link, patron, Actor(ActorKind.TERMINAL, terminal.terminal_id))
        now = self._environment.clock()
        decision = may_borrow(link, patron.standing, now, library.today(now), library.links)
        if decision.denial is not None:
            raise Denied(decision.denial)
        session = CardSession(
            session_id=self._environment.new_id(),
            library_id=library.library_id,
            terminal_id=terminal.terminal_id,
            link_id=link.link_id,
            opened_at=now,
            expires_at=now + self._tokens.lifetime,
            cardnumber=patron.cardnumber,
            revocation=reliance.answer,
        )
        with self._environment.store.transaction(durable=False) as transaction:
            transaction.consume_challenge(challenge_id, now)
            # Before the sessions: of two machines at once, one waits here for the other.
            if not transaction.use_link(link.link_id, now, reliance.answer):
                self._require_alive(transaction.find_link(library.library_id, link.link_id))
            self._close_others(transaction, link)
            token = self._keep(transaction, session, terminal)
            transaction.add_audit_event(
                self._environment.event(
                    AuditTag.SESSION_OPENED,
                    library.library_id,
                    Actor(ActorKind.TERMINAL, terminal.terminal_id),
                    session.session_id,
                    terminal_id=terminal.terminal_id,
                    link=link.link_id,
                )
            )
            if reliance.for_review:
                self._record_for_review(transaction, session, reliance)
        ending = library.ending_of(link)
        return OpenedSession(
            session.session_id, session.expires_at, token, ending if is_near(ending, now) else None
        )

    def _record_for_review(self, transaction: Transaction, session: CardSession, reliance: Reliance) -> None:
        transaction.add_audit_event(
            self._environment.event(
                AuditTag.SESSION_FOR_REVIEW,
                session.library_id,
                Actor(ActorKind.TERMINAL, session.terminal_id),
                session.session_id,
                terminal_id=session.terminal_id,
                link=session.link_id,
                why=reliance.why or DenialReason.REVOCATION_UNKNOWN.value,
                as_of=reliance.answer.as_of.isoformat(),
            )
        )

    def _keep(self, transaction: Transaction, session: CardSession, terminal: Terminal) -> SessionToken:
        """Store the session under a token that no session has had yet; return the token."""
        keys = self._environment.keys
        shape = self._tokens.shape_at(terminal.library_id, terminal.sip2_login)
        while True:
            token = shape.draw(self._environment.random_bytes)
            digests = keys.token_digests(session.library_id, token)
            if not transaction.is_token_taken(session.library_id, [each.digest for each in digests]):
                break
        cardnumber = keys.encrypt(
            KeyUse.CARDNUMBER_ENCRYPTION,
            session.library_id,
            session.session_id,
            session.cardnumber.encode(),
        )
        transaction.add_session(session, digests[0].key_id, digests[0].digest, cardnumber)
        return token

    def _borrower(self, session: CardSession, cardnumber: EncryptedValue, good_until: datetime) -> Borrower:
        plaintext = self._environment.keys.decrypt(
            KeyUse.CARDNUMBER_ENCRYPTION, session.library_id, session.session_id, cardnumber
        )
        return Borrower(session.session_id, good_until, plaintext.decode())

    def _standing(
        self,
        transaction: Transaction,
        session: CardSession | None,
        terminal: Terminal | None,
        last_used_at: datetime | None,
    ) -> datetime | TokenProblem:
        """Return why a session's token is worth nothing, or else until when it is good by itself."""
        now = self._environment.clock()
        if session is None:
            return TokenProblem.UNKNOWN
        if terminal is None or terminal.terminal_id != session.terminal_id:
            return TokenProblem.WRONG_TERMINAL
        if session.closed_at is not None:
            return TokenProblem.CLOSED
        if not session.opened_at - CLOCK_DIFFERENCE <= now < session.expires_at:
            return TokenProblem.EXPIRED  # before its beginning: the clock has stepped back
        uses = (session.opened_at, session.last_used_at, last_used_at)
        if now - max(use for use in uses if use is not None) > self._tokens.idle_limit:
            return TokenProblem.IDLE
        link = transaction.find_link(session.library_id, session.link_id)
        if link is None:
            return TokenProblem.LINK_NOT_VALID
        decision = self._environment.library(link.library_id).judge_link(link, now)
        if decision.allowed:
            decision = self._verification.judge_again(link.library_id, link.not_after, session.revocation)
        if decision.denial is not None:
            return _PROBLEM_OF_CERTIFICATE.get(decision.denial, TokenProblem.LINK_NOT_VALID)
        fresh_until = self._verification.fresh_until(link.library_id, session.revocation)
        ending = self._environment.library(link.library_id).ending_of(link)
        return min(session.expires_at, ending.at, fresh_until)

    def _refuse(
        self,
        library_id: str,
        sip2_login: str | None,
        session: CardSession | None,
        problem: TokenProblem,
        digest: str,
    ) -> NoLongerValid:
        """Record a token that is worth nothing, unless it was presented a moment ago."""
        with self._environment.store.transaction() as transaction:
            # A token seen at another machine was copied or mistyped there: its owner keeps the session.
            if session is not None and problem is not TokenProblem.WRONG_TERMINAL:
                self._close(transaction, session.session_id, problem.value)
            machine = library_id, sip2_login or NOT_LOGGED_IN
            before = transaction.find_guesses(*machine, to_change=True)
            after = self._guessing.after(
                before, digest, self._environment.clock(), is_guess=problem in _GUESSES
            )
            if after is before:
                return NoLongerValid(problem)
            transaction.keep_guesses(*machine, after)
            terminal = _terminal_of(transaction, library_id, sip2_login)
            place = None if terminal is None else terminal.terminal_id
            transaction.add_audit_event(
                self._environment.event(
                    AuditTag.SESSION_DENIED,
                    library_id,
                    PROXY,
                    NO_SESSION if session is None else session.session_id,
                    terminal_id=place,
                    problem=problem.value,
                )
            )
            if after.locked_until is not None:
                transaction.add_audit_event(
                    self._environment.event(
                        AuditTag.SESSION_GUESSING, library_id, PROXY, NO_SESSION, terminal_id=place
                    )
                )
        return NoLongerValid(problem, alarm=after.locked_until is not None)

    def _close_others(self, transaction: Transaction, link: CardLink) -> None:
        """Close what runs on the link, and wipe the card numbers that nobody came back for."""
        now = self._environment.clock()
        running = transaction.open_session_of_link(link.link_id)
        if running is not None:
            self._close(transaction, running.session_id, "superseded")
        idle_since = now - self._tokens.idle_limit - USE_WRITTEN_WITHIN
        for session in transaction.overdue_sessions(now, idle_since):
            self._close(transaction, session.session_id, "overdue")

    def _close(self, transaction: Transaction, session_id: str, reason: str) -> None:
        session = transaction.close_session(session_id, self._environment.clock(), reason)
        if session is not None:
            transaction.add_audit_event(
                self._environment.event(
                    AuditTag.SESSION_CLOSED,
                    session.library_id,
                    PROXY,
                    session_id,
                    terminal_id=session.terminal_id,
                    reason=reason,
                )
            )

    def _require_alive(self, link: CardLink | None) -> CardLink:
        if link is None:
            raise NotLinked
        decision = self._environment.library(link.library_id).judge_link(link, self._environment.clock())
        if decision.denial is not None:
            raise Denied(decision.denial, decision.why)
        return link

    def _deny(self, terminal: Terminal, error: BridgeError | JpkiError, link: CardLink | None) -> None:
        """Record a refusal; what was found revoked is suspended."""
        why = why_of(error)
        with self._environment.store.transaction() as transaction:
            self._record_denial(
                transaction, terminal, slug_of(error), **({} if why is None else {"why": why})
            )
            if link is not None and isinstance(error, Denied) and error.revocation is not None:
                actor = Actor(ActorKind.TERMINAL, terminal.terminal_id)
                self._suspend_if_revoked(transaction, link, error.revocation, actor)

    def _record_denial(
        self, transaction: Transaction, terminal: Terminal, problem: str, **details: str
    ) -> None:
        transaction.add_audit_event(
            self._environment.event(
                AuditTag.SESSION_DENIED,
                terminal.library_id,
                Actor(ActorKind.TERMINAL, terminal.terminal_id),
                terminal.terminal_id,
                terminal_id=terminal.terminal_id,
                problem=problem,
                **details,
            )
        )

    def _suspend_if_revoked(
        self, transaction: Transaction, link: CardLink, answer: RevocationAnswer, actor: Actor
    ) -> None:
        if answer.status is RevocationStatus.REVOKED:
            suspend_revoked(self._environment, transaction, link.library_id, {link.link_id: answer}, actor)


def _require_self_check(terminal: Terminal) -> None:
    if terminal.kind is not TerminalKind.SELF_CHECK:
        raise WrongTerminalKind


def _terminal_of(transaction: Transaction, library_id: str, sip2_login: str | None) -> Terminal | None:
    """Return where a message came from; None before the machine logged in."""
    if sip2_login is None:
        return None
    return transaction.find_terminal_by_sip2_login(library_id, sip2_login)
