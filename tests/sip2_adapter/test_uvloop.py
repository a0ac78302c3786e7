from __future__ import annotations

from datetime import UTC, datetime

import pytest
import uvloop

from sip2_adapter import AcsUnavailable, Listener, SessionEnd, Sip2Client, Sip2Proxy
from sip2_adapter.simulator import Account, SimulatedAcs

NOW = datetime(2026, 11, 20, 15, 57, 39, tzinfo=UTC)
TOKEN = b"98000000000017"


def test_proxy_and_client_run_on_uvloop(library, resolver):
    resolver.give(TOKEN, b"20000000000001", "s1")

    async def story():
        acs = SimulatedAcs(library, [Account("kiosk1", "pw1", "CPL")], clock=lambda: NOW)
        await acs.start()
        proxy = Sip2Proxy()
        proxy.add_library(Listener("main", "127.0.0.1", 0, "127.0.0.1", acs.port), resolver)
        await proxy.start()
        async with Sip2Client("127.0.0.1", proxy.ports["main"], timeout=30) as client:
            await client.login(b"kiosk1", b"pw1")
            patron = await client.patron_information(b"CPL", TOKEN, NOW)
            assert patron.value(b"AA") == TOKEN
            await proxy.stop(grace=1)
            with pytest.raises(AcsUnavailable):
                await client.status()
        await acs.stop()

    uvloop.run(story())
    assert resolver.closed == [("s1", SessionEnd.DISCONNECTED)]
