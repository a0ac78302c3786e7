"""The card's side of the vpcd protocol and of the control socket, with the test as the reader."""

import json
import socket
import threading
import time

import pytest

from jpki.simulator import host as host_module
from jpki.simulator.card import CONTACTLESS_ATR, CardFaults
from jpki.simulator.host import CardHost, CardNotNoticed, ControlServer
from jpki.simulator.reader import CardProcess, VirtualReaderFailure

SELECT_JPKI = bytes.fromhex("00A4040C0AD392F000260100000001")
POWER_OFF, POWER_ON, RESET, GET_ATR = (bytes((code,)) for code in (0, 1, 2, 4))


class Reader:
    """vpcd as the card sees it: waits for a card and talks to it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(30)
        self.address = self._listener.getsockname()
        self._card: socket.socket | None = None

    def accept(self) -> None:
        self._card, _ = self._listener.accept()
        self._card.settimeout(30)

    def tell(self, message: bytes) -> None:
        self._card.sendall(len(message).to_bytes(2, "big") + message)

    def ask(self, message: bytes) -> bytes:
        self.tell(message)
        header = self._card.recv(2, socket.MSG_WAITALL)
        return self._card.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL)

    def at_end(self) -> bool:
        return self._card.recv(1) == b""

    def close(self) -> None:
        if self._card is not None:
            self._card.close()
        self._listener.close()


@pytest.fixture
def reader():
    reader = Reader()
    yield reader
    reader.close()


@pytest.fixture
def lay_on(reader):
    """Return a function that lays a card on the test's reader and gives the card's host."""
    hosts = []

    def lay(card):
        host = CardHost(card, *reader.address)
        hosts.append(host)
        inserting = threading.Thread(target=host.insert)
        inserting.start()
        reader.accept()
        reader.tell(POWER_ON)
        inserting.join(90)
        assert host.inserted
        return host

    yield lay
    for host in hosts:
        host.remove()


def test_the_answer_to_reset_is_given_and_power_is_taken_without_an_answer(reader, lay_on, make_card):
    card = make_card()
    lay_on(card)
    assert reader.ask(GET_ATR) == CONTACTLESS_ATR
    reader.tell(RESET)
    reader.tell(bytes((3,)))
    reader.tell(POWER_OFF)
    assert reader.ask(GET_ATR) == CONTACTLESS_ATR  # the next answer is this one's
    assert not card.powered


def test_a_command_is_answered_and_one_in_two_pieces_too(reader, lay_on, make_card):
    lay_on(make_card())
    assert reader.ask(SELECT_JPKI) == b"\x90\x00"
    reader._card.sendall(b"\x00")
    reader._card.sendall(b"\x06\x00\xb0\x86")
    reader._card.sendall(b"\x00\x20\x00")
    assert reader._card.recv(4, socket.MSG_WAITALL) == b"\x00\x02\x67\x00"


def test_two_writes_of_one_message_cost_no_delayed_acknowledgement(reader, lay_on, make_card):
    lay_on(make_card())
    took = []
    for _ in range(40):
        begun = time.monotonic()
        reader._card.sendall(len(SELECT_JPKI).to_bytes(2, "big"))
        reader._card.sendall(SELECT_JPKI)
        assert reader._card.recv(4, socket.MSG_WAITALL)[2:] == b"\x90\x00"
        took.append(time.monotonic() - begun)
    # Linux acknowledges the first at once in any case. A busy machine makes some late, a delay of 0.04 all.
    assert min(took[20:]) < 0.02, took


def test_a_torn_card_hangs_up_without_an_answer(reader, lay_on, make_card):
    host = lay_on(make_card(tear_after=0))
    reader.tell(SELECT_JPKI)
    assert reader.at_end()
    host.remove()
    assert not host.inserted


def test_a_card_without_power_hangs_up_on_a_command(reader, lay_on, make_card):
    lay_on(make_card())
    reader.tell(POWER_OFF)
    reader.tell(SELECT_JPKI)
    assert reader.at_end()


def test_a_reader_that_hangs_up_has_no_card(reader, lay_on, make_card):
    host = lay_on(make_card())
    reader._card.sendall(b"\x00")
    reader._card.close()
    host._server.join(90)
    assert not host.inserted


def test_a_card_that_the_reader_does_not_power_is_taken_away(reader, monkeypatch, make_card):
    monkeypatch.setattr(host_module, "INSERT_TIMEOUT", 0.1)
    host = CardHost(make_card(), *reader.address)
    with pytest.raises(CardNotNoticed):
        host.insert()
    assert not host.inserted


@pytest.fixture
def control(reader, lay_on, make_card, tmp_path):
    """Return a ``CardProcess`` whose process is this one: the control socket's two ends."""
    path = tmp_path / "control"
    with ControlServer(path, lay_on(make_card())) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield CardProcess(None, path)
        server.shutdown()
        serving.join(90)


def test_the_control_socket_tells_the_state(reader, control):
    reader.ask(SELECT_JPKI)
    reader.ask(bytes.fromhex("002000980430303030"))
    state = control.state()
    assert (state.inserted, state.powered, state.attempts_remaining) == (True, True, 2)
    assert (state.apdu_count, state.verify_count) == (2, 1)
    assert state.apdu_log[1] == "<CommandApdu 00 20 00 98 data=**> -> 63C2"


def test_the_control_socket_sets_faults_and_swaps_and_removes_the_card(reader, control, make_card):
    control.set_faults(CardFaults(token_label="JPKIAPIOSTOKEN"))
    reader.ask(SELECT_JPKI)
    assert reader.ask(bytes.fromhex("00B086000E")).startswith(b"JPKIAPIOSTOKEN")
    control.insert()  # it lies there already
    card = make_card()
    card.authentication.attempts_remaining = 1
    control.swap(card)
    state = control.state()
    assert (state.inserted, state.attempts_remaining, state.apdu_count) == (False, 1, 0)
    assert reader.at_end()
    control.remove()


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b'"insert"', b"{}", b'{"command": "explode"}', b'{"command": "swap"}', b"\xff"],
)
def test_a_malformed_request_is_answered_and_the_next_one_too(control, line):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(control._control))
        connection.sendall(line + b"\n" + b'{"command": "state"}\n')
        answers = connection.makefile("rb")
        assert not json.loads(answers.readline())["ok"]
        assert json.loads(answers.readline())["ok"]


def test_a_refused_request_is_the_callers_failure(control):
    with pytest.raises(VirtualReaderFailure, match="CardFaults"):
        control._request(command="faults", faults={"unknown": True})
