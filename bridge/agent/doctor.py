"""What stands between this terminal and its work, in words that can be read out on the telephone.

Each check takes what it looks at as a function, so that none of it needs a reader or a network here; the
edges are in ``bridge.agent.doctor_probes``. No check spends a PIN try, and none shows the token.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum, unique
from types import MappingProxyType

from bridge.agent.api_client import TerminalState
from bridge.agent.card_check import CardStatus
from bridge.agent.clock_check import CLOCK_TOLERANCE, clock_difference
from bridge.agent.errors import AgentError, BridgeCallError, OutputUnavailable
from bridge.agent.screen import Language, Words, words_for
from jpki.errors import NoCard, ReaderError

CERTIFICATE_WARNING = timedelta(days=14)

CERTIFICATE_EXPIRED = 10  # openssl-verification-options: X509_V_ERR_CERT_HAS_EXPIRED
WRONG_HOST_NAME = 62  # X509_V_ERR_HOSTNAME_MISMATCH


@unique
class Check(StrEnum):
    """What is looked at, in this order."""

    DRIVER = "driver"
    READER = "reader"
    CARD = "card"
    ROUTE = "route"
    CERTIFICATE = "certificate"
    CLOCK = "clock"
    TOKEN = "token"  # noqa: S105  # not a token
    OUTPUT = "output"


@unique
class Outcome(StrEnum):
    """What came out; each has words for every check that can come to it."""

    OK = "ok"
    NOT_LOOKED_AT = "not_looked_at"
    NO_SERVICE = "no_service"
    MISSING = "missing"
    NO_CARD = "no_card"
    CARD_TROUBLE = "card_trouble"
    NO_NAME = "no_name"
    NO_CONNECTION = "no_connection"
    NO_ANSWER = "no_answer"
    EXPIRED = "expired"
    EXPIRES_SOON = "expires_soon"
    WRONG_NAME = "wrong_name"
    NOT_TRUSTED = "not_trusted"
    CLOCK_WRONG = "clock_wrong"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


FINE = frozenset({Outcome.OK, Outcome.NOT_LOOKED_AT, Outcome.NO_CARD, Outcome.EXPIRES_SOON})
"""No reason to call anybody now."""

NAMES: Mapping[Check, Words] = MappingProxyType(
    {
        Check.DRIVER: Words("読み取り機能（ドライバー）", "reader service (driver)"),
        Check.READER: Words("カード読み取り機", "card reader"),
        Check.CARD: Words("カード", "card"),
        Check.ROUTE: Words("サーバーへの経路", "way to the server"),
        Check.CERTIFICATE: Words("サーバーの証明書", "the server's certificate"),
        Check.CLOCK: Words("時計", "clock"),
        Check.TOKEN: Words("端末の登録", "this terminal's enrolment"),
        Check.OUTPUT: Words("自動貸出機への受け渡し", "way to the self-check machine"),
    }
)

SENTENCES: Mapping[tuple[Check, Outcome], Words] = MappingProxyType(
    {
        (Check.DRIVER, Outcome.OK): Words("動いています。", "It is running."),
        (Check.DRIVER, Outcome.NO_SERVICE): Words(
            "動いていません。この端末を再起動し、直らなければ保守担当に「pcscdが動かない」と伝えてください。",
            "It is not running. Restart this terminal; if that does not help, tell support: pcscd is down.",
        ),
        (Check.READER, Outcome.OK): Words("{detail}", "{detail}"),
        (Check.READER, Outcome.NOT_LOOKED_AT): Words("確認できません。", "It could not be looked at."),
        (Check.READER, Outcome.MISSING): Words(
            "見つかりません。読み取り機のUSBケーブルを抜き差ししてください。（設定の名前: {detail}）",
            "It was not found. Unplug its USB cable and plug it in again. (name in the settings: {detail})",
        ),
        (Check.CARD, Outcome.OK): Words("読めます。暗証番号は{detail}。", "It can be read. PIN: {detail}."),
        (Check.CARD, Outcome.NOT_LOOKED_AT): Words("確認できません。", "It could not be looked at."),
        (Check.CARD, Outcome.NO_CARD): Words(
            "置かれていません。カードを置いて実行すると、カードも確認します。",
            "None lies there. Run this with a card on the reader to look at it, too.",
        ),
        (Check.CARD, Outcome.CARD_TROUBLE): Words("{detail}", "{detail}"),
        (Check.ROUTE, Outcome.OK): Words("つながります。（{detail}）", "It works. ({detail})"),
        (Check.ROUTE, Outcome.NO_NAME): Words(
            "サーバーの名前 {detail} が見つかりません。ネットワークのケーブルと設定を確かめてください。",
            "The server's name {detail} is not known. Check the network cable and the settings.",
        ),
        (Check.ROUTE, Outcome.NO_CONNECTION): Words(
            "{detail} に接続できません。ケーブルを確かめ、直らなければ情報担当に伝えてください。",
            "There is no connection to {detail}. Check the network cable, then call the IT section.",
        ),
        (Check.CERTIFICATE, Outcome.OK): Words("{detail}まで有効です。", "It is valid until {detail}."),
        (Check.CERTIFICATE, Outcome.NOT_LOOKED_AT): Words("確認していません。", "It was not looked at."),
        (Check.CERTIFICATE, Outcome.EXPIRES_SOON): Words(
            "{detail}で切れます。情報担当に更新を頼んでください。",
            "It ends on {detail}. Ask the IT section to renew it.",
        ),
        (Check.CERTIFICATE, Outcome.EXPIRED): Words(
            "期限が切れています。情報担当に伝え、この端末の日付も確かめてください。",
            "It has expired. Call the IT section, and check the date of this terminal, too.",
        ),
        (Check.CERTIFICATE, Outcome.WRONG_NAME): Words(
            "別の名前のサーバーのものです。設定のアドレスを確かめ、情報担当に伝えてください。",
            "It is that of a server of another name. Check the settings, then call the IT section.",
        ),
        (Check.CERTIFICATE, Outcome.NOT_TRUSTED): Words(
            "信頼できません。そのまま使わず、情報担当に伝えてください。",
            "It is not trusted. Do not go on; call the IT section.",
        ),
        (Check.CLOCK, Outcome.OK): Words("合っています。", "It is right."),
        (Check.CLOCK, Outcome.NOT_LOOKED_AT): Words("確認できません。", "It could not be looked at."),
        (Check.CLOCK, Outcome.CLOCK_WRONG): Words(
            "サーバーと{detail}秒ずれています。この端末の日付と時刻を合わせてください。",
            "It differs from the server's by {detail} seconds. Set the date and time of this terminal.",
        ),
        (Check.TOKEN, Outcome.OK): Words("{detail}", "{detail}"),
        (Check.TOKEN, Outcome.NOT_LOOKED_AT): Words("確認できません。", "It could not be looked at."),
        (Check.TOKEN, Outcome.REFUSED): Words(
            "{detail} 管理者に登録コードを発行してもらい、登録し直してください。",
            "{detail} Have an administrator draw an enrolment code, and enrol again.",
        ),
        (Check.TOKEN, Outcome.NO_ANSWER): Words("{detail}", "{detail}"),
        (Check.TOKEN, Outcome.UNAVAILABLE): Words(
            "トークンのファイルが使えません。かっこ内の理由を直すか、管理者に登録コードを発行してもらい、登録し直してください。"
            "（{detail}）",
            "The token file cannot be used. Mend what is said here, or have an administrator draw an "
            "enrolment code, and enrol again. ({detail})",
        ),
        (Check.OUTPUT, Outcome.OK): Words("使えます。（{detail}）", "It is ready. ({detail})"),
        (Check.OUTPUT, Outcome.NOT_LOOKED_AT): Words(
            "設定されていません。（窓口では不要です。）", "None is set up. (A counter needs none.)"
        ),
        (Check.OUTPUT, Outcome.UNAVAILABLE): Words(
            "使えません。ケーブルを確かめてください。（{detail}）",
            "It is not there. Check its cable. ({detail})",
        ),
    }
)


@dataclass(frozen=True)
class Diagnosis:
    """What came out of one check. ``detail`` fills its sentence; by language where it is a sentence."""

    check: Check
    outcome: Outcome
    detail: Words = field(default=Words("", ""))

    @property
    def is_fine(self) -> bool:
        """Whether nobody need be called for it."""
        return self.outcome in FINE

    @property
    def was_looked_at(self) -> bool:
        """Whether anything is known."""
        return self.outcome is not Outcome.NOT_LOOKED_AT

    def sentence(self, language: Language) -> str:
        """Return what was found and what to do."""
        words = SENTENCES[self.check, self.outcome]
        return words.fill(language, detail=self.detail.fill(language))


def _plain(text: str) -> Words:
    shown = text.replace("{", "").replace("}", "")
    return Words(shown, shown)


def check_reader(list_readers: Callable[[], Sequence[str]], wanted: str | None) -> Iterator[Diagnosis]:
    """Look at the service and the reader; *wanted* is its name, None for any."""
    try:
        names = list_readers()
    except (ReaderError, AgentError):
        yield Diagnosis(Check.DRIVER, Outcome.NO_SERVICE)
        yield Diagnosis(Check.READER, Outcome.NOT_LOOKED_AT)
        return
    yield Diagnosis(Check.DRIVER, Outcome.OK)
    if not names or (wanted is not None and wanted not in names):
        yield Diagnosis(Check.READER, Outcome.MISSING, _plain(wanted or "-"))
    else:
        yield Diagnosis(Check.READER, Outcome.OK, _plain(wanted or ", ".join(names)))


def check_card(look: Callable[[], CardStatus]) -> Diagnosis:
    """Look at the card that lies there, if any: its kind, its certificate's dates, the tries left."""
    status = look()
    if isinstance(status.problem, NoCard):
        return Diagnosis(Check.CARD, Outcome.NO_CARD)
    if isinstance(status.problem, ReaderError):
        return Diagnosis(Check.CARD, Outcome.NOT_LOOKED_AT)
    if status.problem is not None:
        words = Words(*(words_for(status.problem, language) for language in Language))
        return Diagnosis(Check.CARD, Outcome.CARD_TROUBLE, words)
    tries = status.attempts_remaining
    return Diagnosis(Check.CARD, Outcome.OK, Words(f"あと{tries}回入力できます", f"{tries} tries left"))


def check_route(
    host: str, look_up: Callable[[], object], connect: Callable[[], object], proxy: str | None
) -> Diagnosis:
    """Look the server's name up and connect to it, or to the *proxy* on the way."""
    try:
        look_up()
    except OSError:
        return Diagnosis(Check.ROUTE, Outcome.NO_NAME, _plain(proxy or host))
    try:
        connect()
    except OSError:
        return Diagnosis(Check.ROUTE, Outcome.NO_CONNECTION, _plain(proxy or host))
    return Diagnosis(Check.ROUTE, Outcome.OK, _plain(f"{host} via {proxy}" if proxy else host))


def check_certificate(read_not_after: Callable[[], datetime | None], now: datetime) -> Diagnosis:
    """Look at the server's certificate; *read_not_after* gives None where there is none to look at."""
    try:
        not_after = read_not_after()
    except ssl.SSLCertVerificationError as error:
        outcomes = {CERTIFICATE_EXPIRED: Outcome.EXPIRED, WRONG_HOST_NAME: Outcome.WRONG_NAME}
        return Diagnosis(Check.CERTIFICATE, outcomes.get(error.verify_code, Outcome.NOT_TRUSTED))
    except OSError:
        return Diagnosis(Check.CERTIFICATE, Outcome.NOT_LOOKED_AT)
    if not_after is None:
        return Diagnosis(Check.CERTIFICATE, Outcome.NOT_LOOKED_AT)
    soon = not_after - now < CERTIFICATE_WARNING
    day = _plain(not_after.date().isoformat())
    return Diagnosis(Check.CERTIFICATE, Outcome.EXPIRES_SOON if soon else Outcome.OK, day)


def check_clock(ask_time: Callable[[], datetime | None], clock: Callable[[], datetime]) -> Diagnosis:
    """Compare this clock with the server's."""
    difference = clock_difference(ask_time, clock)
    if difference is None:
        return Diagnosis(Check.CLOCK, Outcome.NOT_LOOKED_AT)
    if difference > CLOCK_TOLERANCE:
        seconds = _plain(str(int(difference.total_seconds())))
        return Diagnosis(Check.CLOCK, Outcome.CLOCK_WRONG, seconds)
    return Diagnosis(Check.CLOCK, Outcome.OK)


def check_token(ask_terminal: Callable[[], TerminalState]) -> Diagnosis:
    """Ask the bridge which terminal this is."""
    try:
        state = ask_terminal()
    except BridgeCallError as error:
        words = Words(*(words_for(error, language) for language in Language))
        refused = getattr(error, "slug", None) == "terminal-not-authenticated"
        return Diagnosis(Check.TOKEN, Outcome.REFUSED if refused else Outcome.NO_ANSWER, words)
    except AgentError as error:  # the token file cannot be read
        return Diagnosis(Check.TOKEN, Outcome.UNAVAILABLE, _plain(str(error)))
    return Diagnosis(Check.TOKEN, Outcome.OK, _plain(f"{state.library_name}, {state.terminal_id}"))


def check_output(check: Callable[[], str] | None) -> Diagnosis:
    """Look whether the device for tokens is there, without sending anything."""
    if check is None:
        return Diagnosis(Check.OUTPUT, Outcome.NOT_LOOKED_AT)
    try:
        return Diagnosis(Check.OUTPUT, Outcome.OK, _plain(check()))
    except OutputUnavailable as error:
        return Diagnosis(Check.OUTPUT, Outcome.UNAVAILABLE, _plain(str(error)))
