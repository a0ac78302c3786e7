"""Librarians and their log-in, terminals and their tokens."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from bridge.environment import Environment
from bridge.errors import LibrarianNotFound, LogInFailed
from bridge.models import (
    Actor,
    ActorKind,
    AuditTag,
    Librarian,
    LibrarianRole,
    Terminal,
    TerminalKind,
)
from bridge.ports import LibrarianAccount

TERMINAL_TOKEN_LENGTH = 32
"""Bytes. At this length a plain digest in the database cannot be searched."""

FAILURES_BEFORE_LOCK = 5
LOCK_DURATION = timedelta(minutes=15)

NOBODY = "-"
"""In the audit log, where a name is not known: the name typed may be a password by mistake."""


@dataclass(frozen=True)
class IssuedTerminal:
    """A new terminal and its token, which is shown once and kept as a digest only."""

    terminal: Terminal
    token: str = field(repr=False)


class StaffService:
    """Who may log in to the admin, and which terminals may call the API.

    Nobody may whose library is not in the settings any more.
    """

    def __init__(self, environment: Environment, password_hasher: PasswordHasher) -> None:
        self._environment = environment
        self._password_hasher = password_hasher
        # Verified against where the name is unknown, so that the answer takes as long.
        self._hash_of_nobody = password_hasher.hash(environment.random_bytes(32))

    def log_in(self, login_name: str, password: str) -> Librarian:
        """Return the librarian with this name and password.

        After five failures in a row the account is locked for fifteen minutes. Raises
        ``LogInFailed``, which says nothing of the cause.
        """
        store = self._environment.store
        account = None
        if login_name.isprintable():  # PostgreSQL takes no NUL, neither database half a surrogate
            with store.transaction() as transaction:
                account = transaction.find_account(login_name)
        password_hash = self._hash_of_nobody if account is None else account.password_hash
        matches = self._matches(password_hash, password)
        if (
            account is None
            or not self._is_in_service(account.librarian)
            or not matches
            or self._is_locked(account)
        ):
            self._record_failure(account)
            raise LogInFailed
        librarian = account.librarian
        with store.transaction() as transaction:
            transaction.clear_failed_log_ins(librarian.librarian_id)
            if self._password_hasher.check_needs_rehash(password_hash):
                new_hash = self._password_hasher.hash(password)
                transaction.set_password_hash(librarian.librarian_id, new_hash)
            transaction.add_audit_event(
                self._environment.event(
                    AuditTag.LOGIN_SUCCEEDED,
                    librarian.library_id,
                    _librarian_actor(librarian.librarian_id),
                    librarian.librarian_id,
                )
            )
        return librarian

    def get_librarian(self, librarian_id: str) -> Librarian:
        """Return an active librarian. Raises ``LibrarianNotFound``."""
        with self._environment.store.transaction() as transaction:
            librarian = transaction.find_librarian(librarian_id)
        if librarian is None or not self._is_in_service(librarian):
            raise LibrarianNotFound
        return librarian

    def add_librarian(
        self,
        actor: Actor,
        *,
        library_id: str,
        login_name: str,
        display_name: str,
        role: LibrarianRole,
        password: str,
    ) -> Librarian:
        """Add a member of staff. Raises ``NameTaken``, ``LibraryNotFound``."""
        self._environment.library(library_id)
        librarian = Librarian(self._environment.new_id(), library_id, login_name, display_name, role)
        password_hash = self._password_hasher.hash(password)
        with self._environment.store.transaction() as transaction:
            transaction.add_librarian(librarian, password_hash)
            transaction.add_audit_event(
                self._environment.event(AuditTag.LIBRARIAN_ADDED, library_id, actor, librarian.librarian_id)
            )
        return librarian

    def add_terminal(
        self,
        actor: Actor,
        *,
        library_id: str,
        terminal_id: str,
        name: str,
        kind: TerminalKind,
        sip2_login: str | None = None,
    ) -> IssuedTerminal:
        """Add a terminal and give it a token. Raises ``NameTaken``, ``LibraryNotFound``."""
        self._environment.library(library_id)
        terminal = Terminal(terminal_id, library_id, name, kind, sip2_login)
        random_bytes = self._environment.random_bytes(TERMINAL_TOKEN_LENGTH)
        token = base64.urlsafe_b64encode(random_bytes).rstrip(b"=").decode()
        with self._environment.store.transaction() as transaction:
            transaction.add_terminal(terminal, _token_digest(token))
            transaction.add_audit_event(
                self._environment.event(
                    AuditTag.TERMINAL_ADDED, library_id, actor, terminal_id, terminal_id=terminal_id
                )
            )
        return IssuedTerminal(terminal, token)

    def remove_terminal(self, actor: Actor, *, library_id: str, terminal_id: str) -> Terminal:
        """Remove a terminal; its token is worth nothing from now on. Raises ``TerminalNotFound``."""
        with self._environment.store.transaction() as transaction:
            terminal = transaction.remove_terminal(library_id, terminal_id)
            transaction.add_audit_event(
                self._environment.event(
                    AuditTag.TERMINAL_REMOVED, library_id, actor, terminal_id, terminal_id=terminal_id
                )
            )
        return terminal

    def terminal_for_token(self, token: str) -> Terminal | None:
        """Return the active terminal that holds this token."""
        with self._environment.store.transaction() as transaction:
            terminal = transaction.find_terminal_by_token(_token_digest(token))
        return terminal if terminal is not None and self._is_in_service(terminal) else None

    def terminals(self, library_id: str) -> Sequence[Terminal]:
        """Return the active terminals of a library."""
        with self._environment.store.transaction() as transaction:
            return transaction.terminals(library_id)

    def _is_in_service(self, whose: Librarian | Terminal) -> bool:
        return whose.active and whose.library_id in self._environment.libraries

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._password_hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    def _is_locked(self, account: LibrarianAccount) -> bool:
        return account.locked_until is not None and self._environment.clock() < account.locked_until

    def _record_failure(self, account: LibrarianAccount | None) -> None:
        library_id = NOBODY if account is None else account.librarian.library_id
        librarian_id = NOBODY if account is None else account.librarian.librarian_id
        with self._environment.store.transaction() as transaction:
            if account is not None and not self._is_locked(account):
                failures = transaction.count_failed_log_in(librarian_id)
                if failures >= FAILURES_BEFORE_LOCK:
                    transaction.lock_account(librarian_id, self._environment.clock() + LOCK_DURATION)
            transaction.add_audit_event(
                self._environment.event(
                    AuditTag.LOGIN_FAILED, library_id, _librarian_actor(librarian_id), librarian_id
                )
            )


def _librarian_actor(librarian_id: str) -> Actor:
    return Actor(ActorKind.LIBRARIAN, librarian_id)


def _token_digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
