"""The Flask application: the API, the admin, error handlers and security headers; nothing else."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask, Response, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect
from werkzeug.exceptions import HTTPException, InternalServerError

from bridge.admin import init_admin
from bridge.admin.lists import SessionFactory
from bridge.api import API_ROOT, MAXIMUM_BODY, create_blueprint, render_problem
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

STRICT_TRANSPORT_SECURITY = "max-age=31536000"
"""One year (RFC 6797), where cookies are for HTTPS alone."""


def create_app_from(services: Services, session_factory: SessionFactory, web: WebSettings) -> Flask:
    """Return the application over *services*; *session_factory* is for the admin's lists."""
    app = Flask("bridge", static_folder=None)
    app.config.update(
        SECRET_KEY=web.secret_key,
        MAX_CONTENT_LENGTH=MAXIMUM_BODY,
        SESSION_COOKIE_SECURE=web.secure_cookies,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
    )
    api = create_blueprint(services)
    CSRFProtect(app).exempt(api)  # its callers carry a token of their own and no cookie
    app.register_blueprint(api)
    init_admin(app, services, session_factory, idle_limit=timedelta(minutes=web.session_idle_minutes))
    app.add_url_rule("/healthz", "healthz", _healthz)
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


def _healthz() -> ResponseReturnValue:
    return {"status": "ok"}


def _on_error(error: Exception) -> ResponseReturnValue:
    """Answer what no blueprint has answered: problem+json under ``/api``, a plain page elsewhere."""
    if request.path.startswith(API_ROOT):
        return render_problem(error)
    if isinstance(error, HTTPException):
        return error
    log_unexpected(error)
    return InternalServerError()
