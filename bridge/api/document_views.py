"""The API's description, for programs and for people. No token is asked for: nothing in it is secret."""

from __future__ import annotations

from flask import Response, json, render_template, url_for

from bridge.api.calls import CALLS, problems_of
from bridge.api.openapi import ABOUT, TITLE, openapi_document, problem_rows
from bridge.api.problems import TYPE_PREFIX, preferred_language


def openapi_json() -> Response:
    """``GET /openapi.json``."""
    language = preferred_language()
    document = openapi_document(_root(), language)
    response = Response(json.dumps(document, ensure_ascii=False), mimetype="application/json")
    response.headers["Content-Language"] = language
    return response


def documentation_page() -> str:
    """``GET /docs``: the same for a person who integrates a machine."""
    language = preferred_language()
    document = openapi_document(_root(), language)
    return render_template(
        "api_documentation.html",
        language=language,
        title=TITLE.in_language(language),
        about=ABOUT.in_language(language),
        root=_root(),
        paths=document["paths"],
        problems=problem_rows(slug for call in CALLS for slug in problems_of(call)),
        type_prefix=TYPE_PREFIX,
    )


def _root() -> str:
    return url_for("api.openapi").removesuffix("/openapi.json")
