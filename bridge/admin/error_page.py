"""The page for an error at an address that no view of the admin answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import render_template
from flask_babel import get_locale, lazy_gettext

from bridge.admin.base import HTTP_PROBLEMS
from bridge.admin.words import PROBLEMS
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from flask_babel import LazyString
    from werkzeug.exceptions import HTTPException
    from werkzeug.sansio.response import Response

WRONG_HOST = lazy_gettext(
    "This system is not reached by this address. Please ask the administrator for the right one."
)


def error_page(error: HTTPException, problem: LazyString | None = None) -> Response:
    """Return an HTTP error as a page in the reader's language; an answer that leads elsewhere as it is.

    It needs no database. With a *problem* in place of the error's own words no link leads on.
    """
    answer = error.get_response()
    if answer.status_code >= HTTPStatus.BAD_REQUEST:
        answer.set_data(
            render_template(
                "bridge/error.html",
                language=str(get_locale()),
                problem=problem or HTTP_PROBLEMS.get(answer.status_code, PROBLEMS[BridgeError.slug]),
                leads_on=problem is None,
            )
        )
        answer.mimetype = "text/html"
    return answer
