"""A simulated card as a process of its own: laid on a virtual reader, and steered from outside.

The control socket takes one JSON object per line and answers with one: ``{"ok": true, ...}`` or
``{"ok": false, "error": "..."}``.

=================================================  ==============================================
``{"command": "insert"}``                          lay the card down; answered when it was powered
``{"command": "remove"}``                          take it away
``{"command": "swap", "card_file": PATH}``         take it away and load another (not laid down)
``{"command": "faults", "faults": {...}}``         set the fields of ``CardFaults``; others default
``{"command": "state"}``                           counters and the log, PINs masked
=================================================  ==============================================
"""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jpki.simulator.card import CardFaults, SimulatedCard
from jpki.simulator.vpcd import VpcdConnection

INSERT_TIMEOUT = 20.0
"""Seconds in which the virtual reader must have powered a card that was laid down."""

SHORTEST_ABSENCE = 0.45
"""vpcd looks for its card every 0.4 seconds; pcscd may overlook an absence shorter than that."""

_NOTICE_TIMEOUT = 1.5
"""Seconds after which a card that still has no power is taken away and laid down again, for longer.

A reader that notices a card powers it within half a second. On a busy machine pcscd looks less often
than every 0.4 seconds; then it takes the new card for the one that went, which has its power already.
"""

_POLL_INTERVAL = 0.01


class CardNotNoticed(Exception):
    """The virtual reader did not power the card in time: it is not there, or another card is."""


@dataclass(frozen=True)
class CardState:
    """What has happened to a card so far; ``apdu_log`` has PINs masked.

    A card that lies on a reader can be without power, and one that was torn away does not lie there.
    """

    inserted: bool
    powered: bool
    attempts_remaining: int
    verify_count: int
    apdu_count: int
    apdu_log: list[str]


class CardHost:
    """Holds one card and lays it on, or takes it from, one virtual reader."""

    def __init__(self, card: SimulatedCard, host: str, port: int) -> None:
        self._card = card
        self._address = (host, port)
        self._connection: VpcdConnection | None = None
        self._server: threading.Thread | None = None
        self._laid_down_at = 0.0
        self._taken_away_at = -SHORTEST_ABSENCE

    @property
    def inserted(self) -> bool:
        """Whether the card lies on the reader; a torn card does not."""
        return self._server is not None and self._server.is_alive()

    def insert(self) -> None:
        """Lay the card down, more than once if need be. Raises ``CardNotNoticed``."""
        deadline = time.monotonic() + INSERT_TIMEOUT
        absence = SHORTEST_ABSENCE
        while not (self.inserted and self._card.powered):
            now = time.monotonic()
            if now > deadline:
                self.remove()
                raise CardNotNoticed("the virtual reader did not power the card")
            if not self.inserted:
                # Again and again: a reader that has just lost a card may hang up on the next one.
                if now - self._taken_away_at >= absence:
                    self._connect()
            elif now - self._laid_down_at >= _NOTICE_TIMEOUT:
                self.remove()
                absence *= 2
            time.sleep(_POLL_INTERVAL)

    def _connect(self) -> None:
        with contextlib.suppress(OSError):  # the reader is not up yet
            self._connection = VpcdConnection(*self._address)
            self._laid_down_at = time.monotonic()
            self._server = threading.Thread(target=self._serve, args=(self._connection,), daemon=True)
            self._server.start()

    def _serve(self, connection: VpcdConnection) -> None:
        connection.serve(self._card)
        self._taken_away_at = time.monotonic()

    def remove(self) -> None:
        """Take the card away."""
        if self._connection is not None:
            self._connection.close()
        if self._server is not None:
            self._server.join()

    def execute(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what one line of the control socket asks; return the answer's fields.

        Raises ``ValueError``, ``TypeError``, ``KeyError`` or ``OSError`` for a request that is not
        well formed, ``CardNotNoticed``.
        """
        match request["command"]:
            case "insert":
                self.insert()
            case "remove":
                self.remove()
            case "swap":
                card = SimulatedCard.load(Path(request["card_file"]))
                self.remove()
                self._card = card
            case "faults":
                self._card.faults = CardFaults(**request["faults"])
            case "state":
                return asdict(self._state())
            case other:
                raise ValueError(f"unknown command {other!r}")
        return {}

    def _state(self) -> CardState:
        return CardState(
            inserted=self.inserted,
            powered=self._card.powered,
            attempts_remaining=self._card.authentication.attempts_remaining,
            verify_count=self._card.verify_count,
            apdu_count=self._card.apdu_count,
            apdu_log=list(self._card.apdu_log),
        )


class ControlServer(socketserver.ThreadingUnixStreamServer):
    """Answers the control socket at *path*, one request at a time."""

    daemon_threads = True

    def __init__(self, path: Path, host: CardHost) -> None:
        self.host = host
        self.lock = threading.Lock()
        # The path appears when the socket listens, not before: who waits for it connects at once.
        draft = path.with_name(f"{path.name}.new")
        draft.unlink(missing_ok=True)
        super().__init__(str(draft), _ControlHandler)
        draft.rename(path)


class _ControlHandler(socketserver.StreamRequestHandler):
    server: ControlServer

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(json.dumps(self._answer(line)).encode("utf-8") + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            with self.server.lock:
                return {"ok": True, **self.server.host.execute(json.loads(line))}
        except (CardNotNoticed, ValueError, TypeError, KeyError, OSError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}
