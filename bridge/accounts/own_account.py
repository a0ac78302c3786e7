"""What staff do with the own account: the second half of the log-in, the second factor, the password.

Every try of a code or of the own password counts as a try to log in does: who finds a desk unattended
guesses no better here than at the log-in page.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from bridge.accounts.log_in_tries import LogInTries, LogInTry, staff_actor
from bridge.accounts.second_factor import SECRET_LENGTH, SecondFactorPolicy, matching_step
from bridge.accounts.staff import StaffService
from bridge.environment import Environment
from bridge.errors import (
    KeyProblem,
    OwnPasswordRefused,
    PasswordOfKoha,
    PasswordUnfit,
    SecondFactorRefused,
)
from bridge.keys.ring import KeyUse
from bridge.models import AuditTag, Librarian, PasswordSource
from bridge.ports import EncryptedValue, LibrarianAccount, SecondFactor, Transaction

MINIMUM_PASSWORD_LENGTH = 12
MAXIMUM_PASSWORD_LENGTH = 1024


class OwnAccountService:
    """One's own account. Nobody reaches another's from here."""

    def __init__(self, environment: Environment, staff: StaffService, policy: SecondFactorPolicy) -> None:
        self._environment = environment
        self._staff = staff
        self._policy = policy
        self._tries = LogInTries(environment)

    def complete_log_in(self, librarian_id: str, session_generation: int, code: str) -> Librarian:
        """Return who gave the right password before, and gives the right code now.

        Raises ``SecondFactorRefused``, also where the account was changed since the password was given.
        """
        one, step = self._try_code(librarian_id, code)
        account = one.account
        if account is None or step is None or not self._staff.is_in_service(account.librarian):
            raise self._refused(one)
        with self._environment.store.transaction() as transaction:
            now = transaction.account_of(librarian_id)
            used = (
                now is not None
                and now.librarian.session_generation == session_generation
                and transaction.use_second_factor_step(librarian_id, step)
            )
            if used:
                self._tries.succeed(transaction, account.librarian)
        if not used:
            raise self._refused(one)
        return account.librarian

    def must_set_up_second_factor(self, librarian: Librarian) -> bool:
        """Return whether somebody who is logged in must set a second factor up before anything else."""
        return self._policy.requires(librarian.role) and not librarian.has_second_factor

    def propose_second_factor(self, librarian: Librarian, password: str) -> None:
        """Draw a secret, which does not count before a code of it was given.

        Raises ``OwnPasswordRefused``, and ``SecondFactorRefused`` where there is a second factor already.
        """
        one = self._confirm_password(librarian, password)
        secret = self._environment.random_bytes(SECRET_LENGTH)
        encrypted = self._environment.keys.encrypt(*_place(librarian), secret)
        with self._environment.store.transaction() as transaction:
            self._tries.take_back(transaction, one)
            account = transaction.account_of(librarian.librarian_id)
            if account is None or account.librarian.has_second_factor:
                raise SecondFactorRefused
            transaction.propose_second_factor(librarian.librarian_id, encrypted)

    def proposed_secret(self, librarian: Librarian) -> bytes | None:
        """Return the secret that waits for its first code, to be shown; None where there is none."""
        with self._environment.store.reading() as transaction:
            account = transaction.account_of(librarian.librarian_id)
        kept = None if account is None else account.second_factor
        if kept is None or kept.confirmed_at is not None:
            return None
        return self._open(librarian, kept.secret)

    def confirm_second_factor(self, librarian: Librarian, code: str) -> None:
        """Let the proposed second factor count from now on. Raises ``SecondFactorRefused``."""
        one, step = self._try_code(librarian.librarian_id, code, confirmed=False)
        if step is None:
            raise self._refused(one)

        def change(transaction: Transaction) -> None:
            now = self._environment.clock()
            if not transaction.confirm_second_factor(librarian.librarian_id, step, now):
                raise SecondFactorRefused

        self._change(one, librarian, AuditTag.SECOND_FACTOR_SET_UP, change)

    def remove_second_factor(self, librarian: Librarian, code: str) -> None:
        """Give the second factor up, by a code of it. Raises ``SecondFactorRefused``."""
        one, step = self._try_code(librarian.librarian_id, code)
        if step is None:
            raise self._refused(one)

        def change(transaction: Transaction) -> None:
            if not transaction.use_second_factor_step(librarian.librarian_id, step):
                raise SecondFactorRefused
            transaction.remove_second_factor(librarian.librarian_id)

        self._change(one, librarian, AuditTag.SECOND_FACTOR_REMOVED, change)

    def change_password(self, librarian: Librarian, current: str, new: str) -> Librarian:
        """Replace the own password, and end every session; return the librarian of the next one.

        Raises ``OwnPasswordRefused``, ``PasswordUnfit``, ``PasswordOfKoha``.
        """
        if librarian.password_source is PasswordSource.KOHA:
            raise PasswordOfKoha
        if not MINIMUM_PASSWORD_LENGTH <= len(new) <= MAXIMUM_PASSWORD_LENGTH or new == current:
            raise PasswordUnfit
        one = self._confirm_password(librarian, current)
        new_hash = self._staff.hash_password(new)

        def change(transaction: Transaction) -> None:
            transaction.set_password_hash(librarian.librarian_id, new_hash)
            transaction.end_admin_sessions(librarian.librarian_id)

        self._change(one, librarian, AuditTag.LIBRARIAN_PASSWORD_CHANGED, change)
        return self._staff.get_librarian(librarian.librarian_id)

    def _confirm_password(self, librarian: Librarian, password: str) -> LogInTry:
        one = self._tries.begin(_by_id(librarian.librarian_id))
        if not self._staff.is_password_of(one, password):
            self._tries.fail(one)
            raise OwnPasswordRefused
        return one

    def _try_code(
        self, librarian_id: str, code: str, *, confirmed: bool = True
    ) -> tuple[LogInTry, int | None]:
        """Count one try; return the step of time that its code is of, None where it is none."""
        one = self._tries.begin(_by_id(librarian_id))
        kept = None if one.account is None else one.account.second_factor
        if one.account is None or not one.allowed or kept is None:
            return one, None
        if (kept.confirmed_at is not None) is not confirmed:
            return one, None
        secret = self._open(one.account.librarian, kept.secret)
        step = None if secret is None else matching_step(secret, code, self._environment.clock())
        return one, None if step is None or _is_used(kept, step) else step

    def _open(self, librarian: Librarian, secret: EncryptedValue) -> bytes | None:
        with suppress(KeyProblem):
            return self._environment.keys.decrypt(*_place(librarian), secret)
        return None

    def _refused(self, one: LogInTry) -> SecondFactorRefused:
        self._tries.fail(one)
        return SecondFactorRefused()

    def _change(
        self, one: LogInTry, librarian: Librarian, tag: AuditTag, change: Callable[[Transaction], None]
    ) -> None:
        with self._environment.store.transaction() as transaction:
            self._tries.take_back(transaction, one)
            change(transaction)
            transaction.add_audit_event(
                self._environment.event(
                    tag,
                    librarian.library_id,
                    staff_actor(librarian.librarian_id),
                    librarian.librarian_id,
                )
            )


def _by_id(librarian_id: str) -> Callable[[Transaction], LibrarianAccount | None]:
    return lambda transaction: transaction.account_of(librarian_id)


def _is_used(kept: SecondFactor, step: int) -> bool:
    return kept.last_step is not None and step <= kept.last_step


def _place(librarian: Librarian) -> tuple[KeyUse, str, str]:
    """Return for whom a secret is encrypted."""
    return KeyUse.SECOND_FACTOR, librarian.library_id, librarian.librarian_id
