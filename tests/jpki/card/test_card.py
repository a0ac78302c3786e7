"""JpkiSession against the simulated card, and against scripts where no card would behave so."""

import contextlib
import pickle
from itertools import count

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from hypothesis import given
from hypothesis import strategies as st

from jpki.card import GuardedConnection, JpkiSession, Pin
from jpki.constants import TokenKind
from jpki.errors import (
    ApduRefused,
    CardError,
    CardInUse,
    CardRemoved,
    CertificateNotPresent,
    InvalidPinError,
    JpkiError,
    LastAttemptProtected,
    MalformedCardData,
    MalformedPin,
    NotAMyNumberCard,
    PinAlreadyVerified,
    PinBlockedError,
    ReaderFailure,
    ReaderServiceUnavailable,
    UnsupportedAlgorithm,
    UnsupportedToken,
)
from jpki.simulator.card import SimulatedConnection
from jpki.simulator.pki import CardProfile

MESSAGE = b"koha-jpki-bridge"
LABEL = b"JPKIAPICCTOKEN2".ljust(32)
OPENED = [0x9000, (LABEL, 0x9000)]  # SELECT and label, by short file identifier
READ = [*OPENED, (b"\x30\x03\x02\x01\x01", 0x9000)]  # and an object that is no certificate
BEGINNINGS = [[], OPENED, READ, [*READ, 0x63C3], [*READ, 0x63C3, 0x9000]]

OTHER_APPLICATIONS = {
    "card content input support (個人番号)": "D3921000310001010408",
    "card surface confirmation": "D3921000310001010402",
    "basic resident register": "D3921000310001010401",
    "common": "D3921000310001010100",
    "issuer security domain": "A0000001510000",
}


def authenticate(session: JpkiSession) -> bytes:
    """Go the whole way: certificate, tries, PIN, signature."""
    session.read_certificate()
    session.attempts_remaining()
    session.verify_pin(Pin("1234"))
    return session.sign(MESSAGE)


def verify_commands(sent: list[bytes]) -> list[bytes]:
    """Return the commands of *sent* that presented a PIN."""
    return [apdu for apdu in sent if apdu[1] == 0x20 and len(apdu) > 5]


@pytest.fixture
def open_card(recording):
    """Return a function that opens a session on a card and gives session and recorder."""

    def open_session(card):
        recorder = recording(SimulatedConnection(card))
        return JpkiSession(recorder), recorder

    return open_session


# -- the exact commands


@pytest.mark.parametrize(
    ("vector", "faults", "commands"),
    [
        ("session_with_short_identifiers", {}, 12),
        ("session_with_select", {"short_file_identifiers": False}, 17),
    ],
)
def test_a_whole_authentication_sends_exactly_these_commands(
    open_card, make_card, material_of_1583_bytes, read_vector, vector, faults, commands
):
    session, recorder = open_card(make_card(material_of_1583_bytes, **faults))
    signature = authenticate(session)
    expected = read_vector(vector)
    assert [apdu.hex() for apdu in recorder.sent] == [entry.command.hex() for entry in expected]
    assert all(entry.accepts(*answer) for entry, answer in zip(expected, recorder.answers, strict=True))
    assert len(recorder.sent) == commands
    public_key = material_of_1583_bytes.private_key.public_key()
    public_key.verify(signature, MESSAGE, padding.PKCS1v15(), hashes.SHA256())


# -- the gate


@pytest.mark.parametrize("application", OTHER_APPLICATIONS.values(), ids=OTHER_APPLICATIONS)
def test_no_other_application_can_be_selected(scripted, application):
    connection = scripted([])
    identifier = bytes.fromhex(application)
    for p1, p2 in ((0x04, 0x0C), (0x04, 0x00), (0x00, 0x0C)):
        with pytest.raises(ApduRefused):
            GuardedConnection(connection).send_and_receive(
                bytes((0x00, 0xA4, p1, p2, len(identifier))) + identifier
            )
    assert connection.sent == []


REFUSED = {
    "part of the application's name": "00A4040C05D392F00026",
    "select the signature certificate": "00A4020C020001",
    "select the signature key": "00A4020C02001A",
    "select the signature PIN": "00A4020C02001B",
    "select the signature CA": "00A4020C020002",
    "select by another P1": "00A4080C02000A",
    "select the master file": "00A4000C023F00",
    "read the signature certificate": "00B0810000",
    "read by short identifier what is not ours": "00B0860000".replace("86", "82"),
    "query the signature PIN": "0020009B",
    "verify the signature PIN": "0020009B06414243313233",
    "verify another PIN": "0020009204 31323334",
    "change the PIN": "0024018004 31323334",
    "sign with the signature key": "802A009A0130 00",
    "sign in another way": "802A01970130 00",
    "internal authenticate": "00880099",
    "read a record": "00B2010C00",
    "get data": "00CA00F000",
    "another class": "0CB0000004",
    "extended length": "00B00000000100",
    "no command": "00",
}


@pytest.mark.parametrize("apdu", REFUSED.values(), ids=REFUSED)
def test_what_is_not_on_the_list_does_not_reach_the_card(scripted, apdu):
    connection = scripted([])
    with pytest.raises(ApduRefused) as refused:
        GuardedConnection(connection).send_and_receive(bytes.fromhex(apdu))
    assert connection.sent == []
    assert "31323334" not in str(refused.value)


@given(apdu=st.binary(max_size=40))
def test_random_commands_are_refused_or_are_ours(scripted, apdu):
    connection = scripted([0x9000])
    try:
        GuardedConnection(connection).send_and_receive(apdu)
    except ApduRefused:
        assert connection.sent == []
    else:
        assert apdu[:2] in {b"\x00\xa4", b"\x00\xb0", b"\x00\x20", b"\x80\x2a", b"\x00\xc0"}


# -- PIN


@pytest.mark.parametrize("text", ["", "123", "12345", "12a4", "１２３４", "12 4", "-123", "123\n", "²³¹²"])
def test_anything_but_four_digits_is_no_pin(text):
    with pytest.raises(MalformedPin) as malformed:
        Pin(text)
    assert not text or text not in str(malformed.value)


def test_a_pin_cannot_be_printed_stored_or_looked_into():
    pin = Pin("4071")
    for shown in (repr(pin), str(pin), f"{pin}", f"{[pin]}", f"{pin!r:>20}", "".join(map(str, [pin]))):
        assert "4071" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(pin)
    with pytest.raises(TypeError):
        vars(pin)
    assert pin != Pin("4071")
    assert pin.ascii_bytes() == b"4071"


# -- token


def test_a_my_number_card_is_told_by_its_label(open_card, make_card):
    session, _ = open_card(make_card())
    assert session.token is TokenKind.MY_NUMBER_CARD


@pytest.mark.parametrize("padding_byte", [b" ", b"\0", b"\n"])
def test_a_label_is_trimmed_of_its_padding(scripted, padding_byte):
    label = b"JPKIAPICCTOKEN2".ljust(32, padding_byte)
    assert JpkiSession(scripted([0x9000, (label, 0x9000)])).token is TokenKind.MY_NUMBER_CARD


@pytest.mark.parametrize(
    "kind", [kind for kind in TokenKind if kind is not TokenKind.MY_NUMBER_CARD], ids=lambda k: k.name
)
def test_other_tokens_are_named_and_asked_nothing_further(open_card, make_card, kind):
    session, recorder = open_card(make_card(token_label=kind.value))
    assert session.token is kind
    for method in (
        session.read_certificate,
        session.read_ca_certificate,
        session.attempts_remaining,
        lambda: session.verify_pin(Pin("1234")),
        lambda: session.sign(MESSAGE),
    ):
        with pytest.raises(UnsupportedToken) as unsupported:
            method()
        assert unsupported.value.label == kind.value
    assert len(recorder.sent) == 2


def test_an_unknown_label_is_refused(open_card, make_card):
    with pytest.raises(UnsupportedToken) as unsupported:
        open_card(make_card(token_label="JPKIAPNEXTTOKEN"))
    assert unsupported.value.label == "JPKIAPNEXTTOKEN"


@pytest.mark.parametrize("status_word", [0x6A82, 0x6D00, 0x6E00, 0x6985], ids=hex)
def test_a_card_without_the_application_is_no_my_number_card(scripted, status_word):
    connection = scripted([status_word])
    with pytest.raises(NotAMyNumberCard) as error:
        JpkiSession(connection)
    assert error.value.status_word == status_word
    assert len(connection.sent) == 1


def test_the_first_select_is_repeated_once_after_6f00(open_card, make_card):
    session, recorder = open_card(make_card(first_answer_is_6f00=True))
    assert session.token is TokenKind.MY_NUMBER_CARD
    assert recorder.sent[0] == recorder.sent[1]


def test_the_first_select_is_repeated_once_only(scripted):
    connection = scripted([0x6F00, 0x6F00])
    with pytest.raises(NotAMyNumberCard):
        JpkiSession(connection)
    assert len(connection.sent) == 2


def test_nothing_else_is_repeated_after_6f00(scripted):
    connection = scripted([*OPENED, 0x6F00, 0x63C3, 0x6F00])
    session = JpkiSession(connection)
    with pytest.raises(CardError):
        session.read_certificate()
    with pytest.raises(CardError):
        session.verify_pin(Pin("1234"))
    assert len(verify_commands(connection.sent)) == 1
    assert connection.script == []


# -- certificate

READ_FAULTS = {
    "none": {},
    "SELECT only": {"short_file_identifiers": False},
    "61xx": {"answers_61xx": True},
    "limit of 224": {"read_limit": 224},
    "limit of 224, SELECT only": {"read_limit": 224, "short_file_identifiers": False},
    "limit of 224 told by 6Cxx": {"read_limit": 224, "answers_6cxx": True},
    "limit of 224 told by 6Cxx, 61xx": {"read_limit": 224, "answers_6cxx": True, "answers_61xx": True},
    "no four-byte commands": {"four_byte_commands": False},
}


@pytest.mark.parametrize("faults", READ_FAULTS.values(), ids=READ_FAULTS)
@pytest.mark.parametrize("profile", [CardProfile.GOOD, CardProfile.P384], ids=lambda p: p.value)
def test_whatever_the_reader_makes_hard_the_way_is_gone_to_its_end(
    open_card, make_card, pki, faults, profile
):
    material = pki.issue_card(profile)
    session, recorder = open_card(make_card(material, **faults))
    assert session.read_certificate() == material.certificate_der
    assert session.read_ca_certificate() == material.ca_certificate_der
    signature = authenticate(session)
    public_key = material.private_key.public_key()
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        public_key.verify(signature, MESSAGE, ec.ECDSA(hashes.SHA384()))
    else:
        public_key.verify(signature, MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    assert len(verify_commands(recorder.sent)) == 1


def test_a_refusal_of_short_identifiers_is_learned_once(open_card, make_card):
    session, recorder = open_card(make_card(short_file_identifiers=False))
    authenticate(session)
    refused = [answer for answer in recorder.answers if answer[1] == 0x6A86]
    assert len(refused) == 1


@pytest.mark.parametrize("faults", [{}, {"short_file_identifiers": False}], ids=str)
def test_a_missing_certificate_is_named(open_card, make_card, faults):
    session, _ = open_card(make_card(certificate_absent=True, **faults))
    with pytest.raises(CertificateNotPresent):
        session.read_certificate()


def test_a_protected_certificate_is_the_cards_no(open_card, make_card):
    session, _ = open_card(make_card(certificate_needs_pin=True))
    with pytest.raises(CardError) as error:
        session.read_certificate()
    assert error.value.status_word == 0x6982


def test_a_short_last_read_with_6282_is_taken(scripted):
    body = b"\x30\x82\x01\x2c" + bytes(300)
    session = JpkiSession(scripted([*OPENED, (body[:256], 0x9000), (body[256:], 0x6282)]))
    assert session.read_certificate() == body


def test_a_reader_that_fails_at_256_bytes_is_asked_for_224(scripted):
    body = b"\x30\x81\xa0" + bytes(160)
    connection = scripted([*OPENED, ReaderFailure("256"), (body + b"\xff" * 61, 0x9000)])
    assert JpkiSession(connection).read_certificate() == body
    assert connection.sent[-2:] == [bytes.fromhex("00B08A0000"), bytes.fromhex("00B08A00E0")]


def test_a_reader_that_fails_at_224_bytes_too_has_failed(scripted):
    session = JpkiSession(scripted([*OPENED, ReaderFailure("256"), ReaderFailure("224")]))
    with pytest.raises(ReaderFailure):
        session.read_certificate()


def test_a_reader_that_fails_at_the_label_has_failed(scripted):
    with pytest.raises(ReaderFailure):
        JpkiSession(scripted([0x9000, ReaderFailure("32")]))


@pytest.mark.parametrize(
    "answers",
    [
        [(b"\xff" * 256, 0x9000)],
        [(b"\x30\x82\xff\xff" + bytes(252), 0x9000)],
        [(b"", 0x9000)],
        [(b"\x30", 0x9000)],
        [(b"\x30\x82\x06\x2b" + bytes(252), 0x9000), (b"", 0x9000)],
        [0x6110, (b"", 0x6110)],
        [0x6100, *[(bytes(256), 0x6100)] * 17],
    ],
    ids=["filler", "64 kB", "empty", "one byte", "ends early", "61xx and nothing", "61xx for ever"],
)
def test_an_answer_that_cannot_be_is_malformed(scripted, answers):
    session = JpkiSession(scripted([*OPENED, *answers]))
    with pytest.raises(MalformedCardData):
        session.read_certificate()


def test_reading_behind_the_end_is_the_cards_no(scripted):
    session = JpkiSession(scripted([*OPENED, (b"\x30\x82\x06\x2b" + bytes(252), 0x9000), 0x6B00]))
    with pytest.raises(CardError) as error:
        session.read_certificate()
    assert error.value.status_word == 0x6B00


@given(
    beginning=st.sampled_from(BEGINNINGS),
    answers=st.lists(
        st.tuples(
            st.binary(max_size=260),
            st.sampled_from([0x9000, 0x6282, 0x6110, 0x6C10, 0x6700, 0x6A82, 0x63C2, 0x6984, 0x6F00])
            | st.integers(0, 0xFFFF),
        )
        | st.sampled_from([ReaderFailure("a reader's own words"), CardInUse(), ReaderServiceUnavailable()]),
        max_size=40,
    ),
)
def test_no_answer_of_card_or_reader_raises_anything_outside_the_tree(scripted, beginning, answers):
    connection = scripted([*beginning, *answers, CardRemoved()])
    with contextlib.suppress(JpkiError):
        session = JpkiSession(connection)
        authenticate(session)
        session.read_ca_certificate()
    assert len(verify_commands(connection.sent)) <= 1


# -- tries and PIN


def test_the_query_spends_nothing(open_card, make_card):
    card = make_card()
    session, _ = open_card(card)
    assert [session.attempts_remaining() for _ in range(4)] == [3] * 4
    assert card.verify_count == 0


@pytest.mark.parametrize("faults", [{}, {"short_file_identifiers": False}], ids=["short", "select"])
def test_a_query_counts_until_a_pin_is_presented(open_card, make_card, faults):
    session, recorder = open_card(make_card(**faults))
    session.attempts_remaining()
    session.read_certificate()
    before = len(recorder.sent)
    with pytest.raises(InvalidPinError):
        session.verify_pin(Pin("0000"))
    without_select = [apdu for apdu in recorder.sent[before:] if apdu[1] != 0xA4]
    assert without_select == verify_commands(recorder.sent)
    before = len(recorder.sent)
    session.verify_pin(Pin("1234"))
    assert [apdu[1] for apdu in recorder.sent[before:]] == [0x20, 0x20]


def test_a_wrong_pin_tells_what_is_left(open_card, make_card):
    session, recorder = open_card(make_card())
    with pytest.raises(InvalidPinError) as wrong:
        session.verify_pin(Pin("0000"))
    assert wrong.value.attempts_remaining == 2
    assert session.attempts_remaining() == 2
    assert len(verify_commands(recorder.sent)) == 1


def test_the_last_attempt_is_protected(open_card, make_card):
    card = make_card()
    session, _ = open_card(card)
    for _ in range(2):
        with pytest.raises(InvalidPinError):
            session.verify_pin(Pin("0000"))
    with pytest.raises(LastAttemptProtected) as protected:
        session.verify_pin(Pin("1234"))
    assert protected.value.attempts_remaining == 1
    assert card.verify_count == 2


def test_the_last_attempt_is_the_patrons_who_insists(open_card, make_card):
    card = make_card()
    card.authentication.attempts_remaining = 1
    session, _ = open_card(card)
    session.verify_pin(Pin("1234"), patron_insists=True)
    assert card.authentication.attempts_remaining == 3


@pytest.mark.parametrize("blocked", [0x6984, 0x6983, 0x63C0], ids=hex)
def test_a_blocked_pin_is_not_tried(open_card, make_card, blocked):
    card = make_card(blocked_query_status_word=blocked)
    card.authentication.attempts_remaining = 1
    session, _ = open_card(card)
    with pytest.raises(PinBlockedError):
        session.verify_pin(Pin("0000"), patron_insists=True)
    assert session.attempts_remaining() == 0
    with pytest.raises(PinBlockedError) as error:
        session.verify_pin(Pin("1234"), patron_insists=True)
    assert error.value.status_word == blocked
    assert card.verify_count == 1


def test_somebody_elses_verified_pin_is_not_used(open_card, make_card):
    card = make_card(verified_query_is_9000=True)
    session, recorder = open_card(card)
    session.verify_pin(Pin("1234"))
    second = JpkiSession(recorder)  # the same power-on period
    for method in (second.attempts_remaining, lambda: second.verify_pin(Pin("1234"))):
        with pytest.raises(PinAlreadyVerified):
            method()
    assert card.verify_count == 1


def test_a_query_answered_otherwise_is_the_cards_no(scripted):
    connection = scripted([*OPENED, 0x6300])
    session = JpkiSession(connection)
    with pytest.raises(CardError) as error:
        session.verify_pin(Pin("1234"))
    assert error.value.status_word == 0x6300
    assert verify_commands(connection.sent) == []


def test_verify_is_sent_as_the_query_was_answered_and_once_whatever_the_card_says(scripted):
    for status_word in (0x6A86, 0x6982, 0x6C04, 0x6104, 0x6700, 0x6F00):
        connection = scripted([*OPENED, 0x6A86, 0x9000, 0x63C3, status_word])
        session = JpkiSession(connection)
        with pytest.raises(CardError) as error:
            session.verify_pin(Pin("1234"))
        assert error.value.status_word == status_word
        assert verify_commands(connection.sent) == [bytes.fromhex("002000800431323334")]


# -- signature


def test_without_pin_nothing_is_signed(open_card, make_card):
    session, _ = open_card(make_card())
    with pytest.raises(CardError) as error:
        session.sign(MESSAGE)
    assert error.value.status_word == 0x6982


def test_a_key_of_another_kind_is_not_used(open_card, make_card, pki):
    material = pki.issue_card(private_key=ec.generate_private_key(ec.SECP256R1()))
    session, recorder = open_card(make_card(material))
    session.verify_pin(Pin("1234"))
    with pytest.raises(UnsupportedAlgorithm):
        session.sign(MESSAGE)
    assert not [apdu for apdu in recorder.sent if apdu[1] == 0x2A]


def test_a_certificate_without_readable_key_is_malformed(scripted):
    session = JpkiSession(scripted([*OPENED, (b"\x30\x03\x02\x01\x01", 0x9000)]))
    with pytest.raises(MalformedCardData):
        session.sign(MESSAGE)


# -- tears


@pytest.mark.parametrize("executed", [False, True], ids=["before", "during"])
@pytest.mark.parametrize("faults", [{}, {"short_file_identifiers": False}], ids=["short", "select"])
def test_a_tear_at_any_command_is_card_removed_and_never_a_second_verify(
    open_card, make_card, recording, faults, executed
):
    for answered in count():
        card = make_card(tear_after=answered, torn_command_is_executed=executed, **faults)
        recorder = recording(SimulatedConnection(card))
        try:
            authenticate(JpkiSession(recorder))
        except CardRemoved:
            assert len(recorder.sent) == answered + 1
            assert len(verify_commands(recorder.sent)) <= 1
            assert card.verify_count <= 1
        else:
            break
        # The card is laid down again: the tries are asked first, and nobody's PIN is open.
        session, again = open_card(card)
        assert session.attempts_remaining() == 3
        assert verify_commands(again.sent) == []
    assert answered == (12 if not faults else 17)


@pytest.mark.parametrize(
    "flow",
    [JpkiSession.read_ca_certificate, JpkiSession.attempts_remaining, lambda session: session.token],
    ids=["CA certificate", "tries", "token"],
)
@pytest.mark.parametrize(
    "faults",
    [{}, {"short_file_identifiers": False}, {"answers_61xx": True}, {"read_limit": 224}],
    ids=["short", "select", "61xx", "224"],
)
def test_a_tear_in_the_flows_without_pin_is_card_removed(make_card, recording, flow, faults):
    for answered in count():
        card = make_card(tear_after=answered, **faults)
        recorder = recording(SimulatedConnection(card))
        try:
            flow(JpkiSession(recorder))
        except CardRemoved:
            assert len(recorder.sent) == answered + 1
        else:
            break
    assert answered >= 2
    assert card.verify_count == 0


def test_after_a_tear_during_a_wrong_verify_the_spent_attempt_is_known(open_card, make_card, recording):
    card = make_card(tear_after=3, torn_command_is_executed=True)
    session = JpkiSession(recording(SimulatedConnection(card)))
    with pytest.raises(CardRemoved):
        session.verify_pin(Pin("0000"))
    again, _ = open_card(card)
    assert again.attempts_remaining() == 2
    assert card.verify_count == 1


# -- secrets


def test_the_pin_is_in_no_log_and_no_error(open_card, make_card, caplog):
    caplog.set_level(1)
    session, _ = open_card(make_card())
    with pytest.raises(InvalidPinError) as wrong:
        session.verify_pin(Pin("4071"))
    session.verify_pin(Pin("1234"))
    shown = f"{wrong.value!r} {caplog.text}"
    assert "4071" not in shown
    assert b"4071".hex() not in shown
