"""What ``--json`` promises: one JSON value on standard output and nothing else, or an error in JSON.

A command that shows or changes one thing gives an object, one that lists gives an array. One that looks
and finds something wrong says so in its value and exits with 1. One that did not do what it was asked
prints nothing on standard output; the last line of standard error is
``{"error": {"code": ..., "message": ...}}``, and it exits with 1, or with 2 for wrong use or wrong settings.
"""

from __future__ import annotations

import json
from datetime import datetime

import click

FAILED = 1

JSON_OPTION = "--json"

json_option = click.option(
    JSON_OPTION, "as_json", is_flag=True, help="One JSON document on standard output, for programs."
)


def say_json(document: object, *, in_one_line: bool = False) -> None:
    """Print a JSON document; a moment as RFC 3339 has it, anything else that JSON does not know as text."""
    indent = None if in_one_line else 2
    text = json.dumps(document, ensure_ascii=False, indent=indent, default=_as_text)
    click.echo(text.encode())  # JSON is UTF-8 whatever the locale is (RFC 8259, 8.1)


def say_error(code: str, message: str, **more: object) -> None:
    """Print why a command with ``--json`` did not do what it was asked."""
    document = {"error": {"code": code, "message": message, **more}}
    click.echo(json.dumps(document, ensure_ascii=False).encode(), err=True)


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
