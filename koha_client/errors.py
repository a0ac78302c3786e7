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
    │  │  └ UnknownReference(field)      such as a category that does not exist
    │  ├ KohaUnauthorized                401, or a refused client id and secret
    │  │  └ PreferenceOff(preference)    this way to log in is switched off
    │  ├ KohaForbidden(required_permissions)   403
    │  ├ RecordNotFound                  404 in Koha's words
    │  │  └ PatronNotFound
    │  ├ NotOffered(first_version)       404 or 405 on a route that older releases lack
    │  ├ PluginMissing                   404 or 405 on a route that the bridge's plugin brings
    │  └ Conflict(field)                 409
    ├ SeveralPatrons                     retry: never; one card number, more than one patron
    ├ PatronChangedMeanwhile             retry: never; read and judge the patron again
    └ CardnumberRefused                  retry: never; no number that Koha would keep as it is
"""

from __future__ import annotations

import re
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


class UnknownReference(BadRequest):
    """A field names something that does not exist in Koha, such as a ``category_id`` (400)."""

    def __init__(self, field: str, messages: tuple[str, ...]) -> None:
        super().__init__(messages)
        self.field = field


class KohaUnauthorized(KohaRejected):
    """Koha does not know us: token, client id or secret is wrong, or a preference is off."""


class PreferenceOff(KohaUnauthorized):
    """Koha has this way to log in switched off; ``preference`` names the switch."""

    def __init__(self, status: int, message: str, *, preference: str) -> None:
        super().__init__(status, message)
        self.preference = preference


class KohaForbidden(KohaRejected):
    """Our account in Koha lacks a permission (403), such as ``borrowers:list_borrowers``."""

    def __init__(self, required_permissions: tuple[str, ...]) -> None:
        super().__init__(403, f"missing permission: {' or '.join(required_permissions)}")
        self.required_permissions = required_permissions


class RecordNotFound(KohaRejected):
    """No such record, or one that our account may not see (404 in Koha's words)."""

    def __init__(self, message: str = "no such record") -> None:
        super().__init__(404, message)


class PatronNotFound(RecordNotFound):
    """No such patron, or one that our account may not see."""

    def __init__(self) -> None:
        super().__init__("no such patron")


class NotOffered(KohaRejected):
    """What was asked is newer than this Koha; ``first_version`` is the release that has it."""

    def __init__(self, status: int, first_version: str) -> None:
        super().__init__(status, f"this Koha does not offer it; Koha {first_version} does")
        self.first_version = first_version


class PluginMissing(KohaRejected):
    """The bridge's plugin is not installed in this Koha, is switched off, or is too old."""

    def __init__(self, status: int) -> None:
        super().__init__(status, "this Koha lacks the bridge's plugin")


class Conflict(KohaRejected):
    """Something else has this value already (409); ``field`` is Koha's name of the field."""

    def __init__(self, field: str | None, *, error_code: str | None = None) -> None:
        super().__init__(409, error_code=error_code)
        self.field = field


class SeveralPatrons(KohaError):
    """Koha found more than one patron for one card number; none of them is taken."""


class PatronChangedMeanwhile(KohaError):
    """The patron is not as it was when it was read; nothing was written."""


class CardnumberRefused(KohaError):
    """Koha would cut, trim or refuse this card number; nothing was written."""


FIRST_FAILING_STATUS = 300
"""Whatever is not 2xx is no answer for us; redirects are never followed."""


BASIC_AUTHENTICATION_DISABLED = "Basic authentication disabled"
_PATRON = re.compile("patron|borrower", re.IGNORECASE)
_UNKNOWN_REFERENCE = re.compile(r"Given (\w+) does not exist")


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
        return _bad_request(tuple(_messages(body)), error_code)
    if status == 401:
        if said.get("error") == BASIC_AUTHENTICATION_DISABLED:
            return PreferenceOff(status, "Basic authentication is off", preference="RESTBasicAuth")
        return KohaUnauthorized(status)
    if status == 403 and "required_permissions" in said:
        return KohaForbidden(tuple(_permissions(said["required_permissions"])))
    if status == 404 and by_koha:  # a wrong path or a proxy says 404 too, but not like this
        return PatronNotFound() if _PATRON.search(str(said["error"])) else RecordNotFound()
    if status == 409:
        conflict = said.get("conflict")
        field = conflict.rpartition(".")[2] if isinstance(conflict, str) else None
        return Conflict(field, error_code=error_code)
    return KohaRejected(status, error_code=error_code)


def _bad_request(messages: tuple[str, ...], error_code: str | None) -> BadRequest:
    for message in messages:
        if unknown := _UNKNOWN_REFERENCE.match(message):
            return UnknownReference(unknown[1], messages)
    return BadRequest(messages, error_code=error_code)


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
