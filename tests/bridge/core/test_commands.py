"""The server's commands, as an operator calls them."""

from __future__ import annotations

import base64
import errno
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bridge.cli import main
from bridge.cli.private_file import write_private
from bridge.cli.serve import THREADS
from bridge.cli.words import refusal_line
from bridge.demo.processes import free_port
from bridge.store import LibrarianRow, SqlStore, TerminalRow, open_engine
from bridge.store.schema import head_revision

PASSWORD = "correct horse battery staple"
TIME_LIMIT = 90

UNFIT_NAMES = ("", " ", "\u3000", "a\nb", "a\tb", "a\u2028b", "x" * 65)


@pytest.fixture
def run(installation):
    """Call ``koha-jpki`` with the installation's settings."""

    def call(*arguments: str, stdin: str | None = None):
        return CliRunner().invoke(main, ["-c", str(installation.path), *arguments], input=stdin)

    return call


@pytest.fixture
def ready(run, installation):
    """The installation with its database and key."""
    assert run("keys", "generate", str(installation.key_file)).exit_code == 0
    assert run("init-db").exit_code == 0
    return installation


def rows(installation, row_class):
    store = SqlStore(open_engine(f"sqlite:///{installation.database}"))
    session = store.scoped_session()
    found = session.query(row_class).all()
    session.remove()
    store.dispose()
    return found


def add_librarian(run, *more: str, password: str = PASSWORD):
    return run(
        *("librarian", "add", "--library", "central", "--login-name", "hanako"),
        *("--display-name", "司書 花子", "--password-stdin", *more),
        stdin=password + "\n",
    )


def add_terminal(run, *more: str):
    return run("terminal", "add", "--library", "central", "--name", "一階", *more)


def test_wrong_settings_are_all_named_and_nothing_is_started(run, installation):
    text = installation.path.read_text("utf-8")
    installation.path.write_text(text.replace('"127.0.0.1"', "7").replace('"central"', '""'), "utf-8")
    for command in ("init-db", "check-config", "serve", "sip2-proxy"):
        result = run(command)
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) >= 3
        assert result.stdout == ""
    assert not installation.database.exists()


def test_the_database_is_created_once(run, installation):
    first, second = run("init-db"), run("init-db")
    assert first.stdout == f"database created at revision {head_revision()}\n"
    assert second.stdout == f"database is up to date at revision {head_revision()}\n"
    assert installation.database.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("command", ["init-db", "check-config", "serve", "sip2-proxy"])
def test_a_file_that_is_no_database_is_told_in_one_line(run, ready, command):
    ready.database.write_text("no database" * 100)
    result = run(command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].endswith(
        f"the database cannot be reached or opened ({ready.database}, SQLITE_NOTADB)"
    )


@pytest.mark.parametrize("command", ["init-db", "check-config", "serve", "sip2-proxy"])
def test_a_database_of_a_newer_program_is_left_alone(run, ready, command):
    with closing(sqlite3.connect(ready.database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    result = run(command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].endswith("revision 9999, made by a newer version of the program")


def test_a_master_key_is_written_once_and_for_its_owner_alone(run, installation):
    first = run("keys", "generate", str(installation.key_file))
    kept = installation.key_file.read_text()
    second = run("keys", "generate", str(installation.key_file))
    assert (first.exit_code, second.exit_code) == (0, 1)
    assert "not overwritten" in second.stderr
    assert installation.key_file.read_text() == kept
    assert installation.key_file.stat().st_mode & 0o777 == 0o600
    assert kept.split()[1] not in first.output + second.output


def test_checking_names_every_problem_and_changes_nothing(run, installation):
    for file in (installation.directory / "trust").iterdir():
        file.unlink()
    result = run("check-config")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 3
    for word in ("init-db", "master_keys", "CA certificate"):
        assert word in result.stderr
    assert not installation.database.exists()


def test_checking_names_a_trust_folder_that_is_missing(run, ready):
    trust = ready.directory / "trust"
    trust.rename(ready.directory / "elsewhere")
    result = run("check-config")
    words = f"no CA certificate is imported into {trust}, so every card is refused: koha-jpki trust import"
    assert result.stderr == f"{words}\n"


def test_checking_a_good_installation_finds_nothing(run, ready):
    result = run("check-config")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "no problem" in result.stdout


@pytest.mark.parametrize(
    ("prefixes", "warning"),
    [
        ('["98"]', "a library card that begins with 98 could be taken for a token that begins with 98"),
        ('["2", "9801"]', "a library card that begins with 9801 could be"),
        ('["9"]', "a library card that begins with 9 could be"),
    ],
)
def test_checking_warns_of_tokens_that_look_like_library_cards(run, ready, prefixes, warning):
    ready.path.write_text(ready.path.read_text("utf-8").replace('["L-"]', prefixes), "utf-8")
    result = run("check-config")
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"warning: central: {warning}")


@pytest.mark.parametrize("host", ["koha.example.org", "192.0.2.7", "2001:db8::7"])
def test_checking_warns_of_sip2_in_clear_to_another_host(run, ready, host):
    set_koha_host(ready, host)
    result = run("check-config")
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"warning: central: card numbers, PINs and names go in clear to {host};")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "::1"])
def test_checking_warns_of_nothing_that_stays_on_this_machine(run, ready, host):
    set_koha_host(ready, host)
    assert run("check-config").stderr == ""


def test_checking_warns_of_no_tunnel_where_there_is_one(run, ready):
    make_certificate(ready.directory, "authority")
    set_koha_host(ready, "koha.example.org", 'koha_authority_file = "authority.pem"')
    assert run("check-config").stderr == ""


def set_koha_host(ready, host, *more):
    lines = "\n".join([f'koha_host = "{host}"', *more])
    text = ready.path.read_text("utf-8")
    assert text.count('koha_host = "127.0.0.1"') == 1
    ready.path.write_text(text.replace('koha_host = "127.0.0.1"', lines), "utf-8")


def test_checking_warns_where_nobody_says_how_library_cards_look(run, ready):
    ready.path.write_text(ready.path.read_text("utf-8").replace('cardnumber_prefixes = ["L-"]', ""), "utf-8")
    assert "cardnumber_prefixes is not set" in run("check-config").stderr


def test_a_librarian_is_added_with_a_hashed_password(run, ready):
    result = add_librarian(run, "--role", "administrator")
    assert result.stdout == "administrator hanako added to central\n"
    librarian = rows(ready, LibrarianRow)[0]
    assert librarian.password_hash.startswith("$argon2id$")
    assert PASSWORD not in result.output


def test_a_password_is_asked_for_twice_and_not_shown(run, ready):
    result = run(
        *("librarian", "add", "--library", "central", "--login-name", "taro", "--display-name", "太郎"),
        stdin=f"{PASSWORD}\n{PASSWORD}\n",
    )
    assert result.exit_code == 0
    assert PASSWORD not in result.output


@pytest.mark.parametrize(
    ("arguments", "password", "exit_code", "word"),
    [
        ((), "short", 2, "12 characters"),
        (("--login-name", "a b"), PASSWORD, 2, "letters"),
        (("--library", "nowhere"), PASSWORD, 1, "library-not-found: nowhere"),
        (("--role", "king"), PASSWORD, 2, "king"),
        *((("--display-name", name), PASSWORD, 2, "one line, not empty") for name in UNFIT_NAMES),
    ],
)
def test_a_librarian_that_cannot_be_is_refused(run, ready, arguments, password, exit_code, word):
    result = add_librarian(run, *arguments, password=password)
    assert result.exit_code == exit_code
    assert word in result.stderr
    assert rows(ready, LibrarianRow) == []


def test_a_file_of_a_command_that_does_not_fit_on_the_disk_is_named_and_removed(tmp_path):
    def lines():
        yield "identifier,patron_id\n"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left") as told:
        write_private(tmp_path / "links.csv", lines())
    assert told.value.filename == str(tmp_path / "links.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_log_in_name_is_given_once(run, ready):
    add_librarian(run)
    result = add_librarian(run)
    assert (result.exit_code, result.stderr) == (1, refusal_line("name-taken") + "\n")


def test_a_terminals_token_is_printed_once_and_kept_as_a_digest(run, ready):
    result = add_terminal(run, "--id", "check-1", "--kind", "self_check", "--sip2-login", "sc1")
    assert result.exit_code == 0
    token = result.stdout.strip()
    assert len(base64.urlsafe_b64decode(token + "=")) == 32
    assert token not in result.stderr
    assert token.encode() not in ready.database.read_bytes()
    listed = run("terminal", "list", "--library", "central")
    assert listed.stdout == "check-1\tself_check\tsc1\t一階\t-\t-\t-\n"


def test_a_removed_terminal_is_no_longer_listed(run, ready):
    add_terminal(run, "--id", "counter-1", "--kind", "counter")
    assert run("terminal", "remove", "--library", "central", "--id", "counter-1").exit_code == 0
    assert run("terminal", "list", "--library", "central").stdout == ""
    again = run("terminal", "remove", "--library", "central", "--id", "counter-1")
    assert (again.exit_code, again.stderr) == (1, refusal_line("terminal-not-found") + "\n")


@pytest.mark.parametrize("option", ["--name", "--sip2-login"])
@pytest.mark.parametrize("name", UNFIT_NAMES, ids=ascii)
def test_a_terminal_has_names_that_can_be_read(run, ready, option, name):
    result = add_terminal(run, "--id", "t1", "--kind", "self_check", "--sip2-login", "sc1", option, name)
    assert (result.exit_code, rows(ready, TerminalRow)) == (2, [])
    assert "one line, not empty" in result.stderr


def test_a_name_with_a_full_width_blank_in_it_is_kept_and_blanks_around_it_are_not(run, ready):
    assert add_librarian(run, "--display-name", "\u3000山田\u3000花子 ").exit_code == 0
    assert [row.display_name for row in rows(ready, LibrarianRow)] == ["山田\u3000花子"]


@pytest.mark.parametrize(
    "arguments", [("--kind", "self_check"), ("--kind", "counter", "--sip2-login", "sc1")]
)
def test_a_sip2_log_in_belongs_to_a_self_check_machine(run, ready, arguments):
    result = add_terminal(run, "--id", "t1", *arguments)
    assert result.exit_code == 2
    assert "--sip2-login" in result.stderr
    assert rows(ready, TerminalRow) == []


@pytest.mark.parametrize("command", ["serve", "sip2-proxy"])
def test_nothing_is_served_from_a_database_that_was_not_set_up(run, installation, command):
    run("keys", "generate", str(installation.key_file))
    result = run(command)
    assert result.exit_code == 1
    assert "init-db" in result.stderr


@pytest.mark.parametrize("command", ["serve", "sip2-proxy"])
def test_nothing_is_served_with_another_key_than_the_data_was_made_with(run, ready, command):
    add_librarian(run)
    ready.key_file.unlink()
    run("keys", "generate", str(ready.key_file))
    result = run(command)
    assert result.exit_code == 1
    assert "is missing" in result.stderr


@pytest.mark.parametrize("command", ["serve", "sip2-proxy"])
def test_nothing_is_served_on_trust_of_a_ca_that_is_not_pinned(run, ready, command):
    ready.fingerprints.pop()
    ready.write()
    result = run(command)
    assert result.exit_code == 1
    assert "trust" in result.stderr


def test_a_proxy_needs_a_library_with_machines(run, ready):
    text = ready.path.read_text("utf-8")
    ready.path.write_text(text[: text.index("[library.sip2]")], "utf-8")
    result = run("sip2-proxy")
    assert (result.exit_code, "[library.sip2]" in result.stderr) == (1, True)


@pytest.fixture
def served(ready):
    """Start a command and wait for its readiness line; stop it by SIGTERM and return its code."""
    processes = []

    def start(command: str) -> tuple[str, int]:
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "-c", ready.path, command],
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        line = process.stdout.readline()
        if line.startswith("metrics on "):
            line = process.stdout.readline()
        assert line.startswith("listening on "), line
        host, _, port = line.removeprefix("listening on ").strip().rpartition(":")
        return host, int(port)

    def stop() -> int:
        processes[-1].send_signal(signal.SIGTERM)
        return processes[-1].wait(TIME_LIMIT)

    yield start, stop
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait(TIME_LIMIT)
        process.stdout.close()


def test_the_middleware_answers_and_stops_on_sigterm(served, ready):
    start, stop = served
    host, port = start("serve")
    assert port == ready.web_port
    with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=TIME_LIMIT) as answer:
        assert answer.status == 200
    assert stop() == 0


def test_the_middleware_answers_while_strangers_send_half_a_request(served, ready):
    start, _ = served
    address = start("serve")
    with ExitStack() as strangers:
        for _ in range(THREADS):
            stranger = strangers.enter_context(socket.create_connection(address, TIME_LIMIT))
            stranger.sendall(b"POST /api/v1/challenges HTTP/1.1\r\nHost: bridge\r\nContent-Length: 9\r\n")
        with urllib.request.urlopen("http://{}:{}/healthz".format(*address), timeout=TIME_LIMIT) as answer:
            assert answer.status == 200


def test_the_middleware_listens_on_ipv6(served, ready):
    start, _ = served
    ready.path.write_text(
        ready.path.read_text("utf-8").replace('host = "127.0.0.1"', 'host = "::1"', 1), "utf-8"
    )
    host, port = start("serve")
    with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=TIME_LIMIT) as answer:
        assert answer.status == 200


def test_the_proxy_listens_and_stops_on_sigterm_with_a_machine_connected(served, ready):
    start, stop = served
    host, port = start("sip2-proxy")
    assert port == ready.sip2_port
    with socket.create_connection((host, port), TIME_LIMIT) as machine:
        machine.sendall(b"2300120261102    120000AOcentral|AAL-1|AC|AD|\r")
        assert machine.recv(1000).startswith(b"24")  # not logged in: refused, but answered
        assert stop() == 0


def test_a_port_for_the_counters_that_somebody_has_is_named(run, ready):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ready.path.write_text(ready.path.read_text("utf-8") + f"\n[metrics]\nport = {port}\n", "utf-8")
        result = run("sip2-proxy")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"metrics on 127.0.0.1:{port}: Address already in use\n"


def test_the_proxys_counters_can_be_read_where_a_port_is_set(served, ready):
    metrics_port = free_port()
    ready.path.write_text(ready.path.read_text("utf-8") + f"\n[metrics]\nport = {metrics_port}\n", "utf-8")
    start, stop = served
    host, port = start("sip2-proxy")
    with socket.create_connection((host, port), TIME_LIMIT) as machine:
        machine.sendall(b"2300120261102    120000AOcentral|AAL-1|AC|AD|\r")
        machine.recv(1000)
    with urllib.request.urlopen(f"http://{host}:{metrics_port}/metrics", timeout=TIME_LIMIT) as answer:
        text = answer.read().decode()
    assert 'requests_total{code="23",library="central",result="not_logged_in"} 1.0' in text
    assert "L-1" not in text
    assert "# TYPE koha_jpki_cards_total counter" in text
    assert "# TYPE koha_jpki_terminal_reader_ready gauge" in text
    assert stop() == 0


def make_certificate(directory, name, *, days=1):
    """Write a certificate for the proxy and its key; it is its own CA and says that it is for tests."""
    key = ec.generate_private_key(ec.SECP256R1())
    owner = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "JPKI-TEST-LOCAL")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(owner)
        .issuer_name(owner)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("sip2.library.test")]), critical=False)
        .sign(key, SHA256())
    )
    (directory / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (directory / f"{name}.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


def test_wrong_files_for_tls_are_all_told_by_check_config(run, ready):
    make_certificate(ready.directory, "expired", days=-1)
    second = (
        '[[library]]\nlibrary_id = "harbour"\nname = "港図書館"\ncardnumber_prefixes = ["H-"]\n'
        '[library.sip2]\nlisten_host = "127.0.0.1"\nlisten_port = 6999\nkoha_host = "127.0.0.1"\n'
        'koha_port = 9\ndirectory_login = "bridge"\ndirectory_password_file = "secret"\n'
        'certificate_file = "expired.pem"\nkey_file = "expired.key"\nkoha_authority_file = "secret"\n'
    )
    with ready.path.open("a", encoding="utf-8") as settings:
        settings.write('certificate_file = "missing.pem"\nkey_file = "missing.key"\n' + second)
    result = run("check-config")
    assert result.exit_code == 1
    problems = [line for line in result.stderr.splitlines() if not line.startswith("not possible: ")]
    expired = x509.load_pem_x509_certificate((ready.directory / "expired.pem").read_bytes())
    assert problems == [
        f"{ready.directory}/missing.pem: cannot be read: No such file or directory",
        f"{ready.directory}/secret: holds no CA certificate in PEM",
        f"{ready.directory}/expired.pem: expired on {expired.not_valid_after_utc:%Y-%m-%d}",
    ]
    started = run("sip2-proxy")
    assert (started.exit_code, len(started.stderr.splitlines())) == (1, 1)
    assert started.stderr.strip() in problems


def test_the_proxy_speaks_tls_where_it_has_a_certificate(served, ready):
    make_certificate(ready.directory, "sip2")
    with ready.path.open("a", encoding="utf-8") as settings:
        settings.write('certificate_file = "sip2.pem"\nkey_file = "sip2.key"\n')
    start, stop = served
    address = start("sip2-proxy")
    trust = ssl.create_default_context(cafile=ready.directory / "sip2.pem")
    with (
        socket.create_connection(address, TIME_LIMIT) as plain,
        trust.wrap_socket(plain, server_hostname="sip2.library.test") as machine,
    ):
        machine.sendall(b"2300120261102    120000AOcentral|AAL-1|AC|AD|\r")
        assert machine.recv(1000).startswith(b"24")
    assert stop() == 0


def test_a_port_in_use_is_told_in_one_line(run, ready):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ready.sip2_port))
        taken.listen()
        result = run("sip2-proxy")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def test_a_command_whose_packages_are_not_installed_says_so_in_one_line(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "bridge.cli.serve", raising=False)
    monkeypatch.setitem(sys.modules, "gunicorn.app.base", None)
    result = run("serve")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: gunicorn.app.base is not installed: serve needs more")
