"""What the server's commands share: settings, log, and how a refusal to start is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from bridge.cli.json_output import FAILED, say_error
from bridge.cli.log import set_up_log
from bridge.errors import BridgeError, slug_of
from bridge.models import Actor, ActorKind
from config import Settings, SettingsError, load_settings
from jpki.errors import JpkiError
from sip2_adapter.tls import TlsProblem

WRONG_SETTINGS = 2


def load(ctx: click.Context) -> Settings:
    """Return the settings and set the log up; name every problem and exit with 2 if they are wrong."""
    path: Path = ctx.obj["config"]
    try:
        settings = load_settings(path, os.environ)
    except SettingsError as error:
        if _wants_json(ctx):
            say_error("settings-problem", "the settings file has problems", problems=list(error.problems))
        else:
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
        _refuse(ctx, error.slug, str(error), ": ".join(filter(None, (error.slug, str(error)))))
    except JpkiError as error:
        _refuse(ctx, slug_of(error), str(error), str(error))
    except TlsProblem as error:
        _refuse(ctx, "tls-problem", str(error), str(error))
    except OSError as error:
        text = f"{error.filename or 'system'}: {error.strerror or type(error).__name__}"
        _refuse(ctx, "system-error", text, text)


def _refuse(ctx: click.Context, code: str, message: str, line: str) -> None:
    if _wants_json(ctx):
        say_error(code, message)
    else:
        click.echo(line, err=True)
    ctx.exit(FAILED)


def _wants_json(ctx: click.Context) -> bool:
    return bool(ctx.params.get("as_json"))


def command_actor() -> Actor:
    """Return who works on the command line, for the audit log: the number of the system's user."""
    return Actor(ActorKind.COMMAND, f"uid-{os.getuid()}")
