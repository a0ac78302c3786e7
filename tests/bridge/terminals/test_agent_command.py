"""``koha-jpki agent``: what it prints where, and how it ends. The reader is a simulated one."""

import io
import os
import pty
import subprocess
import sys
import termios
import time

import pytest
from click.testing import CliRunner

from bridge.agent.api_client import BridgeApi
from bridge.agent.errors import BridgeUnreachable, WrongSettings
from bridge.agent.pin import PipedPinPad
from bridge.agent.run import POLL_INTERVAL, TROUBLE_PAUSE, Agent, ExitCode
from bridge.agent.screen import PROBLEM_WORDS, STEP_WORDS, VisitStep
from bridge.cli import agent as agent_command
from bridge.cli import main
from bridge.models import Actor, ActorKind, LinkRequestState
from jpki.errors import NoCard, NoReader
from jpki.simulator.pki import CardProfile

PIN = "4937"


@pytest.fixture
def run(monkeypatch, tmp_path, server):
    """Run the command with a reader, a terminal token and what the patron types."""

    def run(reader, token, *options, typed=f"{PIN}\n", mode=0o600, url=server.url):
        monkeypatch.setattr(agent_command, "_pcsc_reader", lambda name: reader)
        token_file = tmp_path / "terminal.token"
        token_file.write_text(f"{token}\n", encoding="utf-8")
        token_file.chmod(mode)
        arguments = [
            "agent",
            "console",
            "--bridge",
            url,
            "--token-file",
            str(token_file),
            "--language",
            "en",
            *options,
        ]
        return CliRunner().invoke(main, arguments, input=typed)

    return run


ONCE = ("--once", "--pin-stdin")


@pytest.fixture
def linked_card(run, bridge, make_card, make_reader):
    card = make_card()
    bridge.start_link()
    assert run(make_reader(card), bridge.counter_token, *ONCE).exit_code == ExitCode.DONE
    return card


def test_a_counter_links_and_prints_nothing(run, bridge, make_card, make_reader):
    request = bridge.start_link()
    result = run(make_reader(make_card()), bridge.counter_token, *ONCE)
    assert result.exit_code == ExitCode.DONE
    assert result.stdout == ""
    assert STEP_WORDS[VisitStep.LINKED].en.format(date="2027-11-02") in result.stderr
    assert bridge.request(request).state is LinkRequestState.COMPLETED


def test_a_self_check_machine_gets_its_token_alone_on_a_line(run, bridge, linked_card, make_reader):
    result = run(make_reader(linked_card), bridge.self_check_token, "--print-token", *ONCE)
    assert result.exit_code == ExitCode.DONE
    token = result.stdout.removesuffix("\n")
    assert bridge.services.borrowing.resolve("chuo", "sc1", token).cardnumber == "C0001234567"
    assert token not in result.stderr


def test_a_token_is_not_made_where_nobody_takes_it(run, bridge, linked_card, make_reader):
    spent = linked_card.verify_count
    result = run(make_reader(linked_card), bridge.self_check_token, *ONCE)
    assert result.exit_code == ExitCode.WRONG_SETTINGS
    assert linked_card.verify_count == spent


def test_a_refusal_has_words_and_exit_code_1(run, bridge, make_card, make_reader):
    result = run(make_reader(make_card()), bridge.self_check_token, "--print-token", *ONCE)
    assert result.exit_code == ExitCode.REFUSED
    assert result.stdout == ""
    assert result.stderr.rstrip().endswith(PROBLEM_WORDS["not-linked"].en)


def test_a_wrong_pin_ends_with_1_and_is_not_tried_again(run, bridge, make_card, make_reader):
    bridge.start_link()
    card = make_card()
    result = run(make_reader(card), bridge.counter_token, *ONCE, typed=f"0000\n{PIN}\n")
    assert result.exit_code == ExitCode.REFUSED
    assert card.verify_count == 1
    assert "2 tries left" in result.stderr
    assert "0000" not in result.output


def test_a_card_in_use_is_reader_trouble(run, bridge, make_card, make_reader):
    bridge.start_link()
    reader = make_reader(make_card())
    reader.in_use = True
    assert run(reader, bridge.counter_token, *ONCE).exit_code == ExitCode.READER_TROUBLE


def test_no_reader_is_reader_trouble(run, bridge, make_reader):
    class Unplugged(make_reader):
        def wait_for_card(self, timeout):
            raise NoReader

    bridge.start_link()
    assert run(Unplugged(), bridge.counter_token, *ONCE).exit_code == ExitCode.READER_TROUBLE


def test_a_bridge_that_does_not_answer_is_a_refusal_with_words(run, bridge, make_reader):
    result = run(make_reader(), bridge.counter_token, *ONCE, url="http://127.0.0.1:1")
    assert result.exit_code == ExitCode.REFUSED
    assert "cannot be reached" in result.stderr


# -- wrong settings: exit code 2, and the token is not shown


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"url": "http://bridge.example"}, "https"),
        ({"url": "bridge.example"}, "https"),
        ({"mode": 0o604}, "chmod"),
        ({"mode": 0o640}, "chmod"),
        ({"mode": 0o620}, "chmod"),
        ({"token": ""}, "token"),
        ({"token": "two words"}, "token"),
        ({"token": "トークン"}, "token"),
        ({"token": "unknown-token"}, "not known"),
    ],
    ids=[
        "plain http",
        "no scheme",
        "readable by all",
        "readable by the group",
        "writable by the group",
        "empty",
        "two words",
        "not ASCII",
        "unknown",
    ],
)
def test_wrong_settings_are_named(run, bridge, make_reader, changes, word):
    changes = dict(changes)
    token = changes.pop("token", bridge.counter_token)
    result = run(make_reader(), token, *ONCE, **changes)
    assert result.exit_code == ExitCode.WRONG_SETTINGS
    assert word in result.stderr
    assert not token or token not in result.output


def test_a_missing_token_file_is_named(tmp_path):
    arguments = [
        "agent",
        "console",
        "--bridge",
        "https://bridge.example",
        "--token-file",
        str(tmp_path / "none"),
    ]
    result = CliRunner().invoke(main, [*arguments, *ONCE])
    assert result.exit_code == ExitCode.WRONG_SETTINGS
    assert "none cannot be read: No such file or directory" in result.stderr


def test_the_token_file_that_was_looked_at_is_the_one_that_is_read(tmp_path, monkeypatch):
    """Another file that takes its place in between, open to all, is neither read nor judged."""
    token_file, other = tmp_path / "terminal.token", tmp_path / "other"
    for path, token, mode in ((token_file, "ours", 0o600), (other, "foreign", 0o644)):
        path.write_text(token, encoding="ascii")
        path.chmod(mode)
    fstat = os.fstat

    def swapped_under_way(descriptor):
        other.replace(token_file)
        monkeypatch.setattr(os, "fstat", fstat)
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", swapped_under_way)
    assert agent_command.read_token(token_file) == "ours"
    with pytest.raises(WrongSettings, match="chmod"):
        agent_command.read_token(token_file)


def test_missing_options_are_named():
    result = CliRunner().invoke(main, ["agent", "console"])
    assert result.exit_code == ExitCode.WRONG_SETTINGS
    assert "--bridge" in result.stderr


def test_a_pin_comes_from_a_pipe_only_where_it_was_said(run, bridge, make_card, make_reader):
    bridge.start_link()
    card = make_card()
    result = run(make_reader(card), bridge.counter_token, "--once")
    assert result.exit_code == ExitCode.WRONG_SETTINGS
    assert card.apdu_count == 0


# -- the loop


def test_the_patron_reads_that_the_certificate_ends_soon(run, bridge, make_card, make_reader):
    card = make_card(CardProfile.EXPIRES_SOON)
    bridge.start_link()
    result = run(make_reader(card), bridge.counter_token, *ONCE)
    assert result.exit_code == ExitCode.DONE
    assert "Your card's certificate ends on " in result.stderr


class QuietScreen:
    def __init__(self):
        self.shown = []

    def show_step(self, step, **values):
        del values
        self.shown.append(step)

    def show_error(self, error):
        self.shown.append(type(error).__name__)


def take_out_of_service(bridge):
    actor = Actor(ActorKind.COMMAND, "test")
    bridge.services.staff.remove_terminal(actor, library_id="chuo", terminal_id="counter-1")


@pytest.fixture
def run_loop(server, bridge):
    """Run the loop at the counter until its terminal is taken out of service; return what was shown."""

    def run_loop(reader, pause, api_class=BridgeApi):
        screen = QuietScreen()
        api = api_class(server.url, bridge.counter_token, 30.0)
        pin_pad = PipedPinPad(io.StringIO(f"{PIN}\n" * 10))
        agent = Agent(api, reader, screen, pin_pad, output=None, pause=pause, work_wait=0)
        assert agent.run() is ExitCode.WRONG_SETTINGS
        api.close()
        assert screen.shown[-1] == "BridgeProblem"
        return screen.shown

    return run_loop


def test_the_loop_waits_for_the_librarian_and_serves_card_after_card(
    run_loop, bridge, make_card, make_reader
):
    first, second = make_card(), make_card()
    reader = make_reader(first, second)

    def pause(seconds):
        assert seconds == POLL_INTERVAL
        bridge.start_link() if reader.cards else take_out_of_service(bridge)

    shown = run_loop(reader, pause)
    assert [card.verify_count for card in (first, second)] == [1, 1]
    assert shown.count(VisitStep.WAITING_FOR_LIBRARIAN) == 3
    assert shown.count(VisitStep.LINKED) == 2
    assert shown.count(VisitStep.TAKE_CARD) == 2


def test_a_counter_without_a_card_asks_again_whether_one_is_wanted(run_loop, bridge, make_reader):
    request = bridge.start_link()

    class EmptyReader(make_reader):
        def wait_for_card(self, timeout):
            if self.cards:
                self.cards.pop()
            else:
                bridge.services.registration.cancel(bridge.librarian, request.request_id)
            raise NoCard

    shown = run_loop(EmptyReader("a moment", "another"), lambda seconds: take_out_of_service(bridge))
    assert shown.count(VisitStep.LAY_CARD) == 1
    assert VisitStep.READING not in shown


def test_the_loop_outlives_trouble_with_bridge_and_reader(run_loop, bridge, make_card, make_reader):
    bridge.start_link()

    class RestartedBridge(BridgeApi):
        answers = iter([BridgeUnreachable("ConnectionError")])

        def terminal(self, wait=0):
            for trouble in self.answers:
                raise trouble
            return super().terminal(wait)

    class LooseReader(make_reader):
        plugged = iter([NoReader()])

        def wait_for_card(self, timeout):
            for trouble in self.plugged:
                raise trouble
            super().wait_for_card(timeout)

        def wait_for_removal(self):
            super().wait_for_removal()
            raise NoReader

    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if seconds == POLL_INTERVAL:
            take_out_of_service(bridge)

    shown = run_loop(LooseReader(make_card()), pause, RestartedBridge)
    assert pauses == [TROUBLE_PAUSE, TROUBLE_PAUSE, POLL_INTERVAL]
    assert shown.index("BridgeUnreachable") < shown.index("NoReader") < shown.index(VisitStep.LINKED)


# -- a real keyboard


@pytest.mark.parametrize(
    ("typed", "answer"), [(f"{PIN}\n".encode(), "typed 4"), (b"\x04", "typed 0")], ids=["PIN", "end of input"]
)
def test_what_is_typed_on_a_terminal_is_not_shown(typed, answer):
    script = (
        "import fcntl, termios\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "from bridge.agent.pin import TerminalPinPad\n"
        "print('typed', len(TerminalPinPad().read()))\n"
    )
    keyboard, tty = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=tty, stdout=tty, stderr=tty, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 90
        while termios.tcgetattr(keyboard)[3] & termios.ECHO:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.write(keyboard, typed)
        assert process.wait(timeout=90) == 0
        shown = os.read(keyboard, 1000).decode()
    finally:
        process.kill()
        process.wait()
        os.close(tty)
        os.close(keyboard)
    assert answer in shown
    assert PIN not in shown
