"""Cards, connections that watch or script, and the virtual readers of the whole test session."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from jpki import pcsc
from jpki.connection import SmartCardConnection
from jpki.constants import SIGNATURE_PIN_TRIES
from jpki.simulator.card import CardFaults, Credential, SimulatedCard
from jpki.simulator.pki import CardMaterial, CardPki, CardProfile
from jpki.simulator.reader import CardProcess, VirtualReader

VECTORS = Path(__file__).parents[2] / "vectors" / "apdu"


@dataclass(frozen=True)
class Exchange:
    """One command and what a vector file expects as its answer; None stands for any bytes."""

    command: bytes
    length: int
    data: bytes | None
    status_word: int

    def accepts(self, data: bytes, status_word: int) -> bool:
        if status_word != self.status_word or len(data) != self.length:
            return False
        return self.data is None or data == self.data


def _parse_answer(text: str) -> tuple[int, bytes | None, int]:
    *data, status_word = text.split()
    if not data:
        return 0, b"", int(status_word, 16)
    if data[0].startswith("["):
        return int(data[0].strip("[]")), None, int(status_word, 16)
    expected = bytes.fromhex(data[0])
    return len(expected), expected, int(status_word, 16)


@pytest.fixture
def read_vector() -> Callable[[str], list[Exchange]]:
    def read(name: str) -> list[Exchange]:
        lines = (VECTORS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        commands = [bytes.fromhex(line[2:]) for line in lines if line.startswith("> ")]
        answers = [_parse_answer(line[2:]) for line in lines if line.startswith("< ")]
        pairs = zip(commands, answers, strict=True)
        return [Exchange(command, *answer) for command, answer in pairs]

    return read


@dataclass
class RecordingConnection(SmartCardConnection):
    """Passes everything on and remembers it."""

    inner: SmartCardConnection
    sent: list[bytes] = field(default_factory=list)
    answers: list[tuple[bytes, int]] = field(default_factory=list)

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        self.sent.append(apdu)
        answer = self.inner.send_and_receive(apdu)
        self.answers.append(answer)
        return answer


@dataclass
class ScriptedConnection(SmartCardConnection):
    """Answers by the script: status words, (data, status word) or errors to raise."""

    script: list[int | tuple[bytes, int] | Exception]
    sent: list[bytes] = field(default_factory=list)

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        self.sent.append(apdu)
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return (b"", answer) if isinstance(answer, int) else answer


@pytest.fixture(scope="session")
def recording() -> type[RecordingConnection]:
    return RecordingConnection


@pytest.fixture(scope="session")
def scripted() -> type[ScriptedConnection]:
    return ScriptedConnection


@pytest.fixture(scope="session")
def good_material(pki: CardPki) -> CardMaterial:
    return pki.issue_card()


@pytest.fixture(scope="session")
def material_of_1583_bytes(good_material: CardMaterial, now: datetime) -> CardMaterial:
    """A certificate as long as the sample of a real one, self-signed: its length is all that counts."""
    key = good_material.private_key
    assert isinstance(key, rsa.RSAPrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "JPKI-TEST-LOCAL")])

    def issue(padding: int) -> bytes:
        filler = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.999.2"), bytes(padding))
        builder = x509.CertificateBuilder(
            name, name, key.public_key(), 7, now, now + timedelta(days=1)
        ).add_extension(filler, critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

    padding = 800
    certificate_der = issue(padding + 1583 - len(issue(padding)))
    assert len(certificate_der) == 1583
    return CardMaterial(certificate_der, key, good_material.ca_certificate_der, 7)


@pytest.fixture
def make_card(pki: CardPki, good_material: CardMaterial) -> Callable[..., SimulatedCard]:
    """Return a maker of cards with PIN 1234 and, behind ABC123, a signature certificate."""
    signature_material = pki.issue_card(CardProfile.SIGNATURE_CERTIFICATE)

    def make(material: CardMaterial = good_material, **faults: object) -> SimulatedCard:
        return SimulatedCard(
            Credential.from_material(material, "1234"),
            Credential.from_material(signature_material, "ABC123", SIGNATURE_PIN_TRIES),
            faults=CardFaults(**faults),
        )

    return make


@pytest.fixture(scope="session")
def virtual_reader() -> Iterator[VirtualReader]:
    """One pcscd for the whole session: libpcsclite looks for its socket once in a process's life."""
    with VirtualReader() as reader:
        before = {name: os.environ.get(name) for name in reader.environment}
        os.environ.update(reader.environment)
        yield reader
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(scope="session")
def card_processes(virtual_reader: VirtualReader, good_material: CardMaterial) -> list[CardProcess]:
    card = SimulatedCard.from_material(good_material)
    return [virtual_reader.add_card(card, slot) for slot in (0, 1)]


@pytest.fixture
def lay_card(
    virtual_reader: VirtualReader, card_processes: list[CardProcess]
) -> Iterator[Callable[..., CardProcess]]:
    """Return a function that lays a card on one of the two virtual readers; taken away at the end."""

    def lay(card: SimulatedCard, slot: int = 0) -> CardProcess:
        card_processes[slot].swap(card)
        card_processes[slot].insert()
        # The driver has powered the card; pcscd tells its callers a moment later.
        pcsc.wait_for_card(virtual_reader.names[slot], timeout=10)
        return card_processes[slot]

    yield lay
    for process in card_processes:
        process.remove()
