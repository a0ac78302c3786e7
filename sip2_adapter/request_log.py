"""One line of the log for each request: library, machine, code, result, milliseconds. Edge.

Never an identifier, a password or a name.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from sip2_adapter.observer import Result

_logger: Final = logging.getLogger(__name__)

PAUSE: Final = 0.02
"""Seconds that a line may wait to be written with others; a process that is killed loses them."""

_LINE: Final = "%s %s %s %s %.1f ms"


class RequestLog:
    """Lines that are written together, those of ``PAUSE`` seconds as one record of as many lines.

    A record for each request alone would take as long as all the rest that is done about it.
    """

    def __init__(self) -> None:
        self._requests: list[tuple[str, str, str, Result, float]] = []
        self._call_later = asyncio.get_running_loop().call_later

    def put(self, listener: str, login: str | None, code: bytes, result: Result, seconds: float) -> None:
        """Have a request written down within ``PAUSE`` seconds."""
        if not self._requests:
            self._call_later(PAUSE, self.flush)
        self._requests.append((listener, login or "-", code.decode(), result, seconds * 1000))

    def flush(self) -> None:
        """Write everything now."""
        requests, self._requests = self._requests, []
        if requests and _logger.isEnabledFor(logging.INFO):
            _logger.info("\n".join([_LINE % request for request in requests]))
