"""``koha-jpki keys``: the master keys, and the way from one to the next."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from bridge.cli.common import command_actor, load, refusals_told
from bridge.cli.json_output import FAILED, json_option, say_json
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
@json_option
@click.pass_context
def generate(ctx: click.Context, file: Path, *, as_json: bool) -> None:
    """Write a new master key to FILE, which must not exist yet; only its owner can read it.

    Keep a copy apart from the database's backups: without the key no link can be found.
    """
    with refusals_told(ctx):
        key_id = write_new_key_file(file, secrets.token_bytes)
    _tell(file, key_id, f"{file}: new master key {key_id}", as_json=as_json, current=True)


@keys.command()
@json_option
@click.pass_context
def add(ctx: click.Context, *, as_json: bool) -> None:
    """Write a new key behind the others of the key file. Nothing is made with it yet."""
    file = _key_file(ctx)
    with refusals_told(ctx):
        key_id = add_key_to_file(file, secrets.token_bytes)
    words = f"{file}: new master key {key_id}, not current yet; keep a copy in the safe"
    _tell(file, key_id, words, as_json=as_json, current=False)


@keys.command("make-current")
@click.argument("key_id")
@json_option
@click.pass_context
def make_current(ctx: click.Context, key_id: str, *, as_json: bool) -> None:
    """Put KEY_ID first in the key file: what is new is made with it, once the bridge is restarted.

    Every machine must know the key before one uses it.
    """
    file = _key_file(ctx)
    with refusals_told(ctx):
        put_key_first(file, key_id)
    _tell(file, key_id, f"{file}: {key_id} is current", as_json=as_json, current=True)


@keys.command()
@json_option
@click.pass_context
def status(ctx: click.Context, *, as_json: bool) -> None:
    """Show every key, and how much is kept under it. Exit with 1 where one that is needed is missing."""
    settings = load(ctx)
    with refusals_told(ctx):
        states = build_key_rotation(settings, command_actor(), confirm=False).states()
    if as_json:
        say_json([_document(state) for state in states])
    else:
        for state in states:
            click.echo(_as_text(state))
    if any(state.uses and not state.present for state in states):
        ctx.exit(FAILED)


@keys.command()
@json_option
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
    if as_json:
        problems = [
            {"link_id": link_id, "library_id": library_id, "problem": problem}
            for link_id, (library_id, problem) in stayed.items()
        ]
        say_json({"links": done, "stayed": problems, "keys": [_document(state) for state in states]})
    else:
        for link_id, (library_id, problem) in stayed.items():
            click.echo(f"stayed: link {link_id}, {library_id}: {WORDS[problem]}")
        click.echo(f"{done} links rotated")
        for state in states:
            click.echo(_as_text(state))
    if stayed:
        ctx.exit(FAILED)


@keys.command()
@click.argument("key_id")
@json_option
@click.pass_context
def retire(ctx: click.Context, key_id: str, *, as_json: bool) -> None:
    """Let KEY_ID be needed no more; refused, with numbers, while anything is kept under it.

    Then take its line out of the key file on every machine, and restart the bridge there.
    """
    settings = load(ctx)
    with refusals_told(ctx):
        build_key_rotation(settings, command_actor(), confirm=False).retire(key_id)
    if as_json:
        say_json({"key_id": key_id, "retired": True})
        return
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


def _tell(file: Path, key_id: str, words: str, *, as_json: bool, current: bool) -> None:
    if as_json:
        say_json({"file": file, "key_id": key_id, "current": current})
        return
    click.echo(words)


def _document(state: KeyState) -> Mapping[str, object]:
    return {
        "key_id": state.key_id,
        "current": state.current,
        "present": state.present,
        "retired": state.retired,
        "uses": dict(state.uses),
    }
