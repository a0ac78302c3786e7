from __future__ import annotations

import pytest

from sip2_adapter import MESSAGES, FieldId
from sip2_adapter.answers import _LAYOUTS
from sip2_adapter.fields import ITEM_FIELDS, SECRET_FIELDS
from sip2_adapter.grammar import REQUESTS

# Lengths of the fixed parts: 3M SIP2 2.00, added up by hand.
FIXED_LENGTHS = {
    "93": 2, "94": 1, "99": 8, "98": 34, "23": 21, "24": 35, "63": 31, "64": 59, "11": 38, "12": 22,
    "09": 37, "10": 22, "17": 18, "18": 24, "19": 18, "20": 19, "29": 38, "30": 22, "65": 18, "66": 27,
    "15": 19, "16": 20, "35": 18, "36": 19, "37": 25, "38": 19, "25": 18, "26": 35, "01": 19,
    "97": 0, "96": 0,
}  # fmt: skip


def test_the_sixteen_pairs_and_the_two_resends_are_there():
    assert len(REQUESTS) == 15  # 01 and 23 share their answer, 97/96 is the sixteenth pair
    assert set(MESSAGES) == {code.encode() for code in FIXED_LENGTHS}


@pytest.mark.parametrize("code", FIXED_LENGTHS)
def test_the_widths_add_up(code):
    assert MESSAGES[code.encode()].fixed_length == FIXED_LENGTHS[code]


@pytest.mark.parametrize("spec", REQUESTS.values(), ids=lambda spec: spec.name)
def test_every_request_has_an_answer_and_a_refusal(spec):
    assert MESSAGES[spec.response].response is None
    assert spec.response in _LAYOUTS


def test_patron_identifiers_stand_where_koha_was_seen_to_have_them():
    requests = {code for code, spec in REQUESTS.items() if spec.names_patron}
    answers = {code for code, spec in MESSAGES.items() if spec.names_patron} - requests
    assert requests == {b"01", b"11", b"15", b"19", b"23", b"25", b"29", b"35", b"37", b"63", b"65"}
    assert answers == {b"10", b"12", b"16", b"24", b"26", b"30", b"36", b"38", b"64"}


def test_protocol_1_knows_seven_requests():
    known = {code for code, spec in MESSAGES.items() if spec.protocol_1 is not None}
    assert known & set(REQUESTS) | {b"97"} == {b"23", b"11", b"09", b"01", b"99", b"97", b"93"}


def test_no_message_names_a_field_twice():
    for spec in MESSAGES.values():
        assert len(set(spec.fields)) == len(spec.fields)
        assert spec.protocol_1 is None or spec.protocol_1 <= set(spec.fields)


def test_what_names_a_person_or_opens_a_door_is_secret():
    assert {b"AA", b"AC", b"AD", b"AE", b"CN", b"CO", b"BD", b"BE", b"BF", b"CY", b"DA"} <= SECRET_FIELDS
    assert not SECRET_FIELDS & ITEM_FIELDS
    assert all(len(field_id) == 2 for field_id in FieldId)
