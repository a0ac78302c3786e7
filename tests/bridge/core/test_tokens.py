"""The shape of a token, and the check digits that machines know."""

from __future__ import annotations

from datetime import timedelta
from secrets import token_bytes

import pytest

from bridge.tokens import CheckDigit, TokenPolicy, TokenShape, mask


@pytest.mark.parametrize(
    ("rule", "digits", "expected"),
    [
        (CheckDigit.NONE, "123", ""),
        # ISO/IEC 7812-1, annex B.
        (CheckDigit.LUHN, "7992739871", "3"),
        (CheckDigit.LUHN, "0", "0"),
        # EAN-13 of a well-known book, and an ITF of five digits.
        (CheckDigit.MODULUS_10_WEIGHT_3, "400763000011", "6"),
        (CheckDigit.MODULUS_10_WEIGHT_3, "12345", "7"),
        (CheckDigit.MODULUS_10_WEIGHT_3, "0000000", "0"),
        # A789A: 16 + 7 + 8 + 9 + 16 = 56, 8 to the next multiple of 16.
        (CheckDigit.NW7_MODULUS_16, "789", "8"),
        (CheckDigit.NW7_MODULUS_16, "88", "0"),
        # 15 would be "+", and a token is of digits only.
        (CheckDigit.NW7_MODULUS_16, "1", None),
    ],
)
def test_check_digits_are_those_of_the_standards(rule, digits, expected):
    assert rule.of(digits) == expected


@pytest.mark.parametrize("rule", CheckDigit)
@pytest.mark.parametrize(("prefix", "length"), [("98", 14), ("9", 12), ("123456", 32)])
def test_a_token_is_digits_of_fixed_length_with_a_right_check_digit(rule, prefix, length):
    shape = TokenShape(prefix, length, rule)
    for _ in range(200):
        token = shape.draw(token_bytes).value
        assert shape.matches(token)
        if rule is not CheckDigit.NONE:
            assert token[-1] == rule.of(token[:-1])


def test_a_token_follows_from_the_random_bytes():
    shape = TokenShape("98", 14)
    assert shape.draw(lambda _: bytes(16)).value == "98000000000000"
    assert shape.draw(lambda _: (10**12 + 7).to_bytes(16, "big")).value == "98000000000007"


def test_where_nw_7_would_need_another_character_another_number_is_drawn():
    drawn = iter([(1).to_bytes(16, "big"), (7).to_bytes(16, "big")])
    shape = TokenShape("0", 12, CheckDigit.NW7_MODULUS_16)
    assert shape.draw(lambda _: next(drawn)).value == "000000000079"


@pytest.mark.parametrize(
    "identifier",
    ["", "98", "9800000000000", "980000000000000", "97000000000000", "9800000000000x", "98" + "٣" * 12],
)
def test_what_has_another_shape_is_no_token(identifier):
    assert not TokenShape("98", 14).matches(identifier)


def test_a_wrong_check_digit_still_looks_like_a_token():
    # So it is refused as unknown and does not pass to Koha as a card number.
    assert TokenShape("98", 14, CheckDigit.LUHN).matches("98000000000000")


def test_a_machines_own_shape_counts_in_its_library_only():
    policy = TokenPolicy(
        TokenShape("98", 14),
        timedelta(minutes=15),
        timedelta(minutes=2),
        {("central", "sc1"): TokenShape("971", 15)},
    )
    assert policy.shape_at("central", "sc1").prefix == "971"
    assert policy.shape_at("central", "sc2") == policy.shape_at("harbour", "sc1") == policy.shape
    assert policy.shape_at("central", None) == policy.shape
    assert policy.matches("central", "971" + "0" * 12)
    assert not policy.matches("harbour", "971" + "0" * 12)
    assert policy.matches("harbour", "98" + "0" * 12)


def test_a_mask_keeps_the_length_and_the_last_four_digits():
    assert mask("98000000001234") == "**********1234"
