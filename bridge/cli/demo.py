"""``koha-jpki demo``: the whole story on loopback; with ``--stay`` the parts stay up."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

import click

from bridge.demo.processes import PartFailedError
from bridge.demo.stack import LIBRARIAN, PIN, Stack, running_stack
from bridge.demo.story import Story, Told
from jpki.simulator.reader import VirtualReaderUnavailable, require_installed
from koha_client.simulator.demo_data import DemoPatron

FAILED = 1


@click.command()
@click.option("--stay", is_flag=True, help="Start everything and leave it up until Ctrl-C.")
@click.option(
    "--without-reader", is_flag=True, help="Do without pcscd: the same card behind the connection seam."
)
@click.pass_context
def demo(ctx: click.Context, *, stay: bool, without_reader: bool) -> None:
    """Tell the whole story on loopback with a simulated card.

    Exit code 0 only if every step did what it says.
    """
    begun = time.monotonic()
    with_reader = not without_reader and _reader_is_installed()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the parts as for Ctrl-C
    with tempfile.TemporaryDirectory(prefix="koha-jpki-demo-") as directory:
        click.echo("Starting on 127.0.0.1:")
        try:
            with running_stack(Path(directory), _say_part, with_reader=with_reader) as stack:
                click.echo(f"All parts are up after {time.monotonic() - begun:.1f} s.")
                held = _stay(stack) if stay else _tell(stack)
        except PartFailedError as error:
            click.echo(f"The demo could not start: {error}", err=True)
            ctx.exit(FAILED)
        except KeyboardInterrupt:
            click.echo("Stopped.")
            held = stay
    click.echo(f"{time.monotonic() - begun:.1f} s in all.")
    ctx.exit(0 if held else FAILED)


def _reader_is_installed() -> bool:
    try:
        require_installed()
    except VirtualReaderUnavailable as error:
        click.echo(f"No virtual reader here ({error}): the same card runs behind the connection seam.")
        return False
    return True


def _say_part(text: str) -> None:
    click.echo(f"  {text}")


def _tell(stack: Stack) -> bool:
    told = Story(stack, click.echo).tell()
    _summarise(told)
    return all(step.held for step in told)


def _summarise(told: list[Told]) -> None:
    click.echo("\nSummary")
    for number, step in enumerate(told, start=1):
        verdict = "held" if step.held else "FAILED"
        click.echo(f"  {number:2}  {verdict:6}  {step.seconds:5.1f} s  {step.sentence}")
    held = sum(step.held for step in told)
    click.echo(f"{held} of {len(told)} steps held.")


def _stay(stack: Stack) -> bool:
    """Say what runs where, and keep it running."""
    click.echo(
        f"""
Admin          {stack.bridge_url}/admin/
  log-in       {LIBRARIAN.login_name} / {LIBRARIAN.password}
  library card {DemoPatron.FINE.value} ({DemoPatron.SECOND.value}, ...)
SIP2 proxy     127.0.0.1:{stack.proxy_port}, machine log-in {stack.kiosk_login}
Koha (REST)    {stack.koha_url}
OCSP           {stack.ocsp_url}
"""
    )
    if stack.table.environment:
        stack.table.lay_down(stack.cards.resident)
        click.echo(
            f"""A card lies on the virtual reader; its PIN is {PIN}. To play the patron, in another window:
  at the counter     {_agent(stack, stack.counter.token_file)}
  at the self-check  {_agent(stack, stack.self_check.token_file)} --print-token
"""
        )
    click.echo("Ctrl-C stops everything.")
    signal.pause()
    return True


def _agent(stack: Stack, token_file: Path) -> str:
    variables = " ".join(f"{name}={value}" for name, value in stack.table.environment.items())
    program = Path(sys.executable).with_name("koha-jpki")
    return f"{variables} {program} agent console --bridge {stack.bridge_url} --token-file {token_file} --once"
