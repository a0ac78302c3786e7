"""What the simulated Koha answers over REST, and its refusals in Koha's three shapes.

A controller refuses with an object that has ``error``; the validator of the specification with an
object that has ``errors``; an unknown query parameter with an array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus


@dataclass(frozen=True)
class RestReply:
    """A status, a JSON body, and headers; a body of None is no body at all."""

    status: HTTPStatus
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


class RestRefusal(Exception):
    """A route refuses with this reply."""

    def __init__(self, status: HTTPStatus, body: object) -> None:
        super().__init__(status)
        self.reply = RestReply(status, body)


def refusal(status: HTTPStatus, error: str, **more: object) -> RestRefusal:
    """Return a controller's refusal."""
    return RestRefusal(status, {"error": error, **more})


def bad_request(error: str, **more: object) -> RestRefusal:
    """Return a controller's 400."""
    return refusal(HTTPStatus.BAD_REQUEST, error, **more)


def not_found(error: str) -> RestRefusal:
    """Return a controller's 404."""
    return refusal(HTTPStatus.NOT_FOUND, error, error_code="not_found")


def invalid(path: str, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> RestRefusal:
    """Return a refusal of the specification's validator."""
    return RestRefusal(status, {"errors": [{"message": message, "path": path}], "status": status.value})


def unknown_parameters(names: Sequence[str]) -> RestRefusal:
    """Return the refusal of query parameters that the route does not know."""
    return RestRefusal(
        HTTPStatus.BAD_REQUEST,
        [{"path": f"/query/{name}", "message": "Malformed query string"} for name in names],
    )
