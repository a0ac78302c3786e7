"""``koha-jpki crl``: put certificate revocation lists in force, and show which are.

What is in force stays in force until a newer list of the same CA key was proven and is whole.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import click

from bridge.cli.common import WRONG_SETTINGS, load, refusals_told
from bridge.cli.json_output import FAILED
from config import Mode, Settings
from jpki.crl_fetch import fetch_crl
from jpki.crl_index import CrlDirectory, CrlHead
from jpki.errors import JpkiError
from jpki.trust import TrustStore
from jpki.trust_files import load_directory

_STEPS = 1000


@click.group()
def crl() -> None:
    """Import and show certificate revocation lists (失効リスト)."""


@crl.command("import")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", help="Fetch the CRL from this address: http, https, ldap or ldaps.")
@click.pass_context
def import_command(ctx: click.Context, file: Path | None, url: str | None) -> None:
    """Put the CRL in FILE (DER or PEM) in force, or those from the addresses in the settings."""
    if file is not None and url is not None:
        raise click.UsageError("name a FILE, or give --url")
    settings = load(ctx)
    directory = _directory(ctx, settings)
    with refusals_told(ctx):
        trust_store = _trust_store(settings)
    if file is not None:
        with refusals_told(ctx):
            _import(directory, trust_store, file)
        return
    urls = settings.revocation.crl_urls if url is None else (url,)
    if not urls:
        raise click.UsageError("name a FILE, give --url, or set revocation.crl_urls")
    failed = [address for address in urls if not _fetch_and_import(settings, directory, trust_store, address)]
    if failed:
        ctx.exit(FAILED)


@crl.command("show")
@click.pass_context
def show_command(ctx: click.Context) -> None:
    """Show the CRLs in force; exit with 1 where there is none, or one that is overdue."""
    directory = _directory(ctx, load(ctx))
    with refusals_told(ctx):
        heads = directory.heads()
    if not heads:
        _fail(ctx, "No CRL has been imported.")
    now = datetime.now(UTC)
    click.echo("\n\n".join(_description(head, now) for head in heads))
    if any(now > head.next_update for head in heads):
        ctx.exit(FAILED)


def _fetch_and_import(settings: Settings, directory: CrlDirectory, trust_store: TrustStore, url: str) -> bool:
    """Fetch and import one CRL; tell a failure and return False, so that the others have their turn."""
    try:
        with tempfile.NamedTemporaryFile(prefix="koha-jpki-crl-") as fetched:
            fetch_crl(url, fetched, timeout=settings.revocation.timeout_seconds)
            _import(directory, trust_store, Path(fetched.name))
    except JpkiError as error:
        click.echo(f"{url}: {error}", err=True)
        return False
    return True


def _import(directory: CrlDirectory, trust_store: TrustStore, file: Path) -> None:
    now = datetime.now(UTC)
    with _progress() as progress:
        head = directory.import_crl(file, trust_store, now, progress)
    click.echo(_description(head, now))


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    with click.progressbar(length=_STEPS, label="Reading the CRL", file=sys.stderr) as bar:
        yield lambda done, total: bar.update(done * _STEPS // total - bar.pos)


def _directory(ctx: click.Context, settings: Settings) -> CrlDirectory:
    if settings.revocation.crl_directory is None:
        click.echo("revocation.crl_directory: missing", err=True)
        ctx.exit(WRONG_SETTINGS)
    return CrlDirectory(settings.revocation.crl_directory, settings.revocation.crl_distribution_points)


def _trust_store(settings: Settings) -> TrustStore:
    return load_directory(
        settings.jpki.trust_directory,
        settings.jpki.pinned_fingerprints,
        allow_test=settings.mode is Mode.DEVELOPMENT,
    )


def _description(head: CrlHead, now: datetime) -> str:
    overdue = "  OVERDUE: its answers count as stale" if now > head.next_update else ""
    point = head.distribution_point
    covers = () if point is None else (f"  covers           certificates of {point} alone",)
    return "\n".join(
        (
            f"CRL number {head.number} of the CA key {head.issuer_key_identifier.hex().upper()}",
            *covers,
            f"  issued           {head.this_update:%Y-%m-%d %H:%M:%SZ}",
            f"  next one due     {head.next_update:%Y-%m-%d %H:%M:%SZ}{overdue}",
            f"  entries          {head.entry_count:,}",
            f"  imported         {head.imported_at:%Y-%m-%d %H:%M:%SZ}",
        )
    )


def _fail(ctx: click.Context, words: str) -> NoReturn:
    click.echo(words, err=True)
    ctx.exit(FAILED)
