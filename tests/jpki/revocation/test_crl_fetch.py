"""Fetching CRLs from real servers on loopback: HTTP that misbehaves, and slapd."""

from __future__ import annotations

import base64
import io
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from bridge.demo.processes import free_port
from jpki.crl_fetch import fetch_crl
from jpki.errors import CrlNotFetched, CrlRedirectRefused, CrlTooLarge, MalformedCrl

TIMEOUT = 30.0
LISTED = 0x07654321


def fetch(url: str, **rest) -> bytes:
    file = io.BytesIO()
    fetch_crl(url, file, **{"timeout": TIMEOUT, **rest})
    return file.getvalue()


def test_a_crl_is_fetched_over_http(serving, body, crl):
    with serving(body(crl(LISTED))) as url:
        assert fetch(url) == crl(LISTED)


def test_a_redirect_on_the_same_host_is_followed(serving, body, crl):
    def respond(handler, request):
        if handler.path == "/new":
            body(crl(LISTED))(handler, request)
        else:
            body(b"", 302, Location="/new")(handler, request)

    with serving(respond) as url:
        assert fetch(url) == crl(LISTED)


def test_a_redirect_to_another_host_is_refused(serving, body, crl):
    with (
        serving(body(crl(LISTED))) as other,
        serving(body(b"", 302, Location=other)) as url,
        pytest.raises(CrlRedirectRefused) as refusal,
    ):
        fetch(url)
    assert refusal.value.host == "127.0.0.1"


def test_redirects_in_circles_end(serving, body):
    with serving(body(b"", 302, Location="/")) as url, pytest.raises(CrlNotFetched, match="circles"):
        fetch(url)


@pytest.mark.parametrize("status", [404, 500, 204])
def test_an_http_error_is_no_crl(serving, body, status):
    with serving(body(b"", status)) as url, pytest.raises(CrlNotFetched, match=str(status)):
        fetch(url)


def endless(handler, _request):
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(bytes(64 * 1024))
    except OSError:
        pass  # whoever asked has gone


def test_an_endless_body_is_cut_off_at_the_limit(serving):
    with serving(endless) as url, pytest.raises(CrlTooLarge) as refusal:
        fetch(url, limit=1_000_000)
    assert refusal.value.limit == 1_000_000


def test_a_body_that_trickles_in_is_given_up(serving):
    given_up = threading.Event()

    def trickle(handler, _request):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not given_up.wait(0.05):
            handler.wfile.write(b"\x30")

    with serving(trickle) as url:
        with pytest.raises(CrlNotFetched, match="too long"):
            fetch(url, maximum_seconds=0.3)
        given_up.set()


def test_a_body_cut_off_in_the_middle_is_refused(serving, crl, import_bytes):
    """Whether the connection says so or not: the DER is not whole."""

    def cut_off(handler, _request):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(crl(LISTED)[:200])

    with serving(cut_off) as url, pytest.raises((CrlNotFetched, MalformedCrl)):
        import_bytes(fetch(url))


def test_a_server_that_is_gone_or_silent_is_told():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(CrlNotFetched, match="Timeout"):
            fetch(url, timeout=0.2)
    with pytest.raises(CrlNotFetched, match="ConnectionError"):
        fetch(url)


# slapd

SLAPD = shutil.which("slapd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/lib/openldap")
SUFFIX = "o=JPKI-TEST-LOCAL,c=JP"
ENTRY = f"cn=CRL 東京,{SUFFIX}"


@pytest.fixture(scope="module")
def directory_server(tmp_path_factory, pki, pki_keys, now):
    """Debian's slapd on a free port of loopback, with one CRL in it."""
    from datetime import timedelta

    from cryptography import x509

    from jpki.simulator.crl import RevokedCard, make_crl
    from jpki.simulator.pki import Authority

    assert SLAPD, "Debian's slapd is not installed: .ci/setup test"
    folder = tmp_path_factory.mktemp("slapd")
    content = make_crl(
        x509.load_der_x509_certificate(pki.ca_certificate(Authority.AUTHENTICATION_2)),
        pki_keys.authorities[Authority.AUTHENTICATION_2],
        [RevokedCard(number, now) for number in range(LISTED, LISTED + 5000)],
        number=7,
        this_update=now,
        next_update=now + timedelta(days=1),
    )
    (folder / "data").mkdir()
    (folder / "slapd.conf").write_text(
        "include /etc/ldap/schema/core.schema\n"
        "moduleload back_mdb\n"
        "modulepath /usr/lib/ldap\n"
        "database mdb\n"
        f"suffix {SUFFIX}\n"
        f"directory {folder}/data\n",
        "utf-8",
    )
    (folder / "crl.ldif").write_text(
        f"dn: {SUFFIX}\nobjectClass: organization\no: JPKI-TEST-LOCAL\n\n"
        f"dn:: {base64.b64encode(ENTRY.encode()).decode()}\n"
        "objectClass: cRLDistributionPoint\n"
        f"cn:: {base64.b64encode('CRL 東京'.encode()).decode()}\n"
        f"certificateRevocationList;binary:: {base64.b64encode(content).decode()}\n\n"
        f"dn: cn=empty,{SUFFIX}\nobjectClass: cRLDistributionPoint\ncn: empty\n",
        "utf-8",
    )
    settings = ("-f", str(folder / "slapd.conf"))
    subprocess.run(
        [str(Path(SLAPD).with_name("slapadd")), *settings, "-l", str(folder / "crl.ldif")],
        check=True,
        capture_output=True,
        timeout=90,
    )
    port = free_port()
    address = f"ldap://127.0.0.1:{port}"
    server = subprocess.Popen([SLAPD, *settings, "-h", f"{address}/", "-d", "0"])
    try:
        deadline = time.monotonic() + 20
        while True:
            assert server.poll() is None, "slapd has ended"
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "slapd does not listen"
                time.sleep(0.02)
        yield address, content
    finally:
        server.terminate()
        server.wait(90)


def test_a_crl_is_fetched_from_a_directory(directory_server, import_bytes):
    address, content = directory_server
    fetched = fetch(f"{address}/{quote(ENTRY)}")
    assert fetched == content
    assert import_bytes(fetched).entry_count == 5000


def test_the_attribute_may_be_named(directory_server):
    address, content = directory_server
    assert fetch(f"{address}/{quote(ENTRY)}?certificateRevocationList;binary") == content
    with pytest.raises(CrlNotFetched, match="0 CRLs"):
        fetch(f"{address}/{quote(ENTRY)}?authorityRevocationList;binary")


def test_a_crl_from_a_directory_is_bounded(directory_server):
    address, _ = directory_server
    with pytest.raises(CrlTooLarge):
        fetch(f"{address}/{quote(ENTRY)}", limit=1000)


def test_an_entry_without_a_crl_and_one_that_is_not_there_are_told(directory_server):
    address, _ = directory_server
    with pytest.raises(CrlNotFetched, match="0 CRLs"):
        fetch(f"{address}/{quote('cn=empty,' + SUFFIX)}")
    with pytest.raises(CrlNotFetched, match="NoSuchObject"):
        fetch(f"{address}/{quote('cn=nobody,' + SUFFIX)}")


def test_a_directory_whose_answer_never_ends_is_given_up():
    given_up, outlasted = threading.Event(), threading.Event()

    def trickle(listener):
        connected, _ = listener.accept()
        with connected:
            connected.recv(1000)
            # A success to the bind, then the header of an entry of a gigabyte.
            connected.sendall(bytes.fromhex("300c02010161070a010004000400"))
            connected.recv(1000)
            connected.sendall(bytes.fromhex("3084400000000201026484"))
            for _ in range(200):
                if given_up.wait(0.05):
                    return
                try:
                    connected.sendall(b"\0")
                except OSError:
                    return
            outlasted.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=trickle, args=[listener])
        server.start()
        url = f"ldap://127.0.0.1:{listener.getsockname()[1]}/{quote(ENTRY)}"
        with pytest.raises(CrlNotFetched):
            fetch(url, maximum_seconds=0.5)
        given_up.set()
        server.join(90)
    assert not server.is_alive()
    assert not outlasted.is_set()


def test_a_directory_that_is_gone_or_silent_is_told():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ldap://127.0.0.1:{silent.getsockname()[1]}/{quote(ENTRY)}"
        with pytest.raises(CrlNotFetched):
            fetch(url, timeout=1)
    with pytest.raises(CrlNotFetched):
        fetch(url, timeout=1)
