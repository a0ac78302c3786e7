"""The agent beside a card that takes a real card's time, and the agent that waits.

Everything is the product's own: ``koha-jpki agent run`` as a process, pcscd with a virtual reader, the
bridge behind gunicorn with OCSP by openssl and a simulated Koha. The card takes 10 ms a command and 300 ms
a signature; nobody's typing is counted, for the PIN is sent as soon as the page asks.

* ``agent.card_to_pin_question_vs_card``: from the card laid down and powered by the reader to the question
  on the page, against the time of the commands that the card answered meanwhile.
* ``agent.pin_to_token_vs_card``: from the PIN sent to the token at the self-check machine's own program,
  against the card's time for VERIFY and the signature.
* ``agent.idle_mb``, ``agent.idle_cpu_percent``: the process that waits for a card, its resident memory and
  its share of one core.
"""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import requests

from bench.figure import Figure
from bridge.demo.processes import free_port
from bridge.demo.sandbox import link_card
from bridge.demo.stack import PIN, Stack, running_stack
from jpki.simulator.card import CardFaults, SimulatedCard
from jpki.simulator.reader import CardProcess, VirtualReader

APDU_MILLISECONDS = 10
SIGNATURE_MILLISECONDS = 300
VISITS = 7
IDLE_SECONDS = 15
SECONDS = 30


def measure() -> Iterator[Figure]:
    """Yield the figures."""
    with (
        tempfile.TemporaryDirectory(prefix="koha-jpki-bench-") as folder,
        running_stack(Path(folder), _say, with_reader=False) as stack,
        VirtualReader() as reader,
        _machine() as machine,
    ):
        link_card(stack)
        card = _card_that_takes_its_time(stack, reader)
        with _agent_running(stack, reader, machine) as (process, url):
            page = _Page(url)
            page.wait_for("idle")
            visits = [_visit(card, page, machine) for _ in range(VISITS)]
            to_question, to_token = zip(*visits, strict=True)
            yield Figure(
                "agent.card_to_pin_question_vs_card", statistics.median(to_question), "ratio", 2, "lower"
            )
            yield Figure("agent.pin_to_token_vs_card", statistics.median(to_token), "ratio", 1.3, "lower")
            page.wait_for("idle")
            before = _cpu_seconds(process.pid)
            time.sleep(IDLE_SECONDS)
            busy = _cpu_seconds(process.pid) - before
            yield Figure("agent.idle_mb", _resident_mb(process.pid), "MB", 60, "lower")
            yield Figure("agent.idle_cpu_percent", 100 * busy / IDLE_SECONDS, "%", 1, "lower")


def _visit(card: CardProcess, page: _Page, machine: _Machine) -> tuple[float, float]:
    """Let one patron borrow; return both ratios."""
    page.wait_for("idle")
    commands = card.state().apdu_count
    card.insert()  # returns when the reader has powered the card, which is the virtual reader's time
    begun = time.perf_counter()
    ticket = page.wait_for_question()
    asked_after = time.perf_counter() - begun
    before_pin = card.state().apdu_count - commands
    begun = time.perf_counter()
    page.send_pin(ticket)
    token_after = machine.received.get(timeout=SECONDS) - begun
    with_pin = card.state().apdu_count - commands - before_pin
    card.remove()
    signing = (with_pin - 1) * APDU_MILLISECONDS + SIGNATURE_MILLISECONDS
    return 1000 * asked_after / (before_pin * APDU_MILLISECONDS), 1000 * token_after / signing


def _card_that_takes_its_time(stack: Stack, reader: VirtualReader) -> CardProcess:
    credential = stack.cards.resident.card.authentication
    timing = CardFaults(apdu_milliseconds=APDU_MILLISECONDS, signature_milliseconds=SIGNATURE_MILLISECONDS)
    return reader.add_card(SimulatedCard(credential, faults=timing))


class _Page:
    """The browser on the patron's display, as far as the agent sees it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        page = self._session.get(url, timeout=SECONDS).text
        found = re.search(r'name="page-key" content="([^"]+)"', page)
        if found is None:
            raise ValueError("the patron's page has no key")
        self._session.headers["X-Page-Key"] = found[1]
        self._seen = (-1, "")

    def _next(self) -> dict[str, object]:
        query = {"version": str(self._seen[0]), "tone": self._seen[1]}
        state = self._session.get(f"{self._url}state", params=query, timeout=SECONDS).json()
        self._seen = (state["version"], state["tone"])
        return state

    def wait_for(self, tone: str) -> None:
        self._seen = (-1, "")
        while self._next()["tone"] != tone:
            pass

    def wait_for_question(self) -> str:
        while True:
            question = self._next()["question"]
            if isinstance(question, dict):
                return str(question["ticket"])

    def send_pin(self, ticket: str) -> None:
        body = json.dumps({"ticket": ticket, "pin": PIN})
        self._session.post(f"{self._url}pin", data=body, timeout=SECONDS).raise_for_status()


class _Machine:
    """The self-check machine's own program: notes when a token came."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/token"
        self.received: queue.Queue[float] = queue.Queue()


@contextmanager
def _machine() -> Iterator[_Machine]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            machine.received.put(time.perf_counter())
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    machine = _Machine(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield machine
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def _agent_running(
    stack: Stack, reader: VirtualReader, machine: _Machine
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    settings = stack.directory / "agent.toml"
    settings.write_text(
        f'bridge_url = "{stack.bridge_url}"\ntoken_file = "{stack.self_check.token_file}"\n'
        f'[page]\nport = {free_port()}\n[output]\nkind = "call"\nurl = "{machine.url}"\n',
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "agent", "run", "--as-root", "--settings", str(settings)],
        env={**os.environ, **reader.environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        first = process.stderr.readline() if process.stderr is not None else ""
        if "http://" not in first:
            raise ValueError(f"the agent did not start: {first}")
        yield process, first.split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, user and system (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    if found is None:
        raise ValueError("no VmRSS")
    return int(found[1]) / 1024


def _say(line: str) -> None:
    print(line, file=sys.stderr)
