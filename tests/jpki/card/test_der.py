import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpki.der import HEAD_LENGTH, total_length
from jpki.errors import MalformedCardData

LENGTHS = {
    "3000": 2,
    "3003020101": 5,
    "307F0000": 129,
    "30818000": 131,
    "3081FF00": 258,
    "30820100": 260,
    "3082062B": 1583,
    "3082FFFF": 65539,
}
MALFORMED = {
    "nothing": "",
    "a tag alone": "30",
    "not a SEQUENCE": "0482062B",
    "filler": "FFFFFFFF",
    "indefinite length (BER)": "30800000",
    "length not in its shortest form": "30817F00",
    "length not in its shortest form, two bytes": "308200FF",
    "length of three bytes": "30830100",
    "length cut off": "308206",
}


@pytest.mark.parametrize(("head", "length"), LENGTHS.items())
def test_the_length_counts_the_header(head, length):
    assert total_length(bytes.fromhex(head)) == length


@pytest.mark.parametrize("head", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_der_head_is_refused(head):
    with pytest.raises(MalformedCardData):
        total_length(bytes.fromhex(head))


@given(st.binary(max_size=8))
def test_any_bytes_give_a_length_or_a_typed_error(head):
    with contextlib.suppress(MalformedCardData):
        assert total_length(head) >= 2


def test_the_head_length_suffices_for_any_certificate():
    assert total_length(bytes.fromhex("3082062B30820513")[:HEAD_LENGTH]) == 1583
