"""The command ``koha-jpki``: one name, each subcommand in a module of its own.

Subcommands are imported when they are called, so that ``koha-jpki agent`` runs on a desk PC where
neither Flask nor SQLAlchemy is installed. Exit codes: 0 done, 1 refused or failed, 2 wrong use or
wrong settings.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click

from bridge.cli.json_output import FAILED, JSON_OPTION, say_error

COMMANDS: dict[str, tuple[str, str, str]] = {
    # name: (module, attribute, one line of help)
    "agent": ("bridge.cli.agent", "agent", "Run beside a card reader: card, PIN, signature."),
    "audit": ("bridge.cli.audit", "audit", "Check and export the audit log."),
    "card": ("bridge.cli.card", "card", "Look at the card on a reader; let it sign for a test."),
    "categories": ("bridge.cli.categories", "categories", "Put patrons' categories in Koha right."),
    "check-config": ("bridge.cli.check_config", "check_config", "Check the settings file."),
    "crl": ("bridge.cli.crl", "crl", "Import and show certificate revocation lists."),
    "demo": ("bridge.cli.demo", "demo", "Tell the whole story on loopback with a simulated card."),
    "doctor": ("bridge.cli.doctor", "doctor", "Say what is wrong with this server, and what to do."),
    "housekeeping": (
        "bridge.cli.housekeeping",
        "housekeeping",
        "End links that lasted too long; delete what is over.",
    ),
    "init-db": ("bridge.cli.database", "init_db", "Create the database or bring it up to date."),
    "keys": ("bridge.cli.keys", "keys", "Make, change and retire master keys."),
    "library": ("bridge.cli.library", "library", "The libraries of the settings."),
    "librarian": ("bridge.cli.staff", "librarian", "Staff accounts of the admin."),
    "links": ("bridge.cli.links", "links", "Links: list, show, end, import, export."),
    "plugin": ("bridge.cli.plugin", "plugin", "The Koha plugin: its secret, and who is who."),
    "revocation": ("bridge.cli.revocation", "revocation", "Ask whether a certificate is revoked."),
    "sandbox": ("bridge.cli.sandbox", "sandbox", "Run the bridge over simulators, for a vendor's program."),
    "serve": ("bridge.cli.serve", "serve", "Run the middleware and the admin."),
    "simulate-koha": ("bridge.cli.simulate_koha", "simulate_koha", "Run a simulated Koha."),
    "sip2-proxy": ("bridge.cli.proxy", "sip2_proxy", "Run the SIP2 proxy for self-check machines."),
    "terminal": ("bridge.cli.staff", "terminal", "Places with a card reader and their tokens."),
    "trust": ("bridge.cli.trust", "trust", "Import and list the CA certificates that are trusted."),
}

WRONG_USE = 2

_UNDECODED = re.compile("[\udc80-\udcff]")
"""How Python stands for typed bytes that it cannot decode (PEP 383)."""


class LazyGroup(click.Group):
    """A group that imports a subcommand only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the subcommands, without importing any."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one subcommand."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _help = COMMANDS[cmd_name]
        try:
            command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"{error.name} is not installed: {cmd_name} needs more than is here, see README, Install"
            ) from error
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is not a command")
        return command

    def main(self, args: Sequence[str] | None = None, *more: Any, **named: Any) -> Any:
        """Run a command. With ``--json`` wrong use, too, is told as JSON."""
        given = sys.argv[1:] if args is None else list(args)
        as_json = JSON_OPTION in given
        _let_every_character_through()
        try:
            if not as_json:
                return super().main(args, *more, **named)
            code = super().main(args, *more, **{**named, "standalone_mode": False})
        except UnicodeEncodeError as error:
            if not _UNDECODED.search(error.object):
                raise
            _refuse(
                "wrong-use", "what was typed is not text in the character set of the locale", as_json=as_json
            )
            code = WRONG_USE
        except OSError as error:
            # What a command meets, it tells itself: this is its output, on a full disk or a dead terminal.
            _give_up_output()
            _refuse(
                "output-lost", f"{error.filename or 'standard output'}: {error.strerror}", as_json=as_json
            )
            code = FAILED
        except click.ClickException as error:
            wrong_use = isinstance(error, click.UsageError)
            say_error("wrong-use" if wrong_use else "failed", error.format_message())
            code = error.exit_code
        except click.Abort:
            say_error("aborted", "stopped, or nothing was typed")
            code = FAILED
        sys.exit(code)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands from the table, so that ``--help`` needs no optional package."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in sorted(COMMANDS)])


def _let_every_character_through() -> None:
    """Write what the locale's character set lacks as an escape, in place of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _give_up_output() -> None:
    """Let nothing be written at the end: what could not be written once would fail again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse(code: str, message: str, *, as_json: bool) -> None:
    if as_json:
        say_error(code, message)
    else:
        click.echo(f"Error: {message}", err=True)


@click.group(cls=LazyGroup)
@click.option(
    "--config",
    "-c",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="KOHA_JPKI_CONFIG",
    default=Path("/etc/koha-jpki/bridge.toml"),
    show_default=True,
    help="Settings file (TOML).",
)
@click.version_option(version("koha-jpki-bridge"), prog_name="koha-jpki")
@click.pass_context
def main(ctx: click.Context, config: Path) -> None:
    """Lend books from Koha with the My Number Card."""
    ctx.obj = {"config": config}


__all__ = ["COMMANDS", "LazyGroup", "main"]
