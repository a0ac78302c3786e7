"""``koha-jpki agent``: run beside a card reader.

Exit codes: 0 done, 1 refused (the reason stands on the screen), 2 wrong settings, 3 reader trouble.
Standard output carries the one-time token and nothing else; everything for people goes to standard error.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

import click

from bridge.agent.api_client import BridgeApi
from bridge.agent.errors import WrongSettings
from bridge.agent.pin import PinPad, PipedPinPad, TerminalPinPad
from bridge.agent.reader import CardReader
from bridge.agent.run import Agent, ExitCode
from bridge.agent.screen import Language, TerminalScreen

ANSWER_TIMEOUT = 30.0
"""Seconds: the bridge asks the OCSP responder and Koha before it answers, each with a time limit."""


@click.command()
@click.option(
    "--bridge", required=True, envvar="KOHA_JPKI_BRIDGE", metavar="URL", help="The bridge's address."
)
@click.option(
    "--token-file",
    required=True,
    envvar="KOHA_JPKI_TOKEN_FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with this terminal's token, readable by nobody else.",
)
@click.option("--reader", envvar="KOHA_JPKI_READER", help="Name of the PC/SC reader.  [default: any]")
@click.option(
    "--language",
    envvar="KOHA_JPKI_LANGUAGE",
    type=click.Choice([language.value for language in Language]),
    default=Language.JAPANESE.value,
    show_default=True,
    help="Language of the screen.",
)
@click.option("--once", is_flag=True, help="Serve one card, then end.")
@click.option(
    "--print-token",
    is_flag=True,
    help="At a self-check machine: write the one-time token to standard output, on a line of its own.",
)
@click.option(
    "--pin-stdin", is_flag=True, help="Read the PIN from standard input: for the demo and for tests."
)
@click.pass_context
def agent(
    ctx: click.Context,
    bridge: str,
    token_file: Path,
    reader: str | None,
    language: str,
    *,
    once: bool,
    print_token: bool,
    pin_stdin: bool,
) -> None:
    """Run beside a card reader: card, PIN, signature."""
    screen = TerminalScreen(sys.stderr, Language(language))
    try:
        service = Agent(
            BridgeApi(bridge, read_token(token_file), ANSWER_TIMEOUT, language),
            _pcsc_reader(reader),
            screen,
            _pin_pad(from_stdin=pin_stdin),
            hand_over=click.echo if print_token else None,
            pause=time.sleep,
        )
    except WrongSettings as error:
        screen.show_error(error)
        ctx.exit(ExitCode.WRONG_SETTINGS)
    ctx.exit(service.run_once() if once else service.run())


def read_token(path: Path) -> str:
    """Return the terminal token in the file at *path*; raises ``WrongSettings``."""
    try:
        with path.open(encoding="ascii") as file:
            # Of the opened file, so that it cannot be another one by the time it is read.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise WrongSettings("the token file is open to other users: chmod 600")
            token = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSettings(f"the token file cannot be read: {type(error).__name__}") from None
    if not token or not token.isprintable() or " " in token:
        raise WrongSettings("the token file must hold one token")
    return token


def _pcsc_reader(name: str | None) -> CardReader:
    try:
        from bridge.agent.pcsc_reader import PcscReader
    except ImportError:
        raise WrongSettings("pyscard is not installed: koha-jpki-bridge[reader]") from None
    return PcscReader(name)


def _pin_pad(*, from_stdin: bool) -> PinPad:
    return PipedPinPad(sys.stdin) if from_stdin else TerminalPinPad()
