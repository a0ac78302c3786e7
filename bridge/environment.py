"""What every service works with: the store, the keys, the libraries, time and randomness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo

from bridge.errors import LibraryNotFound
from bridge.keys import KeyRing
from bridge.models import Actor, AuditEvent, AuditTag
from bridge.ports import Clock, PatronDirectory, RandomBytes, Store

ID_LENGTH = 16
"""Bytes of a new id; written as 32 hex digits."""


@dataclass(frozen=True)
class Library:
    """One library (図書館): its patrons, and the time zone in which its days begin."""

    library_id: str
    name: str
    time_zone: tzinfo
    patrons: PatronDirectory

    def today(self, now: datetime) -> date:
        """Return the day that it is in the library."""
        return now.astimezone(self.time_zone).date()


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
