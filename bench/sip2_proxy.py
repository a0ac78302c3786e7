"""``python -m bench.sip2_proxy ACS_PORT``: the proxy as a process of its own. Prints its port."""

from __future__ import annotations

import asyncio
import resource
import sys

import uvloop

from sip2_adapter import (
    Kiosk,
    Listener,
    PassThrough,
    Refusal,
    Refused,
    Resolution,
    Resolved,
    Result,
    SessionEnd,
    Sip2Proxy,
)
from sip2_adapter.messages import MessageView

MACHINES = 4096
"""As many as ``sip2_peer.c`` can be at once."""

_PLASTIC = PassThrough()


class PromptResolver:
    """Sessions in memory, asked at each message. It knows at once: what waits is not the proxy."""

    def __init__(self) -> None:
        self._sessions = {
            b"98%012d" % number: Resolved(f"session-{number}", b"20%012d" % number)
            for number in range(MACHINES)
        }

    def resolve(self, patron_identifier: bytes, kiosk: Kiosk) -> Resolution:
        """Say which session a token is of."""
        return self._sessions.get(patron_identifier, _PLASTIC)

    def judge(self, session_id: str, answer: MessageView, kiosk: Kiosk) -> Refused | None:
        """Look at the first four status flags, as a library's rule does."""
        if answer.fixed_field("patron_status")[:4] == b"YYYY":
            return Refused(Refusal.LIBRARY_CARD_NOT_VALID, "expired")
        return None

    async def report_another_patron(self, session_id: str, kiosk: Kiosk) -> None:
        """Nobody is to be told."""

    async def close_session(self, session_id: str, end: SessionEnd) -> None:
        """A session here may be used again."""


class RequestCounter:
    """What an observer does at the least: count each kind of request, and add up the seconds."""

    def __init__(self) -> None:
        self.requests: dict[tuple[bytes, Result], int] = {}
        self.seconds = 0.0

    def kiosk_connected(self, listener: str) -> None:
        """Not counted."""

    def kiosk_disconnected(self, listener: str) -> None:
        """Not counted."""

    def request_answered(self, listener: str, code: bytes, result: Result, seconds: float) -> None:
        """Count."""
        self.requests[code, result] = self.requests.get((code, result), 0) + 1
        self.seconds += seconds

    def patron_refused(self, listener: str, refusal: Refusal) -> None:
        """Not counted."""


async def main(acs_port: int) -> None:
    """Serve until killed."""
    listener = Listener("bench", "127.0.0.1", 0, "127.0.0.1", acs_port)
    proxy = Sip2Proxy([listener], PromptResolver(), observer=RequestCounter())
    await proxy.start()
    print(proxy.ports["bench"], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(main(int(sys.argv[1])))
