"""``OcspSource`` against answers that ``openssl ocsp`` makes, and against servers that do not answer."""

from __future__ import annotations

import base64
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import unquote

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3 import HTTPResponse

from jpki.certificate import UserAuthenticationCertificate
from jpki.revocation import RevocationAnswer, RevocationPolicy, RevocationStatus, UnknownReason
from jpki.revocation_source import MAXIMUM_RESPONSE_SIZE, OcspSource
from jpki.simulator.ocsp_responder import OcspResponder, OcspResponderUnavailable
from jpki.simulator.pki import Authority, CardMaterial, CardPki, CardProfile
from tests.jpki.effort import within_reason

TIMEOUT = 30.0


@pytest.fixture(scope="module")
def today() -> datetime:
    """The real moment: openssl looks at the clock itself."""
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def real_time_pki(pki_keys, today) -> CardPki:
    return CardPki.create(today, pki_keys)


@pytest.fixture(scope="module")
def directory(real_time_pki, tmp_path_factory):
    directory = tmp_path_factory.mktemp("pki")
    real_time_pki.write(directory)
    return directory


@pytest.fixture(scope="module")
def responder(directory) -> Iterator[OcspResponder]:
    with OcspResponder(directory) as responder:
        yield responder


@pytest.fixture
def issue(real_time_pki, directory) -> Callable[..., CardMaterial]:
    def issue(profile: CardProfile = CardProfile.GOOD) -> CardMaterial:
        card = real_time_pki.issue_card(profile)
        real_time_pki.write_index(directory)
        return card

    return issue


@pytest.fixture
def ask(real_time_pki):
    """Ask the responder at an address about a card."""

    def ask(url: str, card: CardMaterial, timeout: float = TIMEOUT, **rest: object) -> RevocationAnswer:
        certificate = UserAuthenticationCertificate.from_der(card.certificate_der)
        issuer = real_time_pki.trust_store().find_issuer(certificate)
        with requests.Session() as session:
            source = OcspSource(url, timeout=timeout, session=session, **rest)
            return source.check(certificate, issuer, datetime.now(UTC))

    return ask


def unknown(why: UnknownReason) -> tuple[RevocationStatus, UnknownReason]:
    return RevocationStatus.UNKNOWN, why


def outcome(answer: RevocationAnswer) -> tuple[RevocationStatus, UnknownReason | None]:
    return answer.status, answer.why


@pytest.mark.parametrize(
    "profile",
    [CardProfile.GOOD, CardProfile.GOOD_NEW_GENERATION, CardProfile.P384, CardProfile.SERIAL_20_OCTETS],
    ids=lambda profile: profile.value,
)
def test_a_card_of_either_generation_is_good(responder, issue, ask, today, profile):
    answer = ask(responder.url, issue(profile))
    assert outcome(answer) == (RevocationStatus.GOOD, None)
    assert answer.source == "ocsp"
    assert abs(answer.as_of - today) < timedelta(minutes=5)
    assert answer.next_update - answer.as_of == timedelta(minutes=60)


def test_a_revoked_card_is_revoked_with_its_time_and_reason(
    responder, issue, ask, real_time_pki, directory, today
):
    card = issue()
    assert ask(responder.url, card).status is RevocationStatus.GOOD
    revoked_at = today.replace(microsecond=0) - timedelta(hours=1)
    real_time_pki.revoke(card.serial_number, revoked_at, x509.ReasonFlags.certificate_hold)
    real_time_pki.write_index(directory)

    answer = ask(responder.url, card)

    assert answer.status is RevocationStatus.REVOKED
    assert (answer.revoked_at, answer.reason) == (revoked_at, "certificateHold")


def test_a_serial_number_that_the_responder_does_not_know_is_unknown(responder, real_time_pki, ask):
    not_in_the_index = real_time_pki.issue_card()
    assert outcome(ask(responder.url, not_in_the_index)) == unknown(UnknownReason.RESPONDER_SAYS_UNKNOWN)


def test_an_answer_that_has_outlived_its_time_is_stale(directory, issue, ask, today):
    with OcspResponder(directory, validity_minutes=10) as responder:
        answer = ask(responder.url, issue())
    assert RevocationPolicy().evaluate(answer, today + timedelta(minutes=10)) is answer
    assert outcome(RevocationPolicy().evaluate(answer, today + timedelta(minutes=20))) == unknown(
        UnknownReason.STALE
    )


def test_a_responder_that_is_gone_leaves_the_status_unknown(directory, issue, ask):
    with OcspResponder(directory) as responder:
        url = responder.url
    assert outcome(ask(url, issue())) == unknown(UnknownReason.UNREACHABLE)


def test_a_second_process_sees_the_same_infrastructure(directory, issue, today):
    card = issue()
    loaded = CardPki.load(directory, today)
    assert loaded.issue_card().serial_number == card.serial_number + 1
    loaded.revoke(card.serial_number, today)
    with pytest.raises(KeyError):
        loaded.revoke(1, today)


def test_private_keys_are_written_for_their_owner_alone(directory, tmp_path, issue):
    card = issue()
    card.write(tmp_path)
    assert CardMaterial.load(tmp_path).certificate_der == card.certificate_der
    keys = [*directory.glob("*.key"), *tmp_path.glob("*.key")]
    assert len(keys) == 9
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}


def test_a_machine_without_openssl_is_told_so(directory, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(OcspResponderUnavailable, match="openssl"):
        OcspResponder(directory)


def test_a_request_that_is_none_is_an_error_of_the_responder(responder):
    for body in (b"junk", b"x" * 70_000):
        with requests.post(responder.url, data=body, timeout=TIMEOUT) as response:
            assert response.status_code == 400


# Answers that openssl would not make: a server of our own signs or garbles them.


@contextmanager
def serving(respond: Callable[[BaseHTTPRequestHandler, bytes], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            respond(self, self.rfile.read(int(self.headers["Content-Length"])))

        def do_GET(self):
            respond(self, base64.b64decode(unquote(self.path.removeprefix("/"))))

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def body(content: bytes, status: int = 200, content_type: str = "application/ocsp-response"):
    def respond(handler: BaseHTTPRequestHandler, _request: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return respond


def signed_by(
    card: CardMaterial, *, key, signer: bytes | None = None, certificates=(), nonce=None, hash_algorithm=None
):
    """Return a responder that says GOOD about *card*, signed with *key* of *signer* or of a delegate."""
    certificate = x509.load_der_x509_certificate(card.certificate_der)
    ca = x509.load_der_x509_certificate(card.ca_certificate_der)

    def respond(handler: BaseHTTPRequestHandler, request: bytes) -> None:
        now = datetime.now(UTC)
        builder = ocsp.OCSPResponseBuilder().add_response(
            certificate,
            ca,
            hashes.SHA1(),
            ocsp.OCSPCertStatus.GOOD,
            now,
            now + timedelta(hours=1),
            None,
            None,
        )
        named = x509.load_der_x509_certificate(signer) if signer else ca
        responder = certificates[0] if certificates else named
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, responder)
        if certificates:
            builder = builder.certificates(list(certificates))
        if nonce is not None:
            asked = ocsp.load_der_ocsp_request(request).extensions.get_extension_for_class(x509.OCSPNonce)
            builder = builder.add_extension(x509.OCSPNonce(nonce(asked.value.nonce)), critical=False)
        response = builder.sign(key, hash_algorithm or hashes.SHA256())
        body(response.public_bytes(Encoding.DER))(handler, request)

    return respond


@pytest.fixture
def ca_key(pki_keys):
    return pki_keys.authorities[Authority.AUTHENTICATION_1]


def delegated_certificate(
    pki_keys,
    today,
    *,
    issuer=Authority.AUTHENTICATION_1,
    name_of=Authority.AUTHENTICATION_1,
    usage=None,
    days=(-1, 1),
):
    """Return a certificate for the responder's key, good but for what is said."""
    ca_name = CardPki.create(today, pki_keys).ca_certificate(name_of)
    builder = x509.CertificateBuilder(
        x509.load_der_x509_certificate(ca_name).subject,
        x509.Name([]),
        pki_keys.ocsp_responder.public_key(),
        2,
        today + timedelta(days=days[0]),
        today + timedelta(days=days[1]),
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(pki_keys.authorities[issuer], hashes.SHA256())


def test_an_answer_that_the_ca_itself_signed_is_believed(real_time_pki, issue, ask, ca_key):
    card = issue()
    with serving(signed_by(card, key=ca_key)) as url:
        assert ask(url, card).status is RevocationStatus.GOOD


def test_an_answer_with_our_nonce_is_believed(real_time_pki, issue, ask, ca_key):
    card = issue()
    with serving(signed_by(card, key=ca_key, nonce=lambda asked: asked)) as url:
        assert ask(url, card).status is RevocationStatus.GOOD


@pytest.mark.parametrize(
    ("nonce_size", "method"), [(32, "GET"), (200, "POST")], ids=["short enough", "too long for GET"]
)
def test_a_request_goes_by_get_where_that_is_preferred_and_it_is_short(
    real_time_pki, issue, ask, ca_key, nonce_size, method
):
    card = issue()
    answer = signed_by(card, key=ca_key, nonce=lambda asked: asked)
    methods = []

    def respond(handler: BaseHTTPRequestHandler, request: bytes) -> None:
        methods.append(handler.command)
        answer(handler, request)

    with serving(respond) as url:
        said = ask(url, card, prefer_get=True, token_bytes=lambda _: b"n" * nonce_size)
    assert (said.status, methods) == (RevocationStatus.GOOD, [method])


def test_an_endless_body_is_cut_off(issue, ask):
    def endless(handler: BaseHTTPRequestHandler, _request: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):  # until whoever asked has gone
            while True:
                handler.wfile.write(bytes(64 * 1024))

    with serving(endless) as url:
        assert outcome(ask(url, issue())) == unknown(UnknownReason.MALFORMED)


def test_an_answer_with_another_nonce_is_a_replay(real_time_pki, issue, ask, ca_key):
    card = issue()
    with serving(signed_by(card, key=ca_key, nonce=lambda asked: asked[::-1])) as url:
        assert outcome(ask(url, card)) == unknown(UnknownReason.NOT_TRUSTED)


def test_an_answer_about_another_card_is_not_believed(real_time_pki, issue, ask, ca_key):
    with serving(signed_by(issue(), key=ca_key)) as url:
        assert outcome(ask(url, issue())) == unknown(UnknownReason.NOT_TRUSTED)


@pytest.mark.parametrize("authority", [Authority.AUTHENTICATION_2, Authority.FOREIGN], ids=lambda a: a.value)
def test_the_signature_of_another_ca_is_not_believed(real_time_pki, issue, ask, pki_keys, authority):
    card = issue()
    signer = real_time_pki.ca_certificate(authority)
    with serving(signed_by(card, key=pki_keys.authorities[authority], signer=signer)) as url:
        assert outcome(ask(url, card)) == unknown(UnknownReason.NOT_TRUSTED)


def test_a_signature_with_another_hash_than_ours_is_not_believed(real_time_pki, issue, ask, ca_key):
    card = issue()
    with serving(signed_by(card, key=ca_key, hash_algorithm=hashes.SHA512())) as url:
        assert outcome(ask(url, card)) == unknown(UnknownReason.NOT_TRUSTED)


OCSP_SIGNING = x509.oid.ExtendedKeyUsageOID.OCSP_SIGNING


@pytest.mark.parametrize(
    ("defect", "believed"),
    [
        ({"usage": OCSP_SIGNING}, True),
        ({"usage": None}, False),
        ({"usage": x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH}, False),
        ({"usage": OCSP_SIGNING, "days": (-2, -1)}, False),
        ({"usage": OCSP_SIGNING, "days": (1, 2)}, False),
        ({"usage": OCSP_SIGNING, "issuer": Authority.FOREIGN}, False),
        ({"usage": OCSP_SIGNING, "issuer": Authority.AUTHENTICATION_2}, False),
    ],
    ids=["good", "no usage", "another usage", "expired", "not yet valid", "foreign CA", "other generation"],
)
def test_a_delegated_responder_must_be_the_cas_own_and_in_force(
    real_time_pki, issue, ask, pki_keys, today, defect, believed
):
    card = issue()
    certificate = delegated_certificate(pki_keys, today, **defect)
    responder = signed_by(card, key=pki_keys.ocsp_responder, certificates=[certificate])
    with serving(responder) as url:
        answer = ask(url, card)
    expected = (RevocationStatus.GOOD, None) if believed else unknown(UnknownReason.NOT_TRUSTED)
    assert outcome(answer) == expected


def test_a_card_cannot_answer_for_itself(real_time_pki, issue, ask, pki_keys):
    """A card's certificate is issued by the CA as well, but not for signing answers."""
    card = issue()
    own = x509.load_der_x509_certificate(card.certificate_der)
    with serving(signed_by(card, key=card.private_key, certificates=[own])) as url:
        assert outcome(ask(url, card)) == unknown(UnknownReason.NOT_TRUSTED)


def unsuccessful(status: ocsp.OCSPResponseStatus) -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("respond", "why"),
    [
        (body(b"<html>Please log in</html>", content_type="text/html"), UnknownReason.MALFORMED),
        (body(b""), UnknownReason.MALFORMED),
        (body(bytes(MAXIMUM_RESPONSE_SIZE + 1)), UnknownReason.MALFORMED),
        (body(b"no", status=500), UnknownReason.UNREACHABLE),
        (body(b"no", status=404), UnknownReason.UNREACHABLE),
        (body(unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)), UnknownReason.UNREACHABLE),
        (body(unsuccessful(ocsp.OCSPResponseStatus.INTERNAL_ERROR)), UnknownReason.UNREACHABLE),
        (body(unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED)), UnknownReason.RESPONDER_SAYS_UNKNOWN),
        (body(unsuccessful(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)), UnknownReason.RESPONDER_SAYS_UNKNOWN),
    ],
    ids=[
        "HTML",
        "empty",
        "too long",
        "500",
        "404",
        "try later",
        "internal error",
        "unauthorized",
        "malformed request",
    ],
)
def test_an_answer_that_is_none_leaves_the_status_unknown(issue, ask, respond, why):
    with serving(respond) as url:
        assert outcome(ask(url, issue())) == unknown(why)


def test_a_redirect_is_not_followed(responder, issue, ask):
    def redirect(handler: BaseHTTPRequestHandler, _request: bytes) -> None:
        handler.send_response(307)
        handler.send_header("Location", responder.url)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with serving(redirect) as url:
        assert outcome(ask(url, issue())) == unknown(UnknownReason.UNREACHABLE)


def test_an_answer_cut_off_in_the_middle_leaves_the_status_unknown(issue, ask):
    def cut_off(handler: BaseHTTPRequestHandler, _request: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"\x30\x82")

    with serving(cut_off) as url:
        assert outcome(ask(url, issue())) in (
            unknown(UnknownReason.UNREACHABLE),
            unknown(UnknownReason.MALFORMED),
        )


def test_a_responder_that_never_answers_is_given_up(issue, ask):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert outcome(ask(url, issue(), timeout=0.2)) == unknown(UnknownReason.UNREACHABLE)


def test_an_answer_that_trickles_in_is_given_up(issue, ask):
    given_up = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler, _request: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not given_up.wait(0.05):
            handler.wfile.write(b"\x30")

    with serving(trickle) as url:
        answer = ask(url, issue(), timeout=0.3)
        given_up.set()
    assert outcome(answer) == unknown(UnknownReason.UNREACHABLE)


def test_neither_the_serial_number_nor_the_subject_is_logged(responder, issue, ask, caplog):
    caplog.set_level(logging.DEBUG)
    card = issue()
    ask(responder.url, card)
    with serving(body(b"junk")) as url:
        ask(url, card)
    subject = x509.load_der_x509_certificate(card.certificate_der).subject.rfc4514_string()
    assert "malformed" in caplog.text
    for secret in (str(card.serial_number), f"{card.serial_number:X}", subject):
        assert secret not in caplog.text


class _Canned(requests.adapters.BaseAdapter):
    """Answers with the same bytes, without a network, for many examples."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content = content

    def send(self, request, **_):
        response = requests.Response()
        response.status_code = 200
        response.raw = HTTPResponse(BytesIO(self._content), preload_content=False)
        return response

    def close(self):
        pass


@pytest.fixture(scope="module")
def recorded(real_time_pki, pki_keys, today) -> tuple[UserAuthenticationCertificate, bytes]:
    """A card and the answer about it, as openssl's responder certificates make it, without a nonce."""
    card = real_time_pki.issue_card()
    delegate = x509.load_der_x509_certificate(
        real_time_pki.ocsp_responder_certificate(Authority.AUTHENTICATION_1)
    )
    response = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            x509.load_der_x509_certificate(card.certificate_der),
            x509.load_der_x509_certificate(card.ca_certificate_der),
            hashes.SHA1(),
            ocsp.OCSPCertStatus.REVOKED,
            today,
            today + timedelta(hours=1),
            today - timedelta(hours=1),
            x509.ReasonFlags.superseded,
        )
        .responder_id(ocsp.OCSPResponderEncoding.NAME, delegate)
        .certificates([delegate])
        .sign(pki_keys.ocsp_responder, hashes.SHA256())
    )
    return UserAuthenticationCertificate.from_der(card.certificate_der), response.public_bytes(Encoding.DER)


def answer_from(content: bytes, pki: CardPki, certificate: UserAuthenticationCertificate, now: datetime):
    with requests.Session() as session:
        session.mount("http://", _Canned(content))
        source = OcspSource("http://ocsp.invalid/", timeout=TIMEOUT, session=session)
        return source.check(certificate, pki.trust_store().anchors[0], now)


def test_the_recorded_answer_says_revoked(real_time_pki, recorded, today):
    certificate, content = recorded
    answer = answer_from(content, real_time_pki, certificate, today)
    assert (answer.status, answer.reason) == (RevocationStatus.REVOKED, "superseded")


@settings(max_examples=300)
@given(place=st.floats(0, 1, exclude_max=True), removed=st.integers(0, 4), inserted=st.binary(max_size=4))
def test_a_mutated_answer_never_raises_and_never_turns_good(
    real_time_pki, recorded, today, place, removed, inserted
):
    certificate, content = recorded
    at = int(place * len(content))
    mutated = content[:at] + inserted + content[at + removed :]
    with within_reason():
        answer = answer_from(mutated, real_time_pki, certificate, today)
    assert answer.status is not RevocationStatus.GOOD
