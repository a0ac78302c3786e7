"""The calls of the API as one table: the routes and the API's document are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPMethod, HTTPStatus

from bridge.api.fields import AnswerShape, Bilingual, BodyShape
from bridge.api.schemas import (
    CHALLENGE_ANSWER,
    ENROLLED_ANSWER,
    IDENTIFIED_ANSWER,
    LINKED_ANSWER,
    REPORT_SHAPE,
    SESSION_ANSWER,
    TERMINAL_ANSWER,
    BeginRequest,
    EnrolRequest,
    ProgressReport,
    ResponseRequest,
)


@dataclass(frozen=True)
class Call:
    """One call. ``operation_id`` is also the name of its view; *path* is below the API's root.

    ``answers`` are the bodies that a success may have, none for an empty one; ``problems`` are the
    slugs (``bridge.api.problems``) of what the call may refuse, beside those that every call may.
    ``details`` is what the summary has no room for. Where a call *may_wait*, its answer has an entity tag,
    and it may be asked to wait until that is another one.
    """

    operation_id: str
    method: HTTPMethod
    path: str
    summary: Bilingual
    status: HTTPStatus
    answers: tuple[AnswerShape, ...] = ()
    body: BodyShape | None = None
    problems: tuple[str, ...] = ()
    details: Bilingual | None = None
    may_wait: bool = False
    authenticated: bool = True


EVERY_CALL = ("internal-error",)
"""What any call may be refused for."""

EVERY_AUTHENTICATED_CALL = ("terminal-not-authenticated",)
"""What any call may be refused for that wants the terminal's token."""

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
        details=Bilingual(
            "待てる。`Prefer: wait=25`（RFC 7240、最大25秒）と、前の答えのETagを入れた`If-None-Match`"
            "を付けると、答えが変わったらすぐ200、変わらなければ秒数の後に304が返る。`Preference-Applied`のない答えは、"
            "込み合っていて待たずに返したもの。1秒以上おいてから尋ね直す。",
            "It can wait: with `Prefer: wait=25` (RFC 7240, at most 25 seconds) and the ETag of the last "
            "answer in `If-None-Match` it answers 200 as soon as the answer is another, and 304 after those "
            "seconds. An answer without `Preference-Applied` did not wait, because too many do: ask again "
            "after a second or more.",
        ),
        may_wait=True,
    ),
    Call(
        "report_state",
        HTTPMethod.POST,
        "/terminal/state",
        Bilingual(
            "読み取り機などの状態を知らせる。変わったときと、30秒に一度。管理画面に出る",
            "Tell how the reader is: when it changes, and every 30 seconds. The admin shows it",
        ),
        HTTPStatus.NO_CONTENT,
        (),
        REPORT_SHAPE,
    ),
    Call(
        "enrol",
        HTTPMethod.POST,
        "/enrolments",
        Bilingual(
            "一回限りのコードで端末を登録する。トークンは要らない",
            "Enrol this terminal by a one-time code. Needs no token",
        ),
        HTTPStatus.CREATED,
        (ENROLLED_ANSWER,),
        EnrolRequest.SHAPE,
        (
            "enrolment-code-unknown",
            "enrolment-code-expired",
            "enrolment-code-used",
            "enrolment-locked",
            "library-not-found",
            "terminal-not-found",
            "name-taken",
        ),
        details=Bilingual(
            "端末は32バイトの乱数でトークンを作り、先に保存してから、そのSHA-256とコードを送る。"
            "答えが届かなかったら同じ本文をもう一度送ってよい。前のトークンは使えなくなる。",
            "The terminal makes a token of 32 random bytes, keeps it, and then sends its SHA-256 with the "
            "code. Where no answer arrives the same body may be sent again. The token of before is worth "
            "nothing then.",
        ),
        authenticated=False,
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
    authentication = EVERY_AUTHENTICATED_CALL if call.authenticated else ()
    return (*EVERY_CALL, *authentication, *(EVERY_BODY if call.body is not None else ()), *call.problems)
