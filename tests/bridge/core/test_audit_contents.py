"""Every place that writes to the audit log, whatever the tag: references only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import bridge

NAMES_SOMEBODY = re.compile(
    r"cardnumber|patron_id|patron_reference|serial|digest|password|login_name|display_name|\bname\b|token\b"
)
WRITTEN = {
    # keyword: what it tells
    "as_of": "as of when a revocation answer was",
    "terminal_id": "the id that the library gave the terminal",
}


def events() -> Iterator[tuple[str, ast.Call]]:
    """Yield each call that makes an event, with where it stands."""
    for path in sorted(Path(bridge.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and re.search(r"\b(event|AuditEvent)$", ast.unparse(node.func)):
                yield f"{path.stem}:{node.lineno}", node


@pytest.mark.parametrize("call", [pytest.param(call, id=where) for where, call in events()])
def test_nothing_that_names_a_patron_is_written_into_an_event(call):
    written = [ast.unparse(each) for each in call.args[1:]]
    written += [ast.unparse(each.value) for each in call.keywords if each.arg not in WRITTEN]
    assert [each for each in written if NAMES_SOMEBODY.search(each)] == []
