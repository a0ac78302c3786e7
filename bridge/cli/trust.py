"""``koha-jpki trust``: import the CA certificates that are trusted, and list them.

No CA certificate comes with the program. The operator pins a fingerprint in the settings, having
compared it with what J-LIS publishes, and then imports the certificate; where it came from does not
matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from bridge.cli.common import load, refusals_told, refuse
from bridge.cli.json_output import json_option, say_json
from config import Mode
from jpki.certificate import CertificateType
from jpki.errors import (
    CertificateError,
    FingerprintNotPinned,
    JpkiError,
    TestAuthorityRefused,
    TrustFileRefused,
)
from jpki.trust import AuthorityCertificate, import_anchor
from jpki.trust_files import load_directory, write_anchor

_KINDS = {
    CertificateType.USER_AUTHENTICATION: "CA for user authentication (利用者証明用)",
    CertificateType.DIGITAL_SIGNATURE: "CA for digital signatures (署名用): known, never trusted for a card",
}


@click.group()
def trust() -> None:
    """Import and list the CA certificates that are trusted."""


@trust.command("import")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--from-card", is_flag=True, help="Take the CA certificate that a card carries (EF 000B).")
@click.option("--reader", help="Name of the PC/SC reader.  [default: any]")
@json_option
@click.pass_context
def import_command(
    ctx: click.Context, *, file: Path | None, from_card: bool, reader: str | None, as_json: bool
) -> None:
    """Import the CA certificate in FILE (DER or PEM), if its fingerprint is pinned in the settings."""
    if from_card == (file is not None):
        raise click.UsageError("name a FILE, or say --from-card")
    settings = load(ctx)
    try:
        data = file.read_bytes() if file is not None else _read_from_card(reader)
        authority = AuthorityCertificate.from_bytes(data)
    except CertificateError as error:
        refuse(ctx, "malformed-certificate", f"This is not the certificate of one of JPKI's CAs: {error}.")
    except JpkiError as error:
        refuse(ctx, "card-not-read", f"The card could not be read: {error}.")
    if not as_json:
        click.echo(_description(authority, datetime.now(UTC)))
    try:
        anchor = import_anchor(
            data, settings.jpki.pinned_fingerprints, allow_test=settings.mode is Mode.DEVELOPMENT
        )
    except FingerprintNotPinned:
        refuse(
            ctx,
            "fingerprint-not-pinned",
            "Not imported: this fingerprint is not pinned. Compare it with the one that J-LIS publishes "
            "at https://www.jpki.go.jp/ca/; if they are the same, add it to pinned_fingerprints in the "
            "[jpki] section of the settings and import again.",
        )
    except TestAuthorityRefused:
        refuse(ctx, "test-authority-refused", "Not imported: a test CA is accepted in development mode only.")
    with refusals_told(ctx):
        path = write_anchor(settings.jpki.trust_directory, anchor)
    if as_json:
        say_json({**_document(authority, datetime.now(UTC)), "file": path})
        return
    click.echo(f"Imported to {path}.")


@trust.command("list")
@json_option
@click.pass_context
def list_command(ctx: click.Context, *, as_json: bool) -> None:
    """List the imported CA certificates with their expiry, checking the pins again.

    Exit with 1 where there is none, or a file that is not accepted.
    """
    settings = load(ctx)
    directory = settings.jpki.trust_directory
    with refusals_told(ctx):
        try:
            store = load_directory(
                directory,
                settings.jpki.pinned_fingerprints,
                allow_test=settings.mode is Mode.DEVELOPMENT,
            )
        except FileNotFoundError:
            refuse(ctx, "no-authority", f"No CA certificate has been imported: {directory} does not exist.")
        except TrustFileRefused as error:
            refuse(
                ctx, "trust-file-refused", f"A file is not accepted, so the bridge would not start. {error}"
            )
    if not store.anchors:
        refuse(ctx, "no-authority", f"No CA certificate has been imported into {directory}.")
    now = datetime.now(UTC)
    if as_json:
        say_json([_document(anchor, now) for anchor in store.anchors])
        return
    click.echo("\n\n".join(_description(anchor, now) for anchor in store.anchors))


def _read_from_card(reader: str | None) -> bytes:
    """Read EF 000B; no PIN is needed for it."""
    try:
        from jpki.pcsc import connect, wait_for_card
    except ImportError:
        raise click.ClickException("pyscard is not installed: koha-jpki-bridge[reader]") from None
    from jpki.card import JpkiSession

    click.echo("Lay the card on the reader.", err=True)
    with connect(wait_for_card(reader)) as connection:
        return JpkiSession(connection).read_ca_certificate()


def _description(authority: AuthorityCertificate, now: datetime) -> str:
    """Return what an operator compares: kind, fingerprint, key identifier, dates."""
    pairs = authority.fingerprint
    fingerprint = ":".join(pairs[start : start + 2] for start in range(0, len(pairs), 2))
    return "\n".join(
        (
            _KINDS[authority.certificate_type],
            f"  {'test CA' if authority.is_test else 'real CA'}",
            f"  valid until      {authority.not_after:%Y-%m-%d %H:%M:%SZ} ({_time_left(authority, now)})",
            f"  key identifier   {authority.key_identifier.hex().upper()}",
            f"  SHA-256          {fingerprint}",
        )
    )


def _time_left(authority: AuthorityCertificate, now: datetime) -> str:
    if now > authority.not_after:
        return "expired"
    return f"days left: {(authority.not_after - now).days}"


def _document(authority: AuthorityCertificate, now: datetime) -> Mapping[str, object]:
    return {
        "kind": authority.certificate_type.name.lower(),
        "is_test": authority.is_test,
        "not_after": authority.not_after,
        "expired": now > authority.not_after,
        "key_identifier": authority.key_identifier.hex().upper(),
        "fingerprint": authority.fingerprint,
    }
