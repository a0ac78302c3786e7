"""``koha-jpki crl``: put certificate revocation lists in force, and show which are.

What is in force stays in force until a newer list of the same CA key was proven and is whole.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import click

from bridge.cli.common import load, refusals_told, refuse_settings
from bridge.cli.json_output import FAILED, json_option, say_json
from config import Mode, Settings
from jpki.crl_fetch import CRL_SCHEMES, fetch_crl
from jpki.crl_index import CrlDirectory, CrlHead
from jpki.errors import JpkiError
from jpki.trust import TrustStore
from jpki.trust_files import load_directory

_STEPS = 1000


def _check_url(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and urlsplit(value).scheme not in CRL_SCHEMES:
        raise click.BadParameter(f"begins with one of {', '.join(CRL_SCHEMES)}")
    return value


@click.group()
def crl() -> None:
    """Import and show certificate revocation lists (失効リスト)."""


@crl.command("import")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--url", callback=_check_url, help="Fetch the CRL from this address: http, https, ldap or ldaps."
)
@json_option
@click.pass_context
def import_command(ctx: click.Context, *, file: Path | None, url: str | None, as_json: bool) -> None:
    """Put the CRL in FILE (DER or PEM) in force, or those from the addresses in the settings.

    Exit with 1 where one of them was not imported; the others are in force then all the same.
    """
    if file is not None and url is not None:
        raise click.UsageError("name a FILE, or give --url")
    settings = load(ctx)
    directory = _directory(ctx, settings)
    with refusals_told(ctx):
        trust_store = _trust_store(settings)
    imported: list[CrlHead] = []
    failed: dict[str, str] = {}
    if file is not None:
        with refusals_told(ctx):
            imported.append(_import(directory, trust_store, file))
    else:
        urls = settings.revocation.crl_urls if url is None else (url,)
        if not urls:
            raise click.UsageError("name a FILE, give --url, or set revocation.crl_urls")
        for address in urls:
            try:
                imported.append(_fetch_and_import(settings, directory, trust_store, address))
            except JpkiError as error:  # the others have their turn
                failed[address] = str(error)
    _tell(imported, failed, as_json=as_json)
    if failed:
        ctx.exit(FAILED)


@crl.command("show")
@json_option
@click.pass_context
def show_command(ctx: click.Context, *, as_json: bool) -> None:
    """Show the CRLs in force; exit with 1 where there is none, or one that is overdue."""
    directory = _directory(ctx, load(ctx))
    with refusals_told(ctx):
        heads = directory.heads()
    now = datetime.now(UTC)
    if as_json:
        say_json([_document(head, now) for head in heads])
    elif heads:
        click.echo("\n\n".join(_description(head, now) for head in heads))
    else:
        click.echo("No CRL has been imported.", err=True)
    if not heads or any(now > head.next_update for head in heads):
        ctx.exit(FAILED)


def _fetch_and_import(
    settings: Settings, directory: CrlDirectory, trust_store: TrustStore, url: str
) -> CrlHead:
    with tempfile.NamedTemporaryFile(prefix="koha-jpki-crl-") as fetched:
        fetch_crl(url, fetched, timeout=settings.revocation.timeout_seconds)
        return _import(directory, trust_store, Path(fetched.name))


def _import(directory: CrlDirectory, trust_store: TrustStore, file: Path) -> CrlHead:
    with _progress() as progress:
        return directory.import_crl(file, trust_store, datetime.now(UTC), progress)


def _tell(imported: Sequence[CrlHead], failed: Mapping[str, str], *, as_json: bool) -> None:
    now = datetime.now(UTC)
    if as_json:
        problems = [{"url": url, "problem": problem} for url, problem in failed.items()]
        say_json({"imported": [_document(head, now) for head in imported], "failed": problems})
        return
    for head in imported:
        click.echo(_description(head, now))
    for url, problem in failed.items():
        click.echo(f"{url}: {problem}", err=True)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    with click.progressbar(length=_STEPS, label="Reading the CRL", file=sys.stderr) as bar:
        yield lambda done, total: bar.update(done * _STEPS // total - bar.pos)


def _directory(ctx: click.Context, settings: Settings) -> CrlDirectory:
    if settings.revocation.crl_directory is None:
        refuse_settings(ctx, ("revocation.crl_directory: missing",))
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


def _document(head: CrlHead, now: datetime) -> Mapping[str, object]:
    return {
        "issuer_key_identifier": head.issuer_key_identifier.hex().upper(),
        "distribution_point": head.distribution_point,
        "number": head.number,
        "this_update": head.this_update,
        "next_update": head.next_update,
        "overdue": now > head.next_update,
        "entries": head.entry_count,
        "imported_at": head.imported_at,
    }
