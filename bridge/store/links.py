"""Links: how they are made, found by card or by patron, and used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from itertools import chain, count

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, or_, select, true, update
from sqlalchemy.exc import IntegrityError

from bridge.errors import AlreadyLinked, LinkedMeanwhile
from bridge.models import CardIdentifier, CardLink, IdentifierKind, LinkState
from bridge.ports import EncryptedValue, RevocationTag
from bridge.store.columns import UtcDateTime
from bridge.store.engine import is_unique_violation
from bridge.store.link_columns import (
    CARD_LINKS,
    LINKS,
    NO_TAG,
    link_of,
    representation_columns,
    revocation_columns,
    serial_of,
    tag_columns,
)
from bridge.store.prepared import Prepared
from bridge.store.queries import Queries
from bridge.store.tables import CardClaimRow, CardLinkRow
from jpki.revocation import RevocationAnswer

LINK_BY_ID = Prepared(
    LINKS.where(
        CARD_LINKS.c.library_id == bindparam("of_library"), CARD_LINKS.c.link_id == bindparam("of_link")
    )
)

_IS_OLDER = or_(
    CARD_LINKS.c.revocation_as_of.is_(None),
    CARD_LINKS.c.revocation_as_of < bindparam("answer_as_of", type_=UtcDateTime),
)

USE_LINK = Prepared(
    update(CARD_LINKS)
    .where(CARD_LINKS.c.link_id == bindparam("of_link"), CARD_LINKS.c.state == LinkState.ACTIVE)
    .values(
        last_used_at=bindparam("at"),
        **{
            column.key: case((_IS_OLDER, bindparam(name, type_=column.type)), else_=column)
            for name, column in (
                ("answer_status", CARD_LINKS.c.revocation_status),
                ("answer_source", CARD_LINKS.c.revocation_source),
                ("answer_as_of", CARD_LINKS.c.revocation_as_of),
                ("answer_reason", CARD_LINKS.c.revocation_reason),
            )
        },
    )
)


@cache
def _open_link_under_any(number: int) -> Prepared:
    """Return the look-up of an open link under any of *number* identifiers."""
    of_card = LINKS.where(
        CARD_LINKS.c.library_id == bindparam("of_library"),
        CARD_LINKS.c.ended_at.is_(None),
        or_(
            *(
                and_(
                    CARD_LINKS.c.kind == bindparam(f"kind_{each}"),
                    CARD_LINKS.c.key_id == bindparam(f"key_id_{each}"),
                    CARD_LINKS.c.digest == bindparam(f"digest_{each}"),
                )
                for each in range(number)
            )
        ),
    )
    return Prepared(of_card.limit(1))


def _names(patron_id: int | None, patron_references: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    """Yield the condition for each name of a patron, the id last, to which a link may be changing.

    One after the other: for an "or" SQLite goes through all links of the library.
    """
    for reference in patron_references:
        yield CardLinkRow.patron_reference == reference
    if patron_id is not None:
        yield CardLinkRow.patron_id == patron_id


def _in_order(links: Iterable[CardLink]) -> Sequence[CardLink]:
    """Return links, the oldest first. Not in SQL: for the order SQLite goes through all of the library."""
    return sorted(links, key=lambda link: (link.linked_at, link.link_id))


def _claim(library_id: str, link_id: str, identifier: CardIdentifier) -> CardClaimRow:
    return CardClaimRow(
        key_id=identifier.key_id,
        library_id=library_id,
        kind=identifier.kind,
        digest=identifier.digest,
        link_id=link_id,
    )


def link_by_id(connection: Connection, library_id: str, link_id: str) -> CardLink | None:
    """Return a link, ended or not."""
    row = LINK_BY_ID.first(connection, {"of_library": library_id, "of_link": link_id})
    return None if row is None else link_of(row)


class LinkQueries(Queries):
    """Queries on links."""

    def add_link(
        self,
        link: CardLink,
        identifier: CardIdentifier,
        serial: EncryptedValue,
        also: Sequence[CardIdentifier] = (),
        tag: RevocationTag | None = None,
    ) -> None:
        """See ``bridge.ports.Transaction``."""
        references = [] if link.patron_reference is None else [link.patron_reference]
        self._add(
            CardLinkRow(
                link_id=link.link_id,
                library_id=link.library_id,
                patron_id=link.patron_id,
                patron_reference=link.patron_reference,
                kind=identifier.kind,
                key_id=identifier.key_id,
                digest=identifier.digest,
                serial_key_id=serial.key_id,
                serial_nonce=serial.nonce,
                serial_ciphertext=serial.ciphertext,
                **(NO_TAG if tag is None else tag_columns(tag, link.linked_at)),
                state=link.state,
                not_after=link.not_after,
                linked_at=link.linked_at,
                linked_by=link.linked_by,
                slot=self._free_slot(link.library_id, link.patron_id, references),
                consent_version=link.consent_version,
                consented_at=link.consented_at,
                replaces=link.replaces,
                **representation_columns(link.representation),
                **({} if link.revocation is None else revocation_columns(link.revocation)),
            ),
            taken=AlreadyLinked,
            in_the_way={"slot": LinkedMeanwhile},
        )
        for each in (identifier, *also):
            self._add(_claim(link.library_id, link.link_id, each), taken=AlreadyLinked)

    def find_link(self, library_id: str, link_id: str) -> CardLink | None:
        """Return a link, ended or not."""
        return link_by_id(self._connection, library_id, link_id)

    def find_open_link(self, library_id: str, identifiers: Sequence[CardIdentifier]) -> CardLink | None:
        """See ``bridge.ports.Transaction``."""
        parameters: dict[str, object] = {"of_library": library_id}
        for number, each in enumerate(identifiers):
            parameters |= {f"kind_{number}": each.kind, f"key_id_{number}": each.key_id}
            parameters[f"digest_{number}"] = each.digest
        row = _open_link_under_any(len(identifiers)).first(self._connection, parameters)
        return None if row is None else link_of(row)

    def open_links_of_patron(
        self,
        library_id: str,
        patron_id: int | None,
        patron_references: Sequence[str] = (),
        *,
        to_add: bool = False,
    ) -> Sequence[CardLink]:
        """Return the links of a patron that have not ended, the oldest first."""
        if to_add:
            # For the library, not the patron: one patron has several names, an id and references.
            self._wait_for_turn("links", library_id)
        found = (self._open_links(library_id, name) for name in _names(patron_id, patron_references))
        return _in_order({link.link_id: link for link in chain.from_iterable(found)}.values())

    def links_of_library(
        self, library_id: str, *, with_ended: bool, position: str, limit: int
    ) -> Sequence[CardLink]:
        """See ``bridge.ports.Transaction``."""
        rows = self._session.execute(
            LINKS.where(
                CardLinkRow.library_id == library_id,
                CardLinkRow.link_id > position,
                true() if with_ended else CardLinkRow.ended_at.is_(None),
            )
            .order_by(CardLinkRow.link_id)
            .limit(limit)
        )
        return [link_of(row) for row in rows]

    def links_with_identifiers(
        self, library_id: str, kind: IdentifierKind, position: str, limit: int
    ) -> Sequence[tuple[CardLink, EncryptedValue]]:
        """See ``bridge.ports.Transaction``."""
        rows = self._session.execute(
            LINKS.where(
                CardLinkRow.library_id == library_id,
                CardLinkRow.kind == kind,
                CardLinkRow.ended_at.is_(None),
                CardLinkRow.link_id > position,
            )
            .order_by(CardLinkRow.link_id)
            .limit(limit)
        )
        found = []
        for row in rows:
            encrypted = serial_of(row.serial_key_id, row.serial_nonce, row.serial_ciphertext)
            if encrypted is not None:  # every open link has one
                found.append((link_of(row), encrypted))
        return found

    def links_by_reference(self, library_id: str) -> Sequence[CardLink]:
        """See ``bridge.ports.Transaction``."""
        return _in_order(self._open_links(library_id, CardLinkRow.patron_reference.is_not(None)))

    def set_patron_of_link(self, link_id: str, patron_id: int) -> bool:
        """See ``bridge.ports.Transaction``."""
        library_id = self._session.scalar(
            select(CardLinkRow.library_id).where(
                CardLinkRow.link_id == link_id, CardLinkRow.patron_reference.is_not(None)
            )
        )
        if library_id is None:
            return False
        slot = self._free_slot(library_id, patron_id, [])
        statement = (
            update(CardLinkRow)
            .where(CardLinkRow.link_id == link_id, CardLinkRow.patron_reference.is_not(None))
            .values(patron_id=patron_id, patron_reference=None, slot=slot)
        )
        try:
            return self._changed(statement) == 1
        except IntegrityError as error:
            if not is_unique_violation(error):
                raise
            raise LinkedMeanwhile from None

    def use_link(self, link_id: str, at: datetime, answer: RevocationAnswer) -> bool:
        """See ``bridge.ports.Transaction``."""
        parameters = {
            "of_link": link_id,
            "at": at,
            "answer_status": answer.status,
            "answer_source": answer.source,
            "answer_as_of": answer.as_of,
            "answer_reason": answer.reason,
        }
        return USE_LINK.change(self._connection, parameters) == 1

    def _free_slot(self, library_id: str, patron_id: int | None, patron_references: Sequence[str]) -> int:
        """Return the first number that no open link of the patron has."""
        slots = select(CardLinkRow.slot).where(
            CardLinkRow.library_id == library_id, CardLinkRow.ended_at.is_(None)
        )
        names = _names(patron_id, patron_references)
        taken = {slot for name in names for slot in self._session.scalars(slots.where(name))}
        return next(slot for slot in count(1) if slot not in taken)

    def _open_links(self, library_id: str, condition: ColumnElement[bool]) -> Sequence[CardLink]:
        rows = self._session.execute(
            LINKS.where(CardLinkRow.library_id == library_id, CardLinkRow.ended_at.is_(None), condition)
        )
        return [link_of(row) for row in rows]
