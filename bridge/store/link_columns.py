"""Links as columns of the database, and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row, select

from bridge.models import CardLink, Representation, RepresentativeCheck
from bridge.ports import EncryptedValue, RevocationTag
from bridge.store.tables import (
    CardLinkRow,
    LinkRequestRow,
    SweptGroupRow,
    is_swept_by_group,
    last_answer,
    swept_answer,
    table_under,
)
from jpki.revocation import RevocationAnswer

NO_TAG: Mapping[str, None] = MappingProxyType(
    dict.fromkeys(("issuer_key_identifier", "revocation_tag", "tagged_at"))
)
"""Values of a link that the next sweep is to tag, or of one that has ended."""

CARD_LINKS, SWEPT_GROUPS = table_under(CardLinkRow), table_under(SweptGroupRow)

LINKS = select(
    CARD_LINKS,
    SWEPT_GROUPS.c.source.label("swept_source"),
    SWEPT_GROUPS.c.as_of.label("swept_as_of"),
).outerjoin(SWEPT_GROUPS, is_swept_by_group(CARD_LINKS.c, SWEPT_GROUPS.c))
"""Links as columns: a mapped row would take three times as long, and every SIP2 message asks for one."""


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
        representation=representation_of(row),
        replaces=row.replaces,
        patron_gone_at=row.patron_gone_at,
    )


def representation_of(row: Row[Any] | LinkRequestRow) -> Representation | None:
    """Return who acted for a child, None where nobody did."""
    if row.represented_until is None or row.representative_checks is None:
        return None
    return Representation(
        row.represented_until, frozenset(map(RepresentativeCheck, row.representative_checks))
    )


def representation_columns(representation: Representation | None) -> dict[str, Any]:
    """Return the values of the columns that ``representation_of`` reads."""
    if representation is None:
        return {}
    return {
        "represented_until": representation.until,
        "representative_checks": sorted(check.value for check in representation.checks),
    }


def serial_of(key_id: str | None, nonce: bytes | None, ciphertext: bytes | None) -> EncryptedValue | None:
    """Return what an open link keeps of the serial number; an ended one keeps nothing."""
    if key_id is None or nonce is None or ciphertext is None:
        return None
    return EncryptedValue(key_id, nonce, ciphertext)


def tag_columns(tag: RevocationTag, at: datetime) -> dict[str, Any]:
    """Return the values for a link that was tagged at *at*; ``NO_TAG`` undoes them."""
    return {
        "issuer_key_identifier": tag.issuer_key_identifier,
        "revocation_tag": tag.value,
        "tagged_at": at,
    }


def revocation_columns(answer: RevocationAnswer) -> dict[str, Any]:
    """Return the values for the last answer about a link's certificate."""
    return {
        "revocation_status": answer.status,
        "revocation_source": answer.source,
        "revocation_as_of": answer.as_of,
        "revocation_reason": answer.reason,
    }
