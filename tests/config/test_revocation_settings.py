"""The sources of revocation information, as they may be named."""

import pytest

from config import SettingsError


def problems_of(settings_file):
    with pytest.raises(SettingsError) as refusal:
        settings_file.load()
    return refusal.value.problems


def test_sources_have_an_order(settings_file, tmp_path):
    settings_file.replace('# sources = ["ocsp"]', 'sources = ["crl", "platform", "ocsp"]')
    settings_file.replace("# platform_file =", 'platform_file = "platform.toml" #')
    settings_file.environ["KOHA_JPKI_REVOCATION_PLATFORM_TOKEN"] = "a-platform-token"

    revocation = settings_file.load().revocation

    assert revocation.sources == ("crl", "platform", "ocsp")
    assert revocation.platform_file == tmp_path / "platform.toml"
    assert revocation.platform_token == "a-platform-token"
    assert "a-platform-token" not in repr(revocation)


@pytest.mark.parametrize(
    ("source", "line", "needed"),
    [
        ("ocsp", 'ocsp_url = "http://ocsp.example.jp/"', "ocsp_url"),
        ("crl", 'crl_directory = "crl"', "crl_directory"),
        ("platform", "# platform_file =", "platform_file"),
    ],
)
def test_a_source_that_is_named_needs_its_setting(settings_file, source, line, needed):
    settings_file.replace('# sources = ["ocsp"]', f'sources = ["{source}"]')
    settings_file.replace(line, "#")
    problems = problems_of(settings_file)
    assert f"revocation.{needed}: missing; revocation.sources names {source}" in problems


@pytest.mark.parametrize("sources", ["[]", '["ldap"]', '"crl"'])
def test_sources_are_a_list_of_known_words(settings_file, sources):
    settings_file.replace('# sources = ["ocsp"]', f"sources = {sources}")
    (problem,) = problems_of(settings_file)
    assert problem.startswith("revocation.sources: expected list of")


def test_crls_that_are_fetched_need_a_place(settings_file):
    settings_file.replace('crl_directory = "crl"', "")
    (problem,) = problems_of(settings_file)
    assert problem.startswith("revocation.crl_directory: missing")


@pytest.mark.parametrize(
    "url", ["ldap://crl.example.jp/", "ldap:///o=JPKI", "ftp://crl.example.jp/a", "ldap://a:b@c/o=JPKI", ""]
)
def test_a_crl_has_an_address_of_http_or_ldap(settings_file, url):
    settings_file.replace("ldap://crl.example.jp/cn=CRL,o=JPKI,c=JP", url)
    (problem,) = problems_of(settings_file)
    assert problem.startswith("revocation.crl_urls: expected list of")
