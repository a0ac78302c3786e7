"""``koha-jpki keys``: the master key."""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from bridge.cli.common import refusals_told
from bridge.keys import write_new_key_file


@click.group()
def keys() -> None:
    """Make the master key."""


@keys.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_context
def generate(ctx: click.Context, file: Path) -> None:
    """Write a new master key to FILE, which must not exist yet; only its owner can read it.

    Keep a copy apart from the database's backups: without the key no link can be found.
    """
    with refusals_told(ctx):
        key_id = write_new_key_file(file, secrets.token_bytes)
    click.echo(f"{file}: new master key {key_id}")
