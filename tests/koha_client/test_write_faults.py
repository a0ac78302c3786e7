"""Trouble while a patron is written: nothing is written twice, by halves, or for somebody else."""

import dataclasses
import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from koha_client import (
    BadRequest,
    BasicCredentials,
    ConnectFailed,
    ConnectionLost,
    HealthState,
    InMaintenance,
    KohaClient,
    KohaRejected,
    KohaUnauthorized,
    MalformedAnswer,
    NewPatron,
    OAuth2ClientCredentials,
    PatronChangedMeanwhile,
    ReadTimedOut,
    ServerFailed,
    SeveralPatrons,
    TlsFailed,
    Transport,
)
from koha_client.simulator import DemoPatron
from koha_client.simulator.replies import RestReply
from koha_client.transport import MAXIMUM_BODY_SIZE

FINE = DemoPatron.FINE.value
NEW = NewPatron("新規", "CPL", "PT", "20260000000094", "shinki")


class Gremlin:
    """Sits between the server's socket and Koha: counts requests and spoils the answers to writes."""

    def __init__(self, koha):
        self.requests = []
        self.spoil = None
        self._answer = koha.answer
        koha.answer = self.answer

    def answer(self, method, target, headers, body):
        self.requests.append((method, target.partition("?")[0].removeprefix("/api/v1")))
        reply = self._answer(method, target, headers, body)
        if self.spoil is not None and method in ("PUT", "POST") and "oauth" not in target:
            return self.spoil(reply)
        return reply

    def writes(self):
        return [each for each in self.requests if each[0] != "GET" and "oauth" not in each[1]]


@pytest.fixture
def gremlin(koha):
    return Gremlin(koha)


def say(status, body):
    return lambda reply: RestReply(status, body)


class HangUp:
    """A reply that breaks the connection off when it is to be sent."""

    @property
    def body(self):
        raise ConnectionAbortedError


def hang_up(reply):
    return HangUp()


@pytest.fixture(autouse=True)
def _quiet_server(monkeypatch):
    # socketserver prints the traceback of a handler that broke off; here that is the plan.
    monkeypatch.setattr("socketserver.BaseServer.handle_error", lambda *_: None)


def test_a_patron_whose_creation_was_not_confirmed_is_looked_up(client, state, gremlin):
    for spoil in (hang_up, lambda reply: RestReply(reply.status, "half a patron")):
        gremlin.requests.clear()
        gremlin.spoil = spoil
        new = NewPatron("新規", "CPL", "PT", f"2026000{len(state.patrons())}", f"u{len(state.patrons())}")

        created = client.create_patron(new)

        assert created.cardnumber == new.cardnumber
        assert gremlin.writes() == [("POST", "/patrons")]
        assert sum(patron.cardnumber == new.cardnumber for patron in state.patrons()) == 1


def test_a_creation_that_never_arrived_is_an_error(client, state, gremlin, koha):
    before = state.patrons()
    honest = koha.answer

    def drop(method, target, headers, body):
        return (
            HangUp() if method == "POST" and "oauth" not in target else honest(method, target, headers, body)
        )

    koha.answer = drop

    with pytest.raises(ConnectionLost):
        client.create_patron(NEW)

    assert state.patrons() == before


def test_a_creation_in_maintenance_is_not_looked_up(client, gremlin):
    gremlin.spoil = say(503, {"error": "System is under maintenance."})

    with pytest.raises(InMaintenance):
        client.create_patron(NEW)

    assert gremlin.requests[-1] == ("POST", "/patrons")


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (hang_up, ConnectionLost),
        (say(500, {"error_code": "internal_server_error"}), ServerFailed),
        (say(503, {"error": "System is under maintenance."}), InMaintenance),
        (say(200, "HTML or so"), MalformedAnswer),
        (say(200, {"patron_id": 52}), MalformedAnswer),
        (say(400, {"errors": [{"path": "/body", "message": "No."}], "status": 400}), BadRequest),
        (say(401, {"error": "Authentication failure."}), KohaUnauthorized),
    ],
    ids=["lost", "500", "maintenance", "no patron", "half a patron", "400", "401"],
)
def test_a_change_that_failed_is_told_and_not_repeated(client, gremlin, spoil, error):
    read = client.get_patron(51)
    gremlin.spoil = spoil

    with pytest.raises(error) as caught:
        client.change_category(51, "PT12", read.updated_on)

    assert type(caught.value) is error
    # Only a refused token is met once more, and then by the very same request.
    assert len(gremlin.writes()) == (2 if error is KohaUnauthorized else 1)


def test_after_a_lost_answer_the_patron_tells_what_happened(client, gremlin, clock):
    read = client.get_patron(51)
    clock.moment += timedelta(seconds=1)
    gremlin.spoil = hang_up
    with pytest.raises(ConnectionLost):
        client.change_category(51, "PT12", read.updated_on)
    gremlin.spoil = None

    with pytest.raises(PatronChangedMeanwhile):
        client.change_category(51, "PT12", read.updated_on)
    assert client.get_patron(51).category_id == "PT12"


def test_koha_may_say_that_nothing_changes(client, gremlin):
    gremlin.spoil = lambda reply: RestReply(204)

    patron = client.change_category(51, "PT", client.get_patron(51).updated_on)

    assert patron.category_id == "PT"


def test_a_token_that_is_refused_half_way_is_renewed_and_the_write_sent_whole(client, koha, state, gremlin):
    read = client.get_patron(51)
    honest, forgotten = koha.answer, []

    def forget_before_the_write(method, target, headers, body):
        if method == "PUT" and not forgotten:
            forgotten.append(True)
            koha.forget_tokens()
        return honest(method, target, headers, body)

    koha.answer = forget_before_the_write

    assert client.change_category(51, "PT12", read.updated_on).category_id == "PT12"
    assert koha.tokens_granted == 2
    assert state.get_patron(51).category_id == "PT12"


def test_two_patrons_under_one_number_are_never_written(client, state):
    state.put_patron(dataclasses.replace(state.get_patron(51), patron_id=900))
    before = state.patrons()

    with pytest.raises(SeveralPatrons):
        client.create_patron(NewPatron("新規", "CPL", "PT", FINE, "shinki"))

    assert state.patrons() == before


@pytest.mark.parametrize("skew", [timedelta(days=-400), timedelta(days=400)], ids=["behind", "ahead"])
def test_a_koha_whose_clock_is_wrong_is_still_understood(client, clock, koha, skew):
    """Tokens are counted on our monotonic clock; what Koha takes for expired, it says."""
    client.get_patron(51)
    clock.moment += skew

    assert client.get_patron(51).patron_id == 51
    assert koha.tokens_granted <= 2
    moved = client.change_category(51, "PT12", client.get_patron(51).updated_on)
    assert moved.category_id == "PT12"


@pytest.fixture
def elsewhere():
    """Another host that notes what it is asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers)
            self.send_response(200)
            self.end_headers()

        def do_PUT(self):
            self.do_GET()

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join(90)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_never_followed(client, gremlin, elsewhere, status):
    url, asked = elsewhere
    read = client.get_patron(51)
    gremlin.spoil = lambda reply: RestReply(status, {}, {"Location": f"{url}/api/v1/patrons/51"})

    with pytest.raises(KohaRejected) as caught:
        client.change_category(51, "PT12", read.updated_on)

    assert caught.value.status == status
    assert asked == []


def test_a_redirected_token_request_shows_nobody_the_secret(raw_server, transport, elsewhere):
    url, asked = elsewhere
    answer = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode()
    with raw_server(answer) as server:
        auth = OAuth2ClientCredentials(server.base_url, "id", "hidden", transport)
        with pytest.raises(KohaRejected):
            KohaClient(server.base_url, auth, transport).get_patron(51)

    assert asked == []


def test_a_body_of_100_megabytes_is_cut_off_early(transport):
    sent = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(100 * 1024 * 1024))
            self.end_headers()
            block = b" " * 65536
            try:
                for _ in range(1600):
                    self.wfile.write(block)
                    sent.append(len(block))
            except OSError:
                self.close_connection = True

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        client = KohaClient(
            f"http://127.0.0.1:{server.server_port}/api/v1", BasicCredentials("a", "b"), transport
        )
        try:
            with pytest.raises(MalformedAnswer, match=str(MAXIMUM_BODY_SIZE)):
                client.get_patron(51)
        finally:
            server.shutdown()
            thread.join(90)

    assert sum(sent) < 40 * 1024 * 1024


@pytest.fixture
def tls_koha(koha, tmp_path):
    """The simulated Koha behind TLS with a certificate for 127.0.0.1; yields its address and certificate."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    _write_certificate(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    koha._server.socket = context.wrap_socket(koha._server.socket, server_side=True)
    return koha.base_url.replace("http:", "https:"), certificate


def _write_certificate(certificate_file, key_file):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "JPKI-TEST-LOCAL")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def test_a_certificate_that_is_not_trusted_is_not_talked_to(tls_koha, transport, koha):
    url, _ = tls_koha
    auth = OAuth2ClientCredentials(url, "bridge-client", "a-client-secret-nobody-may-see", transport)
    client = KohaClient(url, auth, transport)

    with pytest.raises(TlsFailed):
        client.get_patron(51)

    assert client.check_health().state is HealthState.TLS_FAILED
    assert koha.tokens_granted == 0


def test_a_certificate_that_is_trusted_is_talked_to(tls_koha, monkeypatch, client_id, client_secret):
    url, certificate = tls_koha
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    transport = Transport()
    auth = OAuth2ClientCredentials(url, client_id, client_secret, transport)

    assert KohaClient(url, auth, transport).get_patron(51).patron_id == 51
    transport.close()


def test_a_write_is_not_sent_where_koha_is_silent(raw_server):
    transport = Transport(connect_timeout=30, read_timeout=0.3)
    with raw_server(b"", hold=True) as server:
        client = KohaClient(server.base_url, BasicCredentials("a", "b"), transport)
        with pytest.raises(ReadTimedOut):
            client.change_category(51, "PT12", "")
    transport.close()

    assert all(request.startswith(b"GET ") for request in server.requests)


def test_no_connection_is_tried_twice_and_told(raw_server, transport):
    with raw_server(b"") as server:
        pass

    with pytest.raises(ConnectFailed):
        KohaClient(server.base_url, BasicCredentials("a", "b"), transport).create_patron(NEW)


def test_a_create_s_body_holds_no_more_than_is_given(client, koha, gremlin):
    bodies = []
    honest = koha.answer

    def keep(method, target, headers, body):
        if method == "POST" and target.endswith("/patrons"):
            bodies.append((json.loads(body), headers))
        return honest(method, target, headers, body)

    koha.answer = keep
    client.create_patron(NEW, is_no_duplicate=True)

    [(body, headers)] = bodies
    assert set(body) == {"surname", "library_id", "category_id", "cardnumber", "userid"}
    assert headers["x-koha-override"] == "welcome_no"
    assert headers["x-confirm-not-duplicate"] == "1"
