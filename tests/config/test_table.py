from dataclasses import fields
from pathlib import Path

import pytest

import config
from config.table import LIBRARY_SECTIONS, SECTIONS

ALL_SECTIONS = (*SECTIONS, *LIBRARY_SECTIONS)
INNER_SETTINGS = {
    "identifiers",
    "links",
    "verifier",
    "web",
    "database",
    "keys",
    "jpki",
    "revocation",
    "tokens",
    "logging",
    "metrics",
}
INNER_SETTINGS |= {"libraries", "koha", "koha_sign_in", "sip2", "self_check"}


def section_id(section):
    return section.name or "general"


@pytest.mark.parametrize("section", ALL_SECTIONS, ids=section_id)
def test_the_table_and_the_dataclasses_name_the_same_settings(section):
    names = [field.name for field in fields(section.settings_class)]

    assert {row.name for row in section.rows} == set(names) - (
        INNER_SETTINGS if section.name in ("", "library") else set()
    )


@pytest.mark.parametrize("section", ALL_SECTIONS, ids=section_id)
def test_secrets_are_left_out_of_every_repr(section):
    shown = {field.name: field.repr for field in fields(section.settings_class)}

    assert [row.name for row in section.rows if row.external and shown[row.name]] == []


def test_the_readme_s_table_has_a_row_for_every_setting():
    lines = config.settings_table_markdown().splitlines()[2:]

    assert [line.split("`")[1] for line in lines] == [
        section.path(row) for section in ALL_SECTIONS for row in section.rows
    ]
    assert all(line.replace("\\|", "").count("|") == 5 for line in lines)


def test_the_readme_s_table_tells_defaults_and_where_secrets_come_from():
    rows = {line.split("`")[1]: line for line in config.settings_table_markdown().splitlines()[2:]}

    assert "| `30` |" in rows["web.session_idle_minutes"]
    assert "**required**" in rows["web.port"]
    assert "KOHA_JPKI_LIBRARY_<ID>_KOHA_CLIENT_SECRET" in rows["library.koha.client_secret"]


def test_the_example_file_is_what_the_table_says():
    example = Path(config.__file__).with_name("example.toml")

    assert example.read_text(encoding="utf-8") == config.example_toml()


def test_every_default_in_the_example_is_accepted(settings_file):
    before = settings_file.load()
    settings_file.text = "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and " = " in line and "'" not in line else line
        for line in settings_file.text.splitlines()
    )

    assert settings_file.load() == before


def test_the_public_names_are_those_that_can_be_imported():
    public = {name for name in vars(config) if not name.startswith("_")}
    modules = {"description", "documentation", "kinds", "loader", "settings", "table"}
    modules |= {"agent_loader", "agent_settings", "agent_table"}

    assert sorted(config.__all__) == config.__all__
    assert public - modules == set(config.__all__)


def test_the_agents_example_is_that_of_its_table():
    example = Path(config.__file__).with_name("agent-example.toml")

    assert example.read_text(encoding="utf-8") == config.agent_example_toml()
