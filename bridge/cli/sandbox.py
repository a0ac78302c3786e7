"""``koha-jpki sandbox``: the bridge over simulators, for a vendor's own program."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path

import click

from bridge.demo.processes import PartFailedError
from bridge.demo.sandbox import SANDBOX_PATRON, SandboxFiles, link_card, write_files
from bridge.demo.stack import LIBRARIAN, Stack, running_stack

FAILED = 1


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.pass_context
def sandbox(ctx: click.Context, folder: Path) -> None:
    """Run the bridge against simulators until Ctrl-C, for the test of a program of your own.

    Everything listens on 127.0.0.1 and is gone afterwards. FOLDER must be new or empty; it gets the
    terminals' tokens and a simulated card, which is linked already.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise click.UsageError(f"{folder} is not empty")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the parts as for Ctrl-C
    with tempfile.TemporaryDirectory(prefix="koha-jpki-sandbox-") as directory:
        try:
            with running_stack(Path(directory), _say_part, with_reader=False) as stack:
                link_card(stack)
                _say_where(stack, write_files(stack, folder))
                signal.pause()
        except PartFailedError as error:
            click.echo(f"The sandbox could not start: {error}", err=True)
            ctx.exit(FAILED)
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)


def _say_part(text: str) -> None:
    click.echo(f"  {text}", err=True)


def _say_where(stack: Stack, files: SandboxFiles) -> None:
    """Print the addresses as lines that a shell can read, the rest for people."""
    click.echo(f"BRIDGE={stack.bridge_url}")
    click.echo(f"CARD={files.card}")
    click.echo(f"COUNTER_TOKEN_FILE={files.counter_token}")
    click.echo(f"SELF_CHECK_TOKEN_FILE={files.self_check_token}")
    click.echo(f"SIP2_PORT={stack.proxy_port}")
    click.echo(
        f"""
API            {stack.bridge_url}/api/v1/docs
Admin          {stack.bridge_url}/admin/   {LIBRARIAN.login_name} / {LIBRARIAN.password}
SIP2 proxy     127.0.0.1:{stack.proxy_port}, machine log-in {stack.kiosk_login}
The card is linked to the patron {SANDBOX_PATRON.value}. Ctrl-C stops everything.""",
        err=True,
    )
