"""The reader on the demo's table, and the cards that are laid on it.

Two ways to carry the same cards: through pcscd, a virtual reader and ``koha-jpki agent`` as a process of
its own; or, where pcscd cannot be installed, the same agent code over the connection seam.
"""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from bridge.agent.api_client import BridgeApi, ReaderStatus
from bridge.agent.outputs import TokenFraming
from bridge.agent.outputs.serial_line import SerialFrame, SerialOutput
from bridge.agent.pin import PipedPinPad
from bridge.agent.run import Agent
from bridge.agent.screen import Language, TerminalScreen
from bridge.demo.line import ScannerLine, scanner_line
from bridge.demo.processes import command
from jpki.connection import SmartCardConnection
from jpki.errors import NoCard
from jpki.simulator.card import SimulatedCard, SimulatedConnection
from jpki.simulator.reader import CardProcess, VirtualReader

AGENT_SECONDS = 60


@dataclass(frozen=True)
class DemoCard:
    """A card with a name on the demo's table."""

    name: str
    serial_number: int = field(repr=False)
    card: SimulatedCard = field(repr=False)


@dataclass(frozen=True)
class Visit:
    """What one card on the reader came to: the agent's exit code, what the machine scanned, the screen."""

    exit_code: int
    token: str = field(repr=False)
    screen: str = field(repr=False)

    @property
    def last_words(self) -> str:
        """The last line that the patron read."""
        lines = [line.strip() for line in self.screen.splitlines() if line.strip()]
        return lines[-1] if lines else ""


class CardTable(Protocol):
    """A reader on which cards are laid, with the agent beside it."""

    @property
    def description(self) -> str:
        """What carries the card's bytes, for the first lines of the demo."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What an agent started by hand needs in its environment to see the reader."""

    def lay_down(self, card: DemoCard) -> None:
        """Lay *card* down and leave it there."""

    def visit(self, card: DemoCard, *, bridge_url: str, token_file: Path, pin: str) -> Visit:
        """Lay *card* down, let the agent serve it with *pin*, take it away."""

    def pins_presented(self, card: DemoCard) -> int:
        """Return how many VERIFY commands with a PIN the card has ever received."""


class PcscTable:
    """pcscd and a virtual reader; the agent is a process of its own."""

    description = "pcscd, virtual reader (vpcd), pyscard"

    def __init__(self, reader: VirtualReader, line: ScannerLine) -> None:
        self._reader = reader
        self._line = line
        self._processes: dict[str, CardProcess] = {}

    @property
    def environment(self) -> Mapping[str, str]:
        """What an agent started by hand needs in its environment to see the reader."""
        return self._reader.environment

    def lay_down(self, card: DemoCard) -> None:
        """Lay *card* down and leave it there."""
        self._process(card).insert()

    def visit(self, card: DemoCard, *, bridge_url: str, token_file: Path, pin: str) -> Visit:
        """Lay *card* down, let the agent serve it with *pin*, take it away."""
        process = self._process(card)
        process.insert()
        try:
            ended = subprocess.run(  # our own command, no shell
                [
                    *command("agent", "console", "--bridge", bridge_url, "--token-file", str(token_file)),
                    *("--once", "--serial-line", self._line.device, "--pin-stdin"),
                ],
                input=f"{pin}\n",
                env={**os.environ, **self._reader.environment},
                capture_output=True,
                text=True,
                timeout=AGENT_SECONDS,
                check=False,
            )
        finally:
            process.remove()
        return Visit(ended.returncode, self._line.scanned(), ended.stderr)

    def pins_presented(self, card: DemoCard) -> int:
        """Return how many VERIFY commands with a PIN the card has ever received."""
        return self._process(card).state().verify_count

    def _process(self, card: DemoCard) -> CardProcess:
        if card.name not in self._processes:
            self._processes[card.name] = self._reader.add_card(card.card)
        return self._processes[card.name]


class SeamTable:
    """The agent's own code in this process, over ``SimulatedConnection``."""

    description = "the connection seam (pcscd or the virtual reader is not installed)"
    environment: Mapping[str, str] = MappingProxyType({})

    def __init__(self, line: ScannerLine) -> None:
        self._line = line

    def lay_down(self, card: DemoCard) -> None:
        """Do nothing: behind the seam there is no reader on which a card could lie."""

    def visit(self, card: DemoCard, *, bridge_url: str, token_file: Path, pin: str) -> Visit:
        """Lay *card* down, let the agent serve it with *pin*, take it away."""
        screen = io.StringIO()
        agent = Agent(
            BridgeApi(bridge_url, token_file.read_text().strip(), AGENT_SECONDS, Language.JAPANESE),
            _SeamReader(card.card),
            TerminalScreen(screen, Language.JAPANESE),
            PipedPinPad(io.StringIO(f"{pin}\n")),
            output=SerialOutput(self._line.device, SerialFrame(), TokenFraming()),
            pause=_do_not_wait,
        )
        code = agent.run_once()
        return Visit(code, self._line.scanned(), screen.getvalue())

    def pins_presented(self, card: DemoCard) -> int:
        """Return how many VERIFY commands with a PIN the card has ever received."""
        return card.card.verify_count


class _SeamReader:
    """A reader that always has its card."""

    def __init__(self, card: SimulatedCard) -> None:
        self._card = card

    def wait_for_card(self, timeout: float) -> None:
        """Return at once."""

    def status(self) -> ReaderStatus:
        """Say that it is there."""
        return ReaderStatus.READY

    def card_is_there(self) -> bool:
        """Say yes."""
        return True

    def wait_for_removal(self) -> None:
        """Return at once."""

    def connect(self) -> AbstractContextManager[SmartCardConnection]:
        """Power the card for the block."""
        return SimulatedConnection(self._card)


def _do_not_wait(seconds: float) -> None:
    """The demo's agent has its work at once; having to wait is an error of the story."""
    raise NoCard(f"nothing to do for {seconds} s")


@contextmanager
def open_table(*, with_reader: bool) -> Iterator[CardTable]:
    """Yield the table; without a reader the same cards lie behind the seam."""
    with scanner_line() as line:
        if not with_reader:
            yield SeamTable(line)
            return
        with VirtualReader() as reader:
            yield PcscTable(reader, line)
