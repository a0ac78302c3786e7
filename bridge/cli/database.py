"""``koha-jpki init-db``: create the database, or bring it up to date."""

from __future__ import annotations

import click

from bridge.cli.common import load, refusals_told
from bridge.cli.json_output import json_option, say_json
from bridge.store import open_engine, upgrade


@click.command("init-db")
@json_option
@click.pass_context
def init_db(ctx: click.Context, *, as_json: bool) -> None:
    """Create the database or bring it up to date. Nothing to do is no error."""
    settings = load(ctx)
    with refusals_told(ctx):
        engine = open_engine(settings.database.url)
        before, after = upgrade(engine)
        engine.dispose()
    if as_json:
        say_json({"before": before, "after": after})
    elif before is None:
        click.echo(f"database created at revision {after}")
    elif before == after:
        click.echo(f"database is up to date at revision {after}")
    else:
        click.echo(f"database brought from revision {before} to {after}")
