"""Every setting, once: name, kind, secrecy and explanation. Pure.

The loader, ``example.toml`` and the README's table are all made from these rows. Defaults stand in
the dataclasses of ``config.settings`` and are read from there.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields

from config import settings
from config.kinds import (
    BOOLEAN,
    CRL_URL,
    DATABASE_URL,
    DAY,
    HOST,
    HTTP_URL,
    KOHA_API_URL,
    NETWORK,
    ORIGIN,
    PATH,
    PORT,
    REGULAR_EXPRESSION,
    TIME_ZONE,
    Kind,
    choice,
    list_of,
    number,
    table_of,
    text,
    whole_number,
)

UNKNOWN_LIBRARY = "<ID>"
"""Stands for a library's id in the name of an environment variable."""


@dataclass(frozen=True)
class Setting:
    """One setting.

    ``external`` ones may also come from the environment or from the file that ``<name>_file`` names;
    ``secret`` ones may come from there only, never from the settings file, and ``variable_only`` ones
    from the environment alone. ``example`` is how the setting (or its ``_file``) stands in
    ``example.toml`` where it has no default to show.
    """

    name: str
    kind: Kind
    explanation: str
    example: str = ""
    external: bool = False
    secret: bool = False
    variable_only: bool = False


@dataclass(frozen=True)
class Section:
    """One table of the settings file and the dataclass that it fills.

    ``repeated`` sections occur once for each library, ``listed`` ones any number of times in each; an
    ``optional`` one may be left out. The example shows a ``listed`` or ``commented_out`` one as a comment:
    a machine or a place on a card that does not exist would do no good in a copy of the file.
    """

    name: str
    settings_class: type
    explanation: str
    rows: tuple[Setting, ...]
    repeated: bool = False
    listed: bool = False
    optional: bool = False
    commented_out: bool = False

    @property
    def is_comment_in_example(self) -> bool:
        """Whether the example only shows it."""
        return self.listed or self.commented_out

    def path(self, setting: Setting) -> str:
        """Return the whole name of one of the section's settings, such as ``web.port``."""
        return f"{self.name}.{setting.name}" if self.name else setting.name

    def default(self, setting: Setting) -> object:
        """Return the setting's default; ``dataclasses.MISSING`` where it must be given."""
        return next(field.default for field in fields(self.settings_class) if field.name == setting.name)

    def is_required(self, setting: Setting) -> bool:
        """Whether the setting must be given."""
        return self.default(setting) is MISSING

    def environment_variable(self, setting: Setting, library: str = UNKNOWN_LIBRARY) -> str:
        """Return the variable that overrides an external setting.

        *library* is the library's id as ``library_variable_part`` gives it.
        """
        section = self.name.replace("library", f"library_{library}", 1)
        return f"KOHA_JPKI_{section}_{setting.name}".replace(".", "_").upper()


def library_variable_part(library_id: str) -> str:
    """Return how a library's id stands in the name of an environment variable."""
    return library_id.upper().replace("-", "_")


_FINGERPRINT = text("SHA-256 fingerprint", r"(?:[0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}")
_TOKEN_PREFIX = text("1 to 6 digits", r"[0-9]{1,6}")
_TOKEN_LENGTH = whole_number(12, 32)
_CHECK_DIGIT = choice(("none", "luhn", "modulus-10-weight-3", "nw7-modulus-16"))
_NETWORKS = list_of(NETWORK, "list of IP addresses and networks such as `10.1.2.0/24`")
_LANGUAGE = choice(("en", "ja"))
_CHARACTER_SET = choice(("utf-8", "cp932"))
_REVOCATION_SOURCES = list_of(choice(("crl", "ocsp", "platform")), "list of `crl`, `ocsp` and `platform`")
_MAXIMUM_AGE = whole_number(1, 10080)
_OUTAGE_POLICY = choice(("refuse", "last_known_good"))
_LAST_KNOWN_GOOD_HOURS = whole_number(1, 168)
CALENDARS = ("both", "era", "western")
PIN_POLICIES = ("pin_and_signature", "tap_after_first_pin")
_MAXIMUM_PER_PATRON = whole_number(1, 10)
_LINK_DAYS = whole_number(1, 3650)
_CATEGORY = text("category code of Koha", r"[^\s|]{1,10}")
_POLICY_OID = text("object identifier", r"[0-2](?:\.\d+)+")

GENERAL = Section(
    "",
    settings.Settings,
    "The bridge as a whole.",
    (
        Setting(
            "mode",
            choice([mode.value for mode in settings.Mode], settings.Mode),
            "`development` accepts test CAs and cookies over plain HTTP; `production` refuses both.",
            example='"production"',
        ),
    ),
)

WEB = Section(
    "web",
    settings.WebSettings,
    "The middleware and the admin.",
    (
        Setting("host", HOST, "Address to listen on.", example='"127.0.0.1"'),
        Setting("port", PORT, "Port to listen on.", example="8080"),
        Setting(
            "secret_key",
            text("text"),
            "Signs the admin's log-in cookies. In production at least 32 characters.",
            example='"secrets/web_secret_key"',
            external=True,
            secret=True,
        ),
        Setting(
            "session_idle_minutes",
            whole_number(1, 720),
            "After this time without a click a librarian must log in again.",
        ),
        Setting(
            "second_factor",
            choice(("optional", "administrators", "everyone")),
            "Who must log in with a code from an authenticator app (TOTP); who has none sets it up first.",
        ),
        Setting(
            "hosts",
            list_of(HOST, "list of host names and addresses"),
            "By which names browsers and agents reach the bridge; a request for any other is refused. "
            "Required in production; without it loopback alone.",
            example='["jpki.example.jp"]',
        ),
        Setting(
            "proxy_hops",
            whole_number(0, 5),
            "How many reverse proxies of your own stand before the bridge, each adding to `X-Forwarded-For` "
            "and `X-Forwarded-Proto`. With 0 these headers count for nothing.",
        ),
        Setting(
            "log_ins_per_address",
            whole_number(1, 10_000),
            "Tries to log in that one address has within five minutes, right ones too.",
        ),
        Setting(
            "secure_cookies",
            BOOLEAN,
            "Send the admin's cookies over HTTPS only. Must be `true` in production.",
        ),
        Setting(
            "calendar",
            choice(CALENDARS),
            "How the day stands on the printed application form: 令和8年11月20日 (`era`), 2026年11月20日 "
            "(`western`) or both.",
        ),
    ),
)

DATABASE = Section(
    "database",
    settings.DatabaseSettings,
    "The mapping database.",
    (
        Setting(
            "url",
            DATABASE_URL,
            "SQLAlchemy URL. One that carries a password must come from the environment or a file.",
            example='"sqlite:///bridge.sqlite3"',
            external=True,
        ),
    ),
)

KEYS = Section(
    "keys",
    settings.KeySettings,
    "The keys under which links are kept.",
    (
        Setting(
            "master_key_file",
            PATH,
            "File of master keys, outside the database: one `<key_id> <base64 of 32 bytes>` a line, "
            "the first is current.",
            example='"secrets/master_keys"',
        ),
        Setting(
            "master_key_command",
            list_of(text("text"), "list of a program and its arguments"),
            "In place of the file: a program that writes such lines, such as a client of a key management "
            "service. It is run at each start, without a shell, for at most 20 seconds.",
        ),
        Setting(
            "master_keys",
            text("lines as in the file"),
            "In place of the file: the lines themselves.",
            external=True,
            secret=True,
            variable_only=True,
        ),
    ),
)

JPKI = Section(
    "jpki",
    settings.JpkiSettings,
    "Which certificates are trusted.",
    (
        Setting(
            "trust_directory",
            PATH,
            "Folder of the imported CA certificates for user authentication.",
            example='"trust"',
        ),
        Setting(
            "pinned_fingerprints",
            list_of(_FINGERPRINT, "list of SHA-256 fingerprints in hex"),
            "A CA certificate counts only if its fingerprint is in this list.",
            example=f'["{"00" * 32}"]',
        ),
        Setting(
            "policy_oids",
            list_of(_POLICY_OID, "list of object identifiers"),
            "Certificate policies that a card's certificate may be issued under.",
        ),
        Setting(
            "challenge_lifetime_seconds",
            whole_number(30, 600),
            "A card's signature must arrive within this time.",
        ),
        Setting(
            "pin_policy",
            choice(PIN_POLICIES),
            "`pin_and_signature` asks for the PIN at each use. `tap_after_first_pin` (JPKI Act, Art. 38-4) "
            "is refused: it needs an external check that the card is genuine, and this program has none.",
        ),
    ),
)

VERIFIER = Section(
    "verifier",
    settings.VerifierSettings,
    "Who verifies certificates (利用者証明検証者, JPKI Act, Art. 36). All three are required in production.",
    (
        Setting("name", text("text"), "The body that has notified J-LIS.", example='"〇〇市"'),
        Setting(
            "notified_on",
            DAY,
            "The day of the notification (Art. 36 (1)).",
            example="2026-04-01",
        ),
        Setting(
            "agreement",
            text("text"),
            "The agreement with J-LIS (Art. 36 (2)): its number or file.",
            example='"協定 第1号"',
        ),
    ),
)

LINKS = Section(
    "links",
    settings.LinkSettings,
    "The life of a link. `koha-jpki housekeeping` ends and deletes what is over.",
    (
        Setting("maximum_per_patron", _MAXIMUM_PER_PATRON, "So many cards may be linked to one patron."),
        Setting(
            "maximum_age_days",
            _LINK_DAYS,
            "A link ends after so many days at the latest; without it the certificate alone ends it.",
        ),
        Setting("retention_days", _LINK_DAYS, "An ended link is deleted for good after so many days."),
        Setting(
            "session_retention_days",
            whole_number(1, 3650),
            "Closed sessions and requests for a link that are over are deleted after so many days.",
        ),
        Setting(
            "account_gone_days",
            whole_number(1, 365),
            "The links of a patron who is no longer in Koha rest at once and end after so many days.",
        ),
        Setting(
            "ends_without_approval",
            whole_number(1, 100),
            "One member of staff may end so many links at once; more need the approval of a second one.",
        ),
        Setting(
            "approval_days",
            whole_number(1, 60),
            "A request to end many links expires if nobody approves it within so many days.",
        ),
    ),
)

REVOCATION = Section(
    "revocation",
    settings.RevocationSettings,
    "Where revocation is asked.",
    (
        Setting(
            "sources",
            _REVOCATION_SOURCES,
            "Who is asked, in this order: the first that knows has the last word.",
        ),
        Setting(
            "ocsp_url",
            HTTP_URL,
            "The OCSP responder. Without a source every card is refused; one is required in production.",
            example='"http://ocsp.example.jp/"',
        ),
        Setting("ocsp_method", choice(("POST", "GET")), "How the OCSP responder wants to be asked."),
        Setting(
            "crl_directory",
            PATH,
            "Folder of the imported CRLs, one index for each CA key.",
            example='"crl"',
        ),
        Setting(
            "crl_urls",
            list_of(CRL_URL, "list of http, https, ldap or ldaps URLs"),
            "Where `koha-jpki crl import` gets the CRLs when it is given none, one for each CA key.",
            example='["ldap://crl.example.jp/cn=CRL,o=JPKI,c=JP"]',
        ),
        Setting(
            "crl_distribution_points",
            list_of(text("name"), "list of directory names (RFC 4514) and URIs"),
            "Of which distribution points CRLs may be imported, where a CA cuts its CRL into parts.",
            example='["CN=Example City CRLDP,OU=Example-ken,OU=CRL Distribution Points,O=JPKI,C=JP"]',
        ),
        Setting(
            "platform_file",
            PATH,
            "TOML file that maps the service of a platform operator, as `docs/platform-example.toml` does.",
        ),
        Setting(
            "platform_token",
            text("text"),
            "Secret that stands for `{token}` in that file.",
            external=True,
            secret=True,
        ),
        Setting("timeout_seconds", number(0.1, 60), "How long to wait for each source."),
        Setting(
            "cache_minutes",
            whole_number(0, 1440),
            "How long a source's answer is remembered, at most as long as it is valid; 0 asks each time.",
        ),
        Setting(
            "maximum_age_minutes",
            _MAXIMUM_AGE,
            "An answer older than this counts as unknown.",
        ),
        Setting(
            "grace_seconds",
            number(0, 10),
            "How long a patron waits for the answer before the PIN is asked; a later answer still counts.",
        ),
        Setting(
            "outage_policy",
            _OUTAGE_POLICY,
            "While no source answers: `refuse` linked cards, or accept one whose certificate was known to be "
            "good not long ago (`last_known_good`), marked for review. Linking is refused in any case.",
        ),
        Setting(
            "last_known_good_hours",
            _LAST_KNOWN_GOOD_HOURS,
            "How old what was last known may be with `last_known_good`.",
        ),
        Setting(
            "sweep_questions_per_second",
            number(0.01, 100),
            "How fast `koha-jpki revocation sweep` asks an OCSP responder.",
        ),
    ),
)

TOKENS = Section(
    "tokens",
    settings.TokenSettings,
    "The one-time token that a self-check machine takes for a library card.",
    (
        Setting(
            "prefix",
            _TOKEN_PREFIX,
            "What every token begins with; no library card may begin with it.",
        ),
        Setting(
            "length",
            _TOKEN_LENGTH,
            "Number of digits, prefix and check digit included; at least 10 are left to chance.",
        ),
        Setting(
            "check_digit",
            _CHECK_DIGIT,
            "Which rule the last digit follows, where a machine checks the library cards that it reads.",
        ),
        Setting("lifetime_minutes", whole_number(1, 60), "A token is dead after this time at the latest."),
        Setting("idle_seconds", whole_number(10, 900), "A token is dead after this time without use."),
    ),
)

LOGGING = Section(
    "logging",
    settings.LoggingSettings,
    "The log.",
    (
        Setting(
            "level",
            choice(("DEBUG", "INFO", "WARNING", "ERROR")),
            "Least weight of what is written. No level writes secrets.",
        ),
    ),
)

LIBRARY = Section(
    "library",
    settings.LibrarySettings,
    "One library (図書館); one such block for each.",
    (
        Setting(
            "library_id",
            text("letters, digits, `-` and `_`, at most 32", r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}"),
            "Short name, never changed once cards are linked.",
            example='"central"',
        ),
        Setting("name", text("text"), "Name on screens.", example='"中央図書館"'),
        Setting("time_zone", TIME_ZONE, "Decides on which day a library card expires."),
        Setting(
            "cardnumber_prefixes",
            list_of(text("text"), "list of texts"),
            "What the library's own card numbers begin with; `check-config` warns if a token could be one.",
        ),
        Setting(
            "linked_category",
            table_of(_CATEGORY, _CATEGORY, "table of Koha's category codes"),
            'By category the one for patrons with a linked card, such as `{PT="PT12"}`. Linking moves the '
            "patron, the end of the link moves back. Needs `[library.koha]`.",
        ),
        Setting(
            "replace_imported_links",
            BOOLEAN,
            "A card linked at the counter replaces the patron's imported links; `false`: they stay.",
        ),
        Setting(
            "koha_origins",
            list_of(ORIGIN, "list of origins such as `https://koha.example.jp`"),
            "Where Koha's staff pages are: the desk answers pages from there alone, and the counter opens a "
            "patron at the first of them. Must be https in production.",
        ),
        Setting(
            "card_application_number",
            BOOLEAN,
            "At the counter the number of the city's card application is read too, so that a card whose "
            "number is linked to somebody else is refused. Needs `identifiers.card_ap_number`, and "
            "`[card_number]` in the agent's settings.",
        ),
    ),
    repeated=True,
)

LIBRARY_KOHA = Section(
    "library.koha",
    settings.KohaSettings,
    "The library's Koha, REST side. It may be left out where `sip2.directory_login` stands in for it.",
    (
        Setting(
            "base_url",
            KOHA_API_URL,
            "Address of Koha's REST API. Must be https in production.",
            example='"https://koha.example.jp/api/v1"',
        ),
        Setting(
            "client_id",
            text("text"),
            "Client id of the API key of the bridge's own account in Koha.",
            example='"b1a7c0de-0000-4000-8000-000000000000"',
        ),
        Setting(
            "client_secret",
            text("text"),
            "Secret of that API key.",
            example='"secrets/central_koha_client_secret"',
            external=True,
            secret=True,
        ),
        Setting("connect_timeout_seconds", number(0.1, 60), "How long to wait for a connection."),
        Setting("read_timeout_seconds", number(0.1, 120), "How long to wait for an answer."),
    ),
    repeated=True,
    optional=True,
)

LIBRARY_KOHA_SIGN_IN = Section(
    "library.koha_sign_in",
    settings.KohaSignInSettings,
    "Staff of the library may sign in to the admin with their password in Koha; off where it is left out. "
    "Needs `[library.koha]`, and the bridge's plugin in Koha, whose own API tells nobody's permissions.",
    (
        Setting(
            "permission",
            text(
                "permission of Koha such as `circulate:circulate_remaining_permissions`",
                r"[a-z_]+:[a-z0-9_]+",
            ),
            "The permission in Koha that they must have; `circulate:1` is the whole module.",
            example='"circulate:circulate_remaining_permissions"',
        ),
        Setting(
            "recheck_minutes",
            whole_number(1, 60),
            "After so many minutes Koha is asked again; a session ends when account or permission is gone.",
            example="5",
        ),
    ),
    repeated=True,
    optional=True,
    commented_out=True,
)

LIBRARY_SIP2 = Section(
    "library.sip2",
    settings.Sip2Settings,
    "The library's SIP2 side. Leave it out where there are no self-check machines.",
    (
        Setting("listen_host", HOST, "Address where self-check machines reach us.", example='"127.0.0.1"'),
        Setting("listen_port", PORT, "Port where self-check machines reach us.", example="6001"),
        Setting("koha_host", HOST, "Host of Koha's SIP2 server.", example='"127.0.0.1"'),
        Setting("koha_port", PORT, "Port of Koha's SIP2 server.", example="6002"),
        Setting(
            "certificate_file",
            PATH,
            "Certificate for TLS towards the machines, in PEM, its CAs after it. Without one no TLS.",
        ),
        Setting("key_file", PATH, "Key of that certificate, in PEM without a password."),
        Setting(
            "machine_authority_file",
            PATH,
            "CA of certificates for the machines themselves; with it a machine without one is refused.",
        ),
        Setting(
            "koha_authority_file",
            PATH,
            "CA of the certificate that Koha's SIP2 server shows behind its TLS tunnel, in PEM. Without one "
            "there is no TLS towards Koha; with one nobody else is talked to.",
        ),
        Setting("koha_server_name", HOST, "Name in that certificate; without one `koha_host`."),
        Setting(
            "trusted_proxies",
            _NETWORKS,
            "Load balancers in front of the port. Only they may connect, and each connection must begin with "
            "a PROXY header (version 1 or 2): the machine's address is the one that it announces.",
        ),
        Setting("machine_networks", _NETWORKS, "Where machines may be; without it anywhere."),
        Setting(
            "known_machines_only",
            BOOLEAN,
            "Only machines with a `[[library.self_check]]` of their own may log in. Libraries that all say "
            "so may share a port: the log-in decides.",
        ),
        Setting("answer_timeout_seconds", number(1, 120), "How long to wait for Koha's answer."),
        Setting("idle_timeout_seconds", number(10, 86400), "A machine silent for so long is cut off."),
        Setting(
            "keepalive_seconds",
            number(5, 86400),
            "After so long without a request Koha is asked for its status, so that it does not close; must "
            "be less than `client_timeout` in Koha's SIP2 configuration.",
        ),
        Setting(
            "terminator",
            choice(("CR", "CRLF", "LF")),
            "How messages to the self-check machines end. `LF` is for machines that send no CR either.",
        ),
        Setting(
            "show_token",
            BOOLEAN,
            "Answers name the patron by the token; `false`: by a mask, where receipts are kept. "
            "A machine that compares AA needs `true`.",
        ),
        Setting("plastic_cards", BOOLEAN, "The machines take library cards, too; `false`: tokens only."),
        Setting("language", _LANGUAGE, "Language of the proxy's own words on the machines' screens."),
        Setting("character_set", _CHARACTER_SET, "Character set of these words."),
        Setting(
            "expiry_field",
            text("two letters or digits", r"[A-Z0-9]{2}"),
            "Field of Koha's patron answers that holds the library card's last day, such as `PA` where a "
            "`custom_patron_field` sends `dateexpiry`. Without one Koha's status flags decide.",
        ),
        Setting(
            "directory_login",
            text("text"),
            "SIP2 log-in of the bridge itself: it looks patrons up over SIP2 where there is no "
            "`[library.koha]`. Not all is possible then; `check-config` says what.",
        ),
        Setting(
            "directory_password",
            text("text"),
            "Password of that log-in.",
            external=True,
            secret=True,
        ),
    ),
    repeated=True,
    optional=True,
)

LIBRARY_SELF_CHECK = Section(
    "library.self_check",
    settings.SelfCheckSettings,
    "What is different at one self-check machine; leave it out where nothing is.",
    (
        Setting("sip2_login", text("text"), "The machine's SIP2 log-in (CN).", example='"selfcheck9"'),
        Setting(
            "networks",
            _NETWORKS,
            "Where the machine may be; elsewhere its log-in is refused and an alarm. Without it wherever "
            "`library.sip2.machine_networks` allows.",
            example='["10.1.2.9"]',
        ),
        Setting("token_prefix", _TOKEN_PREFIX, "As `tokens.prefix`.", example='"971"'),
        Setting("token_length", _TOKEN_LENGTH, "As `tokens.length`.", example="15"),
        Setting("token_check_digit", _CHECK_DIGIT, "As `tokens.check_digit`.", example='"luhn"'),
        Setting("show_token", BOOLEAN, "As `library.sip2.show_token`.", example="true"),
        Setting("plastic_cards", BOOLEAN, "As `library.sip2.plastic_cards`.", example="false"),
        Setting("language", _LANGUAGE, "As `library.sip2.language`.", example='"ja"'),
        Setting("character_set", _CHARACTER_SET, "As `library.sip2.character_set`.", example='"cp932"'),
    ),
    repeated=True,
    listed=True,
    optional=True,
)

METRICS = Section(
    "metrics",
    settings.MetricsSettings,
    "Counters for Prometheus, from `koha-jpki sip2-proxy`. Off without a port.",
    (
        Setting(
            "host", HOST, "Address to listen on. The counters name no patron, but nobody else needs them."
        ),
        Setting("port", PORT, "Port to listen on, such as 9464."),
    ),
)

IDENTIFIERS = Section(
    "identifiers",
    settings.IdentifierSettings,
    "What the identifiers of other systems look like: regular expressions for the whole identifier. Without "
    "one, links by that kind are neither imported nor exported.",
    (
        Setting("ppid", REGULAR_EXPRESSION, "The form of a PPID."),
        Setting("mykey_id", REGULAR_EXPRESSION, "The form of a MyKeyID."),
        Setting("card_ap_number", REGULAR_EXPRESSION, "The form of the number in a city's card application."),
    ),
)

SIP2 = Section(
    "sip2",
    settings.Sip2Limits,
    "What the SIP2 proxy bears, the machines of all libraries together.",
    (
        Setting("maximum_connections", whole_number(1, 100_000), "Connections at a time."),
        Setting(
            "maximum_connections_per_address",
            whole_number(1, 100_000),
            "Connections at a time from one address: more where a tunnel or router hides many machines.",
        ),
        Setting(
            "handshake_timeout_seconds",
            number(1, 60),
            "How long the PROXY header may take, and the TLS handshake.",
        ),
        Setting("login_timeout_seconds", number(1, 600), "A machine must have logged in within this time."),
        Setting("frame_timeout_seconds", number(1, 60), "A message once begun must end within this time."),
        Setting("frame_limit_bytes", whole_number(1024, 1_048_576), "Longest message of a machine."),
        Setting(
            "garbage_limit",
            whole_number(1, 10_000),
            "So many lines in a minute may be no SIP2 message, or have a wrong checksum, before the machine "
            "is cut off.",
        ),
    ),
)

LIBRARY_REVOCATION = Section(
    "library.revocation",
    settings.LibraryRevocationSettings,
    "What this library does otherwise about revocation; leave it out where it does nothing otherwise.",
    (
        Setting("sources", _REVOCATION_SOURCES, "As `revocation.sources`."),
        Setting("maximum_age_minutes", _MAXIMUM_AGE, "As `revocation.maximum_age_minutes`."),
        Setting("outage_policy", _OUTAGE_POLICY, "As `revocation.outage_policy`."),
        Setting("last_known_good_hours", _LAST_KNOWN_GOOD_HOURS, "As `revocation.last_known_good_hours`."),
    ),
    repeated=True,
    optional=True,
)

LIBRARY_LINKS = Section(
    "library.links",
    settings.LibraryLinkSettings,
    "What this library does otherwise about links; leave it out where it does nothing otherwise.",
    (
        Setting("maximum_per_patron", _MAXIMUM_PER_PATRON, "As `links.maximum_per_patron`."),
        Setting("maximum_age_days", _LINK_DAYS, "As `links.maximum_age_days`."),
        Setting("retention_days", _LINK_DAYS, "As `links.retention_days`."),
    ),
    repeated=True,
    optional=True,
)

SECTIONS = (
    GENERAL,
    WEB,
    DATABASE,
    KEYS,
    JPKI,
    VERIFIER,
    LINKS,
    REVOCATION,
    TOKENS,
    IDENTIFIERS,
    LOGGING,
    METRICS,
    SIP2,
)
LIBRARY_SECTIONS = (
    LIBRARY,
    LIBRARY_KOHA,
    LIBRARY_KOHA_SIGN_IN,
    LIBRARY_SIP2,
    LIBRARY_REVOCATION,
    LIBRARY_LINKS,
    LIBRARY_SELF_CHECK,
)
