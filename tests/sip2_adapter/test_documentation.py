"""What self-check vendors read is what the program does."""

from __future__ import annotations

from pathlib import Path

import pytest

from sip2_adapter import ConnectionLimits, Cut, LoginRefusal, ProxyLimits
from sip2_adapter.documentation import fields_table_markdown, messages_table_markdown, patron_codes
from sip2_adapter.fields import FieldId
from sip2_adapter.grammar import MESSAGES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sip2.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "table"), [("messages", messages_table_markdown()), ("fields", fields_table_markdown())]
)
def test_the_page_has_the_tables_of_the_grammar(name, table):
    assert PAGE.partition(f"<!-- {name}:begin -->\n")[2].partition(f"\n<!-- {name}:end -->")[0] == table


def test_every_message_and_field_has_a_row():
    assert len(messages_table_markdown().splitlines()) == len(MESSAGES) + 2
    assert len(fields_table_markdown().splitlines()) == len(FieldId) + 2


def test_page_and_readme_name_the_messages_in_which_the_token_is_swapped():
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for codes in patron_codes():
        assert codes in PAGE
        assert codes in readme


def test_the_documentation_explains_every_reason_that_is_counted():
    assert [reason.value for reason in (*Cut, *LoginRefusal) if f"`{reason.value}`" not in PAGE] == []


def test_the_documentation_names_the_limits_as_they_are():
    limits, connections = ProxyLimits(), ConnectionLimits()
    for setting, value in (
        ("maximum_connections", connections.total),
        ("maximum_connections_per_address", connections.per_address),
        ("login_timeout_seconds", limits.login_timeout),
        ("frame_timeout_seconds", limits.frame_timeout),
        ("frame_limit_bytes", limits.frame_limit),
        ("garbage_limit", limits.garbage_limit),
    ):
        assert f"`{setting}` ({value:g}" in PAGE
