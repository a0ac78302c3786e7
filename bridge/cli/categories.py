"""``koha-jpki categories``: patrons' categories in Koha and their links, put right."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

import click

from bridge.cli.common import command_actor, load, refusals_told
from bridge.cli.json_output import FAILED, json_option, say_json
from bridge.errors import LibraryNotFound
from bridge.patrons.category import CategoryService, ReconcileAction, ReconciledPatron
from bridge.wiring import build_categories


@click.group()
def categories() -> None:
    """Patron categories for linked patrons."""


@categories.command("reconcile")
@click.option("--library", "library_id", help="Id of one library; without it all that have Koha's REST API.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing, here or in Koha.")
@json_option
@click.pass_context
def reconcile(ctx: click.Context, *, library_id: str | None, dry_run: bool, as_json: bool) -> None:
    """Make the moves that failed or were never planned, and upgrade links made over SIP2 alone.

    Run it every night. A patron whom staff moved is left alone and named. Exit code 0 if all is in
    order then, 1 if a move failed or Koha did not answer.
    """
    settings = load(ctx)
    with refusals_told(ctx):
        if library_id is not None and library_id not in {each.library_id for each in settings.libraries}:
            raise LibraryNotFound(library_id)
        service = build_categories(settings)
    libraries = (
        [library.library_id for library in settings.libraries if library.koha is not None]
        if library_id is None
        else [library_id]
    )
    results: dict[str, list[ReconciledPatron]] = {each: [] for each in libraries}
    try:
        with refusals_told(ctx):
            for each in libraries:
                for result in _with_progress(service, each, dry_run=dry_run):
                    results[each].append(result)
                    if not as_json and result.action is not ReconcileAction.IN_ORDER:
                        click.echo(_line(each, result))
    finally:
        if as_json:
            say_json(_document(results, dry_run=dry_run), in_one_line=True)
        else:
            click.echo(_summary(results, dry_run=dry_run))
    if any(result.action is ReconcileAction.FAILED for each in results.values() for result in each):
        ctx.exit(FAILED)


def _with_progress(service: CategoryService, library_id: str, *, dry_run: bool) -> Iterator[ReconciledPatron]:
    """Yield the results; on a terminal, show on standard error how many of how many are done."""
    total = len(service.patrons(library_id))
    shown = sys.stderr.isatty()
    for number, result in enumerate(service.reconcile(library_id, command_actor(), dry_run=dry_run), start=1):
        if shown:
            click.echo(f"\r{library_id}: {number}/{max(number, total)}", err=True, nl=False)
        yield result
    if shown:
        click.echo(err=True)


def _line(library_id: str, result: ReconciledPatron) -> str:
    patron = "-" if result.patron_id is None else str(result.patron_id)
    way = f"{result.from_category} -> {result.to_category}" if result.to_category else "-"
    return "\t".join((library_id, patron, result.action.value, way, result.problem or "-"))


def _summary(results: dict[str, list[ReconciledPatron]], *, dry_run: bool) -> str:
    counts = Counter(result.action for each in results.values() for result in each)
    told = ", ".join(f"{action.value} {counts[action]}" for action in ReconcileAction)
    return f"{'dry run, nothing was written: ' if dry_run else ''}{told}"


def _document(results: dict[str, list[ReconciledPatron]], *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "libraries": {library_id: [asdict(each) for each in done] for library_id, done in results.items()},
    }
