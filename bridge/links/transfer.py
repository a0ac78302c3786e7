"""Links of another system brought in, and links under its identifiers given out again.

Such a link says that a patron was linked there and by what; no card can be recognised by it here. It
becomes a link by serial number when the patron lays the card at the counter
(``bridge.registration.RegistrationService.complete``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from bridge.environment import Environment, Library
from bridge.errors import Denied, IdentifierKindNotUsed, NoSuchPatron
from bridge.keys.ring import KeyUse
from bridge.links.file import (
    IDENTIFIER,
    LIBRARY_CARD,
    PATRON_ID,
    VALID_UNTIL,
    LinkRow,
    RefusedRow,
    RowProblem,
    decode_link_file,
    read_link_file,
)
from bridge.links.identifiers import IMPORTED_KINDS, IdentifierForms
from bridge.links.records import LINKS_AT_ONCE
from bridge.models import Actor, AuditTag, CardLink, IdentifierKind, LinkState
from bridge.ports import PatronRecord, Transaction
from bridge.rules import Decision, judge_number_of_links

ROWS_IN_A_TRANSACTION = 200
"""A longer one would keep the counters and the machines waiting for their turn to write."""


@dataclass(frozen=True)
class ImportReport:
    """What became of a file: how many rows are new, how many links were there already, what was refused.

    *written* says whether the new ones are links now: never where a row was refused, nor in a dry run.
    """

    new: int
    known: int
    refused: Sequence[RefusedRow]
    written: bool


@dataclass(frozen=True)
class _Found:
    row: LinkRow
    patron: PatronRecord
    references: tuple[str, ...]

    def has(self, link: CardLink) -> bool:
        """Whether a link is this patron's."""
        if link.patron_id is not None:
            return link.patron_id == self.patron.patron_id
        return link.patron_reference in self.references


class LinkTransferService:
    """Import and export, of one library at a time."""

    def __init__(self, environment: Environment, forms: IdentifierForms) -> None:
        self._environment = environment
        self._forms = forms

    def import_links(
        self,
        library_id: str,
        data: bytes,
        kind: IdentifierKind,
        actor: Actor,
        *,
        usual_day: date | None = None,
        dry_run: bool,
        progress: Callable[[int], None] = lambda _rows: None,
    ) -> ImportReport:
        """Read a file (``bridge.links.file``), ask for each patron, and write the links if all rows are good.

        A file that was cut off in the middle, or is read twice, is no harm: what is there is known.
        *progress* is told how many rows have been looked up. Raises ``LibraryNotFound``,
        ``IdentifierKindNotUsed``, ``LinkFileMalformed``, ``KohaNotReachable``, and ``Denied`` where a patron
        got a link from somebody else meanwhile, and has no room for one more: what is written by then
        stays, and is known the next time.
        """
        library = self._environment.library(library_id)
        self._require_used(kind)
        today = library.today(self._environment.clock())
        new: list[_Found] = []
        known, refused = 0, []
        rows = read_link_file(decode_link_file(data), kind, self._forms, today=today, usual_day=usual_day)
        for number, row in enumerate(rows, start=1):
            judged = self._judge(library, row, new) if isinstance(row, LinkRow) else row
            match judged:
                case _Found():
                    new.append(judged)
                case RefusedRow():
                    refused.append(judged)
                case None:
                    known += 1
            progress(number)
        may_write = not dry_run and not refused
        if may_write:
            self._write_all(library, new, actor)
        return ImportReport(len(new), known, refused, may_write)

    def export_links(
        self, library_id: str, kind: IdentifierKind, actor: Actor
    ) -> Iterator[Mapping[str, str]]:
        """Yield the open links of a kind as rows of such a file.

        Serial numbers of certificates are not given out. Raises ``LibraryNotFound``,
        ``IdentifierKindNotUsed``.
        """
        library = self._environment.library(library_id)
        self._require_used(kind)
        with self._environment.store.transaction() as transaction:
            transaction.add_audit_event(
                self._environment.event(
                    AuditTag.LINKS_EXPORTED, library_id, actor, library_id, kind=kind.value
                )
            )
        return self._rows(library, kind)

    def _rows(self, library: Library, kind: IdentifierKind) -> Iterator[Mapping[str, str]]:
        position = ""
        while True:
            with self._environment.store.transaction() as transaction:
                links = transaction.links_with_identifiers(library.library_id, kind, position, LINKS_AT_ONCE)
            for link, encrypted in links:
                identifier = self._environment.keys.decrypt(
                    KeyUse.SERIAL_ENCRYPTION, link.library_id, link.link_id, encrypted
                )
                yield {
                    PATRON_ID: "" if link.patron_id is None else str(link.patron_id),
                    LIBRARY_CARD: ""
                    if link.patron_reference is None
                    else self._environment.keys.cardnumber_of(link.library_id, link.patron_reference),
                    IDENTIFIER: identifier.decode(),
                    VALID_UNTIL: library.today(link.not_after).isoformat(),
                }
                position = link.link_id
            if len(links) < LINKS_AT_ONCE:
                return

    def _require_used(self, kind: IdentifierKind) -> None:
        if kind not in IMPORTED_KINDS or not self._forms.is_stated(kind):
            raise IdentifierKindNotUsed(kind.value)

    def _judge(self, library: Library, row: LinkRow, before: Sequence[_Found]) -> _Found | RefusedRow | None:
        """Return whose row it is, why it is refused, or None where its link is there already.

        *before* are the good rows before it, which become links, too.
        """
        found = self._look_up(library, row)
        if isinstance(found, RefusedRow):
            return found
        with self._environment.store.transaction() as transaction:
            linked = self._is_linked(transaction, library, found)
            room = self._judge_room(transaction, library, found, others=before)
        if linked:
            return None
        if linked is not None:
            return RefusedRow(row.line, RowProblem.LINKED_TO_ANOTHER)
        return found if room.allowed else RefusedRow(row.line, RowProblem.TOO_MANY_LINKS)

    def _look_up(self, library: Library, row: LinkRow) -> _Found | RefusedRow:
        try:
            if row.library_card is None and row.patron_id is not None:
                patron: PatronRecord | None = library.patrons.get(row.patron_id)
            else:
                patron = library.patrons.find_by_cardnumber(row.library_card or "")
        except NoSuchPatron:
            patron = None
        if patron is None:
            return RefusedRow(row.line, RowProblem.PATRON_NOT_FOUND)
        if row.patron_id is not None and row.patron_id != patron.patron_id:
            return RefusedRow(row.line, RowProblem.TWO_PATRONS)
        references = self._environment.keys.patron_references(library.library_id, patron.cardnumber)
        return _Found(row, patron, references)

    def _is_linked(self, transaction: Transaction, library: Library, found: _Found) -> bool | None:
        """Say whether the identifier is linked to this patron or to another; None where to nobody."""
        identifiers = self._environment.keys.foreign_identifiers(library.library_id, found.row.identifier)
        link = transaction.find_open_link(library.library_id, identifiers)
        return None if link is None else found.has(link)

    def _judge_room(
        self, transaction: Transaction, library: Library, found: _Found, *, others: Sequence[_Found] = ()
    ) -> Decision:
        """Decide whether the patron may get one more link, after those of *others* that are the same's."""
        patron = found.patron
        links = transaction.open_links_of_patron(library.library_id, patron.patron_id, found.references)
        before = sum(other.references == found.references for other in others)
        return judge_number_of_links(len(links) + before, library.links)

    def _write_all(self, library: Library, new: Sequence[_Found], actor: Actor) -> None:
        for start in range(0, len(new), ROWS_IN_A_TRANSACTION):
            with self._environment.store.transaction() as transaction:
                for found in new[start : start + ROWS_IN_A_TRANSACTION]:
                    self._write(transaction, library, found, actor)

    def _write(self, transaction: Transaction, library: Library, found: _Found, actor: Actor) -> None:
        # Somebody else may have brought the same file in since it was looked at, or linked a card.
        if self._is_linked(transaction, library, found):
            return
        room = self._judge_room(transaction, library, found)
        if room.denial is not None:
            raise Denied(room.denial)
        patron, identifier = found.patron, found.row.identifier
        link = CardLink(
            link_id=self._environment.new_id(),
            library_id=library.library_id,
            patron_id=patron.patron_id,
            kind=identifier.kind,
            state=LinkState.ACTIVE,
            not_after=_last_moment(found.row.valid_until, library),
            linked_at=self._environment.clock(),
            linked_by=actor.actor_id,
            patron_reference=found.references[0] if patron.patron_id is None else None,
        )
        identifiers = self._environment.keys.foreign_identifiers(library.library_id, identifier)
        encrypted = self._environment.keys.encrypt(
            KeyUse.SERIAL_ENCRYPTION, link.library_id, link.link_id, identifier.value.encode()
        )
        transaction.add_link(link, identifiers[0], encrypted, identifiers[1:])
        transaction.add_audit_event(
            self._environment.event(
                AuditTag.LINK_IMPORTED, link.library_id, actor, link.link_id, kind=identifier.kind.value
            )
        )


def _last_moment(day: date, library: Library) -> datetime:
    """Return the last second of a day in the library."""
    next_midnight = datetime.combine(day + timedelta(days=1), time.min, library.time_zone)
    return next_midnight - timedelta(seconds=1)
