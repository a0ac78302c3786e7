"""How often somebody may try to log in: tries of passwords and of second factors count alike.

A try counts as failed from its beginning, or many at the same moment would all be let in. Only a whole
log-in forgets the failures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.environment import Environment
from bridge.models import Actor, ActorKind, AuditTag, Librarian
from bridge.ports import LibrarianAccount, Transaction

FAILURES_BEFORE_LOCK = 5
LOCK_DURATION = timedelta(minutes=15)
LONGEST_LOCK = timedelta(hours=8)

NOBODY = "-"
"""In the audit log, where a name is not known: the name typed may be a password by mistake."""

Find = Callable[[Transaction], LibrarianAccount | None]


@dataclass(frozen=True)
class LogInTry:
    """One try. ``account`` is None where there is none; ``allowed`` says whether it may be judged at all.

    ``locked_until`` is the end of the lock that this try brings if it fails.
    """

    account: LibrarianAccount | None
    allowed: bool
    locked_until: datetime | None = None


def lock_duration(failures: int) -> timedelta | None:
    """Return for how long so many failures in a row lock an account: each fifth for twice as long."""
    if failures == 0 or failures % FAILURES_BEFORE_LOCK:
        return None
    # Sixteen doublings are past the longest lock; the power stays small, whatever was counted.
    doublings = min(failures // FAILURES_BEFORE_LOCK - 1, 16)
    return min(LOCK_DURATION * (1 << doublings), LONGEST_LOCK)


class LogInTries:
    """Counts the tries of each account, and keeps the audit log of how they ended."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def begin(self, find: Find) -> LogInTry:
        """Count one try of the account that *find* returns."""
        now = self._environment.clock()
        with self._environment.store.transaction() as transaction:
            account = find(transaction)
            if account is None:
                return LogInTry(None, allowed=False)
            librarian_id = account.librarian.librarian_id
            failures = transaction.count_failed_log_in(librarian_id, now)
            if failures is None:
                return LogInTry(account, allowed=False)
            lock = lock_duration(failures)
            if lock is None:
                return LogInTry(account, allowed=True)
            transaction.lock_account(librarian_id, now + lock)
            return LogInTry(account, allowed=True, locked_until=now + lock)

    def take_back(self, transaction: Transaction, one: LogInTry) -> None:
        """Count a try that was right but is not the whole log-in as none; earlier failures stay."""
        if one.account is not None:
            transaction.take_back_failure(one.account.librarian.librarian_id, one.locked_until)

    def succeed(self, transaction: Transaction, librarian: Librarian) -> None:
        """Forget the failures after a whole log-in, and write it down."""
        transaction.clear_failed_log_ins(librarian.librarian_id)
        transaction.add_audit_event(
            self._environment.event(
                AuditTag.LOGIN_SUCCEEDED,
                librarian.library_id,
                staff_actor(librarian.librarian_id),
                librarian.librarian_id,
            )
        )

    def fail(self, one: LogInTry) -> None:
        """Write down a try that failed."""
        library_id = NOBODY if one.account is None else one.account.librarian.library_id
        librarian_id = NOBODY if one.account is None else one.account.librarian.librarian_id
        with self._environment.store.transaction() as transaction:
            transaction.add_audit_event(
                self._environment.event(
                    AuditTag.LOGIN_FAILED, library_id, staff_actor(librarian_id), librarian_id
                )
            )


def staff_actor(librarian_id: str) -> Actor:
    """Return a librarian as the audit log names one."""
    return Actor(ActorKind.LIBRARIAN, librarian_id)
