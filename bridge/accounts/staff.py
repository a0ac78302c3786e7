"""Librarians, their log-in and their sessions; terminals and their tokens."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from bridge.accounts.koha_sign_in import KohaPasswords
from bridge.accounts.log_in_tries import LogInTries, LogInTry, staff_actor
from bridge.environment import Environment
from bridge.errors import (
    KohaPermissionMissing,
    KohaSignInOff,
    LibrarianNotFound,
    LogInFailed,
    PasswordNotChecked,
    SecondFactorNeeded,
    WrongRole,
)
from bridge.models import (
    REGION,
    Actor,
    AuditTag,
    Librarian,
    LibrarianRole,
    PasswordSource,
    Terminal,
    TerminalKind,
)
from bridge.ports import NO_PASSWORD, LibrarianAccount, RandomBytes, Transaction

IDENTIFIER_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""Ids and log-in names, whole: they stand in messages, addresses and logs."""

MAXIMUM_NAME_LENGTH = 64
"""Characters of a name on screens and of a SIP2 log-in."""

TERMINAL_TOKEN_LENGTH = 32
"""Bytes. At this length a plain digest in the database cannot be searched."""


@dataclass(frozen=True)
class IssuedTerminal:
    """A new terminal and its token, which is shown once and kept as a digest only."""

    terminal: Terminal
    token: str = field(repr=False)


@dataclass(frozen=True)
class StaffMember:
    """A librarian as those see one who administer the accounts."""

    librarian: Librarian
    locked: bool


GENERATED_PASSWORD_BYTES = 15
"""120 bits, 24 characters of base32: nobody chose it, so nobody guesses it."""


def generate_password(random_bytes: RandomBytes) -> str:
    """Return a password that is shown once: small letters and digits in groups of six."""
    drawn = base64.b32encode(random_bytes(GENERATED_PASSWORD_BYTES)).decode().lower()
    return "-".join(drawn[place : place + 6] for place in range(0, len(drawn), 6))


class StaffService:
    """Who may log in to the admin, and which terminals may call the API.

    Nobody may whose library is not in the settings any more. Who may change whom is not asked here but in
    ``bridge.administration``; the commands on the server may everything.
    """

    def __init__(self, environment: Environment, password_hasher: PasswordHasher) -> None:
        self._environment = environment
        self._password_hasher = password_hasher
        self._tries = LogInTries(environment)
        self._koha = KohaPasswords(environment)
        # Verified against where the name is unknown, so that the answer takes as long.
        self._hash_of_nobody = password_hasher.hash(environment.random_bytes(32))

    def log_in(self, login_name: str, password: str) -> Librarian:
        """Return the librarian with this name and password.

        After five failures in a row the account is locked for a quarter of an hour, after five more for
        twice as long. Raises ``LogInFailed``, which says nothing of the cause, and ``SecondFactorNeeded``
        where that was only the first half. Where a library lets staff sign in with Koha's password, also
        ``PasswordNotChecked``, whoever is refused, and ``KohaPermissionMissing`` after a right password.
        """
        one = self._tries.begin(lambda transaction: _find_account(transaction, login_name))
        account = one.account
        if not self.is_password_of(one, password) or account is None:
            self._tries.fail(one)
            if not self._was_koha_asked(one):
                self._koha.pretend(login_name, None if account is None else account.librarian)
            raise LogInFailed
        librarian = account.librarian
        with self._environment.store.transaction() as transaction:
            if self._needs_rehash(account):
                transaction.set_password_hash(librarian.librarian_id, self.hash_password(password))
            if librarian.has_second_factor:
                self._tries.take_back(transaction, one)
            else:
                self._tries.succeed(transaction, librarian)
        if librarian.has_second_factor:
            raise SecondFactorNeeded(librarian)
        return librarian

    def is_password_of(self, one: LogInTry, password: str) -> bool:
        """Return whether a try may be judged, and this is the password of its account.

        Raises ``PasswordNotChecked``, ``KohaPermissionMissing`` where the password is Koha's; neither counts
        as a failure.
        """
        account, password_hash = one.account, self._hash_of_nobody
        if account is not None and account.librarian.password_source is PasswordSource.BRIDGE:
            password_hash = account.password_hash
        # Whoever it is, one verification: the answer takes as long.
        matches = self._matches(password_hash, password)
        if account is None or not one.allowed or not self.is_in_service(account.librarian):
            return False
        if account.librarian.password_source is PasswordSource.BRIDGE:
            return matches
        try:
            return self._koha.check(account.librarian, password)
        except (PasswordNotChecked, KohaPermissionMissing) as refused:
            with self._environment.store.transaction() as transaction:
                self._tries.take_back(transaction, one)
                if isinstance(refused, KohaPermissionMissing):
                    self._record_missing_permission(transaction, account.librarian)
            raise

    def has_koha_sign_in(self, library_id: str | None = None) -> bool:
        """Return whether staff of a library, or of any, may sign in with Koha's password."""
        libraries = self._koha.libraries
        return bool(libraries) if library_id is None else library_id in libraries

    def may_go_on(self, librarian: Librarian) -> bool:
        """Return whether somebody who is logged in may stay so; where Koha says no, end all sessions.

        Koha is asked about those who sign in with its password, from time to time. Raises
        ``StandingUnknown`` where it does not answer.
        """
        if self._koha.is_still_permitted(librarian):
            return True
        with self._environment.store.transaction() as transaction:
            transaction.end_admin_sessions(librarian.librarian_id)
            self._record_missing_permission(transaction, librarian)
        return False

    def hash_password(self, password: str) -> str:
        """Return what is kept of a password."""
        return self._password_hasher.hash(password)

    def get_librarian(self, librarian_id: str) -> Librarian:
        """Return an active librarian. Raises ``LibrarianNotFound``."""
        with self._environment.store.reading() as transaction:
            librarian = transaction.find_librarian(librarian_id)
        if librarian is None or not self.is_in_service(librarian):
            raise LibrarianNotFound
        return librarian

    def librarian_of_session(self, librarian_id: str, session_generation: int) -> Librarian:
        """Return the librarian whose session was begun in this generation.

        Raises ``LibrarianNotFound`` where it was ended since, by a log-out, a new password or because the
        account was disabled: a copy of the cookie is worth no more than the cookie.
        """
        librarian = self.get_librarian(librarian_id)
        if librarian.session_generation != session_generation:
            raise LibrarianNotFound
        return librarian

    def log_out(self, librarian: Librarian) -> None:
        """End all sessions of a librarian, at every browser."""
        self._change(
            staff_actor(librarian.librarian_id),
            librarian.library_id,
            librarian.librarian_id,
            AuditTag.LOGGED_OUT,
            lambda transaction: transaction.end_admin_sessions(librarian.librarian_id),
        )

    def list_exported(self, librarian: Librarian, list_name: str) -> None:
        """Write down that somebody took a list of the admin away as a file."""
        actor = staff_actor(librarian.librarian_id)
        with self._environment.store.transaction() as transaction:
            transaction.add_audit_event(
                self._environment.event(AuditTag.LIST_EXPORTED, librarian.library_id, actor, list_name)
            )

    def librarians(self, library_id: str) -> Sequence[StaffMember]:
        """Return the staff of a library or of the ``REGION``, disabled accounts too."""
        with self._environment.store.reading() as transaction:
            accounts = transaction.accounts(library_id)
        return [StaffMember(account.librarian, self._is_locked(account)) for account in accounts]

    def find_librarian(self, library_id: str, login_name: str) -> Librarian:
        """Return who has this log-in name in a library. Raises ``LibrarianNotFound``."""
        for member in self.librarians(library_id):
            if member.librarian.login_name == login_name:
                return member.librarian
        raise LibrarianNotFound

    def disable(self, actor: Actor, *, library_id: str, librarian_id: str) -> Librarian:
        """Close an account and end its sessions. Raises ``LibrarianNotFound``."""

        def change(transaction: Transaction) -> None:
            transaction.set_librarian_active(librarian_id, active=False)
            transaction.end_admin_sessions(librarian_id)

        return self._change(actor, library_id, librarian_id, AuditTag.LIBRARIAN_DISABLED, change)

    def enable(self, actor: Actor, *, library_id: str, librarian_id: str) -> Librarian:
        """Open a closed account again. Raises ``LibrarianNotFound``."""
        return self._change(
            actor,
            library_id,
            librarian_id,
            AuditTag.LIBRARIAN_ENABLED,
            lambda transaction: transaction.set_librarian_active(librarian_id, active=True),
        )

    def change_role(
        self, actor: Actor, *, library_id: str, librarian_id: str, role: LibrarianRole
    ) -> Librarian:
        """Give another role, at once. Raises ``LibrarianNotFound``, ``WrongRole``."""

        def change(transaction: Transaction) -> None:
            _require_role_of_place(library_id, role)
            transaction.set_librarian_role(librarian_id, role)

        tag = AuditTag.LIBRARIAN_ROLE_CHANGED
        return self._change(actor, library_id, librarian_id, tag, change, role=role.value)

    def reset_password(self, actor: Actor, *, library_id: str, librarian_id: str, password: str) -> Librarian:
        """Replace the password, unlock the account and end its sessions. Raises ``LibrarianNotFound``.

        Whoever signed in with Koha's password has one of the bridge's from then on.
        """
        password_hash = self.hash_password(password)

        def change(transaction: Transaction) -> None:
            transaction.set_password_source(librarian_id, None, password_hash)
            transaction.clear_failed_log_ins(librarian_id)
            transaction.end_admin_sessions(librarian_id)

        return self._change(actor, library_id, librarian_id, AuditTag.LIBRARIAN_PASSWORD_RESET, change)

    def use_koha_password(
        self, actor: Actor, *, library_id: str, librarian_id: str, koha_patron_id: int
    ) -> Librarian:
        """Let an account sign in with the password of somebody's in Koha; end its sessions.

        Raises ``LibrarianNotFound``, ``KohaAccountTaken`` where that account in Koha is another's,
        ``KohaSignInOff``, ``KohaAccountNotFound``, ``KohaPermissionMissing``, ``KohaNotReachable``.
        """
        self._koha.require_standing(library_id, koha_patron_id)

        def change(transaction: Transaction) -> None:
            transaction.set_password_source(librarian_id, koha_patron_id, NO_PASSWORD)
            transaction.clear_failed_log_ins(librarian_id)
            transaction.end_admin_sessions(librarian_id)

        return self._change(actor, library_id, librarian_id, AuditTag.LIBRARIAN_PASSWORD_OF_KOHA, change)

    def unlock(self, actor: Actor, *, library_id: str, librarian_id: str) -> Librarian:
        """Let an account that is locked after failures log in at once. Raises ``LibrarianNotFound``."""
        return self._change(
            actor,
            library_id,
            librarian_id,
            AuditTag.LIBRARIAN_UNLOCKED,
            lambda transaction: transaction.clear_failed_log_ins(librarian_id),
        )

    def reset_second_factor(self, actor: Actor, *, library_id: str, librarian_id: str) -> Librarian:
        """Take the second factor away and end the sessions. Raises ``LibrarianNotFound``."""

        def change(transaction: Transaction) -> None:
            transaction.remove_second_factor(librarian_id)
            transaction.end_admin_sessions(librarian_id)

        return self._change(actor, library_id, librarian_id, AuditTag.SECOND_FACTOR_RESET, change)

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
        """Add a member of staff of a library, or of the ``REGION``.

        Raises ``NameTaken``, ``LibraryNotFound``, ``WrongRole``.
        """
        _require_role_of_place(library_id, role)
        if not role.is_region_wide:
            self._environment.library(library_id)
        librarian = Librarian(self._environment.new_id(), library_id, login_name, display_name, role)
        return self._add(actor, librarian, self.hash_password(password))

    def add_librarian_of_koha(
        self,
        actor: Actor,
        *,
        library_id: str,
        login_name: str,
        display_name: str,
        role: LibrarianRole,
        koha_patron_id: int,
    ) -> Librarian:
        """Add a member of staff of a library who signs in with the password of an account in Koha.

        Raises what ``add_librarian`` and ``use_koha_password`` raise.
        """
        if role.is_region_wide:
            raise KohaSignInOff
        _require_role_of_place(library_id, role)
        self._environment.library(library_id)
        self._koha.require_standing(library_id, koha_patron_id)
        librarian = Librarian(
            self._environment.new_id(),
            library_id,
            login_name,
            display_name,
            role,
            koha_patron_id=koha_patron_id,
        )
        return self._add(actor, librarian, NO_PASSWORD)

    def _add(self, actor: Actor, librarian: Librarian, password_hash: str) -> Librarian:
        library_id = librarian.library_id
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
        with self._environment.store.reading() as transaction:
            terminal = transaction.find_terminal_by_token(_token_digest(token))
        return terminal if terminal is not None and self.is_in_service(terminal) else None

    def terminals(self, library_id: str) -> Sequence[Terminal]:
        """Return the active terminals of a library."""
        with self._environment.store.reading() as transaction:
            return transaction.terminals(library_id)

    def _change(
        self,
        actor: Actor,
        library_id: str,
        librarian_id: str,
        tag: AuditTag,
        change: Callable[[Transaction], None],
        **details: str,
    ) -> Librarian:
        """Change one account of one library, with its line in the audit log; return it as it is then."""
        with self._environment.store.transaction() as transaction:
            self._find(transaction, library_id, librarian_id)
            change(transaction)
            transaction.add_audit_event(
                self._environment.event(tag, library_id, actor, librarian_id, **details)
            )
            return self._find(transaction, library_id, librarian_id)

    @staticmethod
    def _find(transaction: Transaction, library_id: str, librarian_id: str) -> Librarian:
        librarian = transaction.find_librarian(librarian_id)
        if librarian is None or librarian.library_id != library_id:
            raise LibrarianNotFound
        return librarian

    def is_in_service(self, whose: Librarian | Terminal) -> bool:
        """Return whether somebody is active, and of a library that is in the settings."""
        in_settings = whose.library_id == REGION or whose.library_id in self._environment.libraries
        return whose.active and in_settings

    def _record_missing_permission(self, transaction: Transaction, librarian: Librarian) -> None:
        actor, tag = staff_actor(librarian.librarian_id), AuditTag.KOHA_PERMISSION_MISSING
        transaction.add_audit_event(
            self._environment.event(tag, librarian.library_id, actor, librarian.librarian_id)
        )

    def _was_koha_asked(self, one: LogInTry) -> bool:
        """Return whether this try was one that Koha had to judge."""
        if one.account is None or not one.allowed or not self.is_in_service(one.account.librarian):
            return False
        return self._koha.judges(one.account.librarian)

    def _needs_rehash(self, account: LibrarianAccount) -> bool:
        return account.password_hash != NO_PASSWORD and self._password_hasher.check_needs_rehash(
            account.password_hash
        )

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._password_hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    def _is_locked(self, account: LibrarianAccount) -> bool:
        return account.locked_until is not None and self._environment.clock() < account.locked_until


def _require_role_of_place(library_id: str, role: LibrarianRole) -> None:
    if role.is_region_wide != (library_id == REGION):
        raise WrongRole


def _find_account(transaction: Transaction, login_name: str) -> LibrarianAccount | None:
    """Return the account of a name; PostgreSQL takes no NUL in one, neither database half a surrogate."""
    return transaction.find_account(login_name) if login_name.isprintable() else None


def _token_digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
