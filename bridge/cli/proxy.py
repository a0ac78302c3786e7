"""``koha-jpki sip2-proxy``: run the SIP2 proxies until told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable

import click
import uvloop

from bridge.cli.common import FAILED, load, refusals_told
from bridge.wiring import build_proxies
from sip2_adapter.proxy import Sip2Proxy

GRACE_SECONDS = 10.0
"""How long answers that are due may still go out after SIGTERM."""


@click.command("sip2-proxy")
@click.pass_context
def sip2_proxy(ctx: click.Context) -> None:
    """Run the SIP2 proxy of every library that has self-check machines."""
    settings = load(ctx)
    with refusals_told(ctx):
        proxies = build_proxies(settings)
        if not proxies:
            click.echo("no library in the settings has a [library.sip2] section", err=True)
            ctx.exit(FAILED)
        hosts = {
            library.library_id: library.sip2.listen_host
            for library in settings.libraries
            if library.sip2 is not None
        }
        uvloop.run(_run(proxies.values(), hosts))


async def _run(proxies: Iterable[Sip2Proxy], hosts: dict[str, str]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    started: list[Sip2Proxy] = []
    try:
        for proxy in proxies:
            await proxy.start()
            started.append(proxy)
            for name, port in proxy.ports.items():
                click.echo(f"listening on {hosts[name]}:{port}")
        await stop.wait()
    finally:
        await asyncio.gather(*(proxy.stop(GRACE_SECONDS) for proxy in started))
