"""The Flask application: the API, the admin, error handlers and security headers; nothing else."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

from flask import Flask, Request, Response, request
from flask.sessions import SecureCookieSession
from flask.typing import ResponseReturnValue
from flask_babel import LazyString
from flask_wtf.csrf import CSRFProtect
from werkzeug.exceptions import BadRequest, HTTPException, InternalServerError
from werkzeug.middleware.proxy_fix import ProxyFix

from bridge.admin import Calendar, init_admin
from bridge.admin.error_page import WRONG_HOST, error_page
from bridge.admin.lists import SessionFactory
from bridge.admin.session_cookie import PatientSessions
from bridge.api import API_ROOT, MAXIMUM_BODY, create_blueprint, render_problem
from bridge.rate_limit import RateLimit
from bridge.services import Services
from bridge.unexpected import log_unexpected
from config.settings import WebSettings

SECURITY_HEADERS = {
    # No page needs an inline script or style, nothing comes from another host, nothing is framed.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # Flask-WTF compares the referrer over HTTPS
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""On every answer that has no such header of its own (style sheets may be cached)."""

HEALTH = "/healthz"

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
"""By what the bridge is reached where the settings name no host, which production refuses."""

LOG_IN_WINDOW = timedelta(minutes=5)

STRICT_TRANSPORT_SECURITY = "max-age=31536000"
"""One year (RFC 6797), where cookies are for HTTPS alone."""


class AdminSessions(PatientSessions):
    """Sessions for the admin's pages; the API's callers carry a token, and their cookies are not read."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Return the session of a page, None for a call of the API."""
        return None if request.path.startswith(API_ROOT) else super().open_session(app, request)


def create_app_from(services: Services, session_factory: SessionFactory, web: WebSettings) -> Flask:
    """Return the application over *services*; *session_factory* is for the admin's lists."""
    app = Flask("bridge", static_folder=None)
    app.session_interface = AdminSessions()
    app.config.update(
        SECRET_KEY=web.secret_key,
        MAX_CONTENT_LENGTH=MAXIMUM_BODY,
        SESSION_COOKIE_SECURE=web.secure_cookies,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
    )
    if web.proxy_hops:
        hops = web.proxy_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]
    _refuse_other_hosts(app, frozenset(host.casefold() for host in web.hosts or LOOPBACK_HOSTS))
    api = create_blueprint(services)
    CSRFProtect(app).exempt(api)  # its callers carry a token of their own and no cookie
    app.register_blueprint(api)
    init_admin(
        app,
        services,
        session_factory,
        idle_limit=timedelta(minutes=web.session_idle_minutes),
        log_ins=RateLimit(web.log_ins_per_address, LOG_IN_WINDOW),
        calendar=Calendar(web.calendar),
    )
    app.add_url_rule(HEALTH, "healthz", _healthz)
    app.register_error_handler(Exception, _on_error)
    headers = dict(SECURITY_HEADERS)
    if web.secure_cookies:
        headers["Strict-Transport-Security"] = STRICT_TRANSPORT_SECURITY

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        return response

    return app


def _refuse_other_hosts(app: Flask, hosts: frozenset[str]) -> None:
    """Answer 400 to requests for a host that is not ours, before anything is made of its name."""

    @app.before_request
    def check_host() -> ResponseReturnValue | None:
        if request.path == HEALTH:  # whoever watches asks by address, and is told nothing else
            return None
        try:
            # Read as an address is: with or without a port, an IPv6 address in brackets.
            name = urlsplit(f"//{request.headers.get('Host', '')}").hostname
        except ValueError:
            name = None
        return None if name in hosts else _on_error(BadRequest(), WRONG_HOST)


def _healthz() -> ResponseReturnValue:
    return {"status": "ok"}


def _on_error(error: Exception, problem: LazyString | None = None) -> ResponseReturnValue:
    """Answer what no blueprint has answered: problem+json under ``/api``, a page elsewhere."""
    if request.path.startswith(API_ROOT):
        return render_problem(error)
    if isinstance(error, HTTPException):
        return error_page(error, problem)
    log_unexpected(error)
    return error_page(InternalServerError())
