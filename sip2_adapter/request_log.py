"""One line of the log for each request: library, machine, code, result, milliseconds. Edge.

Never an identifier, a password or a name.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from sip2_adapter.observer import ProxyObserver, Result

_logger: Final = logging.getLogger(__name__)

PAUSE: Final = 0.02
"""Seconds that a line may wait to be written with others; a process that is killed loses them."""

_TABLED: Final = 1000
_MILLISECONDS: Final = tuple(f"{tenths / 10:.1f} ms" for tenths in range(_TABLED))
"""The times below 100 ms as they are written: writing a decimal takes longer than the rest of the line."""

_Request = tuple[str, str | None, bytes, Result, float]


class RequestLog:
    """Lines that are written together, those of ``PAUSE`` seconds as one record of as many lines.

    A record for each request alone would take as long as all the rest that is done about it.
    *observer* is told of each request at once.
    """

    def __init__(self, observer: ProxyObserver | None = None) -> None:
        self._observer = observer
        self._requests: list[_Request] = []
        self._call_later = asyncio.get_running_loop().call_later

    def put(self, listener: str, login: str | None, code: bytes, result: Result, seconds: float) -> None:
        """Count a request, and have it written down within ``PAUSE`` seconds."""
        if self._observer is not None:
            self._observer.request_answered(listener, code, result, seconds)
        if not self._requests:
            self._call_later(PAUSE, self.flush)
        self._requests.append((listener, login, code, result, seconds))

    def flush(self) -> None:
        """Write everything now."""
        requests, self._requests = self._requests, []
        if requests and _logger.isEnabledFor(logging.INFO):
            _logger.info("\n".join(map(_line, requests)))


def _line(request: _Request) -> str:
    listener, login, code, result, seconds = request
    tenths = int(seconds * 10_000 + 0.5)
    milliseconds = _MILLISECONDS[tenths] if tenths < _TABLED else f"{tenths / 10:.1f} ms"
    # ``join`` takes the result for the text that it is; a format would ask it for its text first.
    return " ".join((listener, login or "-", code.decode(), result, milliseconds))
