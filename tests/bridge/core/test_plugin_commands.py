"""``koha-jpki plugin``, as an administrator calls it."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from bridge.cli import main
from bridge.cli.words import refusal_line
from bridge.wiring import build_desk

PASSWORD = "correct horse battery staple"


@pytest.fixture
def run(installation, sqlite_template):
    def call(*arguments, stdin=None):
        return CliRunner().invoke(main, ["-c", str(installation.path), *arguments], input=stdin)

    call("keys", "generate", str(installation.key_file))
    shutil.copy(sqlite_template, installation.database)
    added = call(
        *("librarian", "add", "--library", "central", "--login-name", "hanako"),
        *("--display-name", "花子", "--password-stdin"),
        stdin=PASSWORD,
    )
    assert added.exit_code == 0, added.output
    return call


def test_id_and_secret_are_printed_once_and_open_the_desk(run, installation):
    added = run("plugin", "add", "--library", "central", "--name", "中央Koha")
    plugin_id, secret = added.stdout.split()
    assert run("plugin", "list", "--library", "central").stdout == f"{plugin_id}\t中央Koha\n"
    assert secret not in run("plugin", "list", "--library", "central", "--json").output
    introduced = run(
        *("plugin", "introduce", "--library", "central", "--borrowernumber", "51", "--login-name", "hanako")
    )
    assert introduced.output == "51 in Koha is hanako\n"
    assert run("plugin", "staff", "--library", "central").stdout == "51\thanako\n"
    told = json.loads(run("plugin", "staff", "--library", "central", "--json").stdout)
    assert told == [{"borrowernumber": 51, "login_name": "hanako"}]
    desk, _ = build_desk(installation.load())
    assert desk.open_by_plugin(plugin_id, secret, 51).librarian.login_name == "hanako"
    assert run("plugin", "forget", "--library", "central", "--borrowernumber", "51").exit_code == 0
    assert run("plugin", "staff", "--library", "central").stdout == ""
    assert run("plugin", "remove", "--library", "central", "--id", plugin_id).exit_code == 0
    assert run("plugin", "list", "--library", "central").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (("add", "--library", "gone", "--name", "x"), refusal_line("library-not-found", "gone") + "\n"),
        (("list", "--library", "gone"), refusal_line("library-not-found", "gone") + "\n"),
        (("staff", "--library", "gone"), refusal_line("library-not-found", "gone") + "\n"),
        (("remove", "--library", "central", "--id", "00"), refusal_line("plugin-not-found") + "\n"),
        (
            ("forget", "--library", "central", "--borrowernumber", "7"),
            refusal_line("librarian-not-found") + "\n",
        ),
        (
            ("introduce", "--library", "central", "--borrowernumber", "7", "--login-name", "nobody"),
            refusal_line("librarian-not-found") + "\n",
        ),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, tuple) else "",
)
def test_what_is_not_there_is_told(run, arguments, output):
    result = run("plugin", *arguments)
    assert (result.exit_code, result.output) == (1, output)
