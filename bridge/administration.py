"""What administrators do in the admin: see a library's settings, manage its terminals and its staff.

An administrator does so for one library, a region administrator for all of them. A library that is not
theirs is not found, just as one that does not exist. No link, patron or session can be reached from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, unique

from bridge.accounts.staff import IssuedTerminal, StaffMember, StaffService, generate_password
from bridge.environment import Environment, Library
from bridge.errors import LibraryNotFound, NotAllowed
from bridge.library_policies import LibraryPolicies
from bridge.links.consent import ConsentWording, OwnConsent
from bridge.links.consent_service import ConsentInForce, ConsentService
from bridge.models import (
    Actor,
    ActorKind,
    ConsentLanguage,
    Librarian,
    LibrarianRole,
    Permission,
    Terminal,
    TerminalKind,
)
from bridge.terminals.enrolment import DrawnCode, EnrolmentService


@unique
class LibrarySystem(StrEnum):
    """By which way the bridge reaches a library's Koha for patrons."""

    REST = "rest"
    SIP2 = "sip2"


@dataclass(frozen=True)
class LibraryEntry:
    """A library in the list of all: how many terminals are in use, and how many accounts there are."""

    library_id: str
    name: str
    system: LibrarySystem
    terminals: int
    staff: int


@dataclass(frozen=True)
class LibraryOverview:
    """A library as an administrator sees it: its settings, without a secret, and what they amount to."""

    library_id: str
    name: str
    settings: Mapping[str, object]
    policies: LibraryPolicies | None
    terminals: Sequence[Terminal]
    staff: Sequence[StaffMember]
    has_koha_sign_in: bool


@dataclass(frozen=True)
class IssuedPassword:
    """An account with a password that was made for it, which is shown once and kept as a hash only."""

    librarian: Librarian
    password: str = field(repr=False)


class AdministrationService:
    """Everything raises ``NotAllowed`` where the role does not administer, ``LibraryNotFound`` elsewhere."""

    def __init__(
        self,
        environment: Environment,
        staff: StaffService,
        enrolment: EnrolmentService,
        consent: ConsentService,
        library_settings: Mapping[str, Mapping[str, object]],
        policies: Mapping[str, LibraryPolicies],
    ) -> None:
        self._environment = environment
        self._staff = staff
        self._enrolment = enrolment
        self._consent = consent
        self._library_settings = library_settings
        self._policies = policies

    def libraries(self, administrator: Librarian) -> Sequence[LibraryEntry]:
        """Return the libraries that somebody administers, in the order of the settings."""
        _require_administrator(administrator)
        with self._environment.store.reading() as transaction:
            terminals, accounts = transaction.count_terminals(), transaction.count_librarians()
        return [
            LibraryEntry(
                library.library_id,
                library.name,
                self._system_of(library),
                terminals.get(library.library_id, 0),
                accounts.get(library.library_id, 0),
            )
            for library in self._environment.libraries.values()
            if _administers(administrator, library.library_id)
        ]

    def library(self, administrator: Librarian, library_id: str) -> LibraryOverview:
        """Return one of them."""
        return self._overview(self._library(administrator, library_id))

    def consent(self, administrator: Librarian, library_id: str) -> ConsentInForce:
        """Return to what patrons of a library agree."""
        return self._consent.in_force(self._library(administrator, library_id).library_id)

    def own_consents(self, administrator: Librarian, library_id: str) -> Sequence[OwnConsent]:
        """Return every wording that a library has set, the last one first."""
        return self._consent.own(self._library(administrator, library_id).library_id)

    def find_consent(self, administrator: Librarian, library_id: str, version: str) -> ConsentWording:
        """Return a wording that was or is in force. Raises ``ConsentNotFound``."""
        return self._consent.find(self._library(administrator, library_id).library_id, version)

    def change_consent(
        self,
        administrator: Librarian,
        library_id: str,
        texts: Mapping[ConsentLanguage, str],
        *,
        instead_of: str,
    ) -> ConsentWording:
        """Put a wording of the library's own in force. Raises ``ConsentUnfit``, ``ConsentChanged``."""
        self._library(administrator, library_id)
        return self._consent.change(_actor(administrator), library_id, texts, instead_of=instead_of)

    def add_terminal(
        self,
        administrator: Librarian,
        library_id: str,
        *,
        terminal_id: str,
        name: str,
        kind: TerminalKind,
        sip2_login: str | None,
    ) -> IssuedTerminal:
        """Add a terminal. Raises ``NameTaken``."""
        self._library(administrator, library_id)
        return self._staff.add_terminal(
            _actor(administrator),
            library_id=library_id,
            terminal_id=terminal_id,
            name=name,
            kind=kind,
            sip2_login=sip2_login,
        )

    def remove_terminal(self, administrator: Librarian, library_id: str, terminal_id: str) -> Terminal:
        """Remove a terminal. Raises ``TerminalNotFound``."""
        self._library(administrator, library_id)
        return self._staff.remove_terminal(
            _actor(administrator), library_id=library_id, terminal_id=terminal_id
        )

    def draw_enrolment_code(self, administrator: Librarian, library_id: str, terminal_id: str) -> DrawnCode:
        """Draw a code by which a terminal enrols. Raises ``TerminalNotFound``."""
        self._library(administrator, library_id)
        return self._enrolment.draw_code(
            _actor(administrator), library_id=library_id, terminal_id=terminal_id
        )

    def add_librarian(
        self,
        administrator: Librarian,
        library_id: str,
        *,
        login_name: str,
        display_name: str,
        role: LibrarianRole,
    ) -> IssuedPassword:
        """Add a member of staff with a new password. Raises ``NameTaken``, ``WrongRole``."""
        self._library(administrator, library_id)
        password = generate_password(self._environment.random_bytes)
        added = self._staff.add_librarian(
            _actor(administrator),
            library_id=library_id,
            login_name=login_name,
            display_name=display_name,
            role=role,
            password=password,
        )
        return IssuedPassword(added, password)

    def add_librarian_of_koha(
        self,
        administrator: Librarian,
        library_id: str,
        *,
        login_name: str,
        display_name: str,
        role: LibrarianRole,
        koha_patron_id: int,
    ) -> Librarian:
        """Add a member of staff who signs in with the password of an account in Koha.

        Raises what ``StaffService.add_librarian_of_koha`` raises.
        """
        self._library(administrator, library_id)
        return self._staff.add_librarian_of_koha(
            _actor(administrator),
            library_id=library_id,
            login_name=login_name,
            display_name=display_name,
            role=role,
            koha_patron_id=koha_patron_id,
        )

    def use_koha_password(
        self, administrator: Librarian, library_id: str, librarian_id: str, koha_patron_id: int
    ) -> Librarian:
        """Let an account sign in with Koha's password. Raises as ``StaffService.use_koha_password``."""
        actor = self._may_change(administrator, library_id, librarian_id)
        return self._staff.use_koha_password(
            actor, library_id=library_id, librarian_id=librarian_id, koha_patron_id=koha_patron_id
        )

    def reset_password(self, administrator: Librarian, library_id: str, librarian_id: str) -> IssuedPassword:
        """Give an account a new password, of the bridge's own. Raises ``LibrarianNotFound``."""
        actor = self._may_change(administrator, library_id, librarian_id)
        password = generate_password(self._environment.random_bytes)
        changed = self._staff.reset_password(
            actor, library_id=library_id, librarian_id=librarian_id, password=password
        )
        return IssuedPassword(changed, password)

    def disable(self, administrator: Librarian, library_id: str, librarian_id: str) -> Librarian:
        """Close an account. Raises ``LibrarianNotFound``."""
        actor = self._may_change(administrator, library_id, librarian_id)
        return self._staff.disable(actor, library_id=library_id, librarian_id=librarian_id)

    def enable(self, administrator: Librarian, library_id: str, librarian_id: str) -> Librarian:
        """Open a closed account again. Raises ``LibrarianNotFound``."""
        actor = self._may_change(administrator, library_id, librarian_id)
        return self._staff.enable(actor, library_id=library_id, librarian_id=librarian_id)

    def unlock(self, administrator: Librarian, library_id: str, librarian_id: str) -> Librarian:
        """Let a locked account log in again. Raises ``LibrarianNotFound``."""
        actor = self._may_change(administrator, library_id, librarian_id)
        return self._staff.unlock(actor, library_id=library_id, librarian_id=librarian_id)

    def reset_second_factor(self, administrator: Librarian, library_id: str, librarian_id: str) -> Librarian:
        """Take somebody's second factor away. Raises ``LibrarianNotFound``."""
        actor = self._may_change(administrator, library_id, librarian_id)
        return self._staff.reset_second_factor(actor, library_id=library_id, librarian_id=librarian_id)

    def change_role(
        self, administrator: Librarian, library_id: str, librarian_id: str, role: LibrarianRole
    ) -> Librarian:
        """Give an account another role. Raises ``LibrarianNotFound``, ``WrongRole``."""
        actor = self._may_change(administrator, library_id, librarian_id)
        return self._staff.change_role(actor, library_id=library_id, librarian_id=librarian_id, role=role)

    def _system_of(self, library: Library) -> LibrarySystem:
        reaches_rest = "koha.base_url" in self._library_settings.get(library.library_id, {})
        return LibrarySystem.REST if reaches_rest else LibrarySystem.SIP2

    def _overview(self, library: Library) -> LibraryOverview:
        library_id = library.library_id
        return LibraryOverview(
            library_id,
            library.name,
            self._library_settings.get(library_id, {}),
            self._policies.get(library_id),
            self._staff.terminals(library_id),
            self._staff.librarians(library_id),
            self._staff.has_koha_sign_in(library_id),
        )

    def _library(self, administrator: Librarian, library_id: str) -> Library:
        _require_administrator(administrator)
        if not _administers(administrator, library_id):
            raise LibraryNotFound
        return self._environment.library(library_id)

    def _may_change(self, administrator: Librarian, library_id: str, librarian_id: str) -> Actor:
        """Return who changes an account; nobody changes their own, or a slip would lock them out."""
        self._library(administrator, library_id)
        if librarian_id == administrator.librarian_id:
            raise NotAllowed
        return _actor(administrator)


def _administers(administrator: Librarian, library_id: str) -> bool:
    return administrator.role.is_region_wide or administrator.library_id == library_id


def _require_administrator(librarian: Librarian) -> None:
    if not librarian.role.may(Permission.ADMINISTER):
        raise NotAllowed


def _actor(librarian: Librarian) -> Actor:
    return Actor(ActorKind.LIBRARIAN, librarian.librarian_id)
