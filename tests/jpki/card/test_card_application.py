"""A number in a city's application: read byte for byte as the settings say, and nothing beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpki.card import JpkiSession, Pin
from jpki.card_application import CardApplication, CardNumberGate, NumberEncoding
from jpki.constants import FORBIDDEN_APPLICATION_IDS
from jpki.errors import ApduRefused, CardApplicationAbsent, CardError, MalformedCardData
from jpki.simulator.card import CityApplication, SimulatedCard, SimulatedConnection

MADE_UP = bytes.fromhex("F000000001020304")
PLACE = CardApplication(MADE_UP, bytes.fromhex("0101"), 4, 12)
ON_CARD = CityApplication(MADE_UP, bytes.fromhex("0101"), b"HEAD00001234567\x00AND MORE")
NUMBER = "00001234567"
SELECT_JPKI = "00A4040C0AD392F000260100000001"
READING = ["00A4040C08F000000001020304", "00A4020C020101", "00B000040C"]


@pytest.fixture
def open_gate(make_card, recording):
    """Return a function that lays a card with the application, and gives the gate and what passed it."""

    def open_(place=PLACE, on_card=ON_CARD, **faults):
        card = make_card(**faults)
        card.city_application = on_card
        recorder = recording(SimulatedConnection(card))
        return CardNumberGate(recorder, place), recorder, card

    return open_


def test_the_number_is_read_and_then_the_card_is_used_as_always(open_gate):
    gate, recorder, card = open_gate()
    assert gate.read_number() == NUMBER
    session = JpkiSession(gate)
    session.verify_pin(Pin(card.authentication.pin))
    assert session.sign(b"message")
    sent = [apdu.hex().upper() for apdu in recorder.sent]
    assert sent[:4] == [*READING, SELECT_JPKI]
    by_name = [apdu for apdu in sent if apdu.startswith("00A404")]
    assert by_name == [READING[0], SELECT_JPKI]


def test_a_first_command_that_the_card_does_not_understand_is_sent_once_more(open_gate):
    gate, recorder, _ = open_gate(first_answer_is_6f00=True)
    assert gate.read_number() == NUMBER
    assert len(recorder.sent) == 4


def test_a_card_without_the_application_says_so_and_is_used_without_it(open_gate):
    gate, _, card = open_gate(on_card=None)
    with pytest.raises(CardApplicationAbsent):
        gate.read_number()
    session = JpkiSession(gate)
    assert session.attempts_remaining() == 3
    session.verify_pin(Pin(card.authentication.pin))


@pytest.mark.parametrize(
    "on_card",
    [
        replace(ON_CARD, file_id=bytes.fromhex("0102")),
        replace(ON_CARD, content=b"HEAD"),
        replace(ON_CARD, content=b"HEAD0001"),
    ],
    ids=["another file", "no number", "a shorter number"],
)
def test_a_number_that_is_not_where_the_settings_say_is_an_error(open_gate, on_card):
    gate, _, _ = open_gate(on_card=on_card)
    with pytest.raises(CardError):
        gate.read_number()


def test_there_is_no_way_back_from_the_jpki_application(open_gate):
    gate, recorder, _ = open_gate()
    JpkiSession(gate)
    before = len(recorder.sent)
    for apdu in (READING[0], READING[1]):
        with pytest.raises(ApduRefused):
            gate.send_and_receive(bytes.fromhex(apdu))
    with pytest.raises(ApduRefused):
        gate.read_number()
    assert len(recorder.sent) == before


PIN_COMMANDS = ("0020008004 31323334", "0020009804 31323334", "00200080", "802A00800130 00")


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
@pytest.mark.parametrize("apdu", PIN_COMMANDS)
def test_no_pin_and_nothing_to_sign_reaches_the_other_application(open_gate, steps, apdu):
    gate, recorder, card = open_gate()
    for command in READING[:steps]:
        gate.send_and_receive(bytes.fromhex(command))
    with pytest.raises(ApduRefused):
        gate.send_and_receive(bytes.fromhex(apdu))
    assert len(recorder.sent) == steps
    assert card.verify_count == 0


def test_a_select_of_the_jpki_application_that_the_card_refuses_opens_nothing(scripted):
    connection = scripted([0x6A82])
    gate = CardNumberGate(connection, PLACE)
    gate.send_and_receive(bytes.fromhex(SELECT_JPKI))
    with pytest.raises(ApduRefused):
        gate.send_and_receive(bytes.fromhex(PIN_COMMANDS[0]))
    assert len(connection.sent) == 1


@given(apdu=st.one_of(st.binary(max_size=24), st.sampled_from([bytes.fromhex(each) for each in READING])))
def test_before_it_four_commands_pass_and_no_other(scripted, apdu):
    connection = scripted([0x9000])
    try:
        CardNumberGate(connection, PLACE).send_and_receive(apdu)
    except ApduRefused:
        assert connection.sent == []
    else:
        assert apdu.hex().upper() in (*READING, SELECT_JPKI)


@pytest.mark.parametrize("forbidden", FORBIDDEN_APPLICATION_IDS, ids=lambda each: each.hex().upper())
def test_no_setting_names_an_application_of_the_card_itself(forbidden):
    for identifier in (forbidden, forbidden[:-1], forbidden[:5], forbidden + b"\x01"):
        with pytest.raises(ValueError, match="may not be touched"):
            replace(PLACE, application_id=identifier)


@pytest.mark.parametrize(
    "change",
    [
        {"application_id": MADE_UP[:4]},
        {"application_id": MADE_UP * 3},
        {"file_id": b"\x01"},
        {"offset": -1},
        {"offset": 0x8000},
        {"length": 0},
        {"length": 65},
    ],
    ids=str,
)
def test_a_place_that_cannot_be_is_refused(change):
    with pytest.raises(ValueError, match=r"\w"):
        replace(PLACE, **change)


@pytest.mark.parametrize(
    ("encoding", "content", "number"),
    [
        ("ascii", "3031323334", "01234"),
        ("ascii", "20303132FFFF", "012"),
        ("ascii", "41422D3132", "AB-12"),
        ("bcd", "012345", "012345"),
        ("bcd", "01234F", "01234"),
        ("bcd", "0123FFFF", "0123"),
    ],
)
def test_a_number_is_read_in_either_way_of_writing(encoding, content, number):
    place = replace(PLACE, encoding=NumberEncoding(encoding))
    assert place.decode(bytes.fromhex(content)) == number


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("ascii", "0000"),
        ("ascii", "FFFF"),
        ("ascii", "E38182"),
        ("ascii", "310032"),
        ("bcd", "FF"),
        ("bcd", "0A12"),
    ],
)
def test_what_is_no_number_is_refused_without_being_told(encoding, content):
    with pytest.raises(MalformedCardData) as caught:
        replace(PLACE, encoding=NumberEncoding(encoding)).decode(bytes.fromhex(content))
    assert content not in str(caught.value)


def test_where_the_number_lies_is_not_shown():
    assert MADE_UP.hex() not in repr(PLACE)
    assert "0101" not in repr(PLACE)


def test_a_card_with_the_application_survives_its_file(open_gate, tmp_path):
    _, _, card = open_gate()
    card.save(tmp_path / "card.json")
    assert SimulatedCard.load(tmp_path / "card.json").city_application == ON_CARD
