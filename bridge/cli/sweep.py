"""``koha-jpki revocation sweep``: suspend the links of revoked certificates, list those that end soon."""

from __future__ import annotations

import json
from typing import Any

import click

from bridge.cli.common import command_actor, load, refusals_told
from bridge.cli.json_output import FAILED
from bridge.revocation.sweep import SweepStep
from bridge.wiring import build_sweep

SHOWN_EVERY = 20
"""Steps of a sweep of which progress is shown; the last one always."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line.")
@click.pass_context
def sweep(ctx: click.Context, *, as_json: bool) -> None:
    """Hold every active link against what is known of revocation; list certificates that end in 90 days.

    Stopped in the middle it goes on where it stopped, and it may run twice. Exit with 1 where the state of
    a certificate could not be told. Links under another system's identifier name no certificate: they are
    counted apart, and their card is asked about at each use. Progress goes to standard error.
    """
    settings = load(ctx)
    report = _JsonReport() if as_json else _TextReport()
    with refusals_told(ctx):
        revocation_sweep = build_sweep(settings, command_actor())
        step = None
        for number, step in enumerate(revocation_sweep.run(_show_tagging)):
            _show_progress(number, step)
            for link, answer in step.suspended:
                report.suspended(link.link_id, link.library_id, answer.reason, answer.source)
        for ending in revocation_sweep.expiring():
            report.expires(ending.link_id, ending.library_id, f"{ending.not_after:%Y-%m-%d}")
        unswept = revocation_sweep.unswept()
    if step is not None:
        state = step.state
        report.ended(
            checked=state.checked,
            good=state.good,
            suspended=state.suspended,
            unknown=state.unknown,
            other_identifier=unswept,
        )
        if state.unknown:
            ctx.exit(FAILED)


def _show_tagging(done: int, total: int) -> None:
    click.echo(f"making tags: {done} of {total} links", err=True)


def _show_progress(number: int, step: SweepStep) -> None:
    if number % SHOWN_EVERY == 0 or step.state.finished_at is not None:
        click.echo(f"{step.state.checked} of {max(step.total, step.state.checked)} links", err=True)


class _TextReport:
    def suspended(self, link_id: str, library_id: str, reason: str | None, source: str) -> None:
        click.echo(f"suspended: link {link_id}, {library_id}: {reason or 'revoked'} ({source})")

    def expires(self, link_id: str, library_id: str, day: str) -> None:
        click.echo(f"ends {day}: link {link_id}, {library_id}")

    def ended(self, **counts: int) -> None:
        click.echo(", ".join(f"{word.replace('_', ' ')} {count}" for word, count in counts.items()))


class _JsonReport:
    def suspended(self, link_id: str, library_id: str, reason: str | None, source: str) -> None:
        self._write(event="suspended", link=link_id, library=library_id, reason=reason, source=source)

    def expires(self, link_id: str, library_id: str, day: str) -> None:
        self._write(event="expires", link=link_id, library=library_id, not_after=day)

    def ended(self, **counts: int) -> None:
        self._write(event="finished", **counts)

    @staticmethod
    def _write(**values: Any) -> None:
        click.echo(json.dumps(values))
