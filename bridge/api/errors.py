"""What the API itself refuses, before a service is asked. Words stand in ``bridge.api.problems``.

::

    ApiError
    ├ MalformedRequest(fault, field)
    └ TerminalNotAuthenticated
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import ClassVar


@unique
class RequestFault(StrEnum):
    """What is wrong with a request's body, or with one field of it."""

    NOT_JSON = "not-json"
    NOT_AN_OBJECT = "not-an-object"
    REPEATED = "repeated"
    MISSING = "missing"
    UNKNOWN = "unknown"
    WRONG_TYPE = "wrong-type"
    NOT_ALLOWED = "not-allowed"
    NOT_BASE64 = "not-base64"
    TOO_LONG = "too-long"


class ApiError(Exception):
    """Base of the tree; never raised itself."""

    slug: ClassVar[str]


class MalformedRequest(ApiError):
    """The body is not what the call takes.

    *field* names the first field at fault, None for the whole body. An unknown field is not named: its
    name is the sender's text, and nothing of the sender's text is repeated.
    """

    slug = "malformed-request"

    def __init__(self, fault: RequestFault, field: str | None = None) -> None:
        super().__init__(f"{field}: {fault}" if field else str(fault))
        self.fault = fault
        self.field = field


class TerminalNotAuthenticated(ApiError):
    """The request carries no terminal token, or none of a terminal in service."""

    slug = "terminal-not-authenticated"
