"""A link's steps from state to state, each as ``bridge.rules.LINK_STEPS`` allows it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import delete, update

from bridge.errors import LinkNotFound
from bridge.models import CardLink, LinkState, SuspensionReason
from bridge.rules import LINK_STEPS, LinkStep
from bridge.store.link_columns import NO_TAG, revocation_columns
from bridge.store.links import link_by_id
from bridge.store.queries import Queries
from bridge.store.tables import CardClaimRow, CardLinkRow
from jpki.revocation import RevocationAnswer


class LinkStepQueries(Queries):
    """The steps of links; only housekeeping deletes them."""

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
                **({} if answer is None else revocation_columns(answer)),
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
        return link_by_id(self._connection, library_id, link_id) if restored else None

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
        link = link_by_id(self._connection, library_id, link_id)
        if not ended or link is None:
            raise LinkNotFound
        self._session.execute(delete(CardClaimRow).where(CardClaimRow.link_id == link_id))
        return link
