"""The doctor's looks at the network: name, connection, certificate, the server's time. Edge."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy

TIMEOUT = 5.0
"""Seconds for each look."""


@dataclass(frozen=True)
class NetworkProbe:
    """The way to the bridge at *base_url*, through the environment's proxy, if any, as the agent goes."""

    base_url: str

    @property
    def host(self) -> str:
        """The bridge's name."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def proxy(self) -> str | None:
        """The name of the proxy on the way; plain HTTP, on this machine, goes through none."""
        if not self._is_tls:
            return None
        chosen = select_proxy(self.base_url, get_environ_proxies(self.base_url))
        return urlsplit(chosen).hostname if chosen else None

    def look_up(self) -> object:
        """Raises ``OSError``."""
        return socket.getaddrinfo(*self._next_hop())

    def connect(self) -> None:
        """Raises ``OSError``."""
        socket.create_connection(self._next_hop(), TIMEOUT).close()

    def read_not_after(self) -> datetime | None:
        """Return the end of the certificate's validity; None over plain HTTP or through a proxy.

        Raises ``ssl.SSLCertVerificationError``, ``OSError``.
        """
        if not self._is_tls or self.proxy is not None:
            return None
        trusted = os.environ.get("REQUESTS_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
        context = ssl.create_default_context(cafile=trusted)
        with (
            socket.create_connection(self._next_hop(), TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=self.host) as tls,
        ):
            certificate = tls.getpeercert() or {}
        seconds = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        return datetime.fromtimestamp(seconds, UTC)

    def ask_time(self) -> datetime | None:
        """Return the moment in the server's answer. Raises ``requests.RequestException``."""
        with requests.Session() as session:
            session.trust_env = self._is_tls
            address = self.base_url.rstrip("/") + "/healthz"
            answer = session.get(address, timeout=TIMEOUT, allow_redirects=False)
        try:
            return parsedate_to_datetime(answer.headers["Date"])
        except (KeyError, ValueError):
            return None

    @property
    def _is_tls(self) -> bool:
        return urlsplit(self.base_url).scheme == "https"

    def _next_hop(self) -> tuple[str, int]:
        address = urlsplit(self.base_url)
        if self._is_tls:
            chosen = select_proxy(self.base_url, get_environ_proxies(self.base_url))
            if chosen:
                proxy = urlsplit(chosen)
                return proxy.hostname or "", proxy.port or 80
        return self.host, address.port or (443 if self._is_tls else 80)
