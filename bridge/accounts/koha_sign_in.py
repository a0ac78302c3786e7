"""The password of staff who sign in with that of their account in Koha, where a library has that switched on.

An account of the bridge says who somebody is and what role they have; Koha says whether the password is
right, and whether that person still has the permission that the library asks for. Koha locks an account
after wrong passwords, so the bridge stops before the last, and nothing is sent that need not be.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TypeVar

from bridge.environment import Environment, KohaSignIn
from bridge.errors import (
    KohaAccountNotFound,
    KohaNotReachable,
    KohaPermissionMissing,
    KohaSignInOff,
    PasswordNotChecked,
    StandingUnknown,
)
from bridge.models import Librarian, PasswordSource
from bridge.ports import KohaStaff, KohaStanding
from jpki.circuit_breaker import BreakerPolicy, CircuitBreaker

TRIES_LEFT_ALONE = 1
"""Of those that Koha counts: the last wrong password, which locks the account, is never the bridge's."""

BREAKER = BreakerPolicy(longest_pause=timedelta(seconds=30))
"""A Koha that is away must not keep everybody waiting, and must be found again soon."""

NOBODY = 0
"""Koha numbers its patrons from 1."""

Answer = TypeVar("Answer")


class KohaPasswords:
    """Asks each library's Koha about its staff. What was permitted is remembered in this process alone."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._permitted_at: dict[tuple[str, int], datetime] = {}
        self._breakers: dict[str, CircuitBreaker] = {}
        self._turns: dict[tuple[str, int], threading.Lock] = {}

    @property
    def libraries(self) -> list[str]:
        """The ids of the libraries that have it switched on."""
        return [each.library_id for each in self._environment.libraries.values() if each.koha_sign_in]

    def check(self, librarian: Librarian, password: str) -> bool:
        """Return whether this is the password of a librarian's account in Koha.

        It is not looked at where Koha would lock the account if it were wrong. Raises
        ``PasswordNotChecked``, and, to who gave the right password alone, ``KohaPermissionMissing``.
        """
        library_id, patron_id = librarian.library_id, librarian.koha_patron_id
        if patron_id is None or not self.judges(librarian):
            return False
        # One after the other: two at once would both read that two tries are left, and spend both.
        with self._turns.setdefault((library_id, patron_id), threading.Lock()), _needed_for_a_password():
            standing = self._standing(library_id, patron_id)
            if standing is None or standing.userid is None or _is_near_lock(standing):
                self._ask_about_nobody(library_id)
                return False
            userid = standing.userid
            if not self._ask(library_id, lambda staff: staff.is_password_of(patron_id, userid, password)):
                return False
        if not standing.permitted:
            raise KohaPermissionMissing
        self._permitted_at[library_id, patron_id] = self._environment.clock()
        return True

    def judges(self, librarian: Librarian) -> bool:
        """Return whether the password of an account is Koha's, and Koha is asked."""
        is_of_koha = librarian.password_source is PasswordSource.KOHA
        return is_of_koha and self._sign_in(librarian.library_id) is not None

    def pretend(self, login_name: str, librarian: Librarian | None) -> None:
        """Ask a Koha as ``check`` does, about nobody: a refusal takes as long whoever is refused.

        Where it is not the account's own, the name alone decides which Koha: so the outage of one tells
        nothing of a name either. Raises ``PasswordNotChecked``.
        """
        libraries = self.libraries
        if not libraries:
            return
        digest = sha256(login_name.encode(errors="surrogatepass")).digest()
        library_id = libraries[int.from_bytes(digest[:4], "big") % len(libraries)]
        if librarian is not None and self.judges(librarian):
            library_id = librarian.library_id
        with _needed_for_a_password():
            self._standing(library_id, NOBODY)
            self._ask_about_nobody(library_id)

    def is_still_permitted(self, librarian: Librarian) -> bool:
        """Return whether Koha still permits it; Koha is asked again after the library's interval.

        Raises ``StandingUnknown`` where Koha does not answer then.
        """
        library_id, patron_id = librarian.library_id, librarian.koha_patron_id
        if patron_id is None:
            return True
        sign_in = self._sign_in(library_id)
        if sign_in is None:
            return False
        now, last = self._environment.clock(), self._permitted_at.get((library_id, patron_id))
        if last is not None and abs(now - last) < sign_in.recheck_interval:
            return True
        try:
            standing = self._standing(library_id, patron_id)
        except KohaNotReachable:
            raise StandingUnknown from None
        if standing is None or not standing.permitted:
            return False
        self._permitted_at[library_id, patron_id] = now
        return True

    def require_standing(self, library_id: str, koha_patron_id: int) -> None:
        """Refuse whom Koha would refuse, before an account is given their password.

        Raises ``KohaSignInOff``, ``KohaAccountNotFound``, ``KohaPermissionMissing``, ``KohaNotReachable``.
        """
        if self._sign_in(library_id) is None:
            raise KohaSignInOff
        standing = self._standing(library_id, koha_patron_id)
        if standing is None:
            raise KohaAccountNotFound
        if standing.userid is None or not standing.permitted:
            raise KohaPermissionMissing

    def _sign_in(self, library_id: str) -> KohaSignIn | None:
        library = self._environment.libraries.get(library_id)
        return None if library is None else library.koha_sign_in

    def _standing(self, library_id: str, patron_id: int) -> KohaStanding | None:
        return self._ask(library_id, lambda staff: staff.standing(patron_id))

    def _ask_about_nobody(self, library_id: str) -> None:
        userid, password = self._environment.new_id(), self._environment.new_id()
        self._ask(library_id, lambda staff: staff.is_password_of(NOBODY, userid, password))

    def _ask(self, library_id: str, question: Callable[[KohaStaff], Answer]) -> Answer:
        sign_in = self._sign_in(library_id)
        breaker = self._breakers.setdefault(library_id, CircuitBreaker(BREAKER))
        if sign_in is None or not breaker.may_ask(self._environment.clock()):
            raise KohaNotReachable
        try:
            answer = question(sign_in.staff)
        except KohaNotReachable:
            breaker.failed(self._environment.clock())
            raise
        breaker.succeeded()
        return answer


@contextmanager
def _needed_for_a_password() -> Iterator[None]:
    try:
        yield
    except KohaNotReachable:
        raise PasswordNotChecked from None


def _is_near_lock(standing: KohaStanding) -> bool:
    return standing.tries_left is not None and standing.tries_left <= TRIES_LEFT_ALONE
