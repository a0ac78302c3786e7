"""``koha-jpki simulate-koha``: a Koha with invented people and books, for vendors and for trials."""

from __future__ import annotations

import json
import signal
from datetime import datetime
from typing import TextIO

import click

from bridge.demo.koha import SimulatedKoha
from koha_client.simulator.demo_data import DemoItem, DemoPatron, demo_state
from koha_client.simulator.patron_json import PatronsRefused, add_patrons
from koha_client.simulator.state import KohaState
from koha_client.versions import NEWEST, KohaVersion
from sip2_adapter.simulator.faults import Fault, no_faults, recurring


@click.command("simulate-koha")
@click.option("--rest-port", default=0, show_default="a free one", help="Port of the REST API.")
@click.option("--sip-port", default=0, show_default="a free one", help="Port of the SIP2 server.")
@click.option(
    "--koha-version",
    type=click.Choice([version.value for version in KohaVersion]),
    default=NEWEST.value,
    show_default=True,
    help="Release whose REST API is played: its routes, fields and permissions.",
)
@click.option(
    "--patrons",
    type=click.File(encoding="utf-8"),
    help="JSON file with a list of Koha patron objects to add; each needs surname, library_id (CPL or EPL) "
    "and category_id (PT, PT12, K or VI).",
)
@click.option("--login", default="selfcheck1", show_default=True, help="SIP2 log-in (CN).")
@click.option(
    "--password", default="selfcheck1-password", show_default=True, help="SIP2 password (CO); invented."
)
@click.option(
    "--fault", type=click.Choice([fault.value for fault in Fault]), help="What goes wrong with SIP2 answers."
)
@click.option(
    "--fault-every",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Let every n-th message go wrong.",
)
@click.option("--fault-code", help="Let only requests of this code go wrong, such as 11.")
def simulate_koha(
    *,
    rest_port: int,
    sip_port: int,
    koha_version: str,
    patrons: TextIO | None,
    login: str,
    password: str,
    fault: str | None,
    fault_every: int,
    fault_code: str | None,
) -> None:
    """Run a simulated Koha on 127.0.0.1: REST and SIP2 over one state, until Ctrl-C.

    It behaves on the wire as Koha was observed to: patrons and their categories, loans, holds and fines,
    refusals in Koha's words. Its people and books are invented.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    version = KohaVersion(koha_version)
    state = demo_state(lambda: datetime.now().astimezone())
    added = 0 if patrons is None else _add_patrons(state, patrons, version)
    with SimulatedKoha(
        state,
        {login: password},
        rest_port=rest_port,
        sip_port=sip_port,
        version=version,
        faults=no_faults if fault is None else recurring(Fault(fault), every=fault_every, code=fault_code),
    ) as koha:
        click.echo(f"REST   {koha.rest_url}, Koha {version.value}")
        click.echo(f"       client id {koha.client_id}, secret {koha.client_secret}")
        click.echo(f"SIP2   127.0.0.1:{koha.sip_port}, log-in {login}")
        click.echo("Patrons")
        for patron in DemoPatron:
            click.echo(f"       {patron.value}  {patron.name.lower().replace('_', ' ')}")
        if added:
            click.echo(f"       and {added} from your file")
        click.echo(f"Items  {', '.join(item.value for item in DemoItem)}")
        click.echo("Ctrl-C ends it.")
        try:
            signal.pause()
        except KeyboardInterrupt:
            click.echo("Stopped.")


def _add_patrons(state: KohaState, patrons: TextIO, version: KohaVersion) -> int:
    try:
        return add_patrons(state, json.load(patrons), version)
    except (PatronsRefused, ValueError) as error:
        raise click.BadParameter(str(error), param_hint="--patrons") from None
