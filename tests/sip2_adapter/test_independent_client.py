"""The PyPI package Sip2, a client that is not ours, through the proxy."""

from __future__ import annotations

import asyncio
import importlib

import pytest


@pytest.fixture
def sip2(tmp_path, monkeypatch):
    # It writes sip2.log, with every password, where it stands.
    monkeypatch.chdir(tmp_path)
    return importlib.import_module("Sip2.sip2")


async def test_an_independent_client_borrows_with_a_token(start_acs, start_proxy, resolver, library, sip2):
    acs = await start_acs()
    proxy = await start_proxy(acs.port)
    resolver.give(b"98000000000017", b"20000000000001", "s1")
    heard = await asyncio.to_thread(borrow, sip2, proxy.ports["main"])
    assert heard["login"]["fixed"]["Ok"] == "1"
    assert heard["information"]["variable"]["AA"] == ["98000000000017"]
    assert heard["information"]["variable"]["AE"] == ["Edna Acosta"]
    assert heard["loan"]["fixed"]["Ok"] == "1"
    assert heard["end"]["fixed"]["EndSession"] == "Y"
    assert library.loans == {"39999000000001": "20000000000001"}
    assert "20000000000001" not in repr(heard)


def borrow(sip2, port):
    client = sip2.Sip2()
    client.hostName, client.hostPort, client.tlsEnable = "127.0.0.1", port, False
    client.loglevel = "ERROR"
    client.institutionId = "CPL"
    heard = {}
    assert client.connect()
    try:
        request = client.sip_login_request("kiosk1", "pw1")
        heard["login"] = client.sip_login_response(client.get_response(request))
        client.patron = "98000000000017"
        request = client.sip_patron_information_request("charged")
        heard["information"] = client.sip_patron_information_response(client.get_response(request))
        request = client.sip_checkout_request("39999000000001", "")
        heard["loan"] = client.sip_checkout_response(client.get_response(request))
        request = client.sip_end_patron_session_request()
        heard["end"] = client.sip_end_patron_session_response(client.get_response(request))
    finally:
        client.disconnect()
    return heard
