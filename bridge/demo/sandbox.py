"""A bridge for vendors to try their own program against: the demo's parts, one card linked already.

What a program beside a card reader needs lies in one folder: the tokens of two terminals, and the
simulated card's certificate and key, so that a signature can be made without a reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bridge.demo.desk import Desk, wait_for_end
from bridge.demo.processes import PartFailedError
from bridge.demo.stack import LIBRARIAN, PIN, Stack
from jpki.simulator.pki import CardMaterial
from koha_client.simulator.demo_data import DemoPatron

SANDBOX_PATRON = DemoPatron.FINE


@dataclass(frozen=True)
class SandboxFiles:
    """Where things lie in the sandbox's folder."""

    card: Path
    """Folder with ``certificate.der`` and ``card.key``, the key of the simulated card."""

    counter_token: Path
    self_check_token: Path


def link_card(stack: Stack) -> None:
    """Link the sandbox's card to its patron, as a librarian would. Raises ``PartFailedError``."""
    desk = Desk(stack.bridge_url)
    desk.log_in(LIBRARIAN.login_name, LIBRARIAN.password)
    request_id = desk.start_link(SANDBOX_PATRON.value, stack.counter.terminal_id)
    stack.table.visit(
        stack.cards.resident, bridge_url=stack.bridge_url, token_file=stack.counter.token_file, pin=PIN
    )
    state = wait_for_end(desk, request_id)
    if state["tone"] != "success":
        raise PartFailedError(f"the sandbox's card could not be linked: {state['headline']}")


def write_files(stack: Stack, directory: Path) -> SandboxFiles:
    """Write the card and the terminals' tokens into *directory*, readable by its owner alone."""
    credential = stack.cards.resident.card.authentication
    card = directory / "card"
    CardMaterial(
        credential.certificate_der,
        credential.private_key,
        credential.ca_certificate_der,
        stack.cards.resident.serial_number,
    ).write(card)
    files = SandboxFiles(card, directory / "counter.token", directory / "self-check.token")
    for path, place in ((files.counter_token, stack.counter), (files.self_check_token, stack.self_check)):
        path.touch(mode=0o600)
        path.write_text(place.token_file.read_text(encoding="ascii"), encoding="ascii")
    return files
