"""What every page of the admin has in common: its frame, and one place where refusals become words."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from flask import flash, redirect, render_template, request, url_for
from flask_admin import BaseView
from flask_babel import LazyString, get_locale, gettext, lazy_gettext
from flask_login import UserMixin, current_user
from werkzeug.exceptions import HTTPException, InternalServerError

from bridge.admin.words import LANGUAGES, LIBRARIAN_ROLES, PROBLEMS
from bridge.errors import BridgeError, NotAllowed, StandingUnknown, StoreUnavailable
from bridge.models import Permission
from bridge.unexpected import log_unexpected

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Blueprint
    from flask.typing import ResponseReturnValue
    from flask_admin import Admin

    from bridge.models import Librarian
    from bridge.services import Services

HTTP_PROBLEMS: dict[int, LazyString] = {
    HTTPStatus.BAD_REQUEST: lazy_gettext(
        "This page was open too long, or the request was not complete. Please go back and try again."
    ),
    HTTPStatus.TOO_MANY_REQUESTS: lazy_gettext(
        "There were too many tries to log in from this address. Please wait a few minutes and try again."
    ),
    HTTPStatus.FORBIDDEN: PROBLEMS[NotAllowed.slug],
    HTTPStatus.NOT_FOUND: lazy_gettext("There is no such page."),
    HTTPStatus.METHOD_NOT_ALLOWED: lazy_gettext("There is no such page."),
}
"""What is said for an HTTP error; any other gets the words of ``internal-error``."""


GENERATION = ":"
"""Parts, in the cookie, the id from the session generation."""


class SignedIn(UserMixin):
    """The librarian of this session, as Flask-Login wants to see one."""

    def __init__(self, librarian: Librarian) -> None:
        self.librarian = librarian

    def get_id(self) -> str:
        """Return what the session cookie keeps: who, and in which generation of sessions."""
        return f"{self.librarian.librarian_id}{GENERATION}{self.librarian.session_generation}"


def signed_in_librarian() -> Librarian:
    """Return who is logged in. For code behind the guard."""
    return cast("Librarian", current_user.librarian)


def may(permission: Permission) -> bool:
    """Return whether somebody is logged in whose role has a permission."""
    return current_user.is_authenticated and signed_in_librarian().role.may(permission)


def may_work_at_the_counter() -> bool:
    """Return whether the librarian of this session may link and unlink cards."""
    return may(Permission.WORK_AT_THE_COUNTER)


class StaffView(BaseView):
    """A page of the admin. Subclasses name their services; refusals are dealt with here."""

    services: Services

    def create_blueprint(self, admin: Admin) -> Blueprint:
        """Register the one place where errors become words, for all addresses of this view."""
        blueprint: Blueprint = super().create_blueprint(admin)
        blueprint.register_error_handler(BridgeError, self.refused)
        blueprint.register_error_handler(StoreUnavailable, self.unavailable)
        blueprint.register_error_handler(StandingUnknown, self.unavailable)
        blueprint.register_error_handler(HTTPException, self.http_error)
        blueprint.register_error_handler(Exception, self.unexpected)
        return blueprint

    def refused(self, error: BridgeError) -> ResponseReturnValue:
        """Say why a service refused, on the page from which the librarian goes on."""
        flash(str(PROBLEMS[error.slug]), "danger")
        return redirect(self.refuge(), code=HTTPStatus.SEE_OTHER)

    def unavailable(self, error: StoreUnavailable | StandingUnknown) -> ResponseReturnValue:
        """Say it on a page that needs neither database nor Koha, not even to know who is logged in."""
        page = self._page("bridge/problem.html", librarian=None, problem=PROBLEMS[error.slug])
        return page, HTTPStatus.SERVICE_UNAVAILABLE

    def refuge(self) -> str:
        """Return where the librarian goes on after a refusal: the view's first page."""
        return url_for(f"{self.endpoint}.{self._default_view}")

    def http_error(self, error: HTTPException) -> ResponseReturnValue:
        """Show an HTTP error as a page of the admin."""
        code = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
        page = self.render("bridge/problem.html", problem=HTTP_PROBLEMS.get(code, PROBLEMS[BridgeError.slug]))
        retry_after = getattr(error, "retry_after", None)
        return page, code, {} if retry_after is None else {"Retry-After": str(retry_after)}

    def unexpected(self, error: Exception) -> ResponseReturnValue:
        """Log what nobody foresaw; the page says no more than that it happened."""
        log_unexpected(error)
        return self.http_error(InternalServerError())

    def render(self, template: str, **values: Any) -> str:
        """Render a page in the admin's frame."""
        return self._page(template, **self._signed_in_values(), **values)

    def _page(self, template: str, **values: Any) -> str:
        return render_template(
            template,
            admin_view=self,
            language=str(get_locale()),
            languages=LANGUAGES,
            here=request.path if request.method == "GET" else self.refuge(),
            # Where a form names no address, it keeps the fragment to which the link past the menu led, and a
            # browser that looks for a fragment minds no autofocus.
            this_address=request.full_path.removesuffix("?"),
            **values,
        )

    def _signed_in_values(self) -> dict[str, object]:
        if not current_user.is_authenticated:
            return {"librarian": None}
        librarian = signed_in_librarian()
        return {
            "librarian": librarian,
            "awaiting_approval": self._awaiting_approval(librarian),
            "role": LIBRARIAN_ROLES[librarian.role],
            "library_name": self.services.library_names.get(librarian.library_id, gettext("All libraries")),
        }

    def _awaiting_approval(self, librarian: Librarian) -> int:
        """Return how many requests of others this librarian can decide."""
        if librarian.role.may(Permission.WORK_AT_THE_COUNTER):
            with suppress(StoreUnavailable):  # the page itself will say so, or does
                return self.services.bulk_unlinking.count_waiting(librarian)
        return 0

    def _run_view(self, view: Callable[..., Any], *args: Any, **values: Any) -> Any:
        # Flask-Admin would run a view that raises TypeError a second time, with other arguments.
        return view(self, *args, **values)
