"""``koha-jpki library``, ``librarian`` and ``terminal``, as an administrator calls them."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from bridge.cli import main
from bridge.cli.words import refusal_line
from bridge.models import OutputState, ReaderState, TerminalReport
from bridge.wiring import build_bridge, build_staff

PASSWORD = "correct horse battery staple"
SECRET = "s" * 40

SECOND_LIBRARY = """
[[library]]
library_id = "harbour"
name = "港図書館"
[library.koha]
base_url = "http://127.0.0.1:9/api/v1"
client_id = "bridge"
client_secret_file = "secret"
"""


@pytest.fixture
def run(installation, sqlite_template):
    """Call ``koha-jpki`` in an installation with two libraries, a librarian in each."""
    with installation.path.open("a", encoding="utf-8") as file:
        file.write(SECOND_LIBRARY)

    def call(*arguments: str, stdin: str | None = None):
        result = CliRunner().invoke(main, ["-c", str(installation.path), *arguments], input=stdin)
        assert SECRET not in result.output
        return result

    call("keys", "generate", str(installation.key_file))
    shutil.copy(sqlite_template, installation.database)
    for library, name in (("central", "hanako"), ("harbour", "minato")):
        added = call(
            *("librarian", "add", "--library", library, "--login-name", name, "--display-name", name),
            "--password-stdin",
            stdin=PASSWORD,
        )
        assert added.exit_code == 0, added.output
    return call


@pytest.fixture
def staff(run, installation):
    return build_staff(installation.load())


def test_libraries_are_listed_and_shown_without_secrets(run):
    assert run("library", "list").output == "central\t中央図書館\nharbour\t港図書館\n"
    assert [each["library_id"] for each in json.loads(run("library", "list", "--json").stdout)] == [
        "central",
        "harbour",
    ]
    shown = json.loads(run("library", "show", "central", "--json").stdout)
    assert shown["koha.client_id"] == "bridge"
    assert not [name for name in shown if "secret" in name or "password" in name]
    assert 'name = "中央図書館"' in run("library", "show", "central").output


def test_a_library_that_is_not_in_the_settings_is_not_shown(run):
    result = run("library", "show", "nowhere")
    assert (result.exit_code, result.output) == (1, refusal_line("library-not-found", "nowhere") + "\n")
    for command in ("librarian", "terminal"):
        assert run(command, "list", "--library", "nowhere").exit_code == 1


def test_staff_are_listed_by_library(run):
    assert run("librarian", "list", "--library", "central").output == "hanako\tlibrarian\topen\thanako\n"
    listed = json.loads(run("librarian", "list", "--library", "harbour", "--json").stdout)
    assert listed == [
        {
            "library_id": "harbour",
            "login_name": "minato",
            "role": "librarian",
            "state": "open",
            "second_factor": False,
            "password_source": "bridge",
            "koha_patron": None,
            "display_name": "minato",
        }
    ]


def test_a_second_factor_is_reset_by_command(run):
    account = ("--library", "central", "--login-name", "hanako")
    result = run("librarian", "reset-second-factor", *account)
    assert (result.exit_code, "no second factor" in result.output) == (0, True)


def test_the_region_has_staff_of_its_own(run):
    added = run(
        *("librarian", "add", "--region", "--login-name", "kouiki", "--display-name", "広域"),
        "--password-stdin",
        stdin=PASSWORD,
    )
    assert added.output == "region_administrator kouiki added to the region\n"
    assert run("librarian", "list", "--region").output == "kouiki\tregion_administrator\topen\t広域\n"
    refused = run("librarian", "role", "--region", "--login-name", "kouiki", "--role", "librarian")
    assert (refused.exit_code, refused.output) == (1, refusal_line("wrong-role") + "\n")


@pytest.mark.parametrize("whose", [(), ("--region", "--library", "central")])
def test_staff_belong_to_a_library_or_to_the_region(run, whose):
    result = run("librarian", "list", *whose)
    assert result.exit_code == 2
    assert "either --library or --region" in result.output


def test_an_account_is_closed_and_opened_again(run):
    account = ("--library", "central", "--login-name", "hanako")
    assert "closed and logged out" in run("librarian", "disable", *account).output
    assert "\tclosed\t" in run("librarian", "list", "--library", "central").output
    assert run("librarian", "enable", *account).output == "hanako is open\n"
    assert run("librarian", "role", *account, "--role", "auditor").output == "hanako is auditor now\n"
    assert "\tauditor\topen\t" in run("librarian", "list", "--library", "central").output


def test_a_generated_password_is_printed_alone_on_standard_output(run, staff):
    result = run(
        "librarian", "reset-password", "--library", "central", "--login-name", "hanako", "--generate"
    )
    assert "new password" in result.stderr
    assert staff.log_in("hanako", result.stdout.strip()).login_name == "hanako"


@pytest.mark.parametrize(("password", "exit_code"), [("another long password", 0), ("short", 2)])
def test_a_password_from_standard_input_is_taken_and_not_shown(run, staff, password, exit_code):
    account = ("--library", "central", "--login-name", "hanako")
    result = run("librarian", "reset-password", *account, "--password-stdin", stdin=password)
    assert result.exit_code == exit_code
    assert password not in result.output
    assert staff.log_in("hanako", PASSWORD if exit_code else password)


@pytest.mark.parametrize(
    "command",
    [
        ("disable",),
        ("enable",),
        ("unlock",),
        ("role", "--role", "auditor"),
        ("reset-password", "--generate"),
        ("reset-second-factor",),
    ],
)
def test_an_account_of_another_library_is_not_found(run, staff, command):
    result = run("librarian", *command, "--library", "central", "--login-name", "minato")
    nobody = run("librarian", *command, "--library", "central", "--login-name", "nobody")
    assert (result.exit_code, result.output) == (1, refusal_line("librarian-not-found") + "\n")
    assert (nobody.exit_code, nobody.output) == (result.exit_code, result.output)
    assert staff.log_in("minato", PASSWORD).role == "librarian"


def test_terminals_are_listed_and_removed_in_their_own_library_only(run):
    added = run("terminal", "add", "--library", "harbour", "--id", "c-1", "--name", "港", "--kind", "counter")
    listed = run("terminal", "list", "--library", "harbour", "--json")
    assert json.loads(listed.stdout)[0]["terminal_id"] == "c-1"
    assert added.stdout.splitlines()[-1] not in listed.output
    assert json.loads(run("terminal", "list", "--library", "central", "--json").stdout) == []
    refused = run("terminal", "remove", "--library", "central", "--id", "c-1")
    assert (refused.exit_code, refused.output) == (1, refusal_line("terminal-not-found") + "\n")
    assert "c-1" in run("terminal", "list", "--library", "harbour").output


def test_an_enrolment_code_is_printed_alone_on_standard_output_and_enrols(run, installation):
    place = ("--library", "central", "--id", "c-1")
    run("terminal", "add", *place, "--name", "1", "--kind", "counter")
    drawn = run("terminal", "enrol", *place)
    assert drawn.exit_code == 0
    assert "good once" in drawn.stderr
    services = build_bridge(installation.load()).services
    assert services.enrolment.enrol(drawn.stdout.strip(), "0" * 64).terminal_id == "c-1"
    document = json.loads(run("terminal", "enrol", *place, "--json").stdout)
    assert set(document) == {"library_id", "terminal_id", "code", "expires_at"}
    nowhere = run("terminal", "enrol", "--library", "central", "--id", "c-2")
    assert (nowhere.exit_code, nowhere.output) == (1, refusal_line("terminal-not-found") + "\n")


def test_the_list_of_terminals_says_how_each_is(run, installation):
    run("terminal", "add", "--library", "central", "--id", "c-1", "--name", "1", "--kind", "counter")
    assert run("terminal", "list", "--library", "central").stdout == "c-1\tcounter\t-\t1\t-\t-\t-\n"
    services = build_bridge(installation.load()).services
    report = TerminalReport(ReaderState.MISSING, OutputState.NONE, "0.1.0")
    services.terminals.report(services.staff.terminals("central")[0], report)
    assert run("terminal", "list", "--library", "central").stdout.endswith("\tmissing\tnone\n")
    (told,) = json.loads(run("terminal", "list", "--library", "central", "--json").stdout)
    assert told["report"] == {"reader": "missing", "output": "none", "version": "0.1.0"}
    assert told["last_seen_at"]


# with Koha's password


@pytest.fixture
def koha(installation, run, staff_koha):
    """The central library's staff may sign in to a simulated Koha."""
    text = installation.path.read_text(encoding="utf-8")
    sign_in = '[library.koha_sign_in]\npermission = "circulate:circulate_remaining_permissions"\n'
    before, heading, rest = text.partition("[library.koha]")
    rest = rest.replace("http://127.0.0.1:9/api/v1", staff_koha.server.base_url, 1)
    installation.path.write_text(f"{before}{sign_in}{heading}{rest}", encoding="utf-8")
    staff_koha.server._client = ("bridge", (installation.path.parent / "secret").read_text().strip())
    return staff_koha


def test_an_account_is_added_and_switched_to_koha_s_password_by_command(run, koha, installation):
    account = ("--library", "central", "--login-name")
    added = run(
        *("librarian", "add", *account, "jiro", "--display-name", "次郎"), *("--koha-patron", "801", "--json")
    )
    assert added.exit_code == 0, added.output
    shown = json.loads(added.stdout)
    assert (shown["password_source"], shown["koha_patron"], shown["role"]) == ("koha", 801, "librarian")
    staff = build_staff(installation.load())
    assert staff.log_in("jiro", koha.password)
    taken = run("librarian", "use-koha", *account, "hanako", "--koha-patron", "801")
    assert (taken.exit_code, taken.output) == (1, refusal_line("koha-account-taken") + "\n")
    for patron, problem in (("802", "koha-permission-missing"), ("999", "koha-account-not-found")):
        refused = run("librarian", "use-koha", *account, "hanako", "--koha-patron", patron)
        assert (refused.exit_code, refused.output) == (1, refusal_line(problem) + "\n")
    back = run("librarian", "reset-password", *account, "jiro", "--generate")
    assert staff.log_in("jiro", back.stdout.strip())
    changed = run("librarian", "use-koha", *account, "hanako", "--koha-patron", "801", "--json")
    assert json.loads(changed.stdout)["password_source"] == "koha"
    assert staff.log_in("hanako", koha.password)
    listed = json.loads(run("librarian", "list", "--library", "central", "--json").stdout)
    assert {each["login_name"]: each["password_source"] for each in listed} == {
        "hanako": "koha",
        "jiro": "bridge",
    }


def test_a_library_without_the_setting_the_region_and_half_an_order_are_refused(run, koha):
    off = run(
        "librarian", "use-koha", "--library", "harbour", "--login-name", "minato", "--koha-patron", "801"
    )
    assert (off.exit_code, off.output) == (1, refusal_line("koha-sign-in-off") + "\n")
    name = ("--login-name", "kouiki", "--display-name", "広域", "--koha-patron", "801")
    region = run("librarian", "add", "--region", *name)
    assert (region.exit_code, region.output) == (1, refusal_line("koha-sign-in-off") + "\n")
    assert run("librarian", "add", "--library", "central", *name, "--password-stdin").exit_code == 2
    assert run("librarian", "use-koha", "--library", "central", "--login-name", "hanako").exit_code == 2
    assert run("librarian", "add", "--library", "central", *name[:4], "--koha-patron", "0").exit_code == 2


def test_check_config_and_the_doctor_say_that_the_plugin_is_needed(run, koha):
    assert "needed" not in (checked := run("check-config")).output
    assert (
        "not possible: library central: without the bridge's plugin in Koha nobody signs in" in checked.output
    )

    def looked():
        found = json.loads(run("doctor", "--json").stdout)
        return [each for each in found if each["check"] == "koha" and each["place"] == "central"]

    assert [each["verdict"] for each in looked()] == ["ok"] * 3
    koha.server.has_plugin = False
    *_, plugin = looked()
    assert (plugin["verdict"], "plugin" in plugin["en"], "プラグイン" in plugin["ja"]) == (
        "refused",
        True,
        True,
    )
    koha.server.permissions = frozenset({"borrowers:edit_borrowers"})
    assert [each["verdict"] for each in looked()] == ["refused"] * 3
