"""Links as a sweep reads them: by the million, as bare columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    update,
)

from bridge.models import IdentifierKind, LinkState
from bridge.ports import ExpiringLink, LinkGroup, RevocationTag, SweptLink
from bridge.store.link_columns import NO_TAG, revocation_columns, serial_of, tag_columns
from bridge.store.queries import Queries
from bridge.store.tables import CardLinkRow
from jpki.revocation import RevocationAnswer

IS_SWEPT = and_(
    CardLinkRow.state == literal_column(f"'{LinkState.ACTIVE}'"),
    CardLinkRow.kind == literal_column(f"'{IdentifierKind.SERIAL_NUMBER}'"),
)
"""A link under another system's identifier has no certificate that anybody could be asked about.

Written out as in the index ``ix_card_link_swept``: SQLite does not use it for parameters.
"""

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


def _is_in(group: LinkGroup) -> ColumnElement[bool]:
    return and_(*(column == value for column, value in zip(GROUP_COLUMNS, group, strict=True)))


def _is_outside(group: LinkGroup) -> ColumnElement[bool]:
    values = zip(GROUP_COLUMNS, group, strict=True)
    return or_(*(column.is_distinct_from(value) for column, value in values))


class SweptLinkQueries(Queries):
    """Queries on the links that a sweep asks about."""

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
            .values(**revocation_columns(answer))
            .execution_options(synchronize_session=False)
        )

    def tag_link(self, link_id: str, tag: RevocationTag | None, at: datetime) -> None:
        """See ``bridge.ports.Transaction``."""
        self._session.execute(
            update(CardLinkRow)
            .where(CardLinkRow.link_id == link_id, CardLinkRow.state == LinkState.ACTIVE)
            .values(NO_TAG if tag is None else tag_columns(tag, at))
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

    def _swept_links(self, statement: Select[*tuple[Any, ...]]) -> Sequence[SweptLink]:
        return [
            SweptLink(link_id, linked_at, library_id, serial_of(key_id, nonce, ciphertext))
            for link_id, linked_at, library_id, key_id, nonce, ciphertext in self._session.execute(statement)
        ]
