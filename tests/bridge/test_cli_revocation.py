"""``koha-jpki crl`` and ``koha-jpki revocation``, as an operator calls them."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bridge.cli import main
from config import example_toml
from jpki.simulator.crl import make_crl, write_openssl_crl
from jpki.simulator.pki import Authority, CardPki, CardProfile, PkiKeys

ENVIRONMENT = {
    "KOHA_JPKI_WEB_SECRET_KEY": "a-secret-key-of-enough-characters-0123",
    "KOHA_JPKI_LIBRARY_CENTRAL_KOHA_CLIENT_SECRET": "a-client-secret",
}


@pytest.fixture(scope="module")
def keys() -> PkiKeys:
    return PkiKeys.generate()


@pytest.fixture
def pki(keys, tmp_path) -> CardPki:
    """A PKI of today, its CA trusted by the settings in the same folder."""
    pki = CardPki.create(datetime.now(UTC), keys)
    ca = pki.ca_certificate(Authority.AUTHENTICATION_2)
    text = example_toml()
    for old, new in (
        ('mode = "production"', 'mode = "development"'),
        ("0" * 64, hashlib.sha256(ca).hexdigest()),
        ('# sources = ["ocsp"]', 'sources = ["crl", "ocsp"]'),
        ("http://ocsp.example.jp/", "http://127.0.0.1:9/"),  # nobody answers there
        ("ldap://crl.example.jp/cn=CRL,o=JPKI,c=JP", "http://127.0.0.1:9/"),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    (tmp_path / "bridge.toml").write_text(text, "utf-8")
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust" / "ca.der").write_bytes(ca)
    return pki


@pytest.fixture
def run(tmp_path):
    def run(*arguments: object) -> Result:
        command = ["-c", str(tmp_path / "bridge.toml"), *map(str, arguments)]
        return CliRunner().invoke(main, command, env=ENVIRONMENT, catch_exceptions=False)

    return run


@pytest.fixture
def crl(pki, tmp_path):
    """Let openssl write the CRL as it stands, and return the file."""

    def crl(number: int = 1):
        pki.write(tmp_path / "pki")
        write_openssl_crl(tmp_path / "pki", tmp_path / "crl.pem", Authority.AUTHENTICATION_2, number=number)
        return tmp_path / "crl.pem"

    return crl


@pytest.fixture
def certificate(pki, tmp_path):
    """Issue a card, revoked if so said, and return the file of its certificate."""

    def certificate(*, revoked: bool = False, pem: bool = False):
        card = pki.issue_card(CardProfile.GOOD_NEW_GENERATION)
        if revoked:
            pki.revoke(card.serial_number, datetime.now(UTC), x509.ReasonFlags.certificate_hold)
        parsed = x509.load_der_x509_certificate(card.certificate_der)
        path = tmp_path / "card.cer"
        path.write_bytes(parsed.public_bytes(Encoding.PEM if pem else Encoding.DER))
        return path

    return certificate


def test_a_crl_is_imported_and_shown(run, certificate, crl):
    certificate(revoked=True)
    imported = run("crl", "import", crl(0x2A))
    assert imported.exit_code == 0, imported.output
    assert "CRL number 42" in imported.stdout
    shown = run("crl", "show")
    assert shown.exit_code == 0
    assert "CRL number 42" in shown.stdout
    assert "entries          1" in shown.stdout


def test_a_crl_is_told_in_json_when_it_is_imported_and_shown(run, certificate, crl):
    certificate(revoked=True)
    imported = run("crl", "import", crl(0x2A), "--json")
    shown = run("crl", "show", "--json")
    assert (imported.exit_code, shown.exit_code, shown.stderr) == (0, 0, "")
    told = json.loads(imported.stdout)
    assert told == {"imported": json.loads(shown.stdout), "failed": []}
    (head,) = told["imported"]
    assert (head["number"], head["entries"], head["overdue"]) == (42, 1, False)


def test_what_was_not_imported_and_that_there_is_no_crl_is_told_in_json(run, pki):
    imported = run("crl", "import", "--json")
    assert imported.exit_code == 1
    told = json.loads(imported.stdout)
    assert told["imported"] == []
    (failed,) = told["failed"]
    assert failed["url"] == "http://127.0.0.1:9/"
    assert "was not fetched" in failed["problem"]
    shown = run("crl", "show", "--json")
    assert (shown.exit_code, shown.stdout, shown.stderr) == (1, "[]\n", "")


def test_a_crl_that_is_refused_is_told_in_json(run, crl):
    assert run("crl", "import", crl(2)).exit_code == 0
    result = run("crl", "import", crl(1), "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "does not follow number 2" in json.loads(result.stderr.splitlines()[-1])["error"]["message"]


def test_a_crl_is_fetched_from_the_address_given(run, crl):
    content = crl().read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    result = run("crl", "import", "--url", f"http://127.0.0.1:{server.server_port}/crl")
    thread.join(90)
    server.server_close()
    assert result.exit_code == 0, result.output
    assert "CRL number 1" in result.stdout


def test_an_address_in_the_settings_that_does_not_answer_is_named(run, pki):
    result = run("crl", "import")
    assert result.exit_code == 1
    assert "http://127.0.0.1:9/: the CRL was not fetched: ConnectionError" in result.stderr


def test_an_older_crl_is_refused_in_words(run, crl):
    assert run("crl", "import", crl(2)).exit_code == 0
    result = run("crl", "import", crl(1))
    assert result.exit_code == 1
    assert "CRL number 1 does not follow number 2, which is in force" in result.stderr
    assert "CRL number 2" in run("crl", "show").stdout


def test_without_a_crl_there_is_nothing_to_show(run, pki):
    result = run("crl", "show")
    assert result.exit_code == 1
    assert "No CRL has been imported" in result.stderr


def test_the_crl_of_a_part_is_refused_by_name_and_taken_once_the_settings_name_it(
    run, pki, certificate, tmp_path
):
    file = certificate()
    own = (
        x509.load_der_x509_certificate(file.read_bytes())
        .extensions.get_extension_for_class(x509.CRLDistributionPoints)
        .value[0]
    )
    scope = x509.IssuingDistributionPoint(
        full_name=own.full_name,
        relative_name=None,
        only_contains_user_certs=True,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )
    now = datetime.now(UTC).replace(microsecond=0)
    part = make_crl(
        x509.load_der_x509_certificate(pki.ca_certificate(Authority.AUTHENTICATION_2)),
        pki.keys.authorities[Authority.AUTHENTICATION_2],
        [],
        number=1,
        this_update=now,
        next_update=now + timedelta(days=1),
        extensions=[x509.Extension(scope.oid, critical=True, value=scope)],
    )
    (tmp_path / "part.crl").write_bytes(part)
    name = own.full_name[0].value.rfc4514_string()
    refused = run("crl", "import", tmp_path / "part.crl")
    assert refused.exit_code == 1
    assert name in refused.stderr
    settings = tmp_path / "bridge.toml"
    text = settings.read_text("utf-8")
    example = "CN=Example City CRLDP,OU=Example-ken,OU=CRL Distribution Points,O=JPKI,C=JP"
    assert example in text
    settings.write_text(text.replace(example, name), "utf-8")
    assert run("crl", "import", tmp_path / "part.crl").exit_code == 0
    assert f"covers           certificates of {name} alone" in run("crl", "show").stdout
    checked = run("revocation", "check", file)
    assert (checked.exit_code, checked.stdout.split(",")[0]) == (0, "crl: good")


def test_an_overdue_crl_is_shown_as_such(run, pki, crl, tmp_path, monkeypatch):
    run("crl", "import", crl())

    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=2)

    monkeypatch.setattr("bridge.cli.crl.datetime", Tomorrow)
    result = run("crl", "show")
    assert result.exit_code == 1
    assert "OVERDUE" in result.stdout


def test_a_file_and_an_address_at_once_are_wrong_use(run, crl):
    assert run("crl", "import", crl(), "--url", "http://127.0.0.1:9/").exit_code == 2


@pytest.mark.parametrize("pem", [True, False])
def test_a_good_certificate_is_told_with_its_source_and_time(run, certificate, crl, pem):
    file = certificate(pem=pem)
    run("crl", "import", crl())
    result = run("revocation", "check", file)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("crl: good, as of 2")


def test_a_revoked_certificate_is_told_with_reason_and_time(run, certificate, crl):
    file = certificate(revoked=True)
    run("crl", "import", crl())
    result = run("revocation", "check", file)
    assert result.exit_code == 1
    assert result.stdout.startswith("crl: revoked, since 2")
    assert "certificateHold" in result.stdout


@pytest.mark.parametrize("revoked", [True, False])
def test_what_is_known_of_a_certificate_is_told_in_json(run, certificate, crl, revoked):
    file = certificate(revoked=revoked)
    run("crl", "import", crl())
    result = run("revocation", "check", file, "--json")
    assert (result.exit_code, result.stderr) == (int(revoked), "")
    told = json.loads(result.stdout)
    assert (told["status"], told["source"]) == ("revoked" if revoked else "good", "crl")
    assert told["reason"] == ("certificateHold" if revoked else None)
    assert [set(each) for each in told["consulted"]] == [set(told) - {"consulted"}] * len(told["consulted"])


def test_where_nobody_knows_every_source_says_why(run, certificate):
    result = run("revocation", "check", certificate())
    assert result.exit_code == 1
    assert "crl: unknown, no-source" in result.stdout
    assert "ocsp: unknown, unreachable" in result.stdout


def test_what_is_no_certificate_is_refused(run, pki, tmp_path):
    file = tmp_path / "card.cer"
    for content in (b"junk", b"-----BEGIN CERTIFICATE-----\njunk\n"):
        file.write_bytes(content)
        assert run("revocation", "check", file).exit_code == 1


def test_the_certificate_of_a_ca_is_not_asked_about(run, pki, tmp_path):
    file = tmp_path / "trust" / "ca.der"
    result = run("revocation", "check", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{file} is not a card's certificate for user authentication" in result.stderr
