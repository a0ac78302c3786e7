"""What the server's commands share: settings, log, and how a refusal to start is told."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click

from bridge.accounts.staff import MAXIMUM_NAME_LENGTH
from bridge.cli.json_output import FAILED, say_error
from bridge.cli.log import set_up_log
from bridge.cli.words import operator_words, refusal_line
from bridge.errors import BridgeError, slug_of
from bridge.models import Actor, ActorKind
from config import Settings, SettingsError, load_settings
from jpki.errors import JpkiError
from sip2_adapter.tls import TlsProblem

WRONG_SETTINGS = 2

BREAKS_A_LINE = frozenset({"Cc", "Zl", "Zp"})
"""Unicode's categories of control characters, line and paragraph separators."""


def load(ctx: click.Context) -> Settings:
    """Return the settings and set the log up; name every problem and exit with 2 if they are wrong."""
    path: Path = ctx.obj["config"]
    try:
        settings = load_settings(path, os.environ)
    except SettingsError as error:
        refuse_settings(ctx, error.problems)
    set_up_log(settings.logging.level)
    return settings


def refuse_settings(ctx: click.Context, problems: Sequence[str]) -> NoReturn:
    """Name every problem of the settings and exit with 2."""
    if _wants_json(ctx):
        say_error("settings-problem", "the settings file has problems", problems=list(problems))
    else:
        for problem in problems:
            click.echo(problem, err=True)
    ctx.exit(WRONG_SETTINGS)


@contextmanager
def refusals_told(ctx: click.Context) -> Iterator[None]:
    """Tell a refusal in one line on stderr and exit with 1, in place of a traceback."""
    try:
        yield
    except BridgeError as error:
        text = str(error)
        refuse(ctx, error.slug, operator_words(error.slug, text), refusal_line(error.slug, text))
    except JpkiError as error:
        refuse(ctx, slug_of(error), str(error), str(error))
    except TlsProblem as error:
        refuse(ctx, "tls-problem", str(error), str(error))
    except BrokenPipeError:
        raise  # whoever reads the output has enough: no refusal
    except OSError as error:
        text = f"{error.filename or 'system'}: {error.strerror or type(error).__name__}"
        refuse(ctx, "system-error", text, text)


def refuse(ctx: click.Context, code: str, message: str, line: str | None = None) -> NoReturn:
    """Say why a command does not do what it was asked, and exit with 1.

    *line* is what people read, where that is more than the *message* for programs.
    """
    if _wants_json(ctx):
        say_error(code, message)
    else:
        click.echo(message if line is None else line, err=True)
    ctx.exit(FAILED)


def _wants_json(ctx: click.Context) -> bool:
    return bool(ctx.params.get("as_json"))


def command_actor() -> Actor:
    """Return who works on the command line, for the audit log: the number of the system's user."""
    return Actor(ActorKind.COMMAND, f"uid-{os.getuid()}")


def check_name_on_screens(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Return the name without blanks around it, if people can read it in a list of one name a line."""
    if value is None:
        return None
    name = value.strip()
    unfit = any(unicodedata.category(each) in BREAKS_A_LINE for each in name)
    if not name or len(name) > MAXIMUM_NAME_LENGTH or unfit:
        raise click.BadParameter(
            f"one line, not empty, at most {MAXIMUM_NAME_LENGTH} characters, without control characters"
        )
    return name
