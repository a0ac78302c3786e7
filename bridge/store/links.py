"""Links, and the librarians' requests to make one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from itertools import chain, count
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from bridge.errors import (
    AlreadyLinked,
    LinkedMeanwhile,
    LinkNotFound,
    LinkRequestNotFound,
    LinkRequestPending,
)
from bridge.models import (
    CardIdentifier,
    CardLink,
    IdentifierKind,
    LinkRequest,
    LinkRequestState,
    LinkState,
    MoveDirection,
    MoveState,
    Representation,
    RepresentativeCheck,
    SuspensionReason,
    Terminal,
)
from bridge.ports import EncryptedValue, ExpiringLink, LinkGroup, RevocationTag, SweptLink
from bridge.rules import CLOCK_DIFFERENCE, LINK_STEPS, LinkStep
from bridge.store.columns import UtcDateTime
from bridge.store.engine import is_unique_violation
from bridge.store.prepared import Prepared
from bridge.store.queries import Queries
from bridge.store.tables import (
    BulkUnlinkingLinkRow,
    CardClaimRow,
    CardLinkRow,
    CardSessionRow,
    CategoryMoveRow,
    ChallengeRow,
    LinkRequestRow,
    SweptGroupRow,
    is_swept_by_group,
    last_answer,
    swept_answer,
    table_under,
)
from jpki.revocation import RevocationAnswer

IS_SWEPT = and_(
    CardLinkRow.state == literal_column(f"'{LinkState.ACTIVE}'"),
    CardLinkRow.kind == literal_column(f"'{IdentifierKind.SERIAL_NUMBER}'"),
)
"""A link under another system's identifier has no certificate that anybody could be asked about.

Written out as in the index ``ix_card_link_swept``: SQLite does not use it for parameters.
"""

NO_TAG: Mapping[str, None] = MappingProxyType(
    dict.fromkeys(("issuer_key_identifier", "revocation_tag", "tagged_at"))
)
"""Values of a link that the next sweep is to tag, or of one that has ended."""

GROUP_COLUMNS = (CardLinkRow.library_id, CardLinkRow.issuer_key_identifier, CardLinkRow.serial_key_id)

SWEPT_COLUMNS = (
    CardLinkRow.link_id,
    CardLinkRow.linked_at,
    CardLinkRow.library_id,
    CardLinkRow.serial_key_id,
    CardLinkRow.serial_nonce,
    CardLinkRow.serial_ciphertext,
)
"""Columns, not mapped rows: there may be a million."""

TAGS_AT_ONCE = 10_000

OPEN_REQUEST_STATES = [state for state in LinkRequestState if state.is_open]


CARD_LINKS, SWEPT_GROUPS = table_under(CardLinkRow), table_under(SweptGroupRow)

LINKS = select(
    CARD_LINKS,
    SWEPT_GROUPS.c.source.label("swept_source"),
    SWEPT_GROUPS.c.as_of.label("swept_as_of"),
).outerjoin(SWEPT_GROUPS, is_swept_by_group(CARD_LINKS.c, SWEPT_GROUPS.c))
"""Links as columns: a mapped row would take three times as long, and every SIP2 message asks for one."""

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


def link_of(row: Row[Any]) -> CardLink:
    """Return the link of a row of ``LINKS``."""
    swept = None if row.swept_source is None else swept_answer(row.swept_source, row.swept_as_of)
    return CardLink(
        link_id=row.link_id,
        library_id=row.library_id,
        patron_id=row.patron_id,
        kind=row.kind,
        state=row.state,
        not_after=row.not_after,
        linked_at=row.linked_at,
        linked_by=row.linked_by,
        last_used_at=row.last_used_at,
        ended_at=row.ended_at,
        ended_reason=row.ended_reason,
        patron_reference=row.patron_reference,
        revocation=last_answer(row, swept),
        suspended_at=row.suspended_at,
        suspended_reason=row.suspended_reason,
        consent_version=row.consent_version,
        consented_at=row.consented_at,
        representation=_representation(row),
        replaces=row.replaces,
        patron_gone_at=row.patron_gone_at,
    )


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


def _representation(row: Row[Any] | LinkRequestRow) -> Representation | None:
    if row.represented_until is None or row.representative_checks is None:
        return None
    return Representation(
        row.represented_until, frozenset(map(RepresentativeCheck, row.representative_checks))
    )


def _representation_columns(representation: Representation | None) -> dict[str, Any]:
    if representation is None:
        return {}
    return {
        "represented_until": representation.until,
        "representative_checks": sorted(check.value for check in representation.checks),
    }


def _serial(key_id: str | None, nonce: bytes | None, ciphertext: bytes | None) -> EncryptedValue | None:
    """Return what an open link keeps of the serial number; an ended one keeps nothing."""
    if key_id is None or nonce is None or ciphertext is None:
        return None
    return EncryptedValue(key_id, nonce, ciphertext)


def _is_in(group: LinkGroup) -> ColumnElement[bool]:
    return and_(*(column == value for column, value in zip(GROUP_COLUMNS, group, strict=True)))


def _is_outside(group: LinkGroup) -> ColumnElement[bool]:
    values = zip(GROUP_COLUMNS, group, strict=True)
    return or_(*(column.is_distinct_from(value) for column, value in values))


def _tag_columns(tag: RevocationTag, at: datetime) -> dict[str, Any]:
    return {
        "issuer_key_identifier": tag.issuer_key_identifier,
        "revocation_tag": tag.value,
        "tagged_at": at,
    }


def _revocation_columns(answer: RevocationAnswer) -> dict[str, Any]:
    return {
        "revocation_status": answer.status,
        "revocation_source": answer.source,
        "revocation_as_of": answer.as_of,
        "revocation_reason": answer.reason,
    }


def _link_request(row: LinkRequestRow) -> LinkRequest:
    return LinkRequest(
        request_id=row.request_id,
        library_id=row.library_id,
        terminal_id=row.terminal_id,
        patron_id=row.patron_id,
        librarian_id=row.librarian_id,
        state=row.state,
        started_at=row.started_at,
        expires_at=row.expires_at,
        problem=row.problem,
        problem_why=row.problem_why,
        attempts_remaining=row.attempts_remaining,
        link_id=row.link_id,
        patron_reference=row.patron_reference,
        consent_version=row.consent_version,
        representation=_representation(row),
        replaces=row.replaces,
        purpose=row.purpose,
    )


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
                **(NO_TAG if tag is None else _tag_columns(tag, link.linked_at)),
                state=link.state,
                not_after=link.not_after,
                linked_at=link.linked_at,
                linked_by=link.linked_by,
                slot=self._free_slot(link.library_id, link.patron_id, references),
                consent_version=link.consent_version,
                consented_at=link.consented_at,
                replaces=link.replaces,
                **_representation_columns(link.representation),
                **({} if link.revocation is None else _revocation_columns(link.revocation)),
            ),
            taken=AlreadyLinked,
            in_the_way={"slot": LinkedMeanwhile},
        )
        for each in (identifier, *also):
            self._add(_claim(link.library_id, link.link_id, each), taken=AlreadyLinked)

    def find_link(self, library_id: str, link_id: str) -> CardLink | None:
        """Return a link, ended or not."""
        row = LINK_BY_ID.first(self._connection, {"of_library": library_id, "of_link": link_id})
        return None if row is None else link_of(row)

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
            encrypted = _serial(row.serial_key_id, row.serial_nonce, row.serial_ciphertext)
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

    def end_link(self, library_id: str, link_id: str, reason: str, at: datetime) -> CardLink:
        """See ``bridge.ports.Transaction``."""
        ended = self._changed(
            update(CardLinkRow)
            .where(
                CardLinkRow.library_id == library_id,
                CardLinkRow.link_id == link_id,
                CardLinkRow.state.in_(LINK_STEPS[LinkStep.END][0]),
            )
            .values(
                state=LinkState.ENDED,
                ended_at=at,
                ended_reason=reason,
                digest=None,
                serial_key_id=None,
                serial_nonce=None,
                serial_ciphertext=None,
                **NO_TAG,
                patron_reference=None,
            )
        )
        link = self.find_link(library_id, link_id)
        if not ended or link is None:
            raise LinkNotFound
        self._session.execute(delete(CardClaimRow).where(CardClaimRow.link_id == link_id))
        return link

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

    def remember_revocation(self, link_ids: Sequence[str], answer: RevocationAnswer) -> None:
        """See ``bridge.ports.Transaction``."""
        self._session.execute(
            update(CardLinkRow)
            .where(
                CardLinkRow.link_id.in_(link_ids),
                or_(
                    CardLinkRow.revocation_as_of.is_(None),
                    CardLinkRow.revocation_as_of < answer.as_of,
                ),
            )
            .values(**_revocation_columns(answer))
            .execution_options(synchronize_session=False)
        )

    def suspend_links(
        self,
        library_id: str,
        link_ids: Sequence[str],
        reason: SuspensionReason,
        at: datetime,
        answer: RevocationAnswer | None = None,
    ) -> frozenset[str]:
        """See ``bridge.ports.Transaction``."""
        suspended = self._session.scalars(
            update(CardLinkRow)
            .where(
                # Not by an index of the library, which SQLite takes for narrower than many ids.
                CardLinkRow.library_id.concat("") == library_id,
                CardLinkRow.link_id.in_(link_ids),
                CardLinkRow.state.in_(LINK_STEPS[LinkStep.SUSPEND][0]),
            )
            .values(
                state=LinkState.SUSPENDED,
                suspended_at=at,
                suspended_reason=reason,
                **({} if answer is None else _revocation_columns(answer)),
            )
            .returning(CardLinkRow.link_id)
            .execution_options(synchronize_session=False)
        )
        return frozenset(suspended)

    def set_patron_gone(self, link_id: str, at: datetime | None) -> None:
        """See ``bridge.ports.Transaction``."""
        self._session.execute(
            update(CardLinkRow)
            .where(CardLinkRow.link_id == link_id, CardLinkRow.state == LinkState.SUSPENDED)
            .values(patron_gone_at=at)
        )

    def restore_link(
        self, library_id: str, link_id: str, reasons: Collection[SuspensionReason]
    ) -> CardLink | None:
        """See ``bridge.ports.Transaction``."""
        restored = self._changed(
            update(CardLinkRow)
            .where(
                CardLinkRow.library_id == library_id,
                CardLinkRow.link_id == link_id,
                CardLinkRow.state.in_(LINK_STEPS[LinkStep.RESTORE][0]),
                CardLinkRow.suspended_reason.in_([reason.value for reason in reasons]),
            )
            .values(
                state=LinkState.ACTIVE,
                suspended_at=None,
                suspended_reason=None,
                patron_gone_at=None,
                **NO_TAG,  # no sweep has looked at it meanwhile
            )
        )
        return self.find_link(library_id, link_id) if restored else None

    def tag_link(self, link_id: str, tag: RevocationTag | None, at: datetime) -> None:
        """See ``bridge.ports.Transaction``."""
        self._session.execute(
            update(CardLinkRow)
            .where(CardLinkRow.link_id == link_id, CardLinkRow.state == LinkState.ACTIVE)
            .values(NO_TAG if tag is None else _tag_columns(tag, at))
            .execution_options(synchronize_session=False)
        )

    def active_link_groups(self) -> Mapping[LinkGroup, int]:
        """See ``bridge.ports.Transaction``."""
        rows = self._session.execute(
            select(*GROUP_COLUMNS, func.count())
            .where(IS_SWEPT)
            .group_by(*GROUP_COLUMNS)
            .order_by(*GROUP_COLUMNS)
        )
        return {LinkGroup(library_id, issuer, key_id): count for library_id, issuer, key_id, count in rows}

    def count_unswept_links(self) -> int:
        """See ``bridge.ports.Transaction``."""
        is_unswept = (
            CardLinkRow.state == LinkState.ACTIVE,
            CardLinkRow.kind != IdentifierKind.SERIAL_NUMBER,
        )
        return self._session.scalar(select(func.count()).where(*is_unswept)) or 0

    def revocation_tags(self, group: LinkGroup) -> set[int]:
        """See ``bridge.ports.Transaction``."""
        # From the driver's own cursor: SQLAlchemy's rows would take three times as long for a million.
        statement = select(CardLinkRow.revocation_tag).where(IS_SWEPT, _is_in(group))
        cursor = self._session.connection().execute(statement).cursor
        tags: set[int] = set()
        while cursor is not None and (rows := cursor.fetchmany(TAGS_AT_ONCE)):
            tags.update(chain.from_iterable(rows))
        return tags

    def active_links_with_tags(self, group: LinkGroup, tags: Sequence[int]) -> Sequence[SweptLink]:
        """See ``bridge.ports.Transaction``."""
        return self._swept_links(
            select(*SWEPT_COLUMNS).where(IS_SWEPT, _is_in(group), CardLinkRow.revocation_tag.in_(tags))
        )

    def active_links_after(
        self, position_at: datetime | None, position: str, limit: int, but_for: Collection[LinkGroup] = ()
    ) -> Sequence[SweptLink]:
        """See ``bridge.ports.Transaction``.

        As they were made is how they lie on the disk, so that a batch touches few pages.
        """
        after: ColumnElement[bool] = true()
        if position_at is not None:
            last = tuple_(literal(position_at, CardLinkRow.linked_at.type), literal(position))
            after = tuple_(CardLinkRow.linked_at, CardLinkRow.link_id) > last
        return self._swept_links(
            select(*SWEPT_COLUMNS)
            .where(after, IS_SWEPT, *map(_is_outside, but_for))
            .order_by(CardLinkRow.linked_at, CardLinkRow.link_id)
            .limit(limit)
        )

    def _swept_links(self, statement: Select[*tuple[Any, ...]]) -> Sequence[SweptLink]:
        return [
            SweptLink(link_id, linked_at, library_id, _serial(key_id, nonce, ciphertext))
            for link_id, linked_at, library_id, key_id, nonce, ciphertext in self._session.execute(statement)
        ]

    def expiring_links(self, after: datetime, until: datetime) -> Sequence[ExpiringLink]:
        """See ``bridge.ports.Transaction``."""
        rows = self._session.execute(
            select(CardLinkRow.link_id, CardLinkRow.library_id, CardLinkRow.not_after)
            .where(
                CardLinkRow.ended_at.is_(None),
                CardLinkRow.not_after > after,
                CardLinkRow.not_after <= until,
            )
            .order_by(CardLinkRow.not_after, CardLinkRow.link_id)
        )
        return [ExpiringLink(*row) for row in rows]


class LinkHousekeepingQueries(Queries):
    """Queries on links, requests and sessions that are over: what ends by itself, what is deleted."""

    def outlived_links(
        self,
        library_id: str,
        *,
        now: datetime,
        linked_until: datetime | None,
        today: date,
        position: str,
        limit: int,
    ) -> Sequence[CardLink]:
        """See ``bridge.ports.Transaction``."""
        outlived: list[ColumnElement[bool]] = [
            CardLinkRow.not_after < now,
            CardLinkRow.represented_until <= today,
        ]
        if linked_until is not None:
            outlived.append(CardLinkRow.linked_at <= linked_until)
        rows = self._session.execute(
            LINKS.where(
                CardLinkRow.library_id == library_id,
                CardLinkRow.ended_at.is_(None),
                or_(*outlived),
                CardLinkRow.link_id > position,
            )
            .order_by(CardLinkRow.link_id)
            .limit(limit)
        )
        return [link_of(row) for row in rows]

    def deletable_links(
        self, library_id: str, ended_until: datetime, position: str, limit: int
    ) -> Sequence[CardLink]:
        """See ``bridge.ports.Transaction``."""
        rows = self._session.execute(
            LINKS.where(
                CardLinkRow.library_id == library_id,
                CardLinkRow.ended_at <= ended_until,
                not_(_is_the_way_back()),
                CardLinkRow.link_id > position,
            )
            .order_by(CardLinkRow.link_id)
            .limit(limit)
        )
        return [link_of(row) for row in rows]

    def delete_link(self, link_id: str) -> bool:
        """See ``bridge.ports.Transaction``."""
        is_ended = select(CardLinkRow.link_id).where(
            CardLinkRow.link_id == link_id, CardLinkRow.state.in_(LINK_STEPS[LinkStep.DELETE][0])
        )
        if self._session.scalar(is_ended) is None:
            return False
        requests = select(LinkRequestRow.request_id).where(LinkRequestRow.link_id == link_id)
        self._changed(delete(ChallengeRow).where(ChallengeRow.link_request_id.in_(requests)))
        for row in (LinkRequestRow, CardSessionRow, CategoryMoveRow, BulkUnlinkingLinkRow, CardLinkRow):
            self._changed(delete(row).where(row.link_id == link_id))
        return True

    def delete_link_requests(self, expired_until: datetime, limit: int) -> int:
        """See ``bridge.ports.Transaction``."""
        requests = self._session.scalars(
            select(LinkRequestRow.request_id).where(LinkRequestRow.expires_at <= expired_until).limit(limit)
        ).all()
        self._changed(delete(ChallengeRow).where(ChallengeRow.link_request_id.in_(requests)))
        return self._changed(delete(LinkRequestRow).where(LinkRequestRow.request_id.in_(requests)))

    def delete_sessions(self, closed_until: datetime, limit: int) -> int:
        """See ``bridge.ports.Transaction``."""
        sessions = (
            select(CardSessionRow.session_id).where(CardSessionRow.closed_at <= closed_until).limit(limit)
        ).scalar_subquery()
        return self._changed(delete(CardSessionRow).where(CardSessionRow.session_id.in_(sessions)))

    def count_over(self, before: datetime) -> tuple[int, int]:
        """See ``bridge.ports.Transaction``."""
        requests = select(func.count()).select_from(LinkRequestRow).where(LinkRequestRow.expires_at <= before)
        sessions = select(func.count()).select_from(CardSessionRow).where(CardSessionRow.closed_at <= before)
        return self._session.scalar(requests) or 0, self._session.scalar(sessions) or 0


def _is_the_way_back() -> ColumnElement[bool]:
    """The link by which a patron came into the category that it is in, or whose move is still to be made."""
    later = aliased(CategoryMoveRow)
    is_the_latest = not_(
        exists().where(
            later.library_id == CategoryMoveRow.library_id,
            later.patron_id == CategoryMoveRow.patron_id,
            later.state != MoveState.SUPERSEDED,
            later.sequence > CategoryMoveRow.sequence,
        )
    )
    return exists().where(
        CategoryMoveRow.link_id == CardLinkRow.link_id,
        or_(
            CategoryMoveRow.direction == MoveDirection.LINKED,
            CategoryMoveRow.state.in_([state for state in MoveState if state.is_open]),
        ),
        CategoryMoveRow.state != MoveState.SUPERSEDED,
        is_the_latest,
    )


class LinkRequestQueries(Queries):
    """Queries on requests for a link."""

    def add_link_request(self, request: LinkRequest) -> None:
        """See ``bridge.ports.Transaction``."""
        self._session.execute(
            update(LinkRequestRow)
            .where(
                LinkRequestRow.library_id == request.library_id,
                LinkRequestRow.terminal_id == request.terminal_id,
                LinkRequestRow.state.in_(OPEN_REQUEST_STATES),
                or_(
                    LinkRequestRow.expires_at <= request.started_at,
                    LinkRequestRow.started_at > request.started_at + CLOCK_DIFFERENCE,
                ),
            )
            .values(state=LinkRequestState.EXPIRED, patron_reference=None)
        )
        self._add(
            LinkRequestRow(
                request_id=request.request_id,
                library_id=request.library_id,
                terminal_id=request.terminal_id,
                patron_id=request.patron_id,
                patron_reference=request.patron_reference,
                librarian_id=request.librarian_id,
                state=request.state,
                started_at=request.started_at,
                expires_at=request.expires_at,
                problem=request.problem,
                problem_why=request.problem_why,
                attempts_remaining=request.attempts_remaining,
                link_id=request.link_id,
                consent_version=request.consent_version,
                replaces=request.replaces,
                purpose=request.purpose,
                **_representation_columns(request.representation),
            ),
            taken=LinkRequestPending,
        )

    def find_link_request(self, library_id: str, request_id: str) -> LinkRequest | None:
        """Return a request as it was kept: one that has expired may still say that it waits."""
        row = self._session.scalar(
            select(LinkRequestRow).where(
                LinkRequestRow.library_id == library_id, LinkRequestRow.request_id == request_id
            )
        )
        return None if row is None else _link_request(row)

    def find_open_link_request(self, terminal: Terminal, now: datetime) -> LinkRequest | None:
        """Return the request that waits at a terminal, if it has not expired."""
        row = self._session.scalar(
            select(LinkRequestRow).where(
                LinkRequestRow.library_id == terminal.library_id,
                LinkRequestRow.terminal_id == terminal.terminal_id,
                LinkRequestRow.state.in_(OPEN_REQUEST_STATES),
                LinkRequestRow.expires_at > now,
                LinkRequestRow.started_at <= now + CLOCK_DIFFERENCE,
            )
        )
        return None if row is None else _link_request(row)

    def update_link_request(self, request: LinkRequest) -> None:
        """See ``bridge.ports.Transaction``."""
        met = self._changed(
            update(LinkRequestRow)
            .where(
                LinkRequestRow.request_id == request.request_id,
                LinkRequestRow.state.in_(OPEN_REQUEST_STATES),
            )
            .values(
                state=request.state,
                problem=request.problem,
                problem_why=request.problem_why,
                attempts_remaining=request.attempts_remaining,
                link_id=request.link_id,
                patron_reference=request.patron_reference if request.state.is_open else None,
            )
        )
        if met == 0:
            raise LinkRequestNotFound
