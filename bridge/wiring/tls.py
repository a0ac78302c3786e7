"""TLS on both sides of the SIP2 proxy: towards the machines and towards Koha."""

from __future__ import annotations

from ssl import SSLContext

from config import Sip2Settings
from sip2_adapter.tls import ClientTls, client_tls, server_tls


def build_server_tls(sip2: Sip2Settings) -> SSLContext | None:
    """Return how a library's machines come in, None where they come in clear.

    Raises ``TlsProblem``.
    """
    if sip2.certificate_file is None or sip2.key_file is None:
        return None
    return server_tls(sip2.certificate_file, sip2.key_file, sip2.machine_authority_file)


def build_koha_tls(sip2: Sip2Settings) -> ClientTls | None:
    """Return how a connection to Koha's SIP2 server is encrypted, None where it is not.

    Raises ``TlsProblem``.
    """
    if sip2.koha_authority_file is None:
        return None
    return client_tls(sip2.koha_authority_file, sip2.koha_server_name or sip2.koha_host)
