"""Which wording of the consent is in force in a library, and which were.

A library without one of its own has the product's, in its newest version. What was once in force is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bridge.environment import Environment
from bridge.errors import ConsentChanged, ConsentNotFound
from bridge.links.consent import (
    ConsentWording,
    OwnConsent,
    find_standard,
    own_version,
    read_text,
    standard_wording,
)
from bridge.models import Actor, AuditTag, ConsentLanguage
from bridge.ports import Transaction


@dataclass(frozen=True)
class ConsentInForce:
    """The wording to which patrons of a library agree now; ``set_at`` is None for the product's own."""

    wording: ConsentWording
    set_at: datetime | None


def wording_in_force(transaction: Transaction, library_id: str) -> ConsentWording:
    """Return the wording to which a patron of a library agrees now."""
    return _in_force(transaction, library_id).wording


class ConsentService:
    """The wordings of every library. Each method raises ``LibraryNotFound``."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def in_force(self, library_id: str) -> ConsentInForce:
        """Return the wording to which patrons of a library agree now."""
        self._environment.library(library_id)
        with self._environment.store.reading() as transaction:
            return _in_force(transaction, library_id)

    def find(self, library_id: str, version: str) -> ConsentWording:
        """Return the wording that a link names, word for word. Raises ``ConsentNotFound``."""
        self._environment.library(library_id)
        with self._environment.store.reading() as transaction:
            own = transaction.find_consent(library_id, version)
        found = find_standard(version) if own is None else own.wording
        if found is None:
            raise ConsentNotFound
        return found

    def own(self, library_id: str) -> Sequence[OwnConsent]:
        """Return every wording that a library has set, the last one first."""
        self._environment.library(library_id)
        with self._environment.store.reading() as transaction:
            return transaction.consents(library_id)

    def change(
        self, actor: Actor, library_id: str, texts: Mapping[ConsentLanguage, str], *, instead_of: str
    ) -> ConsentWording:
        """Put a wording of the library's own in force, and return it under its new version.

        *instead_of* is the version in force that whoever changes it has seen. A text that is in force
        already stays as it is, and gets no new version. Links keep the version to which their patrons agreed.

        Raises ``ConsentUnfit``, and ``ConsentChanged`` where another version is in force.
        """
        library = self._environment.library(library_id)
        read = {language: read_text(texts[language], language) for language in ConsentLanguage}
        now = self._environment.clock()
        with self._environment.store.transaction() as transaction:
            before = wording_in_force(transaction, library_id)
            if before.version != instead_of:
                raise ConsentChanged
            if before.texts == read:
                return before
            last = transaction.last_consent(library_id)
            revision = 1 if last is None else last.revision + 1
            wording = ConsentWording(own_version(library.today(now), revision), read)
            transaction.add_consent(library_id, revision, wording, now)
            transaction.add_audit_event(
                self._environment.event(
                    AuditTag.CONSENT_CHANGED,
                    library_id,
                    actor,
                    wording.version,
                    before=before.version,
                    sha256=wording.fingerprint,
                )
            )
        return wording


def _in_force(transaction: Transaction, library_id: str) -> ConsentInForce:
    own = transaction.last_consent(library_id)
    return (
        ConsentInForce(standard_wording(), None) if own is None else ConsentInForce(own.wording, own.set_at)
    )
