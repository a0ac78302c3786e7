"""``koha-jpki links``: the links of a library: listed, shown, ended, brought in and given out."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from bridge.cli.common import command_actor, load, refusals_told
from bridge.cli.json_output import FAILED, json_option, say_json
from bridge.cli.private_file import write_private
from bridge.links.file import write_link_file
from bridge.links.identifiers import IMPORTED_KINDS
from bridge.links.transfer import ImportReport
from bridge.models import CardLink, IdentifierKind, UnlinkReason
from bridge.wiring import build_link_records, build_link_transfer

PROGRESS_STEP = 100

library_option = click.option("--library", "library_id", required=True, help="Id of the library.")
kind_option = click.option(
    "--kind", type=click.Choice([kind.value for kind in IMPORTED_KINDS]), required=True, help="Of identifier."
)


@click.group()
def links() -> None:
    """Links of cards to patrons. No identifier of a card is shown."""


@links.command("list")
@library_option
@click.option("--all", "with_ended", is_flag=True, help="Ended links, too.")
@json_option
@click.pass_context
def list_links(ctx: click.Context, *, library_id: str, with_ended: bool, as_json: bool) -> None:
    """List links: id, Koha's patron number, kind, state, day of the end."""
    settings = load(ctx)
    with refusals_told(ctx):
        found = build_link_records(settings).links(library_id, with_ended=with_ended)
        if as_json:
            say_json([_document(link) for link in found])
            return
        for link in found:
            patron = "-" if link.patron_id is None else str(link.patron_id)
            end = link.ended_at or link.not_after
            click.echo(f"{link.link_id}\t{patron}\t{link.kind}\t{link.state}\t{end:%Y-%m-%d}")


@links.command("show")
@library_option
@click.argument("link_id")
@json_option
@click.pass_context
def show_link(ctx: click.Context, *, library_id: str, link_id: str, as_json: bool) -> None:
    """Show one link."""
    settings = load(ctx)
    with refusals_told(ctx):
        document = _document(build_link_records(settings).link(library_id, link_id))
    if as_json:
        say_json(document)
        return
    for name, value in document.items():
        click.echo(f"{name}: {'-' if value is None else value}")


@links.command("end")
@library_option
@click.argument("link_id")
@click.option("--reason", type=click.Choice([reason.value for reason in UnlinkReason]), required=True)
@json_option
@click.pass_context
def end_link(ctx: click.Context, *, library_id: str, link_id: str, reason: str, as_json: bool) -> None:
    """End a link, and whatever session runs on it."""
    settings = load(ctx)
    with refusals_told(ctx):
        ended = build_link_records(settings).end(library_id, link_id, UnlinkReason(reason), command_actor())
    if as_json:
        say_json(_document(ended))
        return
    click.echo(f"link {link_id} has ended; what identified the card is wiped")


@links.command("import")
@library_option
@kind_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--valid-until",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Last day of the links whose row names none.",
)
@click.option("--write", is_flag=True, help="Make the links. Without it the file is only checked.")
@json_option
@click.pass_context
def import_links(
    ctx: click.Context,
    *,
    library_id: str,
    kind: str,
    file: Path,
    valid_until: datetime | None,
    write: bool,
    as_json: bool,
) -> None:
    """Bring in the links of another system from a CSV FILE, all or none.

    Columns: identifier; library_card or patron_id; valid_until. UTF-8 or CP932. Every row that is refused
    is named by its line, without what stands in it. Exit code 0 if all rows are good, 1 if not.
    """
    settings = load(ctx)
    with refusals_told(ctx):
        report = build_link_transfer(settings).import_links(
            library_id,
            file.read_bytes(),
            IdentifierKind(kind),
            command_actor(),
            usual_day=None if valid_until is None else valid_until.date(),
            dry_run=not write,
            progress=_progress,
        )
    if sys.stderr.isatty():
        click.echo(err=True)
    if as_json:
        say_json(_report_document(report))
    else:
        for row in report.refused:
            click.echo(f"line {row.line}: {row.problem}")
        click.echo(_summary(report, write=write))
    if report.refused:
        ctx.exit(FAILED)


@links.command("export")
@library_option
@kind_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@click.pass_context
def export_links(ctx: click.Context, *, library_id: str, kind: str, file: Path, as_json: bool) -> None:
    """Write the open links of a kind to a new CSV FILE that nobody else can read (mode 0600)."""
    settings = load(ctx)
    with refusals_told(ctx):
        rows = build_link_transfer(settings).export_links(library_id, IdentifierKind(kind), command_actor())
        written = write_private(file, write_link_file(rows))
    if as_json:
        say_json({"written": written - 1})
        return
    click.echo(f"{written - 1} links written to {file}; it holds identifiers of people: delete it after use")


def _progress(rows: int) -> None:
    if rows % PROGRESS_STEP == 0 and sys.stderr.isatty():
        click.echo(f"\r{rows} rows", err=True, nl=False)


def _summary(report: ImportReport, *, write: bool) -> str:
    counted = f"new {report.new}, known {report.known}, refused {len(report.refused)}"
    if report.written:
        return f"{counted}: written"
    return f"{counted}: nothing was written" + ("" if write else " (dry run; --write makes the links)")


def _report_document(report: ImportReport) -> dict[str, object]:
    return {
        "new": report.new,
        "known": report.known,
        "refused": [{"line": row.line, "problem": row.problem} for row in report.refused],
        "written": report.written,
    }


def _document(link: CardLink) -> dict[str, object]:
    moments = {
        "linked_at": link.linked_at,
        "not_after": link.not_after,
        "last_used_at": link.last_used_at,
        "suspended_at": link.suspended_at,
        "ended_at": link.ended_at,
        "consented_at": link.consented_at,
        "represented_until": None if link.representation is None else link.representation.until,
    }
    return {
        "link_id": link.link_id,
        "library_id": link.library_id,
        "patron_id": link.patron_id,
        "kind": link.kind,
        "state": link.state,
        **{name: None if moment is None else moment.isoformat() for name, moment in moments.items()},
        "linked_by": link.linked_by,
        "consent_version": link.consent_version,
        "replaces": link.replaces,
        "suspended_reason": link.suspended_reason,
        "ended_reason": link.ended_reason,
    }
