"""``koha-jpki librarian`` and ``koha-jpki terminal``: who may log in, and where cards are read."""

from __future__ import annotations

import re
import sys

import click

from bridge.cli.common import command_actor, load, refusals_told
from bridge.models import LibrarianRole, TerminalKind
from bridge.wiring import build_staff

MINIMUM_PASSWORD_LENGTH = 12

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Ids and log-in names: they stand in messages, addresses and logs."""


def _check_name(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not NAME.fullmatch(value):
        raise click.BadParameter("letters, digits, dot, hyphen and underscore only, at most 64")
    return value


library_option = click.option("--library", "library_id", required=True, help="Id of the library.")


@click.group()
def librarian() -> None:
    """Staff accounts of the admin."""


@librarian.command("add")
@library_option
@click.option("--login-name", required=True, callback=_check_name)
@click.option("--display-name", required=True, help="Shown on screens.")
@click.option(
    "--role",
    type=click.Choice([role.value for role in LibrarianRole]),
    default=LibrarianRole.LIBRARIAN.value,
    show_default=True,
)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.pass_context
def add_librarian(  # one option each
    ctx: click.Context,
    *,
    library_id: str,
    login_name: str,
    display_name: str,
    role: str,
    password_stdin: bool,
) -> None:
    """Add a member of staff; the password is asked for."""
    settings = load(ctx)
    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, type=str)
    if len(password) < MINIMUM_PASSWORD_LENGTH:
        raise click.UsageError(f"the password must have at least {MINIMUM_PASSWORD_LENGTH} characters")
    with refusals_told(ctx):
        added = build_staff(settings).add_librarian(
            command_actor(),
            library_id=library_id,
            login_name=login_name,
            display_name=display_name,
            role=LibrarianRole(role),
            password=password,
        )
    click.echo(f"{added.role} {added.login_name} added to {added.library_id}")


@click.group()
def terminal() -> None:
    """Places with a card reader and their tokens."""


@terminal.command("add")
@library_option
@click.option("--id", "terminal_id", required=True, callback=_check_name)
@click.option("--name", required=True, help="Shown on screens.")
@click.option("--kind", type=click.Choice([kind.value for kind in TerminalKind]), required=True)
@click.option(
    "--sip2-login",
    help="Name under which the self-check machine logs in to SIP2; for that kind only.",
)
@click.pass_context
def add_terminal(
    ctx: click.Context,
    *,
    library_id: str,
    terminal_id: str,
    name: str,
    kind: str,
    sip2_login: str | None,
) -> None:
    """Add a terminal. Its token is printed to standard output, this one time."""
    if (kind == TerminalKind.SELF_CHECK.value) != (sip2_login is not None):
        raise click.UsageError("--sip2-login is needed for a self_check terminal, and for no other")
    settings = load(ctx)
    with refusals_told(ctx):
        issued = build_staff(settings).add_terminal(
            command_actor(),
            library_id=library_id,
            terminal_id=terminal_id,
            name=name,
            kind=TerminalKind(kind),
            sip2_login=sip2_login,
        )
    click.echo(f"terminal {terminal_id} added to {library_id}; its token, which is not kept:", err=True)
    click.echo(issued.token)


@terminal.command("list")
@library_option
@click.pass_context
def list_terminals(ctx: click.Context, *, library_id: str) -> None:
    """List the terminals of a library: id, kind, SIP2 log-in, name."""
    settings = load(ctx)
    with refusals_told(ctx):
        terminals = build_staff(settings).terminals(library_id)
    for each in terminals:
        click.echo(f"{each.terminal_id}\t{each.kind}\t{each.sip2_login or '-'}\t{each.name}")


@terminal.command("remove")
@library_option
@click.option("--id", "terminal_id", required=True)
@click.pass_context
def remove_terminal(ctx: click.Context, *, library_id: str, terminal_id: str) -> None:
    """Remove a terminal; its token is worth nothing from then on."""
    settings = load(ctx)
    with refusals_told(ctx):
        build_staff(settings).remove_terminal(command_actor(), library_id=library_id, terminal_id=terminal_id)
    click.echo(f"terminal {terminal_id} removed from {library_id}")
