"""``koha-jpki agent``: beside a card reader.

Exit codes: 0 done, 1 refused (the reason stands on the screen), 2 wrong settings, 3 reader trouble.
Standard output carries the one-time token and nothing else; everything for people goes to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import click

from bridge.agent.api_client import BridgeApi
from bridge.agent.errors import WrongSettings
from bridge.agent.outputs import StreamOutput, TokenFraming, TokenOutput
from bridge.agent.outputs.serial_line import SerialFrame, SerialOutput
from bridge.agent.pin import PinPad, PipedPinPad, TerminalPinPad
from bridge.agent.reader import CardReader
from bridge.agent.run import Agent, ExitCode
from bridge.agent.screen import Language, TerminalScreen
from bridge.agent.service import ANSWER_TIMEOUT, serve_patrons
from bridge.agent.token_file import read_token
from bridge.cli.agent_doctor import agent_doctor
from bridge.cli.agent_enrol import agent_enrol
from bridge.cli.agent_options import bridge_option, settings_option, token_file_option
from config import SettingsError, load_agent_settings


@click.group()
def agent() -> None:
    """Run beside a card reader: card, PIN, signature."""


agent.add_command(agent_enrol)
agent.add_command(agent_doctor)


@agent.command()
@settings_option
@click.option("--as-root", is_flag=True, help="Run although this is root, who need not be asked for it.")
@click.pass_context
def run(ctx: click.Context, settings: Path, *, as_root: bool) -> None:
    """Serve card after card, with a page on the patron's display. Ends on Ctrl-C or SIGTERM."""
    screen = TerminalScreen(sys.stderr, Language.JAPANESE)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if not as_root:
            _refuse_root()
        chosen = load_agent_settings(settings)
        code = serve_patrons(chosen, _pcsc_reader(chosen.reader), _say)
    except SettingsError as error:
        click.echo(f"{settings}:", err=True)
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
        code = ExitCode.WRONG_SETTINGS
    except WrongSettings as error:
        screen.show_error(error)
        code = ExitCode.WRONG_SETTINGS
    except KeyboardInterrupt:
        _say("Stopped.")
        code = ExitCode.DONE
    ctx.exit(code)


@agent.command()
@bridge_option
@token_file_option
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
    "--serial-line",
    metavar="DEVICE",
    help="At a self-check machine: send the token over this line as a barcode scanner does (9600 8N1, CR).",
)
@click.option(
    "--pin-stdin", is_flag=True, help="Read the PIN from standard input: for the demo and for tests."
)
@click.pass_context
def console(
    ctx: click.Context,
    bridge: str,
    token_file: Path,
    reader: str | None,
    language: str,
    *,
    once: bool,
    print_token: bool,
    serial_line: str | None,
    pin_stdin: bool,
) -> None:
    """Serve cards in a terminal window, without a page: for a trial, or for a program that starts it."""
    screen = TerminalScreen(sys.stderr, Language(language))
    try:
        service = Agent(
            BridgeApi(bridge, read_token(token_file), ANSWER_TIMEOUT, language),
            _pcsc_reader(reader),
            screen,
            _pin_pad(from_stdin=pin_stdin),
            output=_console_output(serial_line, print_token=print_token),
            pause=time.sleep,
        )
    except WrongSettings as error:
        screen.show_error(error)
        ctx.exit(ExitCode.WRONG_SETTINGS)
    ctx.exit(service.run_once() if once else service.run())


def _console_output(serial_line: str | None, *, print_token: bool) -> TokenOutput | None:
    if serial_line is not None:
        return SerialOutput(serial_line, SerialFrame(), TokenFraming())
    return StreamOutput(sys.stdout) if print_token else None


def _refuse_root() -> None:
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        raise WrongSettings("the agent needs no root: run it as a user of its own, see deploy/")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _pcsc_reader(name: str | None) -> CardReader:
    try:
        from bridge.agent.pcsc_reader import PcscReader
    except ImportError:
        raise WrongSettings("pyscard is not installed: koha-jpki-bridge[reader]") from None
    return PcscReader(name)


def _pin_pad(*, from_stdin: bool) -> PinPad:
    return PipedPinPad(sys.stdin) if from_stdin else TerminalPinPad()
