"""A platform operator's service behind its mapping, on loopback."""

from __future__ import annotations

import base64
import json
import logging
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from jpki.errors import PlatformMappingError
from jpki.platform_mapping import PlatformMapping
from jpki.platform_source import MAXIMUM_ANSWER_SIZE, PlatformSource
from jpki.revocation import RevocationStatus, UnknownReason

EXAMPLE = (Path(__file__).parents[3] / "docs/platform-example.toml").read_text("utf-8")
ADDRESS = "https://platform.example.jp/v1/certificates/status"
TOKEN = "s3cret-token"
TIMEOUT = 30.0


@pytest.fixture
def card(issue):
    return issue()


@pytest.fixture
def ask(card, now):
    def ask(url: str, text: str = EXAMPLE, timeout: float = TIMEOUT):
        mapping = PlatformMapping.from_toml(text.replace(ADDRESS, url).encode(), TOKEN)
        with requests.Session() as session:
            return PlatformSource(mapping, timeout=timeout, session=session).check(*card, now)

    return ask


def says(card, **different):
    """Return an operator's answer about a card, good but for what is said."""
    serial = card[0].serial_number.to_bytes().hex()
    result = {
        "status": "VALID",
        "source_updated_at": "2026-11-21T11:50:00+09:00",
        "serial_number": serial.upper(),
        **different,
    }
    return json.dumps({"result": result}).encode()


def test_a_good_certificate_is_good_as_of_the_operators_time(ask, card, serving, body):
    with serving(body(says(card, next_update_at="2026-11-21T03:05:00Z"))) as url:
        answer = ask(url)
    assert (answer.status, answer.source, answer.why) == (RevocationStatus.GOOD, "platform", None)
    assert answer.as_of == datetime(2026, 11, 21, 2, 50, tzinfo=UTC)
    assert answer.next_update == datetime(2026, 11, 21, 3, 5, tzinfo=UTC)


def test_the_request_is_what_the_mapping_says(ask, card, serving, body):
    seen = {}

    def respond(handler, request):
        seen.update(json.loads(request), method=handler.command, token=handler.headers["Authorization"])
        body(says(card))(handler, request)

    with serving(respond) as url:
        ask(url)
    assert seen == {
        "certificate": base64.b64encode(card[0].der).decode(),
        "purpose": "library",
        "method": "POST",
        "token": f"Bearer {TOKEN}",
    }


def test_an_address_may_name_the_certificate(ask, card, serving, body):
    paths = []

    def respond(handler, request):
        paths.append((handler.command, handler.path, request))
        body(b'{"s": "ok"}')(handler, request)

    text = (
        'method = "GET"\nurl = "URL{issuer_key_identifier}/{serial_number}"\n'
        '[answer]\nstatus = "/s"\nstatuses = {ok = "good"}\n'
    )
    with serving(respond) as url:
        assert ask(url, text.replace("URL", url)).status is RevocationStatus.GOOD
    certificate = card[0]
    path = f"/{certificate.issuer_key_identifier.hex()}/{certificate.serial_number.value}"
    assert paths == [("GET", path, b"")]


def test_a_revoked_certificate_is_revoked_with_time_and_reason(ask, card, serving, body, now):
    content = says(card, status="REVOKED", revoked_at="2026-11-20T03:00:00Z", reason="SUSPENDED")
    with serving(body(content)) as url:
        answer = ask(url)
    assert answer.status is RevocationStatus.REVOKED
    assert answer.is_on_hold
    assert answer.revoked_at == now - timedelta(days=1)


def test_an_http_status_may_be_an_answer(ask, serving, body):
    with serving(body(b"gone", 410)) as url:
        assert ask(url).status is RevocationStatus.REVOKED


@pytest.mark.parametrize(
    ("different", "why"),
    [
        ({"status": "NOT_FOUND"}, UnknownReason.RESPONDER_SAYS_UNKNOWN),
        ({"status": "A word of tomorrow"}, UnknownReason.RESPONDER_SAYS_UNKNOWN),
        ({"status": ["VALID"]}, UnknownReason.RESPONDER_SAYS_UNKNOWN),
        ({"serial_number": "07"}, UnknownReason.NOT_TRUSTED),
        ({"source_updated_at": "yesterday"}, UnknownReason.MALFORMED),
        ({"source_updated_at": "2026-11-21T11:50:00"}, UnknownReason.MALFORMED),
        ({"source_updated_at": 5}, UnknownReason.MALFORMED),
        ({"next_update_at": "soon"}, UnknownReason.MALFORMED),
    ],
    ids=[
        "unknown to them",
        "an unknown word",
        "no word",
        "another certificate",
        "no time",
        "no offset",
        "a number",
        "no next time",
    ],
)
def test_what_does_not_fit_is_unknown(ask, card, serving, body, different, why):
    with serving(body(says(card, **different))) as url:
        answer = ask(url)
    assert (answer.status, answer.why) == (RevocationStatus.UNKNOWN, why)


@pytest.mark.parametrize(
    ("content", "status", "why"),
    [
        (b"<html>Please log in</html>", 200, UnknownReason.MALFORMED),
        (b"", 200, UnknownReason.MALFORMED),
        (b"[]", 200, UnknownReason.MALFORMED),
        (b"{}", 200, UnknownReason.MALFORMED),
        (b"[" * 100_000, 200, UnknownReason.MALFORMED),
        (b'"' + bytes(MAXIMUM_ANSWER_SIZE) + b'"', 200, UnknownReason.MALFORMED),
        (b"no", 401, UnknownReason.UNREACHABLE),
        (b"no", 503, UnknownReason.UNREACHABLE),
    ],
    ids=["HTML", "empty", "a list", "nothing in it", "too deep", "too long", "401", "503"],
)
def test_an_answer_that_is_none_leaves_the_status_unknown(ask, serving, body, content, status, why):
    with serving(body(content, status)) as url:
        answer = ask(url)
    assert (answer.status, answer.why) == (RevocationStatus.UNKNOWN, why)


def test_a_redirect_is_not_followed(ask, card, serving, body):
    with serving(body(says(card))) as other, serving(body(b"", 307, Location=other)) as url:
        assert ask(url).why is UnknownReason.UNREACHABLE


def test_a_service_that_is_gone_or_silent_is_given_up(ask):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert ask(url, timeout=0.2).why is UnknownReason.UNREACHABLE
    assert ask(url).why is UnknownReason.UNREACHABLE


def test_neither_token_nor_serial_number_is_printed(ask, card, serving, body, caplog):
    caplog.set_level(logging.DEBUG)
    with serving(body(says(card, status="NOT_FOUND"))) as url:
        ask(url)
    mapping = PlatformMapping.from_toml(EXAMPLE.encode(), TOKEN)
    assert "responder-says-unknown" in caplog.text
    for secret in (TOKEN, str(card[0].serial_number.value), card[0].serial_number.to_bytes().hex()):
        assert secret not in caplog.text + repr(mapping)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('method = "POST"', 'method = "PUT"', "method"),
        ("https://", "http://", "https"),
        (f'url = "{ADDRESS}"', "", "url"),
        (f'url = "{ADDRESS}"', "url = 5", "url"),
        ("https://platform.example.jp", "https://{serial_number}.jp", "url"),
        ('status = "/result/status"', "", "answer.status"),
        ('status = "/result/status"', 'status = "result"', "answer.status"),
        ('VALID = "good"', 'VALID = "fine"', "answer.statuses"),
        ('VALID = "good"', "", "good"),
        ('410 = "revoked"', 'gone = "revoked"', "http_statuses"),
        ("[answer.reasons]", "[answer.whys]", "whys"),
        ("[body]", "[boddy]", "boddy"),
        ('SUSPENDED = "certificateHold"', "SUSPENDED = 6", "reasons"),
        ("[headers]", "[headers", "TOML"),
        ("[answer]", "[[answer]]", "answer"),
    ],
)
def test_a_mapping_that_is_wrong_is_refused_with_its_place(old, new, problem):
    assert old in EXAMPLE
    with pytest.raises(PlatformMappingError, match=problem):
        PlatformMapping.from_toml(EXAMPLE.replace(old, new).encode(), TOKEN)


def test_a_mapping_that_wants_a_token_gets_one():
    with pytest.raises(PlatformMappingError, match="token"):
        PlatformMapping.from_toml(EXAMPLE.encode())


def test_a_mapping_that_is_no_text_is_refused():
    with pytest.raises(PlatformMappingError, match="UTF-8"):
        PlatformMapping.from_toml(b"\xff")
