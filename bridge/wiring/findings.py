"""What is wrong with the settings, or could be, before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import ip_address

from cryptography.x509 import load_pem_x509_certificates

from bridge.errors import BridgeError
from bridge.store import check_version, open_engine
from bridge.wiring.clock import now
from bridge.wiring.environment import check_keys
from bridge.wiring.revocation import library_revocations, load_trust_store
from bridge.wiring.tls import build_koha_tls, build_server_tls
from config import LibrarySettings, Settings, Sip2Settings
from jpki.errors import JpkiError, UntrustedIssuer
from sip2_adapter.tls import TlsProblem

SIP2_LIMITATIONS = (
    "without [library.koha] a link points to the card number and breaks when the patron gets a new card",
    "without [library.koha] the last valid day of a library card is known only through sip2.expiry_field",
    "without [library.koha] no patron is moved into a category for linked patrons",
)
"""What a library system cannot do for us over SIP2 alone."""


PLUGIN_NEEDED = (
    "without the bridge's plugin in Koha nobody signs in by [library.koha_sign_in]; koha-jpki doctor looks "
    "for it"
)


def find_problems(settings: Settings) -> list[str]:
    """Return what would keep the bridge from starting, or from being of use; change nothing."""
    checks: tuple[Callable[[], object], ...] = (
        lambda: check_version(open_engine(settings.database.url)),
        lambda: check_keys(settings),
        lambda: _require_anchors(settings),
        lambda: library_revocations(settings),
        *(
            partial(check, library.sip2)
            for library in settings.libraries
            if library.sip2 is not None
            for check in (build_server_tls, build_koha_tls, _require_certificate_in_force)
        ),
    )
    problems = []
    for check in checks:
        try:
            check()
        except (BridgeError, JpkiError, TlsProblem) as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{error.filename}: {error.strerror}")
    return list(dict.fromkeys(problems))  # libraries may share a file


def _require_certificate_in_force(sip2: Sip2Settings) -> None:
    """Raise ``TlsProblem`` for a certificate that every machine would refuse today."""
    file = sip2.certificate_file
    if file is None:
        return
    try:
        certificate = load_pem_x509_certificates(file.read_bytes())[0]
    except (OSError, ValueError):
        return  # told by the check that makes the context
    if now() < certificate.not_valid_before_utc:
        raise TlsProblem(f"{file}: is valid from {certificate.not_valid_before_utc:%Y-%m-%d} only")
    if now() > certificate.not_valid_after_utc:
        raise TlsProblem(f"{file}: expired on {certificate.not_valid_after_utc:%Y-%m-%d}")


def _require_anchors(settings: Settings) -> None:
    folder = settings.jpki.trust_directory
    if not folder.exists() or not load_trust_store(settings).anchors:
        raise UntrustedIssuer(
            f"no CA certificate is imported into {folder}, so every card is refused: koha-jpki trust import"
        )


def find_warnings(settings: Settings) -> list[str]:
    """Return what works but may be wrong: tokens like card numbers, SIP2 in clear to Koha."""
    warnings = []
    prefixes = {settings.tokens.prefix}
    for library in settings.libraries:
        if library.sip2 is None:
            continue
        if not _takes_plastic_cards(library, library.sip2):
            warnings.append(
                f"{library.library_id}: a self-check machine takes no library cards; whoever has no linked "
                "card must be served at the counter"
            )
        if library.sip2.koha_authority_file is None and not _is_this_machine(library.sip2.koha_host):
            warnings.append(
                f"{library.library_id}: card numbers, PINs and names go in clear to "
                f"{library.sip2.koha_host}; put a TLS tunnel in front of Koha's SIP2 server and set "
                "library.sip2.koha_authority_file"
            )
        own = {machine.token_prefix for machine in library.self_check if machine.token_prefix}
        if library.cardnumber_prefixes is None:
            warnings.append(
                f"{library.library_id}: library.cardnumber_prefixes is not set, so nobody can say "
                "whether a library card could be taken for a token"
            )
            continue
        warnings.extend(
            f"{library.library_id}: a library card that begins with {cardnumber} could be taken for a "
            f"token that begins with {prefix}"
            for prefix in sorted(prefixes | own)
            for cardnumber in library.cardnumber_prefixes
            if cardnumber.startswith(prefix) or prefix.startswith(cardnumber)
        )
    return warnings


def _is_this_machine(host: str) -> bool:
    """Say whether what is sent to *host* stays here; of another name nobody knows."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _takes_plastic_cards(library: LibrarySettings, sip2: Sip2Settings) -> bool:
    own = (machine.plastic_cards for machine in library.self_check)
    return sip2.plastic_cards and not any(each is False for each in own)


def find_limitations(settings: Settings) -> list[str]:
    """Return what the settings make impossible although nothing is wrong with them."""
    return [
        *(
            f"library {library.library_id}: {limitation}"
            for library in settings.libraries
            if library.koha is None
            for limitation in SIP2_LIMITATIONS
        ),
        *(
            f"library {library.library_id}: {PLUGIN_NEEDED}"
            for library in settings.libraries
            if library.koha_sign_in is not None
        ),
    ]
