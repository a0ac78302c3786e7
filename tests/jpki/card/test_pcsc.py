"""The card layer through pcscd and the virtual reader, and everything that can happen to them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import example, given
from hypothesis import strategies as st
from smartcard import scard

from jpki import pcsc
from jpki.card import JpkiSession, Pin
from jpki.errors import (
    CardInUse,
    CardRemoved,
    NoCard,
    NoReader,
    PinAlreadyVerified,
    ReaderError,
    ReaderServiceUnavailable,
    UnresponsiveCard,
)
from jpki.simulator import host
from jpki.simulator import reader as reader_module
from jpki.simulator.card import CardFaults
from jpki.simulator.reader import VirtualReader, VirtualReaderFailure, VirtualReaderUnavailable

pytestmark = [pytest.mark.pcsc, pytest.mark.timeout(180)]

MESSAGE = b"koha-jpki-bridge"
FIRST, SECOND = VirtualReader.names

FREE_WITHIN = 1.0
"""Seconds after which a reader must be free again when its card was torn away."""

LOADED = 20.0
"""Seconds that a machine with much else to do may take for something that takes a moment."""

HOLD_THE_CARD = """
import sys
from smartcard.scard import *
_, context = SCardEstablishContext(SCARD_SCOPE_USER)
result, handle, protocol = SCardConnect(context, sys.argv[1], int(sys.argv[2]), SCARD_PROTOCOL_ANY)
assert result == SCARD_S_SUCCESS, SCardGetErrorMessage(result)
for apdu in sys.argv[3:]:
    SCardTransmit(handle, protocol, list(bytes.fromhex(apdu)))
print("held", flush=True)
sys.stdin.read()
SCardDisconnect(handle, SCARD_LEAVE_CARD)
SCardReleaseContext(context)
"""
EXCLUSIVE, SHARED = "1", "2"


def authenticate(reader: str) -> bytes:
    with pcsc.connect(reader) as connection:
        session = JpkiSession(connection)
        session.read_certificate()
        session.verify_pin(Pin("1234"))
        return session.sign(MESSAGE)


def attempts_remaining(reader: str) -> int:
    with pcsc.connect(reader) as connection:
        return JpkiSession(connection).attempts_remaining()


def verify_after(reader: str, happening: Callable[[], object]) -> None:
    """Open a session, let something happen, then present the PIN."""
    with pcsc.connect(reader) as connection:
        session = JpkiSession(connection)
        happening()
        session.verify_pin(Pin("1234"))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LOADED
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def hold_card():
    """Return a function that lets another process hold the card and returns it; ended at the end."""
    processes = []

    def hold(reader: str, share: str, *apdus: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD_THE_CARD, reader, share, *apdus],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in processes:
        process.communicate(timeout=90)


def test_readers_are_listed_by_name(virtual_reader):
    assert sorted(pcsc.list_readers()) == [FIRST, SECOND]


def test_a_card_is_found_read_and_signs(lay_card, make_card, good_material):
    card = lay_card(make_card())
    reader = pcsc.wait_for_card(timeout=LOADED)
    assert reader == FIRST
    public_key = good_material.private_key.public_key()
    public_key.verify(authenticate(reader), MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    assert card.state().verify_count == 1


def test_the_card_has_no_power_afterwards(lay_card, make_card):
    card = lay_card(make_card())
    authenticate(pcsc.wait_for_card(FIRST, timeout=LOADED))
    wait_until(lambda: not card.state().powered)
    with contextlib.suppress(ZeroDivisionError), pcsc.connect(FIRST) as connection:
        JpkiSession(connection).verify_pin(Pin("1234"))
        assert card.state().powered
        raise ZeroDivisionError  # whatever goes wrong in the block
    wait_until(lambda: not card.state().powered)


@pytest.fixture
def empty_readers(virtual_reader):
    """The readers, after pcscd has noticed that the last test's cards are gone."""
    for reader in virtual_reader.names:
        assert pcsc.wait_for_removal(reader, timeout=LOADED)


def test_waiting_for_a_card_ends_after_its_time(empty_readers):
    begun = time.monotonic()
    with pytest.raises(NoCard):
        pcsc.wait_for_card(timeout=0.2)
    assert 0.2 <= time.monotonic() - begun < LOADED


def test_waiting_for_a_card_ends_when_one_is_laid_down(lay_card, make_card):
    found = []
    waiting = threading.Thread(target=lambda: found.append(pcsc.wait_for_card(SECOND)))
    waiting.start()
    lay_card(make_card(), slot=1)
    waiting.join(LOADED)
    assert found == [SECOND]


def test_waiting_for_removal_ends_when_the_card_is_gone_or_after_its_time(lay_card, make_card):
    card = lay_card(make_card())
    pcsc.wait_for_card(FIRST, timeout=LOADED)
    assert not pcsc.wait_for_removal(FIRST, timeout=0.1)
    card.remove()
    assert pcsc.wait_for_removal(FIRST, timeout=LOADED)
    assert pcsc.wait_for_removal(FIRST)


def test_an_empty_reader_has_no_card(empty_readers):
    with pytest.raises(NoCard), pcsc.connect(FIRST):
        pass


def test_a_reader_that_is_not_there_is_named_so(virtual_reader):
    with pytest.raises(NoReader), pcsc.connect("Reader 17"):
        pass
    with pytest.raises(NoReader):
        pcsc.wait_for_card("Reader 17", timeout=1)
    assert pcsc.wait_for_removal("Reader 17")


def test_two_readers_serve_two_cards(lay_card, make_card):
    cards = [lay_card(make_card(), slot) for slot in (0, 1)]
    with pcsc.connect(FIRST) as one, pcsc.connect(SECOND) as other:
        sessions = [JpkiSession(one), JpkiSession(other)]
        sessions[0].verify_pin(Pin("1234"))
        assert sessions[1].attempts_remaining() == 3
        assert sessions[0].sign(MESSAGE)
    assert [card.state().verify_count for card in cards] == [1, 0]


@pytest.mark.parametrize("share", [EXCLUSIVE, SHARED], ids=["exclusively", "shared"])
def test_a_card_that_another_program_holds_is_in_use(lay_card, make_card, hold_card, share):
    lay_card(make_card())
    holder = hold_card(FIRST, share)
    with pytest.raises(CardInUse), pcsc.connect(FIRST):
        pass
    holder.communicate(timeout=90)
    assert authenticate(FIRST)


def test_we_hold_the_card_exclusively(lay_card, make_card):
    lay_card(make_card())
    with pcsc.connect(FIRST):
        other = subprocess.run(
            [sys.executable, "-c", HOLD_THE_CARD, FIRST, SHARED],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    assert "Sharing violation" in other.stderr


def test_a_pin_that_another_program_left_open_is_noticed_and_gone_after_power_off(
    lay_card, make_card, hold_card
):
    card = lay_card(make_card(verified_query_is_9000=True))
    select = "00A4040C0AD392F000260100000001"
    holder = hold_card(FIRST, SHARED, select, "002000980431323334")
    holder.communicate(timeout=90)
    with pytest.raises(PinAlreadyVerified):
        authenticate(FIRST)
    assert authenticate(FIRST)
    assert card.state().verify_count == 2


def test_a_tear_at_any_command_is_card_removed_and_the_reader_is_free_within_a_second(
    virtual_reader, lay_card, make_card
):
    took = []
    for answered in range(12):
        slot, during = answered % 2, answered % 3 == 0
        reader = virtual_reader.names[slot]
        torn_card = make_card(tear_after=answered, torn_command_is_executed=during)
        card = lay_card(torn_card, slot)
        with pytest.raises(CardRemoved):
            authenticate(reader)
        begun = time.monotonic()
        assert pcsc.wait_for_removal(reader, timeout=LOADED)
        took.append(time.monotonic() - begun)
        assert card.state().verify_count <= 1
        wait_until(lambda card=card: not card.state().inserted)
    # The quickest at each reader: a busy machine delays some, a program that still held it would delay all.
    # How long it takes on a quiet machine is measured in bench/jpki.py.
    assert max(min(took[0::2]), min(took[1::2])) < FREE_WITHIN, took
    card.insert()
    pcsc.wait_for_card(reader, timeout=LOADED)
    assert attempts_remaining(reader) == 3
    assert authenticate(reader)


def test_a_card_taken_away_between_commands_is_card_removed(lay_card, make_card):
    card = lay_card(make_card())
    with pytest.raises(CardRemoved):
        verify_after(FIRST, card.remove)
    assert card.state().verify_count == 0


def test_another_card_in_its_place_is_not_spoken_to(lay_card, make_card):
    card = lay_card(make_card())
    with pytest.raises(CardRemoved):
        verify_after(FIRST, lambda: lay_card(make_card()))
    state = card.state()
    assert (state.verify_count, state.attempts_remaining) == (0, 3)


def test_faults_can_be_set_while_the_card_lies_there(lay_card, make_card):
    card = lay_card(make_card())
    card.set_faults(CardFaults(read_limit=224, answers_61xx=True, short_file_identifiers=False))
    assert authenticate(FIRST)
    assert any("-> 6700" in line for line in card.state().apdu_log)
    assert "31323334" not in "".join(card.state().apdu_log)


def test_more_sessions_than_pcscd_has_contexts_leave_none_over(lay_card, make_card):
    lay_card(make_card())
    for _ in range(210):
        with pcsc.connect(FIRST):
            pass
        pcsc.list_readers()


@example(result=0, response=[0x90, 0x00])
@example(result=0, response=[0x90])
@given(
    result=st.sampled_from([0, *pcsc._ERRORS]) | st.integers(-(1 << 31), (1 << 32) - 1),
    response=st.lists(st.integers(0, 255), max_size=300),
)
def test_no_result_of_pcsc_raises_anything_outside_the_tree(result, response):
    class Winscard:
        """Answers a transmission in place of winscard; the rest is winscard's own."""

        def __getattr__(self, name):
            return getattr(scard, name)

        def SCardTransmit(self, *_):  # noqa: N802 - the function's name
            return result, response

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pcsc, "scard", Winscard())
        connection = pcsc._PcscConnection(1, 1)
        if result == scard.SCARD_S_SUCCESS and len(response) >= 2:
            data, status_word = connection.send_and_receive(b"")
            assert data + status_word.to_bytes(2, "big") == bytes(response)
        else:
            with pytest.raises(ReaderError):
                connection.send_and_receive(b"")


# -- pcscd itself


def test_pcscd_killed_during_a_session_is_said_and_the_next_session_works(
    virtual_reader, lay_card, make_card
):
    card = lay_card(make_card())
    try:
        with pytest.raises(ReaderServiceUnavailable):
            verify_after(FIRST, virtual_reader.kill_service)
        with pytest.raises(ReaderServiceUnavailable):
            pcsc.list_readers()
    finally:
        virtual_reader.start_service()
    card.insert()
    assert pcsc.wait_for_card(FIRST, timeout=LOADED) == FIRST
    assert authenticate(FIRST)
    assert card.state().verify_count == 1


def test_a_wait_for_a_card_ends_with_pcscd_and_begins_again_with_it(
    virtual_reader, empty_readers, lay_card, make_card, monkeypatch
):
    raised = []
    begun = threading.Event()
    wait_for_change = pcsc._wait_for_change

    def announced(*arguments):
        begun.set()
        return wait_for_change(*arguments)

    def wait():
        try:
            pcsc.wait_for_card(FIRST, timeout=20)
        except ReaderError as error:
            raised.append(error)

    monkeypatch.setattr(pcsc, "_wait_for_change", announced)
    waiting = threading.Thread(target=wait)
    waiting.start()
    assert begun.wait(LOADED)
    virtual_reader.stop_service()
    waiting.join(LOADED)
    virtual_reader.start_service()
    assert [type(error) for error in raised] == [ReaderServiceUnavailable], raised
    lay_card(make_card())
    assert pcsc.wait_for_card(FIRST, timeout=LOADED) == FIRST


def test_a_reader_that_was_unplugged_is_gone_and_comes_back(virtual_reader, lay_card, make_card):
    card = lay_card(make_card())

    def unplug():
        virtual_reader.stop_service()
        virtual_reader.start_service(with_reader=False)

    try:
        with pytest.raises(ReaderServiceUnavailable):
            verify_after(FIRST, unplug)
        assert pcsc.list_readers() == []
        for attempt in (lambda: pcsc.wait_for_card(timeout=1), pcsc.connect(FIRST).__enter__):
            with pytest.raises(NoReader):
                attempt()
        assert pcsc.wait_for_removal(FIRST)
    finally:
        virtual_reader.stop_service()
        virtual_reader.start_service()
    card.insert()
    assert pcsc.wait_for_card(FIRST, timeout=LOADED) == FIRST
    assert authenticate(FIRST)


# -- the virtual reader


def test_a_card_changed_while_pcscd_did_not_look_is_laid_down_again(virtual_reader, lay_card, make_card):
    card = lay_card(make_card())
    pcscd = virtual_reader._service.pid
    looking_again = threading.Timer(0.6, os.kill, (pcscd, signal.SIGCONT))
    os.kill(pcscd, signal.SIGSTOP)
    looking_again.start()
    try:
        card.swap(make_card())
        card.insert()
        assert card.state().powered
    finally:
        looking_again.join()
    assert pcsc.wait_for_card(FIRST, timeout=LOADED) == FIRST
    assert authenticate(FIRST)


@pytest.mark.parametrize(
    ("attribute", "package"), [("PCSCD", "pcscd"), ("DRIVER", "vsmartcard-vpcd"), ("SETPRIV", "util-linux")]
)
def test_a_missing_package_is_named(monkeypatch, tmp_path, attribute, package):
    monkeypatch.setattr(reader_module, attribute, tmp_path / "missing")
    with pytest.raises(VirtualReaderUnavailable, match=package) as unavailable, VirtualReader():
        pass
    assert unavailable.value.package == package


def test_the_readers_work_unfenced_too_and_nothing_is_left_behind(monkeypatch, make_card):
    monkeypatch.setattr(reader_module.shutil, "which", lambda _: None)
    with VirtualReader() as reader:
        assert not reader.fenced
        card = reader.add_card(make_card(), slot=1)
        card.insert()
        assert card.state().powered
        socket_path = reader.environment["PCSCLITE_CSOCK_NAME"]
        assert "APDU" not in reader.log
    with pytest.raises(VirtualReaderFailure):
        card.state()
    with pytest.raises(ProcessLookupError):
        reader_module.os.kill(card.pid, 0)
    assert not reader_module.Path(socket_path).parent.exists()


def test_the_session_has_its_virtual_reader_fenced_where_the_kernel_allows_it(virtual_reader):
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False, timeout=10)
    if probe.returncode == 0:
        assert virtual_reader.fenced


START_A_READER_AND_WAIT = """
import json, sys
from pathlib import Path
from jpki.simulator.card import SimulatedCard
from jpki.simulator.reader import VirtualReader
with VirtualReader() as reader:
    card = reader.add_card(SimulatedCard.load(Path(sys.argv[1])))
    card.insert()
    processes = [card, reader._service, *([reader._fence] if reader.fenced else [])]
    print(json.dumps([process.pid for process in processes]), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def short_path():
    """Give a folder with a name so short that a socket may lie in one of its folders."""
    with tempfile.TemporaryDirectory(prefix="k") as folder:
        yield folder


def test_nothing_runs_on_after_a_program_that_was_killed(tmp_path, short_path, make_card):
    make_card().save(tmp_path / "card.json")
    with subprocess.Popen(
        [sys.executable, "-c", START_A_READER_AND_WAIT, str(tmp_path / "card.json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": short_path},
    ) as program:
        pids = json.loads(program.stdout.readline())
        assert len(pids) >= 2
        assert all(is_running(pid) for pid in pids)
        program.kill()
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def is_running(pid):
    """Tell whether a process lives; one that ended and that nobody has reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def test_a_card_process_that_was_killed_is_a_card_torn_away(virtual_reader, make_card):
    card = virtual_reader.add_card(make_card(), slot=1)
    card.insert()
    pcsc.wait_for_card(SECOND, timeout=LOADED)
    with pytest.raises(CardRemoved):
        verify_after(SECOND, card.kill)
    assert pcsc.wait_for_removal(SECOND, timeout=LOADED)


def test_a_card_for_which_there_is_no_reader_is_not_noticed(monkeypatch, make_card):
    monkeypatch.setattr(host, "INSERT_TIMEOUT", 0.1)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(host.CardNotNoticed):
            host.CardHost(make_card(), *nobody.getsockname()).insert()


def test_the_card_process_explains_a_bad_card_file(tmp_path):
    (tmp_path / "card.json").write_text("{}")
    result = subprocess.run(
        [sys.executable, "-m", "jpki.simulator", "--card-file", str(tmp_path / "card.json")],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert result.returncode == 2
    assert "not a simulated card's file" in result.stderr


def states_one_after_the_other(monkeypatch, *states):
    """Let PC/SC tell these states of one reader, the last for ever."""
    told = list(states)
    monkeypatch.setattr(pcsc, "_readers", lambda context: ["reader"])
    monkeypatch.setattr(
        pcsc,
        "_wait_for_change",
        lambda context, readers, known, deadline: {"reader": told.pop(0) if len(told) > 1 else told[0]},
    )


def test_two_cards_that_do_not_answer_are_told(virtual_reader, monkeypatch):
    monkeypatch.setattr(pcsc, "MUTE_PATIENCE", 0.05)
    states_one_after_the_other(monkeypatch, scard.SCARD_STATE_PRESENT | scard.SCARD_STATE_MUTE)
    with pytest.raises(UnresponsiveCard):
        pcsc.wait_for_card(timeout=LOADED)


def test_a_card_that_is_mute_for_a_moment_is_waited_for(virtual_reader, monkeypatch):
    monkeypatch.setattr(pcsc, "MUTE_PATIENCE", 60)
    mute = scard.SCARD_STATE_PRESENT | scard.SCARD_STATE_MUTE
    states_one_after_the_other(monkeypatch, mute, mute, scard.SCARD_STATE_PRESENT)
    assert pcsc.wait_for_card(timeout=LOADED) == "reader"
