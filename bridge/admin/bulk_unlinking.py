"""The requests to end several links: listed, looked at, decided by a second person."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

from flask import abort, flash, redirect, url_for
from flask_admin import expose
from flask_babel import format_datetime, gettext, lazy_gettext

from bridge.admin.base import may_work_at_the_counter, signed_in_librarian
from bridge.admin.filters import FromDay, OneOf, UntilDay
from bridge.admin.forms import ApproveForm, DeclineForm
from bridge.admin.list_page import DATE_AND_TIME, short
from bridge.admin.lists import ReadOnlyList, address_of_named_links, counts_of_links, staff_name
from bridge.admin.words import (
    BULK_UNLINK_REASONS,
    BULK_UNLINKING_STATES,
    words_of,
)
from bridge.models import ApprovalReason, BulkUnlinkingState, DeclineReason
from bridge.store.tables import BulkUnlinkingRow

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from bridge.admin.lists import Database
    from bridge.services import Services


class BulkUnlinkingList(ReadOnlyList):
    """Who asked for the end of how many links, and what a second person said."""

    addresses = frozenset({"index_view", "download", "show", "approve", "decline", "withdraw", "carry_on"})
    has_row_actions = True
    reference = "bulk_id"
    column_list = (
        "requested_at",
        "requested_by",
        "reason",
        "link_count",
        "state",
        "expires_at",
        "decided_by",
        "decision",
        "ended",
        "skipped",
    )
    column_sortable_list = ("requested_at", "state", "link_count")
    column_default_sort = ("requested_at", True)
    column_labels: ClassVar = {
        "requested_at": lazy_gettext("Requested at"),
        "requested_by": lazy_gettext("Requested by"),
        "reason": lazy_gettext("Reason"),
        "link_count": lazy_gettext("Links"),
        "state": lazy_gettext("State"),
        "expires_at": lazy_gettext("To be decided until"),
        "decided_by": lazy_gettext("Decided by"),
        "decision": lazy_gettext("Reason for it"),
        "ended": lazy_gettext("Links ended"),
        "skipped": lazy_gettext("Skipped"),
    }
    column_formatters: ClassVar = {
        "requested_by": lambda _view, context, row, _name: staff_name(context, row.requested_by),
        "reason": lambda _view, _context, row, _name: BULK_UNLINK_REASONS[row.reason],
        "state": lambda view, _context, row, _name: view.state_of(row),
        "decided_by": lambda _view, context, row, _name: (
            "" if row.decided_by is None else staff_name(context, row.decided_by)
        ),
        "decision": lambda _view, _context, row, _name: words_of(row.decision),
    }
    file_formatters: ClassVar = {
        "requested_by": lambda _view, _context, row, _name: short(row.requested_by),
        "decided_by": lambda _view, _context, row, _name: short(row.decided_by or ""),
    }
    column_filters = (
        OneOf(BulkUnlinkingRow.state, lazy_gettext("State"), BULK_UNLINKING_STATES),
        OneOf(BulkUnlinkingRow.reason, lazy_gettext("Reason"), BULK_UNLINK_REASONS),
        FromDay(BulkUnlinkingRow.requested_at, lazy_gettext("From")),
        UntilDay(BulkUnlinkingRow.requested_at, lazy_gettext("To")),
    )

    def __init__(self, services: Services, database: Database) -> None:
        super().__init__(BulkUnlinkingRow, services, database, "bulk")

    def state_of(self, row: BulkUnlinkingRow) -> str:
        """Return the state in words; one that nobody decided in time has expired, told or not."""
        is_overdue = row.state is BulkUnlinkingState.REQUESTED and row.expires_at <= self.services.clock()
        return str(BULK_UNLINKING_STATES[BulkUnlinkingState.EXPIRED if is_overdue else row.state])

    def row_actions(self, row: BulkUnlinkingRow) -> list[tuple[str, str]]:
        """Return the address of a request's own page."""
        return [(url_for("bulk.show", bulk_id=row.bulk_id), gettext("Look at it"))]

    @expose("/requests/<bulk_id>")
    def show(self, bulk_id: str) -> ResponseReturnValue:
        """Show a request: which links, why, and what can be done with it."""
        return self._page_of(bulk_id, ApproveForm(prefix="approve"), DeclineForm(prefix="decline"))

    @expose("/requests/<bulk_id>/approve", methods=("POST",))
    def approve(self, bulk_id: str) -> ResponseReturnValue:
        """Let the links end."""
        self._require_counter()
        form = ApproveForm(prefix="approve")
        if not form.validate_on_submit():
            return self._page_of(bulk_id, form, DeclineForm(prefix="decline", formdata=None))
        self.services.bulk_unlinking.approve(
            signed_in_librarian(), bulk_id, reason=ApprovalReason(form.reason.data)
        )
        flash(gettext("The request is approved."), "success")
        return self._back_to(bulk_id)

    @expose("/requests/<bulk_id>/decline", methods=("POST",))
    def decline(self, bulk_id: str) -> ResponseReturnValue:
        """Leave the links as they are."""
        self._require_counter()
        form = DeclineForm(prefix="decline")
        if not form.validate_on_submit():
            return self._page_of(bulk_id, ApproveForm(prefix="approve", formdata=None), form)
        self.services.bulk_unlinking.decline(
            signed_in_librarian(), bulk_id, reason=DeclineReason(form.reason.data)
        )
        flash(gettext("The request is declined. All links stay as they are."), "success")
        return self._back_to(bulk_id)

    @expose("/requests/<bulk_id>/withdraw", methods=("POST",))
    def withdraw(self, bulk_id: str) -> ResponseReturnValue:
        """Take the own request back."""
        self._require_counter()
        self.services.bulk_unlinking.withdraw(signed_in_librarian(), bulk_id)
        flash(gettext("The request is withdrawn. All links stay as they are."), "success")
        return self._back_to(bulk_id)

    @expose("/requests/<bulk_id>/continue", methods=("POST",))
    def carry_on(self, bulk_id: str) -> ResponseReturnValue:
        """Go on with what was cut off."""
        self._require_counter()
        self.services.bulk_unlinking.carry_on(signed_in_librarian(), bulk_id)
        return self._back_to(bulk_id)

    def _page_of(self, bulk_id: str, approve: ApproveForm, decline: DeclineForm) -> str:
        librarian, now = signed_in_librarian(), self.services.clock()
        overview = self.services.bulk_unlinking.overview(librarian, bulk_id)
        bulk = overview.bulk
        state = bulk.state_at(now)
        is_own = bulk.requested_by == librarian.librarian_id
        is_open = state is BulkUnlinkingState.REQUESTED
        may_work = may_work_at_the_counter()
        return self.render(
            "bridge/bulk.html",
            bulk=bulk,
            number=short(bulk.bulk_id),
            requested_at=format_datetime(bulk.requested_at, str(DATE_AND_TIME)),
            expires_at=format_datetime(bulk.expires_at, str(DATE_AND_TIME)),
            state=BULK_UNLINKING_STATES[state],
            reason=BULK_UNLINK_REASONS[bulk.reason],
            decision=words_of(bulk.decision),
            counts=counts_of_links(overview.counts),
            sample=overview.sample,
            all_links=address_of_named_links(bulk_id),
            left=bulk.link_count - bulk.ended - bulk.skipped,
            is_open=is_open,
            may_decide=may_work and is_open and not is_own,
            may_withdraw=may_work and is_open and is_own,
            is_ending=state is BulkUnlinkingState.APPROVED,
            may_carry_on=may_work and state is BulkUnlinkingState.APPROVED,
            approve=approve,
            decline=decline,
        )

    def _back_to(self, bulk_id: str) -> ResponseReturnValue:
        return redirect(url_for("bulk.show", bulk_id=bulk_id), code=HTTPStatus.SEE_OTHER)

    @staticmethod
    def _require_counter() -> None:
        if not may_work_at_the_counter():
            abort(HTTPStatus.FORBIDDEN)
