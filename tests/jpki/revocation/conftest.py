"""A PKI at a fixed moment, CRLs that are wrong in one thing each, and a server that misbehaves on request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509

from jpki.certificate import UserAuthenticationCertificate
from jpki.crl_index import CrlDirectory
from jpki.simulator.crl import RevokedCard, make_crl
from jpki.simulator.pki import Authority, CardPki


@pytest.fixture
def authority(pki) -> x509.Certificate:
    """The CA whose CRLs are looked at: the second generation."""
    return x509.load_der_x509_certificate(pki.ca_certificate(Authority.AUTHENTICATION_2))


@pytest.fixture
def crl(authority, pki_keys, now) -> Callable[..., bytes]:
    """Make a CRL (DER), good but for what is said; *serial_numbers* are revoked."""

    def crl(*serial_numbers: int, key=Authority.AUTHENTICATION_2, **different) -> bytes:
        cards = [RevokedCard(number, now - timedelta(days=1)) for number in serial_numbers]
        recipe = {"number": 7, "this_update": now, "next_update": now + timedelta(days=1), **different}
        issuer = recipe.pop("issuer", authority)
        return make_crl(issuer, pki_keys.authorities[key], recipe.pop("cards", cards), **recipe)

    return crl


@pytest.fixture
def crl_directory(tmp_path) -> CrlDirectory:
    return CrlDirectory(tmp_path / "crl")


@pytest.fixture
def import_bytes(tmp_path, crl_directory, trust_store, now):
    """Import the bytes of a CRL as a file."""

    def import_bytes(content: bytes, at=now, **rest):
        file = tmp_path / "fetched.crl"
        file.write_bytes(content)
        return crl_directory.import_crl(file, trust_store, at, **rest)

    return import_bytes


@pytest.fixture
def issue(pki: CardPki, trust_store):
    """Issue a card and return its certificate and its CA."""

    def issue(*arguments):
        card = pki.issue_card(*arguments)
        certificate = UserAuthenticationCertificate.from_der(card.certificate_der)
        return certificate, trust_store.find_issuer(certificate)

    return issue


@pytest.fixture
def serving() -> Callable:
    """Answer each request on loopback as ``respond(handler, body)`` does; gives the address."""

    @contextmanager
    def serving(respond: Callable[[BaseHTTPRequestHandler, bytes], None]) -> Iterator[str]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                respond(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def do_POST(self):
                self.do_GET()

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    return serving


@pytest.fixture
def body() -> Callable:
    """Return what answers with the same bytes each time."""

    def body(content: bytes, status: int = 200, content_type: str = "application/pkix-crl", **headers: str):
        def respond(handler: BaseHTTPRequestHandler, _request: bytes) -> None:
            handler.send_response(status)
            handler.send_header("Content-Type", content_type)
            handler.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(content)

        return respond

    return body
