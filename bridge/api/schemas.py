"""The bodies of the API's requests and answers. Strict: what is not named here is refused.

Nothing is judged but the shape; whether a certificate is one is the service's word.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NoReturn, Self, TypeVar

from bridge.api.errors import MalformedRequest, RequestFault
from bridge.borrowing import OpenedSession
from bridge.models import AgentStep, CardLink, Terminal
from jpki.challenge import Challenge, ChallengePurpose
from jpki.errors import ChallengeUnknown

MAXIMUM_BODY = 128 * 1024
"""Bytes of a request's body. The longest honest one, a certificate and a signature, is about 4 kB."""

MAXIMUM_CERTIFICATE = 16 * 1024
"""Bytes of DER. A card's certificate has about 1,600."""

MAXIMUM_SIGNATURE = 1024
"""Bytes: RSA up to 8192 bits."""

MAXIMUM_ATTEMPTS = 15
"""The card answers the tries in four bits (63Cx)."""

MAXIMUM_ID = 64
"""Characters of a challenge's id in a path; the bridge makes 32 hex digits."""

Word = TypeVar("Word", bound=StrEnum)


@dataclass(frozen=True)
class BeginRequest:
    """``POST /challenges``: what the card is to be used for, and its certificate (DER)."""

    purpose: ChallengePurpose
    certificate: bytes

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Raises ``MalformedRequest``."""
        fields = _object(body, required={"purpose", "certificate"})
        return cls(
            _word(fields, "purpose", ChallengePurpose),
            _base64(fields, "certificate", MAXIMUM_CERTIFICATE),
        )


@dataclass(frozen=True)
class ProgressReport:
    """``POST /challenges/{id}/progress``: how far the work at the reader has come."""

    step: AgentStep
    attempts_remaining: int | None

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Raises ``MalformedRequest``."""
        fields = _object(body, required={"step"}, optional={"attempts_remaining"})
        attempts = fields.get("attempts_remaining")
        if attempts is not None:
            if type(attempts) is not int:  # a bool is an int to isinstance
                raise MalformedRequest(RequestFault.WRONG_TYPE, "attempts_remaining")
            if not 0 <= attempts <= MAXIMUM_ATTEMPTS:
                raise MalformedRequest(RequestFault.NOT_ALLOWED, "attempts_remaining")
        return cls(_word(fields, "step", AgentStep), attempts)


@dataclass(frozen=True)
class ResponseRequest:
    """``POST /challenges/{id}/response``: the certificate (DER) again, and the signature."""

    certificate: bytes
    signature: bytes

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Raises ``MalformedRequest``."""
        fields = _object(body, required={"certificate", "signature"})
        return cls(
            _base64(fields, "certificate", MAXIMUM_CERTIFICATE),
            _base64(fields, "signature", MAXIMUM_SIGNATURE),
        )


def challenge_id_in_path(text: str) -> str:
    """Return the id, if it can be one; raises ``ChallengeUnknown``. Databases choke on a NUL."""
    if len(text) > MAXIMUM_ID or not (text.isascii() and text.isalnum()):
        raise ChallengeUnknown
    return text


def terminal_answer(
    terminal: Terminal, library_name: str, purpose: ChallengePurpose | None
) -> dict[str, object]:
    """``GET /terminal``: who the caller is, and what a card laid there now would be used for."""
    return {
        "terminal_id": terminal.terminal_id,
        "library_id": terminal.library_id,
        "library_name": library_name,
        "kind": terminal.kind.value,
        "purpose": purpose.value if purpose else None,
    }


def challenge_answer(challenge: Challenge) -> dict[str, object]:
    """``POST /challenges``: what the card is to sign."""
    return {
        "challenge_id": challenge.challenge_id,
        "message": b64encode(challenge.message()).decode("ascii"),
        "expires_at": rfc3339(challenge.expires_at),
        "expires_in": int((challenge.expires_at - challenge.issued_at).total_seconds()),
    }


def linked_answer(link: CardLink) -> dict[str, object]:
    """``POST …/response`` at a counter: the card is linked, until its certificate ends."""
    return {"result": "linked", "not_after": rfc3339(link.not_after)}


def session_answer(opened: OpenedSession) -> dict[str, object]:
    """``POST …/response`` at a self-check machine: the one-time token."""
    return {
        "result": "session",
        "token": opened.token.value,
        "expires_at": rfc3339(opened.expires_at),
    }


def rfc3339(moment: datetime) -> str:
    """Return an aware moment as RFC 3339 in UTC, in whole seconds: ``2026-11-01T09:00:00Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _object(body: bytes, *, required: Set[str], optional: Set[str] = frozenset()) -> Mapping[str, object]:
    try:
        fields = json.loads(body.decode("utf-8"), object_pairs_hook=_unrepeated, parse_constant=_not_a_number)
    except (ValueError, RecursionError):  # RecursionError: brackets nested by the thousand
        raise MalformedRequest(RequestFault.NOT_JSON) from None
    if not isinstance(fields, dict):
        raise MalformedRequest(RequestFault.NOT_AN_OBJECT)
    for name in sorted(required):
        if name not in fields:
            raise MalformedRequest(RequestFault.MISSING, name)
    if fields.keys() - required - optional:
        raise MalformedRequest(RequestFault.UNKNOWN)
    return fields


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # RFC 8259, 4: which of two equal names counts is not defined.
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise MalformedRequest(RequestFault.REPEATED)
    return fields


def _not_a_number(_constant: str) -> NoReturn:
    # Python reads NaN and Infinity; RFC 8259 has neither.
    raise MalformedRequest(RequestFault.NOT_JSON)


def _word(fields: Mapping[str, object], name: str, words: type[Word]) -> Word:
    text = _text(fields, name)
    try:
        return words(text)
    except ValueError:
        raise MalformedRequest(RequestFault.NOT_ALLOWED, name) from None


def _base64(fields: Mapping[str, object], name: str, maximum: int) -> bytes:
    try:
        data = b64decode(_text(fields, name), validate=True)
    except ValueError:
        raise MalformedRequest(RequestFault.NOT_BASE64, name) from None
    if len(data) > maximum:
        raise MalformedRequest(RequestFault.TOO_LONG, name)
    return data


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise MalformedRequest(RequestFault.WRONG_TYPE, name)
    return value
