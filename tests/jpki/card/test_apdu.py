import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpki.apdu import CommandApdu

ENCODINGS = {
    "case 1": (CommandApdu(0x00, 0x20, 0x00, 0x80), "00200080"),
    "case 2": (CommandApdu(0x00, 0xB0, 0x00, 0x00, le=4), "00B0000004"),
    "case 2, 256 expected": (CommandApdu(0x00, 0xB0, 0x01, 0x04, le=256), "00B0010400"),
    "case 3": (CommandApdu(0x00, 0xA4, 0x02, 0x0C, b"\x00\x0a"), "00A4020C02000A"),
    "case 4": (CommandApdu(0x80, 0x2A, 0x00, 0x80, b"\x30", le=256), "802A0080013000"),
    "longest": (CommandApdu(0, 1, 2, 3, bytes(255), le=255), "00010203FF" + "00" * 255 + "FF"),
}
MALFORMED = ["", "00", "00A404", "00A4020C0200", "00A4020C0100FF00", "00A4020C000000", "00B00000000100"]


@pytest.mark.parametrize(("command", "encoded"), ENCODINGS.values(), ids=ENCODINGS)
def test_each_case_is_encoded_in_short_form(command, encoded):
    assert command.encode().hex().upper() == encoded


@given(
    st.builds(
        CommandApdu,
        *[st.integers(0, 255)] * 4,
        st.binary(max_size=255),
        le=st.none() | st.integers(1, 256),
    )
)
def test_decoding_undoes_encoding(command):
    assert CommandApdu.decode(command.encode()) == command


@given(st.binary(max_size=300))
def test_decoding_any_bytes_gives_a_command_of_these_bytes_or_a_value_error(encoded):
    try:
        command = CommandApdu.decode(encoded)
    except ValueError:
        return
    assert command.encode() == encoded


@pytest.mark.parametrize("encoded", MALFORMED)
def test_what_is_no_short_apdu_is_not_decoded(encoded):
    with pytest.raises(ValueError):
        CommandApdu.decode(bytes.fromhex(encoded))


@pytest.mark.parametrize(
    "parts",
    [
        {"cla": 256},
        {"ins": -1},
        {"data": bytes(256)},
        {"le": 0},
        {"le": 257},
    ],
    ids=str,
)
def test_what_does_not_fit_the_short_form_cannot_be_made(parts):
    with pytest.raises(ValueError):
        CommandApdu(**{"cla": 0, "ins": 0, "p1": 0, "p2": 0} | parts)


@pytest.mark.parametrize("instruction", [0x20, 0x24], ids=["VERIFY", "CHANGE REFERENCE DATA"])
def test_a_pin_in_a_command_cannot_be_printed(instruction):
    command = CommandApdu(0x00, instruction, 0x00, 0x80, b"4071")
    shown = f"{command!r} {command} {[command]}"
    assert "4071" not in shown
    assert b"4071".hex() not in shown


def test_other_commands_show_their_data():
    command = CommandApdu(0x00, 0xA4, 0x02, 0x0C, b"\x00\x0a", le=5)
    assert repr(command) == "<CommandApdu 00 A4 02 0C data=000A le=5>"
