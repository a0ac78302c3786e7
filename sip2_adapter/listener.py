"""Where the machines of a library connect, and what they are allowed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sip2_adapter.framing import DEFAULT_FRAME_LIMIT, Terminator


@dataclass(frozen=True)
class Listener:
    """A port for the machines of one library, and the ACS behind it.

    ``terminator`` is what the machines expect at the end of an answer; LF is for machines that send
    no CR.
    """

    name: str
    host: str
    port: int
    upstream_host: str
    upstream_port: int
    terminator: Terminator = Terminator.CR


@dataclass(frozen=True)
class ProxyLimits:
    """Times in seconds, sizes in bytes.

    ``answer_timeout`` must be shorter than the machines' own time-out. ``idle_timeout`` must be
    longer than their status interval (5 to 7 minutes are usual). ``patron_idle_timeout`` ends the
    session of a patron who walked away. ``retry_window`` is how long a request that is sent again
    counts as a repetition. ``keepalive_interval`` must be shorter than the ACS's own idle limit
    (Koha: ``client_timeout``): after so long without a request the ACS is asked for its status.
    """

    answer_timeout: float = 20.0
    login_timeout: float = 30.0
    idle_timeout: float = 900.0
    patron_idle_timeout: float = 120.0
    retry_window: float = 60.0
    keepalive_interval: float = 240.0
    frame_limit: int = DEFAULT_FRAME_LIMIT


DEFAULT_LIMITS: Final = ProxyLimits()
