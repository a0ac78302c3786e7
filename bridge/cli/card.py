"""``koha-jpki card``: look at the readers and the cards on them, and let a card sign for a test.

For whoever stands beside the reader. Runs where the agent runs, with nothing of the server installed;
the settings are read only where they exist, to know which CAs are trusted.

Exit codes: 0 the card can be used, 1 it cannot (the words say why), 2 wrong use or wrong settings,
3 no answer: no reader, no card, or another program holds it.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import click
from click.core import ParameterSource

from bridge.agent.card_check import CardStatus, FindIssuer, SignedTest, look_at_card, self_test
from bridge.agent.errors import AgentError, WrongSettings
from bridge.agent.pin import PinPad, PipedPinPad, TerminalPinPad
from bridge.agent.reader import CardReader
from bridge.agent.run import ExitCode, exit_code
from bridge.agent.screen import Language, TerminalScreen, local_date, words_for
from bridge.agent.session import CardRefused
from jpki import errors as jpki_errors
from jpki.constants import TokenKind
from jpki.errors import JpkiError, NoReader, TrustFileRefused
from jpki.trust_files import load_directory
from jpki.verify import CertificatePolicy, verify_certificate

CARD_WAIT = 30.0
"""Seconds in which a card must be laid down for the self-test."""

NONCE_LENGTH = 32

OPERATOR_WORDS: Mapping[type[Exception], str] = MappingProxyType(
    {
        WrongSettings: "{error}",
        jpki_errors.NoReader: "No card reader is connected, or none of this name: see koha-jpki card status.",
        jpki_errors.NoCard: "No card lies on the reader.",
        jpki_errors.CardRemoved: "The card was moved away while it was in use. Lay it again and leave it.",
        jpki_errors.CardInUse: "Another program holds the card: an agent, a browser, JPKI利用者ソフト.",
        jpki_errors.UnresponsiveCard: "What lies on the reader does not answer: lay one card alone.",
        jpki_errors.ReaderServiceUnavailable: "The card reader service is not running: start pcscd.",
        jpki_errors.ReaderFailure: "The reader failed: {error}",
        jpki_errors.CertificateExpired: "The certificate has expired; the municipality's counter renews it.",
        jpki_errors.CertificateNotYetValid: "The certificate is not valid yet, or this clock is wrong.",
        jpki_errors.CertificateError: "The certificate is not one that the bridge accepts: {error}.",
        jpki_errors.InvalidSignature: "The signature is not that of the certificate's key: do not use it.",
    }
)
"""What an operator reads; an error without a row, or an ancestor's row, has the patron's words."""

TOKEN_NAMES: Mapping[TokenKind, str] = MappingProxyType(
    {
        TokenKind.MY_NUMBER_CARD: "My Number Card",
        TokenKind.BASIC_RESIDENT_REGISTER_CARD: "Basic Resident Register Card (住基カード)",
        TokenKind.ANDROID_PHONE: "Android phone",
        TokenKind.IPHONE: "iPhone",
    }
)

_reader_option = click.option(
    "--reader", envvar="KOHA_JPKI_READER", help="Name of the PC/SC reader.  [default: any]"
)


@click.group()
def card() -> None:
    """Look at the card on a reader, and let it sign for a test."""


@card.command()
@_reader_option
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
@click.pass_context
def status(ctx: click.Context, reader: str | None, *, as_json: bool) -> None:
    """Tell of each reader, or of one, which card lies on it. Needs no PIN and spends no try.

    With several readers the exit code is that of the best card: 0 if one of them can be used.
    """
    now = datetime.now(UTC)
    try:
        readers = _find_readers(reader)
    except (JpkiError, WrongSettings) as error:
        if as_json:
            click.echo(json.dumps({"readers": [], "problem": type(error).__name__}))
        click.echo(_words(error), err=True)
        ctx.exit(_exit_code(error))
    found = {name: look_at_card(each, now) for name, each in readers.items()}
    if as_json:
        rows = [_as_json(name, each) for name, each in found.items()]
        click.echo(json.dumps({"readers": rows, "problem": None}))
    else:
        for name, each in found.items():
            click.echo(_as_text(name, each))
    ctx.exit(min(_exit_code(each.problem) for each in found.values()))


@card.command()
@_reader_option
@click.option("--pin-stdin", is_flag=True, help="Read the PIN from standard input: for tests.")
@click.pass_context
def selftest(ctx: click.Context, reader: str | None, *, pin_stdin: bool) -> None:
    """Let a card sign after its PIN, verify the signature, and say who vouches for the certificate.

    Needs no bridge and stores nothing. The PIN is sent once; a wrong one costs a try, as everywhere.
    """
    now = datetime.now(UTC)
    try:
        trust = _load_trust(ctx, now)
        result = self_test(
            _open_reader(reader),
            trust.find_issuer,
            TerminalScreen(sys.stderr, Language.ENGLISH),
            _pin_pad(from_stdin=pin_stdin),
            wait=CARD_WAIT,
            now=now,
            nonce=secrets.token_bytes(NONCE_LENGTH),
        )
    except (JpkiError, AgentError) as error:
        click.echo(_words(error), err=True)
        ctx.exit(_exit_code(error))
    click.echo(_result_as_text(result, trust))


# -- readers and PIN pad


def _find_readers(name: str | None) -> Mapping[str, CardReader]:
    """Return the reader called *name*, or all that are connected, by name. Raises a ``ReaderError``."""
    if name is not None:
        return {name: _open_reader(name)}
    names = _reader_names()
    if not names:
        raise NoReader("no reader is connected")
    return {each: _open_reader(each) for each in names}


def _reader_names() -> list[str]:
    try:
        from jpki.pcsc import list_readers
    except ImportError:
        raise _without_pyscard() from None
    return list_readers()


def _open_reader(name: str | None) -> CardReader:
    try:
        from bridge.agent.pcsc_reader import PcscReader
    except ImportError:
        raise _without_pyscard() from None
    return PcscReader(name)


def _without_pyscard() -> WrongSettings:
    return WrongSettings("pyscard is not installed: koha-jpki-bridge[reader]")


def _pin_pad(*, from_stdin: bool) -> PinPad:
    return PipedPinPad(sys.stdin) if from_stdin else TerminalPinPad()


# -- trust


@dataclass(frozen=True)
class Trust:
    """How the CA that vouches for a certificate is found, or the reason *why_not*."""

    find_issuer: FindIssuer | None
    why_not: str | None = None


def _load_trust(ctx: click.Context, now: datetime) -> Trust:
    """Read the settings and the imported CAs. A machine that has only a reader has neither.

    Raises ``WrongSettings`` where an imported file is not accepted or cannot be read; ends with 2 where
    the settings are wrong.
    """
    root = ctx.find_root()
    path: Path = root.obj["config"]
    if root.get_parameter_source("config") is ParameterSource.DEFAULT and not path.exists():
        return Trust(None, f"there are no settings at {path}; koha-jpki --config FILE names others")
    from bridge.cli.common import load
    from config import Mode

    settings = load(ctx)
    jpki = settings.jpki
    try:
        store = load_directory(
            jpki.trust_directory, jpki.pinned_fingerprints, allow_test=settings.mode is Mode.DEVELOPMENT
        )
    except FileNotFoundError:
        return Trust(None, f"no CA certificate has been imported: {jpki.trust_directory} does not exist")
    except TrustFileRefused as error:
        raise WrongSettings(f"a file in the trust directory is not accepted: {error}") from error
    except OSError as error:
        raise WrongSettings(
            f"the trust directory cannot be read: {error.filename}: {error.strerror}"
        ) from error
    if not store.anchors:
        return Trust(None, f"no CA certificate has been imported into {jpki.trust_directory}")
    policy = CertificatePolicy(frozenset(jpki.policy_oids))
    return Trust(lambda certificate: verify_certificate(certificate, store, policy, now))


# -- words


def _words(error: JpkiError | AgentError) -> str:
    """Return what the operator reads of *error*."""
    row = next((kind for kind in type(error).__mro__ if kind in OPERATOR_WORDS), None)
    if row is None:
        return words_for(error, Language.ENGLISH)
    return OPERATOR_WORDS[row].format(error=error)


def _exit_code(problem: JpkiError | AgentError | None) -> ExitCode:
    return ExitCode.DONE if problem is None else exit_code(CardRefused(problem))


def _as_json(name: str, status: CardStatus) -> dict[str, object]:
    return {
        "reader": name,
        "token": status.token.name if status.token else None,
        "certificate_not_after": status.not_after.isoformat() if status.not_after else None,
        "attempts_remaining": status.attempts_remaining,
        "problem": type(status.problem).__name__ if status.problem else None,
    }


def _as_text(name: str, status: CardStatus) -> str:
    lines = [name]
    if status.token is not None:
        lines.append(f"  token               {TOKEN_NAMES[status.token]}")
    if status.not_after is not None:
        lines.append(f"  certificate         valid until {local_date(status.not_after)}")
    if status.attempts_remaining is not None:
        lines.append(f"  attempts remaining  {status.attempts_remaining}")
    if status.problem is not None:
        lines.append(f"  {_words(status.problem)}")
    return "\n".join(lines)


def _result_as_text(result: SignedTest, trust: Trust) -> str:
    issuer = f"NOT CHECKED: {trust.why_not}"
    if result.issuer is not None:
        until = local_date(result.issuer.not_after)
        issuer = f"an imported CA, key identifier {result.issuer.key_identifier.hex().upper()}, until {until}"
    return "\n".join(
        (
            "signature    right: the card holds the key of its certificate",
            f"certificate  valid until {local_date(result.not_after)}",
            f"issuer       {issuer}",
            "revocation   not asked here; the bridge asks each time",
        )
    )
