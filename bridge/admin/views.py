"""The counter: find a patron by library card, start a link, watch it happen.

A library card number travels in the body of a POST, never in an address: addresses end in log files.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import abort, current_app, flash, jsonify, redirect, request, url_for
from flask_admin import expose
from flask_babel import gettext, lazy_gettext, ngettext

from bridge.admin.base import StaffView, may_work_at_the_counter, signed_in_librarian
from bridge.admin.forms import FURTHER_CARD, CardnumberForm, LostCardForm, StartLinkForm, choices
from bridge.admin.patron import show_patron
from bridge.admin.progress import Progress, present
from bridge.admin.words import CONSENT
from bridge.consent import CONSENT_VERSION
from bridge.models import MoveDirection, TerminalKind, UnlinkReason

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue
    from werkzeug import Response

    from bridge.models import LinkRequest, Terminal
    from bridge.services import Services

TERMINAL_COOKIE = "counter_terminal"
TERMINAL_COOKIE_AGE = timedelta(days=365)
"""A desk's browser remembers its own reader, whoever logs in."""


class CounterView(StaffView):
    """The desk where cards are linked."""

    def __init__(self, services: Services) -> None:
        super().__init__(name=lazy_gettext("Counter"), endpoint="counter", url="counter")
        self.services = services

    def is_accessible(self) -> bool:
        """Keep who may only read away from the desk."""
        return may_work_at_the_counter()

    @expose("/", methods=("GET", "POST"))
    def index(self) -> ResponseReturnValue:
        """Ask for a library card; show its patron."""
        form = CardnumberForm()
        if not form.validate_on_submit():
            return self.render("bridge/counter.html", form=form, under_way=self._under_way())
        return self._patron_page(self._start_form(cardnumber=form.cardnumber.data))

    @expose("/start", methods=("POST",))
    def start(self) -> ResponseReturnValue:
        """Start a link at the chosen terminal."""
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
        response = redirect(
            url_for("counter.watch", request_id=started.request_id), code=HTTPStatus.SEE_OTHER
        )
        return remember_terminal(response, form.terminal_id.data)

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

    @expose("/requests/<request_id>")
    def watch(self, request_id: str) -> ResponseReturnValue:
        """Show how far a link has come; the page's script keeps asking ``state``."""
        link_request = self.services.registration.request(signed_in_librarian(), request_id)
        return self.render(
            "bridge/watch.html",
            progress=self._progress(link_request),
            link_request=link_request,
            terminal_name=self._terminal_name(link_request),
        )

    @expose("/requests/<request_id>/state")
    def state(self, request_id: str) -> ResponseReturnValue:
        """Answer how far a link has come, as JSON in the words of the page."""
        link_request = self.services.registration.request(signed_in_librarian(), request_id)
        return jsonify(asdict(self._progress(link_request)))

    @expose("/requests/<request_id>/cancel", methods=("POST",))
    def cancel(self, request_id: str) -> ResponseReturnValue:
        """Take the order back."""
        self.services.registration.cancel(signed_in_librarian(), request_id)
        return redirect(url_for("counter.watch", request_id=request_id), code=HTTPStatus.SEE_OTHER)

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
        return self.render(
            "bridge/patron.html",
            patron=patron,
            form=form,
            lost_form=lost_form or LostCardForm(formdata=None, data={"cardnumber": form.cardnumber.data}),
            consent=CONSENT,
        )

    def _start_form(self, **values: str) -> StartLinkForm:
        """Return the form with this library's counter terminals, the remembered or only one chosen.

        It asks for the consent to the wording that is shown with it.
        """
        shown = {"consent_version": CONSENT_VERSION, **values}
        form = StartLinkForm(formdata=None, data=shown) if values else StartLinkForm()
        names = {terminal.terminal_id: terminal.name for terminal in self._terminals()}
        form.terminal_id.choices = choices(names)
        remembered = request.cookies.get(TERMINAL_COOKIE)
        if not form.terminal_id.data and remembered in names:
            form.terminal_id.data = remembered
        elif not form.terminal_id.data and len(names) == 1:
            form.terminal_id.data = next(iter(names))
        return form

    def _terminals(self) -> list[Terminal]:
        terminals = self.services.staff.terminals(signed_in_librarian().library_id)
        return [
            terminal for terminal in terminals if terminal.kind is TerminalKind.COUNTER and terminal.active
        ]

    def _terminal_name(self, link_request: LinkRequest) -> str:
        names = {terminal.terminal_id: terminal.name for terminal in self._terminals()}
        return names.get(link_request.terminal_id, link_request.terminal_id)

    def _under_way(self) -> list[tuple[Terminal, LinkRequest]]:
        pending = [(terminal, self.services.registration.pending(terminal)) for terminal in self._terminals()]
        return [(terminal, link_request) for terminal, link_request in pending if link_request is not None]

    def _progress(self, link_request: LinkRequest) -> Progress:
        if link_request.link_id is None:
            return present(link_request, linked_until=None)
        link = self.services.registration.link(signed_in_librarian(), link_request.link_id)
        move = self.services.categories.move_of_link(link.library_id, link.link_id, MoveDirection.LINKED)
        until = self.services.registration.ending_of(link).at
        return present(link_request, linked_until=until, move=move)


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
