"""The bodies of the API's requests and answers. Strict: what is not named here is refused.

Nothing is judged but the shape; whether a certificate is one is the service's word.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from bridge.api.fields import (
    AnswerField,
    AnswerShape,
    Base64Field,
    Bilingual,
    BodyShape,
    SmallNumberField,
    TextField,
    WordField,
)
from bridge.borrowing import OpenedSession
from bridge.links.identifiers import MAXIMUM_IDENTIFIER_LENGTH
from bridge.models import (
    AgentStep,
    OutputState,
    ReaderState,
    Terminal,
    TerminalKind,
    TerminalReport,
)
from bridge.rules import LinkEnding, is_near
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

MAXIMUM_CODE = 32
"""Characters of an enrolment code as somebody types it."""

PURPOSE = WordField(
    "purpose",
    ChallengePurpose,
    Bilingual("カードを何に使うか", "What the card is to be used for"),
)
CERTIFICATE = Base64Field(
    "certificate",
    MAXIMUM_CERTIFICATE,
    Bilingual(
        "カードから読み取った利用者証明用電子証明書（DER）",
        "The user authentication certificate as read from the card (DER)",
    ),
)
SIGNATURE = Base64Field(
    "signature",
    MAXIMUM_SIGNATURE,
    Bilingual("チャレンジのmessageに対するカードの署名", "The card's signature over the challenge's message"),
)
CARD_NUMBER = TextField(
    "card_number",
    r"[ -~]+",
    MAXIMUM_IDENTIFIER_LENGTH,
    Bilingual(
        "市区町村のカードAPの番号。`reads_card_number`がtrueで、カードに番号があるときだけ。"
        "番号は何も証明しない。ほかの利用者の番号なら断るためにだけ使い、保存しない",
        "The number in the city's card application; only where `reads_card_number` is true and the card has "
        "one. It proves nothing: a card whose number is another patron's is refused; it is not kept",
    ),
    required=False,
)
STEP = WordField(
    "step", AgentStep, Bilingual("読み取り機での作業の段階", "How far the work at the reader has come")
)
ATTEMPTS_REMAINING = SmallNumberField(
    "attempts_remaining",
    MAXIMUM_ATTEMPTS,
    Bilingual("カードが答えた暗証番号の残り回数", "The PIN tries left, as the card tells them"),
)


ENROLMENT_CODE = TextField(
    "code",
    r"[^\x00]*",
    MAXIMUM_CODE,
    Bilingual(
        "管理画面で発行した一回限りの登録コード。ハイフン、大文字と小文字、全角と半角は問わない",
        "The one-time code that was drawn in the admin; hyphens, case and width do not matter",
    ),
)
TOKEN_DIGEST = TextField(
    "token_digest",
    "[0-9a-f]{64}",
    64,
    Bilingual(
        "端末が自分で作ったトークン（32バイトの乱数をBase64などの文字にしたもの）のSHA-256（16進、小文字）。"
        "トークンそのものは送らない",
        "SHA-256, in small hex digits, of the token that the terminal has made: 32 random bytes as text, "
        "such as base64url. The token itself is not sent",
    ),
)
READER = WordField("reader", ReaderState, Bilingual("カード読み取り機の状態", "How the card reader is"))
OUTPUT = WordField(
    "output",
    OutputState,
    Bilingual("番号を自動貸出機へ渡す手段の状態", "How the way to the self-check machine is"),
)
VERSION = TextField(
    "version",
    r"[0-9A-Za-z.+-]{1,32}",
    32,
    Bilingual("端末プログラムの版", "The version of the terminal's program"),
)


@dataclass(frozen=True)
class EnrolRequest:
    """``POST /enrolments``: the code, and the digest of the terminal's new token."""

    code: str
    token_digest: str

    SHAPE = BodyShape((ENROLMENT_CODE, TOKEN_DIGEST))

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Raises ``MalformedRequest``."""
        fields = cls.SHAPE.parse(body)
        return cls(ENROLMENT_CODE.read(fields), TOKEN_DIGEST.read(fields))


REPORT_SHAPE = BodyShape((READER, OUTPUT, VERSION))


def report_in_body(body: bytes) -> TerminalReport:
    """``POST /terminal/state``: how reader and output are. Raises ``MalformedRequest``."""
    fields = REPORT_SHAPE.parse(body)
    return TerminalReport(READER.read(fields), OUTPUT.read(fields), VERSION.read(fields))


@dataclass(frozen=True)
class BeginRequest:
    """``POST /challenges``: what the card is to be used for, and its certificate (DER)."""

    purpose: ChallengePurpose
    certificate: bytes
    card_number: str | None = field(repr=False, default=None)

    SHAPE = BodyShape((PURPOSE, CERTIFICATE, CARD_NUMBER))

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Raises ``MalformedRequest``."""
        fields = cls.SHAPE.parse(body)
        return cls(PURPOSE.read(fields), CERTIFICATE.read(fields), _card_number(fields))


@dataclass(frozen=True)
class ProgressReport:
    """``POST /challenges/{id}/progress``: how far the work at the reader has come."""

    step: AgentStep
    attempts_remaining: int | None

    SHAPE = BodyShape((STEP, ATTEMPTS_REMAINING))

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Raises ``MalformedRequest``."""
        fields = cls.SHAPE.parse(body)
        return cls(STEP.read(fields), ATTEMPTS_REMAINING.read(fields))


@dataclass(frozen=True)
class ResponseRequest:
    """``POST /challenges/{id}/response``: the certificate (DER) again, and the signature."""

    certificate: bytes
    signature: bytes
    card_number: str | None = field(repr=False, default=None)

    SHAPE = BodyShape((CERTIFICATE, SIGNATURE, CARD_NUMBER))

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Raises ``MalformedRequest``."""
        fields = cls.SHAPE.parse(body)
        return cls(CERTIFICATE.read(fields), SIGNATURE.read(fields), _card_number(fields))


def _card_number(fields: Mapping[str, object]) -> str | None:
    return CARD_NUMBER.read(fields) if CARD_NUMBER.name in fields else None


def challenge_id_in_path(text: str) -> str:
    """Return the id, if it can be one; raises ``ChallengeUnknown``."""
    return id_in_path(text, ChallengeUnknown)


def id_in_path(text: str, absent: type[Exception]) -> str:
    """Return the id, if it can be one; raises *absent*. Databases choke on a NUL."""
    if len(text) > MAXIMUM_ID or not (text.isascii() and text.isalnum()):
        raise absent
    return text


TERMINAL_ANSWER = AnswerShape(
    (
        AnswerField("terminal_id", "string", Bilingual("この端末のID", "The id of this terminal")),
        AnswerField("library_id", "string", Bilingual("図書館のID", "The library's id")),
        AnswerField("library_name", "string", Bilingual("図書館の名前", "The library's name")),
        AnswerField("kind", "string", Bilingual("端末の種類", "The kind of terminal"), words=TerminalKind),
        AnswerField(
            "purpose",
            "string",
            Bilingual(
                "今カードが置かれたら何に使うか。nullは「今はカードを使わない」",
                "What a card laid here now would be used for; null where no card is wanted now",
            ),
            words=ChallengePurpose,
            nullable=True,
        ),
        AnswerField(
            "open_session_id",
            "string",
            Bilingual(
                "自動貸出機で最後に開いた利用がまだ続いていれば、そのID。終わればnull",
                "At a self-check machine the id of the session opened last, while it is open; else null",
            ),
            nullable=True,
        ),
        AnswerField(
            "reads_card_number",
            "boolean",
            Bilingual(
                "trueなら、カードに市区町村のカードAPの番号があれば、公的個人認証APより先に読んで渡す",
                "Where true, the number of the city's card application is read, before the JPKI application "
                "is selected, and handed in, if the card has one",
            ),
        ),
    )
)


def terminal_answer(
    terminal: Terminal,
    library_name: str,
    purpose: ChallengePurpose | None,
    open_session_id: str | None,
    *,
    reads_card_number: bool = False,
) -> dict[str, object]:
    """``GET /terminal``: who the caller is, and what a card laid there now would be used for."""
    return {
        "terminal_id": terminal.terminal_id,
        "library_id": terminal.library_id,
        "library_name": library_name,
        "kind": terminal.kind.value,
        "purpose": purpose.value if purpose else None,
        "open_session_id": open_session_id,
        "reads_card_number": reads_card_number,
    }


ENROLLED_ANSWER = AnswerShape(TERMINAL_ANSWER.fields[:4])


def enrolled_answer(terminal: Terminal, library_name: str) -> dict[str, object]:
    """``POST /enrolments``: which terminal it is now."""
    return {
        "terminal_id": terminal.terminal_id,
        "library_id": terminal.library_id,
        "library_name": library_name,
        "kind": terminal.kind.value,
    }


CHALLENGE_ANSWER = AnswerShape(
    (
        AnswerField("challenge_id", "string", Bilingual("チャレンジのID", "The challenge's id")),
        AnswerField(
            "message",
            "string",
            Bilingual(
                "カードが署名するバイト列（Base64）。署名の前に、自分の端末とこの証明書の名前があることを確かめる",
                "The bytes that the card is to sign (base64). Check before that they name this terminal and "
                "this certificate",
            ),
        ),
        AnswerField(
            "expires_at", "string", Bilingual("有効期限（UTC）", "When it expires (UTC)"), format="date-time"
        ),
        AnswerField(
            "expires_in",
            "integer",
            Bilingual(
                "有効期限までの秒数。時計のずれた端末のため",
                "Seconds until then, for a terminal with a wrong clock",
            ),
        ),
    )
)


def challenge_answer(challenge: Challenge) -> dict[str, object]:
    """``POST /challenges``: what the card is to sign."""
    return {
        "challenge_id": challenge.challenge_id,
        "message": b64encode(challenge.message()).decode("ascii"),
        "expires_at": rfc3339(challenge.expires_at),
        "expires_in": int((challenge.expires_at - challenge.issued_at).total_seconds()),
    }


ENDING_FIELDS = (
    AnswerField(
        "ends_at",
        "string",
        Bilingual(
            "連携登録がまもなく終わるときだけ、その日時（UTC）。利用者に知らせる",
            "Only where the link ends soon: when (UTC). The patron is told",
        ),
        format="date-time",
        nullable=True,
    ),
    AnswerField(
        "ends_because",
        "string",
        Bilingual(
            "その後カードが断られる理由（problemの名前）",
            "The name of the problem that the card meets from then on",
        ),
        nullable=True,
    ),
)

LINKED_ANSWER = AnswerShape(
    (
        AnswerField("result", "string", Bilingual("連携登録した", "The card is linked"), constant="linked"),
        AnswerField(
            "not_after",
            "string",
            Bilingual("連携登録が終わる日時（UTC）", "When the link ends by itself (UTC)"),
            format="date-time",
        ),
        *ENDING_FIELDS,
    )
)


def linked_answer(ending: LinkEnding, now: datetime) -> dict[str, object]:
    """``POST …/response`` at a counter: the card is linked, until the link ends by itself."""
    return {
        "result": "linked",
        "not_after": rfc3339(ending.at),
        **_ending(ending if is_near(ending, now) else None),
    }


IDENTIFIED_ANSWER = AnswerShape(
    (
        AnswerField(
            "result",
            "string",
            Bilingual(
                "利用者を確認した。職員の画面に出る", "The patron is known; the librarian's page shows whom"
            ),
            constant="identified",
        ),
    )
)


def identified_answer() -> dict[str, object]:
    """``POST …/response`` at a counter that asked whose card it is: the agent is not told."""
    return {"result": "identified"}


SESSION_ANSWER = AnswerShape(
    (
        AnswerField(
            "result", "string", Bilingual("利用者を確認した", "The patron is known"), constant="session"
        ),
        AnswerField(
            "session_id",
            "string",
            Bilingual(
                "この利用のID。GET /terminalのopen_session_idがこれでなくなったら終わっている",
                "The session's id. It is over once open_session_id of GET /terminal is another",
            ),
        ),
        AnswerField(
            "token",
            "string",
            Bilingual(
                "一回限りの番号。利用者カードのバーコードの代わりに自動貸出機へ渡し、保存しない",
                "The one-time number. Give it to the self-check machine in place of the library card's "
                "barcode; never keep it",
            ),
        ),
        AnswerField(
            "expires_at",
            "string",
            Bilingual("番号の有効期限（UTC）", "When it expires (UTC)"),
            format="date-time",
        ),
        *ENDING_FIELDS,
    )
)


def session_answer(opened: OpenedSession) -> dict[str, object]:
    """``POST …/response`` at a self-check machine: the one-time token."""
    return {
        "result": "session",
        "session_id": opened.session_id,
        "token": opened.token.value,
        "expires_at": rfc3339(opened.expires_at),
        **_ending(opened.ending),
    }


def _ending(ending: LinkEnding | None) -> dict[str, object]:
    """A link that ends soon: when, and the slug of the problem that the card meets from then on."""
    if ending is None:
        return {"ends_at": None, "ends_because": None}
    return {"ends_at": rfc3339(ending.at), "ends_because": ending.denial.value}


def rfc3339(moment: datetime) -> str:
    """Return an aware moment as RFC 3339 in UTC, in whole seconds: ``2026-11-01T09:00:00Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
