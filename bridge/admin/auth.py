"""Who may see the admin: log-in, log-out, the idle limit, and the guard before every request.

Default deny: what is under ``/admin`` and not named in ``OPEN_ENDPOINTS`` needs a log-in, the
addresses that do not exist too.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Flask, flash, redirect, request, session, url_for
from flask_admin import expose
from flask_babel import gettext
from flask_login import LoginManager, current_user, login_user, logout_user
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, NotFound, TooManyRequests

from bridge.admin.account import SET_UP_ENDPOINTS
from bridge.admin.base import (
    GENERATION,
    HTTP_PROBLEMS,
    SignedIn,
    StaffView,
    may,
    may_work_at_the_counter,
    signed_in_librarian,
)
from bridge.admin.forms import CodeForm, LanguageForm, LogInForm
from bridge.admin.words import LANGUAGES, PROBLEMS
from bridge.errors import KohaPermissionMissing, LibrarianNotFound, SecondFactorNeeded
from bridge.models import Permission

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from bridge.models import Librarian
    from bridge.rate_limit import RateLimit
    from bridge.services import Services

ADMIN_URL = "/admin"

OPEN_ENDPOINTS = frozenset(
    {"admin.log_in", "admin.second_factor", "admin.choose_language", "assets.static", "desk_window.sign_in"}
)
"""All that a stranger reaches: both halves of the log-in, its language, its style, the window for Koha."""

LOG_IN_ENDPOINTS = frozenset({"admin.log_in", "admin.second_factor", "desk_window.sign_in"})
"""Where a password or a code is tried by who is not logged in."""

POLLING_ENDPOINTS = frozenset({"counter.state"})
"""What a page asks by itself. It is no work of the librarian's, or the idle limit would never come."""

LAST_ACTIVE = "last_active"
HALF_LOGGED_IN = "half_logged_in"
"""Who gave the right password, in which generation of sessions, and when: worth a code's entry, no more."""

WAYS_OUT = frozenset({"admin.log_out"})
"""What works without asking Koha: nobody is kept logged in because it does not answer."""

HALF_LOG_IN_LIFETIME = timedelta(minutes=5)
LANGUAGE = "language"


def is_admin(path: str) -> bool:
    """Return whether *path* belongs to the admin."""
    return path == ADMIN_URL or path.startswith(f"{ADMIN_URL}/")


def local_path(target: str | None) -> str:
    """Return *target* if it is a page of the admin, otherwise the admin's first page: no open redirect."""
    if target is None or not is_admin(target) or urlsplit(target)[:2] != ("", ""):
        return f"{ADMIN_URL}/"
    # A browser reads "\\" as "/", and what cannot be printed, such as a line break, stands in no header.
    return target if target.isprintable() and "\\" not in target else f"{ADMIN_URL}/"


def choose_locale() -> str | None:
    """Return the language that the librarian chose, or else the browser's, or None for the default."""
    chosen: str | None = session.get(LANGUAGE)
    return chosen if chosen in LANGUAGES else request.accept_languages.best_match(LANGUAGES)


class FrontDoor(StaffView):
    """Log-in, log-out, the choice of language, and the way from ``/admin`` to the first page."""

    def __init__(self, services: Services) -> None:
        super().__init__(endpoint="admin", url=ADMIN_URL)
        self.services = services

    def is_visible(self) -> bool:
        """Keep the front door out of the menu."""
        return False

    def refuge(self) -> str:
        """After a refused log-in, go on at the same half of it with the same aim."""
        half = request.endpoint == "admin.second_factor"
        return url_for("admin.second_factor" if half else "admin.log_in", next=request.args.get("next"))

    def http_error(self, error: HTTPException) -> ResponseReturnValue:
        """A log-in page left open overnight has lost its CSRF token: show it again with a new one."""
        if isinstance(error, CSRFError) and request.endpoint == "admin.log_in":
            flash(str(HTTP_PROBLEMS[HTTPStatus.BAD_REQUEST]), "warning")
            return self._log_in_page(LogInForm(formdata=None)), HTTPStatus.BAD_REQUEST
        return super().http_error(error)

    @expose("/")
    def index(self) -> ResponseReturnValue:
        """Go to the desk; who may not work there goes to the lists, or to the libraries."""
        return redirect(url_for(first_page()))

    @expose("/login", methods=("GET", "POST"))
    def log_in(self) -> ResponseReturnValue:
        """Show the log-in page; begin a session."""
        form = LogInForm()
        if not form.validate_on_submit():
            return self._log_in_page(form)
        try:
            librarian = self.services.staff.log_in(form.login_name.data, form.password.data)
        except SecondFactorNeeded as half:
            enter_half(half.librarian, self._now())
            aim = url_for("admin.second_factor", next=request.args.get("next"))
            return redirect(aim, code=HTTPStatus.SEE_OTHER)
        enter(librarian, self._now())
        return redirect(local_path(request.args.get("next")), code=HTTPStatus.SEE_OTHER)

    @expose("/login/code", methods=("GET", "POST"))
    def second_factor(self) -> ResponseReturnValue:
        """Ask for the code, of who has given the password within the last minutes."""
        half = half_logged_in(self._now())
        if half is None:
            return redirect(url_for("admin.log_in", next=request.args.get("next")))
        form = CodeForm()
        if not form.validate_on_submit():
            return self.render("bridge/code.html", form=form)
        librarian = self.services.own_account.complete_log_in(*half, form.code.data)
        enter(librarian, self._now())
        return redirect(local_path(request.args.get("next")), code=HTTPStatus.SEE_OTHER)

    def _log_in_page(self, form: LogInForm) -> str:
        has_koha_sign_in = self.services.staff.has_koha_sign_in()
        return self.render("bridge/login.html", form=form, has_koha_sign_in=has_koha_sign_in)

    def _now(self) -> float:
        return self.services.clock().timestamp()

    @expose("/logout", methods=("POST",))
    def log_out(self) -> ResponseReturnValue:
        """End the session, and every other of this librarian's: no copy of the cookie outlives it."""
        self.services.staff.log_out(signed_in_librarian())
        leave()
        flash(gettext("You are logged out."), "success")
        return redirect(url_for("admin.log_in"), code=HTTPStatus.SEE_OTHER)

    @expose("/language", methods=("POST",))
    def choose_language(self) -> ResponseReturnValue:
        """Keep the chosen language in the session."""
        form = LanguageForm()
        if form.validate_on_submit():
            session[LANGUAGE] = form.language.data
        return redirect(local_path(request.args.get("next")), code=HTTPStatus.SEE_OTHER)

    @expose("/<path:path>")
    def nowhere(self, path: str) -> ResponseReturnValue:
        """Answer what is nowhere else in the admin's own words."""
        raise NotFound


def first_page() -> str:
    """Return the endpoint at which a role begins its work."""
    if may_work_at_the_counter():
        return "counter.index"
    return "links.index_view" if may(Permission.SEE_RECORDS) else "libraries.index_view"


def enter(librarian: Librarian, now: float) -> None:
    """Begin a session. What was in the cookie before, its CSRF token too, is worth nothing after."""
    forget_session()
    session[LAST_ACTIVE] = now
    login_user(SignedIn(librarian))


def enter_half(librarian: Librarian, now: float) -> None:
    """Remember that the password was right. Nobody is logged in by it."""
    leave()
    session[HALF_LOGGED_IN] = [librarian.librarian_id, librarian.session_generation, now]


def half_logged_in(now: float) -> tuple[str, int] | None:
    """Return who gave the right password not long ago, and in which generation of sessions."""
    librarian_id, generation, since = session.get(HALF_LOGGED_IN, (None, 0, 0))
    if librarian_id is None or abs(now - since) > HALF_LOG_IN_LIFETIME.total_seconds():
        return None
    return librarian_id, generation


def leave() -> None:
    """End the session."""
    logout_user()
    forget_session()


def forget_session() -> None:
    """Empty the session; only the language is no secret and stays."""
    language = session.get(LANGUAGE)
    session.clear()
    if language:
        session[LANGUAGE] = language


def _has_nul() -> bool:
    """Say whether the address holds what nothing is kept under: PostgreSQL's texts know no NUL."""
    values = (value for values in request.args.listvalues() for value in values)
    return any("\0" in text for text in (request.path, *values))


def _bound_log_ins(log_ins: RateLimit, now: datetime) -> None:
    """Let an address try no more passwords and codes than it may."""
    if request.method != "POST" or request.endpoint not in LOG_IN_ENDPOINTS:
        return
    seconds = log_ins.wait(request.remote_addr, now)
    if seconds:
        raise TooManyRequests(retry_after=seconds)


def _lead_to_set_up(services: Services) -> ResponseReturnValue | None:
    """Lead who must have a second factor, and has none, to where it is set up."""
    must_set_up = services.own_account.must_set_up_second_factor(signed_in_librarian())
    if must_set_up and request.endpoint not in SET_UP_ENDPOINTS:
        return redirect(url_for("account.second_factor"))
    return None


def init_auth(app: Flask, services: Services, idle_limit: timedelta, log_ins: RateLimit) -> None:
    """Put the guard before everything under ``/admin``."""
    # No page asks who is logged in by itself: one that says the database is away could not be shown.
    manager = LoginManager(app, add_context_processor=False)
    manager.session_protection = "strong"

    @manager.user_loader
    def load(session_id: str) -> SignedIn | None:
        librarian_id, _, generation = session_id.partition(GENERATION)
        try:
            return SignedIn(services.staff.librarian_of_session(librarian_id, int(generation)))
        except (LibrarianNotFound, ValueError):  # a cookie of an earlier version has no generation
            return None

    app.before_request(lambda: _bound_log_ins(log_ins, services.clock()))

    @app.before_request
    def guard() -> ResponseReturnValue | None:
        if not is_admin(request.path) or request.endpoint in OPEN_ENDPOINTS:
            return None
        now = services.clock().timestamp()
        idle = abs(now - session.get(LAST_ACTIVE, 0))  # a clock that stepped back lengthens no session
        if current_user.is_authenticated and idle > idle_limit.total_seconds():
            leave()
            flash(gettext("You were logged out because nothing was done for a while."), "warning")
        if not current_user.is_authenticated:
            return redirect(url_for("admin.log_in", next=request.path))
        if request.endpoint not in WAYS_OUT and not services.staff.may_go_on(signed_in_librarian()):
            leave()
            flash(str(PROBLEMS[KohaPermissionMissing.slug]), "danger")
            return redirect(url_for("admin.log_in"))
        if request.endpoint not in POLLING_ENDPOINTS:
            session[LAST_ACTIVE] = now
        if _has_nul():
            raise NotFound
        return _lead_to_set_up(services)
