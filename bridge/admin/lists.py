"""The lists: links, terminals, staff, audit events and more. Read-only, each of the librarian's own library.

These and ``bridge.admin.bulk_unlinking`` are the only views that read the mapped classes. What changes
something is a service's work: ``LinkList.unlink`` calls one. No list counts or sorts more rows than it
shows, so that a first page takes as long among a million rows as among a thousand: see ``COUNTED_TO`` and
the indexes of the tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from flask import abort, flash, redirect, request, url_for
from flask_admin import expose
from flask_admin.contrib.sqla import ModelView
from flask_babel import (
    LazyString,
    format_date,
    format_datetime,
    format_timedelta,
    gettext,
    lazy_gettext,
    ngettext,
)
from flask_login import current_user
from flask_wtf import FlaskForm
from sqlalchemy import func, literal_column, select
from sqlalchemy.orm import Query, Session, scoped_session

from bridge.admin.base import may_work_at_the_counter, signed_in_librarian
from bridge.admin.consent import texts_of
from bridge.admin.filters import (
    EndsWithin,
    FieldFilter,
    FromDay,
    InMonth,
    KeyBeginning,
    OneOf,
    OneOfMine,
    PatronNumber,
    UntilDay,
    YesOrNo,
)
from bridge.admin.forms import EndSeveralForm, SuspendForm, UnlinkForm
from bridge.admin.list_page import (
    COUNTED_TO,
    DATE_AND_TIME,
    DAY_IN_FILE,
    MADE_ID,
    MOMENT_IN_FILE,
    SHORT_ID,
    ListPage,
    short,
)
from bridge.admin.progress import describe_move
from bridge.admin.terminal_state import describe_sighting
from bridge.admin.words import (
    ACTOR_KINDS,
    AUDIT_TAGS,
    DETAILS,
    IDENTIFIER_KINDS,
    LIBRARIAN_ROLES,
    LINK_STATES,
    LIST_NAMES,
    MOMENTS,
    MOVE_DIRECTIONS,
    MOVE_STATES,
    REVOCATION_SOURCES,
    TERMINAL_KINDS,
    words_of,
    words_of_why,
)
from bridge.errors import TooManyLinksAtOnce
from bridge.links.bulk_unlinking import MAXIMUM_LINKS, SAMPLE
from bridge.models import (
    REGION,
    ActorKind,
    BulkUnlinkReason,
    IdentifierKind,
    LinkState,
    MoveDirection,
    MoveState,
    Permission,
    SuspensionReason,
    UnlinkReason,
)
from bridge.rules import STAFF_SUSPENSIONS, LinkStep, judge_step
from bridge.store import failures_translated
from bridge.store.tables import (
    AuditEventRow,
    BulkUnlinkingLinkRow,
    CardLinkRow,
    CategoryMoveRow,
    LibrarianRow,
    SweptGroupRow,
    TerminalRow,
)

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from bridge.services import Services

SessionFactory = scoped_session[Session]

BEGINNING = re.compile("[0-9a-f]{8,32}")
"""What the lists show of an id that the program made, or more of it."""

ID_DIGITS, LAST_DIGIT = 32, "f"

ENDABLE = tuple(state for state in LinkState if judge_step(state, LinkStep.END).allowed)

ROWS_AT_ONCE = 500
"""Rows of a file that are held in memory."""

RENEWAL_WINDOW = timedelta(days=90)
"""A city renews certificates within the last three months."""

RENEWAL_PERIODS: Mapping[str, LazyString] = {
    "30": lazy_gettext("within 30 days"),
    "90": lazy_gettext("within 90 days"),
}
"""Days."""


RENEWAL_MONTHS = 4
"""Months that 90 days can touch."""

NAMED_BY_REQUEST = "flt6_6"
"""The field of the form over the links for the last of ``LinkList.filters``."""

STEP_OF_PAGE = {"suspend": LinkStep.SUSPEND, "restore": LinkStep.RESTORE, "unlink": LinkStep.END}

LINK_ACTIONS: Mapping[str, LazyString] = {
    "suspend": lazy_gettext("Suspend"),
    "restore": lazy_gettext("Restore"),
    "unlink": lazy_gettext("End link"),
}

LINK_QUESTIONS: Mapping[str, LazyString] = {
    "suspend": lazy_gettext("Suspend this link?"),
    "restore": lazy_gettext("Restore this link?"),
    "unlink": lazy_gettext("End this link?"),
}


class Database:
    """What Flask-Admin from 3.0 on wants in place of a session."""

    def __init__(self, session: SessionFactory) -> None:
        self.session = session


class CappedCount(Query[Any]):
    """A query whose rows are counted to one more than ``COUNTED_TO``, whatever narrows it later."""

    def scalar(self) -> int:
        """Return how many rows there are; one more than ``COUNTED_TO`` where there are more."""
        some = self.limit(COUNTED_TO + 1).subquery()
        return int(self.session.query(func.count()).select_from(some).scalar())


class ReadOnlyList(ListPage, ModelView):
    """A list of one table. ``reference`` names its column of ids, where the list is searched by one."""

    reference: ClassVar[str | None] = None

    def __init__(self, model: type, services: Services, database: Database, endpoint: str) -> None:
        self.services = services
        super().__init__(model, database, endpoint=endpoint, name=LIST_NAMES[endpoint])

    def search_words(self) -> str:
        """Return what the field of the search is called."""
        by_reference: str = gettext("Number (from 8 digits on)")
        return super().search_words() if self.reference is None else by_reference

    def init_search(self) -> bool:
        """Say whether the list can be searched."""
        return self.reference is not None or super().init_search()

    def get_query(self) -> Query[Any]:
        """Return the rows of the librarian's library."""
        return self._of_my_library(self.session.session.query(self.model))

    def get_count_query(self) -> Query[Any]:
        """Count the rows of the librarian's library, as far as is shown."""
        return self._count()

    def _count(self, *, by_id: bool = False) -> Query[Any]:
        some = CappedCount([literal_column("1")], session=self.session.session())
        return self._of_my_library(some.select_from(self.model), by_id=by_id)

    def get_one(self, id: str) -> Any:  # noqa: A002  # Flask-Admin's name
        """Return a row of the librarian's library, or None."""
        return self.get_query().filter(self.model.__mapper__.primary_key[0] == id).one_or_none()

    def render(self, template: str, **values: Any) -> str:
        """Add the names of the library's staff, and how a link is told."""
        # A stranger is shown that a form's token is missing; that page has no list on it.
        values["staff_names"] = self._staff_names() if current_user.is_authenticated else {}
        values |= {"link_states": LINK_STATES, "short": short}
        return super().render(template, **values)

    def _apply_search(
        self, query: Query[Any], count_query: Query[Any], joins: Any, count_joins: Any, search: str
    ) -> tuple[Any, ...]:
        """Narrow to one reference: free words would be looked for in each of a million rows."""
        if self.reference is None:
            found: tuple[Any, ...] = super()._apply_search(query, count_query, joins, count_joins, search)
            return found
        return *self._rows_and_count(self._refers_to(search.strip())), joins, count_joins

    def _rows_and_count(self, condition: Any) -> tuple[Query[Any], Query[Any]]:
        """Return the query of the few rows that *condition* names by their ids, and that of their number."""
        rows = self._of_my_library(self.session.session.query(self.model), by_id=True)
        return rows.filter(condition), self._count(by_id=True).filter(condition)

    def _refers_to(self, text: str) -> Any:
        """Return the SQL condition for a reference: whole, or the digits of it that the lists show."""
        key, reference = self.model.__mapper__.primary_key[0], getattr(self.model, str(self.reference))
        is_beginning = BEGINNING.fullmatch(text) is not None
        last = text + LAST_DIGIT * (ID_DIGITS - len(text))
        refers = reference.between(text, last) if is_beginning else reference == text
        found = self.session.session.query(key).filter(refers)
        if reference.key != key.key:  # of which no index is without the library
            found = self._of_my_library(found)
        return key.in_(found.limit(COUNTED_TO))

    def _file_rows(self, found: Any) -> Iterator[Sequence[str]]:
        with failures_translated():
            yield from super()._file_rows(found.yield_per(ROWS_AT_ONCE))

    def _run_view(self, view: Callable[..., Any], *args: Any, **values: Any) -> Any:
        with failures_translated():  # a service does it by itself; a list asks the database
            return super()._run_view(view, *args, **values)

    def _staff_names(self) -> dict[str, str]:
        columns = (LibrarianRow.librarian_id, LibrarianRow.display_name)
        library_id = signed_in_librarian().library_id
        return dict(self.session.session.query(*columns).filter(LibrarianRow.library_id == library_id))

    def _of_my_library(self, query: Query[Any], *, by_id: bool = False) -> Query[Any]:
        """Narrow to the librarian's library; *by_id* where the few rows are named by their ids.

        SQLite takes an index of the library for narrower than ids, and goes through a million rows.
        """
        library_id = self.model.library_id
        return query.filter(
            (library_id.concat("") if by_id else library_id) == signed_in_librarian().library_id
        )


class LinkList(ReadOnlyList):
    """The links of My Number Cards to patrons."""

    list_name = "links"
    reference = "link_id"
    addresses = frozenset(
        {"index_view", "download", "end_several", "unlink", "suspend", "restore", "consent"}
    )
    has_row_actions = True
    can_choose_rows = True
    column_list: Sequence[str] = (
        "patron_id",
        "state",
        "linked_at",
        "not_after",
        "last_used_at",
        "last_answer",
        "linked_by",
        "ended_reason",
    )
    column_sortable_list: Sequence[str] = (
        "patron_id",
        "state",
        "linked_at",
        "not_after",
    )
    column_default_sort: str | tuple[str, bool] = ("linked_at", True)
    column_labels: ClassVar = {
        "patron_id": lazy_gettext("Koha patron number"),
        "state": lazy_gettext("State"),
        "linked_at": lazy_gettext("Linked at"),
        "not_after": lazy_gettext("Valid until"),
        "last_used_at": lazy_gettext("Last used"),
        "linked_by": lazy_gettext("Linked by"),
        "last_answer": lazy_gettext("Certificate confirmed"),
        "ended_reason": lazy_gettext("Why ended or suspended"),
    }
    column_formatters: ClassVar = {
        "state": lambda _view, _context, row, _name: state_of_link(row),
        "patron_id": lambda _view, _context, row, _name: row.patron_id or gettext("not known"),
        "not_after": lambda _view, _context, row, _name: format_date(row.not_after, "long"),
        "linked_by": lambda _view, context, row, _name: staff_name(context, row.linked_by),
        "last_answer": lambda view, _context, row, _name: view.age_of_answer(row),
        "ended_reason": lambda _view, _context, row, _name: why_over(row),
    }
    file_formatters: ClassVar = {
        "not_after": lambda _view, _context, row, _name: format_date(row.not_after, DAY_IN_FILE),
        "linked_by": lambda _view, _context, row, _name: short(row.linked_by),
        "last_answer": lambda _view, _context, row, _name: moment_of_answer(row),
    }

    def __init__(self, services: Services, database: Database) -> None:
        self.services = services
        self.column_filters = self.filters()
        super().__init__(CardLinkRow, services, database, self.list_name)

    def filters(self) -> tuple[FieldFilter, ...]:
        """Return the fields of the filter form."""
        clock = self.services.clock
        return (
            PatronNumber(CardLinkRow.patron_id, lazy_gettext("Koha patron number")),
            OneOf(CardLinkRow.state, lazy_gettext("State"), LINK_STATES),
            FromDay(CardLinkRow.not_after, lazy_gettext("Valid until, from")),
            UntilDay(CardLinkRow.not_after, lazy_gettext("Valid until, to")),
            EndsWithin(CardLinkRow.not_after, lazy_gettext("To be renewed"), RENEWAL_PERIODS, clock),
            OneOf(CardLinkRow.kind, lazy_gettext("Linked by means of"), IDENTIFIER_KINDS),
            NamedByRequest(CardLinkRow.link_id, lazy_gettext("Named by request number")),
        )

    def _of_my_library(self, query: Query[Any], *, by_id: bool = False) -> Query[Any]:
        return super()._of_my_library(query, by_id=by_id or bool(request.args.get(NAMED_BY_REQUEST)))

    def age_of_answer(self, row: CardLinkRow) -> str:
        """Return as of when the certificate was last known to be good or revoked, and how old that is."""
        answer = row.last_answer
        if answer is None:
            return ""
        words: str = gettext(
            "%(moment)s (%(age)s old)",
            moment=format_datetime(answer.as_of, str(DATE_AND_TIME)),
            age=format_timedelta(self.services.clock() - answer.as_of),
        )
        return words

    def row_actions(self, row: CardLinkRow) -> list[tuple[str, str]]:
        """Return addresses and words of what can be done with a row."""
        if not may_work_at_the_counter():
            return []
        return [
            (url_for(f"links.{page}", link_id=row.link_id), str(words))
            for page, words in LINK_ACTIONS.items()
            if judge_step(row.state, STEP_OF_PAGE[page]).allowed
            and (page != "restore" or row.suspended_reason in STAFF_SUSPENSIONS)
        ]

    @expose("/<link_id>/unlink", methods=("GET", "POST"))
    def unlink(self, link_id: str) -> ResponseReturnValue:
        """Ask for the reason and the confirmation; end the link."""
        form = UnlinkForm()
        if (page := self._step_page("unlink", link_id, form)) is not None:
            return page
        ended = self.services.registration.unlink(
            signed_in_librarian(), link_id, reason=UnlinkReason(form.reason.data)
        )
        flash(gettext("The link has ended. The library card works as before."), "success")
        move = self.services.categories.move_of_link(ended.library_id, link_id, MoveDirection.BACK)
        for words in describe_move(move):
            flash(words, "success" if move and move.state is MoveState.DONE else "warning")
        return self._back_to_the_list()

    @expose("/<link_id>/suspend", methods=("GET", "POST"))
    def suspend(self, link_id: str) -> ResponseReturnValue:
        """Ask for the reason; let the link rest."""
        form = SuspendForm()
        if (page := self._step_page("suspend", link_id, form)) is not None:
            return page
        self.services.registration.suspend(
            signed_in_librarian(), link_id, reason=SuspensionReason(form.reason.data)
        )
        flash(gettext("The link is suspended. The library card works as before."), "success")
        return self._back_to_the_list()

    @expose("/<link_id>/restore", methods=("GET", "POST"))
    def restore(self, link_id: str) -> ResponseReturnValue:
        """Ask whether it is meant; let the link be used again."""
        if (page := self._step_page("restore", link_id, FlaskForm())) is not None:
            return page
        self.services.registration.restore(signed_in_librarian(), link_id)
        flash(gettext("The link can be used again."), "success")
        return self._back_to_the_list()

    @expose("/consent/<version>")
    def consent(self, version: str) -> ResponseReturnValue:
        """Show the wording that a link names, word for word."""
        wording = self.services.consent.find(signed_in_librarian().library_id, version)
        return self.render(
            "bridge/consent_wording.html",
            wording=wording,
            texts=texts_of(wording),
            back=url_for("links.index_view"),
        )

    def render(self, template: str, **values: Any) -> str:
        """Add where the chosen rows are sent to."""
        several_url = self._with_filters("end_several") if self.can_choose_rows else None
        return super().render(template, several_url=several_url, **values)

    def may_choose(self, row: CardLinkRow | None = None) -> bool:
        """Return whether rows can be chosen for an end together, or whether this one can."""
        return self.can_choose_rows and may_work_at_the_counter() and (row is None or row.state in ENDABLE)

    @expose("/end", methods=("POST",))
    def end_several(self) -> ResponseReturnValue:
        """Ask for the reason of an end together; end the links, or ask for a second person's approval.

        ``ask`` stands in the form of the list: for the ``chosen`` links, or for all that are ``found``.
        """
        if not may_work_at_the_counter():
            abort(HTTPStatus.FORBIDDEN)
        asked = request.form.get("ask")
        takes_all = asked == "found" or "expected" in request.form
        chosen = self._to_end(None if takes_all else request.form.getlist("link_id"))
        link_ids = self._ids_of(chosen)
        if not link_ids:
            flash(gettext("Please choose links that have not ended."), "warning")
            return redirect(self._with_filters("index_view"), code=HTTPStatus.SEE_OTHER)
        if len(link_ids) == 1:
            return redirect(url_for("links.unlink", link_id=link_ids[0]), code=HTTPStatus.SEE_OTHER)
        has_changed = takes_all and asked is None and request.form["expected"] != str(len(link_ids))
        if has_changed:
            flash(gettext("The list has changed meanwhile. Please look at it again."), "warning")
        form = EndSeveralForm()
        if asked is None and not has_changed and form.validate_on_submit():
            return self._end_several(link_ids, BulkUnlinkReason(form.reason.data))
        return self._several_page(form, chosen, link_ids, takes_all=takes_all)

    def _to_end(self, link_ids: Sequence[str] | None) -> Query[Any]:
        """Return the query of the links of some ids that can end, or of all that the filters find."""
        if link_ids is None:
            query: Query[Any] = self._found().order_by(None)
        else:
            query, _ = self._rows_and_count(CardLinkRow.link_id.in_(link_ids))
        return query.filter(CardLinkRow.state.in_(ENDABLE)).order_by(CardLinkRow.link_id)

    @staticmethod
    def _ids_of(chosen: Query[Any]) -> list[str]:
        """Return the ids of the links. Raises ``TooManyLinksAtOnce``."""
        found = chosen.with_entities(CardLinkRow.link_id).limit(MAXIMUM_LINKS + 1)
        link_ids = [str(row.link_id) for row in found]
        if len(link_ids) > MAXIMUM_LINKS:
            raise TooManyLinksAtOnce
        return link_ids

    def _several_page(
        self, form: EndSeveralForm, chosen: Query[Any], link_ids: Sequence[str], *, takes_all: bool
    ) -> str:
        group = (CardLinkRow.kind, CardLinkRow.state)
        counted = chosen.order_by(None).with_entities(*group, func.count()).group_by(*group)
        return self.render(
            "bridge/end_several.html",
            form=form,
            count=len(link_ids),
            counts=counts_of_links({(kind, state): count for kind, state, count in counted}),
            sample=chosen.limit(SAMPLE).all(),
            link_ids=() if takes_all else link_ids,
            takes_all=takes_all,
            address=self._with_filters("end_several"),
            alone=len(link_ids) <= self.services.bulk_unlinking.limit_of_one_person(signed_in_librarian()),
        )

    def _end_several(self, link_ids: Sequence[str], reason: BulkUnlinkReason) -> ResponseReturnValue:
        librarian, service = signed_in_librarian(), self.services.bulk_unlinking
        if len(link_ids) <= service.limit_of_one_person(librarian):
            ended = len(service.end_alone(librarian, link_ids, reason=reason))
            flash(ngettext("%(num)s link has ended.", "%(num)s links have ended.", ended), "success")
            return self._back_to_the_list()
        asked = service.request(librarian, link_ids, reason=reason)
        flash(gettext("The request is made. Another member of staff must approve it."), "success")
        return redirect(url_for("bulk.show", bulk_id=asked.bulk_id), code=HTTPStatus.SEE_OTHER)

    def _step_page(self, page: str, link_id: str, form: FlaskForm) -> str | None:
        """Return the page that asks about a step, None once it is answered."""
        if not may_work_at_the_counter():
            abort(HTTPStatus.FORBIDDEN)
        if form.validate_on_submit():
            return None
        link = self.get_one(link_id) or abort(HTTPStatus.NOT_FOUND)
        return self.render(
            "bridge/link_step.html",
            form=form,
            link=link,
            question=LINK_QUESTIONS[page],
            action=LINK_ACTIONS[page],
            dangerous=page == "unlink",
        )

    def _back_to_the_list(self) -> ResponseReturnValue:
        return redirect(url_for("links.index_view"), code=HTTPStatus.SEE_OTHER)


class RenewalList(LinkList):
    """The open links whose certificate ends soon: whom to tell to renew it, by month."""

    list_name = "renewals"
    addresses = frozenset({"index_view", "download"})
    has_row_actions = can_choose_rows = False
    column_list = ("patron_id", "state", "not_after", "linked_at", "last_used_at")
    column_sortable_list = ("not_after",)
    column_default_sort = "not_after"

    def filters(self) -> tuple[FieldFilter, ...]:
        """Return the filters: of a patron, and by month."""
        clock = self.services.clock
        return (
            InMonth(CardLinkRow.not_after, lazy_gettext("Certificate ends in"), RENEWAL_MONTHS, clock),
            PatronNumber(CardLinkRow.patron_id, lazy_gettext("Koha patron number")),
        )

    def _of_my_library(self, query: Query[Any], *, by_id: bool = False) -> Query[Any]:
        now = self.services.clock()
        return (
            super()
            ._of_my_library(query, by_id=by_id)
            .filter(CardLinkRow.ended_at.is_(None), CardLinkRow.not_after.between(now, now + RENEWAL_WINDOW))
        )


class CategoryMoveList(ReadOnlyList):
    """The changes of patron category that links and their ends brought: done, to be done, left alone."""

    column_list = (
        "updated_at",
        "patron_id",
        "direction",
        "from_category",
        "to_category",
        "state",
        "attempts",
        "problem",
    )
    column_sortable_list = ("updated_at", "patron_id", "state")
    column_default_sort = ("updated_at", True)
    column_labels: ClassVar = {
        "updated_at": lazy_gettext("When"),
        "patron_id": lazy_gettext("Koha patron number"),
        "direction": lazy_gettext("Reason"),
        "from_category": lazy_gettext("Category before"),
        "to_category": lazy_gettext("Category after"),
        "state": lazy_gettext("State"),
        "attempts": lazy_gettext("Attempts"),
        "problem": lazy_gettext("Details"),
    }
    column_formatters: ClassVar = {
        "direction": lambda _view, _context, row, _name: MOVE_DIRECTIONS[row.direction],
        "state": lambda _view, _context, row, _name: MOVE_STATES[row.state],
        "problem": lambda _view, _context, row, _name: words_of(row.problem),
    }
    column_filters = (
        PatronNumber(CategoryMoveRow.patron_id, lazy_gettext("Koha patron number")),
        OneOf(CategoryMoveRow.state, lazy_gettext("State"), MOVE_STATES),
        FromDay(CategoryMoveRow.updated_at, lazy_gettext("From")),
        UntilDay(CategoryMoveRow.updated_at, lazy_gettext("To")),
    )

    def __init__(self, services: Services, database: Database) -> None:
        super().__init__(CategoryMoveRow, services, database, "categories")


class TerminalList(ReadOnlyList):
    """The places with a card reader."""

    column_list = ("name", "kind", "terminal_id", "sip2_login", "last_seen_at", "active")
    column_sortable_list = ("name", "kind", "terminal_id", "last_seen_at")
    column_default_sort = "name"
    column_searchable_list = ("name", "terminal_id", "sip2_login")
    column_labels: ClassVar = {
        "name": lazy_gettext("Name"),
        "kind": lazy_gettext("Kind"),
        "terminal_id": lazy_gettext("Terminal id"),
        "sip2_login": lazy_gettext("SIP2 log-in"),
        "last_seen_at": lazy_gettext("Reader program"),
        "active": lazy_gettext("In use"),
    }
    column_formatters: ClassVar = {
        "kind": lambda _view, _context, row, _name: TERMINAL_KINDS[row.kind],
        "last_seen_at": lambda view, _context, row, _name: sighting(view, row),
        "active": lambda _view, _context, row, _name: gettext("Yes") if row.active else gettext("No"),
    }
    column_filters = (
        OneOf(TerminalRow.kind, lazy_gettext("Kind"), TERMINAL_KINDS),
        YesOrNo(TerminalRow.active, lazy_gettext("In use")),
    )

    def __init__(self, services: Services, database: Database) -> None:
        super().__init__(TerminalRow, services, database, "terminals")


class LibrarianList(ReadOnlyList):
    """The accounts of staff, for who administers them: of one library, or of all."""

    needed = Permission.ADMINISTER
    column_list = ("display_name", "login_name", "library_id", "role", "active")
    column_sortable_list = ("display_name", "login_name", "role")
    column_default_sort = "login_name"
    column_searchable_list = ("display_name", "login_name")
    column_export_exclude_list = ("display_name",)
    column_labels: ClassVar = {
        "display_name": lazy_gettext("Full name"),
        "login_name": lazy_gettext("Log-in name"),
        "library_id": lazy_gettext("Library"),
        "role": lazy_gettext("Role"),
        "active": lazy_gettext("State"),
    }
    column_formatters: ClassVar = {
        "library_id": lambda view, _context, row, _name: view.library_name(row.library_id),
        "role": lambda _view, _context, row, _name: LIBRARIAN_ROLES[row.role],
        "active": lambda view, _context, row, _name: view.state_of_account(row),
    }
    column_filters = (OneOf(LibrarianRow.role, lazy_gettext("Role"), LIBRARIAN_ROLES),)

    def __init__(self, services: Services, database: Database) -> None:
        super().__init__(LibrarianRow, services, database, "librarians")

    def library_name(self, library_id: str) -> str:
        """Return what a library is called; of who belongs to none, that it is all of them."""
        if library_id == REGION:
            return str(gettext("All libraries"))
        return self.services.library_names.get(library_id, library_id)

    def state_of_account(self, row: LibrarianRow) -> str:
        """Return whether somebody can log in with an account."""
        if not row.active:
            return str(gettext("Closed"))
        is_locked = row.locked_until is not None and row.locked_until > self.services.clock()
        return str(gettext("Locked") if is_locked else gettext("Open"))

    def _of_my_library(self, query: Query[Any], *, by_id: bool = False) -> Query[Any]:
        librarian = signed_in_librarian()
        return query if librarian.role.is_region_wide else super()._of_my_library(query, by_id=by_id)


class RevocationList(ReadOnlyList):
    """What the last sweep found of the links of each CA: by which source, and as of when.

    A link that the sweep asked about one by one shows its own answer in the list of links.
    """

    column_list = ("issuer_key_identifier", "source", "as_of", "age", "tagged_before", "swept_at")
    column_sortable_list = ("as_of",)
    column_default_sort = ("as_of", True)
    column_labels: ClassVar = {
        "issuer_key_identifier": lazy_gettext("Key of the CA"),
        "source": lazy_gettext("Source"),
        "as_of": lazy_gettext("As of"),
        "age": lazy_gettext("Age"),
        "tagged_before": lazy_gettext("For links made before"),
        "swept_at": lazy_gettext("Last sweep ended"),
    }
    column_formatters: ClassVar = {
        "issuer_key_identifier": lambda _view, _context, row, _name: short_key(row.issuer_key_identifier),
        "source": lambda _view, _context, row, _name: REVOCATION_SOURCES.get(row.source, row.source),
        "age": lambda view, _context, row, _name: format_timedelta(view.services.clock() - row.as_of),
        "swept_at": lambda _view, _context, row, _name: end_of_sweep(row),
    }
    column_filters = (
        KeyBeginning(SweptGroupRow.issuer_key_identifier, lazy_gettext("Key of the CA")),
        OneOf(SweptGroupRow.source, lazy_gettext("Source"), REVOCATION_SOURCES),
        FromDay(SweptGroupRow.as_of, lazy_gettext("From")),
        UntilDay(SweptGroupRow.as_of, lazy_gettext("To")),
    )

    def __init__(self, services: Services, database: Database) -> None:
        super().__init__(SweptGroupRow, services, database, "revocation")


class AuditList(ReadOnlyList):
    """The audit log: who did what when, without a patron in it."""

    column_list = ("at", "tag", "actor", "terminal_id", "subject", "details")
    column_sortable_list = ("at", "tag", "terminal_id")
    column_default_sort: ClassVar = [("at", True), ("event_id", True)]
    reference = "subject"
    column_labels: ClassVar = {
        "at": lazy_gettext("When"),
        "tag": lazy_gettext("What"),
        "actor": lazy_gettext("Who"),
        "terminal_id": lazy_gettext("Terminal"),
        "subject": lazy_gettext("Number"),
        "details": lazy_gettext("Details"),
    }
    column_formatters: ClassVar = {
        "tag": lambda _view, _context, row, _name: AUDIT_TAGS[row.tag],
        "actor": lambda _view, context, row, _name: actor(context, row),
        "subject": lambda _view, _context, row, _name: LIST_NAMES.get(row.subject, short(row.subject)),
        "details": lambda _view, context, row, _name: details_of(row, lambda who: staff_name(context, who)),
    }
    file_formatters: ClassVar = {
        "details": lambda _view, _context, row, _name: details_of(row, short),
        "actor": lambda _view, _context, row, _name: f"{ACTOR_KINDS[row.actor_kind]} {short(row.actor_id)}",
    }

    def __init__(self, services: Services, database: Database) -> None:
        self.services = services
        self.column_filters = (
            OneOf(AuditEventRow.tag, lazy_gettext("What"), AUDIT_TAGS),
            FromDay(AuditEventRow.at, lazy_gettext("From")),
            UntilDay(AuditEventRow.at, lazy_gettext("To")),
            OneOfMine(AuditEventRow.terminal_id, lazy_gettext("Terminal"), self.terminal_names),
            ByLibrarian(AuditEventRow.actor_id, lazy_gettext("Staff"), self._staff_names),
        )
        super().__init__(AuditEventRow, services, database, "audit")

    def terminal_names(self) -> dict[str, str]:
        """Return what the terminals of the librarian's library are called, removed ones too."""
        terminals = self.services.staff.terminals(signed_in_librarian().library_id)
        return {terminal.terminal_id: terminal.name for terminal in terminals}


class NamedByRequest(FieldFilter):
    """The links that a request to end several names, by the request's number."""

    def parse(self, value: str) -> str:
        """Accept what the program makes."""
        if MADE_ID.fullmatch(value) is None:
            raise ValueError(value)
        return value

    def condition(self, value: str) -> Any:
        """Return the SQL condition for a request."""
        named = select(BulkUnlinkingLinkRow.link_id).where(BulkUnlinkingLinkRow.bulk_id == value)
        return CardLinkRow.link_id.in_(named)


class ByLibrarian(OneOfMine):
    """What a member of staff did."""

    def condition(self, value: str) -> Any:
        """Return the SQL condition for an account."""
        return (AuditEventRow.actor_kind == ActorKind.LIBRARIAN) & super().condition(value)


def state_of_link(row: CardLinkRow) -> str:
    """Return the state of a link; of one that was taken over also by means of what."""
    words = str(LINK_STATES[row.state])
    if row.kind is IdentifierKind.SERIAL_NUMBER:
        return words
    kind: str = gettext("%(state)s, taken over: %(kind)s", state=words, kind=IDENTIFIER_KINDS[row.kind])
    return kind


def short_key(identifier: bytes) -> str:
    """Return the beginning of a CA's key identifier, in hex."""
    return identifier.hex()[:SHORT_ID]


def end_of_sweep(row: SweptGroupRow) -> str:
    """Return when the sweep ended that a finding is of; one that was cut off goes on where it stopped."""
    ended = row.sweep.finished_at
    return str(gettext("not ended yet") if ended is None else format_datetime(ended, str(DATE_AND_TIME)))


def moment_of_answer(row: CardLinkRow) -> str:
    """Return as of when the certificate was last known to be good or revoked, for a file."""
    answer = row.last_answer
    return "" if answer is None else format_datetime(answer.as_of, MOMENT_IN_FILE)


def sighting(view: TerminalList, row: TerminalRow) -> str:
    """Return how the reader program at a terminal is; of a removed one nothing is kept."""
    return describe_sighting(row.last_seen_at, row.report, view.services.clock()) if row.active else ""


def why_over(row: CardLinkRow) -> str:
    """Return why a link has ended or is suspended; of a revoked certificate also why it was revoked."""
    if row.ended_at is not None:
        return words_of(row.ended_reason)
    if row.suspended_at is None:
        return ""
    return " ".join(filter(None, (words_of(row.suspended_reason), words_of_why(row.revocation_reason))))


def address_of_named_links(bulk_id: str) -> str:
    """Return where the list shows the links that a request names."""
    return f"{url_for('links.index_view')}?{NAMED_BY_REQUEST}={bulk_id}"


def counts_of_links(counts: Mapping[tuple[IdentifierKind, LinkState], int]) -> list[tuple[str, int, int]]:
    """Return by kind in words how many links can end, and how many have ended already."""
    table = []
    for kind in IdentifierKind:
        of_kind = {state: number for (each, state), number in counts.items() if each is kind}
        if of_kind:
            open_now = sum(of_kind.get(state, 0) for state in ENDABLE)
            table.append((str(IDENTIFIER_KINDS[kind]), open_now, sum(of_kind.values()) - open_now))
    return table


def details_of(row: AuditEventRow, name_of: Callable[[str], str]) -> str:
    """Return the details of an event in words; *name_of* says how a member of staff is called."""
    return ", ".join(
        detail(name, name_of(word) if name == "requested_by" else word) for name, word in row.details.items()
    )


def detail(name: str, word: str) -> str:
    """Return the words for one detail of the audit log; a moment is shown as such."""
    if name in DETAILS:
        return str(DETAILS[name]) % {"word": short(word)}
    if name in MOMENTS:
        moment = format_datetime(datetime.fromisoformat(word), str(DATE_AND_TIME))
        return str(MOMENTS[name]) % {"moment": moment}
    if name == "repeated":
        repeated: str = gettext("and %(count)s times more", count=word)
        return repeated
    return words_of_why(word) if name == "why" else short(words_of(word))


def staff_name(context: Mapping[str, Any], librarian_id: str) -> str:
    """Return the name of a member of staff of this library."""
    names: Mapping[str, str] = context["staff_names"]
    return names.get(librarian_id, short(librarian_id))


def actor(context: Mapping[str, Any], row: AuditEventRow) -> str:
    """Return who it was: a name for staff, the id for anything else."""
    is_staff = row.actor_kind == ActorKind.LIBRARIAN
    return f"{ACTOR_KINDS[row.actor_kind]} {staff_name(context, row.actor_id) if is_staff else row.actor_id}"
