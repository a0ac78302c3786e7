from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip2_adapter import build, decode, encode
from sip2_adapter.grammar import MESSAGES, REQUESTS
from sip2_adapter.rewrite import (
    drop_other_patrons,
    fill_language,
    names_another_patron,
    patron_identifier,
    put_patron_identifier,
    restore_patron_identifier,
)

CARD = b"20000000000001"
TOKEN = b"98000000000017"
NAMING = [spec for spec in REQUESTS.values() if spec.names_patron]


def message(code, *fields):
    return build(code, b"0" * MESSAGES[code].fixed_length, fields)


@pytest.mark.parametrize("spec", NAMING, ids=lambda spec: spec.name)
def test_the_card_number_takes_the_tokens_place_in_every_request_that_names_a_patron(spec):
    request = message(spec.code, (b"ZZ", TOKEN), (b"AA", TOKEN), (b"AB", TOKEN))
    rewritten = put_patron_identifier(request, CARD)
    assert rewritten == message(spec.code, (b"ZZ", TOKEN), (b"AA", CARD), (b"AB", TOKEN))


@pytest.mark.parametrize("code", [b"10", b"12", b"16", b"24", b"26", b"30", b"36", b"38", b"64"])
def test_the_token_takes_the_card_numbers_place_in_every_answer(code):
    answer = message(code, (b"AA", CARD), (b"AF", b"Card " + CARD + b"."), (b"AG", CARD), (b"DE", CARD))
    restored = restore_patron_identifier(answer, CARD, TOKEN)
    assert restored == message(
        code, (b"AA", TOKEN), (b"AF", b"Card " + TOKEN + b"."), (b"AG", TOKEN), (b"DE", TOKEN)
    )


@given(st.binary(max_size=60).map(lambda data: data.replace(b"\r", b"")))
def test_the_way_there_and_back_changes_nothing_else(rest):
    frame = b"36Y20261120    155739AA" + CARD + b"|" + rest.replace(CARD, b"")
    answer = decode(frame) if b"AZ" not in frame else None
    if answer is None:
        return
    there = restore_patron_identifier(answer, CARD, TOKEN)
    assert encode(restore_patron_identifier(there, TOKEN, CARD)) == frame


def test_a_short_card_number_is_not_found_inside_other_numbers_nor_in_item_barcodes():
    answer = message(
        b"64", (b"AA", b"12"), (b"BV", b"12.50"), (b"AF", b"due 2026-12-04 for 12"), (b"AU", b"12")
    )
    restored = restore_patron_identifier(answer, b"12", b"98")
    assert restored.value(b"AA") == b"98"
    assert restored.value(b"AU") == b"12"
    assert b"for 98" in restored.value(b"AF")


@pytest.mark.parametrize(
    ("card", "text", "shown"),
    [
        (b"20000000000001", b"No20000000000001.", b"No98."),
        (b"20000000000001", b"card_20000000000001x", b"card_98x"),
        (b"20000000000001", b"(20000000000001)", b"(98)"),
        (b"20000000000001", b"120000000000001", b"120000000000001"),
        (b"K-12", b"1K-12", b"198"),
        (b"K-12", b"BOOK-12", b"BOOK-12"),
        (b"K-12", b"k-12", b"98"),
    ],
)
@pytest.mark.parametrize("field_id", [b"AF", b"AG", b"AJ", b"BK", b"XX"])
def test_a_card_number_is_found_in_any_text_unless_it_goes_on_beyond(card, text, shown, field_id):
    answer = message(b"64", (b"AA", card), (field_id, text))
    assert restore_patron_identifier(answer, card, b"98").value(field_id) == shown


def test_the_case_of_a_card_number_does_not_hide_it():
    answer = message(b"64", (b"AA", b"kp-0001"))
    assert restore_patron_identifier(answer, b"KP-0001", b"98").value(b"AA") == b"98"


def test_an_answer_without_the_card_number_is_the_same_object():
    answer = message(b"64", (b"AA", b"1"))
    assert restore_patron_identifier(answer, CARD, TOKEN) is answer


def test_a_return_keeps_nobody_but_the_patron_at_the_machine():
    answer = message(b"10", (b"AB", b"1"), (b"AA", CARD), (b"CY", b"2"), (b"DA", b"Name"), (b"CV", b"01"))
    assert drop_other_patrons(answer, CARD) == message(b"10", (b"AB", b"1"), (b"AA", CARD), (b"CV", b"01"))
    assert drop_other_patrons(answer, None) == message(b"10", (b"AB", b"1"), (b"CV", b"01"))
    other = message(b"64", (b"AA", CARD))
    assert drop_other_patrons(other, None) is other


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (message(b"64", (b"AA", CARD)), False),
        (message(b"64", (b"AA", b"2")), True),
        (message(b"64"), False),
        (message(b"66"), False),
        (message(b"10", (b"AA", b"2")), False),
    ],
)
def test_an_answer_about_somebody_else_is_noticed(answer, expected):
    assert names_another_patron(answer, CARD) is expected


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (message(b"63", (b"AA", b" 12 ")), b"12"),
        (message(b"63", (b"AA", b"")), None),
        (message(b"63"), None),
        (message(b"09", (b"AA", b"12")), None),
    ],
)
def test_whom_a_request_names(request_, expected):
    assert patron_identifier(request_) == expected


def test_a_blank_language_becomes_unknown_and_any_other_stays():
    blank = decode(b"23   20261120    155739AA1|")
    assert encode(fill_language(blank)) == b"2300020261120    155739AA1|"
    japanese = decode(b"2301420261120    155739AA1|")
    assert fill_language(japanese) is japanese
    status = decode(b"9900802.00")
    assert fill_language(status) is status
