"""Settings -> running parts. The one place where concrete parts are chosen and put together.

Everything here refuses to start rather than to start wrong: ``StoreProblem`` for a database of
another version, ``KeyProblem`` for a wrong key, ``TrustFileRefused`` for a CA that is not pinned.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from ssl import SSLContext
from threading import Thread
from zoneinfo import ZoneInfo

from argon2 import PasswordHasher, profiles
from cryptography.x509 import load_pem_x509_certificates
from sqlalchemy.orm import Session, scoped_session

from bridge.accounts.own_account import OwnAccountService
from bridge.accounts.second_factor import SecondFactorPolicy
from bridge.accounts.staff import StaffService
from bridge.administration import AdministrationService
from bridge.audit.log import AuditService
from bridge.borrowing import USE_WRITTEN_WITHIN, BorrowingService
from bridge.counter.identification import IdentificationService
from bridge.counter.koha_desk import DeskService
from bridge.environment import Environment, KohaSignIn, Library
from bridge.errors import BridgeError, StoreProblem
from bridge.housekeeping import Housekeeping
from bridge.keys.command import read_key_command
from bridge.keys.ring import KeyRing, load_key_ring, parse_key_ring
from bridge.keys.rotation import KeyRotation
from bridge.library_policies import LibraryPolicies
from bridge.links.bulk_unlinking import BulkUnlinkingService, at_once
from bridge.links.consent_service import ConsentService
from bridge.links.identifiers import IdentifierForms
from bridge.links.records import LinkRecordService
from bridge.links.transfer import LinkTransferService
from bridge.models import Actor, IdentifierKind, Terminal
from bridge.patrons.category import CategoryService
from bridge.patrons.koha import KohaPatronDirectory, KohaStaffDirectory
from bridge.patrons.sip2 import Sip2Account, Sip2PatronDirectory
from bridge.ports import AuditReader, ChangeCounter
from bridge.registration import RegistrationService
from bridge.resolver import TokenResolver
from bridge.revocation.sources import CrlSweepSource, PacedSource, SweepSource
from bridge.revocation.sweep import RevocationSweep
from bridge.rules import LinkPolicy, OutagePolicy, RevocationRule
from bridge.services import Services
from bridge.statistics import StatisticsService
from bridge.store import SqlStore, check_version, open_engine
from bridge.terminals.enrolment import EnrolmentService
from bridge.terminals.machines import MachinePolicies, MachinePolicy, ScreenLanguage
from bridge.terminals.service import TerminalService
from bridge.tokens import CheckDigit, TokenPolicy, TokenShape
from bridge.verification import CardPolicy, CardVerification, LibraryRevocation
from config import (
    IdentifierSettings,
    KeySettings,
    KohaSettings,
    LibraryLinkSettings,
    LibraryRevocationSettings,
    LibrarySettings,
    LinkSettings,
    Mode,
    RevocationSettings,
    SelfCheckSettings,
    Settings,
    Sip2Settings,
    describe_library,
)
from jpki.circuit_breaker import BreakerPolicy, CircuitBreaker
from jpki.crl_index import CrlDirectory, CrlHead
from jpki.crl_source import CrlSource
from jpki.errors import JpkiError, UntrustedIssuer
from jpki.guarded_source import CachedSource, GuardedSource
from jpki.platform_mapping import PlatformMapping
from jpki.platform_source import PlatformSource
from jpki.revocation import RevocationPolicy, RevocationSource
from jpki.revocation_chain import RevocationChain
from jpki.revocation_source import NoSource, OcspSource
from jpki.trust import TrustStore
from jpki.trust_files import load_directory
from jpki.verify import CertificatePolicy
from koha_client import KohaClient, OAuth2ClientCredentials, Transport
from sip2_adapter.framing import Terminator
from sip2_adapter.listener import ConnectionLimits, Listener, ProxyLimits
from sip2_adapter.observer import ProxyObserver
from sip2_adapter.proxy import Sip2Proxy
from sip2_adapter.tls import ClientTls, TlsProblem, client_tls, server_tls

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

QUESTIONS_AT_ONCE = 16
"""To one revocation source, from one process: as many as the server has threads. More than that are
questions that were given up and still wait somewhere."""


LONGEST_LOOK = timedelta(milliseconds=120)
"""SQLite looks again at least every 100 ms whether a lock is free (``sqliteDefaultBusyCallback``)."""


@dataclass(frozen=True)
class Bridge:
    """The services, and the session in which the admin's lists read the database."""

    services: Services
    session_factory: scoped_session[Session]
    store: SqlStore


def build_bridge(settings: Settings) -> Bridge:
    """Return the services that *settings* describe."""
    store, environment = _environment(settings)
    verification = CardVerification(environment, build_card_policy(settings))
    categories = CategoryService(environment)
    staff, enrolment = _staff(environment), EnrolmentService(environment)
    borrowing = BorrowingService(environment, verification, _token_policy(settings))
    own_account = _own_account(settings, environment, staff)
    consent = ConsentService(environment)
    services = Services(
        registration=RegistrationService(environment, verification, categories),
        consent=consent,
        identification=IdentificationService(environment, verification),
        borrowing=borrowing,
        staff=staff,
        own_account=own_account,
        enrolment=enrolment,
        terminals=TerminalService(environment, borrowing.idle_limit + USE_WRITTEN_WITHIN),
        categories=categories,
        bulk_unlinking=BulkUnlinkingService(environment, categories, _in_background, _let_others_write),
        administration=AdministrationService(
            environment,
            staff,
            enrolment,
            consent,
            {library.library_id: describe_library(library) for library in settings.libraries},
            {library.library_id: _policies(settings, library) for library in settings.libraries},
        ),
        statistics=StatisticsService(environment, _crl_heads(settings.revocation)),
        library_names={library.library_id: library.name for library in settings.libraries},
        clock=environment.clock,
        desk=DeskService(environment, staff, own_account),
        koha_staff_urls={
            library.library_id: library.koha_origins[0]
            for library in settings.libraries
            if library.koha_origins
        },
    )
    return Bridge(services, store.scoped_session(), store)


def _in_background(work: Callable[[], None]) -> None:
    """Run *work* beside the requests. It ends with the program, whatever it has left to do."""
    Thread(target=work, name="bulk-unlinking", daemon=True).start()


def _let_others_write() -> None:
    """Wait for a little longer than SQLite does between two looks at whether it may write."""
    time.sleep(LONGEST_LOOK.total_seconds())


def build_staff(settings: Settings) -> StaffService:
    """Return the one service that needs neither CAs nor a source of revocation."""
    return _staff(_environment(settings)[1])


def read_terminals(settings: Settings) -> Callable[[], list[Terminal]]:
    """Return what reads the terminals of all libraries, for whoever watches over them."""
    staff = build_staff(settings)
    return lambda: [each for library in settings.libraries for each in staff.terminals(library.library_id)]


def build_enrolment(settings: Settings) -> EnrolmentService:
    """Return the service that draws codes for terminals; it needs no CAs either."""
    return EnrolmentService(_environment(settings)[1])


def build_consent(settings: Settings) -> ConsentService:
    """Return the service that knows what patrons agree to; it needs no CAs either."""
    return ConsentService(_environment(settings)[1])


def build_desk(settings: Settings) -> tuple[DeskService, StaffService]:
    """Return the services that say who may open the desk in Koha's staff pages; they need no CAs either."""
    environment = _environment(settings)[1]
    staff = _staff(environment)
    return DeskService(environment, staff, _own_account(settings, environment, staff)), staff


def build_categories(settings: Settings) -> CategoryService:
    """Return the service that moves patrons between categories; it needs no CAs either."""
    return CategoryService(_environment(settings)[1])


def build_housekeeping(settings: Settings, actor: Actor) -> Housekeeping:
    """Return the service that ends and deletes what is over; it needs no CAs either."""
    environment = _environment(settings)[1]
    categories = CategoryService(environment)
    return Housekeeping(
        environment,
        categories,
        BulkUnlinkingService(environment, categories, at_once, _let_others_write),
        actor,
        account_gone=timedelta(days=settings.links.account_gone_days),
        session_retention=timedelta(days=settings.links.session_retention_days),
        idle_limit=timedelta(seconds=settings.tokens.idle_seconds),
    )


def build_audit(settings: Settings) -> AuditService:
    """Return the service that checks and exports the audit logs."""
    store, environment = _environment(settings)
    return AuditService(environment, store.audit_log())


def build_audit_reader(settings: Settings) -> AuditReader:
    """Return what reads the audit logs, for whoever counts in them."""
    return _environment(settings)[0].audit_log()


def build_key_rotation(settings: Settings, actor: Actor, *, confirm: bool = True) -> KeyRotation:
    """Return the service that goes over to another master key.

    Without *confirm* it is made also where a key is missing, so that one can be looked at or retired.
    """
    return KeyRotation(_environment(settings, confirm=confirm)[1], actor)


def build_link_records(settings: Settings) -> LinkRecordService:
    """Return the service by which commands look at links and end them; it needs no CAs."""
    environment = _environment(settings)[1]
    return LinkRecordService(environment, CategoryService(environment))


def build_link_transfer(settings: Settings) -> LinkTransferService:
    """Return the service that brings links of other systems in, and gives them out."""
    return LinkTransferService(_environment(settings)[1], _identifier_forms(settings.identifiers))


def _identifier_forms(identifiers: IdentifierSettings) -> IdentifierForms:
    forms = (
        (IdentifierKind.PPID, identifiers.ppid),
        (IdentifierKind.MYKEY_ID, identifiers.mykey_id),
        (IdentifierKind.CARD_AP_NUMBER, identifiers.card_ap_number),
    )
    return IdentifierForms({kind: re.compile(form) for kind, form in forms if form is not None})


def build_sweep(settings: Settings, actor: Actor) -> RevocationSweep:
    """Return the sweep of all links; it asks the sources of ``[revocation]`` that know by serial number."""
    return RevocationSweep(
        _environment(settings)[1],
        load_trust_store(settings),
        _sweep_sources(settings.revocation),
        _revocation_rules(settings),
        actor,
    )


def build_proxy(settings: Settings, observer: ProxyObserver | None = None) -> Sip2Proxy | None:
    """Return the SIP2 proxy, not started, for every library with self-check machines; None without any.

    *observer* counts what they do. Raises ``TlsProblem``.
    """
    if not any(library.sip2 for library in settings.libraries):
        return None
    bridge = build_bridge(settings)
    resolver_of = partial(_resolver, bridge.services.borrowing, bridge.store.change_counter())
    limits = settings.sip2
    connections = ConnectionLimits(limits.maximum_connections, limits.maximum_connections_per_address)
    proxy = Sip2Proxy(connections=connections, observer=observer)
    server_contexts: dict[object, SSLContext | None] = {}
    for library in settings.libraries:
        if library.sip2 is None:
            continue
        files = library.sip2.certificate_file, library.sip2.key_file, library.sip2.machine_authority_file
        if files not in server_contexts:  # libraries that share a port share this, too
            server_contexts[files] = _server_tls(library.sip2)
        resolver = resolver_of(library, library.sip2)
        _add_library(proxy, library, library.sip2, resolver, settings, server_contexts[files])
    return proxy


def _resolver(
    borrowing: BorrowingService,
    changes: ChangeCounter | None,
    library: LibrarySettings,
    sip2: Sip2Settings,
) -> TokenResolver:
    time_zone = ZoneInfo(library.time_zone)
    return TokenResolver(borrowing, _machines(library, sip2), changes, clock=now, time_zone=time_zone)


def _add_library(
    proxy: Sip2Proxy,
    library: LibrarySettings,
    sip2: Sip2Settings,
    resolver: TokenResolver,
    settings: Settings,
    tls: SSLContext | None,
) -> None:
    time_zone = ZoneInfo(library.time_zone)
    listener = Listener(
        name=library.library_id,  # the resolver reads the library from it
        host=sip2.listen_host,
        port=sip2.listen_port,
        upstream_host=sip2.koha_host,
        upstream_port=sip2.koha_port,
        terminator=Terminator[sip2.terminator],
        tls=tls,
        upstream_tls=build_koha_tls(sip2),
        trusted_proxies=sip2.trusted_proxies or (),
        networks=sip2.machine_networks or (),
        machines={machine.sip2_login: machine.networks or () for machine in library.self_check},
        known_machines_only=sip2.known_machines_only,
    )
    proxy.add_library(
        listener,
        resolver,
        limits=_proxy_limits(settings, sip2),
        screen_of=resolver.screen_of,
        clock=lambda: now().astimezone(time_zone),
    )


def _proxy_limits(settings: Settings, sip2: Sip2Settings) -> ProxyLimits:
    everywhere = settings.sip2
    return ProxyLimits(
        answer_timeout=sip2.answer_timeout_seconds,
        idle_timeout=sip2.idle_timeout_seconds,
        keepalive_interval=sip2.keepalive_seconds,
        patron_idle_timeout=settings.tokens.idle_seconds,
        login_timeout=everywhere.login_timeout_seconds,
        frame_timeout=everywhere.frame_timeout_seconds,
        handshake_timeout=everywhere.handshake_timeout_seconds,
        frame_limit=everywhere.frame_limit_bytes,
        garbage_limit=everywhere.garbage_limit,
    )


def _server_tls(sip2: Sip2Settings) -> SSLContext | None:
    if sip2.certificate_file is None or sip2.key_file is None:
        return None
    return server_tls(sip2.certificate_file, sip2.key_file, sip2.machine_authority_file)


def build_koha_tls(sip2: Sip2Settings) -> ClientTls | None:
    """Return how a connection to Koha's SIP2 server is encrypted, None where it is not.

    Raises ``TlsProblem``.
    """
    if sip2.koha_authority_file is None:
        return None
    return client_tls(sip2.koha_authority_file, sip2.koha_server_name or sip2.koha_host)


def _machines(library: LibrarySettings, sip2: Sip2Settings) -> MachinePolicies:
    usual = MachinePolicy(
        language=ScreenLanguage(sip2.language),
        character_set=sip2.character_set,
        show_token=sip2.show_token,
        plastic_cards=sip2.plastic_cards,
    )
    return MachinePolicies(
        usual,
        {machine.sip2_login: _machine(machine, usual) for machine in library.self_check},
        None if sip2.expiry_field is None else sip2.expiry_field.encode("ascii"),
    )


def _machine(machine: SelfCheckSettings, usual: MachinePolicy) -> MachinePolicy:
    return MachinePolicy(
        language=usual.language if machine.language is None else ScreenLanguage(machine.language),
        character_set=machine.character_set or usual.character_set,
        show_token=usual.show_token if machine.show_token is None else machine.show_token,
        plastic_cards=usual.plastic_cards if machine.plastic_cards is None else machine.plastic_cards,
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


def find_problems(settings: Settings) -> list[str]:
    """Return what would keep the bridge from starting, or from being of use; change nothing."""
    checks: tuple[Callable[[], object], ...] = (
        lambda: check_version(open_engine(settings.database.url)),
        lambda: check_keys(settings),
        lambda: _require_anchors(load_trust_store(settings)),
        lambda: _library_revocations(settings),
        *(
            partial(check, library.sip2)
            for library in settings.libraries
            if library.sip2 is not None
            for check in (_server_tls, build_koha_tls, _require_certificate_in_force)
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


def check_keys(settings: Settings) -> None:
    """Raise ``KeyProblem`` unless the keys are those of the data, where there is a database."""
    keys = _load_keys(settings.keys)
    engine = open_engine(settings.database.url)
    with suppress(StoreProblem):  # named already
        check_version(engine)
        with SqlStore(engine).transaction() as transaction:
            keys.check(transaction)
    engine.dispose()


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


def _require_anchors(trust_store: TrustStore) -> None:
    if not trust_store.anchors:
        raise UntrustedIssuer("no CA certificate is imported: every card would be refused")


def _environment(settings: Settings, *, confirm: bool = True) -> tuple[SqlStore, Environment]:
    engine = open_engine(settings.database.url)
    check_version(engine)
    keys = _load_keys(settings.keys)
    store = SqlStore(engine, keys)
    if confirm:
        keys.confirm(store)
    environment = Environment(
        store=store,
        keys=keys,
        libraries={library.library_id: _library(library, settings) for library in settings.libraries},
        clock=now,
        random_bytes=secrets.token_bytes,
    )
    return store, environment


def _load_keys(keys: KeySettings) -> KeyRing:
    if keys.master_key_file is not None:
        return load_key_ring(keys.master_key_file, secrets.token_bytes)
    if keys.master_key_command is not None:
        lines = read_key_command(keys.master_key_command)
        return parse_key_ring(lines, "the key command", secrets.token_bytes)
    return parse_key_ring(keys.master_keys or "", "KOHA_JPKI_KEYS_MASTER_KEYS", secrets.token_bytes)


def now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


def _library(library: LibrarySettings, settings: Settings) -> Library:
    time_zone = ZoneInfo(library.time_zone)
    links = _link_policy(library.links, settings.links)
    forms = _identifier_forms(settings.identifiers) if library.card_application_number else None
    if library.koha is None:
        patrons = _patrons_over_sip2(library, time_zone)
        return Library(
            library.library_id,
            library.name,
            time_zone,
            patrons,
            links=links,
            replace_imported_links=library.replace_imported_links,
            koha_origins=frozenset(library.koha_origins or ()),
            card_number_forms=forms,
        )
    client = build_koha_client(library.koha)
    koha = KohaPatronDirectory(client)
    return Library(
        library.library_id,
        library.name,
        time_zone,
        patrons=koha,
        categories=koha,
        linked_category=library.linked_category or {},
        replace_imported_links=library.replace_imported_links,
        card_number_forms=forms,
        links=links,
        koha_origins=frozenset(library.koha_origins or ()),
        koha_sign_in=_koha_sign_in(library, client),
    )


def _koha_sign_in(library: LibrarySettings, client: KohaClient) -> KohaSignIn | None:
    chosen = library.koha_sign_in
    if chosen is None:
        return None
    return KohaSignIn(
        KohaStaffDirectory(client, chosen.permission), timedelta(minutes=chosen.recheck_minutes)
    )


def _link_policy(own: LibraryLinkSettings, everywhere: LinkSettings) -> LinkPolicy:
    days = own.maximum_age_days or everywhere.maximum_age_days
    return LinkPolicy(
        maximum_age=None if days is None else timedelta(days=days),
        maximum_per_patron=own.maximum_per_patron or everywhere.maximum_per_patron,
        retention=timedelta(days=own.retention_days or everywhere.retention_days),
        ends_without_approval=everywhere.ends_without_approval,
        approval_time=timedelta(days=everywhere.approval_days),
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
    return Sip2PatronDirectory(account, lambda: now().astimezone(time_zone), expiry_field)


def build_card_policy(settings: Settings) -> CardPolicy:
    """Return which cards are good, and by whose word; needs no database."""
    return CardPolicy(
        trust_store=load_trust_store(settings),
        certificate=CertificatePolicy(frozenset(settings.jpki.policy_oids)),
        revocation=_library_revocations(settings),
        challenge_lifetime=timedelta(seconds=settings.jpki.challenge_lifetime_seconds),
        answer_grace=timedelta(seconds=settings.revocation.grace_seconds),
        answer_limit=_longest_answer(settings),
    )


def _longest_answer(settings: Settings) -> timedelta:
    """Return how long a library's sources take that all let us wait, one after the other."""
    most = max((len(_source_names(settings, library)) for library in settings.libraries), default=0)
    return timedelta(seconds=most * settings.revocation.timeout_seconds)


def _library_revocations(settings: Settings) -> Mapping[str, LibraryRevocation]:
    """Return whom each library asks; the sources themselves, with their guards, are shared by all."""
    names = {library.library_id: _source_names(settings, library) for library in settings.libraries}
    sources = {
        name: _source_named(name, settings.revocation)
        for name in dict.fromkeys(name for each in names.values() for name in each)
    }
    rules = _revocation_rules(settings)
    return {
        library_id: LibraryRevocation(
            RevocationChain([sources[name] for name in names[library_id]], rule.freshness), rule
        )
        for library_id, rule in rules.items()
    }


def _source_names(settings: Settings, library: LibrarySettings) -> Sequence[str]:
    return library.revocation.sources or settings.revocation.sources


def _revocation_rules(settings: Settings) -> Mapping[str, RevocationRule]:
    return {
        library.library_id: _revocation_rule(settings.revocation, library.revocation)
        for library in settings.libraries
    }


def _revocation_rule(everywhere: RevocationSettings, own: LibraryRevocationSettings) -> RevocationRule:
    maximum_age = timedelta(minutes=own.maximum_age_minutes or everywhere.maximum_age_minutes)
    return RevocationRule(
        RevocationPolicy(maximum_age),
        OutagePolicy(own.outage_policy or everywhere.outage_policy),
        timedelta(hours=own.last_known_good_hours or everywhere.last_known_good_hours),
    )


def _sweep_sources(revocation: RevocationSettings) -> list[SweepSource]:
    """Return the sources in their order; a platform operator wants the certificate, which is not kept."""
    sources: list[SweepSource] = []
    for name in revocation.sources:
        if name == "crl" and revocation.crl_directory is not None:
            sources.append(CrlSweepSource(_crl_directory(revocation, revocation.crl_directory)))
        if name == "ocsp" and revocation.ocsp_url is not None:
            sources.append(
                PacedSource(
                    _ocsp_source(revocation, revocation.ocsp_url),
                    revocation.sweep_questions_per_second,
                    CircuitBreaker(BreakerPolicy()),
                )
            )
    return sources


def _crl_heads(revocation: RevocationSettings) -> Callable[[], Sequence[CrlHead]]:
    """Return what reads the heads of the CRLs in force; of none where no CRL is used."""
    directory = revocation.crl_directory
    return (lambda: ()) if directory is None else CrlDirectory(directory).heads


def _ocsp_source(revocation: RevocationSettings, url: str) -> OcspSource:
    return OcspSource(url, timeout=revocation.timeout_seconds, prefer_get=revocation.ocsp_method == "GET")


def _crl_directory(revocation: RevocationSettings, directory: Path) -> CrlDirectory:
    return CrlDirectory(directory, revocation.crl_distribution_points)


def load_trust_store(settings: Settings) -> TrustStore:
    """Return the imported CAs. Raises ``JpkiError``, ``OSError``."""
    return load_directory(
        settings.jpki.trust_directory,
        settings.jpki.pinned_fingerprints,
        allow_test=settings.mode is Mode.DEVELOPMENT,
    )


def _source_named(name: str, revocation: RevocationSettings) -> RevocationSource:
    if name == "crl" and revocation.crl_directory is not None:
        return CrlSource(_crl_directory(revocation, revocation.crl_directory))
    if name == "ocsp" and revocation.ocsp_url is not None:
        return _guarded(_ocsp_source(revocation, revocation.ocsp_url), revocation)
    if name == "platform" and revocation.platform_file is not None:
        mapping = PlatformMapping.from_toml(revocation.platform_file.read_bytes(), revocation.platform_token)
        return _guarded(PlatformSource(mapping, timeout=revocation.timeout_seconds), revocation)
    return NoSource()  # nothing is configured, which the loader allows in development alone


def _guarded(source: RevocationSource, revocation: RevocationSettings) -> RevocationSource:
    guarded = GuardedSource(
        source,
        timeout=revocation.timeout_seconds,
        maximum_at_once=QUESTIONS_AT_ONCE,
        breaker=CircuitBreaker(BreakerPolicy()),
    )
    if not revocation.cache_minutes:
        return guarded
    return CachedSource(guarded, lifetime=timedelta(minutes=revocation.cache_minutes))


def _policies(settings: Settings, library: LibrarySettings) -> LibraryPolicies:
    tokens = _token_policy(settings)
    own = {place: shape for place, shape in tokens.shapes.items() if place[0] == library.library_id}
    return LibraryPolicies(
        _source_names(settings, library),
        _revocation_rule(settings.revocation, library.revocation),
        _link_policy(library.links, settings.links),
        replace(tokens, shapes={place: shape for place, shape in own.items() if shape != tokens.shape}),
        SecondFactorPolicy(settings.web.second_factor),
        library.linked_category or {},
        None if library.koha_sign_in is None else library.koha_sign_in.permission,
    )


def _token_policy(settings: Settings) -> TokenPolicy:
    tokens = settings.tokens
    return TokenPolicy(
        shape=TokenShape(tokens.prefix, tokens.length, CheckDigit(tokens.check_digit)),
        lifetime=timedelta(minutes=tokens.lifetime_minutes),
        idle_limit=timedelta(seconds=tokens.idle_seconds),
        shapes={
            (library.library_id, machine.sip2_login): TokenShape(
                machine.token_prefix or tokens.prefix,
                machine.token_length or tokens.length,
                CheckDigit(machine.token_check_digit or tokens.check_digit),
            )
            for library in settings.libraries
            for machine in library.self_check
        },
    )


def _staff(environment: Environment) -> StaffService:
    return StaffService(environment, PasswordHasher.from_parameters(profiles.RFC_9106_LOW_MEMORY))


def _own_account(settings: Settings, environment: Environment, staff: StaffService) -> OwnAccountService:
    return OwnAccountService(environment, staff, SecondFactorPolicy(settings.web.second_factor))
