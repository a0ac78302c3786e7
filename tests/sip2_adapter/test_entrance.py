"""Who may connect, over real sockets: TLS, the PROXY protocol, addresses, limits, libraries on one port."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import subprocess
from contextlib import suppress
from ipaddress import ip_address, ip_network

import pytest

from bridge.demo.processes import free_port
from sip2_adapter import (
    ConnectionLimits,
    Cut,
    Listener,
    LoginRefusal,
    ProxyLimits,
    Result,
    Sip2Client,
    Sip2Proxy,
    Terminator,
    TlsProblem,
    client_tls,
    decode,
    server_tls,
)
from sip2_adapter.proxy_protocol import SIGNATURE

DATE = b"20261120    155739"
CARD = b"20000000000001"
TOKEN = b"98000000000017"
STATUS = b"9900802.00"
LOOPBACK = ip_network("127.0.0.0/8")
ELSEWHERE = ip_network("10.0.0.0/8")


@pytest.fixture
def resolver(prompt_resolver):
    return prompt_resolver


def patron_information(identifier):
    return b"63000" + DATE + b" " * 10 + b"AOCPL|AA" + identifier + b"|"


def header(source, version=2):
    if version == 1:
        return b"PROXY TCP4 %s 127.0.0.1 56324 6001\r\n" % source.encode()
    block = ip_address(source).packed + bytes([127, 0, 0, 1]) + b"\xdc\x04\x17\x71"
    return SIGNATURE + b"\x21\x11\x00\x0c" + block


# TLS towards the machines.


async def test_a_machine_lends_over_tls(listening, connect, authority, resolver):
    host = authority.issue("proxy.library.test")
    port = await listening(tls=server_tls(host.certificate, host.key))
    trust = client_tls(authority.file, "proxy.library.test")
    kiosk = await connect(port, ssl=trust.context, server_hostname=trust.server_name)
    assert (await kiosk.log_in()).startswith(b"941")
    resolver.give(TOKEN, CARD, "s1")
    assert decode(await kiosk.ask_sealed(patron_information(TOKEN))).value(b"AA") == TOKEN
    assert decode(await kiosk.ask_sealed(patron_information(TOKEN))).value(b"AA") == TOKEN
    assert CARD not in kiosk.received


async def test_tls_below_1_2_and_no_tls_are_refused(listening, connect, authority, observer, until):
    host = authority.issue("proxy.library.test")
    port = await listening(tls=server_tls(host.certificate, host.key))
    plain = await connect(port)
    await plain.send(b"9300CNkiosk1|COpw1|CPCPL|\r")
    assert b"94" not in await plain.end()
    await until(lambda: observer.cuts == [Cut.TLS_HANDSHAKE])
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(authority.file)
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with suppress(OSError):  # the machine's side sees an alert or a reset
        await connect(port, ssl=old, server_hostname="proxy.library.test")
    await until(lambda: observer.cuts == [Cut.TLS_HANDSHAKE] * 2)
    assert observer.connected == 0


async def test_a_machine_without_a_certificate_of_the_right_ca_is_refused(
    listening, connect, authority, other_authority, observer, until
):
    host, machine = authority.issue("proxy.library.test"), authority.issue("kiosk1.library.test")
    stranger = other_authority.issue("kiosk1.library.test")
    port = await listening(tls=server_tls(host.certificate, host.key, authority.file))
    for number, wrong in enumerate((None, stranger), start=1):
        trust = client_tls(authority.file, "proxy.library.test")
        if wrong is not None:
            trust.context.load_cert_chain(wrong.certificate, wrong.key)
        # With TLS 1.3 the machine learns of it when it reads.
        with suppress(OSError, asyncio.IncompleteReadError):
            kiosk = await connect(port, ssl=trust.context, server_hostname=trust.server_name)
            await kiosk.log_in()
        await until(lambda number=number: observer.cuts == [Cut.TLS_HANDSHAKE] * number)
    trust = client_tls(authority.file, "proxy.library.test")
    trust.context.load_cert_chain(machine.certificate, machine.key)
    kiosk = await connect(port, ssl=trust.context, server_hostname=trust.server_name)
    assert (await kiosk.log_in()).startswith(b"941")


async def test_a_tls_handshake_that_does_not_end_is_ended(listening, connect, authority, observer, until):
    host = authority.issue("proxy.library.test")
    port = await listening(
        tls=server_tls(host.certificate, host.key), limits=ProxyLimits(handshake_timeout=0.1)
    )
    kiosk = await connect(port)
    await kiosk.send(b"\x16\x03\x01")
    assert await kiosk.end() == b""
    await until(lambda: observer.cuts == [Cut.TLS_HANDSHAKE])


def test_files_that_are_no_use_for_tls_are_told_in_plain_words(tmp_path, authority, other_authority):
    host, other = authority.issue("a.test"), other_authority.issue("b.test")
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("")
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkey", "-aes256", "-passout", "pass:secret", "-in", host.key, "-out", locked], check=True
    )
    cases = [
        (lambda: server_tls(missing, host.key), f"{missing}: cannot be read: No such file or directory"),
        (lambda: server_tls(host.certificate, missing), f"{missing}: cannot be read"),
        (lambda: server_tls(host.certificate, other.key), f"{other.key}: is not the key of the certificate"),
        (lambda: server_tls(empty, host.key), "are not a certificate and its key, in PEM"),
        (lambda: server_tls(host.certificate, locked), "in PEM and without a password"),
        (lambda: server_tls(host.certificate, host.key, empty), f"{empty}: holds no CA certificate in PEM"),
        (lambda: client_tls(host.key, "a.test"), f"{host.key}: holds no CA certificate in PEM"),
    ]
    for make, expected in cases:
        with pytest.raises(TlsProblem) as caught:
            make()
        assert expected in str(caught.value)


# TLS towards the ACS.


@pytest.fixture
async def tunnel(cleanup):
    """Put TLS in front of a port, as stunnel does in front of Koha; returns the tunnel's port."""

    async def relay(reader, writer):
        try:
            while data := await reader.read(2**16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def start(port, issued):
        async def serve(reader, writer):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(relay(reader, inner_writer), relay(inner_reader, writer))

        context = server_tls(issued.certificate, issued.key)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        cleanup.callback(server.close)
        return server.sockets[0].getsockname()[1]

    return start


async def test_the_acs_is_reached_over_tls(start_acs, start_proxy, connect, tunnel, authority, resolver):
    acs = await start_acs()
    port = await tunnel(acs.port, authority.issue("koha.library.test"))
    trust = client_tls(authority.file, "koha.library.test")
    proxy = await start_proxy(port, upstream_tls=trust)
    kiosk = await connect(proxy.ports["main"])
    assert (await kiosk.log_in()).startswith(b"941")
    resolver.give(TOKEN, CARD, "s1")
    assert decode(await kiosk.ask_sealed(patron_information(TOKEN))).value(b"BL") == b"Y"
    async with Sip2Client("127.0.0.1", port, timeout=30, tls=trust) as client:
        await client.login(b"plain", b"pw")
        assert (await client.status()).code == b"98"


@pytest.mark.parametrize(
    ("issuer", "name", "days", "why"),
    [
        ("other_authority", "koha.library.test", 1, "unable to get local issuer certificate"),
        ("authority", "koha.library.test", -1, "certificate has expired"),
        ("authority", "other.library.test", 1, "Hostname mismatch"),
        ("authority", "127.0.0.1", 1, "Hostname mismatch"),
    ],
    ids=["wrong CA", "expired", "wrong name", "address instead"],
)
async def test_an_acs_that_cannot_prove_itself_never_gets_a_log_in(
    start_acs, start_proxy, connect, tunnel, authority, request, caplog, issuer, name, days, why
):
    acs = await start_acs()
    issued = request.getfixturevalue(issuer).issue(name, days=days)
    port = await tunnel(acs.port, issued)
    proxy = await start_proxy(port, upstream_tls=client_tls(authority.file, "koha.library.test"))
    kiosk = await connect(proxy.ports["main"])
    assert (await kiosk.log_in()).startswith(b"940")
    assert acs.received == []
    assert why in caplog.text


async def test_an_acs_without_tls_never_gets_a_log_in(start_acs, start_proxy, connect, authority, caplog):
    acs = await start_acs()
    proxy = await start_proxy(
        acs.port,
        upstream_tls=client_tls(authority.file, "koha.library.test"),
        limits=ProxyLimits(answer_timeout=0.5),  # Koha waits for a CR
    )
    kiosk = await connect(proxy.ports["main"])
    assert (await kiosk.log_in()).startswith(b"940")
    assert not any(line.startswith(b"93") for line in acs.received)
    assert "no session with the ACS" in caplog.text


# The PROXY protocol.


@pytest.mark.parametrize("version", [1, 2])
async def test_the_announced_address_is_the_machines(listening, connect, resolver, version):
    port = await listening(trusted_proxies=(LOOPBACK,), networks=(ELSEWHERE,))
    kiosk = await connect(port)
    await kiosk.send(header("10.1.2.9", version))
    assert (await kiosk.log_in()).startswith(b"941")
    resolver.give(TOKEN, CARD, "s1")
    await kiosk.ask_sealed(patron_information(TOKEN))
    assert resolver.kiosks[0].peer == "10.1.2.9"


@pytest.mark.parametrize("version", [1, 2])
async def test_a_header_may_come_in_pieces_and_together_with_the_log_in(
    listening, connect, resolver, version
):
    port = await listening(trusted_proxies=(LOOPBACK,))
    kiosk = await connect(port)
    data = header("10.1.2.9", version) + kiosk.sealed(b"9300CNkiosk1|COpw1|CPCPL|") + b"\r"
    for position in range(0, len(data), 5):
        await kiosk.send(data[position : position + 5])
    assert (await kiosk.line()).startswith(b"941")


@pytest.mark.parametrize(
    "data",
    [
        b"9300CNkiosk1|COpw1|CPCPL|\r",
        b"PROXY TCP4 10.1.2.9\r\n",
        b"PROXY UNKNOWN " + b"x" * 300,
        SIGNATURE + b"\x21\x11\xff\xff" + b"x" * 300,
    ],
    ids=["absent", "malformed", "oversized", "oversized version 2"],
)
async def test_a_connection_without_a_right_header_is_closed(listening, connect, observer, until, data):
    port = await listening(trusted_proxies=(LOOPBACK,))
    kiosk = await connect(port)
    await kiosk.send(data)
    assert await kiosk.end() == b""
    await until(lambda: observer.cuts == [Cut.PROXY_HEADER])
    assert observer.connected == 0


async def test_a_header_that_does_not_come_closes_the_connection(listening, connect, observer, until):
    port = await listening(trusted_proxies=(LOOPBACK,), limits=ProxyLimits(handshake_timeout=0.1))
    kiosk = await connect(port)
    await kiosk.send(b"PROXY TCP4 10.")
    assert await kiosk.end() == b""
    await until(lambda: observer.cuts == [Cut.PROXY_HEADER])


async def test_whoever_is_no_trusted_load_balancer_is_not_even_read(listening, connect, observer, until):
    port = await listening(trusted_proxies=(ELSEWHERE,))
    kiosk = await connect(port)
    assert await kiosk.end() == b""
    await until(lambda: observer.cuts == [Cut.PROXY_NOT_TRUSTED])


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2"])
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
async def test_machines_come_through_haproxy(
    listening, connect, cleanup, tmp_path, authority, resolver, how, encrypted
):
    host = authority.issue("proxy.library.test")
    port = await listening(
        trusted_proxies=(ip_network("127.0.0.1/32"),),
        networks=(ip_network("127.0.0.2/32"),),
        tls=server_tls(host.certificate, host.key) if encrypted else None,
    )
    front = free_port()
    settings = tmp_path / "haproxy.cfg"
    settings.write_text(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n"
        f"listen sip2\n bind 127.0.0.1:{front}\n server proxy 127.0.0.1:{port} {how}\n"
    )
    process = await asyncio.create_subprocess_exec("haproxy", "-f", str(settings), "-db", "-q")
    cleanup.push_async_callback(process.wait)
    cleanup.callback(process.kill)
    trust = client_tls(authority.file, "proxy.library.test")
    options = {"ssl": trust.context, "server_hostname": trust.server_name} if encrypted else {}
    async with asyncio.timeout(60):
        while True:
            try:
                kiosk = await connect(front, local_addr=("127.0.0.2", 0), **options)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                break
    assert (await kiosk.log_in()).startswith(b"941")
    resolver.give(TOKEN, CARD, "s1")
    await kiosk.ask_sealed(patron_information(TOKEN))
    assert resolver.kiosks[0].peer == "127.0.0.2"


# Addresses.


async def test_a_machine_from_outside_the_networks_is_not_taken(listening, connect, observer, until):
    port = await listening(networks=(ELSEWHERE,))
    kiosk = await connect(port)
    assert await kiosk.end() == b""
    await until(lambda: observer.cuts == [Cut.ADDRESS_NOT_ALLOWED])


async def test_a_machine_that_logs_in_from_elsewhere_is_refused_validly_and_alarmed(
    listening, connect, observer, resolver, caplog
):
    port = await listening(machines={"kiosk1": (ip_network("127.0.0.9/32"),)})
    kiosk = await connect(port)
    answer = decode(await kiosk.log_in())
    assert (answer.code, answer.fixed_field("ok")) == (b"94", b"0")
    assert await kiosk.end() == b""
    assert observer.login_refusals == [LoginRefusal.WRONG_ADDRESS]
    assert observer.results == [(b"93", Result.LOGIN_REFUSED)]
    assert resolver.alarms == ["kiosk1 at 127.0.0.1"]
    assert "log-in from 127.0.0.1 refused: wrong_address" in caplog.text
    assert "pw1" not in caplog.text
    at_home = await connect(port, local_addr=("127.0.0.9", 0))
    assert (await at_home.log_in()).startswith(b"941")


@pytest.mark.parametrize("login", [b"KIOSK1", b"kiosk1 ", b"Kiosk1"])
async def test_another_spelling_of_a_known_log_in_is_nobody(listening, connect, observer, login):
    port = await listening(machines={"kiosk1": (ip_network("127.0.0.9/32"),)})
    kiosk = await connect(port)
    assert (await kiosk.log_in(login)).startswith(b"940")
    assert observer.login_refusals == [LoginRefusal.UNKNOWN_LOGIN]


async def test_only_known_machines_may_log_in_where_it_is_set(listening, connect, observer, caplog):
    port = await listening(machines={"kiosk2": ()}, known_machines_only=True)
    kiosk = await connect(port)
    assert (await kiosk.log_in()).startswith(b"940")
    assert observer.login_refusals == [LoginRefusal.UNKNOWN_LOGIN]
    assert "kiosk1" not in caplog.text, "what was typed may be a password"
    known = await connect(port)
    assert (await known.log_in(b"kiosk2", b"pw2")).startswith(b"941")


async def test_a_second_log_in_cannot_change_the_account(listening, connect, observer):
    port = await listening()
    kiosk = await connect(port)
    assert (await kiosk.log_in()).startswith(b"941")
    assert (await kiosk.log_in(b"kiosk2", b"pw2")).startswith(b"940")
    assert await kiosk.end() == b""
    assert observer.login_refusals == [LoginRefusal.SECOND_ACCOUNT]


async def test_a_log_in_that_koha_refuses_is_counted_apart(listening, connect, observer):
    kiosk = await connect(await listening())
    assert (await kiosk.log_in(b"kiosk1", b"wrong")).startswith(b"940")
    assert observer.login_refusals == [LoginRefusal.BY_ACS]


# Limits.


async def test_one_address_cannot_take_all_connections(listening, connect, observer, until):
    port = await listening(connections=ConnectionLimits(total=3, per_address=2))
    first, second = await connect(port), await connect(port)
    await until(lambda: observer.connected == 2)
    assert await (await connect(port)).end() == b""
    other = await connect(port, local_addr=("127.0.0.2", 0))
    assert (await other.log_in()).startswith(b"941")
    third = await connect(port, local_addr=("127.0.0.3", 0))
    assert await third.end() == b""
    assert observer.cuts == [Cut.TOO_MANY_FROM_ADDRESS, Cut.TOO_MANY_CONNECTIONS]
    first.close()
    await until(lambda: observer.disconnected == 1)
    again = await connect(port)
    assert (await again.log_in()).startswith(b"941")
    assert (await second.log_in()).startswith(b"941")


async def test_connections_that_are_not_let_in_leave_no_trace(listening, connect, observer, until):
    port = await listening(trusted_proxies=(LOOPBACK,), connections=ConnectionLimits(total=2, per_address=1))
    for number in range(1, 6):
        wrong = await connect(port)
        await wrong.send(b"GET / HTTP/1.1\r\n\r\n")
        assert await wrong.end() == b""
        await until(lambda number=number: len(observer.cuts) == number)
    kiosk = await connect(port)
    await kiosk.send(header("10.1.2.9"))
    assert (await kiosk.log_in()).startswith(b"941")
    assert set(observer.cuts) == {Cut.PROXY_HEADER}


async def test_without_file_descriptors_the_port_pauses_and_goes_on(listening, connect, monkeypatch, caplog):
    monkeypatch.setattr("sip2_adapter.entrance._PAUSE", 0.05)
    create_server = socket.create_server
    refusals = [OSError(errno.EMFILE, "Too many open files")]

    class Exhausted(socket.socket):
        def accept(self):
            if refusals:
                raise refusals.pop()
            return super().accept()

    def create(*args, **options):
        return Exhausted(fileno=create_server(*args, **options).detach())

    monkeypatch.setattr("sip2_adapter.entrance.socket.create_server", create)
    kiosk = await connect(await listening())
    assert (await kiosk.log_in()).startswith(b"941")
    assert refusals == []
    assert "no connection taken: Too many open files" in caplog.text


async def test_a_frame_once_begun_must_end_in_time(listening, connect, observer, until):
    port = await listening(limits=ProxyLimits(frame_timeout=0.1))
    kiosk = await connect(port)
    await kiosk.log_in()
    await kiosk.send(b"9900")
    assert await kiosk.end() == b""
    await until(lambda: observer.cuts == [Cut.FRAME_TOO_SLOW])


async def test_nobody_stays_without_logging_in_however_much_is_said(listening, connect, observer, until):
    port = await listening(limits=ProxyLimits(login_timeout=0.3))
    kiosk = await connect(port)

    async def talk():
        while True:
            await kiosk.ask_sealed(STATUS)

    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await asyncio.wait_for(talk(), timeout=30)
    await until(lambda: observer.cuts == [Cut.NOT_LOGGED_IN])


async def test_garbage_ends_the_connection_after_its_budget(listening, connect, observer):
    port = await listening(limits=ProxyLimits(garbage_limit=3))
    kiosk = await connect(port)
    await kiosk.log_in()
    for data in (b"GET / HTTP/1.1", b"\xff\xfe", b"9900802.00AY0AZ0000"):
        assert (await kiosk.ask(data)).startswith(b"96")
    assert (await kiosk.ask_sealed(STATUS)).startswith(b"98")
    assert (await kiosk.ask(b"4")).startswith(b"96")
    assert await kiosk.end() == b""
    assert observer.cuts == [Cut.GARBAGE]


async def test_a_flood_of_requests_is_cut_off_and_many_in_one_segment_are_answered(
    listening, connect, observer, until
):
    port = await listening()
    kiosk = await connect(port)
    await kiosk.log_in()
    await kiosk.send(b"".join(kiosk.sealed(STATUS, n % 10) + b"\r" for n in range(60)))
    for number in range(60):
        assert decode(await kiosk.line()).sequence == number % 10
    await kiosk.send(b"99\r" * 20_000)
    await kiosk.end()
    await until(lambda: observer.cuts == [Cut.TOO_MANY_FRAMES])


async def test_machines_that_send_line_feeds_alone(listening, connect, resolver):
    port = await listening(terminator=Terminator.LF)
    kiosk = await connect(port)
    resolver.give(TOKEN, CARD, "s1")
    for body in (b"9300CNkiosk1|COpw1|CPCPL|", patron_information(TOKEN), patron_information(TOKEN)):
        await kiosk.send(kiosk.sealed(body) + b"\n")
        assert (await kiosk.line(b"\n"))[:2] in (b"94", b"64")
    assert b"\r" not in kiosk.received


# Several libraries on one port.


@pytest.fixture
async def shared(start_acs, cleanup, resolver, observer):
    """Two libraries behind one port: the city's has kiosk1, the harbour's kiosk2, each its own ACS."""
    city, harbour = await start_acs(), await start_acs()
    resolvers = {"city": resolver, "harbour": type(resolver)()}
    port = free_port()
    proxy = Sip2Proxy(observer=observer)
    for name, login, acs in (("city", "kiosk1", city), ("harbour", "kiosk2", harbour)):
        proxy.add_library(
            Listener(
                name,
                "127.0.0.1",
                port,
                "127.0.0.1",
                acs.port,
                machines={login: (LOOPBACK,)},
                known_machines_only=True,
            ),
            resolvers[name],
        )
    await proxy.start()
    cleanup.push_async_callback(proxy.stop, 1)
    return port, city, harbour, resolvers


async def test_the_log_in_decides_which_library_a_machine_is_of(shared, connect, observer):
    port, city, harbour, resolvers = shared
    one, two, nobody = [await connect(port) for _ in range(3)]
    assert (await one.log_in()).startswith(b"941")
    assert (await two.log_in(b"kiosk2", b"pw2")).startswith(b"941")
    assert (await nobody.log_in(b"plain", b"pw")).startswith(b"940")
    assert observer.login_refusals == [LoginRefusal.UNKNOWN_LOGIN]
    assert [line[4:10] for line in city.received if line.startswith(b"93")] == [b"CNkios"]
    assert b"kiosk2" in b"".join(harbour.received)
    assert b"kiosk2" not in b"".join(city.received)
    assert b"kiosk1" not in b"".join(harbour.received)
    resolvers["harbour"].give(TOKEN, CARD, "s1")
    await two.ask_sealed(patron_information(TOKEN))
    assert (resolvers["harbour"].kiosks[0].listener, resolvers["city"].kiosks) == ("harbour", [])


async def test_a_token_of_one_library_is_worth_nothing_in_the_other(shared, connect):
    port, _, harbour, resolvers = shared
    resolvers["city"].give(TOKEN, CARD, "s1")
    one, two = await connect(port), await connect(port)
    await one.log_in()
    await two.log_in(b"kiosk2", b"pw2")
    assert decode(await one.ask_sealed(patron_information(TOKEN))).value(b"BL") == b"Y"
    assert decode(await two.ask_sealed(patron_information(TOKEN))).value(b"BL") == b"N"
    assert TOKEN not in b"".join(harbour.received)
    assert CARD not in b"".join(harbour.received)


async def test_nobody_changes_the_library_by_a_second_log_in(shared, connect, observer):
    port, _, harbour, _ = shared
    kiosk = await connect(port)
    await kiosk.log_in()
    assert (await kiosk.log_in(b"kiosk2", b"pw2")).startswith(b"940")
    assert observer.login_refusals == [LoginRefusal.SECOND_ACCOUNT]
    assert harbour.received == []


def test_libraries_whose_machines_cannot_be_told_apart_cannot_share_a_port(resolver):
    def listener(name, *machines, known_machines_only=True, **options):
        return Listener(
            name,
            "127.0.0.1",
            6001,
            "127.0.0.1",
            6002,
            machines=dict.fromkeys(machines, ()),
            known_machines_only=known_machines_only,
            **options,
        )

    for second in (
        listener("b", "KIOSK1"),
        listener("b", "kiosk2", known_machines_only=False),
        listener("b", "kiosk2", terminator=Terminator.LF),
        listener("b", "kiosk2", trusted_proxies=(LOOPBACK,)),
    ):
        proxy = Sip2Proxy()
        proxy.add_library(listener("a", "kiosk1"), resolver)
        with pytest.raises(ValueError, match="cannot be told"):
            proxy.add_library(second, resolver)


# The end.


async def test_a_stop_takes_nobody_new_and_drops_who_is_not_in_yet(
    start_acs, start_proxy, connect, authority
):
    acs = await start_acs()
    host = authority.issue("proxy.library.test")
    proxy = await start_proxy(acs.port, tls=server_tls(host.certificate, host.key))
    port = proxy.ports["main"]
    half = await connect(port)
    await half.send(b"\x16\x03")
    await proxy.stop(grace=5)
    assert await half.end() == b""
    with pytest.raises(ConnectionRefusedError):
        await connect(port)
