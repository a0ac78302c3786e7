"""TLS on either side of the proxy, from files. Edge.

TLS 1.2 at the least, and nobody is ever taken at their word: the ACS is verified against the given CA
and by its name, machines against theirs where one is given. Everything is read when the context is
made, so that a wrong file is told before the proxy starts.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

_NO_PASSWORD = ""


class TlsProblem(Exception):
    """A certificate, key or CA file cannot be used; the text names the file and says why."""


@dataclass(frozen=True)
class ClientTls:
    """How the proxy makes sure of the ACS: *server_name* must stand in the ACS's certificate."""

    context: ssl.SSLContext
    server_name: str


def server_tls(certificate: Path, key: Path, client_authority: Path | None = None) -> ssl.SSLContext:
    """Return TLS for machines that connect to us.

    *certificate* may be followed by its CAs. With *client_authority* every machine must show a
    certificate that this CA issued. Raises ``TlsProblem``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for file in (certificate, key):
        _require_readable(file)
    try:
        # Without a password of its own OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: _NO_PASSWORD)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsProblem(f"{key}: is not the key of the certificate in {certificate}") from error
        raise TlsProblem(
            f"{certificate}, {key}: are not a certificate and its key, in PEM and without a password"
        ) from error
    if client_authority is not None:
        _load_authority(context, client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(authority: Path, server_name: str) -> ClientTls:
    """Return TLS towards an ACS that *authority* vouches for under *server_name*. Raises ``TlsProblem``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # asks for a certificate and checks the name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_authority(context, authority)
    return ClientTls(context, server_name)


def _load_authority(context: ssl.SSLContext, file: Path) -> None:
    _require_readable(file)
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as error:
        raise TlsProblem(f"{file}: holds no CA certificate in PEM") from error


def _require_readable(file: Path) -> None:
    try:
        file.open("rb").close()
    except OSError as error:
        raise TlsProblem(f"{file}: cannot be read: {error.strerror}") from error
