"""What is kept under which master key, the keys' check values, and the way from one key to another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, literal, or_, select, true, tuple_, update

from bridge.errors import NameTaken
from bridge.models import CardIdentifier, LinkRequestState
from bridge.ports import EncryptedValue, KeyedLink, KeyedRecord
from bridge.store.link_columns import NO_TAG
from bridge.store.link_requests import OPEN_REQUEST_STATES
from bridge.store.queries import Queries
from bridge.store.tables import (
    AuditHeadRow,
    CardClaimRow,
    CardLinkRow,
    CardSessionRow,
    KeyCheckRow,
    LibrarianRow,
    LinkRequestRow,
)

LINK_IS_OPEN = CardLinkRow.ended_at.is_(None)


class KeyQueries(Queries):
    """Queries on master keys and on what was made with them."""

    def key_checks(self) -> Mapping[str, str]:
        """See ``bridge.ports.Transaction``."""
        rows = self._session.scalars(select(KeyCheckRow).where(KeyCheckRow.retired_at.is_(None)))
        return {row.key_id: row.check_value for row in rows}

    def add_key_check(self, key_id: str, check_value: str) -> None:
        """See ``bridge.ports.Transaction``."""
        self._add(KeyCheckRow(key_id=key_id, check_value=check_value), taken=NameTaken)

    def retired_keys(self) -> frozenset[str]:
        """See ``bridge.ports.Transaction``."""
        retired = select(KeyCheckRow.key_id).where(KeyCheckRow.retired_at.is_not(None))
        return frozenset(self._session.scalars(retired))

    def retire_key(self, key_id: str, at: datetime) -> bool:
        """See ``bridge.ports.Transaction``."""
        met = self._changed(update(KeyCheckRow).where(KeyCheckRow.key_id == key_id).values(retired_at=at))
        self._session.execute(delete(CardClaimRow).where(CardClaimRow.key_id == key_id))
        return met == 1

    def key_uses(self) -> Mapping[str, Mapping[KeyedRecord, int]]:
        """See ``bridge.ports.Transaction``."""
        count = func.count()
        by_two_keys = self._session.execute(
            select(CardLinkRow.key_id, CardLinkRow.serial_key_id, count)
            .where(LINK_IS_OPEN)
            .group_by(CardLinkRow.key_id, CardLinkRow.serial_key_id)
        )
        references = select(CardLinkRow.patron_reference).where(
            LINK_IS_OPEN, CardLinkRow.patron_reference.is_not(None)
        )
        requests = select(LinkRequestRow.patron_reference).where(
            LinkRequestRow.state.in_(OPEN_REQUEST_STATES), LinkRequestRow.patron_reference.is_not(None)
        )
        sessions = select(CardSessionRow.token_key_id, CardSessionRow.cardnumber_key_id).where(
            CardSessionRow.closed_at.is_(None)
        )
        seals = select(AuditHeadRow.seal_key_id).where(AuditHeadRow.seal_key_id.is_not(None))
        uses: Counter[tuple[Any, KeyedRecord]] = Counter()
        for digest_key, serial_key, links in by_two_keys:
            for key_id in {digest_key, serial_key} - {None}:
                uses[key_id, KeyedRecord.LINK] += links
        uses.update((each, KeyedRecord.LIBRARY_CARD) for each in self._key_ids(references))
        uses.update((each, KeyedRecord.LINK_REQUEST) for each in self._key_ids(requests))
        for token_key, cardnumber_key in self._session.execute(sessions):
            uses.update((each, KeyedRecord.SESSION) for each in {token_key, cardnumber_key} - {None})
        second_factors = select(LibrarianRow.second_factor_key_id).where(
            LibrarianRow.second_factor_key_id.is_not(None)
        )
        uses.update(
            (each, KeyedRecord.SECOND_FACTOR) for each in self._session.scalars(second_factors) if each
        )
        uses.update((each, KeyedRecord.AUDIT_SEAL) for each in self._session.scalars(seals) if each)
        by_key: dict[str, dict[KeyedRecord, int]] = {key_id: {} for key_id, _ in sorted(uses)}
        for record in KeyedRecord:
            for key_id, by_record in by_key.items():
                if uses[key_id, record]:
                    by_record[record] = uses[key_id, record]
        return by_key

    def count_links_to_rotate(self, key_id: str) -> int:
        """See ``bridge.ports.Transaction``."""
        return self._session.scalar(select(func.count()).where(LINK_IS_OPEN, _not_under(key_id))) or 0

    def links_to_rotate(
        self, key_id: str, after: tuple[datetime, str] | None, limit: int
    ) -> Sequence[KeyedLink]:
        """See ``bridge.ports.Transaction``.

        A link that somebody else is changing at this moment is left out: who waited for it while holding
        others could be waited for.
        """
        behind: ColumnElement[bool] = true()
        if after is not None:
            last = tuple_(literal(after[0], CardLinkRow.linked_at.type), literal(after[1]))
            behind = tuple_(CardLinkRow.linked_at, CardLinkRow.link_id) > last
        rows = self._session.scalars(
            select(CardLinkRow)
            .where(LINK_IS_OPEN, _not_under(key_id), behind)
            .order_by(CardLinkRow.linked_at, CardLinkRow.link_id)
            .limit(limit)
            .with_for_update(of=CardLinkRow, skip_locked=True)
        )
        return [_keyed_link(row) for row in rows]

    def rotate_link(
        self,
        link: KeyedLink,
        identifier: CardIdentifier,
        serial: EncryptedValue,
        patron_reference: str | None,
    ) -> bool:
        """See ``bridge.ports.Transaction``."""
        place = (identifier.key_id, link.library_id, identifier.kind, identifier.digest)
        claim = self._session.get(CardClaimRow, place)
        if claim is not None and claim.link_id != link.link_id:
            return False
        if claim is None:
            names = ("key_id", "library_id", "kind", "digest")
            self._add(CardClaimRow(**dict(zip(names, place, strict=True)), link_id=link.link_id))
        self._session.execute(
            update(CardLinkRow)
            .where(CardLinkRow.link_id == link.link_id)
            .values(
                key_id=identifier.key_id,
                digest=identifier.digest,
                serial_key_id=serial.key_id,
                serial_nonce=serial.nonce,
                serial_ciphertext=serial.ciphertext,
                patron_reference=patron_reference,
                **NO_TAG,
            )
        )
        return True

    def expire_link_requests(self, now: datetime) -> None:
        """See ``bridge.ports.Transaction``."""
        self._session.execute(
            update(LinkRequestRow)
            .where(LinkRequestRow.state.in_(OPEN_REQUEST_STATES), LinkRequestRow.expires_at <= now)
            .values(state=LinkRequestState.EXPIRED, patron_reference=None)
        )

    def _key_ids(self, references: Select[Any]) -> Iterable[str]:
        """Yield the key of each reference to a patron; see ``KeyRing.patron_references``."""
        for reference in self._session.scalars(references.execution_options(yield_per=1000)):
            yield reference.partition(":")[0]


def _not_under(key_id: str) -> ColumnElement[bool]:
    """Return the condition for links of which anything is under another key."""
    return or_(
        CardLinkRow.key_id != key_id,
        CardLinkRow.serial_key_id != key_id,
        ~CardLinkRow.patron_reference.startswith(f"{key_id}:", autoescape=True),
    )


def _keyed_link(row: CardLinkRow) -> KeyedLink:
    serial = None
    if row.serial_key_id is not None and row.serial_nonce is not None and row.serial_ciphertext is not None:
        serial = EncryptedValue(row.serial_key_id, row.serial_nonce, row.serial_ciphertext)
    return KeyedLink(
        row.link_id,
        row.linked_at,
        row.library_id,
        CardIdentifier(row.kind, row.key_id, row.digest or ""),
        serial,
        row.patron_reference,
    )
