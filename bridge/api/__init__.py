"""The HTTP API for the agents beside the card readers; see docs/architecture.md, "HTTP API"."""

from __future__ import annotations

from flask import Blueprint

from bridge.api.calls import CALLS
from bridge.api.document_views import documentation_page, openapi_json
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
    blueprint = Blueprint(
        "api", __name__, url_prefix=URL_PREFIX, template_folder="templates", static_folder="static"
    )
    for call in CALLS:
        path = call.path.replace("{", "<").replace("}", ">")
        view = getattr(views, call.operation_id)
        blueprint.add_url_rule(path, call.operation_id, view, methods=[call.method])
    blueprint.add_url_rule("/openapi.json", "openapi", openapi_json, methods=["GET"])
    blueprint.add_url_rule("/docs", "docs", documentation_page, methods=["GET"])
    blueprint.register_error_handler(Exception, render_problem)
    return blueprint


__all__ = ["API_ROOT", "MAXIMUM_BODY", "create_blueprint", "log_unexpected", "render_problem"]
