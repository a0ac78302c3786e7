"""The pages of one's own account: the password, and the second factor.

The secret of a second factor is shown while it does not count yet, on the page and in a picture of this
same site; it stands in no address, no cookie and no log.
"""

from __future__ import annotations

from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING

import segno
from flask import Response, abort, flash, redirect, request, url_for
from flask_admin import expose
from flask_babel import gettext, lazy_gettext

from bridge.accounts.second_factor import grouped, provisioning_uri
from bridge.admin.base import StaffView, signed_in_librarian
from bridge.admin.forms import ChangePasswordForm, CodeForm, OwnPasswordForm

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.typing import ResponseReturnValue

    from bridge.models import Librarian
    from bridge.services import Services

SET_UP_ENDPOINTS = frozenset(
    {
        "account.second_factor",
        "account.propose_second_factor",
        "account.second_factor_picture",
        "admin.log_out",
    }
)
"""All that is reached by who must have a second factor and has none."""


class AccountView(StaffView):
    """The own account, of whoever is logged in."""

    def __init__(self, services: Services, enter: Callable[[Librarian], None]) -> None:
        super().__init__(name=lazy_gettext("Own account"), endpoint="account", url="account")
        self.services = services
        self._enter = enter

    def is_visible(self) -> bool:
        """Keep it out of the menu: it stands at the name of who is logged in."""
        return False

    @expose("/")
    def index(self) -> ResponseReturnValue:
        """Show what can be changed."""
        return self._account_page(ChangePasswordForm(formdata=None), CodeForm(formdata=None))

    @expose("/password", methods=("POST",))
    def change_password(self) -> ResponseReturnValue:
        """Replace the password; every other browser is logged out."""
        form = ChangePasswordForm()
        if not form.validate_on_submit():
            return self._account_page(form, CodeForm(formdata=None))
        changed = self.services.own_account.change_password(
            signed_in_librarian(), form.current.data, form.new.data
        )
        self._enter(changed)
        flash(gettext("The password was changed. Every other browser is logged out."), "success")
        return redirect(url_for("account.index"), code=HTTPStatus.SEE_OTHER)

    @expose("/second-factor", methods=("GET", "POST"))
    def second_factor(self) -> ResponseReturnValue:
        """Show the secret that was drawn, and let it count once a code of it is given."""
        librarian = signed_in_librarian()
        if librarian.has_second_factor:
            return redirect(url_for("account.index"))
        form = CodeForm()
        if form.validate_on_submit():
            self.services.own_account.confirm_second_factor(librarian, form.code.data)
            flash(gettext("The second factor is set up. From now on the log-in asks for a code."), "success")
            return redirect(url_for("admin.index"), code=HTTPStatus.SEE_OTHER)
        return self._set_up_page(librarian, form, OwnPasswordForm(formdata=None))

    @expose("/second-factor/new", methods=("POST",))
    def propose_second_factor(self) -> ResponseReturnValue:
        """Draw a secret, for who gives the password again."""
        librarian, form = signed_in_librarian(), OwnPasswordForm()
        if not form.validate_on_submit():
            return self._set_up_page(librarian, CodeForm(formdata=None), form)
        self.services.own_account.propose_second_factor(librarian, form.password.data)
        return redirect(url_for("account.second_factor"), code=HTTPStatus.SEE_OTHER)

    @expose("/second-factor/picture.svg")
    def second_factor_picture(self) -> ResponseReturnValue:
        """Answer the QR code of a secret that does not count yet."""
        librarian = signed_in_librarian()
        secret = self.services.own_account.proposed_secret(librarian)
        if secret is None:
            abort(HTTPStatus.NOT_FOUND)
        picture = BytesIO()
        code = segno.make_qr(provisioning_uri(secret, librarian.login_name), error="m")
        code.save(picture, kind="svg", scale=5, border=4, light="#fff", svgclass=None, lineclass=None)
        return Response(picture.getvalue(), mimetype="image/svg+xml")

    @expose("/second-factor/remove", methods=("POST",))
    def remove_second_factor(self) -> ResponseReturnValue:
        """Give the second factor up."""
        form = CodeForm()
        if not form.validate_on_submit():
            return self._account_page(ChangePasswordForm(formdata=None), form)
        self.services.own_account.remove_second_factor(signed_in_librarian(), form.code.data)
        flash(gettext("The second factor is removed."), "success")
        return redirect(url_for("account.index"), code=HTTPStatus.SEE_OTHER)

    def refuge(self) -> str:
        """After a refusal, go on where the form was."""
        at_set_up = request.endpoint in SET_UP_ENDPOINTS
        return url_for("account.second_factor" if at_set_up else "account.index")

    def _account_page(self, password_form: ChangePasswordForm, code_form: CodeForm) -> str:
        return self.render("bridge/account.html", password_form=password_form, code_form=code_form)

    def _set_up_page(self, librarian: Librarian, code_form: CodeForm, password_form: OwnPasswordForm) -> str:
        own_account = self.services.own_account
        secret = own_account.proposed_secret(librarian)
        return self.render(
            "bridge/second_factor.html",
            code_form=code_form,
            password_form=password_form,
            secret=None if secret is None else grouped(secret),
            required=own_account.must_set_up_second_factor(librarian),
        )
