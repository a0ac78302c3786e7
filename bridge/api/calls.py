"""The calls of the API as one table: the routes and the API's document are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPMethod, HTTPStatus

from bridge.api.fields import AnswerShape, Bilingual, BodyShape
from bridge.api.schemas import (
    CHALLENGE_ANSWER,
    IDENTIFIED_ANSWER,
    LINKED_ANSWER,
    SESSION_ANSWER,
    TERMINAL_ANSWER,
    BeginRequest,
    ProgressReport,
    ResponseRequest,
)


@dataclass(frozen=True)
class Call:
    """One call. ``operation_id`` is also the name of its view; *path* is below the API's root.

    ``answers`` are the bodies that a success may have, none for an empty one; ``problems`` are the
    slugs (``bridge.api.problems``) of what the call may refuse, beside those that every call may.
    """

    operation_id: str
    method: HTTPMethod
    path: str
    summary: Bilingual
    status: HTTPStatus
    answers: tuple[AnswerShape, ...] = ()
    body: BodyShape | None = None
    problems: tuple[str, ...] = ()


EVERY_CALL = ("terminal-not-authenticated", "internal-error")
"""What any call may be refused for."""

EVERY_BODY = ("malformed-request", "unsupported-media-type", "request-too-large")
"""What any call with a body may be refused for."""

_CERTIFICATE = (
    "malformed-certificate",
    "unsupported-algorithm",
    "wrong-certificate-type",
    "wrong-certificate-policy",
    "untrusted-issuer",
    "certificate-not-yet-valid",
    "certificate-expired",
    "certificate-revoked",
    "revocation-unknown",
)

_LINK = (
    "wrong-terminal-kind",
    "no-link-request",
    "already-linked",
    "not-linked",
    "link-suspended",
    "link-ended",
)

_CHALLENGE = (
    "malformed-challenge",
    "challenge-unknown",
    "challenge-expired",
    "challenge-already-used",
    "wrong-terminal",
    "wrong-certificate",
    "invalid-signature",
)

_PATRON = (
    "library-card-expired",
    "library-card-lost",
    "patron-restricted",
    "patron-not-found",
    "koha-not-reachable",
)

CALLS: tuple[Call, ...] = (
    Call(
        "terminal",
        HTTPMethod.GET,
        "/terminal",
        Bilingual(
            "この端末が何者で、今カードを何に使うかを尋ねる",
            "Ask who this terminal is, and what a card would be used for now",
        ),
        HTTPStatus.OK,
        (TERMINAL_ANSWER,),
    ),
    Call(
        "begin",
        HTTPMethod.POST,
        "/challenges",
        Bilingual(
            "証明書を渡し、署名するチャレンジを受け取る。暗証番号を尋ねる前に呼ぶ",
            "Hand in the certificate, get the challenge to sign. Call it before the PIN is asked for",
        ),
        HTTPStatus.CREATED,
        (CHALLENGE_ANSWER,),
        BeginRequest.SHAPE,
        (*_CERTIFICATE, *_LINK),
    ),
    Call(
        "progress",
        HTTPMethod.POST,
        "/challenges/{challenge_id}/progress",
        Bilingual(
            "暗証番号の入力を待っている、間違えた、などを知らせる。窓口の画面に出る",
            "Tell that the PIN is awaited, was wrong, and the like. The counter's page shows it",
        ),
        HTTPStatus.NO_CONTENT,
        (),
        ProgressReport.SHAPE,
        (
            "challenge-unknown",
            "challenge-expired",
            "wrong-terminal",
            "no-link-request",
            "link-request-not-found",
        ),
    ),
    Call(
        "respond",
        HTTPMethod.POST,
        "/challenges/{challenge_id}/response",
        Bilingual(
            "署名を渡す。窓口では連携登録または利用者の確認、自動貸出機では一回限りの番号になる",
            "Hand in the signature. A counter links the card or learns whose it is; a self-check "
            "machine gets its one-time number",
        ),
        HTTPStatus.CREATED,
        (LINKED_ANSWER, IDENTIFIED_ANSWER, SESSION_ANSWER),
        ResponseRequest.SHAPE,
        (*_CHALLENGE, *_CERTIFICATE, *_LINK, *_PATRON, "link-request-not-found", "link-not-found"),
    ),
)


def problems_of(call: Call) -> tuple[str, ...]:
    """Return the slugs of all that *call* may be refused for."""
    return (*EVERY_CALL, *(EVERY_BODY if call.body is not None else ()), *call.problems)
