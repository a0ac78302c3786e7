"""What stands between this server and its work, in words for who runs it.

Each check takes what it looks at as a function, so that none of it needs a network or a database here; the
edges are in ``bridge.cli.doctor``. Nothing is changed, no patron is looked up, and no secret is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum, unique
from types import MappingProxyType

from bridge.agent.clock_check import CLOCK_TOLERANCE, clock_difference
from bridge.agent.screen import Language, Words
from bridge.errors import BridgeError, StoreUnavailable
from jpki.crl_index import CrlHead
from jpki.errors import JpkiError
from jpki.trust import TrustAnchor
from koha_client import Ability, Health, HealthState
from sip2_adapter import Sip2Error

AUTHORITY_WARNING = timedelta(days=90)
"""A new CA certificate must be obtained, checked and imported before the old one ends."""


@unique
class ServerCheck(StrEnum):
    """What is looked at, in this order."""

    DATABASE = "database"
    KEYS = "keys"
    TRUST = "trust"
    REVOCATION = "revocation"
    KOHA = "koha"
    CLOCK = "clock"
    SIP2 = "sip2"


@unique
class ServerVerdict(StrEnum):
    """What came out; each has words for every check that can come to it."""

    OK = "ok"
    NOT_LOOKED_AT = "not_looked_at"
    ENDS_SOON = "ends_soon"
    MISSING = "missing"
    OVERDUE = "overdue"
    UNREADABLE = "unreadable"
    NO_ANSWER = "no_answer"
    REFUSED = "refused"
    CLOCK_WRONG = "clock_wrong"


FINE = frozenset({ServerVerdict.OK, ServerVerdict.NOT_LOOKED_AT, ServerVerdict.ENDS_SOON})
"""Cards are accepted and books are lent in spite of it."""

CHECK_NAMES: Mapping[ServerCheck, Words] = MappingProxyType(
    {
        ServerCheck.DATABASE: Words("データベース", "database"),
        ServerCheck.KEYS: Words("マスター鍵", "master keys"),
        ServerCheck.TRUST: Words("認証局の証明書", "CA certificate"),
        ServerCheck.REVOCATION: Words("失効情報", "revocation"),
        ServerCheck.KOHA: Words("Koha（REST API）", "Koha (REST API)"),
        ServerCheck.CLOCK: Words("時計", "clock"),
        ServerCheck.SIP2: Words("Koha（SIP2）", "Koha (SIP2)"),
    }
)

VERDICT_WORDS: Mapping[tuple[ServerCheck, ServerVerdict], Words] = MappingProxyType(
    {
        (ServerCheck.DATABASE, ServerVerdict.OK): Words("使えます。", "It can be used."),
        (ServerCheck.DATABASE, ServerVerdict.UNREADABLE): Words(
            "使えません。動いているか確かめ、更新の後なら koha-jpki init-db を実行してください。（{why}）",
            "It cannot be used. See whether it runs; after an upgrade run koha-jpki init-db. ({why})",
        ),
        (ServerCheck.KEYS, ServerVerdict.OK): Words("データに合っています。", "They are those of the data."),
        (ServerCheck.KEYS, ServerVerdict.NOT_LOOKED_AT): Words(
            "データベースが使えないため確認できません。", "They could not be compared: there is no database."
        ),
        (ServerCheck.KEYS, ServerVerdict.NO_ANSWER): Words(
            "データベースが今は使えないため確認できません。空き容量などを確かめ、もう一度実行してください。（{why}）",
            "They could not be compared: the database cannot be used now. See whether its disk is full, and "
            "run this again. ({why})",
        ),
        (ServerCheck.KEYS, ServerVerdict.UNREADABLE): Words(
            "使えません。かっこ内の理由を直すか、正しい鍵を保管場所から戻してください。（{why}）",
            "They cannot be used. Mend what is said here, or put the right keys back from the safe. ({why})",
        ),
        (ServerCheck.TRUST, ServerVerdict.OK): Words("{day} まで有効です。", "It is valid until {day}."),
        (ServerCheck.TRUST, ServerVerdict.ENDS_SOON): Words(
            "{day} に有効期限が切れます。新しい証明書を入手し、koha-jpki trust で取り込んでください。",
            "It ends on {day}. Obtain the new one and import it with koha-jpki trust.",
        ),
        (ServerCheck.TRUST, ServerVerdict.OVERDUE): Words(
            "{day} に有効期限が切れました。新しい証明書を koha-jpki trust で取り込んでください。",
            "It ended on {day}. Import the new one with koha-jpki trust.",
        ),
        (ServerCheck.TRUST, ServerVerdict.MISSING): Words(
            "取り込まれていません。すべてのカードが拒否されます。koha-jpki trust で取り込んでください。",
            "None is imported, so every card is refused. Import it with koha-jpki trust.",
        ),
        (ServerCheck.TRUST, ServerVerdict.UNREADABLE): Words(
            "読み取れません。（{why}）", "They cannot be read. ({why})"
        ),
        (ServerCheck.REVOCATION, ServerVerdict.OK): Words("{detail}", "{detail}"),
        (ServerCheck.REVOCATION, ServerVerdict.OVERDUE): Words(
            "CRLの更新期限（{day}）を過ぎています。koha-jpki crl import で新しいCRLを取り込んでください。",
            "The CRL was to be replaced by {day}. Import the new one with koha-jpki crl import.",
        ),
        (ServerCheck.REVOCATION, ServerVerdict.MISSING): Words(
            "この認証局のCRLがありません。koha-jpki crl import で取り込んでください。",
            "There is no CRL of this CA. Import it with koha-jpki crl import.",
        ),
        (ServerCheck.REVOCATION, ServerVerdict.UNREADABLE): Words(
            "設定が使えません。（{why}）", "It cannot be used as it is set up. ({why})"
        ),
        (ServerCheck.REVOCATION, ServerVerdict.NO_ANSWER): Words(
            "接続できません。ネットワークと設定を確かめてください。（{why}）",
            "There is no connection. Check the network and the settings. ({why})",
        ),
        (ServerCheck.KOHA, ServerVerdict.OK): Words("「{ja}」ができます。", "It lets the bridge {en}."),
        (ServerCheck.KOHA, ServerVerdict.REFUSED): Words("{ja}", "{en}"),
        (ServerCheck.KOHA, ServerVerdict.NOT_LOOKED_AT): Words(
            "この図書館はREST APIを使っていません。", "This library does without the REST API."
        ),
        (ServerCheck.CLOCK, ServerVerdict.OK): Words("Kohaの時計と合っています。", "It agrees with Koha's."),
        (ServerCheck.CLOCK, ServerVerdict.CLOCK_WRONG): Words(
            "Kohaの時計と{seconds}秒ずれています。両方のサーバーの時刻合わせ（NTP）を確かめてください。",
            "It differs from Koha's by {seconds} seconds. Look after the time service (NTP) of both servers.",
        ),
        (ServerCheck.CLOCK, ServerVerdict.NOT_LOOKED_AT): Words(
            "確認できません。", "It could not be compared."
        ),
        (ServerCheck.SIP2, ServerVerdict.OK): Words("応答があります。", "It answers."),
        (ServerCheck.SIP2, ServerVerdict.NO_ANSWER): Words(
            "応答がありません。KohaのSIPサーバー、ポート、ログインを確かめてください。（{why}）",
            "It does not answer. Check Koha's SIP server, its port and the log-in. ({why})",
        ),
    }
)

HEALTH_WORDS: Mapping[HealthState, str] = MappingProxyType(
    {
        HealthState.OK: "",
        HealthState.UNREACHABLE: "Kohaから応答がありません。アドレスとネットワークを確かめてください。",
        HealthState.TLS_FAILED: "KohaのTLS証明書を信頼できません。アドレスと認証局を確かめてください。",
        HealthState.IN_MAINTENANCE: "Kohaはメンテナンス中です。終わるまでお待ちください。",
        HealthState.UNAUTHORIZED: "KohaのAPIキーが違います。client_id と client_secret を確かめてください。",
        HealthState.PREFERENCE_OFF: "Kohaのシステム設定 {preference} を有効にしてください。",
        HealthState.FORBIDDEN: "「{ability}」ができません。Kohaのアカウントに権限 {permissions} が必要です。",
        HealthState.NOT_OFFERED: "このKohaは古く、「{ability}」ができません。{version} が必要です。",
        HealthState.PLUGIN_MISSING: "「{ability}」ができません。"
        "Kohaに本システムのプラグイン（最新版）を入れ、Kohaを再起動してください。",
        HealthState.NOT_KOHA: "応答したのはKohaのREST APIではありません。アドレスは /api/v1 で終わります。",
    }
)
"""``Health.advice`` in Japanese."""

ABILITY_WORDS: Mapping[Ability, str] = MappingProxyType(
    {
        Ability.FIND_PATRONS: "利用者の検索と参照",
        Ability.CHANGE_PATRONS: "利用者の変更と利用者区分の移動",
        Ability.CHECK_PASSWORDS: "職員のパスワードの確認",
        Ability.SEE_STAFF_PERMISSIONS: "職員の権限の確認",
    }
)
"""The abilities that the bridge needs."""


@dataclass(frozen=True)
class Observation:
    """What one check found. ``place`` is the library, the CA key or the source that it is about."""

    check: ServerCheck
    verdict: ServerVerdict
    place: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_fine(self) -> bool:
        """Whether the work goes on."""
        return self.verdict in FINE

    @property
    def was_looked_at(self) -> bool:
        """Whether anything is known."""
        return self.verdict is not ServerVerdict.NOT_LOOKED_AT

    def sentence(self, language: Language) -> str:
        """Return what is the matter and what to do."""
        return VERDICT_WORDS[self.check, self.verdict].fill(language, **self.details)


def look_at_database(check: Callable[[], object]) -> Observation:
    """Look whether the database is there and of this version of the program."""
    try:
        check()
    except BridgeError as error:
        return Observation(ServerCheck.DATABASE, ServerVerdict.UNREADABLE, details={"why": str(error)})
    return Observation(ServerCheck.DATABASE, ServerVerdict.OK)


def look_at_keys(check: Callable[[], object], *, has_database: bool) -> Observation:
    """Look whether the master keys are those of the data."""
    try:
        check()
    except StoreUnavailable as error:
        return Observation(ServerCheck.KEYS, ServerVerdict.NO_ANSWER, details={"why": error.code})
    except BridgeError as error:
        return Observation(ServerCheck.KEYS, ServerVerdict.UNREADABLE, details={"why": str(error)})
    return Observation(ServerCheck.KEYS, ServerVerdict.OK if has_database else ServerVerdict.NOT_LOOKED_AT)


def look_at_anchors(load: Callable[[], Sequence[TrustAnchor]], now: datetime) -> Iterator[Observation]:
    """Look at every imported CA certificate."""
    try:
        anchors = load()
    except FileNotFoundError:  # the import makes the folder
        anchors = ()
    except (JpkiError, OSError) as error:
        yield Observation(ServerCheck.TRUST, ServerVerdict.UNREADABLE, details={"why": reason_of(error)})
        return
    if not anchors:
        yield Observation(ServerCheck.TRUST, ServerVerdict.MISSING)
    for anchor in anchors:
        verdict = ServerVerdict.OK
        if anchor.not_after < now:
            verdict = ServerVerdict.OVERDUE
        elif anchor.not_after < now + AUTHORITY_WARNING:
            verdict = ServerVerdict.ENDS_SOON
        yield Observation(
            ServerCheck.TRUST, verdict, _short(anchor.key_identifier), {"day": _day(anchor.not_after)}
        )


def look_at_crls(
    load: Callable[[], Sequence[CrlHead]], anchors: Sequence[TrustAnchor], now: datetime
) -> Iterator[Observation]:
    """Look at the age of every CRL in force, and whether each CA has one."""
    try:
        heads = load()
    except (JpkiError, OSError) as error:
        yield Observation(ServerCheck.REVOCATION, ServerVerdict.UNREADABLE, "crl", {"why": reason_of(error)})
        return
    for head in heads:
        place = f"crl {_short(head.issuer_key_identifier)}"
        if head.next_update < now:
            yield Observation(
                ServerCheck.REVOCATION, ServerVerdict.OVERDUE, place, {"day": _day(head.next_update)}
            )
        else:
            hours = int((now - head.this_update) / timedelta(hours=1))
            yield Observation(ServerCheck.REVOCATION, ServerVerdict.OK, place, {"detail": f"{hours} h"})
    covered = {head.issuer_key_identifier for head in heads}
    for anchor in anchors:
        if anchor.key_identifier not in covered:
            place = f"crl {_short(anchor.key_identifier)}"
            yield Observation(ServerCheck.REVOCATION, ServerVerdict.MISSING, place)


def look_at_source(name: str, connect: Callable[[], str]) -> Observation:
    """Look whether a source that is asked over the network can be reached; *connect* returns its host."""
    try:
        host = connect()
    except JpkiError as error:
        return Observation(ServerCheck.REVOCATION, ServerVerdict.UNREADABLE, name, {"why": reason_of(error)})
    except OSError as error:
        return Observation(ServerCheck.REVOCATION, ServerVerdict.NO_ANSWER, name, {"why": reason_of(error)})
    return Observation(ServerCheck.REVOCATION, ServerVerdict.OK, name, {"detail": host})


def look_at_koha(library_id: str, health: Health) -> Observation:
    """Say what a check of one ability found."""
    ability = ABILITY_WORDS[health.ability]
    if health.state is HealthState.OK:
        details = {"ja": ability, "en": health.ability.value}
        return Observation(ServerCheck.KOHA, ServerVerdict.OK, library_id, details)
    advice = HEALTH_WORDS[health.state].format(
        ability=ability,
        permissions=" / ".join(health.missing_permissions),
        preference=health.preference,
        version=health.version,
    )
    return Observation(
        ServerCheck.KOHA, ServerVerdict.REFUSED, library_id, {"ja": advice, "en": health.advice}
    )


def look_at_clock(
    library_id: str, ask_time: Callable[[], datetime | None], clock: Callable[[], datetime]
) -> Observation:
    """Compare this clock with Koha's."""
    difference = clock_difference(ask_time, clock)
    if difference is None:
        return Observation(ServerCheck.CLOCK, ServerVerdict.NOT_LOOKED_AT, library_id)
    if difference > CLOCK_TOLERANCE:
        seconds = str(int(difference.total_seconds()))
        return Observation(ServerCheck.CLOCK, ServerVerdict.CLOCK_WRONG, library_id, {"seconds": seconds})
    return Observation(ServerCheck.CLOCK, ServerVerdict.OK, library_id)


def look_at_sip2(library_id: str, ask: Callable[[], object]) -> Observation:
    """Look whether Koha's SIP2 server answers."""
    try:
        ask()
    except (Sip2Error, OSError) as error:
        return Observation(ServerCheck.SIP2, ServerVerdict.NO_ANSWER, library_id, {"why": reason_of(error)})
    return Observation(ServerCheck.SIP2, ServerVerdict.OK, library_id)


def reason_of(error: Exception) -> str:
    """Return the cause as the system or the program names it; none of these texts carries a secret."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) or type(error).__name__


def _short(key_identifier: bytes) -> str:
    return key_identifier.hex().upper()[:8]


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
