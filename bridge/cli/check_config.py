"""``koha-jpki check-config``: the settings, and whether what they name is there. Nothing is changed."""

from __future__ import annotations

import click

from bridge.cli.common import load
from bridge.cli.json_output import FAILED
from bridge.wiring import find_limitations, find_problems, find_warnings


@click.command("check-config")
@click.pass_context
def check_config(ctx: click.Context) -> None:
    """Check the settings file, the master key, the CA certificates and the database."""
    settings = load(ctx)
    for warning in find_warnings(settings):
        click.echo(f"warning: {warning}", err=True)
    for limitation in find_limitations(settings):
        click.echo(f"not possible: {limitation}", err=True)
    problems = find_problems(settings)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        ctx.exit(FAILED)
    click.echo(f"{ctx.obj['config']}: no problem found")
