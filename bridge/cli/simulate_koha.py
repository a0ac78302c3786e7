"""``koha-jpki simulate-koha``: a Koha with invented people and books, for vendors and for trials."""

from __future__ import annotations

import signal
from datetime import datetime

import click

from bridge.demo.koha import SimulatedKoha
from koha_client.simulator.demo_data import DemoItem, DemoPatron, demo_state


@click.command("simulate-koha")
@click.option("--rest-port", default=0, show_default="a free one", help="Port of the REST API.")
@click.option("--sip-port", default=0, show_default="a free one", help="Port of the SIP2 server.")
@click.option("--login", default="selfcheck1", show_default=True, help="SIP2 log-in (CN).")
@click.option(
    "--password", default="selfcheck1-password", show_default=True, help="SIP2 password (CO); invented."
)
def simulate_koha(*, rest_port: int, sip_port: int, login: str, password: str) -> None:
    """Run a simulated Koha on 127.0.0.1: REST and SIP2 over one state, until Ctrl-C.

    It behaves on the wire as Koha was observed to. Its people and books are invented.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    state = demo_state(lambda: datetime.now().astimezone())
    with SimulatedKoha(state, {login: password}, rest_port=rest_port, sip_port=sip_port) as koha:
        click.echo(f"REST   {koha.rest_url}")
        click.echo(f"       client id {koha.client_id}, secret {koha.client_secret}")
        click.echo(f"SIP2   127.0.0.1:{koha.sip_port}, log-in {login}")
        click.echo("Patrons")
        for patron in DemoPatron:
            click.echo(f"       {patron.value}  {patron.name.lower().replace('_', ' ')}")
        click.echo(f"Items  {', '.join(item.value for item in DemoItem)}")
        click.echo("Ctrl-C ends it.")
        try:
            signal.pause()
        except KeyboardInterrupt:
            click.echo("Stopped.")
