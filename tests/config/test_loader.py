from datetime import date
from ipaddress import ip_network
from pathlib import Path

import pytest

from config import Mode, SettingsError, load_settings

SECOND_LIBRARY = """
[[library]]
library_id = "east"
name = "東図書館"
[library.koha]
base_url = "https://east.example.jp/api/v1"
client_id = "east"
"""


def problems_of(settings_file):
    with pytest.raises(SettingsError) as caught:
        settings_file.load()
    return list(caught.value.problems)


def test_the_example_loads_in_production_mode(settings_file, tmp_path):
    settings = settings_file.load()

    assert settings.mode is Mode.PRODUCTION
    assert settings.web.port == 8080
    assert settings.keys.master_key_file == tmp_path / "secrets" / "master_keys"
    assert settings.database.url == f"sqlite:///{tmp_path}/bridge.sqlite3"
    assert settings.libraries[0].koha.client_secret == "a-client-secret"
    assert settings.libraries[0].sip2.listen_port == 6001


def test_a_library_without_self_checks_needs_no_sip2_side(settings_file):
    settings_file.text += SECOND_LIBRARY
    settings_file.environ["KOHA_JPKI_LIBRARY_EAST_KOHA_CLIENT_SECRET"] = "another"

    east = settings_file.load().libraries[1]

    assert east.sip2 is None
    assert east.koha.client_secret == "another"


def test_secrets_come_from_the_files_that_the_settings_name(settings_file, tmp_path):
    settings_file.environ.clear()
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "web_secret_key").write_text("k" * 40 + "\n")
    (tmp_path / "secrets" / "central_koha_client_secret").write_text("from-a-file\n")

    settings = settings_file.load()

    assert settings.web.secret_key == "k" * 40
    assert settings.libraries[0].koha.client_secret == "from-a-file"


def test_the_environment_is_stronger_than_a_file(settings_file, tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "central_koha_client_secret").write_text("from-a-file")

    assert settings_file.load().libraries[0].koha.client_secret == "a-client-secret"


def test_absolute_paths_and_database_files_stay_as_they_are(settings_file):
    settings_file.replace('"trust"', '"/etc/koha-jpki/trust"')
    settings_file.replace("sqlite:///bridge.sqlite3", "sqlite:////var/lib/bridge.sqlite3")

    settings = settings_file.load()

    assert settings.jpki.trust_directory == Path("/etc/koha-jpki/trust")
    assert settings.database.url == "sqlite:////var/lib/bridge.sqlite3"


def test_a_database_url_with_a_password_may_come_from_the_environment(settings_file):
    url = "postgresql+psycopg://bridge:hidden-word@db/bridge"
    settings_file.environ["KOHA_JPKI_DATABASE_URL"] = url

    settings = settings_file.load()

    assert settings.database.url == url
    assert "hidden-word" not in repr(settings)


def test_no_secret_is_in_the_repr(settings_file):
    text = repr(settings_file.load())

    assert "a-client-secret" not in text
    assert settings_file.environ["KOHA_JPKI_WEB_SECRET_KEY"] not in text


REFUSED = [
    ("port = 8080", "port = 0", "web.port: expected whole number, 1 to 65535"),
    ("port = 8080", "port = true", "web.port: expected whole number, 1 to 65535"),
    ("port = 8080", 'port = "8080"', "web.port: expected whole number, 1 to 65535"),
    ("port = 8080", "prot = 8080", "web.prot: unknown setting"),
    ("port = 8080", "", "web.port: missing"),
    ('host = "127.0.0.1"', 'host = "a b"', "web.host: expected host name or IP address"),
    ("# secure_cookies = true", 'secure_cookies = "yes"', "web.secure_cookies: expected `true` or"),
    ('mode = "production"', 'mode = "prod"', "mode: expected one of `production`, `development`"),
    ('mode = "production"', 'modus = "production"', "modus: unknown setting"),
    ("# timeout_seconds = 5.0", "timeout_seconds = nan", "revocation.timeout_seconds: expected num"),
    ("# timeout_seconds = 5.0", "timeout_seconds = false", "revocation.timeout_seconds: expected num"),
    ('"trust"', '""', "jpki.trust_directory: expected path"),
    (f'["{"00" * 32}"]', "[]", "jpki.pinned_fingerprints: expected list of SHA-256"),
    (f'["{"00" * 32}"]', '["00"]', "jpki.pinned_fingerprints: expected list of SHA-256"),
    ("# length = 14", "length = 12\nprefix = '980'", "tokens.length: expected at least 10 digits"),
    ("# length = 14", "length = 12\ncheck_digit = 'luhn'", "tokens.length: expected at least 10 digits"),
    ("# time_zone", "self_check = 1 #", "library 1.self_check: expected [[library.self_check]]"),
    ("sqlite:///bridge.sqlite3", "sqlite://", "database.url: expected `sqlite:///<file>`"),
    ("sqlite:///bridge.sqlite3", "sqlite:///:memory:", "database.url: expected `sqlite:///<file>`"),
    ("sqlite:///bridge.sqlite3", "mysql://db/bridge", "database.url: expected `sqlite:///<file>`"),
    ("sqlite:///bridge.sqlite3", "postgresql+psycopg://[db", "database.url: expected `sqlite:///"),
    ("sqlite:///bridge.sqlite3", "postgresql+psycopg://db", "database.url: expected `sqlite:///"),
    ('"sqlite:///bridge.sqlite3"', "3", "database.url: expected `sqlite:///<file>`"),
    ("http://ocsp.example.jp/", "http://ocsp:0/", "revocation.ocsp_url: expected http"),
    ("http://ocsp.example.jp/", "http://a b/", "revocation.ocsp_url: expected http"),
    ("http://ocsp.example.jp/", "ldap://ocsp.example.jp/", "revocation.ocsp_url: expected http"),
    ("http://ocsp.example.jp/", "http://ocsp:99999/", "revocation.ocsp_url: expected http"),
    ("http://ocsp.example.jp/", "http://[half/", "revocation.ocsp_url: expected http"),
    ("http://ocsp.example.jp/", "http://user@ocsp/", "revocation.ocsp_url: expected http"),
    ("koha.example.jp/api/v1", "koha.example.jp/", "library 1.koha.base_url: expected http or"),
    ("koha.example.jp/api/v1", "koha.example.jp/api/v1?a", "library 1.koha.base_url: expected http"),
    ('"central"', '"中央"', "library 1.library_id: expected letters"),
    ("# time_zone", 'time_zone = "Asia/Edo" #', "library 1.time_zone: expected name in the IANA"),
    ("# time_zone", "time_zone = 9 #", "library 1.time_zone: expected name in the IANA"),
    ("# time_zone", 'time_zone = "Asia" #', "library 1.time_zone: expected name in the IANA"),
    ("# time_zone", 'time_zone = "../etc" #', "library 1.time_zone: expected name in the IANA"),
    ("listen_port = 6001", "listen_port = 8080", "library 1.sip2.listen_port: the same address as"),
    ('# terminator = "CR"', 'terminator = "CR LF"', "library 1.sip2.terminator: expected one of `CR`"),
    ("# linked_category =", 'linked_category = "PT12"', "library 1.linked_category: expected table of"),
    ("# linked_category =", 'linked_category = {PT="A|B"}', "library 1.linked_category: expected table of"),
    ("# linked_category =", "linked_category = {PT=12}", "library 1.linked_category: expected table of"),
    (
        "# linked_category =",
        'linked_category = {PT="PT12", PT12="PT24"}',
        "library 1.linked_category: a category stands on both sides",
    ),
    ("# directory_login =", 'directory_login = "bridge"', "library 1.sip2: give both of directory_login and"),
    ("https://koha", "http://koha", "library 1.koha.base_url: must be https in production"),
    ("# secure_cookies = true", "secure_cookies = false", "web.secure_cookies: must be true in"),
    ('hosts = ["jpki.example.jp"]', "", "web.hosts: missing; production needs to know by which names"),
    ('hosts = ["jpki.example.jp"]', "hosts = []", "web.hosts: missing; production needs to know"),
    ('ocsp_url = "http://ocsp.example.jp/"', "", "revocation.ocsp_url: a revocation source is"),
    ('name = "〇〇市"', "", "verifier.name: missing; production needs to know who verifies certificates"),
    ("notified_on = 2026-04-01", "", "verifier.notified_on: missing; production needs to know"),
    ('agreement = "協定 第1号"', "", "verifier.agreement: missing; production needs to know"),
    ("notified_on = 2026-04-01", "notified_on = 2026-04-01T09:00:00", "verifier.notified_on: expected day"),
    ("notified_on = 2026-04-01", 'notified_on = "2026-02-30"', "verifier.notified_on: expected day"),
    ("# pin_policy", 'pin_policy = "tap" #', "jpki.pin_policy: expected one of"),
    ("# pin_policy", 'pin_policy = "tap_after_first_pin" #', "jpki.pin_policy: tap_after_first_pin needs"),
    (
        "# pin_policy",
        'pin_policy = "tap_after_first_pin" #',
        "library 1.sip2: self-check machines that nobody",
    ),
    (
        "# card_application_number = false",
        "card_application_number = true",
        "library 1.card_application_number: needs identifiers.card_ap_number",
    ),
    ("# maximum_age_days", "maximum_age_days = 0 #", "links.maximum_age_days: expected whole number"),
]


@pytest.mark.parametrize(("old", "new", "problem"), REFUSED, ids=[row[2][:40] for row in REFUSED])
def test_a_wrong_setting_is_named_and_nothing_else(settings_file, old, new, problem):
    settings_file.replace(old, new)

    problems = [line for line in problems_of(settings_file) if line.startswith(problem)]

    assert len(problems) == 1


def test_what_production_refuses_is_allowed_in_development(settings_file):
    settings_file.replace('"production"', '"development"')
    settings_file.replace("https://koha", "http://koha")
    settings_file.replace("# secure_cookies = true", "secure_cookies = false")
    settings_file.replace('ocsp_url = "http://ocsp.example.jp/"', "")
    for required in ('name = "〇〇市"', "notified_on = 2026-04-01", 'agreement = "協定 第1号"'):
        settings_file.replace(required, "")
    settings_file.environ["KOHA_JPKI_WEB_SECRET_KEY"] = "short"

    assert settings_file.load().mode is Mode.DEVELOPMENT


def test_a_use_without_the_pin_is_refused_even_for_development(settings_file):
    settings_file.replace('"production"', '"development"')
    settings_file.replace("# pin_policy", 'pin_policy = "tap_after_first_pin" #')

    assert [line.partition(":")[0] for line in problems_of(settings_file)] == [
        "jpki.pin_policy",
        "library 1.sip2",
    ]


def test_who_verifies_is_read_as_it_stands(settings_file):
    verifier = settings_file.load().verifier

    assert (verifier.name, verifier.notified_on) == ("〇〇市", date(2026, 4, 1))


def test_every_problem_is_named_at_once(settings_file):
    settings_file.replace("port = 8080", "port = 0")
    settings_file.replace('name = "中央図書館"', "")
    settings_file.replace("https://koha", "http://koha")
    settings_file.environ.clear()

    assert problems_of(settings_file) == [
        "web.port: expected whole number, 1 to 65535",
        "web.secret_key_file: cannot be read: No such file or directory",
        "library 1.name: missing",
        "library 1.koha.client_secret_file: cannot be read: No such file or directory",
        "library 1.koha.base_url: must be https in production",
    ]


def test_a_missing_secret_says_where_it_may_come_from(settings_file):
    settings_file.environ.clear()
    settings_file.replace('secret_key_file = "secrets/web_secret_key"', "")
    settings_file.replace('client_secret_file = "secrets/central_koha_client_secret"', "")

    web, koha = problems_of(settings_file)

    assert web == "web.secret_key: missing; give secret_key_file or KOHA_JPKI_WEB_SECRET_KEY"
    assert koha == (
        "library 1.koha.client_secret: missing; "
        "give client_secret_file or KOHA_JPKI_LIBRARY_CENTRAL_KOHA_CLIENT_SECRET"
    )


@pytest.mark.parametrize(
    "database_url",
    [
        "postgresql+psycopg://bridge:hidden-word@db/bridge",
        "postgresql+psycopg://db/bridge?user=bridge&password=hidden-word",
    ],
)
def test_secrets_in_the_settings_file_are_refused_and_not_repeated(settings_file, database_url):
    settings_file.replace("secret_key_file = ", "secret_key = ")
    settings_file.replace("client_secret_file = ", "client_secret = ")
    settings_file.replace("sqlite:///bridge.sqlite3", database_url)

    problems = problems_of(settings_file)

    assert [line.split(";")[0] for line in problems] == [
        f"{name}: no secret stands in the settings file"
        for name in ("web.secret_key", "database.url", "library 1.koha.client_secret")
    ]
    assert "hidden-word" not in "".join(problems)
    assert "secrets/web" not in "".join(problems)


def test_a_short_secret_key_is_refused_in_production_and_not_repeated(settings_file):
    settings_file.environ["KOHA_JPKI_WEB_SECRET_KEY"] = "tooshort"

    problems = problems_of(settings_file)

    assert problems == ["web.secret_key: expected at least 32 characters in production"]


def test_two_libraries_must_differ_in_id(settings_file):
    settings_file.text += SECOND_LIBRARY.replace('"east"', '"CENTRAL"', 1)

    assert problems_of(settings_file) == [
        "library 2.library_id: the same as that of library 1",
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_two_libraries_must_not_listen_on_one_port(settings_file, host):
    settings_file.text += SECOND_LIBRARY + (
        f'[library.sip2]\nlisten_host = "{host}"\nlisten_port = 6001\n'
        'koha_host = "127.0.0.1"\nkoha_port = 6003\n'
    )
    settings_file.environ["KOHA_JPKI_LIBRARY_EAST_KOHA_CLIENT_SECRET"] = "another"

    assert problems_of(settings_file) == [
        "library 2.sip2.listen_port: the same address as library 1.sip2.listen_port",
    ]


@pytest.mark.parametrize("libraries", ["", "library = []\n", "library = 3\n"])
def test_at_least_one_library_is_needed(settings_file, libraries):
    settings_file.text = libraries + settings_file.text.split("# One library")[0]

    assert problems_of(settings_file) == ["library: expected at least one [[library]]"]


def test_a_value_in_the_place_of_a_section_is_refused(settings_file):
    before, after = settings_file.text.split("# The log.")
    settings_file.text = "logging = 3\n" + before + after.split('# level = "INFO"')[1]

    assert problems_of(settings_file) == ["logging: expected a table of settings"]


BAD_SECRET_FILES = [
    (b"", "web.secret_key: expected text"),
    (b"\xff\xfe", "web.secret_key_file: the file is not UTF-8 text"),
    (b"x" * 70_000, "web.secret_key_file: the file is too large"),
]


@pytest.mark.parametrize(("content", "problem"), BAD_SECRET_FILES, ids=["empty", "binary", "huge"])
def test_a_bad_secret_file_is_refused(settings_file, tmp_path, content, problem):
    del settings_file.environ["KOHA_JPKI_WEB_SECRET_KEY"]
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "web_secret_key").write_bytes(content)

    assert problem in problems_of(settings_file)


@pytest.mark.parametrize("name", ["3", '""', '"a\\u0000b"'])
def test_a_secret_files_name_must_be_a_name(settings_file, name):
    del settings_file.environ["KOHA_JPKI_WEB_SECRET_KEY"]
    settings_file.replace('"secrets/web_secret_key"', name)

    assert problems_of(settings_file) == ["web.secret_key_file: expected the name of a file"]


def test_a_missing_settings_file_is_one_problem(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load_settings(tmp_path / "none.toml", {})


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"mode = ", "is not TOML"), (b"mode = '\xff'", "is not UTF-8 text")],
    ids=["half a line", "wrong charset"],
)
def test_a_file_that_is_not_toml_is_one_problem(tmp_path, content, problem):
    (tmp_path / "settings.toml").write_bytes(content)

    with pytest.raises(SettingsError, match=problem):
        load_settings(tmp_path / "settings.toml", {})


def self_check(number, **settings):
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    return f"\n[[library.self_check]]\nsip2_login = 'sc{number}'\n{lines}"


def test_a_self_check_machine_has_the_settings_that_differ(settings_file):
    settings_file.text += self_check(1, language="'ja'") + self_check(2, token_check_digit="'luhn'")
    first, second = settings_file.load().libraries[0].self_check
    assert (first.sip2_login, first.language, first.token_check_digit) == ("sc1", "ja", None)
    assert (second.sip2_login, second.language, second.token_check_digit) == ("sc2", None, "luhn")


def test_what_is_wrong_with_a_self_check_machine_is_named_with_its_place(settings_file):
    settings_file.text += self_check(1, token_length=12, token_prefix="'987'")
    settings_file.text += self_check(1, plastic_cards="'no'")
    with pytest.raises(SettingsError) as refused:
        settings_file.load()
    assert refused.value.problems == (
        "library 1.self_check 2.plastic_cards: expected `true` or `false`",
        "library 1.self_check 1.token_length: expected at least 10 digits left to chance",
        "library 1.self_check 2.sip2_login: the same as that of 1",
    )


# Without Koha's REST API


def without_koha(settings_file):
    before, rest = settings_file.text.split("\n[library.koha]\n")
    settings_file.text = f"{before}\n[library.sip2]\n{rest.split('[library.sip2]', 1)[1]}"


def test_a_library_may_be_on_sip2_alone(settings_file):
    without_koha(settings_file)
    settings_file.replace("# directory_login =", 'directory_login = "bridge"')
    settings_file.environ["KOHA_JPKI_LIBRARY_CENTRAL_SIP2_DIRECTORY_PASSWORD"] = "a-sip2-password"
    (library,) = settings_file.load().libraries
    assert library.koha is None
    assert (library.sip2.directory_login, library.sip2.directory_password) == ("bridge", "a-sip2-password")
    assert "a-sip2-password" not in repr(library)


def test_a_library_needs_one_way_to_its_patrons(settings_file):
    without_koha(settings_file)
    assert problems_of(settings_file) == ["library 1.koha: missing; or give library 1.sip2.directory_login"]


def koha_sign_in(settings_file, lines):
    settings_file.replace("#[library.koha_sign_in]", f"[library.koha_sign_in]\n{lines}")


def test_staff_do_not_sign_in_with_koha_s_password_unless_that_is_switched_on(settings_file):
    assert settings_file.load().libraries[0].koha_sign_in is None
    koha_sign_in(settings_file, 'permission = "circulate:1"')
    chosen = settings_file.load().libraries[0].koha_sign_in
    assert (chosen.permission, chosen.recheck_minutes) == ("circulate:1", 5)


@pytest.mark.parametrize(
    "permission", ["circulate", "circulate:", ":1", "circulate:a b", "Circulate:1", "a:b&c=d", ""]
)
def test_what_is_no_permission_of_koha_s_is_named(settings_file, permission):
    koha_sign_in(settings_file, f'permission = "{permission}"')
    (problem,) = problems_of(settings_file)
    assert problem.startswith("library 1.koha_sign_in.permission: expected permission of Koha")


def test_a_sign_in_without_a_permission_or_a_sensible_interval_is_refused(settings_file):
    koha_sign_in(settings_file, "recheck_minutes = 0")
    problems = problems_of(settings_file)
    assert any(problem.startswith("library 1.koha_sign_in.permission: missing") for problem in problems)
    assert any(problem.startswith("library 1.koha_sign_in.recheck_minutes") for problem in problems)


def test_over_sip2_alone_nobody_is_asked_for_a_permission(settings_file):
    without_koha(settings_file)
    settings_file.replace(
        "[library.sip2]", '[library.koha_sign_in]\npermission = "circulate:1"\n[library.sip2]'
    )
    settings_file.replace("# directory_login =", 'directory_login = "bridge"')
    settings_file.environ["KOHA_JPKI_LIBRARY_CENTRAL_SIP2_DIRECTORY_PASSWORD"] = "a-sip2-password"
    (problem,) = problems_of(settings_file)
    assert problem.startswith("library 1.koha_sign_in: needs library 1.koha; over SIP2")


def test_categories_are_moved_over_rest_alone(settings_file):
    without_koha(settings_file)
    settings_file.replace("# linked_category =", 'linked_category = {PT="PT12"}')
    settings_file.replace("# directory_login =", 'directory_login = "bridge"')
    settings_file.environ["KOHA_JPKI_LIBRARY_CENTRAL_SIP2_DIRECTORY_PASSWORD"] = "a-sip2-password"
    assert problems_of(settings_file) == ["library 1.linked_category: needs library 1.koha"]


def test_the_table_of_categories_is_read_as_it_stands(settings_file):
    settings_file.replace("# linked_category =", 'linked_category = {PT="PT12", ST="ST12"}')
    assert settings_file.load().libraries[0].linked_category == {"PT": "PT12", "ST": "ST12"}


def sip2(settings_file, lines):
    settings_file.replace("koha_port = 6002", f"koha_port = 6002\n{lines}")


def test_networks_are_read_as_networks(settings_file):
    sip2(settings_file, 'machine_networks = ["10.1.2.0/24", "2001:db8::/32"]\ntrusted_proxies = ["10.1.3.1"]')
    settings_file.text += '[[library.self_check]]\nsip2_login = "sc1"\nnetworks = ["10.1.2.9"]\n'
    library = settings_file.load().libraries[0]
    assert library.sip2.machine_networks == (ip_network("10.1.2.0/24"), ip_network("2001:db8::/32"))
    assert library.sip2.trusted_proxies == (ip_network("10.1.3.1/32"),)
    assert library.self_check[0].networks == (ip_network("10.1.2.9/32"),)


@pytest.mark.parametrize("network", ["10.1.2.9/24", "10.1.2", "machine", "10.0.0.0/33", ""])
def test_what_is_no_network_is_named(settings_file, network):
    sip2(settings_file, f'machine_networks = ["{network}"]')
    (problem,) = problems_of(settings_file)
    assert problem.startswith("library 1.sip2.machine_networks: expected list of IP addresses and networks")


def test_halves_of_tls_settings_are_told_all_at_once(settings_file):
    sip2(
        settings_file,
        'certificate_file = "a.pem"\nkoha_server_name = "koha"\nknown_machines_only = true\n',
    )
    assert problems_of(settings_file) == [
        "library 1.sip2: give both of certificate_file and key_file, or neither",
        "library 1.sip2.koha_server_name: needs library 1.sip2.koha_authority_file",
        "library 1.sip2.known_machines_only: no [[library.self_check]] names a machine",
    ]


def test_a_ca_for_machines_needs_a_certificate_of_our_own(settings_file):
    sip2(settings_file, 'machine_authority_file = "ca.pem"')
    assert problems_of(settings_file) == [
        "library 1.sip2.machine_authority_file: needs library 1.sip2.certificate_file"
    ]


def share_a_port(settings_file, logins=("sc2",), lines=""):
    sip2(settings_file, "known_machines_only = true")
    machines = "".join(f'[[library.self_check]]\nsip2_login = "{login}"\n' for login in logins)
    settings_file.text += '[[library.self_check]]\nsip2_login = "sc1"\n' + SECOND_LIBRARY
    settings_file.text += (
        '[library.sip2]\nlisten_host = "127.0.0.1"\nlisten_port = 6001\nknown_machines_only = true\n'
        f'koha_host = "127.0.0.1"\nkoha_port = 6003\n{lines}{machines}'
    )
    settings_file.environ["KOHA_JPKI_LIBRARY_EAST_KOHA_CLIENT_SECRET"] = "another"


def test_libraries_that_name_all_their_machines_may_share_a_port(settings_file):
    share_a_port(settings_file)
    assert [library.sip2.listen_port for library in settings_file.load().libraries] == [6001, 6001]


def test_what_keeps_libraries_from_sharing_a_port_is_told_all_at_once(settings_file):
    share_a_port(settings_file, ("sc2", "SC1"), 'terminator = "LF"\ntrusted_proxies = ["10.0.0.1"]\n')
    assert problems_of(settings_file) == [
        "library 2.sip2.terminator: not as in library 1, with which it shares a port",
        "library 2.sip2.trusted_proxies: not as in library 1, with which it shares a port",
        "library 2.self_check 2.sip2_login: also in library 1, with which it shares a port",
    ]


def test_the_counters_port_is_no_other_port(settings_file):
    settings_file.replace("# port =", "port = 6001")
    assert problems_of(settings_file) == ["library 1.sip2.listen_port: the same address as metrics.port"]
