"""The rules of the simulated card, one by one, and the golden transcript."""

import json
import stat

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from jpki.constants import SHA256_DIGEST_INFO_PREFIX
from jpki.errors import CardRemoved
from jpki.simulator.card import CardFaults, SimulatedCard, SimulatedConnection
from jpki.simulator.pki import CardProfile

SELECT_JPKI = "00A4040C0AD392F000260100000001"
PIN_1234 = "0020008004 31323334"
WRONG_PIN = "0020008004 30303030"
SIGNATURE_PIN = "0020009B06 414243313233"


def digest_info(message: bytes) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(message)
    return SHA256_DIGEST_INFO_PREFIX + digest.finalize()


def sign_command(data: bytes, reference: int = 0x97) -> str:
    return bytes((0x80, 0x2A, 0x00, reference, len(data))).hex() + data.hex() + "00"


def status_words(card: SimulatedCard, *commands: str) -> list[str]:
    """Send *commands*; return the status word of each as hex."""
    return [card.exchange(bytes.fromhex(command))[-2:].hex().upper() for command in commands]


@pytest.fixture
def card(make_card):
    card = make_card()
    card.power_on()
    return card


def test_the_golden_transcript_is_answered_byte_for_byte(make_card, material_of_1583_bytes, read_vector):
    card = make_card(material_of_1583_bytes)
    card.power_on()
    for exchange in read_vector("golden"):
        answer = card.exchange(exchange.command)
        data, status_word = answer[:-2], int.from_bytes(answer[-2:], "big")
        assert exchange.accepts(data, status_word), (exchange, data.hex(), hex(status_word))


def test_nothing_is_selected_after_power_on(card):
    assert status_words(card, "00A4020C02000A", "00B0000004", "00200080", "00200098") == [
        "6A82",
        "6986",
        "6986",
        "6A82",
    ]


def test_the_card_has_no_other_application(card):
    other = "00A4040C0AD3921000310001010408"
    assert status_words(card, SELECT_JPKI, other, "00A4020C02000A") == ["9000", "6A82", "9000"]


RULES = {
    "SELECT in another form": (["00A40000023F00"], "6A86"),
    "SELECT of an unknown file": (["00A4020C020099"], "6A82"),
    "READ of a key": (["00A4020C020017", "00B0000004"], "6981"),
    "READ of a PIN": (["00A4020C020018", "00B0000004"], "6981"),
    "READ behind the end": (["00A4020C02000A", "00B0080004"], "6B00"),
    "READ without Le": (["00A4020C02000A", "00B00000"], "6700"),
    "READ by an unknown short identifier": (["00B09F0004"], "6A82"),
    "READ with a malformed reference": (["00B0EA0004"], "6A86"),
    "READ of the signature certificate": (["00A4020C020001", "00B0000004"], "6982"),
    "VERIFY with P1": (["00A4020C020018", "00200180"], "6A86"),
    "VERIFY without a file": (["00200080"], "6986"),
    "VERIFY of a certificate": (["00A4020C02000A", "00200080"], "6981"),
    "VERIFY of 17 bytes": (["0020009811" + "31" * 17], "6700"),
    "tries of the signature PIN": (["0020009B"], "63C5"),
    "signature without PIN": ([sign_command(b"x")], "6982"),
    "signature with another P1": (["802A01970178 00"], "6A86"),
    "signature with a PIN file": (["00A4020C020018", sign_command(b"x", 0x80)], "6981"),
    "signature without a file": ([sign_command(b"x", 0x80)], "6986"),
    "signature of nothing": ([PIN_1234.replace("80", "98", 1), "802A0097"], "6700"),
    "signature of too much": ([PIN_1234.replace("80", "98", 1), sign_command(bytes(246))], "6700"),
    "GET RESPONSE of nothing": (["00C0000000"], "6985"),
    "unknown instruction": (["0084000008"], "6D00"),
    "signature under the interindustry class": (["002A00970178 00"], "6D00"),
    "unknown class": (["90B0000004"], "6E00"),
    "extended length": (["00B00000000100"], "6700"),
    "half a header": (["00B0"], "6700"),
}


@pytest.mark.parametrize(("commands", "expected"), RULES.values(), ids=RULES)
def test_each_rule_has_its_status_word(card, commands, expected):
    assert status_words(card, SELECT_JPKI, *commands)[-1] == expected


def test_a_certificate_file_is_filled_up_behind_the_certificate(card, good_material):
    status_words(card, SELECT_JPKI, "00A4020C02000A")
    length = len(good_material.certificate_der)
    last = card.exchange(bytes((0x00, 0xB0, length >> 8, length & 0xFF, 0x00)))
    assert set(last[:-2]) == {0xFF}


def test_the_exhausting_attempt_answers_63c0_and_every_later_one_6984(card):
    commands = [SELECT_JPKI, "00A4020C020018", *[WRONG_PIN] * 4, PIN_1234, "00200080"]
    assert status_words(card, *commands)[2:] == ["63C2", "63C1", "63C0", "6984", "6984", "6984"]


def test_the_two_pins_have_counters_of_their_own(card):
    wrong_signature_pin = "0020009B0430303030"
    answers = status_words(card, SELECT_JPKI, *[wrong_signature_pin] * 6, "00200098", "0020009B")
    assert answers[1:] == ["63C4", "63C3", "63C2", "63C1", "63C0", "6984", "63C3", "6984"]


def test_a_right_pin_restores_the_attempts(card):
    commands = [SELECT_JPKI, "00A4020C020018", WRONG_PIN, PIN_1234, "00200080"]
    assert status_words(card, *commands)[2:] == ["63C2", "9000", "63C3"]


def test_attempts_survive_power_off_and_a_verified_pin_does_not(card):
    status_words(card, SELECT_JPKI, "00A4020C020018", PIN_1234, WRONG_PIN)
    card.power_on()
    assert status_words(card, SELECT_JPKI, "00200098", sign_command(b"x"))[1:] == ["63C2", "6982"]


def test_a_verified_pin_survives_a_reset(card):
    status_words(card, SELECT_JPKI, "00A4020C020018", PIN_1234)
    card.reset()
    assert status_words(card, SELECT_JPKI, sign_command(b"x")) == ["9000", "9000"]


def test_a_wrong_pin_takes_a_verified_one_back(card):
    status_words(card, SELECT_JPKI, "00A4020C020018", PIN_1234, WRONG_PIN)
    assert status_words(card, sign_command(b"x")) == ["6982"]


def test_one_pin_does_not_open_the_other_key(card):
    status_words(card, SELECT_JPKI, "00A4020C020018", PIN_1234)
    assert status_words(card, sign_command(b"x", 0x9A), "00B0810004") == ["6982", "6982"]
    assert status_words(card, SIGNATURE_PIN, sign_command(b"x", 0x9A), "00B0810004") == ["9000"] * 3


def test_the_signature_is_that_of_the_certificates_key(card, good_material):
    status_words(card, SELECT_JPKI, "00A4020C020018", PIN_1234)
    signature = card.exchange(bytes.fromhex(sign_command(digest_info(b"message"))))[:-2]
    public_key = good_material.private_key.public_key()
    public_key.verify(signature, b"message", padding.PKCS1v15(), hashes.SHA256())


def test_a_p384_card_signs_a_sha384_hash(make_card, pki):
    material = pki.issue_card(CardProfile.P384)
    card = make_card(material)
    card.power_on()
    status_words(card, SELECT_JPKI, "00A4020C020018", PIN_1234)
    digest = hashes.Hash(hashes.SHA384())
    digest.update(b"message")
    signature = card.exchange(bytes.fromhex(sign_command(digest.finalize())))[:-2]
    public_key = material.private_key.public_key()
    public_key.verify(signature, b"message", ec.ECDSA(hashes.SHA384()))
    assert status_words(card, sign_command(b"not a hash")) == ["6700"]


def test_the_availability_file_tells_which_certificates_there_are(make_card, good_material):
    for card, expected in (
        (make_card(), "8F8F00"),
        (make_card(certificate_absent=True), "8F0000"),
        (SimulatedCard.from_material(good_material), "008F00"),
    ):
        card.power_on()
        status_words(card, SELECT_JPKI)
        assert card.exchange(bytes.fromhex("00B0880003"))[:-2].hex().upper() == expected


def test_the_log_shows_commands_and_no_pin(card):
    status_words(card, SELECT_JPKI, "00A4020C020018", PIN_1234, "FF")
    assert "31323334" not in "".join(card.apdu_log)
    assert card.apdu_log[0] == "<CommandApdu 00 A4 04 0C data=D392F000260100000001> -> 9000"
    assert card.apdu_log[-1] == "malformed or extended -> 6700"
    assert (card.apdu_count, card.verify_count) == (4, 1)


def test_a_credential_does_not_print_its_secrets(make_card):
    shown = repr(make_card().authentication)
    assert "1234" not in shown
    assert "PrivateKey" not in shown


# -- faults


def test_the_first_command_after_power_on_can_fail(make_card):
    card = make_card(first_answer_is_6f00=True)
    card.power_on()
    assert status_words(card, SELECT_JPKI, SELECT_JPKI) == ["6F00", "9000"]
    card.reset()
    assert status_words(card, SELECT_JPKI) == ["6F00"]


def test_a_blocked_pin_can_answer_as_iso_says_and_as_opensc_likes(make_card):
    card = make_card(blocked_status_word=0x6983, blocked_query_status_word=0x63C0)
    card.power_on()
    answers = status_words(card, SELECT_JPKI, "00A4020C020018", *[WRONG_PIN] * 4, "00200080")
    assert answers[-2:] == ["6983", "63C0"]


def test_the_query_can_tell_that_the_pin_is_verified(make_card):
    card = make_card(verified_query_is_9000=True)
    card.power_on()
    answers = status_words(card, SELECT_JPKI, "00A4020C020018", "00200080", PIN_1234, "00200080")
    assert answers[2:] == ["63C3", "9000", "9000"]


def test_answers_can_wait_for_get_response(make_card):
    card = make_card(answers_61xx=True)
    card.power_on()
    commands = [SELECT_JPKI, "00B08A0000", "00C0000080", "00C0000000", "00C0000000"]
    assert status_words(card, *commands) == ["9000", "6100", "6180", "9000", "6985"]


def test_a_limit_on_reads_is_answered_6700_or_6cxx(make_card):
    for faults, expected in (({}, "6700"), ({"answers_6cxx": True}, "6CE0")):
        card = make_card(read_limit=224, **faults)
        card.power_on()
        assert status_words(card, SELECT_JPKI, "00B08A0000", "00B08A00E0")[1:] == [expected, "9000"]


def test_short_file_identifiers_can_be_unknown_to_a_card(make_card):
    card = make_card(short_file_identifiers=False)
    card.power_on()
    answers = status_words(card, SELECT_JPKI, "00B08A0004", "00200098", sign_command(b"x"))
    assert answers[1:] == ["6A86"] * 3


def test_a_certificate_can_be_protected_or_absent(make_card):
    card = make_card(certificate_needs_pin=True)
    card.power_on()
    answers = status_words(card, SELECT_JPKI, "00B08A0004", "002000980431323334", "00B08A0004")
    assert answers[1:] == ["6982", "9000", "9000"]
    card.faults = CardFaults(certificate_absent=True)
    assert status_words(card, "00A4020C02000A") == ["6A82"]


@pytest.mark.parametrize("profile", [CardProfile.GOOD, CardProfile.P384], ids=lambda p: p.value)
def test_a_card_with_the_wrong_key_signs_what_its_certificate_does_not_verify(make_card, pki, profile):
    material = pki.issue_card(profile)
    right, wrong = (make_card(material, wrong_key=fault) for fault in (False, True))
    command = sign_command(bytes(48))
    answers = []
    for card in (right, wrong):
        card.power_on()
        assert status_words(card, SELECT_JPKI, "002000980431323334") == ["9000", "9000"]
        answers.append(card.exchange(bytes.fromhex(command)))
    assert answers[0][-2:] == answers[1][-2:] == b"\x90\x00"
    assert answers[0] != answers[1]


@pytest.mark.parametrize(("executed", "attempts"), [(False, 3), (True, 2)])
def test_a_card_torn_away_may_or_may_not_have_spent_an_attempt(make_card, executed, attempts):
    card = make_card(tear_after=2, torn_command_is_executed=executed)
    connection = SimulatedConnection(card)
    for command in (SELECT_JPKI, "00A4020C020018"):
        assert connection.send_and_receive(bytes.fromhex(command)) == (b"", 0x9000)
    for _ in range(2):
        with pytest.raises(CardRemoved):
            connection.send_and_receive(bytes.fromhex(WRONG_PIN))
    assert not card.powered
    assert card.authentication.attempts_remaining == attempts
    with SimulatedConnection(card) as again:
        assert again.send_and_receive(bytes.fromhex(SELECT_JPKI)) == (b"", 0x9000)
    assert not card.powered


# -- the card file


def test_a_card_is_saved_with_all_it_is_and_loaded_again(make_card, tmp_path):
    card = make_card(read_limit=224)
    card.power_on()
    status_words(card, SELECT_JPKI, "00A4020C020018", WRONG_PIN)
    card.save(tmp_path / "card.json")
    assert stat.S_IMODE((tmp_path / "card.json").stat().st_mode) == 0o600
    loaded = SimulatedCard.load(tmp_path / "card.json")
    assert loaded.atr == card.atr
    assert loaded.faults == card.faults
    assert loaded.authentication.certificate_der == card.authentication.certificate_der
    loaded.power_on()
    assert status_words(loaded, SELECT_JPKI, "00200098", SIGNATURE_PIN)[1:] == ["63C2", "9000"]


def test_a_card_without_signature_certificate_is_saved_too(good_material, tmp_path):
    SimulatedCard.from_material(good_material).save(tmp_path / "card.json")
    card = SimulatedCard.load(tmp_path / "card.json")
    card.power_on()
    assert status_words(card, SELECT_JPKI, "0020009B", "00200098")[1:] == ["6A82", "63C3"]


def test_a_file_that_is_no_card_is_refused(tmp_path):
    path = tmp_path / "card.json"
    path.write_text(json.dumps({"format": "other"}))
    with pytest.raises(ValueError, match="not a simulated card"):
        SimulatedCard.load(path)
