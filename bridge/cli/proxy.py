"""``koha-jpki sip2-proxy``: run the SIP2 proxies until told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import click
import uvloop
from prometheus_client import CollectorRegistry, start_http_server

from bridge.cli.common import load, refusals_told
from bridge.cli.json_output import FAILED
from bridge.metrics.card import CardMetrics
from bridge.metrics.proxy import ProxyMetrics
from bridge.metrics.terminal import TerminalMetrics
from bridge.wiring import build_audit_reader, build_proxy, read_terminals
from config import MetricsSettings
from sip2_adapter.proxy import Sip2Proxy

GRACE_SECONDS = 10.0
"""How long answers that are due may still go out after SIGTERM."""


@click.command("sip2-proxy")
@click.pass_context
def sip2_proxy(ctx: click.Context) -> None:
    """Run the SIP2 proxy of every library that has self-check machines."""
    settings = load(ctx)
    metrics = ProxyMetrics(CollectorRegistry())
    with refusals_told(ctx), _metrics_served(metrics, settings.metrics):
        proxy = build_proxy(settings, metrics)
        if proxy is None:
            click.echo("no library in the settings has a [library.sip2] section", err=True)
            ctx.exit(FAILED)
        TerminalMetrics(metrics.registry, read_terminals(settings))
        libraries = [library.library_id for library in settings.libraries]
        CardMetrics(metrics.registry, build_audit_reader(settings), libraries)
        uvloop.run(_run(proxy))


@contextmanager
def _metrics_served(metrics: ProxyMetrics, settings: MetricsSettings) -> Iterator[None]:
    """Let Prometheus read *metrics* where the settings name a port, from a thread of its own."""
    if settings.port is None:
        yield
        return
    address = f"{settings.host}:{settings.port}"
    try:
        server, thread = start_http_server(settings.port, settings.host, metrics.registry)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"metrics on {address}") from None
    click.echo(f"metrics on http://{address}/metrics")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def _run(proxy: Sip2Proxy) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await proxy.start()
        ports = proxy.ports
        hosts = {(site.listener.host, ports[name]) for name, site in proxy.sites.items()}
        for host, port in sorted(hosts):
            click.echo(f"listening on {host}:{port}")
        await stop.wait()
    finally:
        await proxy.stop(GRACE_SECONDS)
