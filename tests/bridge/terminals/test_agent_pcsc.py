"""The command as it is started on a desk PC: its own process, PC/SC, a virtual reader, the API over HTTP."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.models import LinkRequestState
from jpki.simulator.reader import VirtualReader

pytestmark = pytest.mark.pcsc

PIN = "4937"
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def virtual_reader():
    with VirtualReader() as reader:
        yield reader


def start_agent(virtual_reader, server, token_file, *options):
    command = [
        sys.executable,
        "-m",
        "bridge",
        "agent",
        "console",
        "--once",
        "--pin-stdin",
        "--language",
        "en",
    ]
    command += ["--bridge", server.url, "--token-file", str(token_file), *options]
    environment = {**os.environ, **virtual_reader.environment}
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        input=f"{PIN}\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def token_file(tmp_path, token):
    path = tmp_path / "terminal.token"
    path.write_text(token, encoding="ascii")
    path.chmod(0o600)
    return path


def test_a_card_is_linked_and_borrows_through_pcsc(virtual_reader, server, bridge, make_card, tmp_path):
    card = virtual_reader.add_card(make_card())
    card.insert()
    request = bridge.start_link()

    linked = start_agent(virtual_reader, server, token_file(tmp_path, bridge.counter_token))

    assert linked.returncode == 0, linked.stderr
    assert linked.stdout == ""
    assert bridge.request(request).state is LinkRequestState.COMPLETED

    at_the_machine = token_file(tmp_path, bridge.self_check_token)
    name = virtual_reader.names[0]
    borrowing = start_agent(virtual_reader, server, at_the_machine, "--print-token", "--reader", name)

    assert borrowing.returncode == 0, borrowing.stderr
    token = borrowing.stdout.removesuffix("\n")
    assert bridge.services.borrowing.resolve("chuo", "sc1", token).cardnumber == "C0001234567"
    state = card.state()
    assert (state.verify_count, state.attempts_remaining) == (2, 3)
    assert PIN not in linked.stderr + borrowing.stderr
    card.stop()


def test_a_reader_that_is_not_there_is_reader_trouble(virtual_reader, server, bridge, tmp_path):
    bridge.start_link()
    counter = token_file(tmp_path, bridge.counter_token)
    result = start_agent(virtual_reader, server, counter, "--reader", "No such reader")
    assert result.returncode == 3, result.stderr
    assert result.stdout == ""


def test_without_pcscd_it_is_reader_trouble_too(server, bridge, tmp_path):
    class NoService:
        environment = {"PCSCLITE_CSOCK_NAME": str(tmp_path / "nobody-listens")}

    bridge.start_link()
    result = start_agent(NoService, server, token_file(tmp_path, bridge.counter_token))
    assert result.returncode == 3, result.stderr
    assert "not running" in result.stderr
