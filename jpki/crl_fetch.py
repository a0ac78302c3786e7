"""Fetching a CRL from where its keeper puts it: HTTP or LDAP. Edge.

The address is configured, never taken from a certificate or a CRL. What is fetched is bounded in size
and time and believed in nothing: ``CrlDirectory.import_crl`` judges it. Any failure is ``CrlNotFetched``
or ``CrlTooLarge``.
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import threading
import time
from typing import IO
from urllib.parse import unquote, urljoin, urlsplit

import ldap3
import requests
import urllib3
from ldap3.core.exceptions import LDAPException

from jpki.crl_index import MAXIMUM_CRL_SIZE
from jpki.errors import CrlNotFetched, CrlRedirectRefused, CrlTooLarge
from jpki.http_body import BodyTooLong, BodyTooSlow, read_chunks

MAXIMUM_REDIRECTS = 3
DEFAULT_ATTRIBUTE = "certificateRevocationList;binary"
"""RFC 4523, 2.3: the attribute is always transferred as binary."""

_LDAP_PORTS = {"ldap": 389, "ldaps": 636}

CRL_SCHEMES = ("http", "https", *_LDAP_PORTS)
"""How an address of a CRL may begin."""


def fetch_crl(
    url: str,
    file: IO[bytes],
    *,
    timeout: float,
    maximum_seconds: float = 600,
    limit: int = MAXIMUM_CRL_SIZE,
) -> None:
    """Write the CRL at *url* (http, https, ldap or ldaps) into *file*.

    ``timeout`` (seconds) limits the connection and each wait for bytes, ``maximum_seconds`` the whole,
    ``limit`` the bytes. Raises ``CrlNotFetched``, ``CrlRedirectRefused`` and ``CrlTooLarge``.
    """
    if urlsplit(url).scheme in _LDAP_PORTS:
        content = _search_directory(url, timeout, maximum_seconds)
        if len(content) > limit:
            raise CrlTooLarge(limit)
        file.write(content)
    else:
        _download(url, file, timeout=timeout, deadline=time.monotonic() + maximum_seconds, limit=limit)
    file.flush()


def _download(url: str, file: IO[bytes], *, timeout: float, deadline: float, limit: int) -> None:
    try:
        with (
            requests.Session() as session,
            _get(session, url, timeout) as response,
        ):
            if response.status_code != requests.codes.ok:
                raise CrlNotFetched(f"HTTP {response.status_code}")
            for chunk in read_chunks(response, limit=limit, deadline=deadline):
                file.write(chunk)
    except BodyTooLong:
        raise CrlTooLarge(limit) from None
    except BodyTooSlow:
        raise CrlNotFetched("it took too long") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise CrlNotFetched(type(error).__name__) from None


def _get(session: requests.Session, url: str, timeout: float) -> requests.Response:
    """Return the answer to GET, following redirects as long as they stay on the host that was named."""
    for _ in range(MAXIMUM_REDIRECTS + 1):
        response = session.get(
            url,
            headers={"Accept-Encoding": "identity"},
            timeout=timeout,
            allow_redirects=False,
            stream=True,
        )
        if not response.is_redirect:
            return response
        response.close()
        target = urljoin(url, response.headers["Location"])
        named, found = urlsplit(url), urlsplit(target)
        if (found.scheme, found.netloc) != (named.scheme, named.netloc):
            raise CrlRedirectRefused(found.hostname or found.scheme)
        url = target
    raise CrlNotFetched("redirected in circles")


def _search_directory(url: str, timeout: float, maximum_seconds: float) -> bytes:
    """Return the attribute that an LDAP URL names (RFC 4516): ``ldap://host/dn?attribute``.

    ldap3 holds the whole answer in memory, so a directory is bounded in time, not in bytes.
    """
    parts = urlsplit(url)
    attribute = unquote(parts.query.split("?")[0]) or DEFAULT_ATTRIBUTE
    connection = ldap3.Connection(
        ldap3.Server(
            parts.hostname,
            parts.port or _LDAP_PORTS[parts.scheme],
            use_ssl=parts.scheme == "ldaps",
            tls=ldap3.Tls(validate=ssl.CERT_REQUIRED) if parts.scheme == "ldaps" else None,
            get_info=ldap3.NONE,
            connect_timeout=timeout,
        ),
        read_only=True,
        raise_exceptions=True,
        receive_timeout=math.ceil(timeout),  # ldap3 takes whole seconds alone
    )
    give_up = threading.Timer(maximum_seconds, _cut_off, [connection])
    give_up.daemon = True
    try:
        # Within connect_timeout. What is not yet connected could not be cut off.
        connection.open(read_server_info=False)
        give_up.start()
        connection.bind()
        connection.search(
            unquote(parts.path.removeprefix("/")),
            "(objectClass=*)",
            search_scope=ldap3.BASE,
            attributes=[attribute],
            time_limit=math.ceil(maximum_seconds),
        )
        values = [value for entry in connection.response for value in _values(entry, attribute)]
    except (LDAPException, OSError) as error:
        raise CrlNotFetched(type(error).__name__) from None
    finally:
        give_up.cancel()
        _hang_up(connection)
    if len(values) != 1:
        raise CrlNotFetched(f"{len(values)} CRLs in the entry")
    return values[0]


def _cut_off(connection: ldap3.Connection) -> None:
    """End an answer that does not end; whoever waits for it hears that the connection is lost."""
    connected = connection.socket
    if connected is not None:
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)


def _hang_up(connection: ldap3.Connection) -> None:
    """Close the connection; ldap3 leaves the socket open when it could not connect."""
    if connection.bound:
        with contextlib.suppress(LDAPException):
            connection.unbind()
    if connection.socket is not None:
        connection.socket.close()


def _values(entry: dict[str, dict[str, list[bytes]]], attribute: str) -> list[bytes]:
    """Return the values of an attribute; a server may leave out the option ``;binary`` in its name."""
    stem = attribute.split(";")[0].lower()
    return [
        value
        for name, values in entry.get("raw_attributes", {}).items()
        if name.split(";")[0].lower() == stem
        for value in values
    ]
