"""What the desk costs: its page beside an empty one, and its part of the time from card to patron number."""

from __future__ import annotations

import io
import statistics
import tempfile
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

from flask_admin import expose

from bench.admin_lists import NOW, open_desk
from bench.figure import Figure, median_seconds
from bridge.admin.base import StaffView
from bridge.agent.api_client import BridgeApi, ReaderStatus
from bridge.agent.run import Agent
from bridge.agent.screen import Language, TerminalScreen
from bridge.demo.desk import Desk, wait_for_end
from bridge.demo.stack import LIBRARIAN, PIN, Stack, running_stack
from bridge.services import Services
from jpki.connection import SmartCardConnection
from jpki.constants import Instruction
from jpki.simulator.card import SimulatedCard, SimulatedConnection
from jpki.simulator.pki import CardPki
from koha_client.simulator.demo_data import DemoPatron

LINKS = 100_000
ROUNDS, PAGES = 15, 5
VISITS = 15
SIGNATURE, COMMAND = 0.300, 0.010
"""Seconds that a real card takes for a signature, and for any other APDU."""

TYPING = 1.0
"""Seconds for the PIN; not counted."""

CARD_AWAITED = 0.500
"""Seconds between two questions of the desk's page while no card lies there (``desk.js``)."""


def measure_page() -> Figure:
    """Return what the counter's page costs beside an empty page of the admin."""
    with tempfile.TemporaryDirectory() as folder:
        client = open_desk(Path(folder) / "bridge.sqlite3", LINKS, CardPki.create(NOW), EmptyPage)

        def seconds(path: str) -> float:
            assert client.get(path).status_code == 200
            return median_seconds(lambda: client.get(path), rounds=ROUNDS, repeats=PAGES)

        value = seconds("/admin/counter/") / seconds("/admin/empty/")
    return Figure("admin.counter_page_vs_empty_page", value, "ratio", 3, "lower")


class EmptyPage(StaffView):
    """The frame of the admin's pages and nothing in it."""

    def __init__(self, services: Services) -> None:
        super().__init__(name="empty", endpoint="empty", url="empty")
        self.services = services

    @expose("/")
    def index(self) -> str:
        """Show it."""
        return self.render("bridge/base.html")


def measure_answer() -> Figure:
    """Return what the software adds to the card's own time, from the card on the reader to the number.

    The product's own server, OCSP responder and Koha simulator in processes of their own; the agent and
    what the desk's page asks in this one. The PIN's typing is taken off.
    """
    with tempfile.TemporaryDirectory() as folder, _stack(Path(folder)) as stack:
        desk = Desk(stack.bridge_url)
        desk.log_in(LIBRARIAN.login_name, LIBRARIAN.password)
        request_id = desk.start_link(DemoPatron.FINE.value, stack.counter.terminal_id)
        counter = Counter(stack)
        counter.visit()
        assert wait_for_end(desk, request_id)["tone"] == "success"
        overheads = [_overhead(desk, counter) for _ in range(VISITS)]
    return Figure("admin.card_to_number_overhead", statistics.median(overheads), "ratio", 0.2, "lower")


def _stack(folder: Path) -> AbstractContextManager[Stack]:
    return running_stack(folder, lambda _words: None, with_reader=False)


def _overhead(desk: Desk, counter: Counter) -> float:
    request_id = desk.start_identification()
    patron = threading.Thread(target=counter.visit)
    patron.start()
    seen = None
    while (state := desk.watch(request_id, seen))["is_open"]:
        seen = str(state["tag"]) if state["at_the_card"] else None
        if seen is None:
            time.sleep(CARD_AWAITED)
    assert DemoPatron.FINE.value in desk.answer(request_id)
    seconds = time.perf_counter() - counter.laid_at - TYPING
    patron.join()
    return (seconds - counter.card_seconds) / counter.card_seconds


class Counter:
    """The agent with a card that takes its time, and a patron who types."""

    def __init__(self, stack: Stack) -> None:
        self._card = stack.cards.resident.card
        token = stack.counter.token_file.read_text(encoding="ascii").strip()
        self._bridge = BridgeApi(stack.bridge_url, token, 20, Language.JAPANESE)
        self.card_seconds = 0.0
        self.laid_at = 0.0

    def visit(self) -> None:
        """Lay the card, let the agent serve it."""
        screen = TerminalScreen(io.StringIO(), Language.JAPANESE)
        Agent(self._bridge, self, screen, self, output=None, pause=time.sleep).run_once()

    def wait_for_card(self, timeout: float) -> None:
        """Lay the card now, when it is asked for."""
        self.card_seconds, self.laid_at = 0.0, time.perf_counter()

    def status(self) -> ReaderStatus:
        """Say that the reader is there."""
        return ReaderStatus.READY

    def card_is_there(self) -> bool:
        """Say yes."""
        return True

    def wait_for_removal(self) -> None:
        """Return at once."""

    def connect(self) -> AbstractContextManager[SmartCardConnection]:
        """Power the card for the block."""
        return SlowConnection(self._card, self)

    def read(self, seconds: float | None = None) -> str:
        """Type the PIN."""
        time.sleep(TYPING)
        return PIN


class SlowConnection(SimulatedConnection):
    """A card that takes a real card's time."""

    def __init__(self, card: SimulatedCard, counter: Counter) -> None:
        super().__init__(card)
        self._counter = counter

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        """Let the card answer when its time is over."""
        due = SIGNATURE if apdu[1] == Instruction.PERFORM_SECURITY_OPERATION else COMMAND
        begun = time.perf_counter()
        answer = super().send_and_receive(apdu)
        time.sleep(max(0.0, due - (time.perf_counter() - begun)))
        self._counter.card_seconds += due
        return answer
