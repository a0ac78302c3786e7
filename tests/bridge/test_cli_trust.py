"""``koha-jpki trust``, as an operator calls it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bridge.cli import main
from bridge.wiring import find_problems
from config import example_toml, load_settings
from jpki.simulator.card import SimulatedCard
from jpki.simulator.pki import Authority, CardPki, CardProfile
from jpki.simulator.reader import VirtualReader

ENVIRONMENT = {
    "KOHA_JPKI_WEB_SECRET_KEY": "a-secret-key-of-enough-characters-0123",
    "KOHA_JPKI_LIBRARY_CENTRAL_KOHA_CLIENT_SECRET": "a-client-secret",
}


@pytest.fixture(scope="module")
def pki() -> CardPki:
    return CardPki.create(datetime(2026, 11, 21, 3, 0, tzinfo=UTC))


@pytest.fixture(scope="module")
def ca(pki) -> bytes:
    return pki.ca_certificate(Authority.AUTHENTICATION_1)


@pytest.fixture
def ca_file(tmp_path, ca) -> Path:
    path = tmp_path / "authca.cer"
    path.write_bytes(ca)
    return path


@pytest.fixture
def settings_file(tmp_path):
    """Return a function that writes the settings, with these pins, in this mode."""

    def write(*pins: str, mode: str = "development") -> Path:
        text = example_toml()
        for old, new in (
            ('mode = "production"', f'mode = "{mode}"'),
            (f'pinned_fingerprints = ["{"0" * 64}"]', f"pinned_fingerprints = {list(pins or ['0' * 64])}"),
        ):
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "bridge.toml"
        path.write_text(text, "utf-8")
        return path

    return write


def trust(settings: Path, *arguments: str | Path) -> Result:
    command = ["-c", str(settings), "trust", *map(str, arguments)]
    return CliRunner().invoke(main, command, env=ENVIRONMENT, catch_exceptions=False)


def fingerprint(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest().upper()


def test_a_pinned_ca_is_imported_and_listed(settings_file, ca_file, ca, tmp_path):
    settings = settings_file(fingerprint(ca))

    imported = trust(settings, "import", ca_file)
    listed = trust(settings, "list")

    assert (imported.exit_code, listed.exit_code) == (0, 0)
    assert len(list((tmp_path / "trust").iterdir())) == 1
    for words in ("CA for user authentication", "test CA", "valid until      2029-11-20"):
        assert words in imported.stdout
        assert words in listed.stdout
    assert fingerprint(ca)[:2] + ":" in listed.stdout


def test_a_ca_is_told_in_json_when_it_is_imported_and_listed(settings_file, ca_file, ca, tmp_path):
    settings = settings_file(fingerprint(ca))
    imported, listed = (trust(settings, *command, "--json") for command in (["import", ca_file], ["list"]))
    assert (imported.exit_code, imported.stderr) == (listed.exit_code, listed.stderr) == (0, "")
    told = json.loads(imported.stdout)
    assert Path(told.pop("file")).parent == tmp_path / "trust"
    assert json.loads(listed.stdout) == [told]
    assert told["fingerprint"].replace(":", "").upper() == fingerprint(ca)
    assert (told["not_after"][:10], told["is_test"], told["expired"]) == ("2029-11-20", True, False)


@pytest.mark.parametrize(
    ("command", "code"),
    [(["import", "FILE"], "fingerprint-not-pinned"), (["list"], "no-authority")],
    ids=["import", "list"],
)
def test_a_refusal_is_told_in_json(settings_file, ca_file, command, code):
    given = [ca_file if each == "FILE" else each for each in command]
    result = trust(settings_file(), *given, "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert json.loads(result.stderr)["error"]["code"] == code


@pytest.mark.parametrize(
    ("created", "words"),
    [(timedelta(days=-1), r"\(days left: 109[3-5]\)"), (timedelta(days=-4 * 365), r"\(expired\)")],
    ids=["valid", "expired"],
)
def test_the_list_says_how_many_days_a_ca_is_still_valid(settings_file, tmp_path, pki, created, words):
    der = CardPki.create(datetime.now(UTC) + created, pki.keys).ca_certificate(Authority.AUTHENTICATION_1)
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust" / "ca.der").write_bytes(der)
    listed = trust(settings_file(fingerprint(der)), "list")
    assert listed.exit_code == 0
    assert re.search(words, listed.stdout), listed.stdout


def test_an_unpinned_ca_is_named_and_refused(settings_file, ca_file, ca, tmp_path):
    result = trust(settings_file(), "import", ca_file)
    assert result.exit_code == 1
    assert fingerprint(ca) in result.stdout.replace(":", "")
    assert "not pinned" in result.stderr
    assert not (tmp_path / "trust").exists()


def test_a_test_ca_is_refused_in_production(settings_file, ca_file, ca):
    result = trust(settings_file(fingerprint(ca), mode="production"), "import", ca_file)
    assert result.exit_code == 1
    assert "development mode only" in result.stderr


def test_a_test_ca_that_was_imported_in_development_is_refused_in_production(settings_file, ca_file, ca):
    assert trust(settings_file(fingerprint(ca)), "import", ca_file).exit_code == 0
    settings = settings_file(fingerprint(ca), mode="production")
    result = trust(settings, "list")
    assert result.exit_code == 1
    assert "would not start" in result.stderr
    assert "development mode only" in result.stderr
    assert any(
        "development mode only" in problem for problem in find_problems(load_settings(settings, ENVIRONMENT))
    )


def test_a_cards_certificate_is_refused_as_a_ca(settings_file, pki, tmp_path):
    path = tmp_path / "card.cer"
    path.write_bytes(pki.issue_card(CardProfile.GOOD).certificate_der)
    result = trust(settings_file(), "import", path)
    assert result.exit_code == 1
    assert "not the certificate of one of JPKI's CAs" in result.stderr


def test_a_pin_taken_back_shows_in_the_list(settings_file, ca_file, ca):
    assert trust(settings_file(fingerprint(ca)), "import", ca_file).exit_code == 0
    result = trust(settings_file(), "list")
    assert result.exit_code == 1
    assert "would not start" in result.stderr


@pytest.mark.parametrize("make", [False, True], ids=["no directory", "empty directory"])
def test_an_empty_list_says_so(settings_file, tmp_path, make):
    if make:
        (tmp_path / "trust").mkdir()
    result = trust(settings_file(), "list")
    assert result.exit_code == 1
    assert "No CA certificate has been imported" in result.stderr


def test_a_file_in_the_place_of_the_directory_is_named_without_a_traceback(
    settings_file, ca_file, ca, tmp_path
):
    (tmp_path / "trust").write_bytes(ca)
    settings = settings_file(fingerprint(ca))
    for arguments in (["list"], ["import", ca_file]):
        result = trust(settings, *arguments)
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        assert str(tmp_path / "trust") in result.stderr
    assert (tmp_path / "trust").read_bytes() == ca


def test_wrong_settings_are_named_and_nothing_is_done(tmp_path):
    (tmp_path / "bridge.toml").write_text("mode = 1")
    result = trust(tmp_path / "bridge.toml", "list")
    assert result.exit_code == 2
    assert "mode" in result.stderr


@pytest.mark.parametrize("both", [False, True], ids=["neither", "both"])
def test_the_certificate_comes_from_one_place(settings_file, ca_file, both):
    arguments = [ca_file, "--from-card"] if both else []
    assert trust(settings_file(), "import", *arguments).exit_code == 2


@pytest.mark.pcsc
def test_the_ca_that_a_card_carries_is_imported_only_if_pinned(settings_file, pki, ca, tmp_path):
    card = SimulatedCard.from_material(pki.issue_card(CardProfile.GOOD))
    command = [
        sys.executable,
        "-c",
        "from bridge.cli import main; main()",
        "-c",
        str(tmp_path / "bridge.toml"),
    ]
    with VirtualReader() as reader:
        reader.add_card(card).insert()
        results = []
        for pins in ((), (fingerprint(ca),)):
            settings_file(*pins)
            results.append(
                subprocess.run(
                    [*command, "trust", "import", "--from-card"],
                    env={**os.environ, **ENVIRONMENT, **reader.environment},
                    capture_output=True,
                    text=True,
                    timeout=90,
                    check=False,
                )
            )
    refused, imported = results
    assert (refused.returncode, imported.returncode) == (1, 0), (refused.stderr, imported.stderr)
    assert "not pinned" in refused.stderr
    assert len(list((tmp_path / "trust").iterdir())) == 1
