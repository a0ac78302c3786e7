"""The HTTP API for the agents beside the card readers; see docs/architecture.md, "HTTP API"."""

from __future__ import annotations

from flask import Blueprint

from bridge.api.problems import log_unexpected, render_problem
from bridge.api.schemas import MAXIMUM_BODY
from bridge.api.views import ApiViews
from bridge.services import Services

API_ROOT = "/api/"
"""Whatever lies under here is answered in JSON, errors as problem+json."""

URL_PREFIX = f"{API_ROOT}v1"


def create_blueprint(services: Services) -> Blueprint:
    """Return the API's blueprint over *services*."""
    views = ApiViews(services)
    blueprint = Blueprint("api", __name__, url_prefix=URL_PREFIX)
    blueprint.add_url_rule("/terminal", "terminal", views.terminal, methods=["GET"])
    blueprint.add_url_rule("/challenges", "begin", views.begin, methods=["POST"])
    blueprint.add_url_rule(
        "/challenges/<challenge_id>/progress", "progress", views.progress, methods=["POST"]
    )
    blueprint.add_url_rule("/challenges/<challenge_id>/response", "respond", views.respond, methods=["POST"])
    blueprint.register_error_handler(Exception, render_problem)
    return blueprint


__all__ = ["API_ROOT", "MAXIMUM_BODY", "create_blueprint", "log_unexpected", "render_problem"]
