"""What opening a card session over HTTP costs beside an empty Flask view on the same server."""

from __future__ import annotations

import base64
import http.client
import json
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from socket import create_server

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import select

from bench.figure import Figure
from bench.links_server import EMPTY_VIEW, present, run
from bridge.accounts.staff import IssuedTerminal
from bridge.links.consent import STANDARD_VERSION
from bridge.models import TerminalKind
from bridge.store import CardSessionRow, open_engine, upgrade
from fuzz.kill import COMMAND, LIBRARY, Bridge, Place, respond
from jpki.simulator.pki import CardMaterial, CardPki, CardProfile

WARM_UP, SESSIONS = 20, 200

_SETTINGS = """\
mode = "development"
[web]
host = "127.0.0.1"
port = {port}
secret_key_file = "secret"
secure_cookies = false
[database]
url = "sqlite:///{folder}/bridge.sqlite3"
[keys]
master_key_file = "{folder}/master_keys"
[jpki]
trust_directory = "trust"
pinned_fingerprints = ["{fingerprint}"]
[logging]
level = "WARNING"
[revocation]
[[library]]
library_id = "central"
name = "Bench"
cardnumber_prefixes = ["L-"]
[library.koha]
base_url = "http://127.0.0.1:9/api/v1"
client_id = "bench"
client_secret_file = "secret"
"""


def measure() -> Figure:
    """Return the figure."""
    value = _session_vs_empty_view()
    return Figure("links.session_vs_empty_view", value, "ratio", 0.25, "higher")


def _session_vs_empty_view() -> float:
    """Requests a second of the call that opens a session, against an empty Flask view on the same server.

    That call is the response to a challenge: signature and certificate proven, link found, session and
    audit event stored on disk. The patron is asked in memory, for Koha's time is not the bridge's.
    """
    pki = CardPki.create(present())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        _write_settings(folder, port)
        url = f"sqlite:///{folder}/bridge.sqlite3"
        engine = open_engine(url)
        upgrade(engine)
        engine.dispose()
        bridge = Bridge(url, present, pki)
        place = bridge.furnish()
        issued = bridge.staff.add_terminal(
            COMMAND, library_id=LIBRARY, terminal_id="check-2", name="2", kind=TerminalKind.SELF_CHECK
        )
        bridge.store.dispose()  # the server must not share a connection
        context = multiprocessing.get_context("fork")
        server = context.Process(target=run, args=(folder / "bridge.toml", url, pki))
        server.start()
        try:
            card = pki.issue_card(CardProfile.GOOD)
            _link(bridge, place, card)
            return _compare(bridge, issued, card, _connect(port))
        finally:
            server.terminate()
            server.join(20)
            bridge.store.dispose()


def _write_settings(folder: Path, port: int) -> None:
    (folder / "secret").write_text("s" * 40)
    (folder / "secret").chmod(0o600)
    settings = _SETTINGS.format(folder=folder, port=port, fingerprint="0" * 64)
    (folder / "bridge.toml").write_text(settings, encoding="utf-8")


def _link(bridge: Bridge, place: Place, card: CardMaterial) -> None:
    bridge.registration.start(
        place.librarian,
        terminal_id=place.counter.terminal_id,
        cardnumber="L-0",
        consent_version=STANDARD_VERSION,
    )
    challenge = bridge.registration.begin(place.counter, card.certificate_der)
    bridge.registration.complete(place.counter, *respond(card, challenge))


def _connect(port: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for _ in range(200):
        try:
            connection.connect()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return connection
    raise TimeoutError


def _compare(
    bridge: Bridge, machine: IssuedTerminal, card: CardMaterial, connection: http.client.HTTPConnection
) -> float:
    headers = {"Authorization": f"Bearer {machine.token}", "Content-Type": "application/json"}

    def call(method: str, path: str, body: str | None, status: int) -> tuple[float, bytes]:
        begun = time.perf_counter()
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        seconds = time.perf_counter() - begun
        assert answer.status == status, content
        return seconds, content

    sessions, empties = [], []
    for _ in range(WARM_UP + SESSIONS):
        # By turns, so that both see the same machine. The challenge is another call, and not counted.
        begin = {"purpose": "borrow", "certificate": _base64(card.certificate_der)}
        _, begun = call("POST", "/api/v1/challenges", json.dumps(begin), 201)
        challenge = json.loads(begun)
        signature = card.private_key.sign(
            base64.b64decode(challenge["message"]), padding.PKCS1v15(), SHA256()
        )
        response = json.dumps({"certificate": _base64(card.certificate_der), "signature": _base64(signature)})
        path = f"/api/v1/challenges/{challenge['challenge_id']}/response"
        sessions.append(call("POST", path, response, 201)[0])
        empties.append(call("GET", EMPTY_VIEW, None, 200)[0])
        for session_id in _open_sessions(bridge):
            bridge.borrowing.close(session_id, "end_patron_session")
    return statistics.median(empties[WARM_UP:]) / statistics.median(sessions[WARM_UP:])


def _open_sessions(bridge: Bridge) -> list[str]:
    rows = bridge.store.scoped_session()
    found = list(rows.scalars(select(CardSessionRow.session_id).where(CardSessionRow.closed_at.is_(None))))
    rows.remove()
    return found


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
