"""``koha-jpki doctor``: what is wrong with this server, and what to do.

Exit codes: 0 the work goes on (what ends soon is said), 1 something is wrong, 2 the settings are wrong.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import click
import requests

from bridge.cli.common import load
from bridge.cli.doctor_output import say_finding, sentences_of
from bridge.cli.json_output import FAILED, json_option, say_json
from bridge.doctor import (
    CHECK_NAMES,
    Observation,
    ServerCheck,
    ServerVerdict,
    look_at_anchors,
    look_at_clock,
    look_at_crls,
    look_at_database,
    look_at_keys,
    look_at_koha,
    look_at_sip2,
    look_at_source,
)
from bridge.store import check_version, open_engine
from bridge.wiring import build_koha_client, build_koha_tls, check_keys, load_trust_store, now
from config import LibrarySettings, RevocationSettings, Settings, Sip2Settings
from jpki.crl_index import CrlDirectory
from jpki.errors import JpkiError
from jpki.platform_mapping import PlatformMapping
from jpki.trust import TrustAnchor
from koha_client import Ability
from sip2_adapter import Sip2Client
from sip2_adapter.tls import TlsProblem

TIMEOUT = 5.0
"""Seconds for each look at the network."""


@click.command("doctor")
@json_option
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Look at database, keys, CAs, revocation sources, and each library's Koha; say what to do.

    Changes nothing and looks no patron up. Exits with 1 where something is wrong.
    """
    found = []
    for each in _examine(load(ctx)):
        found.append(each)
        if not as_json:
            say_finding(each, CHECK_NAMES[each.check], each.place)
    if as_json:
        say_json([_document(each) for each in found])
    if not all(each.is_fine for each in found):
        ctx.exit(FAILED)


def _examine(settings: Settings) -> Iterator[Observation]:
    database = look_at_database(lambda: check_version(open_engine(settings.database.url)))
    yield database
    yield look_at_keys(lambda: check_keys(settings), has_database=database.is_fine)
    yield from look_at_anchors(lambda: load_trust_store(settings).anchors, now())
    yield from _revocation(settings)
    for library in settings.libraries:
        yield from _koha(library)
        if library.sip2 is not None:
            yield _sip2(library.library_id, library.sip2)


def _revocation(settings: Settings) -> Iterator[Observation]:
    own = (library.revocation.sources or () for library in settings.libraries)
    for name in dict.fromkeys((*settings.revocation.sources, *(each for names in own for each in names))):
        if name == "crl":
            yield from _crls(settings)
        else:
            yield look_at_source(name, lambda name=name: _connect(_address(settings.revocation, name)))  # type: ignore[misc]


def _crls(settings: Settings) -> Iterator[Observation]:
    directory, points = settings.revocation.crl_directory, settings.revocation.crl_distribution_points
    anchors: tuple[TrustAnchor, ...] = ()
    with suppress(JpkiError, OSError):  # told by the check of the CAs
        anchors = tuple(load_trust_store(settings).anchors)
    if directory is not None:
        yield from look_at_crls(lambda: list(CrlDirectory(directory, points).heads()), anchors, now())


def _address(revocation: RevocationSettings, name: str) -> str | None:
    if name == "platform" and revocation.platform_file is not None:
        content = revocation.platform_file.read_bytes()
        return PlatformMapping.from_toml(content, revocation.platform_token).url
    return revocation.ocsp_url


def _connect(address: str | None) -> str:
    """Connect to where *address* leads, and say where that is. Raises ``OSError``."""
    if address is None:
        raise OSError(0, "no source is set up")
    parts = urlsplit(address)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    socket.create_connection((host, port), TIMEOUT).close()
    return host


def _koha(library: LibrarySettings) -> Iterator[Observation]:
    if library.koha is None:
        yield Observation(ServerCheck.KOHA, ServerVerdict.NOT_LOOKED_AT, library.library_id)
        return
    client = build_koha_client(library.koha)
    needed = [Ability.FIND_PATRONS]
    if library.linked_category:
        needed.append(Ability.CHANGE_PATRONS)
    if library.koha_sign_in is not None:
        needed += [Ability.CHECK_PASSWORDS, Ability.SEE_STAFF_PERMISSIONS]
    for ability in needed:
        yield look_at_koha(library.library_id, client.check_ability(ability))
    address = library.koha.base_url
    yield look_at_clock(library.library_id, lambda: _ask_time(address), now)


def _ask_time(address: str) -> datetime | None:
    answer = requests.head(address, timeout=TIMEOUT, allow_redirects=False)
    try:
        return parsedate_to_datetime(answer.headers["Date"])
    except (KeyError, ValueError):
        return None


def _sip2(library_id: str, sip2: Sip2Settings) -> Observation:
    try:
        build_koha_tls(sip2)
    except (TlsProblem, OSError) as error:
        return Observation(ServerCheck.SIP2, ServerVerdict.NO_ANSWER, library_id, {"why": str(error)})
    return look_at_sip2(library_id, lambda: asyncio.run(_ask_sip2(sip2)))


async def _ask_sip2(sip2: Sip2Settings) -> None:
    """Connect; where the bridge has a log-in of its own, log in (93) and ask for the status (99)."""
    tls = build_koha_tls(sip2)
    async with Sip2Client(sip2.koha_host, sip2.koha_port, timeout=TIMEOUT, tls=tls) as client:
        if sip2.directory_login is not None and sip2.directory_password is not None:
            await client.login(sip2.directory_login.encode(), sip2.directory_password.encode())
            await client.status()


def _document(each: Observation) -> dict[str, object]:
    return {
        "check": each.check,
        "verdict": each.verdict,
        "ok": each.is_fine,
        "place": each.place,
        **sentences_of(each),
    }
