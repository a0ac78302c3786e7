"""The small window in which a librarian opens the desk for Koha's pages, where Koha has no plugin.

Koha's page opens it; what it gives back goes to the configured origin of the librarian's own Koha and to
nobody else. It reads no log-in of the admin: each window asks for the password.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import abort, make_response, request, url_for
from flask_admin import expose
from flask_babel import gettext

from bridge.admin.base import StaffView
from bridge.admin.forms import DeskLogInForm

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from bridge.services import Services


class DeskWindow(StaffView):
    """The window's one page."""

    def __init__(self, services: Services) -> None:
        super().__init__(name=None, endpoint="desk_window", url="desk")
        self.services = services

    def is_visible(self) -> bool:
        """Keep the window out of the menu."""
        return False

    def refuge(self) -> str:
        """After a refusal, ask again for the same Koha."""
        return url_for("desk_window.sign_in", origin=request.args.get("origin"))

    @expose("/", methods=("GET", "POST"))
    def sign_in(self) -> ResponseReturnValue:
        """Ask for name and password; hand the token to the page that opened the window."""
        origin = request.args.get("origin", "")
        if not self.services.desk.is_koha(origin):
            abort(HTTPStatus.NOT_FOUND)
        form = DeskLogInForm()
        opened = None
        if form.validate_on_submit():
            opened = self.services.desk.open_by_password(
                form.login_name.data, form.password.data, origin, form.code.data
            )
        page = self.render("bridge/desk_window.html", form=form, origin=origin, opened=opened)
        response = make_response(page)
        # With any other value the browser would cut the window off from the page that opened it.
        response.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"
        return response

    def _signed_in_values(self) -> dict[str, object]:
        return {"librarian": None, "window_name": gettext("Log in for Koha")}
