"""``koha-jpki library consent``: to what the patrons of a library agree before a card is linked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from bridge.cli.common import command_actor, load, refusals_told
from bridge.cli.json_output import json_option, say_json
from bridge.links.consent import ConsentWording
from bridge.links.consent_service import ConsentInForce
from bridge.models import ConsentLanguage
from bridge.wiring import build_consent

STANDARD = "standard"

text_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def consent() -> None:
    """To what the patrons of a library agree before a card is linked (同意文面)."""


@consent.command("show")
@click.argument("library_id")
@click.option("--version", help="A version that a link names; without it, the wording in force.")
@click.option(
    "--language",
    type=click.Choice([each.value for each in ConsentLanguage]),
    default=ConsentLanguage.JAPANESE.value,
    show_default=True,
    help="In which the text is printed; --json gives both.",
)
@json_option
@click.pass_context
def show_consent(
    ctx: click.Context, *, library_id: str, version: str | None, language: str, as_json: bool
) -> None:
    """Print a wording, word for word, as `set` reads it."""
    with refusals_told(ctx):
        service = build_consent(load(ctx))
        if version is None:
            wording = service.in_force(library_id).wording
        else:
            wording = service.find(library_id, version)
    if as_json:
        say_json(_document(library_id, wording))
        return
    click.echo(wording.texts[ConsentLanguage(language)])


@consent.command("list")
@click.argument("library_id")
@json_option
@click.pass_context
def list_consents(ctx: click.Context, *, library_id: str, as_json: bool) -> None:
    """List the wordings that a library has set, the one in force first: version, since when."""
    with refusals_told(ctx):
        service = build_consent(load(ctx))
        own = [ConsentInForce(each.wording, each.set_at) for each in service.own(library_id)]
        found = own or [service.in_force(library_id)]
    if as_json:
        say_json([{"version": each.wording.version, "set_at": each.set_at} for each in found])
        return
    for each in found:
        since = STANDARD if each.set_at is None else each.set_at.isoformat(timespec="seconds")
        click.echo(f"{each.wording.version}\t{since}")


@consent.command("set")
@click.argument("library_id")
@click.option("--ja", "japanese", type=text_file, required=True, help="The Japanese text, in UTF-8.")
@click.option("--en", "english", type=text_file, required=True, help="The English text, in UTF-8.")
@json_option
@click.pass_context
def set_consent(ctx: click.Context, *, library_id: str, japanese: Path, english: Path, as_json: bool) -> None:
    """Put a library's own wording in force, under a new version.

    A file has paragraphs with an empty line between; the first line of each is its heading. Links keep the
    version that was agreed to. A wording that is in force already gets no new version.
    """
    settings = load(ctx)
    texts = {
        ConsentLanguage.JAPANESE: _text_of(japanese),
        ConsentLanguage.ENGLISH: _text_of(english),
    }
    with refusals_told(ctx):
        service = build_consent(settings)
        before = service.in_force(library_id).wording.version
        wording = service.change(command_actor(), library_id, texts, instead_of=before)
    if as_json:
        say_json(_document(library_id, wording))
        return
    changed = wording.version != before
    click.echo(f"{wording.version} is in force in {library_id}{'' if changed else ', as before'}")


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise click.UsageError(f"{path} is not in UTF-8") from None


def _document(library_id: str, wording: ConsentWording) -> Mapping[str, object]:
    return {
        "library_id": library_id,
        "version": wording.version,
        **{language.value: wording.texts[language] for language in ConsentLanguage},
    }
