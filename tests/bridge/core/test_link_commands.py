"""``koha-jpki links``, as an administrator calls it, with a simulated Koha."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
from contextlib import closing
from datetime import datetime

import pytest
from click.testing import CliRunner

from bridge.cli import main
from bridge.cli.words import refusal_line
from bridge.demo.koha import SimulatedKoha
from koha_client.simulator.demo_data import DemoPatron, demo_state

CARD = DemoPatron.FINE.value
SECOND = DemoPatron.SECOND.value
KIND = ("--library", "central", "--kind", "mykey_id")


@pytest.fixture(scope="module")
def koha():
    with SimulatedKoha(demo_state(lambda: datetime.now().astimezone()), {}) as running:
        yield running


@pytest.fixture
def run(installation, koha, sqlite_template):
    installation.koha_url = koha.rest_url
    installation.write()
    (installation.directory / "secret").write_text(koha.client_secret)
    written = installation.path.read_text(encoding="utf-8").replace('"bridge"', f'"{koha.client_id}"')
    installation.path.write_text(written + '[identifiers]\nmykey_id = "[A-Z0-9]{8}"\n', encoding="utf-8")

    def call(*arguments: str):
        return CliRunner().invoke(main, ["-c", str(installation.path), *arguments])

    assert call("keys", "generate", str(installation.key_file)).exit_code == 0
    shutil.copy(sqlite_template, installation.database)
    return call


@pytest.fixture
def bring_in(run, installation):
    def call(*rows: str, encoding="utf-8", more=("--valid-until", "2030-03-31", "--write")):
        path = installation.directory / "links.csv"
        path.write_bytes("\r\n".join(["library_card,identifier", *rows]).encode(encoding))
        return run("links", "import", *KIND, str(path), *more)

    return call


def listed(run, *more):
    return json.loads(run("links", "list", "--library", "central", "--json", *more).stdout)


def test_links_are_checked_then_written_then_listed_and_shown(run, bring_in):
    looked_at = bring_in(f"{CARD},ABCD1234", more=("--valid-until", "2030-03-31"))
    assert looked_at.output == (
        "new 1, known 0, refused 0: nothing was written (dry run; --write makes the links)\n"
    )
    assert listed(run) == []
    assert bring_in(f"{CARD},ABCD1234", f"{SECOND},EFGH5678").output.endswith("refused 0: written\n")
    assert bring_in(f"{CARD},ABCD1234").output == "new 0, known 1, refused 0: written\n"
    links = listed(run)
    assert [link["kind"] for link in links] == ["mykey_id", "mykey_id"]
    shown = run("links", "show", "--library", "central", links[0]["link_id"])
    assert "state: active\n" in shown.output
    as_json = run("links", "show", "--library", "central", links[0]["link_id"], "--json")
    assert json.loads(as_json.stdout) == links[0]
    assert links[0]["link_id"] in run("links", "list", "--library", "central").output


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
def test_every_row_that_is_refused_is_named_by_line_and_reason_and_nothing_else(bring_in, encoding):
    result = bring_in(f"{CARD},ABCD1234", f"{CARD},図書館", "9999,ZZZZ9999", encoding=encoding)
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "line 3: identifier-not-of-this-form",
        "line 4: patron-not-found",
        "new 1, known 0, refused 2: nothing was written",
    ]
    as_json = bring_in("9999,ZZZZ9999", more=("--valid-until", "2030-03-31", "--json"))
    assert json.loads(as_json.stdout) == {
        "new": 0,
        "known": 0,
        "refused": [{"line": 2, "problem": "patron-not-found"}],
        "written": False,
    }


def test_an_export_is_for_its_owner_alone_and_never_overwrites(run, bring_in, installation):
    bring_in(f"{CARD},ABCD1234")
    path = installation.directory / "out.csv"
    result = run("links", "export", *KIND, str(path))
    assert result.output.startswith("1 links written to ")
    assert "ABCD1234" not in result.output
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().splitlines()[0] == "patron_id,library_card,identifier,valid_until"
    assert ",ABCD1234,2030-03-31" in path.read_text()
    again = run("links", "export", *KIND, str(path))
    assert (again.exit_code, again.output) == (1, f"{path}: File exists\n")
    assert run("links", "import", *KIND, str(path)).output.startswith("new 0, known 1, refused 0")


def test_an_export_that_fails_leaves_no_half_written_file(run, bring_in, installation):
    bring_in(f"{CARD},ABCD1234")
    installation.key_file.chmod(0o644)
    path = installation.directory / "out.csv"
    assert run("links", "export", *KIND, str(path)).exit_code == 1
    assert not path.exists()


def test_a_link_is_ended_once_and_wiped(run, bring_in):
    bring_in(f"{CARD},ABCD1234")
    (link,) = listed(run)
    end = ("links", "end", "--library", "central", link["link_id"], "--reason", "patron_request")
    assert run(*end).output == f"link {link['link_id']} has ended; what identified the card is wiped\n"
    assert (run(*end).exit_code, run(*end).output) == (1, refusal_line("link-not-found") + "\n")
    assert listed(run) == []
    assert listed(run, "--all")[0]["ended_reason"] == "patron_request"


def test_to_what_the_patron_of_an_old_link_agreed_is_read_word_for_word(run, bring_in, installation):
    bring_in(f"{CARD},ABCD1234")
    (link,) = listed(run)
    assert (link["consent_version"], link["consented_at"], link["represented_until"]) == (None, None, None)
    with closing(sqlite3.connect(installation.database)) as connection, connection:
        connection.execute(
            "UPDATE card_link SET consent_version = '2026-11-22', consented_at = '2026-11-22 01:00:00'"
        )
    (link,) = listed(run)
    assert link["consented_at"] == "2026-11-22T01:00:00+00:00"
    wording = ("library", "consent", "show", "central", "--version", link["consent_version"])
    assert "連携は任意です。" in run(*wording).stdout
    assert "Nobody has to link a card." in run(*wording, "--language", "en").stdout
    assert json.loads(run(*wording, "--json").stdout)["version"] == "2026-11-22"


def test_what_was_ended_or_given_out_is_told_to_programs_too(run, bring_in, tmp_path):
    bring_in(f"{CARD},ABCD1234")
    (link,) = listed(run)
    given = (
        "links",
        "export",
        "--library",
        "central",
        "--kind",
        link["kind"],
        str(tmp_path / "out"),
        "--json",
    )
    assert json.loads(run(*given).output) == {"written": 1}
    end = ("links", "end", "--library", "central", link["link_id"], "--reason", "card_lost", "--json")
    ended = json.loads(run(*end).output)
    assert (ended["link_id"], ended["ended_reason"]) == (link["link_id"], "card_lost")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "output"),
    [
        (("list", "--library", "nowhere"), 1, refusal_line("library-not-found", "nowhere") + "\n"),
        (("show", "--library", "central", "x"), 1, refusal_line("link-not-found") + "\n"),
        (
            ("export", "--library", "central", "--kind", "ppid", "x"),
            1,
            refusal_line("identifier-kind-not-used", "ppid") + "\n",
        ),
        (("end", "--library", "central", "x"), 2, None),
        (("export", "--library", "central", "--kind", "serial_number", "x"), 2, None),
        (("import", "--library", "central", "--kind", "ppid", "no-such-file"), 2, None),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run, arguments, exit_code, output):
    result = run("links", *arguments)
    assert result.exit_code == exit_code
    assert output is None or result.output == output
