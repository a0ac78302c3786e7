"""The calls of the API as one table: the routes and the API's document are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from http import HTTPMethod, HTTPStatus
from types import MappingProxyType

from bridge.api.desk_schemas import (
    ACCOUNT_SHAPE,
    CARDNUMBER_ANSWER,
    CARDNUMBER_SHAPE,
    DESK_ANSWER,
    IDENTIFICATION_SHAPE,
    OPENED_ANSWER,
    PATRON_ANSWER,
    REQUEST_ANSWER,
    START_SHAPE,
    UNLINK_SHAPE,
)
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


@unique
class Caller(StrEnum):
    """Who calls, and so what stands in ``Authorization``; nothing where it is anybody."""

    ANYBODY = "anybody"
    TERMINAL = "terminal"
    LIBRARIAN = "librarian"
    PLUGIN = "plugin"


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
    caller: Caller = Caller.TERMINAL


EVERY_CALL = ("internal-error",)
"""What any call may be refused for."""

EVERY_CALL_OF: Mapping[Caller, tuple[str, ...]] = MappingProxyType(
    {
        Caller.ANYBODY: (),
        Caller.TERMINAL: ("terminal-not-authenticated",),
        Caller.LIBRARIAN: (
            "librarian-not-authenticated",
            "not-allowed",
            "origin-not-allowed",
            "store-unavailable",
        ),
        Caller.PLUGIN: (
            "plugin-not-authenticated",
            "not-allowed",
            "origin-not-allowed",
            "store-unavailable",
        ),
    }
)
"""What any call of each may be refused for."""

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
        caller=Caller.ANYBODY,
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
    Call(
        "open_desk",
        HTTPMethod.POST,
        "/desk/passes",
        Bilingual(
            "Kohaプラグインが、Kohaにログイン中の職員のために短時間のトークンを受け取る。ブラウザーからは呼べない",
            "Koha's plugin gets a short-lived token for whoever is signed in to Koha. Not to be called by a "
            "browser",
        ),
        HTTPStatus.CREATED,
        (OPENED_ANSWER,),
        ACCOUNT_SHAPE,
        ("librarian-not-found",),
        caller=Caller.PLUGIN,
    ),
    Call(
        "desk",
        HTTPMethod.GET,
        "/desk",
        Bilingual(
            "窓口の端末と、連携登録の前に利用者に見せる文を受け取る",
            "Get the counter terminals, and the wording that a patron is shown before a card is linked",
        ),
        HTTPStatus.OK,
        (DESK_ANSWER,),
        caller=Caller.LIBRARIAN,
    ),
    Call(
        "look_up",
        HTTPMethod.POST,
        "/desk/patron",
        Bilingual(
            "利用者カードの番号で、連携の数と状態を尋ねる。番号はURLに書かない",
            "Ask by library card number for the number of links and their states. The number stands in no "
            "address",
        ),
        HTTPStatus.OK,
        (PATRON_ANSWER,),
        CARDNUMBER_SHAPE,
        ("patron-not-found", "koha-not-reachable"),
        caller=Caller.LIBRARIAN,
    ),
    Call(
        "start_identification",
        HTTPMethod.POST,
        "/desk/identifications",
        Bilingual("次に置かれるカードが誰のものか尋ねる", "Ask whose card the next one at a counter is"),
        HTTPStatus.CREATED,
        (REQUEST_ANSWER,),
        IDENTIFICATION_SHAPE,
        ("terminal-not-found", "wrong-terminal-kind", "link-request-pending"),
        caller=Caller.LIBRARIAN,
    ),
    Call(
        "start_link",
        HTTPMethod.POST,
        "/desk/links",
        Bilingual("次に置かれるカードを利用者に連携する", "Link the next card at a counter to a patron"),
        HTTPStatus.CREATED,
        (REQUEST_ANSWER,),
        START_SHAPE,
        (
            *_PATRON,
            "terminal-not-found",
            "wrong-terminal-kind",
            "link-request-pending",
            "consent-missing",
            "link-not-found",
            "too-many-links",
        ),
        caller=Caller.LIBRARIAN,
    ),
    Call(
        "watch_request",
        HTTPMethod.GET,
        "/desk/requests/{request_id}",
        Bilingual("どこまで進んだか尋ねる", "Ask how far it has come"),
        HTTPStatus.OK,
        (REQUEST_ANSWER,),
        problems=("link-request-not-found",),
        caller=Caller.LIBRARIAN,
    ),
    Call(
        "cancel_request",
        HTTPMethod.POST,
        "/desk/requests/{request_id}/cancellation",
        Bilingual("取りやめる", "Take it back"),
        HTTPStatus.OK,
        (REQUEST_ANSWER,),
        problems=("link-request-not-found",),
        caller=Caller.LIBRARIAN,
    ),
    Call(
        "identified_patron",
        HTTPMethod.POST,
        "/desk/requests/{request_id}/patron",
        Bilingual(
            "誰のカードだったか、尋ねた職員だけが、受付の5分間のうちに受け取る。そのつど監査記録に残る",
            "Get whose card it was: for the librarian who asked alone, within the five minutes of the order, "
            "and with a line in the audit log each time",
        ),
        HTTPStatus.OK,
        (CARDNUMBER_ANSWER,),
        problems=("link-request-not-found", "link-not-found", "patron-not-found", "koha-not-reachable"),
        caller=Caller.LIBRARIAN,
    ),
    Call(
        "unlink",
        HTTPMethod.POST,
        "/desk/links/{link_id}/end",
        Bilingual("連携を解除する", "End a link"),
        HTTPStatus.NO_CONTENT,
        (),
        UNLINK_SHAPE,
        ("link-not-found",),
        caller=Caller.LIBRARIAN,
    ),
)


def problems_of(call: Call) -> tuple[str, ...]:
    """Return the slugs of all that *call* may be refused for."""
    of_caller = EVERY_CALL_OF[call.caller]
    return (*EVERY_CALL, *of_caller, *(EVERY_BODY if call.body is not None else ()), *call.problems)
