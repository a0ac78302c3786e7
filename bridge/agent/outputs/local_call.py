"""The token in an HTTP call to the machine's own program, on this machine alone. Edge."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import requests

from bridge.agent.errors import OutputUnavailable, WrongSettings

TIMEOUT = 5.0
"""Seconds."""


class CallOutput:
    """Posts ``{"token": …}`` as JSON to *url*, which must be of a loopback address.

    Any 2xx is taken for yes; a redirect is none. Raises ``WrongSettings`` for another address.
    """

    shows_itself = False

    def __init__(self, url: str) -> None:
        if not _is_loopback(url):
            raise WrongSettings("the token goes to a program on this machine only: http://127.0.0.1:…")
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy sees the token

    def check(self) -> str:
        """Say where it would go; asking would need a call that the program may not know."""
        return f"HTTP call to {self._url}"

    def send(self, token: str) -> None:
        """Call once. A call that was not answered is not repeated: the machine may have taken it."""
        try:
            response = self._session.post(
                self._url, json={"token": token}, timeout=TIMEOUT, allow_redirects=False
            )
        except requests.RequestException as error:
            raise OutputUnavailable(self._url, type(error).__name__) from None
        if not 200 <= response.status_code < 300:  # HTTP's successes
            raise OutputUnavailable(self._url, f"answered {response.status_code}")

    def wipe(self) -> None:
        """Nothing is left."""


def _is_loopback(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.username or not parts.hostname:
        return False
    if parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return False
