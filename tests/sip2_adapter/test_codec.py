from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip2_adapter import (
    MESSAGES,
    ChecksumMismatch,
    ErrorDetection,
    LocalProtocolError,
    MalformedMessage,
    RemoteProtocolError,
    UnknownMessage,
    build,
    decode,
    encode,
    seal,
)
from sip2_adapter.codec import (
    ACS_RESEND_REQUEST,
    RESEND_AFTER_BAD_CHECKSUM,
    checksum,
    text_value,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "sip2"


def lines_of(name):
    lines = (VECTORS / name).read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("line", lines_of("checksums.txt"))
def test_a_checksum_vector_verifies_and_round_trips(line):
    kind, encoding, text = line.split(" ", 2)
    frame = text.encode(encoding)
    message = decode(frame)
    assert message.error_detection == kind
    assert encode(message) == frame
    if kind == "bytes":
        assert checksum(frame[:-4]) == frame[-4:].upper()


@pytest.mark.parametrize("line", lines_of("checksums.txt"))
def test_one_wrong_bit_is_found(line):
    frame = bytearray(line.split(" ", 2)[2].encode())
    frame[1] ^= 1
    with pytest.raises(RemoteProtocolError):
        decode(bytes(frame))


@pytest.mark.parametrize("line", lines_of("answers_of_koha.txt"))
def test_an_answer_of_koha_round_trips_and_its_fields_are_in_the_grammar(line):
    message = decode(line.encode())
    assert encode(message) == line.encode()
    assert {field_id for field_id, _ in message.fields} <= set(message.spec.fields)


def test_the_checksum_is_padded_to_four_digits():
    message = build(b"36", b"Y" + b"2" * 18, ((b"AF", b"A" * 900),))
    for length in range(300):
        frame = encode(seal(build(b"36", message.fixed, ((b"AF", b"A" * (800 + length)),)), 0))
        assert decode(frame).sequence == 0


def test_the_two_constants():
    assert (ACS_RESEND_REQUEST, RESEND_AFTER_BAD_CHECKSUM) == (b"97AZFEF5", b"96AZFEF6")


frames = st.builds(
    lambda code, body: code + body,
    st.sampled_from(sorted(MESSAGES)),
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [b"|", b"AA2000|", b"AAx|", b"AY1AZ", b"AZ", b"ZZ\x83\x65\x83X|", b"AY", b" " * 20]
            ),
        ),
        max_size=8,
    ).map(b"".join),
)


@given(frames)
def test_whatever_decodes_encodes_to_the_same_bytes(frame):
    try:
        message = decode(frame)
    except RemoteProtocolError:
        return
    assert encode(message) == frame


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_protocol_error(frame):
    with suppress(RemoteProtocolError):
        decode(frame)


values = st.binary(max_size=30).map(lambda data: bytes(b for b in data if b not in b"\r\n\0|"))


@given(
    st.sampled_from([spec for spec in MESSAGES.values() if spec.fixed_length]),
    st.lists(st.tuples(st.sampled_from([b"AA", b"AF", b"AF", b"ZZ", b"DE"]), values)),
    st.integers(0, 9),
)
def test_what_is_built_and_sealed_decodes_to_itself(spec, fields, sequence):
    message = seal(build(spec.code, b"0" * spec.fixed_length, tuple(fields)), sequence)
    assert decode(encode(message)) == message


def test_unknown_ids_order_and_repetitions_are_kept():
    message = decode(b"36Y20261120    155739AFone|ZZ\x83\x65|AFtwo||A|AOCPL")
    assert message.fields == (
        (b"AF", b"one"), (b"ZZ", b"\x83\x65"), (b"AF", b"two"), (b"", b""), (b"A", b""), (b"AO", b"CPL"),
    )  # fmt: skip
    assert not message.delimited
    assert message.value(b"AF") == b"one"
    assert message.values(b"AF") == (b"one", b"two")
    assert message.value(b"XX") is None


def test_what_a_machine_puts_behind_the_checksum_is_kept():
    frame = b"9900802.00AY9AZFC98| "
    assert (decode(frame).sequence, encode(decode(frame))) == (9, frame)


def test_a_checksum_without_a_sequence_number_is_verified():
    head = b"9900802.00AZ"
    assert decode(head + checksum(head)).sequence is None
    with pytest.raises(ChecksumMismatch) as caught:
        decode(head + b"0000")
    assert caught.value.code == b"99"


def test_a_wrong_checksum_over_bytes_that_are_no_utf_8_is_wrong():
    with pytest.raises(ChecksumMismatch):
        decode(b"36Y20261120    155739AF\x83\x65|AY1AZ0000")


def test_hex_at_the_end_of_a_last_value_is_no_checksum():
    message = decode(b"36Y20261120    155739AFJAZZAZ1234")
    assert (message.value(b"AF"), message.checksum) == (b"JAZZAZ1234", None)


@pytest.mark.parametrize("frame", [b"", b"9", b"??AA|", b"63001", b"98Y"])
def test_a_frame_shorter_than_its_message_is_malformed(frame):
    with pytest.raises(MalformedMessage):
        decode(frame)


def test_an_unknown_code_is_named():
    with pytest.raises(UnknownMessage) as caught:
        decode(b"77AA|")
    assert caught.value.code == b"77"


@pytest.mark.parametrize("value", [b"a|AAb", b"a\rb", b"a\nb", b"\0"])
def test_a_value_cannot_smuggle_in_a_field_or_a_message(value):
    with pytest.raises(LocalProtocolError):
        build(b"94", b"1", ((b"AF", value),))


def test_a_wrong_fixed_part_is_not_built():
    with pytest.raises(LocalProtocolError):
        build(b"94", b"11")


def test_text_becomes_a_harmless_value():
    assert text_value("a|b\r\nc本", "ascii") == b"a&#124;b  c?"


def test_sealing_delimits_the_last_field_and_drops_what_stood_behind():
    message = decode(b"36Y20261120    155739AFone")
    assert encode(seal(message, 3)).startswith(b"36Y20261120    155739AFone|AY3AZ")
    assert encode(seal(seal(message, 3), None)).endswith(b"AFone|")


def test_a_message_does_not_print_its_values():
    message = decode(b"36Y20261120    155739AA2000|AFhello|")
    assert repr(message) == "<Sip2Message 36 AA=... AF>"
    assert message.error_detection is ErrorDetection.NONE
