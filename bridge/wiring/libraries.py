"""A library with its Koha: over the REST API, or over SIP2 alone."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

from bridge.environment import KohaSignIn, Library
from bridge.patrons.koha import KohaPatronDirectory, KohaStaffDirectory
from bridge.patrons.sip2 import Sip2Account, Sip2PatronDirectory
from bridge.wiring.clock import clock_in
from bridge.wiring.policies import identifier_forms, link_policy
from bridge.wiring.tls import build_koha_tls
from config import KohaSettings, LibrarySettings, Settings
from koha_client import KohaClient, OAuth2ClientCredentials, Transport


def build_library(library: LibrarySettings, settings: Settings) -> Library:
    """Return a library and what asks its Koha; nothing is asked yet."""
    time_zone = ZoneInfo(library.time_zone)
    client = None if library.koha is None else build_koha_client(library.koha)
    koha = None if client is None else KohaPatronDirectory(client)
    return Library(
        library.library_id,
        library.name,
        time_zone,
        patrons=_patrons_over_sip2(library, time_zone) if koha is None else koha,
        categories=koha,
        linked_category={} if koha is None else library.linked_category or {},
        replace_imported_links=library.replace_imported_links,
        card_number_forms=(
            identifier_forms(settings.identifiers) if library.card_application_number else None
        ),
        links=link_policy(library.links, settings.links),
        koha_origins=frozenset(library.koha_origins or ()),
        koha_sign_in=None if client is None else _koha_sign_in(library, client),
    )


def _koha_sign_in(library: LibrarySettings, client: KohaClient) -> KohaSignIn | None:
    chosen = library.koha_sign_in
    if chosen is None:
        return None
    return KohaSignIn(
        KohaStaffDirectory(client, chosen.permission), timedelta(minutes=chosen.recheck_minutes)
    )


def build_koha_client(koha: KohaSettings) -> KohaClient:
    """Return the client of a library's Koha; nothing is asked yet."""
    transport = Transport(
        connect_timeout=koha.connect_timeout_seconds, read_timeout=koha.read_timeout_seconds
    )
    credentials = OAuth2ClientCredentials(koha.base_url, koha.client_id, koha.client_secret, transport)
    return KohaClient(koha.base_url, credentials, transport)


def _patrons_over_sip2(library: LibrarySettings, time_zone: ZoneInfo) -> Sip2PatronDirectory:
    sip2 = library.sip2
    if sip2 is None or sip2.directory_login is None or sip2.directory_password is None:
        raise ValueError(f"{library.library_id} has no library system")  # the loader refuses such settings
    account = Sip2Account(
        sip2.koha_host,
        sip2.koha_port,
        sip2.directory_login,
        sip2.answer_timeout_seconds,
        sip2.directory_password,
        build_koha_tls(sip2),
    )
    expiry_field = None if sip2.expiry_field is None else sip2.expiry_field.encode("ascii")
    return Sip2PatronDirectory(account, clock_in(time_zone), expiry_field)
