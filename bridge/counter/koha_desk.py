"""The desk in Koha's own staff pages: which librarian is asking, for a short while, from which page.

A librarian comes to it in one of two ways. Koha's plugin vouches for who is signed in there: it has a
secret, which never leaves Koha's server, and names the account. Or the librarian gives name and password
in a window of the bridge. Either way a page gets a token that is good for minutes, not for days.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256

from bridge.accounts.log_in_tries import NOBODY
from bridge.accounts.own_account import OwnAccountService
from bridge.accounts.staff import StaffService
from bridge.counter.service import librarian_actor, require_counter_role
from bridge.environment import Environment
from bridge.errors import (
    DeskClosed,
    LibrarianNotFound,
    OriginRefused,
    PluginRefused,
    SecondFactorNeeded,
)
from bridge.models import (
    Actor,
    ActorKind,
    AuditTag,
    DeskPass,
    KohaAccount,
    KohaPlugin,
    Librarian,
)
from bridge.ports import PluginCredentials, Transaction
from bridge.rules import is_running

SECRET_LENGTH = 32
"""Bytes, of a plugin's secret and of a token. At this length a plain digest cannot be searched."""

PLUGIN_PASS_LIFETIME = timedelta(minutes=10)
"""The plugin gives a page a new token whenever it wants one."""

WINDOW_PASS_LIFETIME = timedelta(hours=1)
"""Nobody types a password every ten minutes at a counter."""

FAILURES_BEFORE_LOCK = 5
LOCK_DURATION = timedelta(minutes=1)
"""A secret cannot be guessed; the lock bounds what somebody who tries can cause."""


@dataclass(frozen=True)
class IssuedPlugin:
    """A new plugin and its secret, which is shown once and kept as a digest only."""

    plugin: KohaPlugin
    secret: str = field(repr=False)


@dataclass(frozen=True)
class OpenedDesk:
    """A librarian's token for the desk, and until when it is good."""

    librarian: Librarian
    expires_at: datetime
    token: str = field(repr=False)


class DeskService:
    """Who may open the desk, and whose a token is. The work itself is done by the counter's services."""

    def __init__(self, environment: Environment, staff: StaffService, own_account: OwnAccountService) -> None:
        self._environment = environment
        self._staff = staff
        self._own_account = own_account

    # set-up, by commands on the server

    def add_plugin(self, actor: Actor, *, library_id: str, name: str) -> IssuedPlugin:
        """Let a Koha's plugin vouch for librarians of a library. Raises ``LibraryNotFound``."""
        self._environment.library(library_id)
        plugin = KohaPlugin(self._environment.new_id(), library_id, name)
        secret = self._draw()
        with self._environment.store.transaction() as transaction:
            transaction.add_plugin(plugin, _digest(secret))
            self._record(transaction, AuditTag.PLUGIN_ADDED, library_id, actor, plugin.plugin_id)
        return IssuedPlugin(plugin, secret)

    def remove_plugin(self, actor: Actor, *, library_id: str, plugin_id: str) -> KohaPlugin:
        """Take a plugin's secret and all its tokens away. Raises ``PluginNotFound``."""
        with self._environment.store.transaction() as transaction:
            plugin = transaction.remove_plugin(library_id, plugin_id)
            self._record(transaction, AuditTag.PLUGIN_REMOVED, library_id, actor, plugin_id)
        return plugin

    def plugins(self, library_id: str) -> Sequence[KohaPlugin]:
        """Return the plugins of a library."""
        with self._environment.store.reading() as transaction:
            return transaction.plugins(library_id)

    def add_account(self, actor: Actor, *, koha_patron_id: int, librarian: Librarian) -> KohaAccount:
        """Let an account of Koha stand for a librarian. Raises ``NameTaken``, ``NotAllowed``."""
        require_counter_role(librarian)
        account = KohaAccount(librarian.library_id, koha_patron_id, librarian.librarian_id)
        with self._environment.store.transaction() as transaction:
            transaction.add_koha_account(account)
            self._record(
                transaction,
                AuditTag.KOHA_ACCOUNT_ADDED,
                librarian.library_id,
                actor,
                librarian.librarian_id,
            )
        return account

    def remove_account(self, actor: Actor, *, library_id: str, koha_patron_id: int) -> KohaAccount:
        """Let an account of Koha stand for nobody; its tokens end. Raises ``LibrarianNotFound``."""
        with self._environment.store.transaction() as transaction:
            account = transaction.remove_koha_account(library_id, koha_patron_id)
            self._record(transaction, AuditTag.KOHA_ACCOUNT_REMOVED, library_id, actor, account.librarian_id)
        return account

    def accounts(self, library_id: str) -> Sequence[KohaAccount]:
        """Return the accounts of a library's Koha that stand for a librarian."""
        with self._environment.store.reading() as transaction:
            return transaction.koha_accounts(library_id)

    # opening

    def open_by_plugin(self, plugin_id: str, secret: str, koha_patron_id: int) -> OpenedDesk:
        """Open the desk for whoever is signed in to Koha, on the word of its plugin.

        After five wrong secrets in a row none is looked at for a minute. Raises ``PluginRefused``, which says
        nothing of the cause, ``LibrarianNotFound`` for an account that stands for nobody, ``NotAllowed``.
        """
        plugin = self._require_plugin(plugin_id, secret)
        with self._environment.store.reading() as transaction:
            account = transaction.find_koha_account(plugin.library_id, koha_patron_id)
        if account is None:
            raise LibrarianNotFound
        librarian = self._staff.get_librarian(account.librarian_id)
        return self._open(librarian, PLUGIN_PASS_LIFETIME, plugin.plugin_id)

    def open_by_password(
        self, login_name: str, password: str, origin: str, code: str | None = None
    ) -> OpenedDesk:
        """Open the desk for a librarian who shall work in the pages of *origin*.

        *code* is that of the second factor. Raises what ``StaffService.log_in`` raises,
        ``SecondFactorNeeded`` also where one must be set up first, ``SecondFactorRefused``,
        ``OriginRefused``, ``NotAllowed``.
        """
        librarian = self._log_in(login_name, password, code)
        self._require_origin(librarian, origin)
        return self._open(librarian, WINDOW_PASS_LIFETIME, None)

    # working

    def librarian_of(self, token: str, origin: str | None) -> Librarian:
        """Return whose token it is. *origin* is that of the page that asks, None where no page does.

        Raises ``DeskClosed``, also where the account was closed or logged out since, or Koha does not permit
        it any more; ``OriginRefused``, ``StandingUnknown``.
        """
        with self._environment.store.reading() as transaction:
            desk_pass = transaction.find_desk_pass(_digest(token))
        if desk_pass is None:
            raise DeskClosed
        lifetime = WINDOW_PASS_LIFETIME if desk_pass.plugin_id is None else PLUGIN_PASS_LIFETIME
        if not is_running(desk_pass.expires_at, lifetime, self._environment.clock()):
            raise DeskClosed
        try:
            librarian = self._staff.librarian_of_session(desk_pass.librarian_id, desk_pass.session_generation)
        except LibrarianNotFound:
            raise DeskClosed from None
        if not self._staff.may_go_on(librarian):
            raise DeskClosed
        if origin is not None:
            self._require_origin(librarian, origin)
        return librarian

    def is_koha(self, origin: str) -> bool:
        """Say whether *origin* is that of some library's staff pages."""
        return any(origin in library.koha_origins for library in self._environment.libraries.values())

    def _log_in(self, login_name: str, password: str, code: str | None) -> Librarian:
        try:
            librarian = self._staff.log_in(login_name, password)
        except SecondFactorNeeded as half:
            if not code:
                raise
            waiting = half.librarian
            return self._own_account.complete_log_in(waiting.librarian_id, waiting.session_generation, code)
        if self._own_account.must_set_up_second_factor(librarian):
            raise SecondFactorNeeded(librarian)
        return librarian

    def _require_origin(self, librarian: Librarian, origin: str) -> None:
        require_counter_role(librarian)  # the staff of the region has no library
        if origin not in self._environment.library(librarian.library_id).koha_origins:
            raise OriginRefused

    def _require_plugin(self, plugin_id: str, secret: str) -> KohaPlugin:
        now = self._environment.clock()
        with self._environment.store.transaction() as transaction:
            known = transaction.find_plugin(plugin_id)
            matches = known is not None and hmac.compare_digest(known.secret_digest, _digest(secret))
            if known is not None and matches and not _is_locked(known, now):
                if known.failures:
                    transaction.set_plugin_failures(plugin_id, 0, None)
                if known.plugin.library_id in self._environment.libraries:
                    return known.plugin
            self._count_failure(transaction, known, now)
        raise PluginRefused

    def _count_failure(
        self, transaction: Transaction, known: PluginCredentials | None, now: datetime
    ) -> None:
        library_id = subject = NOBODY
        if known is not None:
            library_id, subject = known.plugin.library_id, known.plugin.plugin_id
            if not _is_locked(known, now):
                failures = known.failures + 1
                is_last = failures >= FAILURES_BEFORE_LOCK
                transaction.set_plugin_failures(
                    subject, 0 if is_last else failures, now + LOCK_DURATION if is_last else None
                )
        actor = Actor(ActorKind.PLUGIN, subject)
        self._record(transaction, AuditTag.PLUGIN_REFUSED, library_id, actor, subject)

    def _open(self, librarian: Librarian, lifetime: timedelta, plugin_id: str | None) -> OpenedDesk:
        require_counter_role(librarian)
        now = self._environment.clock()
        token = self._draw()
        desk_pass = DeskPass(librarian.librarian_id, librarian.session_generation, plugin_id, now + lifetime)
        with self._environment.store.transaction() as transaction:
            transaction.delete_desk_passes(now)
            transaction.add_desk_pass(desk_pass, _digest(token))
            self._record(
                transaction,
                AuditTag.DESK_OPENED,
                librarian.library_id,
                librarian_actor(librarian),
                plugin_id or librarian.librarian_id,
            )
        return OpenedDesk(librarian, desk_pass.expires_at, token)

    def _draw(self) -> str:
        return base64.urlsafe_b64encode(self._environment.random_bytes(SECRET_LENGTH)).rstrip(b"=").decode()

    def _record(
        self, transaction: Transaction, tag: AuditTag, library_id: str, actor: Actor, subject: str
    ) -> None:
        transaction.add_audit_event(self._environment.event(tag, library_id, actor, subject))


def _is_locked(known: PluginCredentials, now: datetime) -> bool:
    return known.locked_until is not None and now < known.locked_until


def _digest(secret: str) -> str:
    # A secret that is no text at all (half a surrogate) is wrong, not an error.
    return sha256(secret.encode(errors="surrogatepass")).hexdigest()
