"""``koha-jpki audit``: the audit log checked, exported, sealed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from bridge.audit.chain import ChainHead, Finding, FindingKind
from bridge.audit.log import AuditService, CheckedLog, Outcome, check_export, read_anchors
from bridge.cli.common import command_actor, load, refusals_told
from bridge.cli.json_output import FAILED, json_option, say_json
from bridge.cli.private_file import write_private
from bridge.wiring import build_audit

WORDS: Mapping[FindingKind, str] = {
    FindingKind.CHANGED: "changed, put in or moved; or the event before it was rewritten",
    FindingKind.MISSING: "missing",
    FindingKind.BEYOND_HEAD: "added by hand behind the last event",
    FindingKind.HEAD_CHANGED: "the record of the last event was changed by hand",
    FindingKind.NOT_SEALED: "not sealed; if the log was checked, run koha-jpki audit seal",
    FindingKind.OTHER_THAN_ANCHOR: "not the event that --against knows: the log was rewritten",
}

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def audit() -> None:
    """Check and export the audit log."""


@audit.command()
@click.argument("export_file", required=False, type=FILE, metavar="[EXPORT]")
@click.option("--library", "library_id", help="Id of one library; without it all of them.")
@click.option("--against", type=FILE, help="An earlier export, or what an earlier --json wrote.")
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    export_file: Path | None,
    *,
    library_id: str | None,
    against: Path | None,
    as_json: bool,
) -> None:
    """Find what was changed, removed, put in or moved in the audit log, or in an EXPORT of it.

    Exit with 1 where anything is found. Keep what --json writes on another machine: with --against it
    shows that nothing up to then was rewritten or taken away since. Progress goes to standard error.
    """
    found: list[Outcome] = []
    with refusals_told(ctx):
        anchors = {} if against is None else _anchors(against)
        if export_file is None:
            outcomes = _check_database(build_audit(load(ctx)), library_id, anchors)
        else:
            outcomes = _check_file(export_file, library_id, anchors)
        for outcome in outcomes:
            found.append(outcome)
            if not as_json:
                click.echo(_as_text(outcome))
    whole = all(isinstance(outcome, CheckedLog) for outcome in found)
    if as_json:
        # In one line, so that the checks of many days can stand in one file.
        say_json({"whole": whole, **_document(found)}, in_one_line=True)
    if not whole:
        ctx.exit(FAILED)


@audit.command()
@click.option("--library", "library_id", help="Id of one library; without it all of them.")
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this new file, which nobody else can read, instead of standard output.",
)
@json_option
@click.pass_context
def export(ctx: click.Context, *, library_id: str | None, file: Path | None, as_json: bool) -> None:
    """Write the audit log to standard output, one JSON object a line, with the hashes of its chain.

    It names no patron. koha-jpki audit verify EXPORT checks it, without settings, database or keys.
    With --file, --json tells how many events were written.
    """
    if as_json and file is None:
        raise click.UsageError("--json tells of a --file; without one the export itself is printed")
    with refusals_told(ctx):
        service = build_audit(load(ctx))
        chosen = _chosen(service, library_id)
        lines = (line for each in chosen for line in service.export(each))
        if file is None:
            for line in lines:
                click.echo(line)
            return
        events = write_private(file, (f"{line}\n" for line in lines))
    if as_json:
        say_json({"file": file, "libraries": chosen, "events": events})
        return
    click.echo(f"{events} events written to {file}")


@audit.command()
@click.option("--library", "library_id", help="Id of one library; without it all of them.")
@json_option
@click.pass_context
def seal(ctx: click.Context, *, library_id: str | None, as_json: bool) -> None:
    """Seal the audit log as it stands: after an upgrade, or when what verify found has been looked into.

    That this was done is itself an event. What was found stays to be found, but for the seal.
    """
    with refusals_told(ctx):
        service = build_audit(load(ctx))
        sealed = []
        for each in _chosen(service, library_id):
            service.seal(command_actor(), each)
            sealed.append(each)
            if not as_json:
                click.echo(f"{each}: sealed")
    if as_json:
        say_json([{"library_id": each, "sealed": True} for each in sealed])


def _chosen(service: AuditService, library_id: str | None) -> list[str]:
    return list(service.libraries()) if library_id is None else [library_id]


def _check_database(
    service: AuditService, library_id: str | None, anchors: Mapping[str, ChainHead]
) -> Iterator[Outcome]:
    chosen = sorted({*service.libraries(), *anchors}) if library_id is None else [library_id]
    for each in chosen:
        yield from service.check(each, anchors.get(each), _show_progress)


def _check_file(path: Path, library_id: str | None, anchors: Mapping[str, ChainHead]) -> Iterator[Outcome]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        yield from check_export(lines, library_id, anchors)


def _anchors(path: Path) -> Mapping[str, ChainHead]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        return read_anchors(lines)


def _show_progress(library_id: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{library_id}: {done}/{max(done, total)}", err=True, nl=done >= total)


def _as_text(outcome: Outcome) -> str:
    if isinstance(outcome, Finding):
        events = f"event {outcome.first}" if outcome.first == outcome.last else _span(outcome)
        return f"{outcome.library_id}: {events}: {WORDS[outcome.kind]}"
    word = "whole" if outcome.whole else "NOT WHOLE"
    last = outcome.last
    return f"{last.library_id}: {word}; the last event is {last.sequence}, {last.hash.hex()}"


def _span(finding: Finding) -> str:
    return f"events {finding.first} to {finding.last}"


def _document(outcomes: Sequence[Outcome]) -> Mapping[str, object]:
    heads = [(each.last, each.whole) for each in outcomes if isinstance(each, CheckedLog)]
    findings = [each for each in outcomes if isinstance(each, Finding)]
    return {
        "logs": [
            {
                "library_id": last.library_id,
                "whole": whole,
                "sequence": last.sequence,
                "hash": last.hash.hex(),
            }
            for last, whole in heads
        ],
        "findings": [
            {
                "library_id": finding.library_id,
                "kind": finding.kind,
                "first": finding.first,
                "last": finding.last,
            }
            for finding in findings
        ],
    }
