from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sip2_adapter import build, decode, encode, seal
from sip2_adapter.answers import refuse
from sip2_adapter.grammar import REQUESTS

NOW = datetime(2026, 11, 20, 15, 57, 39, tzinfo=UTC)


@pytest.mark.parametrize("spec", REQUESTS.values(), ids=lambda spec: spec.name)
def test_every_refusal_is_a_message_of_the_grammar_with_every_required_field(spec):
    request = build(spec.code, b" " * spec.fixed_length, ((b"AO", b"CPL"), (b"AA", b"98"), (b"AB", b"1")))
    frame = encode(seal(refuse(request, b"No.", NOW), 4))
    answer = decode(frame)
    assert answer.code == spec.response
    assert {field_id for field_id, _ in answer.fields} >= set(answer.spec.required)
    if spec.code not in (b"93", b"99"):
        assert answer.value(b"AF") == b"No."
    if b"AA" in answer.spec.required:
        assert answer.value(b"AA") == b"98"


def test_the_language_of_the_request_is_echoed_and_a_blank_one_is_not():
    request = decode(b"2301420261120    000000AA1|")
    assert encode(refuse(request, b"", NOW)).startswith(b"24YYYY          01420261120    155739")
    request = decode(b"23   20261120    000000AA1|")
    assert refuse(request, b"", NOW).fixed_field("language") == b"000"


def test_what_cannot_be_sent_is_not_echoed():
    request = decode(b"63001" + b"20261120    155739" + b" " * 10 + b"AOC\0PL|AA9\n8|")
    answer = refuse(request, b"No.", NOW)
    assert (answer.value(b"AO"), answer.value(b"AA")) == (b"CPL", b"98")


def test_off_line_is_said_twice():
    answer = refuse(decode(b"9900802.00"), b"", NOW)
    assert answer.fixed == b"NNNNNN" + b"000" + b"003" + b"20261120    155739" + b"2.00"


@pytest.mark.parametrize("frame", [b"97", b"96", b"941"])
def test_what_has_no_answer_cannot_be_refused(frame):
    with pytest.raises(ValueError, match="no answer"):
        refuse(decode(frame), b"", NOW)
