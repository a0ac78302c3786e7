"""The HTTP API for the agents beside the card readers and for Koha's staff pages (the desk).

See docs/architecture.md, "HTTP API".
"""

from __future__ import annotations

from flask import Blueprint, Response, request

from bridge.api.calls import CALLS, Caller
from bridge.api.desk_views import DeskViews
from bridge.api.document_views import documentation_page, openapi_json
from bridge.api.problems import render_problem
from bridge.api.schemas import MAXIMUM_BODY
from bridge.api.views import ApiViews
from bridge.services import Services

API_ROOT = "/api/"
"""Whatever lies under here is answered in JSON, errors as problem+json."""

URL_PREFIX = f"{API_ROOT}v1"

AT_THE_DESK = frozenset({Caller.LIBRARIAN, Caller.PLUGIN})


def create_blueprint(services: Services) -> Blueprint:
    """Return the API's blueprint over *services*."""
    views, desk = ApiViews(services), DeskViews(services)
    blueprint = Blueprint(
        "api", __name__, url_prefix=URL_PREFIX, template_folder="templates", static_folder="static"
    )
    for call in CALLS:
        path = _rule(call.path)
        view = getattr(desk if call.caller in AT_THE_DESK else views, call.operation_id)
        blueprint.add_url_rule(path, call.operation_id, view, methods=[call.method])
    blueprint.add_url_rule("/openapi.json", "openapi", openapi_json, methods=["GET"])
    blueprint.add_url_rule("/docs", "docs", documentation_page, methods=["GET"])
    blueprint.register_error_handler(Exception, render_problem)
    for_pages = {URL_PREFIX + _rule(call.path) for call in CALLS if call.caller is Caller.LIBRARIAN}

    @blueprint.after_request
    def allow_origin(response: Response) -> Response:
        rule = request.url_rule
        return desk.allow_origin(response) if rule is not None and rule.rule in for_pages else response

    return blueprint


def _rule(path: str) -> str:
    return path.replace("{", "<").replace("}", ">")


__all__ = ["API_ROOT", "MAXIMUM_BODY", "create_blueprint", "render_problem"]
