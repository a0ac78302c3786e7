"""``koha-jpki library``: what the settings say of each library."""

from __future__ import annotations

import json

import click

from bridge.cli.common import load, refusals_told
from bridge.cli.consent import consent
from bridge.cli.json_output import json_option, say_json
from bridge.errors import LibraryNotFound
from config import describe_library


@click.group()
def library() -> None:
    """The libraries of the settings. To add one, write it into the settings file."""


@library.command("list")
@json_option
@click.pass_context
def list_libraries(ctx: click.Context, *, as_json: bool) -> None:
    """List the libraries: id, name."""
    libraries = load(ctx).libraries
    if as_json:
        say_json([{"library_id": each.library_id, "name": each.name} for each in libraries])
        return
    for each in libraries:
        click.echo(f"{each.library_id}\t{each.name}")


@library.command("show")
@click.argument("library_id")
@json_option
@click.pass_context
def show_library(ctx: click.Context, *, library_id: str, as_json: bool) -> None:
    """Show the settings of a library, without its secrets."""
    settings = load(ctx)
    with refusals_told(ctx):
        found = next((each for each in settings.libraries if each.library_id == library_id), None)
        if found is None:
            raise LibraryNotFound(library_id)
    described = describe_library(found)
    if as_json:
        say_json(described)
        return
    for name, value in described.items():
        click.echo(f"{name} = {json.dumps(value, ensure_ascii=False)}")


library.add_command(consent)
