"""The card layer: APDUs for a whole authentication, verification on the server, the way through pcscd.

How the verification of a response is measured. The yardstick is two bare RSA-2048 verifications and one
parse: ``x509.load_der_x509_certificate`` of the card's certificate and its ``public_key()``, the CA's
signature over the certificate, the card's over the message; the CA's key is at hand. Our side is the
whole of ``jpki.challenge.complete``.

* ``jpki.verify_ratio``: a response as the server meets it, after the ``begin`` that came before the PIN
  in the same process and has left its proof in the memory. What remains: the challenge's id, place and
  time, the certificate's digest, the dates of certificate and CA, and one RSA verification. The proof
  itself (parse, CA's signature, extensions) was ``begin``'s work and is not in this figure.
* ``jpki.verify_first_sight_ratio``: the same with nothing at hand, as after a new start or in another
  process: the certificate parsed with all its names and extensions, the path, the policy, both RSA
  verifications.

Each round takes the responses of several cards, whose certificates and keys are parsed anew for it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from bench.figure import Figure, median_seconds
from jpki.card import JpkiSession, Pin
from jpki.certificate import UserAuthenticationCertificate
from jpki.challenge import CardResponse, Challenge, ChallengeNonce, ChallengePurpose, begin, complete
from jpki.connection import SmartCardConnection
from jpki.constants import USER_AUTHENTICATION_POLICY_OID
from jpki.errors import CardRemoved
from jpki.proven import ProvenCertificates
from jpki.simulator.card import CardFaults, SimulatedCard, SimulatedConnection
from jpki.simulator.pki import CardMaterial, CardPki
from jpki.simulator.reader import CardProcess, VirtualReader
from jpki.verify import CertificatePolicy

PIN = "1234"
CARDS = 20
NONCE = ChallengeNonce(bytes(range(32)))
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
    responses = _Responses(pki)
    yield Figure("jpki.verify_ratio", responses.after_begin(), "ratio", 2, "lower")
    yield Figure("jpki.verify_first_sight_ratio", responses.at_first_sight(), "ratio", None, "lower")
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


class _Responses:
    """What some cards answered to their challenges, to be verified by us and by the bare peer."""

    def __init__(self, pki: CardPki) -> None:
        self._trust_store = pki.trust_store()
        self._now = datetime.now(UTC)
        self._proven = ProvenCertificates()
        self._materials = [pki.issue_card() for _ in range(CARDS)]
        self._pairs = [self._answer(material) for material in self._materials]
        self._signed = [(response, challenge.message()) for challenge, response in self._pairs]
        self._issuer_key = _rsa_key(x509.load_der_x509_certificate(self._materials[0].ca_certificate_der))

    def after_begin(self) -> float:
        """Return the ratio for responses whose certificates were proven in this process."""
        return self._ratio(self._begin_all)

    def at_first_sight(self) -> float:
        """Return the ratio for responses whose certificates this process has not seen."""
        return self._ratio(self._forget_all)

    def _ratio(self, before: Callable[[], None]) -> float:
        # By turns, so that both see the same machine.
        ratios = [
            median_seconds(self._complete_all, rounds=5, before=before)
            / median_seconds(self._verify_all_barely, rounds=5)
            for _ in range(9)
        ]
        return statistics.median(ratios)

    def _begin(self, certificate_der: bytes) -> Challenge:
        return begin(
            UserAuthenticationCertificate.from_der(certificate_der),
            purpose=ChallengePurpose.BORROW,
            library_id=LIBRARY_ID,
            terminal_id=TERMINAL_ID,
            challenge_id="bench",
            nonce=NONCE,
            now=self._now,
            lifetime=timedelta(minutes=2),
            trust_store=self._trust_store,
            policy=POLICY,
            proven=self._proven,
        )

    def _answer(self, material: CardMaterial) -> tuple[Challenge, CardResponse]:
        challenge = self._begin(material.certificate_der)
        with SimulatedConnection(SimulatedCard.from_material(material, PIN)) as connection:
            session = JpkiSession(connection)
            session.verify_pin(Pin(PIN))
            signature = session.sign(challenge.message())
        return challenge, CardResponse(challenge.challenge_id, material.certificate_der, signature)

    def _begin_all(self) -> None:
        for material in self._materials:
            self._begin(material.certificate_der)

    def _forget_all(self) -> None:
        self._proven = ProvenCertificates()

    def _complete_all(self) -> None:
        for challenge, response in self._pairs:
            complete(
                challenge,
                response,
                library_id=LIBRARY_ID,
                terminal_id=TERMINAL_ID,
                trust_store=self._trust_store,
                policy=POLICY,
                now=self._now,
                proven=self._proven,
            )

    def _verify_all_barely(self) -> None:
        for response, message in self._signed:
            certificate = x509.load_der_x509_certificate(response.certificate_der)
            public_key = _rsa_key(certificate)
            self._issuer_key.verify(
                certificate.signature, certificate.tbs_certificate_bytes, PKCS1v15(), SHA256()
            )
            public_key.verify(response.signature, message, PKCS1v15(), SHA256())


def _rsa_key(certificate: x509.Certificate) -> RSAPublicKey:
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        raise TypeError("the goal is stated for RSA")
    return key


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
