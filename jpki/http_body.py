"""Reading the body of an HTTP answer without trusting its length or its pace. Edge."""

from __future__ import annotations

import time
from collections.abc import Iterator

import requests

_AT_ONCE = 64 * 1024


class BodyTooLong(Exception):
    """The body has more bytes than allowed."""


class BodyTooSlow(Exception):
    """The body was not complete at its deadline."""


def read_chunks(response: requests.Response, *, limit: int, deadline: float) -> Iterator[bytes]:
    """Yield the body of a streamed *response* as it comes, undecoded.

    *limit* is in bytes; *deadline* on the clock of ``time.monotonic``. Raises ``BodyTooLong``,
    ``BodyTooSlow``, and what urllib3 raises for a connection that breaks.
    """
    length = 0
    while chunk := response.raw.read1(_AT_ONCE):
        length += len(chunk)
        if length > limit:
            raise BodyTooLong
        if time.monotonic() > deadline:
            raise BodyTooSlow
        yield chunk
