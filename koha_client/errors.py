"""Everything that can go wrong between us and Koha, and what Koha's refusals mean. Pure.

"No usable answer" and "an answer we dislike" are different branches. Bases are never raised
themselves. No text in here carries a card number, a name or Koha's own words, which may repeat them.

::

    KohaError
    ├ KohaUnavailable                    no usable answer
    │  ├ ConnectFailed                   retry: safe
    │  ├ ConnectTimedOut                 retry: safe
    │  ├ InMaintenance                   retry: safe
    │  ├ ReadTimedOut                    retry: if idempotent
    │  ├ ConnectionLost                  retry: if idempotent
    │  ├ ServerFailed(status)            retry: if idempotent
    │  ├ MalformedAnswer                 retry: if idempotent
    │  ├ TlsFailed                       retry: never, the certificate stays what it is
    │  └ RequestNotSent                  retry: never, the settings stay what they are
    ├ KohaRejected(status)               retry: never
    │  ├ BadRequest(messages)            400
    │  ├ KohaUnauthorized                401, or a refused client id and secret
    │  ├ KohaForbidden(required_permissions)   403
    │  ├ PatronNotFound                  404
    │  └ Conflict(field)                 409
    └ SeveralPatrons                     retry: never; one card number, more than one patron
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, unique
from typing import ClassVar


@unique
class Retry(Enum):
    """Whether the same request may be sent again after an error."""

    SAFE = "Koha has not begun to act on the request"
    IF_IDEMPOTENT = "Koha may have acted on the request"
    NEVER = "the same request would fail again"


class KohaError(Exception):
    """Base of the tree; never raised itself."""

    retry: ClassVar[Retry] = Retry.NEVER


class KohaUnavailable(KohaError):
    """There was no usable answer; never raised itself."""


class ConnectFailed(KohaUnavailable):
    """No connection: refused, no route, or the name is unknown."""

    retry = Retry.SAFE


class ConnectTimedOut(KohaUnavailable):
    """No connection within the time given."""

    retry = Retry.SAFE


class InMaintenance(KohaUnavailable):
    """Koha says that it is under maintenance (503)."""

    retry = Retry.SAFE


class ReadTimedOut(KohaUnavailable):
    """Connected, but no answer within the time given."""

    retry = Retry.IF_IDEMPOTENT


class ConnectionLost(KohaUnavailable):
    """The connection broke before the answer began."""

    retry = Retry.IF_IDEMPOTENT


class ServerFailed(KohaUnavailable):
    """Koha, or a proxy before it, failed (5xx)."""

    retry = Retry.IF_IDEMPOTENT

    def __init__(self, status: int) -> None:
        super().__init__(f"the server failed with status {status}")
        self.status = status


class MalformedAnswer(KohaUnavailable):
    """The answer is not what Koha's REST API would say: HTML, half a body, too long, a wrong type."""

    retry = Retry.IF_IDEMPOTENT


class TlsFailed(KohaUnavailable):
    """The server's certificate is not trusted, or TLS failed otherwise."""


class RequestNotSent(KohaUnavailable):
    """The request could not be made at all: a wrong address or proxy setting."""


class KohaRejected(KohaError):
    """Koha answered, and the answer is no.

    ``error_code`` is Koha's machine-readable code, on the routes that have one.
    """

    def __init__(self, status: int, message: str | None = None, *, error_code: str | None = None) -> None:
        super().__init__(message or f"Koha refused with status {status}")
        self.status = status
        self.error_code = error_code


class BadRequest(KohaRejected):
    """Koha cannot make sense of the request (400).

    ``messages`` are Koha's own words. They may repeat what was sent, so they are not in the text.
    """

    def __init__(self, messages: tuple[str, ...], *, error_code: str | None = None) -> None:
        super().__init__(400, error_code=error_code)
        self.messages = messages


class KohaUnauthorized(KohaRejected):
    """Koha does not know us: token, client id or secret is wrong, or OAuth2 is switched off."""


class KohaForbidden(KohaRejected):
    """Our account in Koha lacks a permission (403), such as ``borrowers:list_borrowers``."""

    def __init__(self, required_permissions: tuple[str, ...]) -> None:
        super().__init__(403, f"missing permission: {' or '.join(required_permissions)}")
        self.required_permissions = required_permissions


class PatronNotFound(KohaRejected):
    """No such patron, or one that our account may not see (404)."""

    def __init__(self) -> None:
        super().__init__(404, "no such patron")


class Conflict(KohaRejected):
    """Something else has this value already (409); ``field`` is Koha's name of the field."""

    def __init__(self, field: str | None, *, error_code: str | None = None) -> None:
        super().__init__(409, error_code=error_code)
        self.field = field


class SeveralPatrons(KohaError):
    """Koha found more than one patron for one card number; none of them is taken."""


FIRST_FAILING_STATUS = 300
"""Whatever is not 2xx is no answer for us; redirects are never followed."""


def error_for_answer(status: int, body: object) -> KohaError:
    """Return the typed error for a failing status and its JSON body (None where it is no JSON).

    The body has one of three shapes: a controller's object with ``error``, the OpenAPI validator's
    object with ``errors``, or an array for an unknown query parameter.
    """
    said = body if isinstance(body, dict) else {}
    error_code = said.get("error_code")
    error_code = error_code if isinstance(error_code, str) else None
    by_koha = "error" in said
    if status == 503 and by_koha:
        return InMaintenance()
    if status >= 500:
        return ServerFailed(status)
    if status == 400:
        return BadRequest(tuple(_messages(body)), error_code=error_code)
    if status == 401:
        return KohaUnauthorized(status)
    if status == 403 and "required_permissions" in said:
        return KohaForbidden(tuple(_permissions(said["required_permissions"])))
    if status == 404 and by_koha:  # a wrong path or a proxy says 404 too, but not like this
        return PatronNotFound()
    if status == 409:
        conflict = said.get("conflict")
        field = conflict.rpartition(".")[2] if isinstance(conflict, str) else None
        return Conflict(field, error_code=error_code)
    return KohaRejected(status, error_code=error_code)


def _messages(body: object) -> Iterator[str]:
    if isinstance(body, dict) and isinstance(body.get("error"), str):
        yield body["error"]
    errors = body.get("errors") if isinstance(body, dict) else body
    for error in errors if isinstance(errors, list) else []:
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            yield f"{error.get('path', '')}: {error['message']}"


def _permissions(required: object, module: str = "") -> Iterator[str]:
    """Yield ``module:permission`` for what Koha wants: a word, an object, or an array of these."""
    if isinstance(required, dict):
        for name, inner in required.items():
            yield from _permissions(inner, str(name))
    elif isinstance(required, list):
        for inner in required:
            yield from _permissions(inner, module)
    else:
        yield f"{module}:{required}" if module else str(required)
