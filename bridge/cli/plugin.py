"""``koha-jpki plugin``: which Kohas may open the desk, and for whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import click

from bridge.cli.common import check_name_on_screens, command_actor, load, refusals_told
from bridge.cli.json_output import json_option, say_json
from bridge.errors import LibraryNotFound
from bridge.wiring import build_desk
from config import Settings

library_option = click.option("--library", "library_id", required=True, help="Id of the library.")
koha_patron_option = click.option(
    "--borrowernumber",
    "koha_patron_id",
    required=True,
    type=click.IntRange(1, 2**31 - 1),
    help="Number of the staff member's own patron record in Koha; it stands in the record's address.",
)


def _require_library(settings: Settings, library_id: str) -> None:
    if library_id not in {each.library_id for each in settings.libraries}:
        raise LibraryNotFound(library_id)


@click.group()
def plugin() -> None:
    """The Koha plugin: its secret, and who is who."""


@plugin.command("add")
@library_option
@click.option("--name", required=True, callback=check_name_on_screens, help="Which Koha it is, for yourself.")
@json_option
@click.pass_context
def add_plugin(ctx: click.Context, *, library_id: str, name: str, as_json: bool) -> None:
    """Add a Koha. Id and secret for the plugin's page are printed to standard output, this one time."""
    settings = load(ctx)
    with refusals_told(ctx):
        issued = build_desk(settings)[0].add_plugin(command_actor(), library_id=library_id, name=name)
    if as_json:
        say_json({**asdict(issued.plugin), "secret": issued.secret})
        return
    click.echo(f"plugin added to {library_id}; its id, and its secret, which is not kept:", err=True)
    click.echo(issued.plugin.plugin_id)
    click.echo(issued.secret)


@plugin.command("list")
@library_option
@json_option
@click.pass_context
def list_plugins(ctx: click.Context, *, library_id: str, as_json: bool) -> None:
    """List the Kohas of a library: id, name."""
    settings = load(ctx)
    with refusals_told(ctx):
        _require_library(settings, library_id)
        plugins = build_desk(settings)[0].plugins(library_id)
    if as_json:
        say_json([asdict(each) for each in plugins])
        return
    for each in plugins:
        click.echo(f"{each.plugin_id}\t{each.name}")


@plugin.command("remove")
@library_option
@click.option("--id", "plugin_id", required=True, help="As plugin list shows it.")
@json_option
@click.pass_context
def remove_plugin(ctx: click.Context, *, library_id: str, plugin_id: str, as_json: bool) -> None:
    """Remove a Koha; its secret and the tokens it got are worth nothing from then on."""
    settings = load(ctx)
    with refusals_told(ctx):
        desk = build_desk(settings)[0]
        removed = desk.remove_plugin(command_actor(), library_id=library_id, plugin_id=plugin_id)
    if as_json:
        say_json(asdict(removed))
        return
    click.echo(f"plugin {plugin_id} removed from {library_id}")


@plugin.command("introduce")
@library_option
@koha_patron_option
@click.option("--login-name", required=True, help="Log-in name of the same person's account here.")
@json_option
@click.pass_context
def introduce(
    ctx: click.Context, *, library_id: str, koha_patron_id: int, login_name: str, as_json: bool
) -> None:
    """Say which account here is somebody's who signs in to Koha."""
    settings = load(ctx)
    with refusals_told(ctx):
        desk, staff = build_desk(settings)
        librarian = staff.find_librarian(library_id, login_name)
        desk.add_account(command_actor(), koha_patron_id=koha_patron_id, librarian=librarian)
    if as_json:
        say_json(_account_document(koha_patron_id, login_name))
        return
    click.echo(f"{koha_patron_id} in Koha is {login_name}")


@plugin.command("forget")
@library_option
@koha_patron_option
@json_option
@click.pass_context
def forget(ctx: click.Context, *, library_id: str, koha_patron_id: int, as_json: bool) -> None:
    """Let somebody who signs in to Koha be nobody here."""
    settings = load(ctx)
    with refusals_told(ctx):
        desk, _ = build_desk(settings)
        desk.remove_account(command_actor(), library_id=library_id, koha_patron_id=koha_patron_id)
    if as_json:
        say_json(_account_document(koha_patron_id, None))
        return
    click.echo(f"{koha_patron_id} in Koha is nobody here")


@plugin.command("staff")
@library_option
@json_option
@click.pass_context
def list_staff(ctx: click.Context, *, library_id: str, as_json: bool) -> None:
    """List who was introduced: borrowernumber, log-in name."""
    settings = load(ctx)
    with refusals_told(ctx):
        _require_library(settings, library_id)
        desk, staff = build_desk(settings)
        names = {
            member.librarian.librarian_id: member.librarian.login_name
            for member in staff.librarians(library_id)
        }
        rows = [(each.koha_patron_id, names[each.librarian_id]) for each in desk.accounts(library_id)]
    if as_json:
        say_json([_account_document(number, name) for number, name in rows])
        return
    for number, name in rows:
        click.echo(f"{number}\t{name}")


def _account_document(koha_patron_id: int, login_name: str | None) -> Mapping[str, object]:
    return {"borrowernumber": koha_patron_id, "login_name": login_name}
