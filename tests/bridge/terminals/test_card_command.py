"""``koha-jpki card``: what an operator reads of readers and cards, with simulated ones and through PC/SC."""

import hashlib
import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner

from bridge.agent.run import ExitCode
from bridge.cli import card as card_command
from bridge.cli import main
from config import example_toml
from jpki.card import JpkiSession, Pin
from jpki.constants import TokenKind
from jpki.errors import JpkiError, NoCard, NoReader, ReaderError, ReaderServiceUnavailable
from jpki.simulator.card import CardFaults, SimulatedCard, SimulatedConnection
from jpki.simulator.pki import Authority, CardPki, CardProfile
from jpki.simulator.reader import VirtualReader

PIN = "4937"
ROOT = Path(__file__).parents[3]
SECRETS = {
    "KOHA_JPKI_WEB_SECRET_KEY": "a-secret-key-of-enough-characters-0123",
    "KOHA_JPKI_LIBRARY_CENTRAL_KOHA_CLIENT_SECRET": "a-client-secret",
}


@pytest.fixture(scope="module")
def pki():
    """A PKI of today: the command asks the machine's clock."""
    return CardPki.create(datetime.now(UTC))


@pytest.fixture
def run(monkeypatch):
    """Run ``koha-jpki card`` where these readers are connected; the self-test takes the first one."""

    def run(readers, *arguments, typed=""):
        monkeypatch.setattr(card_command, "_reader_names", lambda: list(readers))
        monkeypatch.setattr(card_command, "_open_reader", lambda name: readers[name or next(iter(readers))])
        result = CliRunner().invoke(main, [*map(str, arguments)], input=typed, env=SECRETS)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert not re.search(rf"\b{PIN}\b", result.output)
        return result

    return run


@pytest.fixture
def look(run, make_reader):
    """Lay one card on the one reader and look at it; return exit code, the JSON row and the text."""

    def look(card):
        readers = {"Reader 0": make_reader(card)}
        as_json, as_text = run(readers, "card", "status", "--json"), run(readers, "card", "status")
        assert as_json.exit_code == as_text.exit_code
        (row,) = json.loads(as_json.stdout)["readers"]
        return as_text.exit_code, row, as_text.stdout

    return look


# -- status


def test_a_good_card_tells_its_kind_its_expiry_and_its_tries(look, make_card):
    card = make_card()
    code, row, text = look(card)
    not_after = datetime.fromisoformat(row.pop("certificate_not_after"))
    assert code == ExitCode.DONE
    assert row == {"reader": "Reader 0", "token": "MY_NUMBER_CARD", "attempts_remaining": 3, "problem": None}
    assert text.splitlines()[:2] == ["Reader 0", "  token               My Number Card"]
    assert "valid until" in text
    assert "attempts remaining  3" in text
    assert not_after > datetime.now(UTC)
    assert (card.verify_count, card.powered) == (0, False)


STATUS_PROBLEMS = {
    "a phone": (CardFaults(token_label=TokenKind.IPHONE.value), 3, "UnsupportedToken", "iPhone"),
    "the old card": (
        CardFaults(token_label=TokenKind.BASIC_RESIDENT_REGISTER_CARD.value),
        3,
        "UnsupportedToken",
        "住基カード",
    ),
    "an unknown label": (CardFaults(token_label="SOMETHING"), 3, "UnsupportedToken", "cannot be used"),
    "no certificate": (
        CardFaults(certificate_absent=True),
        3,
        "CertificateNotPresent",
        "no user authentication",
    ),
    "one try left": (CardFaults(), 1, "LastAttemptProtected", "attempts remaining  1"),
    "blocked": (CardFaults(), 0, "PinBlockedError", "attempts remaining  0"),
}


@pytest.mark.parametrize(
    ("faults", "attempts", "problem", "words"), STATUS_PROBLEMS.values(), ids=STATUS_PROBLEMS
)
def test_a_card_that_cannot_be_used_says_why(look, make_card, faults, attempts, problem, words):
    card = make_card(faults=faults)
    card.authentication.attempts_remaining = attempts
    code, row, text = look(card)
    assert code == ExitCode.REFUSED
    assert row["problem"] == problem
    assert words in text
    assert (card.verify_count, card.authentication.attempts_remaining) == (0, attempts)


@pytest.mark.parametrize(
    ("profile", "problem"),
    [
        (CardProfile.EXPIRED, "CertificateExpired"),
        (CardProfile.NOT_YET_VALID, "CertificateNotYetValid"),
        (CardProfile.RSA_1024, "UnsupportedAlgorithm"),
    ],
)
def test_a_certificate_that_cannot_be_used_says_why_and_the_tries_are_told(look, make_card, profile, problem):
    code, row, text = look(make_card(profile))
    assert (code, row["problem"], row["attempts_remaining"]) == (ExitCode.REFUSED, problem, 3)
    assert "The certificate" in text


def test_the_exit_code_is_that_of_the_best_card(run, make_card, make_reader):
    blocked = make_card()
    blocked.authentication.attempts_remaining = 0
    empty, bad, good = (make_reader(*cards) for cards in ((), (blocked,), (make_card(),)))
    for readers, code in (
        ((empty,), ExitCode.READER_TROUBLE),
        ((empty, bad), ExitCode.REFUSED),
        ((empty, bad, good), ExitCode.DONE),
    ):
        result = run({f"Reader {number}": each for number, each in enumerate(readers)}, "card", "status")
        assert result.exit_code == code
        assert "No card lies on the reader." in result.stdout


def test_one_reader_can_be_named(run, make_card, make_reader):
    readers = {"Reader 0": make_reader(), "Reader 1": make_reader(make_card())}
    result = run(readers, "card", "status", "--reader", "Reader 1")
    assert result.exit_code == ExitCode.DONE
    assert "Reader 0" not in result.stdout


@pytest.mark.parametrize("trouble", [None, ReaderServiceUnavailable()], ids=["no reader", "no service"])
def test_without_readers_the_words_and_the_json_say_so(run, monkeypatch, trouble):
    def names():
        if trouble:
            raise trouble
        return []

    run({})
    monkeypatch.setattr(card_command, "_reader_names", names)
    result = CliRunner().invoke(main, ["card", "status", "--json"])
    assert result.exit_code == ExitCode.READER_TROUBLE
    problem = type(trouble or NoReader())
    assert json.loads(result.stdout) == {"readers": [], "problem": problem.__name__}
    assert result.stderr.strip() == card_command.OPERATOR_WORDS[problem]


def leaves(kind):
    return [leaf for each in kind.__subclasses__() for leaf in leaves(each)] or [kind]


@pytest.mark.parametrize("kind", leaves(ReaderError), ids=lambda kind: kind.__name__)
def test_every_reader_error_has_words_for_the_operator(run, make_reader, kind):
    class TroubledReader(make_reader):
        def wait_for_card(self, timeout):
            raise kind("PC/SC's own words")

    result = run({"Reader 0": TroubledReader()}, "card", "status")
    assert result.exit_code == ExitCode.READER_TROUBLE
    assert kind in card_command.OPERATOR_WORDS
    assert card_command.OPERATOR_WORDS[kind].format(error="PC/SC's own words") in result.stdout


def test_no_secret_is_told(look, pki):
    material = pki.issue_card()
    _, row, text = look(SimulatedCard.from_material(material, PIN))
    for shown in (text, json.dumps(row)):
        assert str(material.serial_number) not in shown
        assert f"{material.serial_number:x}" not in shown.lower()


class LeakyReader:
    """A reader on whose card somebody else has left a PIN open, the first *times* it is powered."""

    def __init__(self, card, times):
        self.card, self.leaks = card, iter(range(times))

    def wait_for_card(self, timeout):
        del timeout

    @contextmanager
    def connect(self):
        with SimulatedConnection(self.card) as connection:
            for _ in self.leaks:
                JpkiSession(connection).verify_pin(Pin(PIN))
                break
            yield connection


@pytest.mark.parametrize(("times", "problem"), [(1, None), (2, "PinAlreadyVerified")])
def test_a_pin_that_somebody_left_open_is_wiped_by_power_off_once(run, make_card, times, problem):
    card = make_card(faults=CardFaults(verified_query_is_9000=True))
    result = run({"Reader 0": LeakyReader(card, times)}, "card", "status", "--json")
    (row,) = json.loads(result.stdout)["readers"]
    assert row["problem"] == problem
    assert card.verify_count == times


def test_a_card_taken_away_at_any_moment_is_told_and_nothing_is_spent(run, make_card, make_reader):
    for commands in count():
        card = make_card(faults=CardFaults(tear_after=commands))
        result = run({"Reader 0": make_reader(card)}, "card", "status")
        assert card.verify_count == 0
        if result.exit_code == ExitCode.DONE:
            break
        assert result.exit_code == ExitCode.READER_TROUBLE
        assert "moved away" in result.stdout
    assert commands > 5


# -- selftest


@pytest.fixture
def settings_file(tmp_path, pki):
    """Write settings in which the test CA is pinned, and return their path."""
    digest = hashlib.sha256(pki.ca_certificate(Authority.AUTHENTICATION_1)).hexdigest().upper()
    text = example_toml()
    for old, new in (
        ('mode = "production"', 'mode = "development"'),
        (f'pinned_fingerprints = ["{"0" * 64}"]', f'pinned_fingerprints = ["{digest}"]'),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "bridge.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture
def trusted(settings_file, tmp_path, pki):
    """Import the test CA under the settings, and return what names them on the command line."""
    ca_file = tmp_path / "authca.cer"
    ca_file.write_bytes(pki.ca_certificate(Authority.AUTHENTICATION_1))
    command = ["--config", str(settings_file)]
    imported = CliRunner().invoke(main, [*command, "trust", "import", str(ca_file)], env=SECRETS)
    assert imported.exit_code == 0, imported.output
    return command


@pytest.fixture
def try_card(run, make_reader):
    def try_card(card, *options, typed=f"{PIN}\n", reader=None):
        readers = {"Reader 0": reader or make_reader(card)}
        return run(readers, *options, "card", "selftest", "--pin-stdin", typed=typed)

    return try_card


def test_a_card_signs_and_its_issuer_is_named(try_card, make_card, trusted):
    card = make_card()
    result = try_card(card, *trusted)
    assert result.exit_code == ExitCode.DONE, result.output
    assert "signature    right" in result.stdout
    assert "issuer       an imported CA" in result.stdout
    assert "NOT CHECKED" not in result.stdout
    assert (card.verify_count, card.powered) == (1, False)


def test_the_card_to_come_signs_too(try_card, make_card):
    result = try_card(make_card(CardProfile.P384))
    assert result.exit_code == ExitCode.DONE
    assert "signature    right" in result.stdout


def test_the_tries_are_shown_before_the_pin_is_asked(try_card, make_card):
    result = try_card(make_card())
    assert result.stderr.index("3 tries left") < result.stderr.index("Enter the 4-digit PIN")


def test_without_settings_it_says_that_nobody_vouches(try_card, make_card, monkeypatch, tmp_path):
    option = next(each for each in main.params if each.name == "config")
    monkeypatch.setattr(option, "default", tmp_path / "none.toml")
    result = try_card(make_card())
    assert result.exit_code == ExitCode.DONE
    assert f"NOT CHECKED: there are no settings at {tmp_path / 'none.toml'}" in result.stdout


@pytest.mark.parametrize("make", [False, True], ids=["no directory", "empty directory"])
def test_without_an_imported_ca_it_says_that_nobody_vouches(
    try_card, make_card, settings_file, tmp_path, make
):
    if make:
        (tmp_path / "trust").mkdir()
    result = try_card(make_card(), "--config", settings_file)
    assert result.exit_code == ExitCode.DONE
    assert "NOT CHECKED: no CA certificate has been imported" in result.stdout


@pytest.mark.parametrize(
    "profile", [CardProfile.FOREIGN_CA, CardProfile.EXPIRED, CardProfile.WRONG_POLICY], ids=lambda p: p.value
)
def test_a_certificate_that_nobody_vouches_for_is_refused_before_the_pin(
    try_card, make_card, trusted, profile
):
    card = make_card(profile)
    result = try_card(card, *trusted)
    assert result.exit_code == ExitCode.REFUSED
    assert "The certificate" in result.stderr
    assert "Enter the 4-digit PIN" not in result.stderr
    assert card.verify_count == 0


def test_a_signature_with_another_key_is_refused(try_card, make_card):
    result = try_card(make_card(faults=CardFaults(wrong_key=True)))
    assert result.exit_code == ExitCode.REFUSED
    assert "not that of the certificate's key" in result.stderr
    assert result.stdout == ""


def test_a_wrong_pin_is_sent_once(try_card, make_card):
    card = make_card()
    result = try_card(card, typed=f"0000\n{PIN}\n")
    assert result.exit_code == ExitCode.REFUSED
    assert (card.verify_count, card.authentication.attempts_remaining) == (1, 2)
    assert "2 tries left" in result.stderr
    assert "0000" not in result.output


@pytest.mark.parametrize(("attempts", "words"), [(1, "stopped before"), (0, "blocked")])
def test_without_a_try_to_spare_no_pin_is_asked(try_card, make_card, attempts, words):
    card = make_card()
    card.authentication.attempts_remaining = attempts
    result = try_card(card)
    assert result.exit_code == ExitCode.REFUSED
    assert words in result.stderr
    assert "Enter the 4-digit PIN" not in result.stderr
    assert card.verify_count == 0


def test_no_pin_entered_is_giving_up(try_card, make_card):
    card = make_card()
    assert try_card(card, typed="\n").exit_code == ExitCode.REFUSED
    assert card.verify_count == 0


def test_a_pin_that_somebody_left_open_is_wiped_and_the_operator_asked_once(try_card, make_card):
    card = make_card(faults=CardFaults(verified_query_is_9000=True))
    result = try_card(card, reader=LeakyReader(card, times=1))
    assert result.exit_code == ExitCode.DONE
    assert result.stderr.count("Enter the 4-digit PIN") == 1
    assert card.verify_count == 2  # somebody else's, and the operator's


@pytest.mark.parametrize("executed", [False, True], ids=["before", "after"])
def test_a_card_taken_away_at_any_moment_of_the_test_is_never_sent_two_pins(try_card, make_card, executed):
    for commands in count():
        card = make_card(faults=CardFaults(tear_after=commands, torn_command_is_executed=executed))
        result = try_card(card)
        assert card.verify_count <= 1
        assert not card.powered
        if result.exit_code == ExitCode.DONE:
            break
        assert result.exit_code == ExitCode.READER_TROUBLE
        assert "moved away" in result.stderr
    assert commands > 8


def test_no_card_is_waited_for_and_named(try_card, make_reader):
    waits = []

    class EmptyReader(make_reader):
        def wait_for_card(self, timeout):
            waits.append(timeout)
            raise NoCard

    assert try_card(None, reader=EmptyReader()).exit_code == ExitCode.READER_TROUBLE
    assert waits == [card_command.CARD_WAIT]


def test_without_a_terminal_the_pin_comes_from_a_pipe_only_where_it_was_said(run, make_card, make_reader):
    card = make_card()
    result = run({"Reader 0": make_reader(card)}, "card", "selftest", typed=f"{PIN}\n")
    assert result.exit_code == ExitCode.WRONG_SETTINGS
    assert "no terminal" in result.stderr
    assert card.apdu_count == 0


def test_settings_that_are_named_and_missing_are_wrong_settings(try_card, make_card, tmp_path):
    card = make_card()
    assert try_card(card, "--config", tmp_path / "none.toml").exit_code == ExitCode.WRONG_SETTINGS
    assert card.apdu_count == 0


def test_an_imported_file_that_is_not_accepted_is_wrong_settings(try_card, make_card, settings_file, pki):
    directory = settings_file.parent / "trust"
    directory.mkdir()
    (directory / "other.der").write_bytes(pki.ca_certificate(Authority.AUTHENTICATION_2))
    result = try_card(make_card(), "--config", settings_file)
    assert result.exit_code == ExitCode.WRONG_SETTINGS
    assert "other.der" in result.stderr


def test_a_file_in_the_place_of_the_trust_directory_is_wrong_settings(try_card, make_card, settings_file):
    (settings_file.parent / "trust").write_bytes(b"")
    card = make_card()
    result = try_card(card, "--config", settings_file)
    assert result.exit_code == ExitCode.WRONG_SETTINGS
    assert "trust: Not a directory" in result.stderr
    assert card.apdu_count == 0


@pytest.mark.parametrize("command", ["status", "selftest"])
def test_without_pyscard_it_is_named(monkeypatch, command):
    for module in ("bridge.agent.pcsc_reader", "jpki.pcsc"):
        monkeypatch.setitem(sys.modules, module, None)
    result = CliRunner().invoke(main, ["card", command], env=SECRETS)
    assert result.exit_code == ExitCode.WRONG_SETTINGS
    assert "koha-jpki-bridge[reader]" in result.stderr


def test_every_error_of_the_card_layer_has_words():
    assert card_command._words(JpkiError("anything"))
    for kind in card_command.OPERATOR_WORDS:
        assert "{" not in card_command.OPERATOR_WORDS[kind].format(error="x")


# -- through PC/SC, as a process of its own, where nothing of the server is installed

AT_A_DESK = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"flask", "sqlalchemy", "koha_client", "sip2_adapter", "config", "argon2"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotInstalled())
from bridge.cli import main
main()
"""


@pytest.fixture(scope="module")
def virtual_reader():
    with VirtualReader() as reader:
        yield reader


def at_a_desk(virtual_reader, *arguments, typed=""):
    environment = {**os.environ, **virtual_reader.environment}
    environment.pop("KOHA_JPKI_CONFIG", None)
    return subprocess.run(
        [sys.executable, "-c", AT_A_DESK, "card", *arguments],
        cwd=ROOT,
        env=environment,
        input=typed,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.pcsc
def test_cards_are_looked_at_and_tried_through_pcsc_without_the_server(virtual_reader, make_card):
    card = virtual_reader.add_card(make_card(), slot=1)
    card.insert()
    looked = at_a_desk(virtual_reader, "status", "--json")
    tried = at_a_desk(virtual_reader, "selftest", "--pin-stdin", typed=f"{PIN}\n")
    state = card.state()
    card.stop()

    assert (looked.returncode, tried.returncode) == (0, 0), looked.stderr + tried.stderr
    rows = {row["reader"]: row for row in json.loads(looked.stdout)["readers"]}
    empty, full = (rows[name] for name in virtual_reader.names)
    assert empty["problem"] == "NoCard"
    assert (full["token"], full["attempts_remaining"], full["problem"]) == ("MY_NUMBER_CARD", 3, None)
    assert "signature    right" in tried.stdout
    assert "NOT CHECKED" in tried.stdout
    assert (state.verify_count, state.attempts_remaining) == (1, 3)
    assert not re.search(rf"\b{PIN}\b", tried.stdout + tried.stderr)


@pytest.mark.pcsc
@pytest.mark.parametrize("command", ["status", "selftest"])
def test_a_name_that_no_reader_has_is_told_through_pcsc(virtual_reader, command):
    options = ["--pin-stdin"] if command == "selftest" else []
    result = at_a_desk(virtual_reader, command, "--reader", "Reader 17", *options)
    assert result.returncode == ExitCode.READER_TROUBLE
    assert card_command.OPERATOR_WORDS[NoReader] in result.stdout + result.stderr
