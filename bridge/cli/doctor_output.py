"""How both doctors, the server's and the terminal's, say what they found."""

from __future__ import annotations

from typing import Protocol

import click

from bridge.agent.screen import Language, Words


class Finding(Protocol):
    """What came out of one check."""

    @property
    def is_fine(self) -> bool:
        """Whether the work goes on in spite of it."""

    @property
    def was_looked_at(self) -> bool:
        """Whether anything is known: what is not known is not said to be good."""

    def sentence(self, language: Language) -> str:
        """Return what was found and what to do."""


def say_finding(finding: Finding, name: Words, place: str = "") -> None:
    """Print a finding under the check's *name*, a line for each language; *place* is what it is about."""
    mark = "--" if not finding.was_looked_at else "OK" if finding.is_fine else "NG"
    about = f" [{place}]" if place else ""
    for language in Language:
        click.echo(f"{mark} {name.fill(language)}{about}: {finding.sentence(language)}")
        mark = "  "


def sentences_of(finding: Finding) -> dict[str, str]:
    """Return what is said of a finding, by language; for JSON."""
    return {language.value: finding.sentence(language) for language in Language}
