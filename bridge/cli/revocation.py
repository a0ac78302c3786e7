"""``koha-jpki revocation``: ask about one certificate as the bridge would, and sweep over all links."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bridge.cli.common import load, refusals_told, refuse
from bridge.cli.json_output import FAILED, json_option, say_json
from bridge.cli.sweep import sweep
from bridge.errors import slug_of
from bridge.wiring import build_card_policy
from jpki.certificate import UserAuthenticationCertificate
from jpki.errors import CertificateError, MalformedCertificate
from jpki.revocation import RevocationAnswer, RevocationStatus
from jpki.verify import verify_certificate


@click.group()
def revocation() -> None:
    """Ask whether certificates are revoked; suspend the links of those that are."""


@revocation.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--library", help="Ask as this library does.  [default: the first of the settings]")
@json_option
@click.pass_context
def check_command(ctx: click.Context, *, file: Path, library: str | None, as_json: bool) -> None:
    """Ask the configured sources about the certificate in FILE (DER or PEM); exit with 0 if it is good."""
    settings = load(ctx)
    with refusals_told(ctx):
        policy = build_card_policy(settings)
        certificate = _read_certificate(ctx, file)
        now = datetime.now(UTC)
        issuer = verify_certificate(certificate, policy.trust_store, policy.certificate, now)
        revocation_of_library = policy.revocation_of(library or settings.libraries[0].library_id)
        answer = revocation_of_library.source.check(certificate, issuer, now)
        answer = revocation_of_library.rule.freshness.evaluate(answer, now)
    if as_json:
        consulted = [_document(each) for each in answer.consulted]
        say_json({**_document(answer), "consulted": consulted})
    else:
        for said in (answer, *answer.consulted):
            click.echo(_words(said))
    if answer.status is not RevocationStatus.GOOD:
        ctx.exit(FAILED)


revocation.add_command(sweep)


def _read_certificate(ctx: click.Context, file: Path) -> UserAuthenticationCertificate:
    try:
        return UserAuthenticationCertificate.from_der(_der(file.read_bytes()))
    except CertificateError as error:
        refuse(ctx, slug_of(error), f"{file} is not a card's certificate for user authentication: {error}")


def _der(content: bytes) -> bytes:
    if not content.lstrip().startswith(b"-----BEGIN"):
        return content
    try:
        return x509.load_pem_x509_certificate(content).public_bytes(Encoding.DER)
    except ValueError as error:
        raise MalformedCertificate("not a PEM certificate") from error


def _words(answer: RevocationAnswer) -> str:
    """Return one source's answer in a line: source, status, why or since when, as of when."""
    parts = [f"{answer.source}: {answer.status.value}"]
    if answer.why is not None:
        parts.append(answer.why.value)
    if answer.revoked_at is not None:
        parts.append(f"since {answer.revoked_at:%Y-%m-%d %H:%M:%SZ}")
    if answer.reason is not None:
        parts.append(answer.reason)
    parts.append(f"as of {answer.as_of:%Y-%m-%d %H:%M:%SZ}")
    return ", ".join(parts)


def _document(answer: RevocationAnswer) -> Mapping[str, object]:
    return {
        "status": answer.status.value,
        "source": answer.source,
        "as_of": answer.as_of,
        "next_update": answer.next_update,
        "revoked_at": answer.revoked_at,
        "reason": answer.reason,
        "why": None if answer.why is None else answer.why.value,
    }
