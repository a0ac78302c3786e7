"""The simulated Koha with both faces: what happens on one side is seen on the other."""

import dataclasses
import json
import signal
import socket
import subprocess
import sys
from datetime import datetime
from decimal import Decimal

import pytest
import requests

from bridge.demo.koha import KohaBackend
from koha_client import KohaVersion
from koha_client.simulator import DemoItem, DemoPatron, demo_state

BOOK = DemoItem.STARS_IN_WINTER.value
FINE, SECOND = DemoPatron.FINE.value, DemoPatron.SECOND.value
SECONDS = 90


@pytest.fixture
def state():
    return demo_state(lambda: datetime.now().astimezone())


@pytest.fixture
def backend(state):
    return KohaBackend(state)


def test_a_hold_placed_at_a_machine_ends_on_the_hold_shelf(backend, state):
    backend.check_out(FINE, BOOK, no_block=False)

    placed = backend.place_hold(SECOND, BOOK, "EPL")

    assert (placed.queue_position, placed.pickup_library_id) == (1, "EPL")
    assert backend.place_hold(SECOND, BOOK, "EPL") is None
    assert backend.find_patron(SECOND).unavailable_hold_items == (BOOK,)
    returned = backend.check_in(BOOK, "CPL")
    assert returned.held_for.cardnumber == SECOND
    assert backend.find_patron(SECOND).hold_items == (BOOK,)
    assert backend.find_item(BOOK).circulation_status == "08"
    assert state.holds_of(state.find_patron_by_identifier(SECOND))


def test_fines_are_paid_at_a_machine(backend, state):
    state.put_patron(dataclasses.replace(state.find_patron_by_identifier(FINE), fines=Decimal(600)))
    assert backend.find_patron(FINE).fees_over_limit

    assert backend.pay_fee(FINE, Decimal(600))

    assert backend.find_patron(FINE).fees == 0
    assert not backend.pay_fee("nobody", Decimal(1))


@pytest.fixture
def simulated_koha(tmp_path):
    """``koha-jpki simulate-koha`` as a process; yields its first line and its client's secret."""
    processes = []

    def start(*options):
        command = [sys.executable, "-m", "bridge", "simulate-koha", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)


def test_the_command_plays_a_release_with_patrons_of_ones_own(simulated_koha, tmp_path):
    patrons = tmp_path / "patrons.json"
    record = {"surname": "試験", "library_id": "EPL", "category_id": "PT12", "cardnumber": "99"}
    patrons.write_text(json.dumps([record]), encoding="utf-8")
    version = KohaVersion.V23_11.value

    process = simulated_koha("--koha-version", version, "--patrons", str(patrons))
    address, credentials = process.stdout.readline(), process.stdout.readline()

    url = address.split()[1].rstrip(",")
    assert address.rstrip().endswith(f"Koha {version}")
    client_id, secret = credentials.split("client id ")[1].split(", secret ")
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret.strip()}
    token = requests.post(f"{url}/oauth/token", data=form, timeout=SECONDS).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    found = requests.get(
        f"{url}/patrons", params={"q": '{"cardnumber": "99"}'}, headers=headers, timeout=SECONDS
    )
    assert [patron["surname"] for patron in found.json()] == ["試験"]
    assert requests.get(f"{url}/patron_categories", headers=headers, timeout=SECONDS).status_code == 404


@pytest.mark.parametrize("content", ["{", "{}", '[{"surname": "試験"}]'])
def test_the_command_refuses_patrons_that_koha_would_refuse(simulated_koha, tmp_path, content):
    patrons = tmp_path / "patrons.json"
    patrons.write_text(content, encoding="utf-8")

    process = simulated_koha("--patrons", str(patrons))

    assert "--patrons" in process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 2


def test_the_command_lets_answers_go_wrong_on_demand(simulated_koha):
    process = simulated_koha("--fault", "close", "--fault-code", "63", "--login", "sc", "--password", "pw")
    lines = iter(process.stdout.readline, "")
    port = next(line for line in lines if line.startswith("SIP2")).split(":")[1].split(",")[0]
    date = b"20261120    155739"
    with socket.create_connection(("127.0.0.1", int(port)), SECONDS) as machine:
        machine.sendall(b"9300CNsc|COpw|\r")
        assert machine.recv(100) == b"941\r\n"
        machine.sendall(b"9900802.00\r")
        assert machine.recv(1000).startswith(b"98Y")
        machine.sendall(b"63001" + date + b" " * 10 + b"AOCPL|AA1|\r")
        assert machine.recv(1000) == b""
