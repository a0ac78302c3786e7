"""``koha-jpki agent enrol``: make this terminal's key and let the bridge know it, by a one-time code."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import click

from bridge.agent.api_client import BridgeApi
from bridge.agent.enrolment import enrol
from bridge.agent.errors import AgentError, BridgeProblem, BridgeUnreachable, WrongSettings
from bridge.agent.run import ExitCode
from bridge.agent.screen import PROBLEM_WORDS, Language, words_for
from bridge.cli.agent_options import bridge_option, token_file_option
from bridge.enrolment_code import EnrolmentCode, MistypedEnrolmentCode

ANSWER_TIMEOUT = 30.0
"""Seconds."""

MISTYPED = (
    "登録コードの形が違います。9文字を確かめて、もう一度入力してください。\n"
    "This cannot be an enrolment code. Check its nine characters and enter it again."
)
ANSWER_LOST = (
    "返事が届きませんでした。同じコードでもう一度実行してください。続きから行います。\n"
    "No answer arrived. Run this again with the same code: it goes on from there."
)


@click.command("enrol")
@bridge_option
@token_file_option
@click.option("--code-stdin", is_flag=True, help="Read the code from standard input in place of asking.")
@click.pass_context
def agent_enrol(ctx: click.Context, bridge: str, token_file: Path, *, code_stdin: bool) -> None:
    """Enrol this terminal by the code that an administrator has drawn for it.

    The code is asked for. If this is cut off, run it again with the same code.
    """
    try:
        client = BridgeApi(bridge, None, ANSWER_TIMEOUT)
        enrolled = enrol(client, _ask_code(from_stdin=code_stdin), token_file, secrets.token_bytes)
    except MistypedEnrolmentCode:
        click.echo(MISTYPED, err=True)
        ctx.exit(ExitCode.REFUSED)
    except AgentError as error:
        click.echo(_words(error), err=True)
        ctx.exit(ExitCode.WRONG_SETTINGS if isinstance(error, WrongSettings) else ExitCode.REFUSED)
    click.echo(f"{enrolled.library_name} ({enrolled.library_id}): {enrolled.terminal_id} [{enrolled.kind}]")
    click.echo(f"登録しました。 / Enrolled. {token_file}", err=True)


def _ask_code(*, from_stdin: bool) -> EnrolmentCode:
    """Return the code; whoever mistypes it at the prompt is asked again."""
    if from_stdin:
        return EnrolmentCode.from_text(sys.stdin.readline())
    while True:
        try:
            return EnrolmentCode.from_text(click.prompt("登録コード / Enrolment code", type=str, err=True))
        except MistypedEnrolmentCode:
            click.echo(MISTYPED, err=True)


def _words(error: AgentError) -> str:
    if isinstance(error, BridgeUnreachable):
        return ANSWER_LOST
    if isinstance(error, BridgeProblem) and error.slug in PROBLEM_WORDS:
        return "\n".join(PROBLEM_WORDS[error.slug].fill(language) for language in Language)
    return words_for(error, Language.JAPANESE)
