"""The counter's desk: find a patron by library card, order the next card, watch it happen.

Every state of the desk is a whole page, so that the desk works without scripts. ``desk.js`` fetches the same
pages and puts their main part in place of the one before. A library card number travels in the body of a
POST, never in an address: addresses end in log files.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import abort, current_app, flash, jsonify, redirect, request, url_for
from flask_admin import expose
from flask_babel import format_date, get_locale, gettext, lazy_gettext, ngettext, to_user_timezone

from bridge.admin.base import StaffView, may_work_at_the_counter, signed_in_librarian
from bridge.admin.days import Calendar, japanese_day
from bridge.admin.forms import (
    FURTHER_CARD,
    CardnumberForm,
    ChooseTerminalForm,
    LostCardForm,
    RestoreForm,
    StartLinkForm,
    choices,
)
from bridge.admin.patron import IdentifiedPatron, show_identified, show_patron
from bridge.admin.progress import Progress, present
from bridge.admin.words import PROBLEMS, REPRESENTATIVE_CHECKS
from bridge.errors import BridgeError
from bridge.models import LinkRequestState, MoveDirection, TerminalKind, UnlinkReason
from jpki.challenge import ChallengePurpose

if TYPE_CHECKING:
    from datetime import datetime

    from flask.typing import ResponseReturnValue
    from werkzeug import Response

    from bridge.models import LinkRequest, Terminal
    from bridge.services import Services

TERMINAL_COOKIE = "counter_terminal"
TERMINAL_COOKIE_AGE = timedelta(days=365)
"""A desk's browser remembers its own reader, whoever logs in."""


class CounterView(StaffView):
    """The desk where cards are linked, and told whose they are."""

    def __init__(self, services: Services, calendar: Calendar) -> None:
        super().__init__(name=lazy_gettext("Counter"), endpoint="counter", url="counter")
        self.services = services
        self._calendar = calendar

    def is_accessible(self) -> bool:
        """Keep who may only read away from the desk."""
        return may_work_at_the_counter()

    @expose("/", methods=("GET", "POST"))
    def index(self) -> ResponseReturnValue:
        """Ask for a library card; show its patron. Which counter this is comes before the first."""
        terminals = self._terminals()
        if request.method == "GET" and terminals and desk_terminal(terminals) is None:
            return self._terminal_page(self._terminal_form(terminals))
        form = CardnumberForm()
        if not form.validate_on_submit():
            return self._desk("bridge/counter.html", scan=form, under_way=self._under_way(terminals))
        return self._patron_page(self._start_form(cardnumber=form.cardnumber.data))

    @expose("/terminal", methods=("GET", "POST"))
    def terminal(self) -> ResponseReturnValue:
        """Ask at which counter this browser stands; remember it."""
        form = self._terminal_form(self._terminals())
        if not form.validate_on_submit():
            return self._terminal_page(form)
        response = redirect(url_for("counter.index"), code=HTTPStatus.SEE_OTHER)
        return remember_terminal(response, form.terminal_id.data)

    @expose("/form")
    def application_form(self) -> ResponseReturnValue:
        """Show the application form (申込書), to be printed."""
        return self._application_form(represented=False)

    @expose("/form/child")
    def application_form_for_a_child(self) -> ResponseReturnValue:
        """Show the application form that a legal representative fills in."""
        return self._application_form(represented=True)

    @expose("/start", methods=("POST",))
    def start(self) -> ResponseReturnValue:
        """Start a link at this desk's terminal."""
        form = self._start_form()
        if not form.validate_on_submit():
            return self._patron_page(form) if not form.cardnumber.errors else abort(HTTPStatus.BAD_REQUEST)
        started = self.services.registration.start(
            signed_in_librarian(),
            terminal_id=form.terminal_id.data,
            cardnumber=form.cardnumber.data,
            consent_version=form.consent_version.data,
            representation=form.representation,
            replaces=form.replaced_link,
        )
        return watch_page(started)

    @expose("/identify", methods=("POST",))
    def identify(self) -> ResponseReturnValue:
        """Ask whose card the next one at this desk's terminal is."""
        terminal = desk_terminal(self._terminals())
        if terminal is None:
            return redirect(url_for("counter.index"), code=HTTPStatus.SEE_OTHER)
        started = self.services.identification.start(signed_in_librarian(), terminal_id=terminal.terminal_id)
        return watch_page(started)

    @expose("/lost", methods=("POST",))
    def lost(self) -> ResponseReturnValue:
        """End every link of a patron whose My Number Card is lost, by library card alone."""
        form = LostCardForm()
        if form.cardnumber.errors or not form.cardnumber.validate(form):
            abort(HTTPStatus.BAD_REQUEST)
        if not form.validate_on_submit():
            return self._patron_page(self._start_form(cardnumber=form.cardnumber.data), form)
        ended = self.services.registration.unlink_all(
            signed_in_librarian(), form.cardnumber.data, reason=UnlinkReason.CARD_LOST
        )
        flash(
            ngettext(
                "%(num)s link has ended. The library card works as before.",
                "%(num)s links have ended. The library card works as before.",
                len(ended),
            ),
            "success",
        )
        return redirect(url_for("counter.index"), code=HTTPStatus.SEE_OTHER)

    @expose("/restore", methods=("POST",))
    def restore(self) -> ResponseReturnValue:
        """Let a suspended link of the patron shown be used again; show the patron as before."""
        form = RestoreForm()
        if not form.validate_on_submit():
            abort(HTTPStatus.BAD_REQUEST)
        self.services.registration.restore(signed_in_librarian(), form.link_id.data)
        flash(gettext("The link can be used again."), "success")
        return self._patron_page(self._start_form(cardnumber=form.cardnumber.data))

    @expose("/requests/<request_id>")
    def watch(self, request_id: str) -> ResponseReturnValue:
        """Show how far an order has come; the page's script keeps asking ``state``."""
        link_request = self.services.registration.request(signed_in_librarian(), request_id)
        identified, problem = self._answer(link_request)
        return self._desk(
            "bridge/watch.html",
            progress=self._progress(link_request),
            link_request=link_request,
            identifies=link_request.purpose is ChallengePurpose.IDENTIFY,
            identified=identified,
            problem=problem,
        )

    @expose("/requests/<request_id>/state")
    def state(self, request_id: str) -> ResponseReturnValue:
        """Answer how far an order has come, as JSON in the words of the page; it names no patron.

        Where the page gives the ``tag`` of what it shows as ``seen``, the answer waits for some seconds until
        there is something else to be shown, unless too many wait: ``has_waited`` says which.
        """
        progress = self._progress_of(request_id)
        seen = request.args.get("seen")
        has_waited = False
        if seen is not None and tag_of(progress) == seen:
            has_waited = self.services.registration.wait(
                lambda: tag_of(self._progress_of(request_id)) != seen
            )
            progress = self._progress_of(request_id)
        return jsonify({**asdict(progress), "tag": tag_of(progress), "has_waited": has_waited})

    @expose("/requests/<request_id>/cancel", methods=("POST",))
    def cancel(self, request_id: str) -> ResponseReturnValue:
        """Take the order back."""
        self.services.registration.cancel(signed_in_librarian(), request_id)
        return redirect(url_for("counter.watch", request_id=request_id), code=HTTPStatus.SEE_OTHER)

    def _terminal_form(self, terminals: list[Terminal]) -> ChooseTerminalForm:
        form = ChooseTerminalForm()
        form.terminal_id.choices = choices(names_of(terminals))
        return form

    def _terminal_page(self, form: ChooseTerminalForm) -> str:
        return self.render("bridge/desk_terminal.html", form=form)

    def _patron_page(self, form: StartLinkForm, lost_form: LostCardForm | None = None) -> str:
        librarian = signed_in_librarian()
        registration = self.services.registration
        summary = registration.find_patron(librarian, form.cardnumber.data)
        preview = None
        if summary.decision.allowed:
            preview = self.services.categories.preview(librarian.library_id, summary.patron)
        patron = show_patron(summary, registration.ending_of, self.services.clock(), preview)
        form.replaces.choices = choices(
            {FURTHER_CARD: gettext("is linked besides those that are linked already")}
            | {link.link_id: link.as_replaced for link in patron.links}
        )
        return self._desk(
            "bridge/patron.html",
            patron=patron,
            form=form,
            lost_form=lost_form or LostCardForm(formdata=None, data={"cardnumber": form.cardnumber.data}),
            **self._consent(),
        )

    def _start_form(self, **values: str) -> StartLinkForm:
        """Return the form for this library's counter terminals, this desk's chosen."""
        form = StartLinkForm(formdata=None, data=values) if values else StartLinkForm()
        form.terminal_id.choices = choices(names_of(self._terminals()))
        return form

    def _desk(self, template: str, *, scan: CardnumberForm | None = None, **values: object) -> str:
        """Render a state of the desk: the library card's field, this desk's terminal, and what is at work."""
        terminals = self._terminals()
        return self.render(
            template,
            scan=scan or CardnumberForm(formdata=None),
            desk_terminal=desk_terminal(terminals),
            terminals=terminals,
            **values,
        )

    def _terminals(self) -> list[Terminal]:
        terminals = self.services.staff.terminals(signed_in_librarian().library_id)
        return [
            terminal for terminal in terminals if terminal.kind is TerminalKind.COUNTER and terminal.active
        ]

    def _under_way(self, terminals: list[Terminal]) -> list[tuple[Terminal, LinkRequest]]:
        pending = [(terminal, self.services.registration.pending(terminal)) for terminal in terminals]
        return [(terminal, link_request) for terminal, link_request in pending if link_request is not None]

    def _answer(self, link_request: LinkRequest) -> tuple[IdentifiedPatron | None, str | None]:
        """Return whose card it was, or in words why that cannot be shown; neither for any other order."""
        is_answered = link_request.state is LinkRequestState.COMPLETED
        if link_request.purpose is not ChallengePurpose.IDENTIFY or not is_answered:
            return None, None
        librarian = signed_in_librarian()
        try:
            patron = self.services.identification.patron(librarian, link_request.request_id)
        except BridgeError as error:  # shown here, where the librarian can ask again
            return None, str(PROBLEMS[error.slug])
        library_card = self.services.registration.judge_library_card(librarian, patron)
        staff_url = self.services.koha_staff_urls.get(librarian.library_id)
        return show_identified(patron, library_card, staff_url), None

    def _application_form(self, *, represented: bool) -> str:
        librarian = signed_in_librarian()
        return self.render(
            "bridge/application_form.html",
            represented=represented,
            today=self._day_on_paper(self.services.clock()),
            **self._consent(),
            checks=REPRESENTATIVE_CHECKS.values(),
            retention_days=self.services.registration.policy(librarian).retention.days,
        )

    def _consent(self) -> dict[str, Any]:
        """Return what a page shows of the wording in force, and the version under which it is agreed to."""
        wording = self.services.consent.in_force(signed_in_librarian().library_id).wording
        return {"consent": wording.points(str(get_locale())), "consent_version": wording.version}

    def _day_on_paper(self, now: datetime) -> str:
        day = to_user_timezone(now).date()
        if str(get_locale()) == "ja":
            return japanese_day(day, self._calendar)
        return str(format_date(day, "long"))

    def _progress_of(self, request_id: str) -> Progress:
        return self._progress(self.services.registration.request(signed_in_librarian(), request_id))

    def _progress(self, link_request: LinkRequest) -> Progress:
        if link_request.link_id is None or link_request.purpose is not ChallengePurpose.LINK:
            return present(link_request, linked_until=None)
        link = self.services.registration.link(signed_in_librarian(), link_request.link_id)
        move = self.services.categories.move_of_link(link.library_id, link.link_id, MoveDirection.LINKED)
        until = self.services.registration.ending_of(link).at
        return present(link_request, linked_until=until, move=move)


def tag_of(progress: Progress) -> str:
    """Return what tells one state of an order from another."""
    return sha256(repr(progress).encode()).hexdigest()[:16]


def names_of(terminals: list[Terminal]) -> dict[str, str]:
    """Return the names of terminals by id."""
    return {terminal.terminal_id: terminal.name for terminal in terminals}


def desk_terminal(terminals: list[Terminal]) -> Terminal | None:
    """Return the terminal at which this browser stands: the remembered one, or the only one there is."""
    remembered = request.cookies.get(TERMINAL_COOKIE)
    here = [terminal for terminal in terminals if terminal.terminal_id == remembered]
    if not here and len(terminals) == 1:
        here = terminals
    return here[0] if here else None


def watch_page(started: LinkRequest) -> Response:
    """Lead to the page that shows how far an order has come."""
    return redirect(url_for("counter.watch", request_id=started.request_id), code=HTTPStatus.SEE_OTHER)


def remember_terminal(response: Response, terminal_id: str) -> Response:
    """Keep the chosen terminal in this browser."""
    response.set_cookie(
        TERMINAL_COOKIE,
        terminal_id,
        max_age=TERMINAL_COOKIE_AGE,
        path=url_for("counter.index"),
        secure=current_app.config["SESSION_COOKIE_SECURE"],
        httponly=True,
        samesite="Strict",
    )
    return response
