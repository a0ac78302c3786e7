"""The doctor at a terminal: every failure has its own line, with what to do, in both languages."""

import json
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import requests

from bridge.agent.api_client import TerminalState
from bridge.agent.card_check import CardStatus
from bridge.agent.doctor import (
    FINE,
    NAMES,
    SENTENCES,
    Check,
    Outcome,
    check_card,
    check_certificate,
    check_clock,
    check_output,
    check_reader,
    check_route,
    check_token,
)
from bridge.agent.doctor_probes import NetworkProbe
from bridge.agent.errors import BridgeProblem, BridgeUnreachable, OutputUnavailable, WrongSettings
from bridge.agent.screen import Language
from jpki import errors as jpki_errors
from jpki.constants import TokenKind

NOW = datetime(2026, 11, 2, tzinfo=UTC)
TERMINAL = TerminalState("counter-1", "chuo", "中央図書館", "counter", None)


def raising(error):
    def fail(*_arguments):
        raise error

    return fail


def untrusted(code):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


def refusal(slug, status=401):
    return BridgeProblem(slug, status=status, title="", detail=None, data={})


def reader_findings(list_readers, wanted=None):
    return list(check_reader(list_readers, wanted))


CASES = {
    "no service": (
        lambda: reader_findings(raising(jpki_errors.ReaderServiceUnavailable()))[0],
        "pcscd",
    ),
    "no pyscard": (lambda: reader_findings(raising(WrongSettings("x")))[0], "pcscd"),
    "no reader": (lambda: reader_findings(list)[1], "USB"),
    "another reader": (lambda: reader_findings(lambda: ["B"], "A")[1], "A"),
    "expired card": (
        lambda: check_card(lambda: CardStatus(problem=jpki_errors.PinBlockedError(0x6984))),
        "ロック",
    ),
    "wrong card": (
        lambda: check_card(lambda: CardStatus(problem=jpki_errors.NotAMyNumberCard(0x6A82))),
        "マイナンバーカード",
    ),
    "no name": (
        lambda: check_route("bridge.example", raising(socket.gaierror()), object, None),
        "bridge.example",
    ),
    "no connection": (
        lambda: check_route("bridge.example", object, raising(ConnectionRefusedError()), None),
        "接続できません",
    ),
    "no proxy": (lambda: check_route("h", object, raising(TimeoutError()), "proxy.example"), "proxy.example"),
    "certificate expired": (lambda: check_certificate(raising(untrusted(10)), NOW), "期限"),
    "certificate of another name": (lambda: check_certificate(raising(untrusted(62)), NOW), "別の名前"),
    "certificate not trusted": (lambda: check_certificate(raising(untrusted(20)), NOW), "信頼できません"),
    "clock slow": (lambda: check_clock(lambda: NOW, lambda: NOW - timedelta(seconds=61)), "61秒"),
    "clock fast": (lambda: check_clock(lambda: NOW, lambda: NOW + timedelta(hours=9)), "32400秒"),
    "not enrolled": (lambda: check_token(raising(refusal("terminal-not-authenticated"))), "登録コード"),
    "no token file": (
        lambda: check_token(raising(WrongSettings("the file is missing"))),
        "トークンのファイルが使えません。",
    ),
    "bridge away": (lambda: check_token(raising(BridgeUnreachable("ConnectTimeout"))), "接続できません"),
    "bridge ill": (lambda: check_token(raising(refusal("internal-error", 500))), "エラー"),
    "output gone": (lambda: check_output(raising(OutputUnavailable("/dev/ttyUSB0", "missing"))), "ttyUSB0"),
}


@pytest.mark.parametrize(("look", "word"), CASES.values(), ids=CASES)
def test_what_is_wrong_is_told_with_what_to_do(look, word):
    found = look()
    assert not found.is_fine
    assert word in found.sentence(Language.JAPANESE)
    assert found.sentence(Language.ENGLISH)


def test_what_is_as_it_should_be_is_fine():
    good = CardStatus(TokenKind.MY_NUMBER_CARD, NOW, 3)
    found = [
        *check_reader(lambda: ["Reader {A}"], None),
        check_card(lambda: good),
        check_route("h", object, object, None),
        check_certificate(lambda: NOW + timedelta(days=90), NOW),
        check_clock(lambda: NOW, lambda: NOW + timedelta(seconds=60)),
        check_token(lambda: TERMINAL),
        check_output(lambda: "serial line /dev/ttyUSB0"),
    ]
    assert {each.outcome for each in found} == {Outcome.OK}
    assert [each.check for each in found] == list(Check)
    told = " ".join(each.sentence(Language.JAPANESE) for each in found)
    for word in ("あと3回", "中央図書館, counter-1", "2027-01-31", "Reader A"):
        assert word in told


def test_what_is_not_there_to_be_looked_at_alarms_nobody():
    found = [
        check_card(lambda: CardStatus(problem=jpki_errors.NoCard())),
        check_card(lambda: CardStatus(problem=jpki_errors.CardInUse())),
        check_certificate(lambda: None, NOW),
        check_certificate(raising(ConnectionResetError()), NOW),
        check_certificate(lambda: NOW + timedelta(days=13), NOW),
        check_clock(raising(requests.ConnectionError()), lambda: NOW),
        check_clock(lambda: None, lambda: NOW),
        check_output(None),
    ]
    assert all(each.is_fine for each in found)
    assert found[4].outcome is Outcome.EXPIRES_SOON
    assert all(each.sentence(language) for each in found for language in Language)


def test_every_check_has_a_name_and_every_sentence_both_languages():
    assert set(NAMES) == set(Check)
    assert {outcome for _, outcome in SENTENCES} == set(Outcome)
    assert set(Outcome) > FINE
    for words in SENTENCES.values():
        assert ("{detail}" in words.ja) == ("{detail}" in words.en)


def test_the_probe_goes_through_no_proxy_over_plain_http(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert NetworkProbe("http://127.0.0.1:8080").proxy is None
    assert NetworkProbe("https://bridge.example").proxy == "proxy.example"


def doctor(arguments):
    """Run the command in a process of its own: libpcsclite looks for its socket once in a process's life."""
    command = [sys.executable, "-m", "bridge", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_tells_all_and_exits_with_one_where_something_is_wrong(tmp_path):
    settings = tmp_path / "agent.toml"
    (tmp_path / "token").write_text("a-token\n")
    (tmp_path / "token").chmod(0o600)
    with socket.socket() as probe:  # bound, but nobody listens
        probe.bind(("127.0.0.1", 0))
        settings.write_text(
            f'bridge_url = "http://127.0.0.1:{probe.getsockname()[1]}"\ntoken_file = "token"\n',
            encoding="utf-8",
        )
        told = doctor(["agent", "doctor", "--settings", str(settings), "--json"])
        words = doctor(["agent", "doctor", "--settings", str(settings)])
    assert told.returncode == 1, told.stderr
    document = json.loads(told.stdout)
    assert [each["check"] for each in document] == [check.value for check in Check]
    found = {each["check"]: each["outcome"] for each in document}
    assert (found["route"], found["token"]) == ("no_connection", "no_answer")
    assert "NG サーバーへの経路" in words.stdout
    assert "a-token" not in told.stdout + told.stderr + words.stdout + words.stderr


def test_wrong_settings_are_named(tmp_path):
    ended = doctor(["agent", "doctor", "--settings", str(tmp_path / "none.toml")])
    assert ended.returncode == 2
    assert "none.toml" in ended.stderr
    told = doctor(["agent", "doctor", "--settings", str(tmp_path / "none.toml"), "--json"])
    assert (told.returncode, told.stdout) == (2, "")
    error = json.loads(told.stderr)["error"]
    assert error["code"] == "settings-problem"
    assert error["problems"]
