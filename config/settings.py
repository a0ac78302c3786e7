"""Every setting of the bridge, as frozen dataclasses. ``config.loader`` fills them.

Secrets come from files or the environment and are left out of every repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum, unique
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

IpNetwork = IPv4Network | IPv6Network


@unique
class Mode(StrEnum):
    """``development`` accepts test CAs and plain HTTP cookies; ``production`` refuses both."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"


@dataclass(frozen=True)
class WebSettings:
    """The middleware and the admin."""

    host: str
    port: int
    secret_key: str = field(repr=False)
    session_idle_minutes: int = 30
    second_factor: str = "optional"
    hosts: tuple[str, ...] | None = None
    proxy_hops: int = 0
    log_ins_per_address: int = 60
    secure_cookies: bool = True
    calendar: str = "both"


@dataclass(frozen=True)
class DatabaseSettings:
    """The mapping database, as an SQLAlchemy URL."""

    url: str = field(repr=False)


@dataclass(frozen=True)
class KeySettings:
    """Where the master keys are: one ``<key_id> <base64 of 32 bytes>`` a line, the first is current.

    Exactly one of the three is given.
    """

    master_key_file: Path | None = None
    master_key_command: tuple[str, ...] | None = None
    master_keys: str | None = field(repr=False, default=None)


@dataclass(frozen=True)
class JpkiSettings:
    """Which certification authorities are trusted, and what a certificate must say."""

    trust_directory: Path
    pinned_fingerprints: tuple[str, ...]
    policy_oids: tuple[str, ...] = ("1.2.392.200149.8.5.1.3.30",)
    challenge_lifetime_seconds: int = 120
    pin_policy: str = "pin_and_signature"


@dataclass(frozen=True)
class VerifierSettings:
    """The 利用者証明検証者 (JPKI Act, Art. 36) on whose notification the bridge relies on certificates."""

    name: str | None = None
    notified_on: date | None = None
    agreement: str | None = None


@dataclass(frozen=True)
class LinkSettings:
    """How many links a patron has, how long they last, and how long what is over is kept."""

    maximum_per_patron: int = 3
    maximum_age_days: int | None = None
    retention_days: int = 365
    session_retention_days: int = 30
    account_gone_days: int = 7
    ends_without_approval: int = 1
    approval_days: int = 7


@dataclass(frozen=True)
class LibraryLinkSettings:
    """What is different in one library; None where it is as in ``LinkSettings``."""

    maximum_per_patron: int | None = None
    maximum_age_days: int | None = None
    retention_days: int | None = None


@dataclass(frozen=True)
class RevocationSettings:
    """Where revocation is asked. There is no default: without a source every card is refused."""

    sources: tuple[str, ...] = ("ocsp",)
    ocsp_url: str | None = None
    ocsp_method: str = "POST"
    crl_directory: Path | None = None
    crl_urls: tuple[str, ...] = ()
    crl_distribution_points: tuple[str, ...] = ()
    platform_file: Path | None = None
    platform_token: str | None = field(default=None, repr=False)
    timeout_seconds: float = 5.0
    cache_minutes: int = 0
    maximum_age_minutes: int = 1440
    grace_seconds: float = 2.0
    outage_policy: str = "refuse"
    last_known_good_hours: int = 24
    sweep_questions_per_second: float = 2.0


@dataclass(frozen=True)
class LibraryRevocationSettings:
    """What is different in one library; None where it is as in ``RevocationSettings``."""

    sources: tuple[str, ...] | None = None
    maximum_age_minutes: int | None = None
    outage_policy: str | None = None
    last_known_good_hours: int | None = None


@dataclass(frozen=True)
class TokenSettings:
    """The shape and the life of the one-time token."""

    prefix: str = "98"
    length: int = 14
    check_digit: str = "none"
    lifetime_minutes: int = 15
    idle_seconds: int = 120


@dataclass(frozen=True)
class IdentifierSettings:
    """What identifiers of other systems look like: regular expressions."""

    ppid: str | None = None
    mykey_id: str | None = None
    card_ap_number: str | None = None


@dataclass(frozen=True)
class LoggingSettings:
    """How much is written to the log."""

    level: str = "INFO"


@dataclass(frozen=True)
class MetricsSettings:
    """Where the SIP2 proxy's counters can be read; nowhere without a port."""

    host: str = "127.0.0.1"
    port: int | None = None


@dataclass(frozen=True)
class Sip2Limits:
    """What the SIP2 proxy bears of machines, those of all libraries together."""

    maximum_connections: int = 4096
    maximum_connections_per_address: int = 256
    handshake_timeout_seconds: float = 10.0
    login_timeout_seconds: float = 30.0
    frame_timeout_seconds: float = 10.0
    frame_limit_bytes: int = 16384
    garbage_limit: int = 30


@dataclass(frozen=True)
class KohaSettings:
    """One library's Koha, REST side."""

    base_url: str
    client_id: str
    client_secret: str = field(repr=False)
    connect_timeout_seconds: float = 3.0
    read_timeout_seconds: float = 10.0


@dataclass(frozen=True)
class KohaSignInSettings:
    """Staff of one library sign in with Koha's password, if they have the permission."""

    permission: str
    recheck_minutes: int = 5


@dataclass(frozen=True)
class Sip2Settings:
    """One library's SIP2 side: where self-checks reach us and where Koha's SIP server is."""

    listen_host: str
    listen_port: int
    koha_host: str
    koha_port: int
    certificate_file: Path | None = None
    key_file: Path | None = None
    machine_authority_file: Path | None = None
    koha_authority_file: Path | None = None
    koha_server_name: str | None = None
    trusted_proxies: tuple[IpNetwork, ...] | None = None
    machine_networks: tuple[IpNetwork, ...] | None = None
    known_machines_only: bool = False
    answer_timeout_seconds: float = 20.0
    idle_timeout_seconds: float = 900.0
    keepalive_seconds: float = 240.0
    terminator: str = "CR"
    show_token: bool = True
    plastic_cards: bool = True
    language: str = "en"
    character_set: str = "utf-8"
    expiry_field: str | None = None
    directory_login: str | None = None
    directory_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SelfCheckSettings:
    """What is different at one self-check machine; None where it is as everywhere else."""

    sip2_login: str
    networks: tuple[IpNetwork, ...] | None = None
    token_prefix: str | None = None
    token_length: int | None = None
    token_check_digit: str | None = None
    show_token: bool | None = None
    plastic_cards: bool | None = None
    language: str | None = None
    character_set: str | None = None


@dataclass(frozen=True)
class LibrarySettings:
    """One library (図書館) with its Koha: over REST, or without ``koha`` over SIP2 alone."""

    library_id: str
    name: str
    koha: KohaSettings | None = None
    koha_sign_in: KohaSignInSettings | None = None
    sip2: Sip2Settings | None = None
    revocation: LibraryRevocationSettings = LibraryRevocationSettings()
    links: LibraryLinkSettings = LibraryLinkSettings()
    self_check: tuple[SelfCheckSettings, ...] = ()
    time_zone: str = "Asia/Tokyo"
    cardnumber_prefixes: tuple[str, ...] | None = None
    linked_category: Mapping[str, str] | None = None
    replace_imported_links: bool = True
    koha_origins: tuple[str, ...] | None = None
    card_application_number: bool = False


@dataclass(frozen=True)
class Settings:
    """All of it."""

    mode: Mode
    web: WebSettings
    database: DatabaseSettings
    keys: KeySettings
    jpki: JpkiSettings
    verifier: VerifierSettings
    links: LinkSettings
    revocation: RevocationSettings
    tokens: TokenSettings
    logging: LoggingSettings
    metrics: MetricsSettings
    sip2: Sip2Limits
    identifiers: IdentifierSettings
    libraries: tuple[LibrarySettings, ...]
