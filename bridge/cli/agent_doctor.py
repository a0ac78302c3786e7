"""``koha-jpki agent doctor``: what is wrong at this terminal, to be read out on the telephone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from bridge.agent.api_client import BridgeApi, TerminalState
from bridge.agent.card_check import CardStatus, look_at_card
from bridge.agent.doctor import (
    NAMES,
    Check,
    Diagnosis,
    Outcome,
    check_card,
    check_certificate,
    check_clock,
    check_output,
    check_reader,
    check_route,
    check_token,
)
from bridge.agent.doctor_probes import NetworkProbe
from bridge.agent.errors import WrongSettings
from bridge.agent.run import ExitCode
from bridge.agent.service import build_output
from bridge.agent.token_file import read_token
from bridge.cli.agent_options import settings_option
from bridge.cli.doctor_output import say_finding, sentences_of
from bridge.cli.json_output import json_option, say_error, say_json
from config import AgentSettings, SettingsError, load_agent_settings

ANSWER_TIMEOUT = 10.0
"""Seconds."""


@click.command("doctor")
@settings_option
@json_option
@click.pass_context
def agent_doctor(ctx: click.Context, settings: Path, *, as_json: bool) -> None:
    """Look at reader, card, network, clock, enrolment and output; say what to do. Spends no PIN try.

    Stop the agent before: it may hold the card. Exits with 1 where something is wrong.
    """
    try:
        chosen = load_agent_settings(settings)
    except SettingsError as error:
        if as_json:
            say_error("settings-problem", f"{settings} has problems", problems=list(error.problems))
        else:
            click.echo(f"{settings}:", err=True)
            for problem in error.problems:
                click.echo(f"  {problem}", err=True)
        ctx.exit(ExitCode.WRONG_SETTINGS)
    found = list(_examine(chosen))
    if as_json:
        say_json([_document(each) for each in found])
    else:
        for each in found:
            say_finding(each, NAMES[each.check])
    ctx.exit(ExitCode.DONE if all(each.is_fine for each in found) else ExitCode.REFUSED)


def _examine(settings: AgentSettings) -> Iterator[Diagnosis]:
    probe = NetworkProbe(settings.bridge_url)
    service_and_reader = list(check_reader(_list_readers, settings.reader))
    yield from service_and_reader
    if all(each.outcome is Outcome.OK for each in service_and_reader):
        yield check_card(lambda: _look_at_card(settings.reader))
    else:
        yield Diagnosis(Check.CARD, Outcome.NOT_LOOKED_AT)
    yield check_route(probe.host, probe.look_up, probe.connect, probe.proxy)
    yield check_certificate(probe.read_not_after, _now())
    yield check_clock(probe.ask_time, _now)
    yield check_token(lambda: _ask_terminal(settings))
    output = build_output(settings.output, lambda _: None) if settings.output is not None else None
    yield check_output(None if output is None else output.check)


def _now() -> datetime:
    return datetime.now(UTC)


def _list_readers() -> list[str]:
    try:
        from jpki import pcsc
    except ImportError:
        raise WrongSettings("pyscard is not installed: koha-jpki-bridge[reader]") from None
    return pcsc.list_readers()


def _look_at_card(reader: str | None) -> CardStatus:
    from bridge.agent.pcsc_reader import PcscReader

    return look_at_card(PcscReader(reader), _now())


def _ask_terminal(settings: AgentSettings) -> TerminalState:
    bridge = BridgeApi(settings.bridge_url, read_token(settings.token_file), ANSWER_TIMEOUT)
    try:
        return bridge.terminal()
    finally:
        bridge.close()


def _document(finding: Diagnosis) -> dict[str, object]:
    return {
        "check": finding.check,
        "outcome": finding.outcome,
        "ok": finding.is_fine,
        **sentences_of(finding),
    }
