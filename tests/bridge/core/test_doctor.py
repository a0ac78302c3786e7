"""What the doctor of the server finds, and how it says it."""

from __future__ import annotations

import json
import os
import socket
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import requests
from click.testing import CliRunner

from bridge.agent.screen import Language
from bridge.cli import main
from bridge.cli.doctor_output import say_finding
from bridge.doctor import (
    ABILITY_WORDS,
    AUTHORITY_WARNING,
    CHECK_NAMES,
    HEALTH_WORDS,
    VERDICT_WORDS,
    Observation,
    ServerCheck,
    ServerVerdict,
    look_at_anchors,
    look_at_clock,
    look_at_crls,
    look_at_database,
    look_at_keys,
    look_at_koha,
    look_at_sip2,
    look_at_source,
)
from bridge.errors import KeyProblem, StoreProblem, StoreUnavailable
from jpki.crl_index import CrlHead
from jpki.errors import UntrustedIssuer
from koha_client import Ability, Health, HealthState
from sip2_adapter import AcsNotReached

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def fails(error):
    def call(*_values):
        raise error

    return call


def both(observation: Observation) -> str:
    return " ".join(observation.sentence(language) for language in (Language.JAPANESE, Language.ENGLISH))


def test_every_check_has_a_name_and_words_and_every_state_of_koha_japanese_ones():
    assert set(CHECK_NAMES) == set(ServerCheck)
    assert {check for check, _ in VERDICT_WORDS} == set(ServerCheck)
    assert set(HEALTH_WORDS) == set(HealthState)


@pytest.mark.parametrize(
    ("observation", "verdict", "word"),
    [
        (look_at_database(lambda: None), ServerVerdict.OK, "使えます"),
        (look_at_database(fails(StoreProblem("run koha-jpki init-db"))), ServerVerdict.UNREADABLE, "init-db"),
        (look_at_keys(lambda: None, has_database=True), ServerVerdict.OK, "データに合って"),
        (look_at_keys(lambda: None, has_database=False), ServerVerdict.NOT_LOOKED_AT, "確認できません"),
        (look_at_keys(fails(KeyProblem("k1 is missing")), has_database=True), ServerVerdict.UNREADABLE, "k1"),
        (
            look_at_keys(fails(StoreUnavailable("SQLITE_BUSY")), has_database=True),
            ServerVerdict.NO_ANSWER,
            "SQLITE_BUSY",
        ),
        (look_at_source("ocsp", lambda: "ocsp.example.jp"), ServerVerdict.OK, "ocsp.example.jp"),
        (
            look_at_source("ocsp", fails(ConnectionRefusedError(111, "refused"))),
            ServerVerdict.NO_ANSWER,
            "refused",
        ),
        (look_at_source("platform", fails(UntrustedIssuer("url"))), ServerVerdict.UNREADABLE, "url"),
        (look_at_sip2("central", lambda: None), ServerVerdict.OK, "応答があります"),
        (
            look_at_sip2("central", fails(AcsNotReached("nobody there"))),
            ServerVerdict.NO_ANSWER,
            "nobody there",
        ),
        (look_at_sip2("central", fails(ssl.SSLError(1, "bad"))), ServerVerdict.NO_ANSWER, "bad"),
    ],
)
def test_each_failure_is_told_in_words(observation, verdict, word):
    assert observation.verdict is verdict
    assert word in both(observation)


@pytest.fixture
def anchor(pki):
    from tests.bridge.core.conftest import trust_store

    return trust_store(pki).anchors[0]


@pytest.mark.parametrize(
    ("before_its_end", "verdict", "fine"),
    [
        (AUTHORITY_WARNING * 2, ServerVerdict.OK, True),
        (timedelta(days=1), ServerVerdict.ENDS_SOON, True),
        (-timedelta(days=1), ServerVerdict.OVERDUE, False),
    ],
)
def test_the_end_of_a_ca_is_told_in_time(anchor, before_its_end, verdict, fine):
    (found,) = look_at_anchors(lambda: [anchor], anchor.not_after - before_its_end)
    assert (found.verdict, found.is_fine) == (verdict, fine)
    assert f"{anchor.not_after:%Y-%m-%d}" in both(found)


def test_no_ca_and_an_unreadable_one_are_told(anchor):
    assert [each.verdict for each in look_at_anchors(list, NOW)] == [ServerVerdict.MISSING]
    (found,) = look_at_anchors(fails(PermissionError(13, "Permission denied")), NOW)
    assert found.verdict is ServerVerdict.UNREADABLE
    assert "Permission denied" in both(found)


def test_crls_that_are_overdue_or_missing_are_told(anchor):
    head = CrlHead(anchor.key_identifier, 1, NOW, NOW + timedelta(days=2), 5, "00", NOW)
    (fresh,) = look_at_crls(lambda: [head], [anchor], NOW + timedelta(hours=3))
    assert (fresh.verdict, "3 h" in both(fresh)) == (ServerVerdict.OK, True)
    (overdue,) = look_at_crls(lambda: [head], [anchor], NOW + timedelta(days=3))
    assert overdue.verdict is ServerVerdict.OVERDUE
    other = replace(head, issuer_key_identifier=b"other")
    assert [each.verdict for each in look_at_crls(lambda: [other], [anchor], NOW)] == [
        ServerVerdict.OK,
        ServerVerdict.MISSING,
    ]
    (unreadable,) = look_at_crls(fails(OSError(5, "Input/output error")), [anchor], NOW)
    assert unreadable.verdict is ServerVerdict.UNREADABLE


@pytest.mark.parametrize("state", HealthState)
def test_each_state_of_koha_says_what_to_do_in_both_languages(state):
    health = Health(
        state, ("edit_borrowers",), Ability.CHANGE_PATRONS, "RESTOAuth2ClientCredentials", "24.11"
    )
    found = look_at_koha("central", health)
    assert found.is_fine is (state is HealthState.OK)
    for language in (Language.JAPANESE, Language.ENGLISH):
        assert "{" not in found.sentence(language)
        assert len(found.sentence(language)) > 5
    if state is HealthState.FORBIDDEN:
        assert both(found).count("edit_borrowers") == 2
        assert ABILITY_WORDS[Ability.CHANGE_PATRONS] in found.sentence(Language.JAPANESE)


@pytest.mark.parametrize(
    ("theirs", "verdict"),
    [
        (NOW + timedelta(seconds=50), ServerVerdict.OK),
        (NOW + timedelta(seconds=90), ServerVerdict.CLOCK_WRONG),
        (NOW - timedelta(hours=9), ServerVerdict.CLOCK_WRONG),
        (None, ServerVerdict.NOT_LOOKED_AT),
    ],
)
def test_the_clock_is_held_against_kohas(theirs, verdict):
    assert look_at_clock("central", lambda: theirs, lambda: NOW).verdict is verdict


def test_a_koha_that_does_not_answer_tells_no_time():
    found = look_at_clock("central", fails(requests.ConnectionError()), lambda: NOW)
    assert found.verdict is ServerVerdict.NOT_LOOKED_AT


@pytest.mark.parametrize(
    ("verdict", "mark"),
    [
        (ServerVerdict.OK, "OK"),
        (ServerVerdict.NOT_LOOKED_AT, "--"),  # what is not known is not said to be good
        (ServerVerdict.CLOCK_WRONG, "NG"),
    ],
)
def test_the_mark_before_a_finding_says_what_is_known(capsys, verdict, mark):
    found = Observation(ServerCheck.CLOCK, verdict, "central", {"seconds": "90"})
    say_finding(found, CHECK_NAMES[found.check], found.place)
    assert capsys.readouterr().out.startswith(f"{mark} 時計 [central]: ")


def run(installation, *arguments):
    os.environ.pop("KOHA_JPKI_CONFIG", None)
    return CliRunner().invoke(main, ["-c", str(installation.path), "doctor", *arguments])


def by_check(result):
    found = json.loads(result.stdout)
    return {each["check"]: each["verdict"] for each in found}


def test_the_command_looks_at_everything_and_says_what_is_wrong(installation):
    result = run(installation, "--json")
    assert result.exit_code == 1
    found = by_check(result)
    assert found["database"] == "unreadable"
    assert found["koha"] == "refused"
    assert found["sip2"] == "no_answer"
    assert set(found) == {check.value for check in ServerCheck}
    text = run(installation)
    assert text.exit_code == 1
    assert "NG データベース" in text.stdout
    assert "NG Koha（SIP2） [central]" in text.stdout
    assert "database: It cannot be used" in text.stdout


def test_the_command_reaches_what_answers(installation):
    with socket.create_server(("127.0.0.1", 0)) as sip2:
        installation.write()
        text = installation.path.read_text(encoding="utf-8")
        text = text.replace("koha_port = 9\n", f"koha_port = {sip2.getsockname()[1]}\n")
        installation.path.write_text(text, encoding="utf-8")
        assert by_check(run(installation, "--json"))["sip2"] == "ok"


def test_wrong_settings_end_with_2(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text("mode = 1\n", encoding="utf-8")
    result = CliRunner().invoke(main, ["-c", str(path), "doctor"])
    assert result.exit_code == 2
