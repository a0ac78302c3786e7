"""The lists: links, terminals, audit events. Read-only, each of the librarian's own library.

These are the only views that read the mapped classes. What changes something is a service's work:
``LinkList.unlink`` calls one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from flask import abort, flash, redirect, url_for
from flask_admin import expose
from flask_admin.contrib.sqla import ModelView
from flask_babel import (
    LazyString,
    format_date,
    format_datetime,
    format_timedelta,
    gettext,
    lazy_gettext,
)
from flask_wtf import FlaskForm
from sqlalchemy import func
from sqlalchemy.orm import Query, Session, scoped_session

from bridge.admin.base import StaffView, may, may_work_at_the_counter, signed_in_librarian
from bridge.admin.filters import EndsWithin, FieldFilter, FromDay, OneOf, PatronNumber, UntilDay
from bridge.admin.forms import SuspendForm, UnlinkForm
from bridge.admin.progress import describe_move
from bridge.admin.terminal_state import describe_sighting
from bridge.admin.words import (
    ACTOR_KINDS,
    AUDIT_TAGS,
    IDENTIFIER_KINDS,
    LINK_STATES,
    MOMENTS,
    MOVE_DIRECTIONS,
    MOVE_STATES,
    TERMINAL_KINDS,
    words_of,
    words_of_why,
)
from bridge.models import (
    ActorKind,
    IdentifierKind,
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
    CardLinkRow,
    CategoryMoveRow,
    LibrarianRow,
    TerminalRow,
)

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue
    from flask_admin import Admin
    from flask_admin.model.base import ViewArgs

    from bridge.services import Services

SessionFactory = scoped_session[Session]

MADE_ID = re.compile("[0-9a-f]{32}")
LAST_PAGE = 10**12
"""Beyond what any list holds, and as an offset still within 64 bits."""

SHORT_ID = 8
"""So many digits of an id are shown; two ids that agree in them are the same for the eye."""

DATE_AND_TIME = lazy_gettext("d MMM y, HH:mm")
"""A pattern of Unicode's CLDR (TR 35), so that each language has its own order."""


RENEWAL_PERIODS: Mapping[str, LazyString] = {
    "30": lazy_gettext("within 30 days"),
    "90": lazy_gettext("within 90 days"),
}
"""Days. A city renews certificates within the last three months."""


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


class ReadOnlyList(StaffView, ModelView):
    """A list of one table. Only the list itself has an address: what is not routed needs no guard."""

    can_create = can_edit = can_delete = False
    can_set_page_size = True
    page_size = 50
    page_size_options = (50, 100, 200)
    list_template = "bridge/list.html"
    column_display_actions = False
    column_type_formatters: ClassVar = {
        type(None): lambda _view, _value, _name: "",
        datetime: lambda _view, value, _name: format_datetime(value, str(DATE_AND_TIME)),
    }
    addresses: ClassVar = frozenset({"index_view"})
    has_row_actions = False
    _urls: list[tuple[Any, ...]]

    def __init__(
        self, model: type, services: Services, database: Database, endpoint: str, name: LazyString
    ) -> None:
        self.services = services
        super().__init__(model, database, endpoint=endpoint, name=name)

    def is_accessible(self) -> bool:
        """Keep the region's administrators away from every library's records."""
        return may(Permission.SEE_RECORDS)

    def create_blueprint(self, admin: Admin) -> Any:
        """Leave out the addresses that Flask-Admin has for creating, editing and deleting."""
        self._urls = [rule for rule in self._urls if rule[1] in self.addresses]
        return super().create_blueprint(admin)

    def scaffold_form(self) -> Any:
        """There is nothing to edit, so there is no form."""
        return self.form_base_class

    def get_query(self) -> Query[Any]:
        """Return the rows of the librarian's library."""
        return self._of_my_library(self.session.session.query(self.model))

    def get_count_query(self) -> Query[Any]:
        """Count the rows of the librarian's library."""
        return self._of_my_library(self.session.session.query(func.count("*")).select_from(self.model))

    def get_one(self, id: str) -> Any:  # noqa: A002  # Flask-Admin's name
        """Return a row of the librarian's library, or None."""
        return self.get_query().filter(self.model.__mapper__.primary_key[0] == id).one_or_none()

    def render(self, template: str, **values: Any) -> str:
        """Add what the filter form shows to what Flask-Admin gives the list."""
        values["filter_values"] = {index: value for index, _, value in values.get("active_filters") or ()}
        values["staff_names"] = self._staff_names()
        values["narrowed"] = any(values["filter_values"].values()) or bool(values.get("search"))
        return super().render(template, **values)

    def get_invalid_value_msg(self, value: str, filter: FieldFilter) -> str:  # noqa: A002  # Flask-Admin's name
        """Say which field of the filter form held nothing that can be meant."""
        words: str = gettext("“%(value)s” is not possible for “%(field)s”.", value=value, field=filter.name)
        return words

    def _run_view(self, view: Callable[..., Any], *args: Any, **values: Any) -> Any:
        with failures_translated():  # a service does it by itself; a list asks the database
            return super()._run_view(view, *args, **values)

    def _staff_names(self) -> dict[str, str]:
        columns = (LibrarianRow.librarian_id, LibrarianRow.display_name)
        library_id = signed_in_librarian().library_id
        return dict(self.session.session.query(*columns).filter(LibrarianRow.library_id == library_id))

    def _of_my_library(self, query: Query[Any]) -> Query[Any]:
        return query.filter(self.model.library_id == signed_in_librarian().library_id)

    def _get_list_extra_args(self) -> ViewArgs:
        arguments = super()._get_list_extra_args()
        # A negative or a huge offset is an error of the database, not a page.
        arguments.page = min(max(arguments.page, 0), LAST_PAGE)
        arguments.extra_args = {}
        return arguments


class LinkList(ReadOnlyList):
    """The links of My Number Cards to patrons."""

    addresses = frozenset({"index_view", "unlink", "suspend", "restore"})
    has_row_actions = True
    column_list = (
        "patron_id",
        "state",
        "linked_at",
        "not_after",
        "last_used_at",
        "last_answer",
        "linked_by",
        "ended_reason",
    )
    column_sortable_list = (
        "patron_id",
        "state",
        "linked_at",
        "not_after",
        "last_used_at",
    )
    column_default_sort = ("linked_at", True)
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

    def __init__(self, services: Services, database: Database) -> None:
        self.column_filters = (
            PatronNumber(CardLinkRow.patron_id, lazy_gettext("Koha patron number")),
            OneOf(CardLinkRow.state, lazy_gettext("State"), LINK_STATES),
            FromDay(CardLinkRow.not_after, lazy_gettext("Valid until, from")),
            UntilDay(CardLinkRow.not_after, lazy_gettext("Valid until, to")),
            EndsWithin(CardLinkRow.not_after, lazy_gettext("To be renewed"), RENEWAL_PERIODS, services.clock),
            OneOf(CardLinkRow.kind, lazy_gettext("Linked by means of"), IDENTIFIER_KINDS),
        )
        super().__init__(CardLinkRow, services, database, "links", lazy_gettext("Links"))

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
        super().__init__(CategoryMoveRow, services, database, "categories", lazy_gettext("Category changes"))


class TerminalList(ReadOnlyList):
    """The places with a card reader."""

    column_list = ("name", "kind", "terminal_id", "sip2_login", "last_seen_at", "active")
    column_sortable_list = ("name", "kind", "terminal_id")
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
    column_filters = (OneOf(TerminalRow.kind, lazy_gettext("Kind"), TERMINAL_KINDS),)

    def __init__(self, services: Services, database: Database) -> None:
        super().__init__(TerminalRow, services, database, "terminals", lazy_gettext("Terminals"))


class AuditList(ReadOnlyList):
    """The audit log: who did what when, without a patron in it."""

    column_list = ("at", "tag", "actor", "terminal_id", "subject", "details")
    column_sortable_list = ("at", "tag", "terminal_id")
    column_default_sort: ClassVar = [("at", True), ("event_id", True)]
    column_searchable_list = ("subject", "terminal_id", "actor_id")
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
        "subject": lambda _view, _context, row, _name: short(row.subject),
        "details": lambda _view, _context, row, _name: ", ".join(
            detail(name, word) for name, word in row.details.items()
        ),
    }
    column_filters = (
        OneOf(AuditEventRow.tag, lazy_gettext("What"), AUDIT_TAGS),
        FromDay(AuditEventRow.at, lazy_gettext("From")),
        UntilDay(AuditEventRow.at, lazy_gettext("To")),
    )

    def __init__(self, services: Services, database: Database) -> None:
        super().__init__(AuditEventRow, services, database, "audit", lazy_gettext("Audit log"))


def state_of_link(row: CardLinkRow) -> str:
    """Return the state of a link; of one that was taken over also by means of what."""
    words = str(LINK_STATES[row.state])
    if row.kind is IdentifierKind.SERIAL_NUMBER:
        return words
    kind: str = gettext("%(state)s, taken over: %(kind)s", state=words, kind=IDENTIFIER_KINDS[row.kind])
    return kind


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


def detail(name: str, word: str) -> str:
    """Return the words for one detail of the audit log; a moment is shown as such."""
    if name in MOMENTS:
        moment = format_datetime(datetime.fromisoformat(word), str(DATE_AND_TIME))
        return str(MOMENTS[name]) % {"moment": moment}
    if name == "repeated":
        repeated: str = gettext("and %(count)s times more", count=word)
        return repeated
    return words_of_why(word) if name == "why" else short(words_of(word))


def short(word: str) -> str:
    """Return the beginning of an id that the program made; an id that a person chose is shown whole."""
    return word[:SHORT_ID] if MADE_ID.fullmatch(word) else word


def staff_name(context: Mapping[str, Any], librarian_id: str) -> str:
    """Return the name of a member of staff of this library."""
    names: Mapping[str, str] = context["staff_names"]
    return names.get(librarian_id, short(librarian_id))


def actor(context: Mapping[str, Any], row: AuditEventRow) -> str:
    """Return who it was: a name for staff, the id for anything else."""
    is_staff = row.actor_kind == ActorKind.LIBRARIAN
    return f"{ACTOR_KINDS[row.actor_kind]} {staff_name(context, row.actor_id) if is_staff else row.actor_id}"
