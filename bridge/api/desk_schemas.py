"""The bodies of the desk: what Koha's plugin and Koha's staff pages send and get.

The words in an answer are those of the admin, in the language that the request prefers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from bridge.admin.progress import present
from bridge.admin.words import LINK_STATES, PROBLEMS
from bridge.api.fields import (
    AnswerField,
    AnswerList,
    AnswerShape,
    Bilingual,
    BodyShape,
    NumberField,
    TextField,
    WordField,
)
from bridge.counter.koha_desk import OpenedDesk
from bridge.links.consent import ConsentWording
from bridge.models import (
    CardLink,
    Librarian,
    LinkRequest,
    LinkRequestState,
    LinkState,
    Terminal,
    UnlinkReason,
)
from bridge.ports import PatronRecord
from bridge.registration import PatronSummary
from jpki.challenge import ChallengePurpose

KOHA_PATRON_ID = NumberField(
    "koha_patron_id",
    1,
    2**31 - 1,
    Bilingual("Kohaにログイン中の職員のborrowernumber", "The borrowernumber of whoever is signed in to Koha"),
)
TERMINAL_ID = TextField(
    "terminal_id", "[A-Za-z0-9._-]+", 64, Bilingual("窓口の端末のID", "The id of a counter terminal")
)
CARDNUMBER = TextField("cardnumber", "[!-~]+", 32, Bilingual("利用者カードの番号", "The library card number"))
CONSENTED_TO = TextField(
    "consent_version",
    "[0-9A-Za-z.-]+",
    32,
    Bilingual(
        "利用者が同意した文の版（GET /deskのconsent_version）",
        "The version of the wording that the patron agreed to (consent_version of GET /desk)",
    ),
)
REPLACED_LINK = TextField(
    "replaces",
    "[A-Za-z0-9]+",
    64,
    Bilingual("この連携の代わりにする（再連携）", "The link whose place the new one takes"),
    required=False,
)
REASON = WordField("reason", UnlinkReason, Bilingual("解除の理由", "Why the link ends"))

ACCOUNT_SHAPE = BodyShape((KOHA_PATRON_ID,))
CARDNUMBER_SHAPE = BodyShape((CARDNUMBER,))
IDENTIFICATION_SHAPE = BodyShape((TERMINAL_ID,))
START_SHAPE = BodyShape((TERMINAL_ID, CARDNUMBER, CONSENTED_TO, REPLACED_LINK))
UNLINK_SHAPE = BodyShape((REASON,))


@dataclass(frozen=True)
class StartLinkRequest:
    """``POST /desk/links``: at which counter, for whom, with what consent, in place of which link."""

    terminal_id: str
    cardnumber: str
    consent_version: str
    replaces: str | None

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Raises ``MalformedRequest``."""
        fields = START_SHAPE.parse(body)
        replaces = REPLACED_LINK.read(fields) if REPLACED_LINK.name in fields else None
        return cls(TERMINAL_ID.read(fields), CARDNUMBER.read(fields), CONSENTED_TO.read(fields), replaces)


OPENED_ANSWER = AnswerShape(
    (
        AnswerField("token", "string", Bilingual("窓口のトークン", "The token for the desk")),
        AnswerField("expires_in", "integer", Bilingual("有効な秒数", "For how many seconds it is good")),
    )
)


def opened_answer(opened: OpenedDesk, seconds: int) -> dict[str, object]:
    """``POST /desk/passes``: the librarian's token."""
    return {"token": opened.token, "expires_in": seconds}


DESK_ANSWER = AnswerShape(
    (
        AnswerField("library_name", "string", Bilingual("図書館の名前", "The library's name")),
        AnswerField("librarian_name", "string", Bilingual("職員の名前", "The librarian's name")),
        AnswerList(
            "terminals",
            Bilingual("窓口の端末", "The counter terminals"),
            AnswerShape(
                (
                    AnswerField("terminal_id", "string", Bilingual("端末のID", "The terminal's id")),
                    AnswerField("name", "string", Bilingual("端末の名前", "The terminal's name")),
                )
            ),
        ),
        AnswerField("consent_version", "string", Bilingual("同意の文の版", "The wording's version")),
        AnswerList(
            "consent",
            Bilingual(
                "同意の文。段落ごと。2行以上の段落は1行目が見出し",
                "To what a patron agrees, by paragraph; the first of several lines is its heading",
            ),
        ),
    )
)


def desk_answer(
    librarian: Librarian,
    library_name: str,
    terminals: Sequence[Terminal],
    consent: ConsentWording,
    language: str,
) -> dict[str, object]:
    """``GET /desk``: where cards can be laid, and to what a patron agrees."""
    return {
        "library_name": library_name,
        "librarian_name": librarian.display_name,
        "terminals": [{"terminal_id": each.terminal_id, "name": each.name} for each in terminals],
        "consent_version": consent.version,
        "consent": [point.paragraph for point in consent.points(language)],
    }


PATRON_ANSWER = AnswerShape(
    (
        AnswerList(
            "links",
            Bilingual("終わっていない連携", "The links that have not ended"),
            AnswerShape(
                (
                    AnswerField("link_id", "string", Bilingual("連携のID", "The link's id")),
                    AnswerField("state", "string", Bilingual("状態", "Its state"), words=LinkState),
                    AnswerField("words", "string", Bilingual("状態（人が読む）", "Its state, for people")),
                )
            ),
        ),
        AnswerField(
            "problem",
            "string",
            Bilingual(
                "今は連携できない理由。できるならnull", "Why no card can be linked now; null where one can"
            ),
            nullable=True,
        ),
        AnswerField(
            "problem_words",
            "string",
            Bilingual("その理由（人が読む）", "The same for people"),
            nullable=True,
        ),
    )
)


def patron_answer(summary: PatronSummary) -> dict[str, object]:
    """``POST /desk/patron``: how many links, and in which state; nothing of the patron."""
    denial = summary.decision.denial
    return {
        "links": [_link(link) for link in summary.open_links],
        "problem": denial and denial.value,
        "problem_words": denial and str(PROBLEMS[denial.value]),
    }


def _link(link: CardLink) -> dict[str, object]:
    return {"link_id": link.link_id, "state": link.state.value, "words": str(LINK_STATES[link.state])}


REQUEST_ANSWER = AnswerShape(
    (
        AnswerField("request_id", "string", Bilingual("受付のID", "The order's id")),
        AnswerField("purpose", "string", Bilingual("目的", "What for"), words=ChallengePurpose),
        AnswerField("state", "string", Bilingual("段階", "How far it has come"), words=LinkRequestState),
        AnswerField("is_open", "boolean", Bilingual("まだ待っているか", "Whether it is still waiting")),
        AnswerField(
            "tone",
            "string",
            Bilingual("色分け：waiting、warning、success、danger", "waiting, warning, success or danger"),
        ),
        AnswerField("headline", "string", Bilingual("職員に見せる一文", "One sentence for the librarian")),
        AnswerList("details", Bilingual("その続き", "What there is to add")),
    )
)


def request_answer(link_request: LinkRequest) -> dict[str, object]:
    """``GET /desk/requests/{id}``: how far an order has come."""
    shown = present(link_request, linked_until=None)
    return {
        "request_id": link_request.request_id,
        "purpose": link_request.purpose.value,
        "state": link_request.state.value,
        "is_open": link_request.state.is_open,
        "tone": shown.tone,
        "headline": shown.headline,
        "details": list(shown.details),
    }


CARDNUMBER_ANSWER = AnswerShape(
    (AnswerField("cardnumber", "string", Bilingual("利用者カードの番号", "The library card number")),)
)


def cardnumber_answer(patron: PatronRecord) -> dict[str, object]:
    """``POST /desk/requests/{id}/patron``: whose card it was."""
    return {"cardnumber": patron.cardnumber}
