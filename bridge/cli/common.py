"""What the server's commands share: settings, log, and how a refusal to start is told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from bridge.cli.log import set_up_log
from bridge.errors import BridgeError
from bridge.models import Actor, ActorKind
from config import Settings, SettingsError, load_settings
from jpki.errors import JpkiError
from sip2_adapter.tls import TlsProblem

FAILED = 1
WRONG_SETTINGS = 2


def load(ctx: click.Context) -> Settings:
    """Return the settings and set the log up; name every problem and exit with 2 if they are wrong."""
    path: Path = ctx.obj["config"]
    try:
        settings = load_settings(path, os.environ)
    except SettingsError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        ctx.exit(WRONG_SETTINGS)
    set_up_log(settings.logging.level)
    return settings


@contextmanager
def refusals_told(ctx: click.Context) -> Iterator[None]:
    """Tell a refusal in one line on stderr and exit with 1, in place of a traceback."""
    try:
        yield
    except BridgeError as error:
        click.echo(": ".join(filter(None, (error.slug, str(error)))), err=True)
        ctx.exit(FAILED)
    except (JpkiError, TlsProblem) as error:
        click.echo(str(error), err=True)
        ctx.exit(FAILED)
    except OSError as error:
        click.echo(f"{error.filename or 'system'}: {error.strerror or type(error).__name__}", err=True)
        ctx.exit(FAILED)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on standard output, for programs."
)


def say_json(document: object) -> None:
    """Print a JSON document; moments and enums as text."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2, default=str))


def command_actor() -> Actor:
    """Return who works on the command line, for the audit log: the number of the system's user."""
    return Actor(ActorKind.COMMAND, f"uid-{os.getuid()}")
