"""What the API takes for a body, and what it names when it does not."""

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta, timezone

import pytest

from bridge.api.errors import MalformedRequest, RequestFault
from bridge.api.schemas import (
    MAXIMUM_CERTIFICATE,
    BeginRequest,
    ProgressReport,
    ResponseRequest,
    challenge_id_in_path,
    rfc3339,
)
from bridge.models import AgentStep
from jpki.challenge import ChallengePurpose
from jpki.errors import ChallengeUnknown

DER = b"\x30\x03\x02\x01\x05"
BASE64 = b64encode(DER).decode()


def test_a_good_body_becomes_a_value():
    body = json.dumps({"purpose": "link", "certificate": BASE64}).encode()
    assert BeginRequest.from_body(body) == BeginRequest(ChallengePurpose.LINK, DER)


def test_progress_may_leave_the_attempts_out():
    assert ProgressReport.from_body(b'{"step": "given_up"}') == ProgressReport(AgentStep.GIVEN_UP, None)
    told = ProgressReport.from_body(b'{"step": "pin_wrong", "attempts_remaining": 2}')
    assert told == ProgressReport(AgentStep.PIN_WRONG, 2)


def begin_body(**changes):
    return json.dumps({"purpose": "link", "certificate": BASE64} | changes).encode()


TOO_LONG = b64encode(bytes(MAXIMUM_CERTIFICATE + 1)).decode()

BAD_BODIES = {
    "empty": (b"", RequestFault.NOT_JSON, None),
    "half": (b'{"purpose": "li', RequestFault.NOT_JSON, None),
    "not UTF-8": (b'{"purpose": "\xff"}', RequestFault.NOT_JSON, None),
    "a byte order mark": (b"\xef\xbb\xbf{}", RequestFault.NOT_JSON, None),
    "NaN": (b'{"purpose": NaN}', RequestFault.NOT_JSON, None),
    "nested a hundred thousand times": (b"[" * 100_000, RequestFault.NOT_JSON, None),
    "a number of ten thousand digits": (b"9" * 10_000, RequestFault.NOT_JSON, None),
    "a list": (b"[]", RequestFault.NOT_AN_OBJECT, None),
    "null": (b"null", RequestFault.NOT_AN_OBJECT, None),
    "a field twice": (b'{"purpose": "link", "purpose": "borrow"}', RequestFault.REPEATED, None),
    "no certificate": (b'{"purpose": "link"}', RequestFault.MISSING, "certificate"),
    "no purpose": (json.dumps({"certificate": BASE64}).encode(), RequestFault.MISSING, "purpose"),
    "a field too many": (begin_body(pin="4321"), RequestFault.UNKNOWN, None),
    "purpose a number": (begin_body(purpose=1), RequestFault.WRONG_TYPE, "purpose"),
    "purpose null": (begin_body(purpose=None), RequestFault.WRONG_TYPE, "purpose"),
    "purpose unknown": (begin_body(purpose="return"), RequestFault.NOT_ALLOWED, "purpose"),
    "certificate a list": (begin_body(certificate=[]), RequestFault.WRONG_TYPE, "certificate"),
    "certificate not base64": (begin_body(certificate="***"), RequestFault.NOT_BASE64, "certificate"),
    "certificate in URL base64": (begin_body(certificate="_-8="), RequestFault.NOT_BASE64, "certificate"),
    "certificate without padding": (begin_body(certificate="MAM"), RequestFault.NOT_BASE64, "certificate"),
    "certificate not ASCII": (begin_body(certificate="ＭＡＭＣ"), RequestFault.NOT_BASE64, "certificate"),
    "certificate too long": (begin_body(certificate=TOO_LONG), RequestFault.TOO_LONG, "certificate"),
}


@pytest.mark.parametrize(("body", "fault", "field"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_bad_body_is_refused_by_its_fault_and_field(body, fault, field):
    with pytest.raises(MalformedRequest) as refused:
        BeginRequest.from_body(body)
    assert (refused.value.fault, refused.value.field) == (fault, field)


def test_nothing_that_the_sender_wrote_is_repeated():
    with pytest.raises(MalformedRequest) as refused:
        BeginRequest.from_body(begin_body(pin="4321"))
    assert "pin" not in str(refused.value)
    assert "4321" not in str(refused.value)


@pytest.mark.parametrize("attempts", [True, "2", 2.0, [2]])
def test_attempts_are_a_whole_number(attempts):
    body = json.dumps({"step": "pin_wrong", "attempts_remaining": attempts}).encode()
    with pytest.raises(MalformedRequest) as refused:
        ProgressReport.from_body(body)
    assert (refused.value.fault, refused.value.field) == (RequestFault.WRONG_TYPE, "attempts_remaining")


@pytest.mark.parametrize("attempts", [-1, 16, 10**30])
def test_attempts_are_what_four_bits_can_hold(attempts):
    body = json.dumps({"step": "pin_wrong", "attempts_remaining": attempts}).encode()
    with pytest.raises(MalformedRequest) as refused:
        ProgressReport.from_body(body)
    assert refused.value.fault is RequestFault.NOT_ALLOWED


def test_a_response_has_certificate_and_signature():
    body = json.dumps({"certificate": BASE64, "signature": BASE64}).encode()
    assert ResponseRequest.from_body(body) == ResponseRequest(DER, DER)
    with pytest.raises(MalformedRequest) as refused:
        ResponseRequest.from_body(json.dumps({"certificate": BASE64}).encode())
    assert refused.value.field == "signature"


@pytest.mark.parametrize("text", ["", "a" * 65, "a/b", "a\0b", "é", "..", "１２"])
def test_an_id_that_cannot_be_one_is_unknown(text):
    with pytest.raises(ChallengeUnknown):
        challenge_id_in_path(text)


def test_moments_are_written_in_utc():
    japan = timezone(timedelta(hours=9))
    assert rfc3339(datetime(2026, 11, 1, 9, 30, 5, 999, tzinfo=japan)) == "2026-11-01T00:30:05Z"
    assert rfc3339(datetime(2026, 11, 1, tzinfo=UTC)) == "2026-11-01T00:00:00Z"
