"""The product's own SIP2 proxy: its command, its settings and its database, with patrons at the machines."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_bytes, token_hex
from socket import create_server

from bridge.keys.ring import KeyRing, KeyUse, load_key_ring, write_new_key_file
from bridge.models import (
    CardIdentifier,
    CardLink,
    CardSession,
    IdentifierKind,
    LinkState,
    SessionToken,
    Terminal,
    TerminalKind,
)
from bridge.store import SqlStore, open_engine, upgrade
from jpki.revocation import RevocationAnswer, RevocationStatus

LIBRARY = "bench"
_SETTINGS = """\
mode = "development"
[web]
host = "127.0.0.1"
port = 8080
secret_key_file = "secret"
[database]
url = "sqlite:///{folder}/bridge.sqlite3"
[keys]
master_key_file = "{folder}/master_keys"
[jpki]
trust_directory = "trust"
pinned_fingerprints = ["{fingerprint}"]
[tokens]
lifetime_minutes = 60
[sip2]
maximum_connections_per_address = 4096
[revocation]
[[library]]
library_id = "bench"
name = "Bench"
cardnumber_prefixes = ["20"]
[library.sip2]
listen_host = "127.0.0.1"
listen_port = {port}
koha_host = "127.0.0.1"
koha_port = {acs_port}
directory_login = "bridge"
directory_password_file = "secret"
"""


class Patrons:
    """Patrons with a card session each, one at each machine, in a real database.

    Machine *n* logs in as ``kiosk<n>``, its token is ``98`` and *n* in 12 digits.
    """

    def __init__(self, folder: Path, machines: int) -> None:
        self._keys: KeyRing = load_key_ring(folder / "master_keys", token_bytes)
        engine = open_engine(f"sqlite:///{folder}/bridge.sqlite3")
        upgrade(engine)
        self._engine = engine
        self._store = SqlStore(engine)
        self._links = [self._link(number) for number in range(machines)]
        self._sessions: list[str] = []

    def _link(self, number: int) -> str:
        now = datetime.now(UTC)
        terminal = Terminal(
            f"check-{number}", LIBRARY, f"check-{number}", TerminalKind.SELF_CHECK, f"kiosk{number}"
        )
        link = CardLink(
            token_hex(16),
            LIBRARY,
            patron_id=number,
            kind=IdentifierKind.SERIAL_NUMBER,
            state=LinkState.ACTIVE,
            not_after=now + timedelta(days=365),
            linked_at=now,
            linked_by="bench",
        )
        serial = self._keys.encrypt(KeyUse.SERIAL_ENCRYPTION, LIBRARY, link.link_id, b"1")
        identifier = CardIdentifier(IdentifierKind.SERIAL_NUMBER, serial.key_id, token_hex(32))
        with self._store.transaction() as transaction:
            transaction.add_terminal(terminal, token_hex(32))
            transaction.add_link(link, identifier, serial)
        return link.link_id

    def sit_down(self) -> None:
        """Open a session at each machine, under the same tokens; the proxy has ended those before."""
        now = datetime.now(UTC)
        with self._engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM card_session")
        with self._store.transaction() as transaction:
            for number, link_id in enumerate(self._links):
                digest = self._keys.token_digest(LIBRARY, SessionToken(f"98{number:012d}"))
                session = CardSession(
                    token_hex(16),
                    LIBRARY,
                    f"check-{number}",
                    link_id,
                    opened_at=now,
                    expires_at=now + timedelta(hours=1),
                    cardnumber=f"20{number:012d}",
                    revocation=RevocationAnswer(RevocationStatus.GOOD, "bench", now),
                )
                cardnumber = self._keys.encrypt(
                    KeyUse.CARDNUMBER_ENCRYPTION, LIBRARY, session.session_id, session.cardnumber.encode()
                )
                transaction.add_session(session, digest.key_id, digest.digest, cardnumber)


def prepare(folder: Path, acs_port: int, machines: int) -> tuple[list[str], Patrons]:
    """Return the command that starts the proxy, and its patrons; everything lies in *folder*."""
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir()
    (folder / "trust").mkdir()
    secret = folder / "secret"
    secret.write_text(token_hex(20))
    secret.chmod(0o600)
    write_new_key_file(folder / "master_keys", token_bytes)
    settings = folder / "bridge.toml"
    settings.write_text(
        _SETTINGS.format(folder=folder, port=port, acs_port=acs_port, fingerprint=token_hex(32))
    )
    return [sys.executable, "-m", "bridge", "--config", str(settings), "sip2-proxy"], Patrons(
        folder, machines
    )
