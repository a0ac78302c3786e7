"""What the patron reads, in Japanese or English: three tables and a screen that shows them.

The words are the patron's: short, no technical term, and always what to do next. Nothing secret is ever
shown: a message is filled from dates and numbers alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from enum import Enum, StrEnum, auto, unique
from types import MappingProxyType
from typing import NamedTuple, Protocol, TextIO

from bridge.agent.errors import (
    AgentError,
    BridgeAnswerMalformed,
    BridgeProblem,
    BridgeUnreachable,
    GivenUp,
    OutputUnavailable,
    PinTooLate,
    WrongSettings,
)
from jpki import errors as jpki_errors
from jpki.errors import JpkiError

JAPAN_STANDARD_TIME = timezone(timedelta(hours=9), "JST")
"""Japan has no summer time, so a desk PC needs no time zone database."""


@unique
class Language(StrEnum):
    """The languages of the screen."""

    JAPANESE = "ja"
    ENGLISH = "en"


@unique
class VisitStep(Enum):
    """Where the work at the reader stands."""

    WAITING_FOR_LIBRARIAN = auto()
    LAY_CARD = auto()
    READING = auto()
    CHECKING = auto()
    ATTEMPTS_REMAINING = auto()
    ENTER_PIN = auto()
    NOT_FOUR_DIGITS = auto()
    SIGNING = auto()
    SENDING = auto()
    LINKED = auto()
    IDENTIFIED = auto()
    SESSION_OPENED = auto()
    SESSION_RUNNING = auto()
    SESSION_ENDED = auto()
    CERTIFICATE_ENDS = auto()
    LINK_ENDS = auto()
    REPRESENTATION_ENDS = auto()
    TAKE_CARD = auto()


class Words(NamedTuple):
    """One message, with ``{attempts_remaining}``, ``{date}`` or, for wrong settings, ``{reason}``."""

    ja: str
    en: str

    def fill(self, language: Language, **values: object) -> str:
        """Return the sentence in *language*."""
        sentence = self.ja if language is Language.JAPANESE else self.en
        return sentence.format_map(values)


STEP_WORDS: Mapping[VisitStep, Words] = MappingProxyType(
    {
        VisitStep.WAITING_FOR_LIBRARIAN: Words(
            "職員の操作を待っています。", "Waiting for the librarian to start."
        ),
        VisitStep.LAY_CARD: Words(
            "マイナンバーカードを読み取り機に置いてください。", "Lay your My Number Card on the reader."
        ),
        VisitStep.READING: Words(
            "カードを読んでいます。動かさないでください。", "Reading the card. Please do not move it."
        ),
        VisitStep.CHECKING: Words("カードを確認しています。", "Checking the card."),
        VisitStep.ATTEMPTS_REMAINING: Words(
            "暗証番号を入力できるのはあと{attempts_remaining}回です。",
            "You have {attempts_remaining} tries left for the PIN.",
        ),
        VisitStep.ENTER_PIN: Words(
            "利用者証明用の暗証番号（数字4桁）を入力してください。画面には表示されません。",
            "Enter the 4-digit PIN of your user authentication certificate. It is not shown as you type.",
        ),
        VisitStep.NOT_FOUR_DIGITS: Words(
            "数字4桁で入力してください。カードには送っていません。",
            "The PIN is four digits. Nothing was sent to the card.",
        ),
        VisitStep.SIGNING: Words(
            "カードで本人確認をしています。動かさないでください。",
            "The card is confirming that it is yours. Please do not move it.",
        ),
        VisitStep.SENDING: Words(
            "カードを取ってください。結果を待っています。", "Take your card. Waiting for the result."
        ),
        VisitStep.LINKED: Words(
            "登録しました。{date}まで、図書館の利用に使えます。",
            "Your card is registered and can be used at the library until {date}.",
        ),
        VisitStep.IDENTIFIED: Words(
            "確認できました。職員の案内をお待ちください。", "Confirmed. The librarian will go on with you."
        ),
        VisitStep.SESSION_OPENED: Words(
            "確認できました。貸出の画面に進んでください。",
            "Confirmed. Please go on at the self-check screen.",
        ),
        VisitStep.SESSION_RUNNING: Words(
            "自動貸出機で手続き中です。次の方は、終わってからカードを置いてください。",
            "The self-check machine is in use. Next patron: please lay your card when it is free.",
        ),
        VisitStep.SESSION_ENDED: Words(
            "手続きが終わりました。番号はもう使えません。",
            "The session has ended. Its number is no longer good.",
        ),
        VisitStep.CERTIFICATE_ENDS: Words(
            "電子証明書の有効期限は{date}です。市区町村の窓口で更新したら、図書館の窓口でもう一度登録してください。",
            "Your card's certificate ends on {date}. Once your municipality has renewed it, please register "
            "the card again at the library's counter.",
        ),
        VisitStep.LINK_ENDS: Words(
            "このカードの登録は{date}で終わります。続けて使うには、窓口でもう一度登録してください。",
            "The registration of this card ends on {date}. "
            "To go on, please register it again at the counter.",
        ),
        VisitStep.REPRESENTATION_ENDS: Words(
            "代理人による登録は15歳の誕生日（{date}）で終わります。その後は、ご本人が窓口で登録してください。",
            "What your representative registered ends on your 15th birthday, {date}. From then on please "
            "register the card yourself at the counter.",
        ),
        VisitStep.TAKE_CARD: Words("カードを取ってください。", "Please take your card."),
    }
)

ENDING_STEPS: Mapping[str, VisitStep] = MappingProxyType(
    {
        "certificate-expired": VisitStep.CERTIFICATE_ENDS,
        "link-expired": VisitStep.LINK_ENDS,
        "representation-over": VisitStep.REPRESENTATION_ENDS,
    }
)
"""What is shown where the link ends soon, by the reason for which it will be refused then."""

_STAFF = Words("職員にお声がけください。", "Please ask the staff.")


def _ask_staff(ja: str, en: str) -> Words:
    return Words(f"{ja}{_STAFF.ja}", f"{en} {_STAFF.en}")


ERROR_WORDS: Mapping[type[Exception], Words] = MappingProxyType(
    {
        jpki_errors.NoReader: _ask_staff(
            "カードの読み取り機が見つかりません。", "The card reader was not found."
        ),
        jpki_errors.NoCard: Words(
            "カードが置かれていません。もう一度置いてください。",
            "There is no card. Please lay it on the reader.",
        ),
        jpki_errors.CardRemoved: Words(
            "途中でカードが離れました。もう一度置いてください。",
            "The card was moved away. Please lay it again.",
        ),
        jpki_errors.CardInUse: _ask_staff(
            "ほかのプログラムがカードを使っています。", "Another program is using the card."
        ),
        jpki_errors.UnresponsiveCard: Words(
            "カードを読み取れません。マイナンバーカードを1枚だけ、置き直してください。",
            "The card does not answer. Please lay your My Number Card again, and no other with it.",
        ),
        jpki_errors.ReaderServiceUnavailable: _ask_staff(
            "カードの読み取り機能が動いていません。", "The card reader service is not running."
        ),
        jpki_errors.ReaderFailure: _ask_staff(
            "カードを読み取れませんでした。", "The card could not be read."
        ),
        jpki_errors.InvalidPinError: Words(
            "暗証番号が違います。入力できるのはあと{attempts_remaining}回です。"
            "番号を確かめ、カードを置き直してください。",
            "The PIN is wrong. You have {attempts_remaining} tries left. "
            "Make sure of the number, then lay the card again.",
        ),
        jpki_errors.PinBlockedError: Words(
            "暗証番号がロックされています。図書館では解除できません。お住まいの市区町村の窓口で再設定できます。"
            "署名用の暗証番号がわかる方は、スマートフォンのアプリとコンビニでも再設定できます。"
            "図書館の利用者カードはこれまでどおり使えます。",
            "The PIN is blocked. The library cannot unlock it. Your municipality's counter can set a new "
            "one; so can the smartphone app with a convenience store, if you know the PIN for signatures. "
            "Your library card works as before.",
        ),
        jpki_errors.LastAttemptProtected: Words(
            "入力できるのはあと{attempts_remaining}回なので、ロックを防ぐため中止しました。"
            "図書館では再設定できません。お住まいの市区町村の窓口にお尋ねください。"
            "図書館の利用者カードはこれまでどおり使えます。",
            "Only {attempts_remaining} try is left, so we stopped before the card is blocked. "
            "The library cannot set a new PIN; your municipality's counter can. "
            "Your library card works as before.",
        ),
        jpki_errors.PinAlreadyVerified: Words(
            "カードの状態をやり直します。カードを取り、もう一度置いてください。",
            "The card must start afresh. Take it and lay it again.",
        ),
        jpki_errors.MalformedPin: Words("暗証番号は数字4桁です。", "The PIN is four digits."),
        jpki_errors.NotAMyNumberCard: Words(
            "マイナンバーカードではありません。マイナンバーカードを置いてください。",
            "This is not a My Number Card. Please lay your My Number Card.",
        ),
        jpki_errors.CertificateNotPresent: Words(
            "このカードには利用者証明用電子証明書がありません。お住まいの市区町村の窓口で発行できます。",
            "This card has no user authentication certificate. Your municipality's counter can issue one.",
        ),
        jpki_errors.UnsupportedToken: Words(
            "このカードには対応していません。マイナンバーカードを置いてください。",
            "This kind of card cannot be used. Please lay your My Number Card.",
        ),
        jpki_errors.MalformedCardData: _ask_staff(
            "カードの内容を読み取れませんでした。", "The card's contents could not be read."
        ),
        jpki_errors.ApduRefused: _ask_staff(
            "カードへの操作を中止しました。", "An operation on the card was stopped."
        ),
        jpki_errors.CardError: _ask_staff("カードがエラーを返しました。", "The card reported an error."),
        jpki_errors.UnsupportedAlgorithm: _ask_staff(
            "このカードの電子証明書には対応していません。", "The certificate of this card is not supported."
        ),
        jpki_errors.ChallengeError: _ask_staff(
            "サーバーの要求が正しくないため中止しました。カードには何もしていません。",
            "The server's request was not right, so we stopped. Nothing was done to the card.",
        ),
        JpkiError: _ask_staff("カードを使えませんでした。", "The card could not be used."),
        GivenUp: Words("中止しました。カードを取ってください。", "Stopped. Please take your card."),
        PinTooLate: Words(
            "時間切れです。暗証番号は使われていません。カードを置き直してください。",
            "Time is up. Your PIN was not used. Please lay your card again.",
        ),
        BridgeUnreachable: _ask_staff(
            "図書館のサーバーに接続できません。", "The library's server cannot be reached."
        ),
        BridgeAnswerMalformed: _ask_staff(
            "図書館のサーバーの応答が正しくありません。",
            "The library's server gave an answer that cannot be.",
        ),
        OutputUnavailable: _ask_staff(
            "自動貸出機に番号を渡せませんでした。",
            "The number could not be handed to the self-check machine.",
        ),
        WrongSettings: Words(
            "この端末の設定に誤りがあります。職員にお声がけください。（{reason}）",
            "This terminal is not set up right. Please ask the staff. ({reason})",
        ),
    }
)
"""What goes wrong on this side; a class without a row has its nearest ancestor's words."""

PROBLEM_WORDS: Mapping[str, Words] = MappingProxyType(
    {
        "malformed-request": _ask_staff(
            "サーバーが要求を受け付けませんでした。", "The server did not take the request."
        ),
        "terminal-not-authenticated": _ask_staff(
            "この端末は登録されていません。", "This terminal is not known to the server."
        ),
        "not-found": _ask_staff(
            "サーバーに該当するものがありません。", "The server does not know what was asked for."
        ),
        "method-not-allowed": _ask_staff(
            "サーバーが要求を受け付けませんでした。", "The server did not take the request."
        ),
        "request-too-large": _ask_staff(
            "サーバーが要求を受け付けませんでした。", "The server did not take the request."
        ),
        "unsupported-media-type": _ask_staff(
            "サーバーが要求を受け付けませんでした。", "The server did not take the request."
        ),
        "http-error": _ask_staff(
            "サーバーが要求を受け付けませんでした。", "The server did not take the request."
        ),
        "internal-error": _ask_staff("サーバーでエラーが起きました。", "The server had an error."),
        "malformed-certificate": _ask_staff(
            "カードの電子証明書を読み取れませんでした。", "The card's certificate could not be read."
        ),
        "untrusted-issuer": _ask_staff(
            "このカードの電子証明書は、この図書館では使えません。",
            "The certificate of this card cannot be used at this library.",
        ),
        "certificate-expired": Words(
            "カードの電子証明書の有効期間が過ぎています。お住まいの市区町村の窓口で更新してください。",
            "The card's certificate has expired. Your municipality's counter can renew it.",
        ),
        "certificate-not-yet-valid": _ask_staff(
            "カードの電子証明書の有効期間がまだ始まっていません。", "The card's certificate is not valid yet."
        ),
        "wrong-certificate-type": _ask_staff(
            "利用者証明用電子証明書ではありません。", "This is not a user authentication certificate."
        ),
        "wrong-certificate-policy": _ask_staff(
            "このカードの電子証明書は使えません。", "The certificate of this card cannot be used."
        ),
        "unsupported-algorithm": _ask_staff(
            "このカードの電子証明書には対応していません。", "The certificate of this card is not supported."
        ),
        "certificate-revoked": Words(
            "カードの電子証明書は失効しています。お住まいの市区町村の窓口にお問い合わせください。",
            "The card's certificate has been revoked. Please ask at your municipality's counter.",
        ),
        "revocation-unknown": _ask_staff(
            "カードの有効性を今は確認できません。図書館の利用者カードをお使いください。",
            "The card cannot be checked at the moment. Please use your library card.",
        ),
        "invalid-signature": _ask_staff(
            "カードの本人確認ができませんでした。", "The card could not be confirmed."
        ),
        "malformed-challenge": _ask_staff(
            "カードの確認の手順に誤りがありました。", "The check of the card went wrong."
        ),
        "challenge-unknown": Words(
            "確認の手順が無効になりました。カードを置き直してください。",
            "The check is no longer valid. Please lay the card again.",
        ),
        "challenge-expired": Words(
            "時間が過ぎました。カードを置き直してください。", "Time has run out. Please lay the card again."
        ),
        "challenge-already-used": Words(
            "この確認は既に済んでいます。カードを置き直してください。",
            "This check was done before. Please lay the card again.",
        ),
        "wrong-terminal": _ask_staff(
            "別の端末で始めた確認です。", "The check was started at another terminal."
        ),
        "wrong-certificate": Words(
            "途中でカードが替わりました。カードを置き直してください。",
            "The card was changed meanwhile. Please lay the card again.",
        ),
        "already-linked": _ask_staff(
            "このカードは既に登録されています。", "This card is registered already."
        ),
        "not-linked": Words(
            "このカードは登録されていません。窓口で登録してください。",
            "This card is not registered. Please register it at the counter.",
        ),
        "link-suspended": _ask_staff(
            "このカードの登録は停止中です。", "The registration of this card is suspended."
        ),
        "link-ended": Words(
            "このカードの登録は終わっています。窓口でもう一度登録してください。",
            "The registration of this card has ended. Please register it again at the counter.",
        ),
        "linked-meanwhile": _ask_staff(
            "別のカードの登録と重なりました。", "Another card was being registered at the same time."
        ),
        "too-many-links": _ask_staff(
            "登録できるカードの枚数に達しています。", "No more cards can be registered for you."
        ),
        "consent-missing": _ask_staff("同意の確認が済んでいません。", "Your consent has not been recorded."),
        "representation-incomplete": _ask_staff(
            "代理人の方の確認が済んでいません。", "The checks of the representative are not complete."
        ),
        "representation-over": Words(
            "15歳になった方は、ご本人による登録が必要です。窓口でもう一度登録してください。",
            "From the 15th birthday on you register the card yourself. Please do so at the counter.",
        ),
        "link-expired": Words(
            "このカードの登録の期間が過ぎています。窓口でもう一度登録してください。",
            "The registration of this card is too old. Please register it again at the counter.",
        ),
        "retention-over": _ask_staff("登録の記録がありません。", "The registration is no longer kept."),
        "step-not-possible": _ask_staff("この操作はできません。", "This is not possible now."),
        "link-not-found": _ask_staff("登録が見つかりません。", "There is no such registration."),
        "no-link-request": _ask_staff(
            "職員の操作が始まっていません。", "The librarian has not started the registration."
        ),
        "link-request-pending": _ask_staff(
            "この窓口は別の登録を待っています。", "This counter is waiting for another registration."
        ),
        "link-request-not-found": _ask_staff(
            "登録の受付が終わっています。", "The registration is no longer open."
        ),
        "library-card-expired": Words(
            "図書館の利用者カードの有効期限が過ぎています。窓口で更新してください。",
            "Your library card has expired. Please renew it at the counter.",
        ),
        "library-card-lost": _ask_staff(
            "図書館の利用者カードに紛失の届けが出ています。", "Your library card is reported lost."
        ),
        "patron-restricted": _ask_staff("利用が制限されています。", "Your use of the library is restricted."),
        "patron-not-found": _ask_staff(
            "利用者の登録が見つかりません。", "Your library record was not found."
        ),
        "koha-not-reachable": _ask_staff(
            "図書館システムに接続できません。", "The library system cannot be reached."
        ),
        "patron-changed": _ask_staff(
            "利用者の情報が変更されています。", "The library card was being changed at the same time."
        ),
        "category-refused": _ask_staff(
            "利用者区分を変更できません。", "The library card could not be changed."
        ),
        "wrong-terminal-kind": _ask_staff(
            "この端末ではできません。", "This cannot be done at this terminal."
        ),
        "library-not-found": _ask_staff(
            "この端末の図書館が登録されていません。", "The library of this terminal is not registered."
        ),
        "terminal-not-found": _ask_staff(
            "この端末は登録されていません。", "This terminal is not registered."
        ),
        "enrolment-code-unknown": _ask_staff("登録コードが違います。", "There is no such enrolment code."),
        "enrolment-code-expired": _ask_staff(
            "登録コードの有効期限が過ぎています。", "The enrolment code has expired."
        ),
        "enrolment-code-used": _ask_staff(
            "登録コードは既に使われています。", "The enrolment code has been used already."
        ),
        "enrolment-locked": _ask_staff(
            "誤った登録コードが続いたため、しばらく受け付けません。",
            "Too many enrolment codes were wrong, so none is taken for a while.",
        ),
        "not-allowed": _ask_staff("この操作はできません。", "This is not permitted."),
        "plugin-not-authenticated": _ask_staff(
            "プラグインを確認できません。", "The plugin could not be recognised."
        ),
        "plugin-not-found": _ask_staff("プラグインの登録が見つかりません。", "The plugin was not found."),
        "librarian-not-authenticated": _ask_staff(
            "職員のログインが終わっています。", "The librarian's log-in is over."
        ),
        "origin-not-allowed": _ask_staff("このページからは使えません。", "It cannot be used from this page."),
        "librarian-not-found": _ask_staff("職員の登録が見つかりません。", "The librarian was not found."),
        "second-factor-needed": _ask_staff("ログインできませんでした。", "The log-in failed."),
        "second-factor-refused": _ask_staff("ログインできませんでした。", "The log-in failed."),
        "password-refused": _ask_staff("ログインできませんでした。", "The log-in failed."),
        "password-unfit": _ask_staff("ログインできませんでした。", "The log-in failed."),
        "log-in-failed": _ask_staff("ログインできませんでした。", "The log-in failed."),
        "koha-account-not-found": _ask_staff("ログインできませんでした。", "The log-in failed."),
        "koha-account-taken": _ask_staff("ログインできませんでした。", "The log-in failed."),
        "koha-permission-missing": _ask_staff("ログインできませんでした。", "The log-in failed."),
        "koha-sign-in-off": _ask_staff("ログインできませんでした。", "The log-in failed."),
        "password-not-checked": _ask_staff("ログインできませんでした。", "The log-in failed."),
        "password-of-koha": _ask_staff("ログインできませんでした。", "The log-in failed."),
        "standing-unknown": _ask_staff("ログインできませんでした。", "The log-in failed."),
        "consent-changed": _ask_staff(
            "同意の文面が変わりました。", "The wording of the consent has changed."
        ),
        "consent-not-found": _ask_staff(
            "同意の文面を使えません。", "The wording of the consent cannot be used."
        ),
        "consent-unfit": _ask_staff("同意の文面を使えません。", "The wording of the consent cannot be used."),
        "bulk-unlinking-not-found": _ask_staff("この操作はできません。", "This is not permitted."),
        "bulk-unlinking-over": _ask_staff("この操作はできません。", "This is not permitted."),
        "second-person-needed": _ask_staff("この操作はできません。", "This is not permitted."),
        "too-many-links-at-once": _ask_staff("この操作はできません。", "This is not permitted."),
        "name-taken": _ask_staff("その名前は使われています。", "The name is in use."),
        "wrong-role": _ask_staff("その役割にはできません。", "This role is not possible."),
        "key-in-use": _ask_staff("鍵はまだ使われています。", "The key is still in use."),
        "audit-file-malformed": _ask_staff("ファイルを読み取れませんでした。", "The file could not be read."),
        "link-file-malformed": _ask_staff("ファイルを読み取れませんでした。", "The file could not be read."),
        "identifier-kind-not-used": _ask_staff(
            "この種類の識別子は使っていません。", "This kind of identifier is not used."
        ),
        "key-problem": _ask_staff("サーバーの設定に誤りがあります。", "The server is not set up right."),
        "store-problem": _ask_staff("サーバーの設定に誤りがあります。", "The server is not set up right."),
        "store-unavailable": Words(
            "サーバーが一時的に利用できません。しばらくしてからもう一度お試しください。",
            "The server cannot do this just now. Please try again in a moment.",
        ),
    }
)
"""The bridge's refusals by their slug."""


class Screen(Protocol):
    """Something that the patron can read."""

    def show_step(self, step: VisitStep, **values: object) -> None:
        """Show where the work stands."""

    def show_error(self, error: JpkiError | AgentError) -> None:
        """Show what went wrong and what to do."""


class TerminalScreen:
    """A screen of lines on a text stream, which is standard error in the command."""

    def __init__(self, stream: TextIO, language: Language) -> None:
        self._stream = stream
        self._language = language

    def show_step(self, step: VisitStep, **values: object) -> None:
        """Write the step's line."""
        self._write(STEP_WORDS[step].fill(self._language, **values))

    def show_error(self, error: JpkiError | AgentError) -> None:
        """Write the error's line."""
        self._write(words_for(error, self._language))

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def words_for(error: JpkiError | AgentError, language: Language) -> str:
    """Return what the patron reads of *error*; a slug that is not known here has the bridge's own title."""
    if isinstance(error, BridgeProblem):
        words = PROBLEM_WORDS.get(error.slug)
        return words.fill(language) if words else error.title
    row = next(base for base in type(error).__mro__ if base in ERROR_WORDS)
    attempts_remaining = getattr(error, "attempts_remaining", None)
    return ERROR_WORDS[row].fill(language, attempts_remaining=attempts_remaining, reason=error)


def local_date(moment: datetime) -> str:
    """Return the day of *moment* in Japan, as printed on the card's papers: ``2030-02-17``."""
    return moment.astimezone(JAPAN_STANDARD_TIME).date().isoformat()
