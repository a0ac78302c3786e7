"""What is fuzzed. A target takes any bytes, and fails if anything but the error tree gets out of them.

The seeds are made by program, from a public key infrastructure of the test's own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from itertools import islice

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from jpki.apdu import CommandApdu
from jpki.card import GuardedConnection, JpkiSession, Pin
from jpki.certificate import UserAuthenticationCertificate
from jpki.challenge import ChallengeNonce, ChallengePurpose, begin, check_message
from jpki.connection import SmartCardConnection
from jpki.constants import ALLOWED_APPLICATION_IDS, SELECT_BY_NAME, Instruction
from jpki.errors import ApduRefused, CardRemoved, CertificateError, JpkiError, MalformedChallenge
from jpki.revocation import RevocationAnswer
from jpki.revocation_source import OcspSource
from jpki.simulator.card import SimulatedCard, SimulatedConnection
from jpki.simulator.pki import Authority, CardPki, CardProfile
from jpki.trust import AuthorityCertificate
from jpki.verify import CertificatePolicy, verify_certificate

PIN = "1234"
LIBRARY_ID, TERMINAL_ID = "central", "counter-1"
MESSAGE = b"what the patron agrees to"
LONGEST_ANSWER = 256


@dataclass(frozen=True)
class Target:
    """Something that reads what strangers send: *run* raises for what must not happen."""

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def make_targets(pki: CardPki, now: datetime) -> tuple[Target, ...]:
    """Return all targets, with seeds that *pki* issues at *now*."""
    return (
        _certificate(pki, now),
        _ocsp_answer(pki, now),
        _challenge_message(pki, now),
        _command_apdu(pki),
        _card_session(pki),
    )


def _certificate(pki: CardPki, now: datetime) -> Target:
    """No other bytes than those that the CA issued are believed."""
    trust_store = pki.trust_store()
    seeds = (
        *(pki.issue_card(profile).certificate_der for profile in CardProfile),
        *(pki.ca_certificate(authority) for authority in Authority),
    )

    def run(data: bytes) -> None:
        with suppress(CertificateError):
            AuthorityCertificate.from_bytes(data)
        with suppress(CertificateError):
            certificate = UserAuthenticationCertificate.from_der(data)
            verify_certificate(certificate, trust_store, CertificatePolicy(), now)
            assert data in seeds, "a certificate was believed that no CA issued"

    return Target("certificate", run, seeds)


class _OneAnswer(BaseAdapter):
    """A server that gives this answer to everything."""

    def __init__(self) -> None:
        super().__init__()
        self.body = b""

    def send(self, *_: object, **__: object) -> requests.Response:
        response = requests.Response()
        response.status_code = requests.codes.ok
        response.raw = HTTPResponse(BytesIO(self.body), preload_content=False)
        return response

    def close(self) -> None:
        """Nothing is open."""


def _ocsp_answer(pki: CardPki, now: datetime) -> Target:
    certificate = UserAuthenticationCertificate.from_der(pki.issue_card().certificate_der)
    issuer = pki.trust_store().find_issuer(certificate)
    key = pki.keys.ocsp_responder
    delegate = x509.load_der_x509_certificate(pki.ocsp_responder_certificate(Authority.AUTHENTICATION_1))
    nonce = bytes(32)

    def signed(status: ocsp.OCSPCertStatus) -> bytes:
        revoked = status is ocsp.OCSPCertStatus.REVOKED
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                certificate.x509,
                issuer.certificate,
                hashes.SHA1(),  # names the issuer, proves nothing
                status,
                this_update=now,
                next_update=now + timedelta(hours=1),
                revocation_time=now if revoked else None,
                revocation_reason=x509.ReasonFlags.certificate_hold if revoked else None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, delegate)
            .certificates([delegate])
            .add_extension(x509.OCSPNonce(nonce), critical=False)
        )
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

    unsigned = (
        ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
        for status in ocsp.OCSPResponseStatus
        if status is not ocsp.OCSPResponseStatus.SUCCESSFUL
    )
    server = _OneAnswer()
    session = requests.Session()
    session.mount("http://", server)
    source = OcspSource("http://ocsp.invalid/", timeout=1, session=session, token_bytes=lambda _: nonce)

    def run(data: bytes) -> None:
        server.body = data
        assert isinstance(source.check(certificate, issuer, now), RevocationAnswer)

    return Target("ocsp-answer", run, (*map(signed, ocsp.OCSPCertStatus), *unsigned))


def _challenge_message(pki: CardPki, now: datetime) -> Target:
    """What the agent lets a card sign has all that our own message has."""
    certificate_der = pki.issue_card().certificate_der
    certificate = UserAuthenticationCertificate.from_der(certificate_der)

    def seed(purpose: ChallengePurpose, terminal_id: str) -> bytes:
        return begin(
            certificate,
            purpose=purpose,
            library_id=LIBRARY_ID,
            terminal_id=terminal_id,
            challenge_id="c-1",
            nonce=ChallengeNonce(bytes(32)),
            now=now,
            lifetime=timedelta(minutes=2),
            trust_store=pki.trust_store(),
            policy=CertificatePolicy(),
        ).message()

    def run(data: bytes) -> None:
        with suppress(MalformedChallenge):
            check_message(
                data, library_id=LIBRARY_ID, terminal_id=TERMINAL_ID, certificate_der=certificate_der
            )
            assert certificate.digest in data
            assert TERMINAL_ID.encode() in data

    return Target(
        "challenge-message",
        run,
        tuple(seed(purpose, terminal) for purpose in ChallengePurpose for terminal in (TERMINAL_ID, "other")),
    )


def _command_apdu(pki: CardPki) -> Target:
    """What is decoded is written the same again, and no other application is ever selected."""
    card = _RecordedCard(pki)

    def run(data: bytes) -> None:
        with suppress(ValueError):
            assert CommandApdu.decode(data).encode() == data
        connection = ScriptedCard(b"\x90\x00\x00")
        with suppress(ApduRefused):
            GuardedConnection(connection).send_and_receive(data)
        for sent in connection.sent:
            if sent.ins == Instruction.SELECT and sent.p1 == SELECT_BY_NAME:
                assert sent.data in ALLOWED_APPLICATION_IDS, "another application was selected"

    return Target("command-apdu", run, tuple(card.commands))


def _card_session(pki: CardPki) -> Target:
    """Whatever a card answers, the PIN is sent to it once at most."""

    def run(data: bytes) -> None:
        connection = ScriptedCard(data)
        with suppress(JpkiError):
            visit(connection)
        presented = [sent for sent in connection.sent if sent.ins == Instruction.VERIFY and sent.data]
        assert len(presented) <= 1, "the PIN was sent twice"

    return Target("card-session", run, (_RecordedCard(pki).script(),))


def visit(connection: SmartCardConnection) -> None:
    """Do all that a visit needs of the card."""
    session = JpkiSession(connection)
    session.read_certificate()
    session.read_ca_certificate()
    session.attempts_remaining()
    session.verify_pin(Pin(PIN))
    session.sign(MESSAGE)


class ScriptedCard(SmartCardConnection):
    """A card whose answers stand in some bytes: status word, length (FF for 256), data, and so on.

    When they are used up, the card is gone.
    """

    def __init__(self, script: bytes) -> None:
        self._script = iter(script)
        self.sent: list[CommandApdu] = []

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        self.sent.append(CommandApdu.decode(apdu))
        head = bytes(islice(self._script, 3))
        if len(head) < 3:
            raise CardRemoved
        length = LONGEST_ANSWER if head[2] == 0xFF else head[2]
        return bytes(islice(self._script, length)), int.from_bytes(head[:2], "big")


class _RecordedCard(SmartCardConnection):
    """A good visit to a simulated card: what was asked and what it answered."""

    def __init__(self, pki: CardPki) -> None:
        self.commands: list[bytes] = []
        self._answers: list[tuple[bytes, int]] = []
        card = SimulatedCard.from_material(pki.issue_card(), PIN)
        with SimulatedConnection(card) as self._connection:
            visit(self)

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        answer = self._connection.send_and_receive(apdu)
        self.commands.append(apdu)
        self._answers.append(answer)
        return answer

    def script(self) -> bytes:
        """Return the answers as ``ScriptedCard`` reads them."""
        return b"".join(
            status_word.to_bytes(2, "big") + bytes((min(len(data), 0xFF),)) + data
            for data, status_word in self._answers
        )
