"""What every service works with: the store, the keys, the libraries, time and randomness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo

from bridge.errors import LibraryNotFound, NoSuchPatron
from bridge.keys.ring import KeyRing
from bridge.links.identifiers import IdentifierForms
from bridge.models import Actor, AuditEvent, AuditTag, CardLink, LinkRequest
from bridge.ports import (
    Clock,
    KohaStaff,
    PatronCategories,
    PatronDirectory,
    PatronRecord,
    RandomBytes,
    Store,
)
from bridge.rules import Decision, LinkEnding, LinkPolicy, ending_of, judge_link

ID_LENGTH = 16
"""Bytes of a new id; written as 32 hex digits."""


@dataclass(frozen=True)
class KohaSignIn:
    """Staff sign in with Koha's password; after each interval Koha is asked again whether they may."""

    staff: KohaStaff
    recheck_interval: timedelta


@dataclass(frozen=True)
class Library:
    """One library (図書館): its patrons, and the time zone in which its days begin.

    ``categories`` is None where the library system has none to write (SIP2 alone). ``linked_category``
    gives, by category, the one for linked patrons; ``links`` is what the library demands of its links;
    ``koha_origins`` are those (RFC 6454) of the staff pages from which librarians may call the desk.
    ``card_number_forms`` say what the number in the city's card application looks like, None where the
    library does not have it read. ``koha_sign_in`` is None where staff have passwords of the bridge alone.
    """

    library_id: str
    name: str
    time_zone: tzinfo
    patrons: PatronDirectory
    categories: PatronCategories | None = None
    linked_category: Mapping[str, str] = field(default_factory=dict)
    replace_imported_links: bool = True
    card_number_forms: IdentifierForms | None = None
    links: LinkPolicy = field(default_factory=LinkPolicy)
    koha_origins: frozenset[str] = frozenset()
    koha_sign_in: KohaSignIn | None = None

    def today(self, now: datetime) -> date:
        """Return the day that it is in the library."""
        return now.astimezone(self.time_zone).date()

    def judge_link(self, link: CardLink, now: datetime) -> Decision:
        """Decide whether a link of this library may be used now."""
        return judge_link(link, now, self.today(now), self.links)

    def ending_of(self, link: CardLink) -> LinkEnding:
        """Return when a link of this library ends by itself at the latest."""
        return ending_of(link, self.links, self.time_zone)


@dataclass(frozen=True)
class Environment:
    """The surroundings of the services; ``bridge.wiring`` makes one."""

    store: Store
    keys: KeyRing
    libraries: Mapping[str, Library]
    clock: Clock
    random_bytes: RandomBytes

    def library(self, library_id: str) -> Library:
        """Return a library of the settings. Raises ``LibraryNotFound``."""
        try:
            return self.libraries[library_id]
        except KeyError:
            raise LibraryNotFound(library_id) from None

    def patron_of(self, reference: CardLink | LinkRequest) -> PatronRecord:
        """Ask the library system for the patron of a link or a request.

        By the patron's id, which survives a new library card, else by the card number that is kept.
        Raises ``NoSuchPatron``, ``KohaNotReachable``.
        """
        patrons = self.library(reference.library_id).patrons
        if reference.patron_id is not None:
            return patrons.get(reference.patron_id)
        patron = None
        if reference.patron_reference is not None:
            cardnumber = self.keys.cardnumber_of(reference.library_id, reference.patron_reference)
            patron = patrons.find_by_cardnumber(cardnumber)
        if patron is None:
            raise NoSuchPatron
        return patron

    def new_id(self) -> str:
        """Return an id that nobody can guess."""
        return self.random_bytes(ID_LENGTH).hex()

    def event(
        self,
        tag: AuditTag,
        library_id: str,
        actor: Actor,
        subject: str,
        *,
        terminal_id: str | None = None,
        **details: str,
    ) -> AuditEvent:
        """Return a line for the audit log, of this moment."""
        return AuditEvent(tag, library_id, actor, subject, self.clock(), terminal_id, details)
