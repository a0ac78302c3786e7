"""The card layer: APDUs for a whole authentication, verification on the server, the way through pcscd."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from bench.figure import Figure, median_seconds
from jpki.card import JpkiSession, Pin
from jpki.certificate import PublicKey, UserAuthenticationCertificate
from jpki.challenge import CardResponse, Challenge, ChallengeNonce, ChallengePurpose, begin, complete
from jpki.connection import SmartCardConnection
from jpki.constants import USER_AUTHENTICATION_POLICY_OID
from jpki.errors import CardRemoved
from jpki.simulator.card import CardFaults, SimulatedCard, SimulatedConnection
from jpki.simulator.pki import CardMaterial, CardPki
from jpki.simulator.reader import CardProcess, VirtualReader
from jpki.verify import CertificatePolicy

PIN = "1234"
LIBRARY_ID, TERMINAL_ID = "central", "bench-1"
MESSAGE = b"koha-jpki-bridge/bench"
CERTIFICATE_LENGTH = 1583
"""Bytes of the certificate for which the goals in APDUs are stated (a real card's, jpki.md 2.6)."""

POLICY = CertificatePolicy(frozenset({USER_AUTHENTICATION_POLICY_OID}))


def measure() -> Iterator[Figure]:
    """Yield the figures of issue "jpki"."""
    pki = CardPki.create(datetime.now(UTC))
    material = pki.issue_card()
    yield Figure("jpki.apdus_sfi", _count_apdus(material, CardFaults()), "APDUs", 12, "lower")
    without = CardFaults(short_file_identifiers=False)
    yield Figure("jpki.apdus_select", _count_apdus(material, without), "APDUs", 17, "lower")
    yield Figure("jpki.verify_ratio", _verify_ratio(pki, material), "ratio", 2, "lower")
    with VirtualReader() as reader:
        os.environ.update(reader.environment)  # before pyscard's first call
        card = reader.add_card(SimulatedCard.from_material(material, PIN))
        card.insert()
        name = reader.names[0]
        yield Figure("jpki.flow_vs_raw_apdus", _flow_ratio(name), "ratio", 1.5, "lower")
        yield Figure("jpki.free_after_tear", _milliseconds_until_free(card, name), "ms", 1000, "lower")


def authenticate(connection: SmartCardConnection) -> bytes:
    """Do all that a visit needs of the card; return the signature."""
    session = JpkiSession(connection)
    session.read_certificate()
    session.attempts_remaining()
    session.verify_pin(Pin(PIN))
    return session.sign(MESSAGE)


def _count_apdus(material: CardMaterial, faults: CardFaults) -> int:
    # A certificate of another size than the goals' would need another number of reads.
    reads = -(-len(material.certificate_der) // 256)
    if reads != -(-CERTIFICATE_LENGTH // 256):
        raise ValueError(f"a certificate of {len(material.certificate_der)} bytes needs {reads} reads")
    card = SimulatedCard.from_material(material, PIN, faults)
    with SimulatedConnection(card) as connection:
        authenticate(connection)
    return card.apdu_count


def _verify_ratio(pki: CardPki, material: CardMaterial) -> float:
    """Everything the server does with a response, against two bare RSA verifications and one parse.

    One parse is what any verifier must read of a certificate: serial number, validity, public key and
    all extensions, the issuer's key identifier among them. It has to be asked for, because
    cryptography reads most of it on demand.
    """
    trust_store = pki.trust_store()
    now = datetime.now(UTC)
    certificate = UserAuthenticationCertificate.from_der(material.certificate_der)
    challenge = begin(
        certificate,
        purpose=ChallengePurpose.BORROW,
        library_id=LIBRARY_ID,
        terminal_id=TERMINAL_ID,
        challenge_id="bench",
        nonce=ChallengeNonce(os.urandom(32)),
        now=now,
        lifetime=timedelta(minutes=2),
        trust_store=trust_store,
        policy=POLICY,
    )
    with SimulatedConnection(SimulatedCard.from_material(material, PIN)) as connection:
        session = JpkiSession(connection)
        session.verify_pin(Pin(PIN))
        signature = session.sign(challenge.message())
    response = CardResponse(challenge.challenge_id, material.certificate_der, signature)

    def whole() -> None:
        complete(
            challenge,
            response,
            library_id=LIBRARY_ID,
            terminal_id=TERMINAL_ID,
            trust_store=trust_store,
            policy=POLICY,
            now=now,
        )

    bare = _bare_verification(material, challenge, signature)
    whole(), bare()
    # By turns, so that both see the same machine.
    ratios = [
        median_seconds(whole, rounds=5, repeats=20) / median_seconds(bare, rounds=5, repeats=20)
        for _ in range(7)
    ]
    return sorted(ratios)[len(ratios) // 2]


def _bare_verification(material: CardMaterial, challenge: Challenge, signature: bytes) -> Callable[[], None]:
    issuer_key = x509.load_der_x509_certificate(material.ca_certificate_der).public_key()
    message = challenge.message()

    def parse() -> tuple[x509.Certificate, PublicKey]:
        certificate = x509.load_der_x509_certificate(material.certificate_der)
        _ = certificate.serial_number
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        _ = identifier.value.key_identifier
        return certificate, certificate.public_key()

    def bare() -> None:
        certificate, public_key = parse()
        issuer_key.verify(certificate.signature, certificate.tbs_certificate_bytes, PKCS1v15(), SHA256())
        public_key.verify(signature, message, PKCS1v15(), SHA256())

    return bare


class _Recorder(SmartCardConnection):
    """Notes the APDUs of one visit, to be sent again raw."""

    def __init__(self, connection: SmartCardConnection) -> None:
        self._connection = connection
        self.apdus: list[bytes] = []

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        self.apdus.append(apdu)
        return self._connection.send_and_receive(apdu)


def _flow_ratio(name: str) -> float:
    """A whole visit through pcscd and vpcd, against its very APDUs sent by pyscard alone."""
    from smartcard.CardConnection import CardConnection
    from smartcard.scard import SCARD_SHARE_EXCLUSIVE, SCARD_UNPOWER_CARD
    from smartcard.System import readers

    from jpki.pcsc import connect, wait_for_card

    wait_for_card(name, timeout=10)
    with connect(name) as connection:
        recorder = _Recorder(connection)
        authenticate(recorder)
    apdus = [list(apdu) for apdu in recorder.apdus]
    device = next(device for device in readers() if str(device) == name)

    def whole() -> None:
        with connect(name) as connection:
            authenticate(connection)

    def raw() -> None:
        connection = device.createConnection()
        connection.connect(
            CardConnection.T0_protocol | CardConnection.T1_protocol,
            mode=SCARD_SHARE_EXCLUSIVE,
            disposition=SCARD_UNPOWER_CARD,
        )
        for apdu in apdus:
            connection.transmit(apdu)
        connection.disconnect()
        connection.release()

    whole(), raw()
    ratios = [median_seconds(whole, rounds=5) / median_seconds(raw, rounds=5) for _ in range(7)]
    return sorted(ratios)[len(ratios) // 2]


def _milliseconds_until_free(card: CardProcess, name: str) -> float:
    """How long after a card was torn away in the middle its reader is free for the next, the median."""
    from jpki.pcsc import connect, wait_for_card, wait_for_removal

    took = []
    for answered in (0, 3, 6, 9, 11):
        card.remove()
        card.set_faults(CardFaults(tear_after=answered))
        card.insert()
        wait_for_card(name, timeout=10)
        with suppress(CardRemoved), connect(name) as connection:
            authenticate(connection)
        begun = time.perf_counter()
        if not wait_for_removal(name, timeout=10):
            raise TimeoutError("pcscd did not notice that the card is gone")
        took.append(time.perf_counter() - begun)
    return 1000 * statistics.median(took)
