"""``koha-jpki keys``: the master keys, and the way from one to the next."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from bridge.cli.common import command_actor, load, refusals_told
from bridge.cli.json_output import FAILED
from bridge.keys.ring import add_key_to_file, put_key_first, write_new_key_file
from bridge.keys.rotation import KeyState, RotationProblem
from bridge.wiring import build_key_rotation

WORDS: Mapping[RotationProblem, str] = {
    RotationProblem.UNREADABLE: "does not open with its key, or does not fit its digest",
    RotationProblem.LINKED_TWICE: "another link has the same card: end one of the two",
}


@click.group()
def keys() -> None:
    """Make, change and retire master keys.

    A new key: add it and bring the key file to every machine; restart there; make it current, again
    everywhere; rotate; retire the old one; take its line away.
    """


@keys.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_context
def generate(ctx: click.Context, file: Path) -> None:
    """Write a new master key to FILE, which must not exist yet; only its owner can read it.

    Keep a copy apart from the database's backups: without the key no link can be found.
    """
    with refusals_told(ctx):
        key_id = write_new_key_file(file, secrets.token_bytes)
    click.echo(f"{file}: new master key {key_id}")


@keys.command()
@click.pass_context
def add(ctx: click.Context) -> None:
    """Write a new key behind the others of the key file. Nothing is made with it yet."""
    file = _key_file(ctx)
    with refusals_told(ctx):
        key_id = add_key_to_file(file, secrets.token_bytes)
    click.echo(f"{file}: new master key {key_id}, not current yet; keep a copy in the safe")


@keys.command("make-current")
@click.argument("key_id")
@click.pass_context
def make_current(ctx: click.Context, key_id: str) -> None:
    """Put KEY_ID first in the key file: what is new is made with it, once the bridge is restarted.

    Every machine must know the key before one uses it.
    """
    file = _key_file(ctx)
    with refusals_told(ctx):
        put_key_first(file, key_id)
    click.echo(f"{file}: {key_id} is current")


@keys.command()
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line.")
@click.pass_context
def status(ctx: click.Context, *, as_json: bool) -> None:
    """Show every key, and how much is kept under it. Exit with 1 where one that is needed is missing."""
    settings = load(ctx)
    with refusals_told(ctx):
        states = build_key_rotation(settings, command_actor(), confirm=False).states()
    for state in states:
        click.echo(_as_json(state) if as_json else _as_text(state))
    if any(state.uses and not state.present for state in states):
        ctx.exit(FAILED)


@keys.command()
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line.")
@click.pass_context
def rotate(ctx: click.Context, *, as_json: bool) -> None:
    """Bring all links and seals under the current key, while the bridge runs.

    Stopped in the middle it goes on where it stopped when it is run again. Exit with 1 where a link had
    to stay under an older key. Progress goes to standard error.
    """
    settings = load(ctx)
    stayed = {}
    done = 0
    with refusals_told(ctx):
        rotation = build_key_rotation(settings, command_actor())
        for step in rotation.rotate():
            done = step.done
            stayed.update({link.link_id: (link.library_id, problem) for link, problem in step.problems})
            if sys.stderr.isatty():
                click.echo(f"\r{step.done}/{step.total} links", err=True, nl=False)
        states = rotation.states()
    for link_id, (library_id, problem) in stayed.items():
        values = {"event": "stayed", "link": link_id, "library": library_id, "why": problem}
        text = f"stayed: link {link_id}, {library_id}: {WORDS[problem]}"
        click.echo(json.dumps(values) if as_json else text)
    click.echo(json.dumps({"event": "finished", "links": done}) if as_json else f"{done} links rotated")
    for state in states:
        click.echo(_as_json(state) if as_json else _as_text(state))
    if stayed:
        ctx.exit(FAILED)


@keys.command()
@click.argument("key_id")
@click.pass_context
def retire(ctx: click.Context, key_id: str) -> None:
    """Let KEY_ID be needed no more; refused, with numbers, while anything is kept under it.

    Then take its line out of the key file on every machine, and restart the bridge there.
    """
    settings = load(ctx)
    with refusals_told(ctx):
        build_key_rotation(settings, command_actor(), confirm=False).retire(key_id)
    click.echo(f"{key_id} is retired: take its line out of the key file")


def _key_file(ctx: click.Context) -> Path:
    file = load(ctx).keys.master_key_file
    if file is None:
        raise click.UsageError(
            "the keys do not come from a file: change them where they are kept; the first line is current"
        )
    return file


def _as_text(state: KeyState) -> str:
    words = [
        *(["current"] if state.current else []),
        *(["retired"] if state.retired else []),
        *([] if state.present else ["not in the key file"]),
        *(f"{record} {number}" for record, number in state.uses.items()),
    ]
    return f"{state.key_id}: {', '.join(words) or 'nothing is kept under it'}"


def _as_json(state: KeyState) -> str:
    return json.dumps(
        {
            "event": "key",
            "key_id": state.key_id,
            "current": state.current,
            "present": state.present,
            "retired": state.retired,
            "uses": dict(state.uses),
        }
    )
