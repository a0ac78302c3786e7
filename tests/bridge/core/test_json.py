"""``--json``: one JSON value on standard output and nothing else, or an error in JSON and an exit code."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bridge.cli import main

GROUPS = (
    *("library", "terminal", "librarian", "links", "keys", "audit", "housekeeping"),
    *("plugin", "trust", "crl", "revocation", "check-config", "init-db"),
)
PASSWORD = "correct horse battery staple"
SECRET = "s" * 40
LIBRARY = ("--library", "central")
HANAKO = (*LIBRARY, "--login-name", "hanako")
NO_LINK = "0" * 32


def commands(command, path):
    """Yield every command under one, with the words by which it is called."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
    else:
        yield path, command


def every_command():
    root = click.Context(main)
    for name in GROUPS:
        yield from commands(main.get_command(root, name), (name,))


COMMANDS = dict(every_command())

GOOD = {
    ("library", "list"): ([], list),
    ("library", "show"): (["central"], dict),
    ("library", "consent", "show"): (["central"], dict),
    ("library", "consent", "list"): (["central"], list),
    ("library", "consent", "set"): (["central", "--ja", "FILE", "--en", "FILE"], dict),
    ("terminal", "add"): ([*LIBRARY, "--id", "c-9", "--name", "9", "--kind", "counter"], dict),
    ("terminal", "enrol"): ([*LIBRARY, "--id", "c-1"], dict),
    ("terminal", "list"): ([*LIBRARY], list),
    ("terminal", "remove"): ([*LIBRARY, "--id", "c-1"], dict),
    ("librarian", "add"): (
        [*LIBRARY, "--login-name", "taro", "--display-name", "太郎", "--password-stdin"],
        dict,
    ),
    ("librarian", "list"): ([*LIBRARY], list),
    ("librarian", "disable"): ([*HANAKO], dict),
    ("librarian", "enable"): ([*HANAKO], dict),
    ("librarian", "unlock"): ([*HANAKO], dict),
    ("librarian", "role"): ([*HANAKO, "--role", "auditor"], dict),
    ("librarian", "reset-password"): ([*HANAKO, "--password-stdin"], dict),
    ("librarian", "reset-second-factor"): ([*HANAKO], dict),
    ("links", "list"): ([*LIBRARY], list),
    ("links", "import"): ([*LIBRARY, "--kind", "mykey_id", "HEADING"], dict),
    ("links", "export"): ([*LIBRARY, "--kind", "mykey_id", "NEW"], dict),
    ("keys", "generate"): (["NEW"], dict),
    ("keys", "add"): ([], dict),
    ("keys", "make-current"): (["KEY"], dict),
    ("keys", "status"): ([], list),
    ("keys", "rotate"): ([], dict),
    ("audit", "verify"): ([], dict),
    ("audit", "export"): (["--file", "NEW"], dict),
    ("audit", "seal"): ([], list),
    ("housekeeping",): (["--dry-run"], dict),
    ("plugin", "add"): ([*LIBRARY, "--name", "Koha"], dict),
    ("plugin", "list"): ([*LIBRARY], list),
    ("plugin", "introduce"): ([*LIBRARY, "--borrowernumber", "7", "--login-name", "hanako"], dict),
    ("plugin", "staff"): ([*LIBRARY], list),
    ("trust", "list"): ([], list),
    ("check-config",): ([], dict),
    ("init-db",): ([], dict),
}
"""Command: (arguments with which it does something, what it gives)."""

NEEDS_MORE = {
    *{("links", "show"), ("links", "end"), ("keys", "retire"), ("librarian", "use-koha")},
    *{("plugin", "remove"), ("plugin", "forget"), ("trust", "import")},
    *{("crl", "import"), ("crl", "show"), ("revocation", "check"), ("revocation", "sweep")},
}
"""What needs a link, an older key, a Koha, a CA or a CRL first: tested where those are
(``test_link_commands``, ``test_staff_commands``, ``test_cli_trust``,
``test_cli_revocation``, ``test_sweep``, below)."""

REFUSED = {
    ("library", "list"): (["--nonsense"], 2, "wrong-use"),
    ("library", "show"): (["nowhere"], 1, "library-not-found"),
    ("library", "consent", "show"): (["central", "--version", "x"], 1, "consent-not-found"),
    ("library", "consent", "list"): (["nowhere"], 1, "library-not-found"),
    ("library", "consent", "set"): (["central", "--ja", "EMPTY", "--en", "FILE"], 1, "consent-unfit"),
    ("terminal", "add"): ([*LIBRARY, "--id", "c-1", "--name", "1", "--kind", "counter"], 1, "name-taken"),
    ("terminal", "enrol"): ([*LIBRARY, "--id", "c-7"], 1, "terminal-not-found"),
    ("terminal", "list"): (["--library", "nowhere"], 1, "library-not-found"),
    ("terminal", "remove"): ([*LIBRARY, "--id", "c-7"], 1, "terminal-not-found"),
    ("librarian", "add"): ([*HANAKO, "--display-name", "x", "--password-stdin"], 1, "name-taken"),
    ("librarian", "list"): (["--library", "nowhere"], 1, "library-not-found"),
    **{
        ("librarian", name): ([*LIBRARY, "--login-name", "nobody", *more], 1, "librarian-not-found")
        for name, more in {
            "disable": [],
            "enable": [],
            "unlock": [],
            "role": ["--role", "auditor"],
            "reset-password": ["--generate"],
            "reset-second-factor": [],
        }.items()
    },
    ("librarian", "use-koha"): ([*HANAKO, "--koha-patron", "801"], 1, "koha-sign-in-off"),
    ("links", "list"): (["--library", "nowhere"], 1, "library-not-found"),
    ("links", "show"): ([*LIBRARY, NO_LINK], 1, "link-not-found"),
    ("links", "end"): ([*LIBRARY, NO_LINK, "--reason", "mistake"], 1, "link-not-found"),
    ("links", "import"): ([*LIBRARY, "--kind", "mykey_id", "EMPTY"], 1, "link-file-malformed"),
    ("links", "export"): ([*LIBRARY, "--kind", "mykey_id", "FILE"], 1, "system-error"),
    ("keys", "generate"): (["FILE"], 1, "key-problem"),
    ("keys", "add"): (["--nonsense"], 2, "wrong-use"),
    ("keys", "make-current"): (["k9"], 1, "key-problem"),
    ("keys", "status"): (["--nonsense"], 2, "wrong-use"),
    ("keys", "rotate"): (["--nonsense"], 2, "wrong-use"),
    ("keys", "retire"): (["KEY"], 1, "key-problem"),
    ("audit", "verify"): (["--library", "nowhere"], 1, "library-not-found"),
    ("audit", "export"): ([], 2, "wrong-use"),
    ("audit", "seal"): (["--library", "nowhere"], 1, "library-not-found"),
    ("housekeeping",): (["--nonsense"], 2, "wrong-use"),
    ("plugin", "add"): (["--library", "nowhere", "--name", "x"], 1, "library-not-found"),
    ("plugin", "list"): (["--library", "nowhere"], 1, "library-not-found"),
    ("plugin", "remove"): ([*LIBRARY, "--id", "00"], 1, "plugin-not-found"),
    ("plugin", "introduce"): (
        [*LIBRARY, "--borrowernumber", "7", "--login-name", "nobody"],
        1,
        "librarian-not-found",
    ),
    ("plugin", "forget"): ([*LIBRARY, "--borrowernumber", "7"], 1, "librarian-not-found"),
    ("plugin", "staff"): (["--library", "nowhere"], 1, "library-not-found"),
    ("trust", "list"): (["--nonsense"], 2, "wrong-use"),
    ("trust", "import"): (["FILE"], 1, "malformed-certificate"),
    ("crl", "import"): (["--url", "ftp://127.0.0.1/crl"], 2, "wrong-use"),
    ("crl", "show"): (["--nonsense"], 2, "wrong-use"),
    ("revocation", "check"): (["FILE"], 1, "malformed-certificate"),
    ("revocation", "sweep"): (["--nonsense"], 2, "wrong-use"),
    ("check-config",): (["--nonsense"], 2, "wrong-use"),
    ("init-db",): (["--nonsense"], 2, "wrong-use"),
}
"""Command: (arguments that are refused, exit code, code of the error)."""

SHOWN_ONCE = {("terminal", "add"): "token", ("terminal", "enrol"): "code", ("plugin", "add"): "secret"}
"""Commands whose JSON carries a secret, by design."""


@pytest.fixture(scope="module")
def furnished(tmp_path_factory):
    """A folder for key file and database with a librarian and a terminal: filled by the first who asks."""
    return tmp_path_factory.mktemp("furnished")


@pytest.fixture
def call(installation, tmp_path):
    """Call ``koha-jpki`` where there are settings and files to be read, and nothing else yet."""
    settings = installation.path.read_text("utf-8")
    installation.path.write_text(settings + '\n[identifiers]\nmykey_id = "[0-9]{4}"\n', "utf-8")
    contents = {"FILE": "見出し\n本文\n", "EMPTY": "", "HEADING": "identifier,library_card\n"}
    for name, content in contents.items():
        (tmp_path / name).write_text(content, "utf-8")
    places = {*contents, "NEW"}

    def call(*arguments: str):
        given = [str(tmp_path / each) if each in places else each for each in arguments]
        if "KEY" in given:
            given[given.index("KEY")] = installation.key_file.read_text().split()[0]
        return CliRunner().invoke(main, ["-c", str(installation.path), *given], input=PASSWORD)

    return call


@pytest.fixture
def run(call, installation, sqlite_template, furnished):
    """Call ``koha-jpki`` where there are a librarian, a terminal, and a key."""
    key_file, database = furnished / "keys", furnished / "database"
    if database.exists():
        shutil.copy2(key_file, installation.key_file)
        shutil.copy(database, installation.database)
        return call
    assert call("keys", "generate", str(installation.key_file)).exit_code == 0
    shutil.copy(sqlite_template, installation.database)
    for command in (
        ("librarian", "add", *HANAKO, "--display-name", "花子", "--password-stdin"),
        ("terminal", "add", *LIBRARY, "--id", "c-1", "--name", "1", "--kind", "counter"),
    ):
        assert call(*command).exit_code == 0
    shutil.copy2(installation.key_file, key_file)
    with closing(sqlite3.connect(installation.database)) as connection:
        connection.execute("VACUUM INTO ?", (str(database),))  # with what is in the log still
    return call


def test_every_command_of_these_groups_is_tried():
    assert set(GOOD) | NEEDS_MORE == set(REFUSED) == set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_takes_json(path):
    assert "--json" in [option for each in COMMANDS[path].params for option in each.opts]


@pytest.mark.parametrize("path", GOOD, ids=" ".join)
def test_a_command_that_did_it_gives_one_json_value_and_nothing_else(run, installation, path):
    arguments, kind = GOOD[path]
    result = run(*path, *arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert isinstance(told, kind)
    key = installation.key_file.read_text().split()[1]
    for secret in (PASSWORD, SECRET, key):
        assert secret not in result.output
    if path != ("library", "show"):
        assert fields_of(told) <= documented(path[0])
    secrets = {"token", "code", "password", "secret"} & {name for name in told if kind is dict}
    assert secrets == ({SHOWN_ONCE[path]} if path in SHOWN_ONCE else set())


def fields_of(told):
    """The names in a value and in what it lists; not in what goes by an id."""
    if isinstance(told, list):
        return set().union(*map(fields_of, told))
    inside = (each for name, each in told.items() if isinstance(each, list) and name != "problems")
    return set(told) | {name for each in inside for row in each if isinstance(row, dict) for name in row}


def documented(group):
    """The names that the documentation's table gives for the commands of a group."""
    text = (Path(__file__).parents[3] / "docs/import-export.md").read_text("utf-8")
    rows = [row for row in text[text.index("## `--json`") :].splitlines() if row.startswith(f"| `{group}")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[2])}


@pytest.mark.parametrize("path", REFUSED, ids=" ".join)
def test_a_command_that_is_refused_gives_an_error_in_json_and_an_exit_code(run, path):
    arguments, exit_code, code = REFUSED[path]
    result = run(*path, *arguments, "--json")
    assert (result.exit_code, result.stdout) == (exit_code, "")
    error = json.loads(result.stderr.splitlines()[-1])["error"]
    assert error["code"] == code
    assert set(error) == {"code", "message"}
    assert error["message"]


@pytest.mark.parametrize("path", sorted(set(GOOD) - {("keys", "generate")}), ids=" ".join)
def test_wrong_settings_are_named_in_json(call, installation, path):
    installation.path.write_text("[web]\n", "utf-8")
    arguments = ["k9" if each == "KEY" else each for each in GOOD[path][0]]
    result = call(*path, *arguments, "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    error = json.loads(result.stderr)["error"]
    assert error["code"] == "settings-problem"
    assert error["problems"]


def test_an_unknown_command_or_option_before_json_is_told_in_json(call):
    for arguments in (("nowhere", "--json"), ("links", "nowhere", "--json"), ("--nonsense", "--json")):
        result = call(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert json.loads(result.stderr)["error"]["code"] == "wrong-use"


def test_a_generated_password_is_shown_once_in_json(run):
    told = json.loads(run("librarian", "reset-password", *HANAKO, "--generate", "--json").stdout)
    assert told["login_name"] == "hanako"
    assert len(told["password"]) >= 24
    assert told["password"] not in run("librarian", "list", *LIBRARY, "--json").output


def test_a_prompt_for_the_password_does_not_stand_on_standard_output(run):
    result = run("librarian", "reset-password", *HANAKO, "--json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert json.loads(result.stderr.splitlines()[-1])["error"]["code"] == "aborted"


def test_a_retired_key_and_what_was_rotated_are_told_in_json(run, installation):
    old = installation.key_file.read_text().split()[0]
    new = json.loads(run("keys", "add", "--json").stdout)
    assert new == {"file": str(installation.key_file), "key_id": new["key_id"], "current": False}
    assert json.loads(run("keys", "make-current", new["key_id"], "--json").stdout)["current"] is True
    rotated = json.loads(run("keys", "rotate", "--json").stdout)
    assert (rotated["links"], rotated["stayed"]) == (0, [])
    assert json.loads(run("keys", "retire", old, "--json").stdout) == {"key_id": old, "retired": True}
    states = {each["key_id"]: each for each in json.loads(run("keys", "status", "--json").stdout)}
    assert (states[old]["retired"], states[new["key_id"]]["current"]) == (True, True)


def test_a_koha_and_its_staff_are_told_in_json_to_the_end(run):
    """What ``plugin remove`` and ``plugin forget`` tell: the value as it was, and that nobody is left."""
    added = json.loads(run("plugin", "add", *LIBRARY, "--name", "Koha", "--json").stdout)
    secret = added.pop("secret")
    introduced = run(
        "plugin", "introduce", *LIBRARY, "--borrowernumber", "7", "--login-name", "hanako", "--json"
    )
    assert json.loads(introduced.stdout) == {"borrowernumber": 7, "login_name": "hanako"}
    forgotten = run("plugin", "forget", *LIBRARY, "--borrowernumber", "7", "--json")
    assert (forgotten.exit_code, forgotten.stderr) == (0, "")
    assert json.loads(forgotten.stdout) == {"borrowernumber": 7, "login_name": None}
    removed = run("plugin", "remove", *LIBRARY, "--id", added["plugin_id"], "--json")
    assert (removed.exit_code, removed.stderr, json.loads(removed.stdout)) == (0, "", added)
    assert secret not in introduced.output + forgotten.output + removed.output


def test_a_problem_that_was_found_is_told_in_the_value(run, installation):
    (installation.directory / "trust").rename(installation.directory / "elsewhere")
    result = run("check-config", "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    (problem,) = json.loads(result.stdout)["problems"]
    assert "koha-jpki trust import" in problem


def start(installation, *arguments, **more):
    """Run ``koha-jpki`` as a process of its own, with real streams."""
    command = [sys.executable, "-m", "bridge", "-c", str(installation.path), *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, timeout=60, check=False, **more)


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_output_that_cannot_be_written_is_told_in_one_line(run, installation, as_json):
    more = ["--json"] if as_json else []
    with open("/dev/full", "wb") as full:
        ended = start(installation, "library", "list", *more, stdout=full)
    assert ended.returncode == 1
    (line,) = ended.stderr.decode().splitlines()
    assert "standard output" in line
    assert not as_json or json.loads(line)["error"]["code"] == "output-lost"


def test_whoever_reads_the_beginning_of_an_export_alone_is_told_nothing(run, installation):
    reading, writing = os.pipe()
    os.close(reading)
    ended = start(installation, "audit", "export", stdout=writing)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_a_terminal_of_another_character_set_gets_escapes_and_a_program_utf_8(run, installation):
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    text = start(installation, "library", "list", stdout=subprocess.PIPE, env=latin)
    assert (text.returncode, text.stdout) == (0, b"central\t\\u4e2d\\u592e\\u56f3\\u66f8\\u9928\n")
    told = start(installation, "library", "list", "--json", stdout=subprocess.PIPE, env=latin)
    assert json.loads(told.stdout.decode("utf-8"))[0]["name"] == "中央図書館"


def test_what_is_typed_in_another_character_set_is_refused_and_not_kept(run, installation):
    name = os.fsdecode("花子".encode("cp932"))
    account = (*LIBRARY, "--login-name", "taro", "--display-name", name, "--password-stdin")
    ended = start(
        installation, "librarian", "add", *account, "--json", stdout=subprocess.PIPE, input=PASSWORD.encode()
    )
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert json.loads(ended.stderr)["error"]["code"] == "wrong-use"
    assert "taro" not in run("librarian", "list", *LIBRARY).output


def test_without_a_terminal_a_password_is_not_asked_for(run, installation):
    ended = start(
        *(installation, "librarian", "reset-password", *HANAKO),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert "--password-stdin" in ended.stderr.decode()
