"""``koha-jpki check-config``: the settings, and whether what they name is there. Nothing is changed."""

from __future__ import annotations

import click

from bridge.cli.common import load
from bridge.cli.json_output import FAILED, json_option, say_json
from bridge.wiring import find_limitations, find_problems, find_warnings


@click.command("check-config")
@json_option
@click.pass_context
def check_config(ctx: click.Context, *, as_json: bool) -> None:
    """Check the settings file, the master key, the CA certificates and the database."""
    settings = load(ctx)
    warnings, limitations = find_warnings(settings), find_limitations(settings)
    problems = find_problems(settings)
    if as_json:
        say_json({"problems": problems, "warnings": warnings, "limitations": limitations})
    else:
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
        for limitation in limitations:
            click.echo(f"not possible: {limitation}", err=True)
        for problem in problems:
            click.echo(problem, err=True)
        if not problems:
            click.echo(f"{ctx.obj['config']}: no problem found")
    if problems:
        ctx.exit(FAILED)
