"""``koha-jpki librarian`` and ``koha-jpki terminal``: who may log in, and where cards are read."""

from __future__ import annotations

import re
import secrets
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from getpass import GetPassWarning
from typing import Any, ParamSpec

import click

from bridge.accounts.own_account import MINIMUM_PASSWORD_LENGTH
from bridge.accounts.staff import IDENTIFIER_PATTERN, StaffMember, StaffService, generate_password
from bridge.cli.common import check_name_on_screens, command_actor, load, refusals_told
from bridge.cli.json_output import json_option, say_json
from bridge.errors import LibrarianNotFound, LibraryNotFound
from bridge.models import REGION, Librarian, LibrarianRole, TerminalKind
from bridge.wiring import build_enrolment, build_staff
from config import Settings


def _check_name(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not re.fullmatch(IDENTIFIER_PATTERN, value):
        raise click.BadParameter("letters, digits, dot, hyphen and underscore only, at most 64")
    return value


P = ParamSpec("P")

library_option = click.option("--library", "library_id", required=True, help="Id of the library.")


def staff_option(command: Callable[P, None]) -> Callable[P, None]:
    """Add ``--library ID`` or ``--region``: whose staff it is. The command gets *library_id*."""
    for option in (
        click.option("--region", is_flag=True, help="Staff of no library, who administer all of them."),
        click.option("--library", "library_id", help="Id of the library."),
    ):
        command = option(command)
    return command


def _whose(library_id: str | None, *, region: bool) -> str:
    if region == (library_id is not None):
        raise click.UsageError("give either --library or --region")
    return REGION if library_id is None else library_id


def koha_patron_option(*, required: bool = False) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Return ``--koha-patron``: whose password in Koha is asked for."""
    return click.option(
        "--koha-patron",
        "koha_patron_id",
        type=click.IntRange(min=1),
        required=required,
        help="borrowernumber of the same person in Koha, whose password there is asked for.",
    )


password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input."
)
login_name_option = click.option("--login-name", required=True, callback=_check_name)


def _ask_password(*, from_stdin: bool) -> str:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)
            try:
                password = click.prompt(
                    "Password", hide_input=True, confirmation_prompt=True, type=str, err=True
                )
            except GetPassWarning:
                raise click.UsageError(
                    "there is no terminal to type a password on: give --password-stdin"
                ) from None
    if len(password) < MINIMUM_PASSWORD_LENGTH:
        raise click.UsageError(f"the password must have at least {MINIMUM_PASSWORD_LENGTH} characters")
    return password


@click.group()
def librarian() -> None:
    """Staff accounts of the admin: of one library, or of the region."""


@librarian.command("add")
@staff_option
@login_name_option
@click.option("--display-name", required=True, callback=check_name_on_screens, help="Shown on screens.")
@click.option(
    "--role",
    type=click.Choice([role.value for role in LibrarianRole]),
    help="librarian if it is left out, with --region region_administrator.",
)
@password_option
@koha_patron_option()
@json_option
@click.pass_context
def add_librarian(  # one option each
    ctx: click.Context,
    *,
    library_id: str | None,
    region: bool,
    login_name: str,
    display_name: str,
    role: str | None,
    password_stdin: bool,
    koha_patron_id: int | None,
    as_json: bool,
) -> None:
    """Add a member of staff; the password is asked for, unless it is that of --koha-patron."""
    whose = _whose(library_id, region=region)
    if password_stdin and koha_patron_id is not None:
        raise click.UsageError("give either --password-stdin or --koha-patron")
    usual = LibrarianRole.REGION_ADMINISTRATOR if region else LibrarianRole.LIBRARIAN
    settings = load(ctx)
    password = _ask_password(from_stdin=password_stdin) if koha_patron_id is None else None
    with refusals_told(ctx):
        added = _add(
            build_staff(settings),
            password,
            koha_patron_id,
            library_id=whose,
            login_name=login_name,
            display_name=display_name,
            role=usual if role is None else LibrarianRole(role),
        )
    words = f"{added.role} {added.login_name} added to {_place(whose)}"
    _tell(added, words, as_json=as_json, locked=False)


def _add(staff: StaffService, password: str | None, koha_patron_id: int | None, **account: Any) -> Librarian:
    if koha_patron_id is not None:
        return staff.add_librarian_of_koha(command_actor(), **account, koha_patron_id=koha_patron_id)
    return staff.add_librarian(command_actor(), **account, password=password or "")


@librarian.command("use-koha")
@library_option
@login_name_option
@koha_patron_option(required=True)
@json_option
@click.pass_context
def use_koha_password(
    ctx: click.Context, *, library_id: str, login_name: str, koha_patron_id: int, as_json: bool
) -> None:
    """Let an account sign in with Koha's password from now on; it is logged out everywhere.

    The way back is reset-password. Needs [library.koha_sign_in] in the settings.
    """
    with _account(ctx, library_id, login_name, region=False) as account:
        changed = account.staff.use_koha_password(
            command_actor(), **account.place, koha_patron_id=koha_patron_id
        )
    words = f"{login_name} has the password of {koha_patron_id} in Koha and is logged out everywhere"
    _tell(changed, words, as_json=as_json, locked=False)


@librarian.command("list")
@staff_option
@json_option
@click.pass_context
def list_librarians(ctx: click.Context, *, library_id: str | None, region: bool, as_json: bool) -> None:
    """List staff: log-in name, role, state, name on screens."""
    whose = _whose(library_id, region=region)
    settings = load(ctx)
    with refusals_told(ctx):
        _require_library(settings, whose)
        members = build_staff(settings).librarians(whose)
    if as_json:
        say_json([_librarian_document(member) for member in members])
        return
    for member in members:
        told = member.librarian
        click.echo(f"{told.login_name}\t{told.role}\t{_state(member)}\t{told.display_name}")


@librarian.command("disable")
@staff_option
@login_name_option
@json_option
@click.pass_context
def disable_librarian(
    ctx: click.Context, *, library_id: str | None, region: bool, login_name: str, as_json: bool
) -> None:
    """Close an account; whoever is logged in with it is logged out."""
    with _account(ctx, library_id, login_name, region=region) as account:
        changed = account.staff.disable(command_actor(), **account.place)
    _tell(
        changed,
        f"{login_name} is closed and logged out everywhere",
        as_json=as_json,
        locked=account.member.locked,
    )


@librarian.command("enable")
@staff_option
@login_name_option
@json_option
@click.pass_context
def enable_librarian(
    ctx: click.Context, *, library_id: str | None, region: bool, login_name: str, as_json: bool
) -> None:
    """Open a closed account again."""
    with _account(ctx, library_id, login_name, region=region) as account:
        changed = account.staff.enable(command_actor(), **account.place)
    _tell(changed, f"{login_name} is open", as_json=as_json, locked=account.member.locked)


@librarian.command("unlock")
@staff_option
@login_name_option
@json_option
@click.pass_context
def unlock_librarian(
    ctx: click.Context, *, library_id: str | None, region: bool, login_name: str, as_json: bool
) -> None:
    """Let an account that is locked after wrong passwords log in at once."""
    with _account(ctx, library_id, login_name, region=region) as account:
        changed = account.staff.unlock(command_actor(), **account.place)
    _tell(changed, f"{login_name} is unlocked", as_json=as_json, locked=False)


@librarian.command("role")
@staff_option
@login_name_option
@click.option("--role", type=click.Choice([role.value for role in LibrarianRole]), required=True)
@json_option
@click.pass_context
def change_role(
    ctx: click.Context, *, library_id: str | None, region: bool, login_name: str, role: str, as_json: bool
) -> None:
    """Give an account another role; it counts from the next click."""
    with _account(ctx, library_id, login_name, region=region) as account:
        changed = account.staff.change_role(command_actor(), **account.place, role=LibrarianRole(role))
    _tell(changed, f"{login_name} is {role} now", as_json=as_json, locked=account.member.locked)


@librarian.command("reset-password")
@staff_option
@login_name_option
@password_option
@click.option("--generate", is_flag=True, help="Make a password and print it to standard output, once.")
@json_option
@click.pass_context
def reset_password(
    ctx: click.Context,
    *,
    library_id: str | None,
    region: bool,
    login_name: str,
    password_stdin: bool,
    generate: bool,
    as_json: bool,
) -> None:
    """Set a new password, unlock the account and log it out everywhere. The password is asked for.

    An account that signed in with Koha's password has this one from then on.
    """
    if generate and password_stdin:
        raise click.UsageError("give either --generate or --password-stdin")
    with _account(ctx, library_id, login_name, region=region) as account:
        password = (
            generate_password(secrets.token_bytes) if generate else _ask_password(from_stdin=password_stdin)
        )
        changed = account.staff.reset_password(command_actor(), **account.place, password=password)
    if as_json:
        shown_once = {"password": password} if generate else {}
        say_json({**_librarian_document(StaffMember(changed, locked=False)), **shown_once})
        return
    click.echo(f"{login_name} has a new password and is logged out everywhere", err=generate)
    if generate:
        click.echo(password)


@librarian.command("reset-second-factor")
@staff_option
@login_name_option
@json_option
@click.pass_context
def reset_second_factor(
    ctx: click.Context, *, library_id: str | None, region: bool, login_name: str, as_json: bool
) -> None:
    """Take the second factor of an account away, after a lost telephone; it is logged out everywhere."""
    with _account(ctx, library_id, login_name, region=region) as account:
        changed = account.staff.reset_second_factor(command_actor(), **account.place)
    words = f"{login_name} has no second factor now and is logged out everywhere"
    _tell(changed, words, as_json=as_json, locked=account.member.locked)


@dataclass(frozen=True)
class _Account:
    """An account that a command changes, and the service that does it."""

    staff: StaffService
    member: StaffMember

    @property
    def place(self) -> Mapping[str, str]:
        """What the service's methods take to know the account."""
        found = self.member.librarian
        return {"library_id": found.library_id, "librarian_id": found.librarian_id}


@contextmanager
def _account(
    ctx: click.Context, library_id: str | None, login_name: str, *, region: bool
) -> Iterator[_Account]:
    """Give the service and the account of a log-in name; refusals inside are told."""
    whose = _whose(library_id, region=region)
    settings = load(ctx)
    with refusals_told(ctx):
        staff = build_staff(settings)
        found = [each for each in staff.librarians(whose) if each.librarian.login_name == login_name]
        if not found:
            raise LibrarianNotFound
        yield _Account(staff, found[0])


def _tell(changed: Librarian, words: str, *, as_json: bool, locked: bool) -> None:
    if as_json:
        say_json(_librarian_document(StaffMember(changed, locked)))
        return
    click.echo(words)


def _require_library(settings: Settings, library_id: str) -> None:
    if library_id != REGION and library_id not in {each.library_id for each in settings.libraries}:
        raise LibraryNotFound(library_id)


def _place(library_id: str) -> str:
    return "the region" if library_id == REGION else library_id


def _state(member: StaffMember) -> str:
    if not member.librarian.active:
        return "closed"
    return "locked" if member.locked else "open"


def _librarian_document(member: StaffMember) -> dict[str, object]:
    return {
        "library_id": None if member.librarian.library_id == REGION else member.librarian.library_id,
        "login_name": member.librarian.login_name,
        "role": member.librarian.role,
        "state": _state(member),
        "second_factor": member.librarian.has_second_factor,
        "password_source": member.librarian.password_source,
        "koha_patron": member.librarian.koha_patron_id,
        "display_name": member.librarian.display_name,
    }


@click.group()
def terminal() -> None:
    """Places with a card reader and their tokens."""


@terminal.command("add")
@library_option
@click.option("--id", "terminal_id", required=True, callback=_check_name)
@click.option("--name", required=True, callback=check_name_on_screens, help="Shown on screens.")
@click.option("--kind", type=click.Choice([kind.value for kind in TerminalKind]), required=True)
@click.option(
    "--sip2-login",
    callback=check_name_on_screens,
    help="Name under which the self-check machine logs in to SIP2; for that kind only.",
)
@json_option
@click.pass_context
def add_terminal(
    ctx: click.Context,
    *,
    library_id: str,
    terminal_id: str,
    name: str,
    kind: str,
    sip2_login: str | None,
    as_json: bool,
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
    if as_json:
        say_json({**asdict(issued.terminal), "token": issued.token})
        return
    click.echo(f"terminal {terminal_id} added to {library_id}; its token, which is not kept:", err=True)
    click.echo(issued.token)


@terminal.command("enrol")
@library_option
@click.option("--id", "terminal_id", required=True, help="Id of the terminal, which was added before.")
@json_option
@click.pass_context
def draw_enrolment_code(ctx: click.Context, *, library_id: str, terminal_id: str, as_json: bool) -> None:
    """Draw a one-time code by which a terminal enrols. It is printed to standard output, this one time.

    At the terminal: koha-jpki agent enrol. A token that the terminal has is good until then.
    """
    settings = load(ctx)
    with refusals_told(ctx):
        drawn = build_enrolment(settings).draw_code(
            command_actor(), library_id=library_id, terminal_id=terminal_id
        )
    if as_json:
        code = {"code": drawn.code.grouped(), "expires_at": drawn.expires_at}
        say_json({"library_id": library_id, "terminal_id": terminal_id, **code})
        return
    until = drawn.expires_at.astimezone().strftime("%H:%M")
    click.echo(f"code for {terminal_id} of {library_id}, good once and until {until}:", err=True)
    click.echo(drawn.code.grouped())


@terminal.command("list")
@library_option
@json_option
@click.pass_context
def list_terminals(ctx: click.Context, *, library_id: str, as_json: bool) -> None:
    """List the terminals of a library: id, kind, SIP2 log-in, name, last seen, reader, output."""
    settings = load(ctx)
    with refusals_told(ctx):
        _require_library(settings, library_id)
        terminals = build_staff(settings).terminals(library_id)
    if as_json:
        say_json([asdict(each) for each in terminals])
        return
    for each in terminals:
        seen = "-" if each.last_seen_at is None else each.last_seen_at.isoformat(timespec="seconds")
        told = "-\t-" if each.report is None else f"{each.report.reader}\t{each.report.output}"
        click.echo(f"{each.terminal_id}\t{each.kind}\t{each.sip2_login or '-'}\t{each.name}\t{seen}\t{told}")


@terminal.command("remove")
@library_option
@click.option("--id", "terminal_id", required=True)
@json_option
@click.pass_context
def remove_terminal(ctx: click.Context, *, library_id: str, terminal_id: str, as_json: bool) -> None:
    """Remove a terminal; its token is worth nothing from then on."""
    settings = load(ctx)
    with refusals_told(ctx):
        removed = build_staff(settings).remove_terminal(
            command_actor(), library_id=library_id, terminal_id=terminal_id
        )
    if as_json:
        say_json(asdict(removed))
        return
    click.echo(f"terminal {terminal_id} removed from {library_id}")
