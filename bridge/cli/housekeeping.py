"""``koha-jpki housekeeping``: end the links that lasted too long, delete for good what is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import click

from bridge.cli.common import command_actor, load, refusals_told
from bridge.cli.json_output import FAILED, json_option, say_json
from bridge.housekeeping import Chore, ChoreDone
from bridge.wiring import build_housekeeping

SHOWN_EVERY = 1000
"""Chores between two lines of progress."""


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@json_option
@click.pass_context
def housekeeping(ctx: click.Context, *, dry_run: bool, as_json: bool) -> None:
    """End links that lasted too long or whose patron has left Koha; delete what is kept long enough.

    Run it every night. It may be stopped and run again at any time. Exit with 1 where a library system
    did not answer, whose links are left as they are. Progress goes to standard error.
    """
    settings = load(ctx)
    counts: Counter[Chore] = Counter()
    chores: list[ChoreDone] = []
    with refusals_told(ctx):
        for done in _with_progress(build_housekeeping(settings, command_actor()).run(dry_run=dry_run)):
            counts[done.chore] += done.count
            if done.library_id is None:
                continue
            if as_json:
                chores.append(done)
            else:
                click.echo(_line(done))
    told = {chore.value: counts[chore] for chore in Chore}
    if as_json:
        say_json({"dry_run": dry_run, "counts": told, "chores": [_document(done) for done in chores]})
    else:
        words = ", ".join(f"{word} {count}" for word, count in told.items())
        click.echo(f"{'dry run, nothing was written: ' if dry_run else ''}{words}")
    if counts[Chore.KOHA_NOT_REACHABLE]:
        ctx.exit(FAILED)


def _with_progress(chores: Iterator[ChoreDone]) -> Iterator[ChoreDone]:
    for number, done in enumerate(chores, start=1):
        if number % SHOWN_EVERY == 0:
            click.echo(f"{number} chores", err=True)
        yield done


def _line(done: ChoreDone) -> str:
    parts = (done.chore.value, done.library_id, done.link_id, done.reason)
    return "\t".join(part or "-" for part in parts)


def _document(done: ChoreDone) -> Mapping[str, object]:
    return {
        "chore": done.chore,
        "library_id": done.library_id,
        "link_id": done.link_id,
        "reason": done.reason,
    }
